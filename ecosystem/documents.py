"""Documents: YAML text in, a plain tree and the line of every entry out; or all that is wrong, at once.

YAML 1.2's core schema (yaml.org/spec/1.2.2, chapter 10.3), read strictly. PyYAML only scans and parses: the
tree is built here, from its events, so that no file can name a Python object and no alias is ever expanded.

    integer  12, +3, 010 (ten), 0o17, 0x1F, within 64 bits      float  1e-3, 1E5, .5, 2., finite
    boolean  true, false (or True, TRUE)                        null   null, ~ or nothing (or Null, NULL)
    string   all else that is plain (no, yes, on, 2001-01-01, 1_000), and whatever stands in quotes

Refused, each with its line and its remedy: tags, anchors, aliases and merge keys, keys that are no strings or
stand twice, .inf and .nan, a second document, and what is larger than 256 KiB, has more than 20,000 keys and
values or is nested deeper than 50 levels. So a hostile file is refused in a second or two, however it is made.

Two ways of writing a place in a tree: a *route* is exact, ``("users", 0, "k")``; a *dotted* name is what
people write, ``users.crowd.k``, where a list of named groups is entered by name (or by number).
"""

from __future__ import annotations

import copy
import difflib
import math
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import yaml

from .errors import ScenarioError

Tree: TypeAlias = Any  # dict[str, Tree] | list[Tree] | str | int | float | bool | None
Route: TypeAlias = tuple[str | int, ...]

LIMIT_BYTES = 2**18
LIMIT_ENTRIES = 20_000  # keys and values
LIMIT_FAULTS = 200  # beyond them reading on tells nobody anything
LIMIT_LEVELS = 50
LIMIT_SHOWN = 20
LIMIT_INT = 2**63

INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
SURROGATE = re.compile("[\ud800-\udfff]")
WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
KINDS = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
}


# --- faults -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: what, where, and the remedy."""

    origin: str  # the file as the user named it, or "--set"
    line: int | None
    where: str  # dotted, or ""
    problem: str
    remedy: str

    def __str__(self) -> str:
        place = self.origin if self.line is None else f"{self.origin}:{self.line}"
        what = f"{self.where}: {self.problem}" if self.where else self.problem
        return printable(f"{place}  {what} ({self.remedy})" if self.remedy else f"{place}  {what}")


class FaultsError(ScenarioError):
    """A ScenarioError that still knows its faults, for a caller who gathers those of several sources."""

    def __init__(self, text: str, faults: Sequence[Fault]):
        super().__init__(text)
        self.faults = tuple(faults)


def raise_faults(faults: Iterable[Fault], title: str) -> None:
    """Raise them together, in the order of lines; without any, do nothing."""
    ordered = sorted(faults, key=lambda fault: math.inf if fault.line is None else fault.line)
    if not ordered:
        return
    lines = [f"{printable(title)}: {len(ordered)} fault{'s' if len(ordered) > 1 else ''}"]
    lines += [f"  {fault}" for fault in ordered[:LIMIT_SHOWN]]
    if len(ordered) > LIMIT_SHOWN:
        lines.append(f"  ... and {len(ordered) - LIMIT_SHOWN} more")
    raise FaultsError("\n".join(lines), ordered)


def refuse(fault: Fault) -> NoReturn:
    """Raise a single fault."""
    raise_faults([fault], fault.origin)
    raise AssertionError  # not reached; for the type checker


def suggest(word: str, known: Iterable[str]) -> str:
    """The remedy for an unknown word: the closest known one, or else all of them."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=1)
    if close:
        return f"did you mean `{names[close[0]]}`?"
    return f"known: {listed(names.values())}"


def listed(names: Iterable[str]) -> str:
    """Names in a row, at most twenty."""
    every = list(names)
    rest = f" and {len(every) - LIMIT_SHOWN} more" if len(every) > LIMIT_SHOWN else ""
    return (", ".join(map(shown, every[:LIMIT_SHOWN])) or "none") + rest


def shown(value: object) -> str:
    """A value short enough for a message."""
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def printable(text: str) -> str:
    """One line that a terminal can show: a key may hold line breaks and escape sequences."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def kind(value: Tree) -> str:
    return "null" if value is None else KINDS[type(value)]


