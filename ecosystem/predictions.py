"""Closed forms for worlds that have one, fed with the data flow as it was counted.

Nothing in a scenario names an oracle. What a world is, its families, policies and human data, says which closed
forms hold for it, and its records say what every training set was made of; from both follows what must be measured:

- *second moments of the data flow* (theory/flow.py), exact for Gaussians, kernel density estimates and categorical
  models whose pages are chosen without looking at them: model-variance and mean-error, heterozygosity where all
  models are categorical. Replacement, accumulation, sub-samples, windows, fresh data, fixed archives and many
  providers that train on one another are all this one recursion. So is negative guidance of a Gaussian with a diagonal
  covariance, or on the line: what is measured, and published, is the model as it is served (theory/guidance.py).
- *replacement of a Gaussian* adds log-std and gaussian-w2, which are no second moments (theory/gaussian.py), and under
  negative guidance log-std (theory/guided_loops.py).
- *curation* (theory/curation.py), for categorical models and many pages: Luce's choice among K moves a distribution p
  to p H(p); mean-exp-reward.
- *detector* (theory/identities.py): the synthetic share that a filter of known rates lets through.

A prediction is made for every seed from its own counts; its error is that of measured minus predicted over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecosystem.agents.scraper import ScraperSettings
from ecosystem.agents.user import UserSettings
from ecosystem.distribution import Distribution
from ecosystem.errors import AssumptionError
from ecosystem.humans import Gaussian as GaussianSource
from ecosystem.models import Categorical, Gaussian, Kde, ModelFamily
from ecosystem.models.guided import NegativeGuidance
from ecosystem.question import Question, Scenario
from ecosystem.records import Line
from ecosystem.summary import Theory
from ecosystem.theory import curation, gaussian, guidance, guided_loops, identities
from ecosystem.theory.flow import DataFlow
from ecosystem.web.choice import Luce, Uniform
from ecosystem.web.corpus import Retention
from ecosystem.web.crawls import UniformCrawl
from ecosystem.web.detectors import Detector, Everything, Watermark

MANY = 10  # pages of an outcome, so that chance hardly loses it

Values = dict[tuple[str, str], list[float | None]]  # (provider, metric) -> by generation


@dataclass(frozen=True)
class Oracle:
    """A closed form: whether it holds for a question, and what it predicts of one seed's records."""

    name: str
    source: str
    holds: Callable[[Question], bool]
    values: Callable[[Question, Sequence[Line]], Values]


def theory(question: Question, runs: Mapping[int, Sequence[Line]]) -> dict[tuple[str, str], Theory]:
    """By provider and metric: the first oracle of ORACLES that holds and speaks of it.

    One that meets in the records what it does not assume (as rewards that are too far apart) says nothing.
    """
    found: dict[tuple[str, str], Theory] = {}
    seeds = list(runs.values())
    for oracle in ORACLES:
        if not oracle.holds(question):
            continue
        try:
            predicted = _by_flow(oracle, question, seeds)
        except AssumptionError:
            continue
        for key in predicted[0]:
            measured = [_measured(lines, *key) for lines in seeds]
            told = _compared(oracle, measured, [values[key] for values in predicted], _of_human(question, *key))
            if key not in found and any(value is not None for value in told["values"]):
                found[key] = told
    return found


def _by_flow(oracle: Oracle, question: Question, seeds: Sequence[Sequence[Line]]) -> list[Values]:
    """What is predicted for each seed; seeds with the same counts have the same prediction."""
    known: list[tuple[Any, Values]] = []
    found = []
    for lines in seeds:
        flow = [(line["web"], [_counts(row) for row in line["providers"].values()]) for line in lines]
        values = next((values for other, values in known if other == flow), None)
        if values is None:
            values = oracle.values(question, lines)
            known.append((flow, values))
        found.append(values)
    return found


def _counts(row: Line) -> Any:
    return row["trained"]["by_batch"] if "trained" in row else None


def _measured(lines: Sequence[Line], provider: str, metric: str) -> list[float | None]:
    trained = [row["trained"] for line in lines if "trained" in (row := line["providers"][provider])]
    if metric == "synthetic-share":
        return [row["synthetic_share"] for row in trained]
    return [row["metrics"].get(metric) for row in trained]


