"""Measuring one generation: fresh samples of the model against the held-out human set.

Prompts are the labels of the held-out items, and the noise is the same for every generation and provider of a
seed: differences between generations are then differences between models, not between draws (common random
numbers). The gallery shows a few such samples, so that a column is one prompt and one noise drifting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import annotated_types as at
import numpy as np
import torch
from numpy.typing import NDArray

from ecosystem import metrics
from ecosystem.errors import TrainingError
from ecosystem.humans import Humans
from ecosystem.metrics.base import Sample, replicates
from ecosystem.models.base import Generator, to_web
from ecosystem.rng import Streams
from ecosystem.settings import Positive, Settings
from ecosystem.web.rewards import Reward

if TYPE_CHECKING:
    from ecosystem.models.classifier import Classifier

GALLERY_IMAGES = 16
GALLERY_VECTORS = 500


@dataclass(frozen=True)
class EvaluationSettings(Settings):
    """``samples`` a generation (null: as many as are held out, 2,000 at most); ``groups`` of the jackknife."""

    samples: Positive | None = None
    groups: Annotated[int, at.Ge(2), at.Le(100)] = 8

    def size(self, humans: Humans) -> int:
        """How many samples a generation is measured by."""
        return self.samples or min(len(humans.held_out()), 2000)


@dataclass(frozen=True)
class Measurement:
    """Metrics by name, each also without every group of the samples in turn: the jackknife's replicates."""

    metrics: dict[str, float]
    replicates: dict[str, list[float]]


class Evaluator:
    def __init__(
        self,
        humans: Humans,
        judge: Classifier | None,
        names: Sequence[str] | None,
        settings: EvaluationSettings,
        seed: int,
        device: torch.device,
    ) -> None:
        self._humans, self._judge, self._settings, self._device = humans, judge, settings, device
        self._metrics = metrics.build(names, humans)
        self._streams = Streams(seed, "evaluation", 0)
        held_out = humans.held_out()
        self._human = self._sample(held_out.x, held_out.y, None)
        # Labels in the order of the held-out items, repeated where more samples than items are asked for.
        self._prompts = np.resize(held_out.y, settings.size(humans))

    def measure(self, generator: Generator, reward: Reward | None) -> Measurement:
        """Raises TrainingError where the model draws what is no number."""
        x = self.draw(generator, self._prompts, "noise")
        if not np.isfinite(x).all():
            raise TrainingError("its samples are not finite. The training diverged: lower the card's `lr`.")
        sample = self._sample(x, self._prompts, reward)
        chosen = [metric for metric in self._metrics if metric.applies(sample, self._human)]
        values = {metric.name: metric.measure(sample, self._human) for metric in chosen}
        without = {m.name: replicates(m, sample, self._human, self._settings.groups) for m in chosen}
        # Samples may be so far out that a distance overflows: then there is no such number.
        found = [name for name in values if np.isfinite([values[name], *without[name]]).all()]
        return Measurement({name: values[name] for name in found}, {name: without[name] for name in found})

    def gallery(self, generator: Generator) -> NDArray[Any]:
        """A few samples, (n, C, H, W) uint8 or (n, D) float64, of the gallery's prompts."""
        n = GALLERY_IMAGES if len(self._humans.shape) == 3 else GALLERY_VECTORS
        return self.draw(generator, self._gallery_prompts(n), "gallery")

    def _gallery_prompts(self, n: int) -> NDArray[np.int64]:
        """Four samples of a class, then of another: a class that is dying shows the same face four times."""
        return (2 + 3 * (np.arange(n) // 4)) % self._humans.classes

    def human_gallery(self) -> NDArray[Any]:
        """Held-out items of the same classes."""
        held_out = self._humans.held_out()
        if len(self._humans.shape) != 3:
            return held_out.x[:GALLERY_VECTORS]
        prompts = self._gallery_prompts(GALLERY_IMAGES)
        rank = np.array([np.sum(prompts[:i] == prompts[i]) for i in range(len(prompts))])
        members = [np.flatnonzero(held_out.y == label) for label in prompts]
        return held_out.x[[ids[r % len(ids)] if len(ids) else 0 for ids, r in zip(members, rank, strict=True)]]

    def draw(self, generator: Generator, prompts: NDArray[np.int64], what: str) -> NDArray[Any]:
        noise = torch.from_numpy(generator.noise(len(prompts), self._streams.numpy(what)))
        y = torch.from_numpy(prompts).to(self._device)
        return to_web(generator.sample(y, noise.to(self._device)))

    def _sample(self, x: NDArray[Any], y: NDArray[np.int64], reward: Reward | None) -> Sample:
        judge = self._judge
        return Sample(
            x=(x / 127.5 - 1.0 if x.dtype == np.uint8 else x).reshape(len(x), -1),
            features=judge.features(x) if judge else None,
            labels=judge.probabilities(x).argmax(axis=1) if judge else None,
            y=y,
            reward=reward.score(x, judge) if reward else None,
        )
