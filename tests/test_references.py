"""The shipped pages tell the truth: reference reports belong to the scenarios as they are, catalogues to the cards."""

import io
import json
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console

from ecosystem import catalogue, references, reports, scenarios
from ecosystem.documents import read

ROOT = Path(__file__).parent.parent
NAMES = scenarios.names()
question = cache(scenarios.understood)


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_report_belongs_to_the_scenario_and_cards_as_they_are(name):
    digest = (ROOT / "reports" / name / "digest.txt").read_text().strip()
    assert digest == question(name).digest, f"`make references` again: {name} or its cards have changed"


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_summary_answers_every_claim(name):
    summary = json.loads((ROOT / "reports" / name / "summary.json").read_text())
    assert summary["seeds"] == list(references.seeds_of(question(name)))
    assert len(summary["claims"]) == len(question(name).scenario.claims)
    assert all(p["baseline"] is None or p["baseline"]["held"] for p in summary["providers"].values())


@pytest.mark.parametrize("name", NAMES)
def test_the_report_on_file_is_what_its_summary_prints(name):
    """The report up to its gallery, which needs the samples as well."""
    summary = json.loads((ROOT / "reports" / name / "summary.json").read_text())
    console = Console(width=references.WIDTH, file=io.TextIOWrapper(io.BytesIO(), "utf-8"), color_system=None)
    with console.capture() as capture:
        reports.print_report(summary, None, console)
    body = capture.get().split("Reproduce:")[0].rstrip()
    assert (ROOT / "reports" / name / "report.txt").read_text(encoding="utf-8").startswith(body)


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_is_a_question_with_papers_and_claims(name):
    scenario = question(name).scenario
    assert scenario.name == name
    assert scenario.question.endswith("?")
    assert scenario.papers
    assert scenario.claims
    assert f"]({name}.yaml)" in (ROOT / "scenarios" / "README.md").read_text(encoding="utf-8")


def test_the_catalogue_of_cards_is_true():
    assert (ROOT / "models" / "README.md").read_text(encoding="utf-8") == catalogue.text(), "run `make pages`"


def test_the_index_of_the_reports_is_true():
    assert (ROOT / "reports" / "README.md").read_text(encoding="utf-8") == references.index(ROOT / "reports")


def test_the_schema_for_editors_is_true():
    assert (ROOT / "scenarios" / "schema.json").read_text(encoding="utf-8") == references.schema(), "run `make pages`"


def test_the_digits_cards_reach_what_the_readme_promises():
    """Precision 0.8, recall 0.5 (k = 3, raw pixels), 95 % agreement, as `make baselines` wrote them into the cards."""
    for name in ("flow-matching-digits", "diffusion-digits"):
        card = read(ROOT / "models" / f"{name}.yaml").data
        metrics = next(b["metrics"] for b in card["baselines"] if b["humans"] == "digits" and b["pages"] == 1000)
        assert metrics["precision"] >= 0.8
        assert metrics["recall"] >= 0.5
        assert metrics["agreement"] >= 0.95
