"""curves.png: one small chart for each metric, one line for each provider, spread over seeds as a band.

Where there is a closed form it is drawn over the measurement, dashed and in the provider's colour, darkened.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import ImageColor

from ecosystem.reports.canvas import FAINT, GRID, INK, Canvas, Point
from ecosystem.reports.curves import curve
from ecosystem.reports.deviations import theories
from ecosystem.reports.glyphs import ASCII
from ecosystem.reports.sparks import Scale, finite, scale
from ecosystem.reports.wording import colours, metric_infos, number
from ecosystem.summary import MetricInfo, ProviderSummary, Summary

CHART = (330, 220)  # pixels, with everything around the plot
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 40, 30  # from the chart's edges to its plot
LEGEND = 64  # pixels above the charts
IN_A_ROW = 3
DOTS = 30  # generations beyond which a line has no dots
DARK = 0.45  # of a provider's colour, in which its theory is drawn

Band = tuple[float, float, float] | None  # low, value, high at one generation


@dataclass(frozen=True)
class Plot:
    """The rectangle of a chart inside its axes, in pixels, and the numbers at its edges."""

    x: float
    y: float
    width: float
    height: float
    last: int  # generation at the right edge
    scale: Scale

    def at(self, generation: int, value: float) -> Point:
        across = generation / self.last if self.last else 0.5
        return self.x + across * self.width, self.y + (1 - self.scale.position(value)) * self.height


def curves_png(summary: Summary) -> bytes | None:
    infos = metric_infos(summary)
    if not infos:
        return None
    in_a_row = min(IN_A_ROW, len(infos))
    width = max(in_a_row * CHART[0], 2 * CHART[0])
    canvas = Canvas(width, LEGEND + -(-len(infos) // in_a_row) * CHART[1])
    _legend(canvas, summary, width)
    for i, (metric, info) in enumerate(infos.items()):
        corner = (i % in_a_row * CHART[0], LEGEND + i // in_a_row * CHART[1])
        _chart(canvas, corner, summary, metric, info)
    return canvas.png()


def _legend(canvas: Canvas, summary: Summary, width: int) -> None:
    canvas.text((14, 10), canvas.fitting(summary["scenario"], width - 28, 16), INK, 16)
    theory = any(map(theories, summary["providers"].values()))
    room = (width - 28 - 80 * theory) / max(len(summary["providers"]), 1)
    x = 14.0
    for name, colour in colours(summary).items():
        canvas.line([(x, 46), (x + 18, 46)], colour, 3)
        label = canvas.fitting(name, room - 42)
        canvas.text((x + 24, 46), label, INK, anchor="lm")
        x += 24 + canvas.text_width(label) + 18
    if theory:
        canvas.dashed([(x, 46), (x + 18, 46)], INK, 1.5)
        canvas.text((x + 24, 46), "theory", INK, anchor="lm")


def bands(provider: ProviderSummary, metric: str) -> list[Band]:
    """A curve with its spread; no spread is a band of no height."""
    spreads = {g["generation"]: g["spread"].get(metric) for g in provider["generations"]}
    found: list[Band] = []
    for generation, value in enumerate(curve(provider, metric)):
        spread = finite([spreads.get(generation)]) or [0.0]
        known = finite([value])
        found.append((known[0] - spread[0], known[0], known[0] + spread[0]) if known else None)
    return found


def predictions(provider: ProviderSummary, metric: str) -> list[Band]:
    """A closed form by generation, as a curve without spread; empty where there is none."""
    found = theories(provider).get(metric)
    known = (finite([value]) for value in found["values"]) if found else ()
    return [(x[0], x[0], x[0]) if x else None for x in known]


def _chart(canvas: Canvas, corner: Point, summary: Summary, metric: str, info: MetricInfo) -> None:
    x, y = corner
    series = {name: bands(p, metric) for name, p in summary["providers"].items()}
    theory = {name: predictions(p, metric) for name, p in summary["providers"].items()}
    plot = _plot(corner, [*series.values(), *theory.values()])
    _title(canvas, (x + LEFT, y + TOP - 24), metric, info, plot is not None and plot.scale.logarithmic)
    if plot is None:
        canvas.text((x + CHART[0] / 2, y + CHART[1] / 2), "not measured", FAINT, anchor="mm")
        return
    _axes(canvas, plot)
    for draw in (_bands, _lines):  # all bands lie under all lines
        for name, colour in colours(summary).items():
            draw(canvas, plot, series[name], colour)
    for name, colour in colours(summary).items():
        _dashes(canvas, plot, theory[name], _darkened(colour))


def _plot(corner: Point, series: list[list[Band]]) -> Plot | None:
    found = [band for one in series for band in one if band]
    if not found:
        return None
    on = scale([[value for _, value, _ in found]])
    # A logarithmic scale is the curves' own; a band that reaches below it, perhaps below zero, is cut there.
    low = on.low if on.logarithmic else min(low for low, _, _ in found)
    high = max(high for _, _, high in found)
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    last = max(map(len, series)) - 1
    width, height = CHART[0] - LEFT - RIGHT, CHART[1] - TOP - BOTTOM
    return Plot(corner[0] + LEFT, corner[1] + TOP, width, height, last, Scale(low, high))


def _title(canvas: Canvas, at: Point, metric: str, info: MetricInfo, wide: bool) -> None:
    better = {"lower": "lower is better", "higher": "higher is better", "neither": ""}[info["better"]]
    name = canvas.fitting(metric, 140, 14)
    canvas.text(at, name, INK, 14)
    after = at[0] + canvas.text_width(name, 14) + 10
    note = ", ".join(x for x in ("log scale" * wide, info["unit"], better) if x)
    canvas.text((after, at[1] + 2), canvas.fitting(note, at[0] + 264 - after, 11), FAINT, 11)


def _axes(canvas: Canvas, plot: Plot) -> None:
    right, bottom = plot.x + plot.width, plot.y + plot.height
    for part in (0.0, 0.5, 1.0):
        canvas.line([(plot.x, plot.y + part * plot.height), (right, plot.y + part * plot.height)], GRID)
    canvas.text((plot.x - 6, plot.y), number(plot.scale.high, ASCII), FAINT, 11, "rm")
    canvas.text((plot.x - 6, bottom), number(plot.scale.low, ASCII), FAINT, 11, "rm")
    canvas.text(((plot.x + right) / 2, bottom + 8), "generation", FAINT, 11, "ma")
    canvas.text((plot.at(0, 0.0)[0], bottom + 8), "0", FAINT, 11, "ma")
    if plot.last:
        canvas.text((right, bottom + 8), str(plot.last), FAINT, 11, "ma")


def _bands(canvas: Canvas, plot: Plot, series: list[Band], colour: str) -> None:
    for start, run in _runs(series):
        if any(high > low for low, _, high in run):
            upper = [plot.at(start + i, high) for i, (_, _, high) in enumerate(run)]
            lower = [plot.at(start + i, low) for i, (low, _, _) in enumerate(run)]
            canvas.band([*upper, *reversed(lower)], colour)


def _lines(canvas: Canvas, plot: Plot, series: list[Band], colour: str) -> None:
    for start, run in _runs(series):
        points = [plot.at(start + i, value) for i, (_, value, _) in enumerate(run)]
        canvas.line(points, colour, 2)
        for point in points if plot.last < DOTS or len(points) == 1 else []:
            canvas.dot(point, 2.5, colour)


def _dashes(canvas: Canvas, plot: Plot, series: list[Band], colour: str) -> None:
    for start, run in _runs(series):
        points = [plot.at(start + i, value) for i, (_, value, _) in enumerate(run)]
        alone = [(x + across, y) for x, y in points[:1] for across in (-6, 6)]
        canvas.dashed(points if len(points) > 1 else alone, colour, 1.5)


def _darkened(colour: str) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(round(DARK * channel) for channel in ImageColor.getrgb(colour)))


def _runs(series: list[Band]) -> list[tuple[int, list[tuple[float, float, float]]]]:
    """The stretches without a gap, each with the generation it starts at."""
    runs: list[tuple[int, list[tuple[float, float, float]]]] = []
    for generation, band in enumerate(series):
        if band is None:
            continue
        if generation == 0 or series[generation - 1] is None:
            runs.append((generation, []))
        runs[-1][1].append(band)
    return runs
