"""The laws of a round, in worlds of closed-form models: who reads what, who counts what, and whose draws are whose."""

import functools
import gc
import itertools
import json
from collections import Counter

import mesa
import networkx
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import stats

from ecosystem import scenarios, world
from ecosystem.agents import user
from ecosystem.agents.creator import Creator
from ecosystem.agents.provider import Provider
from ecosystem.agents.scraper import Scraper
from ecosystem.agents.user import User
from ecosystem.errors import ScenarioError
from ecosystem.loop import round_line
from ecosystem.loop import run as run_seeds
from ecosystem.rng import Streams
from ecosystem.web.corpus import ARCHIVE, COLUMNS, HUMAN
from ecosystem.world import World

CPU = torch.device("cpu")
GAUSSIAN = {"source": "gaussian", "dims": 3, "held_out": 60}
LAB = {"name": "lab", "card": {"family": "gaussian"}}
RIVAL = {"name": "rival", "card": {"family": "gaussian", "estimator": "unbiased"}}
CROWD = {"name": "crowd", "count": 10, "prompts_per_round": 2, "k": 3}
TASTE = {"kind": "distance", "to": [1.0, 0.0, 0.0], "gamma": 3.0}


def question(humans=GAUSSIAN, archive=60, rounds=8, metrics=("variance",), web=(), **parts):
    tree = {"name": "laws", "rounds": rounds, "humans": humans, "web": {"archive": archive, **dict(web)}}
    tree |= {"metrics": list(metrics), "users": [CROWD], "providers": [LAB], **parts}
    return asked(json.dumps(tree))


asked = functools.cache(scenarios.from_text)  # a scenario is checked once, however many worlds ask it


def new_world(seed=0, **parts):
    return World(question(**parts), seed, CPU)


def lines(a_world, rounds=4):
    """The records of the next rounds, as the text that they are compared by."""
    found = []
    for _ in range(rounds):
        a_world.step()
        found.append(json.dumps(round_line(a_world)))
    return found


def pages(a_world, rows=slice(None)):
    """Everything about pages but their authors' numbers, which count all agents of a world."""
    columns = {name: a_world.corpus.column(name)[rows] for name in COLUMNS if name != "author"}
    return {"items": a_world.corpus.items[rows], **columns}


def assert_same_pages(a, b):
    for name in a:
        assert_array_equal(a[name], b[name], name)


def by_group(a_world, group, kind=User):
    """Row numbers of a group's pages."""
    return np.flatnonzero(np.isin(a_world.corpus.column("author"), [m.unique_id for m in a_world.members(kind, group)]))


def of_round(a_world, round):
    return np.flatnonzero(a_world.corpus.column("round") == round)


# Counting


@pytest.mark.parametrize(("publish", "pages_a_ballot"), [("winner", 1), ("all", 3), ("none", 0)])
def test_every_ballot_is_one_vote_and_its_publication_is_what_the_group_publishes(publish, pages_a_ballot):
    crowd = CROWD | {"publish": publish, "candidates": "across-providers"}
    w = new_world(users=[crowd], providers=[LAB, RIVAL])
    for round in range(3):
        w.step()
        assert sum(w.votes.values()) == 20
        assert len(of_round(w, round)) == 20 * pages_a_ballot


def test_every_vote_is_one_page_of_the_provider_that_won():
    w = new_world(users=[CROWD | {"candidates": "across-providers", "reward": TASTE}], providers=[LAB, RIVAL])
    for round in range(3):
        w.step()
        makers = Counter(w.corpus.column("maker")[of_round(w, round)].tolist())
        assert makers == {0: w.votes["lab"], 1: w.votes["rival"]}


