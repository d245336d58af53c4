"""Classifier two-sample tests: how often can a classifier tell generated items from held-out human ones?

A classifier is shown some of both, and asked about others (D. Lopez-Paz, M. Oquab, Revisiting Classifier Two-Sample
Tests, 2016, arXiv 1610.06545). The metric is its accuracy, the mean of that on human and that on generated items, so
that samples of different sizes are no help: 0.5 where nothing can be told, 1 where everything can. Between Gaussians of
one covariance, delta standard deviations apart, the best classifier is right Phi(delta / 2) of the time.

- ``c2st``: logistic regression, five folds of which each is asked about once. It tells a difference in the means, in
  whatever direction, and no other: to models that keep the mean and lose the variance it is blind, unless features show
  it. Coordinates are standardised over both samples; the weights are held down as by a prior under which the logit has
  variance 1, so that more coordinates than items do no harm.
- ``c2st-knn``: a vote of the k nearest others, k the root of the number of items, as shares of each sample. It tells
  any difference, where distances mean something: in many dimensions it is weaker.

Nothing is drawn: which fold an item is in follows from its own value, so that neither the order of the items nor the
loss of some moves the others. Items that are the same are dealt to the folds in turn.
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from ecosystem.metrics.base import Metric, Sample
from ecosystem.metrics.distances import Floats, Mask, squared_distances

FOLDS = 5


class C2ST(Metric):
    name = "c2st"
    unit = "accuracy"
    better = "lower"
    least = 2 * FOLDS

    def measure(self, generated: Sample, human: Sample) -> float:
        x = np.concatenate([human.points, generated.points])
        made = np.arange(len(x)) >= len(human)
        fold = np.concatenate([human.against(human, _folds), generated.against(generated, _folds)])
        right = np.zeros(len(x), dtype=bool)
        for asked in (fold == number for number in np.unique(fold)):
            right[asked] = _guesses(x[~asked], made[~asked], x[asked]) == made[asked]
        return float((right[made].mean() + right[~made].mean()) / 2)


class C2STNeighbours(Metric):
    name = "c2st-knn"
    unit = "accuracy"
    better = "lower"
    least = 4

    def measure(self, generated: Sample, human: Sample) -> float:
        return self.without_groups(generated, human, np.ones((1, len(generated)), dtype=bool))[0]

    def without_groups(self, generated: Sample, human: Sample, kept: Mask) -> list[float]:
        near = generated.against(human, _Pooled)
        return [near.accuracy(np.concatenate([np.ones(len(human), dtype=bool), keep])) for keep in kept]


def _folds(sample: Sample, _: Sample) -> NDArray[np.int64]:
    """Of each item, (N,)."""
    seen: Counter[bytes] = Counter()
    found = []
    for row in sample.points:
        mark = blake2b(row.tobytes(), digest_size=8).digest()
        found.append((int.from_bytes(mark, "little") + seen[mark]) % FOLDS)
        seen[mark] += 1
    return np.array(found)


def _guesses(x: Floats, made: Mask, asked: Floats) -> Mask:
    """Which of the items asked about (M, F) are taken for generated, after (N, F) whose makers are known."""
    from sklearn.linear_model import LogisticRegression  # it takes a second to import

    if made.all() or not made.any():
        return np.full(len(asked), made[0])
    mean, std = x.mean(axis=0), x.std(axis=0)
    moves = std > 1e-9 * np.abs(x).max(axis=0)
    if not moves.any():
        return np.ones(len(asked), dtype=bool)
    # In 32 bits, and no nearer to the best weights than tells in the guesses: a tenth of the time.
    x, asked = (((part[:, moves] - mean[moves]) / std[moves]).astype(np.float32) for part in (x, asked))
    model = LogisticRegression(C=1.0 / x.shape[1], class_weight="balanced", tol=1e-3, max_iter=1000)
    found: Mask = model.fit(x, made).predict(asked)
    return found


class _Pooled:
    """The items of both samples, M human before N generated, and the nearest others of each."""

    def __init__(self, generated: Sample, human: Sample) -> None:
        self.points = np.concatenate([human.points, generated.points])
        self.made = np.arange(len(self.points)) >= len(human)
        # Twice as many as are asked, so that enough are left where a group is left out.
        count = min(2 * _votes(len(self.points)), len(self.points) - 1)
        self.index = np.empty((len(self.points), count), dtype=np.int64)
        for start, d in squared_distances(self.points, self.points):
            rows = slice(start, start + len(d))
            d[np.arange(len(d)), np.arange(start, start + len(d))] = np.inf
            found = np.argpartition(d, count - 1, axis=1)[:, :count]
            order = np.argsort(np.take_along_axis(d, found, axis=1), axis=1)
            self.index[rows] = np.take_along_axis(found, order, axis=1)

    def accuracy(self, keep: Mask) -> float:
        """Of the votes of those kept (M + N,) about those kept; a draw is half right."""
        k = _votes(int(keep.sum()))
        votes, made = self._votes_for_generated(keep, k)[keep], self.made[keep]
        # As shares of each sample: as fractions of whole numbers, so that a draw is one.
        lead = votes * np.count_nonzero(~made) - (k - votes) * np.count_nonzero(made)
        right = np.where(lead == 0, 0.5, (lead > 0) == made)
        return float((right[made].mean() + right[~made].mean()) / 2)

    def _votes_for_generated(self, keep: Mask, k: int) -> NDArray[np.int64]:
        """How many of the k nearest others that are kept are generated, (M + N,)."""
        kept = keep[self.index]
        place = np.cumsum(kept, axis=1)
        votes: NDArray[np.int64] = (kept & (place <= k) & self.made[self.index]).sum(axis=1)
        for i in np.flatnonzero(keep & (place[:, -1] < k)):
            others = np.flatnonzero(keep & (np.arange(len(keep)) != i))
            squared = np.square(self.points[others] - self.points[i]).sum(axis=1)
            votes[i] = self.made[others[np.argpartition(squared, k - 1)[:k]]].sum()
        return votes


def _votes(items: int) -> int:
    return int(items**0.5)
