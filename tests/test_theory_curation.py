"""Curation: the exact choice of one of K against enumeration and literal ballots; limits, bounds, adversaries."""

import math
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from ecosystem.rng import stream
from ecosystem.theory import curation, preferences
from ecosystem.theory import gaussian_curation as gc

REFERENCE, REWARD = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.0, 0.5, 1.0, 1.5])


def agree(samples, expected, sigmas=4.0):
    error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(axis=0) - expected) <= sigmas * error), f"{samples.mean(axis=0)}, {expected}"


def enumerated(p, reward, k):
    """H by summing over all multisets of the K - 1 others."""
    utility = np.exp(reward)
    total = np.zeros(len(p))
    for others in combinations_with_replacement(range(len(p)), k - 1):
        counts = np.bincount(others, minlength=len(p))
        ways = math.factorial(k - 1) / math.prod(math.factorial(c) for c in counts)
        total += ways * np.prod(p**counts) * k * utility / (utility + counts @ utility)
    return total


@st.composite
def markets(draw, most=5, spread=4.0):
    """(p, reward) over a few atoms."""
    atoms = draw(st.integers(2, most))
    weights = np.array(draw(st.lists(st.floats(0.05, 1), min_size=atoms, max_size=atoms)))
    reward = np.array(draw(st.lists(st.floats(-spread, spread), min_size=atoms, max_size=atoms)))
    return weights / weights.sum(), reward


# One round


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("scale", [0.01, 1.0, 15.0])
def test_the_quadrature_is_the_enumeration(k, scale):
    rng = stream(0, "test", "enumerate", k)
    p, reward = rng.dirichlet(np.ones(4)), scale * rng.standard_normal(4)
    assert_allclose(curation.tilt(p, reward, k), enumerated(p, reward, k), rtol=1e-12)


@pytest.mark.parametrize("k", [16, 64])
def test_many_atoms_and_many_candidates(k):
    """Twenty atoms of three different rewards are three atoms, which can be enumerated."""
    rng = stream(0, "test", "many atoms", k)
    kinds = rng.integers(0, 3, size=20)
    p, levels = rng.dirichlet(np.ones(20)), np.array([-1.0, 0.3, 2.5])
    merged = np.bincount(kinds, p, minlength=3)
    assert_allclose(curation.tilt(p, levels[kinds], k), enumerated(merged, levels, k)[kinds], rtol=1e-12)


def test_a_ballot_drawn_and_voted_on():
    rng, k, ballots = stream(0, "test", "ballots"), 4, 200_000
    candidates = rng.choice(4, p=REFERENCE, size=(ballots, k))
    votes = np.exp(REWARD[candidates]).cumsum(axis=1)
    winner = np.argmax(votes > votes[:, -1:] * rng.random((ballots, 1)), axis=1)
    won = candidates[np.arange(ballots), winner]
    agree(np.eye(4)[won], curation.chosen(REFERENCE, REWARD, k))


def test_curators_of_two_minds():
    """A share of the ballots is decided by each group."""
    rewards, weights = np.array([REWARD, -REWARD]), [0.7, 0.3]
    mixed = curation.tilt(REFERENCE, rewards, 3, weights)
    assert_allclose(mixed, 0.7 * enumerated(REFERENCE, REWARD, 3) + 0.3 * enumerated(REFERENCE, -REWARD, 3), rtol=1e-12)
    assert_allclose(curation.tilt(REFERENCE, [REWARD, REWARD], 3, weights), curation.tilt(REFERENCE, REWARD, 3))


@settings(max_examples=25, deadline=None)
@given(markets(), st.integers(1, 40))
def test_choice_keeps_probability_and_order(market, k):
    p, reward = market
    tilt = curation.tilt(p, reward, k)
    assert p @ tilt == pytest.approx(1, abs=1e-13)
    assert np.all(tilt <= k * (1 + 1e-12))
    order = np.argsort(reward, kind="stable")
    assert np.all(np.diff(tilt[order]) >= -1e-12), "who is liked more is chosen more often"
    assert_allclose(curation.tilt(p, reward + 7.25, k), tilt, rtol=1e-11)
    assert_allclose(curation.tilt(p, reward, 1), 1, rtol=1e-14)
    assert_allclose(curation.tilt(p, np.full(len(p), 3.0), k), 1, rtol=1e-13)


