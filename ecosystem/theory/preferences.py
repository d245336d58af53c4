"""Where curation leads: limits, fixed points and bounds of the curated loop.

- D. Ferbach, Q. Bertrand, A. J. Bose, G. Gidel, Self-Consuming Generative Models with Curated Data Provably
  Optimize Human Preferences, 2024, arXiv 2407.09499 (lemmas and theorems named below).
- Wei, Xie, Zhu, Zhang, Co-evolving human preferences, 2026 (fixed point with real data; contraction of odds).
- Wei, Zhang, Self-Consuming Generative Models with Adversarially Curated Data, 2025, arXiv 2505.09768.
- Falahati et al., Curated synthetic data doesn't have to collapse, 2026, arXiv 2605.07724 (two groups of curators).

Distributions ``p`` (A,) over atoms with rewards ``reward`` (A,); lambda = synthetic-to-real ratio; K = size of the
ballot; r* = the highest reward where p > 0. Expectations are of e^r, which Ferbach et al. show to be what curation
maximises.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from ecosystem.theory.assumptions import Floats, distribution, number, require, share, times, vector, whole
from ecosystem.theory.curation import choices

LARGEST = 300.0  # reward


def restricted_to_best(p: ArrayLike, reward: ArrayLike) -> Floats:
    """lim_t p_t with curated data alone: p conditioned on r = r* (A,). Ferbach et al., Theorem 2.1. Assumes K >= 2."""
    p, r = _atoms(p, reward)
    best = np.where((r == r[p > 0].max()) & (p > 0), p, 0.0)
    return np.asarray(best / best.sum())


def replicator(p: ArrayLike, reward: ArrayLike, t: int) -> Floats:
    """p_t ~ p_0 e^{t r} (A,) with curated data alone and K = inf. Ferbach et al., Lemma 2.1, iterated."""
    p, r = _atoms(p, reward)
    tilted = p * np.exp(whole("t", t, 0) * (r - r[p > 0].max()).clip(max=0))
    return np.asarray(tilted / tilted.sum())


def anchored_limit(reference: ArrayLike, reward: ArrayLike, ratio: float) -> Floats:
    """lim_t p_t with human data and K = inf (A,): p* = (1 - s) p_ref Z / (Z - s e^r), s = lambda / (1 + lambda).

    Z = E_{p*}[e^r] is the root > s e^{r*} of sum p* = 1. Wei, Xie, Zhu, Zhang, Co-evolving human preferences, 2026.
    Assumes 0 <= lambda < inf.
    """
    from scipy.optimize import brentq  # late: importing it takes most of a second

    p, r = _atoms(reference, reward)
    s = _synthetic_share(ratio)
    r = r - r[p > 0].max()
    lost = -s * np.expm1(np.where(p > 0, r, 0.0))  # s (1 - e^r)

    def density(x: float) -> Floats:  # Z = s + x, so that Z - s e^r = lost + x does not cancel
        return np.asarray((1 - s) * p * (s + x) / (lost + x))

    top = (1 - s) * p[(r == 0) & (p > 0)].sum()  # at this x or above p* sums to more than 1
    low, high = s * top / (1 - top) if top < 1 else 1 - s, 1 - s
    if s == 0 or low >= high:
        return p
    x = brentq(lambda value: density(value).sum() - 1, low * (1 - 1e-9), high * (1 + 1e-9), xtol=1e-300, rtol=1e-15)
    return np.asarray(density(x) / density(x).sum())


def expected_utility(p: ArrayLike, reward: ArrayLike) -> float:
    """E_p[e^r]."""
    p, r = _atoms(p, reward)
    return float(p @ _utility(r))


def utility_variance(p: ArrayLike, reward: ArrayLike) -> float:
    """Var_p[e^r]."""
    return covariance(p, reward, reward)


def covariance(p: ArrayLike, reward: ArrayLike, other: ArrayLike) -> float:
    """Cov_p(e^r, e^r~)."""
    p, r = _atoms(p, reward)
    e, f = _utility(r), _utility(vector("other reward", other, len(p)))
    return float(p @ ((e - p @ e) * (f - p @ f)))


def gain_bound(p: ArrayLike, reward: ArrayLike, k: float) -> float:
    """E[e^r] rises by at least (K - 1)/K Var_p[e^r] / e^{r*} a round of curated data. Ferbach et al., Lemma 2.2.

    For K = inf it rises by exactly Var_p[e^r] / E_p[e^r].
    """
    p, r = _atoms(p, reward)
    return (1 - 1 / choices(k)) * utility_variance(p, r - r[p > 0].max()) * math.exp(r[p > 0].max())


def total_variance_bound(p: ArrayLike, reward: ArrayLike, k: float) -> float:
    """sum_t Var_{p_t}[e^r] <= K/(K - 1) e^{r*} (e^{r*} - E_{p_0}[e^r]): the gains of Lemma 2.2 cannot exceed what
    there is to gain. Assumes K >= 2.
    """
    p, r = _atoms(p, reward)
    require(choices(k) >= 2, "K = 1 chooses nothing: K >= 2 is assumed.")
    best = math.exp(r[p > 0].max())
    return best * (best - expected_utility(p, r)) / (1 - 1 / choices(k))


def anchored_utility_bound(reference: ArrayLike, reward: ArrayLike, k: float, ratio: float) -> float:
    """E_{p_t}[e^r] >= E_ref[e^r] + lambda / (1 + lambda)^3 (K - 1) Var_ref[e^r] / (K e^{r*}) for all t >= 1, from
    p_0 = p_ref with human data. Ferbach et al., Theorem 2.3. Assumes lambda >= 0.
    """
    lam = number("lambda", ratio, least=0)
    return expected_utility(reference, reward) + lam / (1 + lam) ** 3 * gain_bound(reference, reward, k)


def kl_bound(k: int, ratio: float) -> float:
    """KL(p_t || p_ref) <= -log(1 - lambda (K - 1)) for all t, from p_0 = p_ref with human data.

    Ferbach et al., Theorem 2.4. Assumes lambda < 1 / (K - 1).
    """
    lam, size = number("lambda", ratio, least=0), whole("K", k, 1)
    require(lam * (size - 1) < 1, f"lambda = {lam}, K = {k}: lambda < 1 / (K - 1) is assumed.")
    return -math.log1p(-lam * (size - 1))


def reverse_kl_bound(ratio: float) -> float:
    """KL(p_ref || p_t) <= log(1 + lambda) for all t >= 0 and every K, as p_t >= p_ref / (1 + lambda). Derived here;
    from p_0 = p_ref with human data.
    """
    return math.log1p(number("lambda", ratio, least=0))


def best_of_k(cdf: ArrayLike, k: int, t: ArrayLike) -> Floats:
    """The CDF of the reward after t rounds of taking the best of K: F_0^(K^t); ``cdf`` in [0, 1]. Derived here."""
    F = np.asarray(cdf, dtype=np.float64)
    require(np.all((F >= 0) & (F <= 1)), "values of a CDF are assumed to lie in [0, 1].")
    exponent = np.power(float(whole("K", k, 1)), np.minimum(times(t), 300 / math.log10(max(k, 2))))
    with np.errstate(under="ignore"):
        return np.power(F, exponent)


def odds_contraction(gap: float, k: int, temperature: float) -> float:
    """H(x_j) / H(x_i) <= 1 - (1 - e^{-tau gap}) (K - 1) / (e^{2 tau} + K - 1) where r(x_i) = r(x_j) + gap.

    Wei, Xie, Zhu, Zhang, Co-evolving human preferences, 2026. Rewards tau r, assumed |r| <= 1, so 0 <= gap <= 2.
    """
    require(0 <= gap <= 2, f"gap = {gap}: rewards are assumed to lie in [-1, 1].")
    tau, rivals = number("temperature", temperature, least=0), whole("K", k, 1) - 1
    return 1 + math.expm1(-tau * gap) * rivals / (math.exp(2 * tau) + rivals)


def adversarial_gain(p: ArrayLike, reward: ArrayLike, other: ArrayLike, share_of_other: float) -> float:
    """What E[e^r] gains in a round when a share b of the curators follows another reward r~, K = inf:
    (1 - b) Var(e^r) / E[e^r] + b Cov(e^r, e^r~) / E[e^r~].

    Exact; that curation helps until Cov < 0 outweighs is the finding of Wei and Zhang, arXiv 2505.09768.
    """
    b = share("share_of_other", share_of_other)
    honest = utility_variance(p, reward) / expected_utility(p, reward)
    return (1 - b) * honest + b * covariance(p, reward, other) / expected_utility(p, other)


def adversarial_threshold(p: ArrayLike, reward: ArrayLike, other: ArrayLike) -> float:
    """b*, the share of curators with reward r~ above which E[e^r] falls: the root of ``adversarial_gain``; inf where
    Cov(e^r, e^r~) >= 0, so that no share turns it. For this round's p. Assumes Var(e^r) > 0.
    """
    honest, hostile = adversarial_gain(p, reward, other, 0), adversarial_gain(p, reward, other, 1)
    require(honest > 0, "the reward is assumed to vary where p > 0.")
    return honest / (honest - hostile) if hostile < 0 else math.inf


def plural_limit(weight: float, gap: float) -> float:
    """lim_t of the share of plateau 1: a* = (q (1 + k) - k) / (1 - k), k = e^{-D}; 0 or 1 where that leaves [0, 1].

    A share q = ``weight`` of the curators prefers plateau 1 by D = ``gap``, the others plateau 2, K = inf. -> q for
    large D. Of the update p (q e^{r1} / Z1 + (1 - q) e^{r2} / Z2) of Falahati et al., arXiv 2605.07724; both shares
    positive at the start. Assumes D > 0.
    """
    q, k = share("weight", weight), math.exp(-number("gap", gap, above=0))
    return min(1.0, max(0.0, (q * (1 + k) - k) / -math.expm1(-gap)))


def plural_bounds(weight: float, leakage_1: float, leakage_2: float) -> tuple[float, float]:
    """Once in it, the share of basin 1 stays in [(q - k1) / (1 - k1), q / (1 - k2)], q = ``weight``, K = inf.

    Leakages k_i = exp(-(D_i - 2 eps)): r_i is higher by D_i in basin i, and within eps of constant in each basin.
    Falahati et al., arXiv 2605.07724. Assumes k1 < q < 1 - k2.
    """
    q, k1, k2 = share("weight", weight), share("leakage_1", leakage_1), share("leakage_2", leakage_2)
    require(k1 < q < 1 - k2, f"q = {q} is assumed to lie between the leakages, in ({k1}, {1 - k2}).")
    return (q - k1) / (1 - k1), q / (1 - k2)


def _atoms(p: ArrayLike, reward: ArrayLike) -> tuple[Floats, Floats]:
    p = distribution("p", p)
    return p, vector("reward", reward, len(p))


def _utility(reward: Floats) -> Floats:
    require(reward.max() <= LARGEST, f"rewards are assumed to be at most {LARGEST:g}, so that e^r squared is a number.")
    return np.exp(reward)


def _synthetic_share(ratio: float) -> float:
    lam = number("lambda", ratio, least=0)
    return lam / (1 + lam)
