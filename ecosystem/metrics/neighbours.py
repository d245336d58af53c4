"""Precision and recall: how much of what models make looks human, how much of what humans make models can.

Around every point of a sample lies a ball that reaches its k-th nearest neighbour in the same sample, k = 3;
the union of the balls stands for the sample's support. Precision is the share of generated points in the
human support, recall the share of human points in the generated one (T. Kynkäänniemi, T. Karras, S. Laine, J.
Lehtinen, T. Aila, Improved Precision and Recall Metric for Assessing Generative Models, 2019, arXiv
1904.06991); here on raw values.

Distances cost N M D multiplications and are most of the work; so they are computed once for all the groups
that the jackknife leaves out, in blocks of rows, so that the memory they take does not grow with the samples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ecosystem.metrics.base import Metric, Sample

K = 3
BLOCK_BYTES = 32 * 2**20  # a block; its copies at work take as much again, twice

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Precision(Metric):
    name = "precision"
    unit = "share of generated"
    better = "higher"
    least = 2 * (K + 1)

    def measure(self, generated: Sample, human: Sample) -> float:
        return float(covered(generated.x, human.x, everything(human)).mean())

    def without_groups(self, generated: Sample, human: Sample, kept: Mask) -> list[float]:
        inside = covered(generated.x, human.x, everything(human))[0]
        return [float(inside[keep].mean()) for keep in kept]


class Recall(Metric):
    name = "recall"
    unit = "share of human"
    better = "higher"
    least = 2 * (K + 1)

    def measure(self, generated: Sample, human: Sample) -> float:
        return float(covered(human.x, generated.x, everything(generated)).mean())

    def without_groups(self, generated: Sample, human: Sample, kept: Mask) -> list[float]:
        return [float(share) for share in covered(human.x, generated.x, kept).mean(axis=1)]


def everything(sample: Sample) -> Mask:
    """The one subset that is the whole: (1, M)."""
    return np.ones((1, len(sample)), dtype=bool)


def covered(points: Floats, sample: Floats, subsets: Mask, k: int = K) -> Mask:
    """For each subset (S, M) of ``sample`` (M, D), which of ``points`` (N, D) its balls cover: (S, N)."""
    radii = squared_radii(sample, subsets, k)
    blocks = [
        [(d[:, keep] <= radius[keep]).any(axis=1) for keep, radius in zip(subsets, radii, strict=True)]
        for _, d in squared_distances(points, sample)
    ]
    return np.concatenate(blocks, axis=1)


def squared_radii(sample: Floats, subsets: Mask, k: int) -> Floats:
    """Squared distance of each point to its k-th nearest other point in each subset: (S, M)."""
    radii = np.empty(subsets.shape)
    for start, d in squared_distances(sample, sample):
        rows = np.arange(len(d))
        d[rows, start + rows] = np.inf
        for keep, radius in zip(subsets, radii, strict=True):
            radius[start : start + len(d)] = np.partition(d[:, keep], k - 1, axis=1)[:, k - 1]
    return radii


def squared_distances(a: Floats, b: Floats) -> Iterator[tuple[int, Floats]]:
    """Blocks of |a_i - b_j|^2 = |a_i|^2 - 2 a_i.b_j + |b_j|^2: the first i, and (rows, M)."""
    centre = b.mean(axis=0)  # nearer the origin less is lost to rounding
    a, b = a - centre, b - centre
    a2, b2 = np.square(a).sum(axis=1), np.square(b).sum(axis=1)
    rows = max(1, BLOCK_BYTES // (8 * len(b)))
    for start in range(0, len(a), rows):
        block = slice(start, start + rows)
        d = a[block] @ b.T
        d *= -2.0
        d += a2[block, None]
        d += b2
        yield start, d
