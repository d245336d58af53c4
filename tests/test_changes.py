"""The laws of what differs between two worlds: nothing is missed, nothing is told twice, both ways read alike."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ecosystem import changes as changes_
from ecosystem import scenarios
from ecosystem.changes import ABSENT, Change, changes, text
from ecosystem.question import digest
from ecosystem.rng import stream

WORLD = """\
name: world
question: What happens?
rounds: 3
seeds: [0, 1]
humans: {source: gaussian, held_out: 60}
web: {archive: 50}
users: [{name: crowd, count: 25}, {name: bots, count: 5}]
scrapers: [{name: first}, {name: second, budget: 10}]
providers: [{name: lab, card: {family: gaussian}}, {name: big, model: gaussian, retrain: {every: 2}}]
events: [{at: 1, set: {users.crowd.k: 2}}]
"""


def resolved(*replaced: tuple[str, str]) -> dict[str, Any]:
    world = WORLD
    for old, new in replaced:
        assert old in world
        world = world.replace(old, new)
    return scenarios.from_text(world).resolved


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("every: 2", "every: 1", [Change("providers.big.retrain.every", 2, 1)]),
        ("count: 25", "count: 25, k: 4", [Change("users.crowd.k", 1, 4)]),
        ("archive: 50", "archive: 60", [Change("web.archive", 50, 60)]),
        ("card: {family: gaussian}", "card: {family: gaussian, estimator: unbiased}", "models.lab.estimator"),
        ("users.crowd.k: 2", "users.crowd.k: 3", [Change("events.0.set", {"users.crowd.k": 2}, {"users.crowd.k": 3})]),
        ("What happens?", "What else?", []),
        ("seeds: [0, 1]", "seeds: [5]", []),
        (
            "{name: first}, {name: second, budget: 10}",
            "{name: second, budget: 10}, {name: first}",
            [Change("scrapers", ["first", "second"], ["second", "first"])],
        ),
    ],
)
def test_one_setting_changed_is_one_change(old: str, new: str, expected: Any) -> None:
    found = changes(resolved(), resolved((old, new)))
    assert [change.key for change in found] == [expected] if isinstance(expected, str) else found == expected


def test_a_group_that_one_side_lacks_is_one_change() -> None:
    a, b = resolved(), resolved((", {name: bots, count: 5}", ""))
    [gone] = changes(a, b)
    assert (gone.key, gone.before["count"], gone.after) == ("users.bots", 5, ABSENT)
    assert changes(b, a) == [Change("users.bots", ABSENT, gone.before)]
    assert text(ABSENT) == "-"


def test_a_key_is_one_that_set_takes() -> None:
    """Each change of a value, given as an override to the one world, makes it the other."""
    a, b = (
        scenarios.from_text(WORLD),
        scenarios.from_text(WORLD, {"users.crowd.k": 4, "providers.big.retrain.every": 1}),
    )
    found = {change.key: change.after for change in changes(a.resolved, b.resolved)}
    assert found == {"users.crowd.k": 4, "providers.big.retrain.every": 1}
    assert scenarios.from_text(WORLD, found).digest == b.digest


def test_what_is_ignored_is_named() -> None:
    a, b = resolved(), resolved(("What happens?", "What else?"))
    assert changes(a, b, ignore=()) == [Change("question", "What happens?", "What else?")]
    assert changes(a, resolved(("every: 2", "every: 1")), ignore=("providers.big.retrain",)) == []


@pytest.mark.parametrize(("value", "said"), [("a b", "a b"), (None, "null"), (1.0, "1.0"), ([1, "é"], '[1, "é"]')])
def test_values_in_words(value: Any, said: str) -> None:
    assert text(value) == said


# --- laws ---------------------------------------------------------------------------------------------------

PARTS, PAIRS = 4, 50  # so many pairs of worlds in each part
KEYS = ["a", "b", "c", "k", "every"]


class Drawn:
    """Worlds without meaning, of every kind of value, drawn from a named stream."""

    def __init__(self, number: int):
        self.rng = stream(number, "test", "worlds")

    def one_of(self, *of: Any) -> Any:
        return of[int(self.rng.integers(len(of)))]

    def leaf(self) -> Any:
        number, share = int(self.rng.integers(-2, 3)), round(float(self.rng.random()), 2)
        return self.one_of(None, True, False, number, float(number), share, 0.0, "", "a", "é\x00", "0", "1", [], {})

    def tree(self, levels: int = 3) -> Any:
        if levels == 0 or self.rng.random() < 0.5:
            return self.leaf()
        if self.rng.random() < 0.4:
            return [self.tree(levels - 1) for _ in range(int(self.rng.integers(4)))]
        return self.mapping(levels - 1, [*KEYS, "x.y"])

    def mapping(self, levels: int = 3, keys: list[str] = KEYS) -> dict[str, Any]:
        chosen = self.rng.permutation(keys)[: int(self.rng.integers(4))]
        return {str(key): self.tree(levels) for key in chosen}

    def named(self) -> list[dict[str, Any]]:
        names = self.rng.permutation(["lab", "big", "crowd", "0", "1"])[: int(self.rng.integers(5))]
        return [{"name": str(name), **self.mapping()} for name in names]

    def world(self) -> dict[str, Any]:
        providers = self.named()
        cards = {p["name"]: {"name": "card", "model": self.mapping(), "baselines": self.tree()} for p in providers}
        events = [self.mapping() for _ in range(int(self.rng.integers(4)))]
        scenario = {"about": self.one_of("", "x", "é"), **self.mapping(), "users": self.named(), "events": events}
        return {"scenario": {**scenario, "providers": providers}, "cards": cards}

    def near(self, tree: Any) -> Any:
        """A copy of which a few values are others, are gone or have changed places; names stay."""
        if isinstance(tree, dict):
            return {
                key: value if key == "name" else self.near(value)
                for key, value in tree.items()
                if key == "name" or self.rng.random() > 0.05
            }
        if isinstance(tree, list):
            items = [self.near(item) for item in tree if self.rng.random() > 0.05]
            return [items[i] for i in self.rng.permutation(len(items))] if self.rng.random() < 0.2 else items
        return tree if self.rng.random() > 0.05 else self.leaf()

    def neighbour(self, world: dict[str, Any]) -> dict[str, Any]:
        scenario = {key: value if key == "providers" else self.near(value) for key, value in world["scenario"].items()}
        cards = {name: {**card, "model": self.near(card["model"])} for name, card in world["cards"].items()}
        return copy.deepcopy({"scenario": scenario, "cards": cards})


def pairs(part: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Two worlds that have nothing to do with each other, and two of which one was made from the other, in turn."""
    drawn = Drawn(part)
    for number in range(PAIRS):
        a = drawn.world()
        yield a, drawn.world() if number % 2 else drawn.neighbour(a)


