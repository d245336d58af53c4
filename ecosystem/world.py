"""The world: who exists, and the phases of a round in their order.

Each phase reads the web as it stood when the round began: pages published in a round become visible when it closes.
The recursion of the self-consuming loop is written nowhere; it is what one provider, one site, K = 1 and a fixed
archive do.
"""

from __future__ import annotations

from collections.abc import Generator as Iteration
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import mesa
import numpy as np
import torch
from numpy.typing import NDArray

from ecosystem import metrics
from ecosystem.agents import creator, user
from ecosystem.agents.creator import Creator
from ecosystem.agents.provider import Provenance, Provider, ProviderSettings
from ecosystem.agents.scraper import Scraper
from ecosystem.agents.user import User
from ecosystem.errors import TrainingError
from ecosystem.evaluation import Evaluator, Measurement
from ecosystem.humans import Humans, HumanSource, Items
from ecosystem.models.base import Generator, Saved, Update, to_web
from ecosystem.models.jobs import Job, Trained, drive
from ecosystem.rng import stream
from ecosystem.scenarios import Question, Scenario
from ecosystem.web.corpus import HUMAN, NOBODY, Corpus
from ecosystem.web.rewards import Reward, needs_classifier

if TYPE_CHECKING:
    from ecosystem.models.classifier import Classifier


Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Progress:
    """Where a round stands; ``update`` while a provider trains."""

    round: int
    phase: str
    provider: str = ""
    update: Update | None = None


@dataclass(frozen=True)
class ProviderMark:
    """A provider between two rounds. Models and provenances are never changed, only replaced."""

    generation: int
    generator: Generator | None
    provenance: Provenance | None
    loss: float | None
    trained_in: int
    stopped: str | None


@dataclass(frozen=True)
class Mark:
    """A world between two rounds, by reference: what a checkpoint is written from, also rounds later.

    ``pages`` is how many stood on the web: rows of the corpus never change.
    """

    round: int
    used_humans: int
    pages: int
    providers: tuple[ProviderMark, ...]


