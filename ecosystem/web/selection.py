"""What a scraper favours among the pages that its filter left: stages between the filter and the data set.

- ``quality``: pages of a reward ``above`` a threshold, or the share ``keep`` of highest reward, as LAION-Aesthetics is
  made of LAION.
- ``near_duplicates``: of pages within ``radius`` of one another, the earliest stays.
- ``balance``: no class has more than ``ratio`` times the pages of the rarest class there is.
- ``resample``: pages that look human are taken more often. Of ``max_repeats`` copies of each of N pages,
  ``upsampling`` N are drawn without replacement with weights (1 - p)^power, p = P(synthetic) by a detector trained on
  ``labelled`` pages (web/trained.py): G. Drayson, E. Yilmaz, V. Lampos, EMNLP 2025, whose values are the defaults.

A stage that is absent changes nothing; each takes pages by ``take`` and tells what it measured.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Annotated

import annotated_types as at
import numpy as np

from ecosystem.rng import Streams
from ecosystem.settings import NonNegative, Positive, PositiveFloat, Settings, Share
from ecosystem.web.corpus import Array, Ids
from ecosystem.web.found import Floats, Found, Mask, Taken
from ecosystem.web.rewards import Judge, Reward, needs_classifier
from ecosystem.web.trained import FAR, Labelled, fit

LOW = 16  # dimensions, up to which near duplicates are looked for in a tree
ROWS = 1024  # pages in a block of products
ROUNDING = 1 + 1e-9  # pages at the radius are within it, whatever the last digit says
PIXEL = 127.5  # levels of 0 .. 255 in a unit of [-1, 1]


@dataclass(frozen=True)
class Quality(Settings):
    """Exactly one of ``above`` and ``keep``; of pages of equal reward chance says which are among the best."""

    reward: Reward
    above: float | None = None
    keep: Share | None = None

    def faults(self) -> list[str]:
        """What is wrong with the settings, in words."""
        given = [name for name in ("above", "keep") if getattr(self, name) is not None]
        return [] if len(given) == 1 else ["quality needs exactly one of `above` and `keep`"]

    def take(self, found: Found, judge: Judge | None, streams: Streams) -> Taken:
        """Tells the mean reward before and after."""
        rewards = found.measure(lambda x: self.reward.score(x, judge))
        if self.above is not None:
            positions = np.flatnonzero(rewards > self.above)
        else:
            positions = best(rewards, self.keep or 0.0, streams.numpy("quality"))
        told = {"reward_before": rewards, "reward_after": rewards[positions]}
        return Taken(positions, {name: float(values.mean()) for name, values in told.items() if len(values)})


def best(rewards: Floats, share: float, rng: np.random.Generator) -> Ids:
    """The positions of a share of the pages, rounded up."""
    count = math.ceil(share * len(rewards) - 1e-9)  # 0.07 * 100 is just above 7
    return np.sort(np.lexsort((rng.random(len(rewards)), -rewards))[:count])


@dataclass(frozen=True)
class Balance(Settings):
    ratio: Annotated[float, at.Ge(1.0)] = 1.0

    def take(self, found: Found, judge: Judge | None, streams: Streams) -> Taken:
        """Tells how many pages the rarest class has."""
        if len(found) == 0:
            return Taken(np.empty(0, dtype=np.int64), {})
        rarest = int(np.unique(found.label, return_counts=True)[1].min())
        order = np.lexsort((streams.numpy("balance").random(len(found)), found.label))
        most = math.floor(self.ratio * rarest + 1e-9)
        return Taken(np.sort(order[place_in_group(found.label[order]) < most]), {"rarest": float(rarest)})


def place_in_group(label: Array) -> Ids:
    """Of sorted labels (N,), N > 0: 0, 1, 2 .. within each run of equal ones."""
    starts = np.flatnonzero(np.concatenate([[True], label[1:] != label[:-1]]))
    return np.arange(len(label)) - np.repeat(starts, np.diff(np.append(starts, len(label))))


@dataclass(frozen=True)
class Resample(Settings):
    """When either kind is too rare for a detector, all pages are taken once."""

    labelled: Labelled = 500
    power: NonNegative = 10.0
    upsampling: PositiveFloat = 1.5
    max_repeats: Positive = 3

    def take(self, found: Found, judge: Judge | None, streams: Streams) -> Taken:
        """Tells the detector's AUC on pages that it was not fitted on, and the share of the pages that is taken."""
        trained = fit(found, judge, streams.numpy("resample labelled"), self.labelled, fpr=0.05)
        if trained is None:
            return Taken(np.arange(len(found)), {})
        log_weights = -self.power * np.logaddexp(0.0, found.measure(trained.log_odds))  # log (1 - p)^power
        count = round(self.upsampling * len(found))
        positions = drawn(log_weights, self.max_repeats, count, streams.numpy("resample"))
        return Taken(positions, {"auc": trained.auc, "taken": len(np.unique(positions)) / len(found)})


