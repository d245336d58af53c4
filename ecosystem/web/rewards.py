"""What users like: a reward r(x) for every image they see.

``class-confidence`` r = gamma q_c(x) and ``max-confidence`` r = gamma max_c q_c(x), with q a classifier trained on
human data, are the rewards of Ferbach et al., 2024, arXiv 2407.09499; ``distance``
r = -gamma max(0, ||x - to|| - beyond) is their reward on vectors.

``score`` takes published items (N, ...) and a judge that knows q, and returns (N,).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ecosystem.settings import KIND, Count, NonNegative, Settings

Floats = NDArray[np.float64]


class Judge(Protocol):
    """The classifier trained on human data."""

    def probabilities(self, x: NDArray[Any]) -> Floats:
        """(N, C, H, W) uint8 -> q, (N, classes)."""
        ...


@dataclass(frozen=True)
class ClassConfidence(Settings):
    class_: Count
    kind: Literal["class-confidence"] = "class-confidence"
    gamma: float = 5.0

    def score(self, x: NDArray[Any], judge: Judge | None) -> Floats:
        assert judge is not None, "the scenario's checks let no class reward through without a classifier"
        confidence: Floats = judge.probabilities(x)[:, self.class_]
        return self.gamma * confidence


@dataclass(frozen=True)
class MaxConfidence(Settings):
    kind: Literal["max-confidence"] = "max-confidence"
    gamma: float = 5.0

    def score(self, x: NDArray[Any], judge: Judge | None) -> Floats:
        assert judge is not None, "the scenario's checks let no class reward through without a classifier"
        confidence: Floats = judge.probabilities(x).max(axis=1)
        return self.gamma * confidence


@dataclass(frozen=True)
class Distance(Settings):
    to: tuple[float, ...]
    kind: Literal["distance"] = "distance"
    gamma: float = 1.0
    beyond: NonNegative = 0.0

    def score(self, x: NDArray[Any], judge: Judge | None) -> Floats:
        distance: Floats = np.linalg.norm(x - np.asarray(self.to), axis=1)
        return -self.gamma * np.maximum(0.0, distance - self.beyond)


Reward = Annotated[ClassConfidence | MaxConfidence | Distance, KIND]


def needs_classifier(reward: Reward | None) -> bool:
    return isinstance(reward, ClassConfidence | MaxConfidence)
