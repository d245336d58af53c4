"""A small classifier of human images: features for the Fréchet distance, class probabilities for rewards.

Three convolutions, then one hidden layer of 64 units, whose activations are the *features*; the last layer is
linear, and p(class | x) is its softmax. It is trained by cross entropy on human items alone (AdamW and a
one-cycle learning rate: L. N. Smith, N. Topin, Super-Convergence: Very Fast Training of Neural Networks Using
Large Learning Rates, 2017, arXiv 1708.07120), on images shifted by a pixel or two and, in colour, mirrored.
Group normalisation, not batch normalisation: what the net says of an image does not depend on the images
beside it (Y. Wu, K. He, Group Normalization, 2018, arXiv 1803.08494).

Everything random, the initial parameters included, comes from named streams on the CPU, so two machines
differ by rounding only. A distance on these features is never called FID: ``FEATURES`` is their name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.adamw import adamw

from ecosystem.errors import DataError
from ecosystem.humans import Humans, Items
from ecosystem.models.train import half_cosine
from ecosystem.rng import lent, torch_stream

FEATURES = "classifier-64"  # the name of the features, for reports
POOL = 10_000  # human items it is trained on, at most
BLOCK = 2048  # images a forward pass at inference,
VALUES = BLOCK * 3 * 32 * 32  # and numbers, which make fewer of large images
BATCH = 64
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Recipe:
    """The net and its training, for images of one size."""

    channels: tuple[int, int, int]
    pooling: tuple[int, int, int]  # side of each maximum pool, pixels
    epochs: int
    rate: float  # the highest learning rate
    shift: int  # pixels, either way
    mirror: bool


def recipe(shape: tuple[int, ...]) -> Recipe:
    """For images (C, H, W); a size in between takes the recipe of the next larger one."""
    side, colour = max(shape[1:]), shape[0] == 3
    if side <= 8:
        return Recipe((16, 32, 32), (1, 2, 1), epochs=12, rate=1e-2, shift=1, mirror=colour)
    if side <= 28:
        return Recipe((16, 32, 32), (2, 2, 1), epochs=3, rate=5e-3, shift=2, mirror=colour)
    return Recipe((16, 32, 64), (2, 2, 2), epochs=6, rate=5e-3, shift=2, mirror=colour)


class Net(nn.Module):
    """Images (N, C, H, W) in [-1, 1] to features (N, 64) to logits (N, classes)."""

    def __init__(self, shape: tuple[int, ...], classes: int, plan: Recipe) -> None:
        super().__init__()
        (fan_in, height, width), layers = shape, list[nn.Module]()
        for fan_out, pool in zip(plan.channels, plan.pooling, strict=True):
            # Pooling first, so that what follows has a quarter of the work.
            layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), nn.MaxPool2d(pool) if pool > 1 else nn.Identity()]
            layers += [nn.GroupNorm(4, fan_out), nn.ReLU()]
            fan_in, height, width = fan_out, height // pool, width // pool
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(fan_in * height * width, 64), nn.ReLU())
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x))
        return logits


class Sight(Protocol):
    """A net that sees: ``body`` makes features of images (N, C, H, W) in [-1, 1], ``head`` logits of features."""

    def body(self, x: Tensor, /) -> Tensor: ...

    def head(self, features: Tensor, /) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained net; takes images as uint8 (N, C, H, W) or as floats in [-1, 1], arrays or tensors."""

    net: Sight
    device: torch.device
    accuracy: float  # share of the held-out set classified rightly
    block: int | None = None  # images a forward pass; None: BLOCK

    def features(self, x: NDArray[Any] | Tensor) -> NDArray[np.float64]:
        """(N, 64), not negative."""
        return _in_blocks(self.net.body, x, self.device, self.block)

    def probabilities(self, x: NDArray[Any] | Tensor) -> NDArray[np.float64]:
        """p(class | x), (N, classes)."""
        return _in_blocks(lambda some: _logits(self.net, some).double().softmax(dim=1), x, self.device, self.block)

    def labels_of(self, features: NDArray[np.float64]) -> NDArray[np.int64]:
        """The most probable class of images with these features, (N,): most of the work is in the features."""
        found: NDArray[np.int64] = _in_blocks(self.net.head, features, self.device, self.block).argmax(axis=1)
        return found


def train_classifier(humans: Humans, device: torch.device) -> Classifier:
    """The classifier of a human source, the same for every seed."""
    if len(humans.shape) != 3 or humans.classes < 2:
        raise DataError(
            f"humans: source '{humans.name}' has no labelled images, so no classifier can be trained on it.\n"
            "Remedy: `labelled: true` on a source of images (as digits or mnist), or metrics and rewards "
            "that need no classifier."
        )
    plan = recipe(humans.shape)
    net = _initial(humans, plan).to(device)
    for _ in training(net, humans.pool(POOL), plan, device):
        pass
    net.requires_grad_(False)
    return Classifier(net, device, accuracy(net, humans.held_out(), device))


