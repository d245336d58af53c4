"""Human and synthetic pages in one training set: the same human pages every generation, or fresh ones.

Gaussian models (or any whose pages have the mean and variance of a fit), per coordinate. p = synthetic share;
lambda = synthetic-to-real ratio, p = lambda / (1 + lambda); b = sampling bias; c = 1 (``mle``) or N / (N - 1)
(``unbiased``, N pages).

- Q. Bertrand et al., On the Stability of Iterative Retraining of Generative Models on their Own Data, 2023, arXiv
  2310.00429 (a fixed human set, each generation's synthetic pages replace the last ones).
- S. Alemohammad et al., Self-Consuming Generative Models Go MAD, 2023, arXiv 2307.01850 (fresh human pages;
  sampling bias).
- S. Fu, S. Zhang, Y. Wang, X. Tian, D. Tao, Towards Theoretical Understandings of Self-Consuming Generative Models,
  2024, arXiv 2402.11778 (more synthetic data first hurts, then helps).

The recursions are exact for finite n: both moments of a weighted mean of independent samples, given the last model.
**Time.** Generation 0 is the start: for the fixed loop the model fitted to the human pages alone, for the fresh loop
whatever ``start`` says.
"""

from __future__ import annotations

import math

import numpy as np

from ecosystem.theory.assumptions import Estimator, bias, correction, number, require, whole
from ecosystem.theory.gaussian import Moments


def fixed(
    n: int,
    synthetic: int,
    rounds: int,
    *,
    variance: float = 1.0,
    estimator: Estimator = "mle",
    sampling_bias: float = 1.0,
) -> Moments:
    """Generations 0..rounds fitted to the same n human pages and m = ``synthetic`` pages of the last generation.

    Given the human pages, of MLE variance v = ``variance``; the returned ``mean_square`` is
    E2 = E[(mean of the model - mean of the human pages)^2], 0 at the start. With m2 = E2 + b s / m:

        E2' = p^2 m2,    s' = c [(1 - p) v + p b s (1 - 1/m) + p (1 - p) m2].

    Averaged over human pages, v = (1 - 1/n) sigma^2, and the squared error of the mean is sigma^2 / n + E2. The loop
    of Bertrand et al., arXiv 2310.00429, for Gaussians and finite n. Assumes n >= 2, m >= 1.
    """
    p = _share(n, synthetic)
    b, v = bias(sampling_bias), number("variance", variance, least=0)
    c = correction(estimator, n + synthetic)
    s, square = [correction(estimator, n) * v], [0.0]
    for _ in range(whole("rounds", rounds, 0)):
        moved = square[-1] + b * s[-1] / synthetic
        within = (1 - p) * v + p * b * s[-1] * (1 - 1 / synthetic)
        s.append(c * (within + p * (1 - p) * moved))
        square.append(p**2 * moved)
    return Moments(np.array(s), np.array(square))


def fixed_limit(n: int, ratio: float, variance: float = 1.0) -> tuple[float, float]:
    """(variance, E2) of ``fixed`` as t -> inf: v / (1 + q) and v q / (1 + q), q = lambda / (n (1 + 2 lambda)).

    Exact for ``mle`` without sampling bias. q <= 1 / (2 n): never a collapse for a finite lambda. Assumes n >= 2,
    lambda >= 0, and that lambda n is whole (between whole numbers it interpolates).
    """
    lam = number("lambda", ratio, least=0)
    q = lam / (whole("n", n, 2) * (1 + 2 * lam))
    v = number("variance", variance, least=0)
    return v / (1 + q), v * q / (1 + q)


def deviation(ratio: float, t: int) -> float:
    """(lambda / (1 + lambda))^t: what is left after t of a deviation of the mean from that of the human pages.

    In expectation, for every n. The linear rate of D. Ferbach et al., Self-Consuming Generative Models with Curated
    Data Provably Optimize Human Preferences, 2024, arXiv 2407.09499, for a family that contains the data.
    """
    lam = number("lambda", ratio, least=0)
    return float((lam / (1 + lam)) ** whole("t", t, 0))


