"""Where tensors live, with how many threads torch and NumPy compute, and how they come by memory: all set here alone.

One thread is the default: on a busy machine two torch threads were measured up to ten times slower than one, and
the number of threads changes results in the last bits. ``ECOSYSTEM_THREADS`` overrides it.

The C library gives what it is handed back to the system at once where it was large, and every layer of a network asks
for it again, page by page: that was a third of the time of 1,000 images through a small U-Net, and about a tenth of
that of its training. So it keeps a while what was given back (``KEPT``); the most that a process holds is about what
it was.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

import torch
from threadpoolctl import threadpool_info, threadpool_limits  # type: ignore[import-untyped]

from ecosystem.errors import ScenarioError

KEPT = 2**29  # bytes that may stay with the process at the top of its memory, unused
LARGE = 2**28  # bytes from which on an array gets, and gives back, memory of its own
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: a GPU's, torch's on the CPU, or Python's."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def present(device: str = "auto") -> tuple[torch.device, ...]:
    """The devices that providers are spread over: with `auto` every GPU there is, else the one of ``set_up``.

    The first one is also where all else is computed.
    """
    main = set_up(device)
    if device != "auto" or main.type != "cuda" or torch.cuda.device_count() < 2:
        return (main,)
    return tuple(torch.device("cuda", number) for number in range(torch.cuda.device_count()))


def set_up(device: str = "auto") -> torch.device:
    """Set threads and memory, and return the device: `auto` is CUDA where there is one."""
    text = os.environ.get("ECOSYSTEM_THREADS", "1")
    if not text.isdigit() or int(text) < 1:
        raise ScenarioError(f"ECOSYSTEM_THREADS is {text!r}; it must be a number of threads, 1 or more")
    torch.set_num_threads(int(text))
    threadpool_limits(int(text), user_api="blas")  # NumPy's, for the same reasons
    _keep_memory()
    if device == "cuda" and not torch.cuda.is_available():
        raise ScenarioError("device: cuda was asked for, but torch sees none here. Use `--set device=auto`.")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


@cache
def _keep_memory() -> None:
    """Where the C library is GNU's; others have no such threshold."""
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    set_option(M_MMAP_THRESHOLD, LARGE)
    set_option(M_TRIM_THRESHOLD, KEPT)


@cache  # a look at all libraries takes over a millisecond, and every seed's manifest asks
def kernels() -> str:
    """What OpenBLAS multiplies NumPy's arrays with, such as `SkylakeX`: another processor's kernels round differently.

    "" where NumPy was built with another library, which does not say it.
    """
    return ", ".join(sorted({library["architecture"] for library in threadpool_info() if "architecture" in library}))
