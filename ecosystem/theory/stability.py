"""When retraining on human and own data is stable: conditions, and rates of convergence to the model of the human data.

p_{t+1} = argmax_p E_data[log p] + lambda E_{p_t}[log p], infinitely many samples unless said, near the fixed point
theta*.

- Q. Bertrand, A. J. Bose, A. Duplessis, M. Jiralerspong, G. Gidel, On the Stability of Iterative Retraining of
  Generative Models on their Own Data, 2023, arXiv 2310.00429: Theorems 1 and 2.
- D. Ferbach, Q. Bertrand, A. J. Bose, G. Gidel, Self-Consuming Generative Models with Curated Data Provably
  Optimize Human Preferences, 2024, arXiv 2407.09499: Theorem 2.2.

What they need: L, a Lipschitz constant in x of the Hessian of theta -> log p_theta(x) near theta*; alpha > 0 with
E_data[Hess log p_theta*(x)] <= -alpha I; eps, the Wasserstein distance of p_theta* to the data, 0 for a family that
holds the data; a start near enough to theta* (how near is not known); lambda, the synthetic-to-real ratio. L and
alpha are not measurable for a neural network: these are theorems to understand with, not predictions. They are
sufficient: loops outside may be stable.
"""

from __future__ import annotations

import math

from ecosystem.theory.assumptions import number, require, whole


def bertrand_condition(ratio: float, lipschitz: float, alpha: float, eps: float) -> bool:
    """lambda (1 + L eps / alpha) < 1/2. Bertrand et al., Theorem 1."""
    lam, L, a, e = _constants(ratio, lipschitz, alpha, eps)
    return lam * (1 + L * e / a) < 0.5


def bertrand_rate(ratio: float, lipschitz: float, alpha: float, eps: float) -> float:
    """|theta_{t+1} - theta*| <= rho |theta_t - theta*| with rho = q / (alpha - q), q = lambda (alpha + L eps).

    Bertrand et al., Theorem 1; the form of rho is from memory, not checked against the text, but it is below 1 exactly
    where their condition holds. Needs: infinitely many samples, a start near theta*, and the condition.
    """
    require(
        bertrand_condition(ratio, lipschitz, alpha, eps),
        "Theorem 1 of 2310.00429 assumes lambda (1 + L eps / alpha) < 1/2.",
    )
    pull = ratio * (alpha + lipschitz * eps)
    return pull / (alpha - pull)


def ferbach_condition(ratio: float, lipschitz: float, alpha: float, eps: float) -> bool:
    """L eps < alpha and lambda < alpha / (2 L eps); any lambda if eps = 0. Ferbach et al., Theorem 2.2."""
    lam, L, a, e = _constants(ratio, lipschitz, alpha, eps)
    return L * e < a and 2 * lam * L * e < a


def ferbach_rate(ratio: float, lipschitz: float, alpha: float, eps: float) -> float:
    """rho = lambda (alpha + L eps) / (alpha + lambda (alpha - L eps)). Ferbach et al., Theorem 2.2.

    Needs: infinitely many samples, no curation, a start near theta*, and the condition.
    """
    require(
        ferbach_condition(ratio, lipschitz, alpha, eps),
        "Theorem 2.2 of 2407.09499 assumes L eps < alpha and lambda < alpha / (2 L eps).",
    )
    return ratio * (alpha + lipschitz * eps) / (alpha + ratio * (alpha - lipschitz * eps))


def exact_rate(ratio: float) -> float:
    """lambda / (1 + lambda), in the mean parameters of an exponential family, from any start: not a bound but the rate.

    Maximum likelihood matches the mean statistic, which is the average of the data's and of the model's own. The
    rate of Theorem 2.2 at eps = 0. Derived here. Assumes lambda >= 0.
    """
    lam = number("lambda", ratio, least=0)
    return lam / (1 + lam)


def finite_sample_bound(
    t: int, rate: float, start: float, error: float, scale: float, spread: float, n: int, failure: float
) -> float:
    """|theta_t - theta*| <= (e + a / sqrt n sqrt(log(b t / tau))) sum_{l<=t} rho^l + rho^t |theta_0 - theta*|.

    With probability 1 - tau. Bertrand et al., Theorem 2, from memory, not checked against the text: use its shape,
    not its numbers. Needs rho = ``rate`` < 1 of Theorem 1, and that one retraining on n points misses by at most e
    + a / sqrt n sqrt(log(b / delta)) with probability 1 - delta: e = ``error`` of the optimiser, a = ``scale``, b =
    ``spread``. tau = ``failure``; ``start`` = |theta_0 - theta*|.
    """
    require(0 <= rate < 1, f"rate = {rate}: Theorem 2 of 2310.00429 assumes 0 <= rate < 1.")
    require(0 < failure < 1, f"failure = {failure} is a probability, assumed to lie in (0, 1).")
    odds = number("spread", spread, above=0) * whole("t", t, 1) / failure
    require(odds >= 1, "log(b t / tau) >= 0 is assumed.")
    each = number("error", error, least=0) + number("scale", scale, least=0) * math.sqrt(
        math.log(odds) / whole("n", n, 1)
    )
    return each * (1 - rate ** (t + 1)) / (1 - rate) + rate**t * number("start", start, least=0)


def _constants(ratio: float, lipschitz: float, alpha: float, eps: float) -> tuple[float, float, float, float]:
    lam, L = number("lambda", ratio, least=0), number("L", lipschitz, least=0)
    return lam, L, number("alpha", alpha, above=0), number("eps", eps, least=0)
