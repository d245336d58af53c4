"""Metrics and claims: what can be measured, of whom, and which keys a claim needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ecosystem import measures, metrics
from ecosystem.checks.findings import Finding, ever, names_of
from ecosystem.documents import Route, shown, suggest
from ecosystem.humans import Humans

if TYPE_CHECKING:
    from ecosystem.question import Claim, Question, Scenario, Than

# Numbers that are counted, not measured: of the web and of each provider.
WEB_COUNTS = ("pages", "synthetic-share", "lineage")
PROVIDER_COUNTS = ("lambda", "synthetic-share", "lineage", "vote-share", "data-set-pages")
VERDICTS = ("stable", "improving", "degrading", "collapsed")


def metric_checks(scenario: Scenario, humans: Humans) -> Iterator[Finding]:
    fit = metrics.measurable(humans)
    for number, name in enumerate(scenario.metrics or ()):
        if metrics.is_class_share(name) and name not in fit:
            remedy = f"these can: {metrics.class_shares(humans)}"
            yield ("metrics", number), f"`{shown(name)}` cannot be measured on `{humans.name}`", remedy
        elif name not in metrics.NAMES and name not in fit:
            yield ("metrics", number), f"there is no metric `{shown(name)}`", suggest(name, metrics.NAMES)
        elif name == "fid" and scenario.evaluation.features != "inception":
            problem = "the FID is a distance on Inception's features; elsewhere it is called `frechet`"
            yield ("metrics", number), problem, "add `evaluation: {features: inception}`"
        elif name not in fit:
            problem = f"`{name}` cannot be measured on `{humans.name}`"
            yield ("metrics", number), problem, f"these can: {', '.join(fit)}"
    by_default = [m.name for m in metrics.build(None, humans)]
    measured = by_default if scenario.metrics is None else [name for name in scenario.metrics if name in fit]
    for number, claim in enumerate(scenario.claims):
        route = ("claims", number)
        yield from _claim_checks(route, claim, scenario)
        if claim.is_ not in VERDICTS:
            yield from _claimed_metric_checks(route, claim, scenario, measured, fit)


def _known_of(name: str | None, scenario: Scenario, measured: list[str]) -> list[str]:
    """What can be claimed of the web (None), of a provider or of a group."""
    watched = scenario.coevolution
    if name is None:
        return [*WEB_COUNTS, *(measures.WEB if watched else ())]
    told: dict[str, Iterable[str]] = {
        "creators": measures.BY_CREATORS,
        "scrapers": measures.BY_SCRAPERS,
        "users": [*measures.BY_USERS, *(measures.OF_USERS if watched else ())],
    }
    for part, words in told.items():
        if name in ever(scenario, part):
            return list(words)
    return [*PROVIDER_COUNTS, *measured, *(measures.OF_PROVIDERS if watched else ())]


def _claimed_metric_checks(
    route: Route, claim: Claim, scenario: Scenario, measured: list[str], fit: list[str]
) -> Iterator[Finding]:
    known = _known_of(claim.of, scenario, measured)
    name = claim.metric
    if name is None:
        yield route, "`metric` is missing", f"one of: {', '.join(known)}"
    elif name not in known and claim.of is None and name in (*PROVIDER_COUNTS, *fit):
        problem = f"`{name}` is no number of the web, but of a provider"
        yield (*route, "metric"), problem, "add `of` with a provider's name"
    elif name not in known and name in fit and claim.of in ever(scenario, "providers"):
        yield (*route, "metric"), f"`{name}` is not measured", "add it to `metrics`"
    elif name not in known and not scenario.coevolution and name in measures.COEVOLUTION:
        yield (*route, "metric"), f"`{name}` is not measured", "add `coevolution: true`"
    elif name not in known:
        whose = f"of `{shown(claim.of)}`" if claim.of else "of the web (a claim without `of`)"
        yield (*route, "metric"), f"there is no metric `{shown(name)}` {whose}", suggest(name, known)


# What each word of a claim needs beside the metric: of each of these one.
_WITH: dict[str, tuple[tuple[str, ...], ...]] = {
    "bounded": (("within",),),
    "outgrows": (("factor",),),
    "lower-than": (("than", "value"),),
    "higher-than": (("than", "value"),),
    "recovers": (("after",), ("within",)),
}
_EXAMPLES = {
    "within": "within: 2.0",
    "factor": "factor: 2.0",
    "than": "than: {of: NAME}",
    "value": "value: 0.5",
    "after": "after: 8",
}


def _claim_checks(route: Route, claim: Claim, scenario: Scenario) -> Iterator[Finding]:
    providers, than = ever(scenario, "providers"), claim.than
    groups = [name for part in ("users", "creators", "scrapers") for name in ever(scenario, part)]
    for place, name in (("of", claim.of), ("than", than.of if than else None)):
        if name is not None and name not in (*providers, *groups):
            yield (*route, place), f"there is no provider `{shown(name)}`", suggest(name, [*providers, *groups])
    if claim.is_ in VERDICTS and claim.of in groups:
        yield (*route, "of"), f"a verdict is a provider's, and `{claim.of}` is none", suggest(str(claim.of), providers)
    yield from _key_checks(route, claim)
    if claim.is_ in VERDICTS:
        if claim.of is None:
            yield route, f"a claim of `{claim.is_}` is about a provider's verdict", "add `of` with its name"
        if claim.metric is not None:
            problem = f"a claim of `{claim.is_}` is about the verdict, not about a metric"
            yield (*route, "metric"), problem, "delete `metric`"
    if than is not None and claim.is_ in ("lower-than", "higher-than"):
        yield from _than_checks((*route, "than"), claim, than, scenario)
    if claim.is_ == "recovers":
        yield from _recovery_checks(route, claim, scenario)


def _key_checks(route: Route, claim: Claim) -> Iterator[Finding]:
    """Keys that the word of a claim needs, and such as mean nothing to it."""
    given = [key for key in _EXAMPLES if getattr(claim, key) is not None]
    wanted = _WITH.get(claim.is_, ())
    for key in given:
        if not any(key in one for one in wanted):
            words = " and ".join(f"`{word}`" for word, needs in _WITH.items() if any(key in one for one in needs))
            yield (*route, key), f"`{key}` means nothing to `{claim.is_}`", f"it belongs to {words}"
    for one in wanted:
        if not any(key in given for key in one):
            needs = " or ".join(f"`{key}`" for key in one)
            examples = " or ".join(f"`{_EXAMPLES[key]}`" for key in one)
            yield route, f"`{claim.is_}` needs {needs}", f"for example {examples}"
        elif len(one) > 1 and all(key in given for key in one):
            yield (*route, "value"), f"`{claim.is_}` compares with `than` or with `value`, not with both", "keep one"


def _recovery_checks(route: Route, claim: Claim, scenario: Scenario) -> Iterator[Finding]:
    if claim.after is not None and claim.after > scenario.rounds - 2:
        problem = f"in {scenario.rounds:,} rounds nothing gets worse and comes back after generation {claim.after:,}"
        yield (*route, "after"), problem, f"at most {scenario.rounds - 2:,}" if scenario.rounds > 2 else "more rounds"
    if claim.within is not None and claim.within < 1:
        problem = f"within {claim.within:g} times what it was before is better than before"
        yield (*route, "within"), problem, "a factor of 1 or more, for example 1.2"


def _than_checks(route: Route, claim: Claim, than: Than, scenario: Scenario) -> Iterator[Finding]:
    if claim.of is None:
        yield route, "`than` compares providers, and this claim is about the web", "add `of` with a provider's name"
    elif than.generation is None and than.of in (None, claim.of):
        problem = f"`{claim.of}` is compared with itself"
        if than.of is None:
            problem = "`than` names neither another provider nor a generation"
        yield route, problem, "for example {of: NAME} or {generation: 0}"
    elif than.generation is not None and than.generation >= scenario.rounds:
        problem = f"there is no generation {than.generation:,} in {scenario.rounds:,} rounds"
        yield (*route, "generation"), problem, f"at most {scenario.rounds - 1:,}"


def reward_metric_checks(question: Question) -> Iterator[Finding]:
    """A reward is measured of a provider when users with a reward ask it."""
    policies = [question.scenario, *question.policies.values()]
    rewarded = {p.name for p in question.providers for s in policies if any(g.reward for g in s.groups_of(p.name))}
    remedy = "give them a `reward`"
    tastes = any(group.reward for s in policies for group in s.users)
    for number, name in enumerate(question.scenario.metrics or ()):
        if name in ("reward", "reward-variance") and not tastes:
            yield ("metrics", number), f"`{name}` cannot be measured: no users have one", remedy
    for number, claim in enumerate(question.scenario.claims):
        than = claim.than.of if claim.than else None
        for of in (claim.of, than):
            known = of in names_of(question.providers)
            if known and claim.metric in ("reward", "reward-variance") and of not in rewarded:
                problem = f"`{claim.metric}` of `{of}` cannot be measured: no users with a reward ask it"
                yield ("claims", number, "metric"), problem, remedy
