"""The model cards of a scenario's providers: of those who are there, who enter, and who change theirs with an event.

Files at ``strange`` places, which a stranger's scenario may not name, are not opened.
"""

from __future__ import annotations

from collections.abc import Set

from ecosystem.agents.provider import ProviderSettings
from ecosystem.checks import fault
from ecosystem.documents import Document, Fault, FaultsError, Route, shown
from ecosystem.models import cards
from ecosystem.models.cards import Card
from ecosystem.question import Event, Scenario


def at_the_start(scenario: Scenario, document: Document, strange: Set[Route]) -> tuple[dict[str, Card], list[Fault]]:
    """By provider; files at ``strange`` places are not opened."""
    found: dict[str, Card] = {}
    faults: list[Fault] = []
    for number, provider in enumerate(scenario.providers):
        card, wrong = _card(provider, ("providers", number), document, strange)
        faults += wrong
        if card is not None:
            found[provider.name] = card
    return found, faults


def of_those_who_enter(
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
        return None, [fault(document, (route, problem, remedy))]
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
            f if f.line is not None else fault(document, ((*route, "model"), file + f.problem, f.remedy))
            for f in error.faults
        ]


def changed_by(
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
