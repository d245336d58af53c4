"""Real NVP's own network for images: couplings of convolutions on several scales.

L. Dinh, J. Sohl-Dickstein, S. Bengio, Density estimation using Real NVP, 2016, arXiv 1605.08803. At every scale, of
which each but the last

    1. moves the black fields of a chessboard by what the white ones say, the white by the black, and again the black;
    2. makes four channels of each square of 2 x 2 pixels;
    3. moves the upper two by what the lower two say, the lower by the upper, and again the upper;
    4. is done with the black fields, and hands the white ones to the next scale, which has twice as many features;

and the last one has a chessboard four times. What a coupling does is an affine map that a residual network sets. For
CIFAR-10 the authors have 64 features, 8 residual blocks, and are done with half once. Not theirs here: groups are
normalised in place of batches, whose statistics would make a loss depend on more than its items; weights are not; no
penalty on scales. As everywhere each class has an affine map of its own, here behind the couplings: before them it
would hide from the convolutions that neighbours are alike. For the same reason all pixels are standardised as one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, cast

import annotated_types as at
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import silu

from ecosystem.errors import TrainingError
from ecosystem.models.flow_nets import FlowNet, affine, by_class
from ecosystem.models.unets import Channels
from ecosystem.settings import Positive, Settings

Ints = NDArray[np.int64]

GROUPS = 8  # of the norms


class Residual(nn.Module):
    """What sets a coupling: the coordinates that stay and the class, (N, A + classes), to (N, 2 B) for those that move.

    ``seen`` (C, H, W): the coordinate that each place of the image of this scale shows. A coordinate that moves is seen
    as 0, and one that earlier scales were done with is not seen.
    """

    def __init__(self, seen: Ints, moves: Ints, dims: int, classes: int, features: int, blocks: int) -> None:
        super().__init__()
        self.shape: tuple[int, ...] = seen.shape
        place = np.full(dims, -1)
        place[seen.ravel()] = np.arange(seen.size)
        self.stays = dims - len(moves)
        kept = place[np.setdiff1d(np.arange(dims), moves)]
        self.taken: Tensor
        self.put: Tensor
        self.left: Tensor
        self.register_buffer("taken", torch.from_numpy(np.flatnonzero(kept >= 0)), persistent=False)
        self.register_buffer("put", torch.from_numpy(kept[kept >= 0]), persistent=False)
        self.register_buffer("left", torch.from_numpy(place[np.sort(moves)]), persistent=False)
        self.enter = nn.Conv2d(seen.shape[0], features, 3, padding=1)
        self.label = nn.Embedding(classes, features)
        self.blocks = nn.ModuleList(Block(features) for _ in range(blocks))
        self.leave = nn.Conv2d(features, 2 * seen.shape[0], 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        image = x.new_zeros(len(x), math.prod(self.shape)).index_copy(1, self.put, x[:, self.taken])
        label = x[:, self.stays :] @ self.label.weight
        h = self.enter(image.reshape(-1, *self.shape))
        for block in self.blocks:
            h = block(h, label[:, :, None, None])
        found = cast(Tensor, self.leave(silu(h))).reshape(len(x), 2, -1)
        return found[:, :, self.left].mT.reshape(len(x), -1)


class Block(nn.Module):
    """h + W2 silu(W1 silu(norm(h) + c))."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, features)
        self.inner, self.outer = (nn.Conv2d(features, features, 3, padding=1) for _ in range(2))

    def forward(self, h: Tensor, label: Tensor) -> Tensor:
        return h + cast(Tensor, self.outer(silu(self.inner(silu(self.norm(h) + label)))))


@dataclass(frozen=True)
class MultiScaleSettings(Settings):
    """``channels``: features at the first scale. ``blocks``: of a residual network. ``scales``: besides the last."""

    kind: Literal["multi-scale"] = "multi-scale"
    channels: Channels = 32
    blocks: Positive = 2
    scales: Annotated[int, at.Ge(0), at.Le(16)] = 1

    def build(self, shape: tuple[int, ...], classes: int) -> FlowNet:
        """Raises TrainingError for items that do not suit."""
        if (problem := self.misfit(shape)) is not None:
            raise TrainingError(f"{problem}. Lower `scales` of the card's `net`, or give the images another `size`.")
        dims = math.prod(shape)
        seen = np.arange(dims).reshape(shape)
        maps: list[nn.Module] = []

        def couple(moves: Ints) -> None:
            maps.append(self._coupling(seen, moves.ravel(), dims, classes, features))

        for scale in range(self.scales + 1):
            features = self.channels * 2**scale
            white = np.indices(seen.shape[1:]).sum(0) % 2 == 1
            last = scale == self.scales
            for turn in range(4 if last else 3):
                couple(seen[:, white == (turn % 2 == 1)])
            if not last:
                corners = squares(seen)
                seen = corners.reshape(-1, *corners.shape[2:])
                for turn in range(3):
                    couple(corners[:2] if turn % 2 == 0 else corners[2:])
                seen = corners[1:3].reshape(-1, *corners.shape[2:])
        held = self.channels * math.prod(shape[1:])
        return FlowNet([*maps, by_class(dims, classes)], dims, classes, held=held, alike=True)

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """What items of a shape lack, in words."""
        if len(shape) != 3:
            return "its couplings are convolutions, which need images"
        if all(side % 2**self.scales == 0 and side >= 2 ** (self.scales + 1) for side in shape[1:]):
            return None
        return f"images of {shape[1]} x {shape[2]} cannot be halved {self.scales} time(s) to 2 x 2 or more"

    def _coupling(self, seen: Ints, moves: Ints, dims: int, classes: int, features: int) -> nn.Module:
        from zuko.flows.coupling import GeneralCouplingTransform

        stays = torch.ones(dims, dtype=torch.bool)
        stays[torch.from_numpy(moves)] = False
        part = GeneralCouplingTransform(dims, classes, stays, hidden_features=(1,), univariate=affine())
        part.hyper = Residual(seen, moves, dims, classes, features, self.blocks)
        return cast(nn.Module, part)


def squares(image: Ints) -> Ints:
    """(C, H, W) -> (4, C, H / 2, W / 2): of each square of 2 x 2 pixels the upper two, then the lower two."""
    channels, high, wide = image.shape
    corners = image.reshape(channels, high // 2, 2, wide // 2, 2).transpose(2, 4, 0, 1, 3)
    return corners.reshape(4, channels, high // 2, wide // 2)
