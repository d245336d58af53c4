"""Figures of a report: `curves.png` and, where there are samples, `gallery.png`.

The gallery shows what the terminal's shows, with every pixel: providers side by side, a row for each
generation below the human one, or scatter panels for vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ecosystem.reports.canvas import FAINT, GRID, INK, Canvas
from ecosystem.reports.charts import curves_png
from ecosystem.reports.gallery import Gallery, Samples
from ecosystem.reports.pictures import shrunk
from ecosystem.reports.scatter import Axes
from ecosystem.reports.wording import PROVIDER_COLOUR, colours
from ecosystem.summary import Summary

LARGEST = 300_000  # bytes; beyond it fewer samples are shown
LABEL, TITLE, PAD = 58, 30, 3  # pixels: left of a row, above a provider, between images
PIXELS = 40  # of an image's width, about
PANEL, NAME = 220, 16  # its side; the line above it
PANELS = 6  # in a row, the human one among them
POINTS = 1000  # of a panel; more only blacken it


def save_figures(summary: Summary, gallery: Gallery | None, directory: Path) -> list[Path]:
    """Writes the figures and returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    figures = {"curves.png": curves_png(summary), "gallery.png": gallery_png(summary, gallery)}
    saved = {directory / name: data for name, data in figures.items() if data is not None}
    for path, data in saved.items():
        path.write_bytes(data)
    return list(saved)


def gallery_png(summary: Summary, gallery: Gallery | None) -> bytes | None:
    names = [name for name in summary["providers"] if gallery and gallery.providers.get(name)]
    if gallery is None or not names or not len(gallery.human):
        return None
    if gallery.of_images:
        return _under(LARGEST, lambda n: _images(summary, names, gallery, n), _columns(len(names)))
    return _under(LARGEST, lambda n: _vectors(summary, names, gallery, n), POINTS)


def _under(limit: int, draw: Callable[[int], bytes], samples: int) -> bytes:
    """The figure with as many samples as keep it under the limit."""
    data = draw(samples)
    while len(data) > limit and samples > 2:
        samples = samples * 2 // 3
        data = draw(samples)
    return data


def _columns(providers: int) -> int:
    return {1: 16, 2: 10}.get(providers, 8)


@dataclass(frozen=True)
class Grid:
    """Rows of images of one size, below a title."""

    columns: int
    rows: int
    wide: int  # pixels of an image
    high: int

    @property
    def size(self) -> tuple[int, int]:
        return LABEL + self.columns * (self.wide + PAD) + 16, TITLE + self.rows * (self.high + PAD) + 12


def _images(summary: Summary, names: list[str], gallery: Gallery, columns: int) -> bytes:
    rows = {name: gallery.rows(name) for name in names}
    first = _enlarged(gallery.human[:columns])
    grid = Grid(len(first), max(map(len, rows.values())), first[0].width, first[0].height)
    across, (width, height) = min(len(names), 3), grid.size
    canvas = Canvas(across * width, -(-len(names) // across) * height)
    for i, name in enumerate(names):
        x, y = i % across * width, i // across * height
        _heading(canvas, (x + LABEL, y + 8), name, summary, width - LABEL - 16)
        _provider(canvas, (x, y + TITLE), rows[name], grid)
    return canvas.png(PROVIDER_COLOUR if gallery.human.shape[1] == 3 else ())


def _heading(canvas: Canvas, at: tuple[int, int], name: str, summary: Summary, width: int) -> None:
    word = summary["providers"][name]["verdict"]
    shown = canvas.fitting(name, width - canvas.text_width(word) - 12, 14)
    canvas.text(at, shown, colours(summary)[name], 14)
    canvas.text((at[0] + canvas.text_width(shown, 14) + 10, at[1] + 1), word, INK)


def _provider(canvas: Canvas, corner: tuple[int, int], rows: dict[str, Samples], grid: Grid) -> None:
    for row, (label, images) in enumerate(rows.items()):
        y = corner[1] + row * (grid.high + PAD)
        canvas.text((corner[0] + LABEL - 8, y + grid.high / 2), label, FAINT, 12, "rm")
        for column, image in enumerate(_enlarged(images[: grid.columns])):
            canvas.paste(image, (corner[0] + LABEL + column * (grid.wide + PAD), y))


def _enlarged(images: Samples) -> list[Image.Image]:
    """At about PIXELS wide, by an integer factor; larger images are averaged down."""
    pixels = shrunk(images, PIXELS * 6 // 5).round().astype(np.uint8)
    factor = max(round(PIXELS / pixels.shape[2]), 1)
    pixels = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    grey = pixels.shape[3] != 3
    return [Image.fromarray(one[..., 0] if grey else one) for one in pixels]


def _vectors(summary: Summary, names: list[str], gallery: Gallery, points: int) -> bytes:
    axes = Axes.of(gallery.human)
    rows = {name: gallery.rows(name, PANELS - 1) for name in names}
    width = max(map(len, rows.values())) * (PANEL + 8) + 16
    height = TITLE + NAME + PANEL + 12
    canvas = Canvas(width, len(names) * height)
    for i, (name, row) in enumerate(rows.items()):
        _heading(canvas, (12, i * height + 8), name, summary, width - 24)
        for j, (label, vectors) in enumerate(row.items()):
            colour = FAINT if label == "human" else colours(summary)[name]
            corner = (12 + j * (PANEL + 8), i * height + TITLE + NAME)
            _panel(canvas, corner, vectors[:points], axes, colour)
            canvas.text((corner[0], corner[1] - 4), label, FAINT, 12, "ls")
    return canvas.png()


def _panel(canvas: Canvas, corner: tuple[int, int], vectors: Samples, axes: Axes, colour: str) -> None:
    """A scatter of the first two coordinates; of one coordinate, a histogram."""
    x, y = corner
    if vectors.shape[1] == 1:
        _histogram(canvas, corner, vectors, axes, colour)
    else:
        plane = Axes(axes.low[:2], axes.high[:2])
        inside = PANEL - 4  # a point on the edge stays whole
        for row, column in plane.cells(vectors[:, :2], inside * 2, inside * 2):
            canvas.dot((x + 2 + column / 2, y + 2 + row / 2), 1.5, colour)
    canvas.box(corner, (x + PANEL, y + PANEL), outline=GRID)


def _histogram(canvas: Canvas, corner: tuple[int, int], vectors: Samples, axes: Axes, colour: str) -> None:
    bins = np.bincount(axes.cells(np.repeat(vectors, 2, axis=1), 44, 1)[:, 1], minlength=44)
    step = PANEL / 44
    for i, n in enumerate(bins):
        top = corner[1] + PANEL * (1 - 0.85 * n / max(bins.max(), 1))
        left = corner[0] + i * step
        canvas.box((left, top), (left + step, corner[1] + PANEL), fill=colour)
