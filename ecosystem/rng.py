"""Named random streams: randomness by name, not by call order.

``stream(seed, who, what, round)`` is a NumPy generator that depends on its name alone. Hence one more user
changes nobody else's draws, two scenarios that differ in one policy differ only by that policy (common random
numbers), results do not depend on the number of workers, and a resumed run needs no generator state.

Nothing else in the package makes a generator, and the global generators are never touched, but for those of torch
while code of others draws that knows no other (``lent``): they are put back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch


def key(seed: int, who: str, what: str, round: int = 0) -> int:
    """A 128-bit integer for the name; equal names give equal keys on every platform and version."""
    name = f"{seed}\x1f{who}\x1f{what}\x1f{round}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=16).digest(), "little")


def stream(seed: int, who: str, what: str, round: int = 0) -> np.random.Generator:
    """The generator of that name, at its beginning. Drawing more rows leaves the first rows as they were."""
    return np.random.Generator(np.random.PCG64(key(seed, who, what, round)))


def torch_stream(device: torch.device, seed: int, who: str, what: str, round: int = 0) -> torch.Generator:
    """The same for draws made on ``device``, where a training draws its batches and noise."""
    generator = torch.Generator(device=device)
    generator.manual_seed(key(seed, who, what, round) % 2**63)
    return generator


@contextmanager
def lent(device: torch.device, seed: int, who: str, what: str, round: int = 0) -> Iterator[None]:
    """torch's global generators, of the CPU and of ``device``, as the stream of that name; put back at the end."""
    number = device.index or 0
    with torch.random.fork_rng(devices=[number] if device.type == "cuda" else []):
        generators = [torch.default_generator]
        if device.type == "cuda":
            generators.append(torch.cuda.default_generators[number])
        for generator in generators:
            generator.manual_seed(key(seed, who, what, round) % 2**63)
        yield


@dataclass(frozen=True)
class Streams:
    """All streams of one owner in one round: ``Streams(0, "alpha", 3).numpy("batches")``."""

    seed: int
    who: str
    round: int

    def numpy(self, what: str) -> np.random.Generator:
        return stream(self.seed, self.who, what, self.round)

    def torch(self, what: str, device: torch.device) -> torch.Generator:
        return torch_stream(device, self.seed, self.who, what, self.round)
