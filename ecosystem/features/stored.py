"""Features of human items, kept on disk under the name of what they are: computed once, whatever asks for them.

    CACHE/features/<sha256>.npz    CACHE is the environment's ECOSYSTEM_CACHE, or ~/.cache/ecosystem

The name is the checksum of the items' bytes, of whose features they are and with which weights, and of what may change
their last bits: the kind of device, the threads, the version of torch. So a file is never out of date, and a run that
reads it has the same bits as one that computed it. A file is written under another name and renamed, whole or not at
all, so that processes may do so at once; one that is damaged is passed over and written anew; where none can be
written, none is. All of it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecosystem.features.base import Floats
from ecosystem.humans.decoded import cache


def recalled(x: NDArray[Any], whose: str, device: torch.device, compute: Callable[[NDArray[Any]], Floats]) -> Floats:
    """``compute`` of the items x (N, ...), float32 by nature, from the disk if it is there: (N, F)."""
    path = cache() / "features" / f"{_key(x, whose, device)}.npz"
    found = _read(path, len(x))
    if found is None:
        found = compute(x)
        with suppress(OSError):
            _write(path, found)
    return found


def _key(x: NDArray[Any], whose: str, device: torch.device) -> str:
    what = (whose, device.type, torch.get_num_threads(), torch.__version__, x.shape, str(x.dtype))
    name = hashlib.sha256(repr(what).encode())
    name.update(np.ascontiguousarray(x).data)
    return name.hexdigest()


def _read(path: Path, n: int) -> Floats | None:
    """(n, F); None where there is no such file, or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = file["features"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError):
        return None
    good = found.ndim == 2 and len(found) == n and found.dtype == np.float32 and np.isfinite(found).all()
    return found.astype(np.float64) if good else None


def _write(path: Path, found: Floats) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, features=found.astype(np.float32))
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
