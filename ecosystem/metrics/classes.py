"""Metrics on what a classifier takes the generated items for.

- ``class-entropy``: Shannon entropy of the predicted labels, H = - sum_c p_c ln p_c, in nats; ln(classes)
  when all are made equally often, 0 when one is left.
- ``class-tv``: total variation (1/2) sum_c |p_c - q_c| between the labels predicted for generated items and
  those predicted for the held-out human ones. Predicted for both, so that the classifier's own leanings
  cancel.
- ``agreement``: the share of items that are taken for what was asked for.
- ``class-share-K``: the share of generated items that are taken for class K. Where users prefer a class, this one's
  grows and the others' shrink: the figures of D. Ferbach, Q. Bertrand, A. J. Bose, G. Gidel, Self-Consuming Generative
  Models with Curated Data Provably Optimize Human Preferences, 2024, arXiv 2407.09499. Each class is a metric of its
  own, so that a claim can be made about it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ecosystem.metrics.base import Metric, Sample

CLASS_SHARE = "class-share-"  # and the class


class ClassEntropy(Metric):
    name = "class-entropy"
    unit = "nats"
    better = "higher"
    needs = ("labels",)

    def measure(self, generated: Sample, human: Sample) -> float:
        p = np.bincount(_labels(generated)) / len(generated)
        p = p[p > 0]
        return float(np.sum(p * -np.log(p)))


class ClassTV(Metric):
    name = "class-tv"
    unit = "probability"
    better = "lower"
    needs = ("labels",)

    def measure(self, generated: Sample, human: Sample) -> float:
        a, b = _labels(generated), _labels(human)
        classes = max(a.max(), b.max()) + 1
        p, q = np.bincount(a, minlength=classes) / len(a), np.bincount(b, minlength=classes) / len(b)
        return float(np.abs(p - q).sum() / 2)


class Agreement(Metric):
    name = "agreement"
    unit = "share of generated"
    better = "higher"
    needs = ("labels",)

    def measure(self, generated: Sample, human: Sample) -> float:
        return float((_labels(generated) == generated.y).mean())


@dataclass(frozen=True, eq=False)
class ClassShare(Metric):
    number: int  # of the class
    name: str = field(init=False)

    unit = "share of generated"
    better = "neither"
    needs = ("labels",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{CLASS_SHARE}{self.number}")

    def measure(self, generated: Sample, human: Sample) -> float:
        return float((_labels(generated) == self.number).mean())


def _labels(sample: Sample) -> NDArray[np.int64]:
    assert sample.labels is not None, "applies() lets no sample through without predicted labels"
    return sample.labels
