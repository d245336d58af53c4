"""Fréchet distance between the Gaussians fitted to two samples, on *named* features.

    d^2 = |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))

(D. C. Dowson, B. V. Landau, The Fréchet Distance between Multivariate Normal Distributions, 1982), computed
by clean-fid (G. Parmar, R. Zhang, J.-Y. Zhu, On Aliased Resizing and Surprising Subtleties in GAN Evaluation,
2022, arXiv 2104.11222). Images are compared on the classifier's 64 features, vectors on their raw values. It
is the FID on Inception's features only, so here it is never called that. Squared, as the FID is.
"""

from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
from numpy.typing import NDArray

from ecosystem.metrics.base import Metric, Sample


class Frechet(Metric):
    name = "frechet"
    unit = "squared feature units"
    better = "lower"
    least = 4

    def measure(self, generated: Sample, human: Sample) -> float:
        return frechet(_features(generated), _features(human))


def frechet(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Between (N, F) and (M, F); not negative."""
    from cleanfid.fid import frechet_distance  # late: it imports torch

    if not a.var(axis=0).any() or not b.var(axis=0).any():  # a single point: no root to take, and clean-fid fails
        spread = a.var(axis=0, ddof=1).sum() + b.var(axis=0, ddof=1).sum()
        return float(np.square(a.mean(axis=0) - b.mean(axis=0)).sum() + spread)

    # On a singular product clean-fid prints, scipy warns, and both go on as they should.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        distance = frechet_distance(a.mean(axis=0), np.cov(a.T), b.mean(axis=0), np.cov(b.T))
    return max(0.0, float(distance))


def _features(sample: Sample) -> NDArray[np.float64]:
    return sample.x if sample.features is None else sample.features
