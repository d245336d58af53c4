"""Counts: what no memory holds, and more human pages than there are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ecosystem.checks.findings import Finding
from ecosystem.humans import Humans

if TYPE_CHECKING:
    from ecosystem.agents.creator import CreatorSettings
    from ecosystem.question import Question, Scenario

LIMIT_AGENTS = 10_000_000
LIMIT_LINKS = 10_000_000
LIMIT_HELD_OUT = 20_000_000  # numbers: they are drawn also when a scenario is only checked
LIMIT_NUMBERS = 1_000_000_000  # held at once, eight bytes each
LIMIT_SCALE = 1e9  # of human data


def _is_steady(group: CreatorSettings) -> bool:
    """Whether it is known before the run how many human pages a group will publish."""
    return group.attention is None and group.adoption is None and group.reservoir is None


def human_size_checks(scenario: Scenario) -> Iterator[Finding]:
    """Sizes of human data that cannot be drawn, not even to look at them."""
    humans = scenario.humans
    for name in ("mean", "std", "radius", "noise"):
        value = getattr(humans, name, 0.0)
        if abs(value) > LIMIT_SCALE:
            yield ("humans", name), f"{value:g} is too far from 0", f"at most {LIMIT_SCALE:g}"
    for number, value in enumerate(getattr(humans, "values", None) or ()):
        if abs(value) > LIMIT_SCALE:
            yield ("humans", "values", number), f"{value:g} is too far from 0", f"at most {LIMIT_SCALE:g}"
    numbers = humans.held_out * getattr(humans, "dims", 1)
    if numbers > LIMIT_HELD_OUT:
        problem = f"{humans.held_out:,} pages are held out, {numbers:,} numbers in all"
        yield ("humans",), problem, f"lower `held_out` or `dims`: at most {LIMIT_HELD_OUT:,} numbers"


def size_checks(scenario: Scenario, humans: Humans) -> Iterator[Finding]:
    """Counts that no memory holds."""
    sites = scenario.web.sites
    random = sites.count * (sites.p or 0.0) / 2  # links a site of an Erdos-Renyi graph
    many = sites.count * max(1, random if sites.graph == "erdos_renyi_graph" else sites.m or sites.k or 1)
    if many > LIMIT_LINKS:
        remedy = "fewer sites, or a graph with fewer links, as cycle_graph"
        yield ("web", "sites"), f"{sites.count:,} sites with {many:,.0f} links are too many", remedy
    for part in ("creators", "users"):
        agents = sum(group.count for group in getattr(scenario, part))
        if agents > LIMIT_AGENTS:
            problem = f"{agents:,} {part} are too many"
            yield (part,), problem, f"at most {LIMIT_AGENTS:,}; raise what each does in a round instead"
    size = math.prod(humans.shape)
    if scenario.web.archive * size > LIMIT_NUMBERS:
        problem = f"{scenario.web.archive:,} pages of {size:,} numbers are too many"
        yield ("web", "archive"), problem, f"at most {LIMIT_NUMBERS:,} numbers"
    for number, group in enumerate(scenario.users):
        images = group.count * group.prompts_per_round * group.k
        if images * size > LIMIT_NUMBERS:
            problem = f"{images:,} images of {size:,} numbers are asked for in a round"
            yield ("users", number), problem, f"lower count, prompts_per_round or k: at most {LIMIT_NUMBERS:,} numbers"
    for number, maker in enumerate(scenario.creators):
        if maker.count * maker.pages_per_round * size > LIMIT_NUMBERS:
            problem = f"{maker.count * maker.pages_per_round:,} pages of {size:,} numbers are published in a round"
            yield ("creators", number), problem, f"lower count or pages_per_round: at most {LIMIT_NUMBERS:,} numbers"


def reservoir_checks(question: Question) -> Iterator[Finding]:
    """A page of a finite source is published once."""
    humans, archive = question.scenario.humans.open(), question.scenario.web.archive
    if humans.pool_size is not None and (wanted := human_pages(question)) > humans.pool_size:
        fresh = wanted - archive
        problem = f"{archive:,} human pages are wanted"
        if fresh:
            problem = f"{archive:,} archived and {fresh:,} fresh human pages are wanted"
        remedy = "lower the archive, the creators' pages or the rounds" if fresh else "lower the archive"
        yield ("web", "archive"), f"{problem}, but `{humans.name}` has {humans.pool_size:,}", remedy


def human_pages(question: Question) -> int:
    """How many human pages a run is known to draw."""
    scenario = question.scenario
    starts = sorted({0, *(start for start in question.policies if start < scenario.rounds)})
    # What attention, adoption or a reservoir leave of it is not known before; a run that wants too much says so.
    fresh = sum(
        (end - start) * sum(c.count * c.pages_per_round for c in question.at(start).creators if _is_steady(c))
        for start, end in zip(starts, [*starts[1:], scenario.rounds], strict=True)
    )
    return scenario.web.archive + fresh + sum(provider.reserve or 0 for provider in question.providers)
