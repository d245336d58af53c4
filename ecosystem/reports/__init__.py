"""Reports: a summary in, something to read out. Nothing here runs, trains or writes anything but figures.

A report is a list of parts in the order in which one wants to read them; each part is a function of the
summary that gives something rich can print, or None where it has nothing to say.
"""

from __future__ import annotations

from rich.console import Console, Group, RenderableType

from ecosystem.reports.curves import curves, votes
from ecosystem.reports.definitions import definitions
from ecosystem.reports.ecosystem import coevolution
from ecosystem.reports.figures import save_figures
from ecosystem.reports.flow import data_flow
from ecosystem.reports.gallery import Gallery, gallery_section
from ecosystem.reports.glyphs import ASCII, UNICODE, GlyphSet, glyphs_for
from ecosystem.reports.header import closing, header, warnings
from ecosystem.reports.judgements import claims, verdicts
from ecosystem.reports.layout import Page
from ecosystem.reports.supply import training_sets, web
from ecosystem.reports.theory import theory
from ecosystem.summary import Summary

__all__ = ["ASCII", "UNICODE", "Gallery", "GlyphSet", "glyphs_for", "print_report", "report", "save_figures"]

WIDEST = 120  # beyond it lines grow hard to follow


def report(summary: Summary, gallery: Gallery | None, *, width: int, styles: GlyphSet) -> RenderableType:
    """The whole report, `width` cells wide, with no character that `styles.encoding` lacks."""
    parts: list[RenderableType | None] = [
        *warnings(summary, styles),
        header(summary, width, styles),
        verdicts(summary, width, styles),
        definitions(summary, width, styles),
        claims(summary, width, styles),
        theory(summary, width, styles),
        curves(summary, width, styles),
        web(summary, width, styles),
        training_sets(summary, width, styles),
        data_flow(summary, width, styles),
        votes(summary, width, styles),
        coevolution(summary, width, styles),
        gallery_section(summary, gallery, width, styles) if gallery else None,
        closing(summary),
    ]
    return Page(Group(*(part for part in parts if part is not None)), width, styles.encoding)


def print_report(summary: Summary, gallery: Gallery | None, console: Console) -> None:
    console.print(report(summary, gallery, width=min(console.width, WIDEST), styles=glyphs_for(console)))
