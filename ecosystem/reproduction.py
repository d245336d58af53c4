"""The literature's results, run here and marked: ``ecosystem reproduce`` writes the scoreboard in reports/README.md.

The table is literature.py. Runs are kept under runs/ like any other, so repeating the command does only what is
missing. A refuted check stays refuted on the board until it is understood.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ecosystem import references, results, scenarios, scoreboard
from ecosystem.errors import ScenarioError
from ecosystem.literature import CHECKS, Check
from ecosystem.records import RunRecord, read_json, write_text
from ecosystem.results import Run
from ecosystem.scoreboard import Entry


def run(checks: Sequence[Check], folder: Path, say: Callable[[str], None], from_reports: bool = False) -> list[Entry]:
    """Every check, its run first where it is missing; the board on file is brought up to date after each.

    ``from_reports``: a reference report on file that belongs to the scenario as it is saves its run.
    """
    runs: dict[tuple[str, bool], Run] = {}
    done: list[Entry] = []
    for check in checks:
        command = " ".join([check.scenario, *(f"--set {k}={_plain(v)}" for k, v in check.overrides.items())])
        known = (command, check.records)
        result = runs[known] = runs.get(known) or (from_reports and _reported(check)) or _run(check)
        found = check.found(result)
        entry: Entry = {
            "row": check.row,
            "check": check.name,
            "paper": check.paper,
            "setting": check.setting,
            "published": check.published,
            **found,
            "scenario": command,
            "seeds": len(result.summary["seeds"]),
            "seconds": _seconds(result),
        }
        done.append(entry)
        keep(folder, entry)
        say(f"{entry['row']:>3}  {entry['mark']:<9}  {entry['setting']}: {entry['ours']}")
    write_text(folder / "README.md", references.index(folder))
    return done


def _plain(value: object) -> str:
    """A value as it is typed on a command line."""
    return str(value).replace("'", "").replace(" ", "")


def _reported(check: Check) -> Run | None:
    """The reference report of this very question, if there is one; what needs its records needs the run."""
    question, folder = scenarios.load(check.scenario, check.overrides), references.FOLDER / check.scenario
    same = (folder / "digest.txt").exists() and (folder / "digest.txt").read_text().strip() == question.digest
    return Run(None, RunRecord(folder)) if same and not check.records else None


def _run(check: Check) -> Run:
    question = scenarios.load(check.scenario, check.overrides)
    for _ in results.events(question, None, None, force=False):
        pass
    return results.of(question, None)


def _seconds(result: Run) -> float:
    """The wall time of all seeds."""
    seeds = result.record.seeds()
    if not seeds:
        return float(read_json(result.record.folder / "manifest.json")["seconds"])
    return round(sum(seed.seconds for seed in seeds), 1)


def keep(folder: Path, entry: Entry) -> None:
    """Put an entry in its place on the board, instead of the one that stood there."""
    board = scoreboard.read(folder)
    key = (entry["row"], entry["check"])
    board = [e for e in board if (e["row"], e["check"]) != key] + [entry]
    order = [(check.row, check.name) for check in CHECKS]
    board = sorted(
        (e for e in board if (e["row"], e["check"]) in order), key=lambda e: order.index((e["row"], e["check"]))
    )
    folder.mkdir(parents=True, exist_ok=True)
    scoreboard.write(folder, board)


def select(rows: Sequence[str], cheap: bool) -> list[Check]:
    """The checks of these rows (none: all). Raises ScenarioError for a row that is none."""
    known = list(dict.fromkeys(check.row for check in CHECKS))
    for row in rows:
        if row not in known:
            raise ScenarioError(f"there is no row `{row}`. The rows are: {', '.join(known)}.")
    return [check for check in CHECKS if (not rows or check.row in rows) and (check.cheap or not cheap)]
