"""Measures of co-evolution: definitions by hand, laws, and closed forms that they must come out at."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import linprog

from ecosystem.distribution import Distribution
from ecosystem.metrics import coevolution as co
from ecosystem.rng import stream
from ecosystem.theory import market, pluralism

COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any)

# Concentration


@settings(max_examples=30, deadline=None)
@given(COUNTS, st.randoms(use_true_random=False))
def test_concentration_lies_between_equal_and_one(votes, random):
    found = co.concentration(votes)
    assert 1 / len(votes) - 1e-12 <= found <= 1 + 1e-12
    assert found * co.effective_providers(votes) == pytest.approx(1)
    shuffled = random.sample(votes, len(votes))
    assert co.concentration([*shuffled, 0]) == pytest.approx(found), "neither order nor who got nothing matters"


def test_concentration_by_hand():
    assert co.concentration([7]) == 1
    assert co.concentration([6, 3, 1]) == pytest.approx(0.46)
    assert co.effective_providers([5, 5, 5, 5]) == pytest.approx(4)
    with pytest.raises(AssertionError, match="at least one"):
        co.concentration([0, 0])


def test_concentration_of_a_logit_market():
    utility = np.array([1.0, 0.0, 0.3])
    s = market.stationary_shares(utility)
    votes = stream(0, "test", "logit votes").multinomial(40, s, size=4000)
    found = np.array([co.concentration(v) for v in votes])
    assert abs(found.mean() - market.expected_concentration(s, 40)) < 4 * found.std() / math.sqrt(len(found))
    assert co.concentration(s) == pytest.approx(market.logit_concentration(utility))


# Distance


def gaussian(mean, covariance):
    return Distribution(np.asarray(mean, dtype=float), np.asarray(covariance, dtype=float))


def discrete(values, mass):
    return Distribution.discrete(np.asarray(values, dtype=float)[:, None], np.asarray(mass, dtype=float))


def test_known_gaussians_by_hand():
    a, b = gaussian([0, 0], [1, 4]), gaussian([3, 4], [9, 4])
    assert co.distance(a, b) == pytest.approx(math.sqrt((25 + 4) / 2))
    full = gaussian([3, 4], [[9, 0], [0, 4]])
    assert co.distance(a, full) == pytest.approx(co.distance(a, b))
    assert co.distance(full, full) == pytest.approx(0, abs=1e-7)


def test_atoms_on_a_line_against_the_cheapest_transport():
    """W_2^2 as the linear programme that defines it."""
    rng = stream(0, "test", "transport")
    for _ in range(4):
        x, y, p, q = (*rng.normal(size=(2, 5)), *rng.dirichlet(np.ones(5), size=2))
        p[1] = 0.0
        p /= p.sum()
        cost = (x[:, None] - y) ** 2
        leave, reach = np.kron(np.eye(5), np.ones(5)), np.kron(np.ones(5), np.eye(5))
        best = linprog(cost.ravel(), A_eq=np.vstack([leave, reach]), b_eq=np.r_[p, q]).fun
        assert co.distance(discrete(x, p), discrete(y, q)) == pytest.approx(math.sqrt(best), rel=1e-6)


def test_atoms_of_equal_moments_are_told_apart():
    """{-1, 1} and {-2, 0, 2} with masses 1/8, 3/4, 1/8: mean 0, variance 1."""
    a, b = discrete([-1, 1], [0.5, 0.5]), discrete([-2, 0, 2], [0.125, 0.75, 0.125])
    assert co.distance(a, b) == pytest.approx(1)
    assert co.distance(a, a) == 0


def test_samples_estimate_what_is_known():
    """In one dimension sliced Wasserstein is W_2, in more a shift counts alike; and it is small for equal models."""
    rng, n = stream(0, "test", "samples"), 4000
    a, b = rng.normal(0, 1, (n, 1)), rng.normal(1, 2, (n, 1))
    assert co.distance(a, b) == pytest.approx(co.distance(gaussian([0], [1]), gaussian([1], [4])), rel=0.05)
    x, shift = rng.normal(size=(n, 3)), np.array([1.0, -2.0, 0.5])
    known = co.distance(gaussian(np.zeros(3), np.ones(3)), gaussian(shift, np.ones(3)))
    assert co.distance(x, x + shift) == pytest.approx(known, rel=0.1)
    assert co.distance(x, rng.normal(size=(n, 3))) < 0.06
    with pytest.raises(AssertionError, match="both known"):
        co.distance(x, gaussian(np.zeros(3), np.ones(3)))


@pytest.mark.parametrize("known", [True, False])
def test_pairwise_is_a_metric(known):
    rng = stream(0, "test", "pairs", known)
    if known:
        providers = [gaussian(rng.normal(size=2), rng.uniform(0.5, 2, size=2)) for _ in range(4)]
    else:
        providers = [rng.normal(rng.normal(), 1, size=(50, 2)) for _ in range(4)]
    d = co.pairwise(providers)
    assert d.shape == (4, 4)
    assert np.array_equal(d, d.T)
    assert np.array_equal(np.diag(d), np.zeros(4))
    assert np.all(d[:, None, :] <= d[:, :, None] + d[None, :, :] + 1e-9), "the triangle inequality"
    off = [d[i, j] for i in range(4) for j in range(4) if i != j]
    assert co.convergence(d) == pytest.approx(np.mean(off))


def test_providers_that_train_on_each_other_converge():
    """Two Gaussians that each take half of the other's spread and centre come half as close a round."""
    a, b, gaps = np.array([0.0]), np.array([4.0]), []
    for _ in range(4):
        gaps.append(co.convergence(co.pairwise([gaussian(a, [1.0]), gaussian(b, [1.0])])))
        a, b = 0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b
    assert_allclose(gaps, [4, 2, 1, 0.5])
    with pytest.raises(AssertionError, match="two providers"):
        co.convergence([[0.0]])


