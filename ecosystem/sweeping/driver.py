"""Work off what is missing of a sweep. A generator of progress: showing it, and stopping it, belong to the caller.

A point whose seeds have finished and whose rows are written costs a look at its files; what failed is tried again.
Points that differ in policies alone run in lockstep, in bundles that follow from the command and from what is missing.
The table is written at the end, and also where the sweep is stopped before it.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ecosystem.errors import RecordError
from ecosystem.locks import locked
from ecosystem.question import Question
from ecosystem.records import RUNNING, read_json, write_json
from ecosystem.sweeping import table
from ecosystem.sweeping.executors import Executor, Outcome
from ecosystem.sweeping.plan import Plan, Point, earlier_seeds, record
from ecosystem.sweeping.work import Bundle, Failure, Task, finished, read_rows, rows_path, work

ALONGSIDE = 16  # worlds in lockstep: more gain little, and the pages of all of them are in memory
BUNDLES = 4  # for each worker at the least, so that all of them have work to the end


@dataclass(frozen=True)
class Done:
    """A point of which all is done that can be."""

    point: Point
    seeds: int  # that were run now
    verdicts: Mapping[str, str]  # by provider
    failures: Mapping[int, Failure]
    number: int  # of points done, this one included
    points: int  # to be done


@dataclass(frozen=True)
class Kept:
    """Points that are on record already."""

    points: int
    of: int


def run(plan: Plan, executor: Executor, folder: Path, force: bool = False) -> Generator[Kept | Done, None, None]:
    earlier_seeds(plan, folder)  # nothing is written into a directory that holds something else
    with executor, _owned(folder):
        every = record(plan, folder)
        if force:
            _clear(plan, folder)
        tasks = [task for task in _tasks(plan, every, folder) if task is not None]
        yield Kept(len(plan.runs) - len(tasks), len(plan.runs))
        failures = {point: _failures_on_record(folder, point) for point in every.runs}
        try:
            for number, (task, found) in enumerate(_worked(executor, tasks), 1):
                done = set(finished(task.record, every.seeds))
                kept = {seed: why for seed, why in failures[task.point].items() if seed not in {*done, *task.seeds}}
                failures[task.point] = {**kept, **found}
                point = every.runs[task.point]
                _record_failures(folder, point, failures[task.point])
                verdicts = {row["provider"]: row["verdict"] for row in read_rows(folder, task.point)["rows"]}
                yield Done(point, len(task.seeds), verdicts, found, number, len(tasks))
        finally:
            table.write(table.build(every, folder, failures), folder)


def _tasks(plan: Plan, every: Plan, folder: Path) -> Iterator[Task | None]:
    """What is to be done for each point; None: nothing."""
    for digest, point in plan.runs.items():
        task = Task(digest, point.question, (), every.seeds, folder)
        done = finished(task.record, every.seeds)
        missing = tuple(seed for seed in plan.seeds if seed not in done)
        complete = not missing and read_rows(folder, digest)["seeds"] == done
        yield None if complete else replace(task, seeds=missing)


def bundles(tasks: Sequence[Task], jobs: int) -> list[Bundle]:
    """Tasks that differ in policies alone, together: their trainings are done as stacks, and their closed forms.

    A bundle has ALONGSIDE worlds at the most, and fewer where there would not be BUNDLES of them for each worker.
    """
    most = min(ALONGSIDE, sum(len(task.seeds) for task in tasks) // (BUNDLES * jobs))
    found: list[list[Task]] = []
    open_ones: dict[Hashable, list[Task]] = {}
    for task in tasks:
        beside = open_ones.get(key := _kin(task.question))
        if key is None or beside is None or sum(len(t.seeds) for t in beside) + len(task.seeds) > most:
            found.append(beside := [])
            open_ones[key] = beside
        beside.append(task)
    return [Bundle(tuple(tasks)) for tasks in found]


def _kin(question: Question) -> Hashable:
    """What points have in common whose models make stacks with one another; None of one whose models make none."""
    models = [card.model for card in question.all_cards]
    if not all(model.stacks for model in models):
        return None
    return frozenset(models), question.scenario.humans, question.scenario.device


def _worked(executor: Executor, tasks: Sequence[Task]) -> Iterator[tuple[Task, dict[int, Failure]]]:
    """Each task with what failed of it, when it is done with. One whose worker died is taken up again."""
    whole = {task.point: task for task in tasks}
    found: dict[str, dict[int, Failure]] = {task.point: {} for task in tasks}
    todo = bundles(tasks, executor.jobs)
    while todo:
        again = []
        for outcome in executor.map(work, todo):
            for task in outcome.task.tasks:
                found[task.point].update((outcome.result or {}).get(task.point, {}))
                rest = _after_death(outcome, task, found[task.point]) if outcome.died else None
                if rest is None:
                    yield whole[task.point], found[task.point]
                else:
                    again.append(Bundle((rest,)))
        todo = again


def _after_death(outcome: Outcome[Bundle, Any], task: Task, found: dict[int, Failure]) -> Task | None:
    """What is left of a task whose worker died: its seeds one by one, without the one that the worker died of."""
    done = finished(task.record, task.of_sweep)
    left = [seed for seed in task.seeds if seed not in done]
    # Of several it may have been any; and one that has finished may only want its rows.
    if not task.alone and (len(outcome.task.tasks) > 1 or len(task.seeds) > 1 or not left):
        return replace(task, seeds=tuple(left), alone=True)
    running = {seed.seed for seed in task.record.seeds() if seed.status()["state"] == RUNNING}
    culprit = next((seed for seed in left if seed in running), left[0] if left else None)
    whose = (task.seeds or task.of_sweep) if culprit is None else [culprit]
    found.update(dict.fromkeys(whose, Failure(outcome.died)))
    rest = tuple(seed for seed in left if seed != culprit)
    return replace(task, seeds=rest, alone=True) if rest else None


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """The sweep's directory, there and nobody else's."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"{folder} cannot be written: {error.strerror}. Choose another --out.") from error
    with locked(folder):
        yield


def _clear(plan: Plan, folder: Path) -> None:
    """Take away the asked seeds' runs, so that they start anew."""
    for digest, point in plan.runs.items():
        record = Task(digest, point.question, (), (), folder).record
        rows_path(folder, digest).unlink(missing_ok=True)
        for seed in plan.seeds:
            shutil.rmtree(record.seed(seed).folder, ignore_errors=True)


# Failures


def failure_path(folder: Path, point: str) -> Path:
    return folder / "failures" / f"{point}.json"


def _record_failures(folder: Path, point: Point, failures: Mapping[int, Failure]) -> None:
    path = failure_path(folder, point.digest)
    if not failures:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(exist_ok=True)
    seeds = {str(seed): {"why": f.why, "traceback": f.traceback} for seed, f in sorted(failures.items())}
    write_json(path, {"point": point.digest, "settings": point.values, "seeds": seeds})


def _failures_on_record(folder: Path, point: str) -> dict[int, Failure]:
    path = failure_path(folder, point)
    seeds = read_json(path)["seeds"] if path.exists() else {}
    return {int(seed): Failure(**told) for seed, told in seeds.items()}
