"""One of the processes of a training: ``python -m ecosystem.models.worker``, started by sharded.py and nobody else."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from datetime import timedelta
from multiprocessing.connection import Connection

import torch
from torch import Tensor

from ecosystem import compute, notices
from ecosystem.errors import TrainingError
from ecosystem.models.base import TrainingSet, Update
from ecosystem.models.post import SAVE, Failed, Kept, Order, Said, Told, packed, unpacked
from ecosystem.models.team import Team
from ecosystem.models.train import train

PATIENCE = timedelta(days=30)  # with the others: who waits in vain is ended from outside


class Several(Team):
    """The processes that have met, by Accelerate."""

    def __init__(self, device_type: str) -> None:
        from accelerate import PartialState

        backend = "gloo" if device_type == "cpu" else "cpu:gloo,cuda:nccl"
        torch.distributed.init_process_group(
            backend,
            init_method=f"file://{os.environ['ECOSYSTEM_MEETING']}",
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            timeout=PATIENCE,
        )
        state = PartialState(cpu=device_type == "cpu")
        self.rank, self.size, self.device = state.process_index, state.num_processes, state.device

    def gather(self, rows: Tensor) -> Sequence[Tensor]:
        from accelerate.utils import gather

        found: Tensor = gather(rows.contiguous())
        return torch.split(found, len(rows))

    def total(self, values: Tensor) -> Tensor:
        from accelerate.utils import reduce

        found: Tensor = reduce(values, "sum")
        return found

    def worst(self, kind: int) -> int:
        said = torch.tensor(kind)  # on the CPU, so that nobody waits for a GPU
        torch.distributed.all_reduce(said, torch.distributed.ReduceOp.MAX)
        return int(said)


def serve(connection: Connection, device_type: str) -> None:
    """One training, for the process at the other end."""
    try:
        order: Order = connection.recv()
        team = Several(device_type)
        compute.set_up(device_type)
        with notices.shown(lambda text: connection.send(Said(text)) if team.rank == 0 else None):
            kept = _train(order, team, connection)
        connection.send(Kept(kept, last=True)) if team.rank == 0 else connection.recv()
    except TrainingError as error:
        connection.send(Failed(str(error), ours=True))
    except (EOFError, BrokenPipeError):
        pass  # nobody wants it any more
    except Exception as error:
        connection.send(Failed(f"{type(error).__name__}: {' '.join(str(error).split())}", ours=False))


def _train(order: Order, team: Several, connection: Connection) -> bytes:
    """What the training comes to."""
    family, found = order.family, unpacked(order.tensors, team.device)
    data = TrainingSet(found.pop("data.x"), found.pop("data.y"), order.classes)
    state = family.restored_state(found, data.shape, order.classes, team.device)
    generator, saved = order.streams.torch("training", team.device), found if order.within else None
    for update in train(family.loss, state, data, family.train, order.budget_images, order.lr, generator, saved, team):
        if team.rank == 0:
            _tell(update, connection)
    return packed(state.saved()) if team.rank == 0 else b""


def _tell(update: Update, connection: Connection) -> None:
    """Of an update; and wait until the training may go on."""
    connection.send(Told(update.done, update.total, update.loss, update.save is not None, update.parts))
    while connection.recv() == SAVE:
        assert update.save is not None
        connection.send(Kept(packed(update.save()), last=False))


def _end_with_parent() -> None:
    """Its end closes our standard input, however it ended."""
    while sys.stdin.buffer.read(1024):
        pass
    os._exit(1)


def main() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serve(Connection(int(sys.argv[1])), sys.argv[2])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # no farewells: libraries wait at their ends for processes that may be gone


if __name__ == "__main__":
    main()
