"""Measuring a card's clean-data baseline: generation 0 of a world that holds human pages alone.

``ecosystem models --measure CARD`` runs it over three seeds under each condition of CONDITIONS that suits the card,
and writes the means into the card's file, below its last line ``baselines:``. The seconds are those of training on
the machine at hand; where it has a GPU, that is named, with what it does in a second and the memory it takes.
"""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ecosystem import compute
from ecosystem.documents import dump
from ecosystem.errors import ScenarioError
from ecosystem.loop import round_line
from ecosystem.models import cards
from ecosystem.models.base import to_web
from ecosystem.models.neural import NeuralFamily
from ecosystem.question import Question
from ecosystem.scenarios import from_text
from ecosystem.world import World

SEEDS = (0, 1, 2)

# card -> the human data it is measured on, and how many pages of them
CONDITIONS: dict[str, list[tuple[dict[str, Any], int]]] = {
    "flow-matching-digits": [({"source": "digits"}, 1000), ({"source": "digits"}, 900)],
    "flow-matching-digits-unlabelled": [({"source": "digits", "labelled": False}, 1000)],
    "diffusion-digits": [({"source": "digits"}, 1000), ({"source": "digits"}, 900)],
    "diffusion-2d": [({"source": "ring-8"}, 500)],
    "flow-matching-2d": [({"source": "ring-8"}, 500)],
    "edm-digits": [({"source": "digits"}, 1000), ({"source": "digits"}, 900)],
    "edm-2d": [({"source": "ring-8"}, 500)],
    "normalizing-flow-digits": [({"source": "digits"}, 1000), ({"source": "digits"}, 900)],
    "normalizing-flow-2d": [({"source": "ring-8"}, 500)],
    "vae-digits": [({"source": "digits"}, 1000), ({"source": "digits"}, 900)],
    "vae-mnist": [({"source": "mnist"}, 10_000)],
    "normalizing-flow-mnist": [({"source": "mnist"}, 10_000)],
    "flow-matching-mnist-small": [({"source": "mnist"}, 10_000)],
    "diffusion-mnist-small": [({"source": "mnist"}, 10_000)],
    "edm-mnist-small": [({"source": "mnist"}, 10_000)],
    "flow-matching-cifar10-small": [({"source": "cifar10"}, 10_000)],
    "flow-matching-faces-small": [
        ({"source": "image-folder", "root": "orl-faces", "size": 32, "channels": 1, "held_out": 100}, 300)
    ],
    # Those below are meant for a GPU, and have not been measured.
    "flow-matching-mnist": [({"source": "mnist"}, 60_000)],
    "flow-matching-cifar10": [({"source": "cifar10"}, 50_000)],
    "diffusion-cifar10": [({"source": "cifar10"}, 50_000)],
    "edm-cifar10": [({"source": "cifar10"}, 50_000)],
    "normalizing-flow-cifar10": [({"source": "cifar10"}, 50_000)],
    "vae-cifar10": [({"source": "cifar10"}, 50_000)],
}
LARGE = {"flow-matching-mnist", *(card for card in CONDITIONS if card.endswith("-cifar10"))}
SMALL = [card for card in CONDITIONS if card not in LARGE]


def measure(name: str, say: Callable[[str], None]) -> None:
    """Measure and write. Raises ScenarioError for a card without conditions."""
    if name not in CONDITIONS:
        raise ScenarioError(f"there are no conditions to measure `{name}` under; known: {', '.join(CONDITIONS)}")
    found = []
    for humans, pages in CONDITIONS[name]:
        asked = question(name, humans, pages)
        found.append(_mean(asked, pages, [_one(asked, seed) for seed in SEEDS]))
        say(f"{name} on {humans['source']} ({pages:,} pages): {found[-1]['metrics']}")
    write(cards.path_of(name), found)


def question(card: str, humans: dict[str, Any], pages: int) -> Question:
    """A world of one round without users."""
    world = {
        "name": f"clean-{Path(card).stem}",
        "rounds": 1,
        "humans": humans,
        "web": {"archive": pages},
        "providers": [{"name": "lab", "model": card}],
    }
    return from_text(dump(world), origin="baseline")


def _one(asked: Question, seed: int) -> dict[str, Any]:
    world = World(asked, seed, compute.set_up())
    updates, seconds, began = 0, 0.0, time.perf_counter()
    for progress in world.phases():
        if progress.update is not None:
            updates, seconds = progress.update.done, time.perf_counter() - began
        elif progress.phase == "retrain":
            began = time.perf_counter()
    metrics = round_line(world)["providers"]["lab"]["trained"]["metrics"]
    row = {"metrics": metrics, "updates": updates, "seconds": seconds}
    return row | ({"gpu": _on_gpu(world, seconds)} if world.device.type == "cuda" else {})


def _on_gpu(world: World, seconds: float) -> dict[str, float]:
    """Of a world whose provider has just been trained, in so many seconds."""
    (provider,) = world.providers
    family = world.question.card(provider.name, 0).model
    assert isinstance(family, NeuralFamily), "closed forms are not measured"
    draw = provider.draw(*world.evaluator.prompts())
    began = time.perf_counter()
    to_web(draw.generator.sample(draw.y, draw.noise))  # waits for the device
    return {
        "images_per_second": family.train.budget_images / seconds,
        "samples_per_second": len(draw.y) / (time.perf_counter() - began),
        "memory": torch.cuda.max_memory_allocated() / 2**30,
    }


def _mean(asked: Question, pages: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = [name for name in rows[0]["metrics"] if name not in ("variance",)]
    found = {
        "humans": asked.scenario.humans.open().conditions,
        "pages": pages,
        "seeds": len(rows),
        "metrics": _means([row["metrics"] for row in rows], names),
        "updates": rows[0]["updates"],
        "seconds": _short(np.mean([row["seconds"] for row in rows])),
        "machine": _machine(),
    }
    return found | ({"gpu": _means([row["gpu"] for row in rows], rows[0]["gpu"])} if "gpu" in rows[0] else {})


def _means(rows: Sequence[Mapping[str, float]], names: Iterable[str]) -> dict[str, float]:
    return {name: _short(np.mean([row[name] for row in rows])) for name in names}


def _machine() -> str:
    if torch.cuda.is_available():
        return f"{platform.machine()}, {torch.cuda.get_device_name()}"
    return f"{platform.machine()}, {_processor()}, one thread"


def _short(value: Any) -> float:
    return float(f"{float(value):.3g}")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown processor")


def write(path: Path, found: list[dict[str, Any]]) -> None:
    """Replace everything from the line ``baselines:`` on."""
    kept = re.split(r"(?m)^baselines:", path.read_text(encoding="utf-8"))[0].rstrip() + "\n"
    path.write_text(kept + "".join(_lines(found)), encoding="utf-8")


def _lines(found: list[dict[str, Any]]) -> Iterator[str]:
    yield from dump({"baselines": found}).splitlines(keepends=True)