def test_the_winner_is_one_of_the_images_that_were_shown():
    """The same ballots published whole and by their winners: winner i stands in ballot i, and is its best image."""
    crowd = CROWD | {"reward": TASTE, "choice": {"kind": "best"}}
    winners, shown = new_world(users=[crowd]), new_world(users=[crowd | {"publish": "all"}])
    winners.step()
    shown.step()
    ballots = shown.corpus.items[of_round(shown, 0)].reshape(20, 3, 3)
    won = winners.corpus.items[of_round(winners, 0)]
    distance = np.linalg.norm(ballots - np.array(TASTE["to"]), axis=2)
    assert_array_equal(won, ballots[np.arange(20), distance.argmin(axis=1)])
    assert len(np.unique(distance.argmin(axis=1))) == 3, "no slot is favoured"


def test_shares_add_up_and_the_web_is_counted_as_it_stands():
    web = {"retention": {"human_rounds": 3, "synthetic_rounds": 2}}
    w = new_world(web=web, providers=[LAB, RIVAL], creators=[{"name": "people", "count": 3, "pages_per_round": 2}])
    for line in map(json.loads, lines(w, rounds=5)):
        round, counts = line["round"], line["web"]
        assert sum(p["vote_share"] for p in line["providers"].values()) == pytest.approx(1)
        assert line["ballots"] == 20
        human = sum(60 if r == ARCHIVE else 6 for r in range(ARCHIVE, round + 1) if round + 1 - r <= 3)
        synthetic = 20 * min(round + 1, 2)
        assert (counts["human"], counts["synthetic"]) == (human, synthetic)
        assert counts["pages"] == human + synthetic
        assert counts["synthetic_share"] == pytest.approx(synthetic / (human + synthetic))


def test_no_ballot_no_vote_share():
    line = json.loads(lines(new_world(users=[]), rounds=1)[0])
    assert line["ballots"] == 0
    assert line["providers"]["lab"]["vote_share"] is None


def test_a_page_says_who_made_it_when_and_through_how_many_models():
    w = new_world(providers=[LAB, RIVAL])
    for round in range(4):
        w.step()
        rows = pages(w, of_round(w, round))
        for number, provider in enumerate(w.providers):
            own = rows["maker"] == number
            assert own.any()
            assert (rows["generation"][own] == provider.generation).all()
            assert_array_equal(rows["lineage"][own], np.float32(provider.provenance.lineage))
    archive = pages(w, of_round(w, ARCHIVE))
    assert {tuple(set(archive[name].tolist())) for name in ("maker", "generation")} == {(HUMAN,)}
    assert not archive["lineage"].any()


def test_a_training_set_is_counted_by_maker_and_hands_on_its_lineage():
    w = new_world(providers=[LAB, RIVAL], scrapers=[{"name": "some", "budget": 45}])
    for _ in range(4):
        w.step()
        makers = Counter(w.corpus.column("maker")[w.scrapers[0].ids].tolist())
        for provider in w.providers:
            counted = provider.provenance
            assert counted.by_maker == {"human": makers[HUMAN]} | {
                name: makers[i] for i, name in enumerate(("lab", "rival")) if makers[i]
            }
            assert counted.pages == sum(counted.by_maker.values()) == 45
            assert counted.synthetic_share == pytest.approx(1 - makers[HUMAN] / 45)
            lineage = w.corpus.column("lineage")[w.scrapers[0].ids].tolist()
            assert counted.lineage == pytest.approx(1 + sum(lineage) / 45)


def test_prompts_are_uniform_over_classes():
    """2,000 ballots on the eight labels of ring-8, a chi-square; and pages bear the label that was asked for."""
    ring = {"source": "ring-8", "labelled": True, "held_out": 60}
    w = new_world(humans=ring, archive=400, users=[CROWD | {"count": 1000, "k": 1}])
    w.step()
    rows = pages(w, of_round(w, 0))
    assert stats.chisquare(np.bincount(rows["label"], minlength=8)).pvalue > 1e-4
    angle = np.arctan2(rows["items"][:, 1], rows["items"][:, 0])
    assert_array_equal(np.round(angle / (np.pi / 4)).astype(int) % 8, rows["label"])


# Phases: nobody reads pages of its own round


