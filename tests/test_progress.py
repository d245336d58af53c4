"""How far a run is: every training that a world reports is one that was expected, and the shares only grow to 1."""

import itertools

import pytest

from ecosystem import loop, scenarios
from ecosystem.progress import Clock, expected, sentence

TRAIN = "train: {budget_images: 200, finetune_images: 100, batch: 50}"
KIND = "family: flow-matching, coupling: independent, sampler: {steps: 1}, net: {kind: mlp, width: 8}"
NET = f"card: {{{KIND}, {TRAIN}}}"
LIVELY = f"""
name: lively
rounds: 5
humans: {{source: gaussian, dims: 2, held_out: 20}}
web: {{archive: 60}}
users: [{{name: crowd, count: 10}}]
metrics: [mean-error]
evaluation: {{samples: 20}}
scrapers: [{{name: all}}]
providers: [{{name: lab, {NET}, negative_guidance: {{weight: 0.5, images: 50, budget_images: 150}}}}]
events:
  - {{at: 1, add: {{providers: [{{name: late, {NET}, retrain: {{every: 2}}}}]}}}}
  - {{at: 2, add: {{providers: [{{name: pupil, {NET}, distil: {{of: lab, images: 30}}}}]}}}}
  - {{at: 4, remove: [providers.pupil]}}
"""


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    question = scenarios.from_text(LIVELY)
    return question, list(loop.run(question, [0], tmp_path_factory.mktemp("lively") / "run"))


def test_each_training_has_as_many_updates_as_were_expected(events):
    """Of auxiliary models and of late entrants too, whose first training is from scratch, whenever it is."""
    question, seen = events
    told = {}
    for event in seen:
        if event.progress is not None and event.progress.update is not None:
            told[event.progress.round, event.progress.provider] = event.progress.update.total
    wanted = {(r, name): n for r in range(5) for name, n in expected(question, r).items() if n}
    assert told == wanted
    assert {name for _, name in told} == {"lab", "lab/auxiliary", "late", "pupil"}
    assert [told.get((r, "late")) for r in range(5)] == [None, 4, 2, None, 2], "trains when it enters, then every other"
    assert [told.get((r, "pupil")) for r in range(5)] == [None, None, None, 4, None], "it asks for its pages first"


def test_the_share_never_falls_and_ends_at_one(events):
    question, seen = events
    clock, shares = Clock(question, seeds=1), []
    for event in seen:
        clock.see(event)
        shares.append(clock.share)
        if event.progress is not None:
            assert sentence(event, 5)
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(shares))
    assert shares[-1] == pytest.approx(1.0)


def test_a_new_card_is_trained_from_scratch():
    question = scenarios.from_text(
        LIVELY.replace("at: 4, remove: [providers.pupil]", "at: 3, set: {providers.lab.card: CARD}").replace(
            "CARD", NET.removeprefix("card: ").replace("200", "400")
        )
    )
    assert [expected(question, r)["lab"] for r in range(5)] == [4, 2, 2, 8, 2]
