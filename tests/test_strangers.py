"""A run directory may be a stranger's, or damaged: it is reported on or refused, and nothing else happens.

Nothing in it reaches the terminal as more than text, nothing outside of it is opened, nothing waits or eats the memory.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import ecosystem as eco
from ecosystem import cli
from ecosystem.commands.compare import compare
from ecosystem.documents import dump, read
from ecosystem.rng import stream

TINY = """\
name: tiny
rounds: 3
humans: {source: gaussian, held_out: 60}
web: {archive: 50, retention: {synthetic_rounds: 1}}
users: [{name: crowd, count: 25}]
providers: [{name: lab, card: {family: gaussian}}, {name: idle, model: gaussian, retrain: {every: 2}}]
metrics: [frechet, recall]
claims: [{metric: frechet, of: lab, is: increasing}]
checkpoint_minutes: 0
checkpoint_keep: null
"""
HOSTILE = (
    "[red]markup[/red] [link=http://evil]here[/link] [/] \x1b[31mred\x1b]8;;http://evil\x07link\x1b]8;;\x07 "
    "\x9b2J\x07\x08\x7f \u202egnp.exe\u2066 \u200b \ufeff \udcff \r\nline \x1bPq tail"
)
SCREEN = 24  # lines of a refusal
SECONDS = 20  # a report that takes longer hangs

alone = typer.Typer()
alone.command()(compare)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    (folder / "tiny.yaml").write_text(TINY)
    return eco.run(str(folder / "tiny.yaml"), seeds=[0, 1], out=folder / "run").record.folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to be meddled with."""
    return Path(shutil.copytree(made, tmp_path / "run", symlinks=True))


@contextmanager
def in_time() -> Iterator[None]:
    def late(*_: object) -> None:
        raise AssertionError(f"it hangs: {SECONDS} s are over")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def told(command: str, *arguments: Any) -> int:
    """The exit code of a command in this process."""
    app = {"report": cli.app, "compare": alone}[command]
    words = [*(["report"] if command == "report" else []), *map(str, arguments)]
    with in_time():
        return cli.guarded(lambda: app(words, standalone_mode=False))


def harmless(text: str) -> bool:
    """Whether a terminal shows it and does nothing else."""
    return all(c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in text)


def meddled(run: Path, change: Callable[[Any], None]) -> None:
    """Write another record of what was asked."""
    path = run / "scenario.resolved.yaml"
    tree = read(path).data
    change(tree)
    path.write_text(dump(tree))


def lines_of(run: Path, seed: int = 0) -> list[Any]:
    return [json.loads(line) for line in (run / f"seed-{seed}" / "metrics.jsonl").read_text().splitlines()]


