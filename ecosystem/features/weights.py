"""Weights of networks that others have trained: where their files lie, and how they are read without being trusted.

The folder is the environment's ECOSYSTEM_WEIGHTS, else ``weights`` in the cache's (ECOSYSTEM_CACHE, or
~/.cache/ecosystem). Nothing is unpickled: a state dict is safetensors, or a file of ``torch.save`` of which only
tensors are taken. Where a file FILE.sha256 stands beside FILE, as `sha256sum FILE` prints it, FILE must be that one.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from ecosystem.errors import DataError
from ecosystem.humans.decoded import cache


@dataclass(frozen=True)
class Weights:
    path: Path
    sha256: str


def folder() -> Path:
    given = os.environ.get("ECOSYSTEM_WEIGHTS")
    return Path(given).expanduser() if given else cache() / "weights"


def find(names: Sequence[str]) -> Path | None:
    """The first of these files that is in the folder."""
    return next((path for name in names if (path := folder() / name).is_file()), None)


def known(path: Path, published: str | None = None) -> Weights:
    """A file with its checksum, which must be the one beside it or else the ``published`` one. Raises DataError."""
    try:
        sha256 = sha256_of(path)
        beside = path.with_name(f"{path.name}.sha256")
        stated = _stated(beside) if beside.is_file() else published
    except OSError as error:
        raise DataError(f"weights: {path} cannot be read: {error.strerror}.\nRemedy: let it be read.") from error
    if stated is not None and sha256 != stated:
        raise DataError(
            f"weights: {path} has the sha256 {sha256}, not {stated}: it is damaged, or another file.\n"
            f"Remedy: take it away and fetch it again; or, if you trust it, state its own sha256 in {beside}."
        )
    return Weights(path, sha256)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stated(path: Path) -> str:
    word = next(iter(path.read_text(encoding="utf-8", errors="replace").split()), "").lower()
    if not re.fullmatch("[0-9a-f]{64}", word):
        raise DataError(f"weights: {path} states no sha256.\nRemedy: write into it what `sha256sum` prints.")
    return word


def state_dict(weights: Weights) -> dict[str, Tensor]:
    """Tensors by name; also of a checkpoint that holds them under ``state_dict``. Raises DataError."""
    try:
        data = weights.path.read_bytes()
        tree: Any = load_safetensors(data) if weights.path.suffix == ".safetensors" else _tensors_alone(data)
    except Exception as error:  # of damaged files there are as many kinds as bytes
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(
            f"weights: {weights.path} cannot be read as a state dict ({first[:200]}).\n"
            "Remedy: fetch it again; a pickle of anything but tensors is not opened: save `model.state_dict()`."
        ) from error
    tree = tree.get("state_dict", tree) if isinstance(tree, Mapping) else tree
    if not isinstance(tree, Mapping) or not all(isinstance(value, Tensor) for value in tree.values()):
        raise DataError(f"weights: {weights.path} holds no state dict.\nRemedy: save `model.state_dict()` to it.")
    # A network trained on several GPUs at once has its own name before every tensor's.
    return {str(name).removeprefix("module."): tensor for name, tensor in tree.items()}


def _tensors_alone(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
