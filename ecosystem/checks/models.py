"""Models that must fit the data that they are to learn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ecosystem.checks.findings import Finding
from ecosystem.checks.sizes import LIMIT_NUMBERS
from ecosystem.documents import Route
from ecosystem.humans import Humans
from ecosystem.models import (
    ClosedForm,
    Diffusion,
    Edm,
    FlowMatching,
    Gaussian,
    Mixture,
    ModelFamily,
    NormalizingFlow,
    Pretrained,
    Vae,
)
from ecosystem.models.multi_scale import MultiScaleSettings
from ecosystem.models.unets import UNetSettings
from ecosystem.models.vae import ConvolutionalSettings

if TYPE_CHECKING:
    from ecosystem.models.cards import Card
    from ecosystem.question import Scenario


def model_checks(scenario: Scenario, humans: Humans, found: Mapping[str, Card]) -> Iterator[Finding]:
    for number, provider in enumerate(scenario.providers):
        card = found.get(provider.name)
        if card is None:
            continue
        if provider.negative_guidance is not None and not card.model.takes_guidance:
            problem = f"a model of family {card.model.family} has no score that guidance could extrapolate"
            remedy = "use a gaussian, a diffusion, an edm or a flow-matching model"
            yield ("providers", number, "negative_guidance"), problem, remedy
        route: Route = ("providers", number, "model" if provider.card is None else "card")
        if card.model.first_budget_images == 0 and provider.distil is not None:
            problem = f"generation 0 of `{provider.name}` is what it has on disk, and learns nothing of another"
            yield ("providers", number, "distil"), problem, "set `train_first: true` of its card, or leave it out"
        if isinstance(card.model, ClosedForm):
            yield from _covariance_checks(route, provider.name, card.model, humans)
        elif len(humans.shape) == 1 and not isinstance(card.model, Pretrained):  # that is looked into by weights.py
            yield from _vector_checks(route, provider.name, card.model, humans)
        elif (misfit := _misfit(card.model, humans)) is not None:
            yield (*route, "net"), f"`{provider.name}`: {misfit}", "lower `scales`, or give images another `size`"


def _misfit(model: ModelFamily, humans: Humans) -> str | None:
    net = model.net if isinstance(model, NormalizingFlow) else None
    return net.misfit(humans.shape) if isinstance(net, MultiScaleSettings) else None


def _covariance_checks(route: Route, name: str, model: ClosedForm, humans: Humans) -> Iterator[Finding]:
    """Of a closed form; images are flattened to vectors."""
    size = math.prod(humans.shape)
    numbers = _covariances(model, humans) * size**2
    if numbers > LIMIT_NUMBERS:
        problem = f"the covariances of `{name}` in {size:,} dimensions have {numbers:,} numbers"
        yield route, problem, f"at most {LIMIT_NUMBERS:,}; a `gaussian` with `covariance: diagonal` has none"


def _covariances(model: ClosedForm, humans: Humans) -> int:
    """How many matrices of D x D numbers it makes, with its parameters and to tell its distribution over vectors."""
    parts = humans.classes * (model.components if isinstance(model, Mixture) else 1)
    if isinstance(model, Gaussian | Mixture) and model.covariance == "full":
        return parts
    known = isinstance(model, Gaussian | Mixture) and parts == 1  # by its variances alone
    return 0 if known or len(humans.shape) == 3 else 1


def _vector_checks(
    route: Route, name: str, model: FlowMatching | Diffusion | Edm | NormalizingFlow | Vae, humans: Humans
) -> Iterator[Finding]:
    """Of a network that is to learn vectors."""
    if isinstance(model.net, UNetSettings | ConvolutionalSettings | MultiScaleSettings):
        what = "a U-Net, which needs" if model.net.kind == "unet" else "convolutions, which need"
        problem = f"`{name}` has {what} images, and `{humans.name}` has vectors"
        other = "nsf" if model.net.kind == "multi-scale" else "mlp"
        yield (*route, "net"), problem, f"use a model with `net: {{kind: {other}}}`"
    if isinstance(model, Diffusion) and model.sampler.clip:
        problem = f"`{name}` clips to [-1, 1], the range of images, and `{humans.name}` has vectors"
        yield (*route, "sampler"), problem, "use a model with `sampler: {clip: false}`"
