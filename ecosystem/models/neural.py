"""What the neural families share: fitting through the one training loop, and sampling in blocks."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecosystem import notices
from ecosystem.compute import out_of_memory
from ecosystem.models import sharded
from ecosystem.models.base import Family, Generator, Saved, Training, TrainingSet
from ecosystem.models.execution import autocast
from ecosystem.models.guided import Predict, predictions
from ecosystem.models.nets import MLPSettings, NetSettings, build
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
        previous = None if previous is None else previous.trained
        finetune = isinstance(previous, NeuralGenerator)
        if saved is not None:
            state = self.restored_state(saved, data.shape, data.classes, device)
        elif isinstance(previous, NeuralGenerator):
            state = previous.training.copy()
        else:
            parameters = streams.torch("parameters", device)
            net = self._net(data.shape, data.classes, parameters)
            self.prepare(net, data, parameters)
            state = replace(TrainState.new(net), updates=self.age)
        budget = settings.finetune_images if finetune else settings.budget_images
        lr = (settings.finetune_lr, settings.finetune_lr) if finetune else (settings.lr, 0.05 * settings.lr)
        state = state.laid_out(settings.channels_last)
        if budget_images == 0:  # the network is served as it is
            return self.generator(state, data.shape)
        if settings.processes > 1:
            task = sharded.Task(self, data, state, budget_images or budget, lr, streams, saved)
            state = yield from sharded.train(task)
        else:
            generator = streams.torch("training", device)
            yield from train(self.loss, state, data, settings, budget_images or budget, lr, generator, saved)
        return self.generator(state, data.shape)

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


@dataclass(frozen=True)
class ScoreFamily(NeuralFamily):
    """Its network predicts the score, or what is affine in it, at every noise level: it can be guided."""

    takes_guidance: ClassVar[bool] = True

    net: NetSettings = MLPSettings()
    train: TrainSettings = TrainSettings()

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return self.net.build(shape, classes)


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
