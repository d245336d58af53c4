"""Metrics on what a classifier takes the generated items for.

- ``class-entropy``: Shannon entropy of the predicted labels, H = - sum_c p_c ln p_c, in nats; ln(classes)
  when all are made equally often, 0 when one is left.
- ``class-tv``: total variation (1/2) sum_c |p_c - q_c| between the labels predicted for generated items and
  those predicted for the held-out human ones. Predicted for both, so that the classifier's own leanings
  cancel.
- ``agreement``: the share of items that are taken for what was asked for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecosystem.metrics.base import Metric, Sample


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


def _labels(sample: Sample) -> NDArray[np.int64]:
    assert sample.labels is not None, "applies() lets no sample through without predicted labels"
    return sample.labels
