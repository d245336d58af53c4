"""The laws of the living web: what is off changes nothing, every ballot is counted once, nobody reads ahead, and what
is wrong is said.

Worlds are small and their models closed forms. A policy at its neutral value leaves every page and every number of
every provider as they were, bit for bit; what the policy itself tells (``agents``, ``measured``) may be there.
"""

import functools
import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from test_resume import finished
from test_world import CROWD, LAB, RIVAL, TASTE, assert_same_pages, new_world, of_round, pages, question

from ecosystem import loop
from ecosystem.agents.creator import Creator
from ecosystem.agents.user import User
from ecosystem.errors import DataError, ScenarioError
from ecosystem.loop import round_line
from ecosystem.records import RunRecord
from ecosystem.web.corpus import ARCHIVE, HUMAN, NOWHERE
from ecosystem.web.marks import CLAIMED, FLAGGED, WATERMARKED

SITES = {"count": 12, "graph": "barabasi_albert_graph", "m": 2}
WEB = {"sites": SITES}
PEOPLE = {"name": "people", "count": 4, "pages_per_round": 2}
CROWD = CROWD | {"reward": TASTE, "candidates": "across-providers"}
LOYAL = CROWD | {"candidates": "one-provider"}
COMMON = {"name": "common", "budget": 50}
RING = {"source": "ring-8", "labelled": True, "held_out": 60}
LIVING = {"web": WEB, "creators": [PEOPLE], "users": [CROWD], "scrapers": [COMMON], "providers": [LAB, RIVAL]}
# Of eight classes, of which every training set has some pages.
LABELLED = LIVING | {"humans": RING, "archive": 200, "users": [LOYAL | {"count": 60, "reward": None}]}
LABELLED |= {"scrapers": [{"name": "common"}]}


def told(a_world, rounds=4):
    """The lines of the next rounds."""
    found = []
    for _ in range(rounds):
        a_world.step()
        found.append(json.loads(json.dumps(round_line(a_world))))
    return found


def outcome(parts, rounds=3):
    """Pages, and the lines without what agents and the web tell of themselves."""
    a_world = new_world(**parts)
    lines = told(a_world, rounds)
    for line in lines:
        line.pop("agents", None)
        line["web"].pop("measured", None)
    return pages(a_world), lines


def with_(base, **parts):
    """A world with more in the first group of a part, or in the web."""
    changed = dict(base)
    for part, more in parts.items():
        if isinstance(more, dict):
            old = base.get(part, {})
            changed[part] = [old[0] | more, *old[1:]] if isinstance(old, list | tuple) else {**old, **more}
        else:
            changed[part] = more
    return changed


@functools.cache
def outcome_of(text):
    return outcome(json.loads(text))


def assert_same(base, neutral, but=()):
    """``but``: columns that may differ."""
    (before, told_before), (after, told_after) = (outcome_of(json.dumps(parts)) for parts in (base, neutral))
    assert len(before["items"]) > 60 + 3 * 8, "there is something to compare"
    assert_same_pages(*({name: column for name, column in p.items() if name not in but} for p in (before, after)))
    assert told_before == told_after


# Neutral values: what is changed in which part of the world above

