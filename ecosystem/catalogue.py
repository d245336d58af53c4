"""The catalogue of model cards, models/README.md: ``python -m ecosystem.catalogue`` writes it, a test keeps it true."""

from __future__ import annotations

import torch

from ecosystem import grammar
from ecosystem.models import (
    ClosedForm,
    Diffusion,
    Edm,
    FlowMatching,
    Gaussian,
    Kde,
    Mixture,
    NormalizingFlow,
    Pretrained,
    Vae,
    cards,
    diffusion,
    ode,
)
from ecosystem.models.cards import Card, CardBaseline, OnGpu
from ecosystem.models.edm import EdmSampler
from ecosystem.models.flow_nets import ChainSettings
from ecosystem.models.multi_scale import MultiScaleSettings
from ecosystem.models.unets import UNetSettings
from ecosystem.models.vae import ConvolutionalSettings
from ecosystem.rng import lent

HEAD = """# Model cards

A card is a model's settings: family, network, training budget, sampler and papers. A scenario names one as
`model: NAME`, or writes one in place as `card: {family: ...}`. This page is written by `python -m ecosystem.catalogue`.

"""

# Shape and classes of what a card is meant for, by a part of its name.
ITEMS: dict[str, tuple[tuple[int, ...], int]] = {
    "2d": ((2,), 1),
    "unlabelled": ((1, 8, 8), 1),
    "digits": ((1, 8, 8), 10),
    "mnist": ((1, 28, 28), 10),
    "cifar10": ((3, 32, 32), 10),
    "ffhq64": ((3, 64, 64), 1),
    "faces": ((1, 32, 32), 1),
}

BASELINES = """
## Baselines

What generation 0 reaches on clean human data: means over seeds, written into each card by
`ecosystem models --measure CARD`. A run whose generation 0 on as many pages of the same data is worse by more than
1.15 times (a distance: 2 times) says so at the top of its report. Seconds are those of training on the
machine that the card names, while it was busy with other work.

"""


def text() -> str:
    found = [cards.load(name) for name in grammar.shipped_names(cards.FOLDER)]
    rows = [
        "| card | family | network | parameters | images seen (then per retraining) | updates | sampler | papers |",
        "|" + "---|" * 8,
    ]
    rows += [_row(card) for card in found]
    about = [f"- **{card.name}**: {card.about}" for card in found]
    return HEAD + "\n".join(rows) + "\n\n" + "\n".join(about) + "\n" + BASELINES + "\n".join(_baselines(found)) + "\n"


def _row(card: Card) -> str:
    papers = " ".join(
        f"[{p.removeprefix('arXiv:')}](https://arxiv.org/abs/{p.removeprefix('arXiv:')})" for p in card.papers
    )
    return f"| {card.name} | {card.model.family} | {' | '.join(_model(card))} | {papers} |"


def _model(card: Card) -> tuple[str, str, str, str, str]:
    """Network, parameters, images, updates and sampler in words."""
    model = card.model
    if isinstance(model, ClosedForm):
        how = "EM" if isinstance(model, Mixture) else "closed form"
        return f"none ({_settings(model)})", "", how, "", "exact"
    if isinstance(model, Pretrained):
        return f"what is in {model.path}", "", f"none ({model.train.finetune_images:,})", "", _sampler(model.sampler)
    train = model.train
    images, updates = (
        f"{first:,} ({then:,})"
        for first, then in (
            (train.budget_images, train.finetune_images),
            (train.updates(train.budget_images), train.updates(train.finetune_images)),
        )
    )
    return _network(model), f"{parameters(card):,}", images, updates, _drawn(model)


