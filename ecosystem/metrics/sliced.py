"""Sliced Wasserstein distance of order 2: the mean over directions of the distance between projections.

    SW_2(P, Q)^2 = E_u [ W_2(u.P, u.Q)^2 ],   u uniform on the unit sphere,

(N. Bonneel, J. Rabin, G. Peyré, H. Pfister, Sliced and Radon Wasserstein Barycenters of Measures, 2015). In
one dimension W_2^2 is the integral over q of the squared difference of the two quantile functions; both are
step functions, so the integral is a finite sum, exact for samples of different sizes too. The 128 directions
are fixed, so a change from one generation to the next is no artefact of theirs.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ecosystem.metrics.base import Metric, Sample
from ecosystem.rng import stream

Floats = NDArray[np.float64]

DIRECTIONS = 128


class SlicedWasserstein(Metric):
    name = "sliced-wasserstein"
    unit = "raw units"
    better = "lower"

    def measure(self, generated: Sample, human: Sample) -> float:
        return _distance(np.sort(_projections(generated)), human.against(human, _sorted))

    def without_groups(self, generated: Sample, human: Sample, kept: NDArray[np.bool_]) -> list[float]:
        """What is left of sorted numbers is sorted: they are sorted once."""
        values = _projections(generated)
        order = values.argsort()
        values = np.take_along_axis(values, order, axis=1)
        parts = (values[keep[order]].reshape(DIRECTIONS, -1) for keep in kept)
        return [_distance(part, human.against(human, _sorted)) for part in parts]


def _projections(sample: Sample) -> Floats:
    """On each direction, (128, N)."""
    return np.ascontiguousarray((sample.x @ directions(sample.x.shape[1])).T)


def _sorted(sample: Sample, _: Sample) -> Floats:
    return np.sort(_projections(sample))


def _distance(a: Floats, b: Floats) -> float:
    return float(np.sqrt(_between(a, b).mean()))


@lru_cache(maxsize=8)
def directions(dims: int) -> Floats:
    """(dims, 128), each column of length 1."""
    u = stream(0, "metrics", "directions").standard_normal((dims, DIRECTIONS))
    unit: Floats = u / np.linalg.norm(u, axis=0)
    return unit


def wasserstein_1d(a: Floats, b: Floats) -> Floats:
    """W_2^2 between the columns of (N, K) and of (M, K): (K,)."""
    return _between(np.sort(a.T), np.sort(b.T))


def _between(a: Floats, b: Floats) -> Floats:
    """The same between the rows of (K, N) and of (K, M), which are sorted."""
    first, second, lengths = _steps(a.shape[1], b.shape[1])
    found: Floats = np.square(a.take(first, axis=1) - b.take(second, axis=1)) @ lengths
    return found


@lru_cache(maxsize=8)
def _steps(n: int, m: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Where the quantile functions of N and of M items are constant: their items there, and how long."""
    # Where either steps, in units of 1 / (N M): whole numbers, hence exact.
    cuts = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)
    return cuts[:-1] // m, cuts[:-1] // n, np.diff(cuts) / (n * m)
