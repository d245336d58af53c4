"""Which points a sweep visits.

    grid    every combination of the values, the last key changing fastest
    list    the first values of all keys together, then the second values, ...
    lhs     a Latin hypercube: N points, of which each key's range, cut into N parts, has one in every part
            (McKay, Beckman and Conover 1979, A comparison of three methods for selecting values of input variables)
    sobol   a scrambled Sobol' sequence (Owen 1998, Scrambling Sobol' and Niederreiter-Xing points): it fills the box
            ever more evenly, and more points extend those there are

A grid or a list takes values, `users.crowd.k=1,2,4`, each written in YAML as ``--set`` takes it; a sample takes ranges,
`users.crowd.k=1..16` (whole numbers, both ends included), `k=0.5..2` or, even on the logarithmic scale,
`k=log:0.001..1`. A key with one value is held at it in all of them.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ecosystem.documents import INT, Fault, put, raise_faults, shown
from ecosystem.rng import stream

Sampling: TypeAlias = Literal["grid", "list", "lhs", "sobol"]
SAMPLINGS: tuple[Sampling, ...] = get_args(Sampling)
POINTS = 64  # of a sample, where nothing else is asked for
DIGITS = 6  # significant digits of a sampled number: they stand in tables

NUMBER = r"[-+]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
RANGE = re.compile(rf"(log:)?({NUMBER})\.\.({NUMBER})")
SET = "--set"


@dataclass(frozen=True)
class Values:
    """Some values, each as YAML text."""

    texts: tuple[str, ...]

    def __str__(self) -> str:
        return ",".join(self.texts)


@dataclass(frozen=True)
class Range:
    """All numbers between two, both included; whole ones where both ends are written so."""

    low: float
    high: float
    whole: bool
    logarithmic: bool

    def at(self, share: float) -> str:
        """The number at a share in [0, 1) of the range; every whole number has an equal part of it."""
        low, high = self.low, self.high + self.whole
        number = low * (high / low) ** share if self.logarithmic else low + share * (high - low)
        if self.whole:
            return str(int(min(math.floor(number), self.high)))
        return repr(min(max(float(f"{number:.{DIGITS}g}"), self.low), self.high))

    def __str__(self) -> str:
        ends = "..".join(f"{end:.0f}" if self.whole else repr(end) for end in (self.low, self.high))
        return "log:" * self.logarithmic + ends


Spec: TypeAlias = Values | Range


@dataclass(frozen=True)
class Design:
    sampling: Sampling
    specs: Mapping[str, Spec]  # by key, in the order given
    points: int  # of a sample

    @property
    def varying(self) -> list[str]:
        """The keys that do not stay at one value."""
        return [key for key, spec in self.specs.items() if isinstance(spec, Range) or len(spec.texts) > 1]

    @property
    def size(self) -> int:
        lengths = [len(spec.texts) for spec in self.specs.values() if isinstance(spec, Values)]
        if self.sampling == "grid":
            return math.prod(lengths)
        return max(lengths) if self.sampling == "list" else self.points

    def settings(self) -> Iterator[dict[str, str]]:
        """Each point's overrides, as YAML text by key."""
        if self.sampling == "grid":
            rows: Iterator[tuple[str, ...]] = itertools.product(*(_texts(spec) for spec in self.specs.values()))
        elif self.sampling == "list":
            rows = zip(*(_repeated(spec, self.size) for spec in self.specs.values()), strict=True)
        else:
            rows = self._sampled()
        return (dict(zip(self.specs, row, strict=True)) for row in rows)

    def _sampled(self) -> Iterator[tuple[str, ...]]:
        for shares in _unit_points(self.sampling, len(self.varying), self.points):
            drawn = dict(zip(self.varying, shares, strict=True))
            yield tuple(
                spec.at(float(drawn[key])) if isinstance(spec, Range) else spec.texts[0]
                for key, spec in self.specs.items()
            )


def of(sets: Sequence[tuple[str, str]], sampling: str, points: int | None) -> Design:
    """The design that was asked for. Raises ScenarioError with all that is wrong with it."""
    method = next((known for known in SAMPLINGS if known == sampling), None)
    if method is None:
        faults = [Fault("--sampling", None, "", f"there is no sampling `{sampling}`", f"one of {', '.join(SAMPLINGS)}")]
        raise_faults(faults, "sweep")
    assert method is not None
    specs = {key: parse(key, text) for key, text in sets}
    faults = [*_twice(sets), *_refused(specs, method), *_points(method, points)]
    raise_faults(faults, "sweep")
    return Design(method, specs, points or POINTS)


