"""Model providers: they train a generative model on what their scraper brought, and serve it.

Generation 0 is trained from scratch on the first data set; after that ``retrain`` says how often, and whether the
network of the generation before goes on (Bertrand et al. 2023, Ferbach et al. 2024) or a new one is trained
(Alemohammad et al. 2023, Kazdan et al. 2024). What is counted here, the pages a model was really trained on by
maker, is where lambda comes from: it is measured, never set.

What a provider may do against collapse, each off unless it is set: a *reserve* of human pages of its own, beside what
it crawls; a *correction* towards them; *negative guidance*, away from what its own samples would make of its model.
A late entrant may begin by *distilling* another's model: it asks for images in private, and its generation 0 is trained
on these. Where *weights are open* it begins with the other's model itself, as the arms of an experiment do that share
one checkpoint (Bertrand et al. 2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Generator as Iteration
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import annotated_types as at
import mesa
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecosystem.errors import TrainingError
from ecosystem.models import ModelFamily
from ecosystem.models.base import Fit, Generator, TrainingSet, to_web
from ecosystem.models.guided import Guided, NegativeGuidance
from ecosystem.models.jobs import Draw, Job, Trained
from ecosystem.rng import Streams
from ecosystem.settings import Name, NonNegative, Positive, Settings
from ecosystem.web.corpus import HUMAN, NOWHERE, Corpus, Ids

if TYPE_CHECKING:
    from ecosystem.world import World


SamplingBias = Annotated[float, at.Gt(0.0), at.Le(1.0)]


@dataclass(frozen=True)
class Retrain(Settings):
    """Every ``every`` rounds; ``budget_images`` replaces the card's budget after generation 0."""

    every: Positive = 1
    start: Literal["scratch", "finetune"] = "finetune"
    budget_images: Positive | None = None


@dataclass(frozen=True)
class Distil(Settings):
    """Generation 0 is trained on ``images`` samples of provider ``of``, asked for in the round before."""

    of: str
    images: Positive


@dataclass(frozen=True)
class Correction(Settings):
    """Towards the data: each synthetic page of a data set becomes a human one with probability gamma / (1 + gamma).

    Human pages are drawn from those of the data set, reserve included. In distribution this is the correction of N.
    Gillman et al., Self-Correcting Self-Consuming Loops for Generative Model Training, 2024, arXiv 2402.07087, whose
    points are moved on a way towards (p + gamma p_data) / (1 + gamma).
    """

    gamma: NonNegative

    def corrected(self, ids: Ids, synthetic: NDArray[np.bool_], streams: Streams) -> Ids:
        """The data set (N,) with some of its pages replaced, ascending."""
        human, rng = ids[~synthetic], streams.numpy("correction")
        replaced = synthetic & (rng.random(len(ids)) < self.gamma / (1 + self.gamma))
        if len(human) == 0 or not replaced.any():
            return ids
        drawn = human[(rng.random(len(ids)) * len(human)).astype(np.int64)]
        corrected: Ids = np.sort(np.where(replaced, drawn, ids))
        return corrected


@dataclass(frozen=True)
class ProviderSettings(Settings):
    """``model`` names a card; ``card`` writes one in place. ``scraper``: null is the first of the scenario.

    ``reserve``: human pages that nobody else has, in every data set. ``watermark``: whether its images carry one.

    ``weights_of``: generation 0 is that provider's model, as soon as it has one, without a training of its own.

    ``sampling_bias`` serves samples nearer to the mode than the model has them: a Gaussian's covariance times it,
    a neural sampler's noise times its root. 1 is unbiased (lambda of Alemohammad et al. 2023, arXiv 2307.01850).
    """

    name: Name
    model: str | None = None
    card: ModelFamily | None = None
    scraper: str | None = None
    retrain: Retrain = Retrain()
    sampling_bias: SamplingBias = 1.0
    reserve: Positive | None = None
    correction: Correction | None = None
    negative_guidance: NegativeGuidance | None = None
    distil: Distil | None = None
    weights_of: str | None = None
    watermark: bool = False


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
        return 1 - self.human / self.pages if self.pages else 0.0

    @property
    def ratio(self) -> float | None:
        """lambda = synthetic / human; None where no page is human, but 0 where there is no page at all."""
        return (self.pages - self.human) / self.human if self.human else None if self.pages else 0.0


