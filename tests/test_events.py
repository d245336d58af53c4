"""Entry, exit and policy shocks: who is there when, what may not happen, and what theory says through all of it."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from test_living import CROWD, LIVING, LOYAL, PEOPLE, told, with_
from test_world import LAB, RIVAL, new_world, of_round, pages, question

from ecosystem import loop, predictions, results, scenarios
from ecosystem.errors import ScenarioError
from ecosystem.records import RunRecord
from ecosystem.web.corpus import HUMAN

LATE = {"name": "late", "card": {"family": "gaussian", "covariance": "diagonal"}}
ADDED = {
    "creators": [{"name": "newcomers", "count": 2, "pages_per_round": 3}],
    "users": [LOYAL | {"name": "fans", "count": 5, "providers": ["late"]}],
    "scrapers": [{"name": "own", "window_rounds": 2}],
    "providers": [LATE | {"scraper": "own"}],
}
GONE = ["providers.rival", "users.crowd", "creators.people"]


def happening(*events, **parts):
    return with_(LIVING, rounds=8, events=list(events), **parts)


def rows_of(a_world, name):
    return np.flatnonzero(a_world.corpus.column("maker") == a_world.number(name))


# Who is there when


def test_who_enters_is_there_from_that_round_on_and_nobody_before_notices():
    w, plain = new_world(**happening({"at": 3, "add": ADDED})), new_world(**happening())
    lines, before = told(w, 6), told(plain, 3)
    for a, b in zip(lines, before, strict=False):
        assert a["web"] == b["web"]
        assert all(a["providers"][name] == row for name, row in b["providers"].items())
        assert a["providers"]["late"] == {"generation": -1, "vote_share": 0.0}
    trained = [line["providers"]["late"].get("trained") for line in lines]
    assert [bool(t) for t in trained] == [False] * 3 + [True] * 3, "it trains at once"
    assert [line["providers"]["late"]["generation"] for line in lines] == [-1, -1, -1, 0, 1, 2]
    assert set(trained[0 + 3]["by_maker"]) == {"human", "lab", "rival"}, "on what others published in two rounds"
    assert "late" in trained[4]["by_maker"]
    assert [line["ballots"] for line in lines] == [20] * 3 + [30] * 3
    human = [np.count_nonzero(w.corpus.column("maker")[of_round(w, r)] == HUMAN) for r in range(6)]
    assert human == [8] * 3 + [14] * 3
    assert lines[3]["providers"]["late"]["vote_share"] >= 10 / 30


def test_who_leaves_trains_and_serves_no_more_and_its_pages_stay():
    w = new_world(**happening({"at": 3, "remove": GONE, "add": {"users": [CROWD | {"name": "others"}]}}))
    lines = told(w, 3)
    left, provider = rows_of(w, "rival"), w.provider("rival")
    before = pages(w)
    lines += told(w, 3)
    assert len(left) > 0
    assert_array_equal(rows_of(w, "rival"), left)
    for name, column in pages(w, slice(len(before["items"]))).items():
        assert_array_equal(column, before[name])
    assert (provider.generation, provider.serves, provider.stopped) == (2, False, None)
    for line in lines[3:]:
        assert line["providers"]["rival"] == {"generation": 2, "vote_share": 0.0}
        assert line["providers"]["lab"]["vote_share"] == 1
        assert line["ballots"] == 20
        assert line["providers"]["lab"]["trained"]["by_maker"]["rival"] > 0, "its pages are still read"
    assert not (w.corpus.column("maker")[w.corpus.column("round") >= 3] == HUMAN).any(), "creators left as well"


def test_events_of_a_round_happen_together_and_in_order():
    """Set, remove and add in one event; and of two of the same round the later one has the last word."""
    one = {
        "at": 2,
        "set": {"users.crowd.providers": ["late"]},
        "remove": ["providers.lab"],
        "add": {"providers": [LATE]},
    }
    two = [{"at": 2, "set": {"users.crowd.k": 5}}, {"at": 2, "set": {"users.crowd.k": 1}}]
    w = new_world(**happening({"at": 4, "set": {"users.crowd.providers": ["rival"]}}, one, *two))
    lines = told(w, 6)
    shares = [{name: row["vote_share"] for name, row in line["providers"].items()} for line in lines]
    assert shares[2] == shares[3] == {"lab": 0, "rival": 0, "late": 1}
    assert shares[4] == shares[5] == {"lab": 0, "rival": 1, "late": 0}
    assert [w.question.at(r).users[0].k for r in range(6)] == [3, 3, 1, 1, 1, 1]
    for r in range(6):
        assert np.count_nonzero(w.corpus.column("maker")[of_round(w, r)] != HUMAN) == 20


@pytest.mark.parametrize("order", [1, -1])
def test_events_are_told_in_any_order(order):
    events = [{"at": 2, "add": ADDED}, {"at": 4, "set": {"users.fans.k": 1}}, {"at": 5, "remove": ["users.fans"]}]
    lines = told(new_world(**happening(*events[::order])), 7)
    assert [line["ballots"] for line in lines] == [20, 20, 30, 30, 30, 20, 20]


def test_a_student_distils_before_it_trains():
    """Its images are its teacher's, private, of the round of its entry; generation 0 is trained on them alone."""
    student = LATE | {"distil": {"of": "lab", "images": 40}}
    w = new_world(**happening({"at": 2, "add": {"providers": [student]}}))
    lines = told(w, 5)
    rows = [line["providers"]["late"] for line in lines]
    assert [row["generation"] for row in rows] == [-1, -1, -1, 0, 1]
    assert rows[3]["trained"]["by_maker"] == {"lab": 40}
    assert rows[3]["trained"]["lineage"] == pytest.approx(1 + lines[2]["providers"]["lab"]["trained"]["lineage"])
    assert rows[4]["trained"]["pages"] == 50
    assert rows[2]["vote_share"] == 0 < rows[3]["vote_share"]
    distilled = w.corpus.private_of(w.provider("late").unique_id)
    assert {name: set(w.corpus.of(name, distilled).tolist()) for name in ("maker", "generation", "round")} == {
        "maker": {0},
        "generation": {2},
        "round": {2},
    }


