"""What a metric is: two samples in, one number out, with its unit and which way is better.

Its standard error is that of having drawn this generated sample and not another, the human sample held fixed:
the delete-a-group jackknife (J. Shao, D. Tu, The Jackknife and Bootstrap, 1995, section 1.3). The N items
fall at random into G groups of equal size; with theta_g the metric without group g, and theta their mean,

    se^2 = (G - 1) / G  *  sum_g (theta_g - theta)^2.

For a mean it is unbiased, and from G groups it is known to about 1 / sqrt(2 (G - 1)): to 27 % for G = 8.

An *exact* metric reads what is known of the model itself and no sample; it has no sampling error and no replicates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeVar, cast
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ecosystem.distribution import Distribution
from ecosystem.metrics.distances import Nearest
from ecosystem.rng import stream
from ecosystem.summary import Direction

Known = Literal["labels", "reward", "distribution", "mass", "log_prob", "atom_reward", "archive"]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Sample:
    """N items, what is known of each, and what is known of where they come from."""

    x: NDArray[np.float64]  # (N, D) raw values; images flattened and scaled to [-1, 1]
    features: NDArray[np.float64] | None  # (N, F) of a classifier
    labels: NDArray[np.int64] | None  # (N,) the class a classifier predicts
    y: NDArray[np.int64]  # (N,) the prompt, or the human label
    reward: NDArray[np.float64] | None  # (N,) of the users who ask for such items
    distribution: Distribution | None = None  # that the items are drawn from
    log_prob: NDArray[np.float64] | None = None  # (M,) of the held-out human items under the model, nats
    atom_reward: NDArray[np.float64] | None = None  # (A,) of each atom of the distribution
    named: NDArray[np.float64] | None = None  # (N, F) the features that `evaluation.features` names
    archive: Sample | None = None  # of the human sample: the human pages before round 0, that generation 0 learnt from

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: NDArray[Any]) -> Sample:
        """The items at ``index`` (positions or a mask), from where they were."""
        parts = {name: getattr(self, name) for name in ("features", "labels", "reward", "named")}
        taken = {name: None if part is None else part[index] for name, part in parts.items()}
        return replace(self, x=self.x[index], y=self.y[index], **taken)

    @property
    def points(self) -> NDArray[np.float64]:
        """Where items are compared, (N, F): the named features, or raw values where none are named."""
        return self.x if self.named is None else self.named

    @property
    def mass(self) -> NDArray[np.float64] | None:
        """(A,), of each atom, where the distribution is discrete."""
        return None if self.distribution is None else self.distribution.mass

    @cached_property
    def nearest(self) -> Nearest:
        """The neighbours of each item; the human sample's are found once for a whole run."""
        return Nearest(self.points)

    def against(self, other: Sample, find: Callable[[Sample, Sample], T]) -> T:
        """``find(self, other)``, found once for the two: metrics and their replicates share it. Gone with either."""
        found = self._found.setdefault(other, {})
        if find not in found:
            found[find] = find(self, other)
        return cast(T, found[find])

    @cached_property
    def _found(self) -> WeakKeyDictionary[Sample, dict[Any, Any]]:
        return WeakKeyDictionary()


class Metric(ABC):
    """A number on a generated sample, measured against a human one."""

    name: str  # of the class; of each object where there is one for each class of items
    unit: ClassVar[str]
    better: ClassVar[Direction]
    exact: ClassVar[bool] = False  # read off the model itself: no item is looked at
    needs: ClassVar[tuple[Known, ...]] = ()  # of the generated sample
    needs_of_human: ClassVar[tuple[Known, ...]] = ()
    least: ClassVar[int] = 2  # items in each sample, so that half of them still give a number

    def applies(self, generated: Sample, human: Sample) -> bool:
        """Whether ``measure`` gives a number for these samples."""
        known = [getattr(generated, part) is not None for part in self.needs]
        known += [getattr(human, part) is not None for part in self.needs_of_human]
        return all(known) and (self.exact or min(len(generated), len(human)) >= self.least)

    @abstractmethod
    def measure(self, generated: Sample, human: Sample) -> float:
        """The number, in ``unit``."""

    def without_groups(self, generated: Sample, human: Sample, kept: NDArray[np.bool_]) -> list[float]:
        """The number on each part of the generated sample, kept (G, N); some metrics know a faster way."""
        return [self.measure(generated.take(keep), human) for keep in kept]


def replicates(metric: Metric, generated: Sample, human: Sample, groups: int = 8) -> list[float]:
    """The metric without each group in turn, (G,); of an exact metric none.

    Equal sample sizes give equal groups, so two generations pair.
    """
    if metric.exact:
        return []
    groups = min(groups, len(generated))
    member = stream(0, "metrics", "jackknife groups").permutation(len(generated)) % groups
    return metric.without_groups(generated, human, member != np.arange(groups)[:, None])


def jackknife(metric: Metric, generated: Sample, human: Sample, groups: int = 8) -> float:
    """Standard error of ``metric.measure(generated, human)``, in the metric's unit."""
    return standard_error(replicates(metric, generated, human, groups))


def standard_error(without: Sequence[float]) -> float:
    """The error of a number, from the same number without each of G groups in turn, (G,); 0 where there are none."""
    return 0.0 if not len(without) else float(np.sqrt((len(without) - 1) * np.var(without)))
