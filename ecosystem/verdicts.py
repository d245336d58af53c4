"""From records to verdicts: what changed against generation 0, how sure we are, and what that is called.

*Effect.* For a metric m of one provider and one seed, the change from its own generation 0 to its end, the mean of
the last quarter of its generations, as the ratio that says how many times *worse* it became:
m_end / m_0 where lower is better, m_0 / m_end where higher is better. Judged are a distance (the Fréchet distance on
images, sliced Wasserstein on vectors) and diversity (recall, the modes kept, and the number of classes in use,
the exponential of the class entropy).

*Interval.* Over S seeds the logarithms of the ratios have mean d and standard error s / sqrt(S); the interval is
Student's at 95 %. With one seed there is nothing to say about other seeds: the interval then covers only the draw of
the evaluation samples, and the verdict's note says so. It is a delete-a-group jackknife of the *change*: sample i of
every generation has the same prompt and noise, so most of what one draw adds to generation 0 it also adds to the end.

*Reading*, with a margin of 1.25 on what matters:

    collapsed    diversity only: the whole interval beyond 2, more than half of it is gone
    degrading    effect >= 1.25, and 1 outside the interval
    improving    effect <= 1/1.25, and 1 outside the interval (a distance only)
    stable       the whole interval within 1/1.25 .. 1.25
    undecided    anything else: more seeds would tell

A provider's verdict is collapsed if any reading is, else degrading if any is, else undecided if any is, else
improving if its distance is, else stable. A run's verdict is its worst provider's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ecosystem.metrics.base import standard_error
from ecosystem.records import Line
from ecosystem.summary import Evidence, Judgement, Verdict

MARGIN = 1.25
HALF = 2.0
LEVEL = 0.95
WORST_FIRST: tuple[Verdict, ...] = ("collapsed", "degrading", "undecided", "improving", "stable")

DISTANCES = ("frechet", "sliced-wasserstein")
DIVERSITIES = ("recall", "modes", "class-entropy")


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    effect: float
    low: float
    high: float

    def map(self, function: Callable[[float], float]) -> Interval:
        """Through an increasing function."""
        return Interval(function(self.effect), function(self.low), function(self.high))


@dataclass(frozen=True)
class Estimate:
    """A number of one seed, and the same number without each group of the evaluation samples (none: it was counted)."""

    value: float
    replicates: tuple[float, ...] = ()

    def error(self) -> float:
        """Standard error by the delete-a-group jackknife; 0 of what was counted."""
        return standard_error(self.replicates) if self.replicates else 0.0

    @staticmethod
    def of(function: Callable[..., float], *estimates: Estimate) -> Estimate:
        """The function of estimates that share their samples. Counted ones are the same without any group."""
        groups = max(len(e.replicates) for e in estimates)
        columns = [e.replicates or (e.value,) * groups for e in estimates]
        return Estimate(
            function(*(e.value for e in estimates)), tuple(function(*row) for row in zip(*columns, strict=True))
        )


@dataclass(frozen=True)
class Series:
    """One number by generation (or round) of one seed; None where there is no such number."""

    values: Sequence[Estimate | None]

    def start(self) -> Estimate | None:
        return self.values[0] if self.values else None

    def end(self) -> Estimate | None:
        """The mean of the last quarter; None where one of it is missing (or infinite, as a lambda can be)."""
        tail = self.values[-max(1, len(self.values) // 4) :]
        found = [e for e in tail if e is not None]
        if not found or len(found) < len(tail):
            return None
        return Estimate.of(lambda *values: float(np.mean(values)), *found)

    def at(self, generation: int) -> Estimate | None:
        return self.values[generation] if generation < len(self.values) else None


def interval(estimates: Sequence[Estimate]) -> Interval | None:
    """Student's interval of the mean over seeds; over one seed, that of its jackknife."""
    values = [e.value for e in estimates]
    if not values or not all(map(math.isfinite, values)):
        return None
    mean = float(np.mean(values))
    if len(values) == 1:
        freedom, error = max(1, len(estimates[0].replicates) - 1), estimates[0].error()
    else:
        freedom, error = len(values) - 1, float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = _student(freedom) * error
    return Interval(mean, mean - half, mean + half)