ZERO = {"tpr": 0.0, "fpr": 0.0}
LIKED = {"kind": "distance", "to": [1.0, 0.0, 0.0]}
ALL_OF_IT = with_(LIVING, scrapers=[{"name": "common"}])  # without a budget
NEUTRAL = {
    # what scrapers leave out, and what they favour
    "a blind detector": (LIVING, {"scrapers": {"filter": {"kind": "detector", **ZERO}}}),
    "a watermark never found": (LIVING, {"scrapers": {"filter": {"kind": "watermark", "rate": 0.0}}}),
    "a watermark nobody has": (LIVING, {"scrapers": {"filter": {"kind": "watermark"}}}),
    "labels that nobody gives": (LIVING, {"scrapers": {"filter": {"kind": "labels"}}}),
    "a detector without examples": (LIVING, {"scrapers": {"filter": {"kind": "trained-detector", "labelled": 20}}}),
    "quality of all": (LIVING, {"scrapers": {"quality": {"reward": LIKED, "keep": 1.0}}}),
    "quality above nothing": (LIVING, {"scrapers": {"quality": {"reward": LIKED, "above": -1e9}}}),
    "no duplicates": (LIVING, {"scrapers": {"near_duplicates": {"radius": 0.0}}}),
    "balance of one class": (LIVING, {"scrapers": {"balance": {}}}),
    "balance within any ratio": (LABELLED, {"scrapers": {"balance": {"ratio": 1e9}}}),
    "resampling of each page once": (
        LIVING,
        {"scrapers": {"resample": {"labelled": 60, "power": 0.0, "upsampling": 1.0, "max_repeats": 1}}},
    ),
    # how they crawl, where they take all that they meet
    "a walk to every page": (ALL_OF_IT, {"scrapers": {"crawl": {"kind": "random-walk"}}}),
    "the popular and all others": (ALL_OF_IT, {"scrapers": {"crawl": {"kind": "popularity"}}}),
    "breadth-first to the end": (ALL_OF_IT, {"scrapers": {"crawl": {"kind": "breadth-first"}}}),
    # what sites do
    "sites that admit all": (LIVING, {"web": {"admission": {"kind": "admit-all"}}}),
    "nothing is flagged": (LIVING, {"web": {"admission": {"kind": "refuse-flagged", **ZERO}}}),
    "nobody refuses": (LIVING, {"web": {"admission": {"kind": "refuse-flagged", "tpr": 1.0, "fpr": 1.0, "share": 0}}}),
    "nothing is labelled": (LIVING, {"web": {"admission": {"kind": "label", **ZERO}}}),
    "nobody labels": (LIVING, {"web": {"admission": {"kind": "label", "tpr": 1.0, "fpr": 1.0, "share": 0.0}}}),
    "no watermark is required": (LIVING, {"web": {"admission": {"kind": "require-watermark", "rate": 0, "share": 0}}}),
    "room for every page": (LIVING, {"web": {"capacity": 10_000}}),
    # creators
    "creators who do not care": (LIVING, {"creators": {"attention": {"elasticity": 0.0}}}),
    "creators who adopt no AI": (LIVING, {"creators": {"adoption": {"share": 0.0}}}),
    "a reservoir of more than is wanted": (LIVING, {"creators": {"reservoir": 25}}),
    # users
    "all is published": (LIVING, {"users": {"publish_share": 1.0}}),
    "no adversary": (LIVING, {"users": {"adversary": {"share": 0.0}}}),
    "a taste that does not move": (LIVING, {"users": {"taste_drift": 0.0}}),
    "a choice of one provider": (
        with_(LIVING, users=[LOYAL | {"providers": ["lab"]}]),
        {"users": {"provider_choice": {"switching_cost": 2.0, "network_effect": 3.0}}},
    ),
    "a choice without friction": (
        with_(LIVING, users=[LOYAL | {"provider_choice": {}}]),
        {"users": {"provider_choice": {"switching_cost": 0.0, "network_effect": 0.0}}},
    ),
    "prompts of one class": (LIVING, {"users": {"prompts": {"kind": "zipf"}}}),
    "uniform prompts": (LABELLED, {"users": {"prompts": {"kind": "uniform"}}}),
    "a flat tail": (LABELLED, {"users": {"prompts": {"kind": "zipf", "exponent": 0.0}}}),
    "equal weights": (LABELLED, {"users": {"prompts": {"kind": "weights", "weights": [7] * 8}}}),
    "an interest that does not move": (LABELLED, {"users": {"prompts": {"kind": "drifting", "rate": 0.0}}}),
    # providers
    "no correction": (LIVING, {"providers": {"correction": {"gamma": 0.0}}}),
    "no guidance": (LIVING, {"providers": {"negative_guidance": {"weight": 0.0, "images": 50}}}),
    # and who looks on
    "co-evolution is measured": (LIVING, {"coevolution": True}),
    "an event that sets what is": (LIVING, {"events": [{"at": 2, "set": {"users.crowd.k": 3, "web.capacity": None}}]}),
}


@pytest.mark.parametrize("name", NEUTRAL)
def test_a_neutral_value_changes_nothing(name):
    base, parts = NEUTRAL[name]
    assert_same(base, with_(base, **parts))


