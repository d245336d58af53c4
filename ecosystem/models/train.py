"""The training loop: a generator of losses that never knows the family. (Stacks of MLPs have theirs in stack.py.)

A family hands it ``loss(net, x, y, generator)``, a scalar whose randomness comes from the generator. Budgets are
counted in images seen, as the papers do (Bertrand et al. 2023, arXiv 2310.00429), so that a larger training set
means fewer epochs and not more compute. Sampling uses the exponential moving average of the parameters.

Images stay on the device as they are on the web, 8 bits a channel, and each batch is converted. Adam is fused, on the
CPU as well. How the network is computed is execution.py's, what is done where that fails gradients.py's, and what
several processes share team.py's.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Generator as Iteration
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any

import annotated_types as at
import torch
from torch import Tensor, nn

from ecosystem.errors import TrainingError
from ecosystem.models.base import Saved, TrainingSet, Update, to_model
from ecosystem.models.execution import CompileMode, Precision, laid_out
from ecosystem.models.gradients import Gradients, Loss
from ecosystem.models.team import ALONE, Team
from ecosystem.settings import Positive, PositiveFloat, Settings, Share

Processes = Annotated[int, at.Ge(1), at.Le(64)]

REPORT_EVERY = 50  # updates between two looks at the loss: a look waits for the device


@dataclass(frozen=True)
class TrainSettings(Settings):
    """``budget_images`` from scratch, ``finetune_images`` when going on from the generation before.

    ``mirror``: each image of a batch is turned left to right with probability 1/2. ``compile``, ``precision`` and
    ``channels_last``: as execution.py has them. ``processes`` share the work (of a GPU each, where there are GPUs).
    """

    budget_images: Positive = 1_000_000
    finetune_images: Positive = 200_000
    batch: Positive = 128
    lr: PositiveFloat = 1e-3
    finetune_lr: PositiveFloat = 5e-4
    ema: Share = 0.999
    clip: PositiveFloat = 1.0
    mirror: bool = False
    compile: CompileMode = "none"
    precision: Precision = "auto"
    channels_last: bool = False
    processes: Processes = 1

    def __post_init__(self) -> None:
        if self.processes > self.batch:
            raise ValueError(
                f"processes: {self.processes} share a batch of {self.batch}, so that some have nothing to do"
            )

    def updates(self, images: int) -> int:
        """In how many a training sees so many images, about."""
        return max(1, round(images / self.batch))


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

    def laid_out(self, channels_last: bool) -> TrainState:
        """This one, its filters as ``execution.laid_out`` has them."""
        for net in (self.net, self.ema):
            laid_out(net, channels_last)
        return self

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
            state.optimiser = adam_state(net, moments)
        state.updates = int(saved["updates"])
        return state


def _under(prefix: str, saved: Saved) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)}


def _adam(net: nn.Module, state: Mapping[str, Any] | None = None) -> torch.optim.Adam:
    """Its moments are those of ``state``, where there are some."""
    optimiser = torch.optim.Adam(net.parameters(), fused=next(net.parameters()).device.type in ("cpu", "cuda"))
    if state:
        optimiser.load_state_dict(dict(state))
        for parameter, moments in optimiser.state.items():
            moments.update({name: _laid_out_as(parameter, moment) for name, moment in moments.items()})
    return optimiser


def adam_state(net: nn.Module, moments: Mapping[int, Mapping[str, Tensor]]) -> dict[str, Any]:
    """Adam's state, by the numbers of a network's parameters."""
    return {**_adam(net).state_dict(), "state": dict(moments)}


def _laid_out_as(parameter: Tensor, moment: Tensor) -> Tensor:
    """Fused kernels take for granted that a moment lies in memory as its parameter does; a file knows no layouts."""
    if moment.shape != parameter.shape or moment.stride() == parameter.stride():
        return moment
    return torch.empty_like(parameter).copy_(moment)


def train(
    loss: Loss,
    state: TrainState,
    data: TrainingSet,
    settings: TrainSettings,
    budget_images: int,
    lr: tuple[float, float],
    generator: torch.Generator,
    saved: Saved | None = None,
    team: Team = ALONE,
) -> Iteration[Update, None, None]:
    """Train ``state`` in place, the learning rate falling by a half cosine from lr[0] to lr[1].

    ``saved``, from an update of the same training: go on behind it, bit for bit as if it had not been left.
    """
    updates = settings.updates(budget_images)
    x = data.x if data.x.dtype == torch.uint8 else to_model(data.x)
    optimiser = _adam(state.net, state.optimiser)
    parameters: list[Tensor] = list(state.net.parameters())
    averages: list[Tensor] = list(state.ema.parameters())
    batches = Batches(len(data), settings.batch, generator)
    first = batches.restore(saved) + 1 if saved else 1
    state.net.train()
    gradients = Gradients(loss, state.net, generator, settings.precision, settings.compile, team)
    with gradients.ready():
        for update in range(first, updates + 1):
            index = next(batches)
            images = to_model(x.index_select(0, index))  # `x[index]` took twenty times as long
            if settings.mirror:
                images = mirrored(images, generator)
            _set_lr(optimiser, half_cosine(lr, math.pi * update / updates))
            value = gradients.of(images, data.y.index_select(0, index), update)
            nn.utils.clip_grad_norm_(parameters, settings.clip)
            optimiser.step()
            state.updates += 1
            with torch.no_grad():
                torch._foreach_lerp_(averages, parameters, 1 - decay(settings, state.updates))
            if update % REPORT_EVERY == 0 or update == updates:
                save = partial(_within, state, optimiser, batches, update) if update < updates else None
                yield Update(update, updates, _finite(value, update), save, gradients.parts)
    state.optimiser = optimiser.state_dict()


def half_cosine(lr: tuple[float, float], angle: float) -> float:
    """A learning rate, or what else moves so, from lr[0] at 0 to lr[1] at pi."""
    return lr[1] + 0.5 * (lr[0] - lr[1]) * (1 + math.cos(angle))


def decay(settings: TrainSettings, updates: int) -> float:
    """Of the moving average: a young one follows fast, its memory grows with the updates until it reaches ``ema``."""
    return min(settings.ema, (1 + updates) / (10 + updates))


def mirrored(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image (N, C, H, W) as it is or turned left to right, by the toss of a coin. Raises TrainingError."""
    if x.ndim != 4:
        raise TrainingError("`mirror` turns images, and these are vectors. Leave it out of the card's `train`.")
    turned = torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device) < 0.5
    return torch.where(turned, x.flip(-1), x)


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
        raise diverged(loss, update)
    return loss


def diverged(loss: float, update: int) -> TrainingError:
    return TrainingError(
        f"the loss became {loss} at update {update}. Lower the card's `lr`, or look at the training set: "
        "pages far outside the human range make losses explode."
    )
