"""Markets and many tastes: closed forms against users drawn one by one, literal ballots, iteration, other solvers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from ecosystem.errors import AssumptionError
from ecosystem.rng import stream
from ecosystem.theory import curation, market, pluralism, preferences

UTILITY = np.array([1.0, 0.4, -0.3, 0.0])
P3, REWARD = np.array([0.5, 0.3, 0.2]), np.array([0.0, 1.0, 2.0])


def gumbel(uniforms):
    return -np.log(-np.log(uniforms))


def users(utility, temperature, cost, rounds, count, rng, network=0.0, start=None):
    """The shares (rounds, P) of users who each take the provider of the highest noisy utility, minus the cost to go."""
    asked = rng.integers(0, len(utility), count) if start is None else start.copy()
    shares = []
    for _ in range(rounds):
        felt = utility + network * np.bincount(asked, minlength=len(utility)) / count
        noisy = felt + temperature * gumbel(rng.random((count, len(utility)))) - cost
        noisy[np.arange(count), asked] += cost
        asked = noisy.argmax(axis=1)
        shares.append(np.bincount(asked, minlength=len(utility)) / count)
    return np.array(shares)


# Shares


@pytest.mark.parametrize(("temperature", "cost"), [(1.0, 0.0), (0.7, 1.0), (1.0, 3.0)])
def test_users_one_by_one_reach_the_stationary_shares(temperature, cost):
    count = 10_000
    shares = users(UTILITY, temperature, cost, 60, count, stream(0, "test", "users", int(cost)))
    s = market.stationary_shares(UTILITY, temperature, cost)
    assert np.all(np.abs(shares[-1] - s) <= 4 * np.sqrt(s * (1 - s) / count))


def test_users_one_by_one_who_follow_the_others():
    """With a network effect the shares of n users move by O(n^-1/2) around the mean field."""
    count, rounds = 40_000, 12
    start = np.repeat(np.arange(4), count // 4)
    shares = users(UTILITY, 1.0, 1.5, rounds, count, stream(0, "test", "followers"), 0.9, start)
    path = market.share_path(UTILITY, np.full(4, 0.25), rounds, 1.0, 1.5, 0.9)
    assert_allclose(shares, path[1:], atol=0.015)
    assert np.abs(path[-1] - path[0]).max() > 0.1, "far more than the tolerance"


def test_the_stationary_shares_are_the_eigenvector_of_a_reversible_chain():
    for cost in (0.0, 0.5, 2.0, 30.0):
        s = market.stationary_shares(UTILITY, 0.8, cost)
        chain = market.transition(UTILITY, s, 0.8, cost)
        assert_allclose(chain.sum(axis=1), 1, rtol=1e-13)
        assert_allclose(s @ chain, s, rtol=1e-12)
        assert_allclose(s[:, None] * chain, (s[:, None] * chain).T, rtol=1e-10)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert_allclose(market.stationary_shares([0.0, -900.0], 1.0, 800.0), [1, 0], atol=1e-300)


def test_free_switching_is_softmax_and_dear_switching_squares_the_odds():
    softmax = np.exp(UTILITY / 0.6) / np.exp(UTILITY / 0.6).sum()
    assert_allclose(market.stationary_shares(UTILITY, 0.6), softmax, rtol=1e-13)
    squared = np.exp(UTILITY / 0.3) / np.exp(UTILITY / 0.3).sum()
    assert_allclose(market.stationary_shares(UTILITY, 0.6, 60.0), squared, rtol=1e-12)


def test_two_providers_by_hand():
    """The two-state chain: s_1 = leave_2 / (leave_1 + leave_2), and its memory 1 - leave_1 - leave_2."""
    gap, cost = 0.8, 1.2
    leave_1, leave_2 = 1 / (1 + math.exp(gap + cost)), 1 / (1 + math.exp(cost - gap))
    s = market.stationary_shares([gap, 0.0], 1.0, cost)
    assert s[0] == pytest.approx(leave_2 / (leave_1 + leave_2), rel=1e-13)
    assert market.memory([gap, 0.0], 1.0, cost) == pytest.approx(1 - leave_1 - leave_2, rel=1e-12)
    assert market.memory([gap, 0.0], 1.0, 0.0) == pytest.approx(0, abs=1e-12)


def test_a_lead_is_forgotten_at_the_rate_of_the_memory():
    path = market.share_path(np.zeros(3), [0.5, 0.3, 0.2], 8, 1.0, 2.0)
    kappa = math.exp(-2.0)
    rate = market.memory(np.zeros(3), 1.0, 2.0)
    assert rate == pytest.approx((1 - kappa) / (1 + 2 * kappa), rel=1e-12)
    assert_allclose(path[1:] - 1 / 3, rate * (path[:-1] - 1 / 3), rtol=1e-9)


# Network effects


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=2, max_size=5), st.floats(0, 2), st.floats(0, 0.9), st.integers(0, 9))
def test_below_the_bound_every_start_ends_alike(utility, cost, part, seed):
    network = part * market.unique_below(0.7, cost)
    s = market.stationary_shares(utility, 0.7, cost, network)
    start = stream(seed, "test", "start").dirichlet(np.full(len(utility), 0.3))
    assert_allclose(s @ market.transition(utility, s, 0.7, cost, network), s, atol=1e-12)
    assert_allclose(market.share_path(utility, start, 400, 0.7, cost, network)[-1], s, atol=1e-6)


@pytest.mark.parametrize("providers", [2, 3, 6])
@pytest.mark.parametrize("cost", [0.0, 0.9, 4.0])
def test_where_equal_shares_become_unstable(providers, cost):
    """A small lead dies out a little below the bifurcation, and grows a little above it."""
    critical = market.symmetric_below(providers, 0.8, cost)
    lead = np.full(providers, 1 / providers) + 1e-6 * np.r_[1, np.full(providers - 1, -1 / (providers - 1))]
    below, above = (
        market.share_path(np.zeros(providers), lead, 40, 0.8, cost, part * critical)[:, 0] - 1 / providers
        for part in (0.98, 1.02)
    )
    assert np.all(np.diff(below) < 0)
    assert np.all(np.diff(above) > 0)


def test_the_bifurcation_by_hand():
    assert market.symmetric_below(5, 2.0) == pytest.approx(10, rel=1e-13), "T P where switching is free"
    assert market.symmetric_below(5, 2.0, 500.0) == pytest.approx(5, rel=1e-13), "T P / 2 where it is dear"
    assert market.symmetric_below(2, 1.0, 0.7) == pytest.approx(1 + math.exp(-0.7), rel=1e-13)
    assert market.unique_below(1.0) == market.leader_above(2) == pytest.approx(2)
    for providers in (2, 3, 8):
        for cost in (0.0, 1.0, 9.0):
            bounds = [f(providers, 1.0, cost) for f in (market.leader_above, market.symmetric_below)]
            assert market.unique_below(1.0, cost) <= bounds[0] * (1 + 1e-12)
            assert bounds[0] < bounds[1] or providers == 2


@pytest.mark.parametrize("providers", [2, 3, 7])
@pytest.mark.parametrize("cost", [0.0, 2.0])
def test_the_leader_that_a_market_settles_on(providers, cost):
    """From total dominance: just below the fold the lead is lost, above it the market settles on the formula."""
    fold = market.leader_above(providers, 1.5, cost)
    top = np.eye(providers)[0]
    lost = market.share_path(np.zeros(providers), top, 500, 1.5, cost, 0.9 * fold)[-1]
    kept = market.share_path(np.zeros(providers), top, 500, 1.5, cost, 1.1 * fold)[-1]
    assert_allclose(lost, 1 / providers, atol=1e-3)
    assert kept[0] == pytest.approx(market.leader_share(providers, 1.1 * fold, 1.5, cost), abs=1e-5)
    assert kept[0] > 1.4 / providers
    assert market.leader_share(providers, 1000.0, 1.5, cost) == 1


def test_three_equal_providers_may_stay_equal_or_not():
    """Between the fold and T P both are stable: what stands is history, which one bound n < T P would miss."""
    network = (market.leader_above(3) + market.symmetric_below(3)) / 2
    ends = [
        market.share_path(np.zeros(3), s, 500, 1.0, 0.0, network)[-1] for s in ([0.36, 0.33, 0.31], [0.9, 0.05, 0.05])
    ]
    assert_allclose(ends[0], 1 / 3, atol=1e-9)
    assert ends[1][0] > 0.7
    assert market.leader_above(3) == pytest.approx(2.7456436, abs=1e-6)


def test_no_equilibrium_of_equal_providers_is_missed_below_the_fold():
    """All equilibria of free switching have two levels, m providers at the upper: log rho (P / (rho - 1) + m), for
    every m; the smallest network effect of all of them is the fold."""
    rho = np.exp(np.linspace(1e-4, 12, 200_000))
    for providers in (3, 5):
        least = [np.min(np.log(rho) * (providers / (rho - 1) + m)) for m in range(1, providers)]
        assert market.leader_above(providers) == pytest.approx(min(least), rel=1e-8)


# Concentration and welfare


def test_the_concentration_of_counted_votes():
    s = market.stationary_shares(UTILITY, 0.7)
    assert market.logit_concentration(UTILITY, 0.7) == pytest.approx(sum(x**2 for x in s), rel=1e-13)
    assert market.logit_concentration(np.zeros(4)) == pytest.approx(0.25, rel=1e-13)
    votes = stream(0, "test", "votes").multinomial(25, s, size=40_000) / 25
    found = np.square(votes).sum(axis=1)
    error = found.std() / math.sqrt(len(found))
    assert abs(found.mean() - market.expected_concentration(s, 25)) < 4 * error
    assert market.expected_concentration(s, 1) == pytest.approx(1)


@pytest.mark.parametrize("across", [False, True])
def test_the_welfare_of_literal_ballots(across):
    masses, shares, k, ballots = np.array([P3, P3[::-1]]), np.array([0.7, 0.3]), 3, 100_000
    rng = stream(0, "test", "welfare", across)
    server = (rng.random((ballots, k if across else 1)) < shares[1]).astype(int) * np.ones((1, k), dtype=int)
    atom = (rng.random((ballots, k))[..., None] > masses.cumsum(axis=1)[server]).sum(axis=-1)
    votes = np.exp(REWARD[atom]).cumsum(axis=1)
    slot = (votes < votes[:, -1:] * rng.random((ballots, 1))).sum(axis=1)
    won = REWARD[atom[np.arange(ballots), slot]]
    expected = market.luce_welfare(masses, REWARD, k, shares, across)
    assert abs(won.mean() - expected) < 4 * won.std() / math.sqrt(ballots)


def test_welfare_rises_with_choice_and_with_candidates_of_several_providers():
    masses = np.array([[0.9, 0.1, 0.0], [0.0, 0.1, 0.9]])
    each, across = (market.luce_welfare(masses, REWARD, 4, [0.5, 0.5], a) for a in (False, True))
    assert across > each, "a bad provider's images lose to a good one's"
    assert market.luce_welfare(P3, REWARD, 1) == pytest.approx(P3 @ REWARD)
    by_k = [market.luce_welfare(P3, REWARD, k) for k in (1, 2, 4, 16, math.inf)]
    assert np.all(np.diff(by_k) > 0)


# A reservoir of people's pages


@pytest.mark.parametrize(("reservoir", "human", "kept"), [(100, 7, None), (21, 7, 3), (0, 5, None), (40, 0, 2)])
def test_a_web_counted_page_by_page(reservoir, human, kept):
    archive, synthetic, left, people, machine, shares, dry = 30, 11, reservoir, 30, [], [], None
    for t in range(25):
        recent = machine if kept is None else machine[-kept:]
        shares.append(sum(recent) / (people + sum(recent)))
        if dry is None and left < human:
            dry = t
        people, left = people + min(human, left), left - min(human, left)
        machine.append(synthetic)
    assert_allclose(market.reservoir_share(np.arange(25), archive, reservoir, human, synthetic, kept), shares)
    if human:
        assert market.exhaustion_round(reservoir, human) == dry


# Many tastes, one model


@pytest.mark.parametrize(
    ("weights", "gap"), [([0.5, 0.3, 0.2], 3.0), ([0.4, 0.3, 0.2, 0.1], 1.0), ([0.96, 0.04], 2.0), ([0.2] * 5, 0.5)]
)
def test_where_plural_tastes_lead(weights, gap):
    """The loop itself, of groups that each like one plateau, from an uneven start."""
    size = len(weights)
    start = np.arange(1, size + 1) / sum(range(1, size + 1))
    end = curation.loop(start, gap * np.eye(size), math.inf, 1500, weights=weights)[-1]
    limit = pluralism.plateaus(weights, gap)
    assert_allclose(end, limit, atol=4e-3)
    assert limit.sum() == pytest.approx(1, rel=1e-13)
    assert pluralism.nash_gap(limit, gap * np.eye(size), weights) < 1e-12, "optimal, as Cover's bound certifies"
    if size == 2:
        assert limit[0] == pytest.approx(preferences.plural_limit(weights[0], gap), rel=1e-12)


def test_plateaus_that_few_like_die_out():
    limit = pluralism.plateaus([0.6, 0.3, 0.1], 1.0)
    assert np.array_equal(limit > 0, [True, True, False])
    assert_allclose(pluralism.plateaus([0.6, 0.3, 0.1], 40.0), [0.6, 0.3, 0.1], rtol=1e-12)
    assert_allclose(pluralism.plateaus([1.0, 0.0], 2.0), [1, 0])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(2, 6))
def test_the_loop_climbs_to_the_bargain_within_the_gap(seed, groups, atoms):
    rng = stream(seed, "test", "bargain")
    rewards, weights = 2 * rng.standard_normal((groups, atoms)), rng.dirichlet(np.ones(groups))
    path = curation.loop(rng.dirichlet(np.ones(atoms)), rewards, math.inf, 60, weights=weights)
    climbed = np.array([pluralism.nash_welfare(p, rewards, weights) for p in path])
    assert np.all(np.diff(climbed) >= -1e-12)
    others = [pluralism.nash_welfare(p, rewards, weights) for p in rng.dirichlet(np.ones(atoms), size=60)]
    for p, value in zip(path[::20], climbed[::20], strict=True):
        assert max(*others, climbed[-1]) <= value + pluralism.nash_gap(p, rewards, weights) + 1e-12


# Many models


def test_one_coupled_model_is_the_curated_loop():
    path = pluralism.coupled([[0.6]], [0.4], P3, REWARD, 3, 5)
    assert_allclose(path[:, 0], curation.loop(P3, REWARD, 3, 5, synthetic_share=0.6), rtol=1e-12)


def test_coupled_models_as_pages_and_ballots():
    """Two categorical providers of 200,000 pages each, drawn, voted on and counted, for three rounds."""
    W, w0 = np.array([[0.2, 0.5], [0.6, 0.2]]), np.array([0.3, 0.2])
    rewards, k, n = np.array([REWARD, -0.7 * REWARD]), 3, 200_000
    rng, p = stream(0, "test", "coupled"), np.array([P3, P3])
    for _ in range(3):
        pages = []
        for mass, reward in zip(p, rewards, strict=True):
            ballots = rng.choice(3, p=mass, size=(n, k))
            slot = (reward[ballots] + gumbel(rng.random((n, k)))).argmax(axis=1)
            pages.append(ballots[np.arange(n), slot])
        sets = [
            np.r_[
                rng.choice(3, p=P3, size=round(w0[i] * n)),
                *(pages[j][: round(W[i, j] * n)] for j in range(2)),
            ]
            for i in range(2)
        ]
        p = np.array([np.bincount(s, minlength=3) / n for s in sets])
    expected = pluralism.coupled(W, w0, P3, rewards, k, 3)[-1]
    assert_allclose(p, expected, atol=6 / math.sqrt(n))
    assert np.abs(expected - P3).max() > 0.05


WEB = ([[0.2, 0.5], [0.6, 0.2]], [0.3, 0.2], P3, [REWARD, -0.7 * REWARD], 4)


def test_influence_is_what_switching_curation_off_takes_away():
    W, w0, human, rewards, k = WEB
    path = pluralism.coupled(*WEB, 5)
    for p in (path[0], path[4]):
        found = pluralism.influence(*WEB, p)
        for j in range(2):
            on, off = (
                pluralism.coupled(W, w0, human, rewards, k, 1, curated=c, start=p)[1]
                for c in ([True, True], np.arange(2) != j)
            )
            assert_allclose(found[:, j], ((on - off) * np.array(rewards)).sum(axis=1), atol=1e-14)


def test_users_of_opposed_tastes_harm_one_another_and_of_one_taste_help():
    W, w0, human, _, k = WEB
    lasting = pluralism.lasting_influence(*WEB)
    assert np.all(np.diag(lasting) > 0)
    assert np.all(lasting[~np.eye(2, dtype=bool)] < 0)
    assert np.all(pluralism.lasting_influence(W, w0, human, [REWARD, REWARD], k) > 0)


def test_lasting_influence_without_a_second_model():
    """Anchored by human data with K = inf the stable point is known in closed form."""
    found = pluralism.lasting_influence([[0.5]], [0.5], P3, REWARD, math.inf)
    limit = preferences.anchored_limit(P3, REWARD, 1.0)
    assert found[0, 0] == pytest.approx((limit - P3) @ REWARD, rel=1e-10)


# Outside the assumptions

REFUSED = [
    (lambda: market.stationary_shares(UTILITY, 0.0), "temperature > 0"),
    (lambda: market.stationary_shares(UTILITY, 1.0, -1.0), "switching_cost >= 0"),
    (lambda: market.stationary_shares(UTILITY, 1.0, 0.0, 2.0), "unique"),
    (lambda: market.stationary_shares(UTILITY, 1.0, 0.0, -0.1), "network >= 0"),
    (lambda: market.transition(UTILITY, [0.5, 0.5]), "4 are assumed"),
    (lambda: market.share_path([0.0, 0.0], [0.5, 0.6], 1), "sum to 1"),
    (lambda: market.share_path([0.0, 0.0], [0.5, 0.5], -1), "rounds >= 0"),
    (lambda: market.symmetric_below(1), "providers >= 2"),
    (lambda: market.leader_above(1), "providers >= 2"),
    (lambda: market.leader_share(3, 2.5), "needs more than"),
    (lambda: market.memory([1.0]), "two providers"),
    (lambda: market.expected_concentration([0.5, 0.5], 0), "votes >= 1"),
    (lambda: market.luce_welfare([P3, P3], REWARD, 2), "2 are assumed"),
    (lambda: market.luce_welfare(P3, REWARD, 0), "K >= 1"),
    (lambda: market.exhaustion_round(5, 0), "per_round >= 1"),
    (lambda: market.reservoir_share(0, 0, 0, 1, 1), "at least one page"),
    (lambda: market.reservoir_share(1, 5, 0, 1, 1, 0), "synthetic_rounds >= 1"),
    (lambda: pluralism.plateaus([0.5, 0.5], 0.0), "gap > 0"),
    (lambda: pluralism.plateaus([0.5, 0.6], 1.0), "sum to 1"),
    (lambda: pluralism.nash_welfare(P3, [REWARD, 400 * REWARD], [0.5, 0.5]), "within 300"),
    (lambda: pluralism.nash_gap(P3, [REWARD], [0.5, 0.5]), "1 are assumed"),
    (lambda: pluralism.coupled([[0.5]], [0.4], P3, REWARD, 2, 1), "1 is assumed"),
    (lambda: pluralism.coupled([[1.5]], [-0.5], P3, REWARD, 2, 1), ">= 0"),
    (lambda: pluralism.coupled([[0.5, 0.5]], [0.0], P3, REWARD, 2, 1), "square"),
    (lambda: pluralism.coupled([[0.5]], [0.5], P3, [REWARD, REWARD], 2, 1), "1 rewards"),
    (lambda: pluralism.coupled([[0.5]], [0.5], P3, REWARD, 2, 1, curated=[True, False]), "switches"),
    (lambda: pluralism.coupled([[0.5]], [0.5], P3, REWARD, 2, 1, start=[P3, P3]), "1 models"),
    (lambda: pluralism.lasting_influence([[1.0]], [0.0], P3, REWARD, 2), "w0 > 0"),
]


@pytest.mark.parametrize(("call", "assumption"), REFUSED, ids=range(len(REFUSED)))
def test_outside_its_assumptions_a_closed_form_refuses(call, assumption):
    with pytest.raises(AssumptionError) as refusal:
        call()
    assert assumption in str(refusal.value)
