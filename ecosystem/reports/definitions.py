"""What collapse means here: the definitions in use, which of them hold, and the numbers that say so.

Research on model collapse means eight different things by it (R. Schaeffer, J. Kazdan, A. C. Arulandu, S. Koyejo,
Position: Model Collapse Does Not Mean What You Think, 2025, arXiv:2503.03150). One provider is told line by line;
several stand side by side as marks, with the evidence for what holds, and for what is undecided for all alike.
"""

from __future__ import annotations

from typing import Final

from rich.console import RenderableType
from rich.text import Text

from ecosystem.reports.glyphs import GlyphSet
from ecosystem.reports.layout import (
    GAP,
    Row,
    hanging,
    head,
    indented,
    lined_up,
    one_line,
    section,
    shorten,
    told_apart,
    widths,
)
from ecosystem.reports.wording import colours
from ecosystem.summary import Definition, Summary

TITLE = "What collapse means here"
CAPTION = "Meanings of collapse after Schaeffer et al. (arXiv:2503.03150). ?: undecided."
MARKS: Final = {"yes": ("yes", "bold red"), "no": ("no", "green"), "undecided": ("?", "magenta"), "": ("", "")}
WRAPPED = 2  # pieces of evidence that may take a second line; where more would, all stand below their definitions
NARROWEST_NAME, WIDEST_NAME = 5, 16  # cells of a provider above its marks


def definitions(summary: Summary, width: int, g: GlyphSet) -> RenderableType | None:
    told = _by_provider(summary)
    if all(d["evidence"].startswith("needs") for found in told.values() for d in found):
        return None
    if len(told) == 1:
        return section(TITLE, _one(next(iter(told.values())), numbered(summary), width, g), CAPTION, width, g)
    parts: list[RenderableType] = [indented(_marks(summary, told, width - 2, g))]
    evidence = [*_what_holds(summary, told, g), *_what_nobody_knows(summary, told)]
    if evidence:
        parts += [Text(""), indented([hanging(evidence)])]
    return section(TITLE, parts, CAPTION, width, g)


def numbered(summary: Summary) -> dict[str, int]:
    """Each definition's number, the same for all providers."""
    names = (d["name"] for found in _by_provider(summary).values() for d in found)
    return {name: i for i, name in enumerate(dict.fromkeys(names), start=1)}


def cited(summary: Summary, name: str) -> str:
    """By which definitions a provider has collapsed; "" where none holds."""
    held = [str(numbered(summary)[d["name"]]) for d in _by_provider(summary).get(name, []) if d["holds"] == "yes"]
    return f"collapse by {'definition' if len(held) == 1 else 'definitions'} {', '.join(held)}" if held else ""


def _by_provider(summary: Summary) -> dict[str, list[Definition]]:
    """Summaries written before there were definitions have none."""
    found = {name: p.get("definitions", []) for name, p in summary["providers"].items()}
    return {name: definitions for name, definitions in found.items() if definitions}


def _one(found: list[Definition], numbers: dict[str, int], width: int, g: GlyphSet) -> list[RenderableType]:
    rows = [[_mark(found, d["name"]), Text(f"{numbers[d['name']]}"), Text(shorten(d["name"], 48, g))] for d in found]
    evidence = [Text(one_line(d["evidence"]), "dim") for d in found]
    room = width - 2 - sum(widths(rows)) - 3 * GAP
    if sum(text.cell_len > room for text in evidence) <= WRAPPED:
        return [indented([hanging([*row, text] for row, text in zip(rows, evidence, strict=True))])]
    parts: list[RenderableType] = []
    for line, text in zip(lined_up(rows, "<><"), evidence, strict=True):
        parts += [indented([line]), indented([text], 2 + sum(widths(rows)[:2]) + 2 * GAP)]
    return parts


def _marks(summary: Summary, told: dict[str, list[Definition]], width: int, g: GlyphSet) -> list[Text]:
    """A row for each definition, a column for each provider."""
    numbers = numbered(summary)
    longest = max(map(len, numbers))
    each = (width - 1 - GAP - longest) // len(told) - GAP
    each = min(max(each, NARROWEST_NAME), WIDEST_NAME)
    short = told_apart(list(told), each, g)
    names = [Text(text, f"bold {colours(summary)[name]}") for name, text in zip(told, short, strict=True)]
    room = width - 1 - GAP - sum(name.cell_len + GAP for name in names)
    rows: list[Row] = [[Text(""), *head("definition"), *names]]
    for name, number in numbers.items():
        marks = [_mark(found, name) for found in told.values()]
        rows.append([Text(f"{number}"), Text(shorten(name, room, g)), *marks])
    return lined_up(rows, "><" + "<" * len(told))


def _mark(found: list[Definition], name: str) -> Text:
    return Text(*MARKS[next((d["holds"] for d in found if d["name"] == name), "")])


def _what_holds(summary: Summary, told: dict[str, list[Definition]], g: GlyphSet) -> list[Row]:
    """The evidence by provider."""
    rows: list[Row] = []
    for name, found in told.items():
        title = Text(shorten(name, 16, g), f"bold {colours(summary)[name]}")
        rows += _evidence(title, [d for d in found if d["holds"] == "yes"], summary)
    return rows


def _what_nobody_knows(summary: Summary, told: dict[str, list[Definition]]) -> list[Row]:
    """What is undecided for the same reason everywhere: mostly, what was not measured."""
    first, *others = told.values()
    common = [d for d in first if d["holds"] == "undecided" and all(d in found for found in others)]
    return _evidence(Text("all", "dim"), common, summary)


def _evidence(title: Text, found: list[Definition], summary: Summary) -> list[Row]:
    """A row for each piece of evidence, with the numbers of the definitions that rest on it; the title once."""
    resting: dict[str, list[str]] = {}
    for d in found:
        resting.setdefault(one_line(d["evidence"]), []).append(f"{numbered(summary)[d['name']]}")
    rows = [[Text(", ".join(numbers)), Text(evidence, "dim")] for evidence, numbers in resting.items()]
    return [[title if not i else Text(""), *row] for i, row in enumerate(rows)]
