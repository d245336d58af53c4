"""What can be known to be wrong with a scenario beyond its types, before it runs.

``of_scenario``: names that must exist, counts that must add up, policies that must fit the data. ``of_question``:
what is to be known only from the policies of all rounds. Both give findings: place, problem, remedy. A subject a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ecosystem.checks.agents import first_round_checks, market_checks, reward_checks, sight_checks
from ecosystem.checks.claims import metric_checks, reward_metric_checks
from ecosystem.checks.findings import Finding, fault
from ecosystem.checks.models import model_checks
from ecosystem.checks.names import name_checks, reference_checks, repetition_checks
from ecosystem.checks.paths import roots_of, shown_path, strange, strange_paths
from ecosystem.checks.sizes import human_pages, human_size_checks, reservoir_checks, size_checks

if TYPE_CHECKING:
    from ecosystem.models.cards import Card
    from ecosystem.question import Question, Scenario


def of_scenario(scenario: Scenario, found: Mapping[str, Card]) -> Iterator[Finding]:
    """What the types cannot say: names that must exist, counts that must add up, policies that must fit the data."""
    yield from name_checks(scenario)
    yield from reference_checks(scenario, found)
    yield from repetition_checks(scenario)
    for problem in scenario.web.sites.faults():
        yield ("web", "sites"), problem, ""
    if scenario.web.archive == 0:
        problem = "generation 0 needs human pages, and pages of round 0 are first seen in round 1"
        yield ("web", "archive"), problem, "set an archive above 0"
    too_large = list(human_size_checks(scenario))
    yield from too_large
    if too_large:
        return  # the data cannot be opened, and so nothing be held against them
    humans = scenario.humans.open()
    yield from size_checks(scenario, humans)
    yield from reward_checks(scenario, humans)
    yield from market_checks(scenario, humans)
    yield from metric_checks(scenario, humans)
    yield from sight_checks(scenario, humans)
    yield from model_checks(scenario, humans, found)


def of_question(question: Question) -> Iterator[Finding]:
    """What is to be known only from the policies of all rounds."""
    yield from first_round_checks(question.at(0))
    if not any(human_size_checks(question.scenario)):
        yield from reservoir_checks(question)
    yield from reward_metric_checks(question)


__all__ = [
    "Finding",
    "fault",
    "human_pages",
    "of_question",
    "of_scenario",
    "roots_of",
    "shown_path",
    "strange",
    "strange_paths",
]
