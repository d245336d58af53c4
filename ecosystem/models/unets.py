"""A U-Net for images: net(x, t, y) -> a tensor like x. Its blocks are those of diffusers' UNet2DModel.

J. Ho, A. Jain, P. Abbeel, Denoising Diffusion Probabilistic Models, 2020, arXiv 2006.11239. Their network for CIFAR-10
is ``channels: [128, 256, 256, 256], layers: 2, attention: [false, true, false, false], dropout: 0.1, groups: 32,
head_channels: null``: level i sees the image halved i times, so that the second one has 16x16. Not theirs here: all
parameters begin as PyTorch draws them (``nets.initialise``), also those that they begin at zero.

``patch`` p lets the network see each square of p x p pixels as one, p^2 times as deep (W. Shi et al., Real-Time Single
Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network, 2016, arXiv 1609.05158):
the same network does p^2 times less work, and sees p times as far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, cast

import annotated_types as at
from torch import Tensor, nn
from torch.nn.functional import pad, pixel_shuffle, pixel_unshuffle

from ecosystem.settings import Positive, Settings

Channels = Annotated[int, at.Ge(8), at.Le(10_000), at.MultipleOf(8)]  # of a level: its norms have 8 groups
Patch = Annotated[int, at.Ge(1), at.Le(64)]
Dropout = Annotated[float, at.Ge(0.0), at.Lt(1.0)]


@dataclass(frozen=True)
class UNetSettings(Settings):
    """``channels`` of each level, the image halved between two; ``layers`` in a level.

    ``attention``: which levels have it (none: leave it out; the innermost block always has), in heads of
    ``head_channels`` (null: one head). ``dropout``: the share of activations that an update of the training leaves out.
    ``patch``: side in pixels of what the network sees as one pixel. ``groups``: of the norms.
    """

    kind: Literal["unet"] = "unet"
    channels: Annotated[tuple[Channels, ...], at.MinLen(1)] = (32, 64)
    layers: Positive = 1
    attention: tuple[bool, ...] = ()
    dropout: Dropout = 0.0
    patch: Patch = 1
    head_channels: Positive | None = 8
    groups: Positive = 8

    def __post_init__(self) -> None:
        if self.attention and len(self.attention) != len(self.channels):
            raise ValueError(
                f"attention: {len(self.attention)} for {len(self.channels)} levels; say true or false for each of "
                "`channels`, or leave it out"
            )
        if odd := [count for count in self.channels if count % self.groups]:
            raise ValueError(f"groups: the {odd[0]} channels of a level do not make {self.groups} groups of one size")
        attended = {*self._attended(), self.channels[-1]}
        if odd := [count for count in attended if self.head_channels and count % self.head_channels]:
            raise ValueError(f"head_channels: {odd[0]} channels do not make heads of {self.head_channels} each")

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return UNet(self, shape, classes)

    def _attended(self) -> list[int]:
        """The channels of the levels with attention."""
        return [count for count, attended in zip(self.channels, self.attention, strict=False) if attended]


class UNet(nn.Module):
    """x (N, C, H, W) in model scale, t (N,) in [0, 1], y (N,) -> like x."""

    def __init__(self, settings: UNetSettings, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        from diffusers import UNet2DModel

        levels, self.patch = len(settings.channels), settings.patch
        attention = settings.attention or (False,) * levels
        # The net halves the image once a level: pad odd sizes (28 -> 32 with three halvings) and crop after.
        multiple = self.patch * 2 ** (levels - 1)
        self.padding = [(-side) % multiple for side in shape[1:]]
        self.unet = UNet2DModel(
            in_channels=shape[0] * self.patch**2,
            out_channels=shape[0] * self.patch**2,
            block_out_channels=settings.channels,
            layers_per_block=settings.layers,
            down_block_types=tuple("AttnDownBlock2D" if attended else "DownBlock2D" for attended in attention),
            up_block_types=tuple("AttnUpBlock2D" if attended else "UpBlock2D" for attended in reversed(attention)),
            attention_head_dim=settings.head_channels,
            norm_num_groups=settings.groups,
            dropout=settings.dropout,
            num_class_embeds=classes,
        )

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        high, wide = self.padding
        seen = pad(x, (0, wide, 0, high), value=-1.0) if high or wide else x
        if self.patch > 1:
            seen = pixel_unshuffle(seen, self.patch)
        # UNet2DModel's sinusoids were made for t in 0..1000.
        out = cast(Tensor, self.unet(seen, 1000.0 * t, class_labels=y).sample)
        if self.patch > 1:
            out = pixel_shuffle(out, self.patch)
        return out[..., : x.shape[2], : x.shape[3]]