def test_nothing_reads_pages_of_its_own_round():
    w = new_world(creators=[{"name": "people", "count": 4}])
    for round in range(4):
        w.step()
        assert_array_equal(w.scrapers[0].ids, np.flatnonzero(w.corpus.column("round") < round))
        assert w.providers[0].provenance.pages == 60 + round * (4 + 20)


def test_phases_come_in_the_order_of_the_design():
    w = new_world(providers=[LAB, RIVAL])
    seen = [(p.phase, p.provider) for p in w.phases() if p.update is None]
    assert seen == [
        ("publish", ""),
        ("crawl", ""),
        ("retrain", "lab"),
        ("retrain", "rival"),
        ("ask", ""),
        ("measure", "lab"),
        ("measure", "rival"),
    ]


def test_curation_in_a_world_has_the_closed_form_of_two_candidates():
    """Luce's choice of K = 2 by r(x) = x from N(mu, s^2): density 2 p(x) E sigmoid(x - x'), by quadrature.

    For N(0, 1) that is mean 0.363 and variance 0.868. A point far away makes the distance linear. Within 4 standard
    errors of 20,000 winners.
    """
    far = {"kind": "distance", "to": [1e4]}
    w = new_world(humans=GAUSSIAN | {"dims": 1}, archive=500, users=[CROWD | {"count": 10_000, "k": 2, "reward": far}])
    w.step()
    won = w.corpus.items[of_round(w, 0)][:, 0]
    state = w.providers[0].generator.state()
    mean, variance = winners_of_two(0, 1)
    assert (round(mean, 3), round(variance, 3)) == (0.363, 0.868)
    mean, variance = winners_of_two(state["mean"].item(), state["root"].item())
    assert abs(won.mean() - mean) < 4 * won.std() / np.sqrt(len(won))
    assert abs(won.var() - variance) < 4 * variance * np.sqrt(2 / len(won))


def winners_of_two(mu, s):
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    x, p = mu + s * nodes, weights / weights.sum()
    density = 2 * p * (p / (1 + np.exp(x - x[:, None]))).sum(axis=1)
    mean = density @ x
    return mean, density @ x**2 - mean**2


# Whose draws are whose


def test_a_group_without_prompts_changes_nothing():
    alone = lines(new_world())
    for idle in ({"prompts_per_round": 0, "count": 7}, {"count": 0}):
        assert lines(new_world(users=[CROWD, {"name": "idle", "k": 2, **idle}])) == alone
        assert lines(new_world(users=[{"name": "idle", "k": 2, **idle}, CROWD])) == alone
    assert lines(new_world(creators=[{"name": "idle", "count": 5, "pages_per_round": 0}])) == alone
    assert lines(new_world(users=[CROWD, {"name": "busy"}])) != alone


@pytest.mark.parametrize("candidates", ["one-provider", "across-providers"])
def test_one_more_user_changes_nobody_elses_pages(candidates):
    """Bit for bit, in the round in which all models are still the same."""
    crowd = CROWD | {"candidates": candidates, "reward": TASTE}
    web = {"sites": {"count": 9}}
    few = new_world(users=[crowd], providers=[LAB, RIVAL], web=web)
    more = new_world(users=[crowd | {"count": 11}], providers=[LAB, RIVAL], web=web)
    few.step()
    more.step()
    assert len(of_round(more, 0)) == len(of_round(few, 0)) + 2
    assert_same_pages(pages(few), pages(more, slice(len(few.corpus))))


IN_BLOCKS = {
    "one provider": {},
    "one image": {"k": 1},
    "none published": {"publish": "none"},
    "all published": {"publish": "all"},
    "some published": {"publish_share": 0.5},
    "across providers": {"candidates": "across-providers"},
    "a market": {"provider_choice": {"switching_cost": 0.2}},
    "moving prompts": {"prompts": {"kind": "drifting", "rate": 0.4}},
    "a moving taste": {"taste_drift": 0.3},
    "an adversary": {"adversary": {"share": 0.4}},
}


