"""Diffusion: DDPM training, DDIM or ancestral sampling.

    x_s = sqrt(a_s) x + sqrt(1 - a_s) e,   loss = E || net(x_s, s, y) - target ||^2,   s = 1..T

with the target e (Ho et al., Denoising Diffusion Probabilistic Models, 2020, arXiv 2006.11239) or the velocity
v = sqrt(a_s) e - sqrt(1 - a_s) x (Salimans and Ho, Progressive Distillation, 2022, arXiv 2202.00512), and the
linear schedule of the former or the cosine one of Nichol and Dhariwal (Improved DDPM, 2021, arXiv 2102.09672).

``ddim`` sampling is without noise (Song et al., 2020, arXiv 2010.02502), x_prev = sqrt(a_prev) x^ + sqrt(1-a_prev) e^:
an ODE solver from pure noise, along ``steps`` times spaced linearly or quadratically. It starts at s = T, where
almost no signal is left, and ends at a = 1: starting below T or ending before 0 is what loses the tails. (The linear
spacing is the ``trailing`` one of diffusers. Song et al.'s code spaces quadratically from 0.8 T down.) Where x^ is
clipped, e^ is what is left of x.

``ancestral`` sampling is that of Ho et al., along the same times: x_prev is drawn from the posterior given x and x^,
with q = a / a_prev, without noise in its last step,

    x_prev ~ N( sqrt(a_prev) (1 - q) / (1 - a) x^ + sqrt(q) (1 - a_prev) / (1 - a) x,  v ),
    v = (1 - a_prev) / (1 - a) (1 - q)  (``small``)   or   v = 1 - q  (``large``).

All its noise is drawn beforehand, (steps, ...) of a sample, so that sampling stays a pure function: many steps of large
images are a lot of memory. Sampling bias scales all of it, and so the covariance where the prediction is affine in x.
Under negative guidance it does not end where an ODE does, but both widen by the same to first order in the share of
variance that the auxiliary has lost.

``logit_normal`` draws s / T in training from that distribution, rounded up, instead of uniformly (times.py).

Nichol and Dhariwal's L_hybrid learns v from a variational bound, whose times it draws by their importance. Neither is
here: DDIM does not look at v, the networks predict one tensor like x, and importance needs a memory of past losses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import Annotated, Literal

import torch
from torch import Tensor

from ecosystem.models.base import everywhere
from ecosystem.models.guided import Predict
from ecosystem.models.neural import Regression, ScoreFamily
from ecosystem.models.times import LogitNormal
from ecosystem.settings import KIND, Positive, Settings, unless_told

ScheduleKind = Literal["linear", "cosine"]
Spacing = Literal["linear", "quadratic"]


@dataclass(frozen=True)
class DdimSampler(Settings):
    """``steps`` sampler steps; ``clip`` keeps the predicted image inside [-1, 1] (for images)."""

    kind: Literal["ddim"] = "ddim"
    steps: Positive = 50
    spacing: Spacing = "linear"
    clip: bool = False

    def step(self, x: Tensor, image: Tensor, e: Tensor, a: float, before: float, z: Tensor | None) -> Tensor:
        """From signal level a to the one before; image and noise e as predicted at x, z fresh noise."""
        return math.sqrt(before) * image + math.sqrt(1 - before) * e


@dataclass(frozen=True)
class AncestralSampler(Settings):
    """The same with fresh noise in every step, of the ``small`` or the ``large`` ``variance``."""

    kind: Literal["ancestral"] = "ancestral"
    steps: Positive = 50
    spacing: Spacing = "linear"
    clip: bool = False
    variance: Literal["small", "large"] = "small"

    def step(self, x: Tensor, image: Tensor, e: Tensor, a: float, before: float, z: Tensor | None) -> Tensor:
        q, left = a / before, (1 - before) / (1 - a)
        mean = math.sqrt(before) * (1 - q) / (1 - a) * image + math.sqrt(q) * left * x
        if z is None:
            return mean
        return mean + math.sqrt((1 - q) * (left if self.variance == "small" else 1.0)) * z


Sampler = Annotated[DdimSampler | AncestralSampler, KIND, unless_told("ddim")]


@dataclass(frozen=True)
class Diffusion(ScoreFamily):
    family: Literal["diffusion"] = "diffusion"
    times: Positive = 1000
    schedule: ScheduleKind = "cosine"
    prediction: Literal["noise", "velocity"] = "velocity"
    logit_normal: LogitNormal | None = None  # of s / times in training; null: uniform
    sampler: Sampler = DdimSampler()

    def __post_init__(self) -> None:
        # The cosine schedule ends at a_T = 2e-9: the first DDIM step would blow the error of the predicted noise
        # up by sqrt(a_prev / a_T), several hundred. (The linear one has about 1.2 there.)
        if self.prediction == "noise" and self.schedule == "cosine" and not self.sampler.clip:
            raise ValueError(
                "prediction: noise with schedule: cosine explodes in the first sampler step; use prediction: velocity, "
                "schedule: linear, or (images) sampler: {clip: true}"
            )

    def draws(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        if self.logit_normal is not None:
            s = (self.times * self.logit_normal.draw(len(x), generator)).ceil().long().clamp(1, self.times)
        else:
            s = torch.randint(1, self.times + 1, (len(x),), generator=generator, device=x.device)
        return s, torch.randn(x.shape, generator=generator, device=x.device)

    def regression(self, x: Tensor, *draws: Tensor) -> Regression:
        s, e = draws
        a = signal(self.schedule, self.times).to(x.device)[s].reshape(-1, *[1] * (x.ndim - 1))
        target = e if self.prediction == "noise" else a.sqrt() * e - (1 - a).sqrt() * x
        return Regression(a.sqrt() * x + (1 - a).sqrt() * e, s / self.times, target)

    def integrate(self, net: Predict, y: Tensor, noise: Tensor) -> Tensor:
        signals = signal(self.schedule, self.times).tolist()
        times = [*ddim_times(self.times, self.sampler), 0]
        x, *fresh = noise.unbind(1) if self.sampler.kind == "ancestral" else [noise]
        for s, before, z in zip_longest(times[:-1], times[1:], fresh):
            output = net(x, everywhere(s / self.times, y), y)
            image, e = self._predict(x, output, signals[s])
            x = self.sampler.step(x, image, e, signals[s], signals[before], z)
        return x

    def noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (len(ddim_times(self.times, self.sampler)), *shape) if self.sampler.kind == "ancestral" else shape

    def _predict(self, x: Tensor, output: Tensor, a: float) -> tuple[Tensor, Tensor]:
        """The predicted image and noise at signal level a."""
        if self.prediction == "noise":
            image = (x - math.sqrt(1 - a) * output) / math.sqrt(a)
        else:
            image = math.sqrt(a) * x - math.sqrt(1 - a) * output
        if self.sampler.clip:
            image = image.clamp(-1, 1)
        return image, (x - math.sqrt(a) * image) / math.sqrt(1 - a)


@lru_cache(maxsize=16)
def signal(schedule: ScheduleKind, times: int) -> Tensor:
    """a_s for s = 0..T, (T + 1,) float32; a_0 = 1 and a falls to almost 0."""
    s = torch.arange(times + 1, dtype=torch.float64) / times
    if schedule == "cosine":
        level = torch.cos((s + 0.008) / 1.008 * math.pi / 2).square()
        beta = (1 - level[1:] / level[:-1]).clamp(max=0.999)
    else:
        # Ho et al. have 1e-4..0.02 at T = 1000; scaled, the product is the same for any T.
        beta = torch.linspace(1e-4, 0.02, times, dtype=torch.float64) * 1000 / times
    return torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta.clamp(max=0.999)).cumprod(0)]).float()


def ddim_times(times: int, sampler: DdimSampler | AncestralSampler) -> list[int]:
    """The times visited, descending from T."""
    steps = min(sampler.steps, times)
    grid = torch.linspace(1, 0, steps + 1, dtype=torch.float64)[:-1]
    if sampler.spacing == "quadratic":
        grid = grid.square()
    return sorted({max(1, round(float(g) * times)) for g in grid}, reverse=True)
