"""What a scraper refuses to take.

``detector`` finds synthetic pages with a true-positive rate ``tpr`` and takes human pages for synthetic with a
false-positive rate ``fpr``; what it flags is left out. A share p of synthetic pages becomes
p (1 - tpr) / (p (1 - tpr) + (1 - p) (1 - fpr)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from ecosystem.settings import KIND, Settings, Share


@dataclass(frozen=True)
class Everything(Settings):
    """No filter."""

    kind: Literal["none"] = "none"

    def keep(self, synthetic: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
        return np.ones(len(synthetic), dtype=bool)


@dataclass(frozen=True)
class Detector(Settings):
    tpr: Share
    fpr: Share
    kind: Literal["detector"] = "detector"

    def keep(self, synthetic: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
        """Which of the pages (N,) are taken: one uniform draw a page."""
        return rng.random(len(synthetic)) >= np.where(synthetic, self.tpr, self.fpr)


Filter = Annotated[Everything | Detector, KIND]
