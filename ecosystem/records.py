"""What a run leaves on disk, and how it is read back.

    RUN/summary.json                 the answer, over all seeds (summary.py)
    RUN/scenario.resolved.yaml       what was asked: scenario and model cards in full
    RUN/figures/*.png
    RUN/seed-0/manifest.json         versions, machine, device, threads
    RUN/seed-0/status.json           running | finished | interrupted | failed, the round, and the seconds it took
    RUN/seed-0/metrics.jsonl         one line a round, append-only
    RUN/seed-0/pages/from-0.*        pages from that number on, in blocks: columns as parquet, items as npy
    RUN/seed-0/gallery/alpha-000.npy samples of a generation; human.npy for comparison
    RUN/seed-0/checkpoints/round-8/  what an unfinished seed goes on from (checkpoints.py)
    RUN/.lock                        the process that writes here (locks.py)

Files that are rewritten are written to a temporary name, synced and renamed, so that no reader meets half a file.
Everything is plain JSON, YAML, parquet and npy: nothing in a run directory is ever unpickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import shutil
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecosystem.errors import RecordError, ScenarioError
from ecosystem.locks import NAME as LOCK
from ecosystem.summary import Summary

Line = dict[str, Any]  # one line of metrics.jsonl

LARGEST_RESOLVED = 2**21  # bytes of what was asked; with all defaults written out it is longer than it was
MOST_RESOLVED = 100_000  # keys and values

FINISHED, RUNNING, INTERRUPTED, FAILED = "finished", "running", "interrupted", "failed"


_TEMPORARY = re.compile(r"\.(?!lock).+\.\d+")  # the names that `temporary` gives


def temporary(path: Path) -> Path:
    """A name beside a path for what is not whole yet, another for each process."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def write_bytes(path: Path, data: bytes | memoryview, synced: bool = True) -> None:
    """Atomically: a reader sees the old file or the new one; ``synced``: also after the power went."""
    aside = temporary(path)
    try:
        with aside.open("wb") as file:
            file.write(data)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str, synced: bool = True) -> None:
    write_bytes(path, text.encode("utf-8"), synced)


