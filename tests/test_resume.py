"""A run that was left at any moment and started again ends with the bytes of one that was not."""

import hashlib
import subprocess

import numpy as np
import pytest

from ecosystem import checkpoints, forking, loop, records, results, scenarios
from ecosystem.errors import RecordError, ScenarioError
from ecosystem.records import RunRecord

FAMILIES = {
    "gaussian": "{family: gaussian}",
    "diagonal": "{family: gaussian, covariance: diagonal}",
    "categorical": "{family: categorical}",
    "kde": "{family: kde}",
    "mixture": "{family: mixture, components: 2}",
    "flow-matching": "{family: flow-matching, net: {kind: mlp, width: 8, depth: 1}, "
    "train: {budget_images: 600, finetune_images: 600, batch: 10}}",
    "diffusion": "{family: diffusion, net: {kind: mlp, width: 8, depth: 1}, "
    "train: {budget_images: 600, finetune_images: 600, batch: 10}}",
    "normalizing-flow": "{family: normalizing-flow, net: {kind: nsf, transforms: 2, width: 8, depth: 1, bins: 4}, "
    "train: {budget_images: 600, finetune_images: 600, batch: 10}}",
    "vae": "{family: vae, net: {kind: mlp, width: 8, depth: 1}, latent: 2, "
    "train: {budget_images: 600, finetune_images: 600, batch: 10}}",
}
STACKED = {"flow-matching", "diffusion"}  # two of one card train together


def question(card, rounds=4, more="", start="finetune", minutes=0.0):
    return scenarios.from_text(f"""
        name: left
        rounds: {rounds}
        humans: {{source: gaussian, dims: 2, held_out: 30}}
        web: {{archive: 40, retention: {{synthetic_rounds: 2}}}}
        creators: [{{name: people, count: 3}}]
        users: [{{name: crowd, count: 20, k: 2}}]
        providers:
          - {{name: lab, card: {card}, retrain: {{start: {start}}}}}
          - {{name: rival 2, card: {card}, retrain: {{every: 2, start: {start}}}}}
        metrics: [mean-error, sliced-wasserstein]
        checkpoint_minutes: {minutes}
        {more}
        """)


def finished(asked, folder, seeds=(0,)):
    """The bytes of all that a run gives to its reader."""
    list(loop.run(asked, seeds, folder))
    records.write_json(folder / "summary.json", results.of(asked, folder).summary)
    return outcome(folder)


