"""Sweeps: the points of a design, what is run of them and what is not, the table, and what is read from it.

The designs are held to their definitions, the table to the records that it comes from, and every estimate to a case
whose truth is known.
"""

import io
import itertools
import json
import math
import os
import signal
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import typer
from rich.console import Console
from scipy.optimize import minimize

from ecosystem import cli, loop, results
from ecosystem.commands.sweep import sweep, sweep_report
from ecosystem.errors import EcosystemError, RecordError, ScenarioError
from ecosystem.rng import stream
from ecosystem.sweeping import boundary, cluster, design, driver, effects, plan, report, swept, table
from ecosystem.sweeping import local as local_workers
from ecosystem.sweeping.design import Range, Values
from ecosystem.sweeping.executors import Serial
from ecosystem.sweeping.local import Local

TINY = """\
name: tiny
rounds: 3
seeds: [0, 1]
humans: {source: gaussian}
metrics: [model-variance, mean-error]
web: {archive: 50, retention: {synthetic_rounds: 1}}
users: [{name: crowd, count: 25}]
providers: [{name: lab, card: {family: gaussian}}, {name: rival, card: {family: gaussian}}]
"""
SETS = ["users.crowd.k=1,2", "web.archive=30,60"]


def app():
    commands = typer.Typer()
    commands.command("sweep")(sweep)
    commands.command("sweep-report")(sweep_report)
    return commands


def ecosystem(*arguments):
    """The command line in this process: its exit code."""
    return cli.guarded(lambda: app()([str(a) for a in arguments], standalone_mode=False))