@pytest.mark.parametrize("policy", IN_BLOCKS)
def test_where_a_block_of_ballots_ends_changes_nothing(policy, monkeypatch):
    """Not one bit of the pages, on sites that refuse some of them."""
    crowd = CROWD | {"reward": TASTE} | IN_BLOCKS[policy]
    admission = {"kind": "refuse-flagged", "tpr": 0.6, "fpr": 0.2}
    worlds = []
    for images in (user.BLOCK, 21):  # seven ballots at once, or 21, which are no whole number of users
        monkeypatch.setattr(user, "BLOCK", images)
        a_world = new_world(users=[crowd], providers=[LAB, RIVAL], web={"sites": {"count": 9}, "admission": admission})
        records = [json.loads(line)["providers"] for line in lines(a_world)]
        votes = [lab["vote_share"] for record in records for lab in record.values()]
        worlds.append((votes, pages(a_world)))
    (votes, whole), (votes_in_blocks, in_blocks) = worlds
    assert_same_pages(whole, in_blocks)
    assert votes == votes_in_blocks


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_second_group_does_not_change_the_pages_of_the_first(place):
    """Users and creators alike, bit for bit, in the round in which all models are still the same."""
    people, others = ({"name": name, "count": 3, "pages_per_round": 2} for name in ("people", "others"))
    second = {"name": "second", "count": 4, "prompts_per_round": 3, "k": 2, "reward": TASTE}
    order = 1 if place == "after" else -1
    one = new_world(users=[CROWD], creators=[people])
    two = new_world(users=[CROWD, second][::order], creators=[people, others][::order])
    one.step()
    two.step()
    assert_same_pages(pages(one, by_group(one, "crowd")), pages(two, by_group(two, "crowd")))
    people_of = [pages(w, by_group(w, "people", Creator)) for w in (one, two)]
    assert_same_pages(*people_of)
    assert len(people_of[0]["items"]) == 6
    assert len(by_group(two, "second")) == 12


def test_one_more_creator_changes_nobody_elses_pages():
    few = new_world(creators=[{"name": "people", "count": 3, "pages_per_round": 2}])
    more = new_world(creators=[{"name": "people", "count": 4, "pages_per_round": 2}])
    few.step()
    more.step()
    rows = by_group(more, "people", Creator)
    assert_same_pages(pages(few, by_group(few, "people", Creator)), pages(more, rows[:6]))
    assert len(rows) == 8


def test_a_provider_whom_nobody_asks_and_nobody_reads_changes_nothing():
    crowd = CROWD | {"providers": ["lab"]}
    alone, beside = new_world(users=[crowd]), new_world(users=[crowd], providers=[LAB, RIVAL])
    for a, b in zip(lines(alone), lines(beside), strict=True):
        assert json.loads(a)["providers"]["lab"] == json.loads(b)["providers"]["lab"]


def test_a_neutral_detector_leaves_the_run_as_it_was():
    neutral = {"kind": "detector", "tpr": 0.0, "fpr": 0.0}
    for budget in (None, 50):
        scraper = {"name": "common", "budget": budget}
        without, beside = new_world(scrapers=[scraper]), new_world(scrapers=[scraper | {"filter": neutral}])
        assert lines(without) == lines(beside)
        assert_same_pages(pages(without), pages(beside))
    strict = new_world(scrapers=[{"name": "common", "filter": {"kind": "detector", "tpr": 0.5, "fpr": 0.0}}])
    assert lines(new_world(scrapers=[{"name": "common"}])) != lines(strict)


def test_a_world_depends_on_its_seed_alone():
    """Even where two worlds run in turns."""
    parts = {"users": [CROWD | {"reward": TASTE}], "creators": [{"name": "people"}], "providers": [LAB, RIVAL]}
    parts |= {"web": {"sites": {"count": 20, "graph": "barabasi_albert_graph", "m": 2}}}
    alone, a, b, other = (new_world(seed, **parts) for seed in (5, 5, 5, 6))
    expected = lines(alone)
    in_turns = [(*lines(a, 1), *lines(other, 1), *lines(b, 1)) for _ in range(4)]
    assert [turn[0] for turn in in_turns] == [turn[2] for turn in in_turns] == expected
    assert all(turn[1] != turn[0] for turn in in_turns)
    assert_same_pages(pages(alone), pages(a))
    assert not np.isin(other.corpus.items, alone.corpus.items).any()


