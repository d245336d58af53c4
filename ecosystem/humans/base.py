"""Where human data come from: a source hands out items by name, and keeps some back to measure against.

A source is *endless* (a density that can always be sampled) or *finite* (a reservoir of real files). Either
way the items it draws depend on names alone (see ``ecosystem.rng``), never on the order of calls:

- endless: item i of ``draw(n, seed, who, round)`` is the same for every n > i;
- finite: positions used .. used + n of one order of the reservoir, which depends on the seed alone, so a page
  is published once, and a run stops with ``DataError`` rather than publishing it twice.

``held_out`` is the same for every seed and is never handed out by a finite source's ``draw``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecosystem.distribution import Distribution
from ecosystem.errors import DataError
from ecosystem.rng import stream

Modes = tuple[NDArray[np.float64], float]  # centres (M, D) and the common standard deviation, in units of x


@dataclass(frozen=True, eq=False)
class Items:
    """N vectors or images with their labels; not to be written to, sources share their arrays."""

    x: NDArray[Any]  # (N, D) float64, or (N, C, H, W) uint8
    y: NDArray[np.int64]  # (N,), in 0 .. classes - 1

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: NDArray[Any] | slice) -> Items:
        """The items at ``index`` (positions, a mask or a slice), in that order."""
        return Items(self.x[index], self.y[index])


class Humans(ABC):
    """A source of human items."""

    name: str  # the YAML key ``source``
    shape: tuple[int, ...]  # of one item: (D,) for vectors, (C, H, W) for images
    classes: int  # 1 where items carry no label
    known_classes: int = 0  # that a classifier can learn to tell, also where the items carry no label here
    pool_size: int | None  # items that draw can hand out in one run; None: endless, or known to ``ready`` alone
    modes: Modes | None  # where the density is a mixture of known modes
    distribution: Distribution | None = None  # where it is known exactly
    held_out_size: int  # items; known without reading any
    details: str = ""  # what tells its items from others of the same name

    def ready(self, pages: int = 0) -> None:
        """Raise DataError now, where items would be missing in the midst of a run that draws ``pages`` of them."""
        return

    @property
    def fingerprint(self) -> str:
        """A digest of items that the settings do not fix, as those of a folder that may change; else ""."""
        return ""

    @property
    def conditions(self) -> str:
        """The name under which a card's baseline was measured: labels that are hidden make another task."""
        name = f"{self.name} {self.details}".rstrip()
        return f"{name} without labels" if self.classes == 1 < self.known_classes else name

    @abstractmethod
    def draw(self, n: int, *, seed: int, who: str, round: int, used: int) -> Items:
        """``n`` items for ``who`` in ``round``; ``used`` counts what this run has drawn before."""

    @abstractmethod
    def held_out(self) -> Items:
        """The fixed set that models are measured against."""

    @abstractmethod
    def pool(self, limit: int) -> Items:
        """At most ``limit`` items to train a classifier on, the same for every seed."""


class Endless(Humans):
    """A density: ``sample(n, generator)`` gives n items, of which the first do not depend on n."""

    pool_size = None

    def __init__(
        self,
        name: str,
        sample: Callable[[int, np.random.Generator], Items],
        classes: int,
        held_out: int,
        modes: Modes | None = None,
        distribution: Distribution | None = None,
    ) -> None:
        self.name, self.classes, self.modes, self.distribution = name, classes, modes, distribution
        self._sample = sample
        self._held_out = sample(held_out, stream(0, "humans", "held out"))
        self.held_out_size = held_out
        self.shape = tuple(self._held_out.x.shape[1:])

    def draw(self, n: int, *, seed: int, who: str, round: int, used: int) -> Items:
        return self._sample(n, stream(seed, who, "human pages", round))

    def held_out(self) -> Items:
        return self._held_out

    def pool(self, limit: int) -> Items:
        return self._sample(limit, stream(0, "humans", "pool"))


class Reservoir(Humans):
    """A finite source: a training part to draw from, and a held-out part."""

    modes = None

    def __init__(
        self, name: str, training: Items, held_out: Items, classes: int, known_classes: int | None = None
    ) -> None:
        self.name, self.classes = name, classes
        self.known_classes = classes if known_classes is None else known_classes
        self.shape, self.pool_size = tuple(training.x.shape[1:]), len(training)
        self._training, self._held_out, self.held_out_size = training, held_out, len(held_out)

    def draw(self, n: int, *, seed: int, who: str, round: int, used: int) -> Items:
        if used + n > len(self._training):
            raise self._exhausted(n, who, round, used)
        order = stream(seed, "humans", "order").permutation(len(self._training))
        return self._training.take(order[used : used + n])

    def held_out(self) -> Items:
        return self._held_out

    def pool(self, limit: int) -> Items:
        return self._training.take(slice(limit))

    def _exhausted(self, n: int, who: str, round: int, used: int) -> DataError:
        return DataError(
            f"humans: source '{self.name}' has {len(self._training):,} pages to hand out; {used:,} are used, "
            f"and {who} asks for {n:,} more in round {round}.\n"
            "Remedy: a smaller web.archive, fewer or slower creators, fewer rounds, or a larger source "
            "(ring-8 and the other densities are endless)."
        )


def unlabelled(items: Items) -> Items:
    """The same items, all of one class."""
    return Items(items.x, np.zeros(len(items), dtype=np.int64))
