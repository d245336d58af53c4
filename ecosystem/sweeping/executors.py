"""Where the work is done: the interface, and the executor that needs no other process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Outcome(Generic[T, R]):
    """A task and its result; or, where its worker died over it, how."""

    task: T
    result: R | None
    died: str = ""


class Executor(ABC):
    """Does tasks, in any order. ``with`` it, so that no worker is left behind."""

    jobs: int = 1  # tasks done side by side

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None

    @abstractmethod
    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[Outcome[T, R]]:
        """The outcome of each task, as it comes. ``function`` is one of a module; it raises nothing."""


class Serial(Executor):
    """In this process, one after the other."""

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[Outcome[T, R]]:
        for task in tasks:
            yield Outcome(task, function(task))
