"""Figures are drawn with Pillow: at twice the size and then reduced, which is all the anti-aliasing they
need.

Coordinates are in final pixels. The same summary gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from ecosystem.reports.glyphs import encodable
from ecosystem.reports.layout import one_line

SCALE = 2
INK = "#222222"
FAINT = "#777777"
GRID = "#dddddd"

Point = tuple[float, float]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@lru_cache
def font(size: int) -> Font:
    """Pillow's own font, so that figures do not depend on the machine's."""
    return ImageFont.load_default(size)


class Canvas:
    """A white sheet of `width` by `height` pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGBA", (width * SCALE, height * SCALE), "white")
        self._draw = ImageDraw.Draw(self.image)

    def text(self, at: Point, text: str, colour: str = INK, size: int = 13, anchor: str = "la") -> None:
        self._draw.text(_scaled([at])[0], text, fill=colour, font=font(size * SCALE), anchor=anchor)

    def text_width(self, text: str, size: int = 13) -> float:
        return self._draw.textlength(text, font=font(size * SCALE)) / SCALE

    def fitting(self, text: str, width: float, size: int = 13) -> str:
        """The text on one line, cut where it would be wider than `width`."""
        text = encodable(one_line(text), "ascii")  # Pillow's font knows little else
        if self.text_width(text, size) <= width:
            return text
        while text and self.text_width(text + "...", size) > width:
            text = text[:-1]
        return text + "..."

    def line(self, points: Sequence[Point], colour: str, width: float = 1.0) -> None:
        self._draw.line(_scaled(points), fill=colour, width=round(width * SCALE), joint="curve")

    def dashed(self, points: Sequence[Point], colour: str, width: float = 1.0) -> None:
        for dash in dashes(points):
            self.line(dash, colour, width)

    def dot(self, at: Point, radius: float, colour: str) -> None:
        self._draw.circle(_scaled([at])[0], radius * SCALE, fill=colour)

    def box(self, corner: Point, opposite: Point, *, outline: str = "", fill: str = "") -> None:
        self._draw.rectangle(_scaled([corner, opposite]), outline=outline or None, fill=fill or None, width=SCALE)

    def band(self, points: Sequence[Point], colour: str) -> None:
        """A see-through polygon."""
        corners = [(round(x), round(y)) for x, y in _scaled(points)]
        left, top = (min(axis) for axis in zip(*corners, strict=True))
        right, bottom = (max(axis) for axis in zip(*corners, strict=True))
        layer = Image.new("RGBA", (right - left + 1, bottom - top + 1), (0, 0, 0, 0))
        ImageDraw.Draw(layer).polygon([(x - left, y - top) for x, y in corners], fill=colour + "30")
        self.image.alpha_composite(layer, (left, top))

    def paste(self, image: Image.Image, at: tuple[int, int]) -> None:
        """An image at twice its size, so that reducing gives back its very pixels."""
        size = (image.width * SCALE, image.height * SCALE)
        enlarged = image.convert("RGBA").resize(size, Image.Resampling.NEAREST)
        self.image.paste(enlarged, (at[0] * SCALE, at[1] * SCALE))

    def png(self, palette: Sequence[str] = ()) -> bytes:
        """As a file. Given a palette it has 256 colours, those among them: a third of the size."""
        reduced = self.image.convert("RGB").reduce(SCALE)
        buffer = io.BytesIO()
        (_few_colours(reduced, palette) if palette else reduced).save(buffer, "PNG")
        return buffer.getvalue()


def _few_colours(image: Image.Image, kept: Sequence[str]) -> Image.Image:
    """A palette for the image alone would lose the white of the sheet and the colours of its few words."""
    kept = ["white", INK, *kept]
    found = image.quantize(256 - len(kept), dither=Image.Dither.NONE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*found, *(channel for colour in kept for channel in ImageColor.getrgb(colour))])
    return image.quantize(palette=palette, dither=Image.Dither.NONE)


def dashes(points: Sequence[Point], on: float = 4, off: float = 3) -> Iterator[list[Point]]:
    """A line cut into dashes `on` pixels long, `off` between them; they go on around its corners."""
    corners = np.array(points, dtype=float).reshape(-1, 2)
    walked = np.concatenate([[0.0], np.hypot(*np.diff(corners, axis=0).T).cumsum()])
    for start in np.arange(0.0, walked[-1], on + off):
        end = min(start + on, walked[-1])
        inside = corners[(walked > start) & (walked < end)]
        ends = [[np.interp(at, walked, axis) for axis in corners.T] for at in (start, end)]
        yield [(float(x), float(y)) for x, y in (ends[0], *inside, ends[1])]


def _scaled(points: Sequence[Point]) -> list[Point]:
    return [(x * SCALE, y * SCALE) for x, y in points]