def _network(model: Diffusion | Edm | FlowMatching | NormalizingFlow | Vae) -> str:
    net = model.net
    if isinstance(net, ChainSettings):
        return f"{net.kind} {net.transforms} times {net.width} x {net.depth}"
    if isinstance(net, MultiScaleSettings):
        return f"{net.kind} {net.channels}, {net.scales + 1} scales, {net.blocks} blocks"
    if isinstance(net, UNetSettings | ConvolutionalSettings):
        shape = " ".join(map(str, net.channels))
    else:
        shape = f"{net.width} x {net.depth}"
    return f"{net.kind} {shape}" + (f", latent {model.latent}" if isinstance(model, Vae) else "")


def _drawn(model: Diffusion | Edm | FlowMatching | NormalizingFlow | Vae) -> str:
    if isinstance(model, NormalizingFlow):
        return "exact"
    return "the decoder" if isinstance(model, Vae) else _sampler(model.sampler)


def parameters(card: Card) -> int:
    """Numbers that are trained, for items of the data set that the card is meant for."""
    assert not isinstance(card.model, ClosedForm | Pretrained)
    shape, classes = next(items for name, items in ITEMS.items() if name in card.name)
    # A U-Net of the papers' sizes is built without its numbers; zuko looks at some of its own.
    place = "meta" if isinstance(card.model.net, UNetSettings) else "cpu"
    with lent(torch.device("cpu"), 0, "catalogue", card.name), torch.device(place):
        return sum(p.numel() for p in card.model.build(shape, classes).parameters())


def _sampler(sampler: ode.Sampler | diffusion.Sampler | EdmSampler) -> str:
    if sampler.kind == "adaptive":
        return f"Dormand-Prince, tolerance {sampler.tolerance:g}"
    kind = f"{sampler.kind} {sampler.spacing}" if sampler.kind in ("ddim", "ancestral") else sampler.kind
    return f"{kind.replace('ddim', 'DDIM')}, {sampler.steps} steps"


def _settings(model: ClosedForm) -> str:
    """Of a family without a network, what its name does not say."""
    if isinstance(model, Gaussian):
        return model.estimator if model.covariance == "full" else f"{model.estimator}, {model.covariance}"
    if isinstance(model, Kde):
        return f"bandwidth {model.bandwidth:g}"
    if isinstance(model, Mixture):
        return f"{model.components} components, {model.covariance}"
    return "counts"


def _baselines(found: list[Card]) -> list[str]:
    rows = [
        "| card | human data | pages | precision | recall | agreement | distance | updates | seconds |",
        "|" + "---|" * 9,
    ]
    for card in found:
        rows += [_baseline(card.name, baseline) for baseline in card.baselines]
    rows += ["", *(f"{card.name}: no baseline measured yet." for card in found if _unmeasured(card))]
    on_gpu = [_on_gpu(card.name, b, b.gpu) for card in found for b in card.baselines if b.gpu]
    head = ["| card | machine | images/s in training | samples/s | peak memory, GiB |", "|" + "---|" * 5]
    return [*rows, "", *([*head, *on_gpu] if on_gpu else ["No card has been measured on a GPU yet."])]


def _on_gpu(name: str, b: CardBaseline, gpu: OnGpu) -> str:
    found = (gpu.images_per_second, gpu.samples_per_second, gpu.memory)
    return f"| {name} | {b.machine} | {' | '.join(f'{value:,.3g}' for value in found)} |"


def _unmeasured(card: Card) -> bool:
    return not card.baselines and not isinstance(card.model, ClosedForm)


def _baseline(name: str, b: CardBaseline) -> str:
    shown = [f"{b.metrics[m]:.3g}" if m in b.metrics else "" for m in ("precision", "recall", "agreement")]
    distance = f"frechet {b.metrics['frechet']:.3g}" if "agreement" in b.metrics or "class-tv" in b.metrics else ""
    distance = distance or f"sliced-wasserstein {b.metrics['sliced-wasserstein']:.3g}"
    cells = [name, b.humans, f"{b.pages:,}", *shown, distance, f"{b.updates:,}", f"{b.seconds:.0f}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    (grammar.shipped(cards.FOLDER) / "README.md").write_text(text(), encoding="utf-8")
