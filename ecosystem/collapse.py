"""What "model collapse" means here: eight definitions, each held against the measurements on its own.

Research has meant eight different things by the word (R. Schaeffer, J. Kazdan, A. C. Arulandu, S. Koyejo, Position:
Model Collapse Does Not Mean What You Think, 2025, arXiv 2503.03150), and one loop can be a collapse by one and none
by another. The paper sets no thresholds; these are ours. With c the change from generation 0 to the end (the mean of
the last quarter of the generations) and [low, high] its 95 % interval over seeds (estimates.py):

    definition                            measured by                            yes               no
    catastrophic increase of risk         population risk                        low > B           high < B
    any increase of risk                  population risk                        low > 0           high < M
    asymptotically diverging risk         its speed, late and early              see below         see below
    change in scaling law                 risk at several data-set sizes         see below         see below
    collapsing variance                   model-variance, variance or            high < 1/2        low > 1/2
                                          heterozygosity
    entanglement of real modes            between-modes                          low > 0.05        high < 0.05
                                          or agreement                           high < -0.05      low > -0.05
    disappearance of the real tail        tail-recall or outcomes                high < 1/2        low > 1/2
    appearance of hallucinated data       precision                              high < -0.05      low > -0.05
                                          or between-modes                       low > 0.05        high < 0.05

and anything else is undecided. *Population risk* is the negative log-likelihood of held-out human items where it is
known, else a distance to them. Log-likelihood has no zero, so its changes are differences: B is 1 nat and M 0.1 nat
an item. Changes of a distance, of variance and of the tail are ratios (B is 2, M 1.25), taken by logarithms; changes
of shares are differences, 0.05 being one item in twenty. An increase too small to matter, yet sure, is an increase; a
"no" there says that none above M can be. Where nothing changes, one run in 40 shows an increase by chance.

*Diverging.* No finite run shows infinity; what it shows is whether growth slows down. With v_1 the mean speed of the
risk from generation 0 to the middle, v_2 that from the middle to the end, in risk (not in its logarithm) a generation,

    yes    the interval of v_2 and that of v_2 - v_1 / 3 are above 0
    no     the interval of v_2 - v_1 / 3 is below 0, or the whole interval of the late increase below M

and eight generations at the least. Linear growth keeps all its speed, errors that add up as a random walk does
0.41 of it (the square root of time), an approach to a limit as 1 - exp(-t / T) less than a third as soon as the run
is longer than 2.2 T. Growth as slow as a logarithm is not told from a limit.

*Scaling law.* Risk falls with the size n of the data set as n^-a. The exponents at generation 0 and at the end are
fitted over three sizes or more, paired seed by seed: yes if 0 is outside the interval of their difference and the
difference is 0.1 or more; no if the whole interval lies within -0.1 .. 0.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ecosystem.estimates import Estimate, Interval, Series, change, difference, interval, lone
from ecosystem.summary import Definition, Holds
from ecosystem.verdicts import DISTANCES, HALF, LONE, MARGIN, log_change

NATS, SMALL_NATS = 1.0, 0.1
SHARE = 0.05
SLOWED = 1 / 3
FEWEST_GENERATIONS = 8
FEWEST_SIZES = 3
EXPONENT = 0.1

SeriesOf = Callable[[str], list[Series]]  # a metric's, by seed

SCALING = "change in scaling law"
FEW_SIZES = "needs runs at several data-set sizes"


@dataclass(frozen=True)
class Change:
    """A change that matters: of a metric, by a ratio or by a difference, beyond a limit of the limit's sign."""

    metric: str
    limit: float  # 0.05: a rise by more than that; log(1/2): a fall to less than half
    ratio: bool = False

    def between(self, a: Estimate | None, b: Estimate | None, samples: int) -> Estimate:
        return change(log_change(self.metric, samples) if self.ratio else difference, a, b)

    def beyond(self, found: Interval) -> Holds:
        """Whether the whole interval lies beyond the limit, or the whole of it does not."""
        low, high = (found.low, found.high) if self.limit > 0 else (-found.high, -found.low)
        return "yes" if low > abs(self.limit) else "no" if high < abs(self.limit) else "undecided"

    def in_words(self, found: Interval) -> str:
        if self.ratio:
            e = found.exp()
            return f"{self.metric} {e.effect:.3g} [{e.low:.3g}, {e.high:.3g}] times its generation 0"
        told = f"{self.metric} {found.effect:+.2g} [{found.low:+.2g}, {found.high:+.2g}]"
        return f"{told} nats" if self.metric == "nll" else told


