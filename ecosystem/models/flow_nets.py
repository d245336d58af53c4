"""Invertible networks of vectors: chains of zuko's transformations, each set by a perceptron.

- ``realnvp``: half of the coordinates set an affine map of the other half (Dinh et al., Density estimation using Real
  NVP, 2016, arXiv 1605.08803);
- ``nsf``: the same with monotonic rational-quadratic splines on [-5, 5] standard deviations, the identity beyond
  (Durkan et al., Neural Spline Flows, 2019, arXiv 1906.04032);
- ``maf``: each coordinate is moved by those before it (Papamakarios et al., Masked Autoregressive Flow for Density
  Estimation, 2017, arXiv 1705.07057). Samples take D passes through the network, those of a coupling one.

Images are vectors to them. Real NVP's own network for images is in multi_scale.py.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, Literal, cast

import annotated_types as at
import torch
from torch import Tensor, nn

from ecosystem.errors import TrainingError
from ecosystem.rng import stream
from ecosystem.settings import Positive, Settings

STRETCH = 10.0  # the most that one affine map of a chain stretches or shrinks a coordinate
WIDEST = 10_000  # dimensions of an autoregressive flow: its masks are D x D

Layers = Annotated[int, at.Ge(1), at.Le(1000)]


class FlowNet(nn.Module):
    """The flow f of vectors: x (N, D), y (N,) -> z (N, D) and log |det df/dx| (N,); and its inverse.

    ``maps``: zuko's lazy transformations, each with its network in ``hyper``. ``held``: numbers that an item takes on
    its way. ``alike``: all coordinates are standardised as one.
    """

    def __init__(self, maps: Iterable[nn.Module], dims: int, classes: int, *, held: int, alike: bool = False) -> None:
        from zuko.lazy import LazyComposedTransform

        super().__init__()
        self.chain, self.classes = LazyComposedTransform(*maps), classes
        self.held, self.alike = held, alike
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", torch.zeros(dims))
        self.register_buffer("scale", torch.ones(dims))

    def __repr__(self) -> str:
        return f"FlowNet({len(self.chain.transforms)} maps of {len(self.shift)} coordinates)"  # zuko's draws at random

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):  # of 16 bits no likelihood is made
            z, change = self._of(y).call_and_ladj((x - self.shift) / self.scale)
            return z, change - self.scale.log().sum()

    def inverse(self, z: Tensor, y: Tensor) -> Tensor:
        return self.shift + self.scale * cast(Tensor, self._of(y).inv(z))

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """log p(x | y), (N,), in nats."""
        z, change = self(x, y)
        return cast(Tensor, change - 0.5 * (z.square() + math.log(2 * math.pi)).sum(1))

    @torch.no_grad()
    def begin(self, x: Tensor) -> None:
        """Take x (M, D) to mean 0 and standard deviation 1, and begin as the identity from there."""
        x = x.double().reshape(-1, 1) if self.alike else x.double()
        mean, std = x.mean(0), x.std(0, correction=0)
        self.shift.copy_(mean)
        # A coordinate that never changes is left as wide as its rounding to 32 bits.
        self.scale.copy_(std.maximum(1e-6 * mean.abs().clamp(min=1)))
        for part in self.chain.transforms:
            layers = list(cast(nn.Module, part.hyper).children())
            if isinstance(first := layers[0], nn.Linear):
                # The class has a column of it; as small as those of many coordinates it would not be heard.
                first.weight[:, -self.classes :] *= math.sqrt(first.in_features)
            for parameter in layers[-1].parameters():
                nn.init.zeros_(parameter)

    def _of(self, y: Tensor) -> Any:
        """The transformation of each item's class."""
        return self.chain(nn.functional.one_hot(y, self.classes).to(self.shift.dtype))