# Scrapers


def test_a_budget_takes_so_many_pages_and_none_twice():
    w = new_world(scrapers=[{"name": "some", "budget": 25}])
    for _ in range(3):
        w.step()
        ids = w.scrapers[0].ids
        assert len(ids) == len(set(ids)) == 25
        assert (np.diff(ids) > 0).all(), "in order of publication"
    rich = new_world(scrapers=[{"name": "all", "budget": 10**6}])
    rich.step()
    assert_array_equal(rich.scrapers[0].ids, np.arange(60))


def test_a_uniform_crawl_meets_every_page_equally_often():
    """400 crawls of 20 of 60 pages: a chi-square of the counts, corrected for drawing without replacement."""
    w = new_world(scrapers=[{"name": "some", "budget": 20}])
    counts = np.zeros(60)
    for w.round in range(400):
        w.scrapers[0].crawl()
        counts[w.scrapers[0].ids] += 1
    statistic = ((counts - 400 / 3) ** 2).sum() / (400 * (1 / 3) * (2 / 3)) * 59 / 60
    assert 1e-4 < stats.chi2.sf(statistic, 59) < 1 - 1e-4


@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_window_sees_the_last_rounds_only(window):
    w = new_world(scrapers=[{"name": "latest", "window_rounds": window}])
    for round in range(5):
        w.step()
        published = w.corpus.column("round")
        assert_array_equal(w.scrapers[0].ids, np.flatnonzero((published < round) & (published >= round - window)))


def test_take_names_whose_pages_are_read():
    scrapers = [
        {"name": name, "take": take} for name, take in (("h", ["human"]), ("r", ["human", "rival"]), ("a", None))
    ]
    w = new_world(scrapers=scrapers, providers=[LAB | {"scraper": "h"}, RIVAL | {"scraper": "r"}])
    for _ in range(4):
        w.step()
    assert {s.name: set(w.corpus.column("maker")[s.ids].tolist()) for s in w.scrapers} == {
        "h": {HUMAN},
        "r": {HUMAN, 1},
        "a": {HUMAN, 0, 1},
    }
    assert w.providers[0].provenance.by_maker == {"human": 60}
    assert set(w.providers[1].provenance.by_maker) == {"human", "rival"}


def test_a_filter_acts_before_the_budget_is_spent():
    """A perfect detector leaves human pages only, and the budget is still reached with them."""
    perfect = {"kind": "detector", "tpr": 1.0, "fpr": 0.0}
    w = new_world(scrapers=[{"name": "clean", "budget": 50, "filter": perfect}])
    for _ in range(4):
        w.step()
        assert w.providers[0].provenance.by_maker == {"human": 50}


@pytest.mark.parametrize("budget", [None, 10, 40])
@pytest.mark.parametrize(
    "sites",
    [
        {"count": 12, "graph": "cycle_graph"},
        {"count": 25, "graph": "barabasi_albert_graph", "m": 2},
        {"count": 25, "graph": "erdos_renyi_graph", "p": 0.05},
    ],
    ids=lambda s: s["graph"],
)
def test_a_crawl_along_links_takes_the_sites_nearest_to_its_start(sites, budget):
    """Never a page that it cannot reach, and a site only after all sites that it meets before."""
    scraper = {"name": "spider", "budget": budget, "crawl": {"kind": "breadth-first"}}
    w = new_world(scrapers=[scraper], web={"sites": sites})
    starts, graph = set(), w.settings.web.sites.build(0)
    for round in range(4):
        w.step()
        start = int(Streams(0, "spider", round).numpy("crawl").integers(sites["count"]))
        starts.add(start)
        visited = [start, *(site for _, site in networkx.bfs_edges(graph, start))]
        seen = np.flatnonzero(w.corpus.column("round") < round)
        place = {site: rank for rank, site in enumerate(visited)}
        site = w.corpus.column("site")
        reachable = [i for i in seen if site[i] in place]
        taken, left = set(w.scrapers[0].ids.tolist()), set(reachable) - set(w.scrapers[0].ids.tolist())
        assert taken <= set(reachable)
        assert len(taken) == min(budget or len(reachable), len(reachable))
        if left:
            assert max(place[site[i]] for i in taken) <= min(place[site[i]] for i in left)
    assert len(starts) > 1, "every round starts somewhere else"


