"""A finished sweep as its reports read it: the runs of one provider, one number of each, and the levels of each key.

A *level* is a value of a key; where a sample has given nearly every point a value of its own, the levels are parts of
its range with as many points each. A run is *bad* where its provider became 1.25 times worse than its generation 0
or more, by the worst of the metrics that the verdict rests on: the margin of the verdict, seed by seed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecosystem import verdicts
from ecosystem.documents import shown, suggest
from ecosystem.errors import RecordError, ScenarioError
from ecosystem.records import FINISHED
from ecosystem.sweeping import plan, table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
TEXTS = ("point", "provider", "verdict", "state", "why")
MOST_LEVELS = 12  # of a sampled key, beyond which they are binned
BINS = 5
DECADE = 10.0  # values that reach over more are looked at on the logarithmic scale


@dataclass(frozen=True)
class Levels:
    """A key's levels, and at which of them each run is."""

    key: str
    labels: tuple[str, ...]
    index: Ints  # by run
    numbers: Floats | None  # by run; None: the values are no numbers
    logarithmic: bool

    @property
    def binned(self) -> bool:
        return self.numbers is not None and len(set(self.numbers.tolist())) > len(self.labels)

    def centre(self, level: int) -> float:
        """Where a level of numbers is on its axis."""
        assert self.numbers is not None
        return float(np.median(self.numbers[self.index == level]))


@dataclass(frozen=True)
class Swept:
    folder: Path
    tree: dict[str, Any]  # sweep.json
    runs: pd.DataFrame  # of the provider: those that have the metric
    failed: int  # runs
    provider: str
    others: tuple[str, ...]  # providers
    metric: str

    @property
    def keys(self) -> list[str]:
        return list(self.tree["varying"])

    @property
    def gridded(self) -> bool:
        """Whether each key varies while the others are held."""
        return bool(self.tree["sampling"] == "grid")

    @cached_property
    def y(self) -> Floats:
        return self.runs[self.metric].to_numpy(float)

    @cached_property
    def worse(self) -> Floats:
        return self.runs["worse"].to_numpy(float)

    @cached_property
    def bad(self) -> Floats:
        """1 or 0 by run; not a number where nothing was judged."""
        return np.where(np.isnan(self.worse), np.nan, self.worse >= verdicts.MARGIN)

    @cached_property
    def points(self) -> Ints:
        """By run: which point of the design it is of."""
        settings = list(zip(*(self.runs[key].astype(str) for key in self.tree["keys"]), strict=True))
        number = {point: i for i, point in enumerate(dict.fromkeys(settings))}
        return np.array([number[point] for point in settings], np.int64)

    @property
    def seeds(self) -> Ints:
        return self.runs["seed"].to_numpy(np.int64)

    def verdict(self, here: NDArray[np.bool_]) -> str:
        """That of most of the points that these runs are of; the worse of equals."""
        words = self.runs.loc[here].assign(at=self.points[here]).drop_duplicates("at")["verdict"]
        counts = Counter(str(word) for word in words)
        best_first = verdicts.WORST_FIRST[::-1]
        return max(best_first, key=lambda word: (counts[word], best_first.index(word)))

    def levels(self, key: str) -> Levels:
        column = self.runs[key]
        numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        if not numeric or column.isna().any():
            texts = ["null" if pd.isna(v) else f"{v:.6g}" if numeric else str(v) for v in column]
            labels = tuple(dict.fromkeys(texts))
            return Levels(key, labels, np.array([labels.index(t) for t in texts], np.int64), None, False)
        numbers = column.to_numpy(float)
        return _of_numbers(key, numbers, key in self.tree["logarithmic"], self.tree["sampling"] in ("lhs", "sobol"))


def _of_numbers(key: str, numbers: Floats, logarithmic: bool, sampled: bool) -> Levels:
    distinct = np.unique(numbers)
    wide = bool(distinct[0] > 0 and distinct[-1] > DECADE * distinct[0])
    if not sampled or len(distinct) <= MOST_LEVELS:
        labels = tuple(f"{value:.6g}" for value in distinct)
        return Levels(key, labels, np.searchsorted(distinct, numbers).astype(np.int64), numbers, logarithmic or wide)
    edges = np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1])
    index = np.unique(np.searchsorted(edges, numbers, side="left"), return_inverse=True)[1].astype(np.int64)
    parts = [numbers[index == level] for level in range(int(index.max()) + 1)]
    labels = tuple(f"{part.min():.3g}..{part.max():.3g}" for part in parts)
    return Levels(key, labels, index, numbers, logarithmic or wide)


def read(folder: Path, metric: str = "", provider: str = "") -> Swept:
    """Raises RecordError where no sweep can be read, ScenarioError where it has no such metric or provider."""
    tree = plan.described(folder)
    read_table = table.read(folder)
    frame = read_table.to_pandas()
    if frame.empty or not {*TEXTS, *tree["keys"], "seed", "worse"} <= set(frame.columns):
        raise RecordError(f"{folder / table.NAME} has no run that has ended: there is nothing to report.")
    providers = tuple(dict.fromkeys(frame["provider"]))
    chosen = provider or providers[0]
    if chosen not in providers:
        raise ScenarioError(
            f"--provider {shown(chosen)}: the sweep has none of that name ({suggest(chosen, providers)})."
        )
    own = frame[frame["provider"] == chosen]
    judged = table.judged(read_table).get(chosen, [])
    column = _metric(own, metric, judged, [*TEXTS, *tree["keys"], "seed", "generation"])
    there = (own["state"] == FINISHED) & own[column].notna() & np.isfinite(own[column].astype(float))
    failed = int((own["state"] != FINISHED).sum())
    others = tuple(name for name in providers if name != chosen)
    return Swept(folder, tree, own[there].reset_index(drop=True), failed, chosen, others, column)


def _metric(own: pd.DataFrame, asked: str, judged: Sequence[str], no_metrics: Sequence[str]) -> str:
    """The column that was asked for; else the first that a verdict rests on."""
    known = [name for name in own.columns if name not in no_metrics]
    if asked:
        if asked not in known:
            raise ScenarioError(
                f"--metric {shown(asked)}: the sweep measured none of that name ({suggest(asked, known)})."
            )
        return asked
    wanted = [*judged, "web-synthetic-share"]
    return next((name for name in wanted if name in known and own[name].notna().any()), "worse")


def scaled(numbers: Floats, logarithmic: bool) -> Floats:
    return np.log(numbers) if logarithmic else numbers


def unscaled(number: float, logarithmic: bool) -> float:
    return math.exp(number) if logarithmic else number
