"""Series as one line of text: a character for each generation, or for each few where the line is short.

Series that are to be compared share a `Scale` and a bin width, so that equal characters are equal numbers and
equal columns are equal generations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ecosystem.reports.glyphs import GlyphSet

Series = Sequence[float | None]

DECADES = 100.0  # from a range of 1 to 100 on, a scale is logarithmic


def finite(series: Series) -> list[float]:
    return [x for x in series if x is not None and math.isfinite(x)]


@dataclass(frozen=True)
class Scale:
    """The range of one number over everything it is compared with.

    One provider that runs away must not flatten the others: a wide range of positive numbers is logarithmic.
    """

    low: float
    high: float

    @property
    def logarithmic(self) -> bool:
        return 0 < self.low < self.high / DECADES

    def position(self, value: float) -> float:
        """0 at the low end, 1 at the high end."""
        inside = min(max(value, self.low), self.high)
        if self.high <= self.low:
            return 0.5
        if self.logarithmic:
            return math.log(inside / self.low) / math.log(self.high / self.low)
        return (inside - self.low) / (self.high - self.low)

    def level(self, value: float, levels: int) -> int:
        return min(int(self.position(value) * levels), levels - 1)


def scale(series: Iterable[Series]) -> Scale:
    values = [x for one in series for x in finite(one)]
    return Scale(min(values), max(values)) if values else Scale(0.0, 0.0)


def bin_width(longest: int, columns: int) -> int:
    """How many values share a character if the longest series is to fit."""
    return max(math.ceil(longest / max(columns, 1)), 1)


def binned(series: Series, width: int) -> list[float | None]:
    """Means of `width` neighbours; a bin without a value stays without."""
    bins = (finite(series[i : i + width]) for i in range(0, len(series), width))
    return [math.fsum(values) / len(values) if values else None for values in bins]


def spark(series: Series, on: Scale, width: int, g: GlyphSet) -> str:
    def glyph(value: float | None) -> str:
        return " " if value is None else g.spark[on.level(value, len(g.spark))]

    return "".join(map(glyph, binned(series, width)))


def bar(share: float, cells: int, g: GlyphSet) -> str:
    """A horizontal bar, full at 1."""
    if not math.isfinite(share):
        return ""
    steps = len(g.bar) - 1
    filled, rest = divmod(round(min(max(share, 0.0), 1.0) * cells * steps), steps)
    return g.bar[-1] * filled + (g.bar[rest] if rest else "")
