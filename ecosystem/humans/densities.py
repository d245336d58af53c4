"""Toy densities: endless sources of vectors, whose truth is known exactly.

- ``gaussian``: x = mean + std z in D dimensions, the ground of every closed form on model collapse.
- ``ring-8``: 8 Gaussians evenly on a circle, centre_k = radius (cos 2 pi k / 8, sin 2 pi k / 8); the classic
  test of lost modes (Unrolled Generative Adversarial Networks, Metz, Poole, Pfau, Sohl-Dickstein, 2017,
  arXiv 1611.02163).
- ``two-moons``: two half circles that interlock, (cos t, sin t) and (1 - cos t, 1/2 - sin t) with t uniform
  on [0, pi], plus noise: the curves and the scale of scikit-learn's ``make_moons``.

Mean and covariance are known exactly. With s the standard deviation of the noise they are, for ``ring-8``, 0 and
(radius^2 / 2 + s^2) I. For ``two-moons``, a moon has variances 1/2 and 1/2 - 4/pi^2 and no covariance; the means of
the two, (0, 2/pi) and (1, 1/2 - 2/pi), lie (1/2, 1/4 - 2/pi) to either side of their middle, which adds its square:

    mean (1/2, 1/4),   covariance ((3/4, 1/8 - 1/pi), (1/8 - 1/pi, 9/16 - 1/pi)) + s^2 I

An item's mode, angle and noise come from separate children of its stream, each row by row; so one more item
leaves the first ones unchanged. The label is the mode; unlabelled, all items are of class 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ecosystem.distribution import Distribution
from ecosystem.humans.base import Endless, Humans, Items, unlabelled
from ecosystem.settings import Positive, PositiveFloat, Settings


@dataclass(frozen=True)
class Gaussian(Settings):
    """A Gaussian in ``dims`` dimensions whose covariance is std^2 times the identity."""

    source: Literal["gaussian"] = "gaussian"
    dims: Positive = 2
    mean: float = 0.0  # of every coordinate
    std: PositiveFloat = 1.0
    held_out: Positive = 2000

    def open(self) -> Humans:
        return _gaussian(self)

    def distribution(self) -> Distribution:
        return Distribution(np.full(self.dims, self.mean), np.full(self.dims, self.std**2))

    def sample(self, n: int, rng: np.random.Generator) -> Items:
        """n items: x (n, dims)."""
        x = self.mean + self.std * rng.standard_normal((n, self.dims))
        return Items(x, np.zeros(n, dtype=np.int64))


@dataclass(frozen=True)
class Ring8(Settings):
    """Eight equal Gaussians on a circle; labelled, an item's label is its Gaussian."""

    source: Literal["ring-8"] = "ring-8"
    radius: PositiveFloat = 2.0
    std: PositiveFloat = 0.05
    held_out: Positive = 2000
    labelled: bool = False

    def open(self) -> Humans:
        return _ring8(self)

    def centres(self) -> NDArray[np.float64]:
        """(8, 2), counter-clockwise, the first at angle 0."""
        angle = 2.0 * np.pi * np.arange(8) / 8
        return self.radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def distribution(self) -> Distribution:
        return Distribution(np.zeros(2), np.full(2, self.radius**2 / 2 + self.std**2))

    def sample(self, n: int, rng: np.random.Generator) -> Items:
        """n items: x (n, 2)."""
        which, noise = rng.spawn(2)
        y = which.integers(8, size=n)
        items = Items(self.centres()[y] + self.std * noise.standard_normal((n, 2)), y)
        return items if self.labelled else unlabelled(items)


@dataclass(frozen=True)
class TwoMoons(Settings):
    """Two interlocking half circles; labelled, an item's label is its moon (0 the upper one)."""

    source: Literal["two-moons"] = "two-moons"
    noise: PositiveFloat = 0.05
    held_out: Positive = 2000
    labelled: bool = False

    def open(self) -> Humans:
        return _two_moons(self)

    def distribution(self) -> Distribution:
        across = 1 / 8 - 1 / np.pi
        covariance = np.array([[3 / 4, across], [across, 9 / 16 - 1 / np.pi]])
        return Distribution(np.array([1 / 2, 1 / 4]), covariance + self.noise**2 * np.eye(2))

    def sample(self, n: int, rng: np.random.Generator) -> Items:
        """n items: x (n, 2)."""
        which, angle, noise = rng.spawn(3)
        y = which.integers(2, size=n)
        t = angle.uniform(0.0, np.pi, size=n)
        upper = np.stack([np.cos(t), np.sin(t)], axis=1)
        lower = np.stack([1.0 - np.cos(t), 0.5 - np.sin(t)], axis=1)
        curve = np.where(y[:, None] == 0, upper, lower)
        items = Items(curve + self.noise * noise.standard_normal((n, 2)), y)
        return items if self.labelled else unlabelled(items)


@lru_cache(maxsize=8)
def _gaussian(settings: Gaussian) -> Humans:
    return Endless("gaussian", settings.sample, 1, settings.held_out, distribution=settings.distribution())


@lru_cache(maxsize=8)
def _ring8(settings: Ring8) -> Humans:
    modes = (settings.centres(), settings.std)
    classes = 8 if settings.labelled else 1
    return Endless("ring-8", settings.sample, classes, settings.held_out, modes, settings.distribution())


@lru_cache(maxsize=8)
def _two_moons(settings: TwoMoons) -> Humans:
    classes = 2 if settings.labelled else 1
    return Endless("two-moons", settings.sample, classes, settings.held_out, distribution=settings.distribution())
