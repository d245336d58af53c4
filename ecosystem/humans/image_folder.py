"""``image-folder``: any folder of images, such as FFHQ or the ORL faces, at one size.

    humans: {source: image-folder, root: orl-faces, size: 64, channels: 1, held_out: 100, classes: 40, labelled: true}

``root`` is relative to the folder of human data (ECOSYSTEM_DATA, or ~/.cache/ecosystem). All images below it are taken
(listing.py), whatever their format and size (pictures.py), and decoded once, to a file (decoded.py). With ``classes``
the sub-folders that hold images are the classes, in the order of their names.

One shuffle, the same for every seed, parts the images: the first ``held_out`` are held out, the next ``pages`` (null:
all others) can be drawn. They stand in that order in the file of pixels, which is mapped: a draw copies what it draws.

``open()`` looks into no folder, for it is also asked by a report of a stranger's run. So the settings say what would
have to be counted, ``classes`` and ``held_out``, and how many pages there are is known to ``ready`` alone.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Literal

import annotated_types as at
import numpy as np
from numpy.typing import NDArray

from ecosystem.errors import DataError
from ecosystem.humans.base import Humans, Items, Reservoir
from ecosystem.humans.decoded import mapped
from ecosystem.humans.files import folder
from ecosystem.humans.listing import Picture, pictures
from ecosystem.humans.pictures import Frame
from ecosystem.rng import stream
from ecosystem.settings import Positive, Settings


@dataclass(frozen=True)
class ImageFolder(Settings):
    """Images of ``size`` x ``size`` pixels, in colour (``channels: 3``) or grey."""

    root: Annotated[str, at.MinLen(1)]
    source: Literal["image-folder"] = "image-folder"
    size: Annotated[int, at.Ge(4), at.Le(1024)] = 64  # pixels a side
    channels: Literal[1, 3] = 3
    crop: Literal["center", "none"] = "center"
    pages: Positive | None = None  # None: all that are not held out
    held_out: Positive = 2000
    classes: Annotated[int, at.Ge(2), at.Le(100_000)] | None = None  # sub-folders; None: they mean nothing
    labelled: bool = False  # whether models are told the class

    def __post_init__(self) -> None:
        if self.labelled and self.classes is None:
            raise ValueError("`labelled: true` needs `classes`, the number of sub-folders that hold images")

    def open(self) -> Humans:
        return ImageFiles(self, self.place())

    def place(self) -> Path:
        """Where the images are looked for."""
        return folder(None) / Path(self.root).expanduser()

    @property
    def frame(self) -> Frame:
        return Frame(self.size, self.channels, self.crop)


class ImageFiles(Humans):
    """A reservoir whose folder is listed, and decoded where it never was, when it is first drawn from."""

    modes = None

    def __init__(self, settings: ImageFolder, root: Path) -> None:
        self._settings, self._root = settings, root
        self.name, self.shape = settings.source, settings.frame.shape
        self.details = f"{root.name} {'x'.join(map(str, self.shape))}"
        self.known_classes = settings.classes or 1
        self.classes = self.known_classes if settings.labelled else 1
        self.pool_size, self.held_out_size = settings.pages, settings.held_out

    def ready(self, pages: int = 0) -> None:
        left = self._read.pool_size
        assert left is not None
        if pages > left:
            raise DataError(
                f"humans: {pages:,} human pages are wanted, but {self._root} has {left:,} beside those held out.\n"
                "Remedy: lower the archive, the creators' pages, the rounds or `held_out`, or raise `pages`."
            )

    @cached_property
    def fingerprint(self) -> str:
        """Of the names, which decide the order, and of the pixels held out; when a file was written does not count."""
        digest = hashlib.blake2b(digest_size=16)
        for picture in self._found:
            digest.update(os.fsencode(picture.name) + b"\0")
        digest.update(self.held_out().x.data)
        return digest.hexdigest()

    def draw(self, n: int, *, seed: int, who: str, round: int, used: int) -> Items:
        return self._read.draw(n, seed=seed, who=who, round=round, used=used)

    def held_out(self) -> Items:
        return self._read.held_out()

    def pool(self, limit: int) -> Items:
        found = self._read.pool(limit)
        return Items(np.array(found.x), found.y)  # in memory, where it may be written to

    @cached_property
    def _found(self) -> tuple[Picture, ...]:
        return pictures(self._root)

    @cached_property
    def _read(self) -> Reservoir:
        return _reservoir(self._settings, self._root, self._found)


@lru_cache(maxsize=4)
def _reservoir(settings: ImageFolder, root: Path, found: tuple[Picture, ...]) -> Reservoir:
    _check_counts(settings, root, len(found))
    y = _labels(settings, root, found)
    order = stream(0, "humans", "image-folder split").permutation(len(found))
    x = mapped(root, [found[i] for i in order], settings.frame)
    held_out, end = settings.held_out, None if settings.pages is None else settings.held_out + settings.pages
    kept = Items(np.array(x[:held_out]), y[order[:held_out]])
    known = settings.classes or 1
    training = Items(x[held_out:end], y[order[held_out:end]])
    return Reservoir(settings.source, training, kept, known if settings.labelled else 1, known_classes=known)


def _check_counts(settings: ImageFolder, root: Path, images: int) -> None:
    wanted = settings.held_out + (settings.pages or 1)
    if images < wanted:
        asked = f"`held_out: {settings.held_out}` and `pages: {settings.pages}`"
        problem = asked if settings.pages else f"`held_out: {settings.held_out}` and at least one page to draw"
        raise DataError(
            f"humans: there are {images:,} images in {root}, too few for {problem}.\n"
            "Remedy: hold fewer out, ask for fewer pages, or add images."
        )


def _labels(settings: ImageFolder, root: Path, found: tuple[Picture, ...]) -> NDArray[np.int64]:
    """(N,): of each picture the number of its sub-folder; 0 where they mean nothing."""
    if settings.classes is None:
        return np.zeros(len(found), dtype=np.int64)
    loose = [picture.name for picture in found if "/" not in picture.name]
    if loose:
        raise DataError(
            f"humans: with `classes` every image stands in a sub-folder, and {len(loose):,} of {len(found):,} images "
            f"in {root} stand in none: first {loose[0]}.\nRemedy: move them, or leave `classes` out."
        )
    names = sorted({picture.name.split("/")[0] for picture in found})
    if len(names) != settings.classes:
        raise DataError(
            f"humans: {len(names):,} sub-folders of {root} hold images, and `classes` is {settings.classes:,}.\n"
            f"Remedy: `classes: {len(names)}`, if they are the classes."
        )
    number = {name: label for label, name in enumerate(names)}
    return np.array([number[picture.name.split("/")[0]] for picture in found], dtype=np.int64)