@dataclass(frozen=True)
class Measurements:
    """Of one provider, over seeds."""

    series_of: SeriesOf
    measured: Sequence[str]
    samples: int  # a generation was measured by

    def first(self, changes: Sequence[Change]) -> tuple[Change, list[Series]] | None:
        """The first of the changes whose metric has a number at generation 0 of every seed."""
        for candidate in changes:
            series = self.series_of(candidate.metric) if candidate.metric in self.measured else []
            if series and all(s.start() is not None for s in series):
                return candidate, series
        return None


GONE = -math.log(HALF)
VARIANCE = tuple(Change(metric, GONE, ratio=True) for metric in ("model-variance", "variance", "heterozygosity"))
TAIL = tuple(Change(metric, GONE, ratio=True) for metric in ("tail-recall", "outcomes"))
BETWEEN_MODES = Change("between-modes", SHARE)
AGREEMENT, PRECISION = Change("agreement", -SHARE), Change("precision", -SHARE)


def definitions(series_of: SeriesOf, measured: Sequence[str], samples: int, images: bool = False) -> list[Definition]:
    """Which definitions hold of one provider, over seeds; ``samples`` a generation was measured by."""
    provider = Measurements(series_of, measured, samples)
    risks = ("nll", *_distances(images), "gaussian-w2")
    catastrophe = [_increase(metric, NATS, HALF) for metric in risks]
    increase = [_increase(metric, SMALL_NATS, MARGIN) for metric in risks]
    return [
        _changed("catastrophic increase of population risk", catastrophe, provider),
        _changed("any increase of population risk", increase, provider, _any_increase),
        _diverging("asymptotically diverging population risk", increase, provider),
        _definition(SCALING, "undecided", FEW_SIZES),
        _changed("collapsing variance", VARIANCE, provider),
        _changed("entanglement of real modes", [BETWEEN_MODES, AGREEMENT], provider),
        _changed("disappearance of the real tail", TAIL, provider),
        _changed("appearance of hallucinated data", [PRECISION, BETWEEN_MODES], provider),
    ]


def _distances(images: bool) -> tuple[str, ...]:
    """The one that suits first."""
    return DISTANCES if images else DISTANCES[::-1]


def _increase(metric: str, nats: float, ratio: float) -> Change:
    return Change(metric, nats) if metric == "nll" else Change(metric, math.log(ratio), ratio=True)


def _any_increase(increase: Change, found: Interval) -> Holds:
    return "yes" if found.low > 0 else "no" if found.high < increase.limit else "undecided"


def _changed(
    name: str,
    changes: Sequence[Change],
    provider: Measurements,
    holds: Callable[[Change, Interval], Holds] = Change.beyond,
) -> Definition:
    """A definition by the first of the changes that was measured."""
    chosen = provider.first(changes)
    if chosen is None:
        return _not_measured(name, [c.metric for c in changes])
    what, series = chosen
    if min(len(s.values) for s in series) < 2:
        return _definition(name, "undecided", "one generation: nothing to compare")
    by_seed = [what.between(s.start(), s.end(), provider.samples) for s in series]
    found = interval(by_seed)
    if found is None:
        return _definition(name, "undecided", f"{what.metric} is not known at the end")
    if lone(by_seed):
        return _definition(name, "undecided", LONE)
    return _definition(name, holds(what, found), what.in_words(found))


def _not_measured(name: str, metrics: Sequence[str]) -> Definition:
    needed = " or ".join(filter(None, (", ".join(metrics[:-1]), metrics[-1])))
    return _definition(name, "undecided", f"needs {needed}, not measured here")


def _definition(name: str, holds: Holds, evidence: str) -> Definition:
    return {"name": name, "holds": holds, "evidence": evidence}


# Divergence


def _diverging(name: str, risks: Sequence[Change], provider: Measurements) -> Definition:
    chosen = provider.first(risks)
    if chosen is None:
        return _not_measured(name, [r.metric for r in risks])
    risk, series = chosen
    if min(len(s.values) for s in series) < FEWEST_GENERATIONS:
        return _definition(name, "undecided", f"needs {FEWEST_GENERATIONS} generations")
    speeds = [_speeds(s) for s in series]
    early, late = interval([a for a, _ in speeds]), interval([b for _, b in speeds])
    kept = interval([change(lambda a, b: b - SLOWED * a, *pair) for pair in speeds])
    grown = interval([risk.between(_middle(s)[0], s.end(), provider.samples) for s in series])
    if early is None or late is None or kept is None or grown is None:
        return _definition(name, "undecided", f"{risk.metric} is not known throughout")
    if lone([late for _, late in speeds]):
        return _definition(name, "undecided", LONE)
    holds: Holds = "undecided"
    if late.low > 0 and kept.low > 0:
        holds = "yes"
    elif kept.high < 0 or grown.high < risk.limit:
        holds = "no"
    speed = f"{late.effect:+.2g} [{late.low:+.2g}, {late.high:+.2g}] a generation late"
    return _definition(name, holds, f"{risk.metric} {speed}, {early.effect:+.2g} early")


