"""What a run leaves on disk, and how it is read back.

    RUN/summary.json                 the answer, over all seeds (summary.py)
    RUN/scenario.resolved.yaml       what was asked: scenario and model cards in full
    RUN/figures/*.png
    RUN/seed-0/manifest.json         versions, machine, device, threads, times
    RUN/seed-0/status.json           running | finished | interrupted | failed, and the round
    RUN/seed-0/metrics.jsonl         one line a round, append-only
    RUN/seed-0/pages/round-000.*     the pages published in a round: columns as parquet, items as npy
    RUN/seed-0/gallery/alpha-000.npy samples of a generation; human.npy for comparison

Files that are rewritten are written to a temporary name, synced and renamed, so that no reader meets half a file.
Everything is plain JSON, YAML, parquet and npy: nothing in a run directory is ever unpickled.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecosystem.errors import RecordError

Line = dict[str, Any]  # one line of metrics.jsonl

FINISHED, RUNNING, INTERRUPTED, FAILED = "finished", "running", "interrupted", "failed"


def write_text(path: Path, text: str) -> None:
    """Atomically: a reader sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read as JSON: {error}") from error


@dataclass(frozen=True)
class SeedRecord:
    """The directory of one seed."""

    folder: Path

    @property
    def seed(self) -> int:
        return int(self.folder.name.removeprefix("seed-"))

    def begin(self, manifest: dict[str, Any], human_gallery: NDArray[Any]) -> None:
        """An empty record. What stood here before is gone."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
        for part in ("pages", "gallery"):
            (self.folder / part).mkdir(parents=True)
        write_json(self.folder / "manifest.json", manifest)
        np.save(self.folder / "gallery" / "human.npy", human_gallery, allow_pickle=False)
        (self.folder / "metrics.jsonl").touch()
        self.set_status(RUNNING, 0)

    def set_status(self, state: str, rounds_done: int, why: str = "") -> None:
        status = {"state": state, "rounds_done": rounds_done}
        write_json(self.folder / "status.json", {**status, "why": why} if why else status)

    def append(self, line: Line) -> None:
        """One round. The line reaches the disk whole or, cut short, is left out by ``lines``."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")

    def save_pages(self, round: int, columns: dict[str, NDArray[Any]], items: NDArray[Any]) -> None:
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.table({name: np.ascontiguousarray(column) for name, column in columns.items()})
        name = "archive" if round < 0 else f"round-{round:03d}"
        pyarrow.parquet.write_table(table, self.folder / "pages" / f"{name}.parquet")
        np.save(self.folder / "pages" / f"{name}.npy", items, allow_pickle=False)

    def save_gallery(self, provider: str, generation: int, samples: NDArray[Any]) -> None:
        path = self.folder / "gallery" / f"{slug(provider)}-{generation:03d}.npy"
        np.save(path, samples, allow_pickle=False)

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = read_json(self.folder / "status.json")
        return status

    def lines(self) -> list[Line]:
        """The rounds on record, in order; an unfinished last line is left out."""
        path = self.folder / "metrics.jsonl"
        try:
            rows = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RecordError(f"{path} cannot be read: {error}") from error
        return list(_parsed(path, rows))

    def gallery(self, provider: str) -> dict[int, NDArray[Any]]:
        """Samples by generation."""
        pattern = re.compile(rf"{re.escape(slug(provider))}-(\d+)\.npy")
        found = {}
        for path in sorted((self.folder / "gallery").glob("*.npy")):
            if match := pattern.fullmatch(path.name):
                found[int(match[1])] = _array(path)
        return found

    def human_gallery(self) -> NDArray[Any]:
        return _array(self.folder / "gallery" / "human.npy")


def _parsed(path: Path, rows: list[str]) -> Iterator[Line]:
    for number, row in enumerate(rows):
        try:
            yield json.loads(row)
        except ValueError as error:
            if number < len(rows) - 1:
                raise RecordError(f"{path}:{number + 1} is not JSON: {error}") from error


def _array(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
        return array
    except (OSError, ValueError, EOFError) as error:
        raise RecordError(f"{path} cannot be read as an array: {error}") from error


def slug(name: str) -> str:
    """A provider's name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


@dataclass(frozen=True)
class RunRecord:
    """The directory of a run: one question over some seeds."""

    folder: Path

    def seed(self, seed: int) -> SeedRecord:
        return SeedRecord(self.folder / f"seed-{seed}")

    def seeds(self) -> list[SeedRecord]:
        """The seeds on record, in order."""
        found = [SeedRecord(p) for p in self.folder.glob("seed-*") if re.fullmatch(r"seed-\d+", p.name)]
        return sorted((record for record in found if (record.folder / "status.json").exists()), key=lambda r: r.seed)

    def resolved(self) -> dict[str, Any]:
        from ecosystem.documents import read

        return read(self.folder / "scenario.resolved.yaml").data

    def summary(self) -> Any:
        return read_json(self.folder / "summary.json")


def open_run(path: Path) -> RunRecord:
    """The run at a path: its directory, or that of one of its seeds. Raises RecordError."""
    folder = path.parent if re.fullmatch(r"seed-\d+", path.name) else path
    if not folder.is_dir():
        raise RecordError(f"{path} is no directory. Runs of yours are under runs/SCENARIO/.")
    if not (folder / "scenario.resolved.yaml").exists():
        inside = sorted(p.parent for p in folder.glob("*/scenario.resolved.yaml"))
        hint = f" Did you mean {inside[0]}?" if inside else " A run directory holds scenario.resolved.yaml."
        raise RecordError(f"{path} holds no run.{hint}")
    return RunRecord(folder)