def test_a_watermark_that_nobody_looks_for_changes_nothing_but_the_mark():
    marked = with_(LIVING, providers={"watermark": True})
    assert_same(LIVING, marked, but=("marks",))
    found, _ = outcome_of(json.dumps(marked))
    assert_array_equal(found["marks"], np.where(found["maker"] == 0, WATERMARKED, 0))


def test_a_model_guided_by_nothing_serves_what_it_serves_alone():
    """The samples themselves, beside the pages above."""
    plain, guided = new_world(**LIVING), new_world(**with_(LIVING, **NEUTRAL["no guidance"][1]))
    for w in (plain, guided):
        told(w, 2)
    prompts, rng = plain.evaluator.prompts()
    draws = [w.providers[0].draw(prompts, np.random.Generator(type(rng.bit_generator)(3))) for w in (plain, guided)]
    assert_array_equal(*(draw.generator.sample(draw.y, draw.noise) for draw in draws))


OFF = {
    # The same places with another value, each of which is seen in the pages: so that the table above could fail.
    "a blind detector": {"scrapers": {"filter": {"kind": "detector", "tpr": 0.5, "fpr": 0.0}}},
    "quality of all": {"scrapers": {"quality": {"reward": LIKED, "keep": 0.5}}},
    "no duplicates": {"scrapers": {"near_duplicates": {"radius": 1.0}}},
    "balance within any ratio": {"scrapers": {"balance": {"ratio": 1.0}}},
    "resampling of each page once": {"scrapers": {"resample": {"labelled": 60}}},
    "the popular and all others": {"scrapers": {"crawl": {"kind": "popularity"}, "budget": 50}},
    "nothing is flagged": {"web": {"admission": {"kind": "refuse-flagged", "tpr": 0.5, "fpr": 0.0}}},
    "nothing is labelled": {"web": {"admission": {"kind": "label", "tpr": 0.5, "fpr": 0.0}}},
    "no watermark is required": {"web": {"admission": {"kind": "require-watermark", "rate": 1.0}}},
    "room for every page": {"web": {"capacity": 5}},
    "creators who do not care": {"creators": {"attention": {"elasticity": 3.0}}},
    "creators who adopt no AI": {"creators": {"adoption": {"share": 0.5}}},
    "a reservoir of more than is wanted": {"creators": {"reservoir": 10}},
    "all is published": {"users": {"publish_share": 0.5}},
    "no adversary": {"users": {"adversary": {"share": 0.5}}},
    "a taste that does not move": {"users": {"taste_drift": 0.9}},
    "a choice without friction": {"users": {"provider_choice": {"switching_cost": 2.0}}},
    "a flat tail": {"users": {"prompts": {"kind": "zipf", "exponent": 0.3}}},
    "an interest that does not move": {"users": {"prompts": {"kind": "drifting", "rate": 0.9}}},
    "no correction": {"providers": {"correction": {"gamma": 1.0}}},
    "no guidance": {"providers": {"negative_guidance": {"weight": 0.2, "images": 50}}},
}


@pytest.mark.parametrize("name", OFF)
def test_another_value_changes_something(name):
    base, _ = NEUTRAL[name]
    with pytest.raises(AssertionError):
        assert_same(base, with_(base, **OFF[name]))


def test_popularity_without_an_exponent_meets_every_page_equally_often():
    """300 crawls of 20 of the 60 pages of the archive, on sites of very different rank: a chi-square, both tails."""
    from scipy import stats

    crawl = {"kind": "popularity", "exponent": 0.0}
    w = new_world(**with_(LIVING, scrapers=[{"name": "some", "budget": 20, "crawl": crawl}]))
    counts = np.zeros(60)
    for w.round in range(300):
        w.scrapers[0].crawl()
        counts[w.scrapers[0].ids] += 1
    statistic = ((counts - 100) ** 2).sum() / (300 * (1 / 3) * (2 / 3)) * 59 / 60
    assert 1e-4 < stats.chi2.sf(statistic, 59) < 1 - 1e-4


# Those who do nothing

