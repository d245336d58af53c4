"""What each key does to a number: its mean at each level, and the share of the variance that the key explains.

*Main effect*: the mean over all runs at a level, the other keys taking all their values, with Student's 95 % interval
over these runs.

*First-order sensitivity*: S_x = Var(E[Y | x]) / Var(Y), the share of the variance that would go if x were fixed.

- Few levels (a grid, a list): the variance ratio between levels, corrected for the noise of their means (Kelley 1935,
  An unbiased correlation ratio measure: epsilon squared = 1 - (SS_within / (N - L)) / (SS_total / (N - 1)) for N runs
  at L levels), with a percentile bootstrap over seeds, or over points where there are fewer than three seeds.
- A sample of ranges: RBD-FAST of the means of the points (Tarantola, Gatelli and Mara 2006, Random balance designs;
  bias corrected by Tissot and Prieur 2012), with SALib's bootstrap interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ecosystem.estimates import Estimate, Interval, interval
from ecosystem.rng import stream
from ecosystem.sweeping.swept import Floats, Ints, Levels, Swept

RESAMPLES = 200
ENOUGH_POINTS = 40  # for RBD-FAST: it looks at up to ten harmonics, and needs several points for each
HARMONICS = 10


@dataclass(frozen=True)
class Level:
    label: str
    runs: int
    mean: Interval | None  # no width: one run
    bad: float | None  # share of the runs
    verdict: str  # of most points


@dataclass(frozen=True)
class Sensitivity:
    key: str
    share: float | None  # None: nothing varies
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Sensitivities:
    method: str  # in words
    keys: tuple[Sensitivity, ...]
    seeds: float | None  # share of the variance between runs that is between seeds of one point


def main_effect(swept: Swept, levels: Levels) -> Iterator[Level]:
    for number, label in enumerate(levels.labels):
        at = levels.index == number
        bad = swept.bad[at & ~np.isnan(swept.bad)]
        found = interval([Estimate(float(value)) for value in swept.y[at]])
        yield Level(label, int(at.sum()), found, float(bad.mean()) if len(bad) else None, swept.verdict(at))


def sensitivities(swept: Swept) -> Sensitivities:
    levels = [swept.levels(key) for key in swept.keys]
    noise = explained(swept.points, swept.y)
    seeds = None if noise is None else 1 - max(noise, 0.0)
    sampled = swept.tree["sampling"] in ("lhs", "sobol")
    if sampled and all(one.numbers is not None for one in levels) and len(set(swept.points)) >= ENOUGH_POINTS:
        return Sensitivities(
            "RBD-FAST (SALib) of the points' means, with its bootstrap interval", _rbd_fast(swept, levels), seeds
        )
    over = "seeds" if len(set(swept.seeds)) > 2 else "points"
    words = f"variance ratio between levels, corrected for their noise, with a bootstrap interval over {over}"
    return Sensitivities(words, tuple(_ratio(swept, one, over) for one in levels), seeds)


def explained(groups: Ints, y: Floats) -> float | None:
    """Epsilon squared of a grouping; None where nothing varies, or each is a group of its own."""
    sizes = np.bincount(groups)
    used = int((sizes > 0).sum())
    total = float(((y - y.mean()) ** 2).sum()) if len(y) else 0.0
    if total == 0 or used == len(y):
        return None
    means = np.bincount(groups, y) / np.maximum(sizes, 1)
    within = float(((y - means[groups]) ** 2).sum())
    return 1 - (within / (len(y) - used)) / (total / (len(y) - 1))


def _ratio(swept: Swept, levels: Levels, over: str) -> Sensitivity:
    share = explained(levels.index, swept.y)
    if share is None:
        return Sensitivity(levels.key, None, None, None)
    units = swept.seeds if over == "seeds" else swept.points
    members = [np.flatnonzero(units == unit) for unit in np.unique(units)]
    rng = stream(0, "sweep", f"bootstrap {levels.key}")
    draws = (
        np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))]) for _ in range(RESAMPLES)
    )
    found = [value for chosen in draws if (value := explained(levels.index[chosen], swept.y[chosen])) is not None]
    if not found:
        return Sensitivity(levels.key, share, None, None)
    low, high = np.quantile(found, [0.025, 0.975])
    return Sensitivity(levels.key, share, float(low), float(high))


def _rbd_fast(swept: Swept, levels: list[Levels]) -> tuple[Sensitivity, ...]:
    from SALib.analyze import rbd_fast

    sizes = np.bincount(swept.points)
    mean = np.bincount(swept.points, swept.y) / sizes
    if float(np.ptp(mean)) == 0:
        return tuple(Sensitivity(one.key, None, None, None) for one in levels)
    first = np.unique(swept.points, return_index=True)[1]
    X = np.stack([one.numbers[first] for one in levels if one.numbers is not None], axis=1)
    problem = {"num_vars": len(levels), "names": [one.key for one in levels]}
    harmonics = min(HARMONICS, len(mean) // 12)
    found = rbd_fast.analyze(
        problem, X, mean, M=harmonics, num_resamples=RESAMPLES, seed=stream(0, "sweep", "rbd-fast")
    )
    return tuple(
        Sensitivity(one.key, float(s), float(s - error), float(s + error))
        for one, s, error in zip(levels, found["S1"], found["S1_conf"], strict=True)
    )
