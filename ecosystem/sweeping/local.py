"""Worker processes on this machine.

They are forked from a server that has imported torch and the rest once, so that a worker is there at once and shares
that memory. Each has a pipe of its own: a worker that dies takes one task with it, and holds no lock that others wait
for. A worker dies with its parent: it waits for the parent's end beside its work, and on Linux the kernel kills it
when the fork server goes.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Any, NoReturn

from ecosystem.sweeping.executors import Executor, Outcome, R, T

PRELOADED = ["ecosystem.sweeping.work", "pyarrow.parquet", "scipy.special"]
PATIENCE_SECONDS = 10.0  # for a worker that is to note in its records that it was interrupted
PR_SET_PDEATHSIG = 1


class Local(Executor):
    """``jobs`` processes. The fork server starts at once, and imports while the caller does other things."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        # `import mesa` changes the global start method; a context of our own is nobody else's.
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOADED)
        forkserver.ensure_running()

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[Outcome[T, R]]:
        waiting = iter(tasks)
        busy: dict[Connection, tuple[ForkServerProcess, T]] = {}
        try:
            for task in islice(waiting, self.jobs):
                self._start(busy, function, task)
            while busy:
                for ready in wait(list(busy)):
                    assert isinstance(ready, Connection)
                    yield self._done(busy, ready, function, waiting)
        finally:
            _stop([process for process, _ in busy.values()])

    def _start(self, busy: dict[Connection, tuple[ForkServerProcess, T]], function: Callable[[T], R], task: T) -> None:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=serve, args=(theirs, function), daemon=True)
        process.start()
        theirs.close()  # so that the pipe ends when the worker does
        busy[ours] = (process, task)
        _give(ours, task)

    def _done(
        self,
        busy: dict[Connection, tuple[ForkServerProcess, T]],
        ready: Connection,
        function: Callable[[T], R],
        waiting: Iterator[T],
    ) -> Outcome[T, R]:
        """One outcome; whoever is free now is given the next task first."""
        process, task = busy.pop(ready)
        try:
            outcome = Outcome[T, R](task, ready.recv())
        except (EOFError, OSError):
            process.join(PATIENCE_SECONDS)
            outcome = Outcome[T, R](task, None, _death(process.exitcode))
            for following in islice(waiting, 1):
                self._start(busy, function, following)
            return outcome
        for following in islice(waiting, 1):
            busy[ready] = (process, following)
            _give(ready, following)
            return outcome
        ready.close()  # its worker ends
        process.join(PATIENCE_SECONDS)
        return outcome


def _give(connection: Connection, task: Any) -> None:
    with contextlib.suppress(OSError):  # the worker is dead already: the pipe's end tells
        connection.send(task)


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        memory = ", as the kernel does when the memory is full" if -code == signal.SIGKILL else ""
        return f"its worker was killed by {signal.Signals(-code).name}{memory}"
    return f"its worker ended with exit code {code}"


def _stop(processes: Sequence[ForkServerProcess]) -> None:
    """All workers at once, each with the time to leave a readable record."""
    for process in processes:
        process.terminate()
    end = time.monotonic() + PATIENCE_SECONDS
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


# In the worker


def serve(connection: Connection, function: Callable[[Any], Any]) -> None:
    """Tasks from the pipe, results into it, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which then asks us to stop
    signal.signal(signal.SIGTERM, _interrupt)
    _die_with_parent()
    try:
        while True:
            connection.send(function(connection.recv()))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_outlive_nobody, daemon=True).start()


def _outlive_nobody() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
