"""``ecosystem compare A B``: two runs or more beside each other; the first is the baseline.

What is printed as JSON is ``ecosystem.comparison.Compared``. As CSV it is tidy, one row a difference:

    run, provider, metric, better, what, generation_baseline, generation_run, seeds,
    baseline, value, difference, low, high, reads

where ``seeds`` counts those that both runs have, and an empty cell is a number that does not exist. As Markdown it is
the tables of the page, for a pull request or an issue. Names are data: no control character leaves as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecosystem.errors import ScenarioError
from ecosystem.terminal import AsJson, console, reader_may_leave

if TYPE_CHECKING:
    from ecosystem.comparison import Compared, Comparison, Difference

Folders = Annotated[
    list[Path], typer.Argument(metavar="RUN RUN...", help="Runs' directories; the first is the baseline.")
]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print one row a difference.")]
AsMarkdown = Annotated[bool, typer.Option("--md", help="Print the tables as Markdown.")]


def compare(folders: Folders, as_json: AsJson = False, as_csv: AsCsv = False, as_md: AsMarkdown = False) -> None:
    """What differs between runs: their settings, and paired by seed their metrics and verdicts."""
    if as_json + as_csv + as_md > 1:
        raise ScenarioError("--json, --csv and --md are three ways to print one thing: choose one.")
    if len(folders) < 2:
        raise ScenarioError("compare needs two run directories or more, the first of them the baseline.")
    from ecosystem import comparison

    compared = comparison.compare([(str(folder), _opened(folder)) for folder in folders])
    with reader_may_leave():
        if as_json:
            _print_json(compared)
        elif as_csv or as_md:
            typer.echo("\n".join(csv_lines(compared) if as_csv else markdown_lines(compared)))
        else:
            _print_page(compared)


def _opened(folder: Path) -> Any:
    from ecosystem import results

    return results.open_run(folder)


def _print_json(compared: Compared) -> None:
    import json

    typer.echo(json.dumps(compared, indent=1, ensure_ascii=True, allow_nan=False))


def _print_page(compared: Compared) -> None:
    from ecosystem.reports.comparison import print_comparison

    print_comparison(compared, [settings_rows(found) for found in compared["comparisons"]], console())


def settings_rows(found: Comparison) -> list[tuple[str, str, str]]:
    """The changed settings in words: key, before, after."""
    from ecosystem.changes import ABSENT, text

    return [
        (setting["key"], text(setting.get("before", ABSENT)), text(setting.get("after", ABSENT)))
        for setting in found["changes"]
    ]


# CSV

COLUMNS = ("run", "provider", "metric", "better", "what", "generation_baseline", "generation_run", "seeds")
NUMBERS = ("baseline", "value", "difference", "low", "high")


def csv_lines(compared: Compared) -> Iterator[str]:
    yield _csv_row((*COLUMNS, *NUMBERS, "reads"))
    for found in compared["comparisons"]:
        for d in found["differences"]:
            names = (found["run"], d["provider"], d["metric"], d["better"], d["what"])
            numbers = (d["baseline"], d["run"], d["difference"], d["low"], d["high"])
            yield _csv_row((*names, *d["generations"], len(found["seeds"]), *numbers, d["reads"]))


def _csv_row(cells: Sequence[Any]) -> str:
    import csv
    import io

    from ecosystem.documents import printable

    buffer = io.StringIO()
    words = (printable(cell) if isinstance(cell, str) else cell for cell in cells)
    csv.writer(buffer, lineterminator="").writerow(words)
    return buffer.getvalue()


# Markdown


def markdown_lines(compared: Compared) -> Iterator[str]:
    from ecosystem.reports.comparison import letter

    runs = compared["runs"]
    letters = [letter(number) for number in range(len(runs))]
    rows = [
        (name, run["run"], run["scenario"], ", ".join(map(str, run["seeds"])), run["verdict"])
        for name, run in zip(letters, runs, strict=True)
    ]
    yield from _table(("", "run", "scenario", "seeds", "verdict"), rows)
    providers = dict.fromkeys(name for run in runs for name in run["verdicts"])
    yield ""
    yield from _table(
        ("provider", *letters), [(name, *(run["verdicts"].get(name, "") for run in runs)) for name in providers]
    )
    for name, found in zip(letters[1:], compared["comparisons"], strict=True):
        yield from _markdown_of(name, found)


def _markdown_of(name: str, found: Comparison) -> Iterator[str]:
    yield from ("", f"### {name} against A", "")
    rows = settings_rows(found)
    yield from _table(("setting", "A", name), rows) if rows else ("No setting differs.",)
    yield ""
    head = ("provider", "metric", "", "A", name, f"{name} − A", "95 % interval", "reads")
    yield from _table(head, [_difference_row(d) for d in found["differences"]])
    yield from ("", f"Paired over {len(found['seeds'])} shared seed(s): {', '.join(map(str, found['seeds']))}.")


def _difference_row(d: Difference) -> tuple[str, ...]:
    interval = "" if d["low"] is None or d["high"] is None else f"{d['low']:.4g} .. {d['high']:.4g}"
    numbers = ("" if value is None else f"{value:.4g}" for value in (d["baseline"], d["run"], d["difference"]))
    return (d["provider"], d["metric"], d["what"], *numbers, interval, d["reads"])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield _markdown_row(head)
    yield _markdown_row(["---"] * len(head))
    for row in rows:
        yield _markdown_row(row)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    """Text as it is read: what Markdown or HTML would take for a sign of its own is escaped."""
    from ecosystem.documents import printable

    plain = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{c}" if c in "\\`*_[]|!#~@" else c for c in plain)
