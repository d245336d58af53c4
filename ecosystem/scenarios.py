"""The grammar of a scenario, and everything that can be known to be wrong before it runs.

    load("lambda-mixture") -> Scenario        a shipped name or a path
    load("mine.yaml", {"users.crowd.k": "4"})  with overrides, as `--set users.crowd.k=4`

A scenario is a question about a web: who lives on it, under which policies, and what is claimed to happen. Neutral
defaults make a short file a valid world. There is no key for lambda or for a "mode": both are what a world does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types as at
from pydantic import BeforeValidator, Field, JsonValue

from ecosystem import changes, checks, grammar
from ecosystem.agents.creator import CreatorSettings
from ecosystem.agents.provider import ProviderSettings
from ecosystem.agents.scraper import ScraperSettings
from ecosystem.agents.user import UserSettings
from ecosystem.documents import (
    Document,
    Fault,
    FaultsError,
    Route,
    parse,
    put,
    raise_faults,
    read,
    set_path,
    shown,
    suggest,
)
from ecosystem.evaluation import EvaluationSettings
from ecosystem.humans import HumanSource
from ecosystem.models import cards
from ecosystem.models.cards import Card
from ecosystem.settings import Count, Name, NonNegative, Positive, PositiveFloat, Settings
from ecosystem.web.admission import Admission
from ecosystem.web.corpus import Retention
from ecosystem.web.sites import SitesSettings

FOLDER = "scenarios"


MOST_SEEDS = 10_000
MOST_GROUPS = 300  # of a kind: a group has as many members as one likes
MOST_EVENTS = 400
MOST_FINDINGS = 200  # are told; to look for more takes long and helps nobody

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
    a ``value``, at the end; ``as-theory``: the metric agrees with its closed form at generations 1, 3, 10, 30 and 100;
    or a verdict word: that is the provider's verdict. ``of``: a provider, or null for the web.
    """

    is_: Literal[
        "increasing",
        "decreasing",
        "bounded",
        "outgrows",
        "lower-than",
        "higher-than",
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
    return hashlib.sha256(json.dumps(_in_force(tree), sort_keys=True).encode()).hexdigest()[:8]


def _in_force(tree: Any) -> Any:
    """Without the keys of mappings whose values are off: null, false, or of the kind `none`."""
    if isinstance(tree, dict):
        return {key: _in_force(value) for key, value in tree.items() if not _off(value)}
    return [_in_force(item) for item in tree] if isinstance(tree, list) else tree


def _off(value: Any) -> bool:
    return value is None or value is False or value == {"kind": "none"}


def names() -> list[str]:
    return grammar.shipped_names(FOLDER)


def path_of(name_or_path: str) -> Path:
    """The file of a shipped scenario's name, or the path itself."""
    if name_or_path in names():
        return grammar.shipped(FOLDER) / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or _exists(path):
        return path
    fault = Fault(shown(name_or_path), None, "", "there is no such scenario", suggest(name_or_path, names()))
    raise_faults([fault], "scenario")
    raise AssertionError


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # longer than any name that a file system takes
        return False


def load(name_or_path: str, overrides: Mapping[str, Any] | None = None, allow_paths: bool = False) -> Question:
    """Read, override, check. Raises ScenarioError with every fault found, or DataError; nothing is written.

    Files that the scenario names stand in its own folder, the working directory or the folder of human data, unless
    ``allow_paths``: it may be a stranger's. A path in ``overrides`` is the caller's own word.
    """
    question = from_document(read(path_of(name_or_path)), overrides or {}, allow_paths)
    question.scenario.humans.open().ready()
    return question


def from_text(text: str, overrides: Mapping[str, Any] | None = None, origin: str = "scenario") -> Question:
    """The same of a text that the caller has written, or read himself."""
    return from_document(parse(text, origin), overrides or {}, allow_paths=True)


def from_document(document: Document, overrides: Mapping[str, Any], allow_paths: bool = False) -> Question:
    """Override and check; raises ScenarioError with all that is wrong."""
    document, overridden, faults = _override(document, overrides)
    scenario, wrong = grammar.check(Scenario, document)
    faults += wrong
    if scenario is not None:
        strange = [] if allow_paths else list(checks.strange_paths(scenario, Path(document.origin).parent, overridden))
        faults += [_fault(document, finding) for finding in strange]
        found, wrong = _cards(scenario, document, {route for route, _, _ in strange})
        findings = list(islice(checks.of_scenario(scenario, found), MOST_FINDINGS))
        later, wrong_later = _cards_of_events(scenario, document, {route for route, _, _ in strange})
        found |= later
        closed = {route for route, _, _ in strange}
        policies, changed, event_faults = _policies(scenario, document, found, findings, closed)
        event_faults += wrong_later
        question = Question(scenario, found, policies, changed)
        findings += islice(checks.of_question(question), MOST_FINDINGS)
        faults += [*wrong, *event_faults, *(_fault(document, finding) for finding in findings)]
    raise_faults(_told(faults, [grammar.where(document.data, route) for route in overridden]), document.origin)
    return question


def _fault(document: Document, finding: checks.Finding) -> Fault:
    route, problem, remedy = finding
    return grammar.fault(document, route, problem, remedy)


# Overrides

SET = "--set"


def _override(document: Document, overrides: Mapping[str, Any]) -> tuple[Document, list[Route], list[Fault]]:
    """The document with other values, and the places that are new. Text is read as YAML, as on a command line."""
    tree: Any = document.data
    routes: list[Route] = []
    faults: list[Fault] = []
    for dotted, value in overrides.items():
        route = _route(tree, dotted)
        try:
            tree = put(tree, dotted, value, SET) if isinstance(value, str) else set_path(tree, dotted, value, SET)
        except FaultsError as error:
            faults += error.faults
        else:
            # The first part of the path that the file knows nothing of, or else the value itself.
            routes.append(next((route[:n] for n in range(1, len(route)) if route[:n] not in document.lines), route))
    return Document(tree, document.origin, document.lines), routes, faults


def _route(tree: Any, dotted: str) -> Route:
    """The place that a dotted path means, if it means one."""
    route: list[str | int] = []
    for word in dotted.split("."):
        part: str | int = word
        if isinstance(tree, list):
            names = [item.get("name") if isinstance(item, dict) else None for item in tree]
            part = names.index(word) if word in names else int(word) if word.isdecimal() else word
            tree = tree[part] if isinstance(part, int) and part < len(tree) else None
        else:
            tree = tree.get(word) if isinstance(tree, dict) else None
        route.append(part)
    return tuple(route)


def _told(faults: list[Fault], overridden: list[str]) -> list[Fault]:
    """Each fault once; one of an overridden value names the override, for its line in the file is not to blame."""
    return [
        replace(fault, origin=SET, line=None) if any(_within(fault.where, name) for name in overridden) else fault
        for fault in dict.fromkeys(faults)
    ]


def _within(name: str, around: str) -> bool:
    """Whether a dotted name is that of a place or of one inside it."""
    return name == around or name.startswith(f"{around}.")


# Cards


def _cards(scenario: Scenario, document: Document, strange: Set[Route]) -> tuple[dict[str, Card], list[Fault]]:
    """By provider; files at ``strange`` places are not opened."""
    found: dict[str, Card] = {}
    faults: list[Fault] = []
    for number, provider in enumerate(scenario.providers):
        card, wrong = _card(provider, ("providers", number), document, strange)
        faults += wrong
        if card is not None:
            found[provider.name] = card
    return found, faults


def _cards_of_events(
    scenario: Scenario, document: Document, strange: Set[Route]
) -> tuple[dict[str, Card], list[Fault]]:
    """By provider that enters later."""
    found: dict[str, Card] = {}
    faults: list[Fault] = []
    for happening, number, provider in [
        (position, number, provider)
        for position, event in enumerate(scenario.events)
        for number, provider in enumerate(event.add.providers if event.add else ())
    ]:
        card, wrong = _card(provider, ("events", happening, "add", "providers", number), document, strange)
        faults += wrong
        if card is not None:
            found.setdefault(provider.name, card)
    return found, faults


def _card(
    provider: ProviderSettings, route: Route, document: Document, strange: Set[Route]
) -> tuple[Card | None, list[Fault]]:
    """Of a provider; a file at a ``strange`` place is not opened."""
    if (provider.model is None) == (provider.card is None):
        problem, remedy = "has both `model`, the name of a card, and `card`, a model in place", "keep one of them"
        if provider.model is None:
            problem = "has neither `model`, the name of a card, nor `card`, a model in place"
            remedy = "see `ecosystem models`"
        return None, [_fault(document, (route, problem, remedy))]
    if provider.card is not None:
        return cards.in_place(provider.card), []
    if (*route, "model") in strange:
        return None, []
    assert provider.model is not None
    try:
        return cards.load(provider.model), []
    except FaultsError as error:
        # A fault with a line is one inside the card's own file.
        file = f"`{shown(provider.model)}`: " if provider.model.endswith((".yaml", ".yml")) else ""
        return None, [
            f if f.line is not None else _fault(document, ((*route, "model"), file + f.problem, f.remedy))
            for f in error.faults
        ]


# Events

# What an event may set: policies. How many there are of a group, and what they keep from the start, is fixed.
_POLICIES = {
    "creators": ("pages_per_round", "attention", "adoption", "reservoir"),
    "users": (
        *("prompts_per_round", "k", "choice", "reward", "publish", "providers", "candidates"),
        *("prompts", "provider_choice", "taste_drift", "adversary", "publish_share"),
    ),
    "scrapers": (
        *("budget", "window_rounds", "retention", "take", "crawl", "filter"),
        *("quality", "near_duplicates", "balance", "resample"),
    ),
    "providers": (
        "retrain",
        "scraper",
        "sampling_bias",
        "correction",
        "negative_guidance",
        "distil",
        "watermark",
        "model",
        "card",
    ),
    "web": ("retention", "capacity", "admission"),
}
_GROUPS = ("creators", "users", "scrapers", "providers")


def _policies(
    scenario: Scenario,
    document: Document,
    found: Mapping[str, Card],
    findings: list[checks.Finding],
    strange: Set[Route],
) -> tuple[dict[int, Scenario], dict[str, dict[int, Card]], list[Fault]]:
    """The scenario as it stands after each event, and the cards of those who then change theirs.

    ``findings``: what is known to be wrong without any event.
    """
    # Neither events nor seeds nor claims are policies, and all may be many.
    tree: Any = {**grammar.dump(scenario), "events": [], "seeds": [0], "claims": []}
    policies: dict[int, Scenario] = {}
    changed: dict[str, dict[int, Card]] = {}
    faults: list[Fault] = []
    known = set(findings)
    ever = {group["name"] for part in _GROUPS for group in tree[part]}
    for number, event in sorted(enumerate(scenario.events), key=lambda pair: pair[1].at):
        faults += [_fault(document, finding) for finding in _event_checks(number, event, scenario.rounds)]
        after, wrong = _after(tree, number, event, document)
        wrong += [_fault(document, finding) for finding in _returning(number, event, ever)]
        policy, invalid = grammar.check(Scenario, Document(after, document.origin, {}))
        wrong += [_event_fault(document, number, after, f.where, f.problem, f.remedy) for f in invalid]
        if policy is not None:
            cards_then, wrong_cards = _changed_cards(number, event, policy, document, strange)
            found = {**found, **cards_then}
            for name, card in cards_then.items():
                changed.setdefault(name, {})[event.at] = card
            wrong += wrong_cards
            tree, policies[event.at] = after, policy
            new = [finding for finding in checks.of_scenario(policy, found) if finding not in known]
            known.update(new)
            wrong += [_event_fault(document, number, after, grammar.where(after, r), p, m) for r, p, m in new]
        faults += wrong
    return policies, changed, faults


def _changed_cards(
    number: int, event: Event, policy: Scenario, document: Document, strange: Set[Route]
) -> tuple[dict[str, Card], list[Fault]]:
    """The cards that an event gives to providers that are there."""
    found: dict[str, Card] = {}
    faults: list[Fault] = []
    for dotted in event.set or ():
        part, _, rest = dotted.partition(".")
        name, _, key = rest.partition(".")
        provider = (
            policy.found_provider(name) if part == "providers" and key.split(".")[0] in ("model", "card") else None
        )
        if provider is None:
            continue
        route: Route = ("events", number, "set", dotted)
        card, wrong = _card(provider, route, document, {(*r, "model") for r in strange})
        faults += wrong
        if card is not None:
            found[name] = card
    return found, faults


def _event_checks(number: int, event: Event, rounds: int) -> Iterator[checks.Finding]:
    if event.at >= rounds:
        problem = f"in round {event.at:,} the scenario is over: its rounds are 0 to {rounds - 1:,}"
        yield ("events", number, "at"), problem, "raise `rounds`, or let it happen earlier"
    if event.set == {}:
        yield ("events", number, "set"), "the event sets nothing", "for example {users.crowd.k: 4}"
    elif event.set is None and event.add in (None, Added()) and not event.remove:
        yield ("events", number), "nothing happens", "add `set`, `add` or `remove`"


def _returning(number: int, event: Event, ever: set[str]) -> Iterator[checks.Finding]:
    """Names that somebody had before; those of the event are then added to them."""
    for part in _GROUPS:
        for place, group in enumerate(getattr(event.add, part, ())):
            if group.name in ever:
                problem = f"`{group.name}` has been there before"
                yield ("events", number, "add", part, place, "name"), problem, "choose a new name"
            ever.add(group.name)


def _after(tree: Any, number: int, event: Event, document: Document) -> tuple[Any, list[Fault]]:
    """The tree after an event, without those of its parts that are impossible."""
    faults: list[Fault] = []
    for position, dotted in enumerate(event.remove or ()):
        part, _, name = dotted.partition(".")
        kept = [group for group in tree[part] if group["name"] != name] if part in _GROUPS else []
        if part not in _GROUPS or len(kept) == len(tree[part]):
            names = [f"{part}.{group['name']}" for part in _GROUPS for group in tree[part]]
            place: Route = ("events", number, "remove", position)
            faults.append(_fault(document, (place, f"there is no `{shown(dotted)}`", suggest(dotted, names))))
        else:
            tree = {**tree, part: kept}
    if event.add is not None:
        added = grammar.dump(event.add)
        tree = {**tree, **{part: [*tree[part], *added[part]] for part in _GROUPS}}
    for dotted, value in (event.set or {}).items():
        route = ("events", number, "set", dotted)
        if remedy := _no_policy(dotted):
            faults.append(_fault(document, (route, "an event cannot set this", remedy)))
            continue
        try:
            tree = set_path(tree, dotted, value, document.origin)
            words = dotted.split(".")
            if words[0] == "providers" and words[-1] in ("model", "card") and len(words) == 3:
                # One takes the other's place.
                other = "card" if words[-1] == "model" else "model"
                tree = set_path(tree, f"providers.{words[1]}.{other}", None, document.origin)
        except FaultsError as error:
            faults += [_fault(document, (route, f.problem, f.remedy)) for f in error.faults]
    return tree, faults


def _no_policy(dotted: str) -> str:
    """What an event can set instead of this path, or "" where the path is one that it can."""
    words = dotted.split(".")
    part = words[0]
    if part not in _POLICIES:
        return f"it can set policies of: {', '.join(_POLICIES)}"
    at = 1 if part == "web" else 2
    if len(words) > at and words[at] in _POLICIES[part]:
        return ""
    start = part if part == "web" else f"{part}.NAME"
    return f"it can set {start}. and one of: {', '.join(_POLICIES[part])}"


def _event_fault(document: Document, number: int, after: Any, where: str, problem: str, remedy: str) -> Fault:
    """A fault of the scenario as it stands after an event, told at the setting that brought it about."""
    route: Route = ("events", number)
    for dotted in document.data["events"][number].get("set") or ():
        name = grammar.where(after, _route(after, dotted))
        if _within(where, name) or _within(name, where):
            route = ("events", number, "set", dotted)
            where = "" if where == name else where
            break
    return _fault(document, (route, f"{where}: {problem}" if where else problem, remedy))