OTHER = {"kind": "distance", "to": [0.0, -2.0, 0.0]}
IDLE = {
    "users without prompts": ("users", {"name": "idle", "k": 2, "count": 7, "prompts_per_round": 0, "reward": OTHER}),
    "no users": ("users", {"name": "idle", "count": 0, "adversary": {"share": 1.0, "reward": TASTE}}),
    "users with all policies": (
        "users",
        {
            "name": "idle",
            "count": 5,
            "prompts_per_round": 0,
            "prompts": {"kind": "drifting", "rate": 0.5},
            "reward": OTHER,
            "taste_drift": 0.5,
            "provider_choice": {"network_effect": 1.0},
        },
    ),
    "creators without pages": ("creators", {"name": "idle", "count": 5, "pages_per_round": 0}),
    "no creators": ("creators", {"name": "idle", "count": 0, "attention": {"elasticity": 1.0}}),
    "creators with all policies": (
        "creators",
        {
            "name": "idle",
            "count": 5,
            "pages_per_round": 0,
            "adoption": {"share": 0.5},
            "attention": {"elasticity": 2.0},
            "reservoir": 10,
        },
    ),
    "a scraper that serves nobody": (
        "scrapers",
        {
            "name": "idle",
            "budget": 10,
            "crawl": {"kind": "random-walk"},
            "filter": {"kind": "detector", "tpr": 0.5, "fpr": 0.5},
            "near_duplicates": {"radius": 0.1},
            "resample": {"labelled": 40},
        },
    ),
}


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("name", IDLE)
def test_who_does_nothing_changes_nothing(name, place):
    part, idle = IDLE[name]
    base = with_(LIVING, providers=[LAB | {"scraper": "common"}, RIVAL | {"scraper": "common"}])
    base |= {"metrics": ["variance", "reward"]}
    others = base[part]
    assert_same(base, base | {part: [idle, *others] if place == "before" else [*others, idle]})


# Counting

RICH = with_(
    LIVING,
    web={"admission": {"kind": "refuse-flagged", "tpr": 0.4, "fpr": 0.1, "share": 0.5}, "capacity": 60},
    creators=[PEOPLE | {"adoption": {"share": 0.3}, "attention": {"elasticity": 0.5}}],
    users=[
        LOYAL | {"provider_choice": {"switching_cost": 0.5, "network_effect": 1.0}, "taste_drift": 0.1},
        CROWD | {"name": "others", "adversary": {"share": 0.3}},
    ],
    providers=[
        LAB | {"reserve": 7, "correction": {"gamma": 0.5}, "watermark": True},
        RIVAL | {"negative_guidance": {"weight": 0.1, "images": 80}},
    ],
    coevolution=True,
    events=[
        {"at": 2, "add": {"providers": [LAB | {"name": "late", "distil": {"of": "lab", "images": 30}}]}},
        {"at": 5, "remove": ["providers.rival", "creators.people"]},
    ],
)


def test_every_ballot_is_one_page_or_was_refused():
    w = new_world(**RICH)
    for round, line in enumerate(told(w, 7)):
        rows = of_round(w, round)
        author, maker = w.corpus.column("author")[rows], w.corpus.column("maker")[rows]
        for name in ("crowd", "others"):
            own = np.isin(author, [member.unique_id for member in w.members(User, name)])
            assert own.sum() + line["agents"][name]["refused"] == 20
            assert (maker[own] != HUMAN).all()
        assert line["ballots"] == 40
        assert sum(row["vote_share"] for row in line["providers"].values()) == pytest.approx(1)
        if round < 5:
            people = line["agents"]["people"]
            own = np.isin(author, [member.unique_id for member in w.members(Creator, "people")])
            assert own.sum() + people["refused"] == 2 * people["active"]
            adopted = (w.corpus.column("marks")[rows] & CLAIMED) != 0
            assert_array_equal(adopted, own & (maker != HUMAN))
    assert sum(line["agents"]["others"]["refused"] for line in told(w, 1)) > 0


def test_votes_of_groups_that_publish_all_or_a_share_are_counted_by_ballots():
    groups = [CROWD | {"publish": "all"}, CROWD | {"name": "quiet", "publish_share": 0.25, "count": 400}]
    w = new_world(**with_(LIVING, users=groups))
    (line,) = told(w, 1)
    assert line["ballots"] == 20 + 800
    authors = w.corpus.column("author")[of_round(w, 0)]
    counts = [np.isin(authors, [m.unique_id for m in w.members(User, name)]).sum() for name in ("crowd", "quiet")]
    assert counts[0] == 60
    assert abs(counts[1] - 200) < 4 * np.sqrt(800 * 0.25 * 0.75)


