"""Pages in front of a scraper, as arrays, and what a policy of the scraper makes of them.

Policies speak of pages by *position*, 0 .. N-1 in order of publication. A filter says of every page whether it stays
(``Kept``); a stage of selection says which pages are taken (``Taken``), and may take a page more than once. Both tell
what they measured on the way. Items are read in blocks and only where a policy looks at them, since they may be many
times larger than memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecosystem.web.corpus import Array, Ids

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

VALUES = 2**20  # numbers in a block of items; 8 MB as float64


@dataclass(frozen=True, eq=False)
class Found:
    """N pages. ``synthetic`` is the truth, for detectors of given rates and for labels that somebody paid for."""

    ids: Ids  # (N,) page numbers, ascending
    synthetic: Mask  # (N,)
    label: Array  # (N,) int
    marks: Array  # (N,) uint8, bits of web/marks.py
    site: Array  # (N,) int
    round: Array  # (N,) int
    items: Callable[[Ids], Array]  # positions (n,) -> (n, C, H, W) uint8 or (n, D) float64, a copy

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, positions: Ids) -> Found:
        """Those at some positions, for the next policy."""
        return Found(
            ids=self.ids[positions],
            synthetic=self.synthetic[positions],
            label=self.label[positions],
            marks=self.marks[positions],
            site=self.site[positions],
            round=self.round[positions],
            items=lambda some: self.items(positions[some]),
        )

    def blocks(self) -> Iterator[tuple[Ids, Array]]:
        """Positions (n,) and items (n, ...), one block after the other."""
        if len(self) == 0:
            return
        rows = max(1, VALUES // self.items(np.arange(1)).size)
        for start in range(0, len(self), rows):
            positions = np.arange(start, min(start + rows, len(self)))
            yield positions, self.items(positions)

    def measure(self, call: Callable[[Array], Array]) -> Array:
        """What ``call`` makes of items, (n, ...) -> (n,), for all pages: (N,)."""
        return np.concatenate([np.empty(0), *(call(x) for _, x in self.blocks())])


@dataclass(frozen=True, eq=False)
class Kept:
    """Of a filter. ``told`` is what it measured, by name, for the record."""

    keep: Mask  # (N,)
    told: dict[str, float]


@dataclass(frozen=True, eq=False)
class Taken:
    """Of a stage of selection."""

    positions: Ids  # (M,) ascending; a page taken twice stands there twice
    told: dict[str, float]
