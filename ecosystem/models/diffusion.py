"""Diffusion: DDPM training, DDIM sampling.

    x_s = sqrt(a_s) x + sqrt(1 - a_s) e,   loss = E || net(x_s, s, y) - target ||^2,   s = 1..T

with the target e (Ho et al., Denoising Diffusion Probabilistic Models, 2020, arXiv 2006.11239) or the velocity
v = sqrt(a_s) e - sqrt(1 - a_s) x (Salimans and Ho, Progressive Distillation, 2022, arXiv 2202.00512), and the
linear schedule of the former or the cosine one of Nichol and Dhariwal (Improved DDPM, 2021, arXiv 2102.09672).

Sampling is DDIM without noise (Song et al., 2020, arXiv 2010.02502), x_prev = sqrt(a_prev) x^ + sqrt(1-a_prev) e^:
an ODE solver from pure noise, along ``steps`` times spaced linearly or quadratically. It starts at s = T, where
almost no signal is left, and ends at a = 1: starting below T or ending before 0 is what loses the tails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn

from ecosystem.models.guided import Predict
from ecosystem.models.neural import ScoreFamily
from ecosystem.settings import Positive, Settings

ScheduleKind = Literal["linear", "cosine"]


@dataclass(frozen=True)
class DdimSampler(Settings):
    """``steps`` sampler steps; ``clip`` keeps the predicted image inside [-1, 1] (for images)."""

    steps: Positive = 50
    spacing: Literal["linear", "quadratic"] = "linear"
    clip: bool = False


@dataclass(frozen=True)
class Diffusion(ScoreFamily):
    family: Literal["diffusion"] = "diffusion"
    times: Positive = 1000
    schedule: ScheduleKind = "cosine"
    prediction: Literal["noise", "velocity"] = "velocity"
    sampler: DdimSampler = DdimSampler()

    def __post_init__(self) -> None:
        # The cosine schedule ends at a_T = 2e-9: the first DDIM step would blow the error of the predicted noise
        # up by sqrt(a_prev / a_T), several hundred. (The linear one has about 1.2 there.)
        if self.prediction == "noise" and self.schedule == "cosine" and not self.sampler.clip:
            raise ValueError(
                "prediction: noise with schedule: cosine explodes in the first sampler step; use prediction: velocity, "
                "schedule: linear, or (images) sampler: {clip: true}"
            )

    def loss(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        s = torch.randint(1, self.times + 1, (len(x),), generator=generator, device=x.device)
        e = torch.randn(x.shape, generator=generator, device=x.device)
        a = signal(self.schedule, self.times).to(x.device)[s].reshape(-1, *[1] * (x.ndim - 1))
        target = e if self.prediction == "noise" else a.sqrt() * e - (1 - a).sqrt() * x
        output: Tensor = net(a.sqrt() * x + (1 - a).sqrt() * e, s / self.times, y)
        return (output - target).square().mean()

    def integrate(self, net: Predict, y: Tensor, noise: Tensor) -> Tensor:
        signals = signal(self.schedule, self.times).tolist()
        times = [*ddim_times(self.times, self.sampler), 0]
        x = noise
        for s, before in zip(times, times[1:], strict=False):
            output = net(x, torch.full_like(y, s / self.times, dtype=torch.float32), y)
            image, e = self._predict(x, output, signals[s])
            x = math.sqrt(signals[before]) * image + math.sqrt(1 - signals[before]) * e
        return x

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


def ddim_times(times: int, sampler: DdimSampler) -> list[int]:
    """The times visited, descending from T."""
    steps = min(sampler.steps, times)
    grid = torch.linspace(1, 0, steps + 1, dtype=torch.float64)[:-1]
    if sampler.spacing == "quadratic":
        grid = grid.square()
    return sorted({max(1, round(float(g) * times)) for g in grid}, reverse=True)