def outcome(folder):
    """Of everything but the machine, the seconds and how pages are cut into blocks."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and path.name not in ("manifest.json", "status.json") and "pages" not in path.parts:
            found[name] = path.read_bytes()
    for seed in RunRecord(folder).seeds():
        found[f"pages of {seed.seed}"] = pages(seed)
    return found


def pages(seed):
    """Items of all blocks in their order."""
    blocks = sorted((seed.folder / "pages").glob("*.npy"), key=lambda path: int(path.stem.removeprefix("from-")))
    return np.concatenate([np.load(path) for path in blocks]).tobytes()


def left_after(events, asked, folder, seeds=(0,)):
    """A run of which so many events were seen, and that was then closed."""
    running = loop.run(asked, seeds, folder)
    seen = [event for event, _ in zip(running, range(events), strict=False)]
    running.close()
    return seen


def often(first, *others):
    """The first case is for every day, the others take too long for it."""
    return [
        first,
        *(pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow) for case in others),
    ]


STARTS = [(family, start) for start in ("finetune", "scratch") for family in FAMILIES]


@pytest.mark.parametrize(("family", "start"), often(*STARTS))
def test_left_anywhere_a_run_ends_with_the_same_bytes(family, start, tmp_path):
    asked = question(FAMILIES[family], start=start)
    truth = finished(asked, tmp_path / "whole")
    every = len(list(loop.run(asked, [0], tmp_path / "counted")))
    for events in {1, every // 4, every // 2, every - 2, every - 1}:
        folder = tmp_path / f"left-{events}"
        left_after(events, asked, folder)
        assert finished(asked, folder) == truth, events
        assert not list((folder / "seed-0" / "checkpoints").iterdir())


@pytest.mark.parametrize("family", often("flow-matching", "diffusion", "normalizing-flow", "vae"))
def test_left_within_a_training_it_goes_on_within_it(family, tmp_path):
    """Behind the 50th of 60 updates of the second provider: its neighbour has trained this round, or trains with it."""
    asked = question(FAMILIES[family], rounds=1)
    truth = finished(asked, tmp_path / "whole")
    running = loop.run(asked, [0], tmp_path / "left")
    for event in running:
        update = event.progress and event.progress.update
        if update and update.done == 50 and event.progress.provider == "rival 2":
            break
    running.close()
    newest = checkpoints.found(RunRecord(tmp_path / "left").seed(0))[0]
    assert (newest.round, newest.within) == (0, 2 if family in STACKED else 3), "one at every update that is told"
    told = [event.progress for event in loop.run(asked, [0], tmp_path / "left") if event.progress]
    trained = {(p.provider, p.update.done) for p in told if p.update}
    together = {("lab", 60)} if family in STACKED else set()
    assert trained == {("rival 2", 60), *together}, "ten updates were left of each that was half done"
    assert finished(asked, tmp_path / "left") == truth


# --- what goes wrong with checkpoints -------------------------------------------------------------------------------


@pytest.fixture
def left(tmp_path):
    """A run left behind its third round, the newest checkpoint of round 3 and the one before of round 2."""
    asked = question(FAMILIES["gaussian"], rounds=5)
    running = loop.run(asked, [0], tmp_path / "left")
    for event in running:
        if event.kind == "round" and event.line["round"] == 2:
            break
    running.close()
    names = sorted(path.name for path in (tmp_path / "left" / "seed-0" / "checkpoints").iterdir())
    assert names == ["round-2", "round-3"]
    return asked, tmp_path / "left"


def events_of(asked, folder, kind):
    return [event for event in loop.run(asked, [0], folder) if event.kind == kind]


def damaged(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("what", often("tensors.safetensors", "state.json", "SHA256SUMS", "a missing file", "a hand's"))
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(what, left, tmp_path):
    asked, folder = left
    newest = folder / "seed-0" / "checkpoints" / "round-3"
    if what == "a missing file":
        (newest / "tensors.safetensors").unlink()
    elif what == "a hand's":  # with a checksum that holds
        (newest / "state.json").write_text('{"format": 1}')
        sums = {name: hashlib.sha256((newest / name).read_bytes()).hexdigest() for name in checkpoints.FILES}
        (newest / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    else:
        damaged(newest / what)
    told = list(loop.run(asked, [0], folder))
    warnings = [event.text for event in told if event.kind == "warning"]
    assert len(warnings) == 1 and "round-3" in warnings[0] and "passed over for the one before" in warnings[0]
    assert [event.round for event in told if event.kind == "resumed"] == [2]
    assert finished(asked, folder) == finished(asked, tmp_path / "whole")


@pytest.mark.parametrize("what", often("both checkpoints", "pages", "metrics.jsonl", "no metrics.jsonl", "no pages"))
def test_where_no_checkpoint_holds_a_seed_begins_anew(what, left, tmp_path):
    asked, folder = left
    seed = folder / "seed-0"
    if what == "both checkpoints":
        for path in seed.glob("checkpoints/round-*/state.json"):
            damaged(path)
    else:
        path = seed / "metrics.jsonl" if "metrics" in what else seed / "pages" / "from-0.npy"
        path.unlink() if what.startswith("no ") else damaged(path)
    told = list(loop.run(asked, [0], folder))
    assert len([event for event in told if event.kind == "warning"]) == 2
    assert not [event for event in told if event.kind == "resumed"]
    assert finished(asked, folder) == finished(asked, tmp_path / "whole")


def test_of_another_machine_it_is_said_and_gone_on(left):
    asked, folder = left
    path = folder / "seed-0" / "manifest.json"
    manifest = records.read_json(path)
    other = {"threads": 64, "blas": "Atom"}
    records.write_json(path, {**manifest, **other, "versions": {**manifest["versions"], "torch": "0.1"}})
    told = list(loop.run(asked, [0], folder))
    text = next(event.text for event in told if event.kind == "warning")
    now = manifest["blas"]
    assert f"bits may differ: threads 64 then, 1 now; blas Atom then, {now} now; torch 0.1 then" in text
    assert [event.round for event in told if event.kind == "resumed"] == [3]


def test_the_sums_are_those_of_sha256sum(left):
    """So that anybody can check a checkpoint without us."""
    _, folder = left
    newest = folder / "seed-0" / "checkpoints" / "round-3"
    found = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=newest, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == ["state.json: OK", "tensors.safetensors: OK"]


@pytest.mark.parametrize(("keep", "rounds"), [("1", {4}), ("2", {3, 4}), ("3", {2, 3, 4}), ("null", {1, 2, 3, 4})])
def test_so_many_checkpoints_are_kept(keep, rounds, tmp_path):
    asked = question(FAMILIES["gaussian"], rounds=5, more=f"checkpoint_keep: {keep}")
    running = loop.run(asked, [0], tmp_path)
    for event in running:
        if event.kind == "round" and event.line["round"] == 3:
            break
    running.close()
    seed = RunRecord(tmp_path).seed(0)
    assert {found.round for found in checkpoints.found(seed)} == rounds
    list(loop.run(asked, [0], tmp_path))
    after = {found.round for found in checkpoints.found(seed)}
    assert after == (set() if keep != "null" else {1, 2, 3, 4})


def test_force_begins_anew(left):
    asked, folder = left
    assert not [event for event in loop.run(asked, [0], folder, force=True) if event.kind == "resumed"]


def test_how_often_is_no_part_of_the_question(left):
    """Nor is it a change that another run would be needed for."""
    asked, folder = left
    again = question(FAMILIES["gaussian"], rounds=5, minutes=7, more="checkpoint_keep: 5")
    assert again.digest == asked.digest
    assert events_of(again, folder, "resumed")


def test_seeds_in_lockstep_go_on_from_where_each_was(tmp_path):
    """One of them alone for two rounds more than the others."""
    asked = question(FAMILIES["gaussian"], rounds=6)
    truth = finished(asked, tmp_path / "whole", [0, 1, 2])
    folder = tmp_path / "left"
    for seeds, last in (([0, 1, 2], 1), ([1], 3)):
        running = loop.run(asked, seeds, folder)
        for event in running:
            if event.kind == "round" and event.line["round"] == last and event.seed == seeds[-1]:
                break
        running.close()
    told = {event.seed: event.round for event in loop.run(asked, [0, 1, 2], folder) if event.kind == "resumed"}
    assert told == {0: 2, 1: 4, 2: 2}
    assert finished(asked, folder, [0, 1, 2]) == truth


def test_checkpoints_take_a_small_share_of_the_time():
    """By their own clock: however dear one is, the next waits until it is a fiftieth of the time."""
    clock = [0.0]
    pace = loop.Pace(minutes=10, seeds=1, clock=lambda: clock[0])
    spent = 0.0
    for cost in (0.1, 0.3, 0.01, 2.0, 0.5):
        while not pace.due():
            clock[0] += 0.01
        with pace.writing():
            clock[0] += cost
        spent += cost
    assert not pace.due()
    clock[0] += 0.5 / loop.SHARE + 0.01
    assert pace.due() and not pace.due_within()
    assert spent / clock[0] < 0.03


def test_a_pace_of_minutes():
    clock = [0.0]
    pace = loop.Pace(minutes=1, seeds=1, clock=lambda: clock[0])
    with pace.writing():
        clock[0] += 100.0  # so dear that by its share it could not be written within the hour
    clock[0] += 59.9
    assert not pace.due() and not pace.due_within()
    clock[0] += 0.2
    assert pace.due() and pace.due_within()


# --- forks ----------------------------------------------------------------------------------------------------------


def forked(folder, at, sets, target, seeds=(0,)):
    record = RunRecord(folder)
    asked = forking.asked(record, at, sets)
    begins = forking.fork(record, asked, at, seeds, target)
    return asked, begins


@pytest.mark.parametrize("keep", often("2", "null"))
@pytest.mark.parametrize("family", often("gaussian", "kde"))
def test_a_fork_without_a_change_is_the_run_itself(family, keep, tmp_path):
    asked = question(FAMILIES[family], rounds=5, minutes=10, more=f"checkpoint_keep: {keep}")
    truth = finished(asked, tmp_path / "run", [0, 1])
    same, begins = forked(tmp_path / "run", 3, {}, tmp_path / "fork", [0, 1])
    assert same.digest == asked.digest
    assert begins == dict.fromkeys((0, 1), 3 if keep == "null" else 0)
    found = finished(same, tmp_path / "fork", [0, 1])
    assert found.pop("fork.json")
    ours = {name: data for name, data in found.items() if "checkpoints" not in name}
    assert ours == {name: data for name, data in truth.items() if "checkpoints" not in name}


@pytest.mark.parametrize("keep", ["null", "2"])
def test_a_fork_is_the_run_whose_policy_changed_in_that_round(keep, tmp_path):
    asked = question(FAMILIES["gaussian"], rounds=5, more=f"checkpoint_keep: {keep}")
    before = finished(asked, tmp_path / "run")
    changed, _ = forked(
        tmp_path / "run", 3, {"users.crowd.k": "4", "web.retention.synthetic_rounds": "1"}, tmp_path / "fork"
    )
    events = "events: [{at: 3, set: {users.crowd.k: 4, web.retention.synthetic_rounds: 1}}]"
    from_start = question(FAMILIES["gaussian"], rounds=5, more=f"checkpoint_keep: {keep}\n        {events}")
    found = finished(changed, tmp_path / "fork")
    truth = finished(from_start, tmp_path / "from-start")
    for name in ("seed-0/metrics.jsonl", "pages of 0", "summary.json"):
        assert found[name] == truth[name], name
    lines, old = (data["seed-0/metrics.jsonl"].splitlines() for data in (found, before))
    assert lines[:3] == old[:3] and lines[3] != old[3]


def test_a_fork_is_told_what_is_wrong(tmp_path):
    asked = question(FAMILIES["gaussian"], rounds=3)
    finished(asked, tmp_path / "run")
    for at in (-1, 3):
        with pytest.raises(ScenarioError, match="rounds 0 to 2"):
            forked(tmp_path / "run", at, {}, tmp_path / "fork")
    with pytest.raises(ScenarioError, match="an event cannot set this"):
        forked(tmp_path / "run", 1, {"web.archive": "3"}, tmp_path / "fork")
    with pytest.raises(RecordError, match="has no seed 7"):
        forked(tmp_path / "run", 1, {}, tmp_path / "fork", [7])
    assert not (tmp_path / "fork").exists()
