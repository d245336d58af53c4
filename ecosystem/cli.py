"""The command line: parse, call, print, exit code. torch, mesa and pydantic are imported inside the commands."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional

import typer

from ecosystem.commands.check import check
from ecosystem.commands.compare import compare
from ecosystem.commands.fork import fork
from ecosystem.commands.run import AllowPaths, Seeds, run, show
from ecosystem.commands.sweep import sweep, sweep_report
from ecosystem.errors import EcosystemError, Interrupted, RecordError, ScenarioError
from ecosystem.terminal import (
    AsJson,
    ScenarioName,
    Sets,
    chosen_seeds,
    claims_code,
    console,
    overrides_of,
    print_table,
    reader_may_leave,
)

if TYPE_CHECKING:
    from ecosystem.contraction import Contraction

app = typer.Typer(
    name="ecosystem",
    help="Simulate a web that generative models both fill and feed on.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


for command in (run, fork, compare, sweep):
    app.command()(command)
app.command("sweep-report")(sweep_report)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from ecosystem import __version__

        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list")
def list_() -> None:
    """The shipped scenarios and their questions."""
    from ecosystem import grammar
    from ecosystem.documents import read

    rows = []
    for name in grammar.shipped_names("scenarios"):
        data = read(grammar.shipped("scenarios") / f"{name}.yaml").data
        rows.append((name, str(data.get("question", "")).strip()))
    print_table(("scenario", "question"), rows)


app.command()(check)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory.")], as_json: AsJson = False
) -> None:
    """The report of a run, from its records alone."""
    from ecosystem import results

    show(results.open_run(folder), as_json)


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
        rows.append((name, data["model"]["family"], _baseline_words(data["model"], data.get("baselines") or [])))
    print_table(("model", "family", "generation 0 on clean human data"), rows)


@app.command()
def reproduce(
    rows: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[ROW]...", help="Rows of the table, as R1 R3. Default: all."),
    ] = None,
    cheap: Annotated[bool, typer.Option("--cheap", help="Only the checks that take seconds.")] = False,
    out: Annotated[Path, typer.Option(help="Where the scoreboard is kept.")] = Path("reports"),
    from_reports: Annotated[
        bool, typer.Option("--from-reports", help="Read reference reports on file instead of running their scenarios.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 1 if a check is refuted, 2 if one is undecided.")
    ] = False,
) -> None:
    """Run the literature's results and mark them: held, refuted or undecided."""
    from ecosystem import reproduction

    chosen = reproduction.select(rows or [], cheap)
    entries = reproduction.run(chosen, out, typer.echo, from_reports)
    if check:
        raise typer.Exit(claims_code({entry["mark"] for entry in entries}))


@app.command()
def contraction(
    scenario: ScenarioName,
    provider: Annotated[str, typer.Option(help="Whose model is perturbed. Default: the scenario's first.")] = "",
    size: Annotated[float, typer.Option(help="Of the perturbation, in units of the data.")] = 0.1,
    seeds: Seeds = "",
    sets: Sets = None,
    as_json: AsJson = False,
    allow_paths: AllowPaths = False,
) -> None:
    """How fast a perturbation of a model dies in the loop, beside lambda / (1 + lambda)."""
    from ecosystem import contraction, scenarios

    question = scenarios.load(scenario, overrides_of(sets), allow_paths)
    found = contraction.of(question, chosen_seeds(seeds) or list(question.scenario.seeds), provider, size, _told_seed)
    with reader_may_leave():
        if as_json:
            typer.echo(json.dumps(found.as_json(), indent=1, allow_nan=False))
        else:
            _contraction_table(found)


def _told_seed(seed: int) -> None:
    console(stderr=True).print(f"seed {seed} done", highlight=False)


def _contraction_table(found: Contraction) -> None:
    rows = [
        (str(g), str(n), f"{mean:.4g}", f"{low:.3g} .. {high:.3g}") for g, n, mean, low, high in found.by_generation()
    ]
    print_table(("generation", "seeds", "distance, in units of the perturbation", "smallest .. largest"), rows)
    typer.echo(found.in_words())


def _baseline_words(model: dict[str, Any], baselines: list[dict[str, Any]]) -> str:
    shown = ("precision", "recall", "agreement", "modes")
    words = []
    for baseline in baselines:
        numbers = [f"{k} {baseline['metrics'][k]:.2f}" for k in shown if k in baseline["metrics"]]
        words.append(f"{baseline['humans']} ({baseline['pages']:,}): {', '.join(numbers)}")
    nothing = "not measured yet" if "train" in model else "closed form: no training to get wrong"
    return "; ".join(words) or nothing


# typer tells them apart by classes that it does not export.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; an error becomes its message on standard error and its exit code."""
    try:
        code = command()
    except EcosystemError as error:
        return _refused(str(error), error.exit_code)
    except UsageError as error:
        return _refused(_usage(error), ScenarioError.exit_code)
    except KeyboardInterrupt:
        return _refused("interrupted", Interrupted.exit_code)
    except (BrokenPipeError, SystemExit):  # the reader of the progress has gone
        return 128 + signal.SIGPIPE
    except OSError as error:
        return _refused(f"{error.strerror or error}: {error.filename or 'a file of the run'}", RecordError.exit_code)
    except MemoryError:
        remedy = "A smaller archive, fewer users or a smaller model need less"
        return _refused(f"the memory is full. {remedy}; with more, the same command goes on where it was.", 70)
    return code if isinstance(code, int) else 0


def _refused(message: str, code: int) -> int:
    from ecosystem.documents import printable

    # It may hold names out of a stranger's files.
    print("error:", "\n".join(map(printable, message.splitlines())), file=sys.stderr)  # noqa: T201
    return code


def _usage(error: Exception) -> str:
    """A wrong option or argument in one line."""
    message: str = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "ecosystem"
    return f"{' '.join(message.split())} See `{command} --help`."


def main() -> NoReturn:
    # A stream that cannot encode a character replaces it rather than dying of it.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(guarded(lambda: app(standalone_mode=False)))


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
