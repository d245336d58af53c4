"""Networks: net(x, t, y) -> a tensor like x, for vectors and tiny images (``mlp``) and for images (``unet``).

No BatchNorm: a loss is a pure function of parameters, batch and noise, to which the masks of dropout belong. Parameters
are drawn from a named generator, never from torch's global one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn

from ecosystem.models.unets import UNetSettings
from ecosystem.settings import KIND, Positive, Settings

FREQUENCIES = 16  # of the time features


class MLP(nn.Module):
    """A residual MLP on the flattened item, the class and the time entering every block.

    x (N, ...), t (N,) in [0, 1], y (N,) -> like x.
    """

    def __init__(self, shape: tuple[int, ...], classes: int, width: int, depth: int) -> None:
        super().__init__()
        size = math.prod(shape)
        self.frequencies: Tensor
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.linspace(0, 6, FREQUENCIES))
        self.enter = nn.Linear(size, width)
        self.time = nn.Linear(2 * FREQUENCIES, width)
        self.label = nn.Embedding(classes, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.leave = nn.Linear(width, size)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        angles = t[:, None] * self.frequencies
        condition = self.time(torch.cat([angles.sin(), angles.cos()], dim=1)) + self.label(y)
        h = self.enter(x.flatten(1))
        for block in self.blocks:
            h = block(h, condition)
        return cast(Tensor, self.leave(nn.functional.silu(h))).reshape(x.shape)


class Block(nn.Module):
    """h + W2 silu(W1 silu(h + c))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        inner = self.inner(nn.functional.silu(h + condition))
        return h + cast(Tensor, self.outer(nn.functional.silu(inner)))


class Scalar(nn.Module):
    """One learned number that starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.value)


@dataclass(frozen=True)
class MLPSettings(Settings):
    kind: Literal["mlp"] = "mlp"
    width: Positive = 128
    depth: Positive = 3

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return MLP(shape, classes, self.width, self.depth)


NetSettings = Annotated[MLPSettings | UNetSettings, KIND]


def initialise(net: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's usual initialisation, drawn from ``generator``."""
    for module in net.modules():
        own = dict(module.named_parameters(recurse=False))
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, generator=generator)
        elif isinstance(module, nn.Linear | nn.Conv2d):
            bound = 1 / math.sqrt(module.weight[0].numel())
            for parameter in own.values():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
        elif isinstance(module, nn.GroupNorm | nn.LayerNorm | Scalar):
            module.reset_parameters()
        elif own:
            raise TypeError(f"no rule to initialise {type(module).__name__}")


def build(make: Callable[[], nn.Module], generator: torch.Generator) -> nn.Module:
    """What ``make`` makes, on the generator's device, its parameters drawn from ``generator``."""
    # Under fork_rng the constructors' own draws leave no trace in the global generator.
    with torch.random.fork_rng(devices=[]):
        net = make()
    net = net.to(generator.device)
    initialise(net, generator)
    return net
