"""The data flow: the last row of W for each provider, whose pages its last training set was made of.

W[i, j] is the share of data set i that source j made, where a source is the humans or one generation of one provider.
A maker's column is summed over its generations; below the sum it is drawn by generation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.text import Text

from ecosystem.reports.glyphs import GlyphSet
from ecosystem.reports.layout import GAP, Row, head, indented, lined_up, section, shorten, widths
from ecosystem.reports.sparks import Scale, bin_width, scale, spark
from ecosystem.reports.wording import colours, percent
from ecosystem.summary import ProviderSummary, Source, Summary

HUMAN = "human"
OTHERS = "(others)"
NARROWEST, WIDEST = 8, 40  # cells of a maker's column
CAPTION = "W: the share of a data set that each maker's generations made; the last training sets, as counted."

Fed = Mapping[str, Sequence[Source]]


@dataclass(frozen=True)
class Column:
    """One maker and the generations of it that are in any of the data sets; or the makers that have no room."""

    title: str
    makers: frozenset[str]
    generations: range  # empty: of several makers, which share no axis

    def share(self, row: Sequence[Source]) -> float:
        return math.fsum(s["share"] for s in row if s["maker"] in self.makers)

    def by_generation(self, row: Sequence[Source], each: int) -> list[float | None]:
        """Means of `each` neighbours; None where not one of them is in the data set."""
        shares = {s["generation"]: s["share"] for s in row if s["maker"] in self.makers and s["share"] > 0}
        bins = (self.generations[i : i + each] for i in range(0, len(self.generations), each))
        return [math.fsum(shares.get(n, 0.0) for n in some) / len(some) or None for some in bins]

    def span(self, g: GlyphSet) -> str:
        """g3, or g0-g11."""
        ends = dict.fromkeys(f"g{n}" for n in (*self.generations[:1], *self.generations[-1:]))
        return g.none.join(ends)


def sources(provider: ProviderSummary) -> list[Source]:
    """Summaries written before the data flow was counted have none."""
    return provider.get("sources", [])


def data_flow(summary: Summary, width: int, g: GlyphSet) -> RenderableType | None:
    fed = {name: row for name, p in summary["providers"].items() if (row := sources(p))}
    if not fed:
        return None
    left = [head("provider", "gen", HUMAN), head("", "", ""), *(_left(name, summary, g) for name in fed)]
    room = width - 2 - sum(widths(left)) - 2 * GAP
    columns = _columns(summary, fed, max(room // (NARROWEST + GAP), 1))
    cells = min(room // max(len(columns), 1) - GAP, WIDEST)
    each = bin_width(max((len(c.generations) for c in columns), default=0), cells)
    rows = [*_heads(columns, summary, cells, g)]
    for name, row in fed.items():
        rows.append([*_left(name, summary, g), *(_share(c, name, row, g) for c in columns)])
        if _has_history(row):
            rows.append([*head("", "", ""), *_by_generation(columns, row, each, summary, g)])
    caption = f"{CAPTION} {_how_to_read(each)}" if any(map(_has_history, fed.values())) else CAPTION
    return section("Data flow", [indented(lined_up(rows, "<>>" + "<" * len(columns)))], caption, width, g)


def _has_history(row: Sequence[Source]) -> bool:
    """Whether a maker is there with more than one generation."""
    generations = [s["maker"] for s in row if s["maker"] != HUMAN and s["share"] > 0]
    return len(generations) > len(set(generations))


def _columns(summary: Summary, fed: Fed, fitting: int) -> list[Column]:
    """As many makers as fit, in the summary's order; the last of them make way for "(others)"."""
    found = {s["maker"] for row in fed.values() for s in row} - {HUMAN}
    makers = [name for name in summary["providers"] if name in found]
    kept = makers if len(makers) <= fitting else makers[: fitting - 1]
    columns = [Column(maker, frozenset([maker]), _generations(maker, fed)) for maker in kept]
    rest = frozenset(makers[len(kept) :])
    return [*columns, Column(OTHERS, rest, range(0))] if rest else columns


def _generations(maker: str, fed: Fed) -> range:
    found = [n for row in fed.values() for s in row if s["maker"] == maker and (n := s["generation"]) is not None]
    return range(min(found), max(found) + 1) if found else range(0)


def _heads(columns: Sequence[Column], summary: Summary, cells: int, g: GlyphSet) -> list[Row]:
    names = [Text(shorten(c.title, cells, g), f"bold {_ink(c, summary)}") for c in columns]
    spans = [Text(shorten(c.span(g), cells, g), "dim") for c in columns]
    return [[*head("provider", "gen", HUMAN), *names], *([[*head("", "", ""), *spans]] if any(spans) else [])]


def _left(name: str, summary: Summary, g: GlyphSet) -> Row:
    """The provider, its last generation, and the humans' share."""
    provider = summary["providers"][name]
    human = math.fsum(s["share"] for s in sources(provider) if s["maker"] == HUMAN)
    generation = provider["generations"][-1]["generation"] if provider["generations"] else None
    return [
        Text(shorten(name, 12, g), f"bold {colours(summary)[name]}"),
        Text(g.none if generation is None else f"{generation}"),
        Text(percent(human, g)),
    ]


def _share(column: Column, name: str, row: Sequence[Source], g: GlyphSet) -> Text:
    """A maker's share in total; the provider's own stands out, nothing stands back."""
    share = column.share(row)
    return Text(percent(share, g), "dim" if not share else "bold" if column.title == name else "")


def _by_generation(columns: Sequence[Column], row: Sequence[Source], each: int, summary: Summary, g: GlyphSet) -> Row:
    """On the row's own scale: one data set may be spread over a hundred generations, and its neighbour on one."""
    series = [column.by_generation(row, each) for column in columns]
    on = Scale(0.0, scale(series).high)
    return [Text(spark(s, on, 1, g), _ink(column, summary)) for column, s in zip(columns, series, strict=True)]


def _ink(column: Column, summary: Summary) -> str:
    return colours(summary).get(column.title, "default")


def _how_to_read(each: int) -> str:
    generations = "generation" if each == 1 else f"{each} generations (their mean)"
    return (
        "Below a share, the same by the generation that made it, oldest first: one character for each "
        f"{generations}, each row on its own scale."
    )
