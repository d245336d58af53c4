"""Normalizing flows: an invertible network from the data to normal noise, and with it an exact likelihood.

    z = f(x; y),   log p(x | y) = log N(z; 0, I) + log |det df/dx|,   x = f^-1(z; y),   z ~ N(0, I)

f is a chain of maps whose Jacobian is triangular, each coordinate moved by a function of it alone that a network sets:

- ``realnvp``: half of the coordinates set an affine map of the other half (Dinh et al., Density estimation using Real
  NVP, 2016, arXiv 1605.08803);
- ``nsf``: the same with monotonic rational-quadratic splines on [-5, 5] standard deviations, the identity beyond
  (Durkan et al., Neural Spline Flows, 2019, arXiv 1906.04032);
- ``maf``: each coordinate is moved by those before it (Papamakarios et al., Masked Autoregressive Flow for Density
  Estimation, 2017, arXiv 1705.07057). Samples take D passes through the network, those of a coupling one.

Transformations are zuko's; nothing in them is drawn at random. The data are standardised first, with the moments of
the first training set, and each class has an affine map of its own.

Images are flows of what lies between their 8-bit levels (Theis et al., A note on the evaluation of generative models,
2015, arXiv 1511.01844), seen through a logit as in Real NVP, so that samples keep inside the range:

    u = (level + U) / 256,   U uniform in [0, 1);   f sees logit(alpha + (1 - 2 alpha) u)

A sample is u, and its page has the level floor(256 u). As E_U log p(u) <= log E_U p(u) = log P(level) + D log 256, the
``log_prob`` of an image, that mean over U, is a lower bound, and bits per dimension made of it an upper bound.

Sampling bias scales the noise: as far as f is linear it is the covariance that is multiplied, and in general it is the
temperature of Kingma and Dhariwal (Glow, 2018, arXiv 1807.03039).
"""

from __future__ import annotations

import copy
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
from ecosystem.models.base import TrainingSet, to_model
from ecosystem.models.gaussian import as_vectors
from ecosystem.models.guided import Predict
from ecosystem.models.neural import NeuralFamily, NeuralGenerator
from ecosystem.models.train import TrainSettings, TrainState
from ecosystem.rng import stream
from ecosystem.settings import KIND, Positive, Settings

LEVELS, HALF = 256, 127.5  # of a pixel; how many of them make one unit on the scale of [-1, 1]
DRAWS = 8  # of U, over which the likelihood of an image is averaged
MOMENTS = 10_000  # at most so many items tell how to standardise
STRETCH = 10.0  # the most that one affine map of a chain stretches or shrinks a coordinate
WIDEST = 10_000  # dimensions of an autoregressive flow: its masks are D x D
BLOCK = 2**22  # numbers that set univariate maps, held at once outside training

Layers = Annotated[int, at.Ge(1), at.Le(1000)]


class FlowNet(nn.Module):
    """The flow f of vectors: x (N, D), y (N,) -> z (N, D) and log |det df/dx| (N,); and its inverse.

    ``maps``: zuko's lazy transformations, each with its network in ``hyper``.
    """

    def __init__(self, maps: Iterable[nn.Module], dims: int, classes: int) -> None:
        from zuko.lazy import LazyComposedTransform

        super().__init__()
        self.chain, self.classes = LazyComposedTransform(*maps), classes
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
        mean, std = x.double().mean(0), x.double().std(0, correction=0)
        self.shift.copy_(mean)
        # A coordinate that never changes is left as wide as its rounding to 32 bits.
        self.scale.copy_(std.maximum(1e-6 * mean.abs().clamp(min=1)))
        for part in self.chain.transforms:
            first, last = part.hyper[0], part.hyper[-1]
            # The class has a column of each first layer; as small as those of many coordinates it would not be heard.
            first.weight[:, -self.classes :] *= math.sqrt(first.in_features)
            for parameter in last.parameters():
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
        return FlowNet([_by_class(dims, classes), *maps], dims, classes)

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
        return self._coupling(number, dims, classes, univariate=_affine())


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
            return self._coupling(number, dims, classes, univariate=_affine())  # there is nothing before it
        if dims > WIDEST:
            problem = f"a masked autoregressive flow of {dims:,} dimensions needs masks of {dims:,} x {dims:,}"
            raise TrainingError(f"{problem}; use `kind: nsf` or `kind: realnvp`, which need none.")
        order = torch.arange(dims)
        part = MaskedAutoregressiveTransform(
            dims,
            classes,
            order=order.flip(0) if number % 2 else order,
            univariate=_affine(),
            hidden_features=[self.width] * self.depth,
            activation=nn.SiLU,
        )
        return cast(nn.Module, part)


def _affine() -> Any:
    """zuko's affine map of one coordinate; chains of them that stretch by more explode on what they have not seen."""
    from zuko.transforms import MonotonicAffineTransform

    return partial(MonotonicAffineTransform, slope=1 / STRETCH)