def test_a_student_outlives_its_teacher():
    """Which it no longer names, from then on."""
    student = LATE | {"distil": {"of": "rival", "images": 40}}
    leaves = {"at": 4, "remove": ["providers.rival"], "set": {"providers.late.distil": None}}
    w = new_world(**happening({"at": 2, "add": {"providers": [student]}}, leaves))
    assert [line["providers"]["late"]["generation"] for line in told(w, 6)] == [-1, -1, -1, 0, 1, 2]


def test_open_weights_are_a_beginning():
    """Generation 0 is the other's model of that round, without a training; from then on each has its own diet."""
    heir = LAB | {"name": "late", "scraper": "other", "weights_of": "lab"}
    scrapers = [*LIVING["scrapers"], {"name": "other", "take": ["human"]}]
    w = new_world(**happening({"at": 2, "add": {"providers": [heir]}}) | {"scrapers": scrapers})
    lines = told(w, 5)
    rows = [line["providers"]["late"] for line in lines]
    other = [line["providers"]["lab"] for line in lines]
    assert [row["generation"] for row in rows] == [-1, -1, 0, 1, 2]
    for key in ("metrics", "by_maker", "lineage"):
        assert rows[2]["trained"][key] == other[2]["trained"][key]
    assert rows[2]["vote_share"] > 0, "it serves at once"
    assert rows[4]["trained"]["metrics"] != other[4]["trained"]["metrics"]


