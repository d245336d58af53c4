"""The literature's results, run here and marked: ``ecosystem reproduce`` writes the scoreboard in reports/README.md.

The table is literature.py. Runs are kept under runs/ like any other, so repeating the command does only what is
missing. A refuted check stays refuted on the board until it is understood.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

from ecosystem import results, scenarios
from ecosystem.errors import ScenarioError
from ecosystem.literature import CHECKS, Check
from ecosystem.records import read_json, write_json
from ecosystem.results import Run
from ecosystem.summary import Judgement

FOLDER = Path("reports")
BOARD = "scoreboard.json"


class Entry(TypedDict):
    """A line of the scoreboard."""

    row: str
    check: str
    paper: str
    setting: str
    published: str
    ours: str
    mark: Judgement
    scenario: str
    seeds: int
    seconds: float


# Running


def run(checks: Sequence[Check], folder: Path, say: Callable[[str], None]) -> list[Entry]:
    """Every check, its run first where it is missing; the board on file is brought up to date after each."""
    done: list[Entry] = []
    for check in checks:
        result = _run(check)
        found = check.found(result)
        entry: Entry = {
            "row": check.row,
            "check": check.name,
            "paper": check.paper,
            "setting": check.setting,
            "published": check.published,
            **found,
            "scenario": " ".join([check.scenario, *(f"--set {k}={v}" for k, v in check.overrides.items())]),
            "seeds": len(result.summary["seeds"]),
            "seconds": _seconds(result),
        }
        done.append(entry)
        keep(folder, entry)
        say(f"{entry['row']:>3}  {entry['mark']:<9}  {entry['setting']}: {entry['ours']}")
    return done


def _run(check: Check) -> Run:
    question = scenarios.load(check.scenario, check.overrides)
    for _ in results.events(question, None, None, force=False):
        pass
    return results.of(question, None)


def _seconds(result: Run) -> float:
    """The wall time of all seeds."""
    return round(sum(float(seed.status()["seconds"]) for seed in result.record.seeds()), 1)


def keep(folder: Path, entry: Entry) -> None:
    """Put an entry in its place on the board, instead of the one that stood there."""
    path = folder / BOARD
    board: list[Entry] = read_json(path) if path.exists() else []
    key = (entry["row"], entry["check"])
    board = [e for e in board if (e["row"], e["check"]) != key] + [entry]
    order = [(check.row, check.name) for check in CHECKS]
    board = sorted(
        (e for e in board if (e["row"], e["check"]) in order), key=lambda e: order.index((e["row"], e["check"]))
    )
    write_json(path, board)


def select(rows: Sequence[str], cheap: bool) -> list[Check]:
    """The checks of these rows (none: all). Raises ScenarioError for a row that is none."""
    known = list(dict.fromkeys(check.row for check in CHECKS))
    for row in rows:
        if row not in known:
            raise ScenarioError(f"there is no row `{row}`. The rows are: {', '.join(known)}.")
    return [check for check in CHECKS if (not rows or check.row in rows) and (check.cheap or not cheap)]


# The table


def text(folder: Path) -> str:
    """The scoreboard as a page."""
    board: list[Entry] = read_json(folder / BOARD) if (folder / BOARD).exists() else []
    return HEAD + "\n".join(_line(entry) for entry in board) + "\n"


def _line(entry: Entry) -> str:
    paper = f"[{entry['paper']}](https://arxiv.org/abs/{entry['paper']})"
    mark = {"held": "held", "refuted": "**refuted**", "undecided": "*undecided*"}[entry["mark"]]
    cells = [entry["row"], paper, entry["setting"], entry["published"], entry["ours"], mark]
    cells += [str(entry["seeds"]), f"{entry['seconds']:.0f}", f"`{entry['scenario']}`"]
    return f"| {' | '.join(cells)} |"


HEAD = """## Scoreboard

Results of the literature, run by `ecosystem reproduce`. A number is held within three standard errors; a direction is
held where a 95 % interval over seeds lies on its side.

| row | paper | setting | published | ours | mark | seeds | seconds | run |
|---|---|---|---|---|---|---|---|---|
"""
