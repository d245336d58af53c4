"""Where human data come from: ``settings.open()`` gives a ``Humans``; the sources there are stand below."""

from ecosystem.humans.base import Endless, Humans, Items, Modes, Reservoir, unlabelled
from ecosystem.humans.categorical import Categorical
from ecosystem.humans.densities import Gaussian, Ring8, TwoMoons
from ecosystem.humans.digits import Digits
from ecosystem.humans.files import Cifar10, FashionMnist, Mnist
from ecosystem.humans.image_folder import ImageFolder

HumanSource = Gaussian | Categorical | Ring8 | TwoMoons | Digits | Mnist | FashionMnist | Cifar10 | ImageFolder

__all__ = [
    "Categorical",
    "Cifar10",
    "Digits",
    "Endless",
    "FashionMnist",
    "Gaussian",
    "HumanSource",
    "Humans",
    "ImageFolder",
    "Items",
    "Mnist",
    "Modes",
    "Reservoir",
    "Ring8",
    "TwoMoons",
    "unlabelled",
]