def test_extreme_rewards_and_ballots():
    p = np.array([0.5, 0.5])
    assert curation.tilt(p, [0.0, 500.0], 2)[1] == pytest.approx(1.5)
    assert curation.tilt(p, [0.0, 500.0], 2)[0] == pytest.approx(0.5)
    many = curation.tilt(REFERENCE, REWARD, 10**6)
    assert_allclose(many, curation.tilt(REFERENCE, REWARD, math.inf), rtol=1e-5)
    assert_allclose(curation.tilt([1.0, 0.0], [0.0, 1.0], 2), [1, 2 * math.e / (1 + math.e)], rtol=1e-13)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 0.99), st.floats(-5, 5))
def test_two_types(p, gap):
    pair = curation.chosen([p, 1 - p], [gap, 0], 2)
    assert curation.two_types(p, gap) == pytest.approx(pair[0], rel=1e-12)


@pytest.mark.parametrize("k", [2, 5, math.inf])
def test_weak_selection_is_the_first_order(k):
    errors = []
    for gap in (0.1, 0.05):
        exact = curation.chosen([0.3, 0.7], [gap, 0], k)[0]
        errors.append(abs(curation.weak_selection(0.3, gap, k) - exact))
    if k == math.inf:
        assert max(errors) < 1e-15
    else:
        assert errors[0] / errors[1] == pytest.approx(4, rel=0.15), "what is left is quadratic in the gap"


# Many rounds


def test_the_loop_with_human_data_by_hand():
    p, share = REFERENCE, 0.6
    path = curation.loop(REFERENCE, REWARD, 3, 6, synthetic_share=share)
    for t in range(6):
        p = (1 - share) * REFERENCE + share * p * enumerated(p, REWARD, 3)
        assert_allclose(path[t + 1], p, rtol=1e-11)
    other = curation.loop(REFERENCE, REWARD, 3, 1, synthetic_share=0.5, reference=[0.25] * 4)
    assert_allclose(other[1], 0.125 + 0.5 * REFERENCE * enumerated(REFERENCE, REWARD, 3))
    assert_allclose(curation.loop(REFERENCE, REWARD, 3, 4, synthetic_share=0), np.tile(REFERENCE, (5, 1)))


def test_without_choice_nothing_changes():
    assert_allclose(curation.loop(REFERENCE, REWARD, 1, 300), np.tile(REFERENCE, (301, 1)), rtol=1e-12)


@pytest.mark.parametrize("k", [2, 4, math.inf])
def test_curated_data_alone_end_at_the_best(k):
    reward = np.array([0.0, 2.0, 2.0, 1.0])
    limit = preferences.restricted_to_best(REFERENCE, reward)
    assert_allclose(limit, [0, 0.6, 0.4, 0])
    assert_allclose(curation.loop(REFERENCE, reward, k, 150)[-1], limit, atol=1e-12)


def test_the_replicator_is_iterated_choice():
    for t in (0, 1, 7):
        path = curation.loop(REFERENCE, REWARD, math.inf, t)
        assert_allclose(preferences.replicator(REFERENCE, REWARD, t), path[-1], rtol=1e-12)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 2.0, 50.0])
def test_with_human_data_the_closed_form_is_the_limit(ratio):
    share = ratio / (1 + ratio)
    limit = preferences.anchored_limit(REFERENCE, REWARD, ratio)
    assert limit.sum() == pytest.approx(1)
    again = (1 - share) * REFERENCE + share * curation.chosen(limit, REWARD, math.inf)
    assert_allclose(again, limit, rtol=1e-13)
    rounds = round(30 * (1 + ratio))  # after which share ** rounds is nothing
    late = curation.loop(REFERENCE, REWARD, math.inf, rounds, synthetic_share=share)[-1]
    assert_allclose(late, limit, rtol=1e-9)


