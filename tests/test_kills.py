"""Real SIGKILLs: at random moments of seven scenarios, and before and after every step that writes.

A run is a child process, forked from one that has imported everything, so that a kill costs no start-up. After every
kill the same command is given again; in the end the bytes are those of a run that was never killed, and no round but
the one in progress was ever run twice.
"""

import io
import os
import signal
import time
import traceback
from collections import Counter
from functools import cache

import pytest
import torch
from test_resume import outcome, question

from ecosystem import checkpoints, loop, records, results, scenarios
from ecosystem.records import RunRecord
from ecosystem.rng import stream
from ecosystem.world import World

SMALL = "train: {budget_images: 12000, finetune_images: 8000, batch: 100}"
CARD = f"{{family: flow-matching, net: {{kind: mlp, width: 32, depth: 1}}, {SMALL}}}"
DIGITS = {"rounds": "4", "evaluation.samples": "60", "checkpoint_minutes": "0"}
CLOSED = {"record_pages": "true", "checkpoint_minutes": "0"}
SCENARIOS = {
    "gaussian-replace": {"rounds": "60", "humans.dims": "8", **CLOSED},
    "lambda-mixture": {
        **DIGITS,
        "providers.lab": f"{{name: lab, card: {CARD}}}",
        "users.crowd.count": "40",
        "web.archive": "300",
    },
    "three-labs": {
        **DIGITS,
        "providers.flow": f"{{name: flow, card: {CARD}}}",
        "providers.diffusion": f"{{name: diffusion, card: {CARD.replace('flow-matching', 'diffusion')}, "
        "retrain: {every: 2}}",
        "users.crowd.count": "40",
        "web.archive": "300",
    },
    # What their agents remember: a reservoir, experience of providers, the selection on pages, distilled pages; groups
    # that enter; detectors that are trained.
    "human-reservoir": {"rounds": "40", "humans.dims": "8", **CLOSED},
    "detector-arms-race": {"rounds": "20", "humans.dims": "8", **CLOSED},
    "late-entrant": {"rounds": "14", **CLOSED},
    "market-lock-in": {"rounds": "42", **CLOSED},
}


@cache
def asked(name):
    return scenarios.load(name, SCENARIOS[name])


def run(what, folder, seeds):
    """To the end, as the command does."""
    list(loop.run(what, seeds, folder))
    records.write_json(folder / "summary.json", results.of(what, folder).summary)


def child(work):
    """Fork a process that does some work; its number."""
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(number, after=None):
    """Wait for a child, killing it after so many seconds; whether it was killed. Any other end fails the test."""
    if after is not None:
        deadline = time.monotonic() + after
        while time.monotonic() < deadline:
            ended, status = os.waitpid(number, os.WNOHANG)
            if ended:
                return _killed(status)
            time.sleep(0.001)
        os.kill(number, signal.SIGKILL)
    return _killed(os.waitpid(number, 0)[1])


def _killed(status):
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the run ended with an error"
    return False


def on_record(folder, seed=0):
    """The rounds that a seed has told of, and the one with which it would go on."""
    record = RunRecord(folder).seed(seed)
    if not record.begun or record.status()["state"] == records.FINISHED:
        return None
    newest = next(iter(checkpoints.found(record)), None)
    return len(record.lines()), newest.round if newest else 0


def killed_at_random(name, kills, folder):
    """Whole runs, each killed about eight times, until so many kills were counted; what happened."""
    what, counts = asked(name), Counter()
    rng = stream(0, "test", f"kills of {name}")
    World(what, 0, torch.device("cpu")).release()  # its classifier is trained here once, and not after every kill
    began = time.monotonic()
    ended(child(lambda: run(what, folder / "whole", [0])))
    length = time.monotonic() - began
    truth = outcome(folder / "whole")
    while counts["kills"] < kills:
        place = folder / f"killed-{counts['runs']}"
        counts["runs"] += 1
        while ended(child(lambda into=place: run(what, into, [0])), after=rng.exponential(length / 6)):
            counts["kills"] += 1
            if (told := on_record(place)) is not None:
                counts["lost rounds"] += max(0, told[0] - told[1] - 1)
                counts["kills with something on record"] += told[1] > 0
                within = any(c.within for c in checkpoints.found(RunRecord(place).seed(0)))
                counts["kills with a training half done"] += within
        counts["differing files"] += differing(outcome(place), truth)
    return counts


def differing(found, truth):
    return sum(found.get(name) != truth.get(name) for name in found.keys() | truth.keys())


@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "kills"),
    [
        *(("gaussian-replace", 80), ("lambda-mixture", 80), ("three-labs", 60)),
        *((name, 20) for name in ("human-reservoir", "detector-arms-race", "late-entrant", "market-lock-in")),
    ],
)
def test_random_kills(name, kills, tmp_path):
    counts = killed_at_random(name, kills, tmp_path)
    print(f"\n{name}: {dict(counts)}")
    assert counts["kills"] >= kills
    assert counts["differing files"] == 0
    assert counts["lost rounds"] == 0
    assert counts["kills with something on record"] > kills / 4, "the kills came too early to tell anything"


# --- before and after every step that writes ------------------------------------------------------------------------

STEPS = ("fsync", "replace", "rename", "link", "unlink", "rmdir", "mkdir", "open")


def killing_itself(at, after):
    """Let this process die at the so-many-th step that writes, before it or after it."""
    count, opened = 0, io.open

    def watched(step):
        def call(*args, **kw):
            nonlocal count
            if step is not opened or set("wa+") & set(str(args[1:2])):
                count += 1
            now = count == at
            if now and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return step(*args, **kw)
            finally:
                if now:
                    os.kill(os.getpid(), signal.SIGKILL)

        return call

    for name in STEPS:
        setattr(os, name, watched(getattr(os, name)))
    io.open = watched(opened)  # what Path.open calls


def killed_at_every_step(folder, seeds, every):
    what = question("{family: gaussian}", rounds=3)
    ended(child(lambda: run(what, folder / "whole", seeds)))
    truth, step, kills = outcome(folder / "whole"), 1, 0
    while True:
        place = folder / f"step-{step}"

        def once(at=step, into=place):
            killing_itself(at, after=at % 2 == 0)
            run(what, into, seeds)

        if not ended(child(once)):
            return kills
        kills += 1
        ended(child(lambda into=place: run(what, into, seeds)))
        assert outcome(place) == truth, f"killed at step {step}"
        step += every


@pytest.mark.parametrize(
    ("seeds", "every"),
    [([0], 43), pytest.param([0], 1, marks=pytest.mark.faults), pytest.param([0, 1, 2], 3, marks=pytest.mark.faults)],
)
def test_killed_before_or_after_a_step_that_writes(seeds, every, tmp_path):
    kills = killed_at_every_step(tmp_path, seeds, every)
    print(f"\n{kills} kills at steps that write, seeds {seeds}: 0 differing bytes")
    assert (kills + 1) * every > 60
