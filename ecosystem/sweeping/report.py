"""The report of a sweep, from its table: for two keys a phase diagram, then what each key does, and where it turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from ecosystem.errors import RecordError
from ecosystem.records import slug
from ecosystem.reports import WIDEST, glyphs_for
from ecosystem.reports.glyphs import GlyphSet
from ecosystem.reports.layout import Page, head, indented, lined_up, section, shorten
from ecosystem.reports.wording import number, percent, plural, seeds_in_words, verdict
from ecosystem.sweeping import phase
from ecosystem.sweeping.boundary import Boundary, boundaries
from ecosystem.sweeping.effects import Level, Sensitivities, main_effect, sensitivities
from ecosystem.sweeping.phase import Phase
from ecosystem.sweeping.swept import Swept, read
from ecosystem.verdicts import MARGIN

MOST_LINES = 12  # of boundaries that are told; --json has all


@dataclass(frozen=True)
class Report:
    swept: Swept
    diagram: Phase | None
    effects: dict[str, tuple[Level, ...]]  # by key
    sensitivities: Sensitivities
    boundaries: tuple[Boundary, ...]

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        tree, runs = self.swept.tree, self.swept.runs
        points = runs.drop_duplicates("point")
        return {
            "folder": str(self.swept.folder),
            "table": str(self.swept.folder / "sweep.parquet"),
            **{key: tree[key] for key in ("scenario", "sampling", "keys", "seeds")},
            "provider": self.swept.provider,
            "metric": self.swept.metric,
            "runs": len(runs),
            "failed": self.swept.failed,
            "verdicts": dict(zip(points["point"], points["verdict"], strict=True)),
            "phase": _phase_tree(self.diagram) if self.diagram else None,
            "effects": {key: [_level_tree(level) for level in levels] for key, levels in self.effects.items()},
            "sensitivity": asdict(self.sensitivities),
            "boundaries": [asdict(boundary) for boundary in self.boundaries],
        }

    def show(self, console: Console) -> None:
        width, g = min(console.width, WIDEST), glyphs_for(console)
        parts = [_header(self.swept, width, g), _diagram(self, width, g), *_effects(self, width, g)]
        parts += [_sensitivity(self.sensitivities, width, g), _boundaries(self, width, g)]
        console.print(Page(Group(*(part for part in parts if part is not None)), width, g.encoding))

    def save_figures(self) -> list[Path]:
        """One PNG into the sweep's `figures`."""
        title = f"{self.swept.tree['scenario']}: {self.swept.metric} of {self.swept.provider}"
        if self.diagram is not None:
            kind, data = "phase", phase.phase_png(self.diagram, title)
        elif self.effects:
            key = self.swept.keys[0]
            kind, data = "line", phase.line_png(self.swept.levels(key), self.effects[key], title)
        else:
            return []
        path = self.swept.folder / "figures" / f"{kind}-{slug(self.swept.provider)}-{slug(self.swept.metric)}.png"
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise RecordError(f"{path} cannot be written: {error.strerror}") from error
        return [path]


def of(folder: Path, metric: str = "", provider: str = "") -> Report:
    """Raises RecordError where there is no sweep, ScenarioError where it has no such metric or provider."""
    swept = read(folder, metric, provider)
    if not len(swept.runs):
        nothing = (Sensitivities("no run has finished", (), None), ())
        return Report(swept, None, {}, *nothing)
    found = sensitivities(swept)
    effects = {key: tuple(main_effect(swept, swept.levels(key))) for key in swept.keys}
    strongest = sorted(found.keys, key=lambda one: -(one.share or 0.0))[:2]
    two = [key for key in swept.keys if key in {one.key for one in strongest}]
    diagram = phase.phase(swept, two[0], two[1]) if len(two) == 2 else None
    return Report(swept, diagram, effects, found, tuple(boundaries(swept)))


# Parts


def _header(swept: Swept, width: int, g: GlyphSet) -> RenderableType:
    tree = swept.tree
    title = Text(shorten(f"{tree['scenario']}: {swept.metric} of {swept.provider}", width, g), "bold")
    points = plural(len(tree["points"]), "point")
    lines = [
        f"{tree['sampling']} of {points}, {seeds_in_words(tree['seeds'])}, {plural(len(swept.runs), 'run')} finished"
    ]
    lines += [f"{key} = {spec}" for key, spec in tree["keys"].items()]
    if swept.failed:
        lines.append(f"{plural(swept.failed, 'run')} failed and {'is' if swept.failed == 1 else 'are'} left out")
    if swept.others:
        lines.append(f"other providers, by --provider: {', '.join(swept.others)}")
    return Group(title, *(Text(shorten(line, width, g), "dim") for line in lines))


