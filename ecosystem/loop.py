"""The one loop over rounds, and what it puts on record.

``run`` is a generator of progress: showing it, and stopping it, belong to the caller. Each seed is a world of its
own with its own directory; a seed that has finished is never run again unless ``force`` says so, and one that was
left, by a signal or a fault or without a word, goes on from its newest checkpoint and ends with the same bytes. Seeds
whose models make stacks run in lockstep, phase by phase, also those of several questions (``run_several``, of a sweep);
a seed's record is the same to the last bit whichever seeds ran beside it.
"""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ecosystem import checkpoints, compute, features, weights
from ecosystem.agents.provider import Provider
from ecosystem.changes import Change, changes
from ecosystem.documents import dump as to_yaml
from ecosystem.errors import RecordError
from ecosystem.locks import locked
from ecosystem.models.base import Update, to_web
from ecosystem.models.jobs import Trained
from ecosystem.question import Question, digest
from ecosystem.records import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    RUNNING,
    Journal,
    Line,
    PageBlock,
    RunRecord,
    SeedRecord,
    write_text,
)
from ecosystem.stopwatch import clock
from ecosystem.web.corpus import COLUMNS
from ecosystem.world import Progress, World, together

PACKAGES = ("ecosystem", "mesa", "torch", "numpy", "scipy", "POT", "diffusers", "clean-fid", "scikit-learn")


TOGETHER = 50  # seeds in lockstep at the most: the pages of all of them are in memory
GALLERIES = 25  # generations of a provider whose samples are kept, about
FEW_GALLERIES = 6  # where pages are not kept either
PAGES_BLOCK = 64 * 2**20  # bytes of pages that wait to be written
STATUS_SECONDS = 5.0  # between two notes of how far a seed is
CHECKPOINT_SECONDS = 0.02  # what the first one of a seed may take
SHARE = 0.02  # of the time, that goes into checkpoints


@dataclass(frozen=True)
class Event:
    """What the caller may show. ``kind``: start | kept | resumed | warning | progress | round | finished."""

    kind: str
    seed: int
    progress: Progress | None = None
    line: Line | None = None
    together: int = 1  # seeds that this is about: those in lockstep are told of by the first
    round: int = 0  # with which a seed that was left goes on
    text: str = ""  # of a warning


def default_folder(question: Question) -> Path:
    return Path("runs") / question.scenario.name / question.digest


@dataclass(frozen=True)
class Asked:
    """Seeds of a question, and the directory of their run."""

    question: Question
    seeds: Sequence[int]
    folder: Path


class Waiting(NamedTuple):
    """A seed that is to be run."""

    question: Question
    record: SeedRecord
    devices: Sequence[torch.device]


def run(question: Question, seeds: Sequence[int], folder: Path | None = None, force: bool = False) -> Iterator[Event]:
    """Run every seed that is not on record yet: in lockstep where the models make stacks, else one by one.

    A seed that was left goes on from its newest checkpoint; ``force`` runs all of them anew.
    """
    return run_several([Asked(question, seeds, folder or default_folder(question))], force)


def run_several(asked: Sequence[Asked], force: bool = False) -> Iterator[Event]:
    """The same for several questions, the seeds of all of them in lockstep."""
    missing: list[Waiting] = []
    with ExitStack() as locks:
        for one in asked:
            devices = compute.present(one.question.scenario.device)
            weights.unchanged(one.question)
            record = RunRecord(one.folder)
            _make(record)
            locks.enter_context(locked(record.folder))
            record.tidy()
            _open(record, one.question, force)
            kept = [seed for seed in one.seeds if not force and _finished(record.seed(seed))]
            for seed in kept:  # who finished it may have been killed before
                _drop_what_it_went_on_from(record.seed(seed), one.question)
            if kept:
                yield Event("kept", kept[0], together=len(kept))
            missing += [Waiting(one.question, record.seed(n), devices) for n in one.seeds if n not in kept]
        size = TOGETHER if all(card.model.stacks for one in asked for card in one.question.all_cards) else 1
        for start in range(0, len(missing), size):
            yield from _run_together(missing[start : start + size], force)


def _make(record: RunRecord) -> None:
    """The run's directory, which must be empty or hold a run."""
    folder = record.folder
    try:
        if folder.exists() and not record.resolved_path.exists() and not record.vacant:
            raise RecordError(f"{folder} is not empty and holds no run. Choose another --out.")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"{folder} cannot be written: {error.strerror}. Choose another --out.") from error


