"""Closed forms of Gaussian loops against brute force: points are drawn, models fitted, and nothing is shared with the
formulas but the question. Means must agree to four standard errors."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ecosystem.rng import stream
from ecosystem.theory import accumulate, gaussian, identities, mixing, stability

RUNS = 16_000
DDOF = {"mle": 0, "unbiased": 1}


def agree(samples, expected, what="", sigmas=4.0):
    """The mean of samples (runs, ...) is the expected value, to ``sigmas`` standard errors."""
    samples = np.asarray(samples, dtype=np.float64)
    error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
    off = np.abs(samples.mean(axis=0) - np.asarray(expected))
    assert np.all(off <= sigmas * error + 1e-12), f"{what}: {samples.mean(axis=0)} +- {error}, expected {expected}"


def gaussian_samples(rng, mean, std, n):
    return mean[:, None] + std[:, None] * rng.standard_normal((len(mean), n))


# Replace


@pytest.fixture(scope="module", params=[("mle", 1.0), ("unbiased", 1.0), ("unbiased", 0.7), ("mle", 0.8)], ids=str)
def replaced(request):
    """(n, rounds, estimator, bias, means (runs, rounds), stds (runs, rounds))."""
    (estimator, bias), n, rounds = request.param, 5, 6
    rng = stream(0, "test", f"replace {estimator} {bias}")
    mean, std, path = np.zeros(RUNS), np.ones(RUNS), []
    for _ in range(rounds):
        x = gaussian_samples(rng, mean, std * math.sqrt(bias), n)
        mean, std = x.mean(axis=1), x.std(axis=1, ddof=DDOF[estimator])
        path.append((mean, std))
    return n, np.arange(1, rounds + 1), estimator, bias, *(np.stack(part, axis=1) for part in zip(*path, strict=True))


def test_replace(replaced):
    n, t, estimator, bias, means, stds = replaced
    arguments = (n, t, estimator, bias)
    agree(stds, gaussian.expected_std(*arguments), "std")
    agree(stds**2, gaussian.expected_variance(*arguments), "variance")
    agree(means**2, gaussian.mean_square(*arguments), "mean square")
    agree(means**2 + (stds - 1) ** 2, gaussian.expected_w2(*arguments), "W2")
    agree(np.log(stds), gaussian.log_std_mean(*arguments), "log std")
    spread = (np.log(stds) - gaussian.log_std_mean(*arguments)) ** 2
    agree(spread, gaussian.log_std_variance(n, t), "variance of log std")


@pytest.mark.parametrize("estimator", ["mle", "unbiased"])
def test_replace_in_many_dimensions(estimator):
    n, d, rounds = 9, 3, 3
    rng, path = stream(0, "test", f"determinant {estimator}"), []
    root = np.broadcast_to(np.diag([1.0, 2.0, 0.5]), (RUNS, d, d))
    for _ in range(rounds):
        x = rng.standard_normal((RUNS, n, d)) @ root.transpose(0, 2, 1)
        x = x - x.mean(axis=1, keepdims=True)
        covariance = x.transpose(0, 2, 1) @ x / (n - DDOF[estimator])
        root = np.linalg.cholesky(covariance)
        path.append(np.linalg.det(covariance))
    t, determinants = np.arange(1, rounds + 1), np.stack(path, axis=1)
    agree(determinants, gaussian.expected_determinant(n, d, t, estimator))
    agree(np.log(determinants), gaussian.log_determinant_mean(n, d, t, estimator))
    agree(covariance[:, 1, 1] / 4, gaussian.expected_variance(n, rounds, estimator), "each entry of Sigma")


def test_one_dimension_is_a_determinant():
    t = np.arange(5)
    for estimator in DDOF:
        assert_allclose(
            gaussian.expected_determinant(7, 1, t, estimator), gaussian.expected_variance(7, t, estimator), rtol=1e-14
        )
        assert_allclose(
            gaussian.log_determinant_mean(7, 1, t, estimator), 2 * gaussian.log_std_mean(7, t, estimator), atol=1e-14
        )


@pytest.mark.parametrize(
    ("n", "value"), [(2, 0.797885), (5, 0.939986), (10, 0.972659), (25, 0.989640), (50, 0.994911), (100, 0.997478)]
)
def test_c4_is_the_tabled_one(n, value):
    assert gaussian.c4(n) == pytest.approx(value, abs=5e-7)


@pytest.mark.parametrize("n", [2, 3, 10, 299, 300, 301, 1000, 10**5, 10**9])
def test_c4_obeys_the_duplication_of_gamma(n):
    """c4(n) c4(n + 1) = sqrt((n - 1) / n) for every n, across the seam of its two ways of computing."""
    assert gaussian.c4(n) * gaussian.c4(n + 1) == pytest.approx(math.sqrt((n - 1) / n), rel=3e-15)


def test_collapse_is_sure_though_the_mean_variance_stays():
    """Under the unbiased estimator E sigma_t^2 = 1 for ever, yet log sigma_t drifts down for every n."""
    assert gaussian.expected_variance(50, 10**6, "unbiased") == 1
    for n in (2, 10, 1000, 10**6):
        assert gaussian.log_std_mean(n, 1) < 0
        assert gaussian.log_std_mean(n, 1) == pytest.approx(-1 / (2 * n), rel=3 / n if n > 2 else 2)


@pytest.mark.parametrize("estimator", ["mle", "unbiased"])
def test_w2_grows_like_one_and_a_half_t_over_n(estimator):
    assert gaussian.expected_w2(10**6, 10, estimator) == pytest.approx(1.5 * 10 / 10**6, rel=1e-4)


def test_mean_square_of_the_mle_loop_is_what_variance_lost():
    t = np.arange(200)
    assert_allclose(gaussian.mean_square(11, t), 1 - gaussian.expected_variance(11, t), atol=1e-14)
    assert_allclose(gaussian.mean_square(11, t, "unbiased"), t / 11)
    assert_allclose(gaussian.mean_square(11, t, "unbiased", 0.5), (1 - 0.5**t) / 11, rtol=1e-12)


# Pages that pile up


def simulate_pool(n, rounds, estimator, subsample):
    rng = stream(0, "test", f"pool {estimator} {subsample}")
    pool, path = rng.standard_normal((RUNS, n)), []
    for _ in range(rounds):
        chosen = np.argsort(rng.random(pool.shape), axis=1)[:, :n] if subsample else slice(None)
        x = np.take_along_axis(pool, chosen, axis=1) if subsample else pool
        mean, std = x.mean(axis=1), x.std(axis=1, ddof=DDOF[estimator])
        path.append((std**2, mean**2))
        pool = np.concatenate([pool, gaussian_samples(rng, mean, std, n)], axis=1)
    return (np.stack(part, axis=1) for part in zip(*path, strict=True))


@pytest.mark.parametrize("estimator", ["mle", "unbiased"])
@pytest.mark.parametrize("subsample", [False, True], ids=["accumulate", "subsample"])
def test_pages_that_pile_up(estimator, subsample):
    n, rounds = 4, 5
    variances, squares = simulate_pool(n, rounds, estimator, subsample)
    exact = (accumulate.subsample if subsample else accumulate.accumulate)(n, rounds, estimator)
    assert exact.variance[0] == 1
    assert exact.mean_square[0] == 0
    agree(variances, exact.variance[1:], "variance")
    agree(squares, exact.mean_square[1:], "mean square")


@pytest.mark.parametrize("n", [2, 7, 100])
def test_accumulate_is_the_product_and_goes_to_its_limit(n):
    i = np.arange(1, 20_001)
    exact = accumulate.accumulate(n, len(i))
    assert_allclose(exact.variance[1:], np.cumprod(1 - 1 / (n * i**2.0)), rtol=1e-12)
    assert_allclose(exact.mean_square, 1 - exact.variance, atol=1e-12)
    assert exact.variance[-1] == pytest.approx(accumulate.accumulate_limit(n), abs=1 / len(i))
    assert accumulate.accumulate_limit(n) > 0


@pytest.mark.parametrize("n", [2, 7, 100])
def test_subsample_is_the_product_and_goes_to_its_limit(n):
    i = np.arange(2, 20_001)
    exact = accumulate.subsample(n, len(i) + 1)
    product = (1 - 1 / n) * np.cumprod(1 - (3 * n - 1) / (n * i * (n * i - 1.0)))
    assert_allclose(exact.variance[2:], product, rtol=1e-11)
    assert exact.variance[-1] == pytest.approx(accumulate.subsample_limit(n), abs=5 / len(i))


def test_the_plateau_of_subsampling():
    """n E m^2 -> pi^2/2 - 2 = 2.9348, above the pi^2/6 of accumulating; 2.905 at generation 100, where the plot of Dey
    and Donoho 2024, arXiv 2410.22812, shows about 2.9.
    """
    n = 10**6
    assert pytest.approx(2.9348022, abs=1e-7) == accumulate.SUBSAMPLE_PLATEAU
    assert n * (1 - accumulate.subsample_limit(n)) == pytest.approx(accumulate.SUBSAMPLE_PLATEAU, rel=1e-5)
    assert n * accumulate.subsample(n, 100).mean_square[-1] == pytest.approx(2.905, abs=5e-4)
    assert n * (1 - accumulate.accumulate_limit(n)) == pytest.approx(math.pi**2 / 6, rel=1e-5)


def test_regression():
    samples, dims, rounds, noise, runs = 14, 3, 4, 0.5, 6_000
    rng = stream(0, "test", "regression")
    truth = np.array([1.0, -2.0, 0.5])
    X = rng.standard_normal((runs, samples, dims))
    solve = np.linalg.pinv(X)
    for accumulated in (False, True):
        weights, fits, errors = np.tile(truth, (runs, 1)), [], []
        for _ in range(rounds):
            labels = np.einsum("rtd,rd->rt", X, weights) + noise * rng.standard_normal((runs, samples))
            fits.append(np.einsum("rdt,rt->rd", solve, labels))  # least squares on one generation's labels
            weights = np.mean(fits, axis=0) if accumulated else fits[-1]  # the same inputs each time: pooling averages
            errors.append(np.square(weights - truth).sum(axis=1))
        law = accumulate.regression_accumulate if accumulated else accumulate.regression_replace
        agree(np.stack(errors, axis=1), [law(samples, dims, t, noise) for t in range(1, rounds + 1)])


KAZDAN = [  # setting, n, t, what, value and standard error of the authors' logs, as our notes give them
    ("replace", 10, 10, "variance", 0.301, 0.042),
    ("replace", 32, 50, "variance", 0.148, 0.026),
    ("replace", 100, 50, "variance", 0.579, 0.054),
    ("replace", 100, 100, "variance", 0.309, 0.040),
    ("replace", 316, 100, "variance", 0.703, 0.077),
    ("replace", 100, 100, "mean_square", 0.584, 0.106),
    ("accumulate", 10, 100, "variance", 0.873, 0.048),
    ("accumulate", 32, 100, "variance", 0.955, 0.027),
    ("accumulate", 100, 100, "variance", 0.997, 0.017),
    ("accumulate", 10, 100, "mean_square", 0.158, 0.019),
    ("accumulate", 100, 100, "mean_square", 0.0160, 0.0024),
]


@pytest.mark.parametrize(("setting", "n", "t", "what", "logged", "error"), KAZDAN)
def test_the_logs_of_collapse_or_thrive(setting, n, t, what, logged, error):
    """Kazdan et al. 2024, arXiv 2410.16713, d = 1: their logged means are within three of their standard errors."""
    if setting == "accumulate":
        ours = getattr(accumulate.accumulate(n, t), what)[-1]
    else:
        ours = {"variance": gaussian.expected_variance, "mean_square": gaussian.mean_square}[what](n, t)
    assert abs(ours - logged) <= 3 * error


# Human and synthetic pages together


def simulate_mixture(rng, real, synthetic, rounds, estimator, bias, mean, std):
    """Means and stds (runs, rounds); ``real(rng)`` gives the human pages of a round (runs, n)."""
    path = []
    for _ in range(rounds):
        x = np.concatenate([real(rng), gaussian_samples(rng, mean, std * math.sqrt(bias), synthetic)], axis=1)
        mean, std = x.mean(axis=1), x.std(axis=1, ddof=DDOF[estimator])
        path.append((mean, std))
    return (np.stack(part, axis=1) for part in zip(*path, strict=True))


SETTINGS = [("mle", 1.0), ("unbiased", 1.0), ("mle", 0.6), ("unbiased", 0.6)]


@pytest.mark.parametrize(("estimator", "bias"), SETTINGS)
def test_a_fixed_human_set(estimator, bias):
    n, synthetic, rounds = 4, 6, 5
    rng = stream(0, "test", f"fixed {estimator} {bias}")
    archive = rng.standard_exponential(n)  # any pages will do
    v, centre = archive.var(), archive.mean()
    start = np.full(RUNS, archive.std(ddof=DDOF[estimator]))
    pages = np.broadcast_to(archive, (RUNS, n))
    means, stds = simulate_mixture(
        rng, lambda _: pages, synthetic, rounds, estimator, bias, np.full(RUNS, centre), start
    )
    exact = mixing.fixed(n, synthetic, rounds, variance=v, estimator=estimator, sampling_bias=bias)
    assert exact.variance[0] == pytest.approx(start[0] ** 2)
    agree(stds**2, exact.variance[1:], "variance")
    agree((means - centre) ** 2, exact.mean_square[1:], "squared deviation")


def test_a_displaced_start_is_forgotten_at_the_rate_lambda_over_one_plus_lambda():
    n, synthetic, rounds = 4, 6, 6
    rng = stream(0, "test", "displaced")
    pages = np.broadcast_to(rng.standard_normal(n), (RUNS, n))
    start = np.full(RUNS, pages[0].mean() + 3.0)
    means, _ = simulate_mixture(rng, lambda _: pages, synthetic, rounds, "mle", 1.0, start, np.ones(RUNS))
    agree(means - pages[0].mean(), [3 * mixing.deviation(synthetic / n, t) for t in range(1, rounds + 1)])


@pytest.mark.parametrize("ratio", [0.1, 1, 2, 20])
def test_the_fixed_loop_settles_and_never_collapses(ratio):
    n = 20
    variance, square = mixing.fixed_limit(n, ratio, 2.0)
    late = mixing.fixed(n, round(ratio * n), 3000, variance=2.0)
    assert late.variance[-1] == pytest.approx(variance, rel=1e-12)
    assert late.mean_square[-1] == pytest.approx(square, rel=1e-12)
    assert variance >= 2 / (1 + 1 / (2 * n))
    assert mixing.deviation(ratio, 1) == stability.exact_rate(ratio)


@pytest.mark.parametrize(("estimator", "bias"), SETTINGS)
def test_fresh_human_pages(estimator, bias):
    human, synthetic, rounds, first = 3, 6, 5, 7
    rng = stream(0, "test", f"fresh {estimator} {bias}")
    x = rng.standard_normal((RUNS, first))
    means, stds = simulate_mixture(
        rng,
        lambda rng: rng.standard_normal((RUNS, human)),
        synthetic,
        rounds,
        estimator,
        bias,
        x.mean(axis=1),
        x.std(axis=1),
    )
    start = (1 - 1 / first, 1 / first)
    exact = mixing.fresh(human, synthetic, rounds, estimator=estimator, sampling_bias=bias, start=start)
    agree(stds**2, exact.variance[1:], "variance")
    agree(means**2, exact.mean_square[1:], "mean square")


@pytest.mark.parametrize(("estimator", "bias"), SETTINGS)
def test_the_fresh_loop_forgets_its_first_set(estimator, bias):
    """Alemohammad et al. 2023, arXiv 2307.01850, Figure: the limit does not depend on the first training set."""
    setting = {"estimator": estimator, "sampling_bias": bias}
    variance, square = mixing.fresh_limit(10, 90, **setting)
    for start in ((1.0, 0.0), (0.2, 5.0)):
        late = mixing.fresh(10, 90, 4000, start=start, **setting)
        assert late.variance[-1] == pytest.approx(variance, rel=1e-10)
        assert late.mean_square[-1] == pytest.approx(square, rel=1e-10)


@pytest.mark.parametrize("estimator", ["mle", "unbiased"])
def test_synthetic_pages_add_to_fresh_ones_without_bias(estimator):
    sizes = [mixing.effective_sample_size(100, m, estimator=estimator) for m in (1, 10, 100, 1000, 10**5)]
    assert sizes[0] > 100
    assert np.all(np.diff(sizes) > 0)


def test_how_much_synthetic_data_first_hurts_then_helps():
    """The Gaussian analogue of Fu et al. 2024, arXiv 2402.11778."""
    n, v = 10, 1.7
    for m in (1, 2, 10, 300):
        recursion = mixing.fixed(n, m, 30, variance=v).mean_square
        assert_allclose([mixing.synthetic_amount(n, m, t, v) for t in range(31)], recursion, rtol=1e-12, atol=1e-16)
    amounts = np.unique(np.geomspace(1, 10**6, 300).astype(int))
    for t in (1, 3, 10, 100):
        errors = np.array([mixing.synthetic_amount(n, int(m), t) for m in amounts])
        turns = np.flatnonzero(np.diff(np.sign(np.diff(errors))))
        assert len(turns) == 1, "rises, then falls, once"
        assert errors[-1] == pytest.approx(t / amounts[-1], rel=0.02), "like v t / m in the end"
    forever = np.array([mixing.synthetic_amount(n, int(m), 10**9) for m in amounts if m < 10**5])
    assert np.all(np.diff(forever) > 0), "as t -> inf only more harm"
    assert forever[-1] == pytest.approx(1 / (2 * n + 1), rel=1e-3)


@pytest.mark.parametrize(("n", "t"), [(2, 1), (5, 1), (5, 3), (20, 1), (20, 10), (7, 40)])
def test_the_worst_amount_is_the_worst(n, t):
    every = [mixing.synthetic_amount(n, m, t) for m in range(1, 6 * n * (t + 1))]
    assert mixing.worst_amount(n, t) == 1 + int(np.argmax(every))
    assert t > 1 or mixing.worst_amount(n, t) == n


# Stability


def retrained(theta, ratio, data_mean, grid, data):
    """argmax of E_data[log p] + lambda E_{p_theta}[log p], p a logistic density with location theta; by Newton."""
    weight = data + ratio * logistic_density(grid - theta)
    best = theta
    for _ in range(60):
        score = np.tanh((grid - best) / 2)
        best -= weight @ -score / (weight @ ((1 - score**2) / 2))
    return best


def logistic_density(x):
    density = 1 / (4 * np.cosh(x / 2) ** 2)
    return density / density.sum()


def test_theorems_on_stability_bound_what_happens():
    """A family that does not hold the data: logistic locations, Gaussian data. The measured contraction is below the
    rate of Theorem 2.2 of Ferbach et al., arXiv 2407.09499, and, where it applies, of Bertrand et al., 2310.00429.
    """
    grid = np.linspace(-30, 30, 20_001)
    data = np.exp(-(grid**2) / 2)
    data /= data.sum()
    hessian = (1 - np.tanh(grid / 2) ** 2) / 2  # -d^2/dtheta^2 log p
    alpha = data @ hessian
    lipschitz = np.abs(np.diff(hessian)).max() / (grid[1] - grid[0])
    eps = np.abs(np.cumsum(data) - np.cumsum(logistic_density(grid))).sum() * (grid[1] - grid[0])  # W1
    assert eps > 0.3
    for ratio in (0.1, 0.3, 0.6):
        measured = retrained(1e-4, ratio, 0.0, grid, data) / 1e-4
        assert stability.exact_rate(ratio) * 0.5 < measured
        assert measured <= stability.ferbach_rate(ratio, lipschitz, alpha, eps) < 1
        if stability.bertrand_condition(ratio, lipschitz, alpha, eps):
            assert measured <= stability.bertrand_rate(ratio, lipschitz, alpha, eps) < 1
    assert not stability.bertrand_condition(0.6, lipschitz, alpha, eps)


@pytest.mark.parametrize("ratio", [0.01, 0.2, 0.49])
def test_rates_agree_for_a_family_that_holds_the_data(ratio):
    assert stability.ferbach_rate(ratio, 3.0, 2.0, 0.0) == pytest.approx(stability.exact_rate(ratio))
    assert stability.exact_rate(ratio) < stability.bertrand_rate(ratio, 3.0, 2.0, 0.0) == ratio / (1 - ratio)


def test_conditions_are_where_rates_reach_one():
    L, alpha, eps = 2.0, 1.0, 0.25
    assert stability.bertrand_rate(1 / 3 - 1e-9, L, alpha, eps) == pytest.approx(1, abs=1e-7)
    assert not stability.bertrand_condition(1 / 3 + 1e-9, L, alpha, eps)
    assert stability.ferbach_rate(1 - 1e-9, L, alpha, eps) == pytest.approx(1, abs=1e-7)
    assert not stability.ferbach_condition(1 + 1e-9, L, alpha, eps)
    assert not stability.ferbach_condition(0.1, L, alpha, 0.6), "L eps >= alpha"


def test_the_finite_sample_bound():
    arguments = {"rate": 0.5, "error": 0.1, "scale": 2.0, "spread": 3.0, "failure": 0.05}
    each = 0.1 + 2 * math.sqrt(math.log(3 * 4 / 0.05) / 100)
    expected = each * (1 + 0.5 + 0.25 + 0.125 + 0.0625) + 0.5**4 * 8
    assert stability.finite_sample_bound(t=4, start=8.0, n=100, **arguments) == pytest.approx(expected)
    later = [stability.finite_sample_bound(t=t, start=0.0, n=10**12, **arguments) for t in (1, 10, 100)]
    assert np.all(np.diff(later) > 0)
    assert later[-1] == pytest.approx(0.1 / (1 - 0.5), rel=1e-3), "with endless data the optimiser's error remains"


# Identities


def test_what_a_detector_lets_through():
    rng, n, p, tpr, fpr = stream(0, "test", "detector"), 400_000, 0.4, 0.7, 0.2
    synthetic = rng.random(n) < p
    kept = rng.random(n) >= np.where(synthetic, tpr, fpr)
    agree(synthetic[kept], identities.detector_share(p, tpr, fpr))
    assert identities.detector_share(p, 0.3, 0.3) == pytest.approx(p), "a detector that guesses changes nothing"
    assert identities.detector_share(p, 1, 0) == 0


def test_where_a_verifier_breaks_down():
    phi, psi = 0.8, 0.3
    p = identities.verifier_breakdown(phi, psi)
    assert (1 - p) * phi == pytest.approx(p * psi), "as many bad pages kept as good ones"
    assert identities.verifier_breakdown(0.6, 0.6) == 0.5


@pytest.mark.parametrize("contestants", [2, 3, 10])
def test_nobody_gains_by_trying_harder_or_less(contestants):
    prize, cost = 5.0, 2.0
    effort = identities.tullock_effort(contestants, prize, cost)
    own = effort * np.linspace(0, 3, 3001)
    profit = prize * own / (own + (contestants - 1) * effort) - cost * own
    assert own[np.argmax(profit)] == pytest.approx(effort, rel=1e-9)


def test_a_correction_is_a_share_of_fresh_pages():
    """Points of (p + gamma p_target) / (1 + gamma): the share from the target."""
    gamma, rng = 0.3, stream(0, "test", "correction")
    from_target = rng.random(100_000) * (1 + gamma) < gamma
    agree(from_target, identities.correction_fresh_share(gamma))