NOTHING = Provenance({}, {}, 1.0)  # of a model that was trained elsewhere, on what humans made


class Provider(mesa.Agent):
    def __init__(self, world: World, name: str) -> None:
        super().__init__(world)
        self.name = name
        self.generation = -1
        self.generator: Generator | None = None
        self.provenance: Provenance | None = None
        self.loss: float | None = None
        self.trained_in = -1  # round of the last training
        self.stopped: str | None = None  # why it trains and serves no more

    @property
    def settings(self) -> ProviderSettings | None:
        """Its policies in force; None before it enters and after it has left."""
        world: World = self.model
        return world.settings.found_provider(self.name)

    @property
    def device(self) -> torch.device:
        """Where its models live."""
        world: World = self.model
        return world.device_of(self.name)

    @property
    def serves(self) -> bool:
        return self.generator is not None and self.stopped is None and self.settings is not None

    @property
    def adopts(self) -> Provider | None:
        """The provider whose model it is to begin with, and has not yet."""
        world: World = self.model
        if self.generation >= 0 or self.settings is None or self.settings.weights_of is None:
            return None
        return world.provider(self.settings.weights_of)

    def retrain(self) -> Iteration[Job, Any, None]:
        """Phase 3: the next generation, if one is due. An error stops this provider and leaves the world alive."""
        world: World = self.model
        settings = self.settings
        if self.stopped or settings is None or not self._due(settings, world.round):
            return
        if (other := self.adopts) is not None:
            self._adopt(other)
            return
        try:
            yield from self._train(world, settings)
        except TrainingError as error:
            self.stop(error)

    def _due(self, settings: ProviderSettings, round: int) -> bool:
        """Generation 0 is trained as soon as it can be."""
        if (other := self.adopts) is not None:
            return other.serves
        if self.generation < 0:
            return settings.distil is None or len(self._private(settings)) > 0
        return round % settings.retrain.every == 0

    def stop(self, error: TrainingError) -> None:
        """Train and serve no more."""
        self.stopped = str(self.at_fault(error))

    def at_fault(self, error: TrainingError) -> TrainingError:
        """An error that says whose it is."""
        return TrainingError(f"provider {self.name}, round {self.model.round}: {error}")

    def draw(self, prompts: NDArray[np.int64], rng: np.random.Generator) -> Draw:
        """Samples for prompts (N,) as this provider serves them."""
        assert self.generator is not None
        noise = self.generator.noise(len(prompts), rng)
        bias = self.settings.sampling_bias if self.settings is not None else 1.0
        if bias != 1.0:
            noise = noise * math.sqrt(bias)
        y, z = torch.from_numpy(prompts), torch.from_numpy(noise)
        return Draw(self.generator, y.to(self.device), z.to(self.device))

    def drawn(self, prompts: NDArray[np.int64], rng: np.random.Generator) -> Iteration[Draw, Tensor, Tensor]:
        """Those samples. Raises TrainingError that says whose model failed."""
        try:
            return (yield self.draw(prompts, rng))
        except TrainingError as error:
            raise self.at_fault(error) from None

    def distil(self) -> Iteration[Draw, Tensor, None]:
        """In the phase in which users ask: the images of another provider that generation 0 will be trained on."""
        world: World = self.model
        settings = self.settings
        if settings is None or settings.distil is None or self.generation >= 0 or self.stopped:
            return
        teacher = world.provider(settings.distil.of)
        if not teacher.serves or len(self._private(settings)):
            return
        streams, images = Streams(world.seed, self.name, world.round), settings.distil.images
        prompts = np.arange(images) % world.humans.classes
        x = yield from teacher.drawn(prompts, streams.numpy("distilled noise"))
        world.publish_made(
            to_web(x),
            label=prompts,
            site=NOWHERE,
            author=self.unique_id,
            makers=[teacher],
            which=np.zeros(images, dtype=np.int64),
            who=self.name,
        )

    def _adopt(self, other: Provider) -> None:
        """Begin with a copy of the other's model, and with what is known of where it comes from."""
        world: World = self.model
        assert other.generator is not None, "one that serves has a model"
        saved = {name: value.to(self.device, copy=True) for name, value in other.generator.trained.saved().items()}
        family = world.question.card(other.name, other.trained_in).model
        self.generator = family.restored(saved, world.humans.shape, world.humans.classes)
        self.loss, self.provenance = other.loss, other.provenance
        self.generation, self.trained_in = 0, world.round

    def _train(self, world: World, settings: ProviderSettings) -> Iteration[Job, Any, None]:
        streams = Streams(world.seed, self.name, world.round)
        ids = self._data_set(world, settings, streams)
        if len(ids) == 0:
            raise TrainingError("its scraper found no page that it may take. Look at take, window and filter.")
        family = self._family(world)
        budget = family.first_budget_images if self.generation < 0 else settings.retrain.budget_images
        provenance = NOTHING if budget == 0 else Provenance.of(world.corpus, ids, world.maker_name)
        previous = self._previous(world) if settings.retrain.start == "finetune" else None
        trained = yield from self._fitted(Fit(family, self._data(world, ids), previous, streams, budget))
        if settings.negative_guidance is not None and not isinstance(trained.generator, Guided):
            trained = yield from self._guided(world, settings.negative_guidance, trained)
        self.generator, self.loss = trained.generator, trained.loss
        self.generation += 1
        self.provenance = provenance
        self.trained_in = world.round

    def _family(self, world: World) -> ModelFamily:
        return world.question.card(self.name, world.round).model

    def _previous(self, world: World) -> Generator | None:
        """The model that this training may go on from: the last, if it was of the same card."""
        if self.generator is None or world.question.card(self.name, self.trained_in).model != self._family(world):
            return None
        return self.generator.trained

    def _fitted(self, fit: Fit) -> Iteration[Job, Any, Trained]:
        """A training, or what a checkpoint that was written within this round holds of it, done or half done."""
        kept = self.model.resumed.pop(fit.streams.who, None)
        if isinstance(kept, Trained):
            return kept
        trained: Trained = yield replace(fit, saved=kept)
        return trained

    def _guided(self, world: World, guidance: NegativeGuidance, trained: Trained) -> Iteration[Job, Any, Trained]:
        """The model steered away from one that is trained on its own samples."""
        streams = Streams(world.seed, f"{self.name}/auxiliary", world.round)
        main, classes = trained.generator, world.humans.classes
        draw = guidance.draw(main, classes, streams, self.device)
        data = guidance.training_set(draw, (yield draw), classes)
        auxiliary = yield from self._fitted(Fit(self._family(world), data, main, streams, guidance.budget_images))
        return Trained(guidance.serve(main, auxiliary.generator), trained.loss)

    def _data_set(self, world: World, settings: ProviderSettings, streams: Streams) -> Ids:
        """The pages of this training, ascending."""
        private = self._private(settings)
        if self.generation < 0 and settings.distil is not None:
            distilled: Ids = private[world.corpus.of("maker", private) != HUMAN]
            return distilled
        ids = world.scraper_of(settings).ids
        if settings.reserve is not None:
            ids = np.sort(np.concatenate([private[world.corpus.of("maker", private) == HUMAN], ids]))
        if settings.correction is not None:
            ids = settings.correction.corrected(ids, world.corpus.of("maker", ids) != HUMAN, streams)
        return ids

    def _private(self, settings: ProviderSettings) -> Ids:
        """Its reserve and what it distilled."""
        if settings.reserve is None and settings.distil is None:
            return np.empty(0, dtype=np.int64)
        found: Ids = self.model.corpus.private_of(self.unique_id)
        return found

    def _data(self, world: World, ids: Ids) -> TrainingSet:
        x = torch.from_numpy(world.corpus.items[ids]).to(self.device)
        y = torch.from_numpy(world.corpus.of("label", ids).astype(np.int64)).to(self.device)
        return TrainingSet(x, y, world.humans.classes)
