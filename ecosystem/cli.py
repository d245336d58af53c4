"""The command line: parse, call, print, exit code. torch, mesa and pydantic are imported inside the commands."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional

import typer

from ecosystem.errors import EcosystemError, Interrupted, ScenarioError, TrainingError

if TYPE_CHECKING:
    from rich.console import Console

    from ecosystem.results import Run

app = typer.Typer(
    name="ecosystem",
    help="Simulate a web that generative models both fill and feed on.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Scenario = Annotated[str, typer.Argument(help="A shipped scenario's name (see `ecosystem list`) or a path.")]
Sets = Annotated[
    Optional[list[str]],  # noqa: UP045  typer wants it so
    typer.Option("--set", help="Override a value: --set users.crowd.k=4. May be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from ecosystem import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command("list")
def list_() -> None:
    """The shipped scenarios and their questions."""
    from ecosystem import grammar
    from ecosystem.documents import read

    rows = []
    for name in grammar.shipped_names("scenarios"):
        data = read(grammar.shipped("scenarios") / f"{name}.yaml").data
        rows.append((name, str(data.get("question", "")).strip()))
    _table(("scenario", "question"), rows)


@app.command()
def check(scenario: Scenario, sets: Sets = None) -> None:
    """Check a scenario without running it; nothing is written."""
    from ecosystem import scenarios

    question = scenarios.load(scenario, _overrides(sets))
    s = question.scenario
    typer.echo(f"{s.name}: valid. {s.rounds} rounds, seeds {', '.join(map(str, s.seeds))}.")
    typer.echo(f"  human pages: {s.web.archive:,} of {s.humans.source} in the archive")
    typer.echo(f"  ballots a round: {s.ballots_per_round:,}")
    for provider in s.providers:
        card = question.cards[provider.name]
        typer.echo(f"  {provider.name}: {card.name} ({card.model.family}), every {provider.retrain.every} round(s)")


@app.command()
def run(
    scenario: Scenario,
    seeds: Annotated[str, typer.Option(help="Seeds, as 0-4 or 0,2,5. Default: the scenario's.")] = "",
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
) -> None:
    """Run a scenario over its seeds and print the report; the progress goes to standard error."""
    chosen = _seeds(seeds)
    overrides = _overrides(sets)
    messages = _console(stderr=True)
    # A first sign of life: importing torch and mesa takes seconds on a cold disk.
    messages.print(f"ecosystem: {scenario} ...", highlight=False, markup=False)
    from ecosystem import progress, results, scenarios

    question = scenarios.load(scenario, overrides)
    chosen = chosen or list(question.scenario.seeds)
    _stop_on_sigterm()
    interrupted = False
    with progress.watching(question, len(chosen), messages) as watcher:
        try:
            for event in results.events(question, chosen, out, force):
                watcher.see(event)
        except KeyboardInterrupt:
            interrupted = True
    result = results.of(question, out)
    result.save()
    _show(result, as_json)
    if interrupted:
        raise Interrupted(f"interrupted; what was done is on record in {result.record.folder}")
    messages.print(f"records: {result.record.folder}", highlight=False, markup=False, soft_wrap=True)
    _raise_stopped(result)
    if check:
        raise typer.Exit(_claims_code(result))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory.")], as_json: AsJson = False
) -> None:
    """The report of a run, from its records alone."""
    from ecosystem import results

    _show(results.open_run(folder), as_json)


@app.command()
def models(
    measure: Annotated[str, typer.Option(help="Measure this card's clean-data baselines and write them into it.")] = "",
) -> None:
    """The model cards, with the baselines measured on clean human data."""
    if measure:
        from ecosystem import baselines

        baselines.measure(measure, typer.echo)
        return
    from ecosystem import grammar
    from ecosystem.documents import read

    rows = []
    for name in grammar.shipped_names("models"):
        data = read(grammar.shipped("models") / f"{name}.yaml").data
        rows.append((name, data["model"]["family"], _baseline_words(data.get("baselines") or [])))
    _table(("model", "family", "generation 0 on clean human data"), rows)


def _baseline_words(baselines: list[dict[str, Any]]) -> str:
    shown = ("precision", "recall", "agreement", "modes")
    words = []
    for baseline in baselines:
        numbers = [f"{k} {baseline['metrics'][k]:.2f}" for k in shown if k in baseline["metrics"]]
        words.append(f"{baseline['humans']} ({baseline['pages']:,}): {', '.join(numbers)}")
    return "; ".join(words) or "closed form: no training to get wrong"


def _overrides(sets: list[str] | None) -> dict[str, str]:
    from ecosystem.documents import split_override

    return dict(split_override(text) for text in sets or [])


def _seeds(text: str) -> list[int]:
    """`0-4` -> 0..4; `0,2,5`; empty: none given."""
    found: list[int] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or len(part) > 20:
            raise ScenarioError(f"--seeds {text}: `{part}` is no seed. Write 0-4 or 0,2,5.")
        low, high = int(first), int(last or first)
        if not 0 <= high - low < 10_000:
            raise ScenarioError(f"--seeds {text}: `{part}` is {'empty' if high < low else 'over 10,000 seeds'}.")
        found += range(low, high + 1)
    if text.strip() and not found:
        raise ScenarioError(f"--seeds {text!r} names no seed. Write 0-4 or 0,2,5.")
    return list(dict.fromkeys(found))


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.table import Table

    table = Table(*head, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for row in rows:
        table.add_row(*row)
    _console().print(table, highlight=False)


def _show(result: Run, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result.summary, indent=1, ensure_ascii=True, allow_nan=False))
    else:
        result.show(_console())


def _raise_stopped(result: Run) -> None:
    why = [s["why"] for provider in result.summary["providers"].values() for s in provider["stopped"]]
    if why:
        raise TrainingError("\n".join(why) + f"\nThe records up to then are in {result.record.folder}.")


def _claims_code(result: Run) -> int:
    words = {claim["verdict"] for claim in result.summary["claims"]}
    return 1 if "refuted" in words else 2 if "undecided" in words else 0


def _stop_on_sigterm() -> None:
    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; an error becomes its message on standard error and its exit code."""
    try:
        command()
    except EcosystemError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except BrokenPipeError:
        # The reader has gone (`| head`): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)  # noqa: T201
        return Interrupted.exit_code
    return 0


def main() -> NoReturn:
    # A stream that cannot encode a character replaces it rather than dying of it.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    code = 0

    def command() -> None:
        nonlocal code
        result = app(standalone_mode=False)
        code = result if isinstance(result, int) else 0

    sys.exit(guarded(command) or code)
