"""Share of a mixture's known modes that the generated sample still has.

A mode is kept if at least 1 / (10 M) of the points, a tenth of its fair share among M modes, lie within three
standard deviations of its centre (the counting of lost modes goes back to Unrolled Generative Adversarial
Networks, Metz, Poole, Pfau, Sohl-Dickstein, 2017, arXiv 1611.02163).
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
        distance = np.linalg.norm(generated.x[:, None] - self.centres, axis=2)
        share = (distance <= 3.0 * self.std).mean(axis=0)
        return float((share >= 0.1 / len(self.centres)).mean())
