"""Whatever stands in a scenario file, it is checked or refused: located, on one screen, at once, and never by accident.

A campaign of faults is generated from the shipped scenarios; a file that is still valid is no case and is not counted.
"""

from __future__ import annotations

import copy
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ecosystem import cli, grammar, scenarios
from ecosystem.documents import LIMIT_BYTES, FaultsError, Route, dump, read
from ecosystem.errors import ScenarioError

SCREEN = 24  # lines
SECONDS = 2.0
VALID = "name: x\nrounds: 3\nhumans: {source: gaussian}\nproviders: [{name: lab, model: gaussian}]\n"
QUARTER = LIMIT_BYTES - 200


def refusal(path: Path) -> str:
    """What is said of a file that is refused, at once and on one screen."""
    began = time.perf_counter()
    with pytest.raises(ScenarioError) as caught:
        scenarios.from_document(read(path), {})
    assert time.perf_counter() - began < 3 * SECONDS, "a slow machine may take longer than a second or two"
    message = str(caught.value)
    assert len(message.splitlines()) <= SCREEN and len(message) < 8_000
    assert all(c.isprintable() or c == "\n" for c in message)
    return message


# --- hostile files ------------------------------------------------------------------------------------------

HOSTILE: dict[str, tuple[Callable[[], str | bytes], str]] = {
    "billion laughs": (
        lambda: (
            'a: &a ["lol"]\n'
            + "".join(f"{chr(b)}: &{chr(b)} [{','.join([f'*{chr(b - 1)}'] * 9)}]\n" for b in range(98, 123))
        ),
        "is an anchor",
    ),
    "10,000 lists": (lambda: VALID + "about: " + "[" * 10_000 + "]" * 10_000, "nested deeper than 50"),
    "10,000 mappings": (lambda: VALID + "about: " + "{a: " * 10_000 + "1" + "}" * 10_000, "nested deeper than 50"),
    "10,000 dashes": (lambda: VALID + "about:\n  " + "- " * 10_000 + "1\n", "nested deeper than 50"),
    "many keys": (lambda: "".join(f"k{i}: 1\n" for i in range(QUARTER // 10)), "more than 20,000 keys and values"),
    "many items": (lambda: VALID + "seeds: [" + "1," * (QUARTER // 2) + "]\n", "more than 20,000 keys and values"),
    "many unknown": (lambda: VALID + "".join(f"k{i}: 1\n" for i in range(9_000)), "unknown key"),
    "many aliases": (lambda: VALID + "seeds: [" + "*a," * (QUARTER // 3 - 50) + "]\n", "is an alias"),
    "many of one key": (lambda: "a: 1\n" * (QUARTER // 5), "stands on line 1 and again"),
    "many events": (
        lambda: VALID + "events: [" + "{at: 1, set: {users.crowd.k: 2}}," * 390 + "]\n",
        "nothing is called `crowd`",
    ),
    "many groups": (lambda: VALID + "users: [" + "{name: a}," * 3_000 + "]\n", "300 or fewer"),
    "many seeds": (lambda: VALID + "seeds: '" + "0-9999," * 9_000 + "'\n", "over 10,000 seeds"),
    "many metrics": (lambda: VALID + "metrics: [" + "recall," * 15_000 + "]\n", "stands twice"),
    "a long word": (lambda: VALID + "metrics: [" + "r" * (QUARTER - 100) + "]\n", "there is no metric `rrr"),
    "a long name": (lambda: VALID.replace("lab", "l" * 200_000), "must have 60 or fewer characters"),
    "words": (lambda: VALID + "about: [" + "b " * (QUARTER // 2 - 100), "expected ',' or ']'"),
    "line breaks": (lambda: "\n" * QUARTER, "holds no settings"),
    "50 MB": (lambda: b"a: b\n" * (10 * 2**20), "more than the limit"),
    "1e999": (lambda: VALID.replace("rounds: 3", "rounds: 1e999"), "too large for a float"),
    "a huge integer": (lambda: VALID.replace("rounds: 3", "rounds: " + "9" * 5_000), "64 bits"),
    "not finite": (lambda: VALID.replace("gaussian}\n", "gaussian, std: .inf}\n", 1), "no finite number"),
    "a number as key": (lambda: VALID + "3: a\n", "the key `3` is a number"),
    "a list as key": (lambda: VALID + "? [a]\n: b\n", "a key must be text"),
    "a null character": (lambda: VALID + "about: \0\n", "U+0000"),
    "an escape": (lambda: VALID + "about: \x1b[31m\n", "U+001B"),
    "quoted escapes in a key": (lambda: VALID + '"\\e[31m\\u202e": 1\n', "\\x1b[31m\\u202e: unknown key"),
    "not UTF-8": (lambda: VALID.encode() + b"about: caf\xe9\n", "not UTF-8"),
    "UTF-16": (lambda: VALID.encode("utf-16"), "not UTF-8"),
    "a tab": (lambda: "name:\n\tx: 1\n", "a tab in the indentation"),
    "empty": (lambda: "", "holds no settings"),
    "an object of Python": (lambda: VALID + "about: !!python/object/apply:os.system [id]\n", "is a tag"),
}


SLOW = ("many keys", "many items", "many unknown", "many metrics", "many groups", "words", "line breaks", "50 MB")


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.faults) if case in SLOW else case for case in HOSTILE]
)
def test_hostile_files_are_refused_at_once(case: str, tmp_path: Path) -> None:
    make, says = HOSTILE[case]
    path, content = tmp_path / "x.yaml", make()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    message = refusal(path)
    assert says in message and str(path) in message


@pytest.mark.parametrize(
    "what", ["directory", "pipe", "/dev/zero", "/dev/stdin", "link in a circle", "nothing", "long"]
)
def test_what_is_no_file_is_not_opened(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the command line as it is: exit code 64, in time, without a traceback."""
    path = {"/dev/zero": Path("/dev/zero"), "/dev/stdin": Path("/dev/stdin")}.get(what, tmp_path / "x.yaml")
    if what == "directory":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "link in a circle":
        path.symlink_to(path)
    elif what == "long":
        path = tmp_path / ("x" * 5_000 + ".yaml")
    if what == "/dev/stdin" and not Path("/dev/stdin").exists():
        pytest.skip("there is none")
    began = time.perf_counter()
    code = cli.guarded(lambda: cli.app(["check", str(path)], standalone_mode=False))
    assert (code, time.perf_counter() - began < 3 * SECONDS) == (64, True)
    message = capsys.readouterr().err
    assert message.startswith("error: ") and "Traceback" not in message and len(message.splitlines()) <= SCREEN


# --- paths that a scenario names ----------------------------------------------------------------------------

MNIST = "name: x\nrounds: 3\nhumans: {source: mnist, root: ROOT}\nproviders: [{name: lab, model: gaussian-diagonal}]\n"


def strange(folder: Path, text: str, **options: Any) -> list[tuple[int | None, str]]:
    """(line, what) that is wrong with a scenario in a folder."""
    path = folder / "x.yaml"
    path.write_text(text)
    try:
        scenarios.from_document(read(path), **{"overrides": {}, **options})
    except FaultsError as error:
        return [(fault.line, f"{fault.where}: {fault.problem} ({fault.remedy})") for fault in error.faults]
    return []


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of scenarios, a working directory, a folder of data, and one that is none of them."""
    for name in ("own/inner", "work", "data", "strange"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("own", "work", "strange"):
        (tmp_path / name / "mine.yaml").write_text("name: mine\nabout: a test\nmodel: {family: gaussian}\n")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("ECOSYSTEM_DATA", str(tmp_path / "data"))
    (tmp_path / "own" / "link").symlink_to(tmp_path / "strange")
    (tmp_path / "own" / "circle").symlink_to(tmp_path / "own" / "circle")
    (tmp_path / "strange" / "back").symlink_to(tmp_path / "own")
    return tmp_path


@pytest.mark.parametrize(
    ("root", "allowed"),
    [
        ("PLACES/own", True),
        ("PLACES/own/inner", True),
        ("PLACES/own/missing", True),
        ("PLACES/work", True),
        (".", True),
        ("PLACES/data/deep", True),
        ("PLACES/strange/back/inner", True),  # a link into the scenario's own folder
        ("PLACES/strange", False),
        ("PLACES/own/link", False),
        ("PLACES/own/circle/x", False),
        ("PLACES/own/../strange", False),
        ("../strange", False),
        ("PLACES/own/inner/../../../..", False),
        ("PLACES/ownership", False),  # begins alike
        ("/", False),
        ("'~'", False),
        ("/proc/self/root", False),
    ],
)
def test_a_folder_of_data_is_in_a_place_that_may_be_named(root: str, allowed: bool, places: Path) -> None:
    text = MNIST.replace("ROOT", root.replace("PLACES", str(places)))
    found = strange(places / "own", text)
    if allowed:
        assert found == []
    else:
        [(line, what)] = found
        assert line == 3 and what.startswith("humans.root: the path `")
        assert "--allow-paths" in what and str(places / "data") in what and str(places / "own") in what
        assert strange(places / "own", text, allow_paths=True) == []


def test_a_card_s_file_is_in_a_place_that_may_be_named(places: Path) -> None:
    for name, allowed in (("own", True), ("work", True), ("strange", False), ("own/link", False)):
        text = VALID.replace("model: gaussian", f"model: {places / name / 'mine.yaml'}")
        found = strange(places / "own", text)
        assert (found == []) == allowed, found
        assert strange(places / "own", text, allow_paths=True) == []
    assert found[0][0] == 4 and "providers.lab.model" in found[0][1]


def test_a_strange_card_is_not_opened(places: Path) -> None:
    """Not a word of it is told, not even whether it is there."""
    secret = places / "strange" / "secret.yaml"
    text = VALID.replace("model: gaussian", f"model: {secret}")
    absent = strange(places / "own", text)
    secret.write_text("password: hunter2\n")
    assert strange(places / "own", text) == absent and "hunter2" not in str(absent)


def test_an_override_is_the_caller_s_own_word(places: Path) -> None:
    """What he sets himself may lead anywhere; what he sets beside it says nothing of what the file names."""
    root, card = str(places / "strange"), str(places / "strange" / "mine.yaml")
    text = MNIST.replace("ROOT", root)
    assert strange(places / "own", VALID, overrides={"providers.lab.model": card}) == []
    assert strange(places / "own", text, overrides={"humans.root": root}) == []
    assert strange(places / "own", text, overrides={"humans": {"source": "mnist", "root": root}}) == []
    assert len(strange(places / "own", text, overrides={"humans.held_out": 100})) == 1


def test_load_passes_the_flag_on(places: Path) -> None:
    path = places / "own" / "x.yaml"
    path.write_text(VALID.replace("model: gaussian", f"model: {places / 'strange' / 'mine.yaml'}"))
    with pytest.raises(ScenarioError, match="--allow-paths"):
        scenarios.load(str(path))
    assert scenarios.load(str(path), allow_paths=True).cards["lab"].name == "mine"


# --- the campaign -------------------------------------------------------------------------------------------

HOLE = "@@hole@@"
TYPES: list[Any] = [None, True, 3, -1, 0, 0.5, 10**12, "text", "", "3", [], {}, [1], ["a"], {"a": 1}, {"kind": "x"}]
RAW = [  # as written into the file
    "1e999", "-.inf", ".nan", "9" * 400, "0x" + "f" * 40, "!!python/name:os.system", "!!binary aGk=", "&a [*a]", "*a",
    "<<: {}", '"\\0"', '"\\e[31mred"', '"\\u202egnp.exe"', '"[red]x[/red]"', '"[link=http://x]y"', '"\\ud83d"',
    "'" + "x" * 5_000 + "'", "../../../../etc/passwd", "/etc/hosts.yaml", "/dev/zero", "mnist",
    "{source: image-folder, root: ..}", "{source: image-folder, root: x, channels: 1, labelled: true}",
    "{source: mnist, root: /}", "{source: cifar10, root: ..}", "[" * 60 + "]" * 60, "{? [1] : 2}", "{1: 2}",
    "{a: 1, a: 2}", "{kind: luce, kind: luce}", "no", "1_000", "2001-01-01", "- a", "|", ">", "%", "@x", "`x`", "[1,",
    "{", "'", '"', "a: b: c", "? ", "__class__", "{__class__: x}", "eval(1)",
]  # fmt: skip
KEYS = [
    "",
    "3",
    "~",
    "true",
    "__init__",
    "a.b",
    "name",
    "kind",
    "x" * 300,
    '"\\e[2J"',
    "<<",
    "? [a]",
    "&a b",
    "!!str a",
    "é",
    "set",
]
BYTES = [
    b"\0",
    b"\xff",
    b"\xc3",
    b"\t",
    b"\x1b[2J",
    b"\r",
    b"\x85",
    b"\xef\xbb\xbf",
    b"---\n",
    b"...\n",
    b": ",
    b"- ",
    b"#",
    b"{",
    b"'",
]


@cache
def shipped() -> dict[str, bytes]:
    return {name: (grammar.shipped("scenarios") / f"{name}.yaml").read_bytes() for name in scenarios.names()}


@cache
def tree_of(name: str) -> Any:
    return read(grammar.shipped("scenarios") / f"{name}.yaml").data


def routes(tree: Any, here: Route = ()) -> list[Route]:
    """Every place inside a tree."""
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place for part, inner in parts for place in ((*here, part), *routes(inner, (*here, part)))]


def parent(tree: Any, route: Route) -> Any:
    for part in route[:-1]:
        tree = tree[part]
    return tree


@st.composite
def malformed(draw: st.DrawFn, names: list[str]) -> tuple[str, bytes]:
    """The kind of a fault, and a shipped scenario with it (or with one that turns out to be none)."""
    name, kind = draw(st.sampled_from(names)), draw(st.sampled_from(KINDS))
    if kind in ("cut", "bytes", "line twice"):
        return kind, of_text(draw, kind, shipped()[name])
    tree = copy.deepcopy(tree_of(name))
    places = routes(tree)
    route = draw(st.sampled_from(places))
    around = parent(tree, route)
    raw = HOLE
    if kind == "dropped":
        del around[route[-1]]
    elif kind == "retyped":
        around[route[-1]] = draw(st.sampled_from(TYPES))
    elif kind == "swapped":
        other = draw(st.sampled_from(places))
        if other[: len(route)] != route and route[: len(other)] != other:
            beside = parent(tree, other)
            around[route[-1]], beside[other[-1]] = beside[other[-1]], around[route[-1]]
    elif kind == "copied":
        beside = parent(tree, draw(st.sampled_from(places)))
        if isinstance(beside, list):
            beside.append(copy.deepcopy(around[route[-1]]))
        else:
            beside[str(route[-1])] = copy.deepcopy(around[route[-1]])
    elif kind == "hostile value":
        around[route[-1]], raw = HOLE, draw(st.sampled_from(RAW))
    elif isinstance(around, dict):
        around[HOLE], raw = around.pop(route[-1]), draw(st.sampled_from(KEYS))
    return kind, dump(tree).replace(f"'{HOLE}'", raw).encode()


def of_text(draw: st.DrawFn, kind: str, text: bytes) -> bytes:
    if kind == "line twice":
        lines = text.splitlines(keepends=True)
        number = draw(st.integers(0, len(lines) - 1))
        return b"".join([*lines[: number + 1], *lines[number:]])
    at = draw(st.integers(0, len(text)))
    return text[:at] if kind == "cut" else text[:at] + draw(st.sampled_from(BYTES)) + text[at:]


KINDS = ("dropped", "retyped", "swapped", "copied", "hostile value", "hostile key", "line twice", "bytes", "cut")


def campaign(folder: Path, wanted: int, examples: int, names: list[str]) -> Counter[str]:
    """Files that were refused, by the kind of their fault; raises where one was met by anything else."""
    refused: Counter[str] = Counter()
    slowest = 0.0

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(malformed(names))
    def attempt(case: tuple[str, bytes]) -> None:
        nonlocal slowest
        if refused.total() >= wanted:
            return
        kind, content = case
        path = folder / "scenario.yaml"
        path.write_bytes(content)
        began = time.perf_counter()
        try:
            scenarios.from_document(read(path), {})
        except ScenarioError as error:
            check_refusal(error, path)
            refused[kind] += 1
        slowest = max(slowest, time.perf_counter() - began)

    attempt()
    refused_in_all = f"{refused.total()} of {dict(sorted(refused.items()))}, the slowest in {slowest:.2f} s"
    sys.stdout.write(f"malformed scenarios refused: {refused_in_all}\n")
    return refused


def check_refusal(error: ScenarioError, path: Path) -> None:
    message = str(error)
    assert len(message.splitlines()) <= SCREEN and len(message) < 8_000, message
    assert all(c.isprintable() or c == "\n" for c in message), repr(message)
    assert isinstance(error, FaultsError), repr(error)
    for fault in error.faults:
        assert fault.line is not None and fault.line >= 1, fault
        assert fault.problem, fault
        assert fault.origin == str(path) or fault.origin.endswith(".yaml"), fault


def test_a_faulty_file_is_refused_and_nothing_else_happens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["lambda-mixture", "three-labs", "gaussian-window", "ring-8-mixture"]
    assert campaign(tmp_path, 25, 60, small).total() == 25


@pytest.mark.faults
def test_three_hundred_faulty_files_of_all_scenarios(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        refused = campaign(tmp_path, 300, 1500, scenarios.names())
    assert refused.total() >= 300 and set(refused) == set(KINDS)
