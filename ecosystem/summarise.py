"""From a run's records to its summary: pure, so that the same records always give the same bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from ecosystem import collapse, measures, metrics, predictions, verdicts
from ecosystem.agents.provider import ProviderSettings
from ecosystem.documents import Document
from ecosystem.lines import runs_of
from ecosystem.models import cards
from ecosystem.models.classifier import FEATURES
from ecosystem.question import Question, Scenario
from ecosystem.records import Line, RunRecord
from ecosystem.scenarios import from_document
from ecosystem.summary import (
    Baseline,
    BaselineMiss,
    ClaimSummary,
    Definition,
    Ecosystem,
    Evidence,
    GenerationSummary,
    HumansInfo,
    MetricInfo,
    ProviderSummary,
    Source,
    Stopped,
    Summary,
    Theory,
    WebRound,
)

Theories = dict[tuple[str, str], Theory]  # by provider and metric

Rounded = float | None
DIGITS = 10  # significant digits kept: more would be noise, fewer would hide a slow drift
# How many times worse than its card's baseline generation 0 may be. A Frechet distance differs between seeds by a fifth
# and more, so a distance is a miss only when it is doubled; other metrics tell no under-training.
BASELINE_TOLERANCE = {
    **dict.fromkeys(("precision", "recall", "agreement", "modes"), 1.15),
    **dict.fromkeys(("frechet", "sliced-wasserstein"), 2.0),
}


def summarise(record: RunRecord, question: Question) -> Summary:
    """Over all seeds on record that have closed a round."""
    scenario = question.scenario
    runs = runs_of(record, [provider.name for provider in question.providers])
    every = list(runs.values())
    theory = predictions.theory(question, runs)
    providers = {p.name: _provider(question, p.name, runs, theory) for p in question.providers}
    _add_scaling(question, every, providers)
    found = {name: p["verdict"] for name, p in providers.items()}
    summary: Summary = {
        "scenario": scenario.name,
        "question": scenario.question,
        "papers": list(scenario.papers),
        "seeds": sorted(runs),
        "rounds": scenario.rounds,
        "humans": _humans(question, every),
        "verdict": verdicts.of_run(found.values()),
        "providers": providers,
        "web": _web(every),
        "claims": _claims(question, every, found, theory),
        "metrics": _metrics_measured(question, providers),
    }
    told = _ecosystem(every)
    if told["web"] or told["agents"]:
        summary["ecosystem"] = told
    return summary


def question_of(record: RunRecord, events: Sequence[dict[str, Any]] = ()) -> Question:
    """What a run asked, from its own records: shipped files may have changed since. ``events`` are asked as well."""
    tree = record.resolved()
    scenario = dict(tree["scenario"])
    # The cards as they were, written in place of their names; the names and baselines are put back below.
    asked = {**scenario, "providers": _in_place(scenario["providers"], tree["cards"])}
    before = scenario.get("events")
    by_provider = _changed_cards(tree)
    known = before if isinstance(before, list) else []
    asked["events"] = [_event_in_place(event, tree["cards"], by_provider) for event in known]
    asked["events"] += events
    origin = str(record.folder / "scenario.resolved.yaml")
    # Whatever paths it names, none is opened: a report needs no human data, and the cards are here.
    question = from_document(Document(asked, origin, {}), {}, allow_paths=True, look=False)
    found = {name: cards.from_document(Document(card, origin, {})) for name, card in tree["cards"].items()}
    recorded = {
        name: {start: cards.from_document(Document(card, origin, {})) for start, card in later.items()}
        for name, later in by_provider.items()
    }
    # Those of ``events`` are not on record.
    changed = {n: {**question.changed.get(n, {}), **recorded.get(n, {})} for n in {**recorded, **question.changed}}
    named = [*scenario["providers"], *(p for providers in _added(scenario.get("events")) for p in providers)]
    names = {p["name"]: p.get("model") if isinstance(p.get("model"), str) else None for p in named}
    policies = {}
    scenario_named = _named(question.scenario, names)
    for event in sorted(scenario_named.events, key=lambda e: e.at):
        for dotted in event.set or ():
            name, _, key = dotted.removeprefix("providers.").rpartition(".")
            if key in ("model", "card") and name in names:
                names[name] = None  # the card as it was stands in its place
        policies[event.at] = _named(question.policies[event.at], names)
    return Question(scenario_named, found, policies, changed, tree.get("weights", {}))


def _named(scenario: Scenario, models: Mapping[str, str | None]) -> Scenario:
    """With the names of the cards, where they had one, in place of the cards."""

    def named(providers: Iterable[ProviderSettings]) -> tuple[ProviderSettings, ...]:
        return tuple(
            replace(p, model=models[p.name], card=None) if models.get(p.name) is not None else p for p in providers
        )

    events = tuple(
        replace(e, add=replace(e.add, providers=named(e.add.providers))) if e.add is not None else e
        for e in scenario.events
    )
    return replace(scenario, providers=named(scenario.providers), events=events)


def _added(events: Any) -> Iterator[list[Any]]:
    """The providers that enter with each event, as far as these are events."""
    for event in events if isinstance(events, list) else []:
        added = event.get("add") if isinstance(event, dict) else None
        providers = added.get("providers") if isinstance(added, dict) else None
        if isinstance(providers, list):
            yield [p for p in providers if isinstance(p, dict) and isinstance(p.get("name"), str)]


def _in_place(providers: Any, found: Mapping[str, Any]) -> Any:
    """Providers with the models of their cards in place of the cards' names, as far as these are providers."""
    if not isinstance(providers, list):
        return providers
    return [
        {**p, "model": None, "card": found[p["name"]]["model"]} if isinstance(p, dict) and p.get("name") in found else p
        for p in providers
    ]


