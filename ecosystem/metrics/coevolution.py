"""How providers, users and the web move together: pure functions of arrays, each with its formula and unit.

| measure | unit | better | |
|---|---|---|---|
| ``concentration`` | share | lower | sum of squared vote shares |
| ``effective_providers`` | providers | higher | its inverse |
| ``distance``, ``pairwise``, ``convergence`` | raw units | neither | how unlike providers are, a coordinate |
| ``welfare`` | reward | higher | of the winners, to those who chose them |
| ``diversity``, ``vector_diversity`` | kinds | higher | how many kinds of items are as good as there |
| ``served_diversity`` | ratio | higher | of what users are served to what the web holds |
| ``matthew`` | log growth a log share | lower | > 0: the rich get richer |
| ``influence`` | reward | higher | what the selection at one provider does to another |

What they are measured for: markets of models (X. Wei, M. Shi, X. Zhang, Market Games for Generative Models: Equilibria,
Welfare, and Strategic Entry, 2026, arXiv 2602.17787: more models need not raise welfare or diversity) and models that
train on each other's curated pages (Y. Zhang, X. Wei, X. Zhang, When and How Human Curation Backfires: Preference
Alignment under Multi-Model Self-Consuming Loop, 2026, arXiv 2605.29267). What must come out: ``theory.market``,
``theory.pluralism``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist, squareform

from ecosystem.distribution import Distribution
from ecosystem.metrics.exact import bures
from ecosystem.metrics.sliced import directions, wasserstein_1d
from ecosystem.rng import stream

Floats = NDArray[np.float64]
Name = TypeVar("Name", bound=Hashable)

MOST = 512  # items whose similarities are compared: a matrix and its eigenvalues take 0.1 s
CLOSE = 0.1  # of the pairs of the web's items: so many are about of a kind


def concentration(votes: ArrayLike) -> float:
    """sum_i s_i^2 of vote shares s = votes / sum, in [1/P, 1] (A. O. Hirschman, The Paternity of an Index, 1964).

    Votes (P,), at least one; a provider without votes counts for nothing. n independent votes for shares s have the
    expectation H + (1 - H) / n: ``theory.market.expected_concentration``.
    """
    v = np.asarray(votes, dtype=np.float64)
    assert v.ndim == 1 and v.min() >= 0 and v.sum() > 0, "votes (P,), none negative, at least one"
    return float(np.square(v / v.sum()).sum())


def effective_providers(votes: ArrayLike) -> float:
    """1 / sum_i s_i^2, in [1, P]: so many providers with equal shares are as concentrated."""
    return 1.0 / concentration(votes)


def distance(a: Distribution | Floats, b: Distribution | Floats) -> float:
    """Between two providers, by what is known of them or by samples (N, D) of each for the same prompts, in raw units:

    - known: W / sqrt D, W the Wasserstein-2 distance of Gaussians with their moments (``metrics.exact``), between other
      models a lower bound of it (M. Gelbrich, 1990); of atoms on a line, W_2 itself. 0 between equal models.
    - samples: sliced Wasserstein (``metrics.sliced``). Two samples of one model also lie apart, by O(N^-1/2).

    Both are |shift| / sqrt D where b is a shifted by it, up to the fixed directions of the second.
    """
    if isinstance(a, Distribution) and isinstance(b, Distribution):
        return _known(a, b)
    assert not isinstance(a, Distribution) and not isinstance(b, Distribution), "both known, or samples of both"
    u = directions(a.shape[1])
    return float(np.sqrt(wasserstein_1d(a @ u, b @ u).mean()))


def pairwise(providers: Sequence[Distribution] | Sequence[Floats]) -> Floats:
    """``distance`` of all pairs (P, P), symmetric, 0 on the diagonal."""
    found = np.zeros((len(providers), len(providers)))
    listed: list[Distribution | Floats] = list(providers)
    for i, j in combinations(range(len(listed)), 2):
        found[i, j] = found[j, i] = distance(listed[i], listed[j])
    return found


def convergence(distances: ArrayLike) -> float:
    """The mean distance (P, P) of two different providers, P >= 2: it falls where they converge."""
    d = np.asarray(distances, dtype=np.float64)
    assert d.ndim == 2 and len(d) >= 2, "distances (P, P) of at least two providers"
    return float(d.sum() / (len(d) * (len(d) - 1)))


def welfare(reward: ArrayLike) -> float:
    """The mean reward of winners (ballots,) to the users who chose them. Expected: ``theory.market.luce_welfare``."""
    return float(np.mean(np.asarray(reward, dtype=np.float64)))


def welfare_by_group(reward: Mapping[Name, ArrayLike]) -> dict[Name, float]:
    """Of each group's winners (ballots,), those without ballots left out."""
    return {group: welfare(won) for group, won in reward.items() if np.size(won)}


def diversity(labels: ArrayLike) -> float:
    """exp(H), H = - sum_c p_c ln p_c of the labels (N,): the effective number of classes, 1 to as many as there are
    (M. O. Hill, Diversity and Evenness, 1973).
    """
    counts = np.unique(np.asarray(labels), return_counts=True)[1]
    return _effective(counts / counts.sum())


