"""Points of a sweep with their missing seeds: run, summed up, and put down as rows of the table.

The runs are ordinary ones, those of a bundle in lockstep. A seed that fails takes none with it: those that ran beside
it are run again, each alone. The rows are numbers from the records of finished seeds and nothing else, so that they are
the same whoever computes them and whenever.
"""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ecosystem import loop, notices, verdicts
from ecosystem.question import Question
from ecosystem.records import FINISHED, Line, RunRecord, SeedRecord, read_json, write_json
from ecosystem.summarise import summarise
from ecosystem.summary import ProviderSummary


@dataclass(frozen=True)
class Failure:
    """Why a run has no result."""

    why: str  # one line
    traceback: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        told = " ".join(str(error).split())
        why = f"{type(error).__name__}: {told}" if told else type(error).__name__
        return cls(why, "".join(traceback.format_exception(error)))


@dataclass(frozen=True)
class Task:
    """A point and what is to be run of it."""

    point: str  # the question's digest
    question: Question
    seeds: tuple[int, ...]  # to be run
    of_sweep: tuple[int, ...]  # that the rows are to cover, where they have finished
    folder: Path  # of the sweep
    alone: bool = False  # one seed after the other, never in lockstep

    @property
    def record(self) -> RunRecord:
        return RunRecord(self.folder / "points" / self.point)

    def one_by_one(self) -> list[Task]:
        return [replace(self, seeds=(seed,)) for seed in self.seeds]


@dataclass(frozen=True)
class Bundle:
    """The unit of work: tasks whose runs go in lockstep."""

    tasks: tuple[Task, ...]

    def __str__(self) -> str:
        others = len(self.tasks) - 1
        return self.tasks[0].point + (f" and {others} beside it" if others else "")


@dataclass(frozen=True)
class Finished(RunRecord):
    """A run, of which only the finished seeds of a sweep are looked at."""

    of_sweep: frozenset[int]

    def seeds(self) -> list[SeedRecord]:
        return [s for s in super().seeds() if s.seed in self.of_sweep and s.status()["state"] == FINISHED]


def finished(record: RunRecord, of_sweep: Sequence[int]) -> list[int]:
    """The seeds of a sweep that have finished."""
    return [seed.seed for seed in Finished(record.folder, frozenset(of_sweep)).seeds()]


def rows_path(folder: Path, point: str) -> Path:
    return folder / "rows" / f"{point}.json"


def work(bundle: Bundle) -> dict[str, dict[int, Failure]]:
    """Run what is missing and write the rows; what failed comes back by point and seed."""
    failures: dict[str, dict[int, Failure]] = {task.point: {} for task in bundle.tasks}
    with notices.shown(lambda text: sys.stderr.write(f"notice: {bundle}: {text}\n")):
        for task, seed, failure in _run(bundle.tasks):
            failures[task.point][seed] = failure
    for task in bundle.tasks:
        try:
            if finished(task.record, task.of_sweep):
                write_rows(task)
        except Exception as error:  # the records are there and cannot be summed up: no seed of them has a row
            failures[task.point].update(dict.fromkeys(task.seeds or task.of_sweep, Failure.of(error)))
    return failures


def _run(tasks: Sequence[Task]) -> Iterator[tuple[Task, int, Failure]]:
    together = [task for task in tasks if task.seeds and not task.alone]
    groups = [[one] for task in tasks if task.alone for one in task.one_by_one()]
    groups += [together] if together else []
    while groups:
        group = groups.pop(0)
        try:
            for _ in loop.run_several([loop.Asked(task.question, task.seeds, task.record.folder) for task in group]):
                pass
        except Exception as error:  # whatever it was, the others go on
            each = [one for task in group for one in task.one_by_one()]
            left = [one for one in each if not finished(one.record, one.seeds)] or each
            if len(left) == 1:
                yield left[0], left[0].seeds[0], Failure.of(error)
            else:
                groups += [[one] for one in left]


# Rows


def write_rows(task: Task) -> None:
    """Summary and rows of a point's finished seeds."""
    record = Finished(task.record.folder, frozenset(task.of_sweep))
    summary = summarise(record, task.question)
    write_json(record.folder / "summary.json", summary)
    seeds = [seed.seed for seed in record.seeds()]
    samples = task.question.scenario.evaluation.size(task.question.scenario.humans.open())
    rows = [
        _row(seed.seed, name, lines, provider, samples)
        for seed in record.seeds()
        for lines in [seed.lines()]
        for name, provider in summary["providers"].items()
    ]
    path = rows_path(task.folder, task.point)
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"seeds": seeds, "rows": rows})


def read_rows(folder: Path, point: str) -> dict[str, Any]:
    """The rows of a point, and the seeds that they cover; none where they were never written."""
    path = rows_path(folder, point)
    found: dict[str, Any] = read_json(path) if path.exists() else {"seeds": [], "rows": []}
    return found


def _row(seed: int, name: str, lines: Sequence[Line], provider: ProviderSummary, samples: int) -> dict[str, Any]:
    trained = [line["providers"][name]["trained"] for line in lines if "trained" in line["providers"][name]]
    stopped = [line["providers"][name]["stopped"] for line in lines if "stopped" in line["providers"][name]]
    return {
        "seed": seed,
        "provider": name,
        "generation": len(trained) - 1 if trained else None,
        "values": dict(_values(lines, name, trained)),
        "worse": worse(lines, name, [e["metric"] for e in provider["evidence"]], samples),
        "verdict": provider["verdict"],
        "judged": [e["metric"] for e in provider["evidence"]],
        "why": f"stopped: {stopped[0]}" if stopped else None,
    }


def _values(lines: Sequence[Line], name: str, trained: Sequence[Line]) -> Iterator[tuple[str, float | None]]:
    """What is known of the last generation, by column."""
    yield "web-synthetic-share", lines[-1]["web"]["synthetic_share"]
    yield "vote-share", lines[-1]["providers"][name]["vote_share"]
    if trained:
        first, last = trained[0], trained[-1]
        yield from ((column, last[key]) for column, key in verdicts.COUNTED.items())
        for metric, value in last["metrics"].items():
            yield metric, value
            yield f"{metric}-ratio", _ratio(first["metrics"].get(metric), value)


def _ratio(start: float | None, end: float | None) -> float | None:
    """Of a metric to its generation 0, where that is above zero."""
    if start is None or end is None or start <= 0:
        return None
    ratio = end / start
    return ratio if math.isfinite(ratio) else None


def worse(lines: Sequence[Line], name: str, judged: Sequence[str], samples: int) -> float | None:
    """How many times worse than its generation 0 a provider became in one seed: the worst of the judged metrics.

    A variance that has grown is as wrong as one that has shrunk as many times.
    """
    found = []
    for metric in judged:
        evidence = verdicts.evidence(metric, [verdicts.provider_series(lines, name, metric)], samples)
        if evidence is not None and (effect := evidence["effect"]) is not None:
            found.append(max(effect, 1 / effect) if metric == verdicts.VARIANCE and effect > 0 else effect)
    return max(found, default=None)
