"""What a sweep asks: every point a question of its own, checked before anything is run or written.

A point is known by its question's digest. Two points with one digest are one run (a sampled whole number may come
twice; a setting may change no draw).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ecosystem import checks, scenarios
from ecosystem.documents import Document, read, shown
from ecosystem.errors import RecordError, ScenarioError
from ecosystem.locks import NAME as LOCK
from ecosystem.question import WORDS, Question
from ecosystem.records import read_json, write_json
from ecosystem.results import MAX_SEED
from ecosystem.sweeping import design
from ecosystem.sweeping.design import Design

MOST_RUNS = 10_000  # without a word that more are meant


@dataclass(frozen=True)
class Point:
    settings: Mapping[str, str]  # YAML text by key
    question: Question

    @cached_property
    def digest(self) -> str:
        return self.question.digest

    @cached_property
    def values(self) -> dict[str, Any]:
        return {key: design.value_of(key, text) for key, text in self.settings.items()}

    def __str__(self) -> str:
        return " ".join(f"{key}={text}" for key, text in self.settings.items())


@dataclass(frozen=True)
class Plan:
    scenario: str
    digest: str
    design: Design
    points: tuple[Point, ...]  # in the order of the design
    seeds: tuple[int, ...]

    @cached_property
    def runs(self) -> dict[str, Point]:
        """By digest: what is to be run, each once."""
        found: dict[str, Point] = {}
        for point in self.points:
            found.setdefault(point.digest, point)
        return found

    @property
    def default_folder(self) -> Path:
        return Path("runs") / "sweeps" / self.scenario / self.digest

    def described(self) -> dict[str, Any]:
        """sweep.json"""
        return {
            "scenario": self.scenario,
            "sampling": self.design.sampling,
            "keys": {key: str(spec) for key, spec in self.design.specs.items()},
            "varying": self.design.varying,
            "logarithmic": [
                key for key, spec in self.design.specs.items() if isinstance(spec, design.Range) and spec.logarithmic
            ],
            "seeds": list(self.seeds),
            "points": [{"point": point.digest, "settings": point.values} for point in self.points],
        }


def make(
    path: str,
    asked: Design,
    seeds: Sequence[int] | None = None,
    confirmed: bool = False,
    allow_paths: bool = False,
) -> Plan:
    """Load and check every point of a scenario. Raises ScenarioError or DataError; nothing is written."""
    document = read(scenarios.path_of(path))
    first = _point(document, next(asked.settings()), allow_paths)
    chosen = tuple(dict.fromkeys(first.question.scenario.seeds if seeds is None else seeds))
    _check_seeds(chosen)
    _check_size(asked.size * len(chosen), asked.size, confirmed)
    points = tuple(_point(document, settings, allow_paths) for settings in asked.settings())
    return Plan(first.question.scenario.name, _digest(document, asked), asked, points, chosen)


def _point(document: Document, settings: Mapping[str, str], allow_paths: bool) -> Point:
    try:
        question = scenarios.from_document(document, settings, allow_paths)
    except ScenarioError as error:
        at = ", ".join(f"{key}={shown(text)}" for key, text in settings.items())
        raise ScenarioError(f"the sweep has a faulty point, {at}; nothing was run.\n{error}") from error
    question.scenario.humans.open().ready(checks.human_pages(question))
    return Point(settings, question)


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds or not all(0 <= seed <= MAX_SEED for seed in seeds):
        raise ScenarioError(f"--seeds: a sweep needs seeds, whole numbers from 0 to {MAX_SEED:,}.")


def _check_size(runs: int, points: int, confirmed: bool) -> None:
    if runs > MOST_RUNS and not confirmed:
        raise ScenarioError(
            f"the sweep has {runs:,} runs ({points:,} points, {runs // points:,} seeds), more than {MOST_RUNS:,}. "
            "Nothing was run. Ask for fewer, or say --yes."
        )


def _digest(document: Document, asked: Design) -> str:
    """Eight hexadecimal digits of what is swept. Seeds, and further points of a Sobol' sequence, only add to it."""
    words = {key: value for key, value in document.data.items() if key not in (*WORDS, "seeds")}
    keys = {key: str(spec) for key, spec in asked.specs.items()}
    points = asked.points if asked.sampling == "lhs" else None
    tree = [words, asked.sampling, keys, points]
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:8]


# On record


def earlier_seeds(plan: Plan, folder: Path) -> tuple[int, ...]:
    """The seeds that a directory has been asked for before. Raises RecordError where it holds something else.

    A directory takes another design of the same scenario and keys: a grid that has grown keeps its runs.
    """
    if not (folder / "sweep.json").exists():
        if folder.exists() and any(path for path in folder.iterdir() if not path.name.startswith(LOCK)):
            raise RecordError(f"{folder} is not empty and holds no sweep. Choose another --out.")
        return ()
    tree = described(folder)
    if (tree["scenario"], sorted(tree["keys"])) != (plan.scenario, sorted(plan.design.specs)):
        raise RecordError(f"{folder} holds a sweep of another scenario or of other keys. Choose another --out.")
    return tuple(tree["seeds"])


def record(plan: Plan, folder: Path) -> Plan:
    """Write sweep.json, and return the plan with the seeds that were asked for earlier as well."""
    every = replace(plan, seeds=tuple(sorted({*earlier_seeds(plan, folder), *plan.seeds})))
    write_json(folder / "sweep.json", every.described())
    return every


def described(folder: Path) -> dict[str, Any]:
    """What sweep.json says. Raises RecordError."""
    path = folder / "sweep.json"
    if not path.exists():
        raise RecordError(f"{folder} holds no sweep. Sweeps of yours are under runs/sweeps/SCENARIO/.")
    tree = read_json(path)
    parts = {"scenario", "sampling", "keys", "varying", "logarithmic", "seeds", "points"}
    if not (isinstance(tree, dict) and parts <= tree.keys()):
        raise RecordError(f"{path} is no record of a sweep.")
    return tree
