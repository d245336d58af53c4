"""Pages that pile up instead of being replaced: errors that add up like sum 1/t^2, which converges.

n new pages a generation. Generation 1 is fitted to n human pages, each next one to the pool of all pages so far
(accumulate), or to n pages drawn from that pool (accumulate-subsample). Gaussian models or any whose pages have the
mean and variance of a fit; per coordinate; in units of the human variance and around the human mean.

- M. Gerstgrasser et al., Is Model Collapse Inevitable? Breaking the Curse of Recursion by Accumulating Real and
  Synthetic Data, 2024, arXiv 2404.01413 (linear regression; pi^2 / 6).
- A. Dey, D. Donoho, Universality of the pi^2/6 Pathway in Avoiding Model Collapse, 2024, arXiv 2410.22812.
- J. Kazdan et al., Collapse or Thrive?, 2024, arXiv 2410.16713 (Gaussian, ``mle``).

**Time.** t = 0 is the human distribution; a provider's generation g (0: human pages only) is t = g + 1.

Accumulate. The pool of generation t holds n t pages, so its mean moves by (mean of the last n - mean of the pool
before) / t, whose variance is E S_{t-1} / (n t^2): E m_t^2 = sum_{i<=t} E S_{i-1} / (n i^2).

Subsample. Let Q = E x^2 of a page of the pool of T = n t pages, and P = E x y of two. A sample of n has
E m^2 = Q/n + (1 - 1/n) P and E v = (1 - 1/n)(Q - P) (``mle``). Its n new pages have E x^2 = E m^2 + E v, E x y = E m^2
among them, and E x y = Q/T + (1 - 1/T) P with a page of the pool. Counting pairs gives Q and P of the next pool; under
``mle``, Q stays 1 and  (Q - P)_{t+1} = (Q - P)_t [1 - (3 n - 1) / (n (t + 1) (n (t + 1) - 1))].
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln

from ecosystem.theory.assumptions import Estimator, correction, number, require, whole
from ecosystem.theory.gaussian import Moments

SUBSAMPLE_PLATEAU = math.pi**2 / 2 - 2  # lim_n lim_t n E[m_t^2] = 1 + 3 (1/4 + 1/9 + ...); 2.9 in Dey and Donoho's plot


def accumulate(n: int, rounds: int, estimator: Estimator = "mle") -> Moments:
    """Variance and squared error of the mean at t = 0..rounds; for ``mle`` E S_t = prod_{i<=t} (1 - 1 / (n i^2)).

    Kazdan et al., arXiv 2410.16713; Dey and Donoho, arXiv 2410.22812. Assumes n >= 2, exactly n new pages a generation.
    """
    whole("n", n, 2)
    variance, square, raw = [1.0], [0.0], 1.0  # raw: E x^2 over the pool
    for t in range(1, whole("rounds", rounds, 0) + 1):
        raw += (square[-1] + variance[-1] - raw) / t
        square.append(square[-1] + variance[-1] / (n * t**2))
        variance.append(correction(estimator, n * t) * (raw - square[-1]))
    return Moments(np.array(variance), np.array(square))


def accumulate_limit(n: int) -> float:
    """lim_t E S_t = sin(pi / sqrt n) / (pi / sqrt n) for ``mle``: accumulating never collapses. Assumes n >= 2."""
    return float(np.sinc(1 / math.sqrt(whole("n", n, 2))))


def subsample(n: int, rounds: int, estimator: Estimator = "mle") -> Moments:
    """Variance and squared error of the mean at t = 0..rounds of models fitted to n pages of the pool; derived above.

    The setting is that of Kazdan et al., arXiv 2410.16713, and Dey and Donoho, arXiv 2410.22812. Assumes n >= 2 and
    subsets drawn uniformly, without replacement, anew each generation.
    """
    whole("n", n, 2)
    variance, square, raw, spread = [1.0], [0.0], 1.0, 1.0  # raw: Q; spread: Q - P
    for t in range(1, whole("rounds", rounds, 0) + 1):
        square.append(raw - (1 - 1 / n) * spread)
        variance.append(correction(estimator, n) * (1 - 1 / n) * spread)
        raw += (square[-1] + variance[-1] - raw) / (t + 1)
        spread = _next_spread(n, n * t, spread, variance[-1])
    return Moments(np.array(variance), np.array(square))


def _next_spread(n: int, pool: int, spread: float, variance: float) -> float:
    """Q - P, half the mean squared distance of two pages, over old, new and mixed pairs; nothing cancels."""
    mixed = (1 - 1 / pool) * spread + (variance - (1 - 1 / n) * spread) / 2
    pairs = pool * (pool - 1) * spread + n * (n - 1) * variance + 2 * n * pool * mixed
    return pairs / ((pool + n) * (pool + n - 1))


def subsample_limit(n: int) -> float:
    """lim_t E S_t = (1 - 1/n) Gamma(2 - 1/n) / (Gamma(2 - a) Gamma(2 - b)), a, b = (1 +- sqrt(12 n - 3)) / (2 n).

    The infinite product of the factors in the module's derivation, ``mle``. n (1 - S) = n E m^2 goes to
    ``SUBSAMPLE_PLATEAU`` for large n. Assumes n >= 2.
    """
    root = math.sqrt(12 * whole("n", n, 2) - 3)
    a, b = (1 + root) / (2 * n), (1 - root) / (2 * n)
    return (1 - 1 / n) * math.exp(gammaln(2 - 1 / n) - gammaln(2 - a) - gammaln(2 - b))


def regression_replace(samples: int, dims: int, t: int, noise: float = 1.0) -> float:
    """E |w_t - w*|^2 = t s^2 d / (T - d - 1): least squares refitted t times to its own predictions plus noise.

    Gerstgrasser et al., arXiv 2404.01413. T samples with isotropic Gaussian inputs in d dimensions, the same in
    every generation; fresh noise of standard deviation s = ``noise`` each. Assumes T > d + 1. t = 1 saw human labels.
    """
    return whole("t", t, 0) * _regression_error(samples, dims, noise)


def regression_accumulate(samples: int, dims: int, t: int, noise: float = 1.0) -> float:
    """E |w_t - w*|^2 = s^2 d / (T - d - 1) sum_{i<=t} 1 / i^2 < pi^2/6 (...): fitted to all labels so far.

    Gerstgrasser et al., arXiv 2404.01413. As ``regression_replace``; T new labels a generation.
    """
    return sum(1 / i**2 for i in range(1, whole("t", t, 0) + 1)) * _regression_error(samples, dims, noise)


def _regression_error(samples: int, dims: int, noise: float) -> float:
    whole("dims", dims, 1)
    whole("samples", samples, 1)
    require(samples > dims + 1, f"samples = {samples}, dims = {dims}: a finite risk assumes samples > dims + 1.")
    return number("noise", noise, least=0) ** 2 * dims / (samples - dims - 1)