def _initial(humans: Humans, plan: Recipe) -> Net:
    """The net at its beginning."""
    with lent(CPU, 0, "classifier", "layers"):  # layers draw from torch's global generator, what is then drawn anew
        net = Net(humans.shape, humans.classes, plan)
    generator = torch_stream(CPU, 0, "classifier", "parameters")
    for name, parameter in net.named_parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, generator=generator)
        else:  # biases, and the gains of the normalisation
            nn.init.constant_(parameter, float(name.endswith("weight")))
    return net


def training(net: Net, items: Items, plan: Recipe, device: torch.device) -> Iterator[float]:
    """Trains ``net`` in place and yields the loss of every update."""
    x, y = torch.from_numpy(items.x).to(device), torch.from_numpy(items.y).to(device)
    generator = torch_stream(CPU, 0, "classifier", "batches")
    updates = plan.epochs * math.ceil(len(x) / BATCH)
    # By the function and not the class of the optimiser: making one imports torch's compiler, a second or two.
    parameters: list[Tensor] = list(net.parameters())
    first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    steps = [torch.zeros((), device=device) for _ in parameters]
    cycle = (one_cycle(plan.rate, update, updates) for update in range(updates))
    for _ in range(plan.epochs):
        for index in torch.split(torch.randperm(len(x), generator=generator), BATCH):
            batch = augment(in_range(x[index.to(device)]), plan, generator)
            loss = F.cross_entropy(net(batch), y[index.to(device)])
            net.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            rate, beta = next(cycle)
            with torch.no_grad():
                adamw(
                    parameters,
                    [p.grad for p in parameters if p.grad is not None],
                    first,
                    second,
                    [],
                    steps,
                    fused=device.type in ("cpu", "cuda"),
                    lr=rate,
                    beta1=beta,
                    beta2=0.999,  # this and the rest are PyTorch's defaults
                    weight_decay=0.01,
                    eps=1e-8,
                    amsgrad=False,
                    maximize=False,
                )
            yield loss.item()


def one_cycle(highest: float, update: int, updates: int) -> tuple[float, float]:
    """The learning rate and Adam's beta_1 of an update, as PyTorch's OneCycleLR has them.

    Cosines: the rate from a 25th to the highest in three tenths of the updates and then to next to nothing, the other
    from 0.95 to 0.85 and back.
    """
    peak, low = 0.3 * updates - 1, highest / 25
    up = update <= peak
    share = update / peak if up else (update - peak) / (updates - 1 - peak)
    rates, betas = ((low, highest), (0.95, 0.85)) if up else ((highest, low / 1e4), (0.85, 0.95))
    return half_cosine(rates, math.pi * share), half_cosine(betas, math.pi * share)


def augment(x: Tensor, plan: Recipe, generator: torch.Generator) -> Tensor:
    """Each image shifted by up to ``plan.shift`` pixels, edges repeated, and mirrored half of the time."""
    n, _, height, width = x.shape
    offset = torch.randint(0, 2 * plan.shift + 1, (2, n, 1), generator=generator).to(x.device)
    mirrored = torch.rand(n, 1, generator=generator).to(x.device) < 0.5 * plan.mirror
    rows = torch.arange(height, device=x.device) + offset[0]
    columns = torch.arange(width, device=x.device)
    columns = torch.where(mirrored, columns.flip(0), columns) + offset[1]
    padded = F.pad(x, [plan.shift] * 4, mode="replicate")
    which = torch.arange(n, device=x.device)[:, None, None]
    return padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def in_range(x: Tensor) -> Tensor:
    """uint8 0 .. 255 to float32 in [-1, 1]; floats are in that range already."""
    return x.float() / 127.5 - 1.0 if x.dtype == torch.uint8 else x.float()


def _in_blocks(
    call: Callable[[Tensor], Tensor], x: NDArray[Any] | Tensor, device: torch.device, block: int | None = None
) -> NDArray[np.float64]:
    images = torch.from_numpy(np.ascontiguousarray(x)) if isinstance(x, np.ndarray) else x
    rows = max(1, min(block or BLOCK, VALUES // max(1, images[:1].numel())))
    with torch.no_grad():
        blocks = [call(in_range(b.to(device))).double().cpu() for b in torch.split(images, rows)]
    return torch.cat(blocks).numpy()


def _logits(net: Sight, x: Tensor) -> Tensor:
    return net.head(net.body(x))


def accuracy(net: Sight, items: Items, device: torch.device, block: int | None = None) -> float:
    """Share of the items classified rightly."""
    predicted = _in_blocks(lambda some: _logits(net, some), items.x, device, block).argmax(axis=1)
    return float((predicted == items.y).mean())
