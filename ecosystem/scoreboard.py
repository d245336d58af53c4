"""The scoreboard: which results of the literature held here, as a table; see reproduction.py, which fills it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from ecosystem.records import read_json, write_json
from ecosystem.summary import Judgement

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


def read(folder: Path) -> list[Entry]:
    """The board on file, empty where there is none yet."""
    path = folder / BOARD
    board: list[Entry] = read_json(path) if path.exists() else []
    return board


def write(folder: Path, board: Sequence[Entry]) -> None:
    write_json(folder / BOARD, list(board))


def text(folder: Path) -> str:
    """The scoreboard as a page."""
    return HEAD + "\n".join(_line(entry) for entry in read(folder)) + "\n"


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
