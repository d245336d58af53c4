"""The README's section on the living web is true: every key with its default, every measure, what theory covers."""

import json
import re
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import yaml

from ecosystem import grammar, measures, predictions, scenarios
from ecosystem.agents.creator import CreatorSettings
from ecosystem.agents.provider import ProviderSettings
from ecosystem.agents.scraper import ScraperSettings
from ecosystem.agents.user import UserSettings
from ecosystem.documents import parse
from ecosystem.question import Event, WebSettings
from ecosystem.settings import Settings, yaml_key

KINDS = {
    "Sites": WebSettings,
    "Creators": CreatorSettings,
    "Users": UserSettings,
    "Scrapers": ScraperSettings,
    "Providers": ProviderSettings,
    "Events": Event,
}


@cache
def section():
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    return text.split("\n## The living web\n")[1].split("\n## ")[0]


@cache
def rows(title):
    """The cells of the table under a heading, without its head."""
    part = next(part for part in section().split("\n### ") if part.startswith(title))
    lines = [line for line in part.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def words(text):
    """All that stands between backticks, word by word, but for whole examples."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return {word for code in re.findall(r"`([^`]+)`", prose) for word in re.findall(r"[\w-]+", code)}


def policies(annotation):
    """The settings classes that an annotation is made of."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for inner in get_args(annotation):
        yield from policies(inner)


@pytest.mark.parametrize("title", KINDS)
def test_every_key_has_its_row_and_its_default(title):
    by_key = {row[0].strip("`"): row for row in rows(title)}
    own = {yaml_key(f.name): f for f in fields(KINDS[title]) if f.name != "name"}
    assert by_key.keys() == own.keys()
    for key, field in own.items():
        told = by_key[key][2].strip("`")
        if field.default is MISSING:
            assert told == "required"
            continue
        named = {"name": "x"} if "name" in KINDS[title].__dataclass_fields__ else {"at": 1} if title == "Events" else {}
        data = {**named, key: yaml.safe_load(told)}
        found, faults = grammar.check(KINDS[title], parse(json.dumps(data), "README"))
        assert faults == []
        assert getattr(found, field.name) == field.default


@pytest.mark.parametrize("title", [title for title in KINDS if title != "Events"])
def test_every_key_and_kind_of_a_policy_is_in_its_row(title):
    hints = get_type_hints(KINDS[title], include_extras=True)
    for row in rows(title):
        key = row[0].strip("`")
        for policy in policies(hints[key]) if key != "card" else ():  # models have their own page
            kept = {yaml_key(f.name) for f in fields(policy)} - {"kind"}
            kind = {getattr(policy, "kind", None)} - {None}
            # Tastes and links are told where they are first met.
            place = row[1] if not policy.__module__.endswith("rewards") or key == "reward" else section()
            assert kept | kind <= words(place), (key, policy)


def test_every_measure_is_listed_with_its_unit():
    told = {row[0].strip("`"): {"unit": row[3], "better": row[4]} for row in rows("What is measured")}
    assert told == measures.COEVOLUTION
    assert {*measures.BY_CREATORS, *measures.BY_USERS, *measures.BY_SCRAPERS} <= words(section())


def test_the_example_is_a_scenario():
    [text] = re.findall(r"```yaml\n(.*?)```", section(), flags=re.DOTALL)
    question = scenarios.from_text(text)
    assert [provider.name for provider in question.providers] == ["alpha", "beta", "gamma"]


# What theory still covers

WORLD = """
name: covered
rounds: 4
humans: {source: SOURCE, held_out: 20}
web: {archive: 60}
creators: [{name: people, count: 5}]
users: [{name: crowd, count: 10, k: 2}]
scrapers: [{name: all}]
providers: [{name: lab, card: {family: FAMILY}}]
"""
TASTE = "reward: {kind: distance, to: [0.0]}"
LATE = "{name: late, card: {family: FAMILY}, distil: {of: lab, images: 30}}"
OPEN = "{name: late, card: {family: FAMILY}, weights_of: lab}"
COVERED = {
    "sites": ("archive: 60", "sites: {count: 5}"),
    "retention": ("archive: 60", "retention: {synthetic_rounds: 1}"),
    "admission": ("archive: 60", "admission: {kind: refuse-flagged, tpr: 0.5, fpr: 0.1}"),
    "attention": ("name: people", "attention: {elasticity: 1.0}"),
    "adoption": ("name: people", "adoption: {share: 0.5}"),
    "reservoir": ("name: people", "reservoir: 9"),
    "reserve": ("name: lab", "reserve: 9"),
    "distil": ("rounds: 4", f"\nevents: [{{at: 1, add: {{providers: [{LATE}]}}}}]"),
    "watermark": ("name: lab", "watermark: true"),
    "publish_share": ("name: crowd", "publish_share: 0.5"),
    "detector": ("name: all", "filter: {kind: detector, tpr: 0.5, fpr: 0.1}"),
    "negative_guidance": ("name: lab", "negative_guidance: {weight: 0.1, images: 50}"),
}
NOT = {
    "capacity": ("archive: 60", "capacity: 9"),
    "crawl": ("name: all", "crawl: {kind: popularity}"),
    "filter": ("name: all", "filter: {kind: trained-detector}"),
    "quality": ("name: all", "quality: {reward: {kind: distance, to: [0.0]}, keep: 0.5}"),
    "near_duplicates": ("name: all", "near_duplicates: {radius: 0.0}"),
    "balance": ("name: all", "balance: {ratio: 2.0}"),
    "resample": ("name: all", "resample: {labelled: 20}"),
    "correction": ("name: lab", "correction: {gamma: 1.0}"),
    "weights_of": ("rounds: 4", f"\nevents: [{{at: 1, add: {{providers: [{OPEN}]}}}}]"),
    "provider_choice": ("name: crowd", f"{TASTE}, provider_choice: {{memory: 0.5}}"),
}


def holding(*changes, source="gaussian, dims: 1", family="gaussian"):
    """The names of the oracles of the world with changes."""
    text = WORLD
    for old, new in changes:
        assert old in text
        text = text.replace(old, old + new if new.startswith("\n") else f"{old}, {new}")
    question = scenarios.from_text(text.replace("SOURCE", source).replace("FAMILY", family))
    return {oracle.name for oracle in predictions.ORACLES if oracle.holds(question)}


MOMENT, CURATION, FILTER = (predictions.ORACLES[n].name for n in (0, 3, 4))


@pytest.mark.parametrize("policy", [*COVERED, *NOT])
def test_what_theory_covers_is_what_is_said(policy):
    exact, rest = section().split("### What theory still covers")[1].split("Nothing\nis predicted")
    assert (policy in words(exact)) == (policy in COVERED and policy != "detector")
    assert policy in words(rest) or policy in COVERED or policy in ("crawl", "filter")
    assert (MOMENT in holding((COVERED | NOT)[policy])) == (policy in COVERED)


@pytest.mark.parametrize("policy", ["taste_drift", "adoption", "distil"])
def test_curation_is_predicted_without_these(policy):
    words_ = {"source": "categorical, probabilities: [0.5, 0.5]", "family": "categorical"}
    chooses = ("name: crowd", TASTE)
    assert CURATION in holding(chooses, **words_)
    off = ("name: crowd", "taste_drift: 0.5") if policy == "taste_drift" else COVERED[policy]
    assert CURATION not in holding(chooses, off, **words_)


@pytest.mark.parametrize("policy", ["capacity", "reserve", "correction", "distil"])
def test_the_share_behind_a_detector_is_predicted_without_these(policy):
    assert FILTER in holding(COVERED["detector"])
    assert FILTER not in holding(COVERED["detector"], (COVERED | NOT)[policy])
