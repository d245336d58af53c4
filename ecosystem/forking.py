"""A counterfactual: a run's world as it stood when a round began, and from there on under other policies.

A fork asks its run's question with one event more, so that whoever runs that scenario from the start gets the same
bytes; without a change it is the run itself again. A seed goes on from the newest checkpoint of the run that is not
behind the fork, and where none was kept it is run from the start, which takes longer and ends the same
(``checkpoint_keep: null`` keeps them all).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ecosystem import checkpoints, weights
from ecosystem.documents import Document, dump, put, raise_faults
from ecosystem.errors import RecordError, ScenarioError
from ecosystem.question import Question
from ecosystem.records import INTERRUPTED, RunRecord, SeedRecord, temporary, write_json, write_text
from ecosystem.summarise import question_of


def asked(record: RunRecord, at: int, sets: Mapping[str, str]) -> Question:
    """The run's question, and from round ``at`` on its policies as ``sets`` (YAML by dotted names) has them."""
    question = question_of(record)
    rounds = question.scenario.rounds
    if not 0 <= at < rounds:
        raise ScenarioError(f"--at {at}: the run has rounds 0 to {rounds - 1}.")
    values: dict[str, Any] = {dotted: put({}, "value", text, "--set")["value"] for dotted, text in sets.items()}
    if values:
        question, faults = weights.opened(question_of(record, [{"at": at, "set": values}]), Document({}, "--set", {}))
        raise_faults(faults, "--set")
    return question


def default_folder(record: RunRecord, question: Question, at: int) -> Path:
    return record.folder.with_name(f"{record.folder.name}-at-{at}-{question.digest}")


def fork(record: RunRecord, question: Question, at: int, seeds: Sequence[int], folder: Path) -> dict[int, int]:
    """Make a run of the question, each seed standing where the run's own stood; the round each goes on with, by seed.

    A directory that is there already is left as it is, so that a fork that was stopped goes on.
    """
    if folder.exists():
        return {}
    known = {seed.seed for seed in record.seeds()}
    if strangers := [seed for seed in seeds if seed not in known]:
        raise RecordError(f"{record.folder} has no seed {strangers[0]}. It has: {', '.join(map(str, sorted(known)))}.")
    aside = temporary(folder)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    new = RunRecord(aside)
    begins = {seed: _seed(record.seed(seed), new.seed(seed), question, at) for seed in seeds}
    write_text(new.resolved_path, dump(question.resolved))
    write_json(aside / "fork.json", {"of": question_of(record).digest, "at": at})
    aside.rename(folder)
    return begins


def _seed(old: SeedRecord, new: SeedRecord, question: Question, at: int) -> int:
    """Let a seed of the fork stand where the old one stood; the round that it goes on with."""
    for checkpoint in checkpoints.found(old):
        if checkpoint.round > at or checkpoint.within:
            continue
        try:
            checkpoints.copy(old, new, checkpoint, question.digest)
        except RecordError:  # damaged: the one before
            shutil.rmtree(new.folder, ignore_errors=True)
        else:
            new.set_status(INTERRUPTED, checkpoint.round)
            return checkpoint.round
    return 0
