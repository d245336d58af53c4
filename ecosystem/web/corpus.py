"""The web's memory: append-only columns of pages.

A page is a row: its item (image or vector), label, site, author, maker, generation, lineage and round. Rows are
appended in the order of rounds and never change, so what is visible is a range of rows, and a data set is an
array of row numbers: nothing is copied until a provider trains.

*Maker* tells whose model made the item: HUMAN (-1) or a provider's number. *Lineage* is how many models the item
has passed through: 0 for a human page, 1 + the mean lineage of its model's training set for a synthetic one. Pages of
one maker, generation and round are a *batch*: what a data set holds of each batch is all there is to know of where it
came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import annotated_types as at
import numpy as np
from numpy.typing import NDArray

from ecosystem.settings import Settings

HUMAN = -1
NOBODY = -1  # author of the archive
ARCHIVE = -1  # round of the archive

Array = NDArray[Any]
Ids = NDArray[np.int64]

COLUMNS: dict[str, Any] = {
    "label": np.int32,
    "site": np.int32,
    "author": np.int64,
    "maker": np.int16,
    "generation": np.int32,
    "lineage": np.float32,
    "round": np.int32,
}


@dataclass
class Batch:
    """Pages that one maker's generation published in one round; human pages are of generation HUMAN."""

    maker: int
    generation: int
    round: int
    pages: int = 0


@dataclass(frozen=True)
class Totals:
    """Of some pages: how many are human, how many synthetic, and the sum of their lineages."""

    human: int = 0
    synthetic: int = 0
    lineage: float = 0.0

    @property
    def pages(self) -> int:
        return self.human + self.synthetic

    def with_(self, pages: int, maker: Any, lineage: Any) -> Totals:
        """With so many pages more; each of the rest as an array, or as one value for all of them."""
        human = pages * int(maker == HUMAN) if np.ndim(maker) == 0 else int(np.count_nonzero(maker == HUMAN))
        total = pages * float(np.float32(lineage)) if np.ndim(lineage) == 0 else float(_as_stored(lineage).sum())
        return Totals(self.human + human, self.synthetic + pages - human, self.lineage + total)


def _as_stored(lineage: Array) -> Array:
    return lineage.astype(np.float32).astype(np.float64)


@dataclass(frozen=True)
class Retention(Settings):
    """How many rounds a page stays visible after its own; null: for ever, 1: only in the next round."""

    human_rounds: Annotated[int, at.Ge(1)] | None = None
    synthetic_rounds: Annotated[int, at.Ge(1)] | None = None

    def and_(self, other: Retention) -> Retention:
        """What both of them keep."""
        return Retention(
            _shorter(self.human_rounds, other.human_rounds), _shorter(self.synthetic_rounds, other.synthetic_rounds)
        )


def _shorter(a: int | None, b: int | None) -> int | None:
    known = [rounds for rounds in (a, b) if rounds is not None]
    return min(known, default=None)


class Column:
    """A growing array: rows are added at the end, in constant time on average."""

    def __init__(self, dtype: Any, shape: tuple[int, ...] = ()) -> None:
        self._rows: Array = np.empty((1024, *shape), dtype)
        self._n = 0

    def append(self, rows: Array | float, count: int) -> None:
        """So many rows, or one value for all of them."""
        n = self._n + count
        if n > len(self._rows):
            grown = np.empty((max(n, 2 * len(self._rows)), *self._rows.shape[1:]), self._rows.dtype)
            grown[: self._n] = self._rows[: self._n]
            self._rows = grown
        self._rows[self._n : n] = rows
        self._n = n

    @property
    def rows(self) -> Array:
        """The rows so far, (n, ...): a view."""
        return self._rows[: self._n]


Block = tuple[Mapping[str, Array], Array]  # columns by name, and the items, of pages in a row


@dataclass(frozen=True)
class History:
    """What a corpus knows beside its pages, between two rounds."""

    round: int
    batches: Sequence[tuple[int, int, int, int]]  # maker, generation, round, pages
    totals: Sequence[tuple[int, int, float]]  # before each round: human and synthetic pages, and their lineages


