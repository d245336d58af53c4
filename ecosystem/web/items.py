"""The items of all pages: rows that are added at the end and never change, in blocks of which no one ever moves.

Blocks double in size up to 64 MB. Those beyond ``IN_MEMORY`` bytes lie in a file without a name that is mapped into
memory, so that a web of images may be larger than the machine's memory; the system's own cache decides which of them
are at hand. The file lies where temporary files do (TMPDIR) and is gone with the process.
"""

from __future__ import annotations

import math
import tempfile
from bisect import bisect_right
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FIRST_ROWS = 1024
LARGEST_BLOCK = 64 * 2**20  # bytes
IN_MEMORY = 2**30  # bytes


class Items:
    """(n, ...) of one type. Read by positions, a mask or a slice, it gives an array; nobody writes into it."""

    def __init__(self, dtype: Any, shape: tuple[int, ...], in_memory: int = IN_MEMORY) -> None:
        self.dtype, self._shape, self._in_memory = np.dtype(dtype), shape, in_memory
        self._blocks: list[Array] = []
        self._starts: list[int] = [0]  # of each block, and of the one to come
        self._n = 0

    def __len__(self) -> int:
        return self._n

    @property
    def shape(self) -> tuple[int, ...]:
        return (self._n, *self._shape)

    @property
    def item_bytes(self) -> int:
        return math.prod(self._shape) * int(self.dtype.itemsize)

    def append(self, rows: Array) -> None:
        done = 0
        while done < len(rows):
            if self._n == self._starts[-1]:
                self._grow()
            room = min(self._starts[-1] - self._n, len(rows) - done)
            start = self._n - self._starts[-2]
            self._blocks[-1][start : start + room] = rows[done : done + room]
            self._n += room
            done += room

    def __getitem__(self, which: Any) -> Array:
        if isinstance(which, slice):
            first, end, by = which.indices(self._n)
            return self._rows(first, end, by) if by > 0 else self[np.arange(first, end, by)]
        ids = self._positions(np.asarray(which))
        if len(ids) == 0:
            return np.empty((0, *self._shape), self.dtype)
        first, last = (bisect_right(self._starts, int(number)) - 1 for number in (ids.min(), ids.max()))
        if first == last:
            found: Array = np.take(self._blocks[first], ids - self._starts[first], axis=0)
            return found
        return self._of_blocks(ids)

    def _of_blocks(self, ids: Array) -> Array:
        """Those of several blocks, (N, ...): one block after the other, so that a disk is read in one direction."""
        found = np.empty((len(ids), *self._shape), self.dtype)
        order = np.argsort(ids, kind="stable") if (ids[1:] < ids[:-1]).any() else None  # a data set stands in order
        ids = ids if order is None else ids[order]
        ends = np.searchsorted(ids, self._starts[1:])
        for block, start, begin, end in zip(self._blocks, self._starts, [0, *ends], ends, strict=False):
            rows = ids[begin:end] - start
            if order is None:
                np.take(block, rows, axis=0, out=found[begin:end], mode="clip")
            else:
                found[order[begin:end]] = np.take(block, rows, axis=0)
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self[:], dtype=dtype)

    def _positions(self, ids: Array) -> Array:
        """Of a mask, or of positions that may be counted from the end, (N,)."""
        if ids.dtype == bool:
            if len(ids) != self._n:
                raise IndexError(f"a mask of {len(ids)} rows for {self._n}")
            return np.flatnonzero(ids)
        low, high = (ids.min(), ids.max()) if len(ids) else (0, -1)
        if low < -self._n or high >= self._n:
            raise IndexError(f"row {low if low < -self._n else high} of {self._n}")
        return ids if low >= 0 else np.where(ids < 0, ids + self._n, ids)

    def _rows(self, first: int, end: int, by: int) -> Array:
        """From first to end: a view, where one block holds them."""
        parts = [
            block[max(0, first - start) : max(0, end - start)]
            for block, start in zip(self._blocks, self._starts, strict=False)
            if start < end and first < start + len(block)
        ]
        if len(parts) == 1:
            return parts[0][::by]
        return np.concatenate([np.empty((0, *self._shape), self.dtype), *parts])[::by]

    def _grow(self) -> None:
        """One block more."""
        rows = min(FIRST_ROWS << len(self._blocks), max(1, LARGEST_BLOCK // max(1, self.item_bytes)))
        shape = (rows, *self._shape)
        if self._starts[-1] * self.item_bytes < self._in_memory:
            self._blocks.append(np.empty(shape, self.dtype))
        else:
            with tempfile.TemporaryFile(prefix="ecosystem-") as file:
                self._blocks.append(np.memmap(file, self.dtype, "w+", shape=shape))
        self._starts.append(self._starts[-1] + rows)
