"""The work that a world asks for: fits and draws. A world says what it needs; whoever drives it does the work.

A world is a Python generator that yields jobs and is sent their results. Driven alone, each job is done when it is
asked for. Worlds that are driven together, in lockstep, come to the same job at the same time, and families that can
do many of them as one stack (``Family.fit_stack``, ``Generator.sample_stack``) are handed the stack. What a member of
a stack gets is bit for bit what it would have got alone, so the seeds of a run do not know of one another.
"""

from __future__ import annotations

import math
from collections.abc import Generator as Iteration
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from ecosystem.errors import TrainingError
from ecosystem.models.base import Family, Generator, Saved, TrainingSet, Update
from ecosystem.rng import Streams


@dataclass(frozen=True, eq=False)
class Fit:
    """A training. The asker is sent a Trained, or a TrainingError is raised where it asked."""

    family: Family
    data: TrainingSet
    previous: Generator | None
    streams: Streams
    budget_images: int | None = None
    saved: Saved | None = None  # of this very training, where a checkpoint was written within it


@dataclass(frozen=True, eq=False)
class Draw:
    """Samples: prompts y (N,) and their noise (N, ...). The asker is sent the tensor."""

    generator: Generator
    y: Tensor
    noise: Tensor


@dataclass(frozen=True, eq=False)
class Trained:
    generator: Generator
    loss: float | None


@dataclass(frozen=True, eq=False)
class Heard:
    """What an asker told on its way (``item``), or how far a training of it is (``fit``, ``update``)."""

    number: int
    item: Any = None
    fit: Fit | None = None
    update: Update | None = None


T = TypeVar("T")
Job = Fit | Draw
Asker = Iteration[T | Job, Any, None]


def drive(askers: Sequence[Asker[Any]]) -> Iterator[Heard]:
    """Advance all askers to their ends, job by job, in lockstep."""
    replies: dict[int, Any] = dict.fromkeys(range(len(askers)))
    while replies:
        jobs: dict[int, Job] = {}
        for number, reply in replies.items():
            job = yield from _until_it_asks(number, askers[number], reply)
            if job is not None:
                jobs[number] = job
        replies = yield from _done(jobs)


def _until_it_asks(number: int, asker: Asker[Any], reply: Any) -> Iteration[Heard, None, Job | None]:
    """The next job of an asker; None when it has ended."""
    try:
        item = asker.throw(reply) if isinstance(reply, TrainingError) else asker.send(reply)
        while not isinstance(item, Fit | Draw):
            yield Heard(number, item)
            item = next(asker)
    except StopIteration:
        return None
    return item


def _done(jobs: dict[int, Job]) -> Iteration[Heard, None, dict[int, Any]]:
    """The results of all jobs, errors among them, in the order of the askers."""
    groups: dict[Hashable, list[int]] = {}
    for number, job in jobs.items():
        key: Hashable = job.family if isinstance(job, Fit) else type(job.generator)
        device = job.data.y.device if isinstance(job, Fit) else job.y.device  # a stack lies on one
        groups.setdefault((type(job), key, device), []).append(number)
    results: dict[int, Any] = {}
    for numbers in groups.values():
        found = together([jobs[number] for number in numbers]) if len(numbers) > 1 else None
        if found is not None:
            results.update(zip(numbers, found, strict=True))
        else:
            for number in numbers:
                results[number] = yield from _alone(number, jobs[number])
    return {number: results[number] for number in jobs}


def together(jobs: Sequence[Any]) -> list[Any] | None:
    """Jobs of one kind and family as one stack; None where they make none."""
    if isinstance(jobs[0], Draw):
        return type(jobs[0].generator).sample_stack(
            [job.generator for job in jobs], [job.y for job in jobs], [job.noise for job in jobs]
        )
    try:
        fitted = jobs[0].family.fit_stack([job.data for job in jobs])
    except TrainingError:
        return None  # done one by one, each asker hears of its own
    return None if fitted is None else [Trained(generator, None) for generator in fitted]


def _alone(number: int, job: Job) -> Iteration[Heard, None, Any]:
    if isinstance(job, Draw):
        return job.generator.sample(job.y, job.noise)
    training = job.family.fit(job.data, job.previous, job.streams, job.budget_images, job.saved)
    loss: float | None = None
    # The training is advanced by hand because its return value is the new model.
    while True:
        try:
            update = next(training)
        except StopIteration as end:
            return Trained(end.value, loss)
        except TrainingError as error:
            return error
        loss = None if math.isnan(update.loss) else update.loss
        yield Heard(number, fit=job, update=update)
