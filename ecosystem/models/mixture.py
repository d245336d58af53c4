"""A mixture of Gaussians a class, fitted by expectation maximisation: scikit-learn's GaussianMixture.

    p(x) = sum_k w_k N(x; mu_k, Sigma_k),   x = mu_k + L_k z with k drawn by w,   L_k L_k^T = Sigma_k

A. P. Dempster, N. M. Laird, D. B. Rubin, Maximum Likelihood from Incomplete Data via the EM Algorithm, 1977; the
retrained mixture is an experiment of Shumailov et al., The Curse of Recursion: Training on Generated Data Makes Models
Forget, 2023, arXiv 2305.17493. From scratch EM starts at the best of ``restarts`` k-means partitions; fine-tuned, at
the generation before. ``reg_covar`` is added to every variance, so that no component falls onto a point: a loop can
collapse no further. EM ends when the mean log-likelihood gains less than 0.001, or after 100 iterations.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecosystem.distribution import Distribution
from ecosystem.errors import TrainingError
from ecosystem.models.base import Family, Generator, Saved, Training, TrainingSet, Update
from ecosystem.models.gaussian import as_vectors, mixed
from ecosystem.models.kde import uniform_and_normal
from ecosystem.rng import Streams
from ecosystem.settings import Positive, PositiveFloat, Settings

Covariance = Literal["full", "diagonal", "spherical"]
Floats = NDArray[np.float64]
SKLEARN: dict[Covariance, str] = {"full": "full", "diagonal": "diag", "spherical": "spherical"}


@dataclass(frozen=True)
class MixtureGenerator(Generator):
    weight: Tensor  # (classes, K)
    mean: Tensor  # (classes, K, D)
    root: Tensor  # L: (classes, K, D, D), lower triangular; standard deviations (classes, K, D) where it is diagonal
    shape: tuple[int, ...]

    def noise(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return rng.standard_normal((n, 1 + self.mean.shape[2]))

    def sample(self, y: Tensor, noise: Tensor) -> Tensor:
        u, z = uniform_and_normal(noise)
        k = (self.weight.cumsum(1)[y] <= u[:, None]).sum(1).clamp(max=self.weight.shape[1] - 1)
        x = torch.empty_like(z)
        for label, component in {*zip(y.tolist(), k.tolist(), strict=True)}:
            chosen, root = (y == label) & (k == component), self.root[label, component]
            scaled = z[chosen] * root if root.ndim == 1 else z[chosen] @ root.T
            x[chosen] = self.mean[label, component] + scaled
        return x.reshape(-1, *self.shape)

    def state(self) -> dict[str, Tensor]:
        return {"weight": self.weight, "mean": self.mean, "root": self.root}

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        x = as_vectors(x)
        values = x.new_empty(len(x))
        for label in range(len(self.weight)):
            chosen = y == label
            parts = zip(self.weight[label].log(), self.mean[label], self.root[label], strict=True)
            joint = [log + _log_density(x[chosen] - mean, root) for log, mean, root in parts]
            values[chosen] = torch.stack(joint, 1).logsumexp(1)
        return values

    def distribution(self) -> Distribution | None:
        if len(self.shape) > 1:
            return None  # the pages of images are rounded and clipped
        weight, mean, root = (part.flatten(0, 1).cpu().numpy() for part in (self.weight, self.mean, self.root))
        return mixed(weight / len(self.weight), mean, root**2 if root.ndim == 2 else root @ root.swapaxes(1, 2))


@dataclass(frozen=True)
class Mixture(Family, Settings):
    family: Literal["mixture"] = "mixture"
    components: Positive = 8
    covariance: Covariance = "full"
    restarts: Positive = 1
    reg_covar: PositiveFloat = 1e-6  # in squared units of x

    def fit(
        self,
        data: TrainingSet,
        previous: Generator | None,
        streams: Streams,
        budget_images: int | None = None,
        saved: Saved | None = None,
    ) -> Training:
        x, y, rng = as_vectors(data.x).cpu().numpy(), data.y.cpu().numpy(), streams.numpy("mixture")
        fitted = []
        for label in range(data.classes):
            start = self._start(previous, label, data)
            fitted.append(self._fitted(x[y == label], label, int(rng.integers(2**31)), start))
        yield Update(1, 1, math.nan)
        weight, mean, root = (torch.from_numpy(np.stack(a)).to(data.x.device) for a in zip(*fitted, strict=True))
        return MixtureGenerator(weight, mean, root, data.shape)

    def restored(self, saved: Saved, shape: tuple[int, ...], classes: int) -> MixtureGenerator:
        return MixtureGenerator(saved["weight"], saved["mean"], saved["root"], shape)

    def _start(self, previous: Generator | None, label: int, data: TrainingSet) -> dict[str, Any]:
        """Where EM starts, in scikit-learn's words: at the generation before, or at k-means."""
        shape, diagonal = (data.classes, self.components, math.prod(data.shape)), self.covariance != "full"
        if not isinstance(previous, MixtureGenerator) or previous.mean.shape != shape:
            return {"n_init": self.restarts}
        weight, mean, root = (part[label] for part in (previous.weight, previous.mean, previous.root))
        precision = 1 / root.square() if diagonal else torch.cholesky_inverse(root)
        precision = precision[:, 0] if self.covariance == "spherical" else precision
        named = {"weights_init": weight, "means_init": mean, "precisions_init": precision}
        return {name: part.cpu().numpy() for name, part in named.items()}

    def _fitted(self, x: Floats, label: int, random_state: int, start: dict[str, Any]) -> tuple[Floats, Floats, Floats]:
        """Weights (K,), means (K, D) and roots of x (n, D)."""
        from sklearn.mixture import GaussianMixture

        if len(x) < self.components:
            raise TrainingError(
                f"the training set holds {len(x)} page(s) of class {label}; a mixture of {self.components} needs at "
                "least as many. Raise the archive, the scraper's budget or the users' prompts, or lower `components`."
            )
        kind = SKLEARN[self.covariance]
        em = GaussianMixture(
            self.components, covariance_type=kind, reg_covar=self.reg_covar, random_state=random_state, **start
        )
        _maximise(em, x)
        covariance = em.covariances_
        if self.covariance == "spherical":
            covariance = np.repeat(covariance[:, None], x.shape[1], axis=1)
        return em.weights_, em.means_, np.linalg.cholesky(covariance) if kind == "full" else np.sqrt(covariance)


def _maximise(em: Any, x: Floats) -> None:
    """Expectation maximisation on x (n, D), the same on every machine with one thread or many, and silent."""
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    # One thread: k-means adds up in the order in which its threads end. The warnings are of fewer distinct points
    # than components, and of an EM that was still gaining: either leaves a mixture that can be used.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            em.fit(x)
        except ValueError as error:
            raise TrainingError(f"the mixture cannot be fitted: {error} (`reg_covar` can be raised)") from error


def _log_density(x: Tensor, root: Tensor) -> Tensor:
    """log N(x; 0, L L^T) of x (N, D), L (D, D) or its diagonal (D,)."""
    if root.ndim == 1:
        whitened, scale = x / root, root
    else:
        whitened, scale = torch.linalg.solve_triangular(root, x.T, upper=False).T, root.diagonal()
    return -0.5 * whitened.square().sum(1) - scale.log().sum() - 0.5 * len(scale) * math.log(2 * math.pi)
