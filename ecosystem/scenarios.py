"""Scenario files: read, overridden, and checked for everything that can be known to be wrong before a run.

    load("lambda-mixture") -> Question         a shipped name or a path
    load("mine.yaml", {"users.crowd.k": "4"})  with overrides, as `--set users.crowd.k=4`

What a scenario may say is in question.py, and in the settings beside the code they set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from ecosystem import checks, events, features, grammar, model_cards, weights
from ecosystem.documents import (
    Document,
    Fault,
    FaultsError,
    Route,
    parse,
    put,
    raise_faults,
    read,
    set_path,
    shown,
    suggest,
)
from ecosystem.question import Question, Scenario

FOLDER = "scenarios"
MOST_FINDINGS = 200  # are told; to look for more takes long and helps nobody


def names() -> list[str]:
    return grammar.shipped_names(FOLDER)


def path_of(name_or_path: str) -> Path:
    """The file of a shipped scenario's name, or the path itself."""
    if name_or_path in names():
        return grammar.shipped(FOLDER) / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or _exists(path):
        return path
    fault = Fault(shown(name_or_path), None, "", "there is no such scenario", suggest(name_or_path, names()))
    raise_faults([fault], "scenario")
    raise AssertionError


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # longer than any name that a file system takes
        return False


def load(name_or_path: str, overrides: Mapping[str, Any] | None = None, allow_paths: bool = False) -> Question:
    """Read, override, check. Raises ScenarioError with every fault found, or DataError; nothing is written.

    Files that the scenario names stand in its own folder, the working directory or the folder of human data, unless
    ``allow_paths``: it may be a stranger's. A path in ``overrides`` is the caller's own word.
    """
    question = understood(name_or_path, overrides, allow_paths)
    features.ready((question.scenario.evaluation.features, question.scenario.judge))
    question.scenario.humans.open().ready(checks.human_pages(question))
    return question


def understood(name_or_path: str, overrides: Mapping[str, Any] | None = None, allow_paths: bool = False) -> Question:
    """The same, without a look at whether the human data are there. Raises ScenarioError."""
    return from_document(read(path_of(name_or_path)), overrides or {}, allow_paths)


def from_text(text: str, overrides: Mapping[str, Any] | None = None, origin: str = "scenario") -> Question:
    """The same of a text that the caller has written, or read himself."""
    return from_document(parse(text, origin), overrides or {}, allow_paths=True)


def from_document(
    document: Document, overrides: Mapping[str, Any], allow_paths: bool = False, look: bool = True
) -> Question:
    """Override and check; raises ScenarioError with all that is wrong. ``look``: also into weights that cards name."""
    document, overridden, faults = _override(document, overrides)
    scenario, wrong = grammar.check(Scenario, document)
    faults += wrong
    if scenario is not None:
        strange = [] if allow_paths else list(checks.strange_paths(scenario, Path(document.origin).parent, overridden))
        faults += [checks.fault(document, finding) for finding in strange]
        found, wrong = model_cards.at_the_start(scenario, document, {route for route, _, _ in strange})
        findings = list(islice(checks.of_scenario(scenario, found), MOST_FINDINGS))
        later, wrong_later = model_cards.of_those_who_enter(scenario, document, {route for route, _, _ in strange})
        found |= later
        closed = {route for route, _, _ in strange}
        policies, changed, event_faults = events.policies_after(scenario, document, found, findings, closed)
        event_faults += wrong_later
        question = Question(scenario, found, policies, changed)
        findings += islice(checks.of_question(question), MOST_FINDINGS)
        faults += [*wrong, *event_faults, *(checks.fault(document, finding) for finding in findings)]
        if look and not faults:
            home = None if allow_paths else Path(document.origin).parent
            question, faults = weights.opened(question, document, home, overridden)
    raise_faults(_told(faults, [grammar.where(document.data, route) for route in overridden]), document.origin)
    return question


# Overrides

SET = "--set"


def _override(document: Document, overrides: Mapping[str, Any]) -> tuple[Document, list[Route], list[Fault]]:
    """The document with other values, and the places that are new. Text is read as YAML, as on a command line."""
    tree: Any = document.data
    routes: list[Route] = []
    faults: list[Fault] = []
    for dotted, value in overrides.items():
        route = grammar.route_to(tree, dotted)
        try:
            tree = put(tree, dotted, value, SET) if isinstance(value, str) else set_path(tree, dotted, value, SET)
        except FaultsError as error:
            faults += error.faults
        else:
            # The first part of the path that the file knows nothing of, or else the value itself.
            routes.append(next((route[:n] for n in range(1, len(route)) if route[:n] not in document.lines), route))
    return Document(tree, document.origin, document.lines), routes, faults


def _told(faults: list[Fault], overridden: list[str]) -> list[Fault]:
    """Each fault once; one of an overridden value names the override, for its line in the file is not to blame."""
    return [
        replace(fault, origin=SET, line=None)
        if any(grammar.within(fault.where, name) for name in overridden)
        else fault
        for fault in dict.fromkeys(faults)
    ]
