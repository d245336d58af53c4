"""Users, providers and people in a market, against closed forms: whom users ask, what curators make of a model, how
many tastes share one, when people leave and their pages run out, and what a filter lets through.

Standard errors are those of independent draws, or of seeds; 3 to 4 of them are allowed, as said at each.
"""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from test_events import predicted
from test_living import LABELLED, LIVING, LOYAL, PEOPLE, told, with_
from test_world import CROWD, LAB, RIVAL, TASTE, new_world, of_round

from ecosystem.theory import curation, identities, market, pluralism, preferences
from ecosystem.web.corpus import HUMAN
from ecosystem.web.marks import CLAIMED

slow = pytest.mark.slow

# Prompts

TAIL = np.arange(1.0, 9.0) ** -1.5


@pytest.mark.parametrize(
    ("prompts", "shares"),
    [
        ({"kind": "zipf", "exponent": 1.5}, TAIL / TAIL.sum()),
        ({"kind": "weights", "weights": [1, 2, 3, 4, 5, 6, 7, 0]}, np.array([1, 2, 3, 4, 5, 6, 7, 0]) / 28),
    ],
)
def test_users_ask_for_classes_as_often_as_their_prompts_say(prompts, shares):
    """2,000 ballots, a chi-square; a class without a share is never asked for."""
    asking = LOYAL | {"count": 1000, "k": 1, "reward": None, "prompts": prompts}
    w = new_world(**with_(LABELLED, users=[asking]))
    told(w, 1)
    rows = of_round(w, 0)
    labels = w.corpus.column("label")[rows[w.corpus.column("maker")[rows] != HUMAN]]
    counts = np.bincount(labels, minlength=8)
    wanted = shares > 0
    assert counts.sum() == 2000 and not counts[~wanted].any()
    assert stats.chisquare(counts[wanted], 2000 * shares[wanted]).pvalue > 1e-4


def test_an_interest_drifts_towards_what_was_published():
    """w' = (1 - rate) w + rate v, v the classes of the pages of the round before, whoever made them."""
    drifting = {"kind": "drifting", "rate": 0.3, "weights": [1, 0, 0, 0, 0, 0, 0, 0]}
    w = new_world(**with_(LABELLED, users={"prompts": drifting}))
    interest = np.eye(8)[0]
    for round in range(4):
        if round:
            published = w.corpus.column("label")[of_round(w, round - 1)]
            interest = 0.7 * interest + 0.3 * np.bincount(published, minlength=8) / len(published)
        told(w, 1)
        assert_allclose(w.memory["crowd"]["interest"], interest, rtol=1e-12)
    rows = of_round(w, 0)
    synthetic = w.corpus.column("maker")[rows] != HUMAN
    assert set(w.corpus.column("label")[rows[synthetic]].tolist()) == {0}, "the interest where it began"


# Whom users ask


FIXED = {
    # Three labs, each of which once saw one page, and makes that page for ever: utilities that do not move.
    "humans": {"source": "categorical", "probabilities": [1 / 6] * 6, "held_out": 5},
    "metrics": ["heterozygosity"],
    "rounds": 60,
    "scrapers": [{"name": f"page of {name}", "budget": 1} for name in "abc"],
    "providers": [
        {"name": name, "card": {"family": "categorical"}, "scraper": f"page of {name}", "retrain": {"every": 1000}}
        for name in "abc"
    ],
}
VOTERS, SEED = 5_000, 5


def users_of_a_market(count, **choice):
    reward = {"kind": "distance", "to": [0.0], "gamma": 0.4}
    known = {"memory": 0.0} | choice
    return {"name": "crowd", "count": count, "reward": reward, "publish": "none", "provider_choice": known}


def utilities(a_world):
    """The reward of the one page that each lab makes, (3,)."""
    return np.array([-0.4 * p.generator.state()["atoms"].item() for p in a_world.providers])


