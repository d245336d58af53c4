"""What the closed forms assume of their arguments; each check names the assumption that does not hold.

A formula outside of its assumptions still gives a number, and nothing would tell that it is wrong: so every function of
this package checks first, and raises ``AssumptionError``.
"""

from __future__ import annotations

import operator
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecosystem.errors import AssumptionError

Floats = NDArray[np.float64]
Estimator = Literal["mle", "unbiased"]

ROUNDING = 1e-9  # how far from 1 a sum of probabilities may lie


def require(holds: object, assumption: str) -> None:
    if not holds:
        raise AssumptionError(assumption)


def whole(name: str, value: object, least: int) -> int:
    """A count: an integer of at least ``least``."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise AssumptionError(f"{name} = {value!r} is not a whole number.") from None
    require(number >= least and not isinstance(value, bool), f"{name} = {value!r}, but {name} >= {least} is assumed.")
    return number


def number(name: str, value: float, above: float = -np.inf, least: float = -np.inf) -> float:
    """A finite number > ``above`` and >= ``least``."""
    require(np.isfinite(value), f"{name} = {value} is not a finite number.")
    require(value > above, f"{name} = {value}, but {name} > {above:g} is assumed.")
    require(value >= least, f"{name} = {value}, but {name} >= {least:g} is assumed.")
    return float(value)


def share(name: str, value: float) -> float:
    require(0 <= value <= 1, f"{name} = {value} is a share, assumed to lie in [0, 1].")
    return float(value)


def bias(value: float) -> float:
    """The sampling bias: what a model's variance is multiplied by when it is sampled."""
    require(0 < value <= 1, f"sampling_bias = {value} is assumed to lie in (0, 1]: 1 unbiased, towards 0 the mode.")
    return float(value)


def times(t: ArrayLike) -> Floats:
    """Whole numbers >= 0, of any shape."""
    values = np.asarray(t)
    numeric = np.issubdtype(values.dtype, np.number) and not np.iscomplexobj(values)
    require(numeric and np.isfinite(values).all(), f"t = {t!r} is not a count of generations.")
    require(np.all((values >= 0) & (values == np.floor(values))), f"t = {t!r}: generations are whole and t >= 0.")
    return values.astype(np.float64)


def vector(name: str, values: ArrayLike, length: int | None = None) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    require(array.ndim == 1 and array.size > 0, f"{name} is assumed to be a list of numbers, one an item.")
    require(np.isfinite(array).all(), f"{name} is assumed to be finite.")
    fits = length is None or len(array) == length
    require(fits, f"{name} holds {len(array)} numbers where {length} are assumed.")
    return array


def distribution(name: str, values: ArrayLike, length: int | None = None) -> Floats:
    """Probabilities: none negative, sum 1. They are divided by their sum, which rounding may have moved."""
    p = vector(name, values, length)
    require(np.all(p >= 0), f"{name} holds a negative probability.")
    total = float(p.sum())
    require(abs(total - 1) <= ROUNDING, f"{name} sums to {total:.6g}: probabilities are assumed to sum to 1.")
    normalised: Floats = p / total
    return normalised


def correction(estimator: str, n: int) -> float:
    """What E[MLE variance] is multiplied by: 1 (``mle``, over n) or n / (n - 1) (``unbiased``)."""
    require(estimator in ("mle", "unbiased"), f"estimator = {estimator!r} is assumed to be 'mle' or 'unbiased'.")
    if estimator == "mle":
        return 1.0
    require(n >= 2, f"n = {n}: the unbiased variance assumes n >= 2 pages.")
    return n / (n - 1)
