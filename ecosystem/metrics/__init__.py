"""Metrics: two samples in, or what is known of the model, a number out. ``build`` gives those that suit a source."""

from __future__ import annotations

from collections.abc import Sequence

from ecosystem.errors import ScenarioError
from ecosystem.humans import Humans
from ecosystem.metrics.atoms import Heterozygosity, MeanExpReward, Outcomes
from ecosystem.metrics.base import Metric, Sample, jackknife
from ecosystem.metrics.classes import Agreement, ClassEntropy, ClassTV
from ecosystem.metrics.exact import NLL, GaussianW2, LogStd, MeanError, ModelVariance
from ecosystem.metrics.frechet import Frechet
from ecosystem.metrics.modes import BetweenModes, KeptModes
from ecosystem.metrics.moments import MeanReward, RewardVariance, Variance
from ecosystem.metrics.neighbours import Precision, Recall, TailRecall
from ecosystem.metrics.sliced import SlicedWasserstein

NAMES = (
    "frechet",
    "sliced-wasserstein",
    "gaussian-w2",
    "nll",
    "precision",
    "recall",
    "tail-recall",
    "modes",
    "between-modes",
    "class-entropy",
    "class-tv",
    "agreement",
    "variance",
    "model-variance",
    "log-std",
    "mean-error",
    "heterozygosity",
    "outcomes",
    "reward",
    "reward-variance",
    "mean-exp-reward",
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
    known = humans.distribution
    discrete = known is not None and known.atoms is not None
    smooth = known is not None and not discrete
    return [
        Frechet(),
        SlicedWasserstein(),
        *([GaussianW2()] if smooth else []),
        *([NLL()] if len(humans.shape) == 1 else []),
        *([] if discrete else [Precision(), Recall(), TailRecall()]),  # among ties there are no neighbourhoods
        *([KeptModes(*humans.modes), BetweenModes(*humans.modes)] if humans.modes else []),
        *([ClassEntropy(), ClassTV()] if humans.known_classes > 1 else []),
        *([Agreement()] if humans.known_classes > 1 and humans.classes > 1 else []),
        Variance(),
        *([ModelVariance(), LogStd(), MeanError()] if smooth else []),
        *([Heterozygosity(), Outcomes()] if discrete else []),
        MeanReward(),
        RewardVariance(),
        *([MeanExpReward()] if discrete else []),
    ]


__all__ = ["NAMES", "Metric", "Sample", "build", "jackknife"]
