"""The world: who exists, and the phases of a round in their order.

Each phase reads the web as it stood when the round began: pages published in a round become visible when it closes.
The recursion of the self-consuming loop is written nowhere; it is what one provider, one site, K = 1 and a fixed
archive do.
"""

from __future__ import annotations

from collections.abc import Generator as Iteration
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import mesa
import numpy as np
import torch
from numpy.typing import NDArray

from ecosystem import coevolution, features, metrics
from ecosystem.agents import creator, user
from ecosystem.agents.creator import Creator
from ecosystem.agents.provider import Provenance, Provider, ProviderSettings
from ecosystem.agents.scraper import Scraper
from ecosystem.agents.user import User
from ecosystem.errors import TrainingError
from ecosystem.evaluation import Evaluator, Measurement
from ecosystem.features import Features
from ecosystem.features.base import as_vectors
from ecosystem.humans import Humans, HumanSource, Items
from ecosystem.models.base import Generator, Saved, Update, to_web
from ecosystem.models.jobs import Job, Jobs, Trained, at_once, drive
from ecosystem.question import Question, Scenario
from ecosystem.rng import stream
from ecosystem.stopwatch import clock
from ecosystem.web.admission import AdmitAll
from ecosystem.web.corpus import HUMAN, NOBODY, NOWHERE, Corpus, Retention, Totals
from ecosystem.web.detectors import needs_judge as filters_by_sight
from ecosystem.web.found import Found
from ecosystem.web.links import Links, newest_of_each_site
from ecosystem.web.marks import WATERMARKED
from ecosystem.web.rewards import Reward, needs_classifier
from ecosystem.web.selection import needs_judge as stage_by_sight

if TYPE_CHECKING:
    from ecosystem.models.classifier import Classifier


Ints = NDArray[np.int64]


# What agents remember from round to round, arrays by whose they are and name. None is changed, they are replaced.
Memory = Mapping[str, Mapping[str, NDArray[Any]]]


@dataclass(frozen=True)
class Progress:
    """Where a round stands; ``update`` while a provider trains."""

    round: int
    phase: str
    provider: str = ""
    update: Update | None = None
    made: Trained | None = None  # that training's model, at its end


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
    memory: Memory


