"""One Gaussian a class, fitted in closed form: the family whose self-consuming loop is known exactly.

    mu = mean(x),   Sigma = 1/(n - ddof) sum (x - mu)(x - mu)^T,   x = mu + Sigma^(1/2) z

``estimator: mle`` divides by n (Kazdan et al., Collapse or Thrive?, 2024, arXiv 2410.16713), ``unbiased`` by n - 1
(Alemohammad et al., Self-Consuming Generative Models Go MAD, 2023, arXiv 2307.01850; Bertrand et al., On the
Stability of Iterative Retraining, 2023, arXiv 2310.00429). The root is the symmetric one, so singular covariances
(pixels that never change) are no special case. All in float64: a collapsing variance stays a number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecosystem.errors import TrainingError
from ecosystem.models.base import Family, Generator, Training, TrainingSet, Update
from ecosystem.rng import Streams
from ecosystem.settings import Settings


@dataclass(frozen=True)
class GaussianGenerator(Generator):
    mean: Tensor  # (classes, D)
    root: Tensor  # (classes, D, D), symmetric
    shape: tuple[int, ...]

    def noise(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return rng.standard_normal((n, self.mean.shape[1]))

    def sample(self, y: Tensor, noise: Tensor) -> Tensor:
        noise = noise.to(self.mean.dtype)
        x = torch.empty_like(noise)
        for label in range(len(self.mean)):
            chosen = y == label
            x[chosen] = self.mean[label] + noise[chosen] @ self.root[label]
        return x.reshape(-1, *self.shape)

    def state(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "root": self.root}

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        covariance = self.root @ self.root
        density = torch.distributions.MultivariateNormal(self.mean[y], covariance[y])
        values: Tensor = density.log_prob(x.reshape(len(x), -1).to(self.mean.dtype))  # type: ignore[no-untyped-call]
        return values


@dataclass(frozen=True)
class Gaussian(Family, Settings):
    family: Literal["gaussian"] = "gaussian"
    estimator: Literal["mle", "unbiased"] = "mle"

    def fit(
        self, data: TrainingSet, previous: Generator | None, streams: Streams, budget_images: int | None = None
    ) -> Training:
        x = _as_vectors(data.x)
        groups = [x[data.y == label] for label in range(data.classes)]
        moments = [self._moments(group, label) for label, group in enumerate(groups)]
        yield Update(1, 1, math.nan)
        return GaussianGenerator(
            torch.stack([mean for mean, _ in moments]), torch.stack([root for _, root in moments]), data.shape
        )

    def _moments(self, x: Tensor, label: int) -> tuple[Tensor, Tensor]:
        ddof = 1 if self.estimator == "unbiased" else 0
        if len(x) <= ddof:
            raise TrainingError(
                f"the training set holds {len(x)} page(s) of class {label}; the {self.estimator} Gaussian needs "
                f"at least {ddof + 1}. Raise the archive, the scraper's budget or the users' prompts."
            )
        covariance = torch.cov(x.T, correction=ddof).reshape(x.shape[1], x.shape[1])
        return x.mean(0), symmetric_root(covariance)


def symmetric_root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite (D, D) matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def _as_vectors(x: Tensor) -> Tensor:
    x = x.double() / 127.5 - 1.0 if x.dtype == torch.uint8 else x.double()
    return x.reshape(len(x), -1)
