"""Curation: of K samples of a model people choose one, and the next model is trained on what they chose.

Of K independent samples x_1..x_K of p, x_k is chosen with probability e^{r(x_k)} / sum_j e^{r(x_j)} (Luce;
Bradley-Terry for K = 2). The chosen one has the density p(x) H(x),

    H(x) = E[ K e^{r(x)} / (e^{r(x)} + sum_{i<K} e^{r(x_i)}) ] <= K,    for K = inf  e^{r(x)} / E_p[e^r].

D. Ferbach, Q. Bertrand, A. J. Bose, G. Gidel, Self-Consuming Generative Models with Curated Data Provably Optimize
Human Preferences, 2024, arXiv 2407.09499, Lemma 2.1. Several groups of curators: Falahati et al., Curated synthetic
data doesn't have to collapse, 2026, arXiv 2605.07724.

With 1/a = int_0^inf e^{-s a} ds and phi(s) = E_p[exp(-s e^r)] the expectation over K - 1 samples becomes one integral,

    H(x) = K e^{r(x)} int_0^inf exp(-s e^{r(x)}) phi(s)^(K-1) ds,

and with s = e^u an integrand that is analytic in |Im u| < pi/2 and falls off like e^u on the left and exp(-e^u) on
the right: the trapezoidal rule of step h is off by a relative exp(-pi^2/h), 1e-21 here. So any K costs the same as
K = 2, to rounding.

Distributions are over finitely many atoms. ``p`` (A,); ``reward`` (A,), or (G, A) for G groups of curators who
choose a share ``weights`` (G,) of all items each. ``k``: a whole number or ``math.inf``. Only differences of
rewards matter.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from ecosystem.theory.assumptions import Floats, distribution, number, require, share, vector, whole

SPACING = 0.2  # h, of the trapezoidal rule in u = log s
LEFT, RIGHT = 42.0, 4.0  # e^-42 and exp(-e^4) are nothing beside 1
BLOCK = 512  # nodes at a time, to bound memory
LARGEST_RANGE = 600.0  # of rewards: e^-600 is a float


def tilt(p: ArrayLike, reward: ArrayLike, k: float, weights: ArrayLike | None = None) -> Floats:
    """H(x) of every atom (A,), by which choosing one of k multiplies its probability; sum_x p H = 1, H = 1 for k = 1.

    Over groups, H = sum_g weights_g H_g. Assumes finite rewards within 600 of one another.
    """
    return _mixed(*_checked(p, reward, k, weights))


def chosen(p: ArrayLike, reward: ArrayLike, k: float, weights: ArrayLike | None = None) -> Floats:
    """p H (A,): the distribution of what curators choose; it is what a model learns from curated data alone.

    Divided by its sum: without, the error of the sum grows K-fold a round.
    """
    p, rewards, k, shares = _checked(p, reward, k, weights)
    return _renormalised(p * _mixed(p, rewards, k, shares))


def loop(
    start: ArrayLike,
    reward: ArrayLike,
    k: float,
    rounds: int,
    *,
    synthetic_share: float = 1.0,
    reference: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Floats:
    """p_t for t = 0..rounds (rounds + 1, A):  p_{t+1} = (1 - s) p_ref + s p_t H_{p_t}, s = lambda / (1 + lambda).

    Ferbach et al., arXiv 2407.09499, equation 4, with infinitely many samples and a family that can hold any p.
    ``reference`` = p_ref, by default ``start``. Assumes s in [0, 1].
    """
    p, rewards, k, shares = _checked(start, reward, k, weights)
    human = p if reference is None else distribution("reference", reference, len(p))
    s, path = share("synthetic_share", synthetic_share), [p]
    for _ in range(whole("rounds", rounds, 0)):
        p = _renormalised((1 - s) * human + s * _renormalised(p * _mixed(p, rewards, k, shares)))
        path.append(p)
    return np.array(path)


def two_types(p: float, gap: float) -> float:
    """The chosen share of a type of share p, whose reward is ``gap`` above that of the only other, K = 2:
    p' = p [p + 2 (1 - p) sigmoid(gap)].
    """
    p = share("p", p)
    return float(p * (p + 2 * (1 - p) * expit(number("gap", gap))))


def weak_selection(p: float, gap: float, k: float) -> float:
    """The chosen share of one of two types to first order in ``gap``: logit p' = logit p + (K - 1)/K gap.

    Off by O(gap^2); exact for K = inf. Assumes 0 < p < 1.
    """
    require(0 < p < 1, f"p = {p} is assumed to lie in (0, 1).")
    return float(expit(logit(p) + (1 - 1 / choices(k)) * number("gap", gap)))


def choices(k: float) -> float:
    """K, a whole number >= 1 or inf."""
    return math.inf if k == math.inf else whole("K", k, 1)


def _checked(
    p: ArrayLike, reward: ArrayLike, k: float, weights: ArrayLike | None
) -> tuple[Floats, Floats, float, Floats]:
    """p (A,), rewards (G, A) with highest 0, K, and the shares of the groups (G,)."""
    p = distribution("p", p)
    rewards = np.atleast_2d(np.asarray(reward, dtype=np.float64))
    rewards = np.array([vector("reward", row, len(p)) - row.max() for row in rewards])
    require(rewards.min() >= -LARGEST_RANGE, f"rewards are assumed to lie within {LARGEST_RANGE:g} of one another.")
    return p, rewards, choices(k), distribution("weights", [1.0] if weights is None else weights, len(rewards))


def _renormalised(p: Floats) -> Floats:
    return np.asarray(p / p.sum())


def _mixed(p: Floats, rewards: Floats, k: float, shares: Floats) -> Floats:
    tilts = [_endless(p, reward) if k == math.inf else _tilt(p, reward, k) for reward in rewards]
    return np.asarray(shares @ np.array(tilts))


def _endless(p: Floats, reward: Floats) -> Floats:
    utility = np.exp(reward)
    return np.asarray(utility / (p @ utility))


def _tilt(p: Floats, reward: Floats, k: float) -> Floats:
    first, last = math.floor((-LEFT - math.log(k)) / SPACING), math.ceil((RIGHT - reward.min()) / SPACING)
    total = np.zeros(len(p))
    for start in range(first, last, BLOCK):
        u = SPACING * np.arange(start, min(start + BLOCK, last))
        power = np.exp(np.minimum(u + reward[:, None], 700.0))  # s e^r (A, nodes); exp(-e^700) is 0 as well
        survival = np.exp(-power)
        total += (power * survival) @ (p @ survival) ** (k - 1)
    return np.asarray(k * SPACING * total)