def _by_class(dims: int, classes: int) -> nn.Module:
    """An affine map of every class."""
    from zuko.flows.gaussianization import ElementWiseTransform

    part = ElementWiseTransform(dims, classes, hidden_features=())
    part.hyper = _mlp([classes, 2 * dims])
    return cast(nn.Module, part)


def _mlp(sizes: Sequence[int]) -> nn.Sequential:
    layers = [nn.Linear(before, after) for before, after in pairwise(sizes)]
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.SiLU())][:-1])


FlowNetSettings = Annotated[RealNVPSettings | NSFSettings | MAFSettings, KIND]


@dataclass(frozen=True)
class NormalizingFlow(NeuralFamily):
    """``alpha``: how far from 0 and 1 an image is kept before its logit is taken; vectors know none."""

    family: Literal["normalizing-flow"] = "normalizing-flow"
    net: FlowNetSettings = NSFSettings()
    train: TrainSettings = TrainSettings()
    alpha: Annotated[float, at.Gt(0.0), at.Lt(0.5)] = 0.05

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return self.net.build(shape, classes)

    def prepare(self, net: nn.Module, data: TrainingSet, generator: torch.Generator) -> None:
        assert isinstance(net, FlowNet)
        some = data.x[:: math.ceil(len(data) / MOMENTS)]
        net.begin(self._dequantised(to_model(some), generator)[0] if some.ndim == 4 else some)

    def loss(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """-log p(x | y) / D, in nats: of a coordinate, so that a batch of any items has gradients of one size."""
        assert isinstance(net, FlowNet)
        if x.ndim == 2:
            return -net.log_prob(x, y).mean() / x.shape[1]
        seen, change = self._dequantised(x, generator)
        return -(net.log_prob(seen, y) + change).mean() / seen.shape[1]

    def integrate(self, net: Predict, y: Tensor, noise: Tensor) -> Tensor:
        """In 64 bits: in 32 the root that inverts a spline can be one of a negative number."""
        assert isinstance(net, FlowNet)
        exact, rows = copy.deepcopy(net).double(), self._rows(net)
        blocks = zip(torch.split(noise.flatten(1).double(), rows), torch.split(y, rows), strict=True)
        x = torch.cat([exact.inverse(z, labels) for z, labels in blocks]).reshape(noise.shape)
        return self._image(x) if x.ndim == 4 else x

    def generator(self, state: TrainState, shape: tuple[int, ...]) -> FlowGenerator:
        return FlowGenerator(self, state, shape)

    def log_density(self, net: FlowNet, x: Tensor, y: Tensor, u: Tensor | None) -> Tensor:
        """log p(x | y), (N,), of vectors (N, D); of images on [-1, 1], (N, D), with u (D,) put between their levels."""
        values, rows = [], self._rows(net)
        for block, labels in zip(torch.split(x, rows), torch.split(y, rows), strict=True):
            if u is None:
                values.append(net.log_prob(block, labels))
            else:
                seen, change = self._logit(block, u)
                inside = change.isfinite()  # beyond black or white there is no logit
                values.append(torch.where(inside, net.log_prob(seen, labels) + change, -math.inf))
        return torch.cat(values)

    def _rows(self, net: FlowNet) -> int:
        return max(1, BLOCK // (len(net.shift) * self.net.outputs))

    def _dequantised(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        flat = x.flatten(1)
        return self._logit(flat, torch.rand(flat.shape, generator=generator, device=x.device))

    def _logit(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Images on [-1, 1] and where above their levels they lie, (N, D) each -> what f sees, and log |det| of it."""
        inside = 1 - 2 * self.alpha
        s = self.alpha + inside * ((x + 1) * HALF + u) / LEVELS
        change = math.log(inside * HALF / LEVELS) - s.log() - torch.log1p(-s)
        return torch.logit(s), change.sum(1)

    def _image(self, seen: Tensor) -> Tensor:
        """What f sees -> an image on [-1, 1], whose page has the level floor(256 u)."""
        u = (torch.sigmoid(seen) - self.alpha) / (1 - 2 * self.alpha)
        return (LEVELS * u - 0.5) / HALF - 1


@dataclass(frozen=True)
class FlowGenerator(NeuralGenerator):
    @torch.no_grad()
    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """Of vectors exact. Of images, 8 bits or the same on [-1, 1], the bound: the mean over eight fixed draws of U.

        Density is that on the scale of [-1, 1], as it is of the other families.
        """
        family, flat = cast(NormalizingFlow, self.family), as_vectors(x)
        net = copy.deepcopy(self.training.ema).double()
        assert isinstance(net, FlowNet)
        if len(self.shape) == 1:
            return family.log_density(net, flat, y, None)
        u = stream(0, "normalizing-flow", "between levels").random((DRAWS, flat.shape[1]))
        draws = torch.from_numpy(u).to(flat.device)
        return torch.stack([family.log_density(net, flat, y, each) for each in draws]).mean(0)
