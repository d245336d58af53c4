"""What providers, users and the web do to one another in a round, measured where a scenario says `coevolution: true`.

Of the web: ``vote-concentration``, ``provider-distance``, ``matthew``, ``served-diversity``, ``web-diversity``. Of a
group of users: ``welfare``. Of a provider that trains: ``self-influence`` and ``cross-influence``, what the selection
at itself and at all others did to the mean reward of its data set, in the taste of its own users. The formulas are in
metrics/coevolution.py.

The selection at provider j, in somebody's taste, is the mean reward of j's images that won less that of all of j's
images that were shown. It is known when the pages are published, and matters when somebody trains on them: so it is
remembered by batch of the corpus.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecosystem.distribution import Distribution
from ecosystem.metrics import coevolution as measures
from ecosystem.web.corpus import Batch
from ecosystem.web.rewards import Judge, Reward, of_ballots

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHOWN = 2000  # pages of the web whose diversity is looked at


@dataclass
class Round:
    """What was seen in the open round. ``tastes`` (P,): in which each provider's pages are judged, None: in none."""

    tastes: Sequence[Reward | None]
    judge: Judge | None
    welfare: dict[str, float] = field(default_factory=dict)
    served: list[NDArray[Any]] = field(default_factory=list)  # kinds (ballots,) or vectors (ballots, D) that won
    selected: Floats = field(init=False)  # (P, P) of pages of provider i, in the taste of j: the sum of the selection
    offered: Floats = field(init=False)  # (P,) pages of provider i that users published, or would have

    def __post_init__(self) -> None:
        self.selected = np.zeros((len(self.tastes), len(self.tastes)))
        self.offered = np.zeros(len(self.tastes))

    def see(
        self,
        group: str,
        images: NDArray[Any],
        prompts: Ints,
        maker: Ints,
        winner: Ints,
        known: tuple[Reward | None, Floats] | None,
        pages: float,
    ) -> None:
        """A group's ballots: images (ballots, K, ...) by ``maker`` (ballots, K), the winning slots, the group's taste
        with the rewards (ballots, K) in it, where it has one, and how many pages each ballot publishes.
        """
        ballots = np.arange(len(winner))
        if known is not None:
            self.welfare[group] = measures.welfare(known[1][ballots, winner])
        self.served.append(self.kinds(images[ballots, winner], prompts))
        self.offered += pages * np.bincount(maker[ballots, winner], minlength=len(self.offered))
        for taste in dict.fromkeys(taste for taste in self.tastes if taste is not None):
            judged = np.array([other == taste for other in self.tastes])
            scores = known[1] if known is not None and known[0] == taste else of_ballots(taste, images, self.judge)
            for number in np.unique(maker):
                chosen = maker[ballots, winner] == number
                if chosen.any():
                    gain = scores[ballots, winner][chosen].mean() - scores[maker == number].mean()
                    self.selected[number, judged] += pages * np.count_nonzero(chosen) * gain

    def kinds(self, x: NDArray[Any], label: Ints) -> NDArray[Any]:
        """What is told apart in a diversity: what a classifier sees, or else the label, or the vector itself."""
        if self.judge is not None:
            found: NDArray[Any] = self.judge.probabilities(x).argmax(axis=1)
            return found
        return x if x.ndim == 2 else label

    def of_batch(self, batch: Batch) -> Floats:
        """The mean selection on the pages of a batch of this round, in each provider's taste, (P,)."""
        # Pages that creators adopted were not selected, and sites refuse pages whatever their reward is.
        mean: Floats = self.selected[batch.maker] / max(batch.pages, self.offered[batch.maker])
        return mean


def of_web(
    seen: Round,
    votes: Ints,
    votes_before: Ints | None,
    models: Sequence[Distribution] | Sequence[Floats],
    shown: NDArray[Any],
) -> dict[str, float]:
    """``votes`` (P,) of this round and the last; all ``models`` by their distribution or by samples for equal prompts;
    ``shown``: kinds or vectors of pages on the web. What has no number is left out.
    """
    found: dict[str, float] = {}
    if votes.sum():
        found["vote-concentration"] = measures.concentration(votes)
        if votes_before is not None and np.count_nonzero(votes_before) > 1:
            found["matthew"] = measures.matthew(votes_before, votes)
    if len(models) > 1:
        found["provider-distance"] = measures.convergence(measures.pairwise(models))
    if seen.served and len(shown) > 1:
        found["served-diversity"] = measures.served_diversity(np.concatenate(seen.served), shown)
        if shown.ndim == 1:
            found["web-diversity"] = measures.diversity(shown)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def influences(
    provider: int, by_batch: Mapping[int, int], batches: Sequence[Batch], selection: Floats, names: Sequence[str]
) -> dict[str, float]:
    """On a provider whose data set holds so many pages of each batch; ``selection`` (batches, P)."""
    total, found = sum(by_batch.values()), np.zeros(len(names))
    for number, pages in by_batch.items():
        if batches[number].maker >= 0 and number < len(selection):
            found[batches[number].maker] += pages / total * selection[number, provider]
    told = {"self-influence": float(found[provider]), "cross-influence": float(found.sum() - found[provider])}
    return told | {f"influence of {name}": float(x) for name, x in zip(names, found, strict=True)}