def _open(record: RunRecord, question: Question, force: bool) -> None:
    """Let the directory hold this question: it does already, or is empty, or may be emptied."""
    try:
        if record.resolved_path.exists() and (differing := _differing(record, question, force)) is not None:
            if not force:
                raise RecordError(_other_question(record, differing))
            record.clear()
        write_text(record.resolved_path, to_yaml(question.resolved))
    except OSError as error:
        raise RecordError(f"{record.folder} cannot be written: {error.strerror}. Choose another --out.") from error


def _differing(record: RunRecord, question: Question, force: bool) -> list[Change] | None:
    """Where the directory's question differs from this; None where it is the same.

    One that cannot be read back can only be replaced.
    """
    try:
        asked = record.resolved()
        return None if digest(asked) == question.digest else changes(asked, question.resolved)
    except RecordError:
        if force:
            return []
        raise


def _other_question(record: RunRecord, differing: Sequence[Change]) -> str:
    shown = [f"  {change.key}: {change.before} there, {change.after} here" for change in differing[:8]]
    if len(differing) > len(shown):
        shown.append(f"  and {len(differing) - len(shown)} more")
    return "\n".join(
        [
            f"{record.folder} holds a run of another question:",
            *(line if len(line) < 160 else f"{line[:159]}…" for line in shown),
            f"Replace it with --force, branch off from it with `ecosystem fork {record.folder} --at ROUND --set ...`, "
            "or choose another --out.",
        ]
    )


def _drop_what_it_went_on_from(record: SeedRecord, question: Question) -> None:
    """A finished seed needs no checkpoint, and its pages only where they are asked for."""
    if question.scenario.checkpoint_keep is not None:
        checkpoints.prune(record, 0)
        if not question.scenario.record_pages:
            record.keep_pages([])


def _finished(record: SeedRecord) -> bool:
    return record.begun and record.status()["state"] == FINISHED


def _run_together(seeds: Sequence[Waiting], anew: bool) -> Iterator[Event]:
    """Some seeds to their ends, round by round."""
    alive: list[Running] = []
    scenarios = [seed.question.scenario for seed in seeds]
    # Where all are to be kept, there is to be one of every round.
    every_round = any(scenario.checkpoint_keep is None for scenario in scenarios)
    pace = Pace(min(scenario.checkpoint_minutes for scenario in scenarios), len(seeds), every_round)
    for question, record, devices in seeds:
        yield Event("start", record.seed)
        clock.enter("start")  # also of a process that has run something else before
        alive.append(Running(World(question, record.seed, devices[0], devices), record, len(seeds)))
    everyone = list(alive)
    try:
        for seed in everyone:
            yield from seed.begin(anew)
        yield from _finish(alive)
        while alive:
            yield from _round(alive, pace)
            yield from _finish(alive)
            if alive and pace.due():
                with pace.writing():
                    for seed in alive:
                        seed.checkpoint()
    except GeneratorExit:  # left between two updates, and so also what was trained of them can be kept
        for seed in alive:
            seed.leave(INTERRUPTED, seed.within())
        raise
    except KeyboardInterrupt:
        for seed in alive:
            seed.leave(INTERRUPTED)
        raise
    except Exception as error:  # whatever it was, the record must not say that it still runs
        for seed in alive:
            seed.leave(FAILED, why=str(error))
        if isinstance(error, OSError):
            raise RecordError(_unwritable(seeds[0].record, error)) from error
        if compute.out_of_memory(error):
            raise MemoryError(str(error)) from error
        raise
    finally:
        for seed in everyone:
            seed.close()


def _finish(alive: list[Running]) -> Iterator[Event]:
    """Let those that have come to their end go; one may have been left behind its last round."""
    for seed in [seed for seed in alive if seed.ended]:
        alive.remove(seed)
        seed.finish()
        yield Event("finished", seed.record.seed)


def _unwritable(record: SeedRecord, error: OSError) -> str:
    where = error.filename or record.folder
    return (
        f"{where} cannot be written: {error.strerror or error}. What was done is on record; make room or let it be "
        "written, and the same command goes on from there."
    )


def _round(alive: Sequence[Running], pace: Pace) -> Iterator[Event]:
    first, running = alive[0], {id(seed.world): seed for seed in alive}
    for world, progress in together([seed.world for seed in alive]):
        running[id(world)].see(progress)
        if world is not first.world:
            continue
        yield Event("progress", world.seed, progress, together=len(alive))
        if pace.due_within() and first.within():
            with pace.writing():
                for seed in alive:
                    seed.checkpoint(seed.within())
    for seed in alive:
        with clock.during("records"):
            line = seed.close_round()
        yield Event("round", seed.record.seed, line=line, together=len(alive) if seed is first else 0)


