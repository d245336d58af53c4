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

from ecosystem.documents import Document, Fault, path_name, raise_faults, suggest
from ecosystem.settings import yaml_key

T = TypeVar("T")
Path_ = tuple[str | int, ...]
TAGS = ("kind", "source", "family")  # the keys that tell the members of a union apart
UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")
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
        return TypeAdapter(settings).validate_json(json.dumps(document.data)), []
    except ValidationError as error:
        return None, [_fault(settings, document, dict(e)) for e in error.errors(include_url=False)]


def dump(settings: Any) -> Any:
    """Settings as a tree of plain values with the YAML keys."""
    return TypeAdapter(type(settings)).dump_python(settings, mode="json", by_alias=True)


def schema(settings: type[Any]) -> dict[str, Any]:
    """The JSON schema, for editors."""
    return TypeAdapter(settings).json_schema(by_alias=True)


def _fault(settings: type[Any], document: Document, error: dict[str, Any]) -> Fault:
    route, last = _route(document.data, error["loc"])
    kind = error["type"]
    if kind in UNKNOWN_KEY:
        known = sorted(_keys(settings, document.data, route[:-1]))
        problem, remedy = f"unknown key `{last}`", suggest(str(last), known)
    elif kind in MISSING_KEY:
        problem, remedy = f"`{last}` is missing", f"add `{last}:`"
    elif kind == "union_tag_not_found":
        problem, remedy = f"`{error['ctx']['discriminator'].strip(chr(39))}` is missing", "say which one it is"
        known = sorted(_tags(settings, document.data, route))
        remedy = f"one of: {', '.join(known)}" if known else remedy
    elif kind == "union_tag_invalid":
        tag, expected = error["ctx"]["tag"], error["ctx"]["expected_tags"].replace("'", "").split(", ")
        problem, remedy = f"there is no `{tag}` here", suggest(str(tag), expected)
        key = error["ctx"]["discriminator"].strip("'")
        route = (*route, key)
    else:
        problem, remedy = _plain(error), _remedy(error)
    return Fault(document.origin, document.line(route), path_name(document.data, route), problem, remedy)


def _plain(error: dict[str, Any]) -> str:
    message = str(error["msg"])
    message = message[0].lower() + message[1:]
    value = error.get("input")
    if isinstance(value, dict | list):
        value = "a mapping" if isinstance(value, dict) else "a list"
        return f"{message.replace('input', 'it').replace('an object', 'a mapping')}, not {value}"
    shown = "null" if value is None else json.dumps(value, ensure_ascii=False)
    return f"{message.replace('input', shown[:40])}".replace("an object", "a mapping")


def _remedy(error: dict[str, Any]) -> str:
    if error["type"] == "literal_error" and isinstance(error["input"], str):
        words = [word.strip(" '") for word in error["ctx"]["expected"].replace(" or ", ",").split(",")]
        return suggest(error["input"], words)
    if error["type"].endswith("_type") and isinstance(error.get("input"), str):
        return "without quotes, if it has them" if error["input"].replace(".", "").isdigit() else ""
    return ""


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


def _tags(settings: Any, data: Any, route: Path_) -> set[str]:
    kinds = _classes_at(settings, data, route)
    return {str(f.default) for kind in kinds for f in fields(kind) if f.name in TAGS}


def _classes_at(settings: Any, data: Any, route: Path_) -> list[type[Any]]:
    """The settings classes that a mapping at ``route`` may be, narrowed by its tag."""
    types_here, here = [settings], data
    for part in route:
        if isinstance(part, int):
            types_here = [a for t in types_here for a in _members(t) if not is_dataclass(a)]
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
