"""Negative guidance from a self-trained model: what it does to the variance of a Gaussian, once and in a loop.

A model N(m, s) is served as p^(1 + omega) / p_a^omega, where p_a is fitted to N of its own samples (S. Alemohammad et
al., Self-Improving Diffusion Models with Synthetic Data, 2024, arXiv 2408.16333). Derived here, per coordinate. p_a has
the variance q s, q = b chi^2_nu / d with nu = N - 1, d = N (``mle``) or N - 1 (``unbiased``) and b the sampling bias,
and independently of q the mean m + delta, delta ~ N(0, b s / N). What is served is N(m + D, S),

    S / s = q / ((1 + omega) q - omega),    D = -omega delta / ((1 + omega) q - omega),

if q > omega / (1 + omega), and nothing otherwise. The expected *precision* is exact (``expected_precision``), and so
are the quantiles of S. E S and E D^2 are infinite for every omega > 0: the density of q is positive where S is
infinite. But for large N no run ever comes there, and ``served`` has the moments of all but a share ``TAIL`` of the
auxiliaries: at b = 1, each but for O(1/N^2),

    g = E S / s = 1 + omega (3 + 2 omega) / N  (mle),   1 + 2 omega (1 + omega) / N  (unbiased),
    h = E D^2 / s = omega^2 / N.

Guidance *widens*, by a share 1/N that may make up for the share 1/n that a fit to n pages loses: ``guided_loops``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.special import gammainc, gammaincinv, poch

from ecosystem.theory.assumptions import Estimator, bias, correction, number, require, whole

TAIL = 1e-9  # the share of auxiliaries, the narrowest, that expectations leave out


class Auxiliary:
    """The law of q, the auxiliary's variance in units of the main model's. Assumes N >= 2 ``images``."""

    def __init__(self, weight: float, images: int, estimator: Estimator = "mle", sampling_bias: float = 1.0) -> None:
        self.weight = number("weight", weight, least=0)
        self.images = whole("images", images, 2)
        self.bias = bias(sampling_bias)
        self.half = (self.images - 1) / 2  # of the degrees of freedom
        self.scale = 2 * self.bias * correction(estimator, images) / images  # q = scale * Gamma(half)
        self.least = self.weight / (1 + self.weight)

    def below(self, q: float) -> float:
        return float(gammainc(self.half, q / self.scale))

    def quantile(self, level: float) -> float:
        return float(gammaincinv(self.half, level) * self.scale)

    def left(self, q: float) -> float:
        """The served precision in units of 1 / (q s)."""
        return (1 + self.weight) * q - self.weight

    def expectation(self, f: Callable[[float], float], least: float) -> float:
        """E[f(q) | q > least]."""
        from scipy.integrate import quad  # late: importing it takes a while

        def density(q: float) -> float:
            """But for a factor, so written that it keeps its precision for any number of images."""
            off = q / (self.scale * self.half) - 1
            return math.exp(self.half * (math.log1p(off) - off)) / q

        def integral(g: Callable[[float], float]) -> float:
            pieces = zip(ends, ends[1:], strict=False)
            return math.fsum(quad(g, a, b, epsabs=0, epsrel=1e-11, limit=200)[0] for a, b in pieces)

        ends = [least, *(q for q in map(self.quantile, (1e-6, 0.01, 0.5, 0.99, 1 - 1e-6, 1 - 1e-15)) if q > least)]
        return integral(lambda q: f(q) * density(q)) / integral(density)


def extrapolated_variance(ratio: float, weight: float) -> float:
    """S / s = q / ((1 + omega) q - omega) for an auxiliary of variance q s, q = ``ratio``: of infinitely many samples.

    With samples drawn at a bias b, q = b, and what is published at that bias has the variance b S = s at omega = b:
    this weight cancels the bias (Alemohammad et al., arXiv 2307.01850, have the bias). Assumes q > omega/(1 + omega).
    """
    q, w = number("ratio", ratio, above=0), number("weight", weight, least=0)
    require((1 + w) * q > w, f"ratio = {q:g}: a density assumes ratio > weight / (1 + weight) = {w / (1 + w):g}.")
    return q / ((1 + w) * q - w)


def failure(weight: float, images: int, estimator: Estimator = "mle", sampling_bias: float = 1.0) -> float:
    """P(q <= omega / (1 + omega)): that there is nothing to serve. Exact, for one coordinate of one class."""
    law = Auxiliary(weight, images, estimator, sampling_bias)
    return law.below(law.least)


def expected_precision(
    weight: float, images: int, dims: int = 1, estimator: Estimator = "mle", sampling_bias: float = 1.0
) -> float:
    """E[precision served] in units of the main model's: 1 + omega (1 - d / (b (N - D - 2))), the failures included.

    1 - omega (D + 2) / (N - D - 2) under ``mle``, and 1 - omega (D + 1) / (N - D - 2) under ``unbiased``, at b = 1. Of
    every entry of the matrix in D = ``dims`` dimensions (the mean of an inverse Wishart matrix, K. V. Mardia, J. T.
    Kent, J. M. Bibby, Multivariate Analysis, 1979, section 3.8). Exact. Assumes N >= D + 3.
    """
    w, d = number("weight", weight, least=0), whole("dims", dims, 1)
    divisor = whole("images", images, d + 3) / correction(estimator, images)
    return 1 + w * (1 - divisor / (bias(sampling_bias) * (images - d - 2)))


def variance_quantile(
    level: float, weight: float, images: int, estimator: Estimator = "mle", sampling_bias: float = 1.0
) -> float:
    """The S / s that a share ``level`` of all auxiliaries stays below; infinite among the failures. Exact."""
    require(0 < level < 1, f"level = {level} is assumed to lie in (0, 1).")
    law = Auxiliary(weight, images, estimator, sampling_bias)
    q = law.quantile(1 - level)
    return q / law.left(q) if q > law.least else math.inf


def served(weight: float, images: int, estimator: Estimator = "mle", sampling_bias: float = 1.0) -> tuple[float, float]:
    """(g, h) = (E S, E D^2) / s, over all auxiliaries but the narrowest, a share ``TAIL``.

    Assumes that those left out hold all failures, and with a margin, so that what is left out does not show.
    """
    law = Auxiliary(weight, images, estimator, sampling_bias)
    least = law.quantile(TAIL)
    require(
        least > 1.02 * law.least,
        f"weight = {weight:g}, images = {images}: an auxiliary that as good as never fails is assumed. Raise images.",
    )
    g = law.expectation(lambda q: q / law.left(q), least)
    return g, law.weight**2 * law.bias / images * law.expectation(lambda q: law.left(q) ** -2, least)


def score_guided_variance(
    weight: float, images: int, estimator: Estimator = "mle", sampling_bias: float = 1.0
) -> float:
    """E q^-omega = (2 b / d)^-omega Gamma(nu/2 - omega) / Gamma(nu/2): E S / s of a sampler that follows the score.

    Extrapolated at every noise level, two Gaussians on the line end at sigma_main (sigma_main / sigma_a)^omega, which
    always exists (``models/guided.py``). 1 + omega (2 + omega) / N + O(1/N^2) under ``mle``. Exact for perfect scores
    and centred models. Assumes omega < nu / 2 and, for want of larger numbers, omega <= 40.
    """
    law = Auxiliary(weight, images, estimator, sampling_bias)
    fits = law.weight < law.half and law.weight <= 40
    require(fits, f"weight = {weight:g}: a mean assumes weight < (images - 1) / 2, and <= 40.")
    return float(
        law.scale**-law.weight / poch(law.half - law.weight, law.weight)
    )  # of Gammas a difference would cancel
