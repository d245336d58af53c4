"""``resnet20-cifar10``: a residual network of 20 layers that tells the ten classes of CIFAR-10.

K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition, 2015, arXiv 1512.03385, section 4.2:
a convolution, then three stages of three blocks with 16, 32 and 64 channels at 32, 16 and 8 pixels,

    block(x) = relu(x + bn(conv(relu(bn(conv(x))))))

where a stage begins with stride 2 and its shortcut, without parameters (option A), takes every other pixel and fills
up with channels of zeros, half of them before and half after, as the published weights have it. The mean over pixels
gives 64 *features*, a linear layer the logits. Images are standardised by the mean and deviation of ImageNet.

The weights are read from ``resnet20-cifar10`` with the ending .safetensors, .th or .pt, or from
``resnet20-12fca82f.th`` as Y. Idelbayev publishes it (github.com/akamaster/pytorch_resnet_cifar10, BSD-2-Clause),
whose name holds the beginning of its sha256 and which is right on 91.7 % of the test set. As features it looks at any
images of 32x32 in colour; as a judge, at those whose classes it knows.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from ecosystem.errors import DataError
from ecosystem.features import stored
from ecosystem.features.base import Features, Floats
from ecosystem.features.weights import Weights, find, folder, known, state_dict
from ecosystem.humans import HumanSource
from ecosystem.models.classifier import Classifier, accuracy

NAME = "resnet20-cifar10"
SOURCE = "cifar10"  # the human source whose classes it knows
SHAPE = (3, 32, 32)
CLASSES = 10
FILES = (*(f"{NAME}.{ending}" for ending in ("safetensors", "th", "pt")), "resnet20-12fca82f.th")
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in [0, 1]


class Resnet20(nn.Module):
    """Images (N, 3, 32, 32) in [-1, 1] to features (N, 64) to logits (N, 10). Its tensors are named as published."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(3, 16, 1), nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = stage(16, 16, 1), stage(16, 32, 2), stage(32, 64, 2)
        self.linear = nn.Linear(64, CLASSES)

    def body(self, x: Tensor) -> Tensor:
        mean, deviation = (torch.tensor(values, device=x.device).view(3, 1, 1) for values in (MEAN, DEVIATION))
        x = F.relu(self.bn1(self.conv1(((x + 1) / 2 - mean) / deviation)))
        features: Tensor = self.layer3(self.layer2(self.layer1(x))).mean(dim=(2, 3))
        return features

    def head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.linear(features)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Block(nn.Module):
    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(fan_in, fan_out, stride), nn.BatchNorm2d(fan_out)
        self.conv2, self.bn2 = convolution(fan_out, fan_out, 1), nn.BatchNorm2d(fan_out)
        self.stride, self.missing = stride, (fan_out - fan_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        found = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.missing, self.missing))
        return F.relu(shortcut + found)


def stage(fan_in: int, fan_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(Block(fan_in, fan_out, stride), *(Block(fan_out, fan_out, 1) for _ in range(2)))


def convolution(fan_in: int, fan_out: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(fan_in, fan_out, 3, stride=stride, padding=1, bias=False)


class Resnet20Features(Features):
    name = NAME

    def __init__(self, device: torch.device) -> None:
        weights = found()
        self.weights, self._device = weights.sha256, device
        self._classifier = Classifier(network(weights, device), device, math.nan, _block(device))

    def of(self, x: NDArray[Any]) -> Floats:
        return self._classifier.features(x)

    def of_humans(self, x: NDArray[Any]) -> Floats:
        return stored.recalled(x, f"{NAME} {self.weights}", self._device, self.of)


def found() -> Weights:
    """The file in the folder of weights. Raises DataError."""
    path = find(FILES)
    if path is None:
        raise DataError(
            f"weights: there is no {FILES[0]}, .th or .pt in {folder()}.\nRemedy: put {FILES[-1]} there, from "
            "pretrained_models of github.com/akamaster/pytorch_resnet_cifar10; or point the environment variable "
            "ECOSYSTEM_WEIGHTS at the folder that holds it."
        )
    return known(path)


@lru_cache(maxsize=2)
def network(weights: Weights, device: torch.device) -> Resnet20:
    """What is in the file. Raises DataError."""
    with torch.device("meta"):  # without storage: layers draw from torch's global generator
        net = Resnet20()
    try:
        net.load_state_dict(state_dict(weights), assign=True)
    except RuntimeError as error:  # names or shapes that are not this network's
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"weights: {weights.path} holds no ResNet-20 for CIFAR-10 ({reason}).\nRemedy: put {FILES[-1]} there."
        ) from error
    net.requires_grad_(False)
    return net.eval().to(device)


@lru_cache(maxsize=2)
def judge(weights: Weights, source: HumanSource, device: torch.device) -> Classifier:
    """Of a source that tells labels."""
    net, block = network(weights, device), _block(device)
    return Classifier(net, device, accuracy(net, source.open().held_out(), device, block), block)


def _block(device: torch.device) -> int:
    """Images a forward pass: on a CPU more of them leave its caches, and take several times as long an image."""
    return 64 if device.type == "cpu" else 2048
