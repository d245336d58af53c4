"""Trainings of one card as one, and samples of many models as one: train.py and sampling for stacks of MLPs (mlps.py).

    for some updates:  every member draws its batches and noise from its own named stream, as it would alone
    for each update:   all members: prediction, gradient, clipping, Adam and moving average, as one

What is drawn depends on no parameter, so that it is drawn for several updates, and made ready for them, at once.

A training alone is a stack of one, so that a model does not depend on what else was in its stack: on a CPU not in one
bit, elsewhere not but for rounding. What belongs together, ``kind`` says: a card, shapes, budget, and whether one goes
on from a model; data sets may differ in length. Members that diverge leave the others alone.

What a family has to say for it is ``ScoreFamily.regression``: that its loss is the mean square of a difference between
the network's answer and a target.
"""

from __future__ import annotations

import math
from collections.abc import Generator as Iteration
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn

from ecosystem.errors import TrainingError
from ecosystem.models.base import Saved, TrainingSet, Update, to_model
from ecosystem.models.mlps import Layout, MLPs, filled
from ecosystem.models.nets import MLP, MLPSettings, NetSettings
from ecosystem.models.train import (
    REPORT_EVERY,
    Batches,
    TrainSettings,
    TrainState,
    adam_state,
    decay,
    diverged,
    half_cosine,
    mirrored,
)

if TYPE_CHECKING:
    from ecosystem.models.neural import ScoreFamily

ROWS = 256  # of a model that are sampled at once: their values stay in a processor's cache
CACHE = 6 * 2**20  # bytes of values that are computed together on a CPU
AHEAD = 2**16  # numbers that a member draws at once, for as many updates as they make
AT_ONCE_ELSEWHERE = 1024  # members, or blocks of rows
MOMENTS = ("exp_avg", "exp_avg_sq")


class Drawn(NamedTuple):
    """What an update of a stack learns from: (S, batch, D), (S, batch), (S, batch) and (S, batch, D)."""

    seen: Tensor
    times: Tensor
    labels: Tensor
    target: Tensor


@dataclass(frozen=True, eq=False)
class Member:
    """One training of a stack. ``saved``: of an update of it, to go on behind it."""

    state: TrainState
    data: TrainingSet
    generator: torch.Generator
    saved: Saved | None = None


def kind(data: TrainingSet, saved: Saved | None) -> Hashable:
    """Trainings of equal kinds make a stack, where card, budget and learning rates are the same."""
    return data.shape, data.classes, data.x.dtype, data.x.device, _first(saved)


def samples(net: NetSettings, settings: TrainSettings) -> bool:
    """Whether models are sampled as stacks: MLPs in 32 bits."""
    return isinstance(net, MLPSettings) and settings.precision != "bfloat16"


def takes(net: NetSettings, settings: TrainSettings) -> bool:
    """Whether trainings make stacks: of such models, in this process, without a compiler."""
    return samples(net, settings) and settings.processes == 1 and settings.compile == "none"


def _first(saved: Saved | None) -> int:
    """The update that a training begins with."""
    return int(saved["within.update"]) + 1 if saved else 1


