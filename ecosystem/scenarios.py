"""The grammar of a scenario, and everything that can be known to be wrong before it runs.

    load("lambda-mixture") -> Scenario        a shipped name or a path
    load("mine.yaml", {"users.crowd.k": "4"})  with overrides, as `--set users.crowd.k=4`

A scenario is a question about a web: who lives on it, under which policies, and what is claimed to happen. Neutral
defaults make a short file a valid world. There is no key for lambda or for a "mode": both are what a world does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types as at
from pydantic import Field, JsonValue

from ecosystem import grammar, metrics
from ecosystem.agents.creator import CreatorSettings
from ecosystem.agents.provider import ProviderSettings
from ecosystem.agents.scraper import ScraperSettings
from ecosystem.agents.user import UserSettings
from ecosystem.documents import Document, Fault, FaultsError, parse, put, raise_faults, read, set_path, suggest
from ecosystem.documents import dump as to_yaml
from ecosystem.errors import ScenarioError
from ecosystem.evaluation import EvaluationSettings
from ecosystem.humans import Humans, HumanSource
from ecosystem.models import Diffusion, Gaussian, cards
from ecosystem.models.cards import Card
from ecosystem.models.nets import UNetSettings
from ecosystem.settings import Count, Name, PositiveFloat, Settings
from ecosystem.web.corpus import Retention
from ecosystem.web.rewards import ClassConfidence, Distance, needs_classifier
from ecosystem.web.sites import SitesSettings

FOLDER = "scenarios"

# Numbers that are counted, not measured: of the web and of each provider.
WEB_COUNTS = ("pages", "synthetic-share", "lineage")
PROVIDER_COUNTS = ("lambda", "synthetic-share", "lineage", "vote-share", "data-set-pages")
VERDICTS = ("stable", "improving", "degrading", "collapsed")


@dataclass(frozen=True)
class WebSettings(Settings):
    archive: Count = 1000  # human pages before round 0
    sites: SitesSettings = SitesSettings()
    retention: Retention = Retention()


@dataclass(frozen=True)
class Event(Settings):
    """From round ``at`` on, the policies under ``set`` have new values."""

    at: Count
    set: dict[str, JsonValue]


@dataclass(frozen=True)
class Than(Settings):
    """What a claim compares with: another provider's number, or its own at a generation."""

    of: str | None = None
    generation: Count | None = None


@dataclass(frozen=True)
class Claim(Settings):
    """What should happen.

    ``increasing`` / ``decreasing``: from the first to the last generations; ``bounded`` within / ``outgrows`` factor
    times its own generation 0; ``lower-than`` / ``higher-than`` another provider's, an own generation's (``than``) or
    a ``value``, at the end; or a verdict word: that is the provider's verdict. ``of``: a provider, or null for the web.
    """

    is_: Literal[
        "increasing",
        "decreasing",
        "bounded",
        "outgrows",
        "lower-than",
        "higher-than",
        "stable",
        "improving",
        "degrading",
        "collapsed",
    ]
    metric: str | None = None
    of: str | None = None
    within: PositiveFloat | None = None
    factor: PositiveFloat | None = None
    than: Than | None = None
    value: float | None = None


@dataclass(frozen=True)
class Scenario(Settings):
    name: Name
    rounds: Annotated[int, at.Ge(1), at.Le(100_000)]
    humans: Annotated[HumanSource, Field(discriminator="source")]
    providers: Annotated[tuple[ProviderSettings, ...], at.MinLen(1)]
    question: str = ""
    about: str = ""
    papers: tuple[str, ...] = ()
    seeds: Annotated[tuple[Count, ...], at.MinLen(1)] = (0,)
    web: WebSettings = WebSettings()
    creators: tuple[CreatorSettings, ...] = ()
    users: tuple[UserSettings, ...] = ()
    scrapers: Annotated[tuple[ScraperSettings, ...], at.MinLen(1)] = (ScraperSettings(name="everything"),)
    events: tuple[Event, ...] = ()
    metrics: tuple[str, ...] | None = None
    claims: tuple[Claim, ...] = ()
    evaluation: EvaluationSettings = EvaluationSettings()
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def provider(self, name: str) -> ProviderSettings:
        return next(p for p in self.providers if p.name == name)

    def scraper(self, name: str) -> ScraperSettings:
        return next(s for s in self.scrapers if s.name == name)

    def scraper_for(self, provider: ProviderSettings) -> ScraperSettings:
        return self.scraper(provider.scraper) if provider.scraper else self.scrapers[0]

    def groups_of(self, provider: str) -> list[UserSettings]:
        """The user groups that ask this provider."""
        return [g for g in self.users if g.providers is None or provider in g.providers]

    @property
    def ballots_per_round(self) -> int:
        return sum(group.count * group.prompts_per_round for group in self.users)