def test_weights_are_open_to_those_who_stand_below():
    """In the first round too, where the other has just been trained."""
    heir = LAB | {"name": "heir", "weights_of": "lab"}
    rows = told(new_world(**with_(LIVING, providers=[LAB, heir])), 2)[0]["providers"]
    assert rows["heir"]["generation"] == 0 and rows["heir"]["trained"]["metrics"] == rows["lab"]["trained"]["metrics"]
    wrong = {
        "must have a model first": [LAB | {"weights_of": "late"}, LATE],
        "has another model than": [LAB, RIVAL, LATE | {"card": {"family": "kde"}, "weights_of": "lab"}],
        "there is no provider": [LAB | {"weights_of": "lb"}],
        "and by distilling": [LAB, heir | {"distil": {"of": "lab", "images": 9}}],
    }
    for said, providers in wrong.items():
        assert said in refused(**with_(LIVING, rounds=3, web={"archive": 60}, providers=providers))


def test_claims_may_be_about_those_who_come_and_go(tmp_path):
    claims = [
        {"metric": "vote-share", "of": "late", "is": "higher-than", "value": 0.1},
        {"metric": "synthetic-share", "of": "late", "is": "higher-than", "than": {"of": "rival"}},
        {"metric": "variance", "of": "late", "is": "bounded", "within": 100},
        {"metric": "welfare", "of": "fans", "is": "higher-than", "value": -100},
        {"of": "late", "is": "collapsed"},
    ]
    events = [{"at": 2, "add": ADDED}, {"at": 6, "remove": ["providers.rival"]}]
    asked = question(**happening(*events, claims=claims, coevolution=True, seeds=[0, 1, 2, 3]))
    list(loop.run(asked, range(4), tmp_path / "run"))
    summary = results.of(asked, tmp_path / "run").summary
    assert summary["providers"].keys() == {"lab", "rival", "late"}
    assert [claim["verdict"] for claim in summary["claims"]][:4] == ["held"] * 4


# What may not happen: told before the run, at its place


FAULTS = {
    "nothing": ({"at": 2}, "events.0: nothing happens"),
    "an empty addition": ({"at": 2, "add": {}}, "events.0: nothing happens"),
    "an empty removal": ({"at": 2, "remove": []}, "events.0: nothing happens"),
    "nothing set": ({"at": 2, "set": {}}, "events.0.set: the event sets nothing"),
    "after the end": ({"at": 8, "remove": ["users.crowd"]}, "events.0.at: in round 8 the scenario is over"),
    "set of nobody": (
        {"at": 2, "set": {"providers.lb.watermark": True}},
        "events.0.set.providers.lb.watermark: nothing is called `lb` in `providers` (there are: lab, rival)",
    ),
    "set of what is fixed": ({"at": 2, "set": {"creators.people.count": 3}}, "an event cannot set this"),
    "set of one who has left": (
        {"at": 2, "remove": ["users.crowd"], "set": {"users.crowd.k": 1}},
        "events.0.set.users.crowd.k: nothing is called `crowd`",
    ),
    "removal of nobody": (
        {"at": 2, "remove": ["users.crwd"]},
        "events.0.remove.0: there is no `users.crwd` (did you mean `users.crowd`?)",
    ),
    "removal without a part": ({"at": 2, "remove": ["crowd"]}, "events.0.remove.0: there is no `crowd`"),
    "removal of a part": ({"at": 2, "remove": ["users"]}, "events.0.remove.0: there is no `users`"),
    "removal of the web": ({"at": 2, "remove": ["web.sites"]}, "events.0.remove.0: there is no `web.sites`"),
    "removal twice": (
        {"at": 2, "remove": ["users.crowd", "users.crowd"]},
        "events.0.remove.1: there is no `users.crowd`",
    ),
    "a name that is there": (
        {"at": 2, "add": {"users": [LOYAL | {"name": "lab"}]}},
        "events.0.add.users.lab.name: `lab` has been there before",
    ),
    "the same name twice": (
        {"at": 2, "add": {"users": [{"name": "new"}], "creators": [{"name": "new"}]}},
        "`new` has been there before",
    ),
    "a name of the program": ({"at": 2, "add": {"users": [{"name": "archive"}]}}, "the name `archive` is taken"),
    "a provider of no scraper": (
        {"at": 2, "add": {"providers": [LATE | {"scraper": "own"}]}},
        "there is no scraper `own` (known: common)",
    ),
    "a provider of no model": ({"at": 2, "add": {"providers": [{"name": "late"}]}}, "has neither `model`"),
    "a student of nobody": (
        {"at": 2, "add": {"providers": [LATE | {"distil": {"of": "lb", "images": 9}}]}},
        "there is no provider `lb` (did you mean `lab`?)",
    ),
    "a student of itself": (
        {"at": 2, "add": {"providers": [LATE | {"distil": {"of": "late", "images": 9}}]}},
        "`late` has nothing to distil from itself",
    ),
    "users of nobody": (
        {"at": 2, "add": {"users": [{"name": "new", "providers": ["late"]}]}},
        "there is no provider `late`",
    ),
    "a part that does not exist": ({"at": 2, "add": {"sites": []}}, "events.0.add.sites: unknown key"),
    "a key that does not exist": (
        {"at": 2, "add": {"users": [{"name": "new", "cuont": 3}]}},
        "events.0.add.users.new.cuont: unknown key (did you mean `count`?)",
    ),
    "the last scraper": ({"at": 2, "remove": ["scrapers.common"]}, "scrapers"),
    "the last provider": ({"at": 2, "remove": ["providers.lab", "providers.rival"]}, "providers"),
}


