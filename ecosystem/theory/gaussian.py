"""A Gaussian trained on its own samples alone: the replace loop, exactly.

Generation t is fitted to n points of generation t - 1, drawn from N(mu, b Sigma) with sampling bias b. In one dimension
sigma_t^2 / sigma_{t-1}^2 = b chi^2_nu / nu (``unbiased``) or b chi^2_nu / n (``mle``), nu = n - 1, independently for
every t, and everything below follows.

- I. Shumailov et al., The Curse of Recursion: Training on Generated Data Makes Models Forget, 2023, arXiv 2305.17493.
- S. Alemohammad et al., Self-Consuming Generative Models Go MAD, 2023, arXiv 2307.01850 (sampling bias; ``unbiased``).
- Q. Bertrand, A. J. Bose, A. Duplessis, M. Jiralerspong, G. Gidel, On the Stability of Iterative Retraining of
  Generative Models on their Own Data, 2023, arXiv 2310.00429 (Proposition 1: E[sqrt Sigma_t] <= alpha(n)^t sqrt
  Sigma_0).
- J. Kazdan et al., Collapse or Thrive? Perils and Promises of Synthetic Data in a Self-Generating World, 2024,
  arXiv 2410.16713 (``mle``).

**Time.** t = 0 is a *known* Gaussian, and t counts fits since. It may be the human distribution: then a provider's
generation g is t = g + 1. It may be the model of generation 0: then t = g, and the values are given that model. With a
sampling bias b < 1 the first n points are biased too, so t = 0 must be a model.

**Units.** Everything is relative to t = 0: standard deviations in units of sigma_0, squares in units of sigma_0^2.
``t`` may be a whole number or an array of them; the answer has its shape. ``n`` is the number of points a
generation.

The mean of the variance tells little: under ``unbiased`` it stays 1 while almost every run collapses (the variance is
heavy-tailed). Test with ``log_std_mean`` and ``log_std_variance``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma, gamma, polygamma

from ecosystem.theory.assumptions import Estimator, Floats, bias, correction, require, times, whole


@dataclass(frozen=True)
class Moments:
    """By time, t = 0, 1, ..., rounds; each (rounds + 1,)."""

    variance: Floats  # E[variance of the model]
    mean_square: Floats  # E[(mean of the model - reference)^2]


def c4(n: int) -> float:
    """E[s] / sigma of n points, s^2 unbiased:  sqrt(2 / (n - 1)) Gamma(n / 2) / Gamma((n - 1) / 2) ~ 1 - 1/(4 n).

    The alpha(n) of Bertrand et al., Proposition 1 (arXiv 2310.00429), in one dimension, where it holds with equality.
    """
    a = (whole("n", n, 2) - 1) / 2
    if n <= 300:
        return float(gamma(a + 0.5) / gamma(a) / math.sqrt(a))
    # Gamma would overflow, and a difference of its logarithms cancel; the next term is below 1e-16.
    series = (1, -1 / 8, 1 / 128, 5 / 1024, -21 / 32768, -399 / 262144)
    return sum(coefficient / a**power for power, coefficient in enumerate(series))


def expected_std(n: int, t: ArrayLike, estimator: Estimator = "unbiased", sampling_bias: float = 1.0) -> Floats:
    """E[sigma_t] = (c4(n) sqrt(b))^t, times (1 - 1/n)^(t/2) under ``mle``.

    The exact form of Bertrand et al., Proposition 1 (arXiv 2310.00429). Assumes one dimension, n >= 2.
    """
    factor = c4(n) * math.sqrt(_ratio(n, estimator, sampling_bias))
    return np.power(factor, times(t))


def log_std_mean(n: int, t: ArrayLike, estimator: Estimator = "unbiased", sampling_bias: float = 1.0) -> Floats:
    """E[log sigma_t] = t/2 [psi(nu/2) - log(nu/2) + log b], with log(n/2) in the place of log(nu/2) under ``mle``.

    Negative for every n: almost every run collapses (Alemohammad et al., arXiv 2307.01850: Sigma_t -> 0 almost surely).
    Assumes one dimension, n >= 2.
    """
    nu = whole("n", n, 2) - 1
    drift = float(digamma(nu / 2)) - math.log(nu / 2) + math.log(_ratio(n, estimator, sampling_bias))
    return times(t) * (drift / 2)


def log_std_variance(n: int, t: ArrayLike) -> Floats:
    """Var[log sigma_t] = t psi'(nu/2) / 4, for both estimators and every sampling bias. One dimension, n >= 2."""
    nu = whole("n", n, 2) - 1
    return times(t) * (float(polygamma(1, nu / 2)) / 4)


