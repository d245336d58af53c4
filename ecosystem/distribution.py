"""What is known exactly of a distribution, without drawing from it: its moments and, where it is discrete, its atoms.

Closed-form families know it of their models and toy densities know it of human data, so that a measurement of one
against the other has no sampling error. Arrays alone: sources, models and metrics all speak of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Distribution:
    """Mean (D,) and covariance, (D, D), or (D,) where it is diagonal; of atoms (A, D), distinct, with mass (A,)."""

    mean: Floats
    covariance: Floats
    atoms: NDArray[Any] | None = None
    mass: Floats | None = None

    @property
    def variance(self) -> Floats:
        """Of each coordinate, (D,)."""
        return self.covariance if self.covariance.ndim == 1 else np.diagonal(self.covariance)

    @staticmethod
    def discrete(atoms: NDArray[Any], mass: Floats) -> Distribution:
        """The distribution on atoms (A, D) with mass (A,)."""
        mean = mass @ atoms
        centred = atoms - mean
        return Distribution(mean, (centred * mass[:, None]).T @ centred, atoms, mass)