def refused(**parts):
    with pytest.raises(ScenarioError) as caught:
        scenarios.from_text(
            json.dumps({"name": "faults", "humans": {"source": "gaussian", "dims": 3}} | parts), origin="x"
        )
    return str(caught.value)


@pytest.mark.parametrize("name", FAULTS)
def test_what_may_not_happen_is_a_located_fault(name):
    event, said = FAULTS[name]
    head, *faults = refused(**happening(event) | {"web": {"archive": 60}}).splitlines()
    assert head == f"x: {len(faults)} fault{'s' if len(faults) > 1 else ''}"
    assert all(fault.startswith("  x:1  events.0") for fault in faults), "each is told at the event"
    assert said in faults[0]
    # A name that somebody has is told of twice: it may not come back, and is taken.
    assert len(faults) == (2 if "has been there before" in said else 1)


STILL_NAMED = {
    "a group that asks it": (
        {"users": [LOYAL | {"providers": ["rival"]}]},
        "users.crowd.providers",
        "provider `rival`",
    ),
    "creators who use it": (
        {"creators": [PEOPLE | {"adoption": {"share": 0.1, "provider": "rival"}}]},
        "creators.people.adoption.provider",
        "provider `rival`",
    ),
    "a student of it": (
        {"providers": [LAB, RIVAL, LATE | {"distil": {"of": "rival", "images": 5}}]},
        "providers.late.distil.of",
        "provider `rival`",
    ),
}


@pytest.mark.parametrize("name", STILL_NAMED)
def test_who_is_still_named_may_not_leave(name):
    """And it is the event that is told of, for the rest of the scenario was sound."""
    parts, place, said = STILL_NAMED[name]
    base = with_(LIVING, rounds=8, web={"archive": 60}) | parts
    question(**base)
    text = refused(**base | {"events": [{"at": 3, "remove": ["providers.rival"]}]})
    assert text.startswith(f"x: 1 fault\n  x:1  events.0: {place}: there is no {said}")


SECOND_SCRAPER = {"name": "second"}


def without_the_first(**event):
    """A world of two scrapers, of which the first, that nobody names, goes in round 3."""
    scrapers = [*LIVING["scrapers"], SECOND_SCRAPER]
    remove = {"at": 3, "remove": ["providers.rival", "scrapers.common"]} if event.pop("both", 0) else {"at": 3}
    return happening({"remove": ["scrapers.common"]} | remove | event) | {
        "scrapers": scrapers,
        "web": {"archive": 60},
        "users": [LOYAL | {"providers": ["lab"]}],
    }


