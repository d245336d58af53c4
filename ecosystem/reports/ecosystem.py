"""Co-evolution: what was measured of the web and told of providers, groups and scrapers, by round, as sparks.

Many agents of a kind make way for "(n others)", whose lines are means. What the selections at all providers did to each
provider that trains is a matrix, as large as fits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, zip_longest

from rich.console import RenderableType
from rich.text import Text

from ecosystem.reports.glyphs import GlyphSet
from ecosystem.reports.layout import GAP, Row, head, indented, lined_up, section, shorten, widths
from ecosystem.reports.sparks import Scale, Series, bin_width, finite, scale, spark
from ecosystem.reports.wording import colours, direction, number
from ecosystem.summary import Ecosystem, MetricInfo, Summary

Told = Mapping[str, Series]  # by measure

SHOWN = 6  # agents of a kind; of more, all but the last of these by name
MOST_ROWS = 12  # of the matrix
NARROW = 70  # cells, below which there is no room for units
INFLUENCE = "influence of "
OTHERS = "(others)"
PLAIN: MetricInfo = {"unit": "", "better": "neither"}

# What only such an agent is told of. The summary does not say what an agent is.
OF_CREATORS = {"active", "adopted-share", "reservoir-left"}
OF_USERS = {"welfare", "refused"}


@dataclass(frozen=True)
class Block:
    """The lines of one agent, or the mean lines of several."""

    title: str
    told: Told
    colour: str


def coevolution(summary: Summary, width: int, g: GlyphSet) -> RenderableType | None:
    found = summary.get("ecosystem")
    blocks = list(_blocks(found, summary)) if found else []
    if not found or not blocks:
        return None
    on = _scales(found)
    lines = [(block, name) for block in blocks for name in block.told]
    infos, room = found["measures"], 12 if width >= NARROW else 0
    titles = head("measure", "unit"[:room], "first", "last")
    numbers = [_numbers(name, block.told[name], infos.get(name, PLAIN), room, g) for block, name in lines]
    longest = max(len(block.told[name]) for block, name in lines)
    each = bin_width(longest, width - 2 - sum(widths([titles, *numbers])) - 4 * GAP)
    sparks = [Text(spark(block.told[name], on[name], each, g), block.colour) for block, name in lines]
    rows = [[*row[:3], line, row[3]] for row, line in zip(numbers, sparks, strict=True)]
    first, *told = lined_up([[*titles[:3], *head("by round"), titles[3]], *rows], "<<><>")
    parts: list[RenderableType] = [indented([first])]
    for block in blocks:
        parts.append(Text(f"  {shorten(block.title, width - 2, g)}", f"bold {block.colour}"))
        parts.append(indented(told[: len(block.told)]))
        told = told[len(block.told) :]
    return section("Co-evolution", [*parts, *_matrix(found, summary, width, g)], _caption(each, on, g), width, g)


# Who is told of


def _blocks(found: Ecosystem, summary: Summary) -> Iterator[Block]:
    """The web, providers, users, creators, scrapers, each kind in its order."""
    yield from _block("web", found["web"], "default")
    agents = {name: _listed(told) for name, told in found["agents"].items()}
    for kind in range(4):
        names = [name for name, told in agents.items() if told and _kind(name, told, summary) == kind]
        kept = names if len(names) <= SHOWN else names[: SHOWN - 1]
        for name in kept:
            yield from _block(name, agents[name], colours(summary).get(name, "default"))
        if rest := [agents[name] for name in names[len(kept) :]]:
            yield from _block(f"({len(rest)} others, their mean)", _mean(rest), "default")


def _block(title: str, told: Told, colour: str) -> Iterator[Block]:
    if told:
        yield Block(title, told, colour)


def _listed(told: Told) -> Told:
    """What has a line of its own; influences stand in the matrix."""
    return {name: series for name, series in told.items() if not name.startswith(INFLUENCE)}


def _kind(name: str, told: Told, summary: Summary) -> int:
    if name in summary["providers"]:
        return 0
    if told.keys() & OF_CREATORS:
        return 2
    return 1 if told.keys() & OF_USERS else 3


def _mean(agents: Sequence[Told]) -> Told:
    """By measure and round, over those that were told of it."""
    names = dict.fromkeys(name for told in agents for name in told)
    rounds = {name: zip_longest(*(told[name] for told in agents if name in told)) for name in names}
    return {name: [_mean_of(values) for values in rounds[name]] for name in names}


def _mean_of(values: Series) -> float | None:
    known = finite(values)
    return math.fsum(known) / len(known) if known else None


# Lines


def _scales(found: Ecosystem) -> dict[str, Scale]:
    """Each measure's range over all of whom it is told."""
    series: dict[str, list[Series]] = {}
    for told in (found["web"], *found["agents"].values()):
        for name, values in told.items():
            series.setdefault(name, []).append(values)
    return {name: scale(each) for name, each in series.items()}


