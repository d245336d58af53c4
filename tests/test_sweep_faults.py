"""A sweep that is killed, again and again, ends with the table of one that was not, and leaves nobody behind.

The killed processes are real ones, `python -m ecosystem sweep`, each in a session of its own; SIGKILL gives neither
them nor their workers any time to tidy up.
"""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

pytestmark = pytest.mark.faults

SCENARIO = """\
name: mortal
rounds: 100
humans: {source: gaussian}
web: {archive: 100, retention: {synthetic_rounds: 1}}
users: [{name: crowd, count: 100}]
providers: [{name: lab, card: {family: gaussian}}]
metrics: [model-variance, mean-error]
"""
POINTS = 12
KILLED_AT = (1, 4, 8)  # points that are done
PATIENCE_SECONDS = 180


def command(folder, scenario):
    sets = ["--set", "users.crowd.k=1,2,3,4,5,6", "--set", "web.archive=100,200", "--seeds", "0-3", "--jobs", "2"]
    return [sys.executable, "-m", "ecosystem", "sweep", scenario, *sets, "--out", folder]


@pytest.fixture(scope="module")
def scenario(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenario") / "mortal.yaml"
    path.write_text(SCENARIO)
    return path


@pytest.fixture(scope="module")
def table(scenario):
    """Of a sweep that was left in peace."""
    folder = scenario.parent / "whole"
    subprocess.run(command(folder, scenario), check=True, capture_output=True, timeout=PATIENCE_SECONDS)
    return (folder / "sweep.parquet").read_bytes()


@pytest.fixture
def start(tmp_path, scenario):
    """Starts the sweep into a directory, and at the end kills whatever the test has left of it."""
    started = []

    def start(folder):
        log = (tmp_path / "log").open("ab")
        # A shell that starts these tests in the background has them ignore Ctrl-C, and what they start inherits that.
        process = psutil.Popen(
            command(folder, scenario),
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.is_running():
            process.kill()


def done(folder):
    return len(list((folder / "rows").glob("*.json"))) if (folder / "rows").exists() else 0


def until(condition, what):
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.02)


def family_of(process):
    """The process and all that it has started: fork server, tracker and workers."""
    return [process, *process.children(recursive=True)]


def test_killed_three_times_the_table_is_that_of_a_sweep_that_was_not(start, table, tmp_path):
    folder = tmp_path / "killed"
    for points in KILLED_AT:
        process = start(folder)
        until(lambda points=points: done(folder) >= points, f"{points} points done")
        family = family_of(process)
        assert len(family) >= 4, "itself, fork server and two workers, at the least"
        os.kill(process.pid, signal.SIGKILL)
        _, left = psutil.wait_procs(family, timeout=10)
        assert left == [], "outlived their parent"
        assert done(folder) < POINTS, "it was killed in the middle"
    process = start(folder)
    assert process.wait(PATIENCE_SECONDS) == 0, (tmp_path / "log").read_text()
    assert (folder / "sweep.parquet").read_bytes() == table
    assert list(folder.glob(".*")) == [], "no temporary file and no lock is left"


def test_a_worker_that_the_kernel_kills_costs_no_result(start, table, tmp_path):
    """Whose worker died is run again, its seeds one by one, and the sweep ends as if nothing had been."""
    process = start(tmp_path / "s")
    until(lambda: done(tmp_path / "s") >= 1, "a point done")
    workers = [child for child in process.children(recursive=True) if is_worker(child)]
    assert len(workers) == 2
    workers[0].kill()
    assert process.wait(PATIENCE_SECONDS) == 0, (tmp_path / "log").read_text()
    assert (tmp_path / "s" / "sweep.parquet").read_bytes() == table


def is_worker(process):
    """Workers are the fork server's children."""
    parent = process.parent()
    return parent is not None and "forkserver" in " ".join(parent.cmdline()) and parent.ppid() != 1


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_stops_the_workers_and_keeps_what_is_done(start, tmp_path, name):
    folder = tmp_path / "s"
    process = start(folder)
    until(lambda: done(folder) >= 2, "two points done")
    family = family_of(process)
    os.kill(process.pid, getattr(signal, name))
    assert process.wait(60) == 130
    _, left = psutil.wait_procs(family, timeout=10)
    assert left == []
    assert (folder / "sweep.parquet").exists()
    states = {path.read_text() for path in folder.glob("points/*/seed-*/status.json")}
    assert not any('"running"' in state for state in states), "each was left with a readable record"
