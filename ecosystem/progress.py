"""What a run shows while it lives, on standard error: a live line in a terminal, plain lines elsewhere.

The time left is estimated from the work done: a training's updates within a round, and rounds within the run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ecosystem import notices
from ecosystem.agents.provider import ProviderSettings
from ecosystem.loop import Event
from ecosystem.models import ClosedForm
from ecosystem.question import Question

PHASES = {
    "publish": "creators publish",
    "crawl": "scrapers crawl",
    "retrain": "training",
    "ask": "users ask and vote",
    "measure": "measuring",
}


class Watcher(Protocol):
    def see(self, event: Event) -> None: ...


ROUND = 150  # what a round costs beside its trainings, in updates: measuring, mostly


class Clock:
    """How far a run is, as a share of the work of all seeds that are to be run, and how long the rest will take.

    Work is counted in updates: generation 0 of a fine-tuned model has many more of them than those that follow.
    """

    def __init__(self, question: Question, seeds: int) -> None:
        self.seeds, self.began = seeds, time.monotonic()
        self.work = [expected(question, round) for round in range(question.scenario.rounds)]
        self.seed = sum(ROUND + sum(round.values()) for round in self.work)
        self.closed: dict[int, float] = {}  # by seed, its rounds
        self.within: dict[str, float] = {}  # trainings of this round
        self.earlier = 0.0  # work of processes before this

    def see(self, event: Event) -> None:
        if event.kind == "kept":  # it took no time, and so says nothing of the time left
            self.seeds = max(1, self.seeds - event.together)
        elif event.kind == "resumed":
            self.closed[event.seed] = sum(ROUND + sum(work.values()) for work in self.work[: event.round])
            self.earlier += self.closed[event.seed]
        elif event.kind == "finished":  # perhaps before its last round
            self.closed[event.seed], self.within = self.seed, {}
        elif event.kind == "round" and event.line is not None:
            work = ROUND + sum(self.work[event.line["round"]].values())
            self.closed[event.seed] = self.closed.get(event.seed, 0.0) + work
            self.within = {}
        elif event.progress is not None and event.progress.update is not None:
            round, name, update = self.work[event.progress.round], event.progress.provider, event.progress.update
            if name in round:
                self.within[name] = event.together * round[name] * update.done / update.total

    @property
    def share(self) -> float:
        return min(1.0, (sum(self.closed.values()) + sum(self.within.values())) / (self.seeds * self.seed))

    def left(self) -> str:
        elapsed = time.monotonic() - self.began
        done = self.share - self.earlier / (self.seeds * self.seed)
        if done < 0.02 or elapsed < 2:
            return ""
        seconds = elapsed * (1 - self.share) / done
        return f"{seconds / 60:.0f} min left" if seconds > 90 else f"{seconds:.0f} s left"


def expected(question: Question, round: int) -> dict[str, float]:
    """The updates of every training of a round, by who trains; a closed form counts as none."""
    found = {}
    for provider in question.at(round).providers:
        begins, every = _first_training(question, provider), provider.retrain.every
        model = question.card(provider.name, round).model
        found[provider.name] = 0.0
        if isinstance(model, ClosedForm) or round < begins or (round > begins and round % every):
            continue
        if provider.weights_of is not None and round == begins:
            continue
        train, last = model.train, max(begins, (round - 1) // every * every)
        same = round > begins and question.card(provider.name, last).model == model
        images = train.finetune_images if same and provider.retrain.start == "finetune" else train.budget_images
        budget = provider.retrain.budget_images if round > begins else model.first_budget_images
        found[provider.name] = (images if budget is None else budget) / train.batch
        if (guidance := provider.negative_guidance) is not None:
            found[f"{provider.name}/auxiliary"] = (guidance.budget_images or train.finetune_images) / train.batch
    return found


def _first_training(question: Question, provider: ProviderSettings) -> int:
    """The round in which it enters; one later where it first asks another for its pages."""
    starts = [0, *sorted(question.policies)]
    entry = next(start for start in starts if question.at(start).found_provider(provider.name) is not None)
    return entry + (provider.distil is not None)


def sentence(event: Event, rounds: int) -> str:
    """What is going on, in words."""
    progress = event.progress
    assert progress is not None
    text = f"{_seeds(event)} round {progress.round + 1}/{rounds}  {PHASES[progress.phase]}"
    if progress.provider:
        text += f" {progress.provider}"
    if progress.update is not None:
        update = progress.update
        text += f" {update.done:,}/{update.total:,} updates"
        if update.parts > 1:
            text += f" in {update.parts} parts each, for want of memory"
        if update.loss == update.loss:
            text += f"  loss {update.loss:.3f}"
    return text


def _seeds(event: Event) -> str:
    """The seed, and how many others it stands for."""
    return f"seed {event.seed}" + (f" and {event.together - 1} more" if event.together > 1 else "")


def closed(event: Event, rounds: int) -> str:
    """A round's outcome in one line."""
    assert event.line is not None
    parts = [f"{_seeds(event)}  round {event.line['round'] + 1}/{rounds}"]
    for name, row in event.line["providers"].items():
        trained = row.get("trained")
        if trained:
            ratio = "inf" if trained["lambda"] is None else f"{trained['lambda']:.3g}"
            shown = [f"{k} {trained['metrics'][k]:.3g}" for k in SHOWN if k in trained["metrics"]][:2]
            parts.append(f"{name} g{row['generation']} lambda {ratio} " + " ".join(shown))
        elif "stopped" in row:
            parts.append(f"{name} stopped")
    return "  |  ".join(parts)


