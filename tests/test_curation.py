"""Curation against the formulas: choice rules and rewards.

All draws come from fixed streams, so a test passes or fails for good. Chi-square tests are held to p > 1e-4, means and
shares to 4 standard errors: over the forty comparisons below a correct rule would have failed once in 200 versions of
this file.
"""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.special import expit, softmax

from ecosystem.rng import stream
from ecosystem.web.choice import Best, Luce, Uniform
from ecosystem.web.rewards import ClassConfidence, Distance, MaxConfidence, needs_classifier

BALLOTS = 40_000
RULES = [Luce(), Luce(temperature=0.2), Best(), Uniform()]
rules = pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{r.kind}-{getattr(r, 'temperature', '')}")


def draws(*shape, what="uniforms"):
    return stream(0, "test", what).random(shape)


def winners_of(rule, rewards, ballots=BALLOTS):
    """How often each slot wins when every ballot has these rewards."""
    rewards = np.tile(np.asarray(rewards, float), (ballots, 1))
    return np.bincount(rule.choose(rewards, draws(*rewards.shape)), minlength=rewards.shape[1])


def assert_drawn_from(counts, probabilities):
    assert stats.chisquare(counts, counts.sum() * np.asarray(probabilities)).pvalue > 1e-4, counts


# Choice: laws of every rule


@rules
def test_every_ballot_has_one_winner_among_its_images(rule):
    for k in (1, 2, 5):
        winner = rule.choose(draws(100, k, what="rewards"), draws(100, k))
        assert winner.shape == (100,)
        assert winner.dtype == np.int64
        assert ((winner >= 0) & (winner < k)).all()


@rules
def test_one_image_wins_its_ballot(rule):
    assert_array_equal(rule.choose(draws(50, 1, what="rewards"), draws(50, 1)), 0)


@rules
def test_equal_rewards_win_equally_often(rule):
    for reward in (0.0, 1e6, -1e6):
        assert_drawn_from(winners_of(rule, [reward] * 4), [0.25] * 4)


@rules
def test_a_ballot_does_not_depend_on_other_ballots(rule):
    rewards, uniforms = 3 * draws(60, 4, what="rewards"), draws(60, 4)
    together = rule.choose(rewards, uniforms)
    assert_array_equal(together[:20], rule.choose(rewards[:20], uniforms[:20]))
    assert_array_equal(together[::-1], rule.choose(rewards[::-1], uniforms[::-1]))


@rules
def test_the_place_of_an_image_does_not_matter(rule):
    """Images that change places with their draws change places among the winners."""
    rewards, uniforms, order = np.round(3 * draws(200, 4, what="rewards")), draws(200, 4), np.array([2, 0, 3, 1])
    winner = rule.choose(rewards, uniforms)
    assert_array_equal(order[rule.choose(rewards[:, order], uniforms[:, order])], winner)


@rules
def test_choosing_leaves_its_arguments_alone(rule):
    rewards, uniforms = draws(20, 3, what="rewards"), draws(20, 3)
    before = rewards.copy(), uniforms.copy()
    rule.choose(rewards, uniforms)
    assert_array_equal(rewards, before[0])
    assert_array_equal(uniforms, before[1])


@rules
def test_a_draw_of_exactly_0_is_no_accident(rule):
    """A uniform draw is in [0, 1): 0 happens, and gives an infinite Gumbel, not a NaN or a warning."""
    with np.errstate(over="raise", invalid="raise"):
        assert_array_equal(rule.choose(np.zeros((5, 3)), np.zeros((5, 3))), 0)


# Choice: each rule against its formula


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("rewards", [[0.0, 1.0], [0.0, 1.0, -2.0], [0.3, 0.1, 0.2, 0.25, 3.0], [5.0, 4.0, 3.0, 2.0]])
def test_luce_chooses_in_proportion_to_exp_r_over_t(rewards, temperature):
    """exp(r_k / T) / sum_j exp(r_j / T), a chi-square over 40,000 ballots."""
    assert_drawn_from(winners_of(Luce(temperature=temperature), rewards), softmax(np.array(rewards) / temperature))


