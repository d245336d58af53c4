"""The one loop over rounds, and what it puts on record.

``run`` is a generator of progress: showing it, and stopping it, belong to the caller. Each seed is a world of its
own with its own directory; a seed that has finished is never run again unless ``force`` says so, and one that was
interrupted starts anew.
"""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ecosystem import compute
from ecosystem.agents.provider import Provider
from ecosystem.documents import dump as to_yaml
from ecosystem.errors import RecordError
from ecosystem.records import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    RUNNING,
    Line,
    RunRecord,
    SeedRecord,
    write_json,
    write_text,
)
from ecosystem.scenarios import Question, digest
from ecosystem.web.corpus import COLUMNS, HUMAN
from ecosystem.world import Progress, World

PACKAGES = ("ecosystem", "mesa", "torch", "numpy", "scipy", "POT", "diffusers", "clean-fid", "scikit-learn")


@dataclass(frozen=True)
class Event:
    """What the caller may show. ``kind``: start | progress | round | finished | kept."""

    kind: str
    seed: int
    progress: Progress | None = None
    line: Line | None = None


def default_folder(question: Question) -> Path:
    return Path("runs") / question.scenario.name / question.digest


def run(question: Question, seeds: Sequence[int], folder: Path | None = None, force: bool = False) -> Iterator[Event]:
    """Run every seed that is not on record yet, one after the other."""
    device = compute.set_up(question.scenario.device)
    record = RunRecord(folder or default_folder(question))
    _open(record, question, force)
    for seed in seeds:
        seed_record = record.seed(seed)
        if not force and _finished(seed_record):
            yield Event("kept", seed)
        else:
            with seed_record.locked():
                yield from _run_seed(question, seed, seed_record, device)


def _open(record: RunRecord, question: Question, force: bool) -> None:
    """The run's directory, which must be empty or hold the same question."""
    resolved = record.folder / "scenario.resolved.yaml"
    try:
        if record.folder.exists() and not resolved.exists() and any(record.folder.iterdir()):
            raise RecordError(f"{record.folder} is not empty and holds no run. Choose another --out.")
        if resolved.exists() and not _asks(record, question, force):
            if not force:
                raise RecordError(
                    f"{record.folder} holds a run of another question (its scenario or model cards differ). "
                    "Choose another --out, or replace it with --force."
                )
            record.clear()
        record.folder.mkdir(parents=True, exist_ok=True)
        write_text(resolved, to_yaml(question.resolved))
    except OSError as error:
        raise RecordError(f"{record.folder} cannot be written: {error.strerror}. Choose another --out.") from error


def _asks(record: RunRecord, question: Question, force: bool) -> bool:
    """Whether the directory holds this question; one that cannot be read back can only be replaced."""
    try:
        return digest(record.resolved()) == question.digest
    except RecordError:
        if force:
            return False
        raise


def _finished(record: SeedRecord) -> bool:
    return (record.folder / "status.json").exists() and record.status()["state"] == FINISHED


def _run_seed(question: Question, seed: int, record: SeedRecord, device: torch.device) -> Iterator[Event]:
    yield Event("start", seed)
    began = time.time()
    world = World(question, seed, device)
    try:
        record.begin(_manifest(world), world.evaluator.human_gallery())
        saved = _save_pages(world, record, 0, round=-1)
        while world.round < question.scenario.rounds and world.running_providers:
            for progress in world.phases():
                yield Event("progress", seed, progress)
            line = round_line(world)
            saved = _save_pages(world, record, saved, round=line["round"])
            _save_galleries(world, record, line["round"])
            record.append(line)
            record.set_status(RUNNING, world.round)
            yield Event("round", seed, line=line)
    except (KeyboardInterrupt, GeneratorExit):
        record.set_status(INTERRUPTED, world.round)
        raise
    except Exception as error:  # whatever it was, the record must not say that it still runs
        record.set_status(FAILED, world.round, why=str(error))
        raise
    finally:
        _free(world)
    write_json(record.folder / "manifest.json", {**_manifest(world), "seconds": round(time.time() - began, 3)})
    record.set_status(FINISHED, world.round)
    yield Event("finished", seed)


def round_line(world: World) -> Line:
    """The round just closed, as one line of metrics.jsonl."""
    visible = world.corpus.visible(world.settings.web.retention)
    human = int((world.corpus.column("maker")[visible] == HUMAN).sum())
    lineage = world.corpus.column("lineage")[visible]
    ballots = sum(world.votes.values())
    return {
        "round": world.round - 1,
        "web": {
            "pages": len(visible),
            "human": human,
            "synthetic": len(visible) - human,
            "synthetic_share": 1 - human / len(visible) if len(visible) else 0.0,
            "lineage": float(lineage.mean(dtype=float)) if len(visible) else 0.0,
        },
        "ballots": ballots,
        "classifier_accuracy": world.judge.accuracy if world.judge else None,
        "providers": {p.name: _provider_line(world, p, ballots) for p in world.providers},
    }


def _provider_line(world: World, provider: Provider, ballots: int) -> Line:
    line: Line = {
        "generation": provider.generation,
        "vote_share": world.votes[provider.name] / ballots if ballots else None,
    }
    if provider.stopped is not None:
        line["stopped"] = provider.stopped
    measurement, provenance = world.measurements.get(provider.name), provider.provenance
    if measurement is not None and provenance is not None:
        line["trained"] = {
            "pages": provenance.pages,
            "human": provenance.human,
            "by_maker": provenance.by_maker,
            "lambda": provenance.ratio,
            "synthetic_share": provenance.synthetic_share,
            "lineage": provenance.lineage,
            "loss": provider.loss,
            "metrics": measurement.metrics,
            "replicates": measurement.replicates,
        }
    return line


def _save_pages(world: World, record: SeedRecord, saved: int, round: int) -> int:
    """The pages published since the last call; returns how many there are now."""
    if len(world.corpus) > saved:
        columns = {name: world.corpus.column(name)[saved:] for name in COLUMNS}
        record.save_pages(round, columns, world.corpus.items[saved:])
    return len(world.corpus)


def _save_galleries(world: World, record: SeedRecord, round: int) -> None:
    for provider in world.providers:
        if provider.trained_in == round and provider.generator is not None:
            samples = world.evaluator.gallery(provider.generator)
            record.save_gallery(provider.name, provider.generation, samples)


def _manifest(world: World) -> dict[str, Any]:
    device = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else platform.processor()
    return {
        "seed": world.seed,
        "device": world.device.type,
        "device_name": device,
        "threads": torch.get_num_threads(),
        "commit": _commit(),
        "machine": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that runs; None where it is no checkout."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _free(world: World) -> None:
    """Mesa 3.3 keeps every model alive through its counter of agent numbers; many seeds would fill the memory."""
    import mesa

    ids = getattr(mesa.Agent, "_ids", None)
    if ids is not None:
        ids.pop(world, None)