@pytest.mark.parametrize(
    ("temperature", "switching_cost", "network"), [(1.0, 0.0, 0.0), (0.5, 0.0, 0.0), (1.0, 1.0, 0.0), (1.0, 1.0, 0.7)]
)
def test_a_market_of_fixed_utilities_comes_to_its_equilibrium(temperature, switching_cost, network):
    """Shares after 30 rounds, within 3.5 standard errors of so many independent users.

    A network effect makes users depend on one another, which adds to the error: by 1 / (1 - n / bound) at the most.
    """
    choice = {"temperature": temperature, "switching_cost": switching_cost, "network_effect": network}
    w = new_world(seed=SEED, **FIXED, users=[users_of_a_market(VOTERS, **choice)])
    line = told(w, 30)[-1]
    u = utilities(w)
    assert len(set(u)) == 3, "the seed makes three different labs"
    expected = market.stationary_shares(u, temperature, switching_cost, network)
    shares = np.array([row["vote_share"] for row in line["providers"].values()])
    error = np.sqrt(expected * (1 - expected) / VOTERS)
    error /= 1 - network / market.unique_below(temperature, switching_cost)
    assert np.all(np.abs(shares - expected) < 3.5 * error)
    assert np.ptp(expected) > 20 * error.max(), "the labs are told apart"


def test_users_remember_the_reward_of_whom_they_asked():
    """Each asks one provider a round; e' = memory e + (1 - memory) r for that one, and no other is touched."""
    choice = {"memory": 0.75, "prior": -1.0, "switching_cost": 0.5}
    w = new_world(seed=SEED, **FIXED, users=[users_of_a_market(50, **choice) | {"prompts_per_round": 3}])
    experienced = np.full((50, 3), -1.0)
    for _ in range(6):
        (line,) = told(w, 1)
        known, u = w.memory["crowd"], utilities(w)
        users = np.arange(50)
        asked = known["last"]
        experienced[users, asked] = 0.75 * experienced[users, asked] + 0.25 * u[asked]
        assert_allclose(known["experienced"], experienced, rtol=1e-12)
        votes = np.array([row["vote_share"] for row in line["providers"].values()])
        assert_allclose(votes, np.bincount(asked, minlength=3) / 50)
        assert_allclose(w.vote_shares, votes)


def test_an_endless_switching_cost_keeps_everybody_where_they_began():
    choice = {"switching_cost": 1e6}
    w = new_world(seed=SEED, **FIXED, users=[users_of_a_market(200, **choice)])
    told(w, 1)
    first = w.memory["crowd"]["last"]
    told(w, 5)
    assert_array_equal(w.memory["crowd"]["last"], first)
    assert set(first.tolist()) == {0, 1, 2}


def test_a_provider_that_comes_or_goes_moves_only_those_who_follow_it():
    """Common random numbers: who does not leave for the entrant asks whom they would have asked."""
    fixed = {**FIXED, "providers": FIXED["providers"][:2], "users": [users_of_a_market(2000)]}
    asked = []
    for at in (2, 50):
        added = {"at": at, "add": {"providers": FIXED["providers"][2:]}}
        w = new_world(seed=SEED, **fixed, events=[added])
        told(w, 3)
        asked.append(w.memory["crowd"]["last"])
    entered, without = asked
    assert 0 < np.count_nonzero(entered == 2) < 2000 and set(without.tolist()) == {0, 1}
    assert_array_equal(entered[entered != 2], without[entered != 2])


def test_welfare_is_the_reward_of_the_winners():
    """20,000 ballots of K = 4 from a known categorical model, within 4 standard errors of the closed form."""
    humans = {"source": "categorical", "probabilities": [0.4, 0.3, 0.2, 0.1], "held_out": 5}
    crowd = {"name": "crowd", "count": 20_000, "k": 4, "reward": {"kind": "distance", "to": [3.0], "gamma": 0.7}}
    lab = {"name": "lab", "card": {"family": "categorical"}}
    w = new_world(humans=humans, metrics=["heterozygosity"], users=[crowd], providers=[lab], coevolution=True)
    (line,) = told(w, 1)
    state = w.providers[0].generator.state()
    rewards = -0.7 * np.abs(state["atoms"][:, 0].numpy() - 3.0)
    mass = state["mass"].numpy()
    winners = curation.chosen(mass, rewards, 4)
    expected = market.luce_welfare(mass, rewards, 4)
    error = math.sqrt((winners @ rewards**2 - expected**2) / 20_000)
    assert abs(line["agents"]["crowd"]["welfare"] - expected) < 4 * error


