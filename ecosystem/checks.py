"""What can be known to be wrong with a scenario beyond its types, before it runs.

``of_scenario``: names that must exist, counts that must add up, policies that must fit the data. ``of_question``:
what is to be known only from the policies of all rounds. Both give findings: place, problem, remedy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecosystem import grammar, measures, metrics
from ecosystem.documents import Document, Fault, Route, shown, suggest
from ecosystem.humans import Humans
from ecosystem.humans.files import folder
from ecosystem.models import ClosedForm, Diffusion, FlowMatching, Gaussian, Mixture, cards
from ecosystem.models.nets import UNetSettings
from ecosystem.web.detectors import Detector, Verifier
from ecosystem.web.rewards import FIXED, ClassConfidence, ClassTaste, Distance, Reward, needs_classifier

if TYPE_CHECKING:
    from ecosystem.agents.creator import CreatorSettings
    from ecosystem.models.cards import Card
    from ecosystem.question import Claim, Question, Scenario, Than

Finding = tuple[Route, str, str]  # place, problem, remedy

# Numbers that are counted, not measured: of the web and of each provider.
WEB_COUNTS = ("pages", "synthetic-share", "lineage")
PROVIDER_COUNTS = ("lambda", "synthetic-share", "lineage", "vote-share", "data-set-pages")
VERDICTS = ("stable", "improving", "degrading", "collapsed")


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
LIMIT_AGENTS = 10_000_000
LIMIT_LINKS = 10_000_000
LIMIT_HELD_OUT = 20_000_000  # numbers: they are drawn also when a scenario is only checked
LIMIT_NUMBERS = 1_000_000_000  # held at once, eight bytes each
LIMIT_SCALE = 1e9  # of human data


def fault(document: Document, finding: Finding) -> Fault:
    """A finding, with its place in the file."""
    route, problem, remedy = finding
    return grammar.fault(document, route, problem, remedy)


def of_scenario(scenario: Scenario, found: Mapping[str, Card]) -> Iterator[Finding]:
    """What the types cannot say: names that must exist, counts that must add up, policies that must fit the data."""
    yield from _name_checks(scenario)
    yield from _reference_checks(scenario, found)
    yield from _repetition_checks(scenario)
    for problem in scenario.web.sites.faults():
        yield ("web", "sites"), problem, ""
    if scenario.web.archive == 0:
        problem = "generation 0 needs human pages, and pages of round 0 are first seen in round 1"
        yield ("web", "archive"), problem, "set an archive above 0"
    too_large = list(_human_size_checks(scenario))
    yield from too_large
    if too_large:
        return  # the data cannot be opened, and so nothing be held against them
    humans = scenario.humans.open()
    yield from _size_checks(scenario, humans)
    yield from _reward_checks(scenario, humans)
    yield from _market_checks(scenario, humans)
    yield from _metric_checks(scenario, humans)
    yield from _model_checks(scenario, humans, found)


def strange_paths(scenario: Scenario, home: Path, trusted: Sequence[Route]) -> Iterator[Finding]:
    """Files and folders that the scenario names outside of where it may: a stranger's scenario is only settings.

    ``home``: the scenario's own folder. ``trusted``: places that the caller has set. Links and `..` are followed.
    """
    roots = list(dict.fromkeys(_followed(root) for root in (home, Path(), folder(None))))
    for route, path in _paths(scenario):
        if any(route[: len(place)] == place for place in trusted):
            continue
        target = _followed(path)
        if target is None or not any(root is not None and target.is_relative_to(root) for root in roots):
            end = "nowhere" if target is None else f"to {shown_path(target)}"
            inside = ", ".join(shown_path(root) for root in roots if root is not None)
            problem = f"the path `{shown_path(path)}` leads {end}, and a scenario may name what is in {inside}"
            yield route, problem, "move it there, or pass --allow-paths if you trust this scenario"


def _paths(scenario: Scenario) -> Iterator[tuple[Route, Path]]:
    """Everything in a scenario that would be opened."""
    root = getattr(scenario.humans, "root", None)
    if root is not None:
        yield ("humans", "root"), folder(root)
    if scenario.web.sites.file is not None:
        yield ("web", "sites", "file"), Path(scenario.web.sites.file)
    entering: list[tuple[Route, Any]] = [(("providers", n), provider) for n, provider in enumerate(scenario.providers)]
    for number, event in enumerate(scenario.events):
        added = event.add.providers if event.add else ()
        entering += [(("events", number, "add", "providers", n), provider) for n, provider in enumerate(added)]
        for dotted, value in (event.set or {}).items():
            named = dotted.startswith("providers.") and dotted.endswith(".model")
            if named and isinstance(value, str) and cards.is_path(value):
                yield ("events", number, "set", dotted), cards.path_of(value)
    for route, provider in entering:
        if provider.model is not None and cards.is_path(provider.model):
            yield (*route, "model"), cards.path_of(provider.model)


def _followed(path: Path) -> Path | None:
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):  # a name that no file system takes, or links in a circle
        return None


def shown_path(path: Path) -> str:
    """Both ends of a long one."""
    text = str(path)
    return text if len(text) <= 100 else f"{text[:40]}...{text[-50:]}"


def of_question(question: Question) -> Iterator[Finding]:
    """What is to be known only from the policies of all rounds."""
    yield from _first_round_checks(question.at(0))
    if not any(_human_size_checks(question.scenario)):
        yield from _reservoir_checks(question)
    yield from _reward_metric_checks(question)


def _is_steady(group: CreatorSettings) -> bool:
    """Whether it is known before the run how many human pages a group will publish."""
    return group.attention is None and group.adoption is None and group.reservoir is None


def _name_checks(scenario: Scenario) -> Iterator[Finding]:
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


def _reference_checks(scenario: Scenario, found: Mapping[str, Card]) -> Iterator[Finding]:
    """Names of others."""
    providers, scrapers = _names(scenario.providers), _names(scenario.scrapers)
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


def _repetition_checks(scenario: Scenario) -> Iterator[Finding]:
    for part in ("seeds", "metrics"):
        values: tuple[Any, ...] = getattr(scenario, part) or ()
        seen: set[Any] = set()
        for number, value in enumerate(values):
            if value in seen:
                yield (part, number), f"{shown(value)} stands twice", "keep one of them"
            seen.add(value)


def _first_round_checks(scenario: Scenario) -> Iterator[Finding]:
    """Of the policies in force in round 0, when there are only human pages."""
    serving = {p.scraper or scenario.scrapers[0].name for p in scenario.providers}
    for number, scraper in enumerate(scenario.scrapers):
        problem = "in round 0 there are only human pages, and this scraper takes none"
        if scraper.name not in serving:
            continue
        if scraper.take is not None and set(scraper.take) <= set(_names(scenario.providers)):
            remedy = "add `human`; with `window_rounds: 1` it takes the archive in round 0 only"
            yield ("scrapers", number, "take"), problem, remedy
        elif isinstance(scraper.filter, Detector) and scraper.filter.fpr == 1.0:
            yield ("scrapers", number, "filter", "fpr"), problem, "set a false-positive rate below 1"
        elif scraper.quality is not None and scraper.quality.keep == 0.0:
            yield ("scrapers", number, "quality", "keep"), problem, "keep a share above 0"


def _names(groups: tuple[Any, ...]) -> list[str]:
    return [group.name for group in groups]


def _human_size_checks(scenario: Scenario) -> Iterator[Finding]:
    """Sizes of human data that cannot be drawn, not even to look at them."""
    humans = scenario.humans
    for name in ("mean", "std", "radius", "noise"):
        value = getattr(humans, name, 0.0)
        if abs(value) > LIMIT_SCALE:
            yield ("humans", name), f"{value:g} is too far from 0", f"at most {LIMIT_SCALE:g}"
    for number, value in enumerate(getattr(humans, "values", None) or ()):
        if abs(value) > LIMIT_SCALE:
            yield ("humans", "values", number), f"{value:g} is too far from 0", f"at most {LIMIT_SCALE:g}"
    numbers = humans.held_out * getattr(humans, "dims", 1)
    if numbers > LIMIT_HELD_OUT:
        problem = f"{humans.held_out:,} pages are held out, {numbers:,} numbers in all"
        yield ("humans",), problem, f"lower `held_out` or `dims`: at most {LIMIT_HELD_OUT:,} numbers"


def _size_checks(scenario: Scenario, humans: Humans) -> Iterator[Finding]:
    """Counts that no memory holds."""
    sites = scenario.web.sites
    random = sites.count * (sites.p or 0.0) / 2  # links a site of an Erdos-Renyi graph
    many = sites.count * max(1, random if sites.graph == "erdos_renyi_graph" else sites.m or sites.k or 1)
    if many > LIMIT_LINKS:
        remedy = "fewer sites, or a graph with fewer links, as cycle_graph"
        yield ("web", "sites"), f"{sites.count:,} sites with {many:,.0f} links are too many", remedy
    for part in ("creators", "users"):
        agents = sum(group.count for group in getattr(scenario, part))
        if agents > LIMIT_AGENTS:
            problem = f"{agents:,} {part} are too many"
            yield (part,), problem, f"at most {LIMIT_AGENTS:,}; raise what each does in a round instead"
    size = math.prod(humans.shape)
    if scenario.web.archive * size > LIMIT_NUMBERS:
        problem = f"{scenario.web.archive:,} pages of {size:,} numbers are too many"
        yield ("web", "archive"), problem, f"at most {LIMIT_NUMBERS:,} numbers"
    for number, group in enumerate(scenario.users):
        images = group.count * group.prompts_per_round * group.k
        if images * size > LIMIT_NUMBERS:
            problem = f"{images:,} images of {size:,} numbers are asked for in a round"
            yield ("users", number), problem, f"lower count, prompts_per_round or k: at most {LIMIT_NUMBERS:,} numbers"
    for number, maker in enumerate(scenario.creators):
        if maker.count * maker.pages_per_round * size > LIMIT_NUMBERS:
            problem = f"{maker.count * maker.pages_per_round:,} pages of {size:,} numbers are published in a round"
            yield ("creators", number), problem, f"lower count or pages_per_round: at most {LIMIT_NUMBERS:,} numbers"


def _reservoir_checks(question: Question) -> Iterator[Finding]:
    """A page of a finite source is published once."""
    scenario = question.scenario
    humans = scenario.humans.open()
    if humans.pool_size is None:
        return
    starts = sorted({0, *(start for start in question.policies if start < scenario.rounds)})
    # What attention, adoption or a reservoir leave of it is not known before; a run that wants too much says so.
    fresh = sum(
        (end - start) * sum(c.count * c.pages_per_round for c in question.at(start).creators if _is_steady(c))
        for start, end in zip(starts, [*starts[1:], scenario.rounds], strict=True)
    )
    fresh += sum(provider.reserve or 0 for provider in question.providers)
    if scenario.web.archive + fresh > humans.pool_size:
        problem = f"{scenario.web.archive:,} human pages are wanted"
        if fresh:
            problem = f"{scenario.web.archive:,} archived and {fresh:,} fresh human pages are wanted"
        remedy = "lower the archive, the creators' pages or the rounds" if fresh else "lower the archive"
        yield ("web", "archive"), f"{problem}, but `{humans.name}` has {humans.pool_size:,}", remedy


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


def _market_checks(scenario: Scenario, humans: Humans) -> Iterator[Finding]:
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


def _reward_checks(scenario: Scenario, humans: Humans) -> Iterator[Finding]:
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


def _metric_checks(scenario: Scenario, humans: Humans) -> Iterator[Finding]:
    fit = [m.name for m in metrics.build(None, humans)]
    for number, name in enumerate(scenario.metrics or ()):
        if name not in metrics.NAMES:
            yield ("metrics", number), f"there is no metric `{shown(name)}`", suggest(name, metrics.NAMES)
        elif name not in fit:
            problem = f"`{name}` cannot be measured on `{humans.name}`"
            yield ("metrics", number), problem, f"these can: {', '.join(fit)}"
    measured = fit if scenario.metrics is None else [name for name in scenario.metrics if name in fit]
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
    told: dict[str, Sequence[str]] = {
        "creators": measures.BY_CREATORS,
        "scrapers": measures.BY_SCRAPERS,
        "users": [*measures.BY_USERS, *(measures.OF_USERS if watched else ())],
    }
    for part, words in told.items():
        if name in ever(scenario, part):
            return list(words)
    return [*PROVIDER_COUNTS, *measured, *(measures.OF_PROVIDERS if watched else ())]


def ever(scenario: Scenario, part: str) -> list[str]:
    """The names of the groups of a kind that are ever there."""
    added = [group for event in scenario.events if event.add for group in getattr(event.add, part)]
    return _names((*getattr(scenario, part), *added))


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


# What each word of a claim needs beside the metric: one of these.
_WITH = {
    "bounded": ("within",),
    "outgrows": ("factor",),
    "lower-than": ("than", "value"),
    "higher-than": ("than", "value"),
}
_EXAMPLES = {"within": "within: 2.0", "factor": "factor: 2.0", "than": "than: {of: NAME}", "value": "value: 0.5"}


def _claim_checks(route: Route, claim: Claim, scenario: Scenario) -> Iterator[Finding]:
    providers, than = ever(scenario, "providers"), claim.than
    groups = [name for part in ("users", "creators", "scrapers") for name in ever(scenario, part)]
    for place, name in (("of", claim.of), ("than", than.of if than else None)):
        if name is not None and name not in (*providers, *groups):
            yield (*route, place), f"there is no provider `{shown(name)}`", suggest(name, [*providers, *groups])
    if claim.is_ in VERDICTS and claim.of in groups:
        yield (*route, "of"), f"a verdict is a provider's, and `{claim.of}` is none", suggest(str(claim.of), providers)
    given = [key for key in _EXAMPLES if getattr(claim, key) is not None]
    wanted = _WITH.get(claim.is_, ())
    for key in given:
        if key not in wanted:
            words = " and ".join(f"`{word}`" for word in _WITH if key in _WITH[word])
            yield (*route, key), f"`{key}` means nothing to `{claim.is_}`", f"it belongs to {words}"
    if wanted and not any(key in given for key in wanted):
        needs = " or ".join(f"`{key}`" for key in wanted)
        examples = " or ".join(f"`{_EXAMPLES[key]}`" for key in wanted)
        yield route, f"`{claim.is_}` needs {needs}", f"for example {examples}"
    elif wanted and all(key in given for key in ("than", "value")):
        yield (*route, "value"), f"`{claim.is_}` compares with `than` or with `value`, not with both", "keep one"
    if claim.is_ in VERDICTS:
        if claim.of is None:
            yield route, f"a claim of `{claim.is_}` is about a provider's verdict", "add `of` with its name"
        if claim.metric is not None:
            problem = f"a claim of `{claim.is_}` is about the verdict, not about a metric"
            yield (*route, "metric"), problem, "delete `metric`"
    if than is not None and "than" in wanted:
        yield from _than_checks((*route, "than"), claim, than, scenario)


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


def _reward_metric_checks(question: Question) -> Iterator[Finding]:
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
            known = of in _names(question.providers)
            if known and claim.metric in ("reward", "reward-variance") and of not in rewarded:
                problem = f"`{claim.metric}` of `{of}` cannot be measured: no users with a reward ask it"
                yield ("claims", number, "metric"), problem, remedy


def _model_checks(scenario: Scenario, humans: Humans, found: Mapping[str, Card]) -> Iterator[Finding]:
    for number, provider in enumerate(scenario.providers):
        card = found.get(provider.name)
        if card is None:
            continue
        if provider.negative_guidance is not None and not card.model.takes_guidance:
            problem = f"a model of family {card.model.family} has no score that guidance could extrapolate"
            remedy = "use a gaussian, a diffusion or a flow-matching model"
            yield ("providers", number, "negative_guidance"), problem, remedy
        route: Route = ("providers", number, "model" if provider.card is None else "card")
        if isinstance(card.model, ClosedForm):
            yield from _covariance_checks(route, provider.name, card.model, humans)
        elif len(humans.shape) == 1:
            yield from _vector_checks(route, provider.name, card.model, humans)


def _covariance_checks(route: Route, name: str, model: ClosedForm, humans: Humans) -> Iterator[Finding]:
    """Of a closed form; images are flattened to vectors."""
    size = math.prod(humans.shape)
    numbers = _covariances(model, humans) * size**2
    if numbers > LIMIT_NUMBERS:
        problem = f"the covariances of `{name}` in {size:,} dimensions have {numbers:,} numbers"
        yield route, problem, f"at most {LIMIT_NUMBERS:,}; a `gaussian` with `covariance: diagonal` has none"


def _covariances(model: ClosedForm, humans: Humans) -> int:
    """How many matrices of D x D numbers it makes, with its parameters and to tell its distribution over vectors."""
    parts = humans.classes * (model.components if isinstance(model, Mixture) else 1)
    if isinstance(model, Gaussian | Mixture) and model.covariance == "full":
        return parts
    known = isinstance(model, Gaussian | Mixture) and parts == 1  # by its variances alone
    return 0 if known or len(humans.shape) == 3 else 1


def _vector_checks(route: Route, name: str, model: FlowMatching | Diffusion, humans: Humans) -> Iterator[Finding]:
    """Of a network that is to learn vectors."""
    if isinstance(model.net, UNetSettings):
        problem = f"`{name}` has a U-Net, which needs images, and `{humans.name}` has vectors"
        yield (*route, "net"), problem, "use a model with `net: {kind: mlp}`"
    if isinstance(model, Diffusion) and model.sampler.clip:
        problem = f"`{name}` clips to [-1, 1], the range of images, and `{humans.name}` has vectors"
        yield (*route, "sampler"), problem, "use a model with `sampler: {clip: false}`"