def _diagram(report: Report, width: int, g: GlyphSet) -> RenderableType | None:
    found, swept = report.diagram, report.swept
    if found is None:
        return None
    caption = f"The verdict on {swept.provider}, and the mean of {swept.metric}."
    if found.x.binned or found.y.binned or len(swept.keys) > 2:
        caption += " Each cell takes several points together: the verdict is that of most of them."
    if len(swept.keys) > 2:
        caption += " The two keys that explain most are shown."
    return section("Phase diagram", phase.in_terminal(found, width, g), caption, width, g)


def _effects(report: Report, width: int, g: GlyphSet) -> list[RenderableType]:
    """Of one key this is its line table."""
    if not report.effects:
        return []
    parts: list[RenderableType] = []
    caption = f"The mean of {report.swept.metric} over all runs at a level, with its 95 % interval over these runs."
    for key, levels in report.effects.items():
        rows = [head(shorten(key, width // 2, g), "runs", "mean", "95 % interval", "bad")]
        rows += [_level(level, width, g) for level in levels]
        if len(report.effects) == 1:
            words = [Text("verdict", "dim"), *(verdict(level.verdict) for level in levels)]
            rows = [[*row, word] for row, word in zip(rows, words, strict=True)]
        parts.append(indented([Text(""), *lined_up(rows, "<>>>><"[: len(rows[0])])]))
    return [section("Main effects", parts, caption, width, g)]


def _level(level: Level, width: int, g: GlyphSet) -> list[Text]:
    mean = level.mean
    shown = f"{number(mean.low, g)} .. {number(mean.high, g)}" if mean and level.runs > 1 else g.none
    words = (str(level.runs), number(mean.effect if mean else None, g), shown, percent(level.bad, g))
    return [Text(shorten(level.label, width // 2, g)), *(Text(word) for word in words)]


def _sensitivity(found: Sensitivities, width: int, g: GlyphSet) -> RenderableType | None:
    if not found.keys:
        return None
    rows = [head("key", "share of variance", "95 % interval")]
    for one in found.keys:
        ends = g.none if one.low is None or one.high is None else f"{number(one.low, g)} .. {number(one.high, g)}"
        rows.append([Text(shorten(one.key, width // 2, g)), Text(number(one.share, g)), Text(ends)])
    parts: list[RenderableType] = [indented(lined_up(rows, "<>>"))]
    if found.seeds is not None:
        parts.append(
            indented([Text(f"Seeds of one point make {percent(found.seeds, g)} of the variance between runs.")])
        )
    caption = f"First order, Var(E[Y|x]) / Var(Y); about 0 or below: no more than noise. By {found.method}."
    return section("Sensitivity", parts, caption, width, g)


def _boundaries(report: Report, width: int, g: GlyphSet) -> RenderableType | None:
    if not report.boundaries:
        return None
    lines: list[RenderableType] = [indented([Text(in_words(one, g))]) for one in report.boundaries[:MOST_LINES]]
    if len(report.boundaries) > MOST_LINES:
        lines.append(indented([Text(f"and {len(report.boundaries) - MOST_LINES} more: --json has all", "dim")]))
    over = "seeds" if report.swept.gridded else "points"
    caption = f"A run is bad where it became {MARGIN:g} times worse or more. Logistic fit; 95 % bootstrap over {over}."
    return section("Where it turns", lines, caption, width, g)


def in_words(one: Boundary, g: GlyphSet) -> str:
    held = "".join(f", {key} = {label}" for key, label in one.held.items())
    first, last = (f"{percent(share, g)} at {end:.4g}" for share, end in zip(one.shares, one.ends, strict=True))
    share = f"bad: {first}, {last}; {plural(one.runs, 'run')}"
    if not one.between:
        return f"{one.key}{held}: no flip between {one.ends[0]:.4g} and {one.ends[1]:.4g} ({share})"
    pairs = " and ".join(f"between {a:.4g} and {b:.4g}" for a, b in one.between)
    fitted = ""
    if one.at is not None:
        ends = "one seed: no interval" if one.low is None else f"[{one.low:.4g}, {one.high:.4g}]"
        fitted = f", fitted at {one.at:.4g} {ends}"
    return f"{one.key}{held}: flips {pairs}{fitted} ({share})"


# JSON


def _phase_tree(found: Phase) -> dict[str, Any]:
    cells = [
        {"x": found.x.labels[x], "y": found.y.labels[y], **asdict(cell)} for (x, y), cell in sorted(found.cells.items())
    ]
    return {"x": found.x.key, "y": found.y.key, "cells": cells}


def _level_tree(level: Level) -> dict[str, Any]:
    mean = level.mean
    ends: Sequence[float | None] = (mean.low, mean.high) if mean and level.runs > 1 else (None, None)
    told = {"level": level.label, "runs": level.runs, "mean": mean.effect if mean else None}
    return {**told, "low": ends[0], "high": ends[1], "bad": level.bad, "verdict": level.verdict}
