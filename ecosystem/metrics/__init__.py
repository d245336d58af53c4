"""Metrics: two samples in, or what is known of the model, a number out.

``DEFAULT`` are measured where nothing is named, as far as they suit the source; ``ON_REQUEST`` and the shares of the
classes cost more or need features that mean something, and are measured where a scenario names them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ecosystem.errors import ScenarioError
from ecosystem.humans import Humans
from ecosystem.metrics.atoms import Heterozygosity, MeanExpReward, Outcomes
from ecosystem.metrics.base import Metric, Sample, jackknife
from ecosystem.metrics.classes import CLASS_SHARE, Agreement, ClassEntropy, ClassShare, ClassTV
from ecosystem.metrics.copies import Copies
from ecosystem.metrics.exact import NLL, BitsPerDimension, GaussianW2, LogStd, MeanError, ModelVariance
from ecosystem.metrics.frechet import Fid, Frechet
from ecosystem.metrics.kernel import KID
from ecosystem.metrics.likelihood import FLD, FLDGap
from ecosystem.metrics.modes import BetweenModes, KeptModes
from ecosystem.metrics.moments import MeanReward, RewardVariance, Variance
from ecosystem.metrics.neighbours import Precision, Recall, TailRecall
from ecosystem.metrics.sliced import SlicedWasserstein
from ecosystem.metrics.support import Coverage, Density
from ecosystem.metrics.two_sample import C2ST, C2STNeighbours
from ecosystem.metrics.vendi import Vendi

DEFAULT = (
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
ON_REQUEST = (
    "fid",
    "kid",
    "density",
    "coverage",
    "vendi",
    "fld",
    "fld-gap",
    "copies",
    "c2st",
    "c2st-knn",
    "bits-per-dimension",
)
NAMES = (*DEFAULT, *ON_REQUEST)  # and class-share-K, as many as there are classes


def build(names: Sequence[str] | None, humans: Humans) -> list[Metric]:
    """The metrics of these names, or (None) all of ``DEFAULT`` that can be measured on the source."""
    if names is None:
        return _by_default(humans)
    fit = {metric.name: metric for metric in (*_by_default(humans), *_on_request(humans))}
    for name in names:
        if name not in fit:
            raise ScenarioError(
                f"metrics: '{name}' cannot be measured on '{humans.name}'.\nRemedy: one of {', '.join(told(humans))}."
            )
    return [fit[name] for name in names]


def measurable(humans: Humans) -> list[str]:
    """The names of all that can be measured on the source."""
    return [metric.name for metric in (*_by_default(humans), *_on_request(humans))]


def told(humans: Humans) -> list[str]:
    """The same for a reader: the shares of the classes as one."""
    names = [name for name in measurable(humans) if not is_class_share(name)]
    return [*names, class_shares(humans)] if humans.known_classes > 1 else names


def class_shares(humans: Humans) -> str:
    """Which there are, for a reader."""
    last = humans.known_classes - 1
    return f"{CLASS_SHARE}0 to {CLASS_SHARE}{last}" if last > 0 else "none, for want of classes that are known"


def is_class_share(name: str) -> bool:
    """Whether it names the share of a class, be there such a class or not."""
    return name.startswith(CLASS_SHARE)


def _by_default(humans: Humans) -> list[Metric]:
    """In the order of ``DEFAULT``."""
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


def _on_request(humans: Humans) -> list[Metric]:
    """In the order of ``ON_REQUEST``, and the shares of the classes."""
    discrete = humans.distribution is not None and humans.distribution.atoms is not None
    classes = humans.known_classes if humans.known_classes > 1 else 0
    return [
        *([Fid()] if len(humans.shape) == 3 else []),  # which the checks let through on Inception's features alone
        KID(),
        *([] if discrete else [Density(), Coverage()]),
        Vendi(),
        *([] if discrete else [FLD(), FLDGap(), Copies()]),
        C2ST(),
        *([] if discrete else [C2STNeighbours()]),
        *([BitsPerDimension()] if len(humans.shape) == 3 else []),
        *(ClassShare(number) for number in range(classes)),
    ]


__all__ = [
    "DEFAULT",
    "NAMES",
    "ON_REQUEST",
    "Metric",
    "Sample",
    "build",
    "class_shares",
    "is_class_share",
    "jackknife",
    "measurable",
    "told",
]
