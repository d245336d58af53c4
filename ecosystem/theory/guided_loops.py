"""Loops of a provider that serves its Gaussian models under negative guidance: their models, trained and served.

What guidance does to one model is in ``guidance``, with sources and notation: N own samples, weight omega, and
g, h = E S / s, E D^2 / s. A loop is linear in the moments of what is served, so those of ``mixing`` go through with
b g s in the place of b s, and V + h s in the place of V.

In the replace loop log S is a random walk of steps 1/sqrt(n), and all that guidance can do is to cancel its drift
(``balance``): it holds the median of all runs, and not one of them. Beside fixed or fresh human pages it moves the
limit. Derived here.

**Time.** Generation 0 is the start, as in ``mixing``; the replace loop counts t as ``gaussian`` does.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ecosystem.theory import gaussian
from ecosystem.theory.assumptions import Estimator, Floats, correction, number, require, whole
from ecosystem.theory.gaussian import Moments
from ecosystem.theory.guidance import Auxiliary, served


class Loop(NamedTuple):
    """The models as they are trained, and as they are served."""

    trained: Moments
    served: Moments


def log_std_mean(n: int, t: int, weight: float, images: int, estimator: Estimator = "mle") -> float:
    """E[log of the served standard deviation] after t fits to n served pages each, of those runs that have not failed.

    t / 2 [psi(nu/2) - log(nu/2 or n/2) + E log q - E log((1 + omega) q - omega)]: exact, as the steps are independent
    of all before. To first order t / 2 [omega (3 + omega) / N - 2 / n] (mle).
    """
    law = Auxiliary(weight, images, estimator)
    widened = law.expectation(lambda q: math.log(q / law.left(q)), law.least) if law.weight else 0.0
    return float(gaussian.log_std_mean(n, t, estimator)) + whole("t", t, 0) * widened / 2


def balance(n: int, images: int, estimator: Estimator = "mle") -> float:
    """The omega at which ``log_std_mean`` neither falls nor rises.

    To first order omega (3 + omega) = 2 N / n (mle), omega (2 + omega) = N / n (unbiased): (sqrt 17 - 3) / 2 = 0.56
    and sqrt 2 - 1 = 0.41 with as many images as pages. Assumes that so small a weight fails in one fit of a hundred
    at most.
    """
    from scipy.optimize import brentq  # late: importing it takes a while

    lowest = min(Auxiliary(0, images, estimator).quantile(0.01), 0.9999)
    top = lowest / (1 - lowest)

    def drift(weight: float) -> float:
        return log_std_mean(n, 1, weight, images, estimator)

    require(drift(top) > 0, f"images = {images}: too few are assumed to balance fits to n = {n} pages.")
    return float(brentq(drift, 0, top, xtol=1e-12))


def fresh(
    human: int,
    synthetic: int,
    rounds: int,
    weight: float,
    images: int,
    *,
    estimator: Estimator = "mle",
    sampling_bias: float = 1.0,
    start: tuple[float, float] = (1.0, 0.0),
) -> Loop:
    """``mixing.fresh`` with served models: Q = V + h s in the place of V, and w = (1 - p) + p b g s.

    ``start`` is that of the trained model. human = 0 is the replace loop. As exact as ``served``, where b > 0 biases
    own samples and pages alike. Assumes human >= 0, synthetic >= 1.
    """
    n = whole("human", human, 0) + whole("synthetic", synthetic, 1)
    g, h = served(weight, images, estimator, sampling_bias)
    p, c, published = synthetic / n, correction(estimator, n), sampling_bias * g
    step = [[c * p * ((1 - 1 / n) * published + (1 - p) * h), c * p * (1 - p)], [p * (published / n + p * h), p**2]]
    fed = [c * (1 - 1 / n) * (1 - p), (1 - p) / n]
    return _loop(np.array(step), np.array(fed), np.array(start), whole("rounds", rounds, 0), g, h)


def fixed(
    n: int,
    synthetic: int,
    rounds: int,
    weight: float,
    images: int,
    *,
    variance: float = 1.0,
    estimator: Estimator = "mle",
    sampling_bias: float = 1.0,
) -> Loop:
    """``mixing.fixed`` with served models: m2 = E2 + h s + b g s / m, and b g in the place of b.

    Given n human pages of MLE variance v = ``variance``; means are measured from theirs. As exact as ``served``.
    Assumes n >= 2, m = ``synthetic`` >= 1.
    """
    step, fed, g, h = _fixed(n, synthetic, weight, images, variance, estimator, sampling_bias)
    start = np.array([correction(estimator, n) * variance, 0.0])
    return _loop(step, fed, start, whole("rounds", rounds, 0), g, h)


def fixed_limit(
    n: int, synthetic: int, weight: float, images: int, *, variance: float = 1.0, estimator: Estimator = "mle"
) -> tuple[float, float]:
    """(variance, E2) of the trained model in ``fixed`` as t -> inf. Assumes that guidance does not make it run away."""
    step, fed, _, _ = _fixed(n, synthetic, weight, images, variance, estimator, 1.0)
    require(np.abs(np.linalg.eigvals(step)).max() < 1, f"weight = {weight:g}: a loop that has a limit is assumed.")
    s, square = np.linalg.solve(np.eye(2) - step, fed)
    return float(s), float(square)


def _fixed(
    n: int, synthetic: int, weight: float, images: int, variance: float, estimator: Estimator, sampling_bias: float
) -> tuple[Floats, Floats, float, float]:
    """(s, E2)' = step (s, E2) + fed."""
    m, v = whole("synthetic", synthetic, 1), number("variance", variance, least=0)
    p, c = m / (whole("n", n, 2) + m), correction(estimator, n + m)
    g, h = served(weight, images, estimator, sampling_bias)
    moved, within = h + sampling_bias * g / m, sampling_bias * g * (1 - 1 / m)
    step = [[c * p * (within + (1 - p) * moved), c * p * (1 - p)], [p**2 * moved, p**2]]
    return np.array(step), np.array([c * (1 - p) * v, 0.0]), g, h


def _loop(step: Floats, fed: Floats, start: Floats, rounds: int, g: float, h: float) -> Loop:
    path = [start]
    for _ in range(rounds):
        path.append(step @ path[-1] + fed)
    s, square = np.stack(path, axis=1)
    return Loop(Moments(s, square), Moments(g * s, square + h * s))
