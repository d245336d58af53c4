"""The table of a sweep: a row for each point, seed and provider, in that order.

It holds the settings, the last value of every metric and count, its ratio to generation 0, how many times worse than
generation 0 the provider is in this seed, the verdict over all seeds of the point, and whether the run finished.
No time and no place is in it: the same sweep gives the same bytes whoever ran it, in whatever order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from ecosystem.documents import shown
from ecosystem.errors import RecordError
from ecosystem.records import FAILED, FINISHED
from ecosystem.sweeping.plan import Plan, Point
from ecosystem.sweeping.work import Failure, read_rows

NAME = "sweep.parquet"
JUDGED = b"judged"  # in the table's metadata: by provider, the metrics that its verdict rests on
Row = dict[str, Any]
Failures = Mapping[str, Mapping[int, Failure]]  # by point and seed


def build(plan: Plan, folder: Path, failures: Failures) -> pa.Table:
    keys = list(plan.design.specs)
    settings = {key: _as_column([point.values[key] for point in plan.points]) for key in keys}
    rows: list[Row] = []
    for number, point in enumerate(plan.points):
        at = {key: settings[key][number] for key in keys}
        rows += [{**at, **row} for row in _of_point(plan, point, folder, failures.get(point.digest, {}))]
    values = list(dict.fromkeys(name for row in rows for name in row["values"]))
    columns = {key: pa.array([row[key] for row in rows], _type(settings[key])) for key in keys}
    for name, kind in (("point", pa.string()), ("seed", pa.int64()), ("provider", pa.string())):
        columns[name] = pa.array([row[name] for row in rows], kind)
    columns["generation"] = pa.array([row["generation"] for row in rows], pa.int64())
    columns |= {name: pa.array([row["values"].get(name) for row in rows], pa.float64()) for name in values}
    columns["worse"] = pa.array([row["worse"] for row in rows], pa.float64())
    columns |= {name: pa.array([row[name] for row in rows], pa.string()) for name in ("verdict", "state", "why")}
    judged = {row["provider"]: row["judged"] for row in reversed(rows) if row["state"] == FINISHED}
    return pa.table(columns).replace_schema_metadata({JUDGED: json.dumps(judged, sort_keys=True)})


def write(table: pa.Table, folder: Path) -> Path:
    """Atomically: a reader sees the old table or the new one."""
    path = folder / NAME
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            pa.parquet.write_table(table, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read(folder: Path) -> pa.Table:
    path = folder / NAME
    try:
        return pa.parquet.read_table(path)
    except FileNotFoundError as error:
        raise RecordError(f"{path} is missing. Repeat the sweep's command: it writes the table again.") from error
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"{path} cannot be read as a table: {shown(error)}") from error


def judged(table: pa.Table) -> dict[str, list[str]]:
    """The metrics that each provider's verdict rests on."""
    found: dict[str, list[str]] = json.loads((table.schema.metadata or {}).get(JUDGED, b"{}"))
    return found


def _of_point(plan: Plan, point: Point, folder: Path, failures: Mapping[int, Failure]) -> Iterable[Row]:
    """Its rows, by seed and provider: those that finished, and those that failed."""
    found = [row for row in read_rows(folder, point.digest)["rows"] if row["seed"] in plan.seeds]
    verdicts = {row["provider"]: row["verdict"] for row in found}
    covered = {row["seed"] for row in found}
    rows = [{**row, "point": point.digest, "state": FINISHED} for row in found]
    for seed, failure in failures.items():
        if seed in plan.seeds and seed not in covered:
            names = [provider.name for provider in point.question.providers]
            rows += [_failed(point, seed, name, verdicts.get(name), failure.why) for name in names]
    return sorted(rows, key=lambda row: row["seed"])  # stable: providers keep the scenario's order


def _failed(point: Point, seed: int, provider: str, verdict: str | None, why: str) -> Row:
    nothing: Row = {"generation": None, "values": {}, "worse": None}
    known = {"point": point.digest, "seed": seed, "provider": provider, "verdict": verdict}
    return {**known, **nothing, "state": FAILED, "why": why}


def _as_column(values: Sequence[Any]) -> list[Any]:
    """Values of one kind: numbers, truths or texts as they are; anything else, or a mixture, as JSON text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    if len(kinds) <= 1 and kinds <= {int, float, bool, str}:
        return list(values)
    return [value if isinstance(value, str) else json.dumps(value) for value in values]


def _type(values: Sequence[Any]) -> pa.DataType:
    kinds = {type(value) for value in values if value is not None}
    return {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}.get(next(iter(kinds), str), pa.string())
