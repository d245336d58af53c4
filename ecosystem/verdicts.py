"""From records to verdicts: what changed against generation 0, how sure we are, and what that is called.

*Effect.* For a metric m of one provider and one seed, the change from its own generation 0 to its end, the mean of
the last quarter of its generations, as the ratio that says how many times *worse* it became:
m_end / m_0 where lower is better, m_0 / m_end where higher is better. Over seeds the logarithms of the ratios have
Student's interval at 95 % (estimates.py). Judged are

    a distance      the Fréchet distance on images, sliced Wasserstein on vectors
    diversities     recall; the modes kept; the classes in use, exp of the class entropy; heterozygosity: the more
                    the better, and more than at generation 0 is no harm
    the variance    of the model, where it is known exactly: less is lost diversity, but more is no gain: a loop
                    of kernel estimates widens without end. So it is read both ways, the effect being m_0 / m_end

and no other: recall and its like, or the variance, carry the verdict alone where no distance is measured. The Gaussian
Wasserstein distance is not judged, since at generation 0 it is nearly nothing and any ratio to that is large; nor the
negative log-likelihood, which has no zero to take ratios from (both are population risk in collapse.py); nor the
variance of the samples, which is that of the model with noise.

*Reading*, with a margin of 1.25 on what matters:

    collapsed    diversity or variance: the whole interval beyond 2, more than half of it is gone
    degrading    effect >= 1.25, and 1 outside the interval; or the whole interval of the variance below 1/1.25
    improving    effect <= 1/1.25, and 1 outside the interval (a distance only)
    stable       the whole interval within 1/1.25 .. 1.25
    undecided    anything else: more seeds would tell

Over one seed a number without sampling error has no interval, and is undecided: nothing is known of other seeds.

A provider's verdict is collapsed if any reading is, else degrading if any is, else undecided if any is, else
improving if its distance is, else stable. A run's verdict is its worst provider's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ecosystem import agreement, measures, recovery
from ecosystem.estimates import (
    Estimate,
    Interval,
    Series,
    change,
    difference,
    interval,
    log_ratio,
    lone,
    more_seeds_for,
)
from ecosystem.metrics.neighbours import TAIL
from ecosystem.records import Line
from ecosystem.summary import Direction, Evidence, Judgement, Theory, Verdict

MARGIN = 1.25
HALF = 2.0
WORST_FIRST: tuple[Verdict, ...] = ("collapsed", "degrading", "undecided", "improving", "stable")

DISTANCES = ("fid", "frechet", "sliced-wasserstein")
VARIANCE = "model-variance"
DIVERSITIES = ("recall", "modes", "class-entropy", VARIANCE, "heterozygosity")

Kind = Literal["distance", "diversity", "variance"]
LONE = "one seed: nothing is known of other seeds"


# Judging a provider


def evidence(metric: str, runs: Sequence[Series], samples: int) -> Evidence | None:
    """The change of a metric over seeds, and what it reads; None where it was not measured."""
    starts = [start.value for run in runs if (start := run.start()) is not None]
    if not starts:
        return None
    ends = [end.value for run in runs if (end := run.end()) is not None]
    first, last = float(np.mean(starts)), float(np.mean(ends)) if ends else None
    changes: list[Estimate] = []
    if min(len(run.values) for run in runs) > 1:
        changes = [change(_worse(metric, samples), run.start(), run.end()) for run in runs]
    found = interval(changes)
    if found is None:
        return _evidence(metric, first, last, None, "undecided")
    if lone(changes):
        return {**_evidence(metric, first, last, found.exp(), "undecided"), "low": None, "high": None}
    reads = read(found.exp(), _kind(metric))
    more = more_seeds_for(changes, lambda f: read(f.exp(), _kind(metric)) != "undecided")
    return _evidence(metric, first, last, found.exp(), reads, more)


def _evidence(
    metric: str, start: float, end: float | None, found: Interval | None, reads: Verdict, more: int | None = None
) -> Evidence:
    return {
        "metric": metric,
        "start": start,
        "end": end,
        "effect": found.effect if found else None,
        "low": found.low if found else None,
        "high": found.high if found else None,
        "reads": reads,
        "more_seeds": more,
    }


def _kind(metric: str) -> Kind:
    if metric == VARIANCE:
        return "variance"
    return "diversity" if metric in DIVERSITIES else "distance"


def _worse(metric: str, samples: int) -> Callable[[float, float], float]:
    """How much worse the end is than the start, on the logarithmic scale."""
    grown = log_change(metric, samples)
    return grown if metric in DISTANCES else lambda start, end: -grown(start, end)


def log_change(metric: str, samples: int) -> Callable[[float, float], float]:
    """log(end / start) of a metric; a share of the samples that is lost counts as half a sample."""
    if metric == "class-entropy":
        # The entropy is the logarithm of the number of classes in use: its difference is the log ratio already.
        return difference
    if metric in ("variance", VARIANCE):
        # Its unit is anybody's, so that what is too little to count is told from the start.
        return lambda start, end: log_ratio(max(1e-12 * start, 1e-300))(start, end)
    if metric == "tail-recall":
        return log_ratio(0.5 / (TAIL * samples))
    return log_ratio(0.5 / samples if metric in DIVERSITIES else 1e-12)


def read(found: Interval, kind: Kind) -> Verdict:
    """The word for an effect (a ratio; above 1 is worse)."""
    if kind != "distance" and found.low > HALF:
        return "collapsed"
    if found.effect >= MARGIN and found.low > 1:
        return "degrading"
    if kind == "variance" and found.high < 1 / MARGIN:
        return "degrading"
    if kind == "distance" and found.effect <= 1 / MARGIN and found.high < 1:
        return "improving"
    if found.low >= 1 / MARGIN and found.high <= MARGIN:
        return "stable"
    # More diversity than at generation 0 is no harm, however uncertain how much.
    return "stable" if kind == "diversity" and found.high <= MARGIN else "undecided"


def of_provider(evidences: Iterable[Evidence]) -> Verdict:
    return of_run(e["reads"] for e in evidences)


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
    if metric in measures.OF_PROVIDERS:
        return agent_series(lines, provider, metric)
    trained = [row["trained"] for row in rows if "trained" in row]
    if metric in COUNTED:
        return _counted(row[COUNTED[metric]] for row in trained)
    return Series([_measured(row, metric) for row in trained])


def agent_series(lines: Sequence[Line], name: str, metric: str) -> Series:
    """What was told of a group or provider, in the rounds in which it was."""
    told = [line["agents"][name] for line in lines if name in line.get("agents", {})]
    return _counted(row[metric] for row in told if metric in row)


def web_series(lines: Sequence[Line], metric: str) -> Series:
    """A count of the web by round, or what was measured of it in the rounds in which it could be."""
    if metric in measures.WEB:
        return _counted(row.get(metric) for line in lines if (row := line["web"].get("measured")) is not None)
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
    more_seeds: int | None = None


Rule = Callable[[Interval], Judgement]
Theories = Mapping[tuple[str, str], Theory]  # by provider and metric


def judge(
    claim: dict[str, Any],
    runs: Sequence[Sequence[Line]],
    verdicts: dict[str, Verdict],
    theory: Theories | None = None,
    better: Mapping[str, Direction] | None = None,
) -> Judged:
    """A claim (its YAML mapping) over the seeds' records. ``better``: by metric, of those of which one side is."""
    word, of = claim["is"], claim.get("of")
    if word in WORST_FIRST:
        actual = verdicts[str(of)]
        held: Judgement = "undecided" if actual == "undecided" else "held" if actual == word else "refuted"
        return Judged(held, None, f"the verdict on {of} is {actual}")
    series = [_series(lines, of, claim["metric"]) for lines in runs]
    if not all(len(s.values) for s in series):
        return Judged("undecided", None, "not measured in every seed")
    if word == "as-theory":
        return _as_theory(series, (theory or {}).get((str(of), claim["metric"])))
    if word in ("lower-than", "higher-than"):
        return _comparison(claim, series, runs)
    if min(len(s.values) for s in series) < 2:
        return Judged("undecided", None, "one generation has no trend")
    if word == "recovers":
        side, after, within = (better or {}).get(claim["metric"], "neither"), claim["after"], claim["within"]
        found = recovery.judge(series, after, within, side, counted=_is_data_flow(claim))
        return Judged(found.verdict, found.end, found.words, found.more_seeds)
    if word in ("increasing", "decreasing"):
        changes = [change(difference, s.start(), s.end()) for s in series]
        return _judged(claim, changes, _sign(word == "increasing"), "change from first to last")
    limit = claim["within"] if word == "bounded" else claim["factor"]
    changes = [change(log_ratio(1e-12), s.start(), s.end()) for s in series]
    words = f"times its generation 0, the limit being {limit:g}"
    return _judged(claim, changes, _within(limit, word == "bounded"), words, Interval.exp)


