"""What a scraper refuses to take.

- ``detector`` finds synthetic pages with a true-positive rate ``tpr`` and takes human pages for synthetic with a
  false-positive rate ``fpr``; what it finds is left out. A share p of synthetic pages becomes
  p (1 - tpr) / (p (1 - tpr) + (1 - p) (1 - fpr)).
- ``watermark`` finds a share ``rate`` of the pages that carry a model's mark, and never takes a human page for one: if
  a share m of the synthetic pages is marked, it is a detector of tpr = m rate and fpr = 0.
- ``labels`` leaves out what sites show as synthetic. It is as good as they are.
- ``verifier`` looks at whether a page is *good*, whoever made it, and keeps it with probability
  ``phi`` = P(keep | good) or ``psi`` = P(keep | bad). A share p of bad pages leaves more good than bad ones up to
  p* = 1 / (1 + psi / phi): Y. Feng et al., Beyond Model Collapse: Scaling Up with Synthesized Data Requires
  Verification, 2024, arXiv 2406.07515. Good is a page whose label is the class that a classifier trained on human data
  gives its image: good up to the classifier's own mistakes, and of vectors nobody can tell.
- ``trained-detector`` is fitted anew each round (web/trained.py).

All but the last draw one uniform number a page, or none: a page more changes nobody else's fate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from ecosystem.rng import Streams
from ecosystem.settings import KIND, Settings, Share
from ecosystem.web.found import Found, Kept, Mask
from ecosystem.web.marks import FLAGGED, WATERMARKED
from ecosystem.web.rewards import Judge
from ecosystem.web.trained import TrainedDetector


@dataclass(frozen=True)
class Everything(Settings):
    """No filter."""

    kind: Literal["none"] = "none"

    def keep(self, found: Found, judge: Judge | None, streams: Streams) -> Kept:
        return Kept(np.ones(len(found), dtype=bool), {})


@dataclass(frozen=True)
class Detector(Settings):
    tpr: Share
    fpr: Share
    kind: Literal["detector"] = "detector"

    def keep(self, found: Found, judge: Judge | None, streams: Streams) -> Kept:
        rates = np.where(found.synthetic, self.tpr, self.fpr)
        return Kept(streams.numpy("filter").random(len(found)) >= rates, {})


@dataclass(frozen=True)
class Watermark(Settings):
    rate: Share = 1.0
    kind: Literal["watermark"] = "watermark"

    def keep(self, found: Found, judge: Judge | None, streams: Streams) -> Kept:
        marked = (found.marks & WATERMARKED) != 0
        return Kept(~marked | (streams.numpy("watermark").random(len(found)) >= self.rate), {})


@dataclass(frozen=True)
class Labels(Settings):
    kind: Literal["labels"] = "labels"

    def keep(self, found: Found, judge: Judge | None, streams: Streams) -> Kept:
        return Kept((found.marks & FLAGGED) == 0, {})


@dataclass(frozen=True)
class Verifier(Settings):
    phi: Share
    psi: Share
    kind: Literal["verifier"] = "verifier"

    def keep(self, found: Found, judge: Judge | None, streams: Streams) -> Kept:
        assert judge is not None, "the scenario's checks let no verifier through without a classifier"
        good = found.measure(lambda x: judge.probabilities(x).argmax(axis=1)) == found.label
        keep = streams.numpy("verifier").random(len(found)) < np.where(good, self.phi, self.psi)
        return Kept(keep, _share("good_share_before", good) | _share("good_share_after", good[keep]))


def _share(name: str, pages: Mask) -> dict[str, float]:
    """Of no pages there is none."""
    return {name: float(pages.mean())} if len(pages) else {}


Filter = Annotated[Everything | Detector | Watermark | Labels | Verifier | TrainedDetector, KIND]


def needs_judge(filter: Filter) -> bool:
    """Whether it looks at images with the eyes of a classifier: a verifier must, a trained detector does if it can."""
    return isinstance(filter, Verifier | TrainedDetector)
