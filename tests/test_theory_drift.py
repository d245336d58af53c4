"""Categories and kernel densities that are redrawn from themselves, against brute force."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from ecosystem.rng import stream
from ecosystem.theory import drift, kde

RUNS, ROUNDS, N = 20_000, 6, 8
P = np.array([0.5, 0.3, 0.15, 0.05])


def agree(samples, expected, sigmas=4.0):
    samples = np.asarray(samples, dtype=np.float64)
    error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(axis=0) - expected) <= sigmas * error + 1e-12), (
        f"{samples.mean(axis=0)} {expected}"
    )


def redrawn(name, mix):
    """Frequencies (runs, rounds, k) of N draws from ``mix(last frequencies)``."""
    rng, p, path = stream(0, "test", name), np.tile(P, (RUNS, 1)), []
    for _ in range(ROUNDS):
        p = mix(rng, p) / N
        path.append(p)
    return np.stack(path, axis=1)


@pytest.fixture(scope="module")
def frequencies():
    return redrawn("drift", lambda rng, p: rng.multinomial(N, p))


def test_diversity_is_lost(frequencies):
    t = np.arange(1, ROUNDS + 1)
    agree(1 - np.square(frequencies).sum(axis=2), drift.heterozygosity(P, N, t))
    agree(frequencies, np.broadcast_to(P, (ROUNDS, 4)))
    agree(frequencies[:, 0] == 0, drift.loss_probability(P, N))
    agree((frequencies > 0).sum(axis=2), drift.expected_categories(P, N, ROUNDS)[1:])
    agree(frequencies.max(axis=2) == 1, drift.collapsed_by(P, N, ROUNDS)[1:])
    for j in range(4):
        agree(frequencies[:, :, j] == 0, drift.lost_by(P[j], N, ROUNDS)[1:])


def test_who_survives():
    for j in range(4):
        late = drift.lost_by(float(P[j]), N, 400)
        assert late[0] == 0
        assert 1 - late[-1] == pytest.approx(drift.fixation_probability(P)[j], abs=1e-12)
    assert drift.collapsed_by(P, N, 400)[-1] == pytest.approx(1)
    assert drift.expected_categories(P, N, 400)[[0, -1]] == pytest.approx([4, 1])
    assert_allclose(drift.loss_probability(P, N), [drift.lost_by(float(p), N, 1)[1] for p in P], rtol=1e-11)
    assert_allclose(drift.loss_probability([1.0, 0.0], 3), [0, 1])


def test_a_fresh_share_keeps_diversity():
    share = 0.3
    found = redrawn("fresh share", lambda rng, p: rng.multinomial(N, share * P + (1 - share) * p))
    exact = drift.heterozygosity_with_fresh_share(P, N, share, ROUNDS)
    agree(1 - np.square(found).sum(axis=2), exact[1:])
    found = redrawn("fresh pages", lambda rng, p: rng.multinomial(3, P, RUNS) + rng.multinomial(N - 3, p))
    mixed = drift.heterozygosity_with_fresh_pages(P, 3, N - 3, ROUNDS)  # at t = 0 the model is the human distribution
    agree(1 - np.square(found).sum(axis=2), mixed[1:])
    alone = drift.heterozygosity(P, N, np.arange(ROUNDS + 1))
    assert_allclose(drift.heterozygosity_with_fresh_share(P, N, 0, ROUNDS), alone)
    assert_allclose(drift.heterozygosity_with_fresh_pages(P, 0, N, ROUNDS), alone)
    assert np.all(exact[2:] > alone[2:])


def test_the_time_to_collapse():
    rng, n, runs = stream(0, "test", "collapse time"), 10, 10_000
    p, alive, times = np.tile(P, (runs, 1)), np.ones(runs, dtype=bool), np.zeros(runs)
    while alive.any():
        times += alive
        p = rng.multinomial(n, p) / n
        alive &= p.max(axis=1) < 1
    agree(times, drift.collapse_time(P, n))
    assert drift.collapse_time(P, n) == pytest.approx(np.sum(1 - drift.collapsed_by(P, n, 600)), rel=1e-12)
    assert drift.collapse_time([1.0, 0.0], n) == 0
    assert drift.collapse_time([0.5, 0.5], 1) == 1


def test_ten_equal_categories():
    """1.8965 n in the diffusion limit; 191.1 +- 2.8 in an earlier simulation at n = 100; about 17 at n = 10 and 204 at
    n = 100 in the figure of Kazdan et al. 2024, arXiv 2410.16713.
    """
    p = np.full(10, 0.1)
    assert drift.collapse_time_diffusion(p, 1000) == pytest.approx(1896.5, abs=0.05)
    assert abs(drift.collapse_time(p, 100) - 191.1) <= 3 * 2.8
    ratios = [drift.collapse_time(p, n) / drift.collapse_time_diffusion(p, n) for n in (10, 100, 500)]
    assert np.all(np.diff(ratios) > 0)
    assert ratios[-1] == pytest.approx(1, abs=0.005)
    for n, seen in ((10, 17), (100, 204)):
        assert drift.collapse_time(p, n) == pytest.approx(seen, rel=0.15)


# Kernel densities


def resampled(name, fresh, rounds, n, h, runs):
    """Training sets (runs, n) by round; a page is human with probability ``fresh``, else of the last density."""
    rng = stream(0, "test", name)
    x = rng.standard_normal((runs, n))
    for _ in range(rounds):
        yield x
        page = np.take_along_axis(x, rng.integers(n, size=(runs, n)), axis=1) + h * rng.standard_normal((runs, n))
        x = np.where(rng.random((runs, n)) < fresh, rng.standard_normal((runs, n)), page)


@pytest.mark.parametrize("fresh", [0.0, 0.25])
def test_a_kernel_density_blurs(fresh):
    h, n = 0.5, 6
    for t, x in enumerate(resampled(f"kde {fresh}", fresh, 6, n, h, RUNS)):
        agree(np.square(x).mean(axis=1), kde.raw_square(t, h, fresh=fresh))
        if not fresh:
            agree(x.var(axis=1), kde.variance(n, t, h, start=1 - 1 / n))


def test_a_narrow_kernel_loses_variance_and_a_wide_one_gains():
    n = 50
    assert kde.variance(n, 10, 0.05) < 1 < kde.variance(n, 10, 0.5)
    assert kde.variance(n, 10**5, 0.3) == pytest.approx((n - 1) * 0.09)
    assert kde.raw_square(10**4, 0.3, fresh=0.1) == pytest.approx(kde.raw_square_limit(0.3, 0.1)) == pytest.approx(1.81)


def test_the_density_with_fresh_pages():
    h, fresh = 0.6, 0.3
    *_, x = resampled("kde density", fresh, 30, 15, h, 4000)
    grid = np.linspace(-25, 25, 5001)
    density = kde.limit_density(grid, h, fresh)
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-9)
    assert np.trapezoid(density * grid**2, grid) == pytest.approx(kde.raw_square_limit(h, fresh), rel=1e-6)
    for edge in (0.3, 1.0, 2.5):
        inside = np.abs(grid) <= edge + 1e-9
        agree((np.abs(x) < edge).mean(axis=1), np.trapezoid(density[inside], grid[inside]))
    assert_allclose(kde.limit_density(grid, h, 1.0, 0.5, 2.0), norm.pdf(grid, 0.5, math.sqrt(2)))
