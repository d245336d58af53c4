"""Events: the policies of a scenario as they stand after each of them.

An event removes groups, adds others and sets policies, in this order. What is then wrong is told at the event. So is
the removal of the first scraper while somebody goes by it without naming it: nobody moves to another unasked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from ecosystem import checks, grammar, model_cards
from ecosystem.documents import Document, Fault, FaultsError, Route, set_path, shown, suggest
from ecosystem.models.cards import Card
from ecosystem.question import Added, Event, Scenario

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
        "weights_of",
        "watermark",
        "model",
        "card",
    ),
    "web": ("retention", "capacity", "admission"),
}
_GROUPS = ("creators", "users", "scrapers", "providers")


def policies_after(
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
        faults += [checks.fault(document, finding) for finding in _event_checks(number, event, scenario.rounds)]
        after, wrong = _after(tree, number, event, document)
        wrong += [checks.fault(document, finding) for finding in _returning(number, event, ever)]
        wrong += [checks.fault(document, finding) for finding in _moved(number, event, tree, after)]
        policy, invalid = grammar.check(Scenario, Document(after, document.origin, {}))
        wrong += [_event_fault(document, number, after, f.where, f.problem, f.remedy) for f in invalid]
        if policy is not None:
            cards_then, wrong_cards = model_cards.changed_by(number, event, policy, document, strange)
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


def _moved(number: int, event: Event, before: Any, after: Any) -> Iterator[checks.Finding]:
    """A first scraper that leaves those who name none to another, whose pages may be quite different ones."""
    [first, *_], then = before["scrapers"], after["scrapers"]
    dotted = f"scrapers.{first['name']}"
    if dotted not in (event.remove or ()) or not then:
        return
    served = {provider["name"] for provider in before["providers"] if provider["scraper"] is None}
    left = [p["name"] for p in after["providers"] if p["scraper"] is None and p["name"] in served]
    if left:
        problem = f"`{first['name']}` crawls for all that name no scraper: {', '.join(f'`{name}`' for name in left)}"
        remedy = f"say who crawls for them then, as `set: {{providers.{left[0]}.scraper: {then[0]['name']}}}`"
        yield ("events", number, "remove", (event.remove or ()).index(dotted)), problem, remedy


def _after(tree: Any, number: int, event: Event, document: Document) -> tuple[Any, list[Fault]]:
    """The tree after an event, without those of its parts that are impossible."""
    faults: list[Fault] = []
    for position, dotted in enumerate(event.remove or ()):
        part, _, name = dotted.partition(".")
        kept = [group for group in tree[part] if group["name"] != name] if part in _GROUPS else []
        if part not in _GROUPS or len(kept) == len(tree[part]):
            names = [f"{part}.{group['name']}" for part in _GROUPS for group in tree[part]]
            place: Route = ("events", number, "remove", position)
            faults.append(checks.fault(document, (place, f"there is no `{shown(dotted)}`", suggest(dotted, names))))
        else:
            tree = {**tree, part: kept}
    if event.add is not None:
        added = grammar.dump(event.add)
        tree = {**tree, **{part: [*tree[part], *added[part]] for part in _GROUPS}}
    for dotted, value in (event.set or {}).items():
        route = ("events", number, "set", dotted)
        if remedy := _no_policy(dotted):
            faults.append(checks.fault(document, (route, "an event cannot set this", remedy)))
            continue
        try:
            tree = set_path(tree, dotted, value, document.origin)
            words = dotted.split(".")
            if words[0] == "providers" and words[-1] in ("model", "card") and len(words) == 3:
                # One takes the other's place.
                other = "card" if words[-1] == "model" else "model"
                tree = set_path(tree, f"providers.{words[1]}.{other}", None, document.origin)
        except FaultsError as error:
            faults += [checks.fault(document, (route, f.problem, f.remedy)) for f in error.faults]
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
        name = grammar.where(after, grammar.route_to(after, dotted))
        if grammar.within(where, name) or grammar.within(name, where):
            route = ("events", number, "set", dotted)
            where = "" if where == name else where
            break
    return checks.fault(document, (route, f"{where}: {problem}" if where else problem, remedy))
