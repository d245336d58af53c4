"""Numbers and verdicts as words: three significant digits, a dash for what does not exist, fixed colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from rich.text import Text

from ecosystem.reports.glyphs import GlyphSet
from ecosystem.summary import Direction, MetricInfo, Summary

VERDICT_STYLE: Final = {
    "stable": "bold green",
    "improving": "bold cyan",
    "degrading": "bold yellow",
    "collapsed": "bold red",
    "undecided": "magenta",
}
JUDGEMENT_STYLE: Final = {"held": "bold green", "refuted": "bold red", "undecided": "magenta"}

# Okabe and Ito's colours, which colour-blind readers can tell apart; the same in the terminal and in figures.
PROVIDER_COLOUR: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")


def colours(summary: Summary) -> dict[str, str]:
    return {name: PROVIDER_COLOUR[i % len(PROVIDER_COLOUR)] for i, name in enumerate(summary["providers"])}


def exists(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def number(value: float | None, g: GlyphSet) -> str:
    if value is None or math.isnan(value):
        return g.none
    if math.isinf(value):
        return g.infinity if value > 0 else f"-{g.infinity}"
    size = abs(value)
    if not size:
        return "0"
    if not 1e-3 <= size < 1e6:
        return f"{value:.1e}"
    # 0.812, 4.10, 23.5, 1520: three digits, but never more than three places after the point from 0.01 up.
    places = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3 if size >= 0.01 else 4
    return f"{value:.{places}f}"


def count(value: float, g: GlyphSet) -> str:
    """A mean count: 40, 12.5, 1520."""
    if not math.isfinite(value):
        return number(value, g)
    return f"{value:.0f}" if value >= 100 or value == round(value) else f"{value:.1f}"


def percent(value: float | None, g: GlyphSet) -> str:
    return f"{100 * value:.1f} %" if value is not None and math.isfinite(value) else g.none


def change(start: float | None, end: float | None, g: GlyphSet) -> str:
    return f"{number(start, g)} {g.arrow} {number(end, g)}"


def with_interval(effect: float | None, low: float | None, high: float | None, g: GlyphSet) -> str:
    """An effect as "1.32 [1.20, 1.45]"; without brackets where there is no interval (one seed)."""
    if not (exists(low) and exists(high)):
        return ratio(effect, g)
    return f"{ratio(effect, g)} [{ratio(low, g)}, {ratio(high, g)}]"


def ratio(value: float | None, g: GlyphSet) -> str:
    """Two places around 1, so that an effect and its interval read alike."""
    return f"{value:.2f}" if value is not None and 0.1 <= value < 9.995 else number(value, g)


def direction(better: Direction, g: GlyphSet) -> str:
    return {"lower": g.lower, "higher": g.higher, "neither": g.neither}[better]


def verdict(word: str, styles: Mapping[str, str] = VERDICT_STYLE) -> Text:
    return Text(word, styles.get(word, ""))


def plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def more_seeds(n: int) -> str:
    return f"about {plural(n, 'more seed')} would decide"


def seeds_in_words(seeds: Sequence[int]) -> str:
    """3 seeds (0 to 2), or listed where they are not a range."""
    ordered = sorted(seeds)
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        which = f"{ordered[0]} to {ordered[-1]}"
    else:
        which = ", ".join(map(str, seeds))
    return f"{plural(len(seeds), 'seed')} ({which})"


def metric_infos(summary: Summary) -> dict[str, MetricInfo]:
    """Every metric that was measured, in the summary's order; one that it does not describe has no unit."""
    infos = dict(summary["metrics"])
    for provider in summary["providers"].values():
        for generation in provider["generations"]:
            for name in generation["metrics"]:
                infos.setdefault(name, {"unit": "", "better": "neither"})
    return infos