def _speeds(s: Series) -> tuple[Estimate, Estimate]:
    """Of the risk, a generation: from generation 0 to the middle, and from there to the end."""
    middle, at = _middle(s)
    rest = _time_of_end(s) - at
    return (
        change(lambda a, b: (b - a) / at, s.start(), middle),
        change(lambda a, b: (b - a) / rest, middle, s.end()),
    )


def _time_of_end(s: Series) -> float:
    """The generation in the middle of the last quarter."""
    return len(s.values) - (s.quarter() + 1) / 2


def _middle(s: Series) -> tuple[Estimate | None, float]:
    """The mean over as many generations as the end is, around half its time, and the time of that."""
    reach = (s.quarter() - 1) / 2
    first = round(_time_of_end(s) / 2 - reach)
    return s.mean(first, first + s.quarter()), first + reach


# Scaling


def scaling(
    sizes: Sequence[float], starts: Sequence[Sequence[float]], ends: Sequence[Sequence[float]], risk: str = "risk"
) -> Definition:
    """Of runs at several data-set sizes: risk at generation 0 and at the end, by size and, paired, by seed."""
    if _distinct(sizes) < FEWEST_SIZES:
        return _definition(SCALING, "undecided", FEW_SIZES)
    rows = [*starts, *ends]
    if len({len(row) for row in rows}) > 1 or not all(math.isfinite(v) and v > 0 for row in rows for v in row):
        return _definition(SCALING, "undecided", f"{risk} is not known, or not positive, at every size of every seed")
    if len(rows[0]) < 2:
        return _definition(SCALING, "undecided", LONE)
    first, last = _exponents(sizes, starts), _exponents(sizes, ends)
    found = interval([Estimate(a - b) for a, b in zip(last, first, strict=True)])
    assert found is not None, "exponents of positive risks are finite"
    laws = f"{risk} as n^{np.mean(first):.2f} at generation 0, n^{np.mean(last):.2f} at the end"
    return _definition(
        SCALING, _moved(found), f"{laws}: exponent {found.effect:+.2g} [{found.low:+.2g}, {found.high:+.2g}]"
    )


def scaling_of(
    pages: Sequence[Sequence[Series]],
    series_of: Callable[[str], Sequence[Sequence[Series]]],
    measured: Sequence[str],
    images: bool = False,
) -> Definition | None:
    """The same of providers that share a card: their data sets' pages and, of a metric, their series, by seed.

    None where they are not of different sizes. Risk is a distance, exact where it can be: a power law needs its zero.
    """
    sizes = [_mean_start(series) for series in pages]
    if _distinct(sizes) < FEWEST_SIZES:
        return None
    risks = ("gaussian-w2", *_distances(images))
    known = (r for r in risks if r in measured and all(s.start() for series in series_of(r) for s in series))
    risk = next(known, None)
    if risk is None:
        return _not_measured(SCALING, risks)
    starts = [[_value(s.start()) for s in series] for series in series_of(risk)]
    ends = [[_value(s.end()) for s in series] for series in series_of(risk)]
    return scaling(sizes, starts, ends, risk)


def _exponents(sizes: Sequence[float], risks: Sequence[Sequence[float]]) -> list[float]:
    """Of the power law of each seed, by least squares of logarithms."""
    return [float(v) for v in np.polyfit(np.log(sizes), np.log(risks), 1)[0]]


def _moved(found: Interval) -> Holds:
    if (found.low > 0 or found.high < 0) and abs(found.effect) >= EXPONENT:
        return "yes"
    return "no" if found.low >= -EXPONENT and found.high <= EXPONENT else "undecided"


def _distinct(sizes: Sequence[float]) -> int:
    """How many sizes there are, those that lie near one another counted once; 0 where one is not known."""
    found: list[float] = []
    for size in sorted(sizes) if all(size > 0 for size in sizes) else []:
        if not found or size >= MARGIN * found[-1]:
            found.append(size)
    return len(found)


def _mean_start(series: Sequence[Series]) -> float:
    return float(np.mean([_value(s.start()) for s in series]))


def _value(estimate: Estimate | None) -> float:
    return math.nan if estimate is None else estimate.value