def test_luce_cares_for_differences_of_rewards_only():
    for shift in (1e6, -1e6):
        assert_drawn_from(winners_of(Luce(), np.array([0.0, 1.0, -2.0]) + shift), softmax([0.0, 1.0, -2.0]))


def test_a_huge_reward_always_wins():
    for rule in (Luce(), Luce(temperature=100.0), Best()):
        assert_array_equal(winners_of(rule, [0.0, 1e6, -1e6, 1e5]), [0, BALLOTS, 0, 0])


def test_luce_at_a_low_temperature_is_the_best_and_at_a_high_one_uniform():
    """The two ends: rewards 0.01 apart are 1,000 apart at T = 1e-5, and Gumbels never are."""
    rewards, uniforms = np.argsort(draws(500, 4, what="rewards")) / 100, draws(500, 4)
    assert_array_equal(Luce(temperature=1e-5).choose(rewards, uniforms), Best().choose(rewards, uniforms))
    # A small draw is a large Gumbel, and so Luce's order of draws is the reverse of the uniform rule's.
    assert_array_equal(Luce(temperature=1e9).choose(rewards, uniforms), Uniform().choose(rewards, 1 - uniforms))


def test_best_takes_the_highest_reward_and_breaks_ties_by_chance():
    rewards = draws(500, 6, what="rewards")
    assert_array_equal(Best().choose(rewards, draws(500, 6)), rewards.argmax(axis=1))
    assert_drawn_from(winners_of(Best(), [1.0, 2.0, 2.0, -5.0, 2.0])[[1, 2, 4]], [1 / 3] * 3)
    assert winners_of(Best(), [1.0, 2.0, 2.0, -5.0, 2.0])[[0, 3]].sum() == 0


def test_uniform_does_not_look_at_rewards():
    assert_drawn_from(winners_of(Uniform(), [0.0, 1e6, -1e6]), [1 / 3] * 3)


def test_the_best_of_k_has_the_distribution_function_to_the_k():
    """F_{t+1} = F_t^K for hard choice: rewards uniform on [0, 1], Kolmogorov-Smirnov."""
    for k in (2, 4, 16):
        rewards = draws(5_000, k, what=f"rewards of {k}")
        won = rewards[np.arange(5_000), Best().choose(rewards, draws(5_000, k))]
        assert stats.kstest(won, lambda x, k=k: x**k).pvalue > 1e-4


# Curation: Ferbach et al. 2024, arXiv 2407.09499, Lemma 2.1


def h(p, r, k):
    """H^K_p(x) = E[K e^{r(x)} / (e^{r(x)} + sum_{i < K} e^{r(x_i)})], by enumeration of the K - 1 others."""
    e = np.exp(r)
    total = np.zeros(len(p))
    for others in itertools.product(range(len(p)), repeat=k - 1):
        weight = math.prod(p[i] for i in others)
        total += weight * k * e / (e + sum(e[i] for i in others))
    return total


P, R = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.0, 0.5, 1.0, 1.5])


def winning_types(p, r, k, ballots=100_000):
    candidates = stream(0, "test", f"candidates {k}").choice(len(p), p=p, size=(ballots, k))
    winner = Luce().choose(r[candidates], draws(ballots, k))
    return np.bincount(candidates[np.arange(ballots), winner], minlength=len(p))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 6])
def test_winners_are_distributed_as_p_h(k):
    """p_{t+1}(x) = p_t(x) H^K_{p_t}(x), a chi-square over 100,000 ballots of K candidates drawn from p."""
    after = P * h(P, R, k)
    assert after.sum() == pytest.approx(1, abs=1e-12)
    assert_drawn_from(winning_types(P, R, k), after)


def test_a_wrong_k_would_be_noticed():
    """The power of the test above: winners of K = 4 are no winners of K = 3."""
    counts = winning_types(P, R, 4)
    assert stats.chisquare(counts, counts.sum() * P * h(P, R, 3)).pvalue < 1e-10


