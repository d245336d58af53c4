"""A pipeline of diffusers on disk: settings as JSON, numbers as safetensors, and nothing in it that is ever run.

    DIR/model_index.json                                what DDPMPipeline and DDIMPipeline save
    DIR/unet/config.json                                the settings of a UNet2DModel
    DIR/unet/diffusion_pytorch_model.safetensors        and its numbers
    DIR/scheduler/scheduler_config.json                 the process that it was trained for

The first pipelines have all four in one folder. A folder with a UNet2DModel alone says nothing of its process and is
read as if trained for that of Ho et al. (arXiv 2006.11239), which is what ``DDPMScheduler()`` is.

The folder may be a stranger's. Its files are read here, each once, and not by diffusers, which looks for pickles,
shards and quantised parts beside them: a UNet2DModel is made of its settings without memory, on torch's ``meta``
device; the tensors of the file are held against its own, by name and shape, and put in their places.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from ecosystem.documents import printable, shown
from ecosystem.models.pipeline_settings import (
    AGAIN,
    Config,
    PipelineError,
    Process,
    check_index,
    check_unet,
    process,
    told,
    unet_keys,
)

CONFIG, WEIGHTS, SCHEDULER = "config.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json"
INDEX, PARTS = "model_index.json", ("unet", "scheduler")
# All that may be opened inside of the folder.
NAMES = (INDEX, f"unet/{CONFIG}", f"unet/{WEIGHTS}", f"scheduler/{SCHEDULER}", CONFIG, WEIGHTS, SCHEDULER)
LARGEST_CONFIG = 2**20  # bytes
# Attention had other names in the first checkpoints.
OLD_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
OTHER = "use another source, or another pipeline"

Stamps = tuple[tuple[str, int, int], ...]  # name, bytes and time of the last change of each file


@dataclass(frozen=True, eq=False)
class Pipeline:
    """A folder's network and process as they were when it was read."""

    process: Process
    settings: Mapping[str, Any]  # of the UNet2DModel
    unet: nn.Module  # on the CPU, not to be changed
    sha256: str  # of settings and numbers
    stamps: Stamps

    @property
    def classes(self) -> int | None:
        """That it tells apart; None of one that takes no label."""
        return self.settings.get("num_class_embeds")

    def net(self) -> nn.Module:
        """A copy of the network, as a family asks it."""
        return Net(copy.deepcopy(self.unet), self.process.times, self.classes is not None)

    def misfits(self, shape: tuple[int, ...], classes: int) -> Iterator[tuple[str, str]]:
        """Why it makes no items of a shape and so many classes: problems and remedies."""
        if len(shape) != 3:
            yield "it makes images, and the human source has vectors", "use a source of images"
            return
        yield from self._misfits_of_shape(shape)
        if self.classes is None and classes > 1:
            yield (
                f"its UNet takes no labels, and the human source has {classes} classes: what it makes would carry "
                "labels that it was never told",
                f"set the source's `labelled: false`, or use a UNet with `num_class_embeds: {classes}`",
            )
        elif self.classes is not None and self.classes != classes:
            problem = f"its UNet has {self.classes} classes (`num_class_embeds`), and the human source {classes}"
            yield problem, "set the source's `labelled: true`" if classes == 1 else OTHER

    def _misfits_of_shape(self, shape: tuple[int, ...]) -> Iterator[tuple[str, str]]:
        size, has = self.settings.get("sample_size"), " x ".join(map(str, shape))
        sides = list(shape[1:]) if size is None else size if isinstance(size, list) else [size, size]
        own = (self.settings.get("in_channels", 3), *sides)
        if own != shape:
            makes = " x ".join(map(str, own))
            yield f"it makes images of {makes} (`in_channels`, `sample_size`), and the human source has {has}", OTHER
        elif why := _refusal(json.dumps(self.settings), shape):
            yield f"its UNet takes no images of {has}: {why}", OTHER


@lru_cache(maxsize=16)
def _refusal(settings: str, shape: tuple[int, ...]) -> str:
    """Why a UNet2DModel of these settings takes no images of a shape, or "". Nothing is computed."""
    unet = _made(json.loads(settings))
    x, index = torch.empty(2, *shape, device="meta"), torch.zeros(2, dtype=torch.int64, device="meta")
    try:
        with torch.no_grad():
            unet(x, index, class_labels=None if unet.class_embedding is None else index)
    except Exception as error:  # torch's own words for sizes that do not fit
        return told(error)
    return ""


class Net(nn.Module):
    """A UNet2DModel as a family asks it: x (N, C, H, W), t = s / T (N,), y (N,) -> like x."""

    def __init__(self, unet: nn.Module, times: int, labelled: bool) -> None:
        super().__init__()
        self.unet, self.times, self.labelled = unet, times, labelled

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        index = (t * self.times).round().long() - 1  # diffusers counts from 0
        return cast(Tensor, self.unet(x, index, class_labels=y if self.labelled else None).sample)


@lru_cache(maxsize=4)
def kept(folder: Path) -> Pipeline:
    """As it was when this process read it, and no other however the folder changes. Raises PipelineError."""
    files = _files(folder)
    stamps = _stamps(files)
    data = {part: _bytes(folder, path) for part, path in files.items() if part != WEIGHTS}
    configs = {part: Config.read(_name(folder, files[part]), text) for part, text in data.items()}
    if INDEX in configs:
        check_index(configs[INDEX])
    check_unet(configs[CONFIG])
    forward = process(configs.get(SCHEDULER))
    unet = _empty(configs[CONFIG])
    most = 8 * sum(value.numel() for value in unet.state_dict().values()) + LARGEST_CONFIG
    numbers = _bytes(folder, files[WEIGHTS], most)
    _fill(unet, numbers, _name(folder, files[WEIGHTS]))
    sha256 = _sha256({CONFIG: data[CONFIG], SCHEDULER: data.get(SCHEDULER, b""), WEIGHTS: numbers})
    return Pipeline(forward, configs[CONFIG].data, unet, sha256, stamps)


