"""Metrics: two samples in, a number out. ``build`` gives those that suit a human source."""

from __future__ import annotations

from collections.abc import Sequence

from ecosystem.errors import ScenarioError
from ecosystem.humans import Humans
from ecosystem.metrics.base import Metric, Sample, jackknife
from ecosystem.metrics.classes import Agreement, ClassEntropy, ClassTV
from ecosystem.metrics.frechet import Frechet
from ecosystem.metrics.modes import KeptModes
from ecosystem.metrics.moments import MeanReward, RewardVariance, Variance
from ecosystem.metrics.neighbours import Precision, Recall
from ecosystem.metrics.sliced import SlicedWasserstein

NAMES = (
    "frechet",
    "sliced-wasserstein",
    "precision",
    "recall",
    "modes",
    "class-entropy",
    "class-tv",
    "agreement",
    "variance",
    "reward",
    "reward-variance",
)


def build(names: Sequence[str] | None, humans: Humans) -> list[Metric]:
    """The metrics of these names, or (None) all that can be measured on the source."""
    fit = {metric.name: metric for metric in _suitable(humans)}
    for name in names or ():
        if name not in fit:
            raise ScenarioError(
                f"metrics: '{name}' cannot be measured on '{humans.name}'.\nRemedy: one of {', '.join(fit)}."
            )
    return list(fit.values()) if names is None else [fit[name] for name in names]


def _suitable(humans: Humans) -> list[Metric]:
    """In the order of ``NAMES``."""
    return [
        Frechet(),
        SlicedWasserstein(),
        Precision(),
        Recall(),
        *([KeptModes(*humans.modes)] if humans.modes else []),
        *([ClassEntropy(), ClassTV()] if humans.known_classes > 1 else []),
        *([Agreement()] if humans.known_classes > 1 and humans.classes > 1 else []),
        Variance(),
        MeanReward(),
        RewardVariance(),
    ]


__all__ = ["NAMES", "Metric", "Sample", "build", "jackknife"]
