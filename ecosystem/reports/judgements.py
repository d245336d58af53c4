"""Verdicts and claims, each with the numbers it rests on.

An effect says how many times worse a metric has become since generation 0: 1 is no change. Where the page is
wide enough the intervals are drawn as well, on one logarithmic axis for all providers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import RenderableType
from rich.text import Text

from ecosystem.reports.definitions import cited
from ecosystem.reports.glyphs import GlyphSet
from ecosystem.reports.layout import Row, hanging, head, indented, lined_up, one_line, section, shorten, widths
from ecosystem.reports.wording import (
    JUDGEMENT_STYLE,
    change,
    colours,
    more_seeds,
    plural,
    ratio,
    verdict,
    with_interval,
)
from ecosystem.summary import ClaimSummary, Evidence, ProviderSummary, Summary

CAPTION = "Against generation 0, with a 95 % interval: 1 is no change, above 1 is worse."
NARROWEST_AXIS = 16
WIDEST_AXIS = 40


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis of effects, `cells` wide, with 1 on it."""

    low: float
    high: float
    cells: int

    def cell(self, effect: float) -> int:
        position = math.log(min(max(effect, self.low), self.high) / self.low) / math.log(self.high / self.low)
        return round(position * (self.cells - 1))

    def ticks(self, g: GlyphSet) -> str:
        """Its ends and the 1 between them; an end too near to the 1 goes unnamed."""
        one, low, high = self.cell(1.0), ratio(self.low, g), ratio(self.high, g)
        left = low.ljust(one) if len(low) < one else " " * one
        room = self.cells - one - 1
        return f"{left}1{high.rjust(room) if len(high) < room else ' ' * room}"

    def whisker(self, e: Evidence, g: GlyphSet) -> str:
        line = [" "] * self.cells
        line[self.cell(1.0)] = g.whisker[4]
        low, point, high = (_positive(e[key]) for key in ("low", "effect", "high"))
        if low is not None and high is not None:
            a, b = self.cell(low), self.cell(high)
            line[a : b + 1] = g.whisker[1] * (b + 1 - a)
            line[a], line[b] = g.whisker[0], g.whisker[3]
        if point is not None:
            line[self.cell(point)] = g.whisker[2]
        return "".join(line)


def _positive(effect: float | None) -> float | None:
    """An effect that a logarithmic axis can show."""
    return effect if effect is not None and math.isfinite(effect) and effect > 0 else None


def axis(evidence: list[Evidence], cells: int) -> Axis | None:
    seen = [_positive(e[key]) for e in evidence for key in ("low", "effect", "high")]
    effects = [x for x in seen if x is not None]
    if not effects or cells < NARROWEST_AXIS:
        return None
    # From a twentieth below 1 to a twentieth above at the least, so that "no change" is not the edge.
    return Axis(min(*effects, 0.95), max(*effects, 1.05), min(cells, WIDEST_AXIS))


def verdicts(summary: Summary, width: int, g: GlyphSet) -> RenderableType:
    providers = summary["providers"].values()
    everything = [e for provider in providers for e in provider["evidence"]]
    lines = iter(_evidence_lines(everything, width - 4, g))
    parts: list[RenderableType] = []
    if everything:
        parts.append(indented([next(lines)], 4))
    common = _common_note(summary)
    for name in summary["providers"]:
        parts += _provider(name, summary, lines, width, g, common)
    if common:
        parts.append(indented([Text(one_line(common), "italic")], 4))
    return section("Verdicts", parts, CAPTION if everything else "", width, g)


def _common_note(summary: Summary) -> str:
    """What limits the verdicts of all providers alike, told once; "" where there is no such thing."""
    notes = {provider["note"] for provider in summary["providers"].values()}
    return notes.pop() if len(summary["providers"]) > 1 and len(notes) == 1 else ""


def _evidence_lines(evidence: list[Evidence], width: int, g: GlyphSet) -> list[Text]:
    """A head, and one line for each measurement, lined up over all providers."""
    rows: list[Row] = [head("metric", f"first {g.arrow} last", "times worse", "reads")]
    rows += [_evidence(e, g) for e in evidence]
    line = axis(evidence, width - sum(widths(rows)) - 8)
    if line is not None:
        drawn = [line.ticks(g), *(line.whisker(e, g) for e in evidence)]
        rows = [[*row, Text(text, "dim")] for row, text in zip(rows, drawn, strict=True)]
    return lined_up(rows, "<<<<<"[: len(rows[0])])


def _evidence(e: Evidence, g: GlyphSet) -> Row:
    return [
        Text(shorten(e["metric"], 16, g)),
        Text(change(e["start"], e["end"], g)),
        Text(with_interval(e["effect"], e["low"], e["high"], g)),
        verdict(e["reads"]),
    ]


def _provider(
    name: str, summary: Summary, lines: Iterator[Text], width: int, g: GlyphSet, common: str
) -> list[RenderableType]:
    provider = summary["providers"][name]
    title = Text("  ", no_wrap=True)
    title.append_text(verdict(provider["verdict"]))
    title.append(" " * (11 - len(provider["verdict"])))
    title.append(shorten(name, 24, g), f"bold {colours(summary)[name]}")
    if by := cited(summary, name):
        title.append(f"  {by}")
    title.append("  " + _model(provider, width - title.cell_len - 2, g), "dim")
    measured = [next(lines) for _ in provider["evidence"]]
    return [title, indented([*measured, *(Text(note, "italic") for note in _notes(provider) if note != common)], 4)]


def _model(provider: ProviderSummary, width: int, g: GlyphSet) -> str:
    """With its family and its generations where there is room."""
    model, trained = provider["model"], plural(len(provider["generations"]), "generation")
    forms = (f"{model} ({provider['family']}), {trained}", f"{model}, {trained}")
    return next((form for form in forms if cell_len(form) <= width), shorten(model, width, g))


def _notes(provider: ProviderSummary) -> list[str]:
    """What limits the verdict, and what would decide it."""
    open_ones = [f"{e['metric']}: {more_seeds(n)}" for e in provider["evidence"] if (n := e.get("more_seeds"))]
    return [one_line(note) for note in (provider["note"], "; ".join(open_ones)) if note]


def claims(summary: Summary, width: int, g: GlyphSet) -> RenderableType | None:
    if not summary["claims"]:
        return None
    parts: list[RenderableType] = []
    for claim in summary["claims"]:
        parts += _claim(claim, g)
    return section("Claims", parts, "", width, g)


def _claim(claim: ClaimSummary, g: GlyphSet) -> list[RenderableType]:
    word = verdict(claim["verdict"], JUDGEMENT_STYLE)
    word.pad_right(9 - word.cell_len)
    title = indented([hanging([[word, Text(one_line(claim["text"]))]])])
    effect = with_interval(claim["effect"], claim["low"], claim["high"], g)
    wanted = claim.get("more_seeds")
    words = [effect] if effect != g.none else []
    words.append("; ".join(w for w in (one_line(claim["evidence"]), more_seeds(wanted) if wanted else "") if w))
    told = "  ".join(filter(None, words))
    return [title, indented([Text(told, "dim")], 13)] if told else [title]