class World(mesa.Model):
    def __init__(
        self, question: Question, seed: int, device: torch.device, devices: Sequence[torch.device] = ()
    ) -> None:
        """``devices``: those that providers are spread over, in turn; none given is ``device`` alone."""
        super().__init__(rng=seed)
        self.question, self.seed, self.device = question, seed, device
        self.devices = tuple(devices) or (device,)
        self.round = 0
        self.settings: Scenario = question.at(0)
        self.humans: Humans = self.settings.humans.open()
        judged = any(needs_judge(policies, self.humans) for policies in (self.settings, *question.policies.values()))
        self.judge = judge_of(self.settings, device) if judged else None
        self.links = Links(self.settings.web.sites.build(seed))
        self.corpus = Corpus(self.humans.shape)
        self.used_humans = 0
        self.memory: Memory = {}
        self.votes: dict[str, int] = {}
        self.told: dict[str, dict[str, float]] = {}  # this round, of agents, by name
        self.measured: dict[str, float] = {}  # this round, of the web
        self.seen: coevolution.Round | None = None  # this round, where co-evolution is measured
        self._admissions: dict[str, np.random.Generator] = {}  # of this round, by who publishes
        self.measurements: dict[str, Measurement] = {}
        self.resumed: dict[str, Trained | Saved] = {}  # by provider: trainings of the open round from a checkpoint
        scenario = self.settings
        self._populate()
        archive = self._archive(scenario)
        seen = seen_by(scenario, device)
        self.evaluator = Evaluator(self.humans, self.judge, scenario.metrics, scenario.evaluation, seed, archive, seen)

    # A round

    def step(self) -> None:
        for _ in self.phases():
            pass

    def phases(self) -> Iterator[Progress]:
        """One round of this world alone; each item tells what is about to happen, or how far a training is."""
        return (progress for _, progress in together([self]))

    def work(self) -> Iteration[Progress | Job | Jobs, Any, None]:
        """One round; its fits and draws are asked for, and done by who drives it."""
        self.settings = self.question.at(self.round)
        self.votes = {provider.name: 0 for provider in self.providers}
        self.measurements, self.told, self.measured = {}, {}, {}
        self._samples: dict[str, NDArray[Any]] = {}  # of the models that are measured this round
        self.seen = self._eyes() if self.settings.coevolution else None
        self._admissions.clear()
        yield self._about("publish")
        yield from creator.publish(self)
        yield self._about("crawl")
        self.agents_by_type[Scraper].do("crawl")
        yield from self._retrain()
        if self.evaluator.draws:
            yield from self._sample(self._new())  # before anybody is served by a model that draws what is no number
        yield self._about("ask")
        yield from user.ask(self)
        for provider in self.providers:
            yield from provider.distil()
        yield from self._measure()
        if self.seen is not None:
            yield from self._coevolve(self.seen)
        self._remember_votes()
        self.corpus.close()
        self.round += 1

    def _retrain(self) -> Iteration[Progress | Job | Jobs, Any, None]:
        """All that train do so at once; whoever begins with the model of another takes it when that has one."""
        adopting = [provider for provider in self.providers if provider.adopts is not None]
        yield from at_once(self._retrained(provider) for provider in self.providers if provider not in adopting)
        for provider in adopting:
            yield from self._retrained(provider)

    def _retrained(self, provider: Provider) -> Iteration[Progress | Job, Any, None]:
        yield self._about("retrain", provider.name)
        yield from provider.retrain()

    def _new(self) -> list[Provider]:
        """Those who serve a generation of this round."""
        return [provider for provider in self.providers if provider.trained_in == self.round and provider.serves]

    def _measure(self) -> Iterator[Progress]:
        """New generations against the held-out human set."""
        for provider in self._new():
            assert provider.generator is not None, "it serves"
            yield self._about("measure", provider.name)
            x = self._samples.get(provider.name)
            reward = self.reward_of(provider.name)
            self.measurements[provider.name] = self.evaluator.measure(provider.generator, x, reward)

    def _sample(self, providers: Sequence[Provider]) -> Iteration[Jobs, Any, None]:
        """Let there be samples (N, ...) of these for the prompts of the evaluation, drawn once a round.

        Who cannot draw any, stops.
        """
        wanted = [provider for provider in providers if provider.name not in self._samples]
        if wanted:
            found = yield tuple(provider.draw(*self.evaluator.prompts()) for provider in wanted)
            for provider, x in zip(wanted, found, strict=True):
                if isinstance(x, TrainingError):
                    provider.stop(x)
                elif not x.isfinite().all():
                    provider.stop(TrainingError("its samples are not finite. Lower the card's `lr`: it diverged."))
                else:
                    self._samples[provider.name] = to_web(x)

    def _eyes(self) -> coevolution.Round:
        tastes = [self.reward_of(provider.name) for provider in self.providers]
        return coevolution.Round(tastes, self.judge)

    def _coevolve(self, seen: coevolution.Round) -> Iteration[Jobs, Any, None]:
        """What this round did to the web, to groups of users and to the providers that trained."""
        corpus, names = self.corpus, [provider.name for provider in self.providers]
        models: list[Any] = [p.generator.distribution() for p in self.providers if p.serves and p.generator]
        if any(model is None for model in models):
            serving = [provider for provider in self.providers if provider.serves]
            yield from self._sample(serving)
            models = [as_vectors(self._samples[provider.name]) for provider in serving if provider.serves]
        memory = self.memory.get("web", {})
        ids = self._some(self.visible(Retention()), coevolution.SHOWN)
        shown = seen.kinds(corpus.items[ids], corpus.of("label", ids))
        votes = np.array(list(self.votes.values()))
        self.measured = coevolution.of_web(seen, votes, memory.get("votes"), models, shown)
        selection = memory.get("selection", np.zeros((0, len(names))))
        for number, provider in enumerate(self.providers):
            # Where nobody selects there is nothing to tell.
            judged = seen.tastes[number] is not None and selection.any()
            if judged and provider.trained_in == self.round and provider.provenance is not None:
                by_batch = provider.provenance.by_batch
                self.tell(provider.name, coevolution.influences(number, by_batch, corpus.batches, selection, names))
        for group, welfare in seen.welfare.items():
            self.tell(group, {"welfare": welfare})
        grown = np.zeros((len(corpus.batches), len(names)))
        grown[: len(selection)] = selection
        for number, batch in enumerate(corpus.batches[len(selection) :], len(selection)):
            if batch.maker >= 0 and batch.generation == self.providers[batch.maker].generation and not batch.private:
                grown[number] = seen.of_batch(batch)  # pages of an earlier generation were published before it trained
        self.remember("web", votes=votes, selection=grown)

    def _some(self, ids: Ints, most: int) -> Ints:
        """So many of the pages at the most, evenly."""
        return ids if len(ids) <= most else ids[np.linspace(0, len(ids) - 1, most).astype(np.int64)]

    def _about(self, phase: str, provider: str = "") -> Progress:
        clock.enter(phase)
        return Progress(self.round, phase, provider)

    # Going on

    def mark(self) -> Mark:
        """Where this world stands, between two rounds."""
        providers = tuple(
            ProviderMark(p.generation, p.generator, p.provenance, p.loss, p.trained_in, p.stopped)
            for p in self.providers
        )
        return Mark(self.round, self.used_humans, len(self.corpus), providers, self.memory)

    def restore(self, mark: Mark, corpus: Corpus) -> None:
        """Stand where another world of this question and seed stood."""
        self.round, self.used_humans, self.corpus, self.memory = mark.round, mark.used_humans, corpus, mark.memory
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

    def _populate(self) -> None:
        """Everybody who ever enters; policies say who is there."""
        self.providers: list[Provider] = [Provider(self, settings.name) for settings in self.question.providers]
        self._by_name = {provider.name: number for number, provider in enumerate(self.providers)}
        self.scrapers: list[Scraper] = [Scraper(self, settings.name) for settings in self.question.scrapers]
        self._members: dict[tuple[type[mesa.Agent], str], list[Any]] = {}
        self._addresses: dict[tuple[type[mesa.Agent], str], tuple[Ints, Ints]] = {}
        for kind, groups in ((Creator, self.question.creators), (User, self.question.users)):
            for group in groups:
                homes = self._sites(group.name, group.count)
                members = [kind(self, group.name, int(site)) for site in homes]
                self._members[kind, group.name] = members
                ids = np.array([member.unique_id for member in members], dtype=np.int64)
                self._addresses[kind, group.name] = ids, homes

    def _sites(self, who: str, n: int) -> Ints:
        """n random sites."""
        return (stream(self.seed, who, "sites").random(n) * len(self.links)).astype(np.int64)

    def _archive(self, scenario: Scenario) -> Items:
        """Publishes the human pages before round 0, and returns them; those that providers keep for themselves, too."""
        archive = self.draw_humans("archive", scenario.web.archive)
        self._publish_human(archive, self._sites("archive", len(archive)), NOBODY)
        for provider, settings in zip(self.providers, self.question.providers, strict=True):
            if settings.reserve is not None:
                items = self.draw_humans(f"reserve of {provider.name}", settings.reserve)
                self._publish_human(items, NOWHERE, provider.unique_id)
        self.corpus.close()
        return archive

    def _publish_human(self, items: Items, site: Any, author: Any, marks: Any = 0) -> None:
        self.corpus.publish(
            items.x, label=items.y, site=site, author=author, maker=HUMAN, generation=HUMAN, lineage=0.0, marks=marks
        )

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
        return self._by_name[provider]

    def device_of(self, provider: str) -> torch.device:
        """Where its models are trained and asked."""
        return self.devices[self._by_name[provider] % len(self.devices)]

    def provider(self, name: str) -> Provider:
        return self.providers[self._by_name[name]]

    def scraper_of(self, settings: ProviderSettings) -> Scraper:
        name = self.settings.scraper_for(settings).name
        return next(scraper for scraper in self.scrapers if scraper.name == name)

    def draw_humans(self, who: str, n: int) -> Items:
        """n human items that were never drawn in this world before (where the source is finite)."""
        items = self.humans.draw(n, seed=self.seed, who=who, round=self.round, used=self.used_humans)
        self.used_humans += n
        return items

    def tell(self, who: str, measured: Mapping[str, float]) -> None:
        """Of an agent or group, for the record of this round."""
        if measured:
            self.told[who] = {**self.told.get(who, {}), **measured}

    def remember(self, whose: str, **arrays: NDArray[Any]) -> None:
        """Until the next time, and in checkpoints."""
        self.memory = {**self.memory, whose: {**self.memory.get(whose, {}), **arrays}}

    @property
    def vote_shares(self) -> NDArray[np.float64]:
        """(providers,): of the ballots of the last round, which of each were won; before the first all 0."""
        return self.memory.get("web", {}).get("vote_shares", np.zeros(len(self.providers)))

    def _remember_votes(self) -> None:
        ballots = sum(self.votes.values())
        if ballots and any(group.provider_choice is not None for group in self.settings.users):
            self.remember("web", vote_shares=np.array(list(self.votes.values())) / ballots)

    def shown(self) -> Totals:
        """Of the pages that the web shows."""
        web = self.settings.web
        return (
            self.corpus.shown(web.retention)
            if web.capacity is None
            else self.corpus.totals_of(self.visible(Retention()))
        )

    def human_share(self) -> float:
        """Of the pages that the web shows; 1 where it shows none."""
        shown = self.shown()
        return shown.human / shown.pages if shown.pages else 1.0

    def visible(self, retention: Retention) -> Ints:
        """The pages that the web shows to somebody who wants none that are older than ``retention`` says."""
        web = self.settings.web
        ids = self.corpus.visible(web.retention.and_(retention))
        if web.capacity is None:
            return ids
        shown = self.corpus.visible(web.retention)
        shown = shown[newest_of_each_site(self.corpus.of("site", shown), web.capacity)]
        return shown[np.isin(shown, ids, assume_unique=True)]

    def classes_of_last_round(self) -> NDArray[np.float64] | None:
        """The shares (classes,) of what was published in the round before; None in round 0 and where nothing was."""
        ids = self.corpus.visible(Retention(1, 1))
        if self.round == 0 or len(ids) == 0:
            return None
        counts = np.bincount(self.corpus.of("label", ids), minlength=self.humans.classes)
        return counts / len(ids)

    def found(self, ids: Ints) -> Found:
        """Pages in front of a scraper's policies."""
        corpus = self.corpus
        return Found(
            ids=ids,
            synthetic=corpus.of("maker", ids) != HUMAN,
            label=corpus.of("label", ids),
            marks=corpus.of("marks", ids),
            site=corpus.of("site", ids),
            round=corpus.of("round", ids),
            items=lambda positions: corpus.items[ids[positions]],
        )

    def publish_human(self, items: Items, site: Ints, author: Ints, who: str) -> None:
        """Pages (N,) by creators, as far as their sites admit them."""
        passed = self._admitted(False, 0, site, who)
        if passed is None:
            self._publish_human(items, site, author)
        else:
            admitted, marks = passed
            self._publish_human(items.take(admitted), site[admitted], author[admitted], marks[admitted])

    def publish_made(
        self,
        items: NDArray[Any],
        *,
        label: Ints,
        site: Any,
        author: Any,
        makers: Sequence[Provider],
        which: Ints,
        who: str,
        marks: int = 0,
    ) -> None:
        """Pages (N,) that models made, ``which`` (N,) of ``makers`` each, as far as their sites admit them."""
        policies = [p.settings for p in makers]
        carried = [marks | int(WATERMARKED) if own and own.watermark else marks for own in policies]
        columns: dict[str, Any] = {
            "label": label,
            "site": site,
            "author": author,
            "marks": carried[0] if len(set(carried)) == 1 else np.array(carried)[which],
            "which": which,
        }
        if np.ndim(site) and (passed := self._admitted(True, columns["marks"], site, who)) is not None:
            admitted, seen = passed
            columns = {name: value[admitted] if np.ndim(value) else value for name, value in columns.items()}
            items, columns["marks"] = items[admitted], seen[admitted]
        self.corpus.publish(
            items,
            maker=[self.number(p.name) for p in makers],
            generation=[p.generation for p in makers],
            lineage=[p.provenance.lineage if p.provenance else 0.0 for p in makers],
            **columns,
        )

    def _admitted(
        self, synthetic: bool, marks: Any, site: Ints, who: str
    ) -> tuple[NDArray[np.bool_], NDArray[np.uint8]] | None:
        """Which pages on these sites (N,) are admitted, and the marks that each then carries; None: all as they are.

        ``marks``: an array, or one value for all.
        """
        policy = self.settings.web.admission
        if isinstance(policy, AdmitAll | None):
            return None
        strict = policy.strict(len(self.links), self.seed)
        if who not in self._admissions:  # what somebody publishes in several parts is admitted by one stream
            self._admissions[who] = stream(self.seed, who, "admission", self.round)
        carried = np.broadcast_to(marks, len(site)).astype(np.uint8)
        kinds = np.full(len(site), synthetic)
        admitted, seen = policy.admit(kinds, carried, site, strict, self._admissions[who])
        before = self.told.get(who, {}).get("refused", 0.0)
        self.tell(who, {"refused": before + float(len(site) - np.count_nonzero(admitted))})
        return admitted, seen

    def count_votes(self, serving: list[Provider], server: Ints, winner: Ints) -> None:
        """server (ballots, K): whose image stood in a slot; winner (ballots,): the slot that won."""
        one = server.strides[1] == 0  # all slots of a ballot are one provider's
        who = server[:, 0] if one else server[np.arange(len(winner)), winner]
        won = np.bincount(who, minlength=len(serving)).tolist()
        for provider, votes in zip(serving, won, strict=True):
            self.votes[provider.name] += votes

    def reward_of(self, provider: str) -> Reward | None:
        """What is measured as this provider's reward: the taste of the first group with one that asks it."""
        return next((g.reward for g in self.settings.groups_of(provider) if g.reward is not None), None)