def write_lines(run: Path, lines: list[Any], seed: int = 0) -> None:
    (run / f"seed-{seed}" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


# --- texts by others ----------------------------------------------------------------------------------------


def test_no_text_of_a_record_does_anything_to_a_terminal(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the text is what a provider stopped of, and so in red."""
    writable = HOSTILE.replace("\udcff", "")

    def change(tree: Any) -> None:
        tree["scenario"]["question"] = tree["scenario"]["about"] = writable * 20
        tree["scenario"]["papers"] = [writable] * 50
        for card in tree["cards"].values():
            card["name"], card["about"], card["papers"] = writable[:60], writable, [writable]

    meddled(run, change)
    lines = lines_of(run)
    lines[-1]["providers"]["lab"]["stopped"] = HOSTILE * 5000  # a megabyte
    del lines[-1]["providers"]["lab"]["trained"]
    write_lines(run, lines)
    assert told("report", run) == 0
    out, err = capsys.readouterr()
    assert harmless(out) and err == ""
    assert "[red]markup[/red] [link=http://evil]here[/link]" in out, "it is text, and shown as it is"
    assert "stopped in seed 0" in out and len(out.splitlines()) < 300
    for option in ((), ("--csv",), ("--md",), ("--json",)):
        assert told("compare", run, run, *option) == 0
        out, err = capsys.readouterr()
        assert harmless(out) and err == ""


LONG = pytest.param("n" * 10**6, id="1 MB", marks=pytest.mark.faults)


@pytest.mark.parametrize("name", ["[red]x[/red]", "\x1b[31mx", "\u202ex", "n" * 10**4, "../../x", "", LONG], ids=ascii)
def test_a_name_that_is_none_is_refused_with_a_harmless_message(
    name: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(tree: Any) -> None:
        tree["scenario"]["providers"][0]["name"] = name
        tree["cards"][name] = tree["cards"].pop("lab")

    meddled(run, change)
    assert told("report", run) == 74
    out, err = capsys.readouterr()
    assert out == "" and harmless(err) and len(err) < 4_000 and len(err.splitlines()) <= SCREEN


def test_the_name_of_a_directory_does_nothing_either(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a stranger's too, where it came in an archive; a refusal that suggests it prints it."""
    hostile = Path(shutil.copytree(run, run.parent / "out" / "\x1b[31m[red]\u202erun"))
    assert told("report", hostile.parent) == 74
    out, err = capsys.readouterr()
    assert out == "" and harmless(err) and "Did you mean" in err
    for option in ((), ("--csv",), ("--md",), ("--json",)):
        assert told("compare", run, hostile, *option) == 0
        assert harmless(capsys.readouterr().out)


# --- numbers by others --------------------------------------------------------------------------------------

LAB = ("providers", "lab", "trained")
WRONG: dict[str, tuple[tuple[str | int, ...], Any]] = {
    "text for a number": ((*LAB, "metrics", "frechet"), "0.5"),
    "text for a count": (("web", "pages"), "75"),
    "true for a count": (("web", "pages"), True),
    "a list for a number": ((*LAB, "lambda"), [1]),
    "NaN": ((*LAB, "metrics", "frechet"), float("nan")),
    "Infinity": ((*LAB, "metrics", "frechet"), float("inf")),
    "a negative count": ((*LAB, "pages"), -1),
    "no pages": ((*LAB, "pages"), 0),
    "a huge count": (("web", "pages"), 10**30),
    "no replicates": ((*LAB, "replicates"), None),
    "a group more": ((*LAB, "replicates", "frechet"), [0.5] * 9),
    "a page of nobody": ((*LAB, "by_batch"), [[99, 1]]),
    "a maker who is nobody": (("web", "published"), [[0, "ghost", 1, 5]]),
    "a generation to come": (("web", "published"), [[0, "lab", 10**15, 5]]),
    "a maker without a model": (("web", "published"), [[0, "human", -1, 5], [1, "nobody", 0, 5]]),
    "another provider": (("providers",), {"ghost": {"generation": 0, "vote_share": None}}),
    "a training of nothing": (LAB, None),
    "an unhashable round": (("round",), [1]),
    "an accuracy in words": (("classifier_accuracy",), "good"),
    "a reason of numbers": (("providers", "lab", "stopped"), 5),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_line_with_a_wrong_number_is_refused_by_its_place(
    case: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, value = WRONG[case]
    lines = lines_of(run)
    here = lines[1]
    for part in place[:-1]:
        here = here[part]
    here[place[-1]] = value
    write_lines(run, lines)
    for command in (("report", run), ("compare", run, run)):
        assert told(*command) == 74
        out, err = capsys.readouterr()
        assert out == "" and harmless(err) and len(err.splitlines()) <= SCREEN
        assert re.search(r"seed-0/metrics\.jsonl:[23]\b", err), err
        assert "Remedy" in err


@pytest.mark.parametrize("token", ["NaN", "-Infinity", "1e999", "1" * 5_000, "[" * 100_000, '"\\ud800"'])
def test_a_token_that_is_no_json_of_ours(token: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "seed-1" / "metrics.jsonl"
    text = path.read_text()
    path.write_text(re.sub(r'("frechet": )[0-9.e-]+', lambda match: match[1] + token, text, count=1))
    assert told("report", run) == 74
    out, err = capsys.readouterr()
    assert out == "" and "seed-1/metrics.jsonl:1" in err and len(err) < 4_000 and harmless(err)


def test_numbers_as_large_as_there_are(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever their sums and ratios, there is a report."""
    lines = lines_of(run)
    for line, value in zip(lines, (1e308, -1e308, 1e-320), strict=True):
        for row in line["providers"].values():
            if "trained" in row:
                row["trained"]["metrics"] = dict.fromkeys(row["trained"]["metrics"], value)
                row["trained"]["replicates"] = dict.fromkeys(row["trained"]["replicates"], [value] * 8)
    for seed in (0, 1):
        write_lines(run, lines, seed)
    with np.errstate(all="ignore"):
        assert told("report", run) == told("compare", run, run) == 0
    assert harmless(capsys.readouterr().out)


def header(shape: str, descr: str = "'<f8'") -> bytes:
    """An .npy file that says so and holds next to nothing."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(64)


ARRAYS = {
    "10^12 items": header("(1000000000000, 2)"),
    "10^30 items": header("(1000000000000000000000000000000, 2)"),
    "no end of nothing": header("(1000000000000000000000000000000, 0)"),
    "10^10 items": header("(5000000000, 2)"),
    "a negative shape": header("(-5, 2)"),
    "a shape of text": header("('a', 2)"),
    "objects": header("(2, 2)", "'|O'"),
    "text": header("(2, 2)", "'<U4'"),
    "complex numbers": header("(2, 2)", "'<c16'"),
    "fields": header("(2,)", "[('a', '<f8'), ('b', '<f8')]"),
    "code": header("__import__('os').system('true')"),
    "open brackets": header("(" * 50),
    "another shape": header("(4, 2, 1)"),
    "no dimension": header("()"),
    "an archive": b"PK\x03\x04" + bytes(100),
    "a pickle": b"\x80\x04\x95" + bytes(100),
    "nothing": b"",
}


@pytest.mark.parametrize("case", ARRAYS)
def test_a_gallery_that_is_none(case: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused before so much memory is asked for, and without loading an object."""
    file = "human.npy" if len(case) % 2 else "lab-001.npy"
    (run / "seed-0" / "gallery" / file).write_bytes(ARRAYS[case])
    assert told("report", run) == 74
    out, err = capsys.readouterr()
    assert out == "" and "seed-0" in err and "Remedy" in err and harmless(err)


@pytest.mark.parametrize("values", [np.nan, np.inf, -np.inf, 1e308])
def test_a_gallery_of_numbers_that_are_none_is_drawn(
    values: float, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (run / "seed-0" / "gallery").glob("*.npy"):
        samples = np.load(path, allow_pickle=False)
        samples[::2] = values
        np.save(path, samples, allow_pickle=False)
    with np.errstate(all="ignore"):
        assert told("report", run) == 0
    assert harmless(capsys.readouterr().out)


# --- files by others ----------------------------------------------------------------------------------------

OPENED: list[str] | None = None


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if OPENED is not None and event == "open" and isinstance(arguments[0], str | bytes):
        OPENED.append(os.path.realpath(os.fsdecode(arguments[0])))


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """Every file that Python opens meanwhile, links followed."""
    global OPENED
    if not getattr(sys, "_test_strangers_listen", False):
        sys.addaudithook(_listen)  # for good: there is no way to take it off
        sys._test_strangers_listen = True  # type: ignore[attr-defined]
    OPENED = found = []
    try:
        yield found
    finally:
        OPENED = None


def every_file(run: Path) -> list[Path]:
    return sorted(path.relative_to(run) for path in run.rglob("*") if path.is_file())


@pytest.mark.parametrize("seldom", [False, pytest.param(True, marks=pytest.mark.faults)])
def test_no_link_is_followed_out_of_the_run(seldom: bool, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """File by file: what it leads to is the very file it was, so that nothing but the link could be minded."""
    outside = run.parent / "outside"
    refused = 0
    for name in every_file(run):
        if not seldom and ("seed-1" in name.parts or {"checkpoints", "pages", "figures"} & {*name.parts}):
            continue
        shutil.rmtree(outside, ignore_errors=True)
        outside.mkdir()
        kept = run / name
        kept.rename(outside / kept.name)
        kept.symlink_to(outside / kept.name)
        with opened_files() as opened:
            code = told("report", run)
        kept.unlink()
        (outside / kept.name).rename(kept)
        err = capsys.readouterr().err
        assert not [path for path in opened if path.startswith(str(outside))], name
        assert (code, "link" in err) in ((0, False), (74, True)), (name, err)
        refused += code == 74
    assert refused >= 5, "scenario, lines, galleries: what a report reads"


def test_nor_is_a_link_of_a_directory(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outside = run.parent / "outside"
    for name in ("seed-0/gallery", "seed-0"):
        (run / name).rename(outside)
        (run / name).symlink_to(outside)
        with opened_files() as opened:
            assert told("report", run) == 74
        (run / name).unlink()
        outside.rename(run / name)
        assert not [path for path in opened if path.startswith(str(outside))]
        assert "link" in capsys.readouterr().err


def test_a_link_within_the_run_is_as_good_as_the_file(run: Path) -> None:
    """So do tools that keep one copy of equal files; the run's own directory may be reached by a link as well."""
    gallery = run / "seed-0" / "gallery"
    (gallery / "human.npy").rename(run / "human.npy")
    (gallery / "human.npy").symlink_to(run / "human.npy")
    (run.parent / "link").symlink_to(run)
    assert told("report", run) == told("report", run.parent / "link") == 0


def test_a_report_opens_no_path_that_the_scenario_names(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a folder of images nor a card: all that it needs of them is on record."""
    strange = run.parent / "strange"
    (strange / "MNIST" / "raw").mkdir(parents=True)
    (strange / "mine.yaml").write_text("name: mine\nabout: a test\nmodel: {family: gaussian}\n")

    def change(tree: Any) -> None:
        tree["scenario"]["humans"] = {"source": "mnist", "root": str(strange), "held_out": 60, "labelled": False}
        tree["scenario"]["providers"][1]["model"] = str(strange / "mine.yaml")

    meddled(run, change)
    for path in (run / "seed-0" / "gallery").glob("*.npy"):
        np.save(path, np.zeros((4, 1, 28, 28), np.uint8), allow_pickle=False)
    (run / "summary.json").unlink()
    monkeypatch.setenv("ECOSYSTEM_DATA", str(strange / "data"))
    with opened_files() as opened:
        assert told("report", run) == 0
    inside = [path for path in opened if path.startswith(str(run))]
    assert inside and not [path for path in opened if path.startswith(str(strange))]


# --- the campaign of damage ---------------------------------------------------------------------------------

Damage = Callable[[Path, np.random.Generator, list[Path]], None]


def _cut(path: Path, rng: np.random.Generator, others: list[Path]) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.integers(max(len(data), 1)))])


def _flipped(path: Path, rng: np.random.Generator, others: list[Path]) -> None:
    data = bytearray(path.read_bytes())
    for at in rng.integers(len(data), size=3) if data else ():
        data[at] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(data))


def _noise(path: Path, rng: np.random.Generator, others: list[Path]) -> None:
    path.write_bytes(rng.bytes(path.stat().st_size))


def _swapped(path: Path, rng: np.random.Generator, others: list[Path]) -> None:
    other = others[int(rng.integers(len(others)))]
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def _twice(path: Path, rng: np.random.Generator, others: list[Path]) -> None:
    path.write_bytes(path.read_bytes() * 2)


def _instead(make: Callable[[Path], object]) -> Damage:
    def damage(path: Path, rng: np.random.Generator, others: list[Path]) -> None:
        path.unlink()
        make(path)

    return damage


DAMAGES: dict[str, Damage] = {
    "cut": _cut,
    "bits flipped": _flipped,
    "noise": _noise,
    "emptied": _instead(Path.touch),
    "deleted": _instead(lambda path: None),
    "swapped": _swapped,
    "twice": _twice,
    "a directory": _instead(Path.mkdir),
    "a link outside": _instead(lambda path: path.symlink_to("/etc/passwd")),
    "a broken link": _instead(lambda path: path.symlink_to("nowhere")),
    "a link in a circle": _instead(lambda path: path.symlink_to(path)),
    "a pipe": _instead(os.mkfifo),
    "a device": _instead(lambda path: path.symlink_to("/dev/zero")),
    "unreadable": lambda path, rng, others: path.chmod(0),  # to root it is as good as any
}


def case_of(made: Path, number: int) -> tuple[Path, str, np.random.Generator]:
    """Which file, and what befalls it: every kind of damage in turn, on files of every kind alike."""
    rng = stream(number, "damage", "choice")
    files: dict[str, list[Path]] = {}
    for file in every_file(made):
        files.setdefault(kind_of(file), []).append(file)
    alike = files[sorted(files)[int(rng.integers(len(files)))]]
    return alike[int(rng.integers(len(alike)))], list(DAMAGES)[number % len(DAMAGES)], rng


def kind_of(file: Path) -> str:
    return re.sub("[0-9]+", "N", file.as_posix())


def damaged(made: Path, folder: Path, number: int) -> tuple[Path, str]:
    """A copy of a run with one file damaged, and which and how."""
    name, kind, rng = case_of(made, number)
    run = Path(shutil.copytree(made, folder / f"run-{number}", symlinks=True))
    DAMAGES[kind](run / name, rng, [run / other for other in every_file(run) if other != name])
    return run, f"{kind}: {name}"


def outcome(code: int, out: str, err: str, what: str, run: Path) -> str:
    """Reported or refused; anything else fails."""
    assert "Traceback" not in err + out, (what, err)
    assert harmless(err) and len(err.splitlines()) <= SCREEN, (what, err)
    if code == 0:
        assert out.startswith("tiny") and "Reproduce:" in out, (what, out[:200])
        return "reported"
    assert code == 74 and out == "", (what, code, err)
    assert str(run) in err, (what, err)
    assert "Remedy" in err or "holds no run" in err or "nothing to report" in err, (what, err)
    return "refused"


def campaign(made: Path, folder: Path, cases: range, capsys: pytest.CaptureFixture[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for number in cases:
        run, what = damaged(made, folder, number)
        with np.errstate(all="ignore"):
            code = told("report", run)
        found[outcome(code, *capsys.readouterr(), what, run)] += 1
        shutil.rmtree(run)
    return found


def test_a_damaged_run_is_reported_or_refused(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = campaign(made, tmp_path, range(25), capsys)
    assert found.total() == 25 and min(found["reported"], found["refused"]) >= 4


@pytest.mark.faults
def test_hundreds_of_damaged_runs(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = campaign(made, tmp_path, range(25, 25 + 420), capsys)
    kinds = Counter(kind_of(case_of(made, number)[0]) for number in range(25, 25 + 420))
    with capsys.disabled():
        sys.stdout.write(f"\ndamaged runs: {dict(found)}, by kind of file {dict(kinds)}\n")
    assert found.total() == 420 and min(found.values()) >= 50


@pytest.mark.faults
def test_every_bit_of_a_line_may_flip(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file that a report is computed from: it is JSON by luck more often than any other is what it was."""
    found: Counter[str] = Counter()
    run = Path(shutil.copytree(made, tmp_path / "run"))
    path = run / "seed-0" / "metrics.jsonl"
    data = path.read_bytes()
    rng = stream(0, "damage", "bits")
    for _ in range(300):
        at = int(rng.integers(len(data)))
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :])
        with np.errstate(all="ignore"):
            code = told("report", run)
        found[outcome(code, *capsys.readouterr(), f"bit of byte {at}", run)] += 1
    with capsys.disabled():
        sys.stdout.write(f"\nflipped bits of a line: {dict(found)}\n")


@pytest.mark.faults
def test_every_number_may_be_another(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a stranger writes it: JSON without a fault, and a story that may not hold together."""
    found: Counter[str] = Counter()
    run = Path(shutil.copytree(made, tmp_path / "run"))
    whole = lines_of(run)
    numbers = [0, -1, 1, 2, 10**15, 1e308, -1e308, 1e-320, 0.5, 1.5, None]
    rng = stream(1, "damage", "numbers")
    for _ in range(300):
        lines = json.loads(json.dumps(whole))
        places = list(leaves(lines))
        for _ in range(int(rng.integers(1, 4))):
            around, part = places[int(rng.integers(len(places)))]
            around[part] = numbers[int(rng.integers(len(numbers)))]
        write_lines(run, lines)
        with np.errstate(all="ignore"):
            code = told("report", run)
        found[outcome(code, *capsys.readouterr(), "numbers", run)] += 1
    with capsys.disabled():
        sys.stdout.write(f"\nother numbers in a line: {dict(found)}\n")
    assert min(found.values()) >= 20


def leaves(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every number, as what is around it and where it is there."""
    for part, inner in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(inner, dict | list):
            yield from leaves(inner)
        elif isinstance(inner, int | float):
            yield tree, part


@pytest.mark.faults
@pytest.mark.parametrize("number", range(len(DAMAGES)))
def test_as_a_program(number: int, made: Path, tmp_path: Path) -> None:
    """A few in a process of their own, as a user starts it."""
    run, what = damaged(made, tmp_path, number)
    command = [sys.executable, "-m", "ecosystem", "report", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    outcome(done.returncode, done.stdout, done.stderr, what, run)
