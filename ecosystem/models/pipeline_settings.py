"""The settings of a pipeline of diffusers: its JSON files, read strictly, and the forward process that they tell of.

    q(x_s | x) = N(sqrt(a_s) x, (1 - a_s) I),   a_s = prod_{r <= s} (1 - beta_r),   s = 1..T

``beta_schedule`` is ``linear`` (J. Ho, A. Jain, P. Abbeel, Denoising Diffusion Probabilistic Models, 2020, arXiv
2006.11239), ``scaled_linear`` (linear in the root of beta; R. Rombach et al., High-Resolution Image Synthesis with
Latent Diffusion Models, 2021, arXiv 2112.10752) or ``squaredcos_cap_v2`` (the cosine of A. Nichol, P. Dhariwal,
Improved Denoising Diffusion Probabilistic Models, 2021, arXiv 2102.09672); the network predicts the noise
(``epsilon``), the velocity or the image (``sample``).

What is supported is used as it is. What is not is refused with its file and key, and so is a key that nobody here
knows, unless it is off. The keys that only place the times of diffusers' own sampling, or say how noisy it is, yield
to the card's ``sampler``.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, cast

import torch
from torch import Tensor

from ecosystem.documents import printable, shown
from ecosystem.errors import ScenarioError

PIPELINES, SCHEDULERS = ("DDPMPipeline", "DDIMPipeline"), ("DDPMScheduler", "DDIMScheduler")
SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
PREDICTIONS = ("epsilon", "v_prediction", "sample")
USED = (
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule"),
    *("prediction_type", "clip_sample", "clip_sample_range"),
)
OF_SAMPLING = (
    *("timestep_spacing", "steps_offset", "set_alpha_to_one", "variance_type"),
    *("dynamic_thresholding_ratio", "sample_max_value", "tensor_format"),
)
LEAST_SIGNAL = 1e-6  # at s = T, for a network that predicts the noise
AGAIN = "download or save it again"

Prediction = Literal["epsilon", "v_prediction", "sample"]


class PipelineError(ScenarioError):
    """A folder that holds no pipeline of use here; in two parts, for a caller who knows the place that names it."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} ({remedy})")
        self.problem, self.remedy = problem, remedy


def told(error: BaseException) -> str:
    """The words of another library, on one line."""
    return printable(" ".join(str(error).split()) or type(error).__name__)[:160]


@dataclass(frozen=True)
class Config:
    """The settings of one file. What is asked of them is of its type and within its bounds, or refused."""

    file: str  # as it is told
    data: Mapping[str, Any]

    @classmethod
    def read(cls, file: str, data: bytes) -> Config:
        try:
            tree = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise PipelineError(f"`{file}` is no JSON: {told(error)}", AGAIN) from error
        if not isinstance(tree, dict):
            raise PipelineError(f"`{file}` is JSON, but no settings", AGAIN)
        return cls(file, tree)

    def refuse(self, key: str, why: str, remedy: str) -> NoReturn:
        value = f"is {shown(json.dumps(self.data[key]))}" if key in self.data else "is missing"
        raise PipelineError(printable(f"`{self.file}`: `{shown(key)}` {value}{why and f', {why}'}"), remedy)

    def one_of(self, key: str, known: Collection[str], default: str | None = None) -> str:
        value = self.data.get(key, default)
        if not isinstance(value, str) or value not in known:
            self.refuse(key, "which is not supported here", f"supported: {', '.join(known)}")
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        value = self.data.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not low < value < high:
            self.refuse(key, "", f"a number between {low:g} and {high:g} belongs there")
        return float(value)

    def whole(self, key: str, default: int | None, high: int) -> int:
        value = self.data.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= high:
            self.refuse(key, "", f"a whole number from 1 to {high:,} belongs there")
        return value

    def on(self, key: str, default: bool) -> bool:
        value = self.data.get(key, default)
        if not isinstance(value, bool):
            self.refuse(key, "", "true or false belongs there")
        return value

    def only(self, known: Collection[str]) -> None:
        """No other key is on."""
        for key, value in self.data.items():
            if key not in known and not key.startswith("_") and value is not None and value is not False:
                self.refuse(key, "which is not supported here", "use a pipeline without it")


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


# Of a whole pipeline


def check_index(config: Config) -> None:
    """That its parts are diffusers' own: a pipeline may name classes of a module that stands beside it."""
    config.one_of("_class_name", PIPELINES)
    for part, known in (("unet", ("UNet2DModel",)), ("scheduler", SCHEDULERS)):
        if config.data.get(part) not in [["diffusers", name] for name in known]:
            config.refuse(part, "which is not supported here", f"supported: {', '.join(known)} of diffusers")