def arguments(path, sets, *more):
    return ["sweep", path, *itertools.chain(*(["--set", text] for text in sets)), "--executor", "serial", *more]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenario") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """A finished sweep of four points and two seeds."""
    folder = tmp_path_factory.mktemp("sweeps") / "done"
    assert ecosystem(*arguments(tiny, SETS, "--out", folder)) == 0
    return folder


def designed(sets, sampling="grid", points=None):
    return design.of([tuple(text.split("=", 1)) for text in sets], sampling, points)


def settings(*asked):
    return list(designed(*asked).settings())


# --- designs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1,2,4", ["1", "2", "4"]),
        ("luce, best", ["luce", "best"]),
        ("[1, 2],[3]", ["[1, 2]", "[3]"]),
        ("{kind: a, b: [1,2]},{kind: c}", ["{kind: a, b: [1,2]}", "{kind: c}"]),
        ("'a,b',\"c,d\"", ["'a,b'", '"c,d"']),
        ("{a: 'x, }', b: 1},2", ["{a: 'x, }', b: 1}", "2"]),
        ("it's,hers", ["it's", "hers"]),
        ("", [""]),
    ],
)
def test_commas_part_values_but_not_inside_of_one(text, parts):
    assert design.split(text) == parts


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("1..16", Range(1, 16, True, False)),
        ("-3..2", Range(-3, 2, True, False)),
        ("0.5..2", Range(0.5, 2, False, False)),
        ("1..2.5", Range(1, 2.5, False, False)),
        ("log:1e-3..1", Range(1e-3, 1, False, True)),
        ("log:1..64", Range(1, 64, True, True)),
        ("4", Values(("4",))),
        ("a..b", Values(("a..b",))),
    ],
)
def test_ranges_are_told_from_values(text, spec):
    assert design.parse("key", text) == spec


def test_a_grid_is_the_product_and_a_list_goes_side_by_side():
    sets = ["a=1,2", "b=x,y,z", "c=null"]
    assert [tuple(s.values()) for s in settings(sets)] == list(itertools.product("12", "xyz", ["null"]))
    assert settings(["a=1,2", "b=x,y", "c=0"], "list") == [
        {"a": "1", "b": "x", "c": "0"},
        {"a": "2", "b": "y", "c": "0"},
    ]


@pytest.mark.parametrize("sets", [["a=1,2,3"], ["a=1,2,3", "b=4,5", "c=6"]])
def test_the_size_is_known_before_the_points_are(sets):
    assert designed(sets).size == len(settings(sets))


def test_a_latin_hypercube_has_one_point_in_every_part_of_every_range():
    points = settings(["a=0.0..1.0", "b=0..9", "c=log:0.01..100", "d=7"], "lhs", 10)
    for key, share in (("a", float), ("b", lambda t: int(t) / 10), ("c", lambda t: (math.log10(float(t)) + 2) / 4)):
        assert sorted(int(share(p[key]) * 10 + 1e-9) for p in points) == list(range(10))
    assert {p["d"] for p in points} == {"7"}


def test_more_points_of_a_sobol_sequence_extend_it_and_a_power_of_two_is_balanced():
    sets = ["a=0.0..1.0", "b=0.0..1.0"]
    many = settings(sets, "sobol", 32)
    assert settings(sets, "sobol", 11) == many[:11]
    cells = {(int(float(p["a"]) * 4), int(float(p["b"]) * 8)) for p in many}
    assert len(cells) == 32, "every elementary box of volume 1/32 has one point (a (0, m, 2)-net)"


@pytest.mark.parametrize("text", ["3..6", "log:1..8"])
def test_whole_numbers_reach_both_ends_and_no_further(text):
    spec = design.parse("k", text)
    seen = [int(spec.at(share)) for share in np.linspace(0, 1, 4001)[:-1]]
    assert (min(seen), max(seen)) == (spec.low, spec.high)
    if not spec.logarithmic:
        assert set(np.bincount(seen)[3:]) == {1000}, "each has an equal part"


def test_a_sample_is_the_same_whenever_it_is_drawn():
    for sampling in ("lhs", "sobol"):
        assert settings(["a=0.0..1.0"], sampling, 9) == settings(["a=0.0..1.0"], sampling, 9)


# --- refused before anything is run or written --------------------------------------------------------------


@pytest.mark.parametrize(
    ("sets", "more", "told"),
    [
        ([], [], ["the grid is empty", "write --set"]),
        (["users.crowd.kk=1,2"], [], ["users.crowd.kk=1", "did you mean `k`?"]),
        (["users.crowd.k=1,2,0"], [], ["faulty point, users.crowd.k=0", "must be 1 or more"]),
        (["users.crowd.k=1..4"], [], ["users.crowd.k", "is a range, and a grid takes values"]),
        (["users.crowd.k=1,2"], ["--sampling", "lhs"], ["users.crowd.k", "lhs samples ranges"]),
        (["users.crowd.k=4..1"], ["--sampling", "sobol"], ["users.crowd.k", "empty"]),
        (["users.crowd.k=log:0..4"], ["--sampling", "sobol"], ["users.crowd.k", "no logarithm"]),
        (["users.crowd.k=1..4"], ["--sampling", "sobol", "--points", "0"], ["--points", "empty sample"]),
        (["users.crowd.k=1,2"], ["--points", "9"], ["--points", "leave --points out"]),
        (
            ["users.crowd.k=1,2", "web.archive=1,2,3"],
            ["--sampling", "list"],
            ["users.crowd.k has 2, web.archive has 3"],
        ),
        (["users.crowd.k=1,,2"], [], ["nothing between two commas"]),
        (["users.crowd.k=1", "users.crowd.k=2"], [], ["set twice", "write users.crowd.k=A,B"]),
        (["seeds=1,2"], [], ["seeds", "--seeds"]),
        (["users.crowd.k=1,2"], ["--sampling", "sobl"], ["no sampling `sobl`"]),
        (["users.crowd.k=1,2"], ["--seeds", "x"], ["--seeds x"]),
        (["users.crowd.k"], [], ["sets nothing"]),
        (["users.crowd.k=1,2"], ["--gpus-per-run", "1"], ["--executor ray"]),
        (["users.crowd.k=1,2"], ["--executor", "dask"], ["--executor dask", "serial, local, ray"]),
        (
            ["users.crowd.k=1,2", "web.archive=30,60"],
            ["--seeds", "0-2500"],
            ["10,004 runs (4 points, 2,501 seeds)", "--yes"],
        ),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_written(sets, more, told, tiny, tmp_path, capsys):
    out = tmp_path / "out"
    assert ecosystem(*arguments(tiny, sets, "--out", out, *more)) == 64
    error = capsys.readouterr().err
    for part in told:
        assert part in error
    assert len(error.splitlines()) < 12
    assert not out.exists()


def test_a_grid_too_large_to_be_written_out_is_refused_at_once(tiny, tmp_path, capsys):
    hundred = ",".join(map(str, range(1, 101)))
    sets = [
        f"{key}={hundred}"
        for key in ("users.crowd.k", "web.archive", "users.crowd.count", "rounds", "evaluation.samples")
    ]
    began = time.monotonic()
    assert ecosystem(*arguments(tiny, sets, "--out", tmp_path / "out")) == 64
    assert "20,000,000,000 runs" in capsys.readouterr().err
    assert time.monotonic() - began < 5


def test_more_runs_need_a_word(tiny, monkeypatch):
    monkeypatch.setattr(plan, "MOST_RUNS", 3)
    asked = designed(SETS)
    with pytest.raises(ScenarioError, match="4 runs"):
        plan.make(str(tiny), asked, [0])
    assert len(plan.make(str(tiny), asked, [0], confirmed=True).runs) == 4


# --- the plan -----------------------------------------------------------------------------------------------


def test_two_points_with_one_digest_are_one_run(tiny):
    made = plan.make(str(tiny), designed(["users.crowd.k=1,2,1", "about=one,two"]))
    assert len(made.points) == 6
    assert len(made.runs) == 2


def test_the_digest_is_of_what_is_swept(tiny):
    def digest(*asked):
        return plan.make(str(tiny), designed(*asked)).digest

    k = ["users.crowd.k=1..9"]
    assert digest(k, "sobol", 4) == digest(k, "sobol", 8), "more points of a sequence extend it"
    assert len({digest(k, "sobol", 4), digest(k, "lhs", 4), digest(k, "lhs", 8), digest(["users.crowd.k=1,2"])}) == 4


# --- what is run, and what is on record ---------------------------------------------------------------------


def test_the_table_says_what_the_records_say(finished):
    frame = table.read(finished).to_pandas()
    order = [
        (k, archive, seed, who) for k in (1, 2) for archive in (30, 60) for seed in (0, 1) for who in ("lab", "rival")
    ]
    assert (
        list(zip(frame["users.crowd.k"], frame["web.archive"], frame["seed"], frame["provider"], strict=True)) == order
    )
    for _, row in frame.iterrows():
        run = results.open_run(finished / "points" / row["point"])
        assert run.question.scenario.users[0].k == row["users.crowd.k"]
        assert run.question.digest == row["point"]
        assert run.verdict[row["provider"]] == row["verdict"]
        assert (row["state"], row["why"]) == ("finished", None) or pd.isna(row["why"])
        found = run.frame()
        found = found[(found["seed"] == row["seed"]) & (found["provider"] == row["provider"])]
        for metric in ("model-variance", "mean-error", "lambda", "synthetic-share", "vote-share"):
            series = found[found["metric"] == metric]
            assert row[metric] == series["value"].iloc[-1]
            if f"{metric}-ratio" in frame:
                assert row[f"{metric}-ratio"] == series["value"].iloc[-1] / series["value"].iloc[0]
        assert row["generation"] == found["generation"].dropna().max()


def test_how_much_worse_is_the_worst_of_what_is_judged(finished, tmp_path):
    frame = table.read(finished).to_pandas()
    row = frame.iloc[0]
    question = results.open_run(finished / "points" / row["point"]).question
    (evidence,) = results.run(question, [0], tmp_path / "alone", False).summary["providers"]["lab"]["evidence"]
    assert row["worse"] == pytest.approx(max(evidence["effect"], 1 / evidence["effect"]))


def test_an_ordinary_report_reads_every_point(finished, capsys):
    for folder in sorted((finished / "points").iterdir()):
        assert cli.guarded(lambda folder=folder: cli.app(["report", str(folder)], standalone_mode=False)) == 0
    assert "tiny" in capsys.readouterr().out


def test_repeating_runs_nothing_and_changes_nothing(finished, tiny, monkeypatch, capsys):
    before = (finished / "sweep.parquet").read_bytes()
    monkeypatch.setattr(loop, "run_several", None)
    assert ecosystem(*arguments(tiny, SETS, "--out", finished)) == 0
    assert "4 of 4 points on record already" in capsys.readouterr().err
    assert (finished / "sweep.parquet").read_bytes() == before


def watched(monkeypatch, before=lambda question, seeds: None):
    """loop.run_several with something to happen first; the seeds of each question of a call are kept."""
    calls, real = [], loop.run_several

    def run_several(asked, force=False):
        for one in asked:
            calls.append(tuple(one.seeds))
            before(one.question, one.seeds)
        yield from real(asked, force)

    monkeypatch.setattr(loop, "run_several", run_several)
    return calls


def test_seeds_are_added_and_force_starts_anew(tiny, tmp_path, monkeypatch):
    calls, sets = watched(monkeypatch), ["users.crowd.k=1,2"]
    assert ecosystem(*arguments(tiny, sets, "--out", tmp_path / "a", "--seeds", "0")) == 0
    assert ecosystem(*arguments(tiny, sets, "--out", tmp_path / "a", "--seeds", "1-2")) == 0
    assert calls == [(0,), (0,), (1, 2), (1, 2)]
    assert ecosystem(*arguments(tiny, sets, "--out", tmp_path / "b", "--seeds", "0-2")) == 0
    bytes_ = (tmp_path / "a" / "sweep.parquet").read_bytes()
    assert bytes_ == (tmp_path / "b" / "sweep.parquet").read_bytes()
    calls.clear()
    assert ecosystem(*arguments(tiny, sets, "--out", tmp_path / "a", "--seeds", "0", "--force")) == 0
    assert calls == [(0,), (0,)]
    assert bytes_ == (tmp_path / "a" / "sweep.parquet").read_bytes()


def test_a_grid_that_grows_keeps_its_runs(tiny, tmp_path, monkeypatch):
    calls, out = watched(monkeypatch), ["--out", tmp_path / "a", "--seeds", "0"]
    assert ecosystem(*arguments(tiny, ["users.crowd.k=1,2"], *out)) == 0
    assert ecosystem(*arguments(tiny, ["users.crowd.k=1,2,3"], *out)) == 0
    assert len(calls) == 3
    assert list(table.read(tmp_path / "a").to_pandas().query("provider == 'lab'")["users.crowd.k"]) == [1, 2, 3]


def test_a_directory_of_something_else_is_left_alone(finished, tiny, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert ecosystem(*arguments(tiny, SETS, "--out", tmp_path)) == 74
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert ecosystem(*arguments(tiny, ["rounds=1,2"], "--out", finished)) == 74
    assert "other keys" in capsys.readouterr().err


@pytest.mark.parametrize("bundles", [driver.BUNDLES, 1], ids=["points alone", "points together"])
def test_a_seed_that_fails_takes_no_other_with_it(bundles, finished, tiny, tmp_path, monkeypatch, capsys):
    """Seeds 0 and 1 run in lockstep. The failure has its traceback, exit code 70, and is tried again."""
    monkeypatch.setattr(driver, "BUNDLES", bundles)

    def curse(question, seeds):
        if 1 in seeds and question.scenario.users[0].k == 2:
            raise ValueError("seed 1 is cursed")

    with monkeypatch.context() as patched:
        watched(patched, curse)
        assert ecosystem(*arguments(tiny, SETS, "--out", tmp_path / "s")) == 70
    error = capsys.readouterr().err
    assert "2 runs failed" in error
    assert "users.crowd.k=2 web.archive=60 seed 1: ValueError: seed 1 is cursed" in error
    frame = table.read(tmp_path / "s").to_pandas()
    failed = frame[frame["state"] == "failed"]
    assert set(zip(failed["users.crowd.k"], failed["seed"], strict=True)) == {(2, 1)}
    assert len(failed) == 4, "two points, two providers"
    assert set(failed["why"]) == {"ValueError: seed 1 is cursed"}
    assert failed["mean-error"].isna().all()
    whole = table.read(finished).to_pandas()
    pd.testing.assert_series_equal(
        frame["mean-error"][frame["state"] == "finished"], whole["mean-error"][frame["state"] == "finished"]
    )
    told = json.loads(next((tmp_path / "s" / "failures").iterdir()).read_text())
    assert "in curse" in told["seeds"]["1"]["traceback"]
    calls = watched(monkeypatch)
    assert ecosystem(*arguments(tiny, SETS, "--out", tmp_path / "s")) == 0
    assert calls == [(1,), (1,)]
    assert (tmp_path / "s" / "sweep.parquet").read_bytes() == (finished / "sweep.parquet").read_bytes()
    assert list((tmp_path / "s" / "failures").iterdir()) == []


def test_where_all_fails_the_failures_are_told(tiny, tmp_path, monkeypatch, capsys):
    def fail(question, seeds):
        raise MemoryError

    watched(monkeypatch, fail)
    assert ecosystem(*arguments(tiny, ["users.crowd.k=1,2"], "--out", tmp_path / "s", "--seeds", "0")) == 70
    told = capsys.readouterr()
    assert "users.crowd.k=2 seed 0: MemoryError" in told.err
    assert "0 runs finished" in told.out
    assert ecosystem("sweep-report", tmp_path / "s", "--json") == 0


def test_interrupted_it_goes_on_where_it_stopped(finished, tiny, tmp_path, monkeypatch, capsys):
    def stop(question, seeds):
        if question.scenario.users[0].k == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        watched(patched, stop)
        assert ecosystem(*arguments(tiny, SETS, "--out", tmp_path / "s")) == 130
    assert "on record" in capsys.readouterr().err
    assert set(table.read(tmp_path / "s").to_pandas()["users.crowd.k"]) == {1}
    calls = watched(monkeypatch)
    assert ecosystem(*arguments(tiny, SETS, "--out", tmp_path / "s")) == 0
    assert calls == [(0, 1), (0, 1)]
    assert (tmp_path / "s" / "sweep.parquet").read_bytes() == (finished / "sweep.parquet").read_bytes()


# --- points in lockstep -------------------------------------------------------------------------------------

FLOWS = """\
name: flows
rounds: 3
seeds: [0, 1]
humans: {source: ring-8, held_out: 30}
metrics: [sliced-wasserstein]
web: {archive: 50, retention: {synthetic_rounds: 1}}
users: [{name: crowd, count: 25}]
providers:
  - name: lab
    card:
      family: flow-matching
      net: {kind: mlp, width: 8, depth: 1}
      train: {budget_images: 400, finetune_images: 100, batch: 25}
      sampler: {kind: euler, steps: 2}