def test_what_the_web_shows_is_what_is_on_record():
    """Sites with room for four pages show the newest four, and the record counts these."""
    w = new_world(**with_(LIVING, web={"capacity": 4}))
    for _ in range(4):
        (line,) = told(w, 1)
        seen = w.visible(w.settings.web.retention)
        synthetic = np.count_nonzero(w.corpus.of("maker", seen) != HUMAN)
        assert len(seen) <= 4 * 12
        assert (line["web"]["pages"], line["web"]["synthetic"]) == (len(seen), synthetic)
        assert line["web"]["lineage"] == pytest.approx(w.corpus.of("lineage", seen).mean())
        assert w.human_share() == 1 - synthetic / len(seen)


# Phases: nobody reads ahead, and private pages are their owner's


def test_nobody_reads_pages_of_its_own_round_or_private_ones():
    w = new_world(**RICH)
    private = {"lab": {ARCHIVE}, "late": {2}, "rival": set()}
    for round in range(7):
        w.step()
        column = {name: w.corpus.column(name) for name in ("round", "site", "author")}
        for scraper in w.scrapers:
            assert (column["round"][scraper.ids] < round).all()
            assert (column["site"][scraper.ids] != NOWHERE).all()
        for provider in w.providers:
            if provider.trained_in != round:
                continue
            trained = [w.corpus.batches[number] for number in provider.provenance.by_batch]
            assert max(batch.round for batch in trained) < round
            assert {batch.owner for batch in trained if batch.private} <= {provider.unique_id}
            assert {batch.round for batch in trained if batch.private} <= private[provider.name]
        hidden = column["site"] == NOWHERE
        owners = {provider.unique_id: provider.name for provider in w.providers}
        assert {owners[author] for author in column["author"][hidden].tolist()} <= set(private)
        assert not np.isin(np.flatnonzero(hidden), w.visible(w.settings.web.retention)).any()
    assert hidden.sum() == 7 + 30


def test_a_reserve_is_in_every_data_set_of_its_owner_and_of_nobody_else():
    """And nobody else's pages change: it is drawn beside the archive."""
    kept = with_(LIVING, providers=[LAB | {"reserve": 5}, RIVAL | {"reserve": 6}])
    w, plain = new_world(**kept), new_world(**LIVING)
    for _ in range(3):
        w.step()
        for provider, size in zip(w.providers, (5, 6), strict=True):
            owned = {n: p for n, p in provider.provenance.by_batch.items() if w.corpus.batches[n].private}
            assert list(owned.values()) == [size] == [w.corpus.batches[n].pages for n in owned]
            assert provider.provenance.pages == 50 + size
    plain.step()
    public = w.corpus.column("site") != NOWHERE
    first = public & (w.corpus.column("round") == ARCHIVE)
    assert_array_equal(w.corpus.items[first], plain.corpus.items[of_round(plain, ARCHIVE)])


def test_a_label_is_a_mark_and_refuses_nothing():
    w = new_world(**with_(LIVING, web={"admission": {"kind": "label", "tpr": 1.0, "fpr": 0.0}}))
    told(w, 2)
    synthetic = w.corpus.column("maker") != HUMAN
    assert_array_equal((w.corpus.column("marks") & FLAGGED) != 0, synthetic)
    assert len(w.corpus) == 60 + 2 * (8 + 20)


# Left and gone on: everything that is remembered

