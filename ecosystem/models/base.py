"""The model contract: what every generative family promises to the world.

A *family* is the settings of a model card; ``fit`` turns a training set into a *generator*, the trained model of
one generation. Two promises keep worlds reproducible and let many models be computed as one batch:

- no hidden randomness: training draws from named streams that it is handed, and ``sample`` is a pure function of
  prompts and noise, where the noise was drawn by ``noise`` from a named stream;
- ``fit`` is a Python generator: it yields an ``Update`` now and then and returns the trained model. Progress,
  saving and stopping belong to the caller.

Samples and data are (N, C, H, W) in [-1, 1] for images, (N, D) for vectors. Images lie on the web as uint8;
``to_model`` and ``to_web`` are the only places that convert.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from collections.abc import Generator as Iteration
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecosystem.distribution import Distribution
from ecosystem.errors import TrainingError
from ecosystem.rng import Streams


@dataclass(frozen=True)
class TrainingSet:
    """What a provider trains on: x (N, C, H, W) uint8 or (N, D) float64, y (N,) int64, both on the device."""

    x: Tensor
    y: Tensor
    classes: int

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one item."""
        return tuple(self.x.shape[1:])


Saved = Mapping[str, Tensor]  # tensors by name, as a checkpoint keeps them


@dataclass(frozen=True)
class Update:
    """Where a training stands: optimiser updates done and to do, and the loss there.

    ``save``: all that the training goes on from, until it goes on; None where there is nothing to gain. ``parts``: in
    how many parts a batch is computed, for want of memory.
    """

    done: int
    total: int
    loss: float
    save: Callable[[], Saved] | None = None
    parts: int = 1


class Generator(ABC):
    """A trained model. ``state`` is all there is to it: tensors by name, enough to build it again."""

    @abstractmethod
    def noise(self, n: int, rng: np.random.Generator) -> NDArray[np.float64] | NDArray[np.float32]:
        """The randomness of n samples, (n, ...). Asking for more leaves the first rows as they were."""

    @abstractmethod
    def sample(self, y: Tensor, noise: Tensor) -> Tensor:
        """One sample a prompt: y (N,) int64 and its noise (N, ...) -> (N, C, H, W) in [-1, 1] or (N, D)."""

    def stack_key(self, noise: Tensor) -> Hashable:
        """What draws of one class of generators must have in common to be asked for as one stack."""
        return tuple(noise.shape)

    @classmethod
    def sample_stack(
        cls, generators: Sequence[Generator], y: Sequence[Tensor], noise: Sequence[Tensor]
    ) -> list[Tensor] | None:
        """``sample`` of many generators at once, bit for bit the same; None where they make no stack."""
        return None

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """The parameters by name."""

    def saved(self) -> Saved:
        """What ``Family.restored`` makes this model of again, and what a later training goes on from."""
        return self.state()

    @property
    def trained(self) -> Generator:
        """The model that a later training goes on from: this one, unless it serves a variation of another."""
        return self

    def guided(self, auxiliary: Generator, weight: float) -> Generator:
        """This model steered away from ``auxiliary`` of its family, weight > 0; see ``models/guided.py``.

        Only of families that have a score (``Family.takes_guidance``). Raises TrainingError where the two allow no
        such weight.
        """
        raise TypeError(f"{type(self).__name__} takes no negative guidance: it has no score to extrapolate")

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """log p(x | y), (N,), in nats; only of families that know it."""
        raise AttributeError(f"{type(self).__name__} has no closed-form density")

    def distribution(self) -> Distribution | None:
        """The model's distribution over all prompts (equally often), where it is known without drawing from it."""
        return None


Training = Iteration[Update, None, Generator]
StackTraining = Iteration[tuple[int, Update], None, "list[Generator | TrainingError]"]


@dataclass(frozen=True, eq=False)
class Fit:
    """A training that a world asks for. The asker is sent a Trained, or a TrainingError is raised where it asked."""

    family: Family
    data: TrainingSet
    previous: Generator | None
    streams: Streams
    budget_images: int | None = None
    saved: Saved | None = None  # of this very training, where a checkpoint was written within it


class Family(ABC):
    """A family with its settings. ``previous`` is the provider's last generation, None from scratch."""

    # Whether noise times sqrt(b) draws from the model with its covariance times b: the sampling bias of
    # Alemohammad et al., Self-Consuming Generative Models Go MAD, 2023, arXiv 2307.01850.
    takes_sampling_bias: ClassVar[bool] = False

    # Whether its models can be steered away from one another (``Generator.guided``).
    takes_guidance: ClassVar[bool] = False

    @property
    def stacks(self) -> bool:
        """Whether seeds of a scenario gain from running in lockstep, their fits and draws done as stacks."""
        return False

    def stack_key(self, fit: Fit) -> Hashable | None:
        """What trainings of this family must have in common to be one stack; None of one that is done alone."""
        return None

    def train_stack(self, fits: Sequence[Fit]) -> StackTraining:
        """Trainings with one key as one: how far each is, by its number; at the end the models, or why there is none.

        Bit for bit what each would have become alone, on a CPU.
        """
        raise NotImplementedError

    def fit_stack(self, data: Sequence[TrainingSet]) -> Sequence[Generator] | None:
        """``fit`` from scratch on many sets at once, bit for bit the same; None where they make no stack."""
        return None

    @property
    def first_budget_images(self) -> int | None:
        """What generation 0 is trained on, in place of the card's budget; 0: nothing, it is there already."""
        return None

    @abstractmethod
    def fit(
        self,
        data: TrainingSet,
        previous: Generator | None,
        streams: Streams,
        budget_images: int | None = None,
        saved: Saved | None = None,
    ) -> Training:
        """Train on ``data``; ``budget_images`` replaces the card's own budget, 0 is no training. Raises TrainingError.

        ``saved``: go on with this very training from where an ``Update`` of it was saved.
        """

    @abstractmethod
    def restored(self, saved: Saved, shape: tuple[int, ...], classes: int) -> Generator:
        """The model that was ``saved``, for items of a shape; on the device of the tensors, bit for bit the same."""


def to_model(x: Tensor) -> Tensor:
    """Web to model scale: uint8 images to float32 in [-1, 1]; float64 vectors to float32."""
    return x.float().div_(127.5).sub_(1.0) if x.dtype == torch.uint8 else x.float()


def everywhere(t: Tensor | float, y: Tensor) -> Tensor:
    """One time for all prompts y (N,), (N,) float32, which takes the memory of one."""
    return torch.as_tensor(t, dtype=torch.float32, device=y.device).expand(len(y))


def to_web(x: Tensor) -> NDArray[np.uint8] | NDArray[np.float64]:
    """Model to web scale: an image is published with 8 bits a channel, a vector as float64."""
    if x.ndim == 4:
        return x.add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8).cpu().numpy()
    return x.double().cpu().numpy()
