"""The images of a folder: which they are, and whether they are all there. Nothing is opened.

All files below the folder that end as images do are taken, in the order of their paths, part by part, so that no file
system decides. Hidden files and folders are not. Links to files are followed, links to folders are refused, as is a
folder with a download that has not ended or with an empty file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ecosystem.errors import DataError
from ecosystem.humans.pictures import FORMATS, TOO_LARGE, TOO_SMALL, UNREADABLE, Unfit

UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".aria2")  # what downloads are called on their way


class Picture(NamedTuple):
    """An image file of a folder."""

    name: str  # relative, with slashes
    bytes: int
    mtime_ns: int


def pictures(root: Path) -> tuple[Picture, ...]:
    """The image files below a folder, in the order of their paths. Raises DataError where they are not all there."""
    try:
        files = list(_files(root))
    except (OSError, ValueError) as error:  # a name with a null byte is a ValueError
        raise DataError(
            f"humans: the folder {root} cannot be listed ({getattr(error, 'strerror', None) or error}).\n"
            "Remedy: point humans.root at a folder of images; where it is relative, it is looked for in the folder of "
            "human data, the environment variable ECOSYSTEM_DATA."
        ) from error
    _check_finished(root, [file.path for file in files])
    images = [file for file in files if _is_image(file)]
    if not images:
        others = f"none of its {len(files):,} files ends as images do" if files else "it holds no files"
        raise DataError(
            f"humans: there are no images in {root}: {others}.\n"
            f"Remedy: unpack them there; they end in {', '.join(FORMATS)}."
        )
    _check_files(root, images)
    found = [Picture(_name(root, image), image.stat().st_size, image.stat().st_mtime_ns) for image in images]
    return tuple(sorted(found, key=lambda picture: picture.name.split("/")))


def links(root: Path) -> Iterator[Path]:
    """The image files below a folder that are links: what they lead to is read as well."""
    try:
        yield from (Path(file.path) for file in _files(root) if _is_image(file) and file.is_symlink())
    except (OSError, ValueError, DataError):  # told by whoever reads it
        return


def _files(root: Path) -> Iterator[os.DirEntry[str]]:
    """All files below a folder that are not hidden, in any order. Raises DataError for a link to a folder."""
    todo = [os.fspath(root)]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                elif entry.is_dir():
                    raise DataError(
                        f"humans: {entry.path} is a link to a folder, and such links can lead in circles.\n"
                        "Remedy: put a folder of links to the images in its place, or the images themselves."
                    )
                else:
                    yield entry


def _is_image(file: os.DirEntry[str]) -> bool:
    """By its name alone."""
    return PurePosixPath(file.name).suffix.lower() in FORMATS


def _name(root: Path, file: os.DirEntry[str]) -> str:
    return file.path[len(os.fspath(root)) :].lstrip("/")  # as scandir joins them; pathlib took a second for 70,000


def _check_finished(root: Path, paths: list[str]) -> None:
    unfinished = sorted(path for path in paths if path.lower().endswith(UNFINISHED))
    if unfinished:
        raise DataError(
            f"humans: the images in {root} are still on their way: {len(unfinished):,} files are downloads that have "
            f"not ended, first {unfinished[0]}.\nRemedy: let them end, or delete what is left of them."
        )


def _check_files(root: Path, images: list[os.DirEntry[str]]) -> None:
    """Images that are none can be told by their sizes, before any is decoded."""
    faults = {}
    for image in images:
        if not image.is_file():
            what = "a link that leads nowhere" if image.is_symlink() else "no regular file"
            faults[_name(root, image)] = Unfit(UNREADABLE, what)
        elif image.stat().st_size == 0:
            faults[_name(root, image)] = Unfit(UNREADABLE, "an empty file")
    if faults:
        raise refused(root, faults, len(images))


def refused(root: Path, faults: dict[str, Unfit], pictures: int) -> DataError:
    """What is wrong with pictures that cannot be used: how many are so, the first of them, and the remedy."""
    lines = []
    for why in dict.fromkeys(fault.why for fault in faults.values()):
        names = sorted((name for name, fault in faults.items() if fault.why == why), key=lambda n: n.split("/"))
        first = f"first {names[0]} ({faults[names[0]].detail})"
        lines.append(f"humans: {len(names):,} of {pictures:,} images in {root} {why}: {first}.")
        lines.append(f"Remedy: {_remedy(why, min(faults[name].side for name in names))}.")
    return DataError("\n".join(lines))


def _remedy(why: str, side: int) -> str:
    if why == TOO_SMALL:
        return f"a `size` of {side}, the shorter side of the smallest, or less; or take them out of the folder"
    if why == TOO_LARGE:
        return "take them out of the folder, or scale them down"
    return "fetch them again, or take them out of the folder"