@pytest.mark.parametrize(("p", "gap"), [(0.5, 1.0), (0.1, 2.0), (0.9, -0.5)])
def test_two_types_and_two_candidates(p, gap):
    """p' = p [p + 2 (1 - p) sigmoid(r_1 - r_2)], the closed form of K = 2."""
    after = p * (p + 2 * (1 - p) * expit(gap))
    assert p * h(np.array([p, 1 - p]), np.array([gap, 0.0]), 2)[0] == pytest.approx(after, abs=1e-12)
    counts = winning_types(np.array([p, 1 - p]), np.array([gap, 0.0]), 2)
    assert_drawn_from(counts, [after, 1 - after])


@pytest.mark.parametrize("k", [2, 4, 16])
def test_the_expected_reward_rises_by_the_lemma_at_least(k):
    """Lemma 2.2: E' e^r >= E e^r + (K - 1)/K Var e^r / e^{r*}, measured on the winners, less 4 standard errors."""
    e, won = np.exp(R), winning_types(P, R, k)
    before, variance = P @ e, P @ e**2 - (P @ e) ** 2
    after = won @ e / won.sum()
    error = math.sqrt(won @ (e - after) ** 2) / won.sum()
    assert after >= before + (k - 1) / k * variance / e.max() - 4 * error
    assert after > before + 4 * error


# Rewards


class Stub:
    """A judge that reads the classes' probabilities off an image's pixels."""

    def probabilities(self, x):
        return x.reshape(len(x), -1)[:, :3] / 255


IMAGES = stream(0, "test", "images").integers(0, 256, (40, 1, 2, 2), dtype=np.uint8)
VECTORS = stream(0, "test", "vectors").standard_normal((40, 3))


def test_class_confidence_is_gamma_q_c():
    for class_, gamma in ((0, 5.0), (2, -1.5)):
        expected = [gamma * image.ravel()[class_] / 255 for image in IMAGES]
        assert_allclose(ClassConfidence(class_, gamma=gamma).score(IMAGES, Stub()), expected)
    assert ClassConfidence(0).gamma == 5.0, "Ferbach et al."


def test_max_confidence_is_gamma_max_q():
    expected = [2.5 * max(image.ravel()[:3]) / 255 for image in IMAGES]
    assert_allclose(MaxConfidence(gamma=2.5).score(IMAGES, Stub()), expected)
    assert MaxConfidence().gamma == 5.0, "Ferbach et al."


@pytest.mark.parametrize(("gamma", "beyond"), [(1.0, 0.0), (10.0, 1.2), (-3.0, 0.5)])
def test_distance_is_minus_gamma_max_0_distance_less_beyond(gamma, beyond):
    to = (0.5, -1.0, 0.0)
    expected = [-gamma * max(0.0, math.dist(x, to) - beyond) for x in VECTORS]
    got = Distance(to, gamma=gamma, beyond=beyond).score(VECTORS, None)
    assert_allclose(got, expected, atol=1e-12)
    assert ((got == 0) == (np.linalg.norm(VECTORS - to, axis=1) <= beyond)).all()


def test_a_reward_is_by_item():
    for reward, items in (
        (ClassConfidence(1), IMAGES),
        (MaxConfidence(), IMAGES),
        (Distance((0.0, 0.0, 0.0)), VECTORS),
    ):
        assert_array_equal(reward.score(items, Stub())[5:9], reward.score(items[5:9], Stub()))
        assert reward.score(items, Stub()).shape == (len(items),)


def test_which_rewards_need_a_classifier():
    assert [needs_classifier(r) for r in (None, Distance((0.0,)), ClassConfidence(1), MaxConfidence())] == [
        False,
        False,
        True,
        True,
    ]


def test_no_ballots_are_no_trouble():
    assert Counter(Luce().choose(np.empty((0, 4)), np.empty((0, 4)))) == Counter()