def test_nobody_moves_to_another_scraper_unasked():
    """Without a name it was the first; when this one goes the next would be it, whatever it crawls."""
    text = refused(**without_the_first())
    assert text.startswith("x: 1 fault\n  x:1  events.0.remove.0: `common` crawls for all that name no scraper: ")
    assert "`lab`, `rival`" in text
    assert "(say who crawls for them then, as `set: {providers.lab.scraper: second}`)" in text
    assert "`lab` " in refused(**without_the_first(both=True)), "who leaves as well need not be told of"
    half = refused(**without_the_first(set={"providers.lab.scraper": "second"}))
    assert "`rival`" in half and "`lab`" not in half
    named = {f"providers.{name}.scraper": "second" for name in ("lab", "rival")}
    question(**without_the_first(set=named))
    question(**without_the_first() | {"providers": [LAB | {"scraper": "second"}, RIVAL | {"scraper": "second"}]})


def test_the_first_scraper_may_go_when_nobody_is_left_to_move():
    """Who enters in the same round has never been served by it."""
    base = without_the_first(add={"providers": [LATE]})
    base["providers"] = [LAB | {"scraper": "second"}, RIVAL | {"scraper": "second"}]
    question(**base)
    later = without_the_first()
    later["events"][0]["remove"] = ["scrapers.second"]
    question(**later), "only the first one serves those who name none"


def test_a_name_does_not_come_back():
    comes_back = [{"at": 2, "remove": ["providers.rival"]}, {"at": 4, "add": {"providers": [RIVAL]}}]
    text = refused(**happening(*comes_back) | {"web": {"archive": 60}})
    assert "events.1.add.providers.rival.name" in text and "`rival` has been there before" in text


def test_every_fault_of_every_event_is_told():
    events = [{"at": 2}, {"at": 9, "remove": ["users.crowd"]}, {"at": 3, "set": {"users.nobody.k": 1}}]
    text = refused(**happening(*events) | {"web": {"archive": 60}})
    assert "3 faults" in text
    assert all(f"events.{number}" in text for number in range(3))


# Truth: each provider's moments follow from what it was counted to be trained on

SEEDS = 24
FAR = 4.0  # standard errors, Student's t with 23 degrees of freedom: 1 in 1,800, of some 150 that hang together
FLOWS = """
name: flows
rounds: 6
humans: {source: gaussian, dims: 40, held_out: 5}
web: {archive: 12, retention: {synthetic_rounds: 2}}
creators: [{name: people, count: 3}]
users: [{name: crowd, count: 24}]
scrapers: [{name: all}, {name: some, budget: 14}]
providers:
  - {name: one, model: gaussian-diagonal, scraper: all}
  - {name: two, model: gaussian-diagonal-unbiased, scraper: some}
metrics: [model-variance, mean-error]
"""
ENTERS = "{name: late, model: gaussian-diagonal, scraper: all}"
DISTILS = ENTERS.replace("}", ", distil: {of: one, images: 10}}")
SECOND = DISTILS.replace("late", "second")
RESERVES = {"name: one, ": "name: one, reserve: 3, ", "name: two, ": "name: two, reserve: 4, "}
RESERVES |= {
    "{synthetic": "{human_rounds: 1, synthetic",
    "archive: 12": "archive: 4",
    "count: 3": "count: 0",
    "count: 24": "count: 6",
    "scraper: some": "scraper: all",
}
ADOPTION = {"count: 3": "count: 12, adoption: {share: 0.3, growth: 0.1}"}
REFUSAL = {
    "archive: 12": "archive: 12, sites: {count: 5}, admission: {kind: refuse-flagged, tpr: 0.6, fpr: 0.2, share: 0.6}"
}
MARKS = {
    "name: one, ": "name: one, watermark: true, ",
    "name: some": "name: some, filter: {kind: watermark, rate: 0.8}",
}
slow = pytest.mark.slow
FLOW_WORLDS = {
    "entry": pytest.param({"rounds: 6": f"rounds: 6\nevents: [{{at: 2, add: {{providers: [{ENTERS}]}}}}]"}, marks=slow),
    "exit": pytest.param({"rounds: 6": "rounds: 6\nevents: [{at: 3, remove: [providers.two]}]"}, marks=slow),
    "reserves": pytest.param(RESERVES, marks=slow),
    "two students": pytest.param(
        {"rounds: 6": f"rounds: 6\nevents: [{{at: 2, add: {{providers: [{DISTILS}, {SECOND}]}}}}]"}, marks=slow
    ),
    "adoption": pytest.param(ADOPTION, marks=slow),
    "refusal": pytest.param(REFUSAL, marks=slow),
    "watermarks": pytest.param(MARKS, marks=slow),
    "all of it": pytest.param(
        ADOPTION
        | REFUSAL
        | MARKS
        | {"name: two, ": "name: two, reserve: 4, "}
        | {
            "rounds: 6": f"rounds: 6\nevents: [{{at: 2, add: {{providers: [{DISTILS}]}}}}, {{at: 4, remove: "
            "[providers.one, creators.people], set: {providers.late.distil: null}}]"
        }
    ),
}


