"""Density and coverage: precision and recall that one outlier does not upset.

Around every *human* point lies a ball B_i that reaches its k-th nearest human neighbour; k = 5, as in the source. Of N
generated points x and M human ones,

    density  = 1 / (k N) sum_j #{i: x_j in B_i}        how deep in human company the generated points are
    coverage = 1 / M     #{i: some x_j is in B_i}      how many human points have a generated one near

(M. F. Naeem, S. J. Oh, Y. Uh, Y. Choi, J. Yoo, Reliable Fidelity and Diversity Metrics for Generative Models, 2020,
arXiv 2002.09797). The expectation of density for the human law itself is 1, and more than 1 says that generated points
crowd where humans are densest. That of coverage has a closed form, whatever the law (their Lemma 2):

    1 - (M - 1)...(M - k) / ((M + N - 1)...(M + N - k)),      near 1 - 2^-k = 0.97 for N = M.

Recall counts a human point as covered by *generated* balls: one stray generated point, with a ball as large as all,
covers everything. Here the balls are human, and do not change from one generation to the next. Where points are tied
there are no neighbourhoods, so neither is measured on discrete sources.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecosystem.metrics.base import Metric, Sample
from ecosystem.metrics.distances import Mask, squared_distances

K = 5
ROWS = 256  # of packed bits, looked at together


class Density(Metric):
    name = "density"
    unit = "ratio"
    better = "higher"
    least = K + 1

    def measure(self, generated: Sample, human: Sample) -> float:
        return float(generated.against(human, _company).mean() / K)

    def without_groups(self, generated: Sample, human: Sample, kept: Mask) -> list[float]:
        company = generated.against(human, _company)
        return [float(company[keep].mean() / K) for keep in kept]


class Coverage(Metric):
    name = "coverage"
    unit = "share of human"
    better = "higher"
    least = K + 1

    def measure(self, generated: Sample, human: Sample) -> float:
        return float(generated.against(human, _inside).any(axis=1).mean())

    def without_groups(self, generated: Sample, human: Sample, kept: Mask) -> list[float]:
        inside = generated.against(human, _inside)
        return [float((inside & np.packbits(keep)).any(axis=1).mean()) for keep in kept]


def _inside(generated: Sample, human: Sample) -> NDArray[np.uint8]:
    """Which generated point is in which human ball, a bit each: (M, N / 8)."""
    radii = human.nearest.squared_radii(np.ones((1, len(human)), dtype=bool), K)[0]
    blocks = squared_distances(human.points, generated.points)
    return np.concatenate([np.packbits(d <= radii[i : i + len(d), None], axis=1) for i, d in blocks])


def _company(generated: Sample, human: Sample) -> NDArray[np.int64]:
    """In how many human balls each generated point is, (N,)."""
    inside, n = generated.against(human, _inside), len(generated)
    parts = (inside[start : start + ROWS] for start in range(0, len(inside), ROWS))
    found: NDArray[np.int64] = np.sum(
        [np.unpackbits(part, axis=1, count=n).sum(axis=0, dtype=np.int64) for part in parts], axis=0
    )
    return found