def sync(folder: Path) -> None:
    """Let the names in a directory outlast the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any, synced: bool = True) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", synced)


REMEDY = "Remedy: put the file back from a copy, or run its seed again with --force."


def damaged(problem: str) -> RecordError:
    return RecordError(f"{problem}\n{REMEDY}")


def read_file(path: Path, home: Path) -> bytes:
    """What stands in a file of a run. A run may be a stranger's: no link is followed out of ``home``, and nothing but a
    regular file is opened (a pipe would be waited for)."""
    try:
        target = path.resolve(strict=True)
        if not target.is_relative_to(home.resolve()):
            raise damaged(f"{path} is a link that leads out of the run's directory; it is not followed.")
        if not target.is_file():
            raise damaged(f"{path} is no regular file.")
        return target.read_bytes()
    except FileNotFoundError as error:
        raise damaged(f"{path} is missing.") from error
    except OSError as error:
        raise damaged(f"{path} cannot be read: {error.strerror}.") from error
    except RuntimeError as error:  # links in a circle, as Python 3.11 tells of them
        raise damaged(f"{path} cannot be read: its links lead in a circle.") from error


def read_json(path: Path) -> Any:
    return _json(read_file(path, path.parent), str(path))


def _json(data: bytes, where: str) -> Any:
    """Strictly: in UTF-8, and neither NaN nor Infinity is JSON."""
    try:
        return _DECODER.decode(data.decode("utf-8"))
    except ValueError as error:
        raise damaged(f"{where} is not JSON: {error}.") from error
    except RecursionError as error:
        raise damaged(f"{where} is nested too deeply to be ours.") from error


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


@dataclass(frozen=True)
class PageBlock:
    """Pages in a row on disk: the number of the first, how many, and the checksums of their two files."""

    first: int
    count: int
    columns_sha256: str
    items_sha256: str

    def as_json(self) -> list[Any]:
        return [self.first, self.count, self.columns_sha256, self.items_sha256]


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
        for part in ("pages", "gallery", "checkpoints"):
            (self.folder / part).mkdir(parents=True)
        # Nothing is lost here yet that would have to outlast the power.
        write_json(self.folder / "manifest.json", manifest, synced=False)
        write_bytes(self.folder / "gallery" / "human.npy", _npy(human_gallery), synced=False)
        self.lines_path.touch()
        self.set_status(RUNNING, 0)

    @property
    def lines_path(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def begun(self) -> bool:
        return (self.folder / "status.json").exists()

    def set_status(self, state: str, rounds_done: int, why: str = "", seconds: float | None = None) -> None:
        """``seconds``: what the rounds took, over all processes that ran some."""
        status: dict[str, Any] = {"state": state, "rounds_done": rounds_done}
        if why:
            status["why"] = why
        if seconds is not None:
            status["seconds"] = round(seconds, 3)
        write_json(self.folder / "status.json", status, synced=state != RUNNING)

    @property
    def seconds(self) -> float:
        """What its rounds took; 0 where that is not on record."""
        return float(self.status().get("seconds", 0.0))

    def save_pages(self, first: int, columns: dict[str, NDArray[Any]], items: NDArray[Any]) -> PageBlock:
        """A block of pages, whose first has that number."""
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.table({name: np.ascontiguousarray(column) for name, column in columns.items()})
        buffer = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(table, buffer)
        data = (memoryview(buffer.getvalue()), _npy(items))
        block = PageBlock(first, len(items), *(hashlib.sha256(part).hexdigest() for part in data))
        for (path, _), part in zip(self.page_files(block), data, strict=True):
            write_bytes(path, part)
        return block

    def page_files(self, block: PageBlock) -> tuple[tuple[Path, str], tuple[Path, str]]:
        """The columns of a block and its items, each with its checksum."""
        path = self.folder / "pages" / f"from-{block.first}"
        return (path.with_suffix(".parquet"), block.columns_sha256), (path.with_suffix(".npy"), block.items_sha256)

    def load_pages(self, block: PageBlock) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
        """The columns of a block by name, and its items."""
        import pyarrow.parquet

        (columns, _), (items, _) = self.page_files(block)
        table = pyarrow.parquet.read_table(columns)
        return {name: table.column(name).to_numpy() for name in table.column_names}, _array(items, self.folder.parent)

    def keep_pages(self, blocks: Sequence[PageBlock]) -> None:
        """Take away what stands beside these blocks: pages of rounds that will be run again, or all of them."""
        kept = {path.name for block in blocks for path, _ in self.page_files(block)}
        for path in (self.folder / "pages").iterdir():
            if path.name not in kept:
                path.unlink()

    def save_gallery(self, provider: str, generation: int, samples: NDArray[Any]) -> None:
        path = self.folder / "gallery" / f"{slug(provider)}-{generation:03d}.npy"
        write_bytes(path, _npy(samples), synced=False)

    def manifest(self) -> dict[str, Any]:
        manifest: dict[str, Any] = read_json(self.folder / "manifest.json")
        return manifest

    def status(self) -> dict[str, Any]:
        path = self.folder / "status.json"
        status = read_json(path)
        if not (isinstance(status, dict) and {"state", "rounds_done"} <= status.keys()):
            raise damaged(f"{path} is no status: it has no `state` and `rounds_done`.")
        return status

    def lines(self) -> list[Line]:
        """The rounds on record, in order; an unfinished last line is left out."""
        path = self.lines_path
        rows = read_file(path, self.folder.parent).split(b"\n")
        # What stands behind the last line break was cut short (or is nothing).
        return [_line(path, number, row) for number, row in enumerate(rows[:-1])]

    def gallery(self, provider: str) -> dict[int, NDArray[Any]]:
        """Samples by generation."""
        pattern = re.compile(rf"{re.escape(slug(provider))}-(\d+)\.npy")
        found = {}
        for path in sorted((self.folder / "gallery").glob("*.npy")):
            if match := pattern.fullmatch(path.name):
                found[int(match[1])] = _array(path, self.folder.parent)
        return found

    def human_gallery(self) -> NDArray[Any]:
        return _array(self.folder / "gallery" / "human.npy", self.folder.parent)


class Journal:
    """The open metrics.jsonl of a seed that runs: a line a round, appended by one call to the system each.

    A line reaches the file whole or, cut short, is left out by ``SeedRecord.lines``.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        """Go on behind so many bytes; what stands behind them is of rounds that will be run again."""
        self._file = path.open("r+b", buffering=0)
        self._hash = hashlib.sha256(self._file.read(size))
        self._file.truncate(size)
        self.size = size

    def append(self, line: Line) -> None:
        data = _ENCODER.encode(line).encode("utf-8") + b"\n"
        left = memoryview(data)
        while left:  # where only some of it found room, the next call tells why
            left = left[self._file.write(left) :]
        self._hash.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        """Of all lines so far."""
        return self._hash.hexdigest()

    def close(self) -> None:
        self._file.close()


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def _line(path: Path, number: int, row: bytes) -> Line:
    line = _json(row, f"{path}:{number + 1}")
    if not _has(line, {"round", "web", "ballots", "classifier_accuracy", "providers"}) or line["round"] != number:
        raise damaged(f"{path}:{number + 1} is not the record of round {number}.")
    rows = line["providers"].values() if isinstance(line["providers"], dict) else [None]
    if not (_has(line["web"], WEB) and all(_is_whole(row) for row in rows)):
        raise damaged(f"{path}:{number + 1}: the record of round {number} lacks some of its numbers.")
    found: Line = line
    return found


