"""What the processes of a training say to one another: sharded.py gives the order, worker.py answers.

Tensors go as safetensors, by name, like those of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from ecosystem.models.base import Saved
from ecosystem.models.train import TrainSettings, TrainState
from ecosystem.rng import Streams

GO, SAVE = "go", "save"  # what the first process is told behind an update


class Trainable(Protocol):
    """What is needed of a family."""

    @property
    def train(self) -> TrainSettings: ...

    def loss(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor: ...

    def restored_state(
        self, saved: Saved, shape: tuple[int, ...], classes: int, device: torch.device
    ) -> TrainState: ...


@dataclass(frozen=True)
class Order:
    """A Task as a worker is sent it: ``tensors`` are the data, and the state or what was saved."""

    family: Trainable
    classes: int
    budget_images: int
    lr: tuple[float, float]
    streams: Streams
    tensors: bytes
    within: bool  # whether they were saved behind an update


@dataclass(frozen=True)
class Told:
    """An Update, without what cannot be sent."""

    done: int
    total: int
    loss: float
    saves: bool
    parts: int


@dataclass(frozen=True)
class Kept:
    """Tensors of the training: as they were asked for, or (``last``) at its end. Only the first process has any."""

    tensors: bytes
    last: bool


@dataclass(frozen=True)
class Said:
    """A notice."""

    text: str


@dataclass(frozen=True)
class Failed:
    """Why a process can do no more; ``ours`` where it was a TrainingError, whose text says all."""

    text: str
    ours: bool


def packed(saved: Mapping[str, Tensor]) -> bytes:
    return save_tensors({name: value.detach().cpu().contiguous() for name, value in saved.items()})


def unpacked(data: bytes, device: torch.device) -> dict[str, Tensor]:
    # A copy of its own: a tensor inside a buffer need not lie where arithmetic wants it.
    return {name: value.clone().to(device) for name, value in load_tensors(data).items()}