def flows(changes, base=FLOWS):
    text = base
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return scenarios.from_text(text)


def predicted(asked, folder, seeds):
    list(loop.run(asked, range(seeds), folder))
    runs = {seed.seed: seed.lines() for seed in RunRecord(folder).seeds()}
    return predictions.theory(asked, runs), runs


@pytest.mark.parametrize("changes", FLOW_WORLDS.values(), ids=FLOW_WORLDS)
def test_providers_follow_the_flow_of_pages(changes, tmp_path):
    """All moments of all providers and generations."""
    asked = flows(changes)
    theory, _ = predicted(asked, tmp_path / "run", SEEDS)
    names = [provider.name for provider in asked.providers]
    assert theory.keys() == {(name, metric) for name in names for metric in ("model-variance", "mean-error")}
    for key, compared in theory.items():
        assert None not in compared["values"] and len(compared["values"]) > 1
        assert compared["deviation"] < FAR, key


@slow
def test_a_wrong_flow_is_found_out(tmp_path):
    """As if lab two had fresh human pages every round, as many as it has in its reserve."""
    asked = flows(RESERVES)
    theory, runs = predicted(asked, tmp_path / "run", 16)
    for lines in runs.values():
        *_, reserve = (number for number, maker, _, n in lines[0]["web"]["published"] if (maker, n) == ("human", 4))
        for line in lines[1:]:
            fresh = 1000 + line["round"]
            line["web"]["published"].append([fresh, "human", -1, 4])
            trained = line["providers"]["two"]["trained"]
            trained["by_batch"] = [[fresh if number == reserve else number, n] for number, n in trained["by_batch"]]
    wrong = predictions.theory(asked, runs)["two", "mean-error"]
    assert theory["two", "mean-error"]["deviation"] < FAR < wrong["deviation"]


# Where theory has nothing to say

