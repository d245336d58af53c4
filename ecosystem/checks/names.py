"""Names: those that may be taken, those that must exist, and what stands twice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ecosystem.checks.findings import Finding, names_of
from ecosystem.documents import shown, suggest

if TYPE_CHECKING:
    from ecosystem.agents.provider import ProviderSettings
    from ecosystem.models.cards import Card
    from ecosystem.question import Scenario

PLAIN_NAME = re.compile(r"\w(?:[\w -]*[\w-])?")
TAKEN = {  # names of random streams and of things on record that are nobody's
    "human": "the word for human makers",
    "web": "the word for the web",
    "archive": "the word for the archive",
    "humans": "a word of the program",
    "metrics": "a word of the program",
    "evaluation": "a word of the program",
    "classifier": "a word of the program",
}


def name_checks(scenario: Scenario) -> Iterator[Finding]:
    remedy = "a name has letters, digits, spaces, - and _"
    if not PLAIN_NAME.fullmatch(scenario.name):
        yield ("name",), f"`{scenario.name}` cannot be a name", remedy
    taken = dict(TAKEN)
    for part in ("creators", "users", "scrapers", "providers"):
        for number, group in enumerate(getattr(scenario, part)):
            if not PLAIN_NAME.fullmatch(group.name):
                yield (part, number, "name"), f"`{group.name}` cannot be a name", remedy
            elif group.name in taken:
                problem = f"the name `{group.name}` is taken: it is {taken[group.name]}"
                yield (part, number, "name"), problem, "names are unique in a scenario"
            taken.setdefault(group.name, f"also one of the {part}")


def reference_checks(scenario: Scenario, found: Mapping[str, Card]) -> Iterator[Finding]:
    """Names of others."""
    providers, scrapers = names_of(scenario.providers), names_of(scenario.scrapers)
    for number, provider in enumerate(scenario.providers):
        name = provider.scraper
        if name is not None and name not in scrapers:
            yield ("providers", number, "scraper"), f"there is no scraper `{shown(name)}`", suggest(name, scrapers)
    for number, group in enumerate(scenario.users):
        route = ("users", number, "providers")
        for name in group.providers or ():
            if name not in providers:
                yield route, f"there is no provider `{shown(name)}`", suggest(name, providers)
        if group.providers == ():
            yield route, "the group asks nobody", "null means all providers"
    for number, provider in enumerate(scenario.providers):
        if provider.distil is not None and provider.distil.of not in providers:
            name, place = provider.distil.of, ("providers", number, "distil", "of")
            yield place, f"there is no provider `{shown(name)}`", suggest(name, providers)
        elif provider.distil is not None and provider.distil.of == provider.name:
            yield ("providers", number, "distil", "of"), f"`{provider.name}` has nothing to distil from itself", ""
        yield from _open_weights(number, provider, providers, found)
    for number, creator in enumerate(scenario.creators):
        asked = creator.adoption.provider if creator.adoption else None
        if asked is not None and asked not in providers:
            place = ("creators", number, "adoption", "provider")
            yield place, f"there is no provider `{shown(asked)}`", suggest(asked, providers)
    makers = ["human", *found]  # also of those who have left
    for number, scraper in enumerate(scenario.scrapers):
        for name in scraper.take or ():
            if name not in makers:
                problem = f"nobody called `{shown(name)}` makes pages"
                yield ("scrapers", number, "take"), problem, suggest(name, makers)


def _open_weights(
    number: int, provider: ProviderSettings, providers: list[str], found: Mapping[str, Card]
) -> Iterator[Finding]:
    other, route = provider.weights_of, ("providers", number, "weights_of")
    if other is None:
        return
    if other not in providers:
        yield route, f"there is no provider `{shown(other)}`", suggest(other, providers)
    elif provider.distil is not None:
        yield route, "it begins with another's weights and by distilling", "keep one of them"
    elif providers.index(other) >= number:
        yield route, f"`{other}` must have a model first", "name it further up in `providers`"
    elif other in found and provider.name in found and found[other].model != found[provider.name].model:
        yield route, f"`{other}` has another model than `{provider.name}`", "give both the same `model`"


def repetition_checks(scenario: Scenario) -> Iterator[Finding]:
    for part in ("seeds", "metrics"):
        values: tuple[Any, ...] = getattr(scenario, part) or ()
        seen: set[Any] = set()
        for number, value in enumerate(values):
            if value in seen:
                yield (part, number), f"{shown(value)} stands twice", "keep one of them"
            seen.add(value)
