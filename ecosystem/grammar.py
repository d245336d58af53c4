"""From a document to settings: pydantic checks the tree once, and every fault is told with its line.

The types are the settings dataclasses that stand beside the code they set; what pydantic says of a wrong tree is
translated here into faults with file, line, path and a suggestion.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from ecosystem.documents import FLOAT, INT, Document, Fault, path_name, raise_faults, shown, suggest
from ecosystem.settings import yaml_key

T = TypeVar("T")
Path_ = tuple[str | int, ...]
TAGS = ("kind", "source", "family")  # the keys that tell the members of a union apart
UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")
MOST_TOLD = 100  # faults of one tree: each takes a look through all settings classes
LONGEST_PLACE, LONGEST_REMEDY = 70, 110
MISSING_KEY = ("missing", "missing_argument", "missing_keyword_only_argument")


def validate(settings: type[T], document: Document) -> T:
    """The document as settings; raises ScenarioError with all faults."""
    value, faults = check(settings, document)
    raise_faults(faults, document.origin)
    return cast(T, value)


def check(settings: type[T], document: Document) -> tuple[T | None, list[Fault]]:
    """The document as settings, or None and what is wrong with it."""
    try:
        # In JSON mode a list may be a tuple, and yet a string is never taken for a number.
        return _adapter(settings).validate_json(json.dumps(document.data)), []
    except ValidationError as error:
        errors = [dict(e) for e in error.errors(include_url=False)[:MOST_TOLD]]
        return None, _once([_fault(settings, document, e) for e in errors if not _follows(e, errors)])


def _once(faults: list[Fault]) -> list[Fault]:
    """Without the keys that are missing because they are misspelt beside."""
    meant = {(fault.where.rpartition(".")[0], fault.remedy) for fault in faults}
    places = [fault.where.rpartition(".") for fault in faults]
    return [
        fault
        for fault, (around, _, key) in zip(faults, places, strict=True)
        if not (fault.remedy == f"add `{key}:`" and (around, f"did you mean `{key}`?") in meant)
    ]


def _follows(error: dict[str, Any], errors: list[dict[str, Any]]) -> bool:
    """Whether an error is but a consequence: to pydantic a list is too short when an item of it is wrong."""
    loc = error["loc"]
    return error["type"] == "too_short" and any(e["loc"][: len(loc)] == loc and e is not error for e in errors)


def _adapter(settings: Any) -> TypeAdapter[Any]:
    """Building one takes as long as a thousand uses."""
    if settings not in _ADAPTERS:
        _ADAPTERS[settings] = TypeAdapter(settings)
    return _ADAPTERS[settings]


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def dump(settings: Any) -> Any:
    """Settings as a tree of plain values with the YAML keys."""
    return _adapter(type(settings)).dump_python(settings, mode="json", by_alias=True)


def schema(settings: type[Any]) -> dict[str, Any]:
    """The JSON schema, for editors."""
    return _adapter(settings).json_schema(by_alias=True)


def _fault(settings: type[Any], document: Document, error: dict[str, Any]) -> Fault:
    route, last = _route(document.data, error["loc"])
    kind = error["type"]
    if kind in UNKNOWN_KEY:
        known = sorted(_keys(settings, document.data, route[:-1]))
        problem, remedy = "unknown key", suggest(str(last), known)
    elif kind in MISSING_KEY:
        problem, remedy = "missing", f"add `{last}:`"
    elif kind == "union_tag_not_found":
        key = error["ctx"]["discriminator"].strip("'")
        known = sorted(tag for _, tag in _tags(settings, document.data, route))
        problem, remedy = f"`{key}` is missing", f"add `{key}:`, one of: {', '.join(known)}"
    elif kind == "union_tag_invalid":
        tag, expected = error["ctx"]["tag"], error["ctx"]["expected_tags"].replace("'", "").split(", ")
        key = error["ctx"]["discriminator"].strip("'")
        problem, remedy = f"there is no {key} `{shown(tag)}`", suggest(str(tag), expected)
        route = (*route, key)
    else:
        problem, remedy = _wrong_value(error)
        if WANTED.get(kind) == "a mapping" and isinstance(error["input"], str):
            tags = _tags(settings, document.data, route)
            remedy = next((f"write {{{key}: {tag}}}" for key, tag in tags if tag == error["input"]), "")
    return fault(document, route, problem, remedy)


def where(data: Any, route: Path_) -> str:
    """The dotted name of a place, short enough for a message."""
    name = path_name(data, route)
    name = f'{name}""' if route and route[-1] == "" else name
    return name if len(name) <= LONGEST_PLACE else f"{name[: LONGEST_PLACE - 3]}..."


def route_to(tree: Any, dotted: str) -> Path_:
    """The place that a dotted path means, if it means one."""
    route: list[str | int] = []
    for word in dotted.split("."):
        part: str | int = word
        if isinstance(tree, list):
            names = [item.get("name") if isinstance(item, dict) else None for item in tree]
            part = names.index(word) if word in names else int(word) if word.isdecimal() else word
            tree = tree[part] if isinstance(part, int) and part < len(tree) else None
        else:
            tree = tree.get(word) if isinstance(tree, dict) else None
        route.append(part)
    return tuple(route)


def within(name: str, around: str) -> bool:
    """Whether a dotted name is that of a place or of one inside it."""
    return name == around or name.startswith(f"{around}.")


def fault(document: Document, route: Path_, problem: str, remedy: str) -> Fault:
    """What is wrong at a place; a long list of remedies is cut."""
    if len(remedy) > LONGEST_REMEDY and ", " in remedy:
        remedy = f"{remedy[:LONGEST_REMEDY].rpartition(', ')[0]}, ..."
    return Fault(document.origin, document.line(route), where(document.data, route), problem, remedy)


# pydantic's type errors -> what belongs there
WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping",
    "model_attributes_type": "a mapping",
}

# pydantic's bounds -> the bound in words
BOUNDS = {
    "greater_than": "must be above {gt:,}",
    "greater_than_equal": "must be {ge:,} or more",
    "less_than": "must be below {lt:,}",
    "less_than_equal": "must be {le:,} or less",
    "multiple_of": "must be a multiple of {multiple_of}",
    "too_short": "must have {min_length} or more items",
    "too_long": "must have {max_length} or fewer items",
    "string_too_short": "must have {min_length} or more characters",
    "string_too_long": "must have {max_length} or fewer characters",
}


def _wrong_value(error: dict[str, Any]) -> tuple[str, str]:
    """A value of the wrong type or size: the problem and the remedy."""
    kind, value = error["type"], error.get("input")
    if kind in WANTED:
        return f"must be {WANTED[kind]}, not {_described(value)}", _retyped(WANTED[kind], value)
    if kind in BOUNDS:
        size = len(value) if isinstance(value, str | list) else _described(value)
        return f"{BOUNDS[kind].format(**error['ctx'])}, not {size}", ""
    if kind == "literal_error":
        words = [word.strip(" '") for word in error["ctx"]["expected"].replace(" or ", ",").split(",")]
        if isinstance(value, str):
            return f"cannot be `{shown(value)}`", suggest(value, words)
        return f"cannot be {_described(value)}", f"one of: {', '.join(words)}"
    if kind == "value_error":  # raised by a settings class, in its own words
        return str(error["ctx"]["error"]), ""
    return str(error["msg"]), ""


def _described(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        return f"the text {json.dumps(shown(value), ensure_ascii=False)}"
    return json.dumps(value)


def _retyped(wanted: str, value: Any) -> str:
    if wanted == "a list" and isinstance(value, str | int | float) and not isinstance(value, bool):
        return f"write [{shown(value)}]"
    if wanted.endswith("number") and isinstance(value, str) and (INT.fullmatch(value) or FLOAT.fullmatch(value)):
        return "write it without quotes"
    return "put it in quotes" if wanted == "text" and isinstance(value, int | float) else ""


def _route(data: Any, loc: tuple[str | int, ...]) -> tuple[Path_, str | int]:
    """pydantic's location without the tags of unions, and its last part."""
    route: list[str | int] = []
    here = data
    for position, part in enumerate(loc):
        if _holds(here, part):
            here = here[part]
        elif position < len(loc) - 1 or (isinstance(here, dict) and part in _tag_values(here)):
            continue  # the tag of a union, or the name of a type
        elif not (isinstance(here, dict) and isinstance(part, str)):
            continue
        route.append(part)
    return tuple(route), loc[-1] if loc else ""


