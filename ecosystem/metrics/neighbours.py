"""Precision and recall: how much of what models make looks human, how much of what humans make models can.

Around every point of a sample lies a ball that reaches its k-th nearest neighbour in the same sample, k = 3;
the union of the balls stands for the sample's support. Precision is the share of generated points in the
human support, recall the share of human points in the generated one (T. Kynkäänniemi, T. Karras, S. Laine, J.
Lehtinen, T. Aila, Improved Precision and Recall Metric for Assessing Generative Models, 2019, arXiv
1904.06991); here on raw values.

- ``tail-recall`` is recall of the human tail alone: of the tenth of the human points whose k-th nearest human
  neighbour is farthest. Rare data are what a model that feeds on itself loses first.

None of them means anything among ties: where three others are at the very same place, a ball has no size. So they
are not measured on discrete sources.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from ecosystem.metrics.base import Metric, Sample
from ecosystem.metrics.distances import Floats, Mask, squared_distances

K = 3
TAIL = 0.1  # share of the human points


class Precision(Metric):
    name = "precision"
    unit = "share of generated"
    better = "higher"
    least = 2 * (K + 1)

    def measure(self, generated: Sample, human: Sample) -> float:
        return float(covered(generated.points, human, everything(human)).mean())

    def without_groups(self, generated: Sample, human: Sample, kept: Mask) -> list[float]:
        inside = covered(generated.points, human, everything(human))[0]
        return [float(inside[keep].mean()) for keep in kept]


class Covering(Metric):
    """Share of some human points that the generated sample covers."""

    better = "higher"
    least = 2 * (K + 1)

    @abstractmethod
    def wanted(self, human: Sample) -> Floats:
        """The points that should be covered."""

    def measure(self, generated: Sample, human: Sample) -> float:
        return float(covered(self.wanted(human), generated, everything(generated)).mean())

    def without_groups(self, generated: Sample, human: Sample, kept: Mask) -> list[float]:
        return [float(share) for share in covered(self.wanted(human), generated, kept).mean(axis=1)]


class Recall(Covering):
    name = "recall"
    unit = "share of human"

    def wanted(self, human: Sample) -> Floats:
        return human.points


class TailRecall(Covering):
    name = "tail-recall"
    unit = "share of the human tail"

    def wanted(self, human: Sample) -> Floats:
        return human.points[tail(human)]


def tail(sample: Sample) -> Mask:
    """The most isolated tenth of the items, with those that are as isolated as the last of it: (N,)."""
    radii = sample.nearest.squared_radii(everything(sample), K)[0]
    last = -max(1, round(TAIL * len(sample)))
    mask: Mask = radii >= np.partition(radii, last)[last] * (1 - 1e-9)  # two that are each other's are rounded apart
    return mask


def everything(sample: Sample) -> Mask:
    """The one subset that is the whole: (1, M)."""
    return np.ones((1, len(sample)), dtype=bool)


def covered(points: Floats, sample: Sample, subsets: Mask, k: int = K) -> Mask:
    """For each subset (S, M) of ``sample``, which of ``points`` (N, D) its balls cover: (S, N)."""
    radii = np.where(subsets, sample.nearest.squared_radii(subsets, k), -np.inf)  # who is left out covers nothing
    blocks = [[(d <= radius).any(axis=1) for radius in radii] for _, d in squared_distances(points, sample.points)]
    return np.concatenate(blocks, axis=1)