# Creators


def test_creators_publish_fresh_human_pages_that_were_never_drawn_before():
    """On a finite source: an archive and ten rounds use up the thousand scans, each exactly once."""
    people = {"name": "people", "count": 10, "pages_per_round": 3}
    others = {"name": "others", "count": 2, "pages_per_round": 10}
    w = new_world(humans={"source": "digits"}, archive=500, rounds=10, creators=[people, others])
    lines(w, rounds=10)
    human = w.corpus.items[w.corpus.column("maker") == HUMAN]
    published, pool = (Counter(x.tobytes() for x in items) for items in (human, w.humans.pool(1000).x))
    assert published == pool
    assert pool.total() == 1000


def test_creators_publish_at_home_at_their_rate():
    w = new_world(creators=[{"name": "people", "count": 5, "pages_per_round": 3}], web={"sites": {"count": 6}})
    w.step()
    rows = by_group(w, "people", Creator)
    authors = w.corpus.column("author")[rows]
    home = {m.unique_id: m.site for m in w.members(Creator, "people")}
    assert Counter(authors.tolist()) == dict.fromkeys(home, 3)
    assert_array_equal(w.corpus.column("site")[rows], [home[a] for a in authors])
    assert len(set(home.values())) > 1


# Events


def test_an_event_changes_a_policy_from_its_round_on_and_nothing_before():
    events = [
        {"at": 2, "set": {"users.crowd.prompts_per_round": 5, "creators.people.pages_per_round": 7}},
        {"at": 3, "set": {"users.crowd.publish": "none", "scrapers.all.window_rounds": 1}},
    ]
    parts = {"creators": [{"name": "people"}], "scrapers": [{"name": "all"}]}
    plain, changed = new_world(**parts), new_world(events=events, **parts)
    before = lines(plain, 2)
    assert lines(changed, 2) == before
    lines(changed, 3)
    synthetic = [int((changed.corpus.column("maker")[of_round(changed, r)] != HUMAN).sum()) for r in range(5)]
    human = [int((changed.corpus.column("maker")[of_round(changed, r)] == HUMAN).sum()) for r in range(5)]
    assert synthetic == [20, 20, 50, 0, 0]
    assert human == [1, 1, 7, 7, 7]
    assert changed.providers[0].provenance.by_maker == {"human": 7}, "round 4 looks back to round 3 alone"


class Judge:
    """A classifier that is sure of nothing, and counts the images that users had judged."""

    accuracy, asked = 0.5, 0

    def features(self, x):
        return x.reshape(len(x), -1).astype(float)

    def probabilities(self, x):
        self.asked += len(x) if len(x) == 60 else 0
        return np.full((len(x), 10), 0.1)

    def labels_of(self, features):
        return np.zeros(len(features), dtype=np.int64)


def test_a_reward_that_an_event_brings_finds_its_classifier(monkeypatch):
    judge = Judge()
    monkeypatch.setattr(world, "classifier", lambda source, device: judge)
    event = {"at": 3, "set": {"users.crowd.reward": {"kind": "max-confidence"}}}
    digits = {"humans": {"source": "digits"}, "archive": 300}
    assert new_world(**digits).judge is None
    w = new_world(**digits, events=[event])
    assert w.judge is judge
    lines(w, 4)
    assert judge.asked == 20 * 3, "the images of round 3, and of no round before"


@pytest.mark.parametrize("name", ["archive", "evaluation", "human"])
def test_a_name_of_the_program_is_no_name_of_a_group(name):
    """Streams are told apart by names: a group `archive` would publish the archive again."""
    with pytest.raises(ScenarioError, match=f"the name `{name}` is taken"):
        question(creators=[{"name": name}])


