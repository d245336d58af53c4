"""Two worlds beside each other: what was set differently, and what that did, seed by seed.

Randomness goes by name (rng.py), so that two runs of one seed differ by their settings alone: common random numbers
(P. Glasserman, D. D. Yao, Some Guidelines and Guarantees for Common Random Numbers, Management Science 38, 1992). What
chance adds to both sides cancels in

    d_s = b_s - a_s          of every seed s that both have,

and the mean of d over seeds has Student's interval at 95 %, as a verdict has (estimates.py; over one seed, that of the
jackknife). Of each metric of each provider two numbers are compared: its value at the *last* generation that all these
seeds reached, and its *growth* up to there from generation 0. Of the web it is the synthetic share, by round.

The object that ``ecosystem compare --json`` prints is ``Compared``, below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from ecosystem import estimates
from ecosystem.changes import ABSENT, Change, changes
from ecosystem.errors import ScenarioError
from ecosystem.estimates import Estimate, Interval, Series
from ecosystem.lines import runs_of
from ecosystem.records import Line
from ecosystem.results import Run
from ecosystem.summary import Direction, Verdict
from ecosystem.verdicts import provider_series, web_series

Reads = Literal["higher", "lower", "no difference", "unknown"]
What = Literal["last", "growth"]
WEB = "web"
WEB_METRIC = "synthetic-share"


class Side(TypedDict):
    """One run."""

    run: str  # its directory, as it was named
    scenario: str
    seeds: list[int]  # that have closed a round
    verdict: Verdict
    verdicts: dict[str, Verdict]  # by provider


class Setting(TypedDict):
    """A setting that differs; a side that lacks it lacks the key."""

    key: str
    before: NotRequired[Any]
    after: NotRequired[Any]


class Difference(TypedDict):
    """One number of this run minus the same number of the baseline, over the seeds that both have."""

    provider: str  # or "web"
    metric: str
    better: Direction  # of the metric
    what: What  # the value at the last generation, or its growth since generation 0
    generations: list[int]  # the last that all shared seeds reached, in the baseline and here (-1: none); or rounds
    baseline: float | None  # means over the shared seeds; null: not measured in all of them
    run: float | None
    difference: float | None
    low: float | None  # 95 % interval; null: over one seed without replicates there is none
    high: float | None
    reads: Reads


class Comparison(TypedDict):
    """A run against the baseline."""

    run: str
    changes: list[Setting]
    seeds: list[int]  # shared
    unpaired: dict[Literal["baseline", "run"], list[int]]
    differences: list[Difference]


class Compared(TypedDict):
    """What ``ecosystem compare --json`` prints."""

    runs: list[Side]  # the first is the baseline
    comparisons: list[Comparison]  # of each other run


Seeds = Mapping[int, Sequence[Line]]


def compare(runs: Sequence[tuple[str, Run]]) -> Compared:
    """Runs with their names; the first is the baseline. Raises ScenarioError where there is nothing to compare."""
    (name, baseline), *others = runs
    return {
        "runs": [_side(name, run) for name, run in runs],
        "comparisons": [_comparison(name, baseline, other, run) for other, run in others],
    }


def _side(name: str, run: Run) -> Side:
    summary = run.summary
    return {
        "run": name,
        "scenario": summary["scenario"],
        "seeds": summary["seeds"],
        "verdict": summary["verdict"],
        "verdicts": run.verdict,
    }


def _comparison(name: str, baseline: Run, other: str, run: Run) -> Comparison:
    seeds = _shared_seeds(name, baseline, other, run)
    a, b = (_lines(side, seeds) for side in (baseline, run))
    return {
        "run": other,
        "changes": [_setting(change) for change in changes(_asked(baseline), _asked(run))],
        "seeds": seeds,
        "unpaired": {
            "baseline": [seed for seed in baseline.summary["seeds"] if seed not in seeds],
            "run": [seed for seed in run.summary["seeds"] if seed not in seeds],
        },
        "differences": [*_of_providers(name, baseline, other, run, a, b), *_of_web(a, b)],
    }


def _lines(run: Run, seeds: Sequence[int]) -> Seeds:
    every = runs_of(run.record, list(run.summary["providers"]))
    return {seed: every[seed] for seed in seeds}


def _asked(run: Run) -> dict[str, Any]:
    """What a run asked, its defaults written out also where an older record lacks them."""
    return run.record.resolved() if run.question is None else run.question.resolved


def _setting(change: Change) -> Setting:
    found: Setting = {"key": change.key}
    if change.before is not ABSENT:
        found["before"] = change.before
    if change.after is not ABSENT:
        found["after"] = change.after
    return found


def _shared_seeds(name: str, baseline: Run, other: str, run: Run) -> list[int]:
    mine, theirs = baseline.summary["seeds"], run.summary["seeds"]
    shared = [seed for seed in mine if seed in theirs]
    if not shared:
        raise ScenarioError(
            f"{name} and {other} share no seed: {_listed(mine)} against {_listed(theirs)}. Differences are taken "
            f"seed by seed.\nRemedy: run the seeds of one for the other, as `--seeds {_listed(mine)}`."
        )
    return shared


def _listed(values: Sequence[int]) -> str:
    return ",".join(map(str, values[:8])) + (",..." if len(values) > 8 else "")


# Differences


def _of_providers(name: str, baseline: Run, other: str, run: Run, a: Seeds, b: Seeds) -> list[Difference]:
    mine, theirs = baseline.summary, run.summary
    shared = [provider for provider in mine["providers"] if provider in theirs["providers"]]
    if not shared:
        raise _nothing(name, other, "provider", mine["providers"], theirs["providers"])
    infos = {metric: info for metric, info in mine["metrics"].items() if metric in theirs["metrics"]}
    found = [
        _difference(provider, metric, info["better"], what, *sides)
        for provider in shared
        for metric, info in infos.items()
        if all(map(_measured, sides := [_series(side, provider, metric) for side in (a, b)]))
        for what in _WHAT
    ]
    if not found:
        raise _nothing(name, other, "metric", mine["metrics"], theirs["metrics"])
    return found


_WHAT: tuple[What, ...] = ("last", "growth")


def _nothing(name: str, other: str, what: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> ScenarioError:
    sides = " against ".join(", ".join(side) or "none" for side in (mine, theirs))
    return ScenarioError(
        f"{name} and {other} share no {what}: {sides}. Nothing in them can be compared.\n"
        f"Remedy: compare runs of scenarios that name a {what} alike."
    )


def _of_web(a: Seeds, b: Seeds) -> list[Difference]:
    sides = [[web_series(lines, WEB_METRIC) for lines in side.values()] for side in (a, b)]
    return [_difference(WEB, WEB_METRIC, "neither", what, *sides) for what in _WHAT]


def _series(side: Seeds, provider: str, metric: str) -> list[Series]:
    return [provider_series(lines, provider, metric) for lines in side.values()]


def _measured(side: Sequence[Series]) -> bool:
    return any(value is not None for series in side for value in series.values)


def _difference(
    provider: str, metric: str, better: Direction, what: What, a: Sequence[Series], b: Sequence[Series]
) -> Difference:
    ends = [min(len(series.values) for series in side) - 1 for side in (a, b)]
    sides = [[_number(series, end, what) for series in side] for side, end in zip((a, b), ends, strict=True)]
    pairs = [_paired(before, after) for before, after in zip(*sides, strict=True)]
    found = estimates.interval(pairs)
    sure = found is not None and not estimates.lone(pairs)
    return {
        "provider": provider,
        "metric": metric,
        "better": better,
        "what": what,
        "generations": ends,
        "baseline": _mean(sides[0]),
        "run": _mean(sides[1]),
        "difference": found.effect if found else None,
        "low": found.low if found and sure else None,
        "high": found.high if found and sure else None,
        "reads": _reads(found) if found and sure else "unknown",
    }


def _number(series: Series, end: int, what: What) -> Estimate:
    """Of one seed; not a number where there is none."""
    last = series.at(end) if end >= 0 else None  # a seed that stopped before its generation 0 has none
    if what == "growth":
        return estimates.change(estimates.difference, series.start(), last)
    return last or Estimate(math.nan)


def _paired(a: Estimate, b: Estimate) -> Estimate:
    """b - a. Sample i of both has the same prompt and noise, so that their replicates pair too, if they are as many."""
    if a.replicates and b.replicates and len(a.replicates) != len(b.replicates):
        return Estimate(b.value - a.value)
    return estimates.change(estimates.difference, a, b)


def _mean(numbers: Sequence[Estimate]) -> float | None:
    mean = sum(number.value for number in numbers) / len(numbers)
    return mean if math.isfinite(mean) else None


def _reads(found: Interval) -> Reads:
    return "higher" if found.low > 0 else "lower" if found.high < 0 else "no difference"