def _compared(
    oracle: Oracle,
    measured: Sequence[list[float | None]],
    predicted: Sequence[list[float | None]],
    human: float | None,
) -> Theory:
    """Generation by generation, over the seeds that have both numbers."""
    values: list[float | None] = []
    errors: list[float | None] = []
    scores: dict[int, float] = {}
    for generation in range(max(map(len, measured))):
        pairs = [
            (m[generation], p[generation])
            for m, p in zip(measured, predicted, strict=True)
            if generation < min(len(m), len(p)) and m[generation] is not None and p[generation] is not None
        ]
        table = np.array(pairs, dtype=float).reshape(-1, 2)
        values.append(float(table[:, 1].mean()) if len(table) else None)
        gaps = table[:, 0] - table[:, 1]
        errors.append(float(gaps.std(ddof=1) / math.sqrt(len(gaps))) if len(gaps) > 1 else None)
        if errors[-1]:
            scores[generation] = abs(float(gaps.mean())) / errors[-1]
    at = max(scores, key=scores.__getitem__, default=None)
    return {
        "oracle": oracle.name,
        "source": oracle.source,
        "values": values,
        "error": errors,
        "human": human,
        "deviation": None if at is None else scores[at],
        "at": at,
    }


# What a world is


def _worlds(question: Question) -> list[Scenario]:
    """Its policies, before and after every event."""
    return [question.scenario, *question.policies.values()]


def _looks(group: UserSettings) -> bool:
    """Whether the pages of a group are chosen by what is on them."""
    chooses = group.k > 1 and group.publish == "winner" and not isinstance(group.choice, Uniform)
    return chooses and (group.reward is not None or group.adversary is not None)


def _known(question: Question) -> Distribution | None:
    """The human distribution, where every page is of one class and any page is as likely to be crawled."""
    humans = question.scenario.humans.open()
    simple = all(_simple(world) for world in _worlds(question)) and humans.classes == 1 and len(humans.shape) == 1
    return humans.distribution if simple else None


def _simple(world: Scenario) -> bool:
    """Whether any page of a batch is as likely to be in a data set, each time anew, whatever is on it."""
    # Two that begin with one model are not two draws.
    off = {(p.correction, p.weights_of) for p in world.providers}
    counted = off <= {(None, None)}
    unbound = world.web.capacity is None and all(group.provider_choice is None for group in world.users)
    return counted and unbound and all(_takes_any(scraper) for scraper in world.scrapers)


def _takes_any(scraper: ScraperSettings) -> bool:
    stages = (scraper.quality, scraper.near_duplicates, scraper.balance, scraper.resample)
    blind = isinstance(scraper.filter, Everything | Detector | Watermark)
    return isinstance(scraper.crawl, UniformCrawl) and blind and all(stage is None for stage in stages)


def _families(question: Question, *families: type) -> bool:
    return all(isinstance(card.model, families) for card in question.all_cards)


def _blind(question: Question) -> bool:
    return _known(question) is not None and not any(_looks(g) for world in _worlds(question) for g in world.users)


# Second moments of the data flow


@dataclass(frozen=True)
class Fitted:
    """A model while the records are read again: its number in the flow, and the training set that it saw.

    ``served``: the model that is served in its place; None where nothing is known of it.
    """

    model: int
    served: int | None
    by_batch: dict[int, int]


def _flow(question: Question, lines: Sequence[Line], flow: DataFlow) -> Iterator[tuple[str, Fitted]]:
    """Every training in its order, while the flow follows what was published."""
    groups: dict[int, int] = {}  # number of a batch -> of a group
    sizes: dict[int, int] = {}  # and its pages
    models: dict[tuple[str, int], Fitted] = {}  # by provider and generation
    for line in lines:
        settings = question.at(line["round"])
        batches = {number: (maker, generation, n) for number, maker, generation, n in line["web"]["published"]}
        groups |= {number: flow.human(pages) for number, (maker, _, pages) in batches.items() if maker == "human"}
        sizes |= {number: pages for number, (_, _, pages) in batches.items()}
        crawled: dict[str, list[Fitted]] = {}  # scraper -> those who trained this round on what it brought
        for name, row in line["providers"].items():
            if "trained" not in row:
                continue
            by_batch = dict(row["trained"]["by_batch"])
            model = question.card(name, line["round"]).model
            scraper = settings.scraper_for(settings.provider(name)).name
            fitted = flow.fit(
                {groups[number]: pages for number, pages in by_batch.items()},
                estimator=model.estimator if isinstance(model, Gaussian) else "mle",
                widen=model.bandwidth**2 if isinstance(model, Kde) else 0.0,
                same_as=_twin(by_batch, crawled.setdefault(scraper, []), sizes),
            )
            served = _served(flow, fitted, settings.provider(name).negative_guidance, model, question)
            models[name, row["generation"]] = Fitted(fitted, served, by_batch)
            crawled[scraper].append(models[name, row["generation"]])
            yield name, models[name, row["generation"]]
        for number, (maker, generation, pages) in batches.items():
            if maker != "human":
                bias = settings.provider(maker).sampling_bias
                if (maker, generation) not in models:
                    raise AssumptionError("every model is assumed to be on record; one could not be measured")
                model_served = models[maker, generation].served
                if model_served is None:
                    raise AssumptionError(f"guidance is assumed to act on `{maker}` by coordinate, and hardly to fail")
                groups[number] = flow.publish(model_served, pages, sampling_bias=bias)


