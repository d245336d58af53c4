"""The summary is a pure function of the records: same records, same bytes."""

import json
import statistics

import numpy as np
import pytest

from ecosystem import scenarios
from ecosystem.errors import RecordError
from ecosystem.loop import run as run_seeds
from ecosystem.models.cards import CardBaseline
from ecosystem.question import Question
from ecosystem.records import Journal, RunRecord
from ecosystem.summarise import question_of, summarise

TEXT = """
name: summarised
question: What is in a summary?
papers: ["arXiv:2310.00429"]
rounds: 4
humans: {source: gaussian, dims: 2, held_out: 40}
web: {archive: 50, retention: {synthetic_rounds: 1}}
users: [{name: crowd, count: 25, k: 2}]
providers:
  - {name: lab, card: {family: gaussian}}
  - {name: rival, card: {family: gaussian, estimator: unbiased}, retrain: {every: 2}}
metrics: [sliced-wasserstein, recall, variance]
claims:
  - {metric: synthetic-share, of: lab, is: increasing}
  - {metric: variance, of: lab, is: bounded, within: 5.0}
"""


@pytest.fixture(scope="module")
def question():
    return scenarios.from_text(TEXT)


@pytest.fixture(scope="module")
def record(question, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    for _ in run_seeds(question, [0, 1, 2], folder):
        pass
    return RunRecord(folder)


def as_bytes(summary):
    return json.dumps(summary, allow_nan=False).encode()


def written(question, folder, *seeds):
    """A record with these seeds' lines on disk."""
    record = RunRecord(folder)
    for seed, lines in enumerate(seeds):
        record.seed(seed).begin({}, np.zeros((1, 2)))
        journal = Journal(record.seed(seed).lines_path)
        for line in lines:
            journal.append(line)
        journal.close()
    return record


def copies(record, *rounds):
    """The lines of the first seeds, cut after so many rounds."""
    return [seed.lines()[:n] for seed, n in zip(record.seeds(), rounds, strict=False)]


def test_the_same_records_give_the_same_bytes(question, record):
    first = as_bytes(summarise(record, question))
    assert as_bytes(summarise(record, question)) == first
    assert as_bytes(summarise(RunRecord(record.folder), scenarios.from_text(TEXT))) == first


def test_the_records_alone_are_enough(question, record):
    """What was asked is read back from the run's directory: a report needs no scenario file."""
    assert as_bytes(summarise(record, question_of(record))) == as_bytes(summarise(record, question))


def test_where_and_when_a_run_was_made_leaves_no_trace(question, record, tmp_path):
    elsewhere = written(question, tmp_path / "other" / "place", *copies(record, 4, 4, 4))
    assert as_bytes(summarise(elsewhere, question)) == as_bytes(summarise(record, question))


def test_numbers_are_means_over_seeds_and_their_spread(question, record):
    summary = summarise(record, question)
    lines = [seed.lines() for seed in record.seeds()]
    assert summary["seeds"] == [0, 1, 2]
    for name, every in (("lab", 1), ("rival", 2)):
        generations = summary["providers"][name]["generations"]
        assert [g["generation"] for g in generations] == list(range(4 // every))
        assert [g["round"] for g in generations] == list(range(0, 4, every))
        for g in generations:
            rows = [seed[g["round"]]["providers"][name]["trained"] for seed in lines]
            for metric in ("sliced-wasserstein", "recall", "variance"):
                values = [row["metrics"][metric] for row in rows]
                assert g["metrics"][metric] == pytest.approx(statistics.mean(values))
                assert g["spread"][metric] == pytest.approx(statistics.stdev(values))
            assert g["data_set"]["pages"] == statistics.mean(row["pages"] for row in rows)
            assert sum(g["data_set"]["by_maker"].values()) == pytest.approx(g["data_set"]["pages"])
            assert g["data_set"]["human"] + g["data_set"]["synthetic"] == pytest.approx(g["data_set"]["pages"])
            assert g["lambda"] == pytest.approx(g["data_set"]["synthetic"] / g["data_set"]["human"])
    shares = [summary["providers"][name]["vote_share"] for name in ("lab", "rival")]
    assert np.sum(shares, axis=0) == pytest.approx(1)
    assert [w["synthetic"] for w in summary["web"]] == [25] * 4
    assert [c["verdict"] for c in summary["claims"]] == ["held", "held"]


def test_one_seed_has_no_spread_and_says_so(question, record, tmp_path):
    summary = summarise(written(question, tmp_path, *copies(record, 4)), question)
    for provider in summary["providers"].values():
        assert provider["note"] == "one seed: the interval covers the evaluation samples only, not other seeds"
        assert {spread for g in provider["generations"] for spread in g["spread"].values()} == {None}
        assert all(e["low"] < e["effect"] < e["high"] for e in provider["evidence"])
    more = summarise(record, question)
    assert {p["note"] for p in more["providers"].values()} == {""}


def test_seeds_of_different_lengths(question, record, tmp_path):
    """A generation's numbers are means over the seeds that reached it; its spread is of those alone."""
    full = summarise(record, question)
    summary = summarise(written(question, tmp_path, *copies(record, 4, 3, 1)), question)
    lab, complete = summary["providers"]["lab"]["generations"], full["providers"]["lab"]["generations"]
    assert lab[0] == complete[0]
    assert [len(p["generations"]) for p in summary["providers"].values()] == [4, 2]
    variances = [seed.lines()[1]["providers"]["lab"]["trained"]["metrics"]["variance"] for seed in record.seeds()]
    assert lab[1]["metrics"]["variance"] == pytest.approx(statistics.mean(variances[:2]))
    assert lab[3]["spread"]["variance"] is None
    assert len(summary["web"]) == 4
    assert summary["verdict"] == "undecided", "a seed with one generation has no change to tell of"
    assert summary["providers"]["lab"]["note"] == "one generation: nothing to compare"


def test_a_seed_without_a_round_is_left_out(question, record, tmp_path):
    only = summarise(written(question, tmp_path / "a", *copies(record, 4, 0)), question)
    assert only["seeds"] == [0]
    with pytest.raises(RecordError, match="no seed has closed a round yet"):
        summarise(written(question, tmp_path / "b", []), question)


def test_a_stopped_provider_has_no_verdict_and_its_reason_is_told_once(question, record, tmp_path):
    first, second = copies(record, 4, 4)
    for line in first[2:]:
        line["providers"]["lab"] = {"generation": 1, "vote_share": 0.0, "stopped": "no pages"}
    summary = summarise(written(question, tmp_path, first, second), question)
    lab, rival = summary["providers"]["lab"], summary["providers"]["rival"]
    assert lab["stopped"] == [{"seed": 0, "round": 2, "why": "no pages"}]
    assert (lab["verdict"], lab["note"]) == ("undecided", "stopped: no verdict")
    assert (rival["stopped"], rival["note"]) == ([], "")


def test_a_set_without_a_human_page_has_no_lambda(question, record, tmp_path):
    """Null in one seed is null in the mean: the mean of an infinite number is no number."""
    first, second = copies(record, 4, 4)
    first[3]["providers"]["lab"]["trained"]["lambda"] = None
    generations = summarise(written(question, tmp_path, first, second), question)["providers"]["lab"]["generations"]
    assert [g["lambda"] is None for g in generations] == [False, False, False, True]


def test_without_a_metric_that_is_judged_there_is_no_verdict(record, tmp_path):
    question = scenarios.from_text(TEXT.replace("[sliced-wasserstein, recall, variance]", "[variance]"))
    lab = summarise(written(question, tmp_path, *copies(record, 4, 4)), question)["providers"]["lab"]
    assert (lab["verdict"], lab["evidence"]) == ("undecided", [])
    assert lab["note"] == "none of the metrics that a verdict rests on was measured"


# The card's baseline against generation 0


def with_baseline(question, pages, metrics):
    """lab's card with a baseline of these metrics."""
    card = question.cards["lab"]
    baseline = CardBaseline("gaussian", pages, 3, metrics, updates=1, seconds=0.1, machine="a machine")
    changed = type(card)(card.name, card.about, card.model, card.papers, (baseline,))
    return Question(question.scenario, {**question.cards, "lab": changed}, question.policies)


def test_the_baseline_of_a_card(question, record):
    """Held within 15 % of each metric, on the side that is worse; missed by name; null where there is none."""
    lab = summarise(record, question)["providers"]["lab"]
    assert lab["baseline"] is None
    own = lab["generations"][0]["metrics"]

    def baseline(pages=50, **factors):
        values = {(metric := name.replace("_", "-")): own[metric] * factor for name, factor in factors.items()}
        return summarise(record, with_baseline(question, pages, values))["providers"]["lab"]["baseline"]

    assert baseline(sliced_wasserstein=1.0, recall=1.0) == {"held": True, "misses": []}
    assert baseline(sliced_wasserstein=1 / 1.9, recall=1.14)["held"], "15 % worse, or twice as far, is allowed"
    assert baseline(sliced_wasserstein=100.0, recall=0.01)["held"], "better is no miss"
    assert baseline(sliced_wasserstein=1.0, recall=1.0, variance=9.0)["held"], "a variance is neither good nor bad"
    assert baseline(pages=49, sliced_wasserstein=1.0, recall=1.0) is None, "measured on another number of pages"
    missed = baseline(sliced_wasserstein=1 / 2.1, recall=1.2)
    assert not missed["held"]
    assert [miss["metric"] for miss in missed["misses"]] == ["recall", "sliced-wasserstein"]
    assert missed["misses"][0] == {"metric": "recall", "card": own["recall"] * 1.2, "run": own["recall"]}
    lost = baseline(sliced_wasserstein=0.0, recall=1.0)
    assert [miss["metric"] for miss in lost["misses"]] == ["sliced-wasserstein"], "a baseline of 0 is no division"
