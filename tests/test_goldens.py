"""A small world from end to end against the numbers on file, so that a change of any draw or formula is noticed."""

import json
import os
from pathlib import Path

import pytest

from ecosystem import results, scenarios

GOLDEN = Path(__file__).parent / "goldens" / "small-world.json"

SCENARIO = """
name: small-world
question: Do two Gaussian labs on one web stay where humans are?
rounds: 6
humans: {source: ring-8, held_out: 300}
web: {archive: 200, retention: {synthetic_rounds: 2}, sites: {count: 5, graph: cycle_graph}}
creators: [{name: people, count: 4, pages_per_round: 3}]
users:
  - name: crowd
    count: 60
    prompts_per_round: 2
    k: 3
    candidates: across-providers
    reward: {kind: distance, to: [2, 0]}
scrapers: [{name: common, budget: 250, crawl: {kind: breadth-first}, filter: {kind: detector, tpr: 0.3, fpr: 0.1}}]
providers:
  - {name: alpha, model: gaussian, scraper: common}
  - {name: beta, model: gaussian-unbiased, retrain: {every: 2}}
events: [{at: 3, set: {scrapers.common.filter.tpr: 0.9}}]
claims:
  - {metric: reward, of: alpha, is: increasing}
  - {metric: synthetic-share, is: bounded, within: 1.5}
  - {metric: vote-share, of: alpha, is: higher-than, than: {of: beta}}
"""


def close(a, b, path=""):
    """Equal, numbers to 1e-6: LAPACK differs in the last bits from machine to machine."""
    if isinstance(b, dict):
        assert a.keys() == b.keys(), path
        for key in b:
            close(a[key], b[key], f"{path}.{key}")
    elif isinstance(b, list):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            close(x, y, f"{path}[{i}]")
    elif isinstance(b, float):
        assert a == pytest.approx(b, rel=1e-6, abs=1e-9), path
    else:
        assert a == b, path


def test_a_small_world_is_as_it_was(tmp_path):
    run = results.run(scenarios.from_text(SCENARIO), [0, 1], tmp_path / "run", force=False)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    if os.environ.get("ECOSYSTEM_WRITE_GOLDENS"):
        GOLDEN.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    close(summary, json.loads(GOLDEN.read_text(encoding="utf-8")))
    assert run.frame().groupby("provider").size().index.tolist() == ["alpha", "beta", "web"]
