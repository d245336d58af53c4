"""Curation of a Gaussian model: one of K samples of N(mean, variance) is chosen by its reward (Luce).

K = inf multiplies the density by e^r: a linear reward shifts a Gaussian, a quadratic one sharpens it, and both
leave it Gaussian. For a finite K the chosen density p H is not Gaussian; its moments come from ``curation.tilt`` on
a grid, where the trapezoidal rule is accurate to rounding for smooth rewards. A model that is refitted to them,
infinitely many, is ``refitted``.

D. Ferbach, Q. Bertrand, A. J. Bose, G. Gidel, Self-Consuming Generative Models with Curated Data Provably Optimize
Human Preferences, 2024, arXiv 2407.09499, Lemma 2.1; derived here for Gaussians. One dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ecosystem.errors import AssumptionError
from ecosystem.theory.assumptions import Floats, number, require, share, times, whole
from ecosystem.theory.curation import chosen

WIDTH = 10.0  # standard deviations to either side: outside is 1e-23 of the mass
GRIDS = (100, 200, 400, 800, 1600, 3200, 6400)  # points, the first that is fine enough
EDGE = 1e-12  # probability of an outermost point, beyond which the grid is too narrow
SMOOTH = 0.25  # the largest change of the reward between neighbours of the grid


def linear_reward(mean: float, variance: float, slope: float, t: ArrayLike) -> tuple[Floats, Floats]:
    """(mean, variance) after t rounds, r = a x, K = inf: N(mean + t a variance, variance). Assumes variance > 0."""
    v = number("variance", variance, above=0)
    shift = times(t) * number("slope", slope) * v
    return number("mean", mean) + shift, v + 0 * shift


def quadratic_reward(
    mean: float, variance: float, curvature: float, target: float, t: ArrayLike
) -> tuple[Floats, Floats]:
    """(mean, variance) after t rounds, r = -g/2 (x - c)^2, K = inf: the precision grows by g a round, and the mean is
    (mean / variance + t g c) / (1 / variance + t g). Assumes variance > 0, g = ``curvature`` >= 0; c = ``target``.
    """
    precision = 1 / number("variance", variance, above=0)
    added = times(t) * number("curvature", curvature, least=0)
    shifted = (number("mean", mean) * precision + added * number("target", target)) / (precision + added)
    return shifted, 1 / (precision + added)


def chosen_moments(mean: float, variance: float, reward: Callable[[Floats], Floats], k: float) -> tuple[float, float]:
    """(mean, variance) of what is chosen of K samples of N(mean, variance). ``reward`` maps points (A,) to (A,).

    By quadrature, to about 1e-12 for a smooth reward; a kink costs accuracy, to the square of the grid. Assumes that
    what is chosen stays within 10 standard deviations, as for any finite K up to a million, and for K = inf where the
    reward does not outrun the Gaussian.
    """
    std = math.sqrt(number("variance", variance, above=0))
    z, r = _grid(number("mean", mean), std, reward)
    weights = np.exp(-(z**2) / 2)
    picked = chosen(weights / weights.sum(), r, k)
    require(max(picked[0], picked[-1]) < EDGE, "what is chosen is assumed to stay within 10 standard deviations.")
    centre = float(picked @ z)
    return mean + std * centre, std**2 * float(picked @ (z - centre) ** 2)


def refitted(
    mean: float,
    variance: float,
    reward: Callable[[Floats], Floats],
    k: float,
    rounds: int,
    *,
    synthetic_share: float = 1.0,
) -> tuple[Floats, Floats]:
    """(means, variances), each (rounds + 1,), of a Gaussian refitted each round to a share s of its own chosen
    samples and 1 - s human ones, N(mean, variance), where it also starts. Infinitely many samples.
    """
    s = share("synthetic_share", synthetic_share)
    means, variances = [number("mean", mean)], [number("variance", variance, above=0)]
    for _ in range(whole("rounds", rounds, 0)):
        centre, spread = chosen_moments(means[-1], variances[-1], reward, k)
        means.append((1 - s) * mean + s * centre)
        variances.append((1 - s) * variance + s * spread + s * (1 - s) * (mean - centre) ** 2)
    return np.array(means), np.array(variances)


def _grid(mean: float, std: float, reward: Callable[[Floats], Floats]) -> tuple[Floats, Floats]:
    """Standardised points and their rewards, fine enough for both the Gaussian and the reward."""
    for points in GRIDS:
        z = np.linspace(-WIDTH, WIDTH, points + 1)
        r = np.asarray(reward(mean + std * z), dtype=np.float64)
        require(r.shape == z.shape and np.isfinite(r).all(), "a reward is assumed to give a finite number a point.")
        if np.abs(np.diff(r)).max() <= SMOOTH:
            return z, r
    steepest = SMOOTH * GRIDS[-1] / (2 * WIDTH)
    raise AssumptionError(f"the reward is assumed to change by less than {steepest:g} a standard deviation.")
