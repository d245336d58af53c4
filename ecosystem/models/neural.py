"""What the neural families share: fitting through the one training loop, and sampling in blocks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecosystem import notices
from ecosystem.compute import out_of_memory
from ecosystem.errors import TrainingError
from ecosystem.models import sharded, stack
from ecosystem.models.base import Family, Fit, Generator, Saved, StackTraining, Training, TrainingSet
from ecosystem.models.execution import autocast
from ecosystem.models.guided import Predict, predictions
from ecosystem.models.nets import MLP, MLPSettings, NetSettings, build
from ecosystem.models.train import TrainSettings, TrainState, train
from ecosystem.rng import Streams
from ecosystem.settings import Settings

SAMPLE_BLOCK = 4096  # samples computed at once, where the memory lets us


class NeuralFamily(Family, Settings):
    """A family with a network, its card's key ``train``. Subclasses give the module, the loss and the sampler."""

    age: ClassVar[int] = 0  # updates that lie behind a new network: the average of an old one does not follow fast

    train: TrainSettings

    @abstractmethod
    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """The module that is trained, for items of a shape; its parameters are drawn by ``nets.initialise``."""

    @abstractmethod
    def loss(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """The scalar loss of a batch: x (N, ...) in model scale, y (N,)."""

    @abstractmethod
    def integrate(self, net: Predict, y: Tensor, noise: Tensor) -> Tensor:
        """Noise (N, *noise_shape) -> samples (N, ...). ``net``: the averaged module, or as ``predict`` has it."""

    def noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of the normal noise of one sample, for items of a shape."""
        return shape

    def prepare(self, net: nn.Module, data: TrainingSet, generator: torch.Generator) -> None:
        """What a new module takes from its first training set before it is trained, such as the scale of the data."""

    def generator(self, state: TrainState, shape: tuple[int, ...]) -> NeuralGenerator:
        """The trained model; of a family that knows its likelihood, a generator with one."""
        return NeuralGenerator(self, state, shape)

    def fit(
        self,
        data: TrainingSet,
        previous: Generator | None,
        streams: Streams,
        budget_images: int | None = None,
        saved: Saved | None = None,
    ) -> Training:
        device, settings = data.x.device, self.train
        state, budget, lr = self._begun(Fit(self, data, previous, streams, budget_images, saved))
        if budget == 0:  # the network is served as it is
            return self.generator(state, data.shape)
        if settings.processes > 1:
            task = sharded.Task(self, data, state, budget, lr, streams, saved)
            state = yield from sharded.train(task)
        else:
            generator = streams.torch("training", device)
            yield from train(self.loss, state, data, settings, budget, lr, generator, saved)
        return self.generator(state, data.shape)

    def _begun(self, fit: Fit) -> tuple[TrainState, int, tuple[float, float]]:
        """What a training begins with, the images it sees, and its first and last learning rate."""
        data, saved, device, settings = fit.data, fit.saved, fit.data.x.device, self.train
        previous = _last(fit)
        if saved is not None:
            state = self.restored_state(saved, data.shape, data.classes, device)
        elif previous is not None:
            state = previous.training.copy()
        else:
            parameters = fit.streams.torch("parameters", device)
            net = self._net(data.shape, data.classes, parameters)
            self.prepare(net, data, parameters)
            state = replace(TrainState.new(net), updates=self.age)
        lr = (settings.lr, 0.05 * settings.lr) if previous is None else (settings.finetune_lr, settings.finetune_lr)
        return state.laid_out(settings.channels_last), self._budget(fit), lr

    def _budget(self, fit: Fit) -> int:
        """In images seen."""
        if fit.budget_images is not None:
            return fit.budget_images
        return self.train.budget_images if _last(fit) is None else self.train.finetune_images

    def restored(self, saved: Saved, shape: tuple[int, ...], classes: int) -> NeuralGenerator:
        return self.generator(self.restored_state(saved, shape, classes, saved["updates"].device), shape)

    def restored_state(self, saved: Saved, shape: tuple[int, ...], classes: int, device: torch.device) -> TrainState:
        """What a training goes on from, on a device, as it was saved."""
        state = TrainState.restored(self._any_net(shape, classes, device), saved)
        return state.laid_out(self.train.channels_last)

    def _net(self, shape: tuple[int, ...], classes: int, generator: torch.Generator) -> nn.Module:
        """A new module, its parameters drawn from ``generator``."""
        return build(lambda: self.build(shape, classes), generator)

    def _any_net(self, shape: tuple[int, ...], classes: int, device: torch.device) -> nn.Module:
        """A module to put parameters into."""
        return self._net(shape, classes, Streams(0, "restored", 0).torch("parameters", device))


def _last(fit: Fit) -> NeuralGenerator | None:
    """The model that a training goes on from."""
    previous = None if fit.previous is None else fit.previous.trained
    return previous if isinstance(previous, NeuralGenerator) else None


class Regression(NamedTuple):
    """What the network is shown, (N, ...), at which time, (N,), and what it ought to answer, (N, ...)."""

    seen: Tensor
    time: Tensor
    target: Tensor


@dataclass(frozen=True)
class ScoreFamily(NeuralFamily):
    """Its network predicts the score, or what is affine in it, at every noise level: it can be guided.

    Its loss is the mean square of a regression. MLPs are trained and sampled as stacks (stack.py), of one or of many.
    """

    takes_guidance: ClassVar[bool] = True

    net: NetSettings = MLPSettings()
    train: TrainSettings = TrainSettings()

    @abstractmethod
    def draws(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """All that is random in the regression of a batch, each (N, ...). Of x only shape and place count."""

    def coupled(self, x: Tensor, y: Tensor, draws: tuple[Tensor, ...], batch: int) -> tuple[Tensor, ...]:
        """The draws of N / batch batches behind one another, as those of each batch come to meet its items."""
        return draws

    @abstractmethod
    def regression(self, x: Tensor, *draws: Tensor) -> Regression:
        """Of each item x (N, ...) in model scale with its draws, whatever stands in the other rows."""

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return self.net.build(shape, classes)

    def loss(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        seen, time, target = self.regression(x, *self.coupled(x, y, self.draws(x, generator), len(x)))
        error: Tensor = net(seen, time, y) - target
        return error.square().mean()

    @property
    def stacks(self) -> bool:
        return stack.takes(self.net, self.train)

    @property
    def samples_in_blocks(self) -> bool:
        """Whether its models are sampled by stack.py."""
        return stack.samples(self.net, self.train)

    def fit(
        self,
        data: TrainingSet,
        previous: Generator | None,
        streams: Streams,
        budget_images: int | None = None,
        saved: Saved | None = None,
    ) -> Training:
        fit = Fit(self, data, previous, streams, budget_images, saved)
        if self.stack_key(fit) is None:
            return (yield from super().fit(data, previous, streams, budget_images, saved))
        training = self.train_stack([fit])
        while True:
            try:
                yield next(training)[1]
            except StopIteration as end:
                (model,) = end.value
                if isinstance(model, TrainingError):
                    raise model from None
                found: Generator = model
                return found

    def stack_key(self, fit: Fit) -> Hashable | None:
        budget = self._budget(fit)
        if not self.stacks or budget == 0:
            return None
        return budget, _last(fit) is None, stack.kind(fit.data, fit.saved)

    def train_stack(self, fits: Sequence[Fit]) -> StackTraining:
        begun = [self._begun(fit) for fit in fits]
        members = [
            stack.Member(state, fit.data, fit.streams.torch("training", fit.data.x.device), fit.saved)
            for (state, *_), fit in zip(begun, fits, strict=True)
        ]
        _, budget, lr = begun[0]
        errors = yield from stack.train(self, members, budget, lr)
        return [
            self.generator(member.state, member.data.shape) if error is None else error
            for member, error in zip(members, errors, strict=True)
        ]


@dataclass(frozen=True)
class NeuralGenerator(Generator):
    family: NeuralFamily
    training: TrainState
    shape: tuple[int, ...]
    predict: Predict | None = None  # asked by the sampler; None is the averaged network of ``training``

    def noise(self, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
        return rng.standard_normal((n, *self.family.noise_shape(self.shape)), dtype=np.float32)

    @torch.no_grad()
    def sample(self, y: Tensor, noise: Tensor) -> Tensor:
        if len(y) == 0:  # attention layers refuse an empty batch
            return noise.new_empty((0, *self.shape))
        if self._stacks:
            try:
                return self._stacked([self], [y], [noise])[0]
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
        first = size = min(len(y), SAMPLE_BLOCK)
        while True:
            try:
                x = self._in_blocks(y, noise, size)
                break
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if size == 1:
                    raise MemoryError("one image at a time is too much") from error
            size //= 2
            if y.device.type == "cuda":
                torch.cuda.empty_cache()
        if size < first:
            notices.say("for want of memory samples are drawn in smaller blocks than usual, which takes longer.")
        return x

    def stack_key(self, noise: Tensor) -> Hashable:
        return self.family, self.shape, self._stacks

    @classmethod
    @torch.no_grad()
    def sample_stack(
        cls, generators: Sequence[Generator], y: Sequence[Tensor], noise: Sequence[Tensor]
    ) -> list[Tensor] | None:
        members = cast(Sequence[NeuralGenerator], generators)
        alike = all(g.family == members[0].family and g.shape == members[0].shape and g._stacks for g in members)
        return cls._stacked(members, y, noise) if alike else None

    @staticmethod
    def _stacked(members: Sequence[NeuralGenerator], y: Sequence[Tensor], noise: Sequence[Tensor]) -> list[Tensor]:
        asked = [
            stack.Asked(cast(MLP, g.training.ema), labels, z) for g, labels, z in zip(members, y, noise, strict=True)
        ]
        return stack.sample(cast(ScoreFamily, members[0].family), members[0].shape, asked)

    @property
    def _stacks(self) -> bool:
        """Whether it is sampled by stack.py. A model that is guided is not."""
        family = self.family
        return self.predict is None and isinstance(family, ScoreFamily) and family.samples_in_blocks

    def _in_blocks(self, y: Tensor, noise: Tensor, size: int) -> Tensor:
        net = self._predict()
        with autocast(self.family.train.precision, y.device):
            blocks = zip(torch.split(y, size), torch.split(noise, size), strict=True)
            return torch.cat([self.family.integrate(net, labels, z).float() for labels, z in blocks])

    def guided(self, auxiliary: Generator, weight: float) -> Generator:
        """Its prediction is extrapolated; nets and trainings may differ, as those of autoguidance do."""
        if not self.family.takes_guidance:
            return super().guided(auxiliary, weight)
        if not isinstance(auxiliary, NeuralGenerator) or not self._alike(auxiliary):
            raise TypeError("a network is guided by one of the same family and settings, but for `net` and `train`")
        return replace(self, predict=predictions(self._predict(), auxiliary._predict(), weight))

    def _alike(self, other: NeuralGenerator) -> bool:
        mine, its = self.family, other.family
        if isinstance(mine, ScoreFamily) and isinstance(its, ScoreFamily):
            its = replace(its, net=mine.net, train=mine.train)
        return its == mine and other.shape == self.shape

    def _predict(self) -> Predict:
        return self.predict or self.training.ema.eval()

    def state(self) -> dict[str, Tensor]:
        return dict(self.training.ema.state_dict())

    def saved(self) -> Saved:
        return self.training.saved()
