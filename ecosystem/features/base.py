"""What a feature space is: items as they lie on the web in, points (N, F) out, each item's for itself alone.

Every metric of a run that compares points compares them there, so that distance, neighbours and densities speak of
the same space. What an item's point is depends neither on the items beside it nor on how many there are, but for
rounding; items are looked at in blocks, on the device, however many or large they are.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ecosystem.models.classifier import Classifier

Floats = NDArray[np.float64]


class Features(ABC):
    name: str
    weights: str | None = None  # the sha256 of the file they were read from

    @abstractmethod
    def of(self, x: NDArray[Any]) -> Floats:
        """(N, C, H, W) uint8, or (N, D) -> (N, F)."""

    def of_humans(self, x: NDArray[Any]) -> Floats:
        """The same of human items, which many runs look at; what is dear to compute is kept on disk."""
        return self.of(x)


class Raw(Features):
    """Vectors as they are, images flattened and in [-1, 1]."""

    name = "raw"

    def of(self, x: NDArray[Any]) -> Floats:
        return as_vectors(x)


class Trained(Features):
    """The 64 features of the classifier that is trained on the run's own human source."""

    name = "classifier"

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def of(self, x: NDArray[Any]) -> Floats:
        return self._classifier.features(x)


def as_vectors(x: NDArray[Any]) -> Floats:
    """Items as they lie on the web, (N, ...), as raw vectors (N, D); images in [-1, 1]."""
    flat: Floats = x.reshape(len(x), math.prod(x.shape[1:]))
    return flat / 127.5 - 1.0 if x.dtype == np.uint8 else flat