def test_the_closed_form_far_out():
    """A favourite that hardly exists, and one that everybody is."""
    p = np.array([1e-12, 0.5, 0.5 - 1e-12])
    for ratio in (0.3, 1.0, 1e6):
        limit = preferences.anchored_limit(p, [10.0, 1.0, 0.0], ratio)
        again = p / (1 + ratio) + ratio / (1 + ratio) * curation.chosen(limit, [10.0, 1.0, 0.0], math.inf)
        assert_allclose(again, limit, rtol=1e-9)
    assert_allclose(preferences.anchored_limit([1.0, 0.0], [0.0, 5.0], 2.0), [1, 0])
    assert_allclose(preferences.anchored_limit([0.5, 0.5], [1.0, 1.0], 2.0), [0.5, 0.5])


def test_the_examples_on_file():
    """Ratio 0.5 and 2, worked out when the formulas were derived."""
    utility = lambda p: preferences.expected_utility(p, REWARD)  # noqa: E731
    assert utility(REFERENCE) == pytest.approx(1.8864, abs=5e-5)
    assert utility(preferences.anchored_limit(REFERENCE, REWARD, 0.5)) == pytest.approx(2.2477, abs=5e-5)
    assert utility(preferences.anchored_limit(REFERENCE, REWARD, 2.0)) == pytest.approx(3.1905, abs=5e-5)
    for k, value in ((4, 2.1197), (2, 2.0149)):
        late = curation.loop(REFERENCE, REWARD, k, 400, synthetic_share=1 / 3)[-1]
        assert utility(late) == pytest.approx(value, abs=5e-5)


# Bounds


@settings(max_examples=25, deadline=None)
@given(markets(), st.integers(1, 12))
def test_utility_gains_at_least_what_the_lemma_says(market, k):
    """Lemma 2.2 of Ferbach et al. 2024, arXiv 2407.09499."""
    p, reward = market
    before = preferences.expected_utility(p, reward)
    after = preferences.expected_utility(curation.chosen(p, reward, k), reward)
    assert after - before >= preferences.gain_bound(p, reward, k) - 1e-11 * after
    endless = preferences.expected_utility(curation.chosen(p, reward, math.inf), reward)
    exact = preferences.utility_variance(p, reward) / before
    assert endless - before == pytest.approx(exact, rel=1e-9, abs=1e-11 * endless)


@settings(max_examples=15, deadline=None)
@given(markets(spread=2.0), st.integers(2, 6))
def test_variance_adds_up_to_a_finite_sum(market, k):
    p, reward = market
    total = sum(preferences.utility_variance(p, reward) for p in curation.loop(p, reward, k, 80))
    assert total <= preferences.total_variance_bound(p, reward, k) * (1 + 1e-12) + 1e-12


def kl(p, q):
    return float(np.sum(p * np.log(p / q)))


@settings(max_examples=25, deadline=None)
@given(markets(), st.integers(1, 6), st.floats(0, 3))
def test_theorems_with_human_data(market, k, ratio):
    """Theorems 2.3 and 2.4 of Ferbach et al. 2024, arXiv 2407.09499, and the other divergence."""
    p, reward = market
    path = curation.loop(p, reward, k, 10, synthetic_share=ratio / (1 + ratio))
    least = preferences.anchored_utility_bound(p, reward, k, ratio)
    for q in path[1:]:
        assert preferences.expected_utility(q, reward) >= least * (1 - 1e-12)
        assert kl(p, q) <= preferences.reverse_kl_bound(ratio) + 1e-12
        if ratio * (k - 1) < 1:
            assert kl(q, p) <= preferences.kl_bound(k, ratio) + 1e-12


@settings(max_examples=25, deadline=None)
@given(markets(spread=1.0), st.integers(1, 10), st.floats(0.1, 3))
def test_odds_contract(market, k, temperature):
    """Rewards in [-1, 1]; Wei, Xie, Zhu, Zhang 2026."""
    p, reward = market
    tilt = curation.tilt(p, temperature * reward, k)
    high, low = np.argmax(reward), np.argmin(reward)
    bound = preferences.odds_contraction(reward[high] - reward[low], k, temperature)
    assert tilt[low] / tilt[high] <= bound + 1e-12