def together(worlds: Sequence[World]) -> Iterator[tuple[World, Progress]]:
    """One round of every world, in lockstep, with what each tells on its way."""
    for heard in drive([world.work() for world in worlds]):
        world = worlds[heard.number]
        if heard.fit is not None:
            yield world, Progress(world.round, "retrain", heard.fit.streams.who, heard.update, heard.made)
        else:
            yield world, heard.item


def needs_judge(scenario: Scenario, humans: Humans) -> bool:
    """Whether anything asks for the classifier: a reward, or a metric on labels or features of images."""
    if humans.known_classes < 2:
        return False
    judged = {"class-entropy", "class-tv", "agreement", *(["frechet"] if scenario.evaluation.features is None else [])}
    names = scenario.metrics if scenario.metrics is not None else [m.name for m in metrics.build(None, humans)]
    looks = any(
        filters_by_sight(s.filter) or any(stage_by_sight(stage) for stage in (s.quality, s.resample))
        for s in scenario.scrapers
    )
    sorts = any(name in judged or metrics.is_class_share(name) for name in names)
    return looks or sorts or any(needs_classifier(reward) for reward in _rewards(scenario))


def _rewards(scenario: Scenario) -> Iterator[Reward | None]:
    """Whatever anybody goes by."""
    for group in scenario.users:
        yield group.reward
        yield group.adversary.reward if group.adversary else None
    for scraper in scenario.scrapers:
        yield scraper.quality.reward if scraper.quality else None


def judge_of(scenario: Scenario, device: torch.device) -> Classifier:
    """Who tells the classes of images."""
    if scenario.judge is None:
        return classifier(scenario.humans, device)
    return features.judge(scenario.judge, labelled(scenario.humans), device)


def seen_by(scenario: Scenario, device: torch.device) -> Features | None:
    """The features that a scenario names."""
    name = scenario.evaluation.features
    return None if name is None else features.of(name, device, lambda: classifier(scenario.humans, device))


def labelled(source: HumanSource) -> HumanSource:
    """The same with its labels: a classifier learns from them also where models are not told them."""
    told: dict[str, Any] = {"labelled": True} if hasattr(source, "labelled") else {}
    return replace(source, **told)


@lru_cache(maxsize=4)
def classifier(source: HumanSource, device: torch.device) -> Classifier:
    """The classifier of a human source; the same for all seeds, trained once a process."""
    from ecosystem.models.classifier import train_classifier

    return train_classifier(labelled(source).open(), device)
