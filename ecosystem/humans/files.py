"""``mnist``, ``fashion-mnist``, ``cifar10``: real images through torchvision, from a folder or else from the network.

Sources: Y. LeCun, C. Cortes, C. Burges, The MNIST Database of Handwritten Digits, 1998 (60,000 + 10,000
images of 28x28); H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
Learning Algorithms, 2017, arXiv 1708.07747 (as many of the same size); A. Krizhevsky, Learning Multiple Layers of
Features from Tiny Images, 2009 (50,000 + 10,000 images of 32x32 in colour).

The folder is ``root``, or the environment's ECOSYSTEM_DATA, or ~/.cache/ecosystem. Pages are drawn from the
official training set (its first ``pages`` images). The held-out set is a fixed part of the official test set,
shuffled first, because MNIST's second half is not drawn like its first.

``open()`` opens no file: how many items there are and of what shape is known. They are read when the first is asked
for, so that a report of a stranger's run looks into no folder which that run names.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types as at
import numpy as np

from ecosystem.errors import DataError
from ecosystem.humans.base import Humans, Items, Reservoir, unlabelled
from ecosystem.rng import stream
from ecosystem.settings import Positive, Settings

HeldOut = Annotated[int, at.Ge(1), at.Le(10_000)]


@dataclass(frozen=True)
class Mnist(Settings):
    """Handwritten digits, 28x28, grey."""

    source: Literal["mnist"] = "mnist"
    root: str | None = None  # a folder with MNIST/raw in it
    pages: Positive | None = None  # None: all 60,000
    held_out: HeldOut = 2000
    labelled: bool = True

    def open(self) -> Humans:
        return Files(self, folder(self.root))


@dataclass(frozen=True)
class FashionMnist(Settings):
    """Pictures of ten kinds of clothing, 28x28, grey."""

    source: Literal["fashion-mnist"] = "fashion-mnist"
    root: str | None = None  # a folder with FashionMNIST/raw in it
    pages: Positive | None = None  # None: all 60,000
    held_out: HeldOut = 2000
    labelled: bool = True

    def open(self) -> Humans:
        return Files(self, folder(self.root))


@dataclass(frozen=True)
class Cifar10(Settings):
    """Photographs of ten kinds of thing, 32x32, in colour."""

    source: Literal["cifar10"] = "cifar10"
    root: str | None = None  # a folder with cifar-10-batches-py in it
    pages: Positive | None = None  # None: all 50,000
    held_out: HeldOut = 2000
    labelled: bool = True

    def open(self) -> Humans:
        return Files(self, folder(self.root))


Official = Mnist | FashionMnist | Cifar10

TRAINING = {"mnist": 60_000, "fashion-mnist": 60_000, "cifar10": 50_000}  # images
SHAPE = {"mnist": (1, 28, 28), "fashion-mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
INSIDE = {"mnist": "MNIST/raw", "fashion-mnist": "FashionMNIST/raw", "cifar10": "cifar-10-batches-py"}
CLASSES = 10


class Files(Humans):
    """A reservoir that is read when it is drawn from."""

    modes = None
    known_classes = CLASSES

    def __init__(self, settings: Official, root: Path) -> None:
        self._settings, self._root = settings, root
        self.name, self.shape = settings.source, SHAPE[settings.source]
        self.classes = CLASSES if settings.labelled else 1
        self.pool_size = min(settings.pages or TRAINING[self.name], TRAINING[self.name])
        self.held_out_size = settings.held_out

    def ready(self, pages: int = 0) -> None:
        read = self._read
        if (read.shape, read.pool_size, read.held_out_size) != (self.shape, self.pool_size, self.held_out_size):
            raise DataError(
                f"humans: source '{self.name}' in {self._root} is not the official one: its images are too few or of "
                "another size.\nRemedy: take the files away, and they are downloaded again."
            )

    def draw(self, n: int, *, seed: int, who: str, round: int, used: int) -> Items:
        return self._read.draw(n, seed=seed, who=who, round=round, used=used)

    def held_out(self) -> Items:
        return self._read.held_out()

    def pool(self, limit: int) -> Items:
        return self._read.pool(limit)

    @property
    def _read(self) -> Reservoir:
        return _reservoir(self._settings, self._root)


def folder(root: str | None) -> Path:
    """Where the files are looked for, and downloaded to."""
    return Path(root or os.environ.get("ECOSYSTEM_DATA") or "~/.cache/ecosystem").expanduser()


@lru_cache(maxsize=4)
def _reservoir(settings: Official, root: Path) -> Reservoir:
    training = _read(settings.source, root, train=True).take(slice(settings.pages))
    test_set = _read(settings.source, root, train=False)
    order = stream(0, "humans", f"{settings.source} held out").permutation(len(test_set))
    held_out = test_set.take(order[: settings.held_out])
    if settings.labelled:
        return Reservoir(settings.source, training, held_out, classes=CLASSES)
    return Reservoir(settings.source, unlabelled(training), unlabelled(held_out), 1, known_classes=CLASSES)


def _read(source: str, root: Path, *, train: bool) -> Items:
    """One official part, from the disk if it is there."""
    from torchvision import datasets

    known = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST, "cifar10": datasets.CIFAR10}
    data_set = known[source]
    try:
        return _items(data_set(root, train=train, download=False))
    except Exception:  # torchvision has a dozen ways to say "missing or damaged"; a download mends them all
        return _items(_download(source, root, lambda: data_set(root, train=train, download=True)))


def _download(source: str, root: Path, fetch: Callable[[], Any]) -> Any:
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torchvision prints; standard output is for results
            return fetch()
    except Exception as error:
        why = str(error).strip()
        raise DataError(
            f"humans: source '{source}' is not in {root} and cannot be downloaded to it ({why}).\n"
            f"Remedy: let {root} be written and the network be reached once; or point humans.root, or the "
            f"environment variable ECOSYSTEM_DATA, at a folder that holds {INSIDE[source]}."
        ) from error


def _items(data_set: Any) -> Items:
    x = np.asarray(data_set.data)  # MNISTs (N, 28, 28), CIFAR-10 (N, 32, 32, 3), both uint8
    x = x[:, None] if x.ndim == 3 else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    y = np.asarray(data_set.targets, dtype=np.int64)
    if len(x) != len(y):
        raise ValueError(f"{len(x):,} images and {len(y):,} labels")
    return Items(x, y)