def _served(
    flow: DataFlow, model: int, guided: NegativeGuidance | None, family: ModelFamily, question: Question
) -> int | None:
    """The model as it is served; its auxiliary has samples of it that no sampling bias has touched."""
    if guided is None or guided.weight == 0:
        return model
    if not isinstance(family, Gaussian) or not _by_coordinate(family, question):
        return None
    try:
        widened, moved = guidance.served(guided.weight, guided.images, family.estimator)
    except AssumptionError:
        return None
    return flow.guide(model, widened, moved)


def _by_coordinate(model: Gaussian, question: Question) -> bool:
    """Whether its coordinates are Gaussians on the line."""
    return model.covariance == "diagonal" or question.scenario.humans.open().shape == (1,)


def _twin(by_batch: dict[int, int], crawled: Sequence[Fitted], sizes: Mapping[int, int]) -> int | None:
    """The model that has the very same training set.

    Sets that differ, as by a reserve, are told apart where each of the batches they share is in them as a whole.
    """
    for other in crawled:
        if other.by_batch == by_batch:
            return other.model
        if any(pages < sizes[number] and number in other.by_batch for number, pages in by_batch.items()):
            raise AssumptionError(
                "two training sets that share a crawl of some of the pages are assumed to be the same"
            )
    return None


def _moments(question: Question, lines: Sequence[Line]) -> Values:
    known = _known(question)
    assert known is not None
    flow = DataFlow(float(known.variance.mean()))
    found: Values = {(p.name, m): [] for p in question.providers for m in ("model-variance", "mean-error")}
    for name, fitted in _flow(question, lines, flow):
        served = fitted.served
        found[name, "model-variance"].append(None if served is None else flow.variance(served))
        found[name, "mean-error"].append(None if served is None else flow.mean_square(served))
    return found


def _heterozygosity(question: Question, lines: Sequence[Line]) -> Values:
    known = _known(question)
    assert known is not None
    flow = DataFlow(1.0, 0.0 if known.mass is None else float(np.square(known.mass).sum()))
    found: Values = {(p.name, "heterozygosity"): [] for p in question.providers}
    for name, fitted in _flow(question, lines, flow):
        found[name, "heterozygosity"].append(flow.variance(fitted.model))
    return found


# Replacement of a Gaussian


def _replaced(question: Question, lines: Sequence[Line]) -> Values:
    """log-std and gaussian-w2, up to the first training set that is not the model's own last pages alone.

    Of a provider that is guided, always alike, log-std as it is served.
    """
    std = float(getattr(question.scenario.humans, "std", 1.0))
    found: Values = {}
    for provider in question.providers:
        model = question.cards[provider.name].model
        assert isinstance(model, Gaussian)
        guided = {p.negative_guidance for world in _worlds(question) if (p := world.found_provider(provider.name))}
        if guided != {None}:
            found |= _replaced_guided(provider.name, model, guided, question, lines)
            continue
        sets = list(_own_last_pages(provider.name, lines))
        mean, variance, expected, log = 0.0, std**2, std, math.log(std)
        logs, distances = [], []
        for n in sets:
            # One generation at a time, so that generation 0 may have seen another number of pages.
            mean += variance / n
            variance *= float(gaussian.expected_variance(n, 1, model.estimator))
            expected *= float(gaussian.expected_std(n, 1, model.estimator))
            log += float(gaussian.log_std_mean(n, 1, model.estimator))
            logs.append(log)
            distances.append(mean + variance - 2 * std * expected + std**2)
        found[provider.name, "log-std"] = list(logs)
        if _by_coordinate(model, question):
            found[provider.name, "gaussian-w2"] = list(distances)
    return found


