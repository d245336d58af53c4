"""Several Gaussian providers that train on each other's pages: exact second moments by time (M providers, finite n).

Provider i fits n_i points (``mle``), of which it takes W_ij n_i from provider j's last model and w_i0 n_i fresh
from people. Rows of (w0, W) sum to one, counts are whole and fixed, all draws independent. Derived here: with raw
second moments q and C = E[m m^T], s = q - diag C,  q' = W q + w0 s0,  C' = W C W^T + diag((W s + w0 s0) / n).

q - diag C cancels once s collapses. Iterated here are therefore s and the half distances d_ij = E(m_i - m_j)^2 / 2,
with people as provider 0, whose model never changes (s_0 = s0, n_0 = inf, W_00 = 1, W_i0 = w_i0). With Q = W d W^T
and u = W s / n:

    s_i'  = (1 - 1/n_i) (W s)_i + Q_ii
    d_ij' = Q_ij - (Q_ii + Q_jj) / 2 + (u_i + u_j) / 2    for i != j, and 0 where i and j fit the very same points.

One provider with fresh pages is the loop of S. Alemohammad et al., Self-Consuming Generative Models Go MAD, 2023, arXiv
2307.01850. For archives, windows, retention and unequal rounds see ``flow``, which gives the same numbers.

**Time.** t = 0: every model is the human distribution; a provider's generation g is t = g + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecosystem.theory.assumptions import ROUNDING, Floats, number, require, vector, whole

WHOLE = 1e-6  # how far a count of pages may lie from a whole number, by rounding
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Providers:
    """By time t = 0..rounds, per coordinate, around the human mean."""

    variance: Floats  # E s_i (rounds + 1, M)
    product: Floats  # E[m_i m_j] (rounds + 1, M, M)

    @property
    def mean_square(self) -> Floats:
        """E m_i^2 (rounds + 1, M)."""
        return np.diagonal(self.product, axis1=1, axis2=2)


def providers(
    W: ArrayLike,
    w0: ArrayLike,
    n: ArrayLike,
    rounds: int,
    human_variance: float = 1.0,
    training_set: Sequence[int] | None = None,
) -> Providers:
    """The recursion above: W (M, M), w0 (M,), n (M,) pages; in the units of ``human_variance`` s0 > 0.

    ``training_set``: labels (M,); providers of equal label fit the very same points (one crawl for several labs), which
    assumes equal rows and n. By default no two do.
    """
    web = _Web.of(W, w0, n, training_set)
    s, d = np.full(web.size, number("human_variance", human_variance, above=0)), np.zeros_like(web.flow)
    by_time = [(s, d)]
    for _ in range(whole("rounds", rounds, 0)):
        s, d = web.step(s, d)
        by_time.append((s, d))
    return Providers(np.array([s[1:] for s, _ in by_time]), np.array([_products(d) for _, d in by_time]))


def limit(W: ArrayLike, w0: ArrayLike, n: ArrayLike, human_variance: float = 1.0) -> tuple[Floats, Floats]:
    """(E s (M,), E[m m^T] (M, M)) as t -> inf, from any start: the recursion's fixed point, a linear system.

    Assumes that human pages reach every provider, directly or through others: one that they do not reach collapses.
    """
    web = _Web.of(W, w0, n)
    reach = np.linalg.matrix_power((web.flow > 0) + np.eye(web.size), web.size)
    require(np.all(reach[:, 0] > 0), "a limit assumes that human pages (w0 > 0) reach every provider.")
    step = web.matrix()
    free = np.eye(len(step) - 1) - step[1:, 1:]  # but for s_0, which is given
    x = np.r_[1.0, np.linalg.solve(free, step[1:, 0])] * number("human_variance", human_variance, above=0)
    s, d = web.unpacked(x)
    return s[1:], _products(d)


def effective_sample_size(W: ArrayLike, n: ArrayLike) -> float:
    """n_e of a web without people: in the long run variances shrink by 1 - 1/n_e a generation, as those of one provider
    with n_e points do.

    From the largest eigenvalue of the recursion. M providers of n points that each train on all alike have n_e ~ M
    n: cross-training adds samples up, and does not stop the collapse. W (M, M), rows sum to one; assumes that W is
    primitive (in some number of rounds every provider's pages reach every provider), else there is no common rate.
    """
    W = np.atleast_2d(np.asarray(W, dtype=np.float64))
    web = _Web.of(W, np.zeros(len(W)), n)
    arrives: Mask = np.eye(len(W), dtype=bool)
    for _ in range((len(W) - 1) ** 2 + 1):  # Wielandt: a primitive W is positive after this many
        arrives = arrives @ (W > 0)
    require(arrives.all(), "a common rate assumes that every provider's pages reach every provider (W primitive).")
    peopled = web.packed(np.eye(web.size)[0], np.eye(web.size)[0] + np.eye(web.size)[:, :1])
    own = np.flatnonzero(peopled == 0)  # the entries that are of providers alone
    return float(1 / (1 - np.abs(np.linalg.eigvals(web.matrix()[np.ix_(own, own)])).max()))


@dataclass(frozen=True)
class _Web:
    """People and providers, people first."""

    flow: Floats  # (M + 1, M + 1), rows sum to one
    n: Floats  # (M + 1,), inf for people
    same: Mask  # (M + 1, M + 1): the very same training set

    @staticmethod
    def of(W: ArrayLike, w0: ArrayLike, n: ArrayLike, training_set: Sequence[int] | None = None) -> _Web:
        W = np.asarray(W, dtype=np.float64)
        require(
            W.ndim == 2 and W.shape[0] == W.shape[1] > 0, "W is assumed to be square, a row and a column a provider."
        )
        M = len(W)
        shares = np.column_stack([vector("w0", w0, M), W])
        require(np.all(shares >= 0), "shares (w0, W) are assumed to be >= 0.")
        sums = shares.sum(axis=1)
        require(np.allclose(sums, 1, rtol=0, atol=ROUNDING), f"rows of (w0, W) sum to {sums}: 1 is assumed.")
        pages = vector("n", n, M)
        require(np.all(pages >= 1), "n >= 1 pages are assumed of every provider.")
        counts = shares * pages[:, None]
        require(
            np.allclose(counts, counts.round(), rtol=0, atol=WHOLE), "shares times n are assumed to be whole counts."
        )
        flow = np.vstack([np.eye(1, M + 1), shares])
        return _Web(flow, np.r_[np.inf, pages], _same(training_set, counts))

    @property
    def size(self) -> int:
        return len(self.flow)

    def step(self, s: Floats, d: Floats) -> tuple[Floats, Floats]:
        drawn = self.flow @ s
        Q = self.flow @ d @ self.flow.T
        half = (drawn / self.n - Q.diagonal()) / 2
        apart = np.where(self.same, 0.0, Q + half[:, None] + half)
        return (1 - 1 / self.n) * drawn + Q.diagonal(), apart

    def packed(self, s: Floats, d: Floats) -> Floats:
        return np.concatenate([s, d[np.triu_indices(self.size, 1)]])

    def unpacked(self, x: Floats) -> tuple[Floats, Floats]:
        d = np.zeros((self.size, self.size))
        d[np.triu_indices(self.size, 1)] = x[self.size :]
        return x[: self.size], d + d.T

    def matrix(self) -> Floats:
        """The step, which is linear, as a matrix on packed vectors."""
        units = np.eye(self.size * (self.size + 1) // 2)
        return np.column_stack([self.packed(*self.step(*self.unpacked(unit))) for unit in units])


def _same(training_set: Sequence[int] | None, counts: Floats) -> Mask:
    M = len(counts)
    labels = np.arange(M) if training_set is None else np.asarray(training_set)
    require(labels.shape == (M,), f"training_set is assumed to hold {M} labels, one a provider.")
    same: Mask = labels[:, None] == labels
    equal = np.all(np.isclose(counts[:, None], counts), axis=-1)
    require(np.all(equal | ~same), "providers with the same training set are assumed to have equal rows and n.")
    everyone = np.eye(M + 1, dtype=bool)
    everyone[1:, 1:] = same
    return everyone


def _products(d: Floats) -> Floats:
    """E[m_i m_j] (M, M) from half distances, people first."""
    products: Floats = d[1:, :1] + d[:1, 1:] - d[1:, 1:]
    return products
