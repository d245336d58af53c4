"""Curves: every metric of every provider by generation, and the votes by round, as sparks."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType
from rich.text import Text

from ecosystem.reports.glyphs import GlyphSet
from ecosystem.reports.layout import GAP, Row, head, indented, lined_up, section, shorten, widths
from ecosystem.reports.sparks import Scale, Series, bin_width, finite, scale, spark
from ecosystem.reports.wording import colours, direction, metric_infos, number, percent
from ecosystem.summary import GenerationSummary, ProviderSummary, Summary


def curve(provider: ProviderSummary, metric: str) -> list[float | None]:
    """A metric by generation; a generation that is not there leaves a gap."""
    by_number = {g["generation"]: g["metrics"].get(metric) for g in provider["generations"]}
    return [by_number.get(i) for i in range(max(by_number, default=-1) + 1)]


def scales(summary: Summary) -> dict[str, Scale]:
    """Each metric's range over all providers and generations."""
    providers = summary["providers"].values()
    return {name: scale(curve(p, name) for p in providers) for name in metric_infos(summary)}


def curves(summary: Summary, width: int, g: GlyphSet) -> RenderableType | None:
    metrics = list(metric_infos(summary))
    trained = {name: p for name, p in summary["providers"].items() if p["generations"]}
    if not metrics or not trained:
        return None
    numbers = [_numbers(summary, p, m, g) for p in trained.values() for m in metrics]
    longest = max(len(curve(p, m)) for p in trained.values() for m in metrics)
    each = bin_width(longest, width - 2 - sum(widths([_head(), *numbers])) - 5 * GAP)
    sparks = _sparks(summary, trained, metrics, each, g)
    rows = [[*row[:3], line, *row[3:]] for row, line in zip(numbers, sparks, strict=True)]
    first, *lines = lined_up([[*_head()[:3], *head("by generation"), *_head()[3:]], *rows], "<<><><")
    parts: list[RenderableType] = [indented([first])]
    for i, name in enumerate(trained):
        parts.append(Text(f"  {shorten(name, width - 2, g)}", f"bold {colours(summary)[name]}"))
        parts.append(indented(lines[i * len(metrics) : (i + 1) * len(metrics)]))
    return section("Curves", parts, _caption(each, scales(summary).values(), g), width, g)


def _head() -> Row:
    return head("metric", "unit", "first", "last", "")


def _numbers(summary: Summary, provider: ProviderSummary, metric: str, g: GlyphSet) -> Row:
    """All of a curve's row but its spark."""
    info = metric_infos(summary)[metric]
    last = provider["generations"][-1]
    return [
        Text(f"{direction(info['better'], g)} {shorten(metric, 18, g)}"),
        Text(shorten(info["unit"], 12, g), "dim"),
        Text(number(provider["generations"][0]["metrics"].get(metric), g)),
        Text(number(last["metrics"].get(metric), g), "bold"),
        Text(_spread(last, metric, g), "dim"),
    ]


def _spread(last: GenerationSummary, metric: str, g: GlyphSet) -> str:
    spread = number(last["spread"].get(metric), g)
    return "" if spread == g.none else f"{g.plus_minus} {spread}"


def _sparks(
    summary: Summary, trained: dict[str, ProviderSummary], metrics: list[str], each: int, g: GlyphSet
) -> list[Text]:
    on = scales(summary)
    colour = colours(summary)
    return [
        Text(spark(curve(provider, metric), on[metric], each, g), colour[name])
        for name, provider in trained.items()
        for metric in metrics
    ]


def _caption(each: int, on: Iterable[Scale], g: GlyphSet) -> str:
    wide = " (logarithmic where these are 1 to 100 apart)" if any(s.logarithmic for s in on) else ""
    generations = "generation" if each == 1 else f"{each} generations (their mean)"
    return (
        f"One character for each {generations}; a metric's sparks share one scale, from its least to its "
        f"greatest value over all providers{wide}. {g.lower} lower is better, {g.higher} higher is better, "
        f"{g.neither} neither. {g.plus_minus}: standard deviation over seeds."
    )


def votes(summary: Summary, width: int, g: GlyphSet) -> RenderableType | None:
    """Who won the ballots, where there was a choice."""
    shares: dict[str, Series] = {name: p["vote_share"] for name, p in summary["providers"].items()}
    if len(shares) < 2 or not any(finite(s) for s in shares.values()):
        return None
    each = bin_width(max(map(len, shares.values())), width - 2 - 24 - 3 * 10)
    on = Scale(0.0, scale(shares.values()).high)
    rows: list[Row] = [head("provider", "first", "", "last", "mean")]
    for name, share in shares.items():
        known = finite(share)
        line = Text(spark(share, on, each, g), colours(summary)[name])
        ends = [known[0], known[-1], sum(known) / len(known)] if known else [None] * 3
        first, last, mean = (Text(percent(x, g)) for x in ends)
        rows.append([Text(shorten(name, 24, g)), first, line, last, mean])
    caption = f"Share of all ballots won, by round; the tallest character is {percent(on.high, g)}."
    return section("Votes", [indented(lined_up(rows, "<><>>"))], caption, width, g)
