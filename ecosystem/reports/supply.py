"""What there was to learn from: the web by round, and the training sets that were scraped from it."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from ecosystem.reports.glyphs import GlyphSet
from ecosystem.reports.layout import GAP, Row, evenly, head, indented, lined_up, section, shorten, widths
from ecosystem.reports.sparks import bar
from ecosystem.reports.wording import colours, count, number, percent
from ecosystem.summary import GenerationSummary, ProviderSummary, Summary

ROWS = 12  # of a table; the first and the last are always there
WIDEST_BAR = 40
OTHERS = "(others)"


def web(summary: Summary, width: int, g: GlyphSet) -> RenderableType | None:
    rounds = summary["web"]
    if not rounds:
        return None
    shown = [rounds[i] for i in evenly(len(rounds), ROWS)]
    rows: list[Row] = [head("round", "pages", "human", "synthetic", "share", "lineage")]
    for r in shown:
        counts = [Text(count(x, g)) for x in (r["round"], r["pages"], r["human"], r["synthetic"])]
        rows.append([*counts, Text(percent(r["synthetic_share"], g)), Text(number(r["lineage"], g))])
    cells = min(width - 2 - sum(widths(rows)) - GAP * 6, WIDEST_BAR)
    bars = [Text(bar(r["synthetic_share"], cells, g), "cyan") for r in shown]
    rows = [[*row, drawn] for row, drawn in zip(rows, [Text(""), *bars], strict=True)]
    caption = "As each round closes. Lineage: how many models a page has passed through."
    return section("The web", [indented(lined_up(rows, ">>>>>><"))], caption, width, g)


def training_sets(summary: Summary, width: int, g: GlyphSet) -> RenderableType | None:
    trained = {name: p for name, p in summary["providers"].items() if p["generations"]}
    if not trained:
        return None
    rows = max(ROWS * 2 // max(len(trained), 2), 4)
    parts: list[RenderableType] = []
    for name, provider in trained.items():
        parts.append(Text(f"  {shorten(name, width - 2, g)}", f"bold {colours(summary)[name]}"))
        parts.append(indented(_sets(name, provider, summary, rows, width - 2, g)))
    caption = f"Pages by maker, as counted. {g.lambda_}: synthetic pages for each human page."
    return section("Training sets", parts, caption, width, g)


def _sets(name: str, provider: ProviderSummary, summary: Summary, limit: int, width: int, g: GlyphSet) -> list[Text]:
    generations = provider["generations"]
    shown = [generations[i] for i in evenly(len(generations), limit)]
    makers = _makers(name, provider, summary)
    rows: list[Row] = []
    # As many makers have a column as fit; the last of them make way for "(others)".
    for kept in range(len(makers), 0, -1):
        columns = makers if kept == len(makers) else [*makers[:kept], OTHERS]
        rows = _rows(shown, columns, g)
        if sum(widths(rows)) + GAP * (len(rows[0]) - 1) <= width:
            break
    return lined_up(rows, ">" * len(rows[0]))


def _makers(name: str, provider: ProviderSummary, summary: Summary) -> list[str]:
    """Who made the synthetic pages: the provider itself, then the others that appear."""
    found = {maker for g in provider["generations"] for maker in g["data_set"]["by_maker"]}
    others = [other for other in summary["providers"] if other != name and other in found]
    return [name, *others]


def _rows(shown: list[GenerationSummary], makers: list[str], g: GlyphSet) -> list[Row]:
    titles = [shorten(maker, 8, g) for maker in makers]
    first = head("gen", "round", "pages", "human", *titles, g.lambda_, "share", "lineage")
    return [first, *(_row(generation, makers, g) for generation in shown)]


def _row(generation: GenerationSummary, makers: list[str], g: GlyphSet) -> Row:
    data = generation["data_set"]
    told = {maker: data["by_maker"].get(maker, 0.0) for maker in makers}
    if OTHERS in told:
        told[OTHERS] = data["synthetic"] - sum(x for maker, x in told.items() if maker != OTHERS)
    counts = [generation["generation"], generation["round"], data["pages"], data["human"], *told.values()]
    ratio = generation["lambda"]
    return [
        *(Text(count(x, g)) for x in counts),
        Text(g.infinity if ratio is None else number(ratio, g)),
        Text(percent(generation["synthetic_share"], g)),
        Text(number(generation["lineage"], g)),
    ]
