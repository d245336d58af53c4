"""Pictures decoded once: their pixels in one npy file on disk, which is mapped, so that it may be larger than memory.

    $ECOSYSTEM_CACHE/images/KEY.npy      (N, C, S, S) uint8; by default in ~/.cache/ecosystem/images

KEY is a digest of all that the pixels depend on: every picture's relative path, its size and its time of change, in
order, what is kept of a picture, and Pillow's version. Files that were unpacked with one and the same time may agree in
all of that, so the content of a few pictures counts as well. What a folder was called and where it stood does not
count. Once a folder changes it has another key; old files are never needed again and may be deleted.

The file is written aside, synced and renamed, by one process at a time where the file system knows locks. One that is
cut short, or no npy file of the right shape, is written anew. Bits that the disk lost within its pixels are not seen.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from ecosystem.errors import DataError
from ecosystem.humans.listing import Picture, refused
from ecosystem.humans.pictures import UNREADABLE, Frame, Unfit, pixels

FORMAT = 1
PROBES = 16  # pictures whose content counts
PROBE_BYTES = 2**16  # of each
BLOCK = 256  # pictures decoded at a time
MOST_THREADS = 8  # each may hold a decoded picture
MANY = 5000  # pictures: to decode more takes so long that it is told


def mapped(root: Path, pictures: Sequence[Picture], frame: Frame) -> NDArray[np.uint8]:
    """The pixels (N, C, S, S) of a folder's pictures in that order, mapped from the disk, not to be written to.

    Raises DataError that counts the pictures that cannot be used and names the first.
    """
    path = place() / f"{key(root, pictures, frame)}.npy"
    shape = (len(pictures), *frame.shape)
    if (found := _whole(path, shape)) is not None:
        return found
    try:
        with _alone(path):
            if _whole(path, shape) is None:  # else another process has just written it
                _write(path, shape, root, pictures, frame)
        if (written := _whole(path, shape)) is None:
            raise OSError("what was written there cannot be mapped")
    except OSError as error:
        megabytes = np.prod(shape, dtype=float) / 2**20
        raise DataError(
            f"humans: the decoded images of {root} cannot be kept in {path.parent} ({error.strerror or error}).\n"
            f"Remedy: set the environment variable ECOSYSTEM_CACHE to a folder with {megabytes:,.0f} MiB to spare."
        ) from error
    return written


def place() -> Path:
    """The folder of decoded images."""
    return cache() / "images"


def cache() -> Path:
    """Where what can be had again is kept."""
    return Path(os.environ.get("ECOSYSTEM_CACHE") or "~/.cache/ecosystem").expanduser()


def key(root: Path, pictures: Sequence[Picture], frame: Frame) -> str:
    """The name of these pixels, 32 hexadecimal digits."""
    digest = hashlib.blake2b(repr((FORMAT, PIL.__version__, frame)).encode(), digest_size=16)
    for name, size, mtime_ns in pictures:
        digest.update(os.fsencode(f"{name}\0{size}\0{mtime_ns}\n"))
    for picture in pictures[:: -(-len(pictures) // PROBES)]:
        with contextlib.suppress(OSError), (root / picture.name).open("rb") as file:
            digest.update(file.read(PROBE_BYTES))
    return digest.hexdigest()


def _whole(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """What stands there, mapped; None where it is missing, cut short or something else."""
    try:
        found: Any = np.lib.format.open_memmap(path, mode="r")
        whole = path.stat().st_size == found.offset + found.nbytes
    except Exception:  # headers can be damaged in a dozen ways
        return None
    fits = (found.dtype, found.shape, found.flags.c_contiguous) == (np.uint8, shape, True)
    return found if whole and fits else None


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time. Where locks are not known, two that begin at once both write, and the later one stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass
        else:
            for left in path.parent.glob(f".{path.name}.part.*"):  # by a process that was killed
                left.unlink(missing_ok=True)
        yield


def _write(path: Path, shape: tuple[int, ...], root: Path, pictures: Sequence[Picture], frame: Frame) -> None:
    aside = path.with_name(f".{path.name}.part.{socket.gethostname()}.{os.getpid()}")
    if len(pictures) > MANY:
        sys.stderr.write(f"decoding {len(pictures):,} images of {root}, once, to {path}\n")
    try:
        # Written, not mapped: a full disk is then an error, not a signal.
        with aside.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for image in _fit(root, pictures, frame):
                file.write(image.data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _fit(root: Path, pictures: Sequence[Picture], frame: Frame) -> Iterator[NDArray[np.uint8]]:
    """The pixels of each; once all were looked at, DataError where some cannot be used."""
    faults: dict[str, Unfit] = {}
    for picture, found in zip(pictures, _decoded(root, pictures, frame), strict=True):
        if isinstance(found, Unfit):
            faults[picture.name] = found
        elif not faults:
            yield found
    if faults:
        raise refused(root, faults, len(pictures))


def _decoded(root: Path, pictures: Sequence[Picture], frame: Frame) -> Iterator[NDArray[np.uint8] | Unfit]:
    """In order, a few at a time: Pillow lets other threads run while it decodes."""

    def decode(picture: Picture) -> NDArray[np.uint8] | Unfit:
        path = root / picture.name
        try:
            found, now = pixels(path, frame), path.stat()
        except Unfit as fault:
            return fault
        except OSError:
            return Unfit(UNREADABLE, "it went away meanwhile")
        same = (now.st_size, now.st_mtime_ns) == picture[1:]
        return found if same else Unfit(UNREADABLE, "it changed meanwhile")

    with warnings.catch_warnings(), ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool:
        warnings.simplefilter("ignore")  # of large images and odd metadata; what matters is refused
        for start in range(0, len(pictures), BLOCK):
            yield from pool.map(decode, pictures[start : start + BLOCK])