def _numbers(name: str, series: Series, info: MetricInfo, room: int, g: GlyphSet) -> Row:
    """All of a line but its spark, with so much room for the unit; first and last are those known."""
    known = finite(series) or [math.nan]
    return [
        Text(f"{direction(info['better'], g)} {shorten(name, 18, g)}"),
        Text(shorten(info["unit"], room, g) if room else "", "dim"),
        Text(number(known[0], g)),
        Text(number(known[-1], g), "bold"),
    ]


def _caption(each: int, on: Mapping[str, Scale], g: GlyphSet) -> str:
    rounds = "round" if each == 1 else f"{each} rounds (their mean)"
    wide = " (logarithmic where these are 1 to 100 apart)" if any(s.logarithmic for s in on.values()) else ""
    return (
        f"One character for each {rounds}, a gap where there is no number; a measure's sparks share one scale, from "
        f"its least to its greatest value over all who have it{wide}. First and last: of what there is. {g.lower} "
        f"lower is better, {g.higher} higher is better, {g.neither} neither."
    )


# Influences


def _matrix(found: Ecosystem, summary: Summary, width: int, g: GlyphSet) -> list[RenderableType]:
    """Rows: who trains; columns: whose selection. As many makers as fit, the last of them make way for "(others)"."""
    last = {name: _last_influences(found["agents"].get(name, {})) for name in summary["providers"]}
    last = {name: row for name, row in last.items() if row}
    makers = [name for name in summary["providers"] if any(name in row for row in last.values())]
    if len(makers) < 2:
        return []
    shown = list(last)[:MOST_ROWS]
    rows: list[Row] = [_titles(makers, summary, g)]
    for kept in range(_fitting(rows, width), 0, -1):
        columns = makers if kept == len(makers) else [*makers[:kept], OTHERS]
        rows = [_titles(columns, summary, g), *(_influences(name, last[name], columns, summary, g) for name in shown)]
        if 2 + sum(widths(rows)) + GAP * len(columns) <= width:
            break
    hidden = f" {len(last) - len(shown)} more that train are not shown." if len(last) > len(shown) else ""
    note = f"Last influence on each that trains (rows) of the selection at each (columns), in its users' taste.{hidden}"
    table = lined_up(rows, "<" + ">" * (len(rows[0]) - 1))
    return [Text(""), indented([Text(note, "dim italic"), *table])]


def _fitting(rows: Sequence[Row], width: int) -> int:
    """How many columns of numbers there is room for at the most."""
    ends = list(accumulate(wide + GAP for wide in widths(rows)))
    return sum(end <= width for end in ends[1:])


def _last_influences(told: Told) -> dict[str, float]:
    """By maker."""
    known = {
        name.removeprefix(INFLUENCE): finite(series) for name, series in told.items() if name.startswith(INFLUENCE)
    }
    return {maker: values[-1] for maker, values in known.items() if values}


def _titles(columns: Sequence[str], summary: Summary, g: GlyphSet) -> Row:
    ink = colours(summary)
    return [*head("on"), *(Text(shorten(name, 10, g), f"bold {ink.get(name, 'default')}") for name in columns)]


def _influences(name: str, row: Mapping[str, float], columns: Sequence[str], summary: Summary, g: GlyphSet) -> Row:
    """Its own stands out."""
    rest = math.fsum(value for maker, value in row.items() if maker not in columns)
    values = {**row, OTHERS: rest}
    return [
        Text(shorten(name, 12, g), f"bold {colours(summary)[name]}"),
        *(Text(number(values.get(maker), g), "bold" if maker == name else "") for maker in columns),
    ]
