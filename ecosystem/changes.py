"""What differs between two worlds: the settings that changed, each under the dotted name by which `--set` knows it.

    providers.lab.retrain.every    2 -> 1            a value inside a group of a named list
    users.bots                     - -> {...}        a group, mapping or value that one side lacks
    scrapers                       [a, b] -> [b, a]  only the order: the first scraper serves who names none
    models.lab.estimator           ml -> unbiased    of the model in a provider's card

Two trees are worlds apart exactly where a change is listed: to apply every ``after`` to a gives b, to apply every
``before`` to b gives a. A list that is not one of named groups, or of mappings (events), is one value.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

Tree: TypeAlias = Any  # dict[str, Tree] | list[Tree] | str | int | float | bool | None

WORDS = ("about", "question", "papers", "claims")  # of a scenario: they change no draw
HOW = ("checkpoint_minutes", "checkpoint_keep")  # nor do these
IGNORED = (*WORDS, *HOW, "seeds")


class Absent(Enum):
    """The value of what is not there."""

    ABSENT = "-"

    def __str__(self) -> str:
        return self.value


ABSENT = Absent.ABSENT


@dataclass(frozen=True)
class Change:
    """One setting that differs. A side that lacks it has ABSENT."""

    key: str  # dotted
    before: Tree
    after: Tree


def changes(before: Mapping[str, Any], after: Mapping[str, Any], ignore: Collection[str] = IGNORED) -> list[Change]:
    """Between two resolved questions, in the order of their keys; ``ignore``: dotted names to leave out."""
    found = _of_values("", settings(before), settings(after), frozenset(ignore))
    return list(found)


def settings(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved question as one tree: the scenario, and under ``models`` each provider's model.

    A model that the scenario holds in place is told there and not again as the provider's ``card``.
    """
    cards = resolved["cards"]
    scenario = dict(resolved["scenario"])
    scenario["providers"] = [
        {key: value for key, value in provider.items() if key != "card" or provider["name"] not in cards}
        for provider in scenario["providers"]
    ]
    weights = {"weights": resolved["weights"]} if resolved.get("weights") else {}
    return {**scenario, "models": {name: card["model"] for name, card in cards.items()}, **weights}


def text(value: Tree) -> str:
    """A value on one line: words as they are, all else as JSON; `-` for what is not there."""
    return str(value) if isinstance(value, str | Absent) else json.dumps(value, ensure_ascii=False)


def _of_values(key: str, a: Tree, b: Tree, ignore: frozenset[str]) -> Iterator[Change]:
    if key in ignore or _same(a, b):
        return
    parts = _parts(a, b)
    if parts is None:
        yield Change(key, a, b)
        return
    inside_a, inside_b = parts
    for word in dict.fromkeys([*inside_a, *inside_b]):
        inner = f"{key}.{word}" if key else word
        yield from _of_values(inner, inside_a.get(word, ABSENT), inside_b.get(word, ABSENT), ignore)
    if isinstance(a, list) and (_reordered(inside_a, inside_b) or _reordered(inside_b, inside_a)):
        yield Change(key, list(inside_a), list(inside_b))


def _same(a: Tree, b: Tree) -> bool:
    """As a digest sees it: 1, 1.0 and true are three values, and keys have no order."""
    if isinstance(a, Absent) or isinstance(b, Absent):
        return a is b
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def _parts(a: Tree, b: Tree) -> tuple[dict[str, Tree], dict[str, Tree]] | None:
    """The parts of both by the words that lead to them; None where only the values as a whole can be compared."""
    if isinstance(a, dict) and isinstance(b, dict):
        return None if any("." in key or not key for key in (*a, *b)) else (a, b)
    if not (isinstance(a, list) and isinstance(b, list) and all(isinstance(item, dict) for item in (*a, *b))):
        return None
    if _are_named(a) and _are_named(b):
        return {item["name"]: item for item in a}, {item["name"]: item for item in b}
    if any("name" in item for item in (*a, *b)):
        return None
    return {str(i): item for i, item in enumerate(a)}, {str(i): item for i, item in enumerate(b)}


def _are_named(items: list[dict[str, Tree]]) -> bool:
    names = [item.get("name") for item in items]
    return all(isinstance(name, str) and name and "." not in name for name in names) and len({*names}) == len(names)


def _reordered(a: dict[str, Tree], b: dict[str, Tree]) -> bool:
    """Whether b's order is another than a's with what is new at its end."""
    return [word for word in a if word in b] + [word for word in b if word not in a] != list(b)