def _event_in_place(event: Any, found: Mapping[str, Any], later: Mapping[str, Any]) -> Any:
    """An event with models in place of the names of cards."""
    if not isinstance(event, dict):
        return event
    added, changes = event.get("add"), event.get("set")
    if isinstance(added, dict):
        event = {**event, "add": {**added, "providers": _in_place(added.get("providers"), found)}}
    for dotted in changes if isinstance(changes, dict) else ():
        name = str(dotted).removeprefix("providers.").removesuffix(".model")
        card = later.get(name, {}).get(event.get("at"))
        if dotted == f"providers.{name}.model" and card is not None:
            event = {**event, "set": {**event["set"], f"providers.{name}.card": card["model"]}}
            event["set"].pop(dotted)
    return event


def _changed_cards(tree: dict[str, Any]) -> dict[str, dict[int, Any]]:
    """The cards that events brought, by provider and round, as far as these are on record."""
    told = tree.get("changed_cards")
    return {
        name: {int(start): card for start, card in later.items() if start.isdecimal()}
        for name, later in (told.items() if isinstance(told, dict) else ())
        if isinstance(later, dict)
        and all(isinstance(c, dict) and isinstance(c.get("model"), dict) for c in later.values())
    }


def _metrics(question: Question) -> list[Any]:
    return list(metrics.build(question.scenario.metrics, question.scenario.humans.open()))


def _metrics_measured(question: Question, providers: dict[str, ProviderSummary]) -> dict[str, MetricInfo]:
    found = {name for p in providers.values() for g in p["generations"] for name in g["metrics"]}
    return {m.name: {"unit": m.unit, "better": m.better} for m in _metrics(question) if m.name in found}


def _humans(question: Question, runs: Sequence[Sequence[Line]]) -> HumansInfo:
    humans = question.scenario.humans.open()
    images = len(humans.shape) == 3
    accuracy = runs[0][0]["classifier_accuracy"]
    return {
        "source": humans.name,
        "shape": list(humans.shape),
        "classes": humans.classes,
        "held_out": humans.held_out_size,
        "features": _features(question, images and accuracy is not None),
        "classifier_accuracy": _round(accuracy),
    }


