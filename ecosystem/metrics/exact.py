"""Exact metrics: what is known of a model without drawing from it, so that nothing is hidden by sampling.

With the model's mean mu and covariance S, the human mu_h and S_h, in D dimensions:

- ``model-variance``: tr S / D; in expectation it shrinks by (1 - 1/n) a generation where a Gaussian is fitted to n
  of its own samples (I. Shumailov et al., The Curse of Recursion: Training on Generated Data Makes Models Forget,
  2023, arXiv 2305.17493).
- ``mean-error``: |mu - mu_h|^2 / D.
- ``log-std``: the mean over coordinates of log standard deviation: what is multiplied each generation, it adds up.
- ``gaussian-w2``: the squared Wasserstein-2 distance between the two Gaussians with these moments, divided by D,

      W^2 = |mu - mu_h|^2 + min_U |S^(1/2) - S_h^(1/2) U|^2,   U orthogonal

  (R. Bhatia, T. Jain, Y. Lim, On the Bures-Wasserstein Distance between Positive Definite Matrices, 2019,
  arXiv 1712.01504). The best U is the orthogonal factor of S_h^(1/2) S^(1/2); in this form near Gaussians keep
  their small distance to full precision, and it is not negative.
- ``nll``: the mean of -log p over the held-out human items. The items are a sample, but a fixed one.
- ``bits-per-dimension``, of images: what it costs to say a held-out image under the model, in bits a channel of a
  pixel. A value of 8 bits lies on [-1, 1] in a cell of width 2/255, so its probability is about p times that width, and

      bpd = - (log p(x) + D log(2/255)) / (D log 2).

  The uniform density on [-1, 1] takes log2(255) = 7.99 bits. Images are whole levels, and at these alone, or where a
  pixel never changes, a density can be as large as one likes. It is the length of a code only if log p is the mean over
  uniform noise within the cell, which is a bound on the logarithm of the cell's probability (L. Theis, A. van den Oord,
  M. Bethge, A Note on the Evaluation of Generative Models, 2015, arXiv 1511.01844); a family that gives it says so.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecosystem.distribution import Distribution
from ecosystem.metrics.base import Metric, Sample

Floats = NDArray[np.float64]


class ModelVariance(Metric):
    name = "model-variance"
    unit = "squared raw units"
    better = "neither"
    exact = True
    needs = ("distribution",)

    def measure(self, generated: Sample, human: Sample) -> float:
        return float(known(generated).variance.mean())


class MeanError(Metric):
    name = "mean-error"
    unit = "squared raw units"
    better = "lower"
    exact = True
    needs = ("distribution",)
    needs_of_human = ("distribution",)

    def measure(self, generated: Sample, human: Sample) -> float:
        return float(np.square(known(generated).mean - known(human).mean).mean())


class LogStd(Metric):
    name = "log-std"
    unit = "nats"
    better = "neither"
    exact = True
    needs = ("distribution",)

    def applies(self, generated: Sample, human: Sample) -> bool:
        return super().applies(generated, human) and bool((known(generated).variance > 0).all())

    def measure(self, generated: Sample, human: Sample) -> float:
        return float(np.log(known(generated).variance).mean() / 2)


class GaussianW2(Metric):
    name = "gaussian-w2"
    unit = "squared raw units"
    better = "lower"
    exact = True
    needs = ("distribution",)
    needs_of_human = ("distribution",)

    def measure(self, generated: Sample, human: Sample) -> float:
        a, b = known(generated), known(human)
        return float((np.square(a.mean - b.mean).sum() + bures(a.covariance, b.covariance)) / len(a.mean))


class NLL(Metric):
    """Infinite where the model gives a human item no density."""

    name = "nll"
    unit = "nats"
    better = "lower"
    exact = True
    needs = ("log_prob",)

    def measure(self, generated: Sample, human: Sample) -> float:
        assert generated.log_prob is not None, "applies() lets no model through without a density"
        return float(-generated.log_prob.mean())


class BitsPerDimension(Metric):
    """Infinite where the model gives a human image no density."""

    name = "bits-per-dimension"
    unit = "bits"
    better = "lower"
    exact = True
    needs = ("log_prob",)

    def measure(self, generated: Sample, human: Sample) -> float:
        assert generated.log_prob is not None, "applies() lets no model through without a density"
        dims = human.x.shape[1]
        return float(-(generated.log_prob.mean() / dims + np.log(2 / 255)) / np.log(2))


def bures(a: Floats, b: Floats) -> float:
    """The squared distance between two covariances, each (D, D), or (D,) where it is diagonal."""
    if a.ndim == b.ndim == 1:
        return float(np.square(np.sqrt(a) - np.sqrt(b)).sum())
    root_a, root_b = root(a), root(b)
    left, _, right = np.linalg.svd(root_b @ root_a)
    return float(np.square(root_a - root_b @ left @ right).sum())


def root(covariance: Floats) -> Floats:
    """The symmetric root, (D, D), of a covariance."""
    if covariance.ndim == 1:
        return np.diag(np.sqrt(covariance))
    values, vectors = np.linalg.eigh(covariance)
    found: Floats = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return found


def known(sample: Sample) -> Distribution:
    assert sample.distribution is not None, "applies() lets no model through whose distribution is not known"
    return sample.distribution
