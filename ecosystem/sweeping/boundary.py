"""Where along a key the runs turn bad.

Along a numeric key, the other keys held, the share of bad seeds is looked at value by value. Where it crosses one half
between two neighbouring values, the boundary is the place at which a logistic curve

    share(x) = 1 / (1 + exp(-(a + b z))),     z = x or log x, standardised

is one half, fitted by maximum likelihood with a small ridge on b (so that values which part good and bad perfectly
give the middle between them), with a percentile interval from a bootstrap over seeds. Where the other keys cannot be
held (a sample, a list), all points are taken together and the bootstrap is over points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ecosystem.rng import stream
from ecosystem.sweeping.swept import Floats, Levels, Swept, scaled, unscaled

RESAMPLES = 200
RIDGE = 0.01
ITERATIONS = 50
STEEPEST = 50.0  # of a step of Newton's, in standard units


@dataclass(frozen=True)
class Boundary:
    """What happens along one key."""

    key: str
    held: dict[str, str]  # the other keys' levels; none where they vary
    between: tuple[tuple[float, float], ...]  # each pair of neighbouring values between which most runs turn
    shares: tuple[float, float]  # of bad runs, at the first and at the last value
    at: float | None  # fitted, where there is one pair
    low: float | None
    high: float | None
    ends: tuple[float, float]  # the key's first and last value
    runs: int


def boundaries(swept: Swept) -> Iterator[Boundary]:
    for key in swept.keys:
        levels = swept.levels(key)
        if levels.numbers is None or len(levels.labels) < 2:
            continue
        for held, rows in _lines(swept, key):
            found = _along(swept, levels, held, rows & ~np.isnan(swept.bad))
            if found is not None:
                yield found


def _lines(swept: Swept, key: str) -> Iterator[tuple[dict[str, str], np.ndarray]]:
    """The runs in which the other keys are at the same levels."""
    others = [swept.levels(other) for other in swept.keys if other != key]
    if not others or not swept.gridded:
        yield {}, np.ones(len(swept.runs), bool)
        return
    for combination in sorted({tuple(int(o.index[i]) for o in others) for i in range(len(swept.runs))}):
        rows = np.all([o.index == at for o, at in zip(others, combination, strict=True)], axis=0)
        yield {o.key: o.labels[at] for o, at in zip(others, combination, strict=True)}, rows


def _along(swept: Swept, levels: Levels, held: dict[str, str], rows: np.ndarray) -> Boundary | None:
    used = np.unique(levels.index[rows])
    if len(used) < 2 or levels.numbers is None:
        return None
    shares = np.array([swept.bad[rows & (levels.index == at)].mean() for at in used])
    centres = np.array([levels.centre(int(at)) for at in used])
    turns = np.flatnonzero((shares[1:] >= 0.5) != (shares[:-1] >= 0.5))
    at = low = high = None
    if len(turns) == 1:
        at, low, high = _fitted(swept, levels, rows)
    return Boundary(
        levels.key,
        held,
        tuple((float(centres[i]), float(centres[i + 1])) for i in turns),
        (float(shares[0]), float(shares[-1])),
        at,
        low,
        high,
        (float(centres[0]), float(centres[-1])),
        int(rows.sum()),
    )


def _fitted(swept: Swept, levels: Levels, rows: np.ndarray) -> tuple[float, float | None, float | None]:
    """The boundary with its interval; none where there is nothing to draw from again."""
    assert levels.numbers is not None
    x = scaled(levels.numbers[rows], levels.logarithmic)
    z, mean, spread = (x - x.mean()) / x.std(), float(x.mean()), float(x.std())
    units = swept.seeds[rows] if swept.gridded else swept.points[rows]
    count = len(np.unique(units))
    which = np.unique(units, return_inverse=True)[1]
    rng = stream(0, "sweep", f"boundary {levels.key}")
    weights = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES)[:, which].astype(float)
    edges = (float(z.min()), float(z.max()))
    found = half_way(z, swept.bad[rows], np.vstack([np.ones(len(z)), weights])).clip(*edges) * spread + mean
    at, *ends = (unscaled(float(v), levels.logarithmic) for v in (found[0], *np.quantile(found[1:], [0.025, 0.975])))
    return (at, ends[0], ends[1]) if count > 1 else (at, None, None)


def half_way(z: Floats, bad: Floats, weights: Floats) -> Floats:
    """Where the logistic fit is one half, for each row of weights (fits, runs): by Newton's method, all at once."""
    fits = np.zeros((len(weights), 2))
    design = np.stack([np.ones_like(z), z], axis=1)  # (runs, 2)
    ridge = np.diag([1e-6, RIDGE])
    for _ in range(ITERATIONS):
        p = 1 / (1 + np.exp(-np.clip(fits @ design.T, -30, 30)))
        slope = (weights * (bad - p)) @ design - fits @ ridge
        bend = np.einsum("fr,ri,rj->fij", weights * p * (1 - p), design, design) + ridge
        step = np.linalg.solve(bend, slope[..., None])[..., 0]
        fits += step.clip(-STEEPEST, STEEPEST)
        if float(np.abs(step).max()) < 1e-8:
            break
    return np.asarray(-fits[:, 0] / np.where(np.abs(fits[:, 1]) < 1e-9, 1e-9, fits[:, 1]))
