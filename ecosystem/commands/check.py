"""``ecosystem check``: every fault of a scenario, or else what would be run; nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import typer

from ecosystem.commands.run import AllowPaths
from ecosystem.terminal import ScenarioName, Sets, overrides_of, reader_may_leave

if TYPE_CHECKING:
    from ecosystem.question import Event, Question, Scenario

GROUPS = ("providers", "users", "creators", "scrapers")
SIZES = ("name", "archive", "count", "model", "card")  # of a group: told before


def check(scenario: ScenarioName, sets: Sets = None, allow_paths: AllowPaths = False) -> None:
    """Check a scenario without running it; nothing is written."""
    from ecosystem import scenarios
    from ecosystem.documents import printable

    question = scenarios.load(scenario, overrides_of(sets), allow_paths)
    with reader_may_leave():
        typer.echo("\n".join(map(printable, told(question))))


def told(question: Question) -> Iterator[str]:
    """What would be run, a line each."""
    s = question.scenario
    yield f"{s.name}: valid. {s.rounds} rounds, seeds {', '.join(map(str, s.seeds))}."
    yield f"  human pages: {s.web.archive:,} of {s.humans.source} in the archive"
    yield f"  ballots a round: {s.ballots_per_round:,}"
    for provider in s.providers:
        card = question.cards[provider.name]
        yield f"  {provider.name}: {card.name} ({card.model.family}), every {provider.retrain.every} round(s)"
    others = [*_of_groups(s), *(line for event in s.events for line in _of_event(event))]
    if others:
        yield "policies beside the neutral ones:"
        yield from others


def _of_groups(scenario: Scenario) -> Iterator[str]:
    named = [("web", scenario.web), *((group.name, group) for part in GROUPS for group in getattr(scenario, part))]
    for name, settings in named:
        if found := policies(settings, SIZES):
            yield f"  {name}: {', '.join(found)}"
    if scenario.coevolution:
        yield "  co-evolution is measured"


def _of_event(event: Event) -> Iterator[str]:
    """Who enters and leaves, and what changes."""
    for part in GROUPS:
        for group in getattr(event.add, part, ()):
            yield f"  round {event.at}: {group.name} enters{_inside(policies(group, SIZES))}"
    for name in event.remove or ():
        yield f"  round {event.at}: {name.partition('.')[2]} leaves"
    for dotted, value in (event.set or {}).items():
        yield f"  round {event.at}: {dotted} {_value(value)}"


def policies(settings: Any, without: tuple[str, ...] = ()) -> list[str]:
    """Of a group, or of a policy: what is not as it would be by default, in words."""
    values = {f: getattr(settings, f.name) for f in fields(settings) if f.name not in (*without, "kind")}
    return [_words(f.name, value) for f, value in values.items() if value != f.default]


def _words(field: str, value: Any) -> str:
    from ecosystem.settings import Settings, yaml_key

    key = yaml_key(field)
    if isinstance(value, Settings):
        return f"{key} {getattr(value, 'kind', '')}".rstrip() + _inside(policies(value))
    return key if value is True else f"{key} {_value(value)}"


def _inside(words: list[str]) -> str:
    return f" ({', '.join(words)})" if words else ""


def _value(value: Any) -> str:
    from ecosystem.documents import shown

    return shown(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
