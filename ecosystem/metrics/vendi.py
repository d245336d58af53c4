"""Vendi score: the effective number of different items in a sample, from the sample alone.

    VS = exp(- sum_i l_i ln l_i),   l_i the eigenvalues of K / N,   K_ij = cos(x_i, x_j)

(D. Friedman, A. B. Dieng, The Vendi Score: A Diversity Evaluation Metric for Machine Learning, 2022, arXiv
2210.02410): N where all items are orthogonal, 1 where all are alike; of items all made equally often, the number of
kinds. X X^T and X^T X have the same eigenvalues but for noughts, so the smaller of the two is taken: with F coordinates
the score is at most F. On raw vectors of one or two dimensions it says next to nothing, and on images it is what the
features make of it: those of a ReLU network are not negative, so that no two are opposite and the score is small.

An item at the origin has no direction: all such items count as one kind, orthogonal to every other.
"""

from __future__ import annotations

import numpy as np

from ecosystem.metrics.base import Metric, Sample
from ecosystem.metrics.distances import Floats, Mask


class Vendi(Metric):
    name = "vendi"
    unit = "effective items"
    better = "higher"

    def measure(self, generated: Sample, human: Sample) -> float:
        return _effective(_directions(generated.points))

    def without_groups(self, generated: Sample, human: Sample, kept: Mask) -> list[float]:
        unit = _directions(generated.points)
        return [_effective(unit[keep]) for keep in kept]


def _directions(x: Floats) -> Floats:
    """Points (N, F) at length 1, with one more coordinate where some are at the origin."""
    largest = np.abs(x).max(axis=1, keepdims=True)  # first, so that no square is out of range
    nowhere = largest[:, 0] == 0
    x = x / np.where(largest == 0, 1.0, largest)
    if nowhere.any():
        x = np.column_stack([x, nowhere])
    unit: Floats = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit


def _effective(unit: Floats) -> float:
    n, dims = unit.shape
    share = np.linalg.eigvalsh(unit @ unit.T if n <= dims else unit.T @ unit) / n
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))
