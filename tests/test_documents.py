"""What a document means, what is refused and on which line, and the laws of overrides and of writing."""

from __future__ import annotations

import copy
import inspect
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ecosystem import documents
from ecosystem.documents import (
    LIMIT_LEVELS,
    Fault,
    FaultsError,
    dump,
    path_name,
    put,
    raise_faults,
    read,
    set_path,
    split_override,
    suggest,
)
from ecosystem.errors import ScenarioError

parse = inspect.unwrap(documents.parse)  # and not what conftest remembers of it

LABS = """\
# a comment
rounds: 12
humans: {source: digits}
users:
  - name: crowd
    k: 4
    choice:
      kind: luce
  - {name: bots, k: 1}
seeds: [0,
  1]
"""


def faults(text: str) -> list[tuple[int | None, str, str]]:
    """(line, where, problem and remedy) of what is wrong with a text."""
    with pytest.raises(FaultsError) as caught:
        parse(text, "x.yaml")
    return [(fault.line, fault.where, f"{fault.problem} ({fault.remedy})") for fault in caught.value.faults]


# --- scalars: the core schema of YAML 1.2, the table of chapter 10.3.2 and the traps of YAML 1.1 ------------

VALUES: dict[str, Any] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "nUll": "nUll",
    "none": "none",
    "true": True,
    "True": True,
    "FALSE": False,
    "tRue": "tRue",
    **{word: word for word in ("no", "No", "yes", "on", "off", "y", "n", "inf", "nan", "NaN", "=")},
    "0": 0,
    "+3": 3,
    "-12": -12,
    "010": 10,
    "08": 8,
    "0o17": 15,
    "0x1F": 31,
    "-0x1F": "-0x1F",
    "0b11": "0b11",
    "1_000": "1_000",
    "12:30:45": "12:30:45",
    "9223372036854775807": 2**63 - 1,
    "-9223372036854775808": -(2**63),
    "1e-3": 0.001,
    "1E5": 100000.0,
    "+1.5e+2": 150.0,
    ".5": 0.5,
    "-.5": -0.5,
    "2.": 2.0,
    "1e22": 1e22,
    ".": ".",
    "e5": "e5",
    "1e": "1e",
    "1.2.3": "1.2.3",
    "1,5": "1,5",
    "٣": "٣",
    "2001-01-01": "2001-01-01",
    "arXiv:2310.00429": "arXiv:2310.00429",
    '"3"': "3",
    "'null'": "null",
    '""': "",
    '"\\u00e9\\x41\\U0001F600"': "éA😀",
    "|\n  1e-3\n": "1e-3\n",
    ">-\n  one\n  two\n": "one two",
}


@pytest.mark.parametrize("text", VALUES)
def test_scalar_means_what_the_core_schema_says(text: str) -> None:
    value = parse(f"a: {text}", "x.yaml").data["a"]
    assert value == VALUES[text]
    assert type(value) is type(VALUES[text])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (".inf", "no finite number"),
        ("-.Inf", "no finite number"),
        (".NaN", "no finite number"),
        ("1e999", "too large"),
        ("9223372036854775808", "64 bits"),
        ("9" * 5000, "64 bits"),
        ("0x" + "f" * 5000, "64 bits"),
        ('"\\ud83d"', "surrogate"),
        ('"\\UFFFFFFFF"', "escape"),
    ],
)
def test_scalar_without_a_value_is_refused(text: str, says: str) -> None:
    [(line, _, what)] = faults(f"b: 1\na: {text}")
    assert line == 2
    assert says in what
    assert len(what) < 200


json_text = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["C", "Z"]), max_size=9)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
# fmt: off
awkward = st.sampled_from([
    "no", "1e-3", "2001-01-01", "0x1", "0o7", "1_0", "08", "1.e1", ".5", "null", "~", "1:30", "<<", "=", "-",
    "?", "'", '"', "*x", "&x", "!x", "%", "@", "`", "---", "...", "[", "}", ",", ":", "#", "|", ">",
    "", " ", " a", "a ", "- a", "? b", "a: b", "a #b", "# a", "a\n", "\n\na", "a\n b", "a\r\nb", "\t", "a\tb",
    "\x00", "\x1b[1m", "\x7f", "\x85", "\xa0", "\u2028", "\ufeff", "\ufffe", "😀", "k" * 1030, "é " * 100,
])
# fmt: on


