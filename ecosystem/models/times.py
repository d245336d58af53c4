"""At which times a network that answers at every level of noise is trained most.

P. Esser et al., Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, 2024, arXiv 2403.03206. What
the network is to answer at a time stays the same, and how much it counts there changes (D. Kingma, R. Gao,
Understanding Diffusion Objectives as the ELBO with Simple Data Augmentation, 2023, arXiv 2303.00848): of few updates
most go to the times that decide.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ecosystem.settings import PositiveFloat, Settings


@dataclass(frozen=True)
class LogitNormal(Settings):
    """Of a time t in (0, 1): log(t / (1 - t)) ~ N(mean, std^2)."""

    mean: float = 0.0
    std: PositiveFloat = 1.0

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """(n,), in [0, 1] where rounded."""
        return torch.sigmoid(self.mean + self.std * torch.randn(n, generator=generator, device=generator.device))
