"""Model cards: the settings files in ``models/``, one model a file, with the baseline measured on clean human data.

    name: flow-matching-digits
    about: ...
    papers: ["arXiv:2302.00482"]
    model: {family: flow-matching, net: ..., train: ..., sampler: ...}
    baselines:
      - {humans: digits, pages: 1000, seeds: 3, metrics: {precision: 0.93, ...}, updates: ..., seconds: ...}

A baseline is what generation 0 reaches on that many human pages: an under-trained generation 0 makes every later
verdict worthless, so a run compares its own with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ecosystem.documents import Document, Fault, raise_faults, read, shown, suggest
from ecosystem.grammar import shipped, shipped_names, validate
from ecosystem.models import ModelFamily
from ecosystem.settings import Name, Positive, Settings

FOLDER = "models"


@dataclass(frozen=True)
class OnGpu(Settings):
    """What a GPU did in a second, images trained on and samples drawn, and the most memory it held, in GiB."""

    images_per_second: float
    samples_per_second: float
    memory: float


@dataclass(frozen=True)
class CardBaseline(Settings):
    """Means over ``seeds`` of generation 0; ``seconds`` of training and ``updates`` are for orientation."""

    humans: str
    pages: Positive
    seeds: Positive
    metrics: dict[str, float]
    updates: int
    seconds: float
    machine: str
    gpu: OnGpu | None = None


@dataclass(frozen=True)
class Card(Settings):
    name: Name
    about: str
    model: ModelFamily
    papers: tuple[str, ...] = ()
    baselines: tuple[CardBaseline, ...] = ()

    def baseline(self, humans: str, pages: int) -> CardBaseline | None:
        """The one measured under these conditions."""
        return next((b for b in self.baselines if b.humans == humans and b.pages == pages), None)


def load(name_or_path: str) -> Card:
    """A shipped card by name, or any by path. Raises ScenarioError."""
    return from_document(read(path_of(name_or_path)))


def path_of(name_or_path: str) -> Path:
    known = shipped_names(FOLDER)
    if name_or_path in known:
        return shipped(FOLDER) / f"{name_or_path}.yaml"
    if is_path(name_or_path):
        return Path(name_or_path)
    problem = f"there is no model card `{shown(name_or_path)}`"
    raise_faults([Fault(shown(name_or_path), None, "", problem, suggest(name_or_path, known))], "model card")
    raise AssertionError


def is_path(name_or_path: str) -> bool:
    """Whether it is a file of the user's, not a shipped card."""
    return name_or_path.endswith((".yaml", ".yml")) and name_or_path not in shipped_names(FOLDER)


def from_document(document: Document) -> Card:
    return validate(Card, document)


def in_place(model: ModelFamily) -> Card:
    """The card of a provider that writes its model into the scenario."""
    return Card(name="in the scenario", about="", model=model)
