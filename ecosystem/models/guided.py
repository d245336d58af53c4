"""Negative guidance: a model is steered away from an auxiliary model, as a rule from itself trained on its own samples.

    s = (1 + omega) s_main - omega s_auxiliary = s_main + omega (s_main - s_auxiliary),   omega >= 0

S. Alemohammad et al., Self-Improving Diffusion Models with Synthetic Data (SIMS), 2024, arXiv 2408.16333: the auxiliary
is the main model fine-tuned on its own samples, and what that does to the model once more is taken back. T. Karras et
al., Guiding a Diffusion Model with a Bad Version of Itself (autoguidance), 2024, arXiv 2406.02507, extrapolates from a
smaller or less trained one, D_w = w D_1 + (1 - w) D_0: the same with omega = w - 1.

What is extrapolated differs by family. A Gaussian has its density: p_main^(1 + omega) / p_auxiliary^omega is Gaussian
with precision P = (1 + omega) P_main - omega P_auxiliary, where that is positive definite. A diffusion or a flow has
its network's prediction, at every noise level. Noise, velocity and score are affine in one another at a given x and
time, so the extrapolation is the same in each; but it does not end at the density above. From one Gaussian and another
on the line it ends at the standard deviation sigma_main (sigma_main / sigma_auxiliary)^omega, which always exists; both
are sigma_main^2 (1 + omega e) to first order in e, the share of variance that the auxiliary has lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecosystem.distribution import Distribution
from ecosystem.errors import TrainingError
from ecosystem.models.base import Family, Generator, Saved, TrainingSet, to_web
from ecosystem.models.jobs import Draw
from ecosystem.rng import Streams
from ecosystem.settings import NonNegative, Positive, Settings

# What a sampler asks at x (N, ...), time (N,) and prompts (N,): a network, or two of them extrapolated. Like x.
Predict = Callable[[Tensor, Tensor, Tensor], Tensor]

PREFIXES = MAIN, AUXILIARY = "main/", "auxiliary/"
ROUNDING = 1e-9  # relative: two variances that are equal up to here were rounded apart, by one processor or another


@dataclass(frozen=True)
class NegativeGuidance(Settings):
    """``weight`` = omega; 0 serves the main model as it is.

    ``images``: how many of its own samples the auxiliary model is trained on, drawn in private, classes equally often.
    ``budget_images``: for how long; null is the card's budget for fine-tuning. A closed form knows no budget.
    """

    weight: NonNegative
    images: Positive
    budget_images: Positive | None = None

    def draw(self, main: Generator, classes: int, streams: Streams, device: torch.device) -> Draw:
        """The samples that the auxiliary model is to be trained on."""
        noise = torch.from_numpy(main.noise(self.images, streams.numpy("negative-guidance")))
        return Draw(main, torch.arange(self.images, device=device) % classes, noise.to(device))

    def training_set(self, drawn: Draw, x: Tensor, classes: int) -> TrainingSet:
        """What was drawn, as it would lie on the web: rounded to 8 bits where it is images."""
        return TrainingSet(torch.from_numpy(to_web(x)).to(x.device), drawn.y, classes)

    def serve(self, main: Generator, auxiliary: Generator) -> Guided:
        """Raises TrainingError where the two allow no such weight."""
        return Guided(main, auxiliary, self.weight)


@dataclass(frozen=True, eq=False)
class Guided(Generator):
    """``main`` guided away from ``auxiliary``; its prompts and noise are those of ``main``.

    A later training goes on from ``trained``, which is ``main``.
    """

    main: Generator
    auxiliary: Generator
    weight: float
    served: Generator = field(init=False)

    def __post_init__(self) -> None:
        # At once, so that a pair that allows no such weight is refused where it was trained.
        served = self.main.guided(self.auxiliary, self.weight) if self.weight else self.main
        object.__setattr__(self, "served", served)

    @property
    def trained(self) -> Generator:
        return self.main.trained

    def noise(self, n: int, rng: np.random.Generator) -> NDArray[np.float64] | NDArray[np.float32]:
        return self.main.noise(n, rng)

    def sample(self, y: Tensor, noise: Tensor) -> Tensor:
        return self.served.sample(y, noise)

    @classmethod
    def sample_stack(
        cls, generators: Sequence[Generator], y: Sequence[Tensor], noise: Sequence[Tensor]
    ) -> list[Tensor] | None:
        served = [g.served for g in generators if isinstance(g, Guided)]
        alike = all(type(generator) is type(served[0]) for generator in served)
        return type(served[0]).sample_stack(served, y, noise) if alike else None

    def state(self) -> dict[str, Tensor]:
        return self._both(self.main.state(), self.auxiliary.state())

    def saved(self) -> Saved:
        return self._both(self.main.saved(), self.auxiliary.saved())

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        return self.served.log_prob(x, y)

    def distribution(self) -> Distribution | None:
        return self.served.distribution()

    def _both(self, main: Saved, auxiliary: Saved) -> dict[str, Tensor]:
        named = {MAIN + name: value for name, value in main.items()}
        named |= {AUXILIARY + name: value for name, value in auxiliary.items()}
        return {**named, "weight": torch.tensor(self.weight, dtype=torch.float64)}


def restored(family: Family, saved: Saved, shape: tuple[int, ...], classes: int) -> Generator:
    """The model that was ``saved``, guided or not: what ``Family.restored`` is of a model that is not.

    Names that begin with ``main/`` tell a guided one.
    """
    main, auxiliary = ({name.removeprefix(p): v for name, v in saved.items() if name.startswith(p)} for p in PREFIXES)
    if not main:
        return family.restored(saved, shape, classes)
    pair = restored(family, main, shape, classes), restored(family, auxiliary, shape, classes)
    return Guided(*pair, float(saved["weight"]))


def predictions(main: Predict, auxiliary: Predict, weight: float) -> Predict:
    """The extrapolated prediction; in 32 bits, as a small difference is made large."""

    def predict(x: Tensor, time: Tensor, y: Tensor) -> Tensor:
        towards = main(x, time, y).float()
        return towards + weight * (towards - auxiliary(x, time, y).float())

    return predict


def variances(mean: Tensor, variance: Tensor, other: Tensor, its: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Mean (D,) and variance (D,) of N(mean, variance)^(1 + weight) / N(other, its)^weight, by coordinate.

    A coordinate in which the first has no extent is left as it is.
    """
    extent = variance > 0
    ratio = torch.where(extent, its / variance, 1.0)
    _require_positive(ratio, weight)
    left = (1 + weight) * ratio - weight
    moved = torch.where(extent, weight * (other - mean) / left, 0.0)
    return mean - moved, variance * ratio / left


