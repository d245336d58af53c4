"""The catalogue of model cards, models/README.md: ``python -m ecosystem.catalogue`` writes it, a test keeps it true."""

from __future__ import annotations

from ecosystem import grammar
from ecosystem.models import (
    ClosedForm,
    Gaussian,
    Kde,
    Mixture,
    ModelFamily,
    NormalizingFlow,
    Pretrained,
    Vae,
    cards,
    diffusion,
    ode,
)
from ecosystem.models.cards import Card, CardBaseline
from ecosystem.models.edm import EdmSampler
from ecosystem.models.unets import UNetSettings
from ecosystem.models.vae import ConvolutionalSettings

HEAD = """# Model cards

A card is a model's settings: family, network, training budget, sampler and papers. A scenario names one as
`model: NAME`, or writes one in place as `card: {family: ...}`. This page is written by `python -m ecosystem.catalogue`.

"""

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
        "| card | family | network | budget, images seen (then per retraining) | sampler | papers |",
        "|" + "---|" * 6,
    ]
    rows += [_row(card) for card in found]
    about = [f"- **{card.name}**: {card.about}" for card in found]
    return HEAD + "\n".join(rows) + "\n\n" + "\n".join(about) + "\n" + BASELINES + "\n".join(_baselines(found)) + "\n"


def _row(card: Card) -> str:
    papers = " ".join(
        f"[{p.removeprefix('arXiv:')}](https://arxiv.org/abs/{p.removeprefix('arXiv:')})" for p in card.papers
    )
    return f"| {card.name} | {card.model.family} | {' | '.join(_model(card.model))} | {papers} |"


def _model(model: ModelFamily) -> tuple[str, str, str]:
    """Network, budget and sampler in words."""
    if isinstance(model, ClosedForm):
        return f"none ({_settings(model)})", "EM" if isinstance(model, Mixture) else "closed form", "exact"
    if isinstance(model, Pretrained):
        shape = f"what is in {model.path}"
        return shape, f"none ({model.train.finetune_images:,})", _sampler(model.sampler)
    net = model.net
    budget = f"{model.train.budget_images:,} ({model.train.finetune_images:,})"
    if isinstance(model, NormalizingFlow):
        flow = model.net
        return f"{flow.kind} {flow.transforms} times {flow.width} x {flow.depth}", budget, "exact"
    if isinstance(net, UNetSettings | ConvolutionalSettings):
        shape = " ".join(map(str, net.channels))
    else:
        shape = f"{net.width} x {net.depth}"
    if isinstance(model, Vae):
        return f"{net.kind} {shape}, latent {model.latent}", budget, "the decoder"
    return f"{net.kind} {shape}", budget, _sampler(model.sampler)


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
    return rows


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