# --- reading ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Document:
    """A tree as it stands in a file, and the line of every entry."""

    data: dict[str, Any]
    origin: str
    lines: Mapping[Route, int] = field(repr=False)  # 1-based; of a mapping's key, of a list's item

    def line(self, path: Route) -> int | None:
        """The line of a route, or of the nearest known place around it."""
        around = (path[:end] for end in range(len(path), -1, -1))
        return next((self.lines[route] for route in around if route in self.lines), None)


def read(path: Path) -> Document:
    """A file's document. Its origin is the path as it was given."""
    return parse(_text(path), str(path))


def parse(text: str, origin: str, entries: int = LIMIT_ENTRIES) -> Document:
    """The document in a text, whose top level must be a mapping of no more than so many keys and values in all."""
    builder = _Builder(text, entries)
    faults = builder.run(origin)
    if not faults and not isinstance(builder.tree, dict):
        empty = not builder.lines
        problem = "holds no settings" if empty else f"is {kind(builder.tree)} at its top level, not a mapping"
        faults.append(Fault(origin, builder.lines.get((), 1), "", problem, "write lines of `key: value`"))
    raise_faults(faults, origin)
    return Document(builder.tree, origin, builder.lines)


def _text(path: Path) -> str:
    """A file's text, its byte order mark taken off."""
    origin = str(path)
    try:
        return _contents(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        refuse(Fault(origin, line, "", "not UTF-8 text", "save the file as UTF-8"))
    except FileNotFoundError:
        refuse(Fault(origin, None, "", "there is no such file", _neighbours(path)))
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        refuse(Fault(origin, None, "", problem, "check its name and its permissions"))
    except ValueError:  # no file system takes such a path
        refuse(Fault(origin, None, "", "a null character in the file name", "check the name"))


def _contents(path: Path) -> bytes:
    """The bytes of a regular file of reasonable size; nothing else is opened (a pipe could block)."""
    status, origin = path.stat(), str(path)
    if stat.S_ISDIR(status.st_mode):
        refuse(Fault(origin, None, "", "is a directory", f"name a file: {listed(_yaml_names(path))}"))
    if not stat.S_ISREG(status.st_mode):
        refuse(Fault(origin, None, "", "is not a regular file", "save it as a .yaml file"))
    if status.st_size > LIMIT_BYTES:
        size = f"{status.st_size / 2**20:.1f} MiB, more than the limit of {LIMIT_BYTES / 2**20:g} MiB"
        refuse(Fault(origin, None, "", size, "settings are short; is this the right file?"))
    with path.open("rb") as file:
        return file.read(LIMIT_BYTES)


def _neighbours(path: Path) -> str:
    names = _yaml_names(path.parent)
    return suggest(path.name, names) if names else f"no .yaml file stands in {path.parent}"


def _yaml_names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.glob("*.yaml"))


# --- from PyYAML's events to a tree -------------------------------------------------------------------------


class _Refused(Exception):
    """A scalar that stands for no value we take: (problem, remedy)."""


class _Stop(Exception):
    """No use in reading on."""