@dataclass(frozen=True)
class ChainSettings(ABC, Settings):
    """``transforms`` maps, each set by a network of ``depth`` hidden layers of ``width``."""

    transforms: Layers = 4
    width: Positive = 128
    depth: Layers = 2

    def build(self, shape: tuple[int, ...], classes: int) -> FlowNet:
        dims = math.prod(shape)
        maps = (self._map(number, dims, classes) for number in range(self.transforms))
        return FlowNet([by_class(dims, classes), *maps], dims, classes, held=dims * self.outputs)

    @property
    def outputs(self) -> int:
        """Of a network for one coordinate."""
        return 2

    @abstractmethod
    def _map(self, number: int, dims: int, classes: int) -> nn.Module:
        """zuko's lazy transformation at that place in the chain."""

    def _coupling(self, number: int, dims: int, classes: int, **univariate: Any) -> nn.Module:
        """Of random halves, the same at every place and in every model; a map and the next one change places."""
        from zuko.flows.coupling import GeneralCouplingTransform

        order = stream(0, "normalizing-flow", "halves", number // 2).permutation(dims)
        mask = torch.from_numpy(order % 2 == number % 2)
        part = GeneralCouplingTransform(dims, classes, mask, hidden_features=(), **univariate)
        inputs, outputs = part.hyper.in_features, part.hyper.out_features
        part.hyper = _mlp([inputs, *[self.width] * self.depth, outputs])
        return cast(nn.Module, part)


@dataclass(frozen=True)
class RealNVPSettings(ChainSettings):
    kind: Literal["realnvp"] = "realnvp"

    def _map(self, number: int, dims: int, classes: int) -> nn.Module:
        return self._coupling(number, dims, classes, univariate=affine())


@dataclass(frozen=True)
class NSFSettings(ChainSettings):
    """``bins``: of a spline."""

    kind: Literal["nsf"] = "nsf"
    bins: Annotated[int, at.Ge(2), at.Le(1000)] = 8

    @property
    def outputs(self) -> int:
        return 3 * self.bins - 1

    def _map(self, number: int, dims: int, classes: int) -> nn.Module:
        from zuko.transforms import MonotonicRQSTransform

        shapes = [(self.bins,), (self.bins,), (self.bins - 1,)]
        return self._coupling(number, dims, classes, univariate=MonotonicRQSTransform, shapes=shapes)


@dataclass(frozen=True)
class MAFSettings(ChainSettings):
    kind: Literal["maf"] = "maf"

    def _map(self, number: int, dims: int, classes: int) -> nn.Module:
        """Its order is that of the coordinates, or the reverse one in every second map."""
        from zuko.flows.autoregressive import MaskedAutoregressiveTransform

        if dims == 1:
            return self._coupling(number, dims, classes, univariate=affine())  # there is nothing before it
        if dims > WIDEST:
            problem = f"a masked autoregressive flow of {dims:,} dimensions needs masks of {dims:,} x {dims:,}"
            raise TrainingError(f"{problem}; use `kind: nsf` or `kind: realnvp`, which need none.")
        order = torch.arange(dims)
        part = MaskedAutoregressiveTransform(
            dims,
            classes,
            order=order.flip(0) if number % 2 else order,
            univariate=affine(),
            hidden_features=[self.width] * self.depth,
            activation=nn.SiLU,
        )
        return cast(nn.Module, part)


def affine() -> Any:
    """zuko's affine map of one coordinate; chains of them that stretch by more explode on what they have not seen."""
    from zuko.transforms import MonotonicAffineTransform

    return partial(MonotonicAffineTransform, slope=1 / STRETCH)


def by_class(dims: int, classes: int) -> nn.Module:
    """An affine map of every class."""
    from zuko.flows.gaussianization import ElementWiseTransform

    part = ElementWiseTransform(dims, classes, hidden_features=())
    part.hyper = _mlp([classes, 2 * dims])
    return cast(nn.Module, part)


def _mlp(sizes: Sequence[int]) -> nn.Sequential:
    layers = [nn.Linear(before, after) for before, after in pairwise(sizes)]
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.SiLU())][:-1])
