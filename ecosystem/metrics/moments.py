"""Moments: the spread of the generated items, and the mean and the spread of their reward.

- ``variance``: tr cov(x), the quantity that shrinks in the closed forms of model collapse (I. Shumailov et
  al., The Curse of Recursion: Training on Generated Data Makes Models Forget, 2023, arXiv 2305.17493).
- ``reward`` and ``reward-variance``: under curation by users the mean reward rises and its variance shrinks
  (D. Ferbach, Q. Bertrand, A. J. Bose, G. Gidel, Self-Consuming Generative Models with Curated Data Provably
  Optimize Human Preferences, 2024, arXiv 2407.09499).

Variances are the unbiased ones, over N - 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecosystem.metrics.base import Metric, Sample


class Variance(Metric):
    name = "variance"
    unit = "squared raw units"
    better = "neither"
    least = 4

    def measure(self, generated: Sample, human: Sample) -> float:
        return float(generated.x.var(axis=0, ddof=1).sum())


class MeanReward(Metric):
    name = "reward"
    unit = "reward"
    better = "higher"
    needs = ("reward",)

    def measure(self, generated: Sample, human: Sample) -> float:
        return float(_reward(generated).mean())


class RewardVariance(Metric):
    name = "reward-variance"
    unit = "squared reward"
    better = "neither"
    needs = ("reward",)
    least = 4

    def measure(self, generated: Sample, human: Sample) -> float:
        return float(_reward(generated).var(ddof=1))


def _reward(sample: Sample) -> NDArray[np.float64]:
    assert sample.reward is not None, "applies() lets no sample through without rewards"
    return sample.reward
