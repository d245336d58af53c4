"""Local contraction, measured: how fast a perturbation of a model dies in the loop.

Q. Bertrand et al., On the Stability of Iterative Retraining of Generative Models on their own Data, 2023, arXiv
2310.00429, call a loop stable where a model near the fixed point comes nearer with every retraining, by a factor
below 1. Here a world runs twice on the same draws (common random numbers). In one of them everything that a provider's
generation 0 draws is moved by a vector delta, as if it were another model; from then on nobody interferes.
With the same noise z, the distance of the two providers' models is

    d_t = root mean square over z of |x_t'(z) - x_t(z)|,    d_0 = |delta|,

and the rate is the slope of log d_t over t, as a factor a generation. For a well-specified exponential family that
trains on a fixed archive and its own pages it is lambda / (1 + lambda) (theory/stability.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from ecosystem import compute
from ecosystem.errors import ScenarioError, TrainingError
from ecosystem.estimates import Estimate, Interval, interval
from ecosystem.models.jobs import Asker, Draw, drive
from ecosystem.question import Question
from ecosystem.rng import stream
from ecosystem.theory import stability
from ecosystem.world import World

SMALLEST = 1e-9  # of d_0: nearer, and rounding is all that is left


@dataclass(frozen=True)
class Contraction:
    """Of one provider: by seed and generation the distance in units of delta, and the factor a generation."""

    provider: str
    distances: list[list[float]]  # (seeds, generations)
    rate: Interval | None  # over seeds; None: a seed has no second generation, or nothing is left in it
    ratio: float | None  # lambda as counted at the end; None: no page is human
    predicted: float | None  # lambda / (1 + lambda); None: no page is human, and nothing contracts

    def by_generation(self) -> Iterator[tuple[int, int, float, float, float]]:
        """Generation, seeds, and the mean, smallest and largest distance."""
        for generation in range(max(map(len, self.distances))):
            found = [row[generation] for row in self.distances if generation < len(row)]
            yield generation, len(found), float(np.mean(found)), min(found), max(found)

    def in_words(self) -> str:
        rate = "no rate: a seed has no second generation, or nothing is left in it"
        if self.rate is not None:
            rate = f"{self.rate.effect:.4f} [{self.rate.low:.4f}, {self.rate.high:.4f}] a generation"
        words = "no page is human: nothing pulls the model back" if any(self.distances) else "it never trained"
        if self.predicted is not None:
            words = f"lambda = {self.ratio:.3g}: an exponential family contracts by {self.predicted:.4f}"
        return f"{self.provider}: {rate}. {words}."

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def of(
    question: Question, seeds: Sequence[int], provider: str, size: float, told: Callable[[int], None] = lambda _: None
) -> Contraction:
    """``provider``: "" is the first. ``size`` is |delta|, in units of x. Raises ScenarioError."""
    names = [p.name for p in question.providers]
    name = provider or names[0]
    if name not in names:
        raise ScenarioError(f"there is no provider `{name}`; the scenario has {', '.join(names)}.")
    if not size > 0 or not math.isfinite(size):
        raise ScenarioError(f"--size {size:g}: a perturbation has a size above 0.")
    device = compute.set_up(question.scenario.device)
    distances, ratios = [], []
    for seed in seeds:
        plain, moved = World(question, seed, device), World(question, seed, device)
        distances.append(list(_distances(plain, moved, name, size)))
        ratios.append(_ratio(plain, name))
        told(seed)
    slopes = [slope for row in distances if (slope := _slope(row)) is not None]
    found = interval([Estimate(slope) for slope in slopes]) if len(slopes) == len(distances) else None
    known = [ratio for ratio in ratios if ratio is not None]
    ratio = float(np.mean(known)) if len(known) == len(ratios) else None
    predicted = None if ratio is None else stability.exact_rate(ratio)
    return Contraction(name, distances, None if found is None else found.exp(), ratio, predicted)


def _distances(plain: World, moved: World, provider: str, size: float) -> Iterator[float]:
    """d_t / d_0 by generation."""
    delta = _direction(plain, provider) * size
    for round in range(plain.question.scenario.rounds):
        for _ in drive([plain.work(), _moving(moved, provider, delta)]):
            pass
        here, there = (next(p for p in world.providers if p.name == provider) for world in (plain, moved))
        if here.stopped or there.stopped:
            return
        if here.trained_in == round:
            yield _apart(plain, moved, provider) / size if here.generation else 1.0


def _direction(world: World, provider: str) -> torch.Tensor:
    """A random unit vector in the shape of an item."""
    z = stream(world.seed, provider, "perturbation").standard_normal(world.humans.shape)
    return torch.from_numpy(z / np.linalg.norm(z)).to(world.device)


def _moving(world: World, provider: str, delta: torch.Tensor) -> Asker[Any]:
    """The world's work of a round, with what the provider's generation 0 draws moved by delta."""
    work, mine = world.work(), next(p for p in world.providers if p.name == provider)
    go_on: Callable[[], Any] = partial(next, work)
    while True:
        try:
            item = go_on()
        except StopIteration:
            return
        try:
            reply = yield item
        except TrainingError as error:  # of a fit: the world that asked for it must hear of it
            go_on = partial(work.throw, error)
            continue
        if isinstance(item, Draw) and item.generator is mine.generator and mine.generation == 0:
            reply = reply + delta.to(reply.dtype)
        go_on = partial(work.send, reply)


def _apart(plain: World, moved: World, provider: str) -> float:
    x, y = (_samples(world, provider) for world in (plain, moved))
    return float((x - y).reshape(len(x), -1).square().sum(1).mean().sqrt())


def _samples(world: World, provider: str) -> torch.Tensor:
    asked = next(p for p in world.providers if p.name == provider).draw(*world.evaluator.prompts())
    return asked.generator.sample(asked.y, asked.noise).double()


def _ratio(world: World, provider: str) -> float | None:
    provenance = next(p for p in world.providers if p.name == provider).provenance
    return None if provenance is None else provenance.ratio


def _slope(distances: list[float]) -> float | None:
    """Of log d_t over t, through d_0 = 1, as long as the distance is more than rounding."""
    kept = [(t, math.log(d)) for t, d in enumerate(distances) if d > SMALLEST and t]
    return sum(t * log for t, log in kept) / sum(t * t for t, _ in kept) if kept else None