# Of its network


def check_unet(config: Config) -> None:
    """What would be random, would take endless time to make, or is asked in another way than here."""
    config.one_of("_class_name", ["UNet2DModel"])
    config.only(unet_keys())
    if config.data.get("dropout", 0.0) != 0:
        config.refuse("dropout", "and no training here is random but by name", "set it to 0.0")
    if config.data.get("class_embed_type") is not None:
        config.refuse("class_embed_type", "which is not supported here", "use a UNet with `num_class_embeds` alone")
    config.one_of("time_embedding_type", ["positional"], "positional")
    channels = config.whole("in_channels", 3, 10_000)
    if config.whole("out_channels", 3, 10_000) != channels:
        config.refuse("out_channels", f"and `in_channels` is {channels}", "use a pipeline where they are equal")
    if config.data.get("num_class_embeds") is not None:
        config.whole("num_class_embeds", None, 1_000_000)
    config.whole("layers_per_block", 2, 50)
    for key in ("block_out_channels", "down_block_types", "up_block_types"):
        value = config.data.get(key, [None])
        if not isinstance(value, list) or not 1 <= len(value) <= 20:
            config.refuse(key, "", "a list of 1 to 20 belongs there")


def unet_keys() -> list[str]:
    """The settings that this version of diffusers makes a UNet2DModel of."""
    from diffusers import UNet2DModel

    return [name for name in inspect.signature(UNet2DModel.__init__).parameters if name != "self"]


# Of its scheduler


@dataclass(frozen=True, eq=False)
class Process:
    """``signal``: a_s for s = 0..T, (T + 1,) float32, a_0 = 1.

    ``clip``: the image that is predicted is kept in [-clip, clip]; None: it is not.
    """

    signal: Tensor
    prediction: Prediction
    clip: float | None

    @property
    def times(self) -> int:
        """T."""
        return len(self.signal) - 1

    def target(self, x: Tensor, e: Tensor, a: Tensor) -> Tensor:
        """What the network is to predict at sqrt(a) x + sqrt(1 - a) e."""
        if self.prediction == "epsilon":
            return e
        return x if self.prediction == "sample" else a.sqrt() * e - (1 - a).sqrt() * x

    def predicted(self, x: Tensor, output: Tensor, a: float) -> tuple[Tensor, Tensor]:
        """The image and the noise that an output means at x. As diffusers' DDIM has it, the image alone is clipped."""
        root, rest = math.sqrt(a), math.sqrt(1 - a)
        if self.prediction == "epsilon":
            image, e = (x - rest * output) / root, output
        elif self.prediction == "sample":
            image, e = output, (x - root * output) / rest
        else:
            image, e = root * x - rest * output, root * output + rest * x
        return image if self.clip is None else image.clamp(-self.clip, self.clip), e


def process(config: Config | None) -> Process:
    """That of a scheduler's settings; None stands for those that diffusers has by default."""
    if config is None:
        config = Config("", {})
    else:
        config.one_of("_class_name", SCHEDULERS)
    config.only([*USED, *OF_SAMPLING])
    if str(config.data.get("variance_type", "")).startswith("learned"):
        config.refuse("variance_type", "and only images are predicted here", "use a pipeline of a fixed variance")
    prediction = cast(Prediction, config.one_of("prediction_type", PREDICTIONS, "epsilon"))
    clips, limit = config.on("clip_sample", True), config.number("clip_sample_range", 1.0, 0.0, 1e6)
    signal = _signal(config)
    if prediction == "epsilon" and not clips and signal[-1] < LEAST_SIGNAL:
        left = f"and at s = T a share of {float(signal[-1]):.0e} is left of the signal: the first sampler step explodes"
        config.refuse("clip_sample", left, "set it to true")
    return Process(signal, prediction, limit if clips else None)


def _signal(config: Config) -> Tensor:
    times = config.whole("num_train_timesteps", 1000, 100_000)
    low, high = config.number("beta_start", 1e-4, 0.0, 1.0), config.number("beta_end", 0.02, 0.0, 1.0)
    schedule = config.one_of("beta_schedule", SCHEDULES, "linear")
    if schedule == "linear":
        beta = torch.linspace(low, high, times, dtype=torch.float64)
    elif schedule == "scaled_linear":
        beta = torch.linspace(math.sqrt(low), math.sqrt(high), times, dtype=torch.float64).square()
    else:
        s = torch.arange(times + 1, dtype=torch.float64) / times
        level = torch.cos((s + 0.008) / 1.008 * math.pi / 2).square()
        beta = (1 - level[1:] / level[:-1]).clamp(max=0.999)
    return torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)]).float()
