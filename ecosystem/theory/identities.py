"""Small identities: what a detector lets through, when a verifier helps, how hard contestants try, corrections.

``detector_share`` and the break-even of a verifier are arithmetic; the equilibrium is a textbook one; the
correction is argued.
"""

from __future__ import annotations

from ecosystem.theory.assumptions import number, require, share, whole


def detector_share(synthetic: float, tpr: float, fpr: float) -> float:
    """The synthetic share that remains when a detector removes a share ``tpr`` of synthetic and ``fpr`` of human pages:
    p (1 - TPR) / (p (1 - TPR) + (1 - p)(1 - FPR)).

    Bayes' rule. Assumes shares in [0, 1] and that some page remains.
    """
    p = share("synthetic", synthetic)
    machine, human = p * (1 - share("tpr", tpr)), (1 - p) * (1 - share("fpr", fpr))
    require(machine + human > 0, "some page is assumed to pass the detector.")
    return machine / (machine + human)


def verifier_breakdown(keeps_good: float, keeps_bad: float) -> float:
    """p* = 1 / (1 + psi / phi): the share of bad data up to which good pages outnumber bad ones after a verifier.

    It keeps a share phi = ``keeps_good`` of the good and psi = ``keeps_bad`` of the bad; 1/2 if it cannot tell. Y.
    Feng et al., Beyond Model Collapse: Scaling Up with Synthesized Data Requires Verification, 2024, arXiv
    2406.07515. Assumes phi > 0.
    """
    phi, psi = share("keeps_good", keeps_good), share("keeps_bad", keeps_bad)
    require(phi > 0, "keeps_good = 0: a verifier that keeps some good data is assumed.")
    return 1 / (1 + psi / phi)


def tullock_effort(contestants: int, prize: float, cost: float = 1.0) -> float:
    """x* = (N - 1) R / (N^2 c): the effort of each of N equal contestants for a prize R that each wins with probability
    x_i / sum x_j, at cost c a unit of effort; the only symmetric equilibrium.

    The contest that F. Yao et al., Human vs. Generative AI in Content Creation Competition, 2024, arXiv 2402.15467,
    extend to creators against models. Assumes N >= 2, R >= 0, c > 0.
    """
    N = whole("contestants", contestants, 2)
    return (N - 1) * number("prize", prize, least=0) / (N**2 * number("cost", cost, above=0))


def correction_fresh_share(strength: float) -> float:
    """gamma / (1 + gamma): the share of synthetic pages that a correction replaces by pages of its target.

    gamma = ``strength`` >= 0. Of the toy of N. Gillman et al., Self-Correcting Self-Consuming Loops for Generative
    Model Training, 2024, arXiv 2402.07087, where pages are redrawn from (p + gamma p_target) / (1 + gamma): then
    ``mixing.fresh`` applies with that share. Argued, not proven: their correction matches points by optimal
    transport, which keeps samples dependent.
    """
    gamma = number("strength", strength, least=0)
    return gamma / (1 + gamma)
