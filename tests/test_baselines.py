"""Baselines of cards: generation 0 of small worlds, written where a card keeps them."""

import pytest
import torch

from ecosystem import baselines, catalogue
from ecosystem.errors import ScenarioError
from ecosystem.models import cards
from ecosystem.world import World

CARD = """\
name: tiny
about: As little as can be.
model:
  family: flow-matching
  net: {kind: mlp, width: 8, depth: 1}
  train: {budget_images: 960, batch: 32}
  sampler: {steps: 2}
"""
RING = {"source": "ring-8", "held_out": 50}


@pytest.fixture
def card(tmp_path, monkeypatch):
    path = tmp_path / "tiny.yaml"
    path.write_text(CARD)
    monkeypatch.setitem(baselines.CONDITIONS, str(path), [(RING, 40), (RING, 60)])
    monkeypatch.setattr(baselines, "SEEDS", (0, 1))
    return path


def test_a_card_is_measured_and_its_file_keeps_the_rest(card):
    said, texts = [], []
    for _ in range(2):
        baselines.measure(str(card), said.append)
        texts.append(card.read_text())
        assert texts[-1].startswith(CARD + "baselines:\n")
    found = cards.load(str(card)).baselines
    assert [(b.humans, b.pages, b.seeds, b.updates, b.gpu) for b in found] == [
        ("ring-8", 40, 2, 30, None),
        ("ring-8", 60, 2, 30, None),
    ]
    assert all(b.seconds > 0 and b.machine.endswith("one thread") and 0 <= b.metrics["recall"] <= 1 for b in found)
    assert said[:2] == said[2:] and f"{card} on ring-8 (60 pages): " in said[1], "the same seeds, the same metrics"
    assert cards.load(str(card)).baseline("ring-8", 60) == found[1]


def test_a_baseline_is_the_mean_over_seeds(card):
    asked = baselines.question(str(card), RING, 40)
    rows = [baselines._one(asked, seed) for seed in baselines.SEEDS]
    mean = baselines._mean(asked, 40, rows)["metrics"]
    for name, value in mean.items():
        assert value == pytest.approx(sum(row["metrics"][name] for row in rows) / 2, rel=5e-3)


def test_a_card_of_no_conditions_is_refused():
    with pytest.raises(ScenarioError, match="no conditions to measure `gaussian` under"):
        baselines.measure("gaussian", print)


def test_what_a_gpu_does_stands_in_its_card(card, monkeypatch):
    """Reckoned of a world on the CPU, as on any device."""
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    asked = baselines.question(str(card), RING, 40)
    world = World(asked, 0, torch.device("cpu"))
    world.step()
    did = baselines._on_gpu(world, 2.0)
    assert (did["images_per_second"], did["memory"]) == (480.0, 3.0) and did["samples_per_second"] > 0
    row = {"metrics": {"recall": 0.5}, "updates": 30, "seconds": 2.0}
    baselines.write(card, [baselines._mean(asked, 40, [row | {"gpu": did}, row | {"gpu": did | {"memory": 5.0}}])])
    (found,) = cards.load(str(card)).baselines
    assert found.machine.endswith(", a GPU") and found.gpu is not None
    assert (found.gpu.images_per_second, found.gpu.memory) == (480.0, 4.0)
    assert catalogue._on_gpu("tiny", found, found.gpu).startswith(f"| tiny | {found.machine} | 480 | ")
