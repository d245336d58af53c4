"""One training in several processes, seen from the process that asked for it; worker.py is what they run.

Each process has a GPU of its own, or works on the CPU with as many threads as this one. What they compute is team.py's,
how they find one another and add up their numbers is Hugging Face's Accelerate (S. Gugger et al., 2022). The first of
them tells of the training; it waits behind each ``Update`` until it is asked for the next one, so that what it saves is
what the update was about.

They are started for one training, with ``python -m`` and not by multiprocessing: a worker of a sweep may start workers
of its own, and a user's program is not run again in each of them. They hold on to this process by their standard input:
when it ends, they end. What they print goes into a file of which nothing is shown, unless one dies.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator as Iteration
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from ecosystem import notices
from ecosystem.errors import TrainingError
from ecosystem.models.base import Saved, TrainingSet, Update
from ecosystem.models.post import GO, SAVE, Failed, Kept, Order, Said, Trainable, packed, unpacked
from ecosystem.models.train import TrainState
from ecosystem.rng import Streams

PATIENCE_SECONDS = 10.0  # for a process that is to end


@dataclass(frozen=True, eq=False)
class Task:
    """A training; ``saved`` is of an update of it, to go on behind it."""

    family: Trainable
    data: TrainingSet
    state: TrainState
    budget_images: int
    lr: tuple[float, float]
    streams: Streams
    saved: Saved | None = None


def train(task: Task) -> Iteration[Update, None, TrainState]:
    """The training of a task by ``processes``, as train.py has it; its state at the end. Raises TrainingError."""
    device, shape = task.data.x.device, task.data.shape
    processes = task.family.train.processes
    if device.type == "cuda" and processes > torch.cuda.device_count():
        raise TrainingError(
            f"`processes: {processes}` of the card's `train` asks for a GPU each, and there are "
            f"{torch.cuda.device_count()}. Lower it, or compute with `device: cpu`."
        )
    with _workers(processes, device) as workers:
        workers.send(_order(task))
        while not isinstance(message := workers.next(), Kept):
            yield Update(
                message.done, message.total, message.loss, workers.save if message.saves else None, message.parts
            )
            workers.tell(GO)
    return task.family.restored_state(unpacked(message.tensors, device), shape, task.data.classes, device)


def _order(task: Task) -> Order:
    found = task.state.saved() if task.saved is None else task.saved
    tensors = packed({**found, "data.x": task.data.x, "data.y": task.data.y})
    within = task.saved is not None
    return Order(task.family, task.data.classes, task.budget_images, task.lr, task.streams, tensors, within)


class Workers:
    """The processes of a training, by rank."""

    def __init__(self, processes: list[subprocess.Popen[bytes]], connections: list[Connection], log: Path) -> None:
        self.processes, self.connections, self.log = processes, connections, log

    def send(self, order: Order) -> None:
        for connection in self.connections:
            self._send(connection, order)

    def tell(self, word: str) -> None:
        self._send(self.connections[0], word)

    def save(self) -> Saved:
        """What the training goes on from behind the update that was last told."""
        self.tell(SAVE)
        kept = self.next()
        assert isinstance(kept, Kept)
        return unpacked(kept.tensors, torch.device("cpu"))

    def next(self) -> Any:
        """The next Told or Kept of the first process. Raises TrainingError where one has failed, whichever it is."""
        while True:
            for ready in wait(self.connections):
                assert isinstance(ready, Connection)
                message = self._received(ready)
                if isinstance(message, Said):
                    notices.say(message.text)
                elif isinstance(message, Failed):
                    raise TrainingError(message.text if message.ours else self._why(ready, message.text))
                elif message is not None:
                    return message

    def _received(self, connection: Connection) -> Any:
        try:
            return connection.recv()
        except (EOFError, OSError):
            number = self.connections.index(connection)
            self.processes[number].wait(PATIENCE_SECONDS)
            raise TrainingError(self._died(number)) from None

    def _send(self, connection: Connection, message: Any) -> None:
        try:
            connection.send(message)
        except OSError:  # it has ended; what it said before tells why
            self.next()

    def _why(self, connection: Connection, text: str) -> str:
        """Of a process that failed: perhaps as another one was gone."""
        gone = [number for number, process in enumerate(self.processes) if process.poll()]
        return self._died(gone[0]) if gone else self._of(self.connections.index(connection), f"failed: {text}")

    def _died(self, number: int) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        last = f": {lines[-1][:300]}" if lines else ""
        return self._of(number, f"{_death(self.processes[number].returncode)}{last}")

    def _of(self, number: int, what: str) -> str:
        return f"process {number + 1} of the {len(self.processes)} that train this model {what}"


def _death(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    memory = ", as the kernel does when the memory is full" if -code == signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-code).name}{memory}"


@contextmanager
def _workers(size: int, device: torch.device) -> Iterator[Workers]:
    """So many processes; none is left behind."""
    processes: list[subprocess.Popen[bytes]] = []
    connections: list[Connection] = []
    with tempfile.TemporaryDirectory(prefix="ecosystem-") as folder:
        log = Path(folder) / "log"
        try:
            with log.open("wb") as printed:
                for rank in range(size):
                    ours, theirs = Pipe()
                    connections.append(ours)
                    with theirs:  # so that the pipe ends when the worker does
                        command = [sys.executable, "-m", "ecosystem.models.worker", str(theirs.fileno()), device.type]
                        processes.append(
                            subprocess.Popen(
                                command,
                                stdin=subprocess.PIPE,
                                stdout=printed,
                                stderr=printed,
                                pass_fds=[theirs.fileno()],
                                env=_environment(rank, size, Path(folder) / "meeting"),
                                process_group=0,  # Ctrl-C is for us, and we say when they are to end
                            )
                        )
            yield Workers(processes, connections, log)
        finally:
            _end(processes, connections)


def _environment(rank: int, size: int, meeting: Path) -> dict[str, str]:
    """What torch.distributed and Accelerate read; and the threads and the modules of this process."""
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    threads = str(torch.get_num_threads())
    return {
        # All are on this machine, whose name may be known to nobody.
        "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
        "OMP_NUM_THREADS": threads,
        **os.environ,
        **{name: str(value) for name, value in ranks.items()},
        "ECOSYSTEM_THREADS": threads,
        "ECOSYSTEM_MEETING": str(meeting),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }


def _end(processes: list[subprocess.Popen[bytes]], connections: list[Connection]) -> None:
    for connection in connections:
        connection.close()
    for process in processes:
        process.kill()
    for process in processes:
        if process.stdin is not None:
            process.stdin.close()
        process.wait()
