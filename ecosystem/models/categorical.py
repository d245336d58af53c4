"""A categorical distribution a class: what was seen, as often as it was seen. Its loop is the Wright-Fisher model.

    p_a = (items of the training set equal to a) / n,   x = the inverse of p's distribution function at u

Fitting n of its own samples is resampling with replacement: the genetic drift of S. Wright (Evolution in Mendelian
Populations, 1931) and R. A. Fisher (The Genetical Theory of Natural Selection, 1930). What is not drawn once is gone
for ever, the first sign of model collapse (Shumailov et al., The Curse of Recursion: Training on Generated Data Makes
Models Forget, 2023, arXiv 2305.17493; Dohmatob et al., A Tale of Tails: Model Collapse as a Change of Scaling Laws,
2024, arXiv 2402.07043).

Items are compared exactly. Atoms are sorted, so that a model does not depend on the order of its pages.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecosystem.distribution import Distribution
from ecosystem.errors import TrainingError
from ecosystem.models.base import Family, Generator, Saved, Training, TrainingSet, Update, to_model, to_web
from ecosystem.rng import Streams
from ecosystem.settings import Settings


@dataclass(frozen=True)
class CategoricalGenerator(Generator):
    atoms: Tensor  # (A, ...) as on the web: uint8 images or float64 vectors, one class after the other
    mass: Tensor  # (A,), which sums to 1 over each class
    offsets: Tensor  # (classes + 1,) int64: where the atoms of a class begin, and end

    def noise(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return rng.random((n, 1))

    def sample(self, y: Tensor, noise: Tensor) -> Tensor:
        which = torch.zeros(len(y), dtype=torch.int64, device=self.atoms.device)
        for label, (start, end) in enumerate(self._spans()):
            chosen = y == label
            cumulative = self.mass[start:end].cumsum(0)
            rank = torch.searchsorted(cumulative, noise[chosen, 0].contiguous(), right=True)
            which[chosen] = start + rank.clamp(max=end - start - 1)  # a sum of masses may end a rounding below 1
        x = self.atoms[which]
        return to_model(x) if x.dtype == torch.uint8 else x

    def state(self) -> dict[str, Tensor]:
        return {"atoms": self.atoms, "mass": self.mass, "offsets": self.offsets}

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """Minus infinity for an item that was never seen."""
        items = x.cpu().numpy() if x.dtype == torch.uint8 else to_web(x)
        values, labels, mass = np.full(len(items), -np.inf), y.cpu().numpy(), self.mass.cpu().numpy()
        for label, (start, end) in enumerate(self._spans()):
            chosen = labels == label
            ranks = _ranks(np.concatenate([self._rows()[start:end], _flat(items[chosen])]))
            by_rank = np.zeros(ranks.max() + 1)
            by_rank[ranks[: end - start]] = mass[start:end]
            with np.errstate(divide="ignore"):
                values[chosen] = np.log(by_rank[ranks[end - start :]])
        return torch.from_numpy(values).to(x.device)

    def distribution(self) -> Distribution | None:
        if self.atoms.ndim > 2:
            return None  # its atoms are images, not vectors
        atoms, mass, classes = self._rows(), self.mass.cpu().numpy(), len(self.offsets) - 1
        if classes > 1:  # an atom of two classes is one atom
            order, first = _sorted(atoms)
            mass = np.bincount(np.cumsum(first) - 1, mass[order]) / classes
            atoms = atoms[order[first]]
        return Distribution.discrete(atoms, mass)

    def _rows(self) -> NDArray[Any]:
        return _flat(self.atoms.cpu().numpy())

    def _spans(self) -> Iterator[tuple[int, int]]:
        offsets: list[int] = self.offsets.tolist()
        return zip(offsets, offsets[1:], strict=False)


@dataclass(frozen=True)
class Categorical(Family, Settings):
    family: Literal["categorical"] = "categorical"

    def fit(
        self,
        data: TrainingSet,
        previous: Generator | None,
        streams: Streams,
        budget_images: int | None = None,
        saved: Saved | None = None,
    ) -> Training:
        x, y = data.x.cpu().numpy(), data.y.cpu().numpy()
        counted = [_counted(x[y == label], label) for label in range(data.classes)]
        yield Update(1, 1, math.nan)
        atoms, mass = (np.concatenate(part) for part in zip(*counted, strict=True))
        offsets = np.cumsum([0, *(len(part) for part, _ in counted)])
        return CategoricalGenerator(*(torch.from_numpy(a).to(data.x.device) for a in (atoms, mass, offsets)))

    def restored(self, saved: Saved, shape: tuple[int, ...], classes: int) -> CategoricalGenerator:
        return CategoricalGenerator(saved["atoms"], saved["mass"], saved["offsets"])


def _counted(x: NDArray[Any], label: int) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The distinct items of x (N, ...), sorted, and the share of each."""
    if len(x) == 0:
        raise TrainingError(
            f"the training set holds no page of class {label}; the categorical distribution needs one of each. "
            "Raise the archive, the scraper's budget or the users' prompts."
        )
    order, first = _sorted(_flat(x))
    starts = np.flatnonzero(first)
    return x[order[starts]], np.diff(starts, append=len(x)) / len(x)


def _sorted(rows: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The order that sorts rows (N, D), and in it which are the first of their kind, (N,)."""
    if rows.dtype == np.uint8:
        order = np.argsort(np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1])))[:, 0])
    elif rows.shape[1] == 1:
        order = np.argsort(rows[:, 0])
    else:
        order = np.lexsort(rows.T[::-1])
    inside = rows[order]
    first = np.ones(len(rows), dtype=np.bool_)
    np.any(inside[1:] != inside[:-1], axis=1, out=first[1:])
    return order, first


def _ranks(rows: NDArray[Any]) -> NDArray[np.int64]:
    """The rank of each row (N, D) among the distinct ones."""
    order, first = _sorted(rows)
    ranks = np.empty(len(rows), dtype=np.int64)
    ranks[order] = np.cumsum(first) - 1
    return ranks


def _flat(x: NDArray[Any]) -> NDArray[Any]:
    """Items (N, ...) as rows (N, D). Adding nothing makes one zero of the two that a float64 knows."""
    rows = x.reshape(len(x), math.prod(x.shape[1:]))
    return rows if rows.dtype == np.uint8 else rows + 0.0