@dataclass(frozen=True)
class Question:
    """A scenario that has passed all checks: with its model cards, and its policies round by round."""

    scenario: Scenario
    cards: Mapping[str, Card]  # by provider
    policies: Mapping[int, Scenario] = field(default_factory=dict)  # by the round of an event

    def at(self, round: int) -> Scenario:
        """The policies in force in a round."""
        past = [start for start in self.policies if start <= round]
        return self.policies[max(past)] if past else self.scenario

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """Everything that decides what a run does, seeds apart: the records keep it, and name the run by it."""
        tree = grammar.dump(self.scenario)
        tree.pop("seeds")
        return {"scenario": tree, "cards": {name: grammar.dump(card) for name, card in self.cards.items()}}

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits of what was asked; cards' baselines and words do not change it."""
        tree = {
            "scenario": {k: v for k, v in self.resolved["scenario"].items() if k not in ("about", "question")},
            "models": {name: card["model"] for name, card in self.resolved["cards"].items()},
        }
        return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:8]


def names() -> list[str]:
    return grammar.shipped_names(FOLDER)


def path_of(name_or_path: str) -> Path:
    """The file of a shipped scenario's name, or the path itself."""
    if name_or_path in names():
        return grammar.shipped(FOLDER) / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or path.exists():
        return path
    fault = Fault(name_or_path, None, "", "there is no such scenario", suggest(name_or_path, names()))
    raise_faults([fault], "scenario")
    raise AssertionError


def load(name_or_path: str, overrides: Mapping[str, str] | None = None) -> Question:
    """Read, override, check. Raises ScenarioError with every fault found; nothing is written."""
    return from_document(read(path_of(name_or_path)), overrides or {})


def from_text(text: str, overrides: Mapping[str, str] | None = None, origin: str = "scenario") -> Question:
    return from_document(parse(text, origin), overrides or {})


def from_document(document: Document, overrides: Mapping[str, str]) -> Question:
    data: Any = document.data
    for dotted, text in overrides.items():
        data = put(data, dotted, text, "--set")
    document = Document(data, document.origin, document.lines)
    scenario = grammar.validate(Scenario, document)
    found, faults = _cards(scenario, document)
    policies, event_faults = _policies(scenario, document)
    faults += event_faults
    for start, policy in {0: scenario, **policies}.items():
        where = f" (from round {start} on)" if start else ""
        faults += [
            Fault(document.origin, document.line(route), _dotted(route), problem + where, remedy)
            for route, problem, remedy in _checks(policy, found)
        ]
    raise_faults(dict.fromkeys(faults), document.origin)
    return Question(scenario, found, policies)


def _dotted(route: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in route)


def _cards(scenario: Scenario, document: Document) -> tuple[dict[str, Card], list[Fault]]:
    found: dict[str, Card] = {}
    faults: list[Fault] = []
    for number, provider in enumerate(scenario.providers):
        line, where = document.line(("providers", number)), f"providers.{provider.name}"
        if (provider.model is None) == (provider.card is None):
            problem = "a provider has either `model`, the name of a card, or `card`, a model written in place"
            faults.append(Fault(document.origin, line, where, problem, "see `ecosystem models`"))
        elif provider.card is not None:
            found[provider.name] = cards.in_place(provider.name, provider.card)
        else:
            assert provider.model is not None
            try:
                found[provider.name] = cards.load(provider.model)
            except FaultsError as error:
                faults += [
                    Fault(document.origin, line, f"{where}.model", f"{f.problem} ({f.origin})", f.remedy)
                    for f in error.faults
                ]
    return found, faults


# What an event may set: policies. Who exists and how many is fixed when a world is made.
_POLICIES = {
    "creators": ("pages_per_round",),
    "users": ("prompts_per_round", "k", "choice", "reward", "publish", "providers", "candidates"),
    "scrapers": ("budget", "window_rounds", "take", "crawl", "filter"),
    "providers": ("retrain", "scraper"),
    "web": ("retention",),
}