ONE, ALL = "name: one, ", "name: all"
TASTE = f"reward: {{kind: distance, to: {[0] * 40}}}"
SILENT = {
    "quality": {ALL: f"name: all, quality: {{keep: 0.5, {TASTE}}}"},
    "near duplicates": {ALL: "name: all, near_duplicates: {radius: 0.0}"},
    "balance": {ALL: "name: all, balance: {}"},
    "resampling": {ALL: "name: all, resample: {}"},
    "labels": {ALL: "name: all, filter: {kind: labels}"},
    "a trained detector": {ALL: "name: all, filter: {kind: trained-detector}"},
    "a walk": {ALL: "name: all, crawl: {kind: random-walk}"},
    "popularity": {ALL: "name: all, crawl: {kind: popularity}"},
    "capacity": {"archive: 12": "archive: 12, capacity: 30"},
    "correction": {ONE: f"{ONE}correction: {{gamma: 0.1}}, "},
    "provider choice": {"count: 24": f"count: 24, {TASTE}, provider_choice: {{}}"},
    "an adversary": {"count: 24": f"count: 24, k: 2, adversary: {{share: 0.5, {TASTE}}}"},
    "an event that brings one": {"rounds: 6": "rounds: 6\nevents: [{at: 5, set: {web.capacity: 30}}]"},
    "an entrant with one": {
        "rounds: 6": f"rounds: 6\nevents: [{{at: 5, add: {{providers: [{ENTERS[:-1]}, correction: {{gamma: 1}}}}]}}}}]"
    },
}
SPEAKING = {
    "a publishing share": {"count: 24": "count: 24, publish_share: 0.5"},
    "attention": {"count: 3": "count: 3, attention: {elasticity: 1.0}"},
    "a reservoir": {"count: 3": "count: 3, reservoir: 5"},
    "labels that nobody reads": {"archive: 12": "archive: 12, admission: {kind: label, tpr: 1.0, fpr: 0.0}"},
    "negative guidance": {ONE: f"{ONE}negative_guidance: {{weight: 0.1, images: 50}}, "},
    "one class": {"count: 24": "count: 24, prompts: {kind: zipf}"},
    "co-evolution": {"rounds: 6": "rounds: 6\ncoevolution: true"},
    **{name: world if isinstance(world, dict) else world.values[0] for name, world in FLOW_WORLDS.items()},
}


def holding(asked):
    return {oracle.name for oracle in predictions.ORACLES if oracle.holds(asked)}


@pytest.mark.parametrize("name", SILENT)
def test_theory_is_silent_where_pages_are_chosen_by_what_it_does_not_know(name):
    assert holding(flows(SILENT[name])) == set()


@pytest.mark.parametrize("name", SPEAKING)
def test_theory_speaks_where_only_numbers_change(name):
    assert "second moments of the data flow" in holding(flows(SPEAKING[name]))


def test_two_readers_of_some_of_a_crawl_who_differ_by_a_reserve_have_no_theory(tmp_path):
    """Their sets share pages, and which is not on record; of readers of all of it everything is known."""
    shared = {"scraper: all": "scraper: some", ONE: f"{ONE}reserve: 2, ", "rounds: 6": "rounds: 3"}
    theory, _ = predicted(flows(shared), tmp_path / "some", 2)
    assert theory == {}
    theory, _ = predicted(flows({**shared, ", budget: 14": ""}), tmp_path / "all", 2)
    assert len(theory) == 4


WORDS = """
name: words
rounds: 3
humans: {source: categorical, probabilities: [0.5, 0.5], held_out: 5}
web: {archive: 200}
creators: [{name: people, count: 3}]
users: [{name: crowd, count: 100, k: 3, reward: {kind: distance, to: [0]}}]
scrapers: [{name: all}]
providers: [{name: one, model: categorical}]
metrics: [mean-exp-reward]
"""


def test_curation_has_a_theory_where_users_alone_publish():
    assert holding(flows({}, WORDS)) == {"curation by Luce's choice, many pages"}
    assert holding(flows({"count: 3": "count: 3, adoption: {share: 0.5}"}, WORDS)) == set()
    student = ENTERS.replace("gaussian-diagonal", "categorical").replace("}", ", distil: {of: one, images: 20}}")
    entering = {"rounds: 3": f"rounds: 3\nevents: [{{at: 1, add: {{providers: [{student}]}}}}]"}
    assert holding(flows(entering, WORDS)) == set()


@pytest.mark.parametrize("more", ["correction: {gamma: 0.5}", "reserve: 10", ""])
def test_a_detector_tells_the_share_of_who_trains_on_the_crawl_alone(more, tmp_path):
    detector = {
        ALL: "name: all, filter: {kind: detector, tpr: 0.5, fpr: 0.1}",
        ", budget: 14": "",
        "rounds: 6": "rounds: 3",
    }
    theory, _ = predicted(flows(detector | ({ONE: f"{ONE}{more}, "} if more else {})), tmp_path, 2)
    assert (("one", "synthetic-share") in theory) == (not more)
