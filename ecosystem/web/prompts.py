"""What users ask for: the class of each of their prompts.

``uniform`` any class as likely as another; ``zipf`` class c in proportion to (c + 1)^-exponent, the long tail of search
logs; ``weights`` given shares; ``drifting`` the group's interest w, a distribution over classes, moves towards the
shares v of the classes that stood on the web in the last round, w' = (1 - rate) w + rate v: users ask for what they
see (X. Wei et al., Co-evolving Human Preferences, 2026).

``shares`` gives P(class), (classes,); prompts are drawn from it by inversion, one uniform number a ballot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import annotated_types as at
import numpy as np
from numpy.typing import NDArray

from ecosystem.settings import KIND, NonNegative, Settings, Share

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class UniformPrompts(Settings):
    kind: Literal["uniform"] = "uniform"

    def shares(self, classes: int) -> Floats:
        return np.full(classes, 1 / classes)


@dataclass(frozen=True)
class ZipfPrompts(Settings):
    kind: Literal["zipf"] = "zipf"
    exponent: NonNegative = 1.0

    def shares(self, classes: int) -> Floats:
        return _normalised(np.power(1.0 + np.arange(classes), -self.exponent, dtype=np.float64))


@dataclass(frozen=True)
class WeightedPrompts(Settings):
    """One weight a class, in any unit."""

    weights: Annotated[tuple[NonNegative, ...], at.MinLen(1), at.MaxLen(100_000)]
    kind: Literal["weights"] = "weights"

    def shares(self, classes: int) -> Floats:
        return _normalised(np.asarray(self.weights, dtype=np.float64))


@dataclass(frozen=True)
class DriftingPrompts(Settings):
    """``rate``: how far a round moves the interest; ``weights``: where it begins (null: any class as likely)."""

    rate: Share
    weights: Annotated[tuple[NonNegative, ...], at.MinLen(1), at.MaxLen(100_000)] | None = None
    kind: Literal["drifting"] = "drifting"

    def shares(self, classes: int) -> Floats:
        start = UniformPrompts() if self.weights is None else WeightedPrompts(self.weights)
        return start.shares(classes)

    def moved(self, interest: Floats, seen: Floats) -> Floats:
        """The interest (classes,) after a round in which the classes were seen in these shares."""
        return (1 - self.rate) * interest + self.rate * seen


Prompts = Annotated[UniformPrompts | ZipfPrompts | WeightedPrompts | DriftingPrompts, KIND]


def drawn(shares: Floats, uniforms: Floats) -> Labels:
    """Classes of these shares, (classes,), for uniform numbers (N,) in [0, 1)."""
    edges = np.cumsum(shares)
    # The last edge is 1 but for rounding, and a class without a share has no room.
    labels: Labels = np.searchsorted(edges / edges[-1], uniforms, side="right")
    return labels


def _normalised(weights: Floats) -> Floats:
    shares: Floats = weights / weights.sum()
    return shares
