"""A trained pipeline of diffusers from disk: generation 0 is the checkpoint, and each retraining goes on from it.

    p_0 = the checkpoint,   p_{t+1} = argmax_p E_data[log p] + lambda E_{p_t}[log p], started at p_t

Q. Bertrand, A. J. Bose, A. Duplessis, M. Jiralerspong, G. Gidel, On the Stability of Iterative Retraining of Generative
Models on their own Data, 2023, arXiv 2310.00429, and D. Ferbach et al., Self-Consuming Generative Models with Curated
Data Provably Optimize Human Preferences, 2024, arXiv 2407.09499, begin with networks that others have trained.

The objective is the pipeline's own, that of diffusion.py with its process and what its network predicts (the image
without a weight by noise level),

    x_s = sqrt(a_s) x + sqrt(1 - a_s) e,   loss = E || net(x_s, s, y) - target ||^2,   s = 1..T

and the sampler is DDIM along the times of diffusion.py, from s = T down to a = 1; diffusers' DDIMScheduler with
``timestep_spacing="trailing"`` and ``set_alpha_to_one=True`` takes the same way.

Scratch is here the checkpoint: ``retrain: {start: scratch}`` begins each generation with it again, for the card's
``budget_images``, and so does a provider that changes to such a card. Adam begins anew with it. The average of the
parameters, which is what samples, is the checkpoint at first, and an old one: it moves by 1 - ema^updates of the way,
where a young one would forget the checkpoint within a few updates.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import annotated_types as at
import torch
from torch import Tensor, nn

from ecosystem.models import pipelines
from ecosystem.models.diffusion import DdimSampler, ddim_times
from ecosystem.models.guided import Predict
from ecosystem.models.neural import NeuralFamily
from ecosystem.models.pipelines import Pipeline
from ecosystem.models.train import TrainSettings

LEAST_MOVED = 0.01  # a share of the way from one generation's parameters to the next one's


@dataclass(frozen=True)
class Pretrained(NeuralFamily):
    """``path``: a folder as pipelines.py reads it. ``train_first``: whether generation 0 is fine-tuned, too.

    The sampler's ``clip`` is the pipeline's ``clip_sample``, and no key here.
    """

    takes_guidance: ClassVar[bool] = True
    age: ClassVar[int] = 1_000_000  # more than any average's memory

    path: Annotated[str, at.MinLen(1), at.MaxLen(500)]
    family: Literal["diffusers"] = "diffusers"
    train_first: bool = False
    train: TrainSettings = TrainSettings(lr=2e-4, finetune_lr=2e-4)
    sampler: DdimSampler = DdimSampler()

    def __post_init__(self) -> None:
        if self.sampler.clip:
            raise ValueError("whether images are clipped says the pipeline's `clip_sample`; leave out `sampler.clip`")
        updates = self.train.finetune_images / self.train.batch
        if (moved := 1 - self.train.ema**updates) < LEAST_MOVED:
            raise ValueError(
                f"in the {updates:.0f} updates of a retraining the average of the parameters, which is what samples, "
                f"moves by {moved:.1%}: whatever is learnt, nothing changes; lower `ema`, or raise `finetune_images`"
            )

    @property
    def folder(self) -> Path:
        return Path(self.path).expanduser().absolute()

    @property
    def pipeline(self) -> Pipeline:
        return pipelines.kept(self.folder)

    @property
    def first_budget_images(self) -> int | None:
        return None if self.train_first else 0

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return self.pipeline.net()

    def _net(self, shape: tuple[int, ...], classes: int, generator: torch.Generator) -> nn.Module:
        """The checkpoint's own: nothing of it is drawn."""
        return self.build(shape, classes).to(generator.device)

    def loss(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        process = self.pipeline.process
        s = torch.randint(1, process.times + 1, (len(x),), generator=generator, device=x.device)
        e = torch.randn(x.shape, generator=generator, device=x.device)
        a = process.signal.to(x.device)[s].reshape(-1, 1, 1, 1)
        output: Tensor = net(a.sqrt() * x + (1 - a).sqrt() * e, s / process.times, y)
        return (output - process.target(x, e, a)).square().mean()

    def integrate(self, net: Predict, y: Tensor, noise: Tensor) -> Tensor:
        process = self.pipeline.process
        signals, times = process.signal.tolist(), [*ddim_times(process.times, self.sampler), 0]
        x = noise
        for s, before in zip(times, times[1:], strict=False):
            output = net(x, torch.full_like(y, s / process.times, dtype=torch.float32), y)
            image, e = process.predicted(x, output, signals[s])
            x = self.sampler.step(x, image, e, signals[s], signals[before], None)
        return x