def _series(lines: Sequence[Line], of: str | None, metric: str) -> Series:
    if of is None:
        return web_series(lines, metric)
    a_provider = any(of in line["providers"] for line in lines[:1])
    return provider_series(lines, of, metric) if a_provider else agent_series(lines, of, metric)


def _judged(
    claim: dict[str, Any],
    changes: Sequence[Estimate],
    rule: Rule,
    words: str,
    scale: Callable[[Interval], Interval] = lambda found: found,
) -> Judged:
    """A rule on the interval of the seeds' changes."""
    found = interval(changes)
    if found is None:
        return Judged("undecided", None, "not measured on both sides (or infinite)")
    if lone(changes) and not _is_data_flow(claim):
        return Judged("undecided", None, LONE)
    verdict = rule(scale(found))
    more = more_seeds_for(changes, lambda f: rule(scale(f)) != "undecided")
    return Judged(verdict, scale(found), words, more)


def _as_theory(series: Sequence[Series], theory: Theory | None) -> Judged:
    """Whether the metric follows its closed form."""
    if theory is None:
        return Judged("undecided", None, "no closed form is known of it")
    found, seeds = agreement.checks(series, theory), len(series)
    if not found:
        return Judged("undecided", None, "no generation that every seed reached has a prediction with an error")
    verdict, words = agreement.verdict(found, seeds), agreement.in_words(found)
    if seeds < agreement.ENOUGH_SEEDS:
        words += f"; {seeds} seeds of the {agreement.ENOUGH_SEEDS} that are needed"
    return Judged(verdict, None, words, agreement.more_seeds(found, seeds) if verdict == "undecided" else None)