def _policies(scenario: Scenario, document: Document) -> tuple[dict[int, Scenario], list[Fault]]:
    """The scenario as it stands after each event."""
    tree, faults = grammar.dump(scenario), []
    policies: dict[int, Scenario] = {}
    for number, event in sorted(enumerate(scenario.events), key=lambda pair: pair[1].at):
        route = ("events", number)
        line = document.line(route)
        if event.at >= scenario.rounds:
            problem = f"happens in round {event.at}, but the scenario ends after round {scenario.rounds - 1}"
            faults.append(Fault(document.origin, line, f"events.{number}", problem, "raise `rounds`"))
        for dotted, value in event.set.items():
            try:
                tree = set_path(tree, _event_path(dotted), value, document.origin)
            except ScenarioError as error:
                problem = str(error).splitlines()[-1].strip().removeprefix(document.origin).strip()
                faults.append(Fault(document.origin, line, f"events.{number}.set", problem, ""))
        policy, wrong = grammar.check(Scenario, Document(tree, document.origin, {}))
        faults += [Fault(document.origin, line, f.where, f.problem, f.remedy) for f in wrong]
        if policy is not None:
            policies[event.at] = policy
    return policies, faults


def _event_path(dotted: str) -> str:
    """The place an event's path means; `providers.alpha.scraper.filter` is refused in favour of the scraper's name."""
    words = dotted.split(".")
    part = words[0]
    policy = words[1] if part == "web" else words[2] if len(words) > 2 else ""
    if policy not in _POLICIES.get(part, ()):
        listed = ", ".join(f"{p}.{'' if p == 'web' else 'NAME.'}{k}" for p, keys in _POLICIES.items() for k in keys)
        raise ScenarioError(f"`{dotted}` is nothing that an event can set (it can set: {listed})")
    return dotted


Finding = tuple[tuple[str | int, ...], str, str]  # route, problem, remedy


def _checks(scenario: Scenario, found: Mapping[str, Card]) -> Iterator[Finding]:
    """What the types cannot say: names that must exist, counts that must add up, policies that must fit the data."""
    yield from _name_checks(scenario)
    yield from _take_checks(scenario)
    for problem in scenario.web.sites.faults():
        yield ("web", "sites"), problem, ""
    if scenario.web.archive == 0:
        problem = "generation 0 needs human pages, and pages of round 0 are first seen in round 1"
        yield ("web", "archive"), problem, "set an archive above 0"
    humans = scenario.humans.open()
    yield from _reservoir_checks(scenario, humans)
    yield from _reward_checks(scenario, humans)
    yield from _metric_checks(scenario, humans)
    yield from _model_checks(scenario, humans, found)


def _name_checks(scenario: Scenario) -> Iterator[Finding]:
    everyone: dict[str, str] = {"human": "the word for human makers", "evaluation": "a word of the program"}
    for part in ("creators", "users", "scrapers", "providers"):
        for number, group in enumerate(getattr(scenario, part)):
            if group.name in everyone:
                problem = f"the name `{group.name}` is taken by {everyone[group.name]}"
                yield (part, number), problem, "names are unique in a scenario"
            everyone[group.name] = part
    providers = [p.name for p in scenario.providers]
    scrapers = [s.name for s in scenario.scrapers]
    for number, provider in enumerate(scenario.providers):
        if provider.scraper is not None and provider.scraper not in scrapers:
            yield (
                ("providers", number, "scraper"),
                f"there is no scraper `{provider.scraper}`",
                suggest(provider.scraper, scrapers),
            )
    for number, group in enumerate(scenario.users):
        for name in group.providers or ():
            if name not in providers:
                yield ("users", number, "providers"), f"there is no provider `{name}`", suggest(name, providers)
        if group.providers == ():
            yield ("users", number, "providers"), "the group asks nobody", "null means all providers"


def _take_checks(scenario: Scenario) -> Iterator[Finding]:
    makers = ["human", *(p.name for p in scenario.providers)]
    serving = {
        scenario.scraper_for(p).name for p in scenario.providers if p.scraper in (None, *_names(scenario.scrapers))
    }
    for number, scraper in enumerate(scenario.scrapers):
        for name in scraper.take or ():
            if name not in makers:
                yield ("scrapers", number, "take"), f"nobody called `{name}` makes pages", suggest(name, makers)
        if scraper.take is not None and "human" not in scraper.take and scraper.name in serving:
            yield (
                ("scrapers", number, "take"),
                "in round 0 there are only human pages, and this scraper takes none",
                "add `human`; with `window_rounds: 1` it takes the archive in round 0 only",
            )


def _names(groups: tuple[Any, ...]) -> list[str]:
    return [group.name for group in groups]


