"""The web's memory: append-only columns of pages.

A page is a row: its item (image or vector), label, site, author, marks (marks.py) and batch. Rows are appended in
the order of rounds and never change, so what is visible is a range of rows, and a data set is an array of row numbers:
nothing is copied until a provider trains.

*Maker* tells whose model made the item: HUMAN (-1) or a provider's number. *Lineage* is how many models the item
has passed through: 0 for a human page, 1 + the mean lineage of its model's training set for a synthetic one. Pages of
one maker, generation and round are a *batch*, and have one lineage: what a data set holds of each batch is all there is
to know of where it came from. A page that stands NOWHERE is private: its author trains on it, and the web never shows
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import annotated_types as at
import numpy as np
from numpy.typing import NDArray

from ecosystem.settings import Settings
from ecosystem.web.items import Items

HUMAN = -1
NOBODY = -1  # author of the archive
ARCHIVE = -1  # round of the archive
NOWHERE = -1  # site of private pages
EVERYBODY = -1  # owner of pages on the web

Array = NDArray[Any]
Ids = NDArray[np.int64]

OWN: dict[str, Any] = {"label": np.int32, "site": np.int32, "author": np.int64, "marks": np.uint8}
OF_BATCH: dict[str, Any] = {"maker": np.int16, "generation": np.int32, "lineage": np.float32, "round": np.int32}
COLUMNS = OWN | OF_BATCH


@dataclass
class Batch:
    """Pages that one maker's generation published in one round; human pages are of generation HUMAN.

    ``owner``: the author whose private pages they are, or EVERYBODY.
    """

    maker: int
    generation: int
    round: int
    owner: int
    lineage: float
    pages: int = 0

    @property
    def private(self) -> bool:
        return self.owner != EVERYBODY


@dataclass(frozen=True)
class Totals:
    """Of some pages: how many are human, how many synthetic, the sum of their lineages, and how many are private.

    Private pages are none of the others.
    """

    human: int = 0
    synthetic: int = 0
    lineage: float = 0.0
    private: int = 0

    @property
    def pages(self) -> int:
        """On the web."""
        return self.human + self.synthetic

    @property
    def rows(self) -> int:
        return self.pages + self.private

    def with_(self, batch: Batch, pages: int) -> Totals:
        """With so many pages of a batch more."""
        if batch.private:
            return Totals(self.human, self.synthetic, self.lineage, self.private + pages)
        human = pages if batch.maker == HUMAN else 0
        lineage = self.lineage + pages * batch.lineage
        return Totals(self.human + human, self.synthetic + pages - human, lineage, self.private)


@dataclass(frozen=True)
class Retention(Settings):
    """How many rounds a page stays visible after its own; null: for ever, 1: only in the next round."""

    human_rounds: Annotated[int, at.Ge(1)] | None = None
    synthetic_rounds: Annotated[int, at.Ge(1)] | None = None

    def and_(self, other: Retention) -> Retention:
        """What both of them keep."""
        if other.human_rounds is None and other.synthetic_rounds is None:
            return self
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

    def append(self, rows: Array | float | tuple[float, ...], count: int) -> None:
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
    batches: Sequence[tuple[int, int, int, int, float, int]]  # the fields of Batch
    totals: Sequence[tuple[int, int, float, int]]  # before each round: the fields of Totals


class Corpus:
    """All pages ever published. ``round`` is the round now open; its pages are not visible yet."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        # An image is published with 8 bits a channel, a vector exactly.
        self.items = Items(np.uint8 if len(shape) == 3 else np.float64, shape)
        self._columns = {name: Column(dtype) for name, dtype in OWN.items()}
        self._of_batch = Column(np.dtype(list(OF_BATCH.items()), align=True))
        self._batch = Column(np.int32)
        self._numbers: dict[tuple[int, int, int, int], int] = {}
        self.batches: list[Batch] = []
        self.round = ARCHIVE
        self._totals = [Totals()]  # of the pages before each round, from the archive on
        self._open = Totals()  # of all pages

    @classmethod
    def restored(cls, shape: tuple[int, ...], blocks: Iterable[Block], history: History) -> Corpus:
        """The corpus whose pages stand in ``blocks``, in their order, between two rounds."""
        corpus = cls(shape)
        for row in history.batches:
            corpus._add_batch(Batch(*row))
        corpus.round, corpus._totals = history.round, [Totals(*row) for row in history.totals]
        corpus._open = corpus._totals[-1]
        for columns, items in blocks:
            corpus.items.append(items)
            for name in OWN:
                corpus._columns[name].append(columns[name], len(items))
            corpus._batch.append(corpus._numbers_of(columns), len(items))
        return corpus

    def history_before(self, round: int) -> History:
        """What was known when a round began."""
        batches = [(b.maker, b.generation, b.round, b.owner, b.lineage, b.pages) for b in self.batches]
        totals = [(t.human, t.synthetic, t.lineage, t.private) for t in self._totals[: round - ARCHIVE + 1]]
        return History(round, [batch for batch in batches if batch[2] < round], totals)

    def _numbers_of(self, columns: Mapping[str, Array]) -> Array:
        """The batch of each page, (pages,), by its columns."""
        keys = np.stack([columns[name].astype(np.int64) for name in ("maker", "generation", "round", "author")], axis=1)
        keys[columns["site"] != NOWHERE, 3] = EVERYBODY
        found, which = np.unique(keys, axis=0, return_inverse=True)
        numbers = [self._numbers[tuple(key)] for key in found.tolist()]
        return np.array(numbers, dtype=np.int32)[which.reshape(-1)]

    def __len__(self) -> int:
        return len(self.items)

    def column(self, name: str) -> Array:
        """One of COLUMNS, (pages,)."""
        return self.of(name, slice(None))

    def of(self, name: str, ids: Ids | slice) -> Array:
        """One of COLUMNS, of these pages, (N,)."""
        if name in OWN:
            return self._columns[name].rows[ids]
        found: Array = self._of_batch.rows[name][self._batch.rows[ids]]
        return found

    def publish(
        self,
        items: Array,
        *,
        label: Any,
        site: Any,
        author: Any,
        maker: Any,
        generation: Any,
        lineage: Any,
        marks: Any = 0,
        which: Array | None = None,
    ) -> None:
        """Append pages of the open round; label, site, author and marks as an array (pages,) or one value for all.

        Maker, generation and lineage are one value for all, or one for each of some models, no two alike, ``which``
        (pages,) of them made each page. Pages at site NOWHERE, all or none of them, are private, and of one author.
        """
        n = len(items)
        if n == 0:
            return
        owner = int(author) if np.ndim(site) == 0 and int(site) == NOWHERE else EVERYBODY
        models = [(maker, generation, lineage)] if which is None else list(zip(maker, generation, lineage, strict=True))
        self._batch.append(self._batches(models, owner, n, which), n)
        for name, value in {"label": label, "site": site, "author": author, "marks": marks}.items():
            self._columns[name].append(value, n)
        self.items.append(items)

    def _batches(
        self, models: Sequence[tuple[Any, Any, Any]], owner: int, pages: int, which: Array | None
    ) -> Array | int:
        """The batch of each new page, (pages,), or of them all; a batch is counted as it grows."""
        if which is None or len(models) == 1:
            return self._count(*models[0], owner, pages)
        counts, numbers = np.bincount(which, minlength=len(models)), np.zeros(len(models), np.int32)
        for model, made in enumerate(counts.tolist()):
            if made:
                numbers[model] = self._count(*models[model], owner, made)
        found: Array = numbers[which]
        return found

    def _count(self, maker: int, generation: int, lineage: float, owner: int, pages: int) -> int:
        """The number of a batch of the open round, which has that many pages more."""
        key = (int(maker), int(generation), self.round, owner)
        number = self._numbers.get(key)
        if number is None:
            number = self._add_batch(Batch(*key, lineage=float(np.float32(lineage))))
        batch = self.batches[number]
        batch.pages += pages
        self._open = self._open.with_(batch, pages)
        return number

    def _add_batch(self, batch: Batch) -> int:
        number = len(self.batches)
        self._numbers[batch.maker, batch.generation, batch.round, batch.owner] = number
        self.batches.append(batch)
        self._of_batch.append(tuple(getattr(batch, name) for name in OF_BATCH), 1)
        return number

    def count_batches(self, ids: Ids) -> dict[int, int]:
        """How many of these pages are of each batch, those without any left out."""
        counts = np.bincount(self._batch.rows[ids])
        return {int(number): int(counts[number]) for number in np.flatnonzero(counts)}

    def totals_of(self, ids: Ids) -> Totals:
        """The totals of these pages."""
        totals = Totals()
        for number, pages in self.count_batches(ids).items():
            totals = totals.with_(self.batches[number], pages)
        return totals

    def private_of(self, author: int) -> Ids:
        """The private pages of an author that were there when the open round began."""
        end = self._before(self.round).rows
        own = (self.column("site")[:end] == NOWHERE) & (self.column("author")[:end] == author)
        return np.flatnonzero(own)

    def close(self) -> None:
        """End the open round: its pages become visible in the next."""
        self.round += 1
        self._totals.append(self._open)

    def shown(self, retention: Retention) -> Totals:
        """The totals of ``visible``, known without a look at the pages."""
        end = self._before(self.round)
        human, synthetic = (
            self._totals[0] if kept is None else self._before(self.round - kept)
            for kept in (retention.human_rounds, retention.synthetic_rounds)
        )
        return Totals(end.human - human.human, end.synthetic - synthetic.synthetic, end.lineage - synthetic.lineage)

    def visible(self, retention: Retention) -> Ids:
        """The pages that can be read in the open round, in order of publication."""
        now = self._before(self.round)
        end = now.rows
        first_human, first_synthetic = (
            0 if kept is None else self._before(self.round - kept).rows
            for kept in (retention.human_rounds, retention.synthetic_rounds)
        )
        start = min(first_human, first_synthetic)
        ids = np.arange(start, end)
        if now.private:
            ids = ids[self.column("site")[start:end] != NOWHERE]
        if first_human == first_synthetic:
            return ids
        human = self.of("maker", ids) == HUMAN
        return ids[ids >= np.where(human, first_human, first_synthetic)]

    def since(self, round: int) -> int:
        """The number of the first page of a round, or of the next one that has any."""
        return self._before(round).rows

    def _before(self, round: int) -> Totals:
        """The totals of the pages that are older than a round."""
        return self._totals[max(0, min(round - ARCHIVE, len(self._totals) - 1))]