def _is_data_flow(claim: dict[str, Any]) -> bool:
    """Whether it is about pages as they were counted: policy decides them more than chance does."""
    return not claim.get("of") or claim["metric"] in COUNTED


def _within(limit: float, bounded: bool) -> Rule:
    def rule(found: Interval) -> Judgement:
        below, above = found.high <= limit, found.low > limit
        return ("held" if below == bounded else "refuted") if below or above else "undecided"

    return rule


def _sign(positive: bool) -> Rule:
    def rule(found: Interval) -> Judgement:
        up, down = found.low > 0, found.high < 0
        if up or down:
            return "held" if up == positive else "refuted"
        # Exactly no change, counted, not estimated.
        return "refuted" if found.low == found.high == 0.0 else "undecided"

    return rule


def _comparison(claim: dict[str, Any], series: Sequence[Series], runs: Sequence[Sequence[Line]]) -> Judged:
    rule, than = _sign(claim["is"] == "higher-than"), claim.get("than")
    if than is None:
        limit = Estimate(claim["value"])
        changes = [change(difference, limit, s.end()) for s in series]
        return _judged(claim, changes, rule, f"difference from {claim['value']:g}")
    of, generation = than.get("of") or claim["of"], than.get("generation")
    others = [_series(lines, of, claim["metric"]) for lines in runs]
    sides = [other.end() if generation is None else other.at(generation) for other in others]
    changes = [change(difference, other, s.end()) for s, other in zip(series, sides, strict=True)]
    whom = of if generation is None else f"generation {generation} of {of}"
    return _judged(claim, changes, rule, f"difference from {whom}")


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
    if word == "recovers":
        return f"{subject} recovers after generation {claim['after']}, to within {claim['within']:g} times"
    if word in ("increasing", "decreasing"):
        return f"{subject} is {word}"
    if word == "as-theory":
        return f"{subject} follows theory"
    than = claim.get("than")
    if than is None:
        return f"{subject} is {word.replace('-', ' ')} {claim['value']:g}"
    other = f"of {than['of']}" if than.get("of") else "its own"
    at = "" if than.get("generation") is None else f" at generation {than['generation']}"
    return f"{subject} is {word.replace('-', ' ')} {other}{at}"
