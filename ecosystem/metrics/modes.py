"""Metrics on a mixture whose modes are known. A point is in a mode if it lies within three standard deviations of it.

- ``modes``: the share of modes that the generated sample still has. A mode is kept if at least 1 / (10 M) of the
  points, a tenth of its fair share among M modes, are in it (the counting of lost modes goes back to Unrolled
  Generative Adversarial Networks, Metz, Poole, Pfau, Sohl-Dickstein, 2017, arXiv 1611.02163).
- ``between-modes``: the share of generated points that are in no mode. Of human points in two dimensions, exp(-9/2)
  or 1.1 % are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecosystem.metrics.base import Metric, Sample


@dataclass(frozen=True, eq=False)
class KeptModes(Metric):
    centres: NDArray[np.float64]  # (M, D)
    std: float

    name = "modes"
    unit = "share of modes"
    better = "higher"

    def measure(self, generated: Sample, human: Sample) -> float:
        share = inside(generated.x, self.centres, self.std).mean(axis=0)
        return float((share >= 0.1 / len(self.centres)).mean())


@dataclass(frozen=True, eq=False)
class BetweenModes(Metric):
    centres: NDArray[np.float64]  # (M, D)
    std: float

    name = "between-modes"
    unit = "share of generated"
    better = "lower"

    def measure(self, generated: Sample, human: Sample) -> float:
        return float(1.0 - inside(generated.x, self.centres, self.std).any(axis=1).mean())


def inside(x: NDArray[np.float64], centres: NDArray[np.float64], std: float) -> NDArray[np.bool_]:
    """Whether each point (N, D) is in each mode (M, D): (N, M)."""
    found: NDArray[np.bool_] = np.linalg.norm(x[:, None] - centres, axis=2) <= 3.0 * std
    return found