def covariances(mean: Tensor, root: Tensor, other: Tensor, its: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """The same of N(mean, root root) and N(other, its), root (D, D) symmetric: mean (D,) and covariance (D, D).

    Seen where the first is the identity, and along the axes of the second there, it is by coordinate. Directions in
    which the first has no extent but that of rounding are left as they are.
    """
    scale, axes = torch.linalg.eigh(root)
    extent = scale.square() > 10 * len(scale) * torch.finfo(scale.dtype).eps * scale.square().max()
    inverse, back, rest = axes[:, extent] / scale[extent], axes[:, extent] * scale[extent], axes * scale * ~extent
    ratio, turn = torch.linalg.eigh(inverse.T @ its @ inverse)
    _require_positive(ratio, weight)
    left, inverse, back = (1 + weight) * ratio - weight, inverse @ turn, back @ turn
    moved = back @ ((weight / left) * (inverse.T @ (other - mean)))
    return mean - moved, (back * (ratio / left)) @ back.T + rest @ rest.T


def _require_positive(ratio: Tensor, weight: float) -> None:
    """``ratio``: the auxiliary's variance in units of the main model's, along each axis."""
    least, needed = float(ratio.min()) if len(ratio) else math.inf, weight / (1 + weight)
    if not least > needed * (1 + ROUNDING):
        raise TrainingError(
            f"negative guidance of weight {weight:g} leaves no density: somewhere its auxiliary model has "
            f"{max(least, 0.0):.3g} of the main model's variance, and needs more than {needed:.3g}. Raise the "
            "`images` of `negative_guidance`, or lower its `weight`."
        )
