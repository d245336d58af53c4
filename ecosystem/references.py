"""The reference reports: ``python -m ecosystem.references [NAME ...]`` (``make references``) makes reports/NAME/ anew.

Each shipped scenario is run over its own seeds, or four where it names none; its summary, its report at 100 columns
without colour, and its figures are kept beside the question's digest, so that a test can tell a report from a scenario
or card that has changed since. Runs go to runs/, so that an interrupted command goes on with what is missing.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ecosystem import grammar, progress, reports, results, scenarios, scoreboard
from ecosystem.question import Question, Scenario
from ecosystem.records import SeedRecord, read_json, write_json, write_text
from ecosystem.results import Run
from ecosystem.summary import Evidence, Summary

SEEDS = (0, 1, 2, 3)
WIDTH = 100
FOLDER = Path("reports")


def make(name: str) -> None:
    question = scenarios.load(name)
    console, seeds = Console(stderr=True), seeds_of(question)
    with progress.watching(question, len(seeds), console) as watcher:
        for event in results.events(question, seeds, None, force=False):
            watcher.see(event)
    keep(results.of(question, None), FOLDER / name)


def seeds_of(question: Question) -> tuple[int, ...]:
    """The scenario's own where they are enough for an interval, else four."""
    own = question.scenario.seeds
    return own if len(own) >= 3 else SEEDS


def keep(run: Run, folder: Path) -> None:
    """Write a run's summary, report and figures."""
    assert run.question is not None
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "summary.json", run.summary)
    write_text(folder / "digest.txt", run.question.digest + "\n")
    write_text(folder / "report.txt", text(run))
    write_json(folder / "manifest.json", _manifest(run.record.seeds()))
    reports.save_figures(run.summary, run.gallery(), folder)


def _manifest(seeds: Sequence[SeedRecord]) -> dict[str, Any]:
    """What made it, and how long it took."""
    kept = ("device", "threads", "blas", "python", "versions")
    manifest = seeds[0].manifest()
    seconds = sum(seed.seconds for seed in seeds)
    told = {name: manifest[name] for name in kept if name in manifest}
    return told | {"seeds": len(seeds), "seconds": round(seconds, 1)}


def text(run: Run) -> str:
    """The report without colour, WIDTH columns wide."""
    # In memory and in UTF-8: the report must not depend on the locale it is made under.
    page = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    console = Console(width=WIDTH, file=page, color_system=None)
    with console.capture() as capture:
        reports.print_report(run.summary, run.gallery(), console)
    return capture.get()


INDEX = """
## Reference reports

Each shipped scenario over its seeds (three at the least), made by `make references`. A folder holds the report as
text, the summary as JSON, curves and gallery as pictures, and the digest of the scenario and cards that it belongs to.
Effects are how many times worse a metric became against the provider's own generation 0, with its 95 % interval.

| scenario | seeds | provider | verdict | evidence | claims held, refuted, undecided |
|---|---|---|---|---|---|
"""


def index(folder: Path) -> str:
    """reports/README.md: the scoreboard, and the summaries on file."""
    names = [name for name in scenarios.names() if (folder / name / "summary.json").exists()]
    rows = [row for name in names for row in _rows(read_json(folder / name / "summary.json"))]
    return "# Reports\n\n" + scoreboard.text(folder) + INDEX + "\n".join(rows) + "\n"


def _rows(summary: Summary) -> Iterator[str]:
    words = [claim["verdict"] for claim in summary["claims"]]
    counts = ", ".join(str(words.count(word)) for word in ("held", "refuted", "undecided"))
    for name, provider in summary["providers"].items():
        evidence = "; ".join(_evidence(e) for e in provider["evidence"])
        first = f"[{summary['scenario']}]({summary['scenario']}/report.txt)"
        yield f"| {first} | {len(summary['seeds'])} | {name} | {provider['verdict']} | {evidence} | {counts} |"


def _evidence(e: Evidence) -> str:
    if e["effect"] is None or e["low"] is None or e["high"] is None:
        return f"{e['metric']} not measured"
    return f"{e['metric']} {e['effect']:.2f} [{e['low']:.2f}, {e['high']:.2f}]"


def schema() -> str:
    """The JSON schema of scenarios, for editors: scenarios/schema.json."""
    return json.dumps(grammar.schema(Scenario), indent=1) + "\n"


def main(names: list[str]) -> None:
    for name in names or scenarios.names():
        make(name)
    write_text(FOLDER / "README.md", index(FOLDER))


if __name__ == "__main__":
    main(sys.argv[1:])
