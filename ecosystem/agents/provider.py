"""Model providers: they train a generative model on what their scraper brought, and serve it.

Generation 0 is trained from scratch on the first data set; after that ``retrain`` says how often, and whether the
network of the generation before goes on (Bertrand et al. 2023, Ferbach et al. 2024) or a new one is trained
(Alemohammad et al. 2023, Kazdan et al. 2024). What is counted here, the pages a model was really trained on by
maker, is where lambda comes from: it is measured, never set.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Generator as Iteration
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import annotated_types as at
import mesa
import numpy as np
import torch
from numpy.typing import NDArray

from ecosystem.errors import TrainingError
from ecosystem.models import ModelFamily
from ecosystem.models.base import Generator, TrainingSet
from ecosystem.models.jobs import Draw, Fit, Trained
from ecosystem.rng import Streams
from ecosystem.settings import Name, Positive, Settings
from ecosystem.web.corpus import Corpus, Ids

if TYPE_CHECKING:
    from ecosystem.models.cards import Card
    from ecosystem.world import World


SamplingBias = Annotated[float, at.Gt(0.0), at.Le(1.0)]


@dataclass(frozen=True)
class Retrain(Settings):
    """Every ``every`` rounds; ``budget_images`` replaces the card's budget after generation 0."""

    every: Positive = 1
    start: Literal["scratch", "finetune"] = "finetune"
    budget_images: Positive | None = None


@dataclass(frozen=True)
class ProviderSettings(Settings):
    """``model`` names a card; ``card`` writes one in place. ``scraper``: null is the first of the scenario.

    ``sampling_bias`` serves samples nearer to the mode than the model has them: a Gaussian's covariance times it,
    a neural sampler's noise times its root. 1 is unbiased (lambda of Alemohammad et al. 2023, arXiv 2307.01850).
    """

    name: Name
    model: str | None = None
    card: ModelFamily | None = None
    scraper: str | None = None
    retrain: Retrain = Retrain()
    sampling_bias: SamplingBias = 1.0


@dataclass(frozen=True)
class Provenance:
    """A training set as it was counted, and the lineage of the model that it makes."""

    by_maker: dict[str, int]  # "human" and provider names -> pages
    by_batch: dict[int, int]  # number of a batch of the corpus -> pages
    lineage: float

    @classmethod
    def of(cls, corpus: Corpus, ids: Ids, maker_name: Callable[[int], str]) -> Provenance:
        """Of a data set, by its pages' numbers."""
        by_batch = corpus.count_batches(ids)
        by_maker: dict[str, int] = {}
        lineage = 0.0
        for number, pages in by_batch.items():
            batch = corpus.batches[number]
            maker = maker_name(batch.maker)
            by_maker[maker] = by_maker.get(maker, 0) + pages
            lineage += pages * batch.lineage
        return cls(by_maker, by_batch, 1 + lineage / len(ids))

    @property
    def pages(self) -> int:
        return sum(self.by_maker.values())

    @property
    def human(self) -> int:
        return self.by_maker.get("human", 0)

    @property
    def synthetic_share(self) -> float:
        return 1 - self.human / self.pages

    @property
    def ratio(self) -> float | None:
        """lambda = synthetic / human; None where no page is human."""
        return (self.pages - self.human) / self.human if self.human else None


class Provider(mesa.Agent):
    def __init__(self, world: World, settings: ProviderSettings, card: Card) -> None:
        super().__init__(world)
        self.name = settings.name
        self.card = card
        self.generation = -1
        self.generator: Generator | None = None
        self.provenance: Provenance | None = None
        self.loss: float | None = None
        self.trained_in = -1  # round of the last training
        self.stopped: str | None = None  # why it trains and serves no more

    @property
    def serves(self) -> bool:
        return self.generator is not None and self.stopped is None

    def retrain(self) -> Iteration[Fit, Trained, None]:
        """Phase 3: the next generation, if one is due. An error stops this provider and leaves the world alive."""
        world: World = self.model
        settings = world.settings.provider(self.name)
        if self.stopped or world.round % settings.retrain.every:
            return
        try:
            yield from self._train(world, settings)
        except TrainingError as error:
            self.stop(error)

    def stop(self, error: TrainingError) -> None:
        """Train and serve no more."""
        self.stopped = f"provider {self.name}, round {self.model.round}: {error}"

    def draw(self, prompts: NDArray[np.int64], rng: np.random.Generator) -> Draw:
        """Samples for prompts (N,) as this provider serves them."""
        world: World = self.model
        assert self.generator is not None
        noise = self.generator.noise(len(prompts), rng)
        bias = world.settings.provider(self.name).sampling_bias
        if bias != 1.0:
            noise = noise * math.sqrt(bias)
        y, z = torch.from_numpy(prompts), torch.from_numpy(noise)
        return Draw(self.generator, y.to(world.device), z.to(world.device))

    def _train(self, world: World, settings: ProviderSettings) -> Iteration[Fit, Trained, None]:
        ids = world.scraper_of(settings).ids
        if len(ids) == 0:
            raise TrainingError("its scraper found no page that it may take. Look at take, window and filter.")
        provenance = Provenance.of(world.corpus, ids, world.maker_name)
        # Where a checkpoint was written within this round: what it holds of this training, done or half done.
        trained = world.resumed.pop(self.name, None)
        if not isinstance(trained, Trained):
            trained = yield Fit(
                self.card.model,
                self._data(world, ids),
                self.generator if settings.retrain.start == "finetune" else None,
                Streams(world.seed, self.name, world.round),
                None if self.generation < 0 else settings.retrain.budget_images,
                trained,
            )
        self.generator, self.loss = trained.generator, trained.loss
        self.generation += 1
        self.provenance = provenance
        self.trained_in = world.round

    def _data(self, world: World, ids: Ids) -> TrainingSet:
        x = torch.from_numpy(world.corpus.items[ids]).to(world.device)
        y = torch.from_numpy(world.corpus.of("label", ids).astype(np.int64)).to(world.device)
        return TrainingSet(x, y, world.humans.classes)
