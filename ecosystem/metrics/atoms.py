"""Exact metrics of a discrete model, with mass p_a on atom a.

- ``heterozygosity``: 1 - sum p_a^2, the chance that two draws differ (C. W. Gini, 1912; E. H. Simpson, Measurement
  of Diversity, 1949). Fitting the frequencies of n of its own samples is the Wright-Fisher model of genetic drift
  (S. Wright, Evolution in Mendelian Populations, 1931): its expectation shrinks by (1 - 1/n) a generation.
- ``outcomes``: how many atoms have any mass; one that is lost does not come back.
- ``mean-exp-reward``: sum p_a exp(r_a), what curation by users raises (D. Ferbach, Q. Bertrand, A. J. Bose, G.
  Gidel, Self-Consuming Generative Models with Curated Data Provably Optimize Human Preferences, 2024, arXiv
  2407.09499).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecosystem.metrics.base import Metric, Sample


class Heterozygosity(Metric):
    name = "heterozygosity"
    unit = "probability"
    better = "higher"
    exact = True
    needs = ("mass",)

    def measure(self, generated: Sample, human: Sample) -> float:
        return float(1.0 - np.square(_mass(generated)).sum())


class Outcomes(Metric):
    name = "outcomes"
    unit = "atoms"
    better = "higher"
    exact = True
    needs = ("mass",)

    def measure(self, generated: Sample, human: Sample) -> float:
        return float(np.count_nonzero(_mass(generated)))


class MeanExpReward(Metric):
    name = "mean-exp-reward"
    unit = "exp(reward)"
    better = "higher"
    exact = True
    needs = ("mass", "atom_reward")

    def measure(self, generated: Sample, human: Sample) -> float:
        assert generated.atom_reward is not None, "applies() lets no model through without rewards"
        return float(_mass(generated) @ np.exp(generated.atom_reward))


def _mass(sample: Sample) -> NDArray[np.float64]:
    assert sample.mass is not None, "applies() lets no model through without atoms"
    return sample.mass
