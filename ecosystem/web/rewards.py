"""What users like: a reward r(x) for every image they see.

``class-confidence`` r = gamma q_c(x) and ``max-confidence`` r = gamma max_c q_c(x), with q a classifier trained on
human data, are the rewards of Ferbach et al., 2024, arXiv 2407.09499; ``distance``
r = -gamma max(0, ||x - to|| - beyond) is their reward on vectors. ``class-taste`` r = gamma sum_c w_c q_c(x), with
weights w that sum to one, is a taste for several classes that may move (X. Wei et al., Co-evolving Human Preferences,
2026): ``target`` is the taste, ``seen`` what it moves towards, and ``towards`` the same reward with another taste.

``score`` takes published items (N, ...) and a judge that knows q, and returns (N,).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Protocol

import annotated_types as at
import numpy as np
from numpy.typing import NDArray

from ecosystem.settings import KIND, Count, NonNegative, Settings

Floats = NDArray[np.float64]

BLOCK = 1 << 15  # images whose distance is taken at once: what is held meanwhile stays in a processor's cache


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
        to, score = np.asarray(self.to), np.empty(len(x))
        for rows in (slice(start, start + BLOCK) for start in range(0, len(x), BLOCK)):
            distance: Floats = np.linalg.norm(x[rows] - to, axis=1)
            score[rows] = -self.gamma * np.maximum(0.0, distance - self.beyond)
        return score

    def target(self) -> Floats:
        return np.asarray(self.to)

    def seen(self, x: NDArray[Any], judge: Judge | None) -> Floats:
        return x

    def towards(self, target: Floats) -> Distance:
        return replace(self, to=tuple(target.tolist()))


@dataclass(frozen=True)
class ClassTaste(Settings):
    """``weights``: one a class, in any unit."""

    weights: Annotated[tuple[NonNegative, ...], at.MinLen(1), at.MaxLen(100_000)]
    kind: Literal["class-taste"] = "class-taste"
    gamma: float = 5.0

    def score(self, x: NDArray[Any], judge: Judge | None) -> Floats:
        liked: Floats = self.gamma * (self.seen(x, judge) @ self.target())
        return liked

    def target(self) -> Floats:
        weights: Floats = np.asarray(self.weights, dtype=np.float64)
        shares: Floats = weights / weights.sum()
        return shares

    def seen(self, x: NDArray[Any], judge: Judge | None) -> Floats:
        assert judge is not None, "the scenario's checks let no class reward through without a classifier"
        found: Floats = judge.probabilities(x)
        return found

    def towards(self, target: Floats) -> ClassTaste:
        return replace(self, weights=tuple(target.tolist()))


Reward = Annotated[ClassConfidence | MaxConfidence | ClassTaste | Distance, KIND]
FIXED = (ClassConfidence, MaxConfidence)  # these have no taste that could move


def of_ballots(reward: Reward, images: NDArray[Any], judge: Judge | None) -> Floats:
    """The reward of each candidate, (ballots, K), of images (ballots, K, ...)."""
    return reward.score(images.reshape(-1, *images.shape[2:]), judge).reshape(images.shape[:2])


def needs_classifier(reward: Reward | None) -> bool:
    return isinstance(reward, ClassConfidence | MaxConfidence | ClassTaste)