def vector_diversity(x: Floats, bandwidth: float) -> float:
    """exp(H) of the eigenvalues of K / N, K_ij = exp(-|x_i - x_j|^2 / (2 h^2)): the effective number of kinds of items
    (N, D); h = ``bandwidth`` tells kinds apart (D. Friedman, A. B. Dieng, The Vendi Score, 2022, arXiv 2210.02410).

    With K_ij = 1 for equal items and else 0, the limit h -> 0, it is ``diversity``. It grows with N: compare equal N.
    """
    if bandwidth == 0:
        return diversity(np.unique(x, axis=0, return_inverse=True)[1].ravel())
    kernel = np.exp(-squareform(pdist(x, "sqeuclidean")) / (2 * bandwidth**2))
    return _effective(np.linalg.eigvalsh(kernel / len(x)))


def served_diversity(served: NDArray[np.generic], web: NDArray[np.generic]) -> float:
    """The diversity of what users are served over that of what the web holds; 1 where alike, < 1 where users see less.

    Labels (N,), or vectors (N, D). Of vectors equally many of both are compared, at most 512, a random choice of each;
    h is the distance that a tenth of the web's pairs is closer than. The ratio of two such samples of 512 from one
    Gaussian spreads by 7 % (D = 2).
    """
    if served.ndim == 1:
        return diversity(served) / diversity(web)
    n = min(len(served), len(web), MOST)
    a, b = _some(served, n), _some(web, n)
    h = float(np.quantile(pdist(b), CLOSE)) if n > 1 else 0.0
    return vector_diversity(a, h) / vector_diversity(b, h)


def matthew(before: ArrayLike, after: ArrayLike) -> float:
    """The slope of log share growth on log share: > 0 where the rich get richer (R. K. Merton, The Matthew Effect in
    Science, 1968), 0 where all grow alike, < 0 where shares even out.

    With b = log(v + 1/2), v the votes (P,) before, and g its growth until after, over providers with votes before,

        slope = (Cov(g, b) + e) / (Var(b) - e),    e = mean_i 1 / (v_i + 1/2),

    e the variance of b by chance. Uncorrected, who was lucky before would seem to fall back (N. Blomqvist, On the
    Relation between Change and Initial Value, 1977). nan where chance is half of Var(b) or more. Whole numbers of
    independent votes; the half votes keep a provider that has lost its last one on the scale.
    """
    v, w = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    assert v.shape == w.shape and v.ndim == 1 and np.all(np.r_[v, w] == np.floor(np.r_[v, w])), (
        "whole votes (P,), twice"
    )
    v, w = v[v > 0], w[v > 0]
    if len(v) < 2 or w.sum() == 0:
        return float("nan")
    b, growth = np.log(v + 0.5), np.log(w + 0.5) - np.log(v + 0.5)
    chance = float(np.mean(1 / (v + 0.5)))
    spread = float(np.var(b, ddof=1)) - chance
    if spread <= chance:
        return float("nan")
    return (float(np.cov(growth, b)[0, 1]) + chance) / spread


def influence(
    share: Mapping[Name, float], curated: Mapping[Name, float], raw: Mapping[Name, float]
) -> dict[Name, float]:
    """What the selection at each provider j did, in this round, to the mean reward of provider i in its users' taste:

        share_j (curated_j - raw_j)

    ``share``: maker -> share of i's training set; ``curated``: mean reward, by i's users, of j's pages in that set;
    ``raw``: that of j's samples as they come, of the same generation. j = i is self-influence, else cross-influence;
    makers without either reward (people) have none.

    It is the first-order change of E[r] under i due to the selection at j. For a family that takes on the frequencies
    of its data (categorical), with many pages, it is exactly what E[r] under i would lose had j's pages been samples as
    they come: ``theory.pluralism.influence``. Not counted: what i's pages then do to others, and they to i.
    """
    return {j: share[j] * (curated[j] - raw[j]) for j in share if j in curated and j in raw}


def _known(a: Distribution, b: Distribution) -> float:
    if a.atoms is not None and b.atoms is not None and len(a.mean) == 1:
        return _on_a_line(a, b)
    return float(np.sqrt((np.square(a.mean - b.mean).sum() + bures(a.covariance, b.covariance)) / len(a.mean)))


def _on_a_line(a: Distribution, b: Distribution) -> float:
    """W_2 of two discrete distributions: between the levels where either quantile function steps, neither does."""
    (x, p), (y, q) = _sorted(a), _sorted(b)
    levels = np.unique(np.concatenate([[0.0, 1.0], p, q]).clip(0, 1))
    middle = (levels[:-1] + levels[1:]) / 2
    i, j = (np.searchsorted(c, middle).clip(max=len(c) - 1) for c in (p, q))
    return float(np.sqrt(np.diff(levels) @ np.square(x[i] - y[j])))


def _sorted(known: Distribution) -> tuple[Floats, Floats]:
    """Positions of the atoms in order (A,), and the mass up to each."""
    assert known.atoms is not None and known.mass is not None, "of discrete distributions alone"
    order = np.argsort(known.atoms[:, 0], kind="stable")
    return known.atoms[order, 0].astype(np.float64), known.mass[order].cumsum()


def _effective(p: Floats) -> float:
    p = p[p > 1e-15]
    return float(np.exp(-np.sum(p * np.log(p))))


def _some(items: NDArray[np.generic], n: int) -> Floats:
    """n of the items (N, ...), the same ones of equally many, flat (n, D)."""
    kept = stream(0, "metrics", "served items").permutation(len(items))[:n]
    return np.asarray(items[np.sort(kept)], dtype=np.float64).reshape(n, -1)
