"""The work that a world asks for: fits and draws. A world says what it needs; whoever drives it does the work.

A world is a Python generator that yields jobs, one or several at once, and is sent their results. Driven alone, each
job is done when it is asked for. Worlds that are driven together, in lockstep, come to the same jobs at the same time,
and families that can do many of them as one stack (``Family.fit_stack``, ``Family.train_stack``,
``Generator.sample_stack``) are handed the stack: the providers of a world that train in one phase, and the seeds of a
run. What a member of a stack gets is bit for bit what it would have got alone, so the seeds of a run do not know of one
another, and nothing on record depends on what was computed beside what.
"""

from __future__ import annotations

import math
from collections.abc import Generator as Iteration
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from ecosystem.errors import TrainingError
from ecosystem.models.base import Fit, Generator, Update
from ecosystem.stopwatch import clock


@dataclass(frozen=True, eq=False)
class Draw:
    """Samples: prompts y (N,) and their noise (N, ...). The asker is sent the tensor, or a TrainingError."""

    generator: Generator
    y: Tensor
    noise: Tensor


@dataclass(frozen=True, eq=False)
class Trained:
    generator: Generator
    loss: float | None


@dataclass(frozen=True, eq=False)
class Heard:
    """What an asker told on its way (``item``), or how far a training of it is, and at its end what it ``made``."""

    number: int
    item: Any = None
    fit: Fit | None = None
    update: Update | None = None
    made: Trained | None = None


T = TypeVar("T")
Job = Fit | Draw
Jobs = tuple[Job, ...]  # asked for at once; the asker is sent as many answers, errors among them
Asker = Iteration[T | Job | Jobs, Any, None]


def drive(askers: Sequence[Asker[Any]]) -> Iterator[Heard]:
    """Advance all askers to their ends, job by job, in lockstep."""
    replies: dict[int, Any] = dict.fromkeys(range(len(askers)))
    while replies:
        asked: dict[int, Job | Jobs] = {}
        for number, reply in replies.items():
            job = yield from _until_it_asks(number, askers[number], reply)
            if job is not None:
                asked[number] = job
        results = yield from _done({number: job if isinstance(job, tuple) else (job,) for number, job in asked.items()})
        replies = {
            number: results[number] if isinstance(job, tuple) else results[number][0] for number, job in asked.items()
        }


def at_once(askers: Iterable[Asker[T]]) -> Asker[T]:
    """Several askers as one that asks for what all of them need next, so that it can be done together."""
    replies: list[tuple[Asker[T], Any]] = [(asker, None) for asker in askers]
    while replies:
        asking: list[tuple[Asker[T], Job]] = []
        for asker, reply in replies:
            try:
                item = asker.throw(reply) if isinstance(reply, TrainingError) else asker.send(reply)
                while not isinstance(item, Fit | Draw):
                    yield item
                    item = next(asker)
            except StopIteration:
                continue
            asking.append((asker, item))
        answers = (yield tuple(job for _, job in asking)) if asking else ()
        replies = [(asker, answer) for (asker, _), answer in zip(asking, answers, strict=True)]


def _until_it_asks(number: int, asker: Asker[Any], reply: Any) -> Iteration[Heard, None, Job | Jobs | None]:
    """The next job of an asker, or several; None when it has ended."""
    try:
        item = asker.throw(reply) if isinstance(reply, TrainingError) else asker.send(reply)
        while not isinstance(item, Fit | Draw | tuple):
            yield Heard(number, item)
            item = next(asker)
    except StopIteration:
        return None
    return item


def _done(asked: Mapping[int, Jobs]) -> Iteration[Heard, None, dict[int, tuple[Any, ...]]]:
    """The results of all jobs, errors among them, of each asker in the order in which it asked."""
    jobs = [(number, job) for number, several in asked.items() for job in several]
    groups: dict[Hashable, list[int]] = {}
    for place, (_, job) in enumerate(jobs):
        groups.setdefault((type(job), *_group(job)), []).append(place)
    results: dict[int, Any] = {}
    for places in groups.values():
        group = [jobs[place] for place in places]
        with clock.during("sampling" if isinstance(group[0][1], Draw) else "training"):
            results.update(zip(places, (yield from _group_done(group)), strict=True))
    found: dict[int, list[Any]] = {number: [] for number in asked}
    for place, (number, _) in enumerate(jobs):
        found[number].append(results[place])
    return {number: tuple(several) for number, several in found.items()}


def _group(job: Job) -> tuple[Hashable, ...]:
    """What jobs must have in common to be done as one, and where, as a stack lies on one device."""
    if isinstance(job, Draw):
        return type(job.generator), job.y.device, job.generator.stack_key(job.noise)
    return job.family, job.data.y.device, job.family.stack_key(job)


def _group_done(jobs: Sequence[tuple[int, Job]]) -> Iteration[Heard, None, list[Any]]:
    """The results of jobs that have a group in common, with who asked for each."""
    first = jobs[0][1]
    if len(jobs) > 1:
        if isinstance(first, Fit) and first.family.stack_key(first) is not None:
            return (yield from _trained([(number, job) for number, job in jobs if isinstance(job, Fit)]))
        if (found := together([job for _, job in jobs])) is not None:
            return found
    results = []
    for number, job in jobs:
        results.append((yield from _alone(number, job)))
    return results


def together(jobs: Sequence[Any]) -> list[Any] | None:
    """Jobs of one kind and family as one stack; None where they make none."""
    try:
        if isinstance(jobs[0], Draw):
            return type(jobs[0].generator).sample_stack(
                [job.generator for job in jobs], [job.y for job in jobs], [job.noise for job in jobs]
            )
        fitted = jobs[0].family.fit_stack([job.data for job in jobs])
    except TrainingError:
        return None  # done one by one, each asker hears of its own
    return None if fitted is None else [Trained(generator, None) for generator in fitted]


def _trained(fits: Sequence[tuple[int, Fit]]) -> Iteration[Heard, None, list[Trained | TrainingError]]:
    """Trainings that make one stack."""
    training = fits[0][1].family.train_stack([fit for _, fit in fits])
    last: list[Update | None] = [None] * len(fits)
    while True:
        try:
            place, update = next(training)
        except StopIteration as end:
            models: list[Generator | TrainingError] = end.value
            break
        last[place] = update
        number, fit = fits[place]
        yield Heard(number, fit=fit, update=update)
    results: list[Trained | TrainingError] = []
    for (number, fit), model, its in zip(fits, models, last, strict=True):
        if isinstance(model, TrainingError):
            results.append(model)
        else:
            results.append(made := Trained(model, _loss(its)))
            yield Heard(number, fit=fit, update=its, made=made)
    return results


def _alone(number: int, job: Job) -> Iteration[Heard, None, Any]:
    if isinstance(job, Draw):
        try:
            return job.generator.sample(job.y, job.noise)
        except TrainingError as error:
            return error
    training = job.family.fit(job.data, job.previous, job.streams, job.budget_images, job.saved)
    update: Update | None = None
    # The training is advanced by hand because its return value is the new model.
    while True:
        try:
            update = next(training)
        except StopIteration as end:
            made = Trained(end.value, _loss(update))
            if update is not None:
                yield Heard(number, fit=job, update=update, made=made)
            return made
        except TrainingError as error:
            return error
        yield Heard(number, fit=job, update=update)


def _loss(update: Update | None) -> float | None:
    return None if update is None or math.isnan(update.loss) else update.loss
