"""``ecosystem run``: a scenario over its seeds, with its progress on standard error and its report at the end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ecosystem.errors import Interrupted, TrainingError
from ecosystem.stopwatch import clock
from ecosystem.terminal import (
    AsJson,
    ScenarioName,
    Sets,
    asked_to_stop,
    chosen_seeds,
    claims_code,
    console,
    importing,
    overrides_of,
    reader_may_leave,
)

if TYPE_CHECKING:
    from rich.table import Table

    from ecosystem.question import Question
    from ecosystem.results import Run

Seeds = Annotated[str, typer.Option(help="Seeds, as 0-4 or 0,2,5. Default: the scenario's.")]
AllowPaths = Annotated[
    bool, typer.Option("--allow-paths", help="Let the scenario name files outside of its folder and the data roots.")
]


def run(
    scenario: ScenarioName,
    seeds: Seeds = "",
    sets: Sets = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The run's directory. Default: runs/NAME/DIGEST."),
    ] = None,
    as_json: AsJson = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 0 if all claims held, 1 if one is refuted, 2 if undecided.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Run seeds again that are on record.")] = False,
    allow_paths: AllowPaths = False,
    profile: Annotated[bool, typer.Option("--profile", help="Say at the end where the time went.")] = False,
) -> None:
    """Run a scenario over its seeds and print the report; the progress goes to standard error.

    A run that was stopped goes on where it was when the same command is given again.
    """
    overrides = overrides_of(sets)
    told(scenario)
    with importing():
        from ecosystem import progress, results, scenarios  # noqa: F401  the other two are wanted later

    question = scenarios.load(scenario, overrides, allow_paths)
    result = follow(question, chosen_seeds(seeds) or question.scenario.seeds, out, force, as_json)
    if profile:
        console(stderr=True).print(timetable(clock.seconds))
    if check:
        raise typer.Exit(claims_code({claim["verdict"] for claim in result.summary["claims"]}))


PHASES = {
    "start": "start: imports, human data, classifier",
    "publish": "creators publish",
    "crawl": "scrapers crawl",
    "retrain": "training sets",
    "training": "training",
    "sampling": "sampling",
    "ask": "users ask and vote",
    "measure": "metrics",
    "records": "records",
    "display": "progress",
    "report": "summary and report",
}
MODELS = ("training", "sampling")  # of the models; the rest is what it costs to have a world around them


def timetable(seconds: dict[str, float]) -> Table:
    """Where the time went, the longest first."""
    from rich.table import Table

    whole = sum(seconds.values())
    table = Table(title="Where the time went", title_justify="left", box=None, pad_edge=False)
    table.add_column("phase")
    table.add_column("seconds", justify="right")
    table.add_column("share", justify="right")
    for phase, spent in sorted(seconds.items(), key=lambda row: -row[1]):
        table.add_row(PHASES.get(phase, phase), f"{spent:.2f}", f"{100 * spent / whole:.1f} %")
    rest = sum(spent for phase, spent in seconds.items() if phase not in (*MODELS, "start", "report"))
    rounds = whole - seconds.get("start", 0.0) - seconds.get("report", 0.0)
    table.add_row("in all", f"{whole:.2f}", "")
    table.add_row("of the rounds, beside training and sampling", f"{rest:.2f}", f"{100 * rest / rounds:.1f} %")
    return table


def told(what: str) -> None:
    """A first sign of life: importing torch and mesa takes seconds on a cold disk."""
    console(stderr=True).print(f"ecosystem: {what} ...", highlight=False, markup=False)


def follow(question: Question, seeds: Sequence[int], out: Path | None, force: bool, as_json: bool) -> Run:
    """Run what is missing, show how far it is, and print the report."""
    from ecosystem import progress, results

    messages = console(stderr=True)
    result = results.of(question, out)
    events = results.events(question, seeds, out, force)
    try:
        # Closed at once when the run is stopped here: only then is it on record as interrupted.
        with closing(events), asked_to_stop() as asked, progress.watching(question, len(seeds), messages) as watcher:
            for event in events:
                with clock.during("display"):
                    watcher.see(event)
                if asked():
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        if result.begun:
            result.save()
            show(result, as_json)
        where = f"what was done is on record in {result.record.folder}"
        raise Interrupted(f"interrupted; {where}, and the same command goes on from there") from None
    with clock.during("report"):
        result.save()
        show(result, as_json)
    messages.print(f"records: {result.record.folder}", highlight=False, markup=False, soft_wrap=True)
    _raise_stopped(result)
    return result


def show(result: Run, as_json: bool) -> None:
    with reader_may_leave():
        if as_json:
            typer.echo(json.dumps(result.summary, indent=1, ensure_ascii=True, allow_nan=False))
        else:
            result.show(console())


def _raise_stopped(result: Run) -> None:
    why = [s["why"] for provider in result.summary["providers"].values() for s in provider["stopped"]]
    if why:
        raise TrainingError("\n".join(why) + f"\nThe records up to then are in {result.record.folder}.")
