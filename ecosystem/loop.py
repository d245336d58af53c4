"""The one loop over rounds, and what it puts on record.

``run`` is a generator of progress: showing it, and stopping it, belong to the caller. Each seed is a world of its
own with its own directory; a seed that has finished is never run again unless ``force`` says so, and one that was
interrupted starts anew. Seeds whose models make stacks run in lockstep, phase by phase; a seed's record is the same
to the last bit whichever seeds ran beside it.
"""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ecosystem import compute
from ecosystem.agents.provider import Provider
from ecosystem.documents import dump as to_yaml
from ecosystem.errors import RecordError
from ecosystem.models.base import to_web
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
from ecosystem.world import Progress, World, together

PACKAGES = ("ecosystem", "mesa", "torch", "numpy", "scipy", "POT", "diffusers", "clean-fid", "scikit-learn")


TOGETHER = 50  # seeds in lockstep at the most: the pages of all of them are in memory
GALLERIES = 25  # generations of a provider whose samples are kept, about
PAGES_BLOCK = 64 * 2**20  # bytes of pages that wait to be written
STATUS_SECONDS = 5.0  # between two notes of how far a seed is


@dataclass(frozen=True)
class Event:
    """What the caller may show. ``kind``: start | progress | round | finished | kept."""

    kind: str
    seed: int
    progress: Progress | None = None
    line: Line | None = None
    together: int = 1  # seeds that this is about: those in lockstep are told of by the first


def default_folder(question: Question) -> Path:
    return Path("runs") / question.scenario.name / question.digest


def run(question: Question, seeds: Sequence[int], folder: Path | None = None, force: bool = False) -> Iterator[Event]:
    """Run every seed that is not on record yet: in lockstep where the models make stacks, else one by one."""
    device = compute.set_up(question.scenario.device)
    record = RunRecord(folder or default_folder(question))
    _open(record, question, force)
    kept = [seed for seed in seeds if not force and _finished(record.seed(seed))]
    if kept:
        yield Event("kept", kept[0], together=len(kept))
    missing = [seed for seed in seeds if seed not in set(kept)]
    size = TOGETHER if all(card.model.stacks for card in question.cards.values()) else 1
    for start in range(0, len(missing), size):
        group = [record.seed(seed) for seed in missing[start : start + size]]
        with ExitStack() as locks:
            for seed_record in group:
                locks.enter_context(seed_record.locked())
            yield from _run_together(question, group, device)


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


def _run_together(question: Question, records: Sequence[SeedRecord], device: torch.device) -> Iterator[Event]:
    """Some seeds to their ends, round by round."""
    alive: list[Running] = []
    for record in records:
        yield Event("start", record.seed)
        alive.append(Running(World(question, record.seed, device), record, len(records)))
    everyone = list(alive)
    try:
        for seed in everyone:
            seed.begin()
        while alive:
            yield from _round(alive)
            for seed in [seed for seed in alive if seed.ended]:
                alive.remove(seed)
                seed.finish()
                yield Event("finished", seed.record.seed)
    except (KeyboardInterrupt, GeneratorExit):
        for seed in alive:
            seed.leave(INTERRUPTED)
        raise
    except Exception as error:  # whatever it was, the record must not say that it still runs
        for seed in alive:
            seed.leave(FAILED, why=str(error))
        raise
    finally:
        for seed in everyone:
            _free(seed.world)


def _round(alive: Sequence[Running]) -> Iterator[Event]:
    first = alive[0].world
    for world, progress in together([seed.world for seed in alive]):
        if world is first:
            yield Event("progress", world.seed, progress, together=len(alive))
    for seed in alive:
        yield Event("round", seed.record.seed, line=seed.close_round(), together=len(alive) if seed is alive[0] else 0)


class Running:
    """A seed that runs: its world, and how much of it is on record."""

    def __init__(self, world: World, record: SeedRecord, together: int) -> None:
        self.world, self.record, self.together = world, record, together
        self.saved_pages = self.told_batches = 0
        self.began = self.noted = time.monotonic()

    def begin(self) -> None:
        self.record.begin(_manifest(self.world), self.world.evaluator.human_gallery())

    @property
    def ended(self) -> bool:
        return self.world.round == self.world.question.scenario.rounds or not self.world.running_providers

    def close_round(self) -> Line:
        """Put the round just closed on record."""
        line = round_line(self.world, self.told_batches)
        self.told_batches = len(self.world.corpus.batches)
        self._save_galleries(line["round"])
        waiting = (len(self.world.corpus) - self.saved_pages) * self.world.corpus.items[:1].nbytes
        if waiting > PAGES_BLOCK:
            self._save_pages()
        self.record.append(line)
        if time.monotonic() - self.noted > STATUS_SECONDS:
            self.record.set_status(RUNNING, self.world.round)
            self.noted = time.monotonic()
        return line

    def finish(self) -> None:
        self._save_pages()
        # The share of a seed, where several ran together.
        seconds = round((time.monotonic() - self.began) / self.together, 3)
        write_json(self.record.folder / "manifest.json", {**_manifest(self.world), "seconds": seconds})
        self.record.set_status(FINISHED, self.world.round)

    def leave(self, state: str, why: str = "") -> None:
        """Stop before the end, with a readable record."""
        if self.record.begun:
            self._save_pages()
            self.record.set_status(state, self.world.round, why)

    def _save_pages(self) -> None:
        """The pages published since the last call."""
        corpus, first = self.world.corpus, self.saved_pages
        if len(corpus) > first and self.world.question.scenario.record_pages:
            columns = {name: corpus.column(name)[first:] for name in COLUMNS}
            self.record.save_pages(first, columns, corpus.items[first:])
        self.saved_pages = len(corpus)

    def _save_galleries(self, round: int) -> None:
        world = self.world
        every = -(-world.question.scenario.rounds // GALLERIES)
        for provider in world.providers:
            if provider.trained_in == round and provider.generator is not None and round % every == 0:
                draw = provider.draw(*world.evaluator.gallery_prompts())
                samples = to_web(draw.generator.sample(draw.y, draw.noise))
                self.record.save_gallery(provider.name, provider.generation, samples)


def round_line(world: World, told: int = 0) -> Line:
    """The round just closed, as one line of metrics.jsonl; ``told`` batches of pages stand in earlier ones."""
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
            "published": [
                [number, world.maker_name(batch.maker), batch.generation, batch.pages]
                for number, batch in enumerate(world.corpus.batches[told:], told)
            ],
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
            "by_batch": list(provenance.by_batch.items()),
            "lambda": provenance.ratio,
            "synthetic_share": provenance.synthetic_share,
            "lineage": provenance.lineage,
            "loss": provider.loss,
            "metrics": measurement.metrics,
            "replicates": measurement.replicates,
        }
    return line


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


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
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
