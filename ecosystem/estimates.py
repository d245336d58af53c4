"""Numbers with a stated error: estimates by seed, their change over generations, the interval over seeds.

*Interval.* Over S seeds values with mean m and standard deviation s have Student's interval

    m +- t_{S-1} s / sqrt(S)          (at 95 %).

With one seed there is nothing to say about other seeds: the interval then covers only the draw of the evaluation
samples, by a delete-a-group jackknife of the *change*: sample i of every generation has the same prompt and noise, so
most of what one draw adds to generation 0 it also adds to the end. What was counted, or is known exactly, has no
replicates; over one seed its interval has no width, and says nothing.

*Of many.* Who looks at k numbers and then speaks of one of them is wrong more often than in one case of twenty.
Intervals at 1 - 0.05 / k cover all k of them at once in 95 % of cases (C. E. Bonferroni, 1936).

*More seeds.* Where an interval leaves a question open, ``more_seeds`` says how many seeds would close it if m and s
stayed as they are: the interval shrinks as S grows, so the smallest such S is found by halving.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ecosystem.metrics.base import standard_error

LEVEL = 0.95
MOST_SEEDS = 10_000
LARGEST_LOG = 700.0  # exp of more is hardly a number any more


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    effect: float
    low: float
    high: float

    def map(self, function: Callable[[float], float]) -> Interval:
        """Through an increasing function."""
        return Interval(function(self.effect), function(self.low), function(self.high))

    def exp(self) -> Interval:
        """Of logarithms, as ratios; what is too large for a number stays the largest."""
        return self.map(lambda x: math.exp(min(x, LARGEST_LOG)))


@dataclass(frozen=True)
class Estimate:
    """A number of one seed, and the same number without each group of the evaluation samples (none: it was counted)."""

    value: float
    replicates: tuple[float, ...] = ()

    def error(self) -> float:
        """Standard error by the delete-a-group jackknife; 0 of what was counted."""
        return standard_error(self.replicates)

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
        """The mean of the last quarter."""
        return self.mean(len(self.values) - self.quarter(), len(self.values))

    def at(self, generation: int) -> Estimate | None:
        return self.values[generation] if generation < len(self.values) else None

    def quarter(self) -> int:
        """How many generations a quarter of them are."""
        return max(1, len(self.values) // 4)

    def mean(self, first: int, stop: int) -> Estimate | None:
        """Of the generations ``first`` to ``stop`` - 1; None where one is missing (or infinite, as a lambda can be)."""
        part = self.values[max(first, 0) : stop]
        found = [e for e in part if e is not None]
        if not found or len(found) < len(part):
            return None
        return Estimate.of(_mean, *found)


def _mean(*values: float) -> float:
    """Of equal numbers exactly their value: rounding is no change."""
    return values[0] + math.fsum(value - values[0] for value in values) / len(values)


def interval(estimates: Sequence[Estimate], of: int = 1) -> Interval | None:
    """Student's interval of the mean over seeds; over one seed, that of its jackknife. ``of`` so many, all at once."""
    values = [e.value for e in estimates]
    if not values or not all(map(math.isfinite, values)):
        return None
    mean = float(np.mean(values))
    if len(values) == 1:
        half = _student(max(1, len(estimates[0].replicates) - 1), of) * estimates[0].error()
    else:
        half = _half_width(float(np.std(values, ddof=1)), len(values), of)
    return Interval(mean, mean - half, mean + half)


def lone(estimates: Sequence[Estimate]) -> bool:
    """One seed and no replicates: an interval of no width, which says nothing of other seeds."""
    return len(estimates) == 1 and not estimates[0].replicates


def more_seeds(mean: float, spread: float, seeds: int, decided: Callable[[Interval], bool], of: int = 1) -> int | None:
    """How many more seeds decide, were mean and standard deviation to stay; None: it is decided, or they never would.

    ``decided`` must hold of an interval around the mean that lies inside one of which it holds.
    """

    def enough(count: int) -> bool:
        half = _half_width(spread, count, of)
        return decided(Interval(mean, mean - half, mean + half))

    if seeds < 2 or not (math.isfinite(mean) and math.isfinite(spread)) or enough(seeds) or not enough(MOST_SEEDS):
        return None
    few, many = seeds, MOST_SEEDS
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many - seeds


def more_seeds_for(estimates: Sequence[Estimate], decided: Callable[[Interval], bool], of: int = 1) -> int | None:
    """The same of the seeds' estimates."""
    values = [e.value for e in estimates]
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    return more_seeds(float(np.mean(values)), float(np.std(values, ddof=1)), len(values), decided, of)


def _half_width(spread: float, seeds: int, of: int) -> float:
    return _student(seeds - 1, of) * spread / math.sqrt(seeds)


@cache
def _student(freedom: int, of: int) -> float:
    """Student's quantile at the upper end of an interval."""
    from scipy.special import stdtrit  # late, and not scipy.stats: importing that takes a second

    return float(stdtrit(freedom, 1 - (1 - LEVEL) / (2 * of)))


def change(function: Callable[[float, float], float], a: Estimate | None, b: Estimate | None) -> Estimate:
    """function(a, b), not a number where either is missing."""
    return Estimate(math.nan) if a is None or b is None else Estimate.of(function, a, b)


def difference(start: float, end: float) -> float:
    return end - start


def log_ratio(floor: float) -> Callable[[float, float], float]:
    """log(end / start); ``floor`` keeps a lost metric from being infinitely lost."""
    return lambda start, end: math.log(max(end, floor) / max(start, floor))
