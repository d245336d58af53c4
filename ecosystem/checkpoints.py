"""Checkpoints: what a seed goes on from, exactly, when it was left at any moment.

    RUN/seed-0/checkpoints/round-8/            as round 8 began; round-8-within-2: the second within its trainings
        state.json                             counts, provenance, batches; what of the record belongs to it
        tensors.safetensors                    parameters, their averages and the optimisers' moments
        SHA256SUMS                             of the two files, as `sha256sum -c` reads it

Randomness is by name (rng.py), so no generator has to be kept but that of a training half done. The pages are the
record's own append-only blocks; a checkpoint names those that belong to it, with their checksums, and how much of
metrics.jsonl was written. It is made under a temporary name, synced and renamed, and the one before is kept: one that
cannot be read back is passed over, and said to be.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ecosystem.agents.provider import Provenance
from ecosystem.errors import RecordError
from ecosystem.models import guided
from ecosystem.models.base import Saved
from ecosystem.models.jobs import Trained
from ecosystem.records import PageBlock, SeedRecord, slug, sync, temporary
from ecosystem.web.corpus import Corpus, History
from ecosystem.world import Mark, ProviderMark, World

FORMAT = 3
FILES = STATE, TENSORS = "state.json", "tensors.safetensors"
SUMS = "SHA256SUMS"
_NAME = re.compile(r"round-(\d+)(?:-within-(\d+))?")


@dataclass(frozen=True)
class Checkpoint:
    """One on disk, not yet looked into."""

    path: Path
    round: int
    within: int  # 0: as the round began


@dataclass(frozen=True)
class Kept:
    """What a seed's record held when a checkpoint was written."""

    blocks: Sequence[PageBlock] = ()
    lines: int = 0  # bytes of metrics.jsonl
    lines_sha256: str = hashlib.sha256().hexdigest()
    seconds: float = 0.0


@dataclass(frozen=True)
class Within:
    """Trainings of the open round: those that are done, and what was saved of one that is not."""

    done: Mapping[str, Trained] = field(default_factory=dict)
    half: Mapping[str, Saved] = field(default_factory=dict)


def found(record: SeedRecord) -> list[Checkpoint]:
    """Those of a seed, the newest first."""
    named = [(path, _NAME.fullmatch(path.name)) for path in record.checkpoints.glob("round-*")]
    every = [Checkpoint(path, int(m[1]), int(m[2] or 0)) for path, m in named if m]
    return sorted(every, key=lambda c: (c.round, c.within), reverse=True)


# Writing


def write(record: SeedRecord, world: World, mark: Mark, kept: Kept, within: Within | None = None) -> None:
    """Keep where a world stood, and perhaps its trainings since."""
    within = within or Within()
    earlier = [c.within for c in found(record) if c.round == mark.round]
    name = f"round-{mark.round}"
    if within.done or within.half:
        name += f"-within-{max(earlier, default=0) + 1}"
    state = json.dumps(_state(world, mark, kept, within), allow_nan=False).encode()
    tensors = save_tensors({name: value.contiguous() for name, value in _tensors(mark, within)})
    _put(record.checkpoints / name, {STATE: state, TENSORS: tensors})


