"""A kernel density estimate trained on its own samples: it resamples its pages and adds noise of bandwidth h.

Every page is a page of the last training set plus N(0, h^2): resampling loses variance as drift does, the kernel
adds h^2, and in the long run the kernel wins. Kernel densities in self-consuming loops: S. Fu et al., Towards
Theoretical Understandings of Self-Consuming Generative Models, 2024, arXiv 2402.11778; J. Kazdan et al., Collapse
or Thrive?, 2024, arXiv 2410.16713. Derived here.

Per coordinate; moments are of the *training set*, of n pages; those of the model have h^2 more. t counts
generations since a training set whose values are given. ``t``: a whole number or an array; the answer has its
shape.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ecosystem.theory.assumptions import Floats, number, require, share, times, whole


def raw_square(t: ArrayLike, bandwidth: float, start: float = 1.0, fresh: float = 0.0) -> Floats:
    """E x^2 of a training page: q_t = q_0 + t h^2; with a share a of fresh human pages q_t = q* + (q_0 - q*)(1 - a)^t.

    ``start`` = q_0 is that of human pages. q* is ``raw_square_limit``.
    """
    h, q, a = number("bandwidth", bandwidth, least=0), number("start", start, least=0), share("fresh", fresh)
    if a == 0:
        return q + times(t) * h**2
    return q + h**2 * (1 - a) / a * (1 - np.power(1 - a, times(t)))


def raw_square_limit(bandwidth: float, fresh: float, start: float = 1.0) -> float:
    """q* = q_0 + h^2 (1 - a) / a: with a share a > 0 of fresh pages the blur stays bounded."""
    require(share("fresh", fresh) > 0, "fresh = 0: a limit assumes a positive share of fresh human pages.")
    h = number("bandwidth", bandwidth, least=0)
    return number("start", start, least=0) + h**2 * (1 - fresh) / fresh


def variance(n: int, t: ArrayLike, bandwidth: float, start: float = 1.0) -> Floats:
    """E[MLE variance of the training set] = v* + (v_0 - v*)(1 - 1/n)^t, where v* = (n - 1) h^2.

    Of v' = (1 - 1/n)(v + h^2). ``start`` = v_0. Assumes n >= 1 pages, all replaced every generation.
    """
    kept = 1 - 1 / whole("n", n, 1)
    limit = (n - 1) * number("bandwidth", bandwidth, least=0) ** 2
    return limit + (number("start", start, least=0) - limit) * np.power(kept, times(t))


def limit_density(
    x: ArrayLike, bandwidth: float, fresh: float, mean: float = 0.0, human_variance: float = 1.0
) -> Floats:
    """E[density of a training page] as t -> inf, at x, for human pages N(mean, human_variance):
    sum_k a (1 - a)^k N(x; mean, human_variance + k h^2), a = ``fresh``.

    A page went through a geometric number of models, each adding one kernel. The expectation is over runs; one
    run's density also fluctuates. Assumes a > 0.
    """
    require(share("fresh", fresh) > 0, "fresh = 0: a limit assumes a positive share of fresh human pages.")
    v, h = number("human_variance", human_variance, above=0), number("bandwidth", bandwidth, least=0)
    terms = 1 if fresh == 1 else int(np.ceil(np.log(1e-16) / np.log1p(-fresh)))
    k = np.arange(terms)
    spread = v + k * h**2
    squared = np.square(np.asarray(x, dtype=np.float64) - number("mean", mean))[..., None]
    values: Floats = np.exp(-squared / (2 * spread)) / np.sqrt(2 * np.pi * spread) @ (fresh * (1 - fresh) ** k)
    return values
