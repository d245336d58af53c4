"""Whether a measurement follows its closed form, told by two numbers at a few generations.

For a metric with mean m_g over S seeds at generation g, prediction p_g, and s_g the standard error of measured minus
predicted,

    deviation   (m_g - p_g) / s_g                 in standard errors; beyond 3 theory and measurement differ
    precision   s_g / |p_g - h|                   of the effect; above 3 % they are not told apart

with h what the human distribution itself has: the effect is how far theory says that the model has moved from it. Where
it is not known it is the prediction at generation 0. A quantity that theory says does not move has no effect; the
standard error is then compared with its value.

Theory is *held* where no deviation is beyond 3 and no precision above 3 %, over at least 8 seeds; *refuted* where any
deviation is beyond 3. A true theory is refuted by chance at one generation in 50 over 8 seeds (Student's t beyond 3
with 7 degrees of freedom), in 135 over 20, and in 370 over very many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecosystem.estimates import MOST_SEEDS, Series
from ecosystem.summary import Judgement, Theory

CHECKED = (1, 3, 10, 30, 100)  # generations
FAR = 3.0  # standard errors
FINE = 0.03  # of the effect
ENOUGH_SEEDS = 8
ROUNDING = 1e-9  # of a number


@dataclass(frozen=True)
class Check:
    """Theory against measurement at one generation."""

    generation: int
    deviation: float  # measured - predicted, in standard errors
    precision: float | None  # standard error as a share of the effect; None: there is no effect


def checks(series: Sequence[Series], theory: Theory) -> list[Check]:
    """At the generations that every seed has reached, where there are a measurement, a prediction and an error."""
    rows = [(g, measured, *_theory_at(theory, g)) for g in CHECKED if (measured := _mean(series, g)) is not None]
    known = [(g, m, p, e) for g, m, p, e in rows if p is not None and e is not None]
    human = theory["human"] if theory["human"] is not None else _theory_at(theory, 0)[0]
    return [Check(g, _deviation(m, p, e), _precision(e, p, human)) for g, m, p, e in known]


def verdict(found: Sequence[Check], seeds: int) -> Judgement:
    if not found or seeds < ENOUGH_SEEDS:
        return "undecided"
    if any(abs(c.deviation) > FAR for c in found):
        return "refuted"
    return "held" if _coarsest(found) <= FINE else "undecided"


def in_words(found: Sequence[Check]) -> str:
    """The largest deviation and the coarsest precision."""
    worst = max(found, key=lambda c: abs(c.deviation))
    told = f"largest deviation {worst.deviation:+.2g} standard errors, at generation {worst.generation}"
    return f"{told}; largest error {100 * _coarsest(found):.2g} % of the effect"


def more_seeds(found: Sequence[Check], seeds: int) -> int | None:
    """That would make the standard errors fine enough, which shrink as 1 / sqrt(seeds); None: too many."""
    needed = max(ENOUGH_SEEDS, seeds * (_coarsest(found) / FINE) ** 2)
    return math.ceil(needed) - seeds if needed <= MOST_SEEDS else None


def _coarsest(found: Sequence[Check]) -> float:
    return max((c.precision for c in found if c.precision is not None), default=0.0)


def _mean(series: Sequence[Series], generation: int) -> float | None:
    values = [estimate.value for s in series if (estimate := s.at(generation)) is not None]
    return float(np.mean(values)) if values and len(values) == len(series) else None


def _theory_at(theory: Theory, generation: int) -> tuple[float | None, float | None]:
    """Prediction and standard error."""
    values, errors = theory["values"], theory["error"]
    return (
        values[generation] if generation < len(values) else None,
        errors[generation] if generation < len(errors) else None,
    )


def _same(a: float, b: float) -> bool:
    """Equal but for rounding."""
    return math.isclose(a, b, rel_tol=ROUNDING)


def _deviation(measured: float, predicted: float, error: float) -> float:
    if _same(measured, predicted):
        return 0.0
    return (measured - predicted) / error if error else math.copysign(math.inf, measured - predicted)


def _precision(error: float, predicted: float, human: float | None) -> float | None:
    moves = human is not None and not _same(predicted, human)
    effect = abs(predicted - human) if human is not None and moves else abs(predicted)
    return error / effect if effect else None
