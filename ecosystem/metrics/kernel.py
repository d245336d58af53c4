"""Kernel distance: the squared maximum mean discrepancy of two samples, without bias.

With the cubic kernel k(x, y) = (x.y / F + 1)^3 of points with F coordinates, N generated x and M human h,

    MMD^2 = 1 / (N (N - 1)) sum_(i != j) k(x_i, x_j) + 1 / (M (M - 1)) sum_(i != j) k(h_i, h_j)
            - 2 / (N M) sum_ij k(x_i, h_j)

(M. Binkowski, D. J. Sutherland, M. Arbel, A. Gretton, Demystifying MMD GANs, 2018, arXiv 1801.01401). On Inception's
features it is their Kernel Inception Distance; on others it is the same estimator, and the features are to be named
with it. It compares means, variances and third moments. Of two samples of one law its expectation is nought whatever
their sizes, so it may be negative, and small samples do not make it larger, as they make the Fréchet distance. All
pairs are taken, where others take the mean over a hundred random subsets of 1,000.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ecosystem.metrics import distances
from ecosystem.metrics.base import Metric, Sample
from ecosystem.metrics.distances import Floats, Mask


class KID(Metric):
    name = "kid"
    unit = "squared MMD"
    better = "lower"
    least = 4

    def measure(self, generated: Sample, human: Sample) -> float:
        return self.without_groups(generated, human, np.ones((1, len(generated)), dtype=bool))[0]

    def without_groups(self, generated: Sample, human: Sample, kept: Mask) -> list[float]:
        cross, sizes = generated.against(human, _cross), kept.sum(axis=1)
        own = _within(generated.points, kept) / (sizes * (sizes - 1))
        found = own + human.against(human, _human) - 2.0 * (kept @ cross) / sizes
        return [float(value) for value in found]


def cubic(a: Floats, b: Floats) -> Iterator[tuple[int, Floats]]:
    """k(a_i, b_j) of (N, F) and (M, F), in blocks: the first row of each, and (rows, M)."""
    rows = max(1, distances.BLOCK_BYTES // (8 * len(b)))
    for start in range(0, len(a), rows):
        k = a[start : start + rows] @ b.T
        k /= a.shape[1]
        k += 1.0
        yield start, k * k * k


def _cross(generated: Sample, human: Sample) -> Floats:
    """The mean kernel of each generated item with the human ones, (N,)."""
    return np.concatenate([k.mean(axis=1) for _, k in cubic(generated.points, human.points)])


def _human(human: Sample, _: Sample) -> float:
    """The mean kernel of two different human items."""
    n = len(human)
    return float(_within(human.points, np.ones((1, n), dtype=bool))[0] / (n * (n - 1)))


def _within(points: Floats, kept: Mask) -> Floats:
    """The sum over pairs of different points in each subset (S, N): (S,)."""
    chosen = kept.T.astype(np.float64)
    total = np.zeros(len(kept))
    for start, k in cubic(points, points):
        rows = np.arange(len(k))
        k[rows, start + rows] = 0.0
        total += ((k @ chosen) * chosen[start : start + len(k)]).sum(axis=0)
    return total
