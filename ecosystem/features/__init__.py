"""Named feature spaces: where generated and human items are compared, and whose eyes judge CIFAR-10.

``evaluation.features`` names one; null leaves each metric where it always was. The registry is ``of``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

import torch

from ecosystem.features import inception, resnet20
from ecosystem.features.base import Features, Raw, Trained
from ecosystem.humans import Humans, HumanSource

if TYPE_CHECKING:
    from ecosystem.models.classifier import Classifier

FeaturesName = Literal["inception", "classifier", "resnet20-cifar10", "raw"]
JudgeName = Literal["resnet20-cifar10"]
Fault = tuple[str, str]  # problem, remedy


def of(name: FeaturesName, device: torch.device, trained: Callable[[], Classifier]) -> Features:
    """The features of that name; ``trained`` gives the classifier of the human source, which only one of them asks for.

    Raises DataError where their weights are missing, damaged or others.
    """
    if name == "raw":
        return Raw()
    if name == "classifier":
        return Trained(trained())
    return inception.Inception(device) if name == "inception" else resnet20.Resnet20Features(device)


def judge(name: JudgeName, source: HumanSource, device: torch.device) -> Classifier:
    """The classifier of that name, with its accuracy on the held-out items of a source that tells labels.

    Raises DataError, as ``of``.
    """
    assert name == resnet20.NAME
    return resnet20.judge(resnet20.found(), source, device)


def checksums(names: Iterable[FeaturesName | JudgeName | None]) -> dict[str, str]:
    """The sha256 of the file that each of these was read from, of those that have one. Raises DataError."""
    files = {"inception": inception.found, "resnet20-cifar10": resnet20.found}
    return {name: files[name]().sha256 for name in names if name in files}


def ready(names: Iterable[FeaturesName | JudgeName | None]) -> None:
    """Raise DataError now, where weights would be missing, damaged or others when a run begins."""
    for name in dict.fromkeys(names):
        if name == "inception":
            inception.Inception(torch.device("cpu"))
        elif name == "resnet20-cifar10":
            resnet20.network(resnet20.found(), torch.device("cpu"))


def features_fault(name: FeaturesName | None, humans: Humans) -> Fault | None:
    """Why these features cannot look at the items of a source; None where they can."""
    if name is None or name == "raw":
        return None
    if len(humans.shape) != 3:
        return f"`{name}` looks at images, and `{humans.name}` has vectors", "use `raw`, or leave `features` out"
    if name == "classifier" and humans.known_classes < 2:
        return f"there is no classifier for `{humans.name}`", "use other features"
    if name == "inception" and humans.shape[0] not in (1, 3):
        return f"Inception looks at grey or colour images, and these have {humans.shape[0]} channels", "use `raw`"
    if name == "resnet20-cifar10" and humans.shape != resnet20.SHAPE:
        return f"`{name}` looks at {_size(resnet20.SHAPE)} images, not {_size(humans.shape)}", "use other features"
    return None


def judge_fault(name: JudgeName | None, humans: Humans) -> Fault | None:
    """Why this judge cannot tell the classes of a source; None where it can."""
    known = (humans.name, humans.shape, humans.known_classes)
    if name is None or known == (resnet20.SOURCE, resnet20.SHAPE, resnet20.CLASSES):
        return None
    return f"`{name}` knows the ten classes of `{resnet20.SOURCE}`, not those of `{humans.name}`", "leave `judge` out"


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


__all__ = ["Features", "FeaturesName", "JudgeName", "features_fault", "judge", "judge_fault", "of", "ready"]
