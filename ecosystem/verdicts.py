"""From records to verdicts: what changed against generation 0, how sure we are, and what that is called.

*Effect.* For a metric m of one provider and one seed, the change from its own generation 0 to its end, the mean of
the last quarter of its generations, as the ratio that says how many times *worse* it became:
m_end / m_0 where lower is better, m_0 / m_end where higher is better. Judged are a distance (the Fréchet distance on
images, sliced Wasserstein on vectors) and diversity (recall, the modes kept, and the number of classes in use,
the exponential of the class entropy).

*Interval.* Over S seeds the logarithms of the ratios have mean d and standard error s / sqrt(S); the interval is
Student's at 95 %. With one seed there is nothing to say about other seeds: the interval then covers only the draw of
the evaluation samples (delete-a-group jackknife), and the verdict's note says so.

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
from typing import Any

import numpy as np

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
    """An estimate with its 95 % interval; ``single`` where one seed's evaluation noise is all that is covered."""

    effect: float
    low: float
    high: float
    single: bool = False

    def map(self, function: Callable[[float], float]) -> Interval:
        """Through an increasing function."""
        return Interval(function(self.effect), function(self.low), function(self.high), self.single)


@dataclass(frozen=True)
class Series:
    """One number by generation (or round) of one seed, with the standard error of measuring it."""

    values: Sequence[float | None]
    errors: Sequence[float]

    def end(self) -> tuple[float | None, float]:
        """The mean of the last quarter, and its error; the samples share their noise, so errors do not average out."""
        tail = max(1, len(self.values) // 4)
        values = [v for v in self.values[-tail:] if v is not None]
        if not values:
            return None, 0.0
        return float(np.mean(values)), float(np.mean(self.errors[-tail:]))

    def start(self) -> tuple[float | None, float]:
        return (self.values[0], self.errors[0]) if self.values else (None, 0.0)


def interval(values: Sequence[float], errors: Sequence[float], groups: int) -> Interval | None:
    """Student's interval of the mean over seeds; over one seed, that of its measurement error.

    values, errors: (seeds,), one effect a seed and its measurement error; groups: of the jackknife.
    """
    from scipy.stats import t

    if len(values) == 0 or not all(map(math.isfinite, values)):
        return None
    mean = float(np.mean(values))
    if len(values) == 1:
        half = float(t.ppf(0.5 + LEVEL / 2, groups - 1)) * errors[0]
        return Interval(mean, mean - half, mean + half, single=True)
    half = float(t.ppf(0.5 + LEVEL / 2, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def log_ratio(start: tuple[float | None, float], end: tuple[float | None, float], floor: float) -> tuple[float, float]:
    """log(end / start) and its error by the delta method; ``floor`` keeps a lost metric from being infinitely lost."""
    if start[0] is None or end[0] is None:
        return math.nan, 0.0
    a, b = max(start[0], floor), max(end[0], floor)
    return math.log(b / a), math.hypot(start[1] / a, end[1] / b)


# Judging a provider


def evidence(metric: str, runs: Sequence[Series], groups: int, samples: int) -> Evidence | None:
    """The change of a metric over seeds, and what it reads; None where it was not measured."""
    runs = [run for run in runs if len(run.values) and run.start()[0] is not None]
    if not runs:
        return None
    start = float(np.mean([run.start()[0] for run in runs]))
    ends = [run.end()[0] for run in runs]
    end = float(np.mean([e for e in ends if e is not None])) if any(e is not None for e in ends) else None
    generations = min(len(run.values) for run in runs)
    if generations < 2:
        return _evidence(metric, start, end, None, "undecided")
    worse = [_worse(metric, run, samples) for run in runs]
    found = interval([w for w, _ in worse], [e for _, e in worse], groups)
    if found is None:
        return _evidence(metric, start, end, None, "undecided")
    found = found.map(math.exp)
    return _evidence(metric, start, end, found, read(found, metric in DIVERSITIES))


def _worse(metric: str, run: Series, samples: int) -> tuple[float, float]:
    """How much worse on the logarithmic scale, and its error, for one seed."""
    if metric in DISTANCES:
        return log_ratio(run.start(), run.end(), floor=1e-12)
    if metric == "class-entropy":
        # The entropy is the logarithm of the number of classes in use: its difference is the log ratio already.
        (a, ea), (b, eb) = run.start(), run.end()
        return (math.nan if a is None or b is None else a - b), math.hypot(ea, eb)
    change, error = log_ratio(run.start(), run.end(), floor=0.5 / samples)
    return -change, error


def _evidence(
    metric: str, start: float, end: float | None, found: Interval | None, reads: Verdict
) -> Evidence:
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
    if 1 / MARGIN <= found.low and found.high <= MARGIN:
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


def provider_series(lines: Sequence[Line], provider: str, metric: str) -> Series:
    """A metric or count of a provider by generation; `vote-share` by round."""
    rows = [line["providers"][provider] for line in lines]
    if metric == "vote-share":
        return Series([row["vote_share"] for row in rows if row["vote_share"] is not None], [0.0] * len(rows))
    trained = [row["trained"] for row in rows if "trained" in row]
    counted = {"lambda": "lambda", "synthetic-share": "synthetic_share", "lineage": "lineage"}
    if metric in counted:
        return Series([row[counted[metric]] for row in trained], [0.0] * len(trained))
    if metric == "data-set-pages":
        return Series([row["pages"] for row in trained], [0.0] * len(trained))
    return Series(
        [row["metrics"].get(metric) for row in trained],
        [row["errors"].get(metric, 0.0) for row in trained],
    )


def web_series(lines: Sequence[Line], metric: str) -> Series:
    """A count of the web by round."""
    return Series([line["web"][metric.replace("-", "_")] for line in lines], [0.0] * len(lines))


# Claims


@dataclass(frozen=True)
class Judged:
    verdict: Judgement
    found: Interval | None
    evidence: str


def judge(claim: dict[str, Any], runs: Sequence[Sequence[Line]], groups: int, verdicts: dict[str, Verdict]) -> Judged:
    """A claim (its YAML mapping) over the seeds' records."""
    word, of = claim["is"], claim.get("of")
    if word in WORST_FIRST:
        actual = verdicts[of]
        held: Judgement = "undecided" if actual == "undecided" else "held" if actual == word else "refuted"
        return Judged(held, None, f"the verdict on {of} is {actual}")
    series = [_series(lines, of, claim["metric"]) for lines in runs]
    series = [s for s in series if len(s.values)]
    if not series:
        return Judged("undecided", None, "nothing was measured")
    if word in ("increasing", "decreasing"):
        return _trend(series, groups, upwards=word == "increasing")
    if word in ("bounded", "outgrows"):
        return _factor(series, groups, claim["within"] if word == "bounded" else claim["factor"], word == "bounded")
    return _comparison(claim, series, runs, groups)


def _series(lines: Sequence[Line], of: str | None, metric: str) -> Series:
    return provider_series(lines, of, metric) if of else web_series(lines, metric)


def _difference(a: tuple[float | None, float], b: tuple[float | None, float]) -> tuple[float, float]:
    return (math.nan if a[0] is None or b[0] is None else a[0] - b[0]), math.hypot(a[1], b[1])


def _trend(series: Sequence[Series], groups: int, upwards: bool) -> Judged:
    if min(len(s.values) for s in series) < 2:
        return Judged("undecided", None, "one generation has no trend")
    changes = [_difference(s.end(), s.start()) for s in series]
    found = interval([c for c, _ in changes], [e for _, e in changes], groups)
    return _sign(found, upwards, "changed by")


def _factor(series: Sequence[Series], groups: int, limit: float, bounded: bool) -> Judged:
    if min(len(s.values) for s in series) < 2:
        return Judged("undecided", None, "one generation cannot grow")
    logs = [log_ratio(s.start(), s.end(), floor=1e-12) for s in series]
    found = interval([v for v, _ in logs], [e for _, e in logs], groups)
    if found is None:
        return Judged("undecided", None, "not measured at the end")
    found = found.map(math.exp)
    below, above = found.high <= limit, found.low > limit
    verdict: Judgement = "undecided"
    if below or above:
        verdict = "held" if below == bounded else "refuted"
    return Judged(verdict, found, f"{_words(found)} times its generation 0, the limit being {limit:g}")


def _comparison(
    claim: dict[str, Any], series: Sequence[Series], runs: Sequence[Sequence[Line]], groups: int
) -> Judged:
    higher = claim["is"] == "higher-than"
    than = claim.get("than")
    if than is None:
        pairs = [_difference(s.end(), (claim["value"], 0.0)) for s in series]
        found = interval([p for p, _ in pairs], [e for _, e in pairs], groups)
        return _sign(found, higher, f"against {claim['value']:g} differs by")
    of, generation = than.get("of") or claim["of"], than.get("generation")
    others = [_series(lines, of, claim["metric"]) for lines in runs]
    if generation is None:
        ends = [other.end() for other in others]
    else:
        ends = [
            (o.values[generation], o.errors[generation]) if generation < len(o.values) else (None, 0.0)
            for o in others
        ]
    pairs = [_difference(s.end(), other) for s, other in zip(series, ends, strict=True)]
    found = interval([p for p, _ in pairs], [e for _, e in pairs], groups)
    whom = of if generation is None else f"generation {generation} of {of}"
    return _sign(found, higher, f"differs from {whom} by")


def _sign(found: Interval | None, positive: bool, words: str) -> Judged:
    if found is None:
        return Judged("undecided", None, "not measured on both sides (or infinite)")
    up, down = found.low > 0, found.high < 0
    verdict: Judgement = "undecided"
    if up or down:
        verdict = "held" if up == positive else "refuted"
    elif found.low == found.high == 0.0:
        verdict = "refuted"  # exactly no change, counted, not estimated
    return Judged(verdict, found, f"{words} {_words(found)}")


def _words(found: Interval) -> str:
    return f"{found.effect:.3g} [{found.low:.3g}, {found.high:.3g}]"


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