def _holds(here: Any, part: str | int) -> bool:
    if isinstance(here, dict):
        return part in here
    return isinstance(here, list) and isinstance(part, int) and part < len(here)


def _tag_values(here: dict[str, Any]) -> list[Any]:
    return [here[tag] for tag in TAGS if tag in here]


def _keys(settings: Any, data: Any, route: Path_) -> set[str]:
    """The keys that a mapping at ``route`` may have."""
    return {yaml_key(f.name) for kind in _classes_at(settings, data, route) for f in fields(kind)}


def _tags(settings: Any, data: Any, route: Path_) -> set[tuple[str, str]]:
    """The tags, key and value, of what may stand at ``route``."""
    kinds = _classes_at(settings, data, route)
    return {(f.name, str(f.default)) for kind in kinds for f in fields(kind) if f.name in TAGS}


def _classes_at(settings: Any, data: Any, route: Path_) -> list[type[Any]]:
    """The settings classes that a mapping at ``route`` may be, narrowed by its tag."""
    types_here, here = [settings], data
    for part in route:
        if isinstance(part, int):  # of a list, which `_members` opens
            here = here[part] if isinstance(here, list) and part < len(here) else None
            continue
        classes = _narrow([c for t in types_here for c in _members(t) if is_dataclass(c)], here)
        hints = [get_type_hints(c, include_extras=True) for c in classes]
        types_here = [h[name] for h in hints for name in h if yaml_key(name) == part]
        here = here.get(part) if isinstance(here, dict) else None
    found = [c for t in types_here for c in _members(t) if is_dataclass(c)]
    return _narrow(cast(list[type[Any]], found), here)


def _narrow(classes: list[Any], here: Any) -> list[type[Any]]:
    if not isinstance(here, dict):
        return classes
    values = _tag_values(here)
    chosen = [c for c in classes if any(f.name in TAGS and f.default in values for f in fields(c))]
    return chosen or classes


def _members(annotation: Any) -> Iterator[Any]:
    """The classes an annotation is made of, unions, Annotated and tuples opened."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    elif origin is Annotated or origin is tuple:
        yield from _members(get_args(annotation)[0])
    else:
        yield annotation


def shipped(folder: str) -> Path:
    """Where the shipped scenarios or cards are: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parent
    beside = package.parent / folder
    return beside if (package.parent / "pyproject.toml").exists() and beside.is_dir() else package / "shipped" / folder


def shipped_names(folder: str) -> list[str]:
    return sorted(path.stem for path in shipped(folder).glob("*.yaml"))
