"""Copies: the share of generated items that are one archive item rather than something between several.

A generated x is a copy if its nearest archive item is three times as near as the next:

    |x - a_1| < |x - a_2| / 3

(T. Yoon, J. Y. Choi, S. Kwon, E. K. Ryu, Diffusion Probabilistic Models Generalize when They Fail to Memorize, ICML
workshop on Structured Probabilistic Inference and Generative Modeling, 2023; that diffusion models do copy, and that
the distance is to be judged by that to other training items: N. Carlini et al., Extracting Training Data from Diffusion
Models, 2023, arXiv 2301.13188).

What to beware of:

- An item twice in the archive has itself for a neighbour, and its copies would pass for originals. Items that are the
  same to the last bit are counted once; near duplicates are not found, and hide copies.
- Fresh items pass for copies in few dimensions: where the archive is dense, in D dimensions, a share 3^-D of them does,
  a ninth in the plane, 2e-5 in ten. It is a metric of images and of features.
- What the model learnt from later than the archive is not looked at: a copy of a synthetic page is none here.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from ecosystem.metrics.base import Metric, Sample
from ecosystem.metrics.distances import Floats, Mask, squared_distances

NEARER = 3.0  # times, than the next archive item


class Copies(Metric):
    name = "copies"
    unit = "share of generated"
    better = "lower"
    needs_of_human = ("archive",)

    def applies(self, generated: Sample, human: Sample) -> bool:
        if human.archive is None or not super().applies(generated, human):
            return False
        return len(human.archive.against(human.archive, distinct)) > 1

    def measure(self, generated: Sample, human: Sample) -> float:
        return float(generated.against(_archive(human), copied).mean())

    def without_groups(self, generated: Sample, human: Sample, kept: Mask) -> list[float]:
        found = generated.against(_archive(human), copied)
        return [float(found[keep].mean()) for keep in kept]


def copied(generated: Sample, archive: Sample) -> Mask:
    """Which generated items are copies, (N,)."""
    blocks = squared_distances(generated.points, archive.against(archive, distinct))
    nearest = np.concatenate([np.partition(d, 1, axis=1)[:, :2].copy() for _, d in blocks]).clip(min=0)
    found: Mask = nearest[:, 0] * NEARER**2 < nearest[:, 1]
    return found


def distinct(archive: Sample, _: Sample) -> Floats:
    """The points of the archive, each once."""
    points = archive.points
    first = {blake2b(row.tobytes(), digest_size=16).digest(): i for i, row in enumerate(points)}
    return points if len(first) == len(points) else points[list(first.values())]


def _archive(human: Sample) -> Sample:
    assert human.archive is not None, "applies() lets nothing through without an archive"
    return human.archive
