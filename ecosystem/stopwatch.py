"""Where a run's time goes: the process is always in one phase, and its clock changes over when it enters the next.

The phases are those of a round (world.py), what worlds ask for (``training`` and ``sampling``, whoever asks), and what
lies around them. Changing over takes less than a microsecond, so that the clock always runs; ``ecosystem run
--profile`` shows it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """``seconds`` of each phase until now. It begins in a phase of its own."""

    def __init__(self, phase: str = "start") -> None:
        self._phase, self._since = phase, time.perf_counter()
        self._seconds: dict[str, float] = {}

    def enter(self, phase: str) -> str:
        """Change over; the phase before."""
        now, before = time.perf_counter(), self._phase
        self._seconds[before] = self._seconds.get(before, 0.0) + now - self._since
        self._phase, self._since = phase, now
        return before

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Be in a phase for a while, and then in the one before."""
        before = self.enter(phase)
        try:
            yield
        finally:
            self.enter(before)

    @property
    def seconds(self) -> dict[str, float]:
        self.enter(self._phase)
        return dict(self._seconds)


clock = Stopwatch()  # of this process
