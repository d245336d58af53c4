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

from ecosystem.loop import Event
from ecosystem.scenarios import Question

PHASES = {
    "publish": "creators publish",
    "crawl": "scrapers crawl",
    "retrain": "training",
    "ask": "users ask and vote",
    "measure": "measuring",
}


class Watcher(Protocol):
    def see(self, event: Event) -> None: ...


class Clock:
    """How far a run is, as a share of the rounds of all seeds that are to be run, and how long the rest will take."""

    def __init__(self, question: Question, seeds: int) -> None:
        self.rounds, self.seeds, self.providers = question.scenario.rounds, seeds, len(question.scenario.providers)
        self.began = time.monotonic()
        self.done_seeds, self.round, self.within = 0, 0, 0.0
        self.names = [provider.name for provider in question.scenario.providers]

    def see(self, event: Event) -> None:
        if event.kind == "kept":  # it took no time, and so says nothing of the time left
            self.seeds = max(1, self.seeds - 1)
        elif event.kind == "finished":
            self.done_seeds, self.round, self.within = self.done_seeds + 1, 0, 0.0
        elif event.kind == "round":
            self.round, self.within = self.round + 1, 0.0
        elif event.progress is not None and event.progress.update is not None:
            update = event.progress.update
            turn = self.names.index(event.progress.provider)
            self.within = (turn + update.done / update.total) / self.providers

    @property
    def share(self) -> float:
        return (self.done_seeds + (self.round + self.within) / self.rounds) / self.seeds

    def left(self) -> str:
        elapsed = time.monotonic() - self.began
        if self.share < 0.02 or elapsed < 2:
            return ""
        seconds = elapsed * (1 - self.share) / self.share
        return f"{seconds / 60:.0f} min left" if seconds > 90 else f"{seconds:.0f} s left"


def sentence(event: Event, rounds: int) -> str:
    """What is going on, in words."""
    progress = event.progress
    assert progress is not None
    text = f"seed {event.seed} round {progress.round + 1}/{rounds}  {PHASES[progress.phase]}"
    if progress.provider:
        text += f" {progress.provider}"
    if progress.update is not None:
        update = progress.update
        text += f" {update.done:,}/{update.total:,} updates"
        if update.loss == update.loss:
            text += f"  loss {update.loss:.3f}"
    return text


def closed(event: Event, rounds: int) -> str:
    """A round's outcome in one line."""
    assert event.line is not None
    parts = [f"seed {event.seed}  round {event.line['round'] + 1}/{rounds}"]
    for name, row in event.line["providers"].items():
        trained = row.get("trained")
        if trained:
            ratio = "inf" if trained["lambda"] is None else f"{trained['lambda']:.3g}"
            shown = [f"{k} {trained['metrics'][k]:.3g}" for k in SHOWN if k in trained["metrics"]][:2]
            parts.append(f"{name} g{row['generation']} lambda {ratio} " + " ".join(shown))
        elif "stopped" in row:
            parts.append(f"{name} stopped")
    return "  |  ".join(parts)


SHOWN = ("frechet", "sliced-wasserstein", "recall")


class Plain:
    """A line a round, for pipes and logs."""

    def __init__(self, question: Question, console: Console) -> None:
        self.console, self.rounds = console, question.scenario.rounds

    def see(self, event: Event) -> None:
        if event.kind == "round":
            self.console.print(closed(event, self.rounds), highlight=False, soft_wrap=True)
        elif event.kind == "kept":
            self.console.print(f"seed {event.seed}  on record already, kept (--force runs it again)", highlight=False)


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
    """Live where somebody looks; a terminal that cannot draw the bar gets plain lines."""
    utf8 = console.encoding.lower().startswith("utf")
    if not (console.is_terminal and utf8) or console.is_dumb_terminal:
        yield Plain(question, console)
        return
    with Live(Text(""), console=console, refresh_per_second=4, transient=True) as live:
        yield Lively(question, console, seeds, live)
