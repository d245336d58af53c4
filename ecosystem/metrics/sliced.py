"""Sliced Wasserstein distance of order 2: the mean over directions of the distance between projections.

    SW_2(P, Q)^2 = E_u [ W_2(u.P, u.Q)^2 ],   u uniform on the unit sphere,

(N. Bonneel, J. Rabin, G. Peyré, H. Pfister, Sliced and Radon Wasserstein Barycenters of Measures, 2015). In
one dimension W_2^2 is the integral over q of the squared difference of the two quantile functions; both are
step functions, so the integral is a finite sum, exact for samples of different sizes too. The 128 directions
are fixed, so a change from one generation to the next is no artefact of theirs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecosystem.metrics.base import Metric, Sample
from ecosystem.rng import stream

DIRECTIONS = 128


class SlicedWasserstein(Metric):
    name = "sliced-wasserstein"
    unit = "raw units"
    better = "lower"

    def measure(self, generated: Sample, human: Sample) -> float:
        u = directions(human.x.shape[1])
        return float(np.sqrt(wasserstein_1d(generated.x @ u, human.x @ u).mean()))


def directions(dims: int) -> NDArray[np.float64]:
    """(dims, 128), each column of length 1."""
    u = stream(0, "metrics", "directions").standard_normal((dims, DIRECTIONS))
    unit: NDArray[np.float64] = u / np.linalg.norm(u, axis=0)
    return unit


def wasserstein_1d(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """W_2^2 between the columns of (N, K) and of (M, K): (K,)."""
    n, m = len(a), len(b)
    # Where either quantile function steps, in units of 1 / (N M): whole numbers, hence exact.
    cuts = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)
    difference = np.sort(a, axis=0)[cuts[:-1] // m] - np.sort(b, axis=0)[cuts[:-1] // n]
    return np.diff(cuts) @ difference**2 / (n * m)
