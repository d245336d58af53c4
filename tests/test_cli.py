"""The command line, as it is written: what it prints where, what it writes, and its exit codes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import yaml

from ecosystem import cli

ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
HELD, REFUTED = "is: increasing", "is: decreasing"
UNDECIDED = "is: increasing}, {metric: frechet, of: lab, is: bounded, within: 1.000001"


def ecosystem(*arguments):
    """The command line in this process: its exit code."""
    return cli.guarded(lambda: cli.app([str(a) for a in arguments], standalone_mode=False))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_in):
    """A finished run of two seeds."""
    folder = tmp_path_factory.mktemp("finished")
    assert ecosystem("run", tiny_in(folder), "--seeds", "0-1", "--out", folder / "run") == 0
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it, at another place, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def no_constants(text):
    raise AssertionError(f"{text} is no JSON")


def object_of(text):
    return json.loads(text, parse_constant=no_constants)


# --- help, lists, usage -------------------------------------------------------------------------------------


def test_help_is_instant():
    """It imports nothing heavy, and says what commands there are."""
    script = (
        "import sys; from ecosystem import cli\n"
        "try: cli.app(['--help'])\n"
        "finally: print(*{'torch', 'mesa', 'pydantic', 'pandas', 'numpy'} & sys.modules.keys(), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr.strip() == ""
    for command in ("list", "check", "run", "report", "models"):
        assert f"  {command} " in done.stdout


def test_without_a_command_the_help_is_printed(capsys):
    assert ecosystem() == 0
    assert "Usage:" in capsys.readouterr().out


def test_version(capsys):
    from ecosystem import __version__

    assert ecosystem("--version") == 0
    assert capsys.readouterr().out.strip() == __version__


def test_lists_print_under_an_ascii_locale_without_importing_torch():
    script = (
        "import sys; from ecosystem import cli; sys.argv[1:] = ['list']\n"
        "try: cli.main()\n"
        "except SystemExit: assert cli.guarded(lambda: cli.app(['models'], standalone_mode=False)) == 0\n"
        "print(*{'torch', 'mesa', 'pandas'} & sys.modules.keys(), file=sys.stderr)"
    )
    environment = {**os.environ, **ASCII}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment, timeout=60)
    text = done.stdout.decode("ascii")
    assert "lambda-mixture" in text and "flow-matching-digits" in text
    assert (done.returncode, done.stderr.strip()) == (0, b"")


def test_a_reader_who_leaves_is_no_fault():
    """A process of its own, into a pipe that nobody reads: `ecosystem list | head -0`."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "ecosystem", "list"]
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, env={**os.environ, **ASCII}, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_model_that_was_not_measured_is_not_called_a_closed_form(capsys):
    assert ecosystem("models") == 0
    text = capsys.readouterr().out
    assert cli._baseline_words({"family": "diffusion", "train": {}}, []) == "not measured yet"
    assert "closed form" in next(line for line in text.splitlines() if line.startswith("gaussian "))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--bogus"], "No such option"),
        (["run"], "Missing argument 'SCENARIO'"),
        (["frob"], "No such command"),
        (["run", "a.yaml", "b.yaml"], "unexpected extra argument"),
        (["run", "a.yaml", "--set"], "requires an argument"),
        (["report", "x", "--json", "y"], "unexpected extra argument"),
        (["run", "ring-8", "--seeds", "x"], "`x` is no seed"),
        (["run", "ring-8", "--seeds", "²"], "`²` is no seed"),
        (["run", "ring-8", "--seeds", "-1"], "no seed"),
        (["run", "ring-8", "--seeds", "3-1"], "is empty"),
        (["run", "ring-8", "--seeds", ","], "names no seed"),
        (["run", "ring-8", "--seeds", "99999999999"], "is no seed"),
        (["run", "ring-8", "--set", "rounds"], "sets nothing"),
        (["run", "ring-9"], "did you mean `ring-8`?"),
        (["check", "ring-8", "--set", "rounds=many"], "must be a whole number"),
        (["check", "no.yaml"], "there is no such file"),
    ],
)
def test_wrong_usage_is_64_in_few_words(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ecosystem(*arguments) == 64
    out, err = capsys.readouterr()
    message = err[err.index("error: ") :]
    assert out == ""
    assert words in message
    assert len(message.splitlines()) <= 3
    assert list(tmp_path.iterdir()) == [], "nothing is written"


# --- check --------------------------------------------------------------------------------------------------


def test_check_says_what_would_be_run_and_writes_nothing(tiny, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ecosystem("check", tiny(), "--set", "rounds=4", "--set", "users.crowd.count=30") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "tiny: valid. 4 rounds, seeds 0." in out
    assert "50 of gaussian" in out and "ballots a round: 30" in out and "lab: in the scenario (gaussian)" in out
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


# --- run ----------------------------------------------------------------------------------------------------


def test_a_profile_says_where_all_of_the_time_went(tmp_path, tiny, capsys):
    assert ecosystem("run", tiny(), "--seeds", "0", "--out", tmp_path / "run", "--profile") == 0
    stdout, stderr = capsys.readouterr()
    assert "Where the time went" not in stdout, "the report is for the pipe"
    table = stderr[stderr.index("Where the time went") :]
    for phase in ("start: imports", "training", "sampling", "users ask and vote", "metrics", "records", "in all"):
        assert phase in table
    shares = [float(row.split()[-2]) for row in table.splitlines() if row.rstrip().endswith("%")][:-1]
    assert sum(shares) == pytest.approx(100, abs=1)


def test_run_prints_one_object_with_the_keys_of_the_interface(tmp_path, tiny, capsys):
    """Standard output is JSON alone; the progress is on standard error."""
    scenario, out = tiny(), tmp_path / "run"
    assert ecosystem("run", scenario, "--seeds", "0-1", "--out", out, "--json", "--check") == 0
    stdout, stderr = capsys.readouterr()
    assert "seed 0 and 1 more  round 3/3" in stderr
    summary = object_of(stdout)
    assert summary == object_of((out / "summary.json").read_text(encoding="utf-8"))
    assert summary.keys() >= {"scenario", "seeds", "rounds", "verdict", "providers", "web", "claims"}
    assert (summary["scenario"], summary["seeds"], summary["rounds"]) == ("tiny", [0, 1], 3)
    provider = summary["providers"]["lab"]
    assert provider.keys() >= {"verdict", "generations"}
    keys = {"generation", "round", "lambda", "synthetic_share", "metrics", "spread"}
    assert [g["lambda"] for g in provider["generations"]] == [0, 0.5, 0.5]
    for number, generation in enumerate(provider["generations"]):
        assert generation.keys() >= keys
        assert generation["generation"] == generation["round"] == number
        assert generation["metrics"].keys() == generation["spread"].keys()
    assert [web["round"] for web in summary["web"]] == [0, 1, 2]
    assert all(web.keys() >= {"round", "pages", "synthetic_share"} for web in summary["web"])
    assert summary["claims"][0]["verdict"] == "held"
    assert str(tmp_path) not in stdout, "a summary names no path"


def test_two_runs_in_two_places_give_the_same_bytes(tiny, tmp_path, finished):
    assert ecosystem("run", tiny(), "--seeds", "1,0", "--out", tmp_path / "again") == 0
    for name in ("summary.json", "seed-0/metrics.jsonl", "seed-1/metrics.jsonl", "scenario.resolved.yaml"):
        assert (tmp_path / "again" / name).read_bytes() == (finished / name).read_bytes(), name


def test_nothing_of_time_place_or_machine_is_in_the_results(finished):
    for name in ("summary.json", "seed-0/metrics.jsonl", "scenario.resolved.yaml"):
        text = (finished / name).read_text()
        for word in (str(finished), os.uname().nodename, time.strftime("%Y-%m"), "seconds"):
            assert word not in text, f"{word} in {name}"


def test_the_default_directory_is_named_by_scenario_and_question(tiny, tmp_path, monkeypatch, capsys):
    from ecosystem import scenarios

    monkeypatch.chdir(tmp_path)
    assert ecosystem("run", tiny(), "--set", "rounds=1") == 0
    digest = scenarios.load("tiny.yaml", {"rounds": "1"}).digest
    assert (tmp_path / "runs" / "tiny" / digest / "summary.json").exists()
    out = capsys.readouterr().out
    assert "undecided" in out


@pytest.mark.parametrize(("claim", "code"), [(HELD, 0), (REFUTED, 1), (UNDECIDED, 2)])
def test_check_exits_by_the_claims(claim, code, tiny, run, capsys):
    """And words and claims may change without running anew."""
    scenario = tiny((HELD, claim), ("name: tiny", "name: tiny\nabout: other words"))
    assert ecosystem("run", scenario, "--seeds", "0-1", "--out", run, "--check") == code
    assert "seed 0 and 1 more  on record already, kept" in capsys.readouterr().err


def test_only_check_judges(tiny, run):
    assert ecosystem("run", tiny((HELD, REFUTED)), "--seeds", "0-1", "--out", run) == 0


def test_a_bad_scenario_is_64_and_writes_nothing(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ecosystem("run", tiny(("rounds: 3", "rounds: x\nsites: 3")), "--out", tmp_path / "run") == 64
    out, err = capsys.readouterr()
    assert out == ""
    assert "tiny.yaml: 2 faults" in err and "tiny.yaml:2  rounds:" in err and "tiny.yaml:3  sites:" in err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_finished_seeds_are_kept_and_more_seeds_add(tiny, run, capsys):
    scenario = tiny()
    before = (run / "seed-1" / "manifest.json").stat().st_mtime_ns
    assert ecosystem("run", scenario, "--seeds", "1,2", "--out", run, "--json") == 0
    out, err = capsys.readouterr()
    assert "seed 1  on record already, kept" in err
    assert (run / "seed-1" / "manifest.json").stat().st_mtime_ns == before
    assert object_of(out)["seeds"] == [0, 1, 2], "a summary is over all seeds on record"


def test_an_unfinished_seed_is_run_again(tiny, run):
    (run / "seed-1" / "status.json").write_text('{"state": "interrupted", "rounds_done": 1}')
    (run / "seed-1" / "metrics.jsonl").write_text("")
    assert ecosystem("run", tiny(), "--seeds", "0-1", "--out", run) == 0
    assert len((run / "seed-1" / "metrics.jsonl").read_text().splitlines()) == 3


def test_another_question_is_refused_and_force_replaces_it(tiny, run, capsys):
    scenario = tiny()
    before = {path: path.read_bytes() for path in run.rglob("*.json*")}
    assert ecosystem("run", scenario, "--out", run, "--set", "web.archive=60") == 74
    err = capsys.readouterr().err
    assert "another question" in err and re.search(r"web\.archive: \d+ there, 60 here", err)
    assert "--force" in err and "ecosystem fork" in err
    assert {path: path.read_bytes() for path in run.rglob("*.json*")} == before
    assert ecosystem("run", scenario, "--out", run, "--set", "web.archive=60", "--force", "--json") == 0
    summary = object_of(capsys.readouterr().out)
    assert summary["seeds"] == [0], "no seed of the other question is left"
    assert summary["providers"]["lab"]["generations"][0]["data_set"]["pages"] == 60


def test_force_runs_the_same_question_again(tiny, run):
    before = (run / "seed-0" / "metrics.jsonl").read_bytes()
    (run / "seed-0" / "metrics.jsonl").write_text("")
    assert ecosystem("run", tiny(), "--seeds", "0", "--out", run, "--force") == 0
    assert (run / "seed-0" / "metrics.jsonl").read_bytes() == before
    assert (run / "seed-1").exists(), "other seeds of the same question stay"


def test_directories_that_cannot_hold_a_run(tiny, tmp_path, capsys):
    scenario = tiny()
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / "full", "/proc/run"):
        for force in ([], ["--force"]):
            assert ecosystem("run", scenario, "--out", out, *force) == 74
            assert "Choose another --out." in capsys.readouterr().err
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"


def test_two_processes_do_not_write_into_one_run(tiny, run, capsys):
    from ecosystem.locks import locked

    with locked(run):
        assert ecosystem("run", tiny(), "--seeds", "2", "--out", run) == 74
    assert "is being written by this very process" in capsys.readouterr().err
    assert ecosystem("run", tiny(), "--seeds", "2", "--out", run) == 0, "the lock is given back"


def test_a_provider_that_stops_is_70_and_leaves_records(tiny, tmp_path, capsys):
    """A learning rate of 1e12 ends in a loss that is no number; the other provider goes on."""
    train = "train: {budget_images: 6400, batch: 64, lr: 1e12}"
    card = f"{{family: flow-matching, net: {{kind: mlp, width: 8, depth: 1}}, {train}}}"
    scenario = tiny(("providers: [", f"providers: [{{name: wild, card: {card}}}, "))
    assert ecosystem("run", scenario, "--out", tmp_path / "run", "--json") == 70
    out, err = capsys.readouterr()
    summary = object_of(out)
    assert "error: provider wild, round 0: the loss became" in err
    assert [s["round"] for s in summary["providers"]["wild"]["stopped"]] == [0]
    assert summary["providers"]["wild"]["verdict"] == "undecided"
    assert len(summary["providers"]["lab"]["generations"]) == 3
    assert ecosystem("report", tmp_path / "run", "--json") == 0
    assert object_of(capsys.readouterr().out) == summary


def test_a_disk_that_fails_is_74_and_a_full_memory_70(capsys):
    def failing(error):
        def command():
            raise error

        return command

    assert cli.guarded(failing(OSError(28, "No space left on device", "x.npy"))) == 74
    assert cli.guarded(failing(MemoryError())) == 70
    assert cli.guarded(failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err.splitlines()[0] == "error: No space left on device: x.npy"


# --- interruptions ------------------------------------------------------------------------------------------


def main_of(arguments, *pipes):
    """What a process of its own does; it writes into the ends of pipes, as ASCII."""
    for number, end in enumerate(pipes, 1):
        os.dup2(end, number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="ascii") for number in (1, 2))
    sys.argv[1:] = map(str, arguments)
    cli.main()


def test_a_terminated_run_can_be_read(tiny, tmp_path, capsys, monkeypatch):
    """SIGTERM, as a scheduler sends it, to a process of its own: forked, for to import torch anew takes seconds."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    scenario = tiny(("rounds: 3", "rounds: 5000"), ("name: lab", "name: läb"), ("of: lab", "of: läb"))
    command = ["run", scenario, "--out", out := tmp_path / "run"]
    (stdout, writing), (stderr, telling) = os.pipe(), os.pipe()
    process = get_context("fork").Process(target=main_of, args=(command, writing, telling), daemon=True)
    process.start()
    os.close(writing)
    os.close(telling)
    with os.fdopen(stdout, encoding="ascii") as report, os.fdopen(stderr, encoding="ascii") as told:
        while "round 3/" not in (line := told.readline()):
            assert line, "it ended by itself"
        os.kill(process.pid, signal.SIGTERM)
        told, report = told.read(), report.read()
    process.join(timeout=60)
    assert process.exitcode == 130
    assert "error: interrupted; what was done is on record in" in told and "Traceback" not in told
    assert report.startswith("tiny") and "  lab  " in report, "the report, in ASCII"
    status = json.loads((out / "seed-0" / "status.json").read_text())
    assert status["state"] == "interrupted" and 3 <= status["rounds_done"] < 5000
    summary = object_of((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["providers"].keys() == {"läb"}
    assert ecosystem("report", out, "--json") == 0
    assert object_of(capsys.readouterr().out) == summary
    assert not [path for path in out.rglob("*") if path.name.startswith(".") and path.suffix != ".lock"]


def test_an_interruption_before_the_first_round_is_one_too(tiny, tmp_path, capsys, monkeypatch):
    from ecosystem import world

    def interrupted(self):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(world.World, "work", interrupted)
    assert ecosystem("run", tiny(), "--out", tmp_path / "run") == 130
    assert "error: interrupted" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "seed-0" / "status.json").read_text())["state"] == "interrupted"


def test_ctrl_c_between_two_rounds_is_on_record(tiny, tmp_path, monkeypatch, capsys):
    """SIGINT while the progress is printed, outside of the loop over rounds."""
    from ecosystem import progress

    def see(self, event):
        if event.kind == "round":
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(progress.Plain, "see", see)
    assert ecosystem("run", tiny(), "--out", tmp_path / "run") == 130
    assert "error: interrupted; what was done is on record in" in capsys.readouterr().err
    status = json.loads((tmp_path / "run" / "seed-0" / "status.json").read_text())
    assert (status["state"], status["rounds_done"]) == ("interrupted", 1)
    assert (tmp_path / "run" / "summary.json").exists()


# --- report -------------------------------------------------------------------------------------------------


def test_report_gives_what_the_run_gave_also_after_a_move(run, finished, capsys):
    assert ecosystem("report", run, "--json") == 0
    assert object_of(capsys.readouterr().out) == object_of((finished / "summary.json").read_text())
    assert ecosystem("report", run / "seed-0", "--json") == 0, "a seed's directory names its run"
    assert object_of(capsys.readouterr().out)["seeds"] == [0, 1]


def test_report_reads_cards_and_policies_as_they_were(tiny, tmp_path, capsys):
    """Named cards, cards in place, events and a long name, all from the records."""
    name = "a provider with a name of just about sixty characters in all"
    events = "\nevents: [{at: 1, set: {users.crowd.k: 2, scrapers.everything.budget: 40}}]"
    scenario = tiny(
        ("providers: [", "providers: [{name: named, model: gaussian-unbiased}, "),
        ("lab", name),
        ("rounds: 3", "rounds: 3" + events),
    )
    assert ecosystem("run", scenario, "--out", tmp_path / "run", "--json") == 0
    before = object_of(capsys.readouterr().out)
    assert before["providers"]["named"]["model"] == "gaussian-unbiased"
    scenario.unlink()
    assert ecosystem("report", tmp_path / "run", "--json") == 0
    assert object_of(capsys.readouterr().out) == before


@pytest.mark.parametrize("words", ["report RUN", "report RUN --json", "check SCENARIO"])
def test_a_closed_pipe_is_no_fault(words, finished, capsys, monkeypatch):
    """Nor is what the interpreter does with standard output at its end, to close it."""
    places = {"RUN": finished, "SCENARIO": finished.parent / "tiny.yaml"}
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="ascii", errors="replace") as closed, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", closed)
        assert ecosystem(*(places.get(word, word) for word in words.split())) == 0
    assert capsys.readouterr().err == ""


def test_report_prints_in_80_columns_of_ascii(finished, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    assert ecosystem("report", finished) == 0
    text = capsys.readouterr().out
    assert "\x1b[" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_a_cut_last_line_is_left_out(run, capsys):
    """As after a power failure; even in the middle of a letter."""
    path = run / "seed-1" / "metrics.jsonl"
    rows = path.read_bytes().splitlines(keepends=True)
    for cut in (rows[2][:40], rows[2][:-1], rows[2][:30] + "ä".encode()[:1]):
        path.write_bytes(rows[0] + rows[1] + cut)
        assert ecosystem("report", run, "--json") == 0
        summary = object_of(capsys.readouterr().out)
        assert [len(p["generations"]) for p in summary["providers"].values()] == [3]
        assert summary["seeds"] == [0, 1]


def test_one_closed_round_makes_a_report(run, capsys):
    for seed in ("seed-0", "seed-1"):
        path = run / seed / "metrics.jsonl"
        path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    for arguments in (["--json"], []):
        assert ecosystem("report", run, *arguments) == 0
        assert "undecided" in capsys.readouterr().out


def garbage(path):
    path.write_bytes(b"\x80\x04garbage: [")


def pickled(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def zipped(path):
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))


def wrong_shape(path):
    np.save(path, np.zeros((5, 7)))


def emptied(path):
    path.write_text("")


def of_another_shape(path):
    path.write_text('{"round": 0}\n{"round": 1}\n')


def without_numbers(path):
    line = json.loads(path.read_text().splitlines()[0])
    line["providers"]["lab"]["trained"].pop("metrics")
    path.write_text(json.dumps(line) + "\n")


def of_another_provider(path):
    path.write_text(path.read_text().replace('"lab"', '"bal"'))


def out_of_order(path):
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))


def broken_in_the_middle(path):
    rows = path.read_text().splitlines(keepends=True)
    path.write_text(rows[0] + rows[1][:50] + "\n" + rows[2])


def of_another_version(path):
    tree = yaml.safe_load(path.read_text())
    tree["scenario"]["users"][0]["mood"] = "bad"
    path.write_text(yaml.safe_dump(tree))


def without_cards(path):
    tree = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**tree, "cards": {}}))


DAMAGES = [
    ("scenario.resolved.yaml", garbage),
    ("scenario.resolved.yaml", emptied),
    ("scenario.resolved.yaml", of_another_version),
    ("scenario.resolved.yaml", without_cards),
    ("scenario.resolved.yaml", Path.unlink),
    ("seed-0/metrics.jsonl", broken_in_the_middle),
    ("seed-0/metrics.jsonl", of_another_shape),
    ("seed-0/metrics.jsonl", without_numbers),
    ("seed-0/metrics.jsonl", of_another_provider),
    ("seed-0/metrics.jsonl", out_of_order),
    ("seed-0/metrics.jsonl", Path.unlink),
    ("seed-0/gallery/human.npy", Path.unlink),
    ("seed-0/gallery/human.npy", garbage),
    ("seed-0/gallery/human.npy", pickled),
    ("seed-0/gallery/lab-001.npy", pickled),
    ("seed-0/gallery/lab-001.npy", zipped),
    ("seed-0/gallery/lab-001.npy", emptied),
    ("seed-0/gallery/lab-001.npy", wrong_shape),
    ("seed-0", shutil.rmtree),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES, ids=lambda value: getattr(value, "__name__", value))
def test_damaged_records_are_74_and_never_a_traceback(name, damage, run, capsys):
    shutil.rmtree(run / "seed-1")
    damage(run / name)
    assert ecosystem("report", run) == 74
    err = capsys.readouterr().err
    assert err.startswith("error: ") and len(err.splitlines()) <= 6
    assert str(run) in err, "it says where"


def test_a_damaged_status_is_74_when_a_seed_would_be_kept_or_not(run, tiny, capsys):
    for damage in (garbage, emptied, lambda path: path.write_text("[1]"), lambda path: path.write_text('{"state": 1}')):
        damage(run / "seed-0" / "status.json")
        assert ecosystem("run", tiny(), "--seeds", "0", "--out", run) == 74
        assert "status" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nothing", "file", "empty"])
def test_what_is_no_run_has_no_report(name, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    assert ecosystem("report", tmp_path / name) == 74
    assert str(tmp_path / name) in capsys.readouterr().err


def test_the_directory_above_a_run_names_the_run(finished, capsys):
    assert ecosystem("report", finished.parent) == 74
    assert f"Did you mean {finished}?" in capsys.readouterr().err


def test_the_time_left_counts_updates():
    """Generation 0 of lambda-mixture has ten times the updates of the others: they are not a ninth of the work each."""
    from ecosystem import scenarios
    from ecosystem.loop import Event
    from ecosystem.models.base import Update
    from ecosystem.progress import Clock, expected
    from ecosystem.world import Progress

    question = scenarios.load("lambda-mixture")
    first, second = (expected(question, round)["lab"] for round in (0, 1))
    assert (round(first), round(second)) == (3516, 352)
    clock = Clock(question, seeds=1)
    clock.see(Event("progress", 0, Progress(0, "retrain", "lab", Update(3516, 3516, 0.1))))
    assert 0.4 < clock.share < 0.6
    for number in range(9):
        clock.see(Event("round", 0, line={"round": number}))
    assert clock.share == pytest.approx(1.0)