def train(
    family: ScoreFamily, members: Sequence[Member], budget_images: int, lr: tuple[float, float]
) -> Iteration[tuple[int, Update], None, list[TrainingError | None]]:
    """Train the members' states in place, the learning rate falling by a half cosine from lr[0] to lr[1].

    Yields a member's number with how far it is. Returns the error of each that diverged, None of the others.
    """
    updates = family.train.updates(budget_images)
    size = _at_once(members[0].state.net, filled(family.train.batch), learns=True)
    blocks = [_Training(family, members[i : i + size]) for i in range(0, len(members), size)]
    errors: list[TrainingError | None] = [None] * len(members)
    done = _first(members[0].saved) - 1
    while done < updates and not all(errors):
        until = min(updates, done - done % REPORT_EVERY + REPORT_EVERY)
        rates = [half_cosine(lr, math.pi * (update / updates)) for update in range(done + 1, until + 1)]
        losses = [loss for block in blocks for loss in block.updates(rates)]
        done = until
        for number, loss in enumerate(losses):
            if errors[number] is None and not math.isfinite(loss):
                errors[number] = diverged(loss, done)
            if errors[number] is None:
                block, place = blocks[number // size], number % size
                save = partial(block.saved, place, done) if done < updates else None
                yield number, Update(done, updates, loss, save)
    for number, error in enumerate(errors):
        if error is None:
            blocks[number // size].written(number % size)
    return errors


def _at_once(net: nn.Module, rows: int, learns: bool) -> int:
    """Networks whose values stay in a processor's cache together. It changes no number."""
    one = next(net.parameters())
    if one.device.type != "cpu":
        return AT_ONCE_ELSEWHERE
    size, width, depth = cast(MLP, net).enter.in_features, cast(MLP, net).enter.out_features, len(cast(MLP, net).blocks)
    values = 3 * size + (5 * depth + 8 if learns else 9) * width
    return max(1, CACHE // (rows * values * one.element_size()))


class _Training:
    """The members' parameters, averages and Adam's moments, as tables; ``update`` advances all of them."""

    def __init__(self, family: ScoreFamily, members: Sequence[Member]) -> None:
        self.family, self.settings, self.members = family, family.train, members
        net = cast(MLP, members[0].state.net)
        self.layout = Layout(net)
        self.theta = self._table([dict(member.state.net.named_parameters()) for member in members])
        self.averages = self._table([dict(member.state.ema.named_parameters()) for member in members])
        adam = [member.state.optimiser.get("state") or {} for member in members]
        names = list(self.layout.shapes)
        self.moments = {
            moment: self._table([{name: own[i][moment] for i, name in enumerate(names)} if own else {} for own in adam])
            for moment in MOMENTS
        }
        device = self.theta.device
        self.steps = [own[0]["step"].clone() if own else torch.zeros((), device=device) for own in adam]
        self.done = [member.state.updates for member in members]
        self.nets = MLPs(net, self.theta, filled(self.settings.batch), learns=True)
        self.x = [m.data.x if m.data.x.dtype == torch.uint8 else to_model(m.data.x) for m in members]
        self.batches = [Batches(len(m.data), self.settings.batch, m.generator) for m in members]
        for batches, member in zip(self.batches, members, strict=True):
            if member.saved:
                batches.restore(member.saved)

    @torch.no_grad()  # here, and not around the yields above: whoever is told of an update may train something else
    def updates(self, lr: Sequence[float]) -> list[float]:
        """Advance all members by a batch at each of these learning rates; their losses of the last."""
        ahead = max(1, AHEAD // (self.settings.batch * self.nets.size))
        for first in range(0, len(lr), ahead):
            rates = lr[first : first + ahead]
            for rate, drawn in zip(rates, self._draw(len(rates)), strict=True):
                self.update(rate, drawn)
        scale = 2 / (self.settings.batch * self.nets.size)
        losses: list[float] = (self.nets.slope.flatten(1).square().sum(1) / (2 * scale)).tolist()
        return losses

    def update(self, lr: float, drawn: Drawn) -> None:
        """Advance all members by one batch."""
        batch, nets = self.settings.batch, self.nets
        nets.x[:, :batch].copy_(drawn.seen)
        nets.times[:, :batch].copy_(drawn.times)
        if nets.classes > 1:
            nets.labels[:, :batch].copy_(drawn.labels)
        error = torch.sub(nets.forward()[:, :batch], drawn.target, out=nets.slope[:, :batch])
        error.mul_(2 / (batch * nets.size))
        nets.backward()
        norm = torch.linalg.vector_norm(nets.gradient, dim=1, keepdim=True)
        nets.gradient.mul_((self.settings.clip / (norm + 1e-6)).clamp_(max=1.0))
        torch._foreach_add_(self.steps, 1)
        first, second = (self.moments[moment] for moment in MOMENTS)
        torch._fused_adam_(
            self.theta.unbind(),
            nets.gradient.unbind(),
            first.unbind(),
            second.unbind(),
            max_exp_avg_sqs=[],
            state_steps=self.steps,
            lr=lr,
            beta1=0.9,  # this and the rest are PyTorch's defaults
            beta2=0.999,
            eps=1e-8,
            weight_decay=0.0,
            amsgrad=False,
            maximize=False,
        )
        self.done = [done + 1 for done in self.done]
        weights = [1 - decay(self.settings, done) for done in self.done]
        weight = torch.tensor(weights, dtype=self.theta.dtype, device=self.theta.device)
        self.averages.lerp_(self.theta, weight[:, None])

    def saved(self, number: int, update: int) -> Saved:
        """All that a member's training goes on from behind an update."""
        return {**self.written(number).saved(), **self.batches[number].saved(update)}

    @torch.no_grad()
    def written(self, number: int) -> TrainState:
        """A member's state as it now is."""
        state = self.members[number].state
        for table, net in ((self.theta, state.net), (self.averages, state.ema)):
            views = self.layout.views(table)
            for name, parameter in net.named_parameters():
                parameter.copy_(views[name][number])
        moments = {moment: self.layout.views(table) for moment, table in self.moments.items()}
        step = self.steps[number]
        state.optimiser = adam_state(
            state.net,
            {
                i: {"step": step.clone(), **{moment: views[name][number].clone() for moment, views in moments.items()}}
                for i, name in enumerate(self.layout.shapes)
            },
        )
        state.updates = self.done[number]
        return state

    def _draw(self, updates: int) -> list[Drawn]:
        """What every member draws for so many updates."""
        batch, items, labels, drawn = self.settings.batch, [], [], []
        for number, member in enumerate(self.members):
            own, draws, rows = [], [], []
            for _ in range(updates):
                index = next(self.batches[number])
                x = to_model(self.x[number].index_select(0, index))
                own.append(mirrored(x, member.generator) if self.settings.mirror else x)
                draws.append(self.family.draws(x, member.generator))
                rows.append(index)
            x, y = torch.cat(own), member.data.y.index_select(0, torch.cat(rows))
            together = tuple(torch.cat(parts) for parts in zip(*draws, strict=True))
            items.append(x)
            labels.append(y)
            drawn.append(self.family.coupled(x, y, together, batch))
        whole = [torch.cat(list(parts)) for parts in (items, *zip(*drawn, strict=True))]
        shape = len(self.members), updates, batch
        seen, times, target = self.family.regression(*whole)
        seen, target = (values.reshape(*shape, -1) for values in (seen, target))
        parts = seen, times.reshape(shape), torch.cat(labels).reshape(shape), target
        return [Drawn(*each) for each in zip(*(part.unbind(1) for part in parts), strict=True)]

    def _table(self, parameters: Sequence[Mapping[str, Tensor]]) -> Tensor:
        one = next(self.members[0].state.net.parameters())
        return self.layout.table(parameters, one.dtype, one.device)


@dataclass(frozen=True, eq=False)
class Asked:
    """Samples of one model: its network, prompts y (N,) and noise (N, ...)."""

    net: MLP
    y: Tensor
    noise: Tensor


def sample(family: ScoreFamily, shape: tuple[int, ...], asked: Sequence[Asked]) -> list[Tensor]:
    """Samples (N, ...) of models of one family. Blocks of rows, of whichever model, are computed as one."""
    layout = Layout(asked[0].net)
    one = next(asked[0].net.parameters())
    table = layout.table([dict(a.net.named_parameters()) for a in asked], one.dtype, one.device)
    found = [torch.empty(len(a.y), *shape, dtype=torch.float32, device=one.device) for a in asked]
    blocks: dict[int, list[tuple[int, int, int]]] = {}
    for number, a in enumerate(asked):
        for start in range(0, len(a.y), ROWS):
            stop = min(start + ROWS, len(a.y))
            blocks.setdefault(filled(stop - start), []).append((number, start, stop))
    for rows, every in blocks.items():
        at_once = _at_once(asked[0].net, rows, learns=False)
        for i in range(0, len(every), at_once):
            some = every[i : i + at_once]
            nets = MLPs(asked[0].net, table[[number for number, *_ in some]], rows, learns=False)
            noise = one.new_zeros(len(some), rows, *asked[0].noise.shape[1:])
            for k, (number, start, stop) in enumerate(some):
                noise[k, : stop - start] = asked[number].noise[start:stop]
                nets.labels[k, : stop - start] = asked[number].y[start:stop]
            y = nets.labels.flatten()
            x = family.integrate(partial(_predicted, nets), y, noise.flatten(0, 1)).reshape(len(some), rows, *shape)
            for k, (number, start, stop) in enumerate(some):
                found[number][start:stop] = x[k, : stop - start]
    return found


def _predicted(nets: MLPs, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """What a sampler asks, of the rows of all blocks behind one another; ``nets`` know the prompts."""
    nets.x.copy_(x.reshape(nets.x.shape))
    everywhere = t[0] if t.stride() == (0,) else None  # one time for all, where it was spread
    if everywhere is None:
        nets.times.copy_(t.reshape(nets.times.shape))
    return nets.forward(everywhere).reshape(x.shape).clone()
