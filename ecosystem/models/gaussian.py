"""One Gaussian a class, fitted in closed form: the family whose self-consuming loop is known exactly.

    mu = mean(x),   Sigma = 1/(n - ddof) sum (x - mu)(x - mu)^T,   x = mu + Sigma^(1/2) z

``estimator: mle`` divides by n (Kazdan et al., Collapse or Thrive?, 2024, arXiv 2410.16713), ``unbiased`` by n - 1
(Alemohammad et al., Self-Consuming Generative Models Go MAD, 2023, arXiv 2307.01850; Bertrand et al., On the
Stability of Iterative Retraining, 2023, arXiv 2310.00429). The root is the symmetric one, so singular covariances
(pixels that never change) are no special case. ``covariance: diagonal`` is D Gaussians on the line, and never makes
a D x D matrix. All in float64: a collapsing variance stays a number.

Many fits, or draws, of one size are computed as one stack. A stack is used where it gives the very bits of its
members computed alone, which is tried once for each size: it depends on the machine's linear algebra.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecosystem.distribution import Distribution
from ecosystem.errors import TrainingError
from ecosystem.models import guided
from ecosystem.models.base import Family, Generator, Saved, Training, TrainingSet, Update
from ecosystem.rng import Streams, stream
from ecosystem.settings import Settings

STACK_NUMBERS = 3_000_000  # in a larger stack, memory costs more than the calls that are saved
PROBES = 8


@dataclass(frozen=True)
class GaussianGenerator(Generator):
    mean: Tensor  # (classes, D)
    root: Tensor  # of the covariance: (classes, D, D), symmetric; where it is diagonal (classes, D)
    shape: tuple[int, ...]

    def noise(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return rng.standard_normal((n, self.mean.shape[1]))

    def sample(self, y: Tensor, noise: Tensor) -> Tensor:
        noise = noise.to(self.mean.dtype)
        if len(self.mean) == 1:  # without copies of what may be a million ballots
            return _product(noise, self.root[0]).add_(self.mean[0]).reshape(-1, *self.shape)
        x = torch.empty_like(noise)
        for label in range(len(self.mean)):
            chosen = y == label
            x[chosen] = _product(noise[chosen], self.root[label]).add_(self.mean[label])
        return x.reshape(-1, *self.shape)

    @classmethod
    def sample_stack(
        cls, generators: Sequence[Generator], y: Sequence[Tensor], noise: Sequence[Tensor]
    ) -> list[Tensor] | None:
        members = cast(Sequence[GaussianGenerator], generators)
        first, (n, dims) = members[0], noise[0].shape
        like = all(g.root.shape == first.root.shape for g in members) and all(z.shape == noise[0].shape for z in noise)
        if not like or len(first.mean) > 1 or not _stackable(noise) or not _draws_alike(n, dims, first.root.ndim):
            return None
        x = _drawn([g.mean for g in members], [g.root for g in members], noise)
        return list(x.reshape(len(members), n, *first.shape).unbind())

    def state(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "std" if self.root.ndim == 2 else "root": self.root}

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        x, values = as_vectors(x), torch.empty(len(x), dtype=torch.float64, device=x.device)
        for label in range(len(self.mean)):
            chosen, root = y == label, self.root[label]
            scale, axes = (root, None) if root.ndim == 1 else torch.linalg.eigh(root)
            centred = x[chosen] - self.mean[label]
            values[chosen] = _log_density(centred if axes is None else centred @ axes, scale.clamp(min=0))
        return values

    def guided(self, auxiliary: Generator, weight: float) -> GaussianGenerator:
        """Exactly p^(1 + weight) / p_auxiliary^weight, class by class."""
        if not isinstance(auxiliary, GaussianGenerator) or auxiliary.root.shape != self.root.shape:
            raise TypeError("a Gaussian is guided by a Gaussian with as many classes and the same kind of covariance")
        pairs = zip(self.mean, self.root, auxiliary.mean, auxiliary.root, strict=True)
        if self.root.ndim == 2:
            found = [guided.variances(m, r.square(), n, s.square(), weight) for m, r, n, s in pairs]
            roots = [variance.sqrt() for _, variance in found]
        else:
            found = [guided.covariances(m, r, n, s @ s, weight) for m, r, n, s in pairs]
            roots = [symmetric_root(covariance) for _, covariance in found]
        return GaussianGenerator(torch.stack([mean for mean, _ in found]), torch.stack(roots), self.shape)

    def distribution(self) -> Distribution | None:
        if len(self.shape) > 1:
            return None  # the pages of images are rounded and clipped
        mean, root = self.mean.cpu().numpy(), self.root.cpu().numpy()
        return mixed(np.full(len(mean), 1 / len(mean)), mean, root**2 if root.ndim == 2 else root @ root)


@dataclass(frozen=True)
class Gaussian(Family, Settings):
    takes_sampling_bias: ClassVar[bool] = True
    takes_guidance: ClassVar[bool] = True

    family: Literal["gaussian"] = "gaussian"
    estimator: Literal["mle", "unbiased"] = "mle"
    covariance: Literal["full", "diagonal"] = "full"

    @property
    def stacks(self) -> bool:
        return True

    def fit(
        self,
        data: TrainingSet,
        previous: Generator | None,
        streams: Streams,
        budget_images: int | None = None,
        saved: Saved | None = None,
    ) -> Training:
        x = as_vectors(data.x)
        groups = [x[data.y == label] for label in range(data.classes)]
        moments = [self._moments(group, label) for label, group in enumerate(groups)]
        yield Update(1, 1, math.nan)
        return GaussianGenerator(
            torch.stack([mean for mean, _ in moments]), torch.stack([root for _, root in moments]), data.shape
        )

    def restored(self, saved: Saved, shape: tuple[int, ...], classes: int) -> GaussianGenerator:
        return GaussianGenerator(saved["mean"], saved["std" if "std" in saved else "root"], shape)

    def fit_stack(self, data: Sequence[TrainingSet]) -> list[GaussianGenerator] | None:
        first, x = data[0], [member.x for member in data]
        like = all(member.classes == 1 and member.x.shape == first.x.shape for member in data)
        if not like or not _stackable(x) or len(first) <= self._ddof:
            return None
        vectors = as_vectors(torch.stack(x).flatten(0, 1)).reshape(len(data), len(first), -1)
        if not _fits_alike(self, *vectors.shape[1:]):
            return None
        moments = self._stacked_moments(vectors)
        members = zip(*(part[:, None].unbind() for part in moments), strict=True)
        return [GaussianGenerator(mean, root, first.shape) for mean, root in members]

    @property
    def _ddof(self) -> int:
        return 1 if self.estimator == "unbiased" else 0

    def _moments(self, x: Tensor, label: int) -> tuple[Tensor, Tensor]:
        """Mean (D,) and root (D, D) or (D,) of x (n, D)."""
        n, dims = x.shape
        if n <= self._ddof:
            raise TrainingError(
                f"the training set holds {n} page(s) of class {label}; the {self.estimator} Gaussian needs "
                f"at least {self._ddof + 1}. Raise the archive, the scraper's budget or the users' prompts."
            )
        if self._by_coordinate(dims):
            return self._deviations(x)
        return x.mean(0), symmetric_root(torch.cov(x.T, correction=self._ddof))

    def _stacked_moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same of a stack x (S, n, D), in the same arithmetic: mean (S, D), root (S, D, D) or (S, D)."""
        _, n, dims = x.shape
        if self._by_coordinate(dims):
            return self._deviations(x)
        mean = x.mean(-2)
        centred = (x - mean.unsqueeze(-2)).numpy()
        return mean, symmetric_root(torch.from_numpy(centred.swapaxes(1, 2) @ centred) / (n - self._ddof))

    def _by_coordinate(self, dims: int) -> bool:
        """A covariance of one dimension is diagonal."""
        return self.covariance == "diagonal" or dims == 1

    def _deviations(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (..., n, D): mean (..., D) and standard deviations, (..., D) or as a full root (..., 1, 1)."""
        mean = x.mean(-2)
        squares = (x - mean.unsqueeze(-2)).square().sum(-2)
        std = _finite(squares / (x.shape[-2] - self._ddof)).sqrt()
        return mean, std.unsqueeze(-1) if self.covariance == "full" else std


def symmetric_root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite matrix, or of each of a stack: (D, D) or (S, D, D)."""
    values, vectors = torch.linalg.eigh(_finite(covariance))
    scaled = vectors * values.clamp(min=0).sqrt().unsqueeze(-2)
    return scaled @ vectors.T if covariance.ndim == 2 else _products(scaled, vectors.mT)


def mixed(weight: NDArray[np.float64], mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> Distribution:
    """Of a mixture: weight (K,) that sums to 1, mean (K, D), covariance (K, D, D), or (K, D) where it is diagonal."""
    if len(weight) == 1:
        return Distribution(mean[0], covariance[0])
    centre = weight @ mean
    offset = mean - centre
    within = np.tensordot(weight, covariance, 1)
    within = np.diag(within) if within.ndim == 1 else within
    return Distribution(centre, within + (offset * weight[:, None]).T @ offset)


def as_vectors(x: Tensor) -> Tensor:
    """Web or model scale (N, ...) to float64 vectors (N, D); images in [-1, 1]."""
    x = x.double() / 127.5 - 1.0 if x.dtype == torch.uint8 else x.double()
    return x.reshape(len(x), math.prod(x.shape[1:]))


def _log_density(x: Tensor, scale: Tensor) -> Tensor:
    """log N(x; 0, diag(scale^2)) of x (N, D); along an axis without extent only the centre has a density."""
    squares = torch.where((scale == 0) & (x == 0), 0.0, x / scale).square().sum(1)
    density = -0.5 * squares - scale.log().sum() - 0.5 * len(scale) * math.log(2 * math.pi)
    return torch.where(squares.isinf(), -math.inf, density)


def _finite(covariance: Tensor) -> Tensor:
    if not math.isfinite(covariance.sum()):
        raise TrainingError("the covariance of its training set is not finite: what it learns from has diverged.")
    return covariance


def _product(z: Tensor, root: Tensor) -> Tensor:
    """Noise z (n, D) times a root (D, D) or (D,)."""
    return z * root if root.ndim == 1 or len(root) == 1 else z @ root


def _products(a: Tensor, b: Tensor) -> Tensor:
    """a (S, m, k) times b (S, k, n), one after the other. Torch's own batched product has an arithmetic of its own."""
    return torch.from_numpy(np.matmul(a.numpy(), b.numpy()))


def _drawn(mean: Sequence[Tensor], root: Sequence[Tensor], noise: Sequence[Tensor]) -> Tensor:
    """Samples (S, n, D) of generators with one class: their mean (1, D), root (1, D, D) or (1, D), noise (n, D)."""
    roots, z = torch.stack(tuple(root)), torch.stack(tuple(noise)).double()
    scaled = z * roots if roots.ndim == 3 else z * roots[:, 0] if z.shape[2] == 1 else _products(z, roots[:, 0])
    return torch.stack(tuple(mean)) + scaled


def _stackable(x: Sequence[Tensor]) -> bool:
    return x[0].device.type == "cpu" and len(x) * x[0].numel() <= STACK_NUMBERS


@lru_cache(maxsize=4096)
def _fits_alike(family: Gaussian, n: int, dims: int) -> bool:
    """Whether fits of n vectors have the same bits in a stack as alone."""
    x = torch.from_numpy(stream(0, "gaussian", "probe").standard_normal((PROBES, n, dims)))
    mean, root = family._stacked_moments(x)
    alone = [family._moments(member.clone(), 0) for member in x]
    return all(torch.equal(mean[i], m) and torch.equal(root[i], r) for i, (m, r) in enumerate(alone))


@lru_cache(maxsize=4096)
def _draws_alike(n: int, dims: int, root_dims: int) -> bool:
    """Whether n samples have the same bits in a stack as alone."""
    rng = stream(0, "gaussian", "probe")
    noise = [torch.from_numpy(rng.standard_normal((n, dims))) for _ in range(PROBES)]
    mean = [torch.from_numpy(rng.standard_normal((1, dims))) for _ in range(PROBES)]
    root = [torch.from_numpy(rng.standard_normal((1, *[dims] * (root_dims - 1)))) for _ in range(PROBES)]
    stacked = _drawn(mean, root, noise)
    return all(torch.equal(x, m + _product(z, r[0])) for x, m, r, z in zip(stacked, mean, root, noise, strict=True))