def _features(question: Question, judged: bool) -> str:
    """On which the distance is: of the classifier's, where none are named."""
    scenario = question.scenario
    return scenario.evaluation.features or ((scenario.judge or FEATURES) if judged else "raw")


# Providers


def _provider(question: Question, name: str, runs: dict[int, list[Line]], theory: Theories) -> ProviderSummary:
    every = list(runs.values())
    card = question.cards[name]
    evidence = _evidence(question, name, every)
    stopped = _stopped(name, runs)
    return {
        "model": card.name,
        "family": card.model.family,
        "verdict": "undecided" if stopped else verdicts.of_provider(evidence),
        "note": _note(len(runs), bool(stopped), evidence),
        "evidence": evidence,
        "definitions": _definitions(question, name, every),
        "theory": {metric: _rounded_theory(t) for (of, metric), t in theory.items() if of == name},
        "sources": _sources(question, name, every),
        "baseline": _baseline(question, name, every),
        "stopped": stopped,
        "generations": _generations(question, name, every),
        "vote_share": [
            _mean(values) for values in _by_round(every, lambda line: line["providers"][name]["vote_share"])
        ],
    }


def _evidence(question: Question, name: str, runs: Sequence[Sequence[Line]]) -> list[Evidence]:
    measured = [m.name for m in _metrics(question)]
    distance = next(
        (d for d in (verdicts.DISTANCES if _images(question) else verdicts.DISTANCES[::-1]) if d in measured), None
    )
    judged = [m for m in (distance, *verdicts.DIVERSITIES) if m in measured]
    samples = question.scenario.evaluation.size(question.scenario.humans.open())
    found = [
        verdicts.evidence(m, [verdicts.provider_series(lines, name, m) for lines in runs], samples)
        for m in judged
        if m is not None
    ]
    return [_rounded_evidence(e) for e in found if e is not None]


def _definitions(question: Question, name: str, runs: Sequence[Sequence[Line]]) -> list[Definition]:
    return collapse.definitions(
        cache(lambda metric: [verdicts.provider_series(lines, name, metric) for lines in runs]),
        [m.name for m in _metrics(question)],
        question.scenario.evaluation.size(question.scenario.humans.open()),
        images=_images(question),
    )


def _images(question: Question) -> bool:
    return len(question.scenario.humans.open().shape) == 3


def _add_scaling(question: Question, runs: Sequence[Sequence[Line]], providers: dict[str, ProviderSummary]) -> None:
    """Providers that share a card and differ in their data sets' sizes say together how risk scales with size."""
    cards: dict[str, list[str]] = {}
    for name in providers:
        cards.setdefault(repr(question.cards[name].model), []).append(name)
    measured = [m.name for m in _metrics(question)]
    for names in cards.values():
        found = collapse.scaling_of(
            [[verdicts.provider_series(lines, name, "data-set-pages") for lines in runs] for name in names],
            lambda metric, names=names: [  # type: ignore[misc]
                [verdicts.provider_series(lines, name, metric) for lines in runs] for name in names
            ],
            measured,
            _images(question),
        )
        if found is not None:
            for name in names:
                told = providers[name]["definitions"]
                providers[name]["definitions"] = [found if d["name"] == found["name"] else d for d in told]