def test_the_best_of_k_by_enumeration():
    p, k = np.array([0.5, 0.3, 0.2]), 3
    best = np.zeros(3)
    for ballot in np.ndindex(3, 3, 3):
        best[max(ballot)] += p[list(ballot)].prod()
    once = preferences.best_of_k(p.cumsum(), k, 1)
    assert_allclose(once, best.cumsum())
    assert_allclose(preferences.best_of_k(p.cumsum(), k, 2), preferences.best_of_k(once, k, 1))
    assert_allclose(preferences.best_of_k([0.0, 0.999, 1.0], 4, 10**4), [0, 0, 1])


# Adversaries and several groups


@settings(max_examples=25, deadline=None)
@given(markets(spread=2.0), st.floats(0, 1), st.integers(0, 10**6))
def test_what_adversaries_take_away(market, share, seed):
    p, reward = market
    other = stream(seed, "test", "adversary").standard_normal(len(p))
    after = curation.chosen(p, [reward, other], math.inf, [1 - share, share])
    gain = preferences.expected_utility(after, reward) - preferences.expected_utility(p, reward)
    assert preferences.adversarial_gain(p, reward, other, share) == pytest.approx(gain, rel=1e-8, abs=1e-10)


@settings(max_examples=25, deadline=None)
@given(markets(spread=2.0))
def test_the_drift_changes_its_sign_at_the_threshold(market):
    p, reward = market
    assume(np.ptp(reward) > 0.1)
    threshold = preferences.adversarial_threshold(p, reward, -reward)
    assert 0 < threshold < 1
    for share, sign in ((threshold - 1e-3, 1), (threshold + 1e-3, -1)):
        if 0 <= share <= 1:
            assert np.sign(preferences.adversarial_gain(p, reward, -reward, share)) == sign
    assert preferences.adversarial_threshold(p, reward, 2 * reward) == math.inf


@pytest.mark.parametrize("weight", [0.05, 0.4, 0.99])
@pytest.mark.parametrize("gap", [0.5, 2.0, 20.0])
def test_the_plural_limit(weight, gap):
    rewards = [[gap, 0.0], [0.0, gap]]
    rounds = 1500 if gap == 0.5 else 300
    late = curation.loop([0.4, 0.6], rewards, math.inf, rounds, weights=[weight, 1 - weight])[-1]
    assert late[0] == pytest.approx(preferences.plural_limit(weight, gap), abs=1e-3 if gap == 0.5 else 1e-9)
    assert preferences.plural_limit(weight, 50.0) == pytest.approx(weight)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 0.9), st.floats(2.5, 5.0), st.floats(0.0, 0.3))
def test_plural_curators_keep_both_basins(seed, weight, gap, eps):
    """Rewards within eps of plateaus: the share of basin 1 stays within the bounds; Falahati et al., 2605.07724."""
    rng = stream(seed, "test", "basins")
    leak = math.exp(-(gap - 2 * eps))
    assume(leak < weight < 1 - leak)
    low, high = preferences.plural_bounds(weight, leak, leak)
    first, second = rng.uniform(-eps, eps, (2, 6))
    rewards = [first + gap * (np.arange(6) < 3), second + gap * (np.arange(6) >= 3)]
    start = rng.uniform(low, min(high, 1.0))
    p = np.concatenate([start * rng.dirichlet(np.ones(3)), (1 - start) * rng.dirichlet(np.ones(3))])
    path = curation.loop(p, rewards, math.inf, 40, weights=[weight, 1 - weight])[:, :3].sum(axis=1)
    assert np.all((path >= low - 1e-12) & (path <= high + 1e-12))


@pytest.mark.parametrize(("first", "second", "which"), [(1.0, 60.0, 0), (60.0, 1.0, 1)])
def test_the_bounds_of_basins_are_reached(first, second, which):
    """By plateaus, where one group of curators hardly leaks: the limit is the bound that the other's leakage sets."""
    late = curation.loop([0.6, 0.4], [[first, 0.0], [0.0, second]], math.inf, 400, weights=[0.5, 0.5])[-1, 0]
    bounds = preferences.plural_bounds(0.5, math.exp(-first), math.exp(-second))
    assert late == pytest.approx(bounds[which], rel=1e-9)