class Corpus:
    """All pages ever published. ``round`` is the round now open; its pages are not visible yet."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        # An image is published with 8 bits a channel, a vector exactly.
        self._items = Column(np.uint8 if len(shape) == 3 else np.float64, shape)
        self._columns = {name: Column(dtype) for name, dtype in COLUMNS.items()}
        self._batch = Column(np.int32)
        self._numbers: dict[tuple[int, int, int], int] = {}
        self.batches: list[Batch] = []
        self.round = ARCHIVE
        self._totals = [Totals()]  # of the pages before each round, from the archive on
        self._open = Totals()  # of all pages

    @classmethod
    def restored(cls, shape: tuple[int, ...], blocks: Iterable[Block], history: History) -> Corpus:
        """The corpus whose pages stand in ``blocks``, in their order, between two rounds."""
        corpus = cls(shape)
        corpus.round, corpus.batches = history.round, [Batch(*row) for row in history.batches]
        corpus._numbers = {(b.maker, b.generation, b.round): n for n, b in enumerate(corpus.batches)}
        corpus._totals = [Totals(*row) for row in history.totals]
        corpus._open = corpus._totals[-1]
        for columns, items in blocks:
            corpus._items.append(items, len(items))
            for name in COLUMNS:
                corpus._columns[name].append(columns[name], len(items))
            corpus._batch.append(corpus._numbers_of(columns), len(items))
        return corpus

    def history_before(self, round: int) -> History:
        """What was known when a round began."""
        batches = [(b.maker, b.generation, b.round, b.pages) for b in self.batches if b.round < round]
        totals = [(t.human, t.synthetic, t.lineage) for t in self._totals[: round - ARCHIVE + 1]]
        return History(round, batches, totals)

    def _numbers_of(self, columns: Mapping[str, Array]) -> Array:
        """The batch of each page, (pages,), by its columns."""
        keys = np.stack([columns[name].astype(np.int64) for name in ("maker", "generation", "round")], axis=1)
        found, which = np.unique(keys, axis=0, return_inverse=True)
        return np.array([self._numbers[tuple(key)] for key in found.tolist()], dtype=np.int32)[which.reshape(-1)]

    def __len__(self) -> int:
        return len(self._items.rows)

    @property
    def items(self) -> Array:
        """(pages, C, H, W) uint8 or (pages, D) float64."""
        return self._items.rows

    def column(self, name: str) -> Array:
        """One of COLUMNS, (pages,)."""
        return self._columns[name].rows

    def publish(self, items: Array, **columns: Any) -> None:
        """Append pages of the open round; every column but ``round`` as an array or one value for all."""
        if len(items) == 0:
            return
        n = len(items)
        self._items.append(items, n)
        self._batch.append(self._batches(n, columns["maker"], columns["generation"]), n)
        self._open = self._open.with_(n, columns["maker"], columns["lineage"])
        for name, column in self._columns.items():
            column.append(self.round if name == "round" else columns[name], n)

    def _batches(self, pages: int, maker: Any, generation: Any) -> Array | int:
        """The batch of each new page, (pages,), or of them all; a batch is counted as it grows."""
        if np.ndim(maker) == np.ndim(generation) == 0:
            return self._count(int(maker), int(generation), pages)
        pairs = np.empty((pages, 2), np.int64)
        pairs[:, 0], pairs[:, 1] = maker, generation
        found, which, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
        numbers = [self._count(int(m), int(g), int(n)) for (m, g), n in zip(found, counts, strict=True)]
        return np.array(numbers)[which.reshape(-1)]

    def _count(self, maker: int, generation: int, pages: int) -> int:
        """The number of a batch of the open round, which has that many pages more."""
        key = (maker, generation, self.round)
        if key not in self._numbers:
            self._numbers[key] = len(self.batches)
            self.batches.append(Batch(*key))
        number = self._numbers[key]
        self.batches[number].pages += pages
        return number

    def count_batches(self, ids: Ids) -> dict[int, int]:
        """How many of these pages are of each batch, those without any left out."""
        counts = np.bincount(self._batch.rows[ids])
        return {int(number): int(counts[number]) for number in np.flatnonzero(counts)}

    def close(self) -> None:
        """End the open round: its pages become visible in the next."""
        self.round += 1
        self._totals.append(self._open)

    def shown(self, retention: Retention) -> Totals:
        """The totals of ``visible``, known without a look at the pages."""
        end = self._before(self.round)
        human, synthetic = (
            Totals() if kept is None else self._before(self.round - kept)
            for kept in (retention.human_rounds, retention.synthetic_rounds)
        )
        return Totals(end.human - human.human, end.synthetic - synthetic.synthetic, end.lineage - synthetic.lineage)

    def visible(self, retention: Retention) -> Ids:
        """The pages that can be read in the open round, in order of publication."""
        end = self._before(self.round).pages
        first_human, first_synthetic = (
            0 if kept is None else self._before(self.round - kept).pages
            for kept in (retention.human_rounds, retention.synthetic_rounds)
        )
        start = min(first_human, first_synthetic)
        ids = np.arange(start, end)
        if first_human == first_synthetic:
            return ids
        human = self.column("maker")[start:end] == HUMAN
        return ids[ids >= np.where(human, first_human, first_synthetic)]

    def since(self, round: int) -> int:
        """The number of the first page of a round, or of the next one that has any."""
        return self._before(round).pages

    def _before(self, round: int) -> Totals:
        """The totals of the pages that are older than a round."""
        return self._totals[max(0, min(round - ARCHIVE, len(self._totals) - 1))]
