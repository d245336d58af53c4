"""How a report is set: cells lined up in columns, sections under a rule, and the page that holds them.

Columns are lined up here and not by `rich.table`, because several blocks (one for each provider) share the
same columns and their sparks must stand under one another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ecosystem.reports.glyphs import GlyphSet, encodable

GAP = 2  # cells between columns
LONGEST = 20  # times what is shown is looked at of a text; to measure a megabyte takes seconds

Row: TypeAlias = Sequence[Text]


def one_line(text: str) -> str:
    return " ".join(text.split())


def shorten(text: str, width: int, g: GlyphSet) -> str:
    """The text on one line of at most `width` cells, cut with an ellipsis."""
    text = one_line(text[: LONGEST * max(width, 1)])
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - len(g.ellipsis), 1)).rstrip() + g.ellipsis


def told_apart(names: Sequence[str], width: int, g: GlyphSet) -> list[str]:
    """Names on `width` cells each; where some would then be alike, all that are too long keep their ends as well."""
    short = [shorten(name, width, g) for name in names]
    start = (width - cell_len(g.ellipsis)) // 2
    end = width - cell_len(g.ellipsis) - start
    if len(set(short)) == len(set(names)) or start < 1:
        return short
    lines = [one_line(name[: LONGEST * width] + name[-LONGEST * width :]) for name in names]
    return [
        text if text == one_line(name) else set_cell_size(line, start) + g.ellipsis + _last_cells(line, end)
        for name, text, line in zip(names, short, lines, strict=True)
    ]


def _last_cells(text: str, width: int) -> str:
    """As much of the end of a text as fits, padded to its width."""
    kept = ""
    for character in reversed(text):
        if cell_len(character + kept) > width:
            break
        kept = character + kept
    return set_cell_size(kept, width)


def widths(rows: Iterable[Row]) -> list[int]:
    return [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]


def lined_up(rows: Sequence[Row], align: str) -> list[Text]:
    """One Text a row, each cell padded to its column; `align` has "<" or ">" for each column."""
    wide = widths(rows)
    return [_joined(row, wide, align) for row in rows]


def _joined(row: Row, wide: Sequence[int], align: str) -> Text:
    line = Text(no_wrap=True)
    for i, (cell, width, side) in enumerate(zip(row, wide, align, strict=True)):
        padding = " " * (width - cell.cell_len)
        line.append(" " * (GAP if i else 0) + (padding if side == ">" else ""))
        line.append_text(cell)
        line.append(padding if side == "<" else "")
    return line


def hanging(rows: Iterable[Row]) -> Table:
    """Rows whose last cell may take several lines, each below its first."""
    rows = list(rows)
    grid = Table.grid(padding=(0, GAP, 0, 0))
    for _ in rows[0][:-1] if rows else ():
        grid.add_column(no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    return grid


def head(*titles: str) -> list[Text]:
    return [Text(title, "dim") for title in titles]


def evenly(count: int, limit: int) -> list[int]:
    """At most `limit` of `count` indices, the first and the last among them, evenly spaced."""
    if count <= limit:
        return list(range(count))
    return [int(i) for i in np.linspace(0, count - 1, limit).round()]


def indented(parts: Sequence[RenderableType], by: int = 2) -> Padding:
    return Padding(Group(*parts), (0, 0, 0, by))


def section(title: str, parts: Sequence[RenderableType], caption: str, width: int, g: GlyphSet) -> Group:
    """A titled rule, a dim sentence on how to read what follows, and the parts."""
    rule = g.rule * max(width - len(title) - 4, 0)
    heading = Text.assemble((g.rule * 2, "dim"), " ", (title, "bold"), " ", (rule, "dim"), no_wrap=True)
    note = [indented([Text(caption, "dim italic")])] if caption else []
    return Group(Text(""), heading, *note, *parts)


@dataclass(frozen=True)
class Page:
    """What a report is printed as: no line is too wide or ends in blanks (reports are committed), and every
    character can be encoded."""

    content: RenderableType
    width: int
    encoding: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.update(width=self.width, height=None)
        for line in console.render_lines(self.content, room, pad=False):
            yield from _trimmed([_safe(segment, self.encoding) for segment in line])
            yield Segment.line()


def _safe(segment: Segment, encoding: str) -> Segment:
    return segment if segment.control else Segment(encodable(segment.text, encoding), segment.style)


def _trimmed(line: list[Segment]) -> list[Segment]:
    """Without trailing blanks; a blank with a background is part of a picture and stays."""
    while line and not line[-1].control and not (line[-1].style and line[-1].style.bgcolor):
        last = line.pop()
        if text := last.text.rstrip():
            return [*line, Segment(text, last.style)]
    return line
