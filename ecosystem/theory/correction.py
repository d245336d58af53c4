"""A correction towards the data: a share of the synthetic pages is replaced by fresh pages of the target.

N. Gillman et al., Self-Correcting Self-Consuming Loops for Generative Model Training, 2024, arXiv 2402.07087. Of
strength gamma it turns the pages of a model p into pages of (p + gamma p*) / (1 + gamma), p* the target: a share
1 - a = gamma / (1 + gamma) of them is fresh. So the loop is the fixed one of ``mixing`` with synthetic pages that are
diluted by fresh ones, and gamma = 0 is the uncorrected loop. (That each page is paired with a corrected one at least
distance leaves the set of them as it is. Their toy draws from a histogram of model pages in the place of p.)

Derived here for Gaussian models, per coordinate, in units of the target's variance and around its mean, averaged over
human pages. With n human pages of mean x, m corrected ones, p = m / (n + m), V = E m_t^2, C = E[m_t x]:

    U  = [a s + (1 - a) + a (1 - a) V] / m              (the noise of the corrected pages' mean)
    V' = (1 - p)^2 / n + 2 p (1 - p) a C + p^2 (a^2 V + U),    C' = (1 - p) / n + p a C
    s' = c [(1 - p) + p (a (s + V) + 1 - a) - V'].

Exact for finite n and m. Where the number of fresh pages is fixed, as it is for a scraper with a budget of each, U
lacks its last term.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ecosystem.theory.assumptions import Estimator, Floats, correction, require, whole
from ecosystem.theory.gaussian import Moments
from ecosystem.theory.identities import correction_fresh_share

Counts = Literal["drawn", "fixed"]


def corrected(
    human: int,
    synthetic: int,
    rounds: int,
    strength: float,
    *,
    estimator: Estimator = "mle",
    counts: Counts = "drawn",
) -> Moments:
    """Generations 0..rounds; generation 0 is fitted to the human pages alone, or is the target where there are none.

    ``counts``: each page is replaced with a probability (drawn), or just a share of them is (fixed). Assumes human = 0
    or human >= 2, synthetic >= 1, and if counts are fixed a whole number of fresh pages.
    """
    n = whole("human", human, 0)
    require(n != 1, "human = 1: a variance assumes none or two human pages.")
    step, fed = _step(n, synthetic, strength, estimator, counts)
    path = [np.array([correction(estimator, n) * (1 - 1 / n), 1 / n, 1 / n] if n else [1.0, 0.0, 0.0])]
    for _ in range(whole("rounds", rounds, 0)):
        path.append(step @ path[-1] + fed)
    return Moments(np.array([s for s, _, _ in path]), np.array([square for _, square, _ in path]))


def corrected_limit(
    human: int, synthetic: int, strength: float, *, estimator: Estimator = "mle", counts: Counts = "drawn"
) -> tuple[float, float]:
    """(variance, E m^2) of ``corrected`` as t -> inf. Assumes human pages, or a strength above 0."""
    require(human > 0 or strength > 0, "human pages or a strength > 0 are assumed: else the loop collapses.")
    step, fed = _step(whole("human", human, 0), synthetic, strength, estimator, counts)
    s, square, _ = np.linalg.solve(np.eye(3) - step, fed)
    return float(s), float(square)


def _step(n: int, synthetic: int, strength: float, estimator: Estimator, counts: Counts) -> tuple[Floats, Floats]:
    """(s, V, C)' = step (s, V, C) + fed."""
    m, new = whole("synthetic", synthetic, 1), correction_fresh_share(strength)
    require(n + m >= 2, "a variance assumes n >= 2 pages.")
    drawn = _drawn(counts, new * m)
    p, a, c = m / (n + m), 1 - new, correction(estimator, n + m)
    # Rows over (1, s, V, C); (1 - p)^2 / n = (1 - p) / (n + m), which holds for n = 0 as well.
    noise = np.array([new, a, drawn * a * new, 0]) / m
    square = np.array([(1 - p) / (n + m), 0, p**2 * a**2, 2 * p * (1 - p) * a]) + p**2 * noise
    variance = c * (np.array([1 - p + p * new, p * a, p * a, 0]) - square)
    rows = np.stack([variance, square, np.array([1 / (n + m), 0, 0, p * a])])
    return rows[:, 1:], rows[:, 0]


def _drawn(counts: str, fresh: float) -> bool:
    require(counts in ("drawn", "fixed"), f"counts = {counts!r} is assumed to be 'drawn' or 'fixed'.")
    whole_number = abs(fresh - round(fresh)) < 1e-9 * max(fresh, 1)
    require(counts == "drawn" or whole_number, f"{fresh:g} fresh pages: fixed counts are assumed to be whole.")
    return counts == "drawn"
