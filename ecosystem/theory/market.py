"""A market of providers: whom users ask, how concentrated votes become, what users get, when people's pages run out.

A user who last asked provider i asks j next with probability (logit; D. McFadden, Conditional Logit Analysis of
Qualitative Choice Behavior, 1974; T is the temperature, kappa = e^{-c/T} of a switching cost c, s (P,) market shares)

    P_ij = w_j kappa^[i != j] / sum_l w_l kappa^[i != l],    w = e^{(u + n s) / T}.

u (P,): the mean reward users get of each provider; n >= 0: the network effect, what a provider gains if all ask it (W.
A. Brock, S. N. Durlauf, Discrete Choice with Social Interactions, 2001). With very many users s' = s P(s).

**Shares.** P is reversible, as w_i D_i P_ij = w_i w_j kappa^[i != j] with D_i = w_i + kappa sum_{l != i} w_l. So

    s_i ~ w_i ((1 - kappa) w_i + kappa sum_l w_l):   e^{u/T} where switching is free, e^{2u/T} where it is dear.

**How many equilibria.** Their Jacobian in u is Cov(e_I + e_J) / (2 T) over neighbours I, J of the chain. A contrast of
length 1 has a variance of at most 1/2, and the chain forgets at least a share kappa a round (Doeblin): no eigenvalue
exceeds (2 - kappa) / (2 T), and the equilibrium is unique for n < 2 T / (2 - kappa). Of P equal providers the symmetric
one is stable for

    n < T P (1 + (P - 1) kappa) / (2 + (P - 2) kappa):   T P where switching is free, T P / 2 where it is dear.

For P = 2 that is also where others appear. For P >= 3 it is not: a market with a leader is stable from a smaller n
on, beside the symmetric one (as in the Potts model: F. Y. Wu, The Potts Model, 1982). Derived here.

A market of platforms that choose models: X. Wei, M. Shi, X. Zhang, Market Games for Generative Models: Equilibria,
Welfare, and Strategic Entry, 2026, arXiv 2602.17787; there users take the best, here T = 0 would be that limit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from ecosystem.theory.assumptions import Floats, distribution, number, require, share, times, vector, whole
from ecosystem.theory.curation import chosen

ROUNDS = 200_000  # after which an iteration is said not to converge
STILL = 1e-15  # change a round, of a share
FAR = 40.0  # log of the odds of a leader: a larger one has all of the market, to rounding


def transition(
    utility: ArrayLike, shares: ArrayLike, temperature: float = 1.0, switching_cost: float = 0.0, network: float = 0.0
) -> Floats:
    """P_ij (P, P), rows sum to one: who asked i asks j next, in a market of these shares."""
    u, T, kappa, n = _market(utility, temperature, switching_cost, network)
    return _transition(u + n * distribution("shares", shares, len(u)), T, kappa)


def share_path(
    utility: ArrayLike,
    start: ArrayLike,
    rounds: int,
    temperature: float = 1.0,
    switching_cost: float = 0.0,
    network: float = 0.0,
) -> Floats:
    """s_t for t = 0..rounds (rounds + 1, P) of very many users: s_{t+1} = s_t P(s_t)."""
    u, T, kappa, n = _market(utility, temperature, switching_cost, network)
    path = [distribution("start", start, len(u))]
    for _ in range(whole("rounds", rounds, 0)):
        path.append(_normalised(path[-1] @ _transition(u + n * path[-1], T, kappa)))
    return np.array(path)


def stationary_shares(
    utility: ArrayLike, temperature: float = 1.0, switching_cost: float = 0.0, network: float = 0.0
) -> Floats:
    """The only equilibrium (P,), s = s P(s), from any start. Assumes 0 <= n < 2 T / (2 - kappa), T > 0, c >= 0.

    Without a network effect it is a formula, and also the expected share of any number of users, after many rounds.
    """
    u, T, kappa, n = _market(utility, temperature, switching_cost, network)
    bound = unique_below(temperature, switching_cost)
    require(n < bound, f"network = {n}: below {bound:.6g} the equilibrium is unique, which is assumed.")
    s = _settled(u, T, kappa)
    for _ in range(ROUNDS if n > 0 else 0):
        before, s = s, _settled(u + n * s, T, kappa)
        if np.abs(s - before).max() < STILL:
            return s
    require(n == 0, f"network = {n} is too close to the bifurcation: shares do not settle.")
    return s


def unique_below(temperature: float = 1.0, switching_cost: float = 0.0) -> float:
    """2 T / (2 - kappa): the network effect below which any market has one equilibrium. Sufficient; exact for two equal
    providers where switching is free.
    """
    T, kappa = _friction(temperature, switching_cost)
    return 2 * T / (2 - kappa)


def symmetric_below(providers: int, temperature: float = 1.0, switching_cost: float = 0.0) -> float:
    """T P (1 + (P - 1) kappa) / (2 + (P - 2) kappa): the network effect below which equal shares of P equal providers
    are stable; above, the smallest lead grows. Exact. Assumes P >= 2.
    """
    T, kappa = _friction(temperature, switching_cost)
    return T * _odds_to_network(0.0, whole("providers", providers, 2), kappa)


def leader_above(providers: int, temperature: float = 1.0, switching_cost: float = 0.0) -> float:
    """The network effect above which P equal providers also have an equilibrium of a leader and P - 1 equal followers;
    it is smaller than ``symmetric_below`` for P >= 3. Exact. Assumes P >= 2.
    """
    T, kappa = _friction(temperature, switching_cost)
    size = whole("providers", providers, 2)
    return T * _odds_to_network(_turn(size, kappa), size, kappa)


def leader_share(providers: int, network: float, temperature: float = 1.0, switching_cost: float = 0.0) -> float:
    """The leader's share in the stable one of these equilibria, with log-odds y = n (a - b) / T of its w:
    a = R / (R + P - 1), R = e^y (e^y + kappa (P - 1)) / (1 + kappa (e^y + P - 2)). Assumes n > ``leader_above``.
    """
    from scipy.optimize import brentq  # late: importing it takes most of a second

    T, kappa = _friction(temperature, switching_cost)
    size, least = whole("providers", providers, 2), leader_above(providers, temperature, switching_cost)
    require(network > least, f"network = {network}: a leader is assumed, who needs more than {least:.6g}.")
    turn = _turn(size, kappa)
    if _odds_to_network(FAR, size, kappa) <= number("network", network) / T:
        return 1.0
    y = brentq(lambda y: _odds_to_network(y, size, kappa) - network / T, turn, FAR, xtol=1e-14, rtol=1e-14)
    return 1 / (1 + (size - 1) / _lead(math.exp(y), size, kappa))


def memory(utility: ArrayLike, temperature: float = 1.0, switching_cost: float = 0.0) -> float:
    """The second eigenvalue of P, without network effect: a market's lead over its equilibrium shrinks by it a round.

    (1 - kappa) / (1 + (P - 1) kappa) for equal providers; 0 where switching is free.
    """
    u, T, kappa, _ = _market(utility, temperature, switching_cost, 0.0)
    require(len(u) >= 2, "at least two providers are assumed.")
    found = np.sort(np.linalg.eigvals(_transition(u, T, kappa)).real)
    return float(found[-2].clip(0, 1))


def logit_concentration(utility: ArrayLike, temperature: float = 1.0) -> float:
    """sum_i s_i^2 of s ~ e^{u/T}: the Herfindahl-Hirschman index of a logit market, in [1/P, 1]."""
    return float(np.square(_settled(*_market(utility, temperature, 0.0, 0.0)[:3])).sum())


def expected_concentration(shares: ArrayLike, votes: int) -> float:
    """E of the Herfindahl-Hirschman index of n independent votes: H + (1 - H) / n, H = sum_i s_i^2."""
    H = float(np.square(distribution("shares", shares)).sum())
    return H + (1 - H) / whole("votes", votes, 1)


def luce_welfare(
    p: ArrayLike, reward: ArrayLike, k: float, shares: ArrayLike | None = None, across: bool = False
) -> float:
    """E[r] of the winners: sum_x r(x) p(x) H(x), of ballots of K by Luce's rule, exact.

    ``p`` (A,) of one provider, or (P, A) of several with market ``shares``; a ballot's K are of one provider, or, if
    ``across``, each of a provider drawn anew: then of the mixture. Rewards (A,) in units of the choice's temperature.
    """
    rows, r = np.atleast_2d(np.asarray(p, dtype=np.float64)), vector("reward", reward)
    rows = np.array([distribution("p", row, len(r)) for row in rows])
    s = distribution("shares", [1.0] if shares is None else shares, len(rows))
    if across:
        rows, s = (s @ rows)[None], np.ones(1)
    return float(s @ [chosen(row, r, k) @ r for row in rows])


def exhaustion_round(reservoir: int, per_round: int) -> int:
    """The first round (from 0) in which people cannot publish ``per_round`` pages: floor(R / h). Assumes h >= 1."""
    return whole("reservoir", reservoir, 0) // whole("per_round", per_round, 1)


def reservoir_share(
    t: ArrayLike, archive: int, reservoir: int, human: int, synthetic: int, synthetic_rounds: int | None = None
) -> Floats:
    """The synthetic share of the web after t rounds of m = ``synthetic`` and h = ``human`` pages, until a reservoir of
    R pages is empty: S / (A + min(h t, R) + S), S = m min(t, ``synthetic_rounds``), which a web keeps (None: for ever).

    So a web that keeps all becomes synthetic, one that forgets goes to m w / (A + R + m w). Assumes a page on the web.
    """
    rounds = times(t)
    kept = rounds if synthetic_rounds is None else rounds.clip(max=whole("synthetic_rounds", synthetic_rounds, 1))
    machine = whole("synthetic", synthetic, 0) * kept
    people = (whole("human", human, 0) * rounds).clip(max=whole("reservoir", reservoir, 0))
    pages = whole("archive", archive, 0) + people + machine
    require(np.all(pages > 0), "at least one page is assumed to be on the web.")
    return np.asarray(machine / pages)


def _friction(temperature: float, switching_cost: float) -> tuple[float, float]:
    """T and kappa."""
    T = number("temperature", temperature, above=0)
    return T, share("kappa", math.exp(-number("switching_cost", switching_cost, least=0) / T))


def _market(
    utility: ArrayLike, temperature: float, switching_cost: float, network: float
) -> tuple[Floats, float, float, float]:
    """u, T, kappa, n."""
    return vector("utility", utility), *_friction(temperature, switching_cost), number("network", network, least=0)


def _transition(utility: Floats, T: float, kappa: float) -> Floats:
    """Each row measured against its own largest entry, so that none is all zeros where rewards lie far apart."""
    log = utility / T + np.where(np.eye(len(utility), dtype=bool), 0.0, math.log(kappa) if kappa > 0 else -math.inf)
    rows = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


def _settled(utility: Floats, T: float, kappa: float) -> Floats:
    """The stationary distribution of P where utilities do not move."""
    w = np.exp((utility - utility.max()) / T)
    return _normalised(w * ((1 - kappa) * w + kappa * w.sum()))


def _normalised(s: Floats) -> Floats:
    return np.asarray(s / s.sum())


def _lead(rho: float, size: int, kappa: float) -> float:
    """R, the odds of the leader's share to a follower's where w has the odds rho."""
    return rho * (rho + kappa * (size - 1)) / (1 + kappa * (rho + size - 2))


def _odds_to_network(y: float, size: int, kappa: float) -> float:
    """n / T of the equilibrium with a leader whose w has log-odds y: y / (a - b), without its cancellation at y = 0."""
    rho = math.exp(y)
    per_odds = y / math.expm1(y) if y > 0 else 1.0
    spread = rho * (rho + kappa * (size - 1)) + (size - 1) * (1 + kappa * (rho + size - 2))
    return per_odds * spread / (rho + 1 + kappa * (size - 2))


def _turn(size: int, kappa: float) -> float:
    """The log-odds of the leader where the smallest network effect allows one; 0 for two providers."""
    from scipy.optimize import minimize_scalar

    if size == 2:
        return 0.0
    found = minimize_scalar(
        lambda y: _odds_to_network(y, size, kappa), bounds=(0, FAR), method="bounded", options={"xatol": 1e-9}
    )
    return float(found.x)