def trees(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    inner = st.recursive(leaves, lambda t: st.lists(t, max_size=4) | st.dictionaries(keys, t, max_size=4), max_leaves=8)
    return st.dictionaries(keys, inner, max_size=4)


simple = trees(st.none() | st.booleans() | numbers | json_text, json_text)
any_text = st.text(max_size=12) | awkward
wild = trees(st.none() | st.booleans() | numbers | any_text, any_text)


@settings(max_examples=30, deadline=None)
@given(simple)
def test_json_is_yaml(tree: dict[str, Any]) -> None:
    """Equivalence to a reference: YAML 1.2 was made so that JSON is a part of it."""
    text = json.dumps(tree, ensure_ascii=False, indent=1)
    assert json.dumps(parse(text, "x").data) == json.dumps(json.loads(text))


# --- lines --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "line"),
    [
        ((), 2),
        (("rounds",), 2),
        (("humans", "source"), 3),
        (("users",), 4),
        (("users", 0), 5),
        (("users", 0, "name"), 5),
        (("users", 0, "k"), 6),
        (("users", 0, "choice"), 7),
        (("users", 0, "choice", "kind"), 8),
        (("users", 0, "choice", "gamma"), 7),  # not there: the nearest place around it
        (("users", 1, "k"), 9),
        (("users", 7, "k"), 4),
        (("seeds", 0), 10),
        (("seeds", 1), 11),
        (("nothing",), 2),
    ],
)
def test_line_of_every_entry(route: tuple[str | int, ...], line: int) -> None:
    assert parse(LABS, "x").line(route) == line


def test_path_name_goes_by_the_names_of_groups() -> None:
    tree = parse(LABS, "x").data
    assert path_name(tree, ("users", 0, "k")) == "users.crowd.k"
    assert path_name(tree, ("users", 1)) == "users.bots"
    assert path_name(tree, ("seeds", 1)) == "seeds.1"
    assert path_name(tree, ("users", 9, "choice", 0, "x")) == "users.9.choice.0.x"
    assert path_name(tree, ()) == ""
    assert path_name([{"name": 3}], (0,)) == "0"


# --- faults of a text ---------------------------------------------------------------------------------------

NOT_A_DOCUMENT = {
    "empty": ("", 1, "", "holds no settings"),
    "only comments": ("# x\n\n# y\n", 1, "", "holds no settings"),
    "null": ("# x\n---\n~\n", 3, "", "is null at its top level"),
    "list": ("\n- a\n", 2, "", "is a list at its top level"),
    "text": ("word", 1, "", "is text at its top level"),
    "second document": ("a: 1\n---\nb: 2\n", 2, "", "a second document"),
    "alias": ("a: 1\nb: *a\n", 2, "b", "`*a` is an alias"),
    "anchor": ("a: 1\nb: &x [1]\n", 2, "b", "`&x` is an anchor"),
    "merge key": ("a:\n  <<: {b: 1}\n", 2, "a.<<", "merge key"),
    "python tag": (
        "a: !!python/object/apply:os.system [ls]\n",
        1,
        "a",
        "`!!python/object/apply:os.system` is a tag",
    ),
    "known tag": ("a: 1\nb: !!str 5\n", 2, "b", "`!!str` is a tag"),
    "own tag": ("a: !x {b: 1}\n", 1, "a", "`!x` is a tag"),
    "bare tag": ("a: ! 1\n", 1, "a", "`!` is a tag"),
    "tag on a key": ("a: 1\n!!str b: 1\n", 2, "b", "`!!str` is a tag"),
    "number as key": ("a: {3: x}\n", 1, "a.3", "the key `3` is a number"),
    "boolean as key": ("true: x\n", 1, "true", "the key `true` is true or false"),
    "null as key": ("~: x\n", 1, "~", "the key `~` is null"),
    "list as key": ("a: 1\n? [b]\n: c\n", 2, "", "a key must be text"),
    "tab": ("a:\n\tb: 1\n", 2, "", "a tab in the indentation (YAML indents with spaces)"),
    "tab after an entry": ("a: 1\n\tb: 2\n", 2, "", "YAML indents with spaces"),
    "two colons": ("a: 1\nquestion: who: me\n", 2, "", "quote text that holds `: `"),
    "no colon": ("a: 1\nword\nb: 2\n", 2, "", "write `key: value`"),
    "indentation": ("a:\n    b: 1\n  c: 2\n", 3, "", "indent the entries of a block alike"),
    "open bracket": ("a: [1,\n  2\nb: 3\n", 3, "", "begun on line 1"),
    "open quote": ("a: 1\nb: 'x\nc: 1\n", 2, "", "a quote that is never closed"),
    "percent": ("a: %x\n", 1, "", "quote it"),
    "star": ("a: 1\nkind: *\n", 2, "", "quote it"),
    "control character": ("a: 1\nb: \x07\n", 2, "", "U+0007"),
    "null character": ("a: 1\nb: \x00\n", 2, "", "U+0000"),
    "long directive": (f"%YAML {'9' * 5000}.1\n---\na: 1\n", 1, "", "directive"),
}