DRIFTS = {"prompts": {"kind": "drifting", "rate": 0.3}, "publish_share": 0.8}
MARKET = LOYAL | {"provider_choice": {"switching_cost": 0.5, "network_effect": 1.0}, "taste_drift": 0.2}
STUDENT = {"name": "late", "card": {"family": "gaussian"}, "distil": {"of": "lab", "images": 40}}
STATEFUL = {
    "a market with moving tastes": with_(LIVING, users=[MARKET], coevolution=True),
    "drifting prompts": with_(LABELLED, users=[LABELLED["users"][0] | DRIFTS]),
    "creators who run out and adopt": with_(
        LIVING,
        creators=[PEOPLE | {"reservoir": 20, "adoption": {"share": 0.1, "growth": 0.1}}],
        web={"admission": {"kind": "label", "tpr": 0.5, "fpr": 0.1, "share": 0.5}, "capacity": 20},
        scrapers=[{"name": "common", "filter": {"kind": "labels"}, "crawl": {"kind": "popularity"}, "budget": 60}],
    ),
    "defences": with_(
        LIVING,
        providers=[
            LAB | {"reserve": 9, "correction": {"gamma": 0.5}, "watermark": True},
            RIVAL | {"reserve": 4, "negative_guidance": {"weight": 0.1, "images": 80}, "retrain": {"every": 2}},
        ],
        scrapers=[COMMON | {"filter": {"kind": "watermark", "rate": 0.7}, "resample": {"labelled": 40}}],
    ),
    "entry by distilling, and exit": with_(
        LIVING,
        coevolution=True,
        events=[
            {"at": 1, "add": {"providers": [STUDENT], "users": [MARKET | {"name": "new"}]}},
            {"at": 3, "remove": ["providers.lab"], "set": {"providers.late.distil": None}},
        ],
    ),
    "open weights": with_(LIVING, providers=[LAB, LAB | {"name": "heir", "weights_of": "lab"}]),
    "everything at once": with_(
        RICH,
        creators=[PEOPLE | {"reservoir": 25, "adoption": {"share": 0.3}}],
        events=[RICH["events"][0] | {"at": 1}, {"at": 3, "remove": ["providers.rival", "creators.people"]}],
    ),
}


DAILY = ("everything at once",)


@pytest.mark.parametrize("name", [n if n in DAILY else pytest.param(n, marks=pytest.mark.slow) for n in STATEFUL])
def test_left_after_any_round_a_run_ends_with_the_same_bytes(name, tmp_path):
    asked = question(rounds=5, **STATEFUL[name], checkpoint_keep=None)
    truth = finished(asked, tmp_path / "whole")
    folder = tmp_path / "left"
    rounds = [event.line["round"] for event in loop.run(asked, [0], tmp_path / "seen") if event.kind == "round"]
    assert rounds == list(range(5))
    for round in rounds[:-1]:  # every process of the run does one round, and is left behind it
        running = loop.run(asked, [0], folder)
        seen = []
        for event in running:
            seen.append(event)
            if event.kind == "round":
                break
        running.close()
        assert [event.round for event in seen if event.kind == "resumed"] == ([round] if round else [])
        assert seen[-1].line["round"] == round
    assert without_checkpoints(finished(asked, folder)) == without_checkpoints(truth)


def without_checkpoints(found):
    """Which also tell the seconds."""
    return {name: data for name, data in found.items() if "checkpoints" not in name}


# What is wrong is said, and what was done is on record


def left_records(asked, folder, seeds=(0,)):
    """The lines of a run that ended, well or not, and the error."""
    error = None
    try:
        list(loop.run(asked, seeds, folder))
    except DataError as raised:
        error = raised
    seed = RunRecord(folder).seed(0)
    return seed.lines(), seed.status(), error


STOPS = {
    "a scraper that can reach no page": (
        # One site has all pages, and the walk ends where it began: elsewhere, in some round.
        {
            "web": {"sites": {"count": 40, "graph": "empty_graph"}},
            "archive": 2,
            "creators": [],
            "users": [CROWD | {"count": 1, "publish": "none"}],
            "scrapers": [{"name": "common", "crawl": {"kind": "breadth-first"}}],
        },
        "its scraper found no page that it may take. Look at take, window and filter.",
    ),
    "a data set that is empty from round 1 on": (
        {"creators": [], "users": [CROWD | {"publish": "none"}], "scrapers": [{"name": "latest", "window_rounds": 1}]},
        "its scraper found no page that it may take. Look at take, window and filter.",
    ),
    "a filter that leaves nothing": (
        {"scrapers": [{"name": "all", "quality": {"reward": LIKED, "above": 0.5}}]},
        "its scraper found no page that it may take. Look at take, window and filter.",
    ),
    "a class without pages": (
        LABELLED
        | {
            "creators": [],
            "users": [LABELLED["users"][0] | {"prompts": {"kind": "weights", "weights": [1, 1, 1, 1, 1, 1, 1, 0]}}],
            "scrapers": [{"name": "latest", "window_rounds": 1}],
        },
        "the training set holds 0 page(s) of class 7; the mle Gaussian needs at least 1.",
    ),
    "guidance beyond any density": (
        {"providers": [LAB | {"negative_guidance": {"weight": 50.0, "images": 20}}]},
        "negative guidance of weight 50 leaves no density",
    ),
}