# Tastes


def test_a_taste_moves_towards_what_won():
    """w' = (1 - beta) w + beta mean x, x the winners of the round; and the next round is judged by it."""
    drifting = LOYAL | {"taste_drift": 0.25, "count": 30}
    w = new_world(**with_(LIVING, users=[drifting], creators=[], providers=[LAB]))
    taste = np.array(TASTE["to"])
    for round in range(4):
        told(w, 1)
        taste = 0.75 * taste + 0.25 * w.corpus.items[of_round(w, round)].mean(axis=0)
        assert_allclose(w.memory["crowd"]["taste"], taste, rtol=1e-12)


VALUES = [0.0, 1.0, 2.0, 3.0]
BALLOTS, MANY = 2000, 200
WORDS = {
    "humans": {"source": "categorical", "probabilities": [0.4, 0.3, 0.2, 0.1], "held_out": 5},
    "archive": 1000,
    "metrics": ["mean-exp-reward"],
    "providers": [{"name": "lab", "card": {"family": "categorical"}}],
}
LIKES, AGAINST = ({"kind": "distance", "to": [to], "gamma": gamma} for to, gamma in ((3.0, 0.8), (0.0, 1.5)))


def gain_of_a_round(share, reward, k):
    """By how much the pages of one round of curation raise e^r over its model: measured, its error, and the model."""
    adversary = {"share": share} | ({"reward": reward} if reward else {})
    crowd = {"name": "crowd", "count": 40, "prompts_per_round": BALLOTS // 40, "k": k, "reward": LIKES}
    w = new_world(**WORDS, users=[crowd | {"adversary": adversary}])
    told(w, 1)
    state = w.providers[0].generator.state()
    p, atoms = state["mass"].numpy(), state["atoms"][:, 0].numpy()
    assert_array_equal(atoms, VALUES)
    liked = np.exp(-0.8 * np.abs(w.corpus.items[of_round(w, 0)][:, 0] - 3.0))
    honest = -0.8 * np.abs(atoms - 3.0)
    hostile = -1.5 * np.abs(atoms) if reward else -honest
    return liked.mean() - p @ np.exp(honest), liked.std() / math.sqrt(BALLOTS), (p, honest, hostile)


@pytest.mark.parametrize("reward", [AGAINST, None], ids=["a rival's taste", "against their own"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_adversaries_gain_and_lose_what_theory_says(share, reward):
    """K = 200 is as good as K = inf: they differ by a tenth of the standard error. Within 3 of these."""
    measured, error, (p, honest, hostile) = gain_of_a_round(share, reward, MANY)
    expected = preferences.adversarial_gain(p, honest, hostile, share)
    assert abs(measured - expected) < 3 * error
    turns = preferences.adversarial_threshold(p, honest, hostile)
    assert 0.3 < turns < 0.9
    assert (measured > 3 * error) if share < turns else (measured < -3 * error), "and so they turn curation round"


@pytest.mark.parametrize("k", [2, 5])
def test_a_share_of_ballots_is_cast_by_the_adversary(k):
    """Any K, exactly: (1 - b) p H_r + b p H_r~."""
    measured, error, (p, honest, hostile) = gain_of_a_round(0.4, AGAINST, k)
    won = 0.6 * curation.chosen(p, honest, k) + 0.4 * curation.chosen(p, hostile, k)
    assert abs(measured - (won - p) @ np.exp(honest)) < 3 * error


CURATED = """
name: curated
rounds: 4
humans: {source: categorical, probabilities: [0.4, 0.3, 0.2, 0.1], held_out: 5}
web: {archive: 2000, retention: {human_rounds: 1, synthetic_rounds: 1}}
users:
  - {name: honest, count: 10, prompts_per_round: 80, k: 4, reward: {kind: distance, to: [3]}}
  - {name: mixed, count: 10, prompts_per_round: 200, k: 4, reward: {kind: distance, to: [3]}, adversary: {share: 0.2}}
  - {name: quiet, count: 10, prompts_per_round: 400, k: 4, reward: {kind: distance, to: [0]}, publish_share: 0.1}
scrapers: [{name: latest}]
providers: [{name: lab, model: categorical}]
metrics: [mean-exp-reward]
"""


def test_groups_count_by_the_pages_they_publish(tmp_path):
    """800 honest pages, 1,600 + 400 of the group with adversaries, 400 of those who publish a tenth."""
    from ecosystem import scenarios

    theory, _ = predicted(scenarios.from_text(CURATED), tmp_path / "run", 8)
    found = theory["lab", "mean-exp-reward"]
    rewards = -np.array([3.0, 2.0, 1.0, 0.0])
    path = curation.loop(
        [0.4, 0.3, 0.2, 0.1], [rewards, -rewards, rewards[::-1]], 4, 3, weights=np.array([2400, 400, 400]) / 3200
    )
    assert_allclose(found["values"], path @ np.exp(rewards), rtol=1e-12)
    assert found["deviation"] < 4


@slow
def test_two_tastes_come_to_their_plural_limit():
    """A share q of users wants one of two outcomes and the others the other: a* = (q (1 + k) - k) / (1 - k), k = e^-D.

    The mean of 10 rounds behind the 6th, over 10 seeds, within 3 of their standard errors; K = 200 is as good as inf,
    for which theory is, to a fifth of one.
    """
    q, gap, ballots, k = 0.7, 3.0, 800, 200
    groups = [
        {"name": f"of {to}", "count": 8, "prompts_per_round": round(share * ballots / 8), "k": k}
        | {"reward": {"kind": "distance", "to": [to], "gamma": gap}}
        for to, share in ((0, q), (1, 1 - q))
    ]
    humans = {"source": "categorical", "probabilities": [0.5, 0.5], "held_out": 5}
    parts = {**WORDS, "humans": humans, "archive": 1000, "users": groups, "rounds": 17}
    parts |= {"scrapers": [{"name": "latest", "window_rounds": 1}]}
    ends = []
    for seed in range(10):
        w = new_world(seed, **parts)
        told(w, 16)
        ends.append(np.mean([(w.corpus.items[of_round(w, r)] == 0.0).mean() for r in range(6, 16)]))
    expected = pluralism.plateaus([q, 1 - q], gap)[0]
    assert expected == pytest.approx(preferences.plural_limit(q, gap))
    error = np.std(ends, ddof=1) / math.sqrt(len(ends))
    assert abs(np.mean(ends) - expected) < 3 * error
    assert error < 0.004 and abs(np.mean(ends) - q) > 3 * error, "nor is it the share of users"


def one_of_three(favourite, ballots, gap, k):
    """Users who like one of the outcomes 0, 1, 2 by ``gap`` better than the two others, which are the same to them.

    Who likes an end best votes against what is near to the middle of the two others.
    """
    reward = {"kind": "distance", "to": [[1.5], [1.0], [0.5]][favourite], "gamma": gap}
    if favourite != 1:
        reward["beyond"] = 0.5
    group = {"name": f"of {favourite}", "count": 4, "prompts_per_round": round(ballots / 4), "k": k, "reward": reward}
    return group if favourite == 1 else group | {"adversary": {"share": 1.0}}


@slow
@pytest.mark.parametrize(
    ("weights", "gap", "left"), [([0.5, 0.3, 0.2], 3.0, 3), ([0.35, 0.25, 0.4], 2.0, 3), ([0.6, 0.04, 0.36], 1.5, 2)]
)
def test_three_tastes_come_to_their_plateaus(weights, gap, left):
    """The shares of three outcomes, as ``pluralism.plateaus`` has them: within 3 standard errors over 12 seeds.

    The means of 10 rounds behind the 14th, at K = 200, 2,000 pages a round. In the last of the three cases one user in
    25 is too few to keep what they like.
    """
    groups = [one_of_three(i, 2000 * q, gap, 200) for i, q in enumerate(weights)]
    humans = {"source": "categorical", "probabilities": [0.4, 0.3, 0.3], "held_out": 5}
    parts = {**WORDS, "humans": humans, "archive": 2000, "users": groups, "rounds": 25}
    parts |= {"scrapers": [{"name": "latest", "window_rounds": 1}]}
    ends = []
    for seed in range(12):
        w = new_world(seed, **parts)
        told(w, 24)
        shares = [np.bincount(w.corpus.items[of_round(w, r)].ravel().astype(int), minlength=3) for r in range(14, 24)]
        ends.append(np.mean(shares, axis=0) / 2000)
    ends, expected = np.array(ends), pluralism.plateaus(weights, gap)
    error = ends.std(axis=0, ddof=1) / math.sqrt(len(ends))
    assert np.count_nonzero(expected) == left
    assert np.all(np.abs(ends.mean(axis=0) - expected) <= 3 * error + 1e-12), (ends.mean(axis=0), expected, error)
    assert error.max() < 0.004
    assert np.abs(ends.mean(axis=0) - weights).max() > 5 * error.max(), "nor is it the share of users"


# People


@pytest.mark.parametrize("elasticity", [0.5, 1.0, 3.0])
def test_creators_leave_as_attention_does(elasticity):
    """count a^elasticity of them, a the human share of what the web showed when the round began."""
    w = new_world(**with_(LIVING, creators={"count": 50, "attention": {"elasticity": elasticity}}))
    for round in range(5):
        seen = w.visible(w.settings.web.retention)
        a = np.mean(w.corpus.of("maker", seen) == HUMAN)
        (line,) = told(w, 1)
        active = round_half_even(50 * a**elasticity)
        assert line["agents"]["people"]["active"] == active
        rows = of_round(w, round)
        assert np.count_nonzero(w.corpus.column("maker")[rows] == HUMAN) == 2 * active
    assert active < 50


def round_half_even(x):
    return int(np.rint(x))


def test_a_web_where_everybody_is_silent_again_has_everybodys_attention():
    """They come back when the synthetic pages have gone."""
    web = {"retention": {"synthetic_rounds": 1}}
    event = {"at": 2, "set": {"users.crowd.prompts_per_round": 0}}
    w = new_world(**with_(LIVING, web=web, creators={"count": 50, "attention": {"elasticity": 2.0}}, events=[event]))
    active = [line["agents"]["people"]["active"] for line in told(w, 5)]
    assert active[0] == active[3] == active[4] == 50 > active[1]


def test_adopters_publish_a_models_pages_as_their_own():
    """A share that grows by the round: 4,000 pages a round, within 4 standard errors, all of one lab and claimed."""
    adoption = {"share": 0.2, "growth": 0.3, "provider": "rival"}
    people = PEOPLE | {"count": 2000, "adoption": adoption}
    w = new_world(**with_(LIVING, creators=[people], users=[]))
    lines = told(w, 4)
    assert "people" not in lines[0].get("agents", {}), "in round 0 there is no model yet"
    for round, share in ((1, 0.5), (2, 0.8), (3, 1.0)):
        rows = of_round(w, round)
        synthetic = w.corpus.column("maker")[rows] == 1
        assert len(rows) == 4000
        assert abs(synthetic.mean() - share) <= 4 * math.sqrt(share * (1 - share) / 4000)
        assert lines[round]["agents"]["people"]["adopted-share"] == synthetic.mean()
        assert_array_equal((w.corpus.column("marks")[rows] & CLAIMED) != 0, synthetic)
        assert set(w.corpus.column("generation")[rows[synthetic]].tolist()) == {round - 1}, "the model that there was"


def test_what_adopters_publish_nobody_has_chosen():
    """Selection is known of the pages of those who voted; adopted pages are by the generation before, and have none."""
    people = PEOPLE | {"adoption": {"share": 0.5, "provider": "lab"}}
    w = new_world(**with_(LIVING, creators=[people], users=[LOYAL], coevolution=True))
    told(w, 4)
    kinds = {}
    for batch, selected in zip(w.corpus.batches, w.memory["web"]["selection"], strict=True):
        if batch.maker == 0:
            kinds.setdefault(batch.generation == batch.round, []).append(bool(selected.any()))
    assert kinds == {True: [True] * 4, False: [False] * 3}


@pytest.mark.parametrize("synthetic_rounds", [None, 2])
def test_a_reservoir_runs_out_when_theory_says(synthetic_rounds):
    reservoir, h, m = 30, 8, 20
    web = {"retention": {"synthetic_rounds": synthetic_rounds}}
    w = new_world(**with_(LIVING, web=web, creators={"reservoir": reservoir}))
    lines = told(w, 7)
    left = [line["agents"]["people"]["reservoir-left"] for line in lines]
    assert left == [max(0, reservoir - h * (round + 1)) for round in range(7)]
    short = [r for r in range(7) if np.count_nonzero(w.corpus.column("maker")[of_round(w, r)] == HUMAN) < h]
    assert short[0] == market.exhaustion_round(reservoir, h)
    expected = market.reservoir_share(np.arange(1, 8), 60, reservoir, h, m, synthetic_rounds)
    assert_allclose([line["web"]["synthetic_share"] for line in lines], expected)


# What a filter lets through

FILTERED = with_(
    LIVING,
    archive=3000,
    creators=[],
    scrapers=[{"name": "common"}],
    users=[CROWD | {"count": 1000, "reward": None, "k": 1, "candidates": "across-providers"}],
)


@pytest.mark.parametrize(
    ("parts", "tpr", "fpr"),
    [
        ({"scrapers": {"filter": {"kind": "detector", "tpr": 0.7, "fpr": 0.1}}}, 0.7, 0.1),
        ({"scrapers": {"filter": {"kind": "watermark", "rate": 0.8}}, "providers": {"watermark": True}}, 0.4, 0.0),
        (
            {"scrapers": {"filter": {"kind": "labels"}}, "web": {"admission": {"kind": "label", "tpr": 0.6, "fpr": 0}}},
            0.6,
            0.0,
        ),
    ],
    ids=["a detector", "watermarks of one of two", "the labels of sites"],
)
def test_the_synthetic_share_of_a_data_set_is_the_identity_of_its_filters_rates(parts, tpr, fpr):
    """Of 3,000 human and 2,000 a round synthetic pages, within 4 standard errors of what is let through."""
    w = new_world(**with_(FILTERED, **parts))
    lines = told(w, 3)
    for before, line in zip(lines, lines[1:], strict=False):
        trained = line["providers"]["lab"]["trained"]
        expected = identities.detector_share(before["web"]["synthetic_share"], tpr, fpr)
        assert abs(trained["synthetic_share"] - expected) < 4 * math.sqrt(expected * (1 - expected) / trained["pages"])


@pytest.mark.parametrize("strict", [1.0, 0.5])
def test_sites_that_refuse_let_through_what_their_rates_say(strict):
    """6,000 synthetic and 6,000 human pages of a round, on 400 sites of which a share is strict."""
    people = {"name": "people", "count": 6000}
    crowd = CROWD | {"count": 6000, "prompts_per_round": 1, "reward": None, "k": 1}
    admission = {"kind": "refuse-flagged", "tpr": 0.7, "fpr": 0.1, "share": strict}
    web = {"sites": {"count": 400, "graph": "cycle_graph"}, "admission": admission}
    w = new_world(archive=50, web=web, creators=[people], users=[crowd], providers=[LAB, RIVAL])
    told(w, 1)
    rows = of_round(w, 0)
    synthetic = np.mean(w.corpus.column("maker")[rows] != HUMAN)
    expected = identities.detector_share(0.5, strict * 0.7, strict * 0.1)
    # The homes of who publishes on strict sites are drawn as well: a share of them, give or take its own error.
    assert abs(synthetic - expected) < 4 * math.sqrt(2 * expected * (1 - expected) / len(rows))
