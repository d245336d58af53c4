"""A kernel density estimate a class: a Gaussian of standard deviation h around every point of the training set.

    p(x) = 1/n sum_i N(x; x_i, h^2 I),   x = x_i + h z,   i uniform

Its loop convolves with the kernel once more each generation, so the variance grows by h^2 (Kazdan et al., Collapse or
Thrive?, 2024, arXiv 2410.16713; Fu et al., Towards Theoretical Understandings of Self-Consuming Generative Models,
2024, arXiv 2402.11778). The estimator is M. Rosenblatt's, Remarks on Some Nonparametric Estimates of a Density
Function, 1956. All in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecosystem.distribution import Distribution
from ecosystem.errors import TrainingError
from ecosystem.models.base import Family, Generator, Saved, Training, TrainingSet, Update
from ecosystem.models.gaussian import as_vectors, mixed
from ecosystem.rng import Streams
from ecosystem.settings import PositiveFloat, Settings

BLOCK = 2**19  # pairs of a point and a sample whose distances are held at once


@dataclass(frozen=True)
class KdeGenerator(Generator):
    points: Tensor  # (n, D), one class after the other
    offsets: Tensor  # (classes + 1,) int64: where the points of a class begin, and end
    bandwidth: float  # h, in units of x
    shape: tuple[int, ...]

    def noise(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return rng.standard_normal((n, 1 + self.points.shape[1]))

    def sample(self, y: Tensor, noise: Tensor) -> Tensor:
        u, z = uniform_and_normal(noise)
        count = self.offsets.diff()[y]
        which = self.offsets[y] + torch.minimum((u * count).long(), count - 1)
        return (self.points[which] + self.bandwidth * z).reshape(-1, *self.shape)

    def state(self) -> dict[str, Tensor]:
        bandwidth = torch.tensor(self.bandwidth, dtype=torch.float64)
        return {"points": self.points, "offsets": self.offsets, "bandwidth": bandwidth}

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        x = as_vectors(x)
        values = x.new_empty(len(x))
        for label, points in enumerate(self._classes()):
            chosen = y == label
            blocks = torch.split(x[chosen], max(1, BLOCK // len(points)))
            values[chosen] = torch.cat([self._log_density(block, points) for block in blocks])
        return values

    def _log_density(self, x: Tensor, points: Tensor) -> Tensor:
        distance = torch.cdist(x, points, compute_mode="donot_use_mm_for_euclid_dist").div_(self.bandwidth)
        height = points.shape[1] * math.log(self.bandwidth * math.sqrt(2 * math.pi)) + math.log(len(points))
        return distance.square_().mul_(-0.5).logsumexp(1) - height

    def distribution(self) -> Distribution | None:
        if len(self.shape) > 1:
            return None  # the pages of images are rounded and clipped
        points = [part.cpu().numpy() for part in self._classes()]
        kernel = self.bandwidth**2 * np.eye(self.points.shape[1])
        covariance = [np.cov(part.T, bias=True).reshape(kernel.shape) + kernel for part in points]
        weight = np.full(len(points), 1 / len(points))
        return mixed(weight, np.stack([part.mean(0) for part in points]), np.stack(covariance))

    def _classes(self) -> Iterator[Tensor]:
        offsets = self.offsets.tolist()
        return (self.points[start:end] for start, end in zip(offsets, offsets[1:], strict=False))


@dataclass(frozen=True)
class Kde(Family, Settings):
    family: Literal["kde"] = "kde"
    bandwidth: PositiveFloat = 0.1  # of the kernel: its standard deviation, in units of x

    def fit(
        self,
        data: TrainingSet,
        previous: Generator | None,
        streams: Streams,
        budget_images: int | None = None,
        saved: Saved | None = None,
    ) -> Training:
        pages = torch.bincount(data.y, minlength=data.classes)
        if pages.min() == 0:
            raise TrainingError(
                f"the training set holds no page of class {int(pages.argmin())}; a kernel density needs one of each. "
                "Raise the archive, the scraper's budget or the users' prompts."
            )
        yield Update(1, 1, math.nan)
        points = as_vectors(data.x[data.y.argsort(stable=True)])
        offsets = torch.cat([pages.new_zeros(1), pages.cumsum(0)])
        return KdeGenerator(points, offsets, self.bandwidth, data.shape)

    def restored(self, saved: Saved, shape: tuple[int, ...], classes: int) -> KdeGenerator:
        return KdeGenerator(saved["points"], saved["offsets"], float(saved["bandwidth"]), shape)


def uniform_and_normal(noise: Tensor) -> tuple[Tensor, Tensor]:
    """Standard normal noise (N, 1 + D) as a uniform number in [0, 1] for each sample, (N,), and the rest, (N, D)."""
    noise = noise.double()
    return torch.special.ndtr(noise[:, 0]), noise[:, 1:]