"""


@pytest.mark.parametrize(
    "text, sets", [(TINY, SETS), (FLOWS, ["users.crowd.k=1,2", "rounds=1,3"])], ids=["tiny", "flows"]
)
def test_points_in_lockstep_are_on_record_as_each_alone(text, sets, tmp_path, monkeypatch):
    """Also points of other lengths: to the last byte."""
    path = tmp_path / "scenario.yaml"
    path.write_text(text)
    made, calls, real = plan.make(str(path), designed(sets)), [], loop.run_several

    def run_several(asked, force=False):
        calls.append(len(asked))
        return real(asked, force)

    monkeypatch.setattr(loop, "run_several", run_several)
    for name, most in (("alone", driver.BUNDLES), ("together", 1)):
        monkeypatch.setattr(driver, "BUNDLES", most)
        list(driver.run(made, Serial(), tmp_path / name))
    assert calls == [1, 1, 1, 1, 4]
    lines = sorted(p.relative_to(tmp_path / "alone") for p in (tmp_path / "alone" / "points").rglob("metrics.jsonl"))
    assert len(lines) == 8
    for part in (*lines, "sweep.parquet"):
        assert (tmp_path / "alone" / part).read_bytes() == (tmp_path / "together" / part).read_bytes()


def tasks_of(path, sets, seeds, tmp_path):
    made = plan.make(str(path), designed(sets), range(seeds))
    return [
        driver.Task(digest, point.question, made.seeds, made.seeds, tmp_path) for digest, point in made.runs.items()
    ]


@pytest.mark.parametrize("jobs", [1, 2, 7])
@pytest.mark.parametrize("seeds", [1, 3, 20])
def test_bundles_hold_every_task_once_and_leave_work_for_all_workers(jobs, seeds, tiny, tmp_path):
    tasks = tasks_of(tiny, ["users.crowd.k=1,2,3,4", "web.archive=30,40,50,60,70,80,90,100,110,120"], seeds, tmp_path)
    bundles = driver.bundles(tasks, jobs)
    assert [task for bundle in bundles for task in bundle.tasks] == tasks
    assert len(bundles) >= min(len(tasks), driver.BUNDLES * jobs)
    for bundle in bundles:
        assert len(bundle.tasks) == 1 or seeds * len(bundle.tasks) <= driver.ALONGSIDE
    assert any(len(bundle.tasks) > 1 for bundle in bundles) == (seeds < 20 and jobs < 7)


def test_bundles_hold_points_of_the_same_cards_and_people(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "BUNDLES", 1)
    sets = ["providers.lab.card.covariance=full,diagonal", "humans.dims=2,3", "users.crowd.k=1,2"]
    bundles = driver.bundles(tasks_of(tiny, sets, 1, tmp_path), 1)
    kinds = [
        {(frozenset(card.model for card in t.question.all_cards), t.question.scenario.humans) for t in bundle.tasks}
        for bundle in bundles
    ]
    assert [len(bundle.tasks) for bundle in bundles] == [2, 2, 2, 2]
    assert [len(kind) for kind in kinds] == [1, 1, 1, 1]


# --- executors ----------------------------------------------------------------------------------------------


@pytest.fixture
def light(monkeypatch):
    """Workers that import nothing: their tasks are calls of Python's own functions."""
    monkeypatch.setattr(local_workers, "PRELOADED", [])