# Welfare


def test_welfare_of_ballots_is_the_closed_form():
    rng, p, reward, k, n = stream(0, "test", "welfare"), np.array([0.5, 0.3, 0.2]), np.array([0.0, 1.0, 2.0]), 4, 40_000
    shown = reward[rng.choice(3, p=p, size=(n, k))]
    won = shown[np.arange(n), (shown - np.log(-np.log(rng.random((n, k))))).argmax(axis=1)]
    assert abs(co.welfare(won) - market.luce_welfare(p, reward, k)) < 4 * won.std() / math.sqrt(n)
    groups = co.welfare_by_group({"crowd": won[:100], "bots": won[100:], "away": won[:0]})
    assert list(groups) == ["crowd", "bots"]
    assert (100 * groups["crowd"] + (n - 100) * groups["bots"]) / n == pytest.approx(co.welfare(won))


# Diversity


def test_diversity_counts_equal_classes():
    assert co.diversity(np.arange(7).repeat(3)) == pytest.approx(7)
    assert co.diversity(np.zeros(5, dtype=int)) == 1
    assert co.diversity([0, 0, 0, 9]) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=30))
def test_far_apart_kinds_of_vectors_are_classes(labels):
    """Vectors at places far apart, some at the very same one, are as diverse as their labels."""
    x = np.array(labels, dtype=float)[:, None] * 100.0
    assert co.vector_diversity(x, 1.0) == pytest.approx(co.diversity(labels), rel=1e-9)
    assert co.vector_diversity(x, 0.0) == pytest.approx(co.diversity(labels), rel=1e-9)


def test_vector_diversity_of_a_pair_by_hand():
    """Two items of similarity s: eigenvalues (1 +- s) / 2."""
    s = math.exp(-0.5)
    p = np.array([(1 + s) / 2, (1 - s) / 2])
    assert co.vector_diversity(np.array([[0.0], [2.0]]), 2.0) == pytest.approx(math.exp(-(p @ np.log(p))))


@pytest.mark.parametrize("kind", ["labels", "vectors"])
@pytest.mark.parametrize("kept", [1, 2, 4])
def test_users_who_see_some_of_the_modes(kind, kept):
    """Eight equal modes on the web, in a fixed order: the share of them that is served, for labels and for vectors."""
    rng, mode = stream(0, "test", "modes"), np.arange(2000) % 8
    x = 2 * np.c_[np.cos(np.pi * mode / 4), np.sin(np.pi * mode / 4)] + 0.1 * rng.normal(size=(2000, 2))
    web = mode if kind == "labels" else x
    assert co.served_diversity(web[mode < kept], web) == pytest.approx(kept / 8, abs=1e-9 if kind == "labels" else 0.04)
    assert co.served_diversity(web, web) == 1
    assert co.served_diversity(web[:1], web[:1]) == 1


def test_served_diversity_falls_as_a_model_narrows():
    rng = stream(0, "test", "narrow")
    web, z = rng.normal(size=(1000, 2)), rng.normal(size=(700, 2))
    ratios = [co.served_diversity(std * z, web) for std in (2.0, 1.0, 0.5, 0.1, 0.0)]
    assert np.all(np.diff(ratios) < 0)
    assert ratios[1] == pytest.approx(1, abs=0.15), "samples alike, of 512 items each"
    images = rng.integers(0, 256, size=(40, 8, 8, 1), dtype=np.uint8)
    assert co.served_diversity(images[:2].repeat(20, axis=0), images) < 0.2


# Matthew effect


