"""What a metric is: two samples in, one number out, with its unit and which way is better.

Its standard error is that of having drawn this generated sample and not another, the human sample held fixed:
the delete-a-group jackknife (J. Shao, D. Tu, The Jackknife and Bootstrap, 1995, section 1.3). The N items
fall at random into G groups of equal size; with theta_g the metric without group g, and theta their mean,

    se^2 = (G - 1) / G  *  sum_g (theta_g - theta)^2.

For a mean it is unbiased, and from G groups it is known to about 1 / sqrt(2 (G - 1)): to 27 % for G = 8.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ecosystem.rng import stream
from ecosystem.summary import Direction


@dataclass(frozen=True, eq=False)
class Sample:
    """N items, and what is known of each."""

    x: NDArray[np.float64]  # (N, D) raw values; images flattened and scaled to [-1, 1]
    features: NDArray[np.float64] | None  # (N, F) of a classifier
    labels: NDArray[np.int64] | None  # (N,) the class a classifier predicts
    y: NDArray[np.int64]  # (N,) the prompt, or the human label
    reward: NDArray[np.float64] | None  # (N,) of the users who ask for such items

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: NDArray[Any]) -> Sample:
        """The items at ``index`` (positions or a mask)."""
        features, labels, reward = (None if a is None else a[index] for a in (self.features, self.labels, self.reward))
        return Sample(self.x[index], features, labels, self.y[index], reward)


class Metric(ABC):
    """A number on a generated sample, measured against a human one."""

    name: ClassVar[str]
    unit: ClassVar[str]
    better: ClassVar[Direction]
    needs: ClassVar[tuple[Literal["labels", "reward"], ...]] = ()  # of the generated sample
    least: ClassVar[int] = 2  # items in each sample, so that half of them still give a number

    def applies(self, generated: Sample, human: Sample) -> bool:
        """Whether ``measure`` gives a number for these samples."""
        known = all(getattr(generated, part) is not None for part in self.needs)
        return known and min(len(generated), len(human)) >= self.least

    @abstractmethod
    def measure(self, generated: Sample, human: Sample) -> float:
        """The number, in ``unit``."""

    def without_groups(self, generated: Sample, human: Sample, kept: NDArray[np.bool_]) -> list[float]:
        """The number on each part of the generated sample, kept (G, N); some metrics know a faster way."""
        return [self.measure(generated.take(keep), human) for keep in kept]


def replicates(metric: Metric, generated: Sample, human: Sample, groups: int = 8) -> list[float]:
    """The metric without each group in turn, (G,). Equal sample sizes give equal groups, so two generations pair."""
    groups = min(groups, len(generated))
    member = stream(0, "metrics", "jackknife groups").permutation(len(generated)) % groups
    return metric.without_groups(generated, human, member != np.arange(groups)[:, None])


def jackknife(metric: Metric, generated: Sample, human: Sample, groups: int = 8) -> float:
    """Standard error of ``metric.measure(generated, human)``, in the metric's unit."""
    return standard_error(replicates(metric, generated, human, groups))


def standard_error(without: Sequence[float]) -> float:
    """The error of a number, from the same number without each of G groups in turn, (G,)."""
    return float(np.sqrt((len(without) - 1) * np.var(without)))
