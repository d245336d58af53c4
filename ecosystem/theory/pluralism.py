"""Many tastes: of the users of one model, and of the users of several models that train on each other's pages.

**One model, G groups** that choose shares q (G,) of all items by rewards r_g, K = inf, curated data alone:

    p' = p sum_g q_g e^{r_g} / Z_g,    Z_g = E_p[e^{r_g}]

(Falahati et al., Curated synthetic data doesn't have to collapse, 2026, arXiv 2605.07724, for two groups). That is the
multiplicative iteration of T. M. Cover, An Algorithm for Maximizing Expected Log Investment Return, 1984. Hence, for
any number of groups, F(p) = sum_g q_g log Z_g never falls, and p converges to where it is largest: the weighted Nash
bargaining solution. How far it still is from there is bounded by log max_x sum_g q_g e^{r_g(x)} / Z_g.

**M models.** Model i has a share W_ij of its data from model j's pages, which j's users chose from ballots of K by
their reward r_j, and w_i0 from people; with infinitely many pages, and families that can hold any p,

    p_i' = w_i0 p_human + sum_j W_ij c_j,    c_j = p_j H(p_j, r_j) where j is curated, p_j where not.

The influence of j's curation on i is what it adds to E[r_i] under p_i: on itself (j = i) and on others. Y. Zhang, X.
Wei, X. Zhang, When and How Human Curation Backfires: Preference Alignment under Multi-Model Self-Consuming Loop, 2026,
arXiv 2605.29267, name the two, and find that the second can undo what curation is for. They differentiate the stable
point by the share of curated data; here curation is switched on and off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecosystem.theory.assumptions import ROUNDING, Floats, distribution, number, require, vector, whole
from ecosystem.theory.curation import chosen
from ecosystem.theory.preferences import LARGEST

ROUNDS = 100_000  # after which an iteration is said not to converge
STILL = 1e-14  # change a round, of a probability
Mask = NDArray[np.bool_]


def plateaus(weights: ArrayLike, gap: float) -> Floats:
    """lim_t of the shares (M,) of M plateaus, where a share q_i of the curators prefers plateau i by D = ``gap`` and is
    indifferent among the others; K = inf, all shares positive at the start:

        a_i = (q_i (1 + (m - 1) k) / Q - k) / (1 - k),    k = e^{-D},

    over the m plateaus of the largest q for which all a_i > 0, Q the sum of their q; the others die out. M = 2:
    ``preferences.plural_limit``. Derived here. Assumes D > 0.
    """
    q = distribution("weights", weights)
    k = math.exp(-number("gap", gap, above=0))
    order = np.argsort(-q, kind="stable")
    for m in range(len(q), 0, -1):
        kept = order[:m]
        a = (q[kept] * (1 + (m - 1) * k) / q[kept].sum() - k) / -math.expm1(-gap)
        if m == 1 or a.min() > 0:
            break
    shares = np.zeros(len(q))
    shares[kept] = a / a.sum()
    return shares


def nash_welfare(p: ArrayLike, rewards: ArrayLike, weights: ArrayLike) -> float:
    """F(p) = sum_g q_g log E_p[e^{r_g}], which no round of the loop above lowers. Rewards (G, A), weights q (G,)."""
    p, utility, q, top = _groups(p, rewards, weights)
    return float(q @ (np.log(utility @ p) + top))


def nash_gap(p: ArrayLike, rewards: ArrayLike, weights: ArrayLike) -> float:
    """max F - F(p) is at most log max_x sum_g q_g e^{r_g(x)} / Z_g, and 0 only at the limit. Cover, 1984.

    Over all atoms: assumes a start that gave each of them mass.
    """
    p, utility, q, _ = _groups(p, rewards, weights)
    return max(0.0, math.log(((q / (utility @ p)) @ utility).max()))


def coupled(
    W: ArrayLike,
    w0: ArrayLike,
    human: ArrayLike,
    rewards: ArrayLike,
    k: float,
    rounds: int,
    *,
    curated: Sequence[bool] | None = None,
    start: ArrayLike | None = None,
) -> Floats:
    """p_i by round (rounds + 1, M, A) of M models, as above. W (M, M) and w0 (M,), rows sum to one; rewards (M, A).

    ``curated`` (M,): whose users choose, by default all. ``start`` (M, A), by default every model is p_human (A,).
    """
    web = _Coupled(W, w0, human, rewards, k)
    path, on = [web.start(start)], web.switches(curated)
    for _ in range(whole("rounds", rounds, 0)):
        path.append(web.step(path[-1], on))
    return np.array(path)


def influence(
    W: ArrayLike, w0: ArrayLike, human: ArrayLike, rewards: ArrayLike, k: float, p: ArrayLike | None = None
) -> Floats:
    """One round's influence (M, M), in units of reward: entry ij is W_ij E[r_i] under c_j minus that under p_j (M, A).

    Exact, since p_i' is linear in c_j; ``metrics.coevolution.influence`` measures it on pages.
    """
    web = _Coupled(W, w0, human, rewards, k)
    before = web.start(p)
    gained = np.array([chosen(mass, r, k) for mass, r in zip(before, web.rewards, strict=True)]) - before
    return np.asarray(web.W * (web.rewards @ gained.T))


def lasting_influence(W: ArrayLike, w0: ArrayLike, human: ArrayLike, rewards: ArrayLike, k: float) -> Floats:
    """The influence (M, M) in the long run: entry ij is E[r_i] at the stable point minus that where j is not curated.

    Reached from p_human. Assumes that human data reach every model (w0 > 0), and that both loops settle.
    """
    web = _Coupled(W, w0, human, rewards, k)
    require(np.all(web.w0 > 0), "a stable point of every model is assumed: w0 > 0.")
    size = len(web.W)
    everyone = np.ones(size, dtype=bool)
    value = (web.settled(everyone) * web.rewards).sum(axis=1)
    without = [(web.settled(everyone & (np.arange(size) != j)) * web.rewards).sum(axis=1) for j in range(size)]
    return np.asarray(value[:, None] - np.array(without).T)


class _Coupled:
    def __init__(self, W: ArrayLike, w0: ArrayLike, human: ArrayLike, rewards: ArrayLike, k: float) -> None:
        self.W = np.atleast_2d(np.asarray(W, dtype=np.float64))
        M = len(self.W)
        require(self.W.shape == (M, M), "W is assumed to be square, a row and a column a model.")
        self.w0, self.human, self.k = vector("w0", w0, M), distribution("human", human), k
        require(self.W.min() >= 0 and self.w0.min() >= 0, "shares (w0, W) are assumed to be >= 0.")
        sums = self.w0 + self.W.sum(axis=1)
        require(np.allclose(sums, 1, rtol=0, atol=ROUNDING), f"rows of (w0, W) sum to {sums}: 1 is assumed.")
        rows = np.atleast_2d(np.asarray(rewards, dtype=np.float64))
        require(len(rows) == M, f"{M} rewards are assumed, one a model.")
        self.rewards = np.array([vector("rewards", row, len(self.human)) for row in rows])

    def start(self, p: ArrayLike | None) -> Floats:
        if p is None:
            return np.tile(self.human, (len(self.W), 1))
        rows = np.atleast_2d(np.asarray(p, dtype=np.float64))
        require(len(rows) == len(self.W), f"{len(self.W)} models are assumed.")
        return np.array([distribution("p", row, len(self.human)) for row in rows])

    def switches(self, curated: Sequence[bool] | None) -> Mask:
        on: Mask = np.ones(len(self.W), dtype=bool) if curated is None else np.asarray(curated, dtype=bool)
        require(on.shape == (len(self.W),), f"{len(self.W)} switches are assumed, one a model.")
        return on

    def step(self, p: Floats, curated: Mask) -> Floats:
        pages = [chosen(p[j], self.rewards[j], self.k) if curated[j] else p[j] for j in range(len(p))]
        after = self.w0[:, None] * self.human + self.W @ np.array(pages)
        return np.asarray(after / after.sum(axis=1, keepdims=True))

    def settled(self, curated: Mask) -> Floats:
        p = self.start(None)
        for _ in range(ROUNDS):
            before, p = p, self.step(p, curated)
            if np.abs(p - before).max() < STILL:
                return p
        require(False, f"a loop that settles within {ROUNDS} rounds is assumed.")
        return p


def _groups(p: ArrayLike, rewards: ArrayLike, weights: ArrayLike) -> tuple[Floats, Floats, Floats, Floats]:
    """p (A,), utilities (G, A) with the largest 1, q (G,), and the highest reward of each group (G,)."""
    mass = distribution("p", p)
    rows = np.array([vector("reward", row, len(mass)) for row in np.atleast_2d(np.asarray(rewards, dtype=np.float64))])
    top = rows.max(axis=1)
    require(np.ptp(rows, axis=1).max() <= LARGEST, f"rewards are assumed to lie within {LARGEST:g} of one another.")
    return mass, np.exp(rows - top[:, None]), distribution("weights", weights, len(rows)), top
