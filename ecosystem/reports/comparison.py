"""Runs beside each other, as a page: their changed settings, their verdicts, and what differs between them.

A difference is this run's number minus the baseline's, over the seeds that both have; it is *higher* or *lower* where
its interval leaves out 0. Green is better by the metric's own direction, red is worse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.text import Text

from ecosystem.reports.glyphs import GlyphSet, glyphs_for
from ecosystem.reports.layout import GAP, Page, Row, head, indented, lined_up, section, shorten, widths
from ecosystem.reports.wording import exists, number, seeds_in_words, verdict

if TYPE_CHECKING:
    from ecosystem.comparison import Compared, Comparison, Difference

WIDEST = 120
NAME, METRIC = 24, 20  # cells of a provider's name and of a metric's
CAPTION = "The last generation's numbers, and their growth since the first. No difference: the interval holds 0."

SettingRow = tuple[str, str, str]  # key, before, after


def print_comparison(compared: Compared, settings: Sequence[Sequence[SettingRow]], console: Console) -> None:
    width, styles = min(console.width, WIDEST), glyphs_for(console)
    console.print(comparison(compared, settings, width=width, styles=styles))


def comparison(
    compared: Compared, settings: Sequence[Sequence[SettingRow]], *, width: int, styles: GlyphSet
) -> RenderableType:
    """The whole page; ``settings``: the changed ones of each comparison, in words."""
    letters = [letter(number) for number in range(len(compared["runs"]))]
    parts = [_runs(compared, letters, width, styles), _verdicts(compared, letters, width, styles)]
    for name, found, rows in zip(letters[1:], compared["comparisons"], settings, strict=True):
        parts += [_settings(name, rows, width, styles), _differences(name, found, width, styles)]
    return Page(Group(*parts), width, styles.encoding)


def letter(number: int) -> str:
    """A, B, ... Z, then run 27 and so on."""
    return chr(ord("A") + number) if number < 26 else f"run {number + 1}"


def _runs(compared: Compared, letters: Sequence[str], width: int, g: GlyphSet) -> Group:
    lines = []
    for name, run in zip(letters, compared["runs"], strict=True):
        seeds = seeds_in_words(run["seeds"])
        role = f"{run['scenario']}, {seeds}" + (", the baseline" if name == letters[0] else "")
        line = Text.assemble((name, "bold"), "  ", no_wrap=True)
        line.append(shorten(run["run"], max(width - line.cell_len - 2, 8), g))
        lines += [line, Text(f"   {shorten(role, width - 3, g)}", "dim")]
    return Group(*lines)


def _verdicts(compared: Compared, letters: Sequence[str], width: int, g: GlyphSet) -> RenderableType:
    runs = compared["runs"]
    names = list(dict.fromkeys(name for run in runs for name in run["verdicts"]))
    rows: list[Row] = [head("provider", *letters)]
    for name in names:
        rows.append([Text(shorten(name, NAME, g)), *(verdict(run["verdicts"].get(name, g.none)) for run in runs)])
    return section("Verdicts", [indented(_blocks(rows, width - 2))], "", width, g)


def _blocks(rows: Sequence[Row], width: int) -> list[Text]:
    """Rows whose columns do not fit beside one another go on below, under their first column again."""
    wide = widths(rows)
    lines: list[Text] = []
    first = 1
    while first < len(wide):
        stop = first + 1
        while stop < len(wide) and wide[0] + sum(wide[first : stop + 1]) + GAP * (stop + 1 - first) <= width:
            stop += 1
        lines += lined_up([[row[0], *row[first:stop]] for row in rows], "<" * (stop - first + 1))
        first = stop
    return lines


def _settings(name: str, rows: Sequence[SettingRow], width: int, g: GlyphSet) -> RenderableType:
    title = f"{name} against A: settings that differ"
    if not rows:
        return section(title, [indented([Text("none")])], "", width, g)
    room = width - 2 - 2 * GAP
    key = min(max(len(row[0]) for row in rows), room // 2)
    value = (room - key) // 2
    cells: list[Row] = [head("setting", "A", name)]
    cells += [[Text(shorten(k, key, g)), Text(shorten(a, value, g)), Text(shorten(b, value, g))] for k, a, b in rows]
    return section(title, [indented(lined_up(cells, "<<<"))], "", width, g)


def _differences(name: str, found: Comparison, width: int, g: GlyphSet) -> RenderableType:
    rows = _fitting([_columns(name), *(_row(difference, g) for difference in found["differences"])], width - 4)
    lines = iter(lined_up(rows, "<>>><" if len(rows[0]) == len(_columns(name)) else "<><"))
    parts: list[RenderableType] = [indented([next(lines)], 4)]
    provider = None
    for difference in found["differences"]:
        if difference["provider"] != provider:
            provider = difference["provider"]
            parts.append(Text(f"  {shorten(provider, NAME, g)}{_ends(name, difference)}", "bold"))
        parts.append(indented([next(lines)], 4))
    parts += [indented([Text(note, "italic")]) for note in _notes(name, found)]
    return section(f"{name} against A: {seeds_in_words(found['seeds'])} shared", parts, CAPTION, width, g)


def _fitting(rows: Sequence[Row], width: int) -> Sequence[Row]:
    """On a narrow page the differences alone, without the numbers that they are between."""
    needed = sum(widths(rows)) + GAP * (len(rows[0]) - 1)
    return rows if needed <= width else [[row[0], *row[3:]] for row in rows]


def _columns(name: str) -> Row:
    return head("metric", "A", name, f"{name} - A [95 %]", "reads")


def _row(d: Difference, g: GlyphSet) -> Row:
    metric = Text(shorten(d["metric"], METRIC, g)) if d["what"] == "last" else Text("  growth", "dim")
    numbers = [Text(number(d["baseline"], g)), Text(number(d["run"], g)), Text(_with_interval(d, g))]
    return [metric, *numbers, Text(d["reads"], _style(d))]


def _with_interval(d: Difference, g: GlyphSet) -> str:
    effect = _signed(d["difference"], g)
    if not (exists(d["low"]) and exists(d["high"])):
        return effect
    return f"{effect} [{number(d['low'], g)}, {number(d['high'], g)}]"


def _signed(value: float | None, g: GlyphSet) -> str:
    return f"+{number(value, g)}" if value is not None and value > 0 else number(value, g)


def _style(d: Difference) -> str:
    if d["reads"] not in ("higher", "lower"):
        return "dim"
    return "bold" if d["better"] == "neither" else "bold green" if d["reads"] == d["better"] else "bold red"


def _ends(name: str, d: Difference) -> str:
    """Which generations are last, where that is not one and the same."""
    a, b = d["generations"]
    what = "round" if d["provider"] == "web" else "generation"
    return f", at {what} {a}" if a == b else f", A at {what} {a} and {name} at {what} {b}"


def _notes(name: str, found: Comparison) -> Iterator[str]:
    for whose, seeds in (("A", found["unpaired"]["baseline"]), (name, found["unpaired"]["run"])):
        if seeds:
            yield f"Left out, for only {whose} has them: {seeds_in_words(seeds)}."
    if any(d["reads"] == "unknown" and d["difference"] is not None for d in found["differences"]):
        yield "Unknown: over one seed, what was counted or is known exactly has no interval."
