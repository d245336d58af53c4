"""What must happen beside what did: closed forms, fed with the data flow as it was counted, under the measurements.

Three rows for a metric: measured, predicted, and how far they are apart, red beyond 3 standard errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from ecosystem.reports.deviations import LIMIT, beyond, deviations, measured, theories
from ecosystem.reports.glyphs import GlyphSet
from ecosystem.reports.layout import GAP, Row, hanging, head, indented, lined_up, one_line, section, shorten, widths
from ecosystem.reports.sparks import Scale, Series, bin_width, scale, spark
from ecosystem.reports.wording import colours, number
from ecosystem.summary import ProviderSummary, Summary, Theory

CALM, ALARM = "", "bold red"
TOLD = (1, 3, 10, 30, 100)  # generations with numbers, and the last
NARROWEST_SPARK = 20
CAPTION = (
    "Closed forms fed with the data flow as counted. Deviation: measured minus predicted in standard errors (se) "
    "over seeds; its spark is full at {limit:.0f}, which normal noise exceeds at one generation in {rare:.0f}."
)


def theory(summary: Summary, width: int, g: GlyphSet) -> RenderableType | None:
    told = {name: p for name, p in summary["providers"].items() if theories(p)}
    if not told:
        return None
    sources = list(dict.fromkeys(one_line(t["source"]) for p in told.values() for t in theories(p).values()))
    parts: list[RenderableType] = []
    for name, provider in told.items():
        parts.append(Text(f"  {shorten(name, width - 2, g)}", f"bold {colours(summary)[name]}"))
        parts.append(indented(_provider(provider, sources, colours(summary)[name], width - 2, g)))
    parts.append(indented([hanging([*head(f"[{i}]", source)] for i, source in enumerate(sources, start=1))]))
    caption = CAPTION.format(limit=LIMIT, rare=1 / beyond(LIMIT, max(len(summary["seeds"]) - 1, 1)))
    return section("Theory", parts, caption, width, g)


def _provider(provider: ProviderSummary, sources: Sequence[str], colour: str, width: int, g: GlyphSet) -> list[Text]:
    """A head, and for each metric its oracle, what was measured, what was predicted and how far they are apart."""
    found = theories(provider)
    length = max(len(t["values"]) for t in found.values())
    told, room = _told(provider, length - 1, width, g)
    each = bin_width(length, room)
    rows = [[*head("  generation"), *head(*map(str, told)), *head("by generation")]]
    for metric in found:
        sparks = _sparks(provider, metric, each, colour, g)
        rows += [[*row, line] for row, line in zip(_numbers(provider, metric, told, g), sparks, strict=False)]
    lines = lined_up(rows, "<" + ">" * len(told) + "<")
    text = [lines.pop(0)]
    for metric, t in found.items():
        text += _title(provider, metric, sources.index(one_line(t["source"])) + 1, width, g)
        text += [lines.pop(0) for _ in _numbers(provider, metric, told, g)]
    return text


def _told(provider: ProviderSummary, last: int, width: int, g: GlyphSet) -> tuple[list[int], int]:
    """As many of TOLD as leave room for sparks, and always the last; and that room, in cells."""
    told = [*(n for n in TOLD if n < last), last]
    while True:
        rows = [row for metric in theories(provider) for row in _numbers(provider, metric, told, g)]
        room = width - sum(widths([[*head("  generation"), *head(*map(str, told))], *rows])) - GAP * (len(told) + 1)
        if room >= NARROWEST_SPARK or len(told) == 1:
            return told, room
        told = told[1:]


def _numbers(provider: ProviderSummary, metric: str, told: Sequence[int], g: GlyphSet) -> list[Row]:
    """Three rows; two where there is no standard error."""
    values = {"measured": measured(provider, metric), "predicted": theories(provider)[metric]["values"]}
    rows: list[Row] = [
        [*head(f"  {word}"), *(Text(number(_at(series, n), g)) for n in told)] for word, series in values.items()
    ]
    apart = deviations(provider, metric)
    if any(d is not None for d in apart):
        rows.append([*head("  deviation"), *(_signed(_at(apart, n), g) for n in told)])
    return rows


def _at(series: Series, n: int) -> float | None:
    return series[n] if 0 <= n < len(series) else None


def _signed(deviation: float | None, g: GlyphSet) -> Text:
    if deviation is None or math.isinf(deviation):
        return Text(number(deviation, g), _style(deviation))
    return Text(("+" if deviation >= 0 else "-") + _size(deviation), _style(deviation))


def _size(deviation: float) -> str:
    return f"{abs(deviation):.{1 if abs(deviation) < 100 else 0}f}"


def _style(deviation: float | None) -> str:
    return ALARM if deviation is not None and abs(deviation) > LIMIT else CALM


def _sparks(provider: ProviderSummary, metric: str, each: int, colour: str, g: GlyphSet) -> list[Text]:
    """Measured and predicted on one scale; below them how far they are apart."""
    seen, predicted = measured(provider, metric), theories(provider)[metric]["values"]
    on = scale([seen, predicted])
    return [
        Text(spark(seen, on, each, g), colour),
        Text(spark(predicted, on, each, g)),
        _apart(deviations(provider, metric), each, g),
    ]


def _apart(deviations: Series, each: int, g: GlyphSet) -> Text:
    """The largest of each few generations, whatever its sign, red beyond the limit."""
    line = Text()
    for start in range(0, len(deviations), each):
        worst = max((abs(d) for d in deviations[start : start + each] if d is not None), default=None)
        full = None if worst is None else min(worst, LIMIT)
        line.append(spark([full], Scale(0.0, LIMIT), 1, g), _style(worst))
    return line


def _title(provider: ProviderSummary, metric: str, source: int, width: int, g: GlyphSet) -> list[Text]:
    """The metric, its oracle and the largest deviation, on one line where there is room."""
    theory = theories(provider)[metric]
    words, apart = _largest(theory, deviations(provider, metric))
    told = Text(words, _style(apart) or "dim", no_wrap=True)
    mark = f" [{source}]"
    name = Text(shorten(metric, 24, g), "bold", no_wrap=True)
    oracle = shorten(theory["oracle"], width - name.cell_len - GAP - len(mark), g)
    title = Text.assemble(name, "  ", oracle, (mark, "dim"), no_wrap=True)
    if title.cell_len + GAP + told.cell_len <= width:
        return [Text.assemble(title, "  ", told, no_wrap=True)]
    return [title, Text.assemble("  ", told, no_wrap=True)]


def _largest(theory: Theory, apart: Series) -> tuple[str, float | None]:
    """In words and in standard errors."""
    largest = theory["deviation"]
    if largest is not None and not math.isnan(largest):
        return f"largest deviation {_size(largest)} se at generation {theory['at']}", largest
    known = [abs(d) for d in apart if d is not None]
    if not known:
        return "no standard error: fewer than two seeds", None
    if max(known):
        return "another number than predicted, with no spread over seeds", max(known)
    return "as predicted in every seed", 0.0