@pytest.mark.parametrize("make", [Serial, lambda: Local(1), lambda: Local(3)], ids=["serial", "local-1", "local-3"])
@pytest.mark.parametrize("tasks", [[], [-5], list(range(-20, 0))], ids=len)
def test_every_task_is_done_once(make, tasks, light):
    with make() as executor:
        found = list(executor.map(abs, tasks))
    assert sorted((o.task, o.result, o.died) for o in found) == [(t, abs(t), "") for t in tasks]


def test_a_worker_that_is_killed_takes_one_task_with_it(light):
    """raise_signal(0) does nothing; raise_signal(9) is what the kernel does to a worker when the memory is full."""
    died = [o for o in Local(2).map(signal.raise_signal, [0, 0, signal.SIGKILL, 0, signal.SIGSEGV, 0, 0]) if o.died]
    assert {(o.task, o.died.split(",")[0]) for o in died} == {
        (signal.SIGKILL, "its worker was killed by SIGKILL"),
        (signal.SIGSEGV, "its worker was killed by SIGSEGV"),
    }
    assert [o.died for o in Local(1).map(os._exit, [3])] == ["its worker ended with exit code 3"]


class Mortal(Serial):
    """Its worker dies over seed 1: the others' records are there, and seed 1 is left in the state of running."""

    def map(self, function, tasks):
        for bundle in tasks:
            if not any(1 in task.seeds for task in bundle.tasks):
                yield from super().map(function, [bundle])
                continue
            for task in bundle.tasks:
                for seed in task.seeds[: task.seeds.index(1)] if task.alone else ():
                    for _ in loop.run(task.question, [seed], task.record.folder):
                        pass
            yield driver.Outcome(bundle, None, "its worker was killed by SIGKILL")


