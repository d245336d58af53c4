"""Measuring one generation: fresh samples of the model against the held-out human set.

Prompts are the labels of the held-out items, and the noise is the same for every generation and provider of a
seed: differences between generations are then differences between models, not between draws (common random
numbers). The gallery shows a few such samples, so that a column is one prompt and one noise drifting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import annotated_types as at
import numpy as np
import torch
from numpy.typing import NDArray

from ecosystem import metrics
from ecosystem.features import Features, FeaturesName
from ecosystem.features.base import as_vectors
from ecosystem.humans import Humans, Items
from ecosystem.metrics.base import Sample, replicates
from ecosystem.models.base import Generator
from ecosystem.rng import Streams
from ecosystem.settings import Positive, Settings
from ecosystem.web.rewards import Reward

if TYPE_CHECKING:
    from ecosystem.models.classifier import Classifier

Ints = NDArray[np.int64]

GALLERY_IMAGES = 16
GALLERY_VECTORS = 500


@dataclass(frozen=True)
class EvaluationSettings(Settings):
    """``samples`` a generation (null: as many as are held out, 2,000 at most); ``groups`` of the jackknife.

    ``features``: where every metric compares items; null: the distance on the classifier's features of images, all else
    on raw values.
    """

    samples: Positive | None = None
    groups: Annotated[int, at.Ge(2), at.Le(100)] = 8
    features: FeaturesName | None = None

    def size(self, humans: Humans) -> int:
        """How many samples a generation is measured by."""
        return self.samples or min(humans.held_out_size, 2000)


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
        archive: Items,
        features: Features | None = None,
    ) -> None:
        self._humans, self._judge, self._settings = humans, judge, settings
        self._features = features
        self._metrics = metrics.build(names, humans)
        self._streams = Streams(seed, "evaluation", 0)
        held_out = humans.held_out()
        remembered = any("archive" in metric.needs_of_human for metric in self._metrics)
        known = self._human_items(archive, None) if remembered else None
        self._human = replace(self._human_items(held_out, judge), archive=known)
        self._nothing = self._items(np.empty((0, *humans.shape)), held_out.y[:0], None)
        # Labels in the order of the held-out items, repeated where more samples than items are asked for.
        self._prompts = np.resize(held_out.y, settings.size(humans))

    @property
    def draws(self) -> bool:
        """Whether anything is measured on samples; what is known exactly needs none."""
        return not all(metric.exact for metric in self._metrics)

    def prompts(self) -> tuple[Ints, np.random.Generator]:
        """What every generation is asked for, and the stream of its noise."""
        return self._prompts, self._streams.numpy("noise")

    def gallery_prompts(self) -> tuple[Ints, np.random.Generator]:
        """The same for a few samples to look at."""
        n = GALLERY_IMAGES if len(self._humans.shape) == 3 else GALLERY_VECTORS
        return self._gallery_labels(n), self._streams.numpy("gallery")

    def measure(self, generator: Generator, x: NDArray[Any] | None, reward: Reward | None) -> Measurement:
        """Of a model and its samples x (N, ...) for the prompts; None where nothing is measured on samples."""
        if x is None:
            x = np.empty((0, *self._humans.shape))
        sample = self._generated(generator, x, reward)
        chosen = [metric for metric in self._metrics if metric.applies(sample, self._human)]
        values = {metric.name: metric.measure(sample, self._human) for metric in chosen}
        without = {m.name: replicates(m, sample, self._human, self._settings.groups) for m in chosen}
        # Samples may be so far out that a distance overflows: then there is no such number.
        found = [name for name in values if all(map(math.isfinite, (values[name], *without[name])))]
        return Measurement({name: values[name] for name in found}, {name: without[name] for name in found})

    def human_gallery(self) -> NDArray[Any]:
        """Held-out items of the same classes as the gallery's."""
        held_out = self._humans.held_out()
        if len(self._humans.shape) != 3:
            return held_out.x[:GALLERY_VECTORS]
        labels = self._gallery_labels(GALLERY_IMAGES)
        rank = np.array([np.sum(labels[:i] == labels[i]) for i in range(len(labels))])
        members = [np.flatnonzero(held_out.y == label) for label in labels]
        return held_out.x[[ids[r % len(ids)] if len(ids) else 0 for ids, r in zip(members, rank, strict=True)]]

    def _gallery_labels(self, n: int) -> Ints:
        """Four samples of a class, then of another: a class that is dying shows the same face four times."""
        return (2 + 3 * (np.arange(n) // 4)) % self._humans.classes

    def _generated(self, generator: Generator, x: NDArray[Any], reward: Reward | None) -> Sample:
        """Samples and all that is known of their model."""
        sample = self._items(x, self._prompts[: len(x)], self._judge) if len(x) else self._nothing
        if self._features and len(x):
            sample = replace(sample, named=self._features.of(x))
        known = generator.distribution()
        atoms = None if known is None else known.atoms
        return replace(
            sample,
            reward=reward.score(x, self._judge) if reward and len(x) else None,
            distribution=known,
            log_prob=self._log_prob(generator),
            atom_reward=reward.score(atoms, self._judge) if reward and atoms is not None else None,
        )

    def _log_prob(self, generator: Generator) -> NDArray[np.float64] | None:
        """Of the held-out human items under the model, (M,) in nats; None where it is not known or not asked for."""
        if type(generator).log_prob is Generator.log_prob or not any("log_prob" in m.needs for m in self._metrics):
            return None
        held_out = self._humans.held_out()
        device = next(iter(generator.state().values())).device
        x, y = (torch.from_numpy(a).to(device) for a in (held_out.x, held_out.y))
        found: NDArray[np.float64] = generator.log_prob(x, y).double().cpu().numpy()
        return found

    def _human_items(self, items: Items, judge: Classifier | None) -> Sample:
        sample = self._items(items.x, items.y, judge)
        return replace(sample, named=self._features.of_humans(items.x)) if self._features and len(items) else sample

    def _items(self, x: NDArray[Any], y: Ints, judge: Classifier | None) -> Sample:
        features = judge.features(x) if judge else None
        return Sample(
            x=as_vectors(x),
            features=features if self._features is None else None,
            labels=judge.labels_of(features) if judge and features is not None else None,
            y=y,
            reward=None,
            distribution=self._humans.distribution,
        )
