"""Categories that are redrawn from their own frequencies: Wright-Fisher drift, the collapse of a discrete model.

A categorical model (maximum likelihood) of n draws from the last one, p' = counts / n. Everything known about a
neutral population of n genes holds. (Population genetics: W. J. Ewens, Mathematical Population Genetics, 2nd ed.,
2004; model collapse: I. Shumailov et al., The Curse of Recursion, 2023, arXiv 2305.17493; Kazdan et al., Collapse
or Thrive?, 2024, arXiv 2410.16713; text models: W. Gao, M. Li, Convergence Dynamics and Stabilization Strategies of
Co-Evolving Generative Models, 2025, arXiv 2503.08117.)

**Time.** t = 0 is the human distribution ``p`` (k,); generation g of a provider is t = g + 1. Heterozygosity
H = 1 - sum p^2 is the probability that two draws differ.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, xlog1py, xlogy

from ecosystem.theory.assumptions import Floats, distribution, require, share, times, whole

LARGEST_CHAIN = 2000  # pages: an exact chain holds (n + 1)^2 numbers


def heterozygosity(p: ArrayLike, n: int, t: ArrayLike) -> Floats:
    """E[1 - sum p_t^2] = (1 - 1/n)^t (1 - sum p^2), of the shape of t. Assumes n >= 1."""
    kept = 1 - 1 / whole("n", n, 1)
    return np.power(kept, times(t)) * (1 - _homozygosity(p))


def heterozygosity_with_fresh_share(p: ArrayLike, n: int, fresh: float, rounds: int) -> Floats:
    """E[1 - sum p_t^2] (rounds + 1,) where each of the n draws is human with probability f = ``fresh``.

    H' = (1 - 1/n) [(1 - (1 - f)^2) H_0 + (1 - f)^2 H]: two draws differ as human ones unless both are of the model.
    (Migration from a source population; compare the random corpus injection of Gao and Li, arXiv 2503.08117.)
    Assumes n >= 1, f in [0, 1].
    """
    kept, pair = 1 - 1 / whole("n", n, 1), (1 - share("fresh", fresh)) ** 2
    human = 1 - _homozygosity(p)
    values = [human]
    for _ in range(whole("rounds", rounds, 0)):
        values.append(kept * ((1 - pair) * human + pair * values[-1]))
    return np.array(values)


def heterozygosity_with_fresh_pages(p: ArrayLike, human: int, synthetic: int, rounds: int) -> Floats:
    """The same where exactly ``human`` draws are human and ``synthetic`` are of the last model: (rounds + 1,).

    Of the n^2 pairs m (m - 1) are of two draws of the model:  H' = [(n (n - 1) - m (m - 1)) H_0 + m (m - 1) H] / n^2.
    Assumes n = human + m >= 1.
    """
    m = whole("synthetic", synthetic, 0)
    n = whole("human", human, 0) + m
    require(n >= 1, "human + synthetic >= 1 pages are assumed.")
    own, start = m * (m - 1) / n**2, 1 - _homozygosity(p)
    values = [start]
    for _ in range(whole("rounds", rounds, 0)):
        values.append((1 - 1 / n - own) * start + own * values[-1])
    return np.array(values)


def fixation_probability(p: ArrayLike) -> Floats:
    """P(category j alone survives) = p_j, for every n: E p_t = p. Shape (k,)."""
    return distribution("p", p)


def loss_probability(p: ArrayLike, n: int) -> Floats:
    """P(category j is not among the n draws of one generation) = (1 - p_j)^n, near 1 for p_j << 1/n; (k,)."""
    return np.power(1 - distribution("p", p), whole("n", n, 1))


def lost_by(p: float, n: int, rounds: int) -> Floats:
    """P(a category of probability p is gone by t), (rounds + 1,): by the chain of its count. Assumes n <= 2000."""
    return _absorbed(p, n, rounds)[:, 0]


def expected_categories(p: ArrayLike, n: int, rounds: int) -> Floats:
    """E[number of categories left] at t = 0..rounds: sum_j 1 - P(j lost by t). Assumes n <= 2000."""
    left: Floats = np.sum(np.array([1 - lost_by(float(pj), n, rounds) for pj in distribution("p", p)]), axis=0)
    return left


def collapsed_by(p: ArrayLike, n: int, rounds: int) -> Floats:
    """P(one category alone is left by t), (rounds + 1,): sum_j P(all n pages are of j at t). Assumes n <= 2000."""
    alone: Floats = np.sum(np.array([_absorbed(float(pj), n, rounds)[:, 1] for pj in distribution("p", p)]), axis=0)
    return alone


def collapse_time(p: ArrayLike, n: int) -> float:
    """E[T], T the first t with one category: exact.

    E T = sum_t (1 - P(T <= t)) = sum_j sum_t [p_j - P(all pages are of j at t)], and the inner sum from a count x
    solves g = x/n - 1[x = n] + B g with the binomial chain B. Assumes n <= 2000.
    """
    p = distribution("p", p)
    chain = _chain(n)
    g = np.zeros(n + 1)
    inner = slice(1, n)
    g[inner] = np.linalg.solve(np.eye(n - 1) - chain[inner, inner], np.arange(1, n) / n)
    first = np.array([_binomial(n, float(pj)) @ g for pj in p])
    return float(np.sum(np.where(p < 1, p + first, 0.0)))


def collapse_time_diffusion(p: ArrayLike, n: int) -> float:
    """E[T] ~ -2 n sum_j (1 - p_j) log(1 - p_j), for large n; 1.8965 n for ten equal categories.

    Diffusion limit: G. Baxter, R. Blythe, A. McKane, Exact Solution of the Multi-Allelic Diffusion Model, 2005,
    arXiv q-bio/0508045.
    """
    p = distribution("p", p)
    return float(-2 * whole("n", n, 1) * np.sum(xlogy(1 - p, 1 - p)))


def _homozygosity(p: ArrayLike) -> float:
    return float(np.square(distribution("p", p)).sum())


def _binomial(n: int, p: ArrayLike) -> Floats:
    """P(count = 0..n) along the last axis."""
    x, p = np.arange(n + 1), np.asarray(p)[..., None]
    ways = gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1)
    with np.errstate(divide="ignore"):  # log1p(-1) times a count of zero is zero
        values: Floats = np.exp(ways + xlogy(x, p) + xlog1py(n - x, -p))
    return values


def _chain(n: int) -> Floats:
    """P(count y next | count x now) (n + 1, n + 1)."""
    require(whole("n", n, 1) <= LARGEST_CHAIN, f"n = {n}: the exact chain assumes n <= {LARGEST_CHAIN} pages.")
    return _binomial(n, np.arange(n + 1) / n)


def _absorbed(p: float, n: int, rounds: int) -> Floats:
    """P(count = 0) and P(count = n) at t = 0..rounds (rounds + 1, 2)."""
    chain, p = _chain(n), share("p", p)
    values, state = [[float(p == 0), float(p == 1)]], _binomial(n, p)
    for _ in range(whole("rounds", rounds, 0)):
        values.append([state[0], state[n]])
        state = state @ chain
    return np.array(values)
