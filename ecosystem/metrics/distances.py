"""Euclidean distances between points, and the nearest neighbours of every point.

    |a_i - b_j|^2 = |a_i|^2 - 2 a_i.b_j + |b_j|^2

Distances cost N M D multiplications, so they come in blocks of rows: the memory they take does not grow with the
samples. The neighbours of a point are kept in order, more of them than any metric asks for. The k-th nearest in a
*part* of the sample, as the jackknife wants it, is then the k-th of the list that lies in the part, and is computed
anew only where so many of the list are left out that fewer than k remain: where one group of eight is, never in
practice.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 32 * 2**20  # a block; its copies at work take as much again, twice
LISTED = 16  # neighbours of each point

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def squared_distances(a: Floats, b: Floats) -> Iterator[tuple[int, Floats]]:
    """Between (N, D) and (M, D), in blocks: the first row of each, and (rows, M)."""
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


class Nearest:
    """The ``LISTED`` nearest others of each of N points, fewer where there are not so many."""

    def __init__(self, points: Floats) -> None:
        count = min(LISTED, len(points) - 1)
        self._points = points
        self._index = np.empty((len(points), count), dtype=np.int64)
        self._squared = np.empty((len(points), count))  # ascending
        for start, d in squared_distances(points, points):
            rows = slice(start, start + len(d))
            d[np.arange(len(d)), np.arange(start, start + len(d))] = np.inf
            found = np.argpartition(d, count - 1, axis=1)[:, :count]
            order = np.argsort(np.take_along_axis(d, found, axis=1), axis=1)
            self._index[rows] = np.take_along_axis(found, order, axis=1)
            self._squared[rows] = np.take_along_axis(d, self._index[rows], axis=1)

    def squared_radii(self, subsets: Mask, k: int) -> Floats:
        """Squared distance of each point to its k-th nearest other point in each subset, (S, N): (S, N)."""
        return np.stack([self._radii(keep, k) for keep in subsets])

    def _radii(self, keep: Mask, k: int) -> Floats:
        place = (np.cumsum(keep[self._index], axis=1) < k).sum(axis=1)  # of the k-th that is kept
        last = self._index.shape[1] - 1
        radii: Floats = np.take_along_axis(self._squared, np.minimum(place, last)[:, None], axis=1)[:, 0]
        for i in np.flatnonzero(place > last):
            others = keep & (np.arange(len(keep)) != i)
            squared = np.square(self._points[others] - self._points[i]).sum(axis=1)
            radii[i] = np.partition(squared, k - 1)[k - 1]
        return radii
