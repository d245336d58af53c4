"""The gallery: what the providers' generations make, drawn in the terminal below what humans made.

Collapse is a number in the tables above; here it is seen. Image i of every generation has the same prompt and
the same noise, so that a column shows one image drifting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.text import Text

from ecosystem.reports.glyphs import GlyphSet
from ecosystem.reports.layout import evenly, indented, section, shorten
from ecosystem.reports.pictures import WIDEST as WIDEST_IMAGE
from ecosystem.reports.pictures import Pen, shrunk
from ecosystem.reports.scatter import Axes, histogram, panel
from ecosystem.reports.wording import colours
from ecosystem.summary import Summary

GENERATIONS = 8  # shown of each provider, the first and the last among them
LABEL = 6  # cells of "human", "g12"
NARROWEST_PANEL = 19  # cells, with its frame and the gap beside it
PANELS_A_ROW = 5
WIDEST_PANEL = 22  # cells inside the frame

Samples = NDArray[Any]


@dataclass(frozen=True)
class Gallery:
    """Samples of the human source and of every provider by generation: uint8 images (n, C, H, W), or float64
    vectors (n, D)."""

    human: Samples
    providers: Mapping[str, Mapping[int, Samples]] = field(default_factory=dict)

    @property
    def of_images(self) -> bool:
        return self.human.ndim == 4

    def rows(self, provider: str, generations: int = GENERATIONS) -> dict[str, Samples]:
        """Label -> samples: the human sample, then evenly spaced generations."""
        by_number = self.providers.get(provider, {})
        numbers = sorted(by_number)
        chosen = (numbers[i] for i in evenly(len(numbers), generations))
        return {"human": self.human, **{f"g{n}": by_number[n] for n in chosen}}


def gallery_section(summary: Summary, samples: Gallery, width: int, g: GlyphSet) -> RenderableType | None:
    drawn = [name for name in summary["providers"] if samples.providers.get(name)]
    if not drawn or not len(samples.human):
        return None
    parts: list[RenderableType] = []
    for name in drawn:
        colour = colours(summary)[name]
        if parts:
            parts.append(Text(""))
        parts.append(Text(f"  {shorten(name, width - 2, g)}", f"bold {colour}"))
        parts.append(indented([_provider(samples, name, width - 2, colour, g)]))
    return section("Gallery", parts, _caption(samples), width, g)


def _provider(samples: Gallery, name: str, width: int, colour: str, g: GlyphSet) -> Group:
    if samples.of_images:
        return _images(samples.rows(name), width, g)
    if samples.human.shape[1] == 1:
        return _histograms(samples.rows(name), width, colour, g)
    in_a_row = min(max(width // NARROWEST_PANEL, 1), PANELS_A_ROW)
    rows = samples.rows(name, min(2 * in_a_row - 1, GENERATIONS))
    return _panels(rows, in_a_row, width, colour, g)


def _caption(samples: Gallery) -> str:
    if samples.of_images:
        return (
            "A column keeps its prompt and its noise: read down for drift. "
            "Four neighbours share a prompt: read across for variety."
        )
    dimensions = samples.human.shape[1]
    if dimensions == 1:
        return "Histograms on the human sample's axis, each as high as its own mode; the ends hold outliers."
    which = "" if dimensions == 2 else f"The first two of {dimensions} coordinates, "
    return f"{which}on the human sample's axes; points outside are drawn on the edge.".capitalize()


def _images(rows: dict[str, Samples], width: int, g: GlyphSet) -> Group:
    pen = Pen.for_images(rows["human"], g)
    wide = shrunk(rows["human"][:1], WIDEST_IMAGE).shape[2] + 1
    fitting = max((width - LABEL + 1) // wide, 1)
    lines: list[Text] = []
    for label, images in rows.items():
        strip = pen.strip(images[:fitting])
        margin = [label.ljust(LABEL), *[" " * LABEL] * (len(strip) - 1)]
        lines += [Text.assemble((left, "dim"), line) for left, line in zip(margin, strip, strict=True)]
        lines.append(Text(""))
    return Group(*lines[:-1])


def _histograms(rows: dict[str, Samples], width: int, colour: str, g: GlyphSet) -> Group:
    axes = Axes.of(rows["human"])
    cells = min(width - LABEL, 64)
    lines = (
        Text.assemble((f"{label:<{LABEL}}", "dim"), (histogram(values, axes, cells, g), _ink(label, colour)))
        for label, values in rows.items()
    )
    return Group(*lines)


def _panels(rows: dict[str, Samples], in_a_row: int, width: int, colour: str, g: GlyphSet) -> Group:
    axes = Axes.of(rows["human"][:, :2])
    cells = min(width // in_a_row - 3, WIDEST_PANEL) // 2 * 2
    panels = [panel(v[:, :2], axes, label, cells, _ink(label, colour), g) for label, v in rows.items()]
    lines: list[Text] = []
    for start in range(0, len(panels), in_a_row):
        side_by_side = zip(*panels[start : start + in_a_row], strict=True)
        lines += [Text(" ", no_wrap=True).join(line) for line in side_by_side]
    return Group(*lines)


def _ink(label: str, colour: str) -> str:
    return "" if label == "human" else colour
