"""A detector of synthetic pages that has to be trained, so that its rates are an outcome and not a setting.

Each round somebody tells of ``labelled`` pages, drawn at random from those found, whether they are human. Half of
either kind serves to *fit* a logistic regression on standardised features: [x, x^2] of vectors, hence it sees means and
variances but no correlations; of images the pixels and, where there is a classifier, its features. On these pages it
looks better than it is, so that they serve for nothing else. Of the other half every second human page *calibrates* the
threshold, and all the others *measure* the rates that the detector really has; the area under the ROC curve, AUC =
P(a synthetic page scores higher than a human one), needs no threshold and is that of the whole other half.

The scores of n calibrating pages and of one more human page are exchangeable: it is above the k-th highest of theirs
with probability k / (n + 1). So the threshold is at k = (n + 1) fpr, between neighbours in proportion, and is right
on average over what was labelled, however many features a page has (V. Vovk, A. Gammerman, G. Shafer, Algorithmic
Learning in a Random World, 2005: conformal prediction with a calibration set). Where (n + 1) fpr < 1 these are too few
to tell of so low a rate, and nothing is found: at 0.05 the labelled pages must have 74 human ones.

When fewer than LEAST of the labelled pages are human, or synthetic, there is no detector: it keeps everything and tells
nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import annotated_types as at
import numpy as np

from ecosystem.rng import Streams
from ecosystem.settings import Settings, Share
from ecosystem.web.corpus import Array, Ids
from ecosystem.web.found import Floats, Found, Kept
from ecosystem.web.rewards import Judge

LEAST = 10  # labelled pages of either kind
FAR = 1e60  # vectors may be so far out that no square of a square exists; beyond this they look alike

Labelled = Annotated[int, at.Ge(2 * LEAST), at.Le(10**6)]


@runtime_checkable
class WithFeatures(Protocol):
    def features(self, x: Array) -> Floats:
        """Images (N, C, H, W) uint8 -> (N, features)."""
        ...


@dataclass(frozen=True, eq=False)
class Trained:
    """A fitted detector, which finds what scores above its threshold, and what it is worth."""

    model: Any  # scikit-learn's pipeline
    judge: Judge | None
    threshold: float  # log odds
    tpr: float
    fpr: float
    auc: float

    def log_odds(self, x: Array) -> Floats:
        """log p / (1 - p) of p = P(synthetic), (N,)."""
        odds: Floats = self.model.decision_function(represented(x, self.judge))
        return odds


@dataclass(frozen=True)
class TrainedDetector(Settings):
    labelled: Labelled = 500
    fpr: Share = 0.05
    kind: Literal["trained-detector"] = "trained-detector"

    def keep(self, found: Found, judge: Judge | None, streams: Streams) -> Kept:
        trained = fit(found, judge, streams.numpy("labelled"), self.labelled, self.fpr)
        if trained is None:
            return Kept(np.ones(len(found), dtype=bool), {})
        told = {"tpr": trained.tpr, "fpr": trained.fpr, "auc": trained.auc}
        return Kept(found.measure(trained.log_odds) <= trained.threshold, told)

    def score(self, found: Found, judge: Judge | None, streams: Streams) -> Floats | None:
        """P(synthetic), (N,), by the detector that ``keep`` would fit; None if it could fit none."""
        from scipy.special import expit

        trained = fit(found, judge, streams.numpy("labelled"), self.labelled, self.fpr)
        scores: Floats | None = expit(found.measure(trained.log_odds)) if trained else None
        return scores


def fit(found: Found, judge: Judge | None, rng: np.random.Generator, labelled: int, fpr: float) -> Trained | None:
    """None when either kind is too rare."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    drawn = rng.choice(len(found), min(labelled, len(found)), replace=False)
    kinds = [drawn[~found.synthetic[drawn]], drawn[found.synthetic[drawn]]]
    if min(map(len, kinds)) < LEAST:
        return None
    (human, synthetic), (other_human, other_synthetic) = ([kind[half::2] for kind in kinds] for half in (0, 1))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))

    def log_odds(pages: Ids) -> Floats:
        scores: Floats = model.decision_function(represented(found.items(pages), judge))
        return scores

    pages = np.concatenate([human, synthetic])
    model.fit(represented(found.items(pages), judge), found.synthetic[pages])
    pages = np.concatenate([other_human, other_synthetic])
    scores, truth = log_odds(pages), found.synthetic[pages]
    limit = threshold(scores[~truth][::2], fpr)
    tpr, fpr = (float((part > limit).mean()) for part in (scores[truth], scores[~truth][1::2]))
    return Trained(model, judge, limit, tpr, fpr, float(roc_auc_score(truth, scores)))


def represented(x: Array, judge: Judge | None) -> Floats:
    """What the detector sees of items (N, ...): (N, features)."""
    flat = x.reshape(len(x), -1).astype(np.float64)
    if x.ndim == 2:
        flat = flat.clip(-FAR, FAR)
        return np.hstack([flat, flat**2])
    return np.hstack([flat, judge.features(x)]) if isinstance(judge, WithFeatures) else flat


def threshold(human: Floats, fpr: float) -> float:
    """What a human page beside those of scores (n,) exceeds with probability ``fpr``, or less if they are too few."""
    ranks = np.arange(1, len(human) + 1)
    rank = round((len(human) + 1) * fpr, 9)  # 0.29 * 100 is just below 29
    if rank < 1 or rank > len(human):
        return math.inf if rank < 1 else -math.inf if fpr == 1 else float(human.min())
    return float(np.interp(rank, ranks, np.sort(human)[::-1]))
