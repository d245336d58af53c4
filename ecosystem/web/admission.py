"""Admission: what a site does with a page before it publishes it.

    admit-all           nothing
    refuse-flagged      runs a detector that finds synthetic pages with rate tpr and takes human pages for synthetic
                        with rate fpr, and refuses what it flags: of a share p of synthetic pages there remains
                        p (1 - tpr) / (p (1 - tpr) + (1 - p) (1 - fpr))
    label               the same detector, but what it flags is published, marked FLAGGED
    require-watermark   refuses synthetic pages in which it finds no watermark, which it finds with probability ``rate``
                        where there is one. Who publishes a page as human (CLAIMED), truly or not, passes

Only a ``share`` of the sites is strict; the others admit all. Sites join in one fixed random order, and every page has
one uniform number, which its site holds against a rate: raising a share or a rate touches no page that was
refused or flagged before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ecosystem.rng import stream
from ecosystem.settings import KIND, Settings, Share
from ecosystem.web.marks import CLAIMED, FLAGGED, WATERMARKED, Marks

Bools = NDArray[np.bool_]
Numbers = NDArray[Any]  # of sites; below 0: a private page, which no site judges


def strict_sites(share: float, sites: int, seed: int) -> Bools:
    """Which of the sites (sites,) follow a policy that this share of them has."""
    strict = np.zeros(sites, dtype=bool)
    strict[stream(seed, "web", "admission").permutation(sites)[: round(share * sites)]] = True
    return strict


def _judged(site: Numbers, strict: Bools) -> Bools:
    """Which pages (N,) are on a strict site."""
    return strict[site] & (site >= 0)


@dataclass(frozen=True)
class AdmitAll(Settings):
    """Every page is published as it is."""

    kind: Literal["admit-all"] = "admit-all"

    def strict(self, sites: int, seed: int) -> Bools:
        return np.zeros(sites, dtype=bool)

    def admit(
        self, synthetic: Bools, marks: Marks, site: Numbers, strict: Bools, rng: np.random.Generator
    ) -> tuple[Bools, Marks]:
        return np.ones(len(site), dtype=bool), marks


@dataclass(frozen=True)
class Detecting(Settings):
    """The detector of strict sites: what it flags, the kinds of policies refuse or label."""

    tpr: Share
    fpr: Share
    share: Share = 1.0

    def strict(self, sites: int, seed: int) -> Bools:
        return strict_sites(self.share, sites, seed)

    def flagged(self, synthetic: Bools, site: Numbers, strict: Bools, rng: np.random.Generator) -> Bools:
        """Which pages (N,) are found on a strict site."""
        found = rng.random(len(site)) < np.where(synthetic, self.tpr, self.fpr)
        return found & _judged(site, strict)


@dataclass(frozen=True)
class RefuseFlagged(Detecting):
    kind: Literal["refuse-flagged"] = "refuse-flagged"

    def admit(
        self, synthetic: Bools, marks: Marks, site: Numbers, strict: Bools, rng: np.random.Generator
    ) -> tuple[Bools, Marks]:
        """Which pages (N,) are published, and their marks."""
        return ~self.flagged(synthetic, site, strict, rng), marks


@dataclass(frozen=True)
class Label(Detecting):
    kind: Literal["label"] = "label"

    def admit(
        self, synthetic: Bools, marks: Marks, site: Numbers, strict: Bools, rng: np.random.Generator
    ) -> tuple[Bools, Marks]:
        """All pages (N,), and their marks."""
        flagged = self.flagged(synthetic, site, strict, rng)
        return np.ones(len(site), dtype=bool), np.where(flagged, marks | FLAGGED, marks)


@dataclass(frozen=True)
class RequireWatermark(Settings):
    rate: Share
    share: Share = 1.0
    kind: Literal["require-watermark"] = "require-watermark"

    def strict(self, sites: int, seed: int) -> Bools:
        return strict_sites(self.share, sites, seed)

    def admit(
        self, synthetic: Bools, marks: Marks, site: Numbers, strict: Bools, rng: np.random.Generator
    ) -> tuple[Bools, Marks]:
        """Which pages (N,) are published, and their marks."""
        found = (marks & WATERMARKED > 0) & (rng.random(len(site)) < self.rate)
        refused = synthetic & (marks & CLAIMED == 0) & ~found
        return ~(refused & _judged(site, strict)), marks


Admission = Annotated[AdmitAll | RefuseFlagged | Label | RequireWatermark, KIND]