class _Builder:
    """Builds the tree of one text, and gathers faults and lines on the way."""

    def __init__(self, text: str, most: int = LIMIT_ENTRIES):
        self.text, self.most = text, most
        self.tree: Tree = None
        self.lines: dict[Route, int] = {}
        self.found: list[tuple[Route, int, str, str]] = []
        self.entries = 0

    def run(self, origin: str) -> list[Fault]:
        """Fill ``tree`` and ``lines``; what is wrong comes back."""
        try:
            self.loader = yaml.SafeLoader(self.text)
            self.stream()
        except yaml.MarkedYAMLError as error:
            self.found.append(((), *_syntax(error, self.text)))
        except yaml.reader.ReaderError as error:
            line = self.text.count("\n", 0, error.position) + 1
            problem = f"the character U+{int(error.character):04X} cannot stand in YAML"
            self.found.append(((), line, problem, "delete it, or write it as an escape in double quotes"))
        except (ValueError, OverflowError):  # PyYAML's own slips: "\UFFFFFFFF", or 5,000 digits after %YAML
            line = self.loader.get_mark().line + 1
            self.found.append(((), line, "this is not YAML", "check the escape or the directive"))
        except _Stop:
            pass
        return [Fault(origin, line, shown(path_name(self.tree, route)), *text) for route, line, *text in self.found]

    def fault(self, route: Route, event: yaml.Event, problem: str, remedy: str) -> None:
        self.found.append((route, _line(event), problem, remedy))

    def next(self) -> yaml.Event:
        event: yaml.Event = self.loader.get_event()  # type: ignore[no-untyped-call]
        return event

    def stream(self) -> None:
        self.next()  # the stream's start
        if isinstance(self.next(), yaml.StreamEndEvent):
            return
        self.tree = self.value((), self.next())
        self.next()  # the document's end
        if not isinstance(event := self.next(), yaml.StreamEndEvent):
            self.fault((), event, "a second document begins here", "one file, one document: delete the `---`")

    def value(self, route: Route, event: yaml.Event) -> Tree:
        self.lines.setdefault(route, _line(event))
        self.count(event)
        self.refuse_node(route, event)
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(route, event)
        if isinstance(event, yaml.AliasEvent):
            return None
        if len(route) >= LIMIT_LEVELS:
            self.fault(route[:3], event, f"nested deeper than {LIMIT_LEVELS} levels", "settings are shallow")
            raise _Stop
        return self.mapping(route) if isinstance(event, yaml.MappingStartEvent) else self.sequence(route)

    def count(self, event: yaml.Event) -> None:
        """Enough is enough, of entries and of faults."""
        self.entries += 1
        if self.entries > self.most:
            self.fault((), event, f"more than {self.most:,} keys and values", "settings are short")
        if self.entries > self.most or len(self.found) > LIMIT_FAULTS:
            raise _Stop

    def refuse_node(self, route: Route, event: yaml.Event) -> None:
        """Tags, anchors and aliases."""
        anchor, tag = shown(getattr(event, "anchor", None) or ""), getattr(event, "tag", None)
        if isinstance(event, yaml.AliasEvent):
            self.fault(route, event, f"`*{anchor}` is an alias", "write the value out, or quote it")
        elif anchor:
            self.fault(route, event, f"`&{anchor}` is an anchor", "write the value out where it is used")
        if tag is not None:
            name = shown(tag.replace("tag:yaml.org,2002:", "!!"))
            self.fault(route, event, f"`{name}` is a tag", "write the value without it; quotes make text")

    def scalar(self, route: Route, event: yaml.ScalarEvent) -> Tree:
        try:
            return scalar(event.value) if event.style is None else quoted(event.value)
        except _Refused as refused:
            self.fault(route, event, *refused.args)
            return None

    def sequence(self, route: Route) -> list[Tree]:
        items: list[Tree] = []
        while not isinstance(event := self.next(), yaml.SequenceEndEvent):
            items.append(self.value((*route, len(items)), event))
        return items

    def mapping(self, route: Route) -> dict[str, Tree]:
        data: dict[str, Tree] = {}
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            key = self.key(route, event)
            inner = (*route, key)
            line = self.lines.setdefault(inner, _line(event))
            if key in data:
                problem = f"`{shown(key)}` stands on line {line} and again on line {_line(event)}"
                self.fault(inner, event, problem, "keep one of them")
            data[key] = self.value(inner, self.next())
        return data

    def key(self, route: Route, event: yaml.Event) -> str:
        self.count(event)
        if not isinstance(event, yaml.ScalarEvent):
            self.fault(route, event, "a key must be text", "quote it, if it begins with a brace or bracket")
            self.value((*route, "?"), event)
            return "?"
        inner = (*route, event.value)
        if event.style is None and event.value == "<<":
            self.fault(inner, event, "`<<` is a merge key", "write the entries out")
        self.refuse_node(inner, event)
        before = len(self.found)
        value = self.scalar(inner, event)
        if not isinstance(value, str) and len(self.found) == before:
            self.fault(inner, event, f"the key `{shown(event.value)}` is {kind(value)}, not text", "quote it")
        return str(event.value)


