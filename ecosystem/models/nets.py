"""Networks: net(x, t, y) -> a tensor like x, for vectors and tiny images (``mlp``) and for images (``unet``).

No BatchNorm and no dropout: a loss is a pure function of parameters, batch and noise. Parameters are drawn from
a named generator, never from torch's global one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, cast

import annotated_types as at
import torch
from torch import Tensor, nn

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


class UNet(nn.Module):
    """diffusers' UNet2DModel (Ho et al., Denoising Diffusion Probabilistic Models, 2020, arXiv 2006.11239)."""

    def __init__(self, shape: tuple[int, ...], classes: int, channels: tuple[int, ...], layers: int) -> None:
        super().__init__()
        from diffusers import UNet2DModel

        levels = len(channels)
        # The net halves the image once a level: pad odd sizes (28 -> 32 with three halvings) and crop after.
        multiple = 2 ** (levels - 1)
        self.padding = [(-side) % multiple for side in shape[1:]]
        self.unet = UNet2DModel(
            in_channels=shape[0],
            out_channels=shape[0],
            block_out_channels=channels,
            layers_per_block=layers,
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            norm_num_groups=8,
            num_class_embeds=classes,
        )

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        high, wide = self.padding
        padded = nn.functional.pad(x, (0, wide, 0, high), value=-1.0) if high or wide else x
        # UNet2DModel's sinusoids were made for t in 0..1000.
        out = cast(Tensor, self.unet(padded, 1000.0 * t, class_labels=y).sample)
        return out[..., : x.shape[2], : x.shape[3]]


@dataclass(frozen=True)
class MLPSettings(Settings):
    kind: Literal["mlp"] = "mlp"
    width: Positive = 128
    depth: Positive = 3

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return MLP(shape, classes, self.width, self.depth)


Channels = Annotated[int, at.Ge(8), at.Le(10_000), at.MultipleOf(8)]  # of a level: its norms have 8 groups


@dataclass(frozen=True)
class UNetSettings(Settings):
    kind: Literal["unet"] = "unet"
    channels: Annotated[tuple[Channels, ...], at.MinLen(1)] = (32, 64)
    layers: Positive = 1

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return UNet(shape, classes, self.channels, self.layers)


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
        elif isinstance(module, nn.GroupNorm | nn.LayerNorm):
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
