"""A finding: what is known to be wrong with a scenario, where, and what would mend it; and whose names there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ecosystem import grammar
from ecosystem.documents import Document, Fault, Route

if TYPE_CHECKING:
    from ecosystem.question import Scenario

Finding = tuple[Route, str, str]  # place, problem, remedy


def fault(document: Document, finding: Finding) -> Fault:
    """A finding, with its place in the file."""
    route, problem, remedy = finding
    return grammar.fault(document, route, problem, remedy)


def names_of(groups: tuple[Any, ...]) -> list[str]:
    """Of creators, users, scrapers or providers."""
    return [group.name for group in groups]


def ever(scenario: Scenario, part: str) -> list[str]:
    """The names of the groups of a kind that are ever there."""
    added = [group for event in scenario.events if event.add for group in getattr(event.add, part)]
    return names_of((*getattr(scenario, part), *added))
