"""How a report begins and ends: what to know before believing a verdict, and how to get it again."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from ecosystem.reports.glyphs import GlyphSet
from ecosystem.reports.layout import shorten
from ecosystem.reports.wording import number, percent, plural, seeds_in_words, verdict
from ecosystem.summary import Baseline, Stopped, Summary

STOPS_SHOWN = 4  # a provider that stopped in forty seeds stopped for one reason
LISTED = 8  # seeds; more are told as a range
LONGEST = 1000  # cells of a text by others: a question, a reason
PAPERS = 20
DISTANCES = {"fid": "FID", "frechet": "Frechet distance"}  # metrics whose features are named


def warnings(summary: Summary, g: GlyphSet) -> list[RenderableType]:
    """Generation 0 off its card's baseline, and training that could not go on; both limit what follows."""
    lines: list[RenderableType] = []
    for name, provider in summary["providers"].items():
        baseline = provider["baseline"]
        if baseline is not None and not baseline["held"]:
            lines.append(_warning(name, _missed(baseline, g), "bold yellow", g))
        lines += [_warning(name, why, "bold red", g) for why in _stops(provider["stopped"])]
    return [*lines, Text("")] if lines else []


def _warning(name: str, text: str, style: str, g: GlyphSet) -> Text:
    return Text(f"{g.warning} {shorten(name, 24, g)}: {shorten(text, LONGEST, g)}", style)


def _missed(baseline: Baseline, g: GlyphSet) -> str:
    misses = ", ".join(
        f"{miss['metric']} {number(miss['run'], g)} against {number(miss['card'], g)}" for miss in baseline["misses"]
    )
    told = f": {misses}" if misses else ""
    return f"generation 0 misses its card's baseline{told}; the verdicts below are worth little"


def _stops(stopped: list[Stopped]) -> list[str]:
    lines = [f"stopped in seed {s['seed']} at round {s['round']}: {s['why']}" for s in stopped[:STOPS_SHOWN]]
    more = len(stopped) - STOPS_SHOWN
    return [*lines, f"stopped in {plural(more, 'more seed')}"] if more > 0 else lines


def header(summary: Summary, width: int, g: GlyphSet) -> Group:
    facts = (_papers(summary, g), _run(summary, g), _humans(summary, g), _instruments(summary, g))
    return Group(
        _title(summary, width, g),
        Text(shorten(summary["question"], LONGEST, g), "italic"),
        *(Text(fact, "dim") for fact in facts if fact),
    )


def _title(summary: Summary, width: int, g: GlyphSet) -> Text:
    """The scenario's name, and at the right edge the verdict on the worst of its providers."""
    word = verdict(summary["verdict"])
    name = Text(shorten(summary["scenario"], width - word.cell_len - 2, g), "bold")
    gap = max(width - name.cell_len - word.cell_len, 1)
    return Text.assemble(name, " " * gap, word, no_wrap=True)


def _papers(summary: Summary, g: GlyphSet) -> str:
    return f" {g.dot} ".join(shorten(paper, LONGEST // PAPERS, g) for paper in summary["papers"][:PAPERS])


def _run(summary: Summary, g: GlyphSet) -> str:
    return f"{plural(summary['rounds'], 'round')} {g.dot} {seeds_in_words(summary['seeds'])}"


def _humans(summary: Summary, g: GlyphSet) -> str:
    humans = summary["humans"]
    shape = "x".join(map(str, humans["shape"]))
    facts = [f"humans: {humans['source']} ({shape})"]
    if humans["classes"] > 1:
        facts.append(f"{humans['classes']} classes")
    return f" {g.dot} ".join([*facts, f"{humans['held_out']} held out"])


def _instruments(summary: Summary, g: GlyphSet) -> str:
    """Which features the distance looks at, and how good the classifier behind the class metrics is."""
    humans = summary["humans"]
    told = [word for name, word in DISTANCES.items() if name in summary["metrics"]]
    facts = [f"{' and '.join(told)} on {humans['features']}"] if told else []
    if humans["classifier_accuracy"] is not None:
        facts.append(f"classifier {percent(humans['classifier_accuracy'], g)} right on the held-out set")
    return f" {g.dot} ".join(facts)


def closing(summary: Summary) -> Text:
    seeds = summary["seeds"]
    together = len(seeds) > LISTED and seeds == list(range(seeds[0], seeds[-1] + 1))
    told = f"{seeds[0]}-{seeds[-1]}" if together else ",".join(map(str, seeds))
    return Text.assemble("\n", ("Reproduce: ", "dim"), (f"ecosystem run {summary['scenario']} --seeds {told}", "bold"))