@cache
def _student(freedom: int) -> float:
    """Student's quantile at the interval's upper end."""
    from scipy.stats import t

    return float(t.ppf(0.5 + LEVEL / 2, freedom))


def change(function: Callable[[float, float], float], a: Estimate | None, b: Estimate | None) -> Estimate:
    """function(a, b), not a number where either is missing."""
    return Estimate(math.nan) if a is None or b is None else Estimate.of(function, a, b)


def log_ratio(floor: float) -> Callable[[float, float], float]:
    """log(end / start); ``floor`` keeps a lost metric from being infinitely lost."""
    return lambda start, end: math.log(max(end, floor) / max(start, floor))


# Judging a provider


def evidence(metric: str, runs: Sequence[Series], samples: int) -> Evidence | None:
    """The change of a metric over seeds, and what it reads; None where it was not measured."""
    starts = [start.value for run in runs if (start := run.start()) is not None]
    if not starts:
        return None
    ends = [end.value for run in runs if (end := run.end()) is not None]
    first, last = float(np.mean(starts)), float(np.mean(ends)) if ends else None
    found = None
    if min(len(run.values) for run in runs) > 1:
        found = interval([change(_worse(metric, samples), run.start(), run.end()) for run in runs])
    if found is None:
        return _evidence(metric, first, last, None, "undecided")
    found = found.map(math.exp)
    return _evidence(metric, first, last, found, read(found, metric in DIVERSITIES))


def _worse(metric: str, samples: int) -> Callable[[float, float], float]:
    """How much worse the end is than the start, on the logarithmic scale."""
    if metric in DISTANCES:
        return log_ratio(1e-12)
    if metric == "class-entropy":
        # The entropy is the logarithm of the number of classes in use: its difference is the log ratio already.
        return lambda start, end: start - end
    return lambda start, end: -log_ratio(0.5 / samples)(start, end)


def _evidence(metric: str, start: float, end: float | None, found: Interval | None, reads: Verdict) -> Evidence:
    return {
        "metric": metric,
        "start": start,
        "end": end,
        "effect": found.effect if found else None,
        "low": found.low if found else None,
        "high": found.high if found else None,
        "reads": reads,
    }


def read(found: Interval, diversity: bool) -> Verdict:
    """The word for an effect (a ratio; above 1 is worse)."""
    if diversity and found.low > HALF:
        return "collapsed"
    if found.effect >= MARGIN and found.low > 1:
        return "degrading"
    if found.effect <= 1 / MARGIN and found.high < 1:
        return "stable" if diversity else "improving"
    if found.low >= 1 / MARGIN and found.high <= MARGIN:
        return "stable"
    # More diversity than at generation 0 is no harm, however uncertain how much.
    return "stable" if diversity and found.high <= MARGIN else "undecided"


def of_provider(evidences: Iterable[Evidence]) -> Verdict:
    readings = {e["reads"] for e in evidences}
    return next((verdict for verdict in WORST_FIRST if verdict in readings), "undecided")


def of_run(verdicts: Iterable[Verdict]) -> Verdict:
    found = set(verdicts)
    return next((verdict for verdict in WORST_FIRST if verdict in found), "undecided")


# Series out of records


# What is counted of a training set: metric name -> key in the records.
COUNTED = {
    "lambda": "lambda",
    "synthetic-share": "synthetic_share",
    "lineage": "lineage",
    "data-set-pages": "pages",
}


def provider_series(lines: Sequence[Line], provider: str, metric: str) -> Series:
    """A metric or count of a provider by generation; `vote-share` by round."""
    rows = [line["providers"][provider] for line in lines]
    if metric == "vote-share":
        return _counted(row["vote_share"] for row in rows)
    trained = [row["trained"] for row in rows if "trained" in row]
    if metric in COUNTED:
        return _counted(row[COUNTED[metric]] for row in trained)
    return Series([_measured(row, metric) for row in trained])


def web_series(lines: Sequence[Line], metric: str) -> Series:
    """A count of the web by round."""
    return _counted(line["web"][metric.replace("-", "_")] for line in lines)


def _measured(row: Line, metric: str) -> Estimate | None:
    value = row["metrics"].get(metric)
    return None if value is None else Estimate(value, tuple(row["replicates"].get(metric, ())))