def _reservoir_checks(scenario: Scenario, humans: Humans) -> Iterator[Finding]:
    if humans.pool_size is None:
        return
    fresh = scenario.rounds * sum(c.count * c.pages_per_round for c in scenario.creators)
    if scenario.web.archive + fresh > humans.pool_size:
        yield (
            ("web", "archive"),
            f"{scenario.web.archive:,} archived and {fresh:,} fresh human pages are wanted, but "
            f"`{humans.name}` has {humans.pool_size:,}",
            "lower the archive, the creators' pages or the rounds",
        )


def _reward_checks(scenario: Scenario, humans: Humans) -> Iterator[Finding]:
    images = len(humans.shape) == 3
    for number, group in enumerate(scenario.users):
        route = ("users", number, "reward")
        reward = group.reward
        if needs_classifier(reward) and humans.known_classes < 2:
            yield route, f"there is no classifier for `{humans.name}`", "use `kind: distance` on vectors"
        elif isinstance(reward, ClassConfidence) and reward.class_ >= humans.known_classes:
            yield (*route, "class"), f"`{humans.name}` has classes 0 to {humans.known_classes - 1}", ""
        elif isinstance(reward, Distance) and (images or len(reward.to) != humans.shape[0]):
            shape = "images" if images else f"vectors of {humans.shape[0]} numbers"
            yield (*route, "to"), f"a distance needs a point like the data, and `{humans.name}` has {shape}", ""


def _metric_checks(scenario: Scenario, humans: Humans) -> Iterator[Finding]:
    fit = [m.name for m in metrics.build(None, humans)]
    for number, name in enumerate(scenario.metrics or ()):
        if name not in metrics.NAMES:
            yield ("metrics", number), f"there is no metric `{name}`", suggest(name, metrics.NAMES)
        elif name not in fit:
            yield (
                ("metrics", number),
                f"`{name}` cannot be measured on `{humans.name}`",
                f"these can: {', '.join(fit)}",
            )
    measured = [name for name in scenario.metrics or fit if name in fit]
    for number, claim in enumerate(scenario.claims):
        yield from _claim_checks(("claims", number), claim, scenario, measured)


def _claim_checks(
    route: tuple[str | int, ...], claim: Claim, scenario: Scenario, measured: list[str]
) -> Iterator[Finding]:
    providers = [p.name for p in scenario.providers]
    for name in (claim.of, claim.than.of if claim.than else None):
        if name is not None and name not in providers:
            yield route, f"there is no provider `{name}`", suggest(name, providers)
    if claim.is_ in VERDICTS:
        if claim.of is None or claim.metric is not None:
            yield (
                route,
                f"a claim of `{claim.is_}` is about a provider's verdict",
                "it takes `of`, and no `metric`",
            )
        return
    known = [*PROVIDER_COUNTS, *measured] if claim.of else list(WEB_COUNTS)
    if claim.metric not in known:
        of = f"of `{claim.of}`" if claim.of else "of the web (a claim without `of`)"
        yield route, f"there is no metric `{claim.metric}` {of}", suggest(str(claim.metric), known)
    needs = {"bounded": "within", "outgrows": "factor"}.get(claim.is_)
    if needs and getattr(claim, needs) is None:
        yield route, f"`{claim.is_}` needs `{needs}`: times its own generation 0", f"add `{needs}: 2.0`"
    if claim.is_ in ("lower-than", "higher-than"):
        if (claim.than is None) == (claim.value is None):
            yield route, f"`{claim.is_}` needs `than` or `value`", "for example `than: {of: beta}`"
        elif claim.than and claim.than.of is None and claim.than.generation is None:
            yield route, "`than` needs `of` or `generation`", ""
        elif claim.than and claim.of is None:
            yield route, "`than` compares providers", "add `of`"


def _model_checks(scenario: Scenario, humans: Humans, found: Mapping[str, Card]) -> Iterator[Finding]:
    for number, provider in enumerate(scenario.providers):
        card = found.get(provider.name)
        if card is None or isinstance(card.model, Gaussian):
            continue
        if len(humans.shape) == 3:
            continue
        if isinstance(card.model.net, UNetSettings):
            problem = f"`{card.name}` has a U-Net, which needs images, and `{humans.name}` has vectors"
            yield ("providers", number, "model"), problem, "use a card with an MLP"
        if isinstance(card.model, Diffusion) and card.model.sampler.clip:
            problem = f"`{card.name}` clips to [-1, 1], the range of images, and `{humans.name}` has vectors"
            yield ("providers", number, "model"), problem, "set `sampler.clip: false`"


def resolved_yaml(question: Question) -> str:
    return to_yaml(question.resolved)
