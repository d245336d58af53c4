"""``digits``: 1,797 real handwritten digits, 8x8, that come with scikit-learn; nothing to download.

Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
1998 (its test part). Grey values 0 .. 16 are scaled to 0 .. 255. The held-out part is fixed by one shuffle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import annotated_types as at
import numpy as np

from ecosystem.humans.base import Humans, Items, Reservoir, unlabelled
from ecosystem.rng import stream
from ecosystem.settings import Settings

SCANS = 1797


@dataclass(frozen=True)
class Digits(Settings):
    """Real 8x8 scans of handwritten digits: 1,797 less ``held_out`` to draw from."""

    source: Literal["digits"] = "digits"
    held_out: Annotated[int, at.Ge(1), at.Lt(SCANS)] = 797
    labelled: bool = True

    def open(self) -> Humans:
        return _reservoir(self)


@lru_cache(maxsize=8)
def _reservoir(settings: Digits) -> Humans:
    scans = _scans() if settings.labelled else unlabelled(_scans())
    order = stream(0, "humans", "digits split").permutation(len(scans))
    held_out, training = scans.take(order[: settings.held_out]), scans.take(order[settings.held_out :])
    return Reservoir("digits", training, held_out, 10 if settings.labelled else 1, known_classes=10)


def _scans() -> Items:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = np.rint(bunch.images * (255.0 / 16.0)).astype(np.uint8)[:, None]
    return Items(x, bunch.target.astype(np.int64))
