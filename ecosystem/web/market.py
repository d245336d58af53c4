"""Which provider a user asks: softmax of what was experienced, with the cost of leaving and the pull of the crowd.

User i remembers the reward e_ij that the winners of provider j gave them (an exponential average with ``memory``; a
provider that was not tried is worth ``prior``), stays loyal by ``switching_cost`` c and follows others by
``network_effect`` n:

    u_ij = e_ij + n s_j - c [j is not the provider of the last round]
    P(i asks j) = exp(u_ij / T) / sum_k exp(u_ik / T)

with s_j the share of j in the votes of the round before, of those who can be asked. Each user asks one provider a
round. Logit demand with switching costs and network effects: J. Farrell, P. Klemperer, Coordination and Lock-In,
Handbook of Industrial Organization 3, 2007.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecosystem.settings import NonNegative, PositiveFloat, Settings, Share
from ecosystem.web.choice import Luce

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NONE = -1  # the provider of the last round of a user who has asked nobody yet


@dataclass(frozen=True)
class ProviderChoice(Settings):
    """``memory``: the weight of what was experienced before; 0 forgets all but the last round."""

    temperature: PositiveFloat = 1.0
    switching_cost: NonNegative = 0.0
    network_effect: float = 0.0
    memory: Share = 0.5
    prior: float = 0.0

    def chosen(self, experienced: Floats, stranger: NDArray[np.bool_], shares: Floats, uniforms: Floats) -> Ints:
        """Whom of the P providers that can be asked each user asks, (users,).

        ``experienced`` (users, P); ``stranger`` (users, P) whether to ask is to leave another; ``shares`` (P,) of the
        ballots won; ``uniforms`` (users, P) in [0, 1).
        """
        utility = experienced + self.network_effect * shares - self.switching_cost * stranger
        return Luce(temperature=self.temperature).choose(utility, uniforms)

    def remembered(self, experienced: Floats, asked: Ints, reward: Floats) -> Floats:
        """``experienced`` (users, P) after a round in which user i had ``reward`` i from provider ``asked`` i."""
        after = experienced.copy()
        users = np.arange(len(asked))
        after[users, asked] = self.memory * after[users, asked] + (1 - self.memory) * reward
        return after
