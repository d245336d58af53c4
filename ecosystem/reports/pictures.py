"""Images drawn with characters: a cell is half a pixel row high, so that pixels come out square.

In colour a cell is "▀", its foreground the upper pixel and its background the lower. Without colour a grey
digit is cut at a threshold into half-blocks, and what is not black or white (photographs) or not to be drawn
in blocks (ASCII) becomes a ramp of shades. Images are uint8, (n, C, H, W); thumbnails float64, (n, h, w) or
(n, h, w, 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.style import Style
from rich.text import Text

from ecosystem.reports.glyphs import GlyphSet

WIDEST = 16  # pixels of a thumbnail
PHOTOGRAPH = 32  # grey images wider than this have shades that matter

Uint8 = NDArray[np.uint8]
Floats = NDArray[np.float64]


def shrunk(images: Uint8, widest: int) -> Floats:
    """Box-averaged by an integer factor to at most `widest` pixels a row; (n, h, w, C) in [0, 255]."""
    n, channels, height, width = images.shape
    factor = -(-width // widest)
    h, w = max(height // factor, 1), width // factor
    kept = images[:, :, : h * factor, : w * factor].astype(np.float64)
    boxes = kept.reshape(n, channels, h, -1, w, factor)
    return np.asarray(np.moveaxis(boxes.mean(axis=(3, 5)), 1, -1))


def grey(pixels: Floats) -> Floats:
    """Luminance of (..., C) pixels, by ITU-R BT.601."""
    if pixels.shape[-1] != 3:
        return np.asarray(pixels.mean(axis=-1))
    return np.asarray(pixels @ np.array([0.299, 0.587, 0.114]))


def otsu(values: Floats) -> float:
    """The threshold between dark and bright that leaves the least variance on either side (Otsu 1979)."""
    ordered = np.sort(values, axis=None)
    below = np.arange(1, ordered.size)
    sums = np.cumsum(ordered)[:-1]
    above = ordered.size - below
    # Between-class variance, which is greatest where the variance within is least.
    between = below * above * (sums / below - (ordered.sum() - sums) / above) ** 2
    if not between.size or between.max() <= 0:
        return 127.5
    cut = int(between.argmax())
    return float(ordered[cut] + ordered[cut + 1]) / 2


@dataclass(frozen=True)
class Pen:
    """How the images of one gallery are drawn: one choice for all of them, so that they can be compared."""

    glyphs: GlyphSet
    threshold: float | None  # None: shades

    @classmethod
    def for_images(cls, human: Uint8, glyphs: GlyphSet) -> Pen:
        photographs = human.shape[1] == 3 or human.shape[3] > PHOTOGRAPH
        if glyphs.colour or photographs or not glyphs.halves:
            return cls(glyphs, None)
        return cls(glyphs, otsu(grey(shrunk(human, WIDEST))))

    def strip(self, images: Uint8) -> list[Text]:
        """A row of images side by side, as lines of text."""
        thumbnails = shrunk(images, WIDEST)
        if thumbnails.shape[1] % 2:  # an odd last pixel row sits on black
            thumbnails = np.pad(thumbnails, ((0, 0), (0, 1), (0, 0), (0, 0)))
        drawn = [self._image(pixels) for pixels in thumbnails]
        return [Text(" ", no_wrap=True).join(line) for line in zip(*drawn, strict=True)]

    def _image(self, pixels: Floats) -> list[Text]:
        if self.glyphs.colour:
            return _coloured(pixels)
        if self.threshold is not None:
            return _cut(grey(pixels), self.threshold, self.glyphs.halves)
        return _shaded(grey(pixels), self.glyphs.ramp)


def _coloured(pixels: Floats) -> list[Text]:
    rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3)).round().astype(int)
    cells = np.concatenate([rgb[::2], rgb[1::2]], axis=2).tolist()
    return [Text.assemble(*(("▀", _style(*cell)) for cell in line)) for line in cells]


@lru_cache(maxsize=4096)
def _style(*upper_and_lower: int) -> Style:
    upper, lower = upper_and_lower[:3], upper_and_lower[3:]
    return Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower))


def _cut(values: Floats, threshold: float, halves: str) -> list[Text]:
    bright = values > threshold
    cells = 2 * bright[::2] + bright[1::2]
    return [Text("".join(halves[i] for i in line)) for line in cells]


def _shaded(values: Floats, ramp: str) -> list[Text]:
    cells = (values[::2] + values[1::2]) / 2
    levels = np.minimum(cells / 256 * len(ramp), len(ramp) - 1).astype(int)
    return [Text("".join(ramp[i] for i in line)) for line in levels]
