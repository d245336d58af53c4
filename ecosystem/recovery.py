"""Recovery: a number that a shock makes worse, and that comes back.

Of one seed x_t is a number by generation (of the web or of a group, by round). Before the shock it is b, the mean over
the last quarter of the generations before ``after``; at the end it is e, the mean over the last quarter of those from
``after`` on. In between it is at its worst at the generation w at which the mean over seeds of log(x_t / b) is. It
*recovers* if, over seeds,

    it was hurt        log(x_w / b), counted as worse, is above 0
    it came back       log(x_w / e), counted as worse, is above 0
    it is as before    e is at most ``within`` times as bad as b

each judged by Student's interval (estimates.py): all three must hold, and any that surely does not refutes. Worse is
more where lower is better, less where higher is better. Where neither is, as of a variance or a share, worse is further
away, on the side on which w lies, and as before is within 1/``within`` .. ``within``.

The worst of many noisy generations is worse than it was before even where nothing happened. So the intervals at w are
as wide as they must be to cover all generations in between at once.

The end is no part of the search for w, or a number that gets worse for good, though by little, would have come back
from its last generation to the mean of its last quarter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ecosystem.estimates import Estimate, Interval, Series, change, interval, log_ratio, lone, more_seeds_for
from ecosystem.summary import Direction, Judgement

SIDES: dict[Direction, int] = {"lower": 1, "higher": -1, "neither": 0}  # of log(x / b) where it is worse
LEAST = 1e-12  # of a number that was lost


@dataclass(frozen=True)
class Recovery:
    verdict: Judgement
    end: Interval | None  # e / b
    words: str
    more_seeds: int | None = None


@dataclass(frozen=True)
class Part:
    """One of the three: changes by seed, the rule, and of how many generations they are one."""

    changes: Sequence[Estimate]
    rule: Callable[[Interval], Judgement]
    of: int = 1

    def found(self) -> Interval:
        found = interval(self.changes, self.of)
        assert found is not None, "what is not a number was sorted out"
        return found

    def more_seeds(self) -> int | None:
        """That decide: 0 where it is decided, None where they never would."""
        if self.rule(self.found()) != "undecided":
            return 0
        return more_seeds_for(self.changes, lambda f: self.rule(f) != "undecided", self.of)


def judge(series: Sequence[Series], after: int, within: float, better: Direction, *, counted: bool = False) -> Recovery:
    """``counted``: what policy decides more than chance does, of which one seed tells."""
    generations = min(len(s.values) for s in series)
    first_of_end = generations - max(1, (generations - after) // 4)
    if first_of_end <= after:
        return Recovery("undecided", None, f"no generation lies between {after:,} and the end")
    before = [_positive(s.mean(after - max(1, after // 4), after)) for s in series]
    ends = _changes(before, [s.mean(first_of_end, generations) for s in series])
    between = [_changes(before, [s.at(t) for s in series]) for t in range(after, first_of_end)]
    if not all(math.isfinite(e.value) for changes in (ends, *between) for e in changes):
        return Recovery("undecided", None, f"not measured throughout, or not above 0 before generation {after:,}")
    if lone(ends) and not counted:
        return Recovery("undecided", None, "one seed: nothing is known of other seeds")
    worst, side = _worst(between, SIDES[better])
    hurt = [Estimate.of(lambda w: side * w, w) for w in worst]
    back = [Estimate.of(lambda w, e: side * (w - e), w, e) for w, e in zip(worst, ends, strict=True)]
    parts = (
        Part(hurt, _above, len(between)),
        Part(back, _above, len(between)),
        Part(ends, _as_before(math.log(within), SIDES[better])),
    )
    end, peak = parts[2].found().exp(), Part(worst, _above, len(between)).found().exp()
    words = (
        f"times what it was before generation {after:,}, the limit being {within:g}; "
        f"at its worst {peak.effect:.3g} [{peak.low:.3g}, {peak.high:.3g}] times"
    )
    verdict = _all([part.rule(part.found()) for part in parts])
    return Recovery(verdict, end, words, _most(parts) if verdict == "undecided" else None)


def _positive(before: Estimate | None) -> Estimate | None:
    """What ratios can be taken to."""
    return before if before is not None and before.value > 0 else None


def _changes(before: Sequence[Estimate | None], then: Sequence[Estimate | None]) -> list[Estimate]:
    return [change(log_ratio(LEAST), b, x) for b, x in zip(before, then, strict=True)]


def _worst(between: Sequence[list[Estimate]], side: int) -> tuple[list[Estimate], int]:
    """The changes by seed of the generation that is worst on the mean of all, and which way that is."""
    means = [float(np.mean([e.value for e in changes])) for changes in between]
    at = max(range(len(means)), key=lambda t: side * means[t] if side else abs(means[t]))
    return between[at], side or (1 if means[at] >= 0 else -1)


def _above(found: Interval) -> Judgement:
    if found.low > 0:
        return "held"
    # Exactly nothing, counted, not estimated, is not above either.
    return "refuted" if found.high < 0 or found.low == found.high == 0 else "undecided"


def _as_before(limit: float, side: int) -> Callable[[Interval], Judgement]:
    """Of log(e / b): at most ``limit`` on the worse side, or on both where neither is."""
    low, high = (-math.inf if side > 0 else -limit), (math.inf if side < 0 else limit)

    def rule(found: Interval) -> Judgement:
        if low <= found.low and found.high <= high:
            return "held"
        return "refuted" if found.high < low or found.low > high else "undecided"

    return rule


def _all(verdicts: Sequence[Judgement]) -> Judgement:
    if "refuted" in verdicts:
        return "refuted"
    return "undecided" if "undecided" in verdicts else "held"


def _most(parts: Sequence[Part]) -> int | None:
    more = [part.more_seeds() for part in parts]
    known = [count for count in more if count is not None]
    return max(known) if len(known) == len(more) else None
