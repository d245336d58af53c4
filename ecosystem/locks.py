"""One owner of a directory: a lock that says who holds it, and that a dead process does not hold.

The lock is a file that names host and process, made by a hard link and so by one process alone, also where a network
file system knows no other lock. A process of this host that is gone, or whose number is another's now, holds nothing.
Of another host nobody can know; the message says which file to delete.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from ecosystem.errors import RecordError

NAME = ".lock"


@dataclass(frozen=True)
class Owner:
    host: str
    pid: int
    started: float  # of the process, seconds since its machine started counting: tells it from one of the same number

    @classmethod
    def this(cls) -> Owner:
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    @property
    def gone(self) -> bool:
        """Whether it is known to have ended."""
        if self.host != socket.gethostname():
            return False
        try:
            # Half a second: a create time is computed from the clock, which may be set in between.
            return abs(psutil.Process(self.pid).create_time() - self.started) > 0.5
        except psutil.NoSuchProcess:
            return True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While one process writes into a directory, no other may. Raises RecordError that names who does."""
    path, owner = folder / NAME, Owner.this()
    _take(path, owner)
    try:
        _tidy(folder)
        yield
    finally:
        if _owner(path) == owner:
            path.unlink(missing_ok=True)


def _take(path: Path, owner: Owner) -> None:
    mine = path.with_name(f"{NAME}.{owner.host}.{owner.pid}")
    try:
        while not _linked(mine, path, owner):
            holder = _owner(path)
            if holder is not None and not holder.gone:
                raise RecordError(_refusal(path, holder, owner))
            _take_away(path)
    finally:
        with suppress(OSError):  # on a disk that has become read-only
            mine.unlink()


def _tidy(folder: Path) -> None:
    """Take away what processes left that were killed while they asked for the lock."""
    for path in folder.glob(f"{NAME}.*"):
        asked = _owner(path)
        if asked is None or asked.gone:
            path.unlink(missing_ok=True)


def _linked(mine: Path, path: Path, owner: Owner) -> bool:
    try:
        mine.write_text(json.dumps(asdict(owner)), encoding="utf-8")
    except OSError as error:
        raise RecordError(f"{path.parent} cannot be written: {error.strerror}. Choose another --out.") from error
    try:
        os.link(mine, path)
    except (FileExistsError, FileNotFoundError):  # who holds the lock may have taken ours for a dead process's
        return False
    return True


def _take_away(path: Path) -> None:
    """The lock of a dead process, by one process at a time: a second must not take away what the first made anew."""
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        holder = _owner(path)
        if holder is None or holder.gone:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _owner(path: Path) -> Owner | None:
    """Who holds a lock; None where nobody does, or nobody that can be named."""
    try:
        return Owner(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _refusal(path: Path, holder: Owner, owner: Owner) -> str:
    if holder == owner:
        return f"{path.parent} is being written by this very process. Choose another --out."
    problem = f"process {holder.pid} on {holder.host} is writing into {path.parent}"
    if holder.host == owner.host:
        return f"{problem}. Wait for it, or choose another --out."
    return f"{problem}. Wait for it, or choose another --out; if it is gone, delete {path}."
