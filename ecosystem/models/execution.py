"""How a network is computed, which is no part of what is computed: number format, memory layout, compiler, dropout.

``precision``: matrix products and convolutions in 32 bits, or by torch's autocast in the 16 of bfloat16 (S. Wang, P.
Kanwar, BFloat16, 2019), parameters and their averages staying in 32. ``compile``: torch.compile (J. Ansel et al.,
PyTorch 2, 2024); with ``graphs`` a GPU replays what was recorded once (CUDA graphs), which pays where kernels are so
small that starting them takes the time. ``channels_last``: the channels of a pixel beside one another, as tensor cores
want them.

What is compiled, and what processes share out (team.py), are calls: while a ``replaced`` is entered, other functions
answer them, and the module, its class, its names and its parameters are those that a checkpoint knows.

Dropout draws from torch's global generators and from no others. So these are lent to an update under a name of its own,
made of the training's key and the update's number, and put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import nn

from ecosystem.rng import lent

Precision = Literal["auto", "float32", "bfloat16"]
CompileMode = Literal["none", "default", "graphs"]
Call = Callable[..., Any]

MODES = {"default": "default", "graphs": "reduce-overhead"}  # as torch calls them
DROPOUTS = nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d | nn.AlphaDropout | nn.FeatureAlphaDropout


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """``auto``: 16 bits on a GPU, 32 elsewhere."""
    if precision == "bfloat16" or (precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def laid_out(net: nn.Module, channels_last: bool) -> nn.Module:
    """The same network, its images and filters with the channels beside one another if they are to be so."""
    return net.to(memory_format=torch.channels_last) if channels_last else net


def called(net: nn.Module) -> list[nn.Module]:
    """What a loss calls of a network: itself, or, where it cannot be called, its parts."""
    if type(net).forward is not nn.Module.forward:
        return [net]
    return [module for part in net.children() for module in called(part)]


@contextmanager
def replaced(net: nn.Module, wrapped: Callable[[Call], Call]) -> Iterator[None]:
    """For a while, calls of a network are answered by what ``wrapped`` makes of its own ``forward``."""
    before = {module: module.__dict__.get("forward") for module in called(net)}
    for module in before:
        module.forward = wrapped(module.forward)
    try:
        yield
    finally:
        for module, forward in before.items():
            del module.forward
            if forward is not None:
                module.forward = forward


class Compiled:
    """A ``forward`` compiled, until it is ``given_up``: compilers fail late, in a call or on the way back."""

    def __init__(self, forward: Call, mode: CompileMode) -> None:
        self.eager = forward
        self.fast: Call = torch.compile(forward, mode=MODES[mode])
        self.given_up = False

    def __call__(self, *inputs: Any) -> Any:
        return self.eager(*inputs) if self.given_up else self.fast(*inputs)


def drops(net: nn.Module) -> bool:
    """Whether an update leaves activations out at random."""
    return any(isinstance(module, DROPOUTS) and module.p > 0 for module in net.modules())


def dropout(generator: torch.Generator, update: int, rank: int) -> AbstractContextManager[None]:
    """Let an update draw its masks: always the same for the training whose generator this is."""
    return lent(generator.device, generator.initial_seed(), "dropout", f"process {rank}", update)
