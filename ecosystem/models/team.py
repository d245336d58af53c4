"""One training in several processes: who computes which rows of a batch, and how their gradients become one.

Every process of R draws the same batches and the same noise, from the same named stream, and computes the loss of the
whole batch. Shared out are the calls of the network: process r computes the rows n r / R .. n (r + 1) / R, and the
others hand it the rest of the result, as constants. With o = (o_1 .. o_R) what the network answers,

    dL/dtheta = sum_r dL/do_r do_r/dtheta,

so the gradients added up over the processes are those of the whole batch, whatever the loss makes of it, as long as the
network looks at each row by itself. A parameter that a loss takes without calling the network has its whole gradient in
every process.

What goes wrong in one process, the others learn before they wait for it: each says how a call went (``agree``), and all
take the same way out of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ecosystem.compute import out_of_memory
from ecosystem.models.execution import Call, called

FINE, FULL, FAILED = range(3)  # how a call went, the worst last


class Trouble(Exception):
    """What went wrong with a batch, in this process (``error``) or in another; all processes know."""

    def __init__(self, kind: int, error: Exception | None) -> None:
        super().__init__(kind)
        self.kind, self.error = kind, error


class Team(ABC):
    """The processes of a training, as one of them sees them: it is ``rank`` of ``size``."""

    rank: int
    size: int

    @abstractmethod
    def gather(self, rows: Tensor) -> Sequence[Tensor]:
        """Every process's, by rank; all have one shape."""

    @abstractmethod
    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes."""

    @abstractmethod
    def worst(self, kind: int) -> int:
        """The largest number that a process has said."""

    def agree(self, error: Exception | None) -> None:
        """Say how it went. Raises Trouble where it went wrong anywhere."""
        mine = FINE if error is None else FULL if out_of_memory(error) else FAILED
        worst = self.worst(mine)
        if worst != FINE:
            raise Trouble(worst, error if worst == mine else None)


class Alone(Team):
    """One process does it all."""

    rank, size = 0, 1

    def gather(self, rows: Tensor) -> Sequence[Tensor]:
        return [rows]

    def total(self, values: Tensor) -> Tensor:
        return values

    def worst(self, kind: int) -> int:
        return kind


ALONE = Alone()


def shared_out(forward: Call, team: Team) -> Call:
    """``forward`` of whole batches, each process computing its rows: tensors (N, ...) in and out."""

    def call(*inputs: Tensor) -> Any:
        n = len(inputs[0])
        start, end = n * team.rank // team.size, n * (team.rank + 1) // team.size
        # Where there are fewer rows than processes some compute a row that nobody asks for.
        mine = slice(start, max(end, start + 1)) if start < n else slice(0, 1)
        try:
            found = forward(*(x[mine] for x in inputs))
        except Exception as error:
            team.agree(error)
        team.agree(None)
        return _each(found, lambda rows: _whole(rows[: end - start], n, team))

    return call


def _each(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    return function(value) if isinstance(value, Tensor) else type(value)(function(part) for part in value)


def _whole(rows: Tensor, n: int, team: Team) -> Tensor:
    """All rows (n, ...), those of other processes as constants."""
    most = -(-n // team.size)
    others = list(team.gather(torch.cat([rows.detach(), rows.new_zeros(most - len(rows), *rows.shape[1:])])))
    lengths = [n * (rank + 1) // team.size - n * rank // team.size for rank in range(team.size)]
    parts = [part[:length] for part, length in zip(others, lengths, strict=True)]
    parts[team.rank] = rows
    return torch.cat(parts)


def add_up(net: nn.Module, team: Team) -> None:
    """The gradients of what is called of a network, over all processes."""
    parameters = [p for module in called(net) for p in module.parameters() if p.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    total = team.total(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    parts = torch.split(total, [p.numel() for p in parameters])
    for p, gradient, part in zip(parameters, gradients, parts, strict=True):
        p.grad = gradient.copy_(part.view_as(gradient))