class World(mesa.Model):
    def __init__(self, question: Question, seed: int, device: torch.device) -> None:
        super().__init__(rng=seed)
        self.question, self.seed, self.device = question, seed, device
        self.round = 0
        self.settings: Scenario = question.at(0)
        self.humans: Humans = self.settings.humans.open()
        judged = any(needs_judge(policies, self.humans) for policies in (self.settings, *question.policies.values()))
        self.judge = classifier(self.settings.humans, device) if judged else None
        self.graph = self.settings.web.sites.build(seed)
        self.corpus = Corpus(self.humans.shape)
        self.used_humans = 0
        self.votes: dict[str, int] = {}
        self.measurements: dict[str, Measurement] = {}
        self.resumed: dict[str, Trained | Saved] = {}  # by provider: trainings of the open round from a checkpoint
        scenario = self.settings
        self.evaluator = Evaluator(self.humans, self.judge, scenario.metrics, scenario.evaluation, seed, device)
        self._populate(scenario)
        self._archive(scenario.web.archive)

    # A round

    def step(self) -> None:
        for _ in self.phases():
            pass

    def phases(self) -> Iterator[Progress]:
        """One round of this world alone; each item tells what is about to happen, or how far a training is."""
        return (progress for _, progress in together([self]))

    def work(self) -> Iteration[Progress | Job, Any, None]:
        """One round; its fits and draws are asked for, and done by who drives it."""
        self.settings = self.question.at(self.round)
        self.votes = {provider.name: 0 for provider in self.providers}
        self.measurements = {}
        yield self._about("publish")
        creator.publish(self)
        yield self._about("crawl")
        self.agents_by_type[Scraper].do("crawl")
        yield from self._retrain()
        yield self._about("ask")
        yield from user.ask(self)
        yield from self._measure()
        self.corpus.close()
        self.round += 1

    def _retrain(self) -> Iteration[Progress | Job, Any, None]:
        for provider in self.providers:
            yield self._about("retrain", provider.name)
            yield from provider.retrain()

    def _measure(self) -> Iteration[Progress | Job, Any, None]:
        """New generations against the held-out human set."""
        for provider in self.providers:
            if provider.trained_in == self.round and provider.generator is not None:
                yield self._about("measure", provider.name)
                x = None
                if self.evaluator.draws:
                    x = to_web((yield provider.draw(*self.evaluator.prompts())))
                try:
                    measurement = self.evaluator.measure(provider.generator, x, self.reward_of(provider.name))
                except TrainingError as error:
                    provider.stop(error)
                else:
                    self.measurements[provider.name] = measurement

    def _about(self, phase: str, provider: str = "") -> Progress:
        return Progress(self.round, phase, provider)

    # Going on

    def mark(self) -> Mark:
        """Where this world stands, between two rounds."""
        providers = tuple(
            ProviderMark(p.generation, p.generator, p.provenance, p.loss, p.trained_in, p.stopped)
            for p in self.providers
        )
        return Mark(self.round, self.used_humans, len(self.corpus), providers)

    def restore(self, mark: Mark, corpus: Corpus) -> None:
        """Stand where another world of this question and seed stood."""
        self.round, self.used_humans, self.corpus = mark.round, mark.used_humans, corpus
        for provider, was in zip(self.providers, mark.providers, strict=True):
            provider.generation, provider.generator = was.generation, was.generator
            provider.provenance, provider.loss = was.provenance, was.loss
            provider.trained_in, provider.stopped = was.trained_in, was.stopped

    def release(self) -> None:
        """Mesa 3.3 keeps every model alive through its counter of agent numbers; many seeds would fill the memory."""
        ids = getattr(mesa.Agent, "_ids", None)
        if ids is not None:
            ids.pop(self, None)

    # Who exists

    def _populate(self, scenario: Scenario) -> None:
        self.providers: list[Provider] = [
            Provider(self, settings, self.question.cards[settings.name]) for settings in scenario.providers
        ]
        self.scrapers: list[Scraper] = [Scraper(self, settings.name) for settings in scenario.scrapers]
        self._members: dict[tuple[type[mesa.Agent], str], list[Any]] = {}
        self._addresses: dict[tuple[type[mesa.Agent], str], tuple[Ints, Ints]] = {}
        for kind, groups in ((Creator, scenario.creators), (User, scenario.users)):
            for group in groups:
                homes = self._sites(group.name, group.count)
                members = [kind(self, group.name, int(site)) for site in homes]
                self._members[kind, group.name] = members
                ids = np.array([member.unique_id for member in members], dtype=np.int64)
                self._addresses[kind, group.name] = ids, homes

    def _sites(self, who: str, n: int) -> Ints:
        """n random sites."""
        return (stream(self.seed, who, "sites").random(n) * len(self.graph)).astype(np.int64)

    def _archive(self, pages: int) -> None:
        items = self.draw_humans("archive", pages)
        self.corpus.publish(
            items.x,
            label=items.y,
            site=self._sites("archive", pages),
            author=NOBODY,
            maker=HUMAN,
            generation=HUMAN,
            lineage=0.0,
        )
        self.corpus.close()

    # What agents ask of the world

    @property
    def running_providers(self) -> list[Provider]:
        return [provider for provider in self.providers if provider.stopped is None]

    def members(self, kind: type[mesa.Agent], group: str) -> list[Any]:
        """The agents of a group, in order of their creation."""
        return self._members[kind, group]

    def addresses(self, kind: type[mesa.Agent], group: str) -> tuple[Ints, Ints]:
        """Who is in a group and at which site each of them is at home, both (members,)."""
        return self._addresses[kind, group]

    def maker_name(self, maker: int) -> str:
        """`human`, or the name of the provider of that number."""
        return "human" if maker == HUMAN else self.providers[maker].name

    def number(self, provider: str) -> int:
        """A provider's number: the maker of its pages."""
        return [p.name for p in self.providers].index(provider)

    def scraper_of(self, settings: ProviderSettings) -> Scraper:
        name = self.settings.scraper_for(settings).name
        return next(scraper for scraper in self.scrapers if scraper.name == name)

    def draw_humans(self, who: str, n: int) -> Items:
        """n human items that were never drawn in this world before (where the source is finite)."""
        items = self.humans.draw(n, seed=self.seed, who=who, round=self.round, used=self.used_humans)
        self.used_humans += n
        return items

    def count_votes(self, serving: list[Provider], server: Ints, winner: Ints) -> None:
        """server (ballots, K): whose image stood in a slot; winner (ballots,): the slot that won."""
        won = np.bincount(server[np.arange(len(winner)), winner], minlength=len(serving))
        for provider, votes in zip(serving, won, strict=True):
            self.votes[provider.name] += int(votes)

    def reward_of(self, provider: str) -> Reward | None:
        """What is measured as this provider's reward: the taste of the first group with one that asks it."""
        return next((g.reward for g in self.settings.groups_of(provider) if g.reward is not None), None)


def together(worlds: Sequence[World]) -> Iterator[tuple[World, Progress]]:
    """One round of every world, in lockstep, with what each tells on its way."""
    for heard in drive([world.work() for world in worlds]):
        world = worlds[heard.number]
        if heard.fit is not None:
            yield world, Progress(world.round, "retrain", heard.fit.streams.who, heard.update)
        else:
            yield world, heard.item


def needs_judge(scenario: Scenario, humans: Humans) -> bool:
    """Whether anything asks for the classifier: a reward, or a metric on labels or features of images."""
    if humans.known_classes < 2:
        return False
    judged = {"frechet", "class-entropy", "class-tv", "agreement"}
    names = scenario.metrics if scenario.metrics is not None else [m.name for m in metrics.build(None, humans)]
    return bool(judged & set(names)) or any(needs_classifier(group.reward) for group in scenario.users)


@lru_cache(maxsize=4)
def classifier(source: HumanSource, device: torch.device) -> Classifier:
    """The classifier of a human source; the same for all seeds, trained once a process."""
    from ecosystem.models.classifier import train_classifier

    # It learns from the labels also where models are not told them.
    told: dict[str, Any] = {"labelled": True} if hasattr(source, "labelled") else {}
    return train_classifier(replace(source, **told).open(), device)
