"""The rule by which one of K images wins a ballot.

Luce's choice axiom, for K = 2 the Bradley-Terry model: image k wins with probability exp(r_k / T) / sum_j exp(r_j / T).
It is the curation of Ferbach et al., Self-Consuming Generative Models with Curated Data Provably Optimize Human
Preferences, 2024, arXiv 2407.09499. Drawn by the Gumbel-max trick, one line for all ballots at once.

``choose`` takes rewards (ballots, K) and as many uniform draws, and returns the winners (ballots,).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from ecosystem.settings import KIND, PositiveFloat, Settings

Floats = NDArray[np.float64]
Winners = NDArray[np.int64]


@dataclass(frozen=True)
class Luce(Settings):
    kind: Literal["luce"] = "luce"
    temperature: PositiveFloat = 1.0

    def choose(self, rewards: Floats, uniforms: Floats) -> Winners:
        # 1 - u is in (0, 1], so the outer logarithm is the only one that can meet 0, as exp(-inf) should.
        # In place, for a million ballots: new memory costs more than the logarithms.
        with np.errstate(divide="ignore"):
            gumbel = np.negative(uniforms)
            np.log1p(gumbel, out=gumbel)
            np.negative(gumbel, out=gumbel)
            np.log(gumbel, out=gumbel)
        np.subtract(rewards / self.temperature, gumbel, out=gumbel)
        winners: Winners = np.argmax(gumbel, axis=1)
        return winners


@dataclass(frozen=True)
class Best(Settings):
    """The highest reward wins; ties are broken by chance. (Luce at temperature 0.)"""

    kind: Literal["best"] = "best"

    def choose(self, rewards: Floats, uniforms: Floats) -> Winners:
        best = rewards == rewards.max(axis=1, keepdims=True)
        winners: Winners = np.argmax(np.where(best, uniforms, -1.0), axis=1)
        return winners


@dataclass(frozen=True)
class Uniform(Settings):
    """Any of the K wins with equal probability, whatever the reward."""

    kind: Literal["uniform"] = "uniform"

    def choose(self, rewards: Floats, uniforms: Floats) -> Winners:
        winners: Winners = np.argmax(uniforms, axis=1)
        return winners


Choice = Annotated[Luce | Best | Uniform, KIND]
