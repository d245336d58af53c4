"""What is asked: a scenario, as settings; and a question, a scenario that has passed all checks, round by round.

A scenario says who lives on a web, under which policies, and what is claimed to happen. Neutral defaults make a short
file a valid world. There is no key for lambda or for a "mode": both are what a world does. Files are read, and checked,
in scenarios.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

import annotated_types as at
from pydantic import BeforeValidator, Field, JsonValue

from ecosystem import changes, grammar
from ecosystem.agents.creator import CreatorSettings
from ecosystem.agents.provider import ProviderSettings
from ecosystem.agents.scraper import ScraperSettings
from ecosystem.agents.user import UserSettings
from ecosystem.evaluation import EvaluationSettings
from ecosystem.features import JudgeName
from ecosystem.humans import HumanSource
from ecosystem.models.cards import Card
from ecosystem.settings import Count, Name, NonNegative, Positive, PositiveFloat, Settings
from ecosystem.web.admission import Admission
from ecosystem.web.corpus import Retention
from ecosystem.web.sites import SitesSettings

MOST_SEEDS = 10_000
MOST_GROUPS = 300  # of a kind: a group has as many members as one likes
MOST_EVENTS = 400

SeedsInYaml = tuple[Count, ...] | str


def seeds_of(value: Any) -> Any:
    """Seeds as a list, or as text: `0-4` is 0 to 4, `0,2,5` are three. Raises ValueError."""
    if not isinstance(value, str):
        return value
    found: list[int] = []
    for part in filter(None, (p.strip() for p in value.split(","))):
        first, dash, last = part.partition("-")
        if not _is_seed(first) or (dash and not _is_seed(last)):
            raise ValueError(f"`{part}` is no seed; write 0-4 or 0,2,5")
        low, high = int(first), int(last or first)
        if high < low or len(found) + high - low >= MOST_SEEDS:
            raise ValueError(f"`{part}` is {'empty' if high < low else f'over {MOST_SEEDS:,} seeds'}")
        found += range(low, high + 1)
    if not found:
        raise ValueError(f"{value!r} names no seed; write 0-4 or 0,2,5")
    return tuple(dict.fromkeys(found))


def _is_seed(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


@dataclass(frozen=True)
class WebSettings(Settings):
    archive: Count = 1000  # human pages before round 0
    sites: SitesSettings = SitesSettings()
    retention: Retention = Retention()
    capacity: Positive | None = None  # pages that a site shows, the newest; null: all of them
    admission: Admission | None = None  # null: every site takes whatever is published


@dataclass(frozen=True)
class Added(Settings):
    """Groups that enter."""

    creators: tuple[CreatorSettings, ...] = ()
    users: tuple[UserSettings, ...] = ()
    scrapers: tuple[ScraperSettings, ...] = ()
    providers: tuple[ProviderSettings, ...] = ()


@dataclass(frozen=True)
class Event(Settings):
    """From round ``at`` on, the policies under ``set`` have new values.

    Groups under ``add`` have entered, and those named in ``remove``, as `providers.beta`, have left: what they
    published stays. A name that has left does not come back.
    """

    at: Count
    set: dict[str, JsonValue] | None = None
    add: Added | None = None
    remove: tuple[str, ...] | None = None


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
    a ``value``, at the end; ``recovers``: from generation ``after`` on (of the web and of groups: round) it gets worse
    than it was before, and comes back to ``within`` times that; ``as-theory``: the metric agrees with its closed form
    at generations 1, 3, 10, 30 and 100; or a verdict word: that is the provider's verdict. ``of``: a provider, or null
    for the web.
    """

    is_: Literal[
        "increasing",
        "decreasing",
        "bounded",
        "outgrows",
        "lower-than",
        "higher-than",
        "recovers",
        "as-theory",
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
    after: Positive | None = None


@dataclass(frozen=True)
class Scenario(Settings):
    name: Name
    rounds: Annotated[int, at.Ge(1), at.Le(100_000)]
    humans: Annotated[HumanSource, Field(discriminator="source")]
    providers: Annotated[tuple[ProviderSettings, ...], at.MinLen(1), at.MaxLen(MOST_GROUPS)]
    question: str = ""
    about: str = ""
    papers: tuple[str, ...] = ()
    seeds: Annotated[
        tuple[Count, ...],
        Field(strict=False),
        at.MinLen(1),
        at.MaxLen(MOST_SEEDS),
        BeforeValidator(seeds_of, json_schema_input_type=SeedsInYaml),
    ] = (0,)
    web: WebSettings = WebSettings()
    creators: Annotated[tuple[CreatorSettings, ...], at.MaxLen(MOST_GROUPS)] = ()
    users: Annotated[tuple[UserSettings, ...], at.MaxLen(MOST_GROUPS)] = ()
    scrapers: Annotated[tuple[ScraperSettings, ...], at.MinLen(1), at.MaxLen(MOST_GROUPS)] = (
        ScraperSettings(name="everything"),
    )
    events: Annotated[tuple[Event, ...], at.MaxLen(MOST_EVENTS)] = ()
    metrics: tuple[str, ...] | None = None
    claims: tuple[Claim, ...] = ()
    evaluation: EvaluationSettings = EvaluationSettings()
    judge: JudgeName | None = None  # who tells the classes of images; null: a classifier trained on the human source
    coevolution: bool = False  # measure what providers and groups of users do to one another, every round
    record_pages: bool = True  # false: what was published is counted, not kept
    checkpoint_minutes: NonNegative = 10.0  # of work that a kill may lose; 0: none that was told of
    checkpoint_keep: Positive | None = 2  # of a seed, until it has finished; null: one of every round, for good
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def provider(self, name: str) -> ProviderSettings:
        return next(p for p in self.providers if p.name == name)

    def found_provider(self, name: str) -> ProviderSettings | None:
        return next((p for p in self.providers if p.name == name), None)

    def scraper(self, name: str) -> ScraperSettings:
        return next(s for s in self.scrapers if s.name == name)

    def found_scraper(self, name: str) -> ScraperSettings | None:
        return next((s for s in self.scrapers if s.name == name), None)

    def scraper_for(self, provider: ProviderSettings) -> ScraperSettings:
        return self.scraper(provider.scraper) if provider.scraper else self.scrapers[0]

    def groups_of(self, provider: str) -> list[UserSettings]:
        """The user groups that ask this provider."""
        return [g for g in self.users if g.ballots and (g.providers is None or provider in g.providers)]

    @property
    def ballots_per_round(self) -> int:
        return sum(group.count * group.prompts_per_round for group in self.users)


@dataclass(frozen=True)
class Question:
    """A scenario that has passed all checks: with its model cards, and its policies round by round."""

    scenario: Scenario
    cards: Mapping[str, Card]  # by provider
    policies: Mapping[int, Scenario] = field(default_factory=dict)  # by the round of an event
    changed: Mapping[str, Mapping[int, Card]] = field(default_factory=dict)  # by provider, from a round on
    weights: Mapping[str, str] = field(default_factory=dict)  # checksums of what cards name, by path (weights.py)

    def at(self, round: int) -> Scenario:
        """The policies in force in a round."""
        past = [start for start in self.policies if start <= round]
        return self.policies[max(past)] if past else self.scenario

    def card(self, provider: str, round: int) -> Card:
        """The model that a provider would train in a round."""
        changes = {start: card for start, card in self.changed.get(provider, {}).items() if start <= round}
        return changes[max(changes)] if changes else self.cards[provider]

    @property
    def all_cards(self) -> list[Card]:
        """Of all providers and rounds."""
        return [*self.cards.values(), *(card for later in self.changed.values() for card in later.values())]

    def _ever(self, part: str) -> tuple[Any, ...]:
        """The groups of a kind in the order in which they enter, each as it is when it does."""
        found: dict[str, Any] = {}
        for _, scenario in sorted([(-1, self.scenario), *self.policies.items()], key=lambda pair: pair[0]):
            for group in getattr(scenario, part):
                found.setdefault(group.name, group)
        return tuple(found.values())

    @cached_property
    def providers(self) -> tuple[ProviderSettings, ...]:
        """All that are ever there."""
        return self._ever("providers")

    @cached_property
    def scrapers(self) -> tuple[ScraperSettings, ...]:
        return self._ever("scrapers")

    @cached_property
    def creators(self) -> tuple[CreatorSettings, ...]:
        return self._ever("creators")

    @cached_property
    def users(self) -> tuple[UserSettings, ...]:
        return self._ever("users")

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """Everything that decides what a run does, seeds apart: the records keep it, and name the run by it."""
        tree = grammar.dump(self.scenario)
        tree.pop("seeds")
        found: dict[str, Any] = {
            "scenario": tree,
            "cards": {name: grammar.dump(card) for name, card in self.cards.items()},
        }
        if self.changed:
            found["changed_cards"] = {
                name: {str(start): grammar.dump(card) for start, card in later.items()}
                for name, later in self.changed.items()
            }
        if self.weights:
            found["weights"] = dict(self.weights)
        return found

    @property
    def digest(self) -> str:
        return digest(self.resolved)


WORDS = changes.WORDS  # of a scenario: they change no draw


def digest(resolved: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits of what decides a run's draws; words, claims and cards' baselines do not.

    Nor does a policy that is off: a version of the grammar that knows one more gives the same name to the same run.
    """
    tree = {
        "scenario": {key: value for key, value in resolved["scenario"].items() if key not in WORDS + changes.HOW},
        "models": {name: card["model"] for name, card in resolved["cards"].items()},
    }
    for name, later in resolved.get("changed_cards", {}).items():
        tree["models"] |= {f"{name} from {start}": card["model"] for start, card in later.items()}
    if weights := resolved.get("weights"):
        tree["weights"] = weights
    return hashlib.sha256(json.dumps(_in_force(tree), sort_keys=True).encode()).hexdigest()[:8]


# What a card's newer keys stand at where they change nothing.
PLAIN = {"compile": "none", "precision": "auto", "processes": 1}
PLAIN |= {"patch": 1, "dropout": 0.0, "attention": [], "head_channels": 8}


def _in_force(tree: Any) -> Any:
    """Without the keys of mappings whose values are off: null, false, of the kind `none`, or plain."""
    if isinstance(tree, dict):
        in_force = {key: _in_force(value) for key, value in tree.items() if not _off(value) and PLAIN.get(key) != value}
        # DDIM was the only sampler that a diffusion had, and was not named.
        return {key: value for key, value in in_force.items() if (key, value) != ("kind", "ddim")}
    return [_in_force(item) for item in tree] if isinstance(tree, list) else tree


def _off(value: Any) -> bool:
    return value is None or value is False or value == {"kind": "none"}