def scalar(text: str) -> Tree:
    """The value of a plain scalar by the core schema."""
    if text in WORDS:
        return WORDS[text]
    if INT.fullmatch(text):
        return _integer(text)
    if FLOAT.fullmatch(text):
        return _float(text)
    if NOT_FINITE.fullmatch(text):
        raise _Refused(f"`{text}` is no finite number", "write a number, or null for no limit")
    return quoted(text)


def quoted(text: str) -> str:
    """The value of a scalar in quotes, or of a block scalar."""
    if SURROGATE.search(text):  # "\ud83d" is JSON's half of a character: it could never be printed or saved
        raise _Refused("an escape is half of a surrogate pair", "write the character itself")
    return text


def _integer(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    number = int(text, base) if len(text) < 1000 else LIMIT_INT  # Python itself refuses 4,300 digits
    if not -LIMIT_INT <= number < LIMIT_INT:
        raise _Refused(f"`{shown(text)}` does not fit into 64 bits", "write a smaller number, or quote it")
    return number


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _Refused(f"`{shown(text)}` is too large for a float", "write a smaller number, or quote it")
    return number


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None  # parsed events have one; those made by hand may not
    return event.start_mark.line + 1


def _syntax(error: yaml.MarkedYAMLError, text: str) -> tuple[int, str, str]:
    """PyYAML's complaint as (line, problem, remedy)."""
    at = error.problem_mark.line if error.problem_mark else 0
    since = error.context_mark.line if error.context_mark else at
    problem, context = str(error.problem), str(error.context or "")
    if _tab_indents(text, at):
        return at + 1, "a tab in the indentation", "YAML indents with spaces"
    if problem.startswith("mapping values"):
        return at + 1, "a `: ` where none can stand", "indent entries alike, and quote text that holds `: `"
    if problem.startswith("could not find expected ':'"):
        return since + 1, "a line without `: `", "write `key: value`"
    if problem.startswith("expected <block end>"):
        return at + 1, "the indentation does not match the lines above", "indent the entries of a block alike"
    if "quoted scalar" in context and "end of stream" in problem:
        return since + 1, "a quote that is never closed", "close it"
    if "an alias" in context or "an anchor" in context or "cannot start any token" in problem:
        return at + 1, "text that begins with a sign of YAML's own, such as * & @ %", "quote it"
    begun = f"{context}, begun on line {since + 1}: " if context else ""
    return at + 1, f"{begun}{problem}", "check quotes, brackets and indentation"


def _tab_indents(text: str, at: int) -> bool:
    """Whether a line, counted from 0 as PyYAML counts them, has a tab before its first word."""
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", text)
    before = lines[at][: len(lines[at]) - len(lines[at].lstrip(" \t-"))] if at < len(lines) else ""
    return "\t" in before


# --- places and overrides -----------------------------------------------------------------------------------


def path_name(tree: Tree, path: Route) -> str:
    """The dotted name of a route; it may lead out of the tree. ("users", 0, "k") -> "users.crowd.k"."""
    words = []
    for part in path:
        tree = _inside(tree, part)
        name = tree.get("name") if isinstance(part, int) and isinstance(tree, dict) else None
        words.append(name if isinstance(name, str) and name else str(part))
    return ".".join(words)


def _inside(tree: Tree, part: str | int) -> Tree:
    if isinstance(tree, dict):
        return tree.get(part)
    if isinstance(tree, list) and isinstance(part, int) and 0 <= part < len(tree):
        return tree[part]
    return None


def split_override(text: str, origin: str = "--set") -> tuple[str, str]:
    """``"users.crowd.k=4"`` -> ``("users.crowd.k", "4")``."""
    dotted, equals, value = text.partition("=")
    if not equals or not dotted.strip():
        refuse(Fault(origin, None, "", f"`{shown(text)}` sets nothing", "write it as users.crowd.k=4"))
    return dotted.strip(), value


def put(data: Tree, dotted: str, text: str, origin: str) -> Tree:
    """A copy of a tree with one place set to a value written in YAML, as on a command line."""
    builder = _Builder(text)
    faults = builder.run(origin)
    raise_faults([replace(fault, line=None, where=dotted) for fault in faults], origin)
    return set_path(data, dotted, builder.tree, origin)


def set_path(tree: Tree, dotted: str, value: Tree, origin: str) -> Tree:
    """A copy of a tree with one place set. Mappings that are missing on the way, or null, are made."""
    words = dotted.split(".")
    if not all(words) or len(words) > LIMIT_LEVELS:
        problem = "is nested too deeply" if all(words) else "has an empty part"
        refuse(Fault(origin, None, shown(dotted), problem, "write names with dots between, as users.crowd.k"))
    root = {} if tree is None else copy.deepcopy(tree)
    here = root
    for depth in range(len(words) - 1):
        slot = _slot(here, words, depth, origin)
        if _inside(here, slot) is None:
            here[slot] = {}
        here = here[slot]
    here[_slot(here, words, len(words) - 1, origin)] = copy.deepcopy(value)
    return root


def _slot(here: Tree, words: Sequence[str], depth: int, origin: str) -> str | int:
    """The key or index that a word means in a mapping or a list."""
    word, before = words[depth], ".".join(words[:depth])
    if isinstance(here, dict):
        return word
    if not isinstance(here, list):
        problem = f"`{shown(before)}` is {shown(here)}, which has no `{shown(word)}` inside"
        refuse(Fault(origin, None, shown(".".join(words)), problem, f"set `{shown(before)}` itself"))
    names = [item.get("name") if isinstance(item, dict) else None for item in here]
    if names.count(word) == 1:
        return names.index(word)
    if re.fullmatch("[0-9]{1,9}", word) and int(word) < len(here) and word not in names:
        return int(word)
    there = [name for name in names if isinstance(name, str)]
    remedy = f"there are: {listed(there)}"
    if here and not there:
        remedy = f"items are numbered 0 to {len(here) - 1}"
    many = f"{names.count(word)} groups are" if word in names else "nothing is"
    problem = f"{many} called `{shown(word)}` in `{shown(before)}`"
    refuse(Fault(origin, None, shown(".".join(words)), problem, remedy))


# --- writing ------------------------------------------------------------------------------------------------


def dump(data: Tree) -> str:
    """YAML that ``parse`` reads back to the same tree; a tuple comes back as a list."""
    for part in _unwritable(data):
        raise ValueError(f"{shown(repr(part))} cannot be written into a document")
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
    return text


def _unwritable(value: object) -> Iterator[object]:
    """The parts of a tree that ``parse`` would refuse. Types are exact: numpy's floats are none of ours."""
    if type(value) is dict:
        yield from (key for key in value if type(key) is not str or SURROGATE.search(key))
        yield from (part for inner in value.values() for part in _unwritable(inner))
    elif type(value) is list or type(value) is tuple:
        yield from (part for inner in value for part in _unwritable(inner))
    elif not _is_scalar(value):
        yield value


def _is_scalar(value: object) -> bool:
    if type(value) is str:
        return SURROGATE.search(value) is None
    if type(value) is int:
        return -LIMIT_INT <= value < LIMIT_INT
    return value is None or type(value) is bool or (type(value) is float and math.isfinite(value))


class _Dumper(yaml.SafeDumper):
    """PyYAML's writer quotes what YAML 1.1 would misread; here also what the core schema would."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, text: str) -> yaml.ScalarNode:
        """Line breaks and the like are written as escapes: left to itself, PyYAML folds some of them away."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, None if text.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.text)
for _tag, _pattern in (("int", INT), ("float", FLOAT)):
    _whole = re.compile(f"(?:{_pattern.pattern})$")
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _whole, list("-+.0123456789"))