SHOWN = ("frechet", "sliced-wasserstein", "recall", "model-variance", "heterozygosity", "nll")


class Plain:
    """A line a round, for pipes and logs."""

    def __init__(self, question: Question, console: Console) -> None:
        self.console, self.rounds = console, question.scenario.rounds

    def see(self, event: Event) -> None:
        if event.kind == "round" and event.together:
            self.console.print(closed(event, self.rounds), highlight=False, soft_wrap=True)
        elif event.kind == "kept":
            self.console.print(f"{_seeds(event)}  on record already, kept (--force runs it again)", highlight=False)
        elif event.kind == "resumed":
            text = f"seed {event.seed}  goes on with round {event.round + 1}/{self.rounds}"
            self.console.print(text, highlight=False)
        elif event.kind == "warning":
            text = f"warning: seed {event.seed}: {event.text}"
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)


class Lively(Plain):
    """One line that changes, below the lines of the rounds."""

    def __init__(self, question: Question, console: Console, seeds: int, live: Live) -> None:
        super().__init__(question, console)
        self.clock, self.live = Clock(question, seeds), live

    def see(self, event: Event) -> None:
        self.clock.see(event)
        super().see(event)
        if event.progress is not None:
            self.live.update(self._line(event))

    def _line(self, event: Event) -> Text:
        # What matters most stands first: a narrow terminal cuts the end off.
        width = 10 if self.console.width < 100 else 24
        full = round(width * self.clock.share)
        bar = Text("━" * full, style="cyan") + Text("━" * (width - full), style="dim")
        tail = f" {100 * self.clock.share:.0f} % {self.clock.left()}  {sentence(event, self.rounds)}"
        line = bar + Text(tail)
        line.truncate(self.console.width - 1, overflow="ellipsis")
        return line


@contextmanager
def watching(question: Question, seeds: int, console: Console) -> Iterator[Watcher]:
    """Live where somebody looks; a terminal that cannot draw the bar gets plain lines. Notices stand above the bar."""

    def show(text: str) -> None:
        console.print(f"notice: {text}", highlight=False, markup=False, soft_wrap=True)

    with notices.shown(show), _drawing(question, seeds, console) as watcher:
        yield watcher


@contextmanager
def _drawing(question: Question, seeds: int, console: Console) -> Iterator[Watcher]:
    utf8 = console.encoding.lower().startswith("utf")
    if not (console.is_terminal and utf8) or console.is_dumb_terminal:
        yield Plain(question, console)
        return
    with Live(Text(""), console=console, refresh_per_second=4, transient=True) as live:
        yield Lively(question, console, seeds, live)