# Gaussians


@pytest.mark.parametrize(
    ("k", "mean", "variance"), [(1, 0, 1), (2, 0.3632, 0.8681), (4, 0.6080, 0.8468), (16, 0.8675, 0.9090)]
)
def test_gaussian_examples_on_file(k, mean, variance):
    """r = x on N(0, 1)."""
    found = gc.chosen_moments(0, 1, lambda x: x, k)
    assert_allclose(found, (mean, variance), atol=5e-5)


@pytest.mark.parametrize("k", [2, 4])
def test_gaussian_ballots(k):
    rng, ballots = stream(0, "test", "gaussian ballots", k), 40_000
    x = 1.0 + 2.0 * rng.standard_normal((ballots, k))
    votes = np.exp(-((x - 2) ** 2) / 2).cumsum(axis=1)
    winner = x[np.arange(ballots), np.argmax(votes > votes[:, -1:] * rng.random((ballots, 1)), axis=1)]
    mean, variance = gc.chosen_moments(1, 4, lambda x: -((x - 2) ** 2) / 2, k)
    agree(winner, mean)
    agree((winner - mean) ** 2, variance)


def test_pairs_by_another_quadrature():
    """K = 2 as a double integral with Gauss-Hermite nodes: E[2 x sigmoid(x - y)]."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    weights = weights / weights.sum()
    density = weights * (2 / (1 + np.exp(nodes[None] - nodes[:, None])) @ weights)
    mean = density @ nodes
    assert_allclose(gc.chosen_moments(0, 1, lambda x: x, 2), (mean, density @ (nodes - mean) ** 2), atol=1e-8)


def test_endless_candidates_have_closed_forms():
    for slope in (-1.0, 0.5, 2.0):
        mean, variance = gc.linear_reward(0.5, 2.0, slope, np.arange(4))
        found = gc.refitted(0.5, 2.0, lambda x, slope=slope: slope * x, math.inf, 3)
        assert_allclose(found, (mean, variance), rtol=1e-10)
    mean, variance = gc.quadratic_reward(0.5, 2.0, 0.7, -1.0, np.arange(6))
    found = gc.refitted(0.5, 2.0, lambda x: -0.35 * (x + 1) ** 2, math.inf, 5)
    assert_allclose(found, (mean, variance), rtol=1e-10)
    assert gc.linear_reward(0.0, 1.0, 1.0, 3)[0] == 3


def test_large_ballots_approach_endless_ones():
    gaps = [1 - gc.chosen_moments(0, 1, lambda x: x, k)[0] for k in (10, 100, 1000, 10_000)]
    assert np.all(np.diff(gaps) < 0)
    assert 0 < gaps[-1] < 1e-3


def test_a_steep_reward_is_the_best_of_k():
    """r = 25 x, K = 2: E max of two normals is 1 / sqrt(pi)."""
    mean, variance = gc.chosen_moments(0, 1, lambda x: 25 * x, 2)
    assert mean == pytest.approx(1 / math.sqrt(math.pi), abs=2e-3)
    assert variance == pytest.approx(1 - 1 / math.pi, abs=2e-3)


def test_a_refitted_gaussian_with_human_data():
    """One long-run loop with 60,000 samples a round, literally."""
    rng, n, k, share, rounds = stream(0, "test", "refitted"), 60_000, 3, 0.5, 4
    means, variances = gc.refitted(0.0, 1.0, lambda x: 1.5 * np.tanh(x), k, rounds, synthetic_share=share)
    mean, std = 0.0, 1.0
    for t in range(1, rounds + 1):
        x = mean + std * rng.standard_normal((n, k))
        votes = np.exp(1.5 * np.tanh(x)).cumsum(axis=1)
        won = x[np.arange(n), np.argmax(votes > votes[:, -1:] * rng.random((n, 1)), axis=1)]
        pool = np.concatenate([won, rng.standard_normal(n)])  # share 1/2
        mean, std = pool.mean(), pool.std()
        assert mean == pytest.approx(means[t], abs=5 / math.sqrt(n))
        assert std**2 == pytest.approx(variances[t], abs=8 / math.sqrt(n))