def _counted(values: Iterable[float | None]) -> Series:
    return Series([None if value is None else Estimate(value) for value in values])


# Claims


@dataclass(frozen=True)
class Judged:
    verdict: Judgement
    found: Interval | None
    evidence: str


def judge(claim: dict[str, Any], runs: Sequence[Sequence[Line]], verdicts: dict[str, Verdict]) -> Judged:
    """A claim (its YAML mapping) over the seeds' records."""
    word, of = claim["is"], claim.get("of")
    if word in WORST_FIRST:
        actual = verdicts[str(of)]
        held: Judgement = "undecided" if actual == "undecided" else "held" if actual == word else "refuted"
        return Judged(held, None, f"the verdict on {of} is {actual}")
    series = [_series(lines, of, claim["metric"]) for lines in runs]
    if not all(len(s.values) for s in series):
        return Judged("undecided", None, "not measured in every seed")
    if word in ("lower-than", "higher-than"):
        return _comparison(claim, series, runs)
    if min(len(s.values) for s in series) < 2:
        return Judged("undecided", None, "one generation has no trend")
    if word in ("increasing", "decreasing"):
        found = interval([change(_difference, s.start(), s.end()) for s in series])
        return _sign(found, word == "increasing", "change from first to last")
    return _factor(series, claim["within"] if word == "bounded" else claim["factor"], word == "bounded")


def _series(lines: Sequence[Line], of: str | None, metric: str) -> Series:
    return provider_series(lines, of, metric) if of else web_series(lines, metric)


def _difference(start: float, end: float) -> float:
    return end - start


def _factor(series: Sequence[Series], limit: float, bounded: bool) -> Judged:
    found = interval([change(log_ratio(1e-12), s.start(), s.end()) for s in series])
    if found is None:
        return Judged("undecided", None, "not measured at the end")
    found = found.map(math.exp)
    below, above = found.high <= limit, found.low > limit
    verdict: Judgement = "undecided"
    if below or above:
        verdict = "held" if below == bounded else "refuted"
    return Judged(verdict, found, f"times its generation 0, the limit being {limit:g}")


def _comparison(claim: dict[str, Any], series: Sequence[Series], runs: Sequence[Sequence[Line]]) -> Judged:
    higher, than = claim["is"] == "higher-than", claim.get("than")
    if than is None:
        limit = Estimate(claim["value"])
        found = interval([change(_difference, limit, s.end()) for s in series])
        return _sign(found, higher, f"difference from {claim['value']:g}")
    of, generation = than.get("of") or claim["of"], than.get("generation")
    others = [_series(lines, of, claim["metric"]) for lines in runs]
    sides = [other.end() if generation is None else other.at(generation) for other in others]
    found = interval([change(_difference, other, s.end()) for s, other in zip(series, sides, strict=True)])
    whom = of if generation is None else f"generation {generation} of {of}"
    return _sign(found, higher, f"difference from {whom}")


def _sign(found: Interval | None, positive: bool, words: str) -> Judged:
    if found is None:
        return Judged("undecided", None, "not measured on both sides (or infinite)")
    up, down = found.low > 0, found.high < 0
    verdict: Judgement = "undecided"
    if up or down:
        verdict = "held" if up == positive else "refuted"
    elif found.low == found.high == 0.0:
        verdict = "refuted"  # exactly no change, counted, not estimated
    return Judged(verdict, found, words)


def in_words(claim: dict[str, Any]) -> str:
    """A claim as a sentence."""
    word, of, metric = claim["is"], claim.get("of"), claim.get("metric")
    if word in WORST_FIRST:
        return f"{of} is {word}"
    subject = f"{metric} of {of}" if of else f"{metric} of the web"
    if word == "bounded":
        return f"{subject} stays within {claim['within']:g} times its generation 0"
    if word == "outgrows":
        return f"{subject} outgrows {claim['factor']:g} times its generation 0"
    if word in ("increasing", "decreasing"):
        return f"{subject} is {word}"
    than = claim.get("than")
    if than is None:
        return f"{subject} is {word.replace('-', ' ')} {claim['value']:g}"
    other = f"of {than['of']}" if than.get("of") else "its own"
    at = "" if than.get("generation") is None else f" at generation {than['generation']}"
    return f"{subject} is {word.replace('-', ' ')} {other}{at}"
