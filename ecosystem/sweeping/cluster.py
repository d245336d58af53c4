"""Workers on a Ray cluster, or on a Ray of our own that is started on this machine.

Ray core and no more: as many actors as fit, each kept warm and given one task at a time. Ray lets a task that asks for
a GPU which is not there wait for ever, so what there is is looked at before anything is asked for. The machines of a
cluster must have this package and see the sweep's directory at the same path.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Self

from ecosystem.errors import ScenarioError
from ecosystem.sweeping.executors import Executor, Outcome, R, T


class Worker:
    """An actor."""

    def do(self, function: Callable[[Any], Any], task: Any) -> Any:
        return function(task)


class Ray(Executor):
    """``jobs`` actors at the most (0: as many as there are CPUs), each with its share of a GPU."""

    def __init__(self, jobs: int, address: str | None = None, gpus_per_run: float = 0.0) -> None:
        try:
            import ray
        except ImportError as error:
            raise ScenarioError("--executor ray: Ray is not installed. Run: pip install 'ecosystem[ray]'") from error
        self.ray = ray
        self.jobs, self.gpus = jobs, gpus_per_run
        self.address = address or os.environ.get("RAY_ADDRESS")

    def __enter__(self) -> Self:
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        try:
            if self.address:
                self.ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
            else:
                self.ray.init(address="local", num_cpus=self.jobs or None, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ScenarioError(f"--executor ray: no Ray at {self.address or 'this machine'}. {error}") from error
        try:
            self.jobs = fitting(self.jobs, self.gpus, self.ray.cluster_resources())
        except ScenarioError:
            self.ray.shutdown()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ray.shutdown()

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[Outcome[T, R]]:
        waiting = iter(tasks)
        busy: dict[Any, tuple[Any, T]] = {}  # reference to a result -> its actor and task
        try:
            for task in islice(waiting, self.jobs):
                self._give(busy, self._actor(), function, task)
            while busy:
                ready, _ = self.ray.wait(list(busy))
                actor, task = busy.pop(ready[0])
                outcome, actor = self._outcome(ready[0], actor, task)
                for following in islice(waiting, 1):
                    self._give(busy, actor or self._actor(), function, following)
                yield outcome
        finally:
            for actor, _ in busy.values():
                self.ray.kill(actor)

    def _actor(self) -> Any:
        return self.ray.remote(Worker).options(num_cpus=1, num_gpus=self.gpus).remote()

    def _give(self, busy: dict[Any, tuple[Any, T]], actor: Any, function: Callable[[T], R], task: T) -> None:
        busy[actor.do.remote(function, task)] = (actor, task)

    def _outcome(self, reference: Any, actor: Any, task: T) -> tuple[Outcome[T, Any], Any]:
        """The outcome, and the actor if it lives."""
        try:
            return Outcome(task, self.ray.get(reference)), actor
        except self.ray.exceptions.RayError as error:
            told = (str(error).strip().splitlines() or [""])[0]
            return Outcome(task, None, f"its Ray worker died: {type(error).__name__}: {told}"), None


def fitting(jobs: int, gpus: float, there: dict[str, float]) -> int:
    """How many workers find room. Raises ScenarioError where not even one does."""
    have = there.get("GPU", 0.0)
    if gpus > have:
        raise ScenarioError(
            f"--gpus-per-run {gpus:g}: this Ray has {have:g} GPUs, so the runs would wait for ever. Ask for fewer."
        )
    cpus = max(1, int(there.get("CPU", 1)))
    room = min(cpus, int(have / gpus)) if gpus else cpus
    return min(jobs or room, room)