@pytest.mark.parametrize("bundles", [driver.BUNDLES, 1])
def test_what_a_dead_worker_leaves_is_run_without_the_seed_it_died_of(bundles, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "BUNDLES", bundles)
    made = plan.make(str(tiny), designed(["users.crowd.k=1,2"]), [0, 1, 2])
    done = [event for event in driver.run(made, Mortal(), tmp_path / "s") if isinstance(event, driver.Done)]
    assert [list(event.failures) for event in done] == [[1], [1]]
    frame = table.read(tmp_path / "s").to_pandas().query("provider == 'lab'")
    assert list(frame["state"]) == ["finished", "failed", "finished"] * 2
    assert set(frame["why"].dropna()) == {"its worker was killed by SIGKILL"}


class Late(Serial):
    """Its worker dies over the first tasks when all of their seeds have finished, and before there are rows."""

    def map(self, function, tasks):
        for bundle in tasks:
            if all(task.alone for task in bundle.tasks):
                yield from super().map(function, [bundle])
                continue
            for task in bundle.tasks:
                for _ in loop.run(task.question, task.seeds, task.record.folder):
                    pass
            yield driver.Outcome(bundle, None, "its worker was killed by SIGKILL")


@pytest.mark.parametrize("seeds", [[0], [0, 1]])
def test_a_worker_that_dies_behind_its_last_seed_costs_no_result(seeds, tiny, tmp_path):
    made = plan.make(str(tiny), designed(["users.crowd.k=1,2"]), seeds)
    done = [event for event in driver.run(made, Late(), tmp_path / "s") if isinstance(event, driver.Done)]
    assert [list(event.failures) for event in done] == [[], []]
    list(driver.run(made, Serial(), tmp_path / "t"))
    assert (tmp_path / "s" / "sweep.parquet").read_bytes() == (tmp_path / "t" / "sweep.parquet").read_bytes()


def test_only_as_many_ray_workers_as_find_room():
    assert cluster.fitting(4, 0, {"CPU": 2.0}) == 2
    assert cluster.fitting(0, 0, {"CPU": 8.0}) == 8
    assert cluster.fitting(8, 0.5, {"CPU": 16.0, "GPU": 2.0}) == 4
    with pytest.raises(ScenarioError, match="wait for ever"):
        cluster.fitting(1, 1.0, {"CPU": 16.0})


def test_a_missing_ray_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ScenarioError, match=r"pip install 'ecosystem\[ray\]'"):
        cluster.Ray(1)


@pytest.mark.slow
def test_the_table_is_the_same_whoever_ran_it(finished, tiny, tmp_path):
    """Worker processes, and Ray where it is installed, against this process."""
    makers = {"local": lambda: Local(2)}
    try:
        import ray  # noqa: F401
    except ImportError:
        print("Ray is not installed: not compared")  # noqa: T201
    else:
        makers["ray"] = lambda: cluster.Ray(2)
    for name, make in makers.items():
        made = plan.make(str(tiny), designed(SETS))
        done = [event for event in driver.run(made, make(), tmp_path / name) if isinstance(event, driver.Done)]
        assert len(done) == 4
        assert (tmp_path / name / "sweep.parquet").read_bytes() == (finished / "sweep.parquet").read_bytes()


@pytest.mark.slow
def test_ray_refuses_a_gpu_that_is_not_there(tiny, tmp_path, capsys):
    pytest.importorskip("ray", reason="Ray is an extra")
    out = tmp_path / "out"
    command = ["sweep", tiny, "--set", "users.crowd.k=1,2", "--executor", "ray", "--jobs", "1", "--gpus-per-run", "64"]
    assert ecosystem(*command, "--out", out) == 64
    assert "wait for ever" in capsys.readouterr().err
    assert not out.exists()


# --- what is read from a table ------------------------------------------------------------------------------


