"""Feature likelihood: do generated items tell where human items lie that the model has *not* seen?

Around every generated item g_j (N of them, of D coordinates that are standardised by the archive) stands a Gaussian of
a width of its own, and the widths are those that make the archive most likely:

    p(x) = 1 / N sum_j N(x; g_j, s_j I),    s = argmax sum_(a in archive) log(p(a) + N(a; 0, I))

    fld     = 100 / D (mean over held-out h of -log p(h)  -  the same of a baseline)
    fld-gap = 100 / D (mean over archive a of -log p(a)  -  mean over held-out h of -log p(h))

(M. Jiralerspong, A. J. Bose, I. Gemp, C. Qin, Y. Bachrach, G. Gidel, Feature Likelihood Divergence: Evaluating the
Generalization of Generative Models Using Samples, 2023, arXiv 2302.04440). Who copies the archive gets Gaussians so
narrow that no held-out item is near any; who has collapsed leaves held-out items far from all. Both make ``fld`` large.
Only a copy makes ``fld-gap`` far less than nought, for then the archive is explained and the held-out items are not; a
few are enough: of 1,000 samples of CIFAR-10 in 64 features, a tenth of copies moved ``fld`` by 0.7, the gap by 67. The
Fréchet distance of copies is that of the truth.

The baseline has archive items for centres, N of them or half of the archive, and its widths fitted to the others: a
model as good as humans are. So nought is where a perfect model is, if the archive has twice as many items as are
generated; with a smaller archive perfect is below nought (1,000 of each, 64 features of CIFAR-10: -4). It is one number
for a run, and moves no change from one generation to the next. Repeated draws of 1,000 spread by 0.5 and less in four
coordinates and more, by 2 in two, by 5 in one. In many coordinates items somewhat nearer the mean than those of humans
are as good as perfect to ``fld``, or better: it does not see a variance that is lost in all directions alike.

What is ours: the widths are fitted by EM, which has no rate and draws nothing, in ``UPDATES`` at most (the published
code takes 50 of Adam, and fits the background too); each archive item answers to its ``LISTED`` nearest centres alone;
the variance of a copy, which would be nought, ends at ``NARROWEST``, so that what is told of copies is a number, but no
more than its size means anything; coordinates are standardised by the archive (there by the held-out items), and those
that do not vary in it are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ecosystem.metrics.base import Metric, Sample
from ecosystem.metrics.distances import Floats, Mask, squared_distances
from ecosystem.rng import stream

LISTED = 128
UPDATES = 20
GAIN = 1e-5  # nats a coordinate: an update that gains less is the last
NARROWEST = 1e-6  # of the archive's variance
ROWS = 4096  # items that are standardised together

LOG_2PI = float(np.log(2 * np.pi))

Part = Literal["held out", "archive"]


class OfArchive(Metric):
    """What the likelihood of a human part under the generated sample tells."""

    unit = "0.01 nats a coordinate"
    needs_of_human = ("archive",)

    def applies(self, generated: Sample, human: Sample) -> bool:
        return super().applies(generated, human) and _has_widths(_archive(human))

    def measure(self, generated: Sample, human: Sample) -> float:
        return self.without_groups(generated, human, _all(generated))[0]


class FLD(OfArchive):
    name = "fld"
    better = "lower"

    def without_groups(self, generated: Sample, human: Sample, kept: Mask) -> list[float]:
        found, human_pages = generated.against(human, Likelihood), human.against(_archive(human), Baseline)
        nlls = found.nll("held out", kept)
        return [100.0 * (nll - human_pages.nll(int(keep.sum()))) for nll, keep in zip(nlls, kept, strict=True)]


class FLDGap(OfArchive):
    name = "fld-gap"
    better = "higher"

    def without_groups(self, generated: Sample, human: Sample, kept: Mask) -> list[float]:
        found = generated.against(human, Likelihood)
        seen, unseen = found.nll("archive", kept), found.nll("held out", kept)
        return [100.0 * (a - b) for a, b in zip(seen, unseen, strict=True)]


class Likelihood:
    """Of human items under a generated sample and parts of it; what is found is kept."""

    def __init__(self, generated: Sample, human: Sample) -> None:
        archive = _archive(human)
        self._scale = archive.against(archive, _scale)
        self._points: dict[Part, Floats] = {"held out": human.points, "archive": archive.points}
        self._mixture = Mixture(self._scale(generated.points), archive.points, self._scale)
        self._widths: dict[bytes, Floats] = {}
        self._found: dict[tuple[Part, bytes], float] = {}

    def nll(self, part: Part, kept: Mask) -> list[float]:
        """Nats an item and coordinate, under each subset (S, N) of the generated sample."""
        new = np.array([keep for keep in kept if (part, keep.tobytes()) not in self._found], dtype=bool)
        if len(new):
            for keep in new:
                if keep.tobytes() not in self._widths:
                    self._widths[keep.tobytes()] = self._mixture.fit(keep)
            widths = np.stack([self._widths[keep.tobytes()] for keep in new])
            values = self._mixture.nll(self._points[part], new, widths, self._scale)
            self._found |= {(part, keep.tobytes()): value for keep, value in zip(new, values, strict=True)}
        return [self._found[part, keep.tobytes()] for keep in kept]


class Baseline:
    """Of held-out items under archive pages that are new to the rest of the archive; what is found is kept."""

    def __init__(self, human: Sample, archive: Sample) -> None:
        self._human, self._archive = human.points, archive.points
        self._scale = archive.against(archive, _scale)
        self._order = stream(0, "metrics", "halves of the archive").permutation(len(archive))
        self._found: dict[int, float] = {}

    def nll(self, centres: int) -> float:
        """Nats an item and coordinate."""
        centres = min(centres, len(self._order) // 2)
        if centres not in self._found:
            chosen, others = self._order[:centres], self._order[centres:]
            mixture = Mixture(self._scale(self._archive[chosen]), self._archive[others], self._scale)
            keep = np.ones(centres, dtype=bool)
            self._found[centres] = mixture.nll(self._human, keep[None], mixture.fit(keep)[None], self._scale)[0]
        return self._found[centres]


@dataclass(frozen=True, eq=False)
class Scale:
    """Takes points to mean 0 and variance 1 of the archive."""

    varies: NDArray[np.int64]  # (D,) the coordinates that do
    mean: Floats  # (D,)
    std: Floats  # (D,)

    def __call__(self, points: Floats) -> Floats:
        """(N, F) -> (N, D)."""
        return (points[:, self.varies] - self.mean) / self.std

    def distances(self, points: Floats, centres: Floats) -> Iterator[tuple[int, Floats]]:
        """Squared, between points (M, F) and standardised centres (N, D), in blocks: the first row, (rows, N)."""
        for start in range(0, len(points), ROWS):
            for row, d in squared_distances(self(points[start : start + ROWS]), centres):
                yield start + row, np.maximum(d, 0.0, out=d)


def _scale(archive: Sample, _: Sample) -> Scale:
    mean, std = archive.points.mean(axis=0), archive.points.std(axis=0)
    varies = np.flatnonzero(std > 1e-9 * np.abs(mean))  # what rounding leaves of a constant is less
    return Scale(varies, mean[varies], std[varies])


class Mixture:
    """Gaussians around standardised centres (N, D), whose widths are to make items (A, F) likely."""

    def __init__(self, centres: Floats, items: Floats, scale: Scale) -> None:
        self._centres, self._dims = centres, centres.shape[1]
        count = min(LISTED, len(centres))
        self._index = np.empty((len(items), count), dtype=np.int64)  # of the nearest centres of each item
        self._squared = np.empty((len(items), count))
        self._nearest = np.full(len(centres), np.inf)  # squared distance of each centre to an item
        for start, d in scale.distances(items, centres):
            found = np.argpartition(d, count - 1, axis=1)[:, :count]
            self._index[start : start + len(d)] = found
            self._squared[start : start + len(d)] = np.take_along_axis(d, found, axis=1)
            np.minimum(self._nearest, d.min(axis=0), out=self._nearest)
        lengths = [np.square(scale(items[i : i + ROWS])).sum(axis=1) for i in range(0, len(items), ROWS)]
        self._background = -0.5 * (np.concatenate(lengths) + self._dims * LOG_2PI)

    def fit(self, keep: Mask) -> Floats:
        """The variance around each centre, (N,), in the mixture of those kept."""
        n, dims, listed = len(keep), self._dims, self._index.ravel()
        variance: Floats = np.maximum(self._nearest / dims, NARROWEST)  # as if for the nearest item alone
        before = -np.inf
        for _ in range(UPDATES):
            share = (-0.5 / variance)[self._index]
            share *= self._squared
            share += _height(variance, dims, keep)[self._index]
            top = np.maximum(share.max(axis=1), self._background)
            share -= top[:, None]
            np.exp(share, out=share)
            total = share.sum(axis=1) + np.exp(self._background - top)
            likelihood = float((top + np.log(total)).mean())
            if likelihood - before < GAIN * dims:
                break
            before = likelihood
            share /= total[:, None]
            mass = np.bincount(listed, share.ravel(), minlength=n)
            share *= self._squared
            spread = np.bincount(listed, share.ravel(), minlength=n)
            answers = mass > 1e-100  # else it is nobody's, and keeps its width
            variance[answers] = np.maximum(spread[answers] / (dims * mass[answers]), NARROWEST)
        return variance

    def nll(self, points: Floats, kept: Mask, variances: Floats, scale: Scale) -> list[float]:
        """The mean of -log p over points (M, F), nats a coordinate, for subsets of centres and their widths (S, N)."""
        total = np.zeros(len(kept))
        heights = [_height(variance, self._dims, keep) for variance, keep in zip(variances, kept, strict=True)]
        for _, d in scale.distances(points, self._centres):
            for number, (keep, variance, height) in enumerate(zip(kept, variances, heights, strict=True)):
                log = d[:, keep] * (-0.5 / variance[keep])
                log += height[keep]
                top = log.max(axis=1)
                log -= top[:, None]
                total[number] += (top + np.log(np.exp(log, out=log).sum(axis=1))).sum()
        return [float(-value / (len(points) * self._dims)) for value in total]


def _height(variance: Floats, dims: int, keep: Mask) -> Floats:
    """log of (weight times density) at each centre, (N,); of those left out the weight is nought."""
    height = -0.5 * dims * (LOG_2PI + np.log(variance)) - np.log(keep.sum())
    return np.where(keep, height, -np.inf)


def _archive(human: Sample) -> Sample:
    assert human.archive is not None, "applies() lets nothing through without an archive"
    return human.archive


def _has_widths(archive: Sample) -> bool:
    """Whether it can be halved, and anything varies in it."""
    return len(archive) > 1 and len(archive.against(archive, _scale).varies) > 0


def _all(sample: Sample) -> Mask:
    return np.ones((1, len(sample)), dtype=bool)
