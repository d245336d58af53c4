"""Fréchet distance between the Gaussians fitted to two samples, on *named* features.

    d^2 = |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))

(D. C. Dowson, B. V. Landau, The Fréchet Distance between Multivariate Normal Distributions, 1982), the trace in the
form of ``exact.bures``, which needs no root of a product and no remedy where that is singular. Elsewhere it is the
number of clean-fid (G. Parmar, R. Zhang, J.-Y. Zhu, On Aliased Resizing and Surprising Subtleties in GAN Evaluation,
2022, arXiv 2104.11222). Images are compared on the features that `evaluation.features` names, or else on the
classifier's 64; vectors on their raw values. It is the FID (``fid``) on Inception's features only, elsewhere it is
never called that. Squared, as the FID is.

In many dimensions no root is taken at all. With S_2 = F F^T, (D, R), and X the generated points less their mean,

    tr (S_1 S_2)^(1/2) = sum of the roots of the eigenvalues of  P^T P / (N - 1)  or of  P P^T / (N - 1),   P = X F,

whichever matrix is smaller, and F is found once for a human sample. (A root of clean-fid's kind takes a minute in
2,048 dimensions.) Without a group of the jackknife, the one loses the products of the rows left out, the other loses
these rows and columns; then each is centred anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecosystem.metrics.base import Metric, Sample
from ecosystem.metrics.exact import bures

WIDE = 1024  # dimensions, above which the trace is found from products

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Frechet(Metric):
    name = "frechet"
    unit = "squared feature units"
    better = "lower"
    least = 4

    def measure(self, generated: Sample, human: Sample) -> float:
        if _features(human).shape[1] <= WIDE:
            return frechet(_features(generated), _features(human))
        return generated.against(human, products).distance()

    def without_groups(self, generated: Sample, human: Sample, kept: Mask) -> list[float]:
        if _features(human).shape[1] <= WIDE:
            return super().without_groups(generated, human, kept)
        found = generated.against(human, products)
        return [found.distance(keep) for keep in kept]


class Fid(Frechet):
    """On Inception's features."""

    name = "fid"
    unit = "squared Inception units"


def frechet(a: Floats, b: Floats) -> float:
    """Between (N, F) and (M, F); not negative."""
    moved = float(np.square(a.mean(axis=0) - b.mean(axis=0)).sum())
    return moved + bures(*(np.atleast_2d(np.cov(x.T)) for x in (a, b)))


def frechet_of_many_dimensions(a: Floats, b: Floats) -> float:
    """The same; what it loses to rounding is of the order of 1e-8 of the traces."""
    return _products(a, fitted(b)).distance()


@dataclass(frozen=True, eq=False)
class Fitted:
    """A Gaussian fitted to points: its mean (D,), and a factor F (D, R) of its covariance F F^T."""

    mean: Floats
    factor: Floats


def fitted(x: Floats) -> Fitted:
    """To points (N, D). Fewer points than dimensions are a factor themselves."""
    mean, divisor = x.mean(axis=0), np.sqrt(len(x) - 1)
    centred = x - mean
    if len(x) <= x.shape[1]:
        return Fitted(mean, centred.T / divisor)
    values, vectors = np.linalg.eigh(centred.T @ centred / divisor**2)
    some = values > 0  # what rounding makes negative is nothing
    return Fitted(mean, vectors[:, some] * np.sqrt(values[some]))


@dataclass(frozen=True, eq=False)
class Products:
    """All that the distance of N points to a fitted Gaussian needs, also without some of them."""

    x: Floats  # (N, D)
    mean: Floats  # (D,)
    squares: Floats  # (N,) of the distance of each point to the mean
    human: Fitted
    rows: Floats  # P (N, R)
    gram: Floats  # P P^T (N, N) where N is the smaller, else P^T P (R, R)

    def distance(self, keep: Mask | None = None) -> float:
        """Squared; not negative."""
        if keep is None:
            keep = np.ones(len(self.x), dtype=bool)
        n, out = int(np.count_nonzero(keep)), ~keep
        moved = -(self.x[out] - self.mean).sum(axis=0) / n  # of the mean, by leaving some out
        own = self.squares[keep].sum() - n * np.square(moved).sum()
        common = np.sqrt(np.maximum(np.linalg.eigvalsh(self._gram(keep, n)), 0)).sum()
        traces = own / (n - 1) + np.square(self.human.factor).sum() - 2 * common / np.sqrt(n - 1)
        return max(0.0, float(np.square(self.mean + moved - self.human.mean).sum() + traces))

    def _gram(self, keep: Mask, n: int) -> Floats:
        """Of the points that are kept, less their mean."""
        if keep.all():
            return self.gram
        if len(self.gram) == len(keep):
            part = self.gram[np.ix_(keep, keep)]
            mean = part.mean(axis=0)
            centred: Floats = part - mean - mean[:, None] + mean.mean()
            return centred
        out = self.rows[~keep]
        total = out.sum(axis=0)  # the kept rows' is its opposite
        return self.gram - out.T @ out - np.outer(total, total) / n


def products(generated: Sample, human: Sample) -> Products:
    return _products(_features(generated), human.against(human, _fitted_once))


def _fitted_once(human: Sample, _: Sample) -> Fitted:
    return fitted(_features(human))


def _products(x: Floats, human: Fitted) -> Products:
    mean = x.mean(axis=0)
    squares = np.square(x - mean).sum(axis=1)
    rows = x @ human.factor
    rows -= rows.mean(axis=0)
    gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    return Products(x, mean, squares, human, rows, gram)


def _features(sample: Sample) -> Floats:
    return sample.points if sample.features is None or sample.named is not None else sample.features
