"""``categorical``: a distribution over a few outcomes, the ground of all that is known of losing tails and words.

    P(x = values_k) = probabilities_k

Each outcome is a position on the line, so that a distance is a taste among outcomes. Fitting frequencies to n draws is
the Wright-Fisher model of genetic drift (S. Wright, Evolution in Mendelian Populations, 1931); words that become rare
and are lost are how Shumailov et al. explain model collapse (The Curse of Recursion: Training on Generated Data Makes
Models Forget, 2023, arXiv 2305.17493).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import annotated_types as at
import numpy as np
from numpy.typing import NDArray

from ecosystem.distribution import Distribution
from ecosystem.humans.base import Endless, Humans, Items
from ecosystem.settings import Positive, PositiveFloat, Settings

TOLERANCE = 1e-9  # of the sum of probabilities: 0.1 ten times is not quite 1


@dataclass(frozen=True)
class Categorical(Settings):
    """Outcomes with their probabilities; ``values`` are their positions on the line, 0, 1, 2, ... where null."""

    probabilities: Annotated[tuple[PositiveFloat, ...], at.MinLen(1)]
    source: Literal["categorical"] = "categorical"
    values: tuple[float, ...] | None = None
    held_out: Positive = 2000

    def __post_init__(self) -> None:
        total = math.fsum(self.probabilities)
        if abs(total - 1) > TOLERANCE:
            raise ValueError(f"probabilities must sum to 1, and these sum to {total:.10g}")
        if self.values is not None and len(self.values) != len(self.probabilities):
            raise ValueError(f"there are {len(self.probabilities)} probabilities and {len(self.values)} values")
        if self.values is not None and len(set(self.values)) < len(self.values):
            raise ValueError("two values are the same: outcomes must differ")

    def open(self) -> Humans:
        return _categorical(self)

    def distribution(self) -> Distribution:
        """Atoms (A, 1) in the order of ``probabilities``."""
        values = np.arange(len(self.probabilities)) if self.values is None else self.values
        atoms: NDArray[np.float64] = np.asarray(values, dtype=np.float64)[:, None]
        mass = np.asarray(self.probabilities) / math.fsum(self.probabilities)
        return Distribution.discrete(atoms, mass)

    def sample(self, n: int, rng: np.random.Generator) -> Items:
        """n items: x (n, 1)."""
        known = self.distribution()
        assert known.atoms is not None and known.mass is not None
        outcome = np.searchsorted(known.mass.cumsum(), rng.random(n), side="right")
        x = known.atoms[outcome.clip(max=len(known.atoms) - 1)]  # a sum of masses may end a rounding below 1
        return Items(x, np.zeros(n, dtype=np.int64))


@lru_cache(maxsize=8)
def _categorical(settings: Categorical) -> Humans:
    return Endless("categorical", settings.sample, 1, settings.held_out, distribution=settings.distribution())
