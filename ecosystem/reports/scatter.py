"""Vectors drawn with characters: small framed scatter panels, all on the axes of the human sample.

A braille cell has two by four dots, so a panel of 16 x 8 cells shows 32 x 32; in ASCII a cell says how
crowded it is. Points outside the axes are drawn on the edge, where runaway generations pile up. Vectors of
one number are drawn as histograms of one line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from ecosystem.reports.glyphs import GlyphSet

MARGIN = 0.1  # of the human sample's range, on each side
LARGEST = 1e150  # of a human number; the range of larger ones could not be told

Floats = NDArray[np.float64]

# The dots of a braille cell by row (downwards) and column.
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])


@dataclass(frozen=True)
class Axes:
    low: Floats  # (D,)
    high: Floats

    @classmethod
    def of(cls, human: Floats) -> Axes:
        known = human[np.isfinite(human).all(axis=1)].clip(-LARGEST, LARGEST)
        low, high = (known.min(axis=0), known.max(axis=0)) if len(known) else np.zeros((2, human.shape[1]))
        margin = np.where(high > low, MARGIN * (high - low), 0.5)
        return cls(low - margin, high + margin)

    def cells(self, points: Floats, columns: int, rows: int) -> NDArray[np.intp]:
        """(n, 2) row and column of each point, the first row at the top."""
        known = points[np.isfinite(points).all(axis=1)]
        with np.errstate(over="ignore"):  # far out is on the edge, however far
            position = np.clip((known - self.low) / (self.high - self.low), 0, 1 - 1e-9)
        across, down = position[:, 0], 1 - 1e-9 - position[:, 1]
        return np.stack([down * rows, across * columns], axis=1).astype(np.intp)


def panel(points: Floats, axes: Axes, title: str, columns: int, colour: str, g: GlyphSet) -> list[Text]:
    """A frame of `columns` cells, half as many rows, around the points' first two coordinates."""
    rows = columns // 2
    draw = _braille if g.braille else _crowded
    left, line, right, side, bottom_left, bottom_right = tuple(g.frame)
    top = f"{left}{line} {title} ".ljust(columns + 1, line) + right
    lines = [Text(top, "dim")]
    for text in draw(axes.cells(points, columns * _dots(g)[0], rows * _dots(g)[1]), columns, rows, g):
        lines.append(Text.assemble((side, "dim"), (text, colour), (side, "dim")))
    return [*lines, Text(f"{bottom_left}{line * columns}{bottom_right}", "dim")]


def _dots(g: GlyphSet) -> tuple[int, int]:
    return (2, 4) if g.braille else (1, 1)


def _braille(cells: NDArray[np.intp], columns: int, rows: int, g: GlyphSet) -> list[str]:
    grid = np.zeros((rows, columns), dtype=int)
    np.bitwise_or.at(grid, (cells[:, 0] // 4, cells[:, 1] // 2), _DOTS[cells[:, 0] % 4, cells[:, 1] % 2])
    # Some fonts draw the empty braille cell as eight rings; a blank is a blank in all of them.
    return ["".join(chr(0x2800 + dots) if dots else " " for dots in line) for line in grid]


def _crowded(cells: NDArray[np.intp], columns: int, rows: int, g: GlyphSet) -> list[str]:
    grid = np.zeros((rows, columns), dtype=int)
    np.add.at(grid, (cells[:, 0], cells[:, 1]), 1)
    # The busiest cell is the last of the ramp; a single point is never the first, which is empty.
    top = len(g.density) - 1
    levels = np.ceil(top * np.sqrt(grid / max(grid.max(), 1))).astype(int)
    return ["".join(g.density[i] for i in line) for line in levels]


def histogram(values: Floats, axes: Axes, columns: int, g: GlyphSet) -> str:
    """One line for (n, 1) vectors, as high as its own mode; empty bins are blank."""
    known = values[np.isfinite(values[:, 0]), 0]
    with np.errstate(over="ignore"):
        position = np.clip((known - axes.low[0]) / (axes.high[0] - axes.low[0]), 0, 1 - 1e-9)
    bins = np.bincount((position * columns).astype(np.intp), minlength=columns)
    levels = np.ceil(len(g.spark) * bins / max(bins.max(), 1)).astype(int)
    return "".join(g.spark[i - 1] if i else " " for i in levels)
