"""The phase diagram: the verdict over two keys; over one key, the number along it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from ecosystem.reports.canvas import FAINT, GRID, INK, Canvas
from ecosystem.reports.glyphs import ASCII, GlyphSet
from ecosystem.reports.layout import evenly, indented, shorten
from ecosystem.reports.wording import VERDICT_STYLE, number
from ecosystem.sweeping.effects import Level
from ecosystem.sweeping.swept import Levels, Swept
from ecosystem.verdicts import WORST_FIRST

LETTER: Final = {"stable": "S", "improving": "I", "degrading": "D", "collapsed": "C", "undecided": "?"}
# Okabe and Ito's, as everywhere; pale enough to write on.
FILL: Final = {
    "stable": "#7fcfb9",
    "improving": "#aad9f4",
    "degrading": "#f2cf7f",
    "collapsed": "#ea9e7f",
    "undecided": "#e5bcd3",
}
WIDE, NARROW = 8, 2  # cells of a terminal: letter and number, or the letter alone


@dataclass(frozen=True)
class Cell:
    """Some points that are shown as one."""

    verdict: str  # of most of them, the worse of equals
    mean: float  # of their runs
    points: int


@dataclass(frozen=True)
class Phase:
    x: Levels
    y: Levels
    cells: dict[tuple[int, int], Cell]  # by level of x and of y

    @property
    def verdicts(self) -> list[str]:
        """Those that occur, the best first."""
        there = {cell.verdict for cell in self.cells.values()}
        return [word for word in reversed(WORST_FIRST) if word in there]


def phase(swept: Swept, x: str, y: str) -> Phase:
    across, up = swept.levels(x), swept.levels(y)
    cells = {}
    for at in sorted(set(zip(across.index.tolist(), up.index.tolist(), strict=True))):
        here = (across.index == at[0]) & (up.index == at[1])
        cells[at] = _cell(swept, here)
    return Phase(across, up, cells)


def _cell(swept: Swept, here: np.ndarray) -> Cell:
    return Cell(swept.verdict(here), float(swept.y[here].mean()), len(np.unique(swept.points[here])))


def in_terminal(found: Phase, width: int, g: GlyphSet) -> list[RenderableType]:
    """Levels of x from left to right, of y from below."""
    label = min(max(len(text) for text in found.y.labels), 16)
    room = width - label - 4
    wide = WIDE * len(found.x.labels) <= room
    cell = WIDE if wide else NARROW
    columns = evenly(len(found.x.labels), room // cell)
    lines = [Text(f"{shorten(found.y.key, width - 4, g)}", "dim")]
    for row in reversed(range(len(found.y.labels))):
        line = Text(shorten(found.y.labels[row], label, g).rjust(label) + "  ", "dim", no_wrap=True)
        for column in columns:
            line.append_text(_drawn(found.cells.get((column, row)), cell, g))
        lines.append(line)
    lines += _feet(found, columns, label, cell, g)
    return [indented(lines)]


def _drawn(cell: Cell | None, width: int, g: GlyphSet) -> Text:
    if cell is None:
        return Text(" " * width)
    text = LETTER[cell.verdict] + (f" {number(cell.mean, g)}" if width == WIDE else "")
    block = Text(text.ljust(width - 1)[: width - 1], f"black on {VERDICT_STYLE[cell.verdict].split()[-1]}")
    return block + Text(" ")


def _feet(found: Phase, columns: Sequence[int], label: int, cell: int, g: GlyphSet) -> list[Text]:
    """The levels of x, their key, and what the letters mean."""
    start = " " * (label + 2)
    if cell == WIDE:
        axis = "".join(shorten(found.x.labels[column], cell - 1, g).ljust(cell) for column in columns)
    else:
        axis = f"{found.x.labels[columns[0]]} .. {found.x.labels[columns[-1]]}"
    legend = Text(start)
    for word in found.verdicts:
        legend.append(LETTER[word], f"black on {VERDICT_STYLE[word].split()[-1]}").append(f" {word}  ", "dim")
    return [Text(start + axis, "dim", no_wrap=True), Text(f"{start}{found.x.key}", "dim"), Text(""), legend]


# Figures

MARGIN_LEFT, MARGIN_TOP, MARGIN_BELOW = 110, 60, 90  # pixels around a plot
PLOT = (560, 340)


def phase_png(found: Phase, title: str) -> bytes:
    columns, rows = len(found.x.labels), len(found.y.labels)
    wide, high = PLOT[0] / columns, PLOT[1] / rows
    canvas = _sheet(title)
    for (column, row), cell in found.cells.items():
        x, y = MARGIN_LEFT + column * wide, MARGIN_TOP + (rows - 1 - row) * high
        canvas.box((x, y), (x + wide - 1, y + high - 1), fill=FILL[cell.verdict])
        text = f"{LETTER[cell.verdict]} {number(cell.mean, ASCII)}"
        if canvas.text_width(text) < wide - 4 and high > 14:
            canvas.text((x + wide / 2, y + high / 2), text, INK, anchor="mm")
    for row in evenly(rows, 16):
        y = MARGIN_TOP + (rows - row - 0.5) * high
        canvas.text((MARGIN_LEFT - 8, y), canvas.fitting(found.y.labels[row], 96, 12), FAINT, 12, "rm")
    canvas.text((12, MARGIN_TOP - 10), canvas.fitting(found.y.key, 300), INK, anchor="ls")
    _below(canvas, [MARGIN_LEFT + (column + 0.5) * wide for column in range(columns)], found.x)
    _legend(canvas, found.verdicts)
    return canvas.png()


def line_png(levels: Levels, effect: Sequence[Level], title: str) -> bytes:
    """Means with their intervals, level by level."""
    canvas = _sheet(title)
    ends = [end for one in effect if one.mean for end in (one.mean.low, one.mean.high)]
    low, high = min(ends), max(ends)
    spread = (high - low) or abs(high) or 1.0
    xs = [MARGIN_LEFT + (column + 0.5) * PLOT[0] / len(effect) for column in range(len(effect))]

    def height(value: float) -> float:
        return MARGIN_TOP + PLOT[1] * (0.95 - 0.9 * (value - low) / spread)

    for value in (low, high):
        canvas.line([(MARGIN_LEFT, height(value)), (MARGIN_LEFT + PLOT[0], height(value))], GRID)
        canvas.text((MARGIN_LEFT - 8, height(value)), number(value, ASCII), FAINT, 12, "rm")
    means = [(x, one.mean) for x, one in zip(xs, effect, strict=True) if one.mean]
    canvas.line([(x, height(mean.effect)) for x, mean in means], INK, 2)
    for x, mean in means:
        canvas.line([(x, height(mean.low)), (x, height(mean.high))], INK, 1.5)
        canvas.dot((x, height(mean.effect)), 3, INK)
    _below(canvas, xs, levels)
    return canvas.png()


def _sheet(title: str) -> Canvas:
    canvas = Canvas(MARGIN_LEFT + PLOT[0] + 20, MARGIN_TOP + PLOT[1] + MARGIN_BELOW)
    canvas.text((12, 10), canvas.fitting(title, PLOT[0] + MARGIN_LEFT, 16), INK, 16)
    return canvas


def _below(canvas: Canvas, xs: Sequence[float], levels: Levels) -> None:
    """The axis of a key: its levels and its name."""
    bottom, room = MARGIN_TOP + PLOT[1] + 8, PLOT[0] / len(xs)
    for column in evenly(len(xs), max(2, int(PLOT[0] / 60))):
        text = canvas.fitting(levels.labels[column], max(room, 56), 12)
        canvas.text((xs[column], bottom), text, FAINT, 12, "ma")
    canvas.text((MARGIN_LEFT + PLOT[0] / 2, bottom + 20), canvas.fitting(levels.key, PLOT[0]), INK, anchor="ma")


def _legend(canvas: Canvas, words: Sequence[str]) -> None:
    x, y = float(MARGIN_LEFT), MARGIN_TOP + PLOT[1] + 62
    for word in words:
        canvas.box((x, y), (x + 14, y + 14), fill=FILL[word])
        canvas.text((x + 20, y + 7), f"{LETTER[word]} {word}", INK, 12, "lm")
        x += 34 + canvas.text_width(f"{LETTER[word]} {word}", 12)