def _sources(question: Question, name: str, runs: Sequence[Sequence[Line]]) -> list[Source]:
    """The last generation's row of W: whose pages it was trained on, the oldest generations first."""
    shares: dict[tuple[str, int], float] = {}
    last = [rows[-1] for lines in runs if (rows := _trained(lines, name))]
    for lines, row in zip((lines for lines in runs if _trained(lines, name)), last, strict=True):
        makers = {
            number: (maker, generation) for line in lines for number, maker, generation, _ in line["web"]["published"]
        }
        for number, pages in row["by_batch"]:
            key = makers[number]
            shares[key] = shares.get(key, 0.0) + pages / row["pages"] / len(last)
    order = ["human", *(p.name for p in question.providers)]
    return [
        {"maker": maker, "generation": None if maker == "human" else generation, "share": _sure([share])}
        for (maker, generation), share in sorted(shares.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    ]


def _rounded_theory(t: Theory) -> Theory:
    values, errors = [_round(v) for v in t["values"]], [_round(e) for e in t["error"]]
    return {**t, "values": values, "error": errors, "human": _round(t["human"]), "deviation": _round(t["deviation"])}


def _rounded_evidence(e: Evidence) -> Evidence:
    return {
        **e,
        "start": _round(e["start"]),
        "end": _round(e["end"]),
        "effect": _round(e["effect"]),
        "low": _round(e["low"]),
        "high": _round(e["high"]),
    }


def _note(seeds: int, stopped: bool, evidence: Sequence[Evidence]) -> str:
    if stopped:
        return "stopped: no verdict"
    if not evidence:
        return "none of the metrics that a verdict rests on was measured"
    if all(e["effect"] is None for e in evidence):
        return "one generation: nothing to compare"
    return "one seed: the interval covers the evaluation samples only, not other seeds" if seeds == 1 else ""


def _stopped(name: str, runs: dict[int, list[Line]]) -> list[Stopped]:
    found: list[Stopped] = []
    for seed, lines in runs.items():
        line = next((line for line in lines if "stopped" in line["providers"][name]), None)
        if line is not None:
            found.append({"seed": seed, "round": line["round"], "why": line["providers"][name]["stopped"]})
    return found


def _baseline(question: Question, name: str, runs: Sequence[Sequence[Line]]) -> Baseline | None:
    """Generation 0 against the card, where the card was measured on as many pages of the same human data."""
    firsts = [_trained(lines, name)[:1] for lines in runs]
    rows = [row for first in firsts for row in first]
    if not rows or question.scenario.evaluation.features or question.scenario.judge:
        return None  # cards are measured with other eyes
    card = question.cards[name].baseline(question.scenario.humans.open().conditions, round(rows[0]["pages"]))
    if card is None:
        return None
    misses: list[BaselineMiss] = []
    for metric, tolerance in BASELINE_TOLERANCE.items():
        own, value = _mean([row["metrics"].get(metric) for row in rows]), card.metrics.get(metric)
        if own is None or value is None:
            continue
        worse, than = (own, value) if metric in verdicts.DISTANCES else (value, own)
        if worse > tolerance * max(than, 1e-12):
            misses.append({"metric": metric, "card": value, "run": own})
    return {"held": not misses, "misses": misses}


def _generations(question: Question, name: str, runs: Sequence[Sequence[Line]]) -> list[GenerationSummary]:
    trained = [_trained(lines, name) for lines in runs]
    count = max((len(rows) for rows in trained), default=0)
    return [_generation(n, [rows[n] for rows in trained if n < len(rows)]) for n in range(count)]


def _generation(number: int, rows: Sequence[dict[str, Any]]) -> GenerationSummary:
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    makers = list(dict.fromkeys(maker for row in rows for maker in row["by_maker"]))
    ratios = [row["lambda"] for row in rows]
    return {
        "generation": number,
        "round": rows[0]["round"],
        "lambda": None if None in ratios else _mean(ratios),
        "synthetic_share": _sure([row["synthetic_share"] for row in rows]),
        "lineage": _sure([row["lineage"] for row in rows]),
        "data_set": {
            "pages": _sure([row["pages"] for row in rows]),
            "human": _sure([row["human"] for row in rows]),
            "synthetic": _sure([row["pages"] - row["human"] for row in rows]),
            "by_maker": {m: _sure([row["by_maker"].get(m, 0) for row in rows]) for m in makers},
        },
        "loss": _mean([row["loss"] for row in rows]),
        "metrics": {m: _mean([row["metrics"].get(m) for row in rows]) for m in names},
        "spread": {m: _spread([row["metrics"].get(m) for row in rows]) for m in names},
    }


def _trained(lines: Sequence[Line], name: str) -> list[dict[str, Any]]:
    """A provider's generations on record, each with its round."""
    rows = [(line["round"], line["providers"][name]) for line in lines]
    return [{"round": round, **row["trained"]} for round, row in rows if "trained" in row]


# The web, claims


def _web(runs: Sequence[Sequence[Line]]) -> list[WebRound]:
    rounds: list[WebRound] = []
    for number, rows in enumerate(_by_round(runs, lambda line: line["web"])):
        rounds.append(
            {
                "round": number,
                "pages": _sure([row["pages"] for row in rows]),
                "human": _sure([row["human"] for row in rows]),
                "synthetic": _sure([row["synthetic"] for row in rows]),
                "synthetic_share": _sure([row["synthetic_share"] for row in rows]),
                "lineage": _sure([row["lineage"] for row in rows]),
            }
        )
    return rounds


def _ecosystem(runs: Sequence[Sequence[Line]]) -> Ecosystem:
    """What was told of the web and of agents."""
    web = _told(runs, lambda line: line["web"].get("measured", {}))
    names = dict.fromkeys(name for lines in runs for line in lines for name in line.get("agents", {}))
    agents = {name: _told(runs, lambda line, name=name: line.get("agents", {}).get(name, {})) for name in names}
    known = measures.ALL
    measured = {*web, *(metric for of in agents.values() for metric in of)}
    return {"web": web, "agents": agents, "measures": {name: known[name] for name in known if name in measured}}


def _told(runs: Sequence[Sequence[Line]], pick: Any) -> dict[str, list[float | None]]:
    """By measure, the means over the seeds that told of it, by round."""
    rows = _by_round(runs, pick)
    names = dict.fromkeys(name for row in rows for told in row for name in told)
    return {name: [_mean([told[name] for told in row if name in told]) for row in rows] for name in names}


def _by_round(runs: Sequence[Sequence[Line]], pick: Any) -> list[list[Any]]:
    return [[pick(lines[n]) for lines in runs if n < len(lines)] for n in range(max(map(len, runs)))]


def _claims(question: Question, runs: Sequence[Sequence[Line]], found: Any, theory: Theories) -> list[ClaimSummary]:
    from ecosystem import grammar

    claims: list[ClaimSummary] = []
    better = {name: info["better"] for name, info in measures.ALL.items()}
    better |= {m.name: m.better for m in _metrics(question)}
    for claim in (grammar.dump(c) for c in question.scenario.claims):
        judged = verdicts.judge(claim, runs, found, theory, better)
        claims.append(
            {
                "text": verdicts.in_words(claim),
                "verdict": judged.verdict,
                "effect": _round(judged.found.effect) if judged.found else None,
                "low": _round(judged.found.low) if judged.found else None,
                "high": _round(judged.found.high) if judged.found else None,
                "evidence": judged.evidence,
                "more_seeds": judged.more_seeds,
            }
        )
    return claims


# Numbers


def _round(value: float | None) -> Rounded:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")


def _present(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Iterable[float | None]) -> Rounded:
    present = _present(values)
    return _round(float(np.mean(present))) if present else None


def _sure(values: Iterable[float]) -> float:
    """The mean of counts, which are never missing."""
    return float(f"{float(np.mean(list(values))):.{DIGITS}g}")


def _spread(values: Iterable[float | None]) -> Rounded:
    """Standard deviation over seeds; None for fewer than two."""
    present = _present(values)
    return _round(float(np.std(present, ddof=1))) if len(present) > 1 else None