def applied(tree: Any, change: Change) -> None:
    """Put ``after`` at ``key``, in place."""
    *way, last = change.key.split(".")
    for word in way:
        tree = tree[slot(tree, word)]
    if is_order(change.after) and isinstance(tree, dict) and is_named(tree.get(last)):
        tree[last].sort(key=lambda item: change.after.index(item["name"]))
    elif change.after is ABSENT:
        del tree[slot(tree, last)]
    elif isinstance(tree, list) and slot(tree, last) is None:
        tree.append(copy.deepcopy(change.after))
    else:
        tree[slot(tree, last)] = copy.deepcopy(change.after)


def is_order(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


def is_named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(i, dict) and "name" in i for i in value)


def slot(tree: Any, word: str) -> Any:
    if isinstance(tree, dict):
        return word
    if is_named(tree) or not word.isdecimal():
        return next((n for n, item in enumerate(tree) if item["name"] == word), None)
    return int(word) if int(word) < len(tree) else None


def canonical(tree: Any) -> str:
    return json.dumps(tree, sort_keys=True)


def seen(world: dict[str, Any]) -> Any:
    tree = changes_.settings(world)
    tree.pop("about")
    return tree


@pytest.mark.parametrize("part", range(PARTS))
def test_the_changes_are_all_that_differs(part: int) -> None:
    for a, b in pairs(part):
        applied_they_make_the_other(a, b)


def applied_they_make_the_other(a: dict[str, Any], b: dict[str, Any]) -> None:
    found = changes(a, b)
    tree = copy.deepcopy(seen(a))
    # What is taken away goes from a list's end on, and an order is set when all that it orders is there.
    gone = [change for change in found if change.after is ABSENT]
    for change in [*reversed(gone), *(change for change in found if change.after is not ABSENT)]:
        applied(tree, change)
    assert canonical(tree) == canonical(seen(b)), (a, b)
    assert (found == []) == (canonical(seen(a)) == canonical(seen(b))), (a, b)
    assert len({change.key for change in found}) == len(found)


@pytest.mark.parametrize("part", range(PARTS))
def test_the_way_back_is_the_mirror_image(part: int) -> None:
    for a, b in pairs(part):
        there, back = changes(a, b), changes(b, a)
        assert sorted(map(repr, there)) == sorted(repr(Change(c.key, c.after, c.before)) for c in back), (a, b)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_world_does_not_differ_from_itself(part: int) -> None:
    """Nor from a copy whose keys stand in another order, and whose words and baselines are others."""
    for a, _ in pairs(part):
        other = json.loads(canonical(a))
        other["scenario"]["about"] += "!"
        for card in other["cards"].values():
            card["baselines"], card["name"] = None, "renamed"
        assert changes(a, a) == changes(a, other) == [], a


def test_no_change_is_no_change_of_digest() -> None:
    """The name of a run's directory sees exactly what is told here."""
    a = resolved()
    for old, new in (
        ("every: 2", "every: 1"),
        ("What happens?", "Oh?"),
        ("{name: first}, ", ""),
        ("name: world", "name: x"),
    ):
        b = resolved((old, new))
        assert (changes(a, b) == []) == (digest(a) == digest(b)), new
