"""Fréchet distance between the Gaussians fitted to two samples, on *named* features.

    d^2 = |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))

(D. C. Dowson, B. V. Landau, The Fréchet Distance between Multivariate Normal Distributions, 1982), the trace in the
form of ``exact.bures``, which needs no root of a product and no remedy where that is singular. Elsewhere it is the
number of clean-fid (G. Parmar, R. Zhang, J.-Y. Zhu, On Aliased Resizing and Surprising Subtleties in GAN Evaluation,
2022, arXiv 2104.11222). Images are compared on the classifier's 64 features, vectors on their raw values. It
is the FID on Inception's features only, so here it is never called that. Squared, as the FID is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecosystem.metrics.base import Metric, Sample
from ecosystem.metrics.exact import bures


class Frechet(Metric):
    name = "frechet"
    unit = "squared feature units"
    better = "lower"
    least = 4

    def measure(self, generated: Sample, human: Sample) -> float:
        return frechet(_features(generated), _features(human))


def frechet(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Between (N, F) and (M, F); not negative."""
    moved = float(np.square(a.mean(axis=0) - b.mean(axis=0)).sum())
    return moved + bures(*(np.atleast_2d(np.cov(x.T)) for x in (a, b)))


def _features(sample: Sample) -> NDArray[np.float64]:
    return sample.points if sample.features is None or sample.named is not None else sample.features
