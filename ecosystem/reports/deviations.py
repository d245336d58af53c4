"""How far a measurement is from its closed form.

A deviation is (measured - predicted) / its standard error over seeds, generation by generation. Within 3 standard
errors there is nothing to see; beyond, either chance is at work, or the world breaks an assumption of the theorem, or
one of the two numbers is wrong.
"""

from __future__ import annotations

import math

from ecosystem.reports.curves import curve
from ecosystem.summary import ProviderSummary, Theory

LIMIT = 3.0  # standard errors
ROUNDING = 1e-9  # of a number


def theories(provider: ProviderSummary) -> dict[str, Theory]:
    """By metric. Summaries written before there were closed forms have none."""
    return provider.get("theory", {})


def measured(provider: ProviderSummary, metric: str) -> list[float | None]:
    """What a closed form is held against, by generation: a metric, or a share that was counted."""
    if metric == "synthetic-share":
        return [g["synthetic_share"] for g in provider["generations"]]
    return curve(provider, metric)


def deviations(provider: ProviderSummary, metric: str) -> list[float | None]:
    """In standard errors, by generation; None where one of the three numbers is missing."""
    theory = theories(provider)[metric]
    rows = zip(measured(provider, metric), theory["values"], theory["error"], strict=False)
    return [_deviation(*row) for row in rows]


def _deviation(seen: float | None, predicted: float | None, error: float | None) -> float | None:
    if seen is None or predicted is None or error is None or math.isnan(seen - predicted + error):
        return None
    if math.isclose(seen, predicted, rel_tol=ROUNDING, abs_tol=ROUNDING**2):
        return 0.0
    # Without any spread over seeds two numbers that differ are infinitely far apart.
    return (seen - predicted) / error if error else math.copysign(math.inf, seen - predicted)


def beyond(limit: float, freedom: int) -> float:
    """P(|T| > limit) of Student's t, by its finite sums (Abramowitz and Stegun, 1964, 26.7.3 and 26.7.4)."""
    angle, odd = math.atan(limit / math.sqrt(freedom)), freedom % 2
    term, total = math.cos(angle) if odd else 1.0, 0.0
    for j in range(1, freedom // 2 + 1):
        total += term
        term *= math.cos(angle) ** 2 * (2 * j / (2 * j + 1) if odd else (2 * j - 1) / (2 * j))
    within = math.sin(angle) * total
    return 1 - (2 / math.pi * (angle + within) if odd else within)
