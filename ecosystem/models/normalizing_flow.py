"""Normalizing flows: an invertible network from the data to normal noise, and with it an exact likelihood.

    z = f(x; y),   log p(x | y) = log N(z; 0, I) + log |det df/dx|,   x = f^-1(z; y),   z ~ N(0, I)

f is a chain of maps whose Jacobian is triangular, each coordinate moved by a function of it alone that a network sets:
perceptrons of vectors (flow_nets.py: ``realnvp``, ``nsf``, ``maf``) or convolutions of images (multi_scale.py).
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
from dataclasses import dataclass
from typing import Annotated, Literal, cast

import annotated_types as at
import torch
from torch import Tensor, nn

from ecosystem.models.base import TrainingSet, to_model
from ecosystem.models.flow_nets import FlowNet, MAFSettings, NSFSettings, RealNVPSettings
from ecosystem.models.gaussian import as_vectors
from ecosystem.models.guided import Predict
from ecosystem.models.multi_scale import MultiScaleSettings
from ecosystem.models.neural import NeuralFamily, NeuralGenerator
from ecosystem.models.train import TrainSettings, TrainState
from ecosystem.rng import stream
from ecosystem.settings import KIND

LEVELS, HALF = 256, 127.5  # of a pixel; how many of them make one unit on the scale of [-1, 1]
DRAWS = 8  # of U, over which the likelihood of an image is averaged
MOMENTS = 10_000  # at most so many items tell how to standardise
BLOCK = 2**22  # numbers that are held at once on the way through a network, outside training

FlowNetSettings = Annotated[RealNVPSettings | NSFSettings | MAFSettings | MultiScaleSettings, KIND]


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
        return max(1, BLOCK // net.held)

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
