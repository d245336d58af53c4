"""Policies that must fit the data: of scrapers, users and tastes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ecosystem import features
from ecosystem.checks.findings import Finding, names_of
from ecosystem.documents import Route
from ecosystem.humans import Humans
from ecosystem.web.detectors import Detector, Verifier
from ecosystem.web.rewards import FIXED, ClassConfidence, ClassTaste, Distance, Reward, needs_classifier

if TYPE_CHECKING:
    from ecosystem.question import Scenario


def first_round_checks(scenario: Scenario) -> Iterator[Finding]:
    """Of the policies in force in round 0, when there are only human pages."""
    # Who has a reserve, or begins as another has, trains on something else.
    crawling = [p for p in scenario.providers if (p.reserve, p.weights_of) == (None, None)]
    serving = {p.scraper or scenario.scrapers[0].name for p in crawling}
    for number, scraper in enumerate(scenario.scrapers):
        problem = "in round 0 there are only human pages, and this scraper takes none"
        if scraper.name not in serving:
            continue
        if scraper.take is not None and set(scraper.take) <= set(names_of(scenario.providers)):
            remedy = "add `human`; with `window_rounds: 1` it takes the archive in round 0 only"
            yield ("scrapers", number, "take"), problem, remedy
        elif isinstance(scraper.filter, Detector) and scraper.filter.fpr == 1.0:
            yield ("scrapers", number, "filter", "fpr"), problem, "set a false-positive rate below 1"
        elif scraper.quality is not None and scraper.quality.keep == 0.0:
            yield ("scrapers", number, "quality", "keep"), problem, "keep a share above 0"


def _rewards(scenario: Scenario) -> Iterator[tuple[Route, Reward]]:
    """All that anybody goes by, and where."""
    for number, group in enumerate(scenario.users):
        if group.reward is not None:
            yield ("users", number, "reward"), group.reward
        if group.adversary is not None and group.adversary.reward is not None:
            yield ("users", number, "adversary", "reward"), group.adversary.reward
    for number, scraper in enumerate(scenario.scrapers):
        if scraper.quality is not None:
            yield ("scrapers", number, "quality", "reward"), scraper.quality.reward


def market_checks(scenario: Scenario, humans: Humans) -> Iterator[Finding]:
    """Of users' prompts, tastes and providers, and of what scrapers look at."""
    for number, group in enumerate(scenario.users):
        route: Route = ("users", number)
        weights = getattr(group.prompts, "weights", None)
        if weights is not None and (len(weights) != humans.classes or sum(weights) <= 0):
            problem = f"`{humans.name}` has {humans.classes:,} classes, and there are {len(weights):,} weights"
            if len(weights) == humans.classes:
                problem = "all weights are 0"
            yield (*route, "prompts", "weights"), problem, "one a class, some of them above 0"
        if group.taste_drift and (group.reward is None or isinstance(group.reward, FIXED)):
            remedy = "use a reward of kind class-taste or distance"
            yield (*route, "taste_drift"), "this group has no taste that could move", remedy
        if group.adversary is not None and group.reward is None and group.adversary.reward is None:
            yield (*route, "adversary"), "there is no reward to vote against", "add a `reward`, here or to the group"
        if group.provider_choice is not None and group.candidates == "across-providers":
            problem = "with a provider_choice each user asks one provider a round"
            yield (*route, "candidates"), problem, "use one-provider, or leave provider_choice out"
        if group.provider_choice is not None and group.reward is None:
            yield (*route, "provider_choice"), "nothing is experienced without a reward", "add a `reward`"
    for number, scraper in enumerate(scenario.scrapers):
        if isinstance(scraper.filter, Verifier) and humans.known_classes < 2:
            problem = f"nobody can tell good from bad of `{humans.name}`: it has no classifier"
            yield ("scrapers", number, "filter"), problem, "use another filter"
        for fault in scraper.quality.faults() if scraper.quality is not None else ():
            yield ("scrapers", number, "quality"), fault, ""


def reward_checks(scenario: Scenario, humans: Humans) -> Iterator[Finding]:
    images = len(humans.shape) == 3
    for route, reward in _rewards(scenario):
        if isinstance(reward, ClassTaste) and humans.known_classes > 1:
            weights = reward.weights
            if len(weights) != humans.known_classes or sum(weights) <= 0:
                problem = f"a taste needs a weight for each of {humans.known_classes:,} classes, some of them above 0"
                yield (*route, "weights"), problem, ""
        if needs_classifier(reward) and humans.known_classes < 2:
            yield route, f"there is no classifier for `{humans.name}`", "use `kind: distance` on vectors"
        elif isinstance(reward, ClassConfidence) and reward.class_ >= humans.known_classes:
            problem = f"there is no class {reward.class_}"
            yield (*route, "class"), problem, f"`{humans.name}` has classes 0 to {humans.known_classes - 1}"
        elif isinstance(reward, Distance) and images:
            yield route, f"`{humans.name}` has images, and a distance is for vectors", "use `kind: class-confidence`"
        elif isinstance(reward, Distance) and len(reward.to) != humans.shape[0]:
            problem = f"`{humans.name}` has vectors of {humans.shape[0]} numbers, and this point has {len(reward.to)}"
            yield (*route, "to"), problem, ""


def sight_checks(scenario: Scenario, humans: Humans) -> Iterator[Finding]:
    """Of whose eyes look at the items."""
    for route, found in (
        (("evaluation", "features"), features.features_fault(scenario.evaluation.features, humans)),
        (("judge",), features.judge_fault(scenario.judge, humans)),
    ):
        if found is not None:
            yield route, *found
