"""The results of a run, for Python and for the command line alike: records in, summary, frame and report out."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ecosystem import reports
from ecosystem.errors import DataError, ScenarioError
from ecosystem.loop import Event, default_folder
from ecosystem.loop import run as run_seeds
from ecosystem.question import Question
from ecosystem.records import RunRecord, damaged, write_json
from ecosystem.records import open_run as open_record
from ecosystem.summarise import question_of, summarise
from ecosystem.summary import Summary, Verdict
from ecosystem.verdicts import COUNTED

MAX_SEED = 10**9

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Run:
    """One question and what is on record of it; without the question, summary.json speaks for the records."""

    question: Question | None
    record: RunRecord

    @cached_property
    def summary(self) -> Summary:
        """The object that ``--json`` prints."""
        if self.question is None:
            return self.record.summary()
        return summarise(self.record, self.question)

    @property
    def begun(self) -> bool:
        """Whether any round is on record."""
        return any(seed.lines() for seed in self.record.seeds())

    @property
    def verdict(self) -> dict[str, Verdict]:
        """By provider."""
        return {name: provider["verdict"] for name, provider in self.summary["providers"].items()}

    def frame(self) -> pd.DataFrame:
        """Tidy: seed, round, provider, generation, metric, value; provider "web" for the counts of the web."""
        columns = ["seed", "round", "provider", "generation", "metric", "value"]
        return pd.DataFrame(list(self._rows()), columns=columns)

    def _rows(self) -> Iterator[tuple[int, int, str, int | None, str, float | None]]:
        for seed in self.record.seeds():
            for line in seed.lines():
                at = (seed.seed, line["round"])
                for name, value in line["web"].items():
                    if name != "published":
                        yield *at, "web", None, name.replace("_", "-"), value
                for provider, row in line["providers"].items():
                    yield *at, provider, row["generation"], "vote-share", row["vote_share"]
                    if "trained" in row:
                        counted = {name: row["trained"][key] for name, key in COUNTED.items()}
                        for name, value in {**counted, **row["trained"]["metrics"]}.items():
                            yield *at, provider, row["generation"], name, value

    def gallery(self) -> reports.Gallery:
        """The first seed's samples, generation by generation."""
        seed = self.record.seed(self.summary["seeds"][0])
        found = reports.Gallery(seed.human_gallery(), {name: seed.gallery(name) for name in self.summary["providers"]})
        shape = tuple(self.summary["humans"]["shape"])
        for samples in (found.human, *(s for generations in found.providers.values() for s in generations.values())):
            if samples.shape[1:] != shape or samples.dtype.kind != ("u" if len(shape) == 3 else "f"):
                raise damaged(f"{seed.folder}: the gallery has items of another shape or type than the human data.")
        return found

    def show(self, console: Console | None = None) -> None:
        """Print the report."""
        from rich.console import Console

        reports.print_report(self.summary, self.gallery(), console or Console())

    def save(self) -> None:
        """Write summary.json and the figures."""
        write_json(self.record.folder / "summary.json", self.summary)
        figures = self.record.folder / "figures"
        figures.mkdir(exist_ok=True)
        reports.save_figures(self.summary, self.gallery(), figures)


def events(
    question: Question, seeds: Sequence[int] | None, folder: Path | None, force: bool
) -> Generator[Event, None, None]:
    """Run what is missing; the caller shows it."""
    chosen = question.scenario.seeds if seeds is None else seeds
    for seed in chosen:
        if type(seed) is not int or not 0 <= seed <= MAX_SEED:
            raise ScenarioError(f"{seed!r} is no seed: a seed is a whole number from 0 to {MAX_SEED:,}.")
    if not chosen:
        raise ScenarioError("there is no seed to run.")
    yield from run_seeds(question, chosen, folder, force)


def of(question: Question, folder: Path | None) -> Run:
    return Run(question, RunRecord(folder or default_folder(question)))


def run(question: Question, seeds: Sequence[int] | None, folder: Path | None, force: bool) -> Run:
    for _ in events(question, seeds, folder, force):
        pass
    result = of(question, folder)
    result.save()
    return result


def open_run(path: Path) -> Run:
    record = open_record(path)
    try:
        return Run(question_of(record), record)
    except DataError:
        # The human data of the run are not on this machine. A report needs the records alone.
        if (record.folder / "summary.json").exists():
            return Run(None, record)
        raise
    except ScenarioError as error:
        # Written by hand, or by another version: no fault of a scenario that somebody is writing now.
        raise damaged(f"what was asked cannot be read back. {error}") from error