def synthetic_amount(n: int, synthetic: int, t: int, variance: float = 1.0) -> float:
    """E2_t, the error that t generations add to the mean, as a function of m = ``synthetic`` pages a generation.

    The Gaussian analogue of Fu et al., arXiv 2402.11778, derived here: under ``mle`` E2 + s = v throughout ``fixed``,
    so the recursion is linear in E2 alone, and with a = p^2 (1 - 1/m)

        E2_t = v (p^2 / m) (1 - a^t) / (1 - a).

    At t = 1 it is v m / (n + m)^2, largest at m = n. At any finite t it rises and then falls, in the end like v t / m.
    As t -> inf it is that of ``fixed_limit``, which only rises with m, to v / (2 n + 1). Assumes n >= 2, m >= 1, human
    pages fixed with MLE variance v, no sampling bias.
    """
    p = _share(n, synthetic)
    whole("t", t, 0)
    a = p**2 * (1 - 1 / synthetic)
    limit = fixed_limit(n, synthetic / n, variance)[1]
    return limit * (-math.expm1(t * math.log(a)) if a > 0 else min(t, 1))


def worst_amount(n: int, t: int) -> int:
    """The m at which ``synthetic_amount(n, m, t)`` is largest: n at t = 1, about 2 n t / log(4 t) for large n and t.

    Found by search; that there is one maximum only is observed, not proven. Assumes n >= 2, t >= 1.
    """
    from scipy.optimize import minimize_scalar  # late: importing it takes most of a second

    top = 2 * whole("n", n, 2) * (whole("t", t, 1) + 1)

    def error(log_amount: float) -> float:
        return -synthetic_amount(n, max(1, round(math.exp(log_amount))), t)

    near = round(math.exp(minimize_scalar(error, bounds=(0, math.log(top)), method="bounded").x))
    return max(range(max(1, near - 50), near + 50), key=lambda m: synthetic_amount(n, m, t))


def fresh(
    human: int,
    synthetic: int,
    rounds: int,
    *,
    estimator: Estimator = "mle",
    sampling_bias: float = 1.0,
    start: tuple[float, float] = (1.0, 0.0),
) -> Moments:
    """Generations 0..rounds fitted to ``human`` new human pages and ``synthetic`` pages of the last generation.

    In units of the human variance and around the human mean, V = E m^2. With n pages in all, w = (1 - p) + p b s:

        V' = p^2 V + w / n,    s' = c [(1 - 1/n) w + p (1 - p) V].

    ``start`` = (s, V) of generation 0; fitted to n_0 human pages (``mle``) it is (1 - 1/n_0, 1/n_0). The fresh data
    loop of Alemohammad et al., arXiv 2307.01850. Assumes human >= 1, synthetic >= 1.
    """
    p = _share(human, synthetic, least=1)
    n, b = human + synthetic, bias(sampling_bias)
    c = correction(estimator, n)
    s, square = [number("start variance", start[0], least=0)], [number("start mean square", start[1], least=0)]
    for _ in range(whole("rounds", rounds, 0)):
        w = (1 - p) + p * b * s[-1]
        s.append(c * ((1 - 1 / n) * w + p * (1 - p) * square[-1]))
        square.append(p**2 * square[-1] + w / n)
    return Moments(np.array(s), np.array(square))


def fresh_limit(
    human: int, synthetic: int, *, estimator: Estimator = "mle", sampling_bias: float = 1.0
) -> tuple[float, float]:
    """(variance, E m^2) of ``fresh`` as t -> inf, whatever its start: the solution of the two linear equations.

    Alemohammad et al., arXiv 2307.01850, find the limit independent of the first training set. Assumes human >= 1.
    """
    p = _share(human, synthetic, least=1)
    n, b = human + synthetic, bias(sampling_bias)
    c = correction(estimator, n)
    step = np.array([[c * (1 - 1 / n) * p * b, c * p * (1 - p)], [p * b / n, p**2]])
    fed = np.array([c * (1 - 1 / n) * (1 - p), (1 - p) / n])
    s, square = np.linalg.solve(np.eye(2) - step, fed)
    return float(s), float(square)


def effective_sample_size(
    human: int, synthetic: int, *, estimator: Estimator = "mle", sampling_bias: float = 1.0
) -> float:
    """n_e: the limit of ``fresh`` knows the mean as well as n_e fresh human pages alone would, n_e = 1 / E m^2.

    The idea of Alemohammad et al., arXiv 2307.01850, who compare Wasserstein distances; here the mean alone, in
    closed form. With b = 1 n_e > human. A bias b < 1 makes the mean no worse but the variance wrong: look at both.
    Assumes human >= 1.
    """
    return 1 / fresh_limit(human, synthetic, estimator=estimator, sampling_bias=sampling_bias)[1]


def _share(human: int, synthetic: int, least: int = 2) -> float:
    """The synthetic share p."""
    whole("human", human, least)
    whole("synthetic", synthetic, 1)
    require(human + synthetic >= 2, "a variance assumes n >= 2 pages.")
    return synthetic / (human + synthetic)