class Pace:
    """When checkpoints are written: as often as takes SHARE of the time, and at least every ``minutes``."""

    def __init__(
        self, minutes: float, seeds: int, every_round: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.every_round = every_round
        self.seconds, self.cost = 60 * minutes, seeds * CHECKPOINT_SECONDS
        self.clock, self.last = clock, clock()

    def due(self) -> bool:
        """Between two rounds."""
        return self.every_round or self.clock() - self.last >= min(self.seconds, self.cost / SHARE)

    def due_within(self) -> bool:
        """Within a training."""
        return self.clock() - self.last >= self.seconds

    @contextmanager
    def writing(self) -> Iterator[None]:
        began = self.clock()
        with clock.during("records"):
            yield
        self.last = self.clock()
        self.cost = self.last - began


class Running:
    """A seed that runs: its world, and how much of it is on record."""

    def __init__(self, world: World, record: SeedRecord, together: int) -> None:
        self.world, self.record, self.together = world, record, together
        self.blocks: list[PageBlock] = []
        self.journal: Journal | None = None
        self.told_batches = 0
        self.made: dict[str, Trained] = {}  # models of the open round, by who trained them
        self.half: dict[str, Update] = {}  # how far its trainings are that are not done
        self.began = self.noted = time.monotonic()
        self.earlier = 0.0  # seconds, of the processes before
        self.at = (world.mark(), 0, "")  # between two rounds: the world, and what of metrics.jsonl belongs to it

    def begin(self, anew: bool) -> Iterator[Event]:
        """From a checkpoint where there is one that can be read, else from the start."""
        kept: checkpoints.Kept | None = None
        for checkpoint in checkpoints.found(self.record) if self.record.begun and not anew else []:
            try:
                kept = checkpoints.restore(self.record, self.world, checkpoint)
                break
            except RecordError as error:
                yield Event("warning", self.record.seed, text=f"{error}. It is passed over for the one before it.")
        if kept is None:
            self.record.begin(_manifest(self.world), self.world.evaluator.human_gallery())
            self.journal = Journal(self.record.lines_path)
        else:
            yield from self._go_on(kept)
        self.at = (self.world.mark(), self.journal.size, self.journal.sha256) if self.journal else self.at

    def _go_on(self, kept: checkpoints.Kept) -> Iterator[Event]:
        self.blocks, self.earlier = list(kept.blocks), kept.seconds
        self.record.keep_pages(self.blocks)
        self.journal = Journal(self.record.lines_path, kept.lines)
        # The archive is told of with the first round.
        self.told_batches = len(self.world.corpus.batches) if self.world.round else 0
        self.record.set_status(RUNNING, self.world.round, seconds=self.seconds)
        if text := _differs(self.record.manifest(), _manifest(self.world)):
            yield Event("warning", self.record.seed, text=text)
        yield Event("resumed", self.record.seed, round=self.world.round)

    @property
    def seconds(self) -> float:
        """What this seed took so far: its share, where several run together."""
        return self.earlier + (time.monotonic() - self.began) / self.together

    @property
    def ended(self) -> bool:
        return self.world.round == self.world.question.scenario.rounds or not self.world.running_providers

    def see(self, progress: Progress) -> None:
        if progress.made is not None:
            self.made[progress.provider] = progress.made
            self.half.pop(progress.provider, None)
        elif progress.update is not None:
            self.half[progress.provider] = progress.update

    def close_round(self) -> Line:
        """Put the round just closed on record."""
        assert self.journal is not None
        self.made, self.half = {}, {}
        line = round_line(self.world, self.told_batches)
        self.told_batches = len(self.world.corpus.batches)
        self._save_galleries(line["round"])
        if (len(self.world.corpus) - self._saved_pages) * self.world.corpus.items.item_bytes > PAGES_BLOCK:
            self._save_pages(len(self.world.corpus))
        self.journal.append(line)
        self.at = (self.world.mark(), self.journal.size, self.journal.sha256)
        if time.monotonic() - self.noted > STATUS_SECONDS:
            self.record.set_status(RUNNING, self.world.round, seconds=self.seconds)
            self.noted = time.monotonic()
        return line

    def within(self) -> checkpoints.Within | None:
        """The open round's trainings that took updates, done and half done; only between two updates."""
        half = {name: update.save() for name, update in self.half.items() if update.save is not None}
        done = {name: trained for name, trained in self.made.items() if trained.loss is not None}
        return checkpoints.Within(done, half) if done or half else None

    def checkpoint(self, within: checkpoints.Within | None = None) -> None:
        """Keep where the world stood when the open round began, and perhaps its trainings since."""
        mark, lines, sha256 = self.at
        self._save_pages(mark.pages)
        kept = checkpoints.Kept(self.blocks, lines, sha256, self.seconds)
        checkpoints.write(self.record, self.world, mark, kept, within)
        checkpoints.prune(self.record, self.world.question.scenario.checkpoint_keep)

    def finish(self) -> None:
        scenario = self.world.question.scenario
        if scenario.record_pages or scenario.checkpoint_keep is None:
            self._save_pages(len(self.world.corpus))
        self.record.set_status(FINISHED, self.world.round, seconds=self.seconds)
        _drop_what_it_went_on_from(self.record, self.world.question)

    def leave(self, state: str, within: checkpoints.Within | None = None, why: str = "") -> None:
        """Stop before the end, with a record to read and to go on from."""
        if self.journal is None:
            return
        # What can be kept is kept; where nothing can, the reason to stop is what has to be told.
        with suppress(OSError):
            mark, *_ = self.at
            newest = next(iter(checkpoints.found(self.record)), None)
            if within or (mark.round and (newest is None or newest.round < mark.round)):
                self.checkpoint(within)
        with suppress(OSError):
            self.record.set_status(state, self.at[0].round, why, self.seconds)

    def close(self) -> None:
        if self.journal is not None:
            self.journal.close()
        self.world.release()

    @property
    def _saved_pages(self) -> int:
        return self.blocks[-1].first + self.blocks[-1].count if self.blocks else 0

    def _save_pages(self, end: int) -> None:
        """The pages before that number which no block holds yet."""
        corpus, first = self.world.corpus, self._saved_pages
        if end > first:
            columns = {name: corpus.of(name, slice(first, end)) for name in COLUMNS}
            self.blocks.append(self.record.save_pages(first, columns, corpus.items[first:end]))

    def _save_galleries(self, round: int) -> None:
        world = self.world
        scenario = world.question.scenario
        every = -(-scenario.rounds // (GALLERIES if scenario.record_pages else FEW_GALLERIES))
        for provider in world.providers:
            if provider.trained_in == round and provider.generator is not None and round % every == 0:
                draw = provider.draw(*world.evaluator.gallery_prompts())
                samples = to_web(draw.generator.sample(draw.y, draw.noise))
                self.record.save_gallery(provider.name, provider.generation, samples)


def round_line(world: World, told: int = 0) -> Line:
    """The round just closed, as one line of metrics.jsonl; ``told`` batches of pages stand in earlier ones."""
    shown = world.shown()
    ballots = sum(world.votes.values())
    agents = {"agents": world.told} if world.told else {}
    measured = {"measured": world.measured} if world.measured else {}
    return {
        "round": world.round - 1,
        "web": {
            "pages": shown.pages,
            "human": shown.human,
            "synthetic": shown.synthetic,
            "synthetic_share": shown.synthetic / shown.pages if shown.pages else 0.0,
            "lineage": shown.lineage / shown.pages if shown.pages else 0.0,
            "published": [
                [number, world.maker_name(batch.maker), batch.generation, batch.pages]
                for number, batch in enumerate(world.corpus.batches[told:], told)
            ],
            **measured,
        },
        "ballots": ballots,
        "classifier_accuracy": world.judge.accuracy if world.judge else None,
        "providers": {p.name: _provider_line(world, p, ballots) for p in world.providers},
        **agents,
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
        **({"devices": devices} if len(devices := _devices(world)) > 1 else {}),
        "threads": torch.get_num_threads(),
        "blas": compute.kernels(),
        "commit": _commit(),
        "machine": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        **({"weights": seen} if (seen := _weights(world)) else {}),
    }


def _weights(world: World) -> dict[str, str]:
    """The checksums of networks of others that look at items."""
    scenario = world.question.scenario
    return features.checksums((scenario.evaluation.features, scenario.judge))


def _devices(world: World) -> list[str]:
    """Where each provider's models live; one alone is the device."""
    used = [str(world.device_of(provider.name)) for provider in world.providers]
    return used if len(set(used)) > 1 else []


def _differs(then: dict[str, Any], now: dict[str, Any]) -> str:
    """What of a machine may change the bits of a result; "" where nothing did."""
    told = [
        f"{name} {then.get(name)} then, {now[name]} now"
        for name in ("device", "device_name", "threads", "blas")
        if then.get(name) != now[name]
    ]
    before, after = then.get("weights") or {}, now.get("weights") or {}
    told += [f"weights of {n} {before.get(n)} then, {w} now" for n, w in after.items() if before.get(n) != w]
    versions = then.get("versions") or {}
    told += [
        f"{name} {versions.get(name)} then, {v} now" for name, v in now["versions"].items() if versions.get(name) != v
    ]
    return f"it began on another machine or software, so bits may differ: {'; '.join(told)}." if told else ""


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
