"""Variational autoencoders: a decoder of normal noise, trained beside an encoder that says of which noise an item came.

    z ~ N(0, I),   x = g(z; y) + sigma e,   e ~ N(0, I)
    log p(x | y) >= E_q log N(x; g(z; y), sigma^2 I) - KL(q || N(0, I)),   q(z | x, y) = N(m(x; y), diag s(x; y)^2)
    KL = 1/2 sum (m^2 + s^2 - 1 - log s^2)

(D. Kingma, M. Welling, Auto-Encoding Variational Bayes, 2013, arXiv 1312.6114.) The loss has ``beta`` times the KL (I.
Higgins et al., beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework, 2017). ``std`` is
sigma. Where it is null one number is learned, which ends at the root mean square error of the decoder (O. Rybkin et
al., Simple and Effective VAE Training with Calibrated Decoders, 2020, arXiv 2006.13202). Of a fixed sigma and beta only
beta sigma^2 matters to the means. A linear network, ``depth: 0``, ends as probabilistic PCA (J. Lucas et al., Don't
Blame the ELBO!, 2019, arXiv 1911.02469).

A vector is drawn with the decoder's noise, without which its variance would be too small by sigma^2. An image is g(z)
alone, as it is shown everywhere, unless ``pixel_noise`` adds the noise: a loop of images loses that sigma^2 each time.
Sampling bias scales z and e: of a linear decoder it multiplies the covariance, and of others it is a temperature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal, cast

import annotated_types as at
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu

from ecosystem.models.base import TrainingSet, to_model
from ecosystem.models.guided import Predict
from ecosystem.models.nets import Scalar
from ecosystem.models.neural import NeuralFamily
from ecosystem.models.train import TrainSettings
from ecosystem.models.unets import Channels
from ecosystem.settings import KIND, NonNegative, Positive, PositiveFloat, Settings

MOMENTS = 10_000  # at most so many items tell the scale of the data


class VaeNet(nn.Module):
    """Encoder, decoder and sigma, in units in which the first training set has mean 0 and a mean variance of 1.

    ``encoder`` takes x (N, ...) and y (N,) to (N, 2 latent), ``decoder`` takes z (N, latent) and y to (N, ...).
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.log_std = Scalar()
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(()))

    def encode(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the log variance of q(z | x, y), (N, latent) each."""
        mean, log_variance = self.encoder((x - self.shift) / self.scale, y).float().chunk(2, dim=1)
        return mean, log_variance

    def decode(self, z: Tensor, y: Tensor) -> Tensor:
        """g(z; y), like x."""
        return self.shift + self.scale * cast(Tensor, self.decoder(z, y).float())

    def std(self) -> Tensor:
        """The learned sigma."""
        return self.scale * self.log_std.value.exp()

    def standardise(self, x: Tensor) -> None:
        mean, variance = x.double().mean(0), x.double().var(0, correction=0).mean()
        self.shift.copy_(mean)
        # Of data that never change, the scale of their rounding to 32 bits.
        self.scale.copy_(variance.sqrt().maximum(1e-6 * mean.abs().max().clamp(min=1)))


class Dense(nn.Module):
    """A perceptron on flattened items, the class entering its first layer. Without hidden layers it is linear."""

    def __init__(self, inputs: int, classes: int, hidden: Sequence[int], shape: tuple[int, ...]) -> None:
        super().__init__()
        sizes = [inputs, *hidden, math.prod(shape)]
        self.layers, self.shape = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes)), shape
        # Drawn as wide as all of x comes out: of a class less loud the noise z would tell, and prompts would not count.
        self.label = nn.Embedding(classes, sizes[1])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = cast(Tensor, self.layers[0](x.flatten(1)) + self.label(y))
        for layer in self.layers[1:]:
            h = layer(silu(h))
        return h.reshape(-1, *self.shape)


class Down(nn.Module):
    """Images through convolutions that halve them, then through a perceptron."""

    def __init__(self, shape: tuple[int, ...], classes: int, channels: Sequence[int], width: int, outputs: int) -> None:
        super().__init__()
        steps = pairwise([shape[0], *channels])
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in steps)
        high, wide = sides(shape, len(channels))[-1]
        self.dense = Dense(channels[-1] * high * wide, classes, [width], (outputs,))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = silu(convolution(x))
        return cast(Tensor, self.dense(x, y))


class Up(nn.Module):
    """The way back: a perceptron, then convolutions on images twice as large each time."""

    def __init__(self, shape: tuple[int, ...], classes: int, channels: Sequence[int], width: int, latent: int) -> None:
        super().__init__()
        *self.sides, smallest = sides(shape, len(channels))
        self.dense = Dense(latent, classes, [width], (channels[-1], *smallest))
        steps = pairwise([*reversed(channels), shape[0]])
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in steps)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        x = self.dense(z, y)
        for convolution, size in zip(self.convolutions, reversed(self.sides), strict=True):
            x = convolution(interpolate(silu(x), size=size))
        return cast(Tensor, x)


def sides(shape: tuple[int, ...], halvings: int) -> list[tuple[int, int]]:
    """Height and width of an image, and of its halves, rounded up."""
    found = [(shape[1], shape[2])]
    for _ in range(halvings):
        found.append(((found[-1][0] + 1) // 2, (found[-1][1] + 1) // 2))
    return found


@dataclass(frozen=True)
class PerceptronSettings(Settings):
    """``depth`` hidden layers of ``width`` in the encoder, and as many in the decoder; 0 is linear."""

    kind: Literal["mlp"] = "mlp"
    width: Positive = 256
    depth: Annotated[int, at.Ge(0), at.Le(1000)] = 2

    def build(self, shape: tuple[int, ...], classes: int, latent: int) -> VaeNet:
        hidden = [self.width] * self.depth
        encoder = Dense(math.prod(shape), classes, hidden, (2 * latent,))
        return VaeNet(encoder, Dense(latent, classes, hidden, shape), shape)


@dataclass(frozen=True)
class ConvolutionalSettings(Settings):
    """One halving of the image for each of ``channels``; ``width``: of the hidden layer between them and z."""

    kind: Literal["conv"] = "conv"
    channels: Annotated[tuple[Channels, ...], at.MinLen(1)] = (32, 64)
    width: Positive = 256

    def build(self, shape: tuple[int, ...], classes: int, latent: int) -> VaeNet:
        encoder = Down(shape, classes, self.channels, self.width, 2 * latent)
        return VaeNet(encoder, Up(shape, classes, self.channels, self.width, latent), shape)


@dataclass(frozen=True)
class Vae(NeuralFamily):
    """``latent``: the dimensions of z. ``std``: sigma in units of x (images: on [-1, 1]); null is learned."""

    family: Literal["vae"] = "vae"
    net: Annotated[PerceptronSettings | ConvolutionalSettings, KIND] = PerceptronSettings()
    train: TrainSettings = TrainSettings()
    latent: Positive = 8
    beta: NonNegative = 1.0
    std: PositiveFloat | None = None
    pixel_noise: bool = False

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return self.net.build(shape, classes, self.latent)

    def prepare(self, net: nn.Module, data: TrainingSet, generator: torch.Generator) -> None:
        assert isinstance(net, VaeNet)
        some = data.x[:: math.ceil(len(data) / MOMENTS)]
        net.standardise(to_model(some) if some.ndim == 4 else some)

    def noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """z, and e behind it where it is drawn."""
        return (self.latent + math.prod(shape) if self._noisy(shape) else self.latent,)

    def loss(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Of a dimension, in nats: a batch of any items has gradients of one size."""
        assert isinstance(net, VaeNet)
        e = torch.randn(len(x), self.latent, generator=generator, device=x.device)
        likelihood, divergence = self.terms(net, x, y, e)
        return (self.beta * divergence - likelihood).mean() / x[0].numel()

    def terms(self, net: VaeNet, x: Tensor, y: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x | z, y) at z = m + s e, and KL(q || N(0, I)), (N,) each, in nats: their difference is the ELBO."""
        mean, log_variance = net.encode(x, y)
        error = (x - net.decode(mean + (0.5 * log_variance).exp() * e, y)).flatten(1)
        std = self._std(net)
        likelihood = -0.5 * (error / std).square().sum(1) - error.shape[1] * (std.log() + 0.5 * math.log(2 * math.pi))
        return likelihood, divergence(mean, log_variance)

    def integrate(self, net: Predict, y: Tensor, noise: Tensor) -> Tensor:
        assert isinstance(net, VaeNet)
        x = net.decode(noise[:, : self.latent], y)
        if not self._noisy(tuple(x.shape[1:])):
            return x
        return x + self._std(net) * noise[:, self.latent :].reshape(x.shape)

    def _noisy(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == 1 or self.pixel_noise

    def _std(self, net: VaeNet) -> Tensor:
        return net.std() if self.std is None else net.scale.new_tensor(self.std)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, diag variance) || N(0, I)), (N,), of means and log variances (N, latent)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