def _replaced_guided(
    provider: str, model: Gaussian, guided: set[NegativeGuidance | None], question: Question, lines: Sequence[Line]
) -> Values:
    [always, *others] = guided
    if always is None or others or not _by_coordinate(model, question):
        return {}
    log, logs = math.log(float(getattr(question.scenario.humans, "std", 1.0))), list[float | None]()
    try:
        for n in _own_last_pages(provider, lines):
            log += guided_loops.log_std_mean(n, 1, always.weight, always.images, model.estimator)
            logs.append(log)
    except AssumptionError:  # as of one image, which has no spread
        pass
    return {(provider, "log-std"): logs}


def _own_last_pages(provider: str, lines: Sequence[Line]) -> Iterator[int]:
    """The sizes of the training sets, while each is fresh: human pages first, then those of the model before alone.

    A single page ends it as well: it has no spread, whose logarithm could be followed.
    """
    makers: dict[int, tuple[str, int, int]] = {}
    for line in lines:
        makers |= {number: (maker, generation, pages) for number, maker, generation, pages in line["web"]["published"]}
        row = line["providers"][provider]
        if "trained" not in row:
            continue
        wanted = ("human", -1) if row["generation"] == 0 else (provider, row["generation"] - 1)
        foreign = any(makers[number][:2] != wanted for number, _ in row["trained"]["by_batch"])
        if foreign or row["trained"]["pages"] < 2:
            return
        yield row["trained"]["pages"]


# Curation


def _curates(question: Question) -> bool:
    known = _known(question)
    if known is None or known.mass is None or not _families(question, Categorical):
        return False
    groups = [group for world in _worlds(question) for group in world.users if _looks(group)]
    # Nobody publishes, or distils, what a model makes but its users, who choose.
    chosen = all(group.adoption is None for world in _worlds(question) for group in world.creators)
    chosen = chosen and all(provider.distil is None for world in _worlds(question) for provider in world.providers)
    return (
        bool(groups)
        and chosen
        and all(
            isinstance(group.choice, Luce)
            and (group.candidates == "one-provider" or group.k == 1)
            and not group.taste_drift
            and group.reward is not None
            for group in groups
        )
    )


def _curated(question: Question, lines: Sequence[Line]) -> Values:
    """Distributions over the outcomes, (A,), as they would be with endlessly many pages.

    Nothing is predicted once an outcome is so rare that chance loses it, which endlessly many pages never do.
    """
    known = _known(question)
    assert known is not None and known.mass is not None and known.atoms is not None
    batches: dict[int, NDArray[np.float64]] = {}
    newest: dict[str, NDArray[np.float64]] = {}
    found: Values = {(p.name, "mean-exp-reward"): [] for p in question.providers}
    for line in lines:
        published = {number: (maker, generation) for number, maker, generation, _ in line["web"]["published"]}
        batches |= {number: known.mass for number, (maker, _) in published.items() if maker == "human"}
        settings = question.at(line["round"])
        for name, row in line["providers"].items():
            if "trained" in row:
                pages = row["trained"]["pages"]
                newest[name] = sum(
                    (n / pages * batches[number] for number, n in row["trained"]["by_batch"]), np.zeros(len(known.mass))
                )
                reward = next((g.reward for g in settings.groups_of(name) if g.reward is not None), None)
                rare = pages * newest[name][known.mass > 0].min() < MANY
                expected = None
                if reward is not None and not rare:
                    expected = float(newest[name] @ np.exp(reward.score(known.atoms, None)))
                found[name, "mean-exp-reward"].append(expected)
        for number, (maker, _) in published.items():
            if maker != "human":
                batches[number] = _published(settings, maker, newest[maker], known.atoms)
    return found


def _published(settings: Scenario, maker: str, p: NDArray[np.float64], atoms: NDArray[Any]) -> NDArray[np.float64]:
    """What the users of a provider publish of its distribution p: each group in the share of its pages."""
    total, pages = np.zeros(len(p)), 0.0
    for group in settings.groups_of(maker):
        asked = len(group.providers) if group.providers else len(settings.providers)
        share = group.count * group.prompts_per_round / asked * (group.k if group.publish == "all" else 1)
        share *= 1.0 if group.publish_share is None else group.publish_share
        if share == 0 or group.publish == "none":
            continue
        chosen = p
        if _looks(group):
            assert isinstance(group.choice, Luce) and group.reward is not None
            rewards = group.reward.score(atoms, None) / group.choice.temperature
            chosen = curation.chosen(p, rewards, group.k)
            if group.adversary is not None:
                theirs = group.adversary.reward
                against = -rewards if theirs is None else theirs.score(atoms, None) / group.choice.temperature
                b = group.adversary.share
                chosen = (1 - b) * chosen + b * curation.chosen(p, against, group.k)
        total, pages = total + share * chosen, pages + share
    return total / pages