@pytest.mark.parametrize("case", NOT_A_DOCUMENT)
def test_fault_has_its_line_and_its_remedy(case: str) -> None:
    text, line, where, says = NOT_A_DOCUMENT[case]
    [(at, place, what)] = faults(text)
    assert (at, place) == (line, where)
    assert says in what
    assert "()" not in what


def test_each_duplicate_names_both_lines() -> None:
    text = "users:\n- name: crowd\n  k: 1\n  k: 2\n  k: 3\na: 1\n'a': 2\n"
    assert [(line, where, what.split(" (")[0]) for line, where, what in faults(text)] == [
        (4, "users.crowd.k", "`k` stands on line 3 and again on line 4"),
        (5, "users.crowd.k", "`k` stands on line 3 and again on line 5"),
        (7, "a", "`a` stands on line 6 and again on line 7"),
    ]


def test_the_same_key_in_two_groups_is_no_duplicate() -> None:
    assert parse("a: [{k: 1}, {k: 2}]\nb: {k: 3}", "x").data == {"a": [{"k": 1}, {"k": 2}], "b": {"k": 3}}


def test_faults_are_gathered_up_to_the_place_where_yaml_ends() -> None:
    assert [line for line, _, _ in faults("a: .nan\nb: *x\n3: !t 1\nc: [\n")] == [1, 2, 3, 3, 5]


def test_nesting_has_a_limit() -> None:
    def nested(levels: int) -> str:
        return "a: " + "[" * (levels - 1) + "]" * (levels - 1)

    assert parse(nested(LIMIT_LEVELS), "x").data
    for text in (nested(LIMIT_LEVELS + 1), nested(1_000), "{a: " * 1_000, "? " * 1_000, "- " * 1_000):
        assert "nested deeper than 50 levels" in faults(text)[-1][2]


def test_billion_laughs_stay_a_chuckle() -> None:
    """Ten levels of ten aliases each would be 10^10 items."""
    rows = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 11)]
    found = faults("\n".join(["l0: &l0 lol", *rows]))
    assert len(found) == 11 + 100
    assert {line for line, _, _ in found} == set(range(1, 12))


yamlish = st.text(st.sampled_from(list("ab1: \n\t-?[]{},'\"&*!|>%#<.~\\x/U9@`\r\x85é")), max_size=40)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(), max_size=30) | yamlish)
def test_any_text_is_a_document_or_a_scenario_error(text: str) -> None:
    try:
        document = parse(text, "x.yaml")
    except ScenarioError as error:
        assert str(error).startswith("x.yaml: ")
        assert all(line.isprintable() for line in str(error).split("\n"))
    else:
        assert parse(dump(document.data), "again").data == document.data


# --- faults of a file ---------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(ScenarioError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: 1 fault\n  {path}")
    return str(caught.value)


def test_read_keeps_the_name_that_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("labs.yaml").write_bytes(b"\xef\xbb\xbf" + LABS.encode())
    document = read(Path("labs.yaml"))
    assert document.origin == "labs.yaml"
    assert document.data == parse(LABS, "x").data


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    good = tmp_path / "labs.yaml"
    good.write_text(LABS)
    assert "there is no such file (did you mean `labs.yaml`?)" in refusal(tmp_path / "lab.yaml")
    assert "no .yaml file stands in" in refusal(tmp_path / "nowhere" / "labs.yaml")
    assert "is a directory (name a file: labs.yaml)" in refusal(tmp_path)
    assert "cannot be read: Not a directory" in refusal(good / "x.yaml")
    assert "cannot be read: File name too long" in refusal(tmp_path / ("x" * 300))
    with pytest.raises(ScenarioError, match="null character"):
        read(tmp_path / "a\0b")


