"""The one training loop: a generator of losses that never knows the family.

A family hands it ``loss(net, x, y, generator)``, a scalar whose randomness comes from the generator. Budgets are
counted in images seen, as the papers do (Bertrand et al. 2023, arXiv 2310.00429), so that a larger training set
means fewer epochs and not more compute. Sampling uses the exponential moving average of the parameters.

On CUDA the data stay on the device, the forward pass runs under bf16 autocast and Adam is fused; on the CPU Adam
is fused as well.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from collections.abc import Generator as Iteration
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ecosystem.compute import out_of_memory
from ecosystem.errors import TrainingError
from ecosystem.models.base import Saved, TrainingSet, Update, to_model
from ecosystem.settings import Positive, PositiveFloat, Settings, Share

Loss = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]

REPORT_EVERY = 50  # updates between two looks at the loss: a look waits for the device


@dataclass(frozen=True)
class TrainSettings(Settings):
    """``budget_images`` from scratch, ``finetune_images`` when going on from the generation before."""

    budget_images: Positive = 1_000_000
    finetune_images: Positive = 200_000
    batch: Positive = 128
    lr: PositiveFloat = 1e-3
    finetune_lr: PositiveFloat = 5e-4
    ema: Share = 0.999
    clip: PositiveFloat = 1.0


@dataclass
class TrainState:
    """What a training goes on from: the network, its moving average and Adam's state."""

    net: nn.Module
    ema: nn.Module
    optimiser: dict[str, Any] = field(default_factory=dict)
    updates: int = 0

    @classmethod
    def new(cls, net: nn.Module) -> TrainState:
        return cls(net, copy.deepcopy(net).requires_grad_(False))

    def copy(self) -> TrainState:
        return copy.deepcopy(self)

    def saved(self) -> dict[str, Tensor]:
        """All of it, as tensors by name."""
        parts = {"net": self.net.state_dict(), "ema": self.ema.state_dict()}
        parts |= {f"adam.{i}": moments for i, moments in self.optimiser.get("state", {}).items()}
        found = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
        return {**found, "updates": torch.tensor(self.updates, device=next(self.net.parameters()).device)}

    @classmethod
    def restored(cls, net: nn.Module, saved: Saved) -> TrainState:
        """What was ``saved``, in a network of the same make."""
        state = cls.new(net)
        net.load_state_dict(_under("net.", saved))
        state.ema.load_state_dict(_under("ema.", saved))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("adam.", saved).items():
            number, _, moment = name.partition(".")
            moments.setdefault(int(number), {})[moment] = value
        if moments:
            state.optimiser = {**_adam(net).state_dict(), "state": moments}
        state.updates = int(saved["updates"])
        return state


def _under(prefix: str, saved: Saved) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)}


def _adam(net: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(net.parameters(), fused=next(net.parameters()).device.type in ("cpu", "cuda"))


def train(
    loss: Loss,
    state: TrainState,
    data: TrainingSet,
    settings: TrainSettings,
    budget_images: int,
    lr: tuple[float, float],
    generator: torch.Generator,
    saved: Saved | None = None,
) -> Iteration[Update, None, None]:
    """Train ``state`` in place, the learning rate falling by a half cosine from lr[0] to lr[1].

    ``saved``, from an update of the same training: go on behind it, bit for bit as if it had not been left.
    """
    updates = max(1, round(budget_images / settings.batch))
    x, y = to_model(data.x), data.y
    optimiser = _adam(state.net)
    if state.optimiser:
        optimiser.load_state_dict(state.optimiser)
    parameters: list[Tensor] = list(state.net.parameters())
    averages: list[Tensor] = list(state.ema.parameters())
    batches = Batches(len(data), settings.batch, generator)
    first = batches.restore(saved) + 1 if saved else 1
    state.net.train()
    parts = 1
    for update in range(first, updates + 1):
        index = next(batches)
        _set_lr(optimiser, lr[1] + 0.5 * (lr[0] - lr[1]) * (1 + math.cos(math.pi * update / updates)))
        value, parts = _gradients(loss, state.net, x[index], y[index], generator, optimiser, parts)
        nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimiser.step()
        state.updates += 1
        # A young average follows fast: its memory grows with the updates until it reaches `ema`.
        decay = min(settings.ema, (1 + state.updates) / (10 + state.updates))
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 1 - decay)
        if update % REPORT_EVERY == 0 or update == updates:
            save = partial(_within, state, optimiser, batches, update) if update < updates else None
            yield Update(update, updates, _finite(value, update), save, parts)
    state.optimiser = optimiser.state_dict()


def _gradients(
    loss: Loss,
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    generator: torch.Generator,
    optimiser: torch.optim.Optimizer,
    parts: int,
) -> tuple[Tensor, int]:
    """Put the gradients of a batch into the parameters: its loss, and in how many parts it was computed.

    Where the memory is full a batch is halved until it fits, and its gradients are added up: the update is of the
    whole batch all the same, but for a loss that pairs items within it.
    """
    while True:
        optimiser.zero_grad()
        try:
            return _in_parts(loss, net, x, y, generator, parts), parts
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if parts >= len(x):
                raise TrainingError(
                    "the memory is full, also for one image at a time. A smaller network, or a smaller archive, needs "
                    "less."
                ) from error
        parts *= 2
        if x.device.type == "cuda":
            torch.cuda.empty_cache()


def _in_parts(loss: Loss, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator, parts: int) -> Tensor:
    total = torch.zeros((), device=x.device)
    for images, labels in zip(x.chunk(parts), y.chunk(parts), strict=True):
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=x.device.type == "cuda"):
            value = loss(net, images, labels, generator)
        if parts > 1:
            value = value * (len(images) / len(x))
        value.backward()  # type: ignore[no-untyped-call]
        total = total + value.detach()
    return total


class Batches:
    """Endless index batches of exactly ``size``, epoch after epoch of random order."""

    def __init__(self, n: int, size: int, generator: torch.Generator) -> None:
        self.n, self.size, self.generator = n, size, generator
        self.order = torch.empty(0, dtype=torch.int64, device=generator.device)

    def __next__(self) -> Tensor:
        while len(self.order) < self.size:
            epoch = torch.randperm(self.n, generator=self.generator, device=self.generator.device)
            self.order = torch.cat([self.order, epoch])
        index, self.order = self.order[: self.size], self.order[self.size :]
        return index

    def saved(self, update: int) -> dict[str, Tensor]:
        """Where the batches stand after an update; the generator also draws the noise."""
        state = {"update": torch.tensor(update), "order": self.order, "generator": self.generator.get_state()}
        return {f"within.{name}": value for name, value in state.items()}

    def restore(self, saved: Saved) -> int:
        """The update after which it was saved."""
        self.order = saved["within.order"]
        self.generator.set_state(saved["within.generator"].cpu())
        return int(saved["within.update"])


def _within(state: TrainState, optimiser: torch.optim.Optimizer, batches: Batches, update: int) -> Saved:
    """All that a training goes on from behind an update."""
    return {**replace(state, optimiser=optimiser.state_dict()).saved(), **batches.saved(update)}


def _set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = lr


def _finite(value: Tensor, update: int) -> float:
    loss = float(value)
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss became {loss} at update {update}. Lower the card's `lr`, or look at the training set: "
            "pages far outside the human range make losses explode."
        )
    return loss