def _put(path: Path, files: Mapping[str, bytes]) -> None:
    """A directory of files with their checksums: all of it, or nothing."""
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    aside = temporary(path)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        for name, data in {**files, SUMS: sums.encode()}.items():
            with (aside / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        if path.exists():  # by a process that was killed since, and with the same in it
            shutil.rmtree(path)
        aside.replace(path)
        sync(path.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _state(world: World, mark: Mark, kept: Kept, within: Within) -> dict[str, Any]:
    history = world.corpus.history_before(mark.round)
    names = [provider.name for provider in world.providers]
    return {
        "format": FORMAT,
        "question": world.question.digest,
        "humans": world.humans.fingerprint,
        "seed": world.seed,
        "round": mark.round,
        "used_humans": mark.used_humans,
        "pages": mark.pages,
        "batches": history.batches,
        "totals": history.totals,
        "blocks": [block.as_json() for block in kept.blocks],
        "lines": {"bytes": kept.lines, "sha256": kept.lines_sha256},
        "seconds": kept.seconds,
        "memory": sorted(mark.memory),
        "providers": {name: _provider(was) for name, was in zip(names, mark.providers, strict=True)},
        "within": {"done": {name: trained.loss for name, trained in within.done.items()}, "half": list(within.half)},
    }


def _provider(was: ProviderMark) -> dict[str, Any]:
    made = was.provenance
    return {
        "generation": was.generation,
        "loss": was.loss,
        "trained_in": was.trained_in,
        "stopped": was.stopped,
        "provenance": made and [made.by_maker, list(made.by_batch.items()), made.lineage],
    }


def _tensors(mark: Mark, within: Within) -> Iterator[tuple[str, Tensor]]:
    """By names that begin with whose they are: providers by number, as theirs may hold any character."""
    parts = [(f"{i}", was.generator.saved()) for i, was in enumerate(mark.providers) if was.generator is not None]
    parts += [(f"done {i}", trained.generator.saved()) for i, trained in enumerate(within.done.values())]
    parts += [(f"half {i}", saved) for i, saved in enumerate(within.half.values())]
    memory = enumerate(sorted(mark.memory.items()))
    parts += [(f"memory {i}", {n: torch.from_numpy(a) for n, a in arrays.items()}) for i, (_, arrays) in memory]
    return ((f"{whose}/{name}", value) for whose, saved in parts for name, value in saved.items())


def prune(record: SeedRecord, keep: int | None) -> None:
    """Leave the newest; ``keep`` None leaves all of those between rounds."""
    every = found(record)
    between = [c for c in every if not c.within]
    left = every[:keep] if keep is not None else [*between, *every[:2]]
    for checkpoint in every:
        if checkpoint not in left:
            shutil.rmtree(checkpoint.path)


def copy(old: SeedRecord, new: SeedRecord, at: Checkpoint, question: str) -> None:
    """What a checkpoint stands for, as a seed of another question that asks the same up to its round."""
    state, _ = _parts(at)
    kept = _kept(old, state)
    for folder in (new.checkpoints, new.folder / "pages", new.folder / "gallery"):
        folder.mkdir(parents=True)
    for block in kept.blocks:
        for path, _ in old.page_files(block):
            shutil.copy2(path, new.folder / "pages")
    reached = {slug(name): row["generation"] for name, row in state["providers"].items()}
    for path in (old.folder / "gallery").glob("*.npy"):
        name, _, generation = path.stem.rpartition("-")
        if path.name == "human.npy" or (generation.isdecimal() and int(generation) <= reached.get(name, -1)):
            shutil.copy2(path, new.folder / "gallery")
    shutil.copy2(old.folder / "manifest.json", new.folder)
    new.lines_path.write_bytes(old.lines_path.read_bytes()[: kept.lines])
    data = json.dumps({**state, "question": question}, allow_nan=False).encode()
    _put(new.checkpoints / at.path.name, {STATE: data, TENSORS: (at.path / TENSORS).read_bytes()})


# Reading


def restore(record: SeedRecord, world: World, at: Checkpoint) -> Kept:
    """Let a new world stand where the one of a checkpoint stood. Raises RecordError, and has then changed nothing."""
    try:
        state, tensors = _read(at, world)
        kept = _kept(record, state)
        mark = _mark(world, state, tensors)
        history = History(state["round"], state["batches"], state["totals"])
        blocks = (record.load_pages(block) for block in kept.blocks)
        corpus = Corpus.restored(world.humans.shape, blocks, history)
        within = _within(world, state, tensors)
    except (OSError, KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        # Checksums hold, so another version wrote it, or a hand; or something of the record is gone.
        raise RecordError(f"{at.path} is no checkpoint that can be read: {error!r}") from error
    if len(corpus) != mark.pages:
        raise RecordError(f"{at.path} counts {mark.pages} pages, and its blocks hold {len(corpus)}")
    world.restore(mark, corpus)
    world.resumed = within
    return kept


def _parts(at: Checkpoint) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The state and the tensors of a checkpoint, as they were written."""
    data = {name: _verified(at.path / name, _sums(at.path).get(name)) for name in (STATE, TENSORS)}
    try:
        return json.loads(data[STATE]), load_tensors(data[TENSORS])
    except (ValueError, SafetensorError) as error:
        raise RecordError(f"{at.path} cannot be read: {error}") from error


def _read(at: Checkpoint, world: World) -> tuple[dict[str, Any], dict[str, Tensor]]:
    state, tensors = _parts(at)
    if (state["format"], state["question"], state["seed"]) != (FORMAT, world.question.digest, world.seed):
        raise RecordError(f"{at.path} is of another question, seed or version")
    if state.get("humans", "") != world.humans.fingerprint:
        raise RecordError(f"{at.path} is of other human data than there are in the folder now")
    return state, tensors


def _sums(path: Path) -> dict[str, str]:
    try:
        lines = (path / SUMS).read_text(encoding="ascii").splitlines()
    except (OSError, ValueError) as error:
        raise RecordError(f"{path / SUMS} cannot be read: {error}") from error
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _verified(path: Path, sha256: str | None) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise RecordError(f"{path} is damaged: its checksum is another")
    return data


def _kept(record: SeedRecord, state: dict[str, Any]) -> Kept:
    """What of the record belongs to a checkpoint, all of it as it was."""
    blocks = [PageBlock(*row) for row in state["blocks"]]
    for block in blocks:
        for path, sha256 in record.page_files(block):
            _verified(path, sha256)
    lines = state["lines"]
    with record.lines_path.open("rb") as file:
        if hashlib.sha256(file.read(lines["bytes"])).hexdigest() != lines["sha256"]:
            raise RecordError(f"{record.lines_path} is not what was written")
    return Kept(blocks, lines["bytes"], lines["sha256"], state["seconds"])


def _mark(world: World, state: dict[str, Any], tensors: Mapping[str, Tensor]) -> Mark:
    providers = []
    for number, provider in enumerate(world.providers):
        row = state["providers"][provider.name]
        made = row["provenance"]
        saved = _whose(f"{number}", tensors)
        generator = None if made is None else _restored(world, provider.name, row["trained_in"], saved)
        provenance = made and Provenance(made[0], dict(made[1]), made[2])
        providers.append(
            ProviderMark(row["generation"], generator, provenance, row["loss"], row["trained_in"], row["stopped"])
        )
    memory = {
        whose: {name: value.cpu().numpy() for name, value in _whose(f"memory {number}", tensors).items()}
        for number, whose in enumerate(state["memory"])
    }
    return Mark(state["round"], state["used_humans"], state["pages"], tuple(providers), memory)


def _within(world: World, state: dict[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Trained | Saved]:
    trainings: dict[str, Trained | Saved] = {}
    for number, (name, loss) in enumerate(state["within"]["done"].items()):
        saved = _whose(f"done {number}", tensors)
        trainings[name] = Trained(_restored(world, name, state["round"], saved), loss)
    for number, name in enumerate(state["within"]["half"]):
        trainings[name] = _there(world, name, _whose(f"half {number}", tensors))
    return trainings


def _restored(world: World, provider: str, round: int, saved: Saved) -> Any:
    """A model that was trained in a round; an auxiliary's name ends with what it is."""
    family = world.question.card(provider.partition("/")[0], round).model
    return guided.restored(family, _there(world, provider, saved), world.humans.shape, world.humans.classes)


def _there(world: World, provider: str, saved: Saved) -> dict[str, Tensor]:
    """Where a provider computes."""
    device = world.device_of(provider.partition("/")[0])
    return {name: value.to(device) for name, value in saved.items()}


def _whose(whose: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{whose}/"
    # A copy of its own: a tensor inside a file's buffer need not lie where arithmetic wants it.
    return {n.removeprefix(start): torch.clone(value) for n, value in tensors.items() if n.startswith(start)}