def test_files_that_are_no_text(tmp_path: Path) -> None:
    latin, pipe, vast = tmp_path / "latin.yaml", tmp_path / "pipe", tmp_path / "vast.yaml"
    latin.write_bytes(b"a: 1\nb: caf\xe9\n")
    assert "latin.yaml:2  not UTF-8 text" in refusal(latin)
    latin.write_bytes("a: 1".encode("utf-16"))
    assert "not UTF-8 text" in refusal(latin)
    os.mkfifo(pipe)
    assert "not a regular file" in refusal(pipe)  # and does not wait for a writer
    with vast.open("wb") as file:
        file.truncate(50 * 2**20)
    assert "50.0 MiB, more than the limit of 0.25 MiB" in refusal(vast)


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, hence the stand-in."""
    path = tmp_path / "x.yaml"
    path.write_text("a: 1")

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert "cannot be read: Permission denied" in refusal(path)


# --- how faults read ----------------------------------------------------------------------------------------


def test_faults_read_as_one_screen() -> None:
    some = [
        Fault("s/x.yaml", None, "", "is odd", ""),
        Fault("s/x.yaml", 12, "users.crowd.k", "is 0", "write 1 or more"),
        Fault("s/x.yaml", 3, "", "ends", "go on"),
    ]
    with pytest.raises(ScenarioError) as caught:
        raise_faults(some, "s/x.yaml")
    assert str(caught.value) == (
        "s/x.yaml: 3 faults\n"
        "  s/x.yaml:3  ends (go on)\n"
        "  s/x.yaml:12  users.crowd.k: is 0 (write 1 or more)\n"
        "  s/x.yaml  is odd"
    )


def test_many_faults_are_cut_and_none_are_fine() -> None:
    raise_faults([], "x")
    with pytest.raises(FaultsError) as caught:
        raise_faults([Fault("x", 100 - i, "", "is odd", "") for i in range(25)], "x")
    lines = str(caught.value).split("\n")
    assert (len(lines), lines[1], lines[-1]) == (22, "  x:76  is odd", "  ... and 5 more")
    assert len(caught.value.faults) == 25


def test_suggest() -> None:
    assert suggest("round", ["seeds", "rounds"]) == "did you mean `rounds`?"
    assert suggest("Seeds", iter(["seeds", "rounds"])) == "did you mean `seeds`?"
    assert suggest("zzz", ["seeds", "rounds"]) == "known: seeds, rounds"
    assert suggest("zzz", []) == "known: none"
    assert suggest("zzz", [f"n{i}" for i in range(30)]).endswith("n19 and 10 more")


# --- overrides ----------------------------------------------------------------------------------------------


def override(tree: Any, text: str) -> Any:
    return put(tree, *split_override(text), "--set")


@pytest.mark.parametrize(
    ("text", "route", "value"),
    [
        ("rounds=3", ("rounds",), 3),
        (" rounds = 1e-3 ", ("rounds",), 0.001),
        ("rounds=null", ("rounds",), None),
        ("rounds=", ("rounds",), None),
        ("rounds=no", ("rounds",), "no"),
        ("rounds='3'", ("rounds",), "3"),
        ("seeds=[1, 2]", ("seeds",), [1, 2]),
        ("seeds.0=5", ("seeds", 0), 5),
        ("users.crowd.k=8", ("users", 0, "k"), 8),
        ("users.1.k=8", ("users", 1, "k"), 8),
        ("users.bots.choice={kind: best}", ("users", 1, "choice"), {"kind": "best"}),
        ("users.bots.choice.kind=best", ("users", 1, "choice", "kind"), "best"),
        ("users.bots={name: x}", ("users", 1), {"name": "x"}),
        ("web.sites.count=3", ("web", "sites", "count"), 3),
        ("none.a.b=x=y", ("none", "a", "b"), "x=y"),
    ],
)
def test_put_sets_one_place_of_a_copy(text: str, route: tuple[str | int, ...], value: Any) -> None:
    tree = {**parse(LABS, "x").data, "none": None}
    before = copy.deepcopy(tree)
    there = override(tree, text)
    for part in route:
        there = there[part]
    assert there == value
    assert type(there) is type(value)
    assert tree == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("users.crwd.k=1", "users.crwd.k: nothing is called `crwd` in `users` (there are: crowd, bots)"),
        ("users.2.k=1", "there are: crowd, bots"),
        ("users.-1.k=1", "there are: crowd, bots"),
        ("seeds.2=1", "items are numbered 0 to 1"),
        (f"seeds.{'9' * 5000}=1", "items are numbered 0 to 1"),
        ("twins.a.k=1", "2 groups are called `a` in `twins`"),
        ("rounds.a=1", "rounds.a: `rounds` is 12, which has no `a` inside (set `rounds` itself)"),
        ("seeds.0.a.b=1", "`seeds.0` is 0"),
        ("a..b=1", "has an empty part"),
        (".".join(["a"] * 60) + "=1", "nested too deeply"),
        ("rounds", "`rounds` sets nothing"),
        ("=3", "`=3` sets nothing"),
        ("rounds=[1", "rounds: "),
        ("rounds=*x", "rounds: `*x` is an alias"),
        ("rounds=!!python/name:os.system", "is a tag"),
        ("rounds=.inf", "rounds: `.inf` is no finite number"),
        ("rounds={a: 1, a: 2}", "rounds: `a` stands on line 1"),
        ("rounds=\udcff", "rounds: the character U+DCFF"),
    ],
)
def test_put_refuses(text: str, says: str) -> None:
    tree = {**parse(LABS, "x").data, "twins": [{"name": "a"}, {"name": "a"}]}
    with pytest.raises(ScenarioError) as caught:
        override(tree, text)
    message = str(caught.value)
    assert message.startswith("--set: 1 fault\n  --set  ")
    assert says in message
    assert len(message) < 300


def get(tree: Any, words: list[str]) -> Any:
    """What a dotted name leads to, by a way of its own: None where it leads nowhere."""
    for word in words:
        if isinstance(tree, list):
            tree = {item["name"]: item for item in tree if "name" in item}
        tree = tree.get(word) if isinstance(tree, dict) else None
    return tree


def named_groups(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    groups = st.dictionaries(words, inner, max_size=2)
    return st.dictionaries(words, groups, max_size=3).map(lambda all: [{"name": n, **all[n]} for n in all])


words = st.sampled_from("abc")
worlds = st.dictionaries(
    words,
    st.recursive(
        st.none() | st.integers(0, 9),
        lambda inner: st.dictionaries(words, inner, max_size=3) | named_groups(inner),
        max_leaves=10,
    ),
    max_size=3,
)


@settings(max_examples=50, deadline=None)
@given(worlds, st.lists(words, min_size=1, max_size=4), st.dictionaries(words, st.integers()))
def test_laws_of_set_path(tree: dict[str, Any], way: list[str], value: dict[str, Any]) -> None:
    """You get what you put; putting twice is putting once; putting back what was there undoes it; and all
    that does not stand on the way stays as it was."""
    before, dotted = copy.deepcopy(tree), ".".join(way)
    if isinstance(get(tree, way[:-1]), list):
        value = {"name": way[-1], **value}  # a group that takes another's place here keeps its name
    try:
        after = set_path(tree, dotted, value, "event")
    except ScenarioError:  # only for a reason: a number on the way, or a list without that name
        met = [(get(tree, way[:depth]), word) for depth, word in enumerate(way)]
        assert any(isinstance(t, int) or (isinstance(t, list) and get(t, [word]) is None) for t, word in met)
        return
    finally:
        assert tree == before
    assert get(after, way) == value
    assert set_path(after, dotted, value, "event") == after
    assert get(tree, way) is None or set_path(after, dotted, get(tree, way), "event") == tree
    for word in way:
        if isinstance(tree, dict | list):
            others = set(tree) if isinstance(tree, dict) else {group["name"] for group in tree}
            assert len(after) - len(tree) in ((0, 1) if isinstance(tree, dict) else (0,))
            assert all(get(after, [other]) == get(tree, [other]) for other in others - {word})
        tree, after = get(tree, [word]), get(after, [word])


@settings(max_examples=10, deadline=None)
@given(wild)
def test_put_reads_what_dump_writes(tree: dict[str, Any]) -> None:
    assert put({"a": 1}, "b.c", dump(tree), "--set") == {"a": 1, "b": {"c": tree}}


# --- writing ------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(wild)
def test_dump_round_trip(tree: dict[str, Any]) -> None:
    """Equal, and of equal types: 1, 1.0 and True are three things."""
    assert repr(parse(dump(tree), "x").data) == repr(tree)


@pytest.mark.parametrize("value", [1e-05, 1e22, 5e-324, 1.7976931348623157e308, 0.1, -0.0, 3.0, -7, True, None])
def test_dump_round_trip_of_numbers(value: Any) -> None:
    assert repr(parse(dump({"a": value}), "x").data) == repr({"a": value})
    assert parse(dump({"a": str(value)}), "x").data == {"a": str(value)}


def test_dump_is_yaml_for_others_too() -> None:
    """A reader of YAML 1.1 finds the same in it, and shared parts are written out."""
    shared = {"kind": "luce"}
    tree = {"a": [shared, shared], "no": "no", "x": 1e-05, "y": "1e-3", "date": "2001-01-01", "é": "é"}
    assert "*" not in dump(tree)
    assert yaml.safe_load(dump(tree)) == tree


def test_dump_keeps_the_order_of_keys() -> None:
    assert list(parse(dump(parse(LABS, "x").data), "y").data) == ["rounds", "humans", "users", "seeds"]


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 2**63, {3: 1}, {1, 2}, "\ud800", object()])
def test_dump_refuses_what_could_not_be_read(value: Any) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        dump({"a": value})