def drawn(log_weights: Floats, copies: int, count: int, rng: np.random.Generator) -> Ids:
    """So many of the copies of all pages, without replacement, one after the other by weight: sorted positions.

    The largest of log w + Gumbel noise are such a draw (P. Efraimidis, P. Spirakis, Weighted random sampling with a
    reservoir, 2006). If there are not as many copies, all of them.
    """
    keys = log_weights[:, None] + rng.gumbel(size=(len(log_weights), copies))
    count = min(count, keys.size)
    if count == 0:
        return np.empty(0, dtype=np.int64)
    return np.sort(np.argpartition(-keys.ravel(), count - 1)[:count] // copies)


@dataclass(frozen=True)
class NearDuplicates(Settings):
    """Pages are met in order of publication, and one is left out if it is near a page that was kept.

    Near is a root mean square of the differences, sqrt(sum_j (x_j - y_j)^2 / d), of at most ``radius``, images scaled
    to [-1, 1]; 0 removes exact duplicates alone. These go first, by a digest of 128 bits, which keeps what follows
    fast on a web that has collapsed to a few points. Then, for N pages in d dimensions, K of them kept:

    - up to LOW dimensions a k-d tree: about N log N, and a query for every page that is kept and has a neighbour;
    - beyond, products of blocks of pages: d N K multiplications, in memory for a few blocks alone.

    Published pixels are whole numbers, so of images every distance is exact. Squared distances of vectors in more than
    LOW dimensions are good to 1e-15 of their squared lengths, as measured from the median page.
    """

    radius: NonNegative

    def take(self, found: Found, judge: Judge | None, streams: Streams) -> Taken:
        """Tells the share of pages that were removed."""
        positions = first_exact(found)
        if self.radius > 0 and len(positions) > 1:
            positions = positions[_first_near(found.at(positions), self.radius)]
        return Taken(positions, {"removed": 1 - len(positions) / len(found)} if len(found) else {})


def first_exact(found: Found) -> Ids:
    """The first of every set of equal pages."""
    first: dict[bytes, int] = {}
    for positions, x in found.blocks():
        for position, item in zip(positions.tolist(), x + 0, strict=True):  # -0.0 + 0 is 0.0
            first.setdefault(hashlib.blake2b(item.tobytes(), digest_size=16).digest(), position)
    return np.fromiter(first.values(), dtype=np.int64, count=len(first))


def _first_near(found: Found, radius: float) -> Ids:
    example = found.items(np.arange(1))
    scale = PIXEL if example.dtype == np.uint8 else 1.0
    search = by_tree if example.size <= LOW else by_products
    return search(found, radius * scale * math.sqrt(example.size) * ROUNDING)


def by_tree(found: Found, reach: float) -> Ids:
    """Those left when near is a Euclidean distance of items as they are of at most ``reach``."""
    x = np.concatenate([_flat(block) for _, block in found.blocks()])
    far = (np.abs(x) > FAR).any(axis=1)  # there, numbers next to each other are farther apart than any radius
    here = np.flatnonzero(~far)
    return np.sort(np.concatenate([np.flatnonzero(far), here[_in_tree(x[here], reach)]]))


def _in_tree(x: Floats, reach: float) -> Ids:
    from scipy.spatial import cKDTree

    tree = cKDTree(x)
    nearest = tree.query(x, k=2, distance_upper_bound=2 * reach)[0][:, 1]  # of the others; infinite beyond the bound
    kept: Mask = np.ones(len(x), dtype=bool)
    for page in np.flatnonzero(nearest <= reach):
        if kept[page]:  # then every earlier page nearby is out already
            kept[tree.query_ball_point(x[page], reach)] = False
            kept[page] = True
    return np.flatnonzero(kept)


def by_products(found: Found, reach: float) -> Ids:
    """The same by ||x - y||^2 = ||x||^2 + ||y||^2 - 2 x.y, a block of pages against the blocks kept before it."""
    origin = np.median(_flat(found.items(np.arange(min(len(found), ROWS)))), axis=0)
    kept: Ids = np.empty(0, dtype=np.int64)
    for start in range(0, len(found), ROWS):
        block = np.arange(start, min(start + ROWS, len(found)))
        x = _flat(found.items(block)) - origin
        for first in range(0, len(kept), ROWS):
            far = ~_near(x, _flat(found.items(kept[first : first + ROWS])) - origin, reach).any(axis=1)
            block, x = block[far], x[far]
        kept = np.append(kept, block[_stay(_near(x, x, reach))])
    return kept


def _flat(x: Array) -> Floats:
    return x.reshape(len(x), -1).astype(np.float64)


def _near(x: Floats, y: Floats, reach: float) -> Mask:
    """Which of x (n, d) and y (m, d) are at most ``reach`` apart: (n, m). Those whose squares overflow are not."""
    with np.errstate(over="ignore", invalid="ignore"):
        squared = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1) - 2 * (x @ y.T)
        near: Mask = squared <= reach * reach
    return near


def _stay(near: Mask) -> Mask:
    """Which of n pages stay, when each that stays drives out those near it (n, n) that come later."""
    stay: Mask = np.ones(len(near), dtype=bool)
    for page in range(len(near)):
        if stay[page]:
            stay[page + 1 :] &= ~near[page, page + 1 :]
    return stay


Stage = Quality | NearDuplicates | Balance | Resample


def needs_judge(stage: Stage | None) -> bool:
    """Whether it looks at images with the eyes of a classifier: a reward may, a trained detector does if it can."""
    return isinstance(stage, Resample) or (isinstance(stage, Quality) and needs_classifier(stage.reward))