def swept_of(folder, columns, y, worse=None, seeds=None, sampling="grid", logarithmic=()):
    """A sweep as it stands on disk, with these settings and numbers by run."""
    count = len(y)
    columns = {key: list(values) for key, values in columns.items()}
    worse = np.ones(count) if worse is None else worse
    words = np.where(np.asarray(worse) >= 1.25, "degrading", "stable")
    points = ["/".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    frame = {
        **columns,
        "point": points,
        "seed": list(range(count)) if seeds is None else list(map(int, seeds)),
        "provider": ["lab"] * count,
        "generation": [3] * count,
        "frechet": list(map(float, y)),
        "worse": list(map(float, worse)),
        "verdict": words.tolist(),
        "state": ["finished"] * count,
        "why": pa.nulls(count, pa.string()),
    }
    folder.mkdir(exist_ok=True)
    tree = {
        "scenario": "made",
        "sampling": sampling,
        "keys": {key: ",".join(map(str, dict.fromkeys(values))) for key, values in columns.items()},
        "varying": list(columns),
        "logarithmic": list(logarithmic),
        "seeds": sorted(set(frame["seed"])),
        "points": [{"point": point, "settings": {}} for point in dict.fromkeys(points)],
    }
    (folder / "sweep.json").write_text(json.dumps(tree))
    table.write(pa.table(frame).replace_schema_metadata({"judged": '{"lab": ["frechet"]}'}), folder)
    return swept.read(folder)


def grid(*levels, seeds):
    """Columns of a grid with seeds, each row a run."""
    rows = list(itertools.product(*levels, range(seeds)))
    return [np.array(column) for column in zip(*rows, strict=True)]


def test_main_effects_are_means_with_students_interval(tmp_path):
    a, b, seed = grid([1, 2], ["x", "y", "z"], seeds=4)
    y = stream(1, "test", "effects").normal(size=len(a)) + a
    made = swept_of(tmp_path / "s", {"a": a, "b": b}, y, seeds=seed)
    for key, column in (("a", a), ("b", b)):
        for level in effects.main_effect(made, made.levels(key)):
            own = y[column.astype(str) == level.label]
            half = {12: 2.200985, 8: 2.364624}[len(own)] * own.std(ddof=1) / math.sqrt(len(own))
            assert (level.runs, level.mean.effect) == (len(own), pytest.approx(own.mean()))
            assert level.mean.high - level.mean.low == pytest.approx(2 * half, rel=1e-5)


def test_the_variance_ratio_finds_what_was_put_in(tmp_path):
    """Y = 2 a + b + noise over two levels -1, 1 each: S_a = 4 / 6, S_b = 1 / 6, and seeds make the other 1 / 6."""
    a, b, c, seed = grid([-1, 1], [-1, 1], [-1, 1], seeds=200)
    y = 2 * a + b + stream(2, "test", "ratio").normal(size=len(a))
    found = effects.sensitivities(swept_of(tmp_path / "s", {"a": a, "b": b, "c": c}, y, seeds=seed))
    assert "variance ratio" in found.method
    for one, truth in zip(found.keys, (4 / 6, 1 / 6, 0), strict=True):
        assert one.share == pytest.approx(truth, abs=0.03)
        assert one.low - 0.01 <= truth <= one.high + 0.01
    assert found.seeds == pytest.approx(1 / 6, abs=0.02)


def test_the_variance_ratio_of_noise_is_zero_on_average(tmp_path):
    """Without the correction it would be (L - 1) / (N - 1) = 0.32."""
    groups = np.repeat(np.arange(8), 3)
    shares = [effects.explained(groups, stream(i, "test", "noise").normal(size=24)) for i in range(300)]
    assert abs(np.mean(shares)) < 4 * np.std(shares) / math.sqrt(300)


def test_rbd_fast_finds_ishigamis_indices(tmp_path):
    """sin x + 7 sin^2 y + 0.1 z^4 sin x on [-pi, pi]: S = 0.314, 0.442, 0 (Ishigami and Homma 1990)."""
    points = settings(["x=-3.14159..3.14159", "y=-3.14159..3.14159", "z=-3.14159..3.14159"], "sobol", 1024)
    x, y, z = (np.array([float(p[key]) for p in points]) for key in "xyz")
    made = swept_of(
        tmp_path / "s",
        {"x": x, "y": y, "z": z},
        np.sin(x) + 7 * np.sin(y) ** 2 + 0.1 * z**4 * np.sin(x),
        seeds=np.zeros(1024, int),
        sampling="sobol",
    )
    found = effects.sensitivities(made)
    assert "RBD-FAST" in found.method
    for one, truth in zip(found.keys, (0.314, 0.442, 0.0), strict=True):
        assert one.share == pytest.approx(truth, abs=0.05)
        assert one.low < truth < one.high
    assert found.seeds is None, "one run a point says nothing of seeds"


def test_nothing_varies_nothing_is_explained(tmp_path):
    a, seed = grid([1, 2, 3], seeds=3)
    found = effects.sensitivities(swept_of(tmp_path / "s", {"a": a}, np.ones(9), seeds=seed))
    assert [one.share for one in found.keys] == [None]


def test_the_logistic_fit_is_the_most_likely_one():
    """Newton's method against a general minimiser, weights included."""
    rng = stream(3, "test", "logistic")
    z = rng.normal(size=60)
    bad = (rng.random(60) < 1 / (1 + np.exp(-(0.7 + 2 * z)))).astype(float)
    weights = rng.multinomial(60, np.full(60, 1 / 60), 4).astype(float)

    def loss(ab, w):
        logit = ab[0] + ab[1] * z
        return (w * (np.logaddexp(0, logit) - bad * logit)).sum() + boundary.RIDGE / 2 * ab[1] ** 2

    for found, w in zip(boundary.half_way(z, bad, weights), weights, strict=True):
        a, b = minimize(loss, [0, 0], args=(w,), tol=1e-10).x
        assert found == pytest.approx(-a / b, abs=1e-4)


def test_the_boundary_is_found_and_its_interval_covers(tmp_path):
    """Bad with probability 1 / (1 + exp(-4 (log2 k - 3))): half at k = 8. 95 % intervals, 20 sweeps."""
    covered = 0
    for i in range(20):
        k, seed = grid([1, 2, 4, 8, 16, 32, 64], seeds=20)
        bad = stream(i, "test", "boundary").random(len(k)) < 1 / (1 + np.exp(-4 * (np.log2(k) - 3)))
        made = swept_of(tmp_path / "s", {"k": k}, k, worse=np.where(bad, 2.0, 1.0), seeds=seed)
        (one,) = boundary.boundaries(made)
        assert one.at is None or 4 < one.at < 16
        covered += one.at is not None and one.low <= 8 <= one.high
    assert covered >= 16, "15 or fewer of 20 would happen three times in 1,000 if the intervals were right"


def test_values_that_part_good_and_bad_give_the_middle_between_them(tmp_path):
    k, archive, seed = grid([1, 2, 4, 8], [10, 20], seeds=3)
    worse = np.where((archive == 10) & (k > 2), 3.0, 1.0)
    found = {
        (one.key, *one.held.values()): one
        for one in boundary.boundaries(
            swept_of(tmp_path / "s", {"k": k, "archive": archive}, k, worse=worse, seeds=seed)
        )
    }
    assert len(found) == 2 + 4
    turned = found["k", "10"]
    assert turned.between == ((2.0, 4.0),)
    assert turned.at == pytest.approx(3.0, abs=0.05)
    assert found["k", "20"].between == ()
    assert found["archive", "4"].between == ((10.0, 20.0),)
    words = [report.in_words(one, report.glyphs_for(Console(width=80))) for one in found.values()]
    assert "k, archive = 20: no flip between 1 and 8 (bad: 0.0 % at 1, 0.0 % at 8; 12 runs)" in words


def test_levels_of_a_sample_are_bins_with_as_many_points(tmp_path):
    x = np.arange(100.0) ** 3
    k = np.repeat(np.arange(1, 21), 5)
    made = swept_of(tmp_path / "s", {"x": x, "k": k}, x, sampling="lhs")
    for key in ("x", "k"):
        levels = made.levels(key)
        assert levels.binned
        assert np.bincount(levels.index).tolist() == [20] * 5
    assert levels.labels == ("1..4", "5..8", "9..12", "13..16", "17..20")


# --- the report ---------------------------------------------------------------------------------------------


def printed(folder, width=80, **options):
    console = Console(width=width, record=True, file=open(os.devnull, "w"), **options)  # noqa: PTH123, SIM115
    report.of(folder).show(console)
    return console.export_text()


@pytest.fixture
def two_keys(tmp_path):
    k, archive, seed = grid([1, 2, 4, 8], [10, 20, 40], seeds=3)
    swept_of(
        tmp_path / "s",
        {"users.crowd.k": k, "web.archive": archive},
        k / archive,
        worse=np.where(k > archive / 8, 2.0, 1.0),
        seeds=seed,
    )
    return tmp_path / "s"


def test_the_phase_diagram_has_the_verdict_of_every_cell(two_keys):
    lines = [line.split() for line in printed(two_keys).splitlines()]
    rows = {
        line[0]: line[1::2] for line in lines if line and line[0] in ("10", "20", "40") and line[1:] and line[1] in "SD"
    }
    assert rows == {"40": ["S", "S", "S", "D"], "20": ["S", "S", "D", "D"], "10": ["S", "D", "D", "D"]}
    assert [line[0] for line in lines if line and line[0] in rows and line[1] in "SD"] == ["40", "20", "10"], (
        "y grows upwards"
    )


@pytest.mark.parametrize("width", [40, 120])
def test_no_line_is_too_wide_and_colour_is_no_news(two_keys, width):
    plain = printed(two_keys, width)
    assert max(map(len, plain.splitlines())) <= width
    assert printed(two_keys, width, no_color=True) == plain
    assert printed(two_keys, width, force_terminal=True, color_system="truecolor") == plain


def test_a_report_survives_a_pipe_and_an_ascii_locale(finished):
    pipe = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    report.of(finished).show(Console(file=pipe, width=80))
    pipe.flush()
    text = pipe.buffer.getvalue().decode("ascii")
    for title in ("Phase diagram", "Main effects", "Sensitivity", "Where it turns"):
        assert title in text
    assert "\x1b" not in text


def test_the_figure_shows_each_verdict_in_its_colour(two_keys):
    from PIL import Image

    (path,) = report.of(two_keys).save_figures()
    assert path == two_keys / "figures" / "phase-lab-frechet.png"
    colours = {colour for _, colour in Image.open(path).convert("RGB").getcolors(1 << 20)}
    shown = {word for word, fill in report.phase.FILL.items() if tuple(bytes.fromhex(fill[1:])) in colours}
    assert shown == {"stable", "degrading"}


def test_the_json_object_has_what_the_text_has(finished, capsys):
    capsys.readouterr()
    assert ecosystem("sweep-report", finished, "--json", "--metric", "mean-error", "--provider", "rival") == 0
    tree = json.loads(capsys.readouterr().out)
    assert (tree["provider"], tree["metric"], tree["runs"], tree["failed"]) == ("rival", "mean-error", 8, 0)
    assert len(tree["phase"]["cells"]) == len(tree["verdicts"]) == 4
    assert [one["key"] for one in tree["sensitivity"]["keys"]] == ["users.crowd.k", "web.archive"]
    assert {one["level"] for one in tree["effects"]["web.archive"]} == {"30", "60"}


def test_one_key_one_run_and_words_for_values(tmp_path):
    """Whatever was swept, there is something to read."""
    cases = {
        "words": ({"m": ["a", "b"] * 2}, [1.0, 2.0, 3.0, 4.0]),
        "one": ({"k": [3]}, [1.0]),
        "mixed": ({"k": [1, 2, None, 1]}, [1.0, 2.0, 3.0, 3.0]),
        "three": ({"k": [1, 2, 1, 2], "m": ["a", "a", "b", "b"], "n": [1, 1, 2, 2]}, [1.0, 2.0, 3.0, 3.0]),
    }
    for name, (columns, y) in cases.items():
        swept_of(tmp_path / name, columns, y)
        assert "Main effects" in printed(tmp_path / name)
        made = report.of(tmp_path / name)
        json.dumps(made.as_json(), allow_nan=False)
        assert len(made.save_figures()) == 1


@pytest.mark.parametrize(
    ("options", "told"), [(["--metric", "mean-eror"], "mean-error"), (["--provider", "labb"], "lab")]
)
def test_unknown_names_are_refused_with_a_suggestion(finished, options, told, capsys):
    assert ecosystem("sweep-report", finished, *options) == 64
    assert f"did you mean `{told}`?" in capsys.readouterr().err


def test_no_sweep_no_report(finished, tmp_path, capsys):
    assert ecosystem("sweep-report", tmp_path) == 74
    assert "holds no sweep" in capsys.readouterr().err
    for name, text, told in (("sweep.json", "{", "not JSON"), ("sweep.parquet", "none", "cannot be read")):
        broken = tmp_path / name.replace(".", "-")
        broken.mkdir()
        for part in ("sweep.json", "sweep.parquet"):
            (broken / part).write_bytes((finished / part).read_bytes())
        (broken / name).write_text(text)
        with pytest.raises(RecordError, match=told):
            swept.read(broken)
    assert issubclass(RecordError, EcosystemError)


# --- figures ------------------------------------------------------------------------------------------------

SHORT = TINY.replace("rounds: 3", "rounds: 1").replace(", {name: rival, card: {family: gaussian}}", "")


def swept_in(executor, path, folder, sets, seeds):
    """Seconds, and the plan."""
    made = plan.make(str(path), designed(sets), seeds)
    began = time.perf_counter()
    list(driver.run(made, executor, folder))
    return time.perf_counter() - began, made


@pytest.mark.bench
def test_what_a_point_costs_beyond_its_run(tmp_path):
    """64 points of one round of a closed form, against loop.run on the same 64 questions."""
    (tmp_path / "s.yaml").write_text(SHORT)
    sets = ["users.crowd.k=1,2,3,4,5,6,7,8", "web.archive=" + ",".join(map(str, range(30, 38)))]
    swept_in(Serial(), tmp_path / "s.yaml", tmp_path / "warm", ["users.crowd.k=1"], [0])
    seconds, made = swept_in(Serial(), tmp_path / "s.yaml", tmp_path / "sweep", sets, [0])
    began = time.perf_counter()
    for digest, point in made.runs.items():
        list(loop.run(point.question, [0], tmp_path / "bare" / digest))
    bare = time.perf_counter() - began
    overhead = (seconds - bare) / 64
    print(f"\na run alone {1000 * bare / 64:.0f} ms, in a sweep {1000 * overhead:.0f} ms more   (limit 50 ms)")  # noqa: T201
    assert overhead < 0.05


def burn(_):
    return sum(i * i for i in range(10_000_000))


@pytest.mark.bench
def test_two_workers_are_nearly_as_much_faster_as_two_processes_can_be(tmp_path):
    """64 short runs of a closed form, beside pure Python: two processors may be two threads of one core.

    The workers' start, once a sweep, is measured apart.
    """
    (tmp_path / "s.yaml").write_text(SHORT.replace("rounds: 1", "rounds: 40"))
    sets = ["users.crowd.k=1,2,3,4,5,6,7,8", "web.archive=" + ",".join(map(str, range(30, 38)))]
    executor = Local(2)
    start, _ = swept_in(executor, tmp_path / "s.yaml", tmp_path / "warm", ["users.crowd.k=1,2"], [0])
    ratios = []
    for i in range(3):
        one, _ = swept_in(Serial(), tmp_path / "s.yaml", tmp_path / f"one-{i}", sets, [0])
        two, _ = swept_in(executor, tmp_path / "s.yaml", tmp_path / f"two-{i}", sets, [0])
        took = []
        for bare in (Serial(), executor):
            began = time.perf_counter()
            list(bare.map(burn, range(8)))
            took.append(time.perf_counter() - began)
        ratios.append((one / two, took[0] / took[1]))
    told = f"first points after {start:.1f} s; 64 runs {one:.1f} s in this process, {two:.1f} s on two workers; ratios"
    shown = ", ".join(f"{ours:.2f} of {bare:.2f}" for ours, bare in ratios)
    print(f"\n{told} {shown}   (limit 0.9 of it)")  # noqa: T201
    assert max(ours / bare for ours, bare in ratios) >= 0.9