def parse(key: str, text: str) -> Spec:
    """Values between commas, or a range."""
    parts = tuple(split(text))
    found = RANGE.fullmatch(parts[0]) if len(parts) == 1 else None
    if found is None:
        return Values(parts)
    logarithmic, low, high = found.groups()
    whole = INT.fullmatch(low) is not None and INT.fullmatch(high) is not None
    return Range(float(low), float(high), whole, logarithmic is not None)


def split(text: str) -> list[str]:
    """The parts between commas that stand outside of brackets, braces and quotes."""
    parts, depth, quote, before = [""], 0, "", ","
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and before in ",[{:":  # elsewhere it is an apostrophe
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        if character == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
        before = character if character.strip() else before
    return [part.strip() for part in parts]


def value_of(key: str, text: str) -> Any:
    """The value that a YAML text stands for."""
    tree = put({}, key, text, SET)
    for word in key.split("."):
        tree = tree[word]
    return tree


def _texts(spec: Spec) -> tuple[str, ...]:
    assert isinstance(spec, Values)
    return spec.texts


def _repeated(spec: Spec, size: int) -> tuple[str, ...]:
    texts = _texts(spec)
    return texts * size if len(texts) == 1 else texts


def _unit_points(method: Sampling, keys: int, points: int) -> NDArray[np.float64]:
    """Points of the unit cube (points, keys), the same ones whenever they are asked for."""
    from scipy.stats import qmc

    rng = stream(0, "sweep", method)
    if not keys:
        return np.empty((points, 0))
    if method == "lhs":
        return np.asarray(qmc.LatinHypercube(keys, rng=rng).random(points))
    # A power of two of them is balanced; the first so many of those are what is asked for.
    return np.asarray(qmc.Sobol(keys, rng=rng).random_base2(max(points - 1, 0).bit_length()))[:points]


# What can be wrong


def _twice(sets: Sequence[tuple[str, str]]) -> Iterator[Fault]:
    keys = [key for key, _ in sets]
    for key in dict.fromkeys(key for key in keys if keys.count(key) > 1):
        yield Fault(SET, None, shown(key), "is set twice", f"write {shown(key)}=A,B")


def _refused(specs: Mapping[str, Spec], method: Sampling) -> Iterator[Fault]:
    if not specs:
        yield Fault(SET, None, "", "there is nothing to sweep: the grid is empty", "write --set users.crowd.k=1,2,4")
    lengths = {key: len(spec.texts) for key, spec in specs.items() if isinstance(spec, Values)}
    several = {key: length for key, length in lengths.items() if length > 1}
    for key, spec in specs.items():
        wrong = _of_values(spec, method) if isinstance(spec, Values) else _of_range(spec, method)
        yield from (Fault(SET, None, shown(key), problem, remedy) for problem, remedy in wrong)
        if key.split(".")[0] in ("seeds", "name"):
            yield Fault(SET, None, shown(key), "cannot be swept", "ask for seeds with --seeds 0-9")
    if method == "list" and len(set(several.values())) > 1:
        told = ", ".join(f"{shown(key)} has {length}" for key, length in several.items())
        yield Fault(SET, None, "", f"a list takes the values together, but {told}", "give each key as many values")


def _of_values(spec: Values, method: Sampling) -> Iterator[tuple[str, str]]:
    if len(spec.texts) > 1 and "" in spec.texts:
        yield "there is nothing between two commas", "write null for no value"
    if len(spec.texts) > 1 and method in ("lhs", "sobol"):
        yield f"has values, and {method} samples ranges", "write A..B or log:A..B, or use --sampling grid"


def _of_range(spec: Range, method: Sampling) -> Iterator[tuple[str, str]]:
    if method in ("grid", "list"):
        yield f"is a range, and a {method} takes values", "write A,B,C, or use --sampling lhs or sobol"
    if spec.low >= spec.high:
        yield f"the range {shown(spec)} is empty", "write the smaller end first"
    if spec.logarithmic and spec.low <= 0:
        yield f"the range {shown(spec)} has no logarithm at its lower end", "begin above 0"


def _points(method: Sampling, points: int | None) -> Iterator[Fault]:
    if points is not None and method in ("grid", "list"):
        yield Fault("--points", None, "", f"a {method} has as many points as its values make", "leave --points out")
    elif points is not None and points < 1:
        yield Fault("--points", None, "", f"{points} points are an empty sample", "ask for 1 or more")