@pytest.mark.parametrize("name", STOPS)
def test_a_provider_that_cannot_train_stops_and_says_in_which_round_and_why(name, tmp_path):
    parts, why = STOPS[name]
    lines, status, error = left_records(question(**LIVING | {"providers": [LAB]} | parts), tmp_path)
    last = lines[-1]
    assert last["providers"]["lab"]["stopped"].startswith(f"provider lab, round {last['round']}: {why}")
    assert all("stopped" not in line["providers"]["lab"] for line in lines[:-1])
    assert [line["round"] for line in lines] == list(range(len(lines)))
    assert error is None and status["state"] == "finished"


def test_who_finds_no_page_stops_alone(tmp_path):
    starved = RIVAL | {"scraper": "starved"}
    scrapers = [COMMON, {"name": "starved", "filter": {"kind": "labels"}, "take": ["rival"], "window_rounds": 1}]
    set_ = {"at": 2, "set": {"scrapers.starved.take": ["rival"]}}
    scrapers[1] |= {"take": ["human", "rival"]}
    admission = {"kind": "label", "tpr": 1.0, "fpr": 0.0}
    parts = LIVING | {"web": WEB | {"admission": admission}, "scrapers": scrapers, "providers": [LAB, starved]}
    lines, status, _ = left_records(question(**parts, rounds=5, events=[set_]), tmp_path)
    assert ["stopped" in line["providers"]["rival"] for line in lines] == [False, False, True, True, True]
    assert [line["providers"]["lab"]["generation"] for line in lines] == list(range(5))
    assert status["state"] == "finished"


def test_human_data_that_run_out_end_the_run_and_leave_its_records(tmp_path):
    """How many pages creators with AI want is known only in the run: 1,000 scans, 400 of them in the archive."""
    people = {"name": "people", "count": 100, "pages_per_round": 3, "adoption": {"share": 0.3}}
    asked = question(
        humans={"source": "digits", "labelled": False},
        archive=400,
        creators=[people],
        users=[{"name": "crowd", "count": 20}],
        rounds=8,
        metrics=["sliced-wasserstein"],
    )
    lines, status, error = left_records(asked, tmp_path)
    used = 400 + 300 + sum(len_human(line) for line in lines[1:])
    round = len(lines)
    assert 2 <= round < 8
    assert f"has 1,000 pages to hand out; {used:,} are used, and people asks for" in str(error)
    assert f"more in round {round}" in str(error)
    assert status["state"] == "failed" and "pages to hand out" in status["why"]
    assert [line["round"] for line in lines] == list(range(round)), "every round before is on record"


def len_human(line):
    return sum(pages for _, maker, _, pages in line["web"]["published"] if maker == "human")


def test_more_human_data_than_there_are_is_known_before():
    """Of those whose pages can be counted: archive, reserves and steady creators."""
    digits = {"humans": {"source": "digits"}, "metrics": ["sliced-wasserstein"], "users": [{"name": "crowd"}]}
    steady = [{"name": "people", "count": 50}]
    question(**digits, archive=500, creators=steady, rounds=9, providers=[LAB | {"reserve": 50}])
    with pytest.raises(
        ScenarioError, match=r"500 archived and 501 fresh human pages are wanted, but `digits` has 1,000"
    ):
        question(**digits, archive=500, creators=steady, rounds=9, providers=[LAB | {"reserve": 51}])


def test_a_group_whose_reservoir_is_empty_falls_silent_and_is_told_of():
    w = new_world(**with_(LIVING, creators={"reservoir": 12}))
    lines = told(w, 4)
    assert [line["agents"]["people"]["reservoir-left"] for line in lines] == [4, 0, 0, 0]
    human = [np.count_nonzero(w.corpus.column("maker")[of_round(w, r)] == HUMAN) for r in range(4)]
    assert human == [8, 4, 0, 0]


@pytest.mark.parametrize("text", ["one two three\n", "", "<graphml>"])
def test_a_file_that_is_no_graph_is_told_before_the_run(text, tmp_path):
    path = tmp_path / "web.graphml"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=r"web\.sites: the graph file .* is not a graph"):
        question(web={"sites": {"file": str(path)}})