def fresh(folder: Path) -> Pipeline:
    """As it is now."""
    if kept(folder).stamps != _stamps(_files(folder)):
        kept.cache_clear()
    return kept(folder)


# Files


def _files(folder: Path) -> dict[str, Path]:
    """By what they are; without a scheduler where a UNet2DModel stands alone."""
    try:
        if not folder.is_dir():
            problem = f"there is no folder {printable(str(folder))}"
            raise PipelineError(problem, "download it there first: nothing is fetched when it is wanted")
        whole = (folder / INDEX).exists()
        unet, scheduler = (folder / part if whole and (folder / part).is_dir() else folder for part in PARTS)
        files = {CONFIG: unet / CONFIG, WEIGHTS: unet / WEIGHTS}
        if whole:
            files[INDEX] = folder / INDEX
        if whole or (scheduler / SCHEDULER).exists():
            files[SCHEDULER] = scheduler / SCHEDULER
        missing = [path for path in files.values() if not path.is_file()]
    except (OSError, ValueError) as error:
        raise PipelineError(f"{printable(str(folder))} cannot be read: {told(error)}", "let it be read") from error
    if missing:
        raise _missing(folder, missing[0])
    return files


def _missing(folder: Path, path: Path) -> PipelineError:
    name, pickle = _name(folder, path), path.with_suffix(".bin")
    if path.name == WEIGHTS and pickle.exists():
        return PipelineError(
            f"`{_name(folder, pickle)}` is a pickle, which could run code when it is opened, and is not opened",
            "convert it to safetensors where it is trusted: UNet2DModel.from_pretrained(DIR).save_pretrained(DIR)",
        )
    if path.name == WEIGHTS and path.with_name(f"{WEIGHTS}.index.json").exists():
        return PipelineError(
            f"`{name}` is missing: the numbers are in several files",
            'save them in one: UNet2DModel.from_pretrained(DIR).save_pretrained(DIR, max_shard_size="100GB")',
        )
    return PipelineError(
        f"`{name}` is missing, or no file",
        "name a folder that DDPMPipeline, DDIMPipeline or UNet2DModel wrote with save_pretrained",
    )


def _name(folder: Path, path: Path) -> str:
    """As it is told."""
    return path.relative_to(folder).as_posix()


def _stamps(files: Mapping[str, Path]) -> Stamps:
    found = {name: path.stat() for name, path in files.items()}
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in found.items())


def _bytes(folder: Path, path: Path, most: int = LARGEST_CONFIG) -> bytes:
    try:
        size = path.stat().st_size
        if size > most:
            problem = f"`{_name(folder, path)}` has {size:,} bytes, and what belongs there at most {most:,}"
            raise PipelineError(problem, AGAIN)
        return path.read_bytes()
    except OSError as error:
        raise PipelineError(f"`{_name(folder, path)}` cannot be read: {told(error)}", "let it be read") from error


def _sha256(parts: Mapping[str, bytes]) -> str:
    found = hashlib.sha256()
    for name, data in parts.items():
        found.update(f"{name} {len(data)}\n".encode())
        found.update(data)
    return found.hexdigest()


# Numbers


def _empty(config: Config) -> nn.Module:
    try:
        return _made(config.data)
    except Exception as error:  # diffusers and torch have a dozen ways to say that settings do not fit together
        problem = f"`{config.file}` describes no UNet2DModel that can be made: {told(error)}"
        raise PipelineError(problem, "save it again with this version of diffusers") from error


def _made(settings: Mapping[str, Any]) -> nn.Module:
    """A UNet2DModel without memory."""
    from diffusers import UNet2DModel

    known = unet_keys()
    with torch.device("meta"):
        return cast(nn.Module, UNet2DModel(**{key: value for key, value in settings.items() if key in known}))


def _fill(unet: nn.Module, data: bytes, file: str) -> None:
    """Put the numbers of a file in their places."""
    try:
        tensors = load_tensors(data)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise PipelineError(f"`{file}` is no whole safetensors file: {told(error)}", AGAIN) from error
    found = {_new_name(name): value for name, value in tensors.items()}
    for problem, remedy in _mismatches(unet.state_dict(), found):
        raise PipelineError(f"`{file}` {problem}", remedy)
    # Copies, as the tensors are views of the file.
    unet.load_state_dict({name: value.float().clone() for name, value in found.items()}, assign=True)
    if any(part.is_meta for part in (*unet.parameters(), *unet.buffers())):
        raise PipelineError(f"`{file}` does not hold all that its UNet is made of", "use blocks without constants")


def _mismatches(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    remedy = f"take {WEIGHTS} and {CONFIG} of one and the same save"
    for names, what in ((wanted.keys() - found.keys(), "lacks"), (found.keys() - wanted.keys(), "has beside its UNet")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            yield f"{what} the tensor `{shown(printable(min(names)))}`{more}", remedy
    for name, value in found.items():
        if name in wanted and value.shape != wanted[name].shape:
            shapes = f"{tuple(value.shape)}, and its UNet wants {tuple(wanted[name].shape)}"
            yield f"has the tensor `{name}` in shape {shapes}", remedy
        if not value.is_floating_point() or not bool(value.isfinite().all()):
            yield f"has in the tensor `{shown(printable(name))}` what is no finite number", AGAIN


def _new_name(name: str) -> str:
    for old, new in OLD_NAMES.items() if ".attentions." in name else ():
        name = name.replace(old, new)
    return name