# Several providers


def test_a_ballot_is_of_one_provider_or_of_several():
    """Published whole: three images of one maker, or of makers drawn one by one; half of them are each provider's."""
    for candidates, mixed in (("one-provider", 0.0), ("across-providers", 0.75)):
        crowd = CROWD | {"count": 200, "publish": "all", "candidates": candidates}
        w = new_world(users=[crowd], providers=[LAB, RIVAL])
        w.step()
        makers = w.corpus.column("maker")[of_round(w, 0)].reshape(400, 3)
        share = (makers != makers[:, :1]).any(axis=1).mean()
        # P(three draws from two providers are not all equal) = 3/4; 4 standard errors of 400 ballots.
        assert abs(share - mixed) <= 4 * np.sqrt(mixed * (1 - mixed) / 400)
        draws = 400 if candidates == "one-provider" else 1200
        assert abs(makers.mean() - 0.5) < 4 * 0.5 / np.sqrt(draws)


def test_votes_go_to_the_provider_that_the_users_like():
    """The rival's pages are where the users want them: with the best of across-providers it wins more than half."""
    near, far = ({"kind": "distance", "to": [sign * 3.0, 0.0, 0.0]} for sign in (1, -1))
    groups = [
        {"name": name, "count": 100, "k": 4, "choice": {"kind": "best"}, "reward": reward, "providers": [lab]}
        for name, reward, lab in (("a", near, "lab"), ("b", far, "rival"))
    ]
    judges = {"name": "judges", "count": 400, "k": 2, "choice": {"kind": "best"}, "publish": "none"}
    scrapers = [{"name": f"{lab}-pages", "take": ["human", lab], "window_rounds": 1} for lab in ("lab", "rival")]
    providers = [LAB | {"scraper": "lab-pages"}, RIVAL | {"scraper": "rival-pages"}]
    for reward, winner in ((near, "lab"), (far, "rival")):
        judging = judges | {"candidates": "across-providers", "reward": reward}
        w = new_world(users=[*groups, judging], providers=providers, scrapers=scrapers)
        lines(w, 3)
        assert w.votes["lab"] + w.votes["rival"] == 600
        # Each lab wins its own 100 ballots; of the 400 the favourite wins all but those where it had no image.
        assert 100 + 0.65 * 400 < w.votes[winner] < 100 + 0.85 * 400


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_provider_retrains_when_it_is_due(every):
    w = new_world(providers=[LAB | {"retrain": {"every": every}}, RIVAL])
    for round in range(6):
        w.step()
        lab, rival = w.providers
        assert (lab.generation, rival.generation) == (round // every, round)
        assert lab.trained_in == round - round % every
        line = round_line(w)["providers"]["lab"]
        assert ("trained" in line) == (round % every == 0), "a generation is on record once"


def test_a_provider_that_cannot_train_stops_alone():
    """`starved` looks back one round and finds pages of nobody it reads; the other goes on, serves and is voted for."""
    starved = {"name": "starved", "card": {"family": "gaussian"}, "scraper": "own"}
    scrapers = [{"name": "all"}, {"name": "own", "window_rounds": 1, "take": ["human", "starved"]}]
    w = new_world(
        users=[CROWD | {"publish": "none"}, {"name": "fans", "count": 5, "providers": ["lab"]}],
        providers=[LAB, starved],
        scrapers=scrapers,
    )
    w.step()
    assert [p.serves for p in w.providers] == [True, True]
    assert w.votes["starved"] > 0
    for round in (1, 2, 3):
        w.step()
        line = round_line(w)["providers"]
        assert line["starved"]["stopped"] == (
            "provider starved, round 1: its scraper found no page that it may take. Look at take, window and filter."
        )
        assert "trained" not in line["starved"]
        assert line["starved"]["vote_share"] == 0
        assert line["lab"]["vote_share"] == 1
        assert line["lab"]["generation"] == round
        assert "stopped" not in line["lab"]
    assert [p.name for p in w.running_providers] == ["lab"]
    assert w.providers[1].generation == 0


def test_a_run_ends_when_nobody_can_train(tmp_path):
    starving = question(users=[], scrapers=[{"name": "latest", "window_rounds": 1}])
    events = list(run_seeds(starving, [0], tmp_path / "run"))
    records = [event.line for event in events if event.kind == "round"]
    assert [line["round"] for line in records] == [0, 1]
    assert "stopped" in records[1]["providers"]["lab"]


def neural(start):
    card = {"family": "flow-matching", "net": {"kind": "mlp", "width": 8, "depth": 1}, "sampler": {"steps": 2}}
    card["train"] = {"budget_images": 600, "finetune_images": 200, "batch": 20}
    return new_world(providers=[{"name": "lab", "card": card, "retrain": {"start": start}}])


def generations(w):
    """Updates that the network has seen, and its parameters, by generation."""
    found = []
    for _ in range(3):
        w.step()
        generator = w.providers[0].generator
        found.append((generator.training.updates, torch.cat([v.flatten() for v in generator.state().values()])))
    return found


def test_finetuning_goes_on_with_the_network_and_scratch_makes_a_new_one():
    """Counted in updates: 30 and then 10 more, or 30 each time; fine-tuning stays nearer to the generation before."""
    fine, scratch = (generations(neural(start)) for start in ("finetune", "scratch"))
    assert [updates for updates, _ in fine] == [30, 40, 50]
    assert [updates for updates, _ in scratch] == [30, 30, 30]
    assert torch.equal(fine[0][1], scratch[0][1]), "generation 0 is the same: the policy acts after it"
    moved = [[float((b - a).norm()) for (_, a), (_, b) in itertools.pairwise(path)] for path in (fine, scratch)]
    assert max(moved[0]) < min(moved[1])


def test_a_closed_form_does_not_care_where_it_starts():
    expected = lines(new_world(providers=[LAB | {"retrain": {"start": "scratch"}}]))
    assert lines(new_world(providers=[LAB | {"retrain": {"start": "finetune"}}])) == expected


# Mesa


def test_the_world_is_a_mesa_model_and_its_people_are_mesa_agents():
    w = new_world(
        users=[CROWD, {"name": "second", "count": 4}],
        creators=[{"name": "people", "count": 3}],
        providers=[LAB, RIVAL],
        scrapers=[{"name": "a"}, {"name": "b"}],
    )
    assert isinstance(w, mesa.Model)
    counts = {kind: len(agents) for kind, agents in w.agents_by_type.items()}
    assert counts == {User: 14, Creator: 3, Provider: 2, Scraper: 2}
    assert len({agent.unique_id for agent in w.agents}) == 21
    assert all(agent.model is w for agent in w.agents)
    for steps in (1, 2):
        w.step()
        assert (w.steps, w.round) == (steps, steps)


def worlds_alive():
    gc.collect()
    return sum(type(thing) is World for thing in gc.get_objects())


def counted_by_mesa():
    return len(getattr(mesa.Agent, "_ids", ()))


def test_the_loop_frees_its_worlds(tmp_path):
    """Mesa 3.3 keeps every model in a table of agent numbers; three seeds leave none behind, nor does a stopped run."""
    short = question(rounds=2)
    mesa_before, before = counted_by_mesa(), worlds_alive()
    assert sum(event.kind == "finished" for event in run_seeds(short, [0, 1, 2], tmp_path / "run")) == 3
    assert (counted_by_mesa(), worlds_alive()) == (mesa_before, before)
    stopped = run_seeds(short, [0], tmp_path / "stopped")
    while next(stopped).kind != "round":
        pass
    assert worlds_alive() == before + 1, "the count sees a world that lives"
    stopped.close()
    del stopped
    assert (counted_by_mesa(), worlds_alive()) == (mesa_before, before)
    assert json.loads((tmp_path / "stopped" / "seed-0" / "status.json").read_text())["state"] == "interrupted"