@pytest.mark.parametrize("power", [-0.4, 0.0, 0.5])
def test_matthew_recovers_a_power_law_of_growth(power):
    """Shares that grow like s^power, as votes of many users."""
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    grown = shares ** (1 + power) / (shares ** (1 + power)).sum()
    found = co.matthew(*(np.round(s * 1e9) for s in (shares, grown)))
    assert found == pytest.approx(power, abs=1e-6)
    pair = co.matthew(np.round(shares[:2] * 1e9), np.round(grown[:2] * 1e9))
    assert pair == pytest.approx(power, abs=1e-6), "two providers"


def test_luck_is_no_matthew_effect():
    """Shares stand still, votes are drawn: uncorrected the slope is far below zero, corrected it is not."""
    rng, shares = stream(0, "test", "luck"), np.array([0.3, 0.26, 0.24, 0.2] * 4) / 4
    drawn = rng.multinomial(2000, shares, size=(700, 2))
    found = np.array([co.matthew(*pair) for pair in drawn])
    logs = np.log(drawn + 0.5)
    naive = np.array([np.polyfit(before, after - before, 1)[0] for before, after in logs])
    assert naive.mean() < -0.15
    valid = found[np.isfinite(found)]
    assert len(valid) > 0.95 * len(found)
    assert abs(np.median(valid)) < 0.05


def test_matthew_of_a_winner_that_takes_all_and_of_no_difference():
    assert co.matthew([60, 40], [100, 0]) > 1
    assert np.isfinite(co.matthew([60, 40, 0], [50, 50, 70])), "an entrant has no share to grow from"
    assert math.isnan(co.matthew([50, 50], [90, 10]))
    assert math.isnan(co.matthew([9], [9]))
    assert math.isnan(co.matthew([60, 40], [0, 0]))
    with pytest.raises(AssertionError, match="whole votes"):
        co.matthew([0.6, 0.4], [0.5, 0.5])


# Influence

P, REWARDS, K = np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3]]), np.array([[0.0, 1.0, 2.0], [1.0, 0.5, -1.0]]), 3
HUMAN, W, W0 = np.array([0.4, 0.4, 0.2]), np.array([[0.3, 0.5], [0.6, 0.1]]), np.array([0.2, 0.3])


def winners(p, reward):
    """What is chosen of three, by summing over all ballots."""
    found = np.zeros(3)
    for ballot in np.ndindex(3, 3, 3):
        vote = np.exp(reward[list(ballot)])
        for atom, won in zip(ballot, vote / vote.sum(), strict=True):
            found[atom] += np.prod(p[list(ballot)]) * won
    return found


@pytest.mark.parametrize("i", [0, 1])
def test_influence_is_what_one_round_without_the_selection_lacks(i):
    """Two categorical providers, every ballot enumerated: p_i' with j's winners, minus p_i' with j's samples."""
    names, chosen = ("alpha", "beta"), np.array([winners(p, r) for p, r in zip(P, REWARDS, strict=True)])
    found = co.influence(
        {"people": W0[i], **dict(zip(names, W[i], strict=True))},
        dict(zip(names, chosen @ REWARDS[i], strict=True)),
        dict(zip(names, P @ REWARDS[i], strict=True)),
    )
    assert set(found) == set(names)
    for j, name in enumerate(names):
        off = chosen.copy()
        off[j] = P[j]
        lost = (W0[i] * HUMAN + W[i] @ chosen - W0[i] * HUMAN - W[i] @ off) @ REWARDS[i]
        assert found[name] == pytest.approx(lost, abs=1e-14)
        assert found[name] == pytest.approx(pluralism.influence(W, W0, HUMAN, REWARDS, K, P)[i, j], rel=1e-10)
    assert found[names[i]] > 0, "one's own users help"


def test_influence_measured_on_pages_is_the_closed_form():
    """Rewards averaged over drawn pages and samples, within four standard errors."""
    rng, n = stream(0, "test", "influence"), 100_000
    expected = pluralism.influence(W, W0, HUMAN, REWARDS, K, P)[0, 1]
    ballots = rng.choice(3, p=P[1], size=(n, K))
    slot = (REWARDS[1][ballots] - np.log(-np.log(rng.random((n, K))))).argmax(axis=1)
    curated, raw = REWARDS[0][ballots[np.arange(n), slot]], REWARDS[0][rng.choice(3, p=P[1], size=n)]
    found = co.influence({"beta": W[0, 1]}, {"beta": curated.mean()}, {"beta": raw.mean()})["beta"]
    assert abs(found - expected) < 4 * W[0, 1] * math.hypot(curated.std(), raw.std()) / math.sqrt(n)
    assert expected < 0, "users of another taste"


def test_who_chooses_nothing_has_no_influence():
    assert co.influence({"people": 0.5, "beta": 0.5}, {"beta": 1.25}, {"beta": 1.25}) == {"beta": 0}
    assert co.influence({"people": 1.0}, {}, {}) == {}