# The keys of a line's parts.
WEB = {"pages", "human", "synthetic", "synthetic_share", "lineage", "published"}
COUNTED = {"pages", "human", "by_maker", "by_batch", "lambda", "synthetic_share", "lineage"}
TRAINED = COUNTED | {"loss", "metrics", "replicates"}


def _is_whole(row: Any) -> bool:
    """Whether a provider's row has its keys."""
    if not _has(row, {"generation", "vote_share"}):
        return False
    trained: Any = row.get("trained")
    return trained is None or (_has(trained, TRAINED) and _has(trained["metrics"]) and _has(trained["replicates"]))


def _cards_are_there(providers: Any, cards: dict[str, Any]) -> bool:
    """Whether every provider of a resolved scenario has its card."""
    named = isinstance(providers, list) and all(
        _has(p, {"name"}) and isinstance(p["name"], str) and p["name"] in cards for p in providers
    )
    return named and all(_has(card, {"model"}) for card in cards.values())


def _has(part: Any, keys: Set[str] = frozenset()) -> bool:
    return isinstance(part, dict) and keys <= part.keys()


def _npy(array: NDArray[Any]) -> memoryview:
    """As an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getbuffer()


def _array(path: Path, home: Path) -> NDArray[Any]:
    data = read_file(path, home)
    try:
        shape, dtype = _header(io.BytesIO(data))
        if not (np.issubdtype(dtype, np.integer) or np.issubdtype(dtype, np.floating)):
            raise damaged(f"{path} holds no array of numbers.")
        if math.prod(shape) * dtype.itemsize > len(data):  # before so much memory is asked for
            raise damaged(f"{path} says that it holds more numbers than it does.")
        array: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    except RecordError:
        raise
    except Exception as error:  # NumPy has a dozen ways to say that a header is none
        raise damaged(f"{path} cannot be read as an array of numbers: it is damaged or no .npy file.") from error
    return array


def _header(file: io.BytesIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an .npy file, of either version that we could have written."""
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(file)]
    shape, _, dtype = read(file)
    return shape, dtype


def slug(name: str) -> str:
    """A name as part of a file name, different for different names, also where letter case makes no difference."""
    plain = re.sub(r"[^a-z0-9_-]", "_", name.lower())
    return plain if plain == name else f"{plain}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class RunRecord:
    """The directory of a run: one question over some seeds."""

    folder: Path

    def seed(self, seed: int) -> SeedRecord:
        return SeedRecord(self.folder / f"seed-{seed}")

    def seeds(self) -> list[SeedRecord]:
        """The seeds on record, in order."""
        return sorted((record for record in self._made() if record.begun), key=lambda record: record.seed)

    def _made(self) -> list[SeedRecord]:
        """The directories of seeds, also of those that were killed before they began."""
        return [SeedRecord(p) for p in self.folder.glob("seed-*") if re.fullmatch(r"seed-\d+", p.name)]

    @property
    def vacant(self) -> bool:
        """Whether its directory holds nothing, but for what killed writers left and a lock."""
        return all(p.name.startswith(LOCK) or _TEMPORARY.fullmatch(p.name) for p in self.folder.iterdir())

    @property
    def resolved_path(self) -> Path:
        return self.folder / "scenario.resolved.yaml"

    def resolved(self) -> dict[str, Any]:
        """What was asked: the scenario and the model cards."""
        from ecosystem.documents import parse

        path = self.resolved_path
        data = read_file(path, self.folder)
        if len(data) > LARGEST_RESOLVED:
            raise damaged(f"{path} is larger than anything that was asked: {len(data):,} bytes.")
        try:
            tree = parse(data.decode("utf-8"), str(path), MOST_RESOLVED).data
        except UnicodeDecodeError as error:
            raise damaged(f"{path} is not UTF-8 text.") from error
        except ScenarioError as error:
            raise damaged(f"what was asked cannot be read back. {error}") from error
        parts = _has(tree, {"scenario", "cards"}) and _has(tree["scenario"], {"providers"}) and _has(tree["cards"])
        parts = parts and _has(tree.get("weights", {}))
        if not (parts and _cards_are_there(tree["scenario"]["providers"], tree["cards"])):
            raise damaged(f"{path} is no record of what was asked: it lacks the scenario or model cards.")
        return tree

    def tidy(self) -> None:
        """Take away what killed writers left half written. Only for the owner of the directory."""
        for path in [path for path in self.folder.rglob(".*") if _TEMPORARY.fullmatch(path.name)]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Take away all that was found for one question, so that another may be asked here."""
        for seed in self._made():
            shutil.rmtree(seed.folder)
        shutil.rmtree(self.folder / "figures", ignore_errors=True)
        (self.folder / "summary.json").unlink(missing_ok=True)

    def summary(self) -> Summary:
        summary: Summary = read_json(self.folder / "summary.json")
        return summary


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