def expected_variance(n: int, t: ArrayLike, estimator: Estimator = "mle", sampling_bias: float = 1.0) -> Floats:
    """E[sigma_t^2] = b^t (``unbiased``) or (b (1 - 1/n))^t (``mle``); of every entry of Sigma_t in d dimensions.

    Alemohammad et al., arXiv 2307.01850; Kazdan et al., arXiv 2410.16713. Assumes n >= 2.
    """
    return np.power(_ratio(n, estimator, sampling_bias), times(t))


def mean_square(n: int, t: ArrayLike, estimator: Estimator = "mle", sampling_bias: float = 1.0) -> Floats:
    """E[(mu_t - mu_0)^2] = (b/n) sum_{s<t} r^s with r = E[sigma_1^2]; per coordinate in d dimensions.

    ``unbiased``, b = 1: t/n, a random walk (Shumailov et al., arXiv 2305.17493). ``mle``, b = 1: 1 - (1 - 1/n)^t.
    Assumes n >= 2.
    """
    r, t = _ratio(n, estimator, sampling_bias), times(t)
    total = t if r == 1 else -np.expm1(t * math.log(r)) / (1 - r)
    return np.asarray(total * (sampling_bias / n))[()]


def expected_w2(n: int, t: ArrayLike, estimator: Estimator = "mle", sampling_bias: float = 1.0) -> Floats:
    """E[W2^2] of generation t to t = 0: E[(mu_t - mu_0)^2] + E[sigma_t^2] + 1 - 2 E[sigma_t].

    To first order 1.5 t / n for both estimators, as Shumailov et al. find (arXiv 2305.17493). One dimension, n >= 2.
    """
    arguments = (n, t, estimator, sampling_bias)
    return mean_square(*arguments) + expected_variance(*arguments) + 1 - 2 * expected_std(*arguments)


def expected_determinant(n: int, d: int, t: ArrayLike, estimator: Estimator = "unbiased") -> Floats:
    """E[det Sigma_t] / det Sigma_0 = (prod_{i=1..d} (n - i) / (n - 1))^t; ``mle`` divides by n instead of n - 1.

    Of a Wishart determinant (R. J. Muirhead, Aspects of Multivariate Statistical Theory, 1982, section 3.2).
    Assumes n > d >= 1 and n >= 2, no sampling bias.
    """
    i, divisor = _axes(n, d, estimator)
    return np.power(np.prod((n - i) / divisor), times(t))


def log_determinant_mean(n: int, d: int, t: ArrayLike, estimator: Estimator = "unbiased") -> Floats:
    """E[log det Sigma_t / det Sigma_0] = t [sum_{i=1..d} psi((n - i)/2) + d log(2/(n - 1))]; ``mle`` has log(2/n).

    Same source and assumptions as ``expected_determinant``.
    """
    i, divisor = _axes(n, d, estimator)
    return times(t) * float(np.sum(digamma((n - i) / 2) + math.log(2 / divisor)))


def _ratio(n: int, estimator: Estimator, sampling_bias: float) -> float:
    """E[sigma_1^2]."""
    whole("n", n, 2)
    # n / (n - 1) times (n - 1) / n is 1 only to rounding, and mean_square asks whether it is 1.
    kept = 1 - 1 / n if correction(estimator, n) == 1 else 1.0
    return bias(sampling_bias) * kept


def _axes(n: int, d: int, estimator: Estimator) -> tuple[Floats, float]:
    whole("n", n, 2)
    whole("d", d, 1)
    require(n > d, f"n = {n}, d = {d}: a covariance of full rank assumes n > d points.")
    return np.arange(1.0, d + 1), n / correction(estimator, n)