# Detector


def _detects(question: Question) -> bool:
    worlds = _worlds(question)
    scrapers = [s for world in worlds for s in world.scrapers]
    # What is crawled is what stood on record when the round before closed, unless the web then forgets otherwise.
    one_web = all(world.web.retention == worlds[0].web.retention and world.web.capacity is None for world in worlds)
    detector = any(isinstance(s.filter, Detector) for s in scrapers)
    # Nobody adds pages of their own to what was crawled, or replaces some.
    as_crawled = all({p.reserve, p.correction, p.distil} == {None} for world in worlds for p in world.providers)
    return one_web and detector and as_crawled and all(_reads_the_web(s) for s in scrapers)


def _reads_the_web(scraper: ScraperSettings) -> bool:
    """Whether it would take anything on the web, any page as likely as another, or else looks for no detector."""
    whole = scraper.take is None and scraper.window_rounds is None and scraper.retention == Retention()
    return _takes_any(scraper) and (whole or not isinstance(scraper.filter, Detector))


def _detected(question: Question, lines: Sequence[Line]) -> Values:
    """Of the providers that are behind a detector in some round; None at what they trained without it."""
    worlds, names = _worlds(question), [p.name for p in question.providers]
    behind = [name for name in names if any(_detector(world, name) for world in worlds)]
    found: Values = {(name, "synthetic-share"): [] for name in behind}
    share = 0.0  # of the web that is crawled: only the archive, at first
    for line in lines:
        for name in behind:
            if "trained" in line["providers"][name]:
                filter = _detector(question.at(line["round"]), name)
                expected = identities.detector_share(share, filter.tpr, filter.fpr) if filter else None
                found[name, "synthetic-share"].append(expected)
        share = line["web"]["synthetic_share"]
    return found


def _detector(world: Scenario, provider: str) -> Detector | None:
    """What the provider's scraper leaves pages out by, if it is a detector."""
    settings = world.found_provider(provider)
    filter = world.scraper_for(settings).filter if settings is not None else None
    return filter if isinstance(filter, Detector) else None


def _of_human(question: Question, provider: str, metric: str) -> float | None:
    """What the human distribution itself has: the measure of how far theory says that a model has moved."""
    known = _known(question)
    if metric in ("mean-error", "gaussian-w2", "synthetic-share"):
        return 0.0
    if known is None:
        return None
    if metric == "mean-exp-reward" and known.mass is not None and known.atoms is not None:
        reward = next((g.reward for g in question.scenario.groups_of(provider) if g.reward is not None), None)
        return None if reward is None else float(known.mass @ np.exp(reward.score(known.atoms, None)))
    if metric == "heterozygosity":
        return 1.0 if known.mass is None else 1 - float(np.square(known.mass).sum())
    variance = float(known.variance.mean())
    return {"model-variance": variance, "log-std": math.log(variance) / 2}.get(metric)


ORACLES: tuple[Oracle, ...] = (
    Oracle(
        "second moments of the data flow",
        "J. Kazdan et al., Collapse or Thrive?, 2024, arXiv 2410.16713, extended to any data flow (theory/flow.py)",
        lambda q: _blind(q) and _families(q, Gaussian, Categorical, Kde),
        _moments,
    ),
    Oracle(
        "coalescence in the data flow",
        "S. Wright, Evolution in Mendelian Populations, 1931, extended to any data flow (theory/flow.py)",
        lambda q: _blind(q) and _families(q, Categorical),
        _heterozygosity,
    ),
    Oracle(
        "replacement of a Gaussian",
        "I. Shumailov et al., The Curse of Recursion, 2023, arXiv 2305.17493; "
        "Q. Bertrand et al., On the Stability of Iterative Retraining, 2023, arXiv 2310.00429",
        lambda q: (
            _blind(q)
            and _families(q, Gaussian)
            and not q.changed
            and isinstance(q.scenario.humans, GaussianSource)
            and all(p.sampling_bias == 1.0 for world in _worlds(q) for p in world.providers)
        ),
        _replaced,
    ),
    Oracle(
        "curation by Luce's choice, many pages",
        "D. Ferbach et al., Self-Consuming Generative Models with Curated Data, 2024, arXiv 2407.09499",
        _curates,
        _curated,
    ),
    Oracle(
        "share behind a detector",
        "Bayes' rule for a filter of known true- and false-positive rates (theory/identities.py)",
        _detects,
        _detected,
    ),
)
