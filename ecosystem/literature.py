"""The table R1 to R10: what was published, the scenario that is its setting, and how our run of it is read.

A check names a paper, its setting, what was published (a number or a direction), a shipped scenario with what is
overridden in it, and a reader of the run's summary, which gives what we found, a number with its interval, and a mark.
Nothing here is typed in by hand but what was published. ``cheap`` checks take seconds and are run in CI.

Figures that were read off plots or logs of the papers' authors carry the error that the logs have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np

from ecosystem.errors import ScenarioError
from ecosystem.results import Run
from ecosystem.summary import Judgement, ProviderSummary
from ecosystem.theory import drift, mixing, preferences


class Finding(TypedDict):
    """What we found: in words, and its mark."""

    ours: str
    mark: Judgement


@dataclass(frozen=True)
class Check:
    row: str
    paper: str
    setting: str
    published: str
    scenario: str
    found: Callable[[Run], Finding]
    overrides: dict[str, Any] = field(default_factory=dict)
    cheap: bool = False
    records: bool = False  # whether the reader looks at single seeds, so that a summary is not enough

    @property
    def name(self) -> str:
        """What tells it from the other checks of its row."""
        return f"{self.scenario}: {self.published}"


# Readers of a run


def claimed(*texts: str) -> Callable[[Run], Finding]:
    """The scenario's claims of these texts: all must hold."""

    def found(run: Run) -> Finding:
        claims = {claim["text"]: claim for claim in run.summary["claims"]}
        missing = [text for text in texts if text not in claims]
        if missing:
            raise ScenarioError(
                f"{run.summary['scenario']} claims nothing like `{missing[0]}`; it claims: {list(claims)}"
            )
        chosen = [claims[text] for text in texts]
        marks = [claim["verdict"] for claim in chosen]
        mark: Judgement = next((m for m in ("refuted", "undecided") if m in marks), "held")
        return {"ours": "; ".join(_told(claim) for claim in chosen), "mark": mark}

    return found


def _told(claim: Any) -> str:
    if claim["effect"] is None:
        return str(claim["evidence"])
    return f"{_short(claim['effect'])} [{_short(claim['low'])}, {_short(claim['high'])}] {claim['evidence']}"


def verdict(provider: str, word: str) -> Callable[[Run], Finding]:
    """The provider's verdict is this word."""

    def found(run: Run) -> Finding:
        actual = run.summary["providers"][provider]["verdict"]
        mark: Judgement = "undecided" if actual == "undecided" else "held" if actual == word else "refuted"
        return {"ours": f"{actual}: {_evidence(run.summary['providers'][provider])}", "mark": mark}

    return found


def _evidence(provider: ProviderSummary) -> str:
    return ", ".join(
        f"{e['metric']} {_short(e['effect'])} [{_short(e['low'])}, {_short(e['high'])}] times worse"
        for e in provider["evidence"]
        if e["effect"] is not None
    )


def near(provider: str, metric: str, generation: int, published: float, error: float) -> Callable[[Run], Finding]:
    """A published number with its standard error: held within three standard errors of the difference."""

    def found(run: Run) -> Finding:
        mean, own = at(run, provider, metric, generation)
        z = abs(mean - published) / math.hypot(own, error)
        return {"ours": f"{_plus_minus(mean, own)} ({z:.1f} se from it)", "mark": "held" if z <= 3 else "refuted"}

    return found


def at(run: Run, provider: str, metric: str, generation: int) -> tuple[float, float]:
    """Mean and standard error over seeds of a metric at a generation."""
    found = run.summary["providers"][provider]["generations"][generation]
    mean, spread = found["metrics"][metric], found["spread"][metric]
    assert mean is not None and spread is not None
    return mean, spread / math.sqrt(len(run.summary["seeds"]))


def values(run: Run, provider: str, metric: str) -> list[list[float]]:
    """By seed and generation."""
    lines = [seed.lines() for seed in run.record.seeds()]
    return [
        [row["trained"]["metrics"][metric] for line in one if "trained" in (row := line["providers"][provider])]
        for one in lines
    ]


def _plus_minus(mean: float, error: float) -> str:
    return f"{_short(mean)} ± {_short(error)}"


def _short(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


# Readers for one check each


def plateau(run: Run) -> Finding:
    """n Var(mean) / sigma^2 at the end, against what Dey and Donoho plot, which one reads to two hundredths."""
    mean, error = at(run, "lab", "mean-error", -1)
    pages = run.summary["providers"]["lab"]["generations"][-1]["data_set"]["pages"]
    ours, own = pages * mean, pages * error
    return {
        "ours": _plus_minus(ours, own),
        "mark": "held" if abs(ours - 2.9) <= 3 * math.hypot(own, 0.02) else "refuted",
    }


def time_to_one_outcome(run: Run) -> Finding:
    """Fits until one outcome is left of ten equal ones, against the exact time."""
    outcomes = values(run, "lab", "outcomes")
    times = [next((g + 1 for g, left in enumerate(row) if left == 1), None) for row in outcomes]
    known = [time for time in times if time is not None]
    if len(known) < len(times):
        return {"ours": f"{len(times) - len(known)} of {len(times)} seeds have more than one left", "mark": "undecided"}
    pages = run.summary["providers"]["lab"]["generations"][0]["data_set"]["pages"]
    mean, own = float(np.mean(known)), float(np.std(known, ddof=1) / math.sqrt(len(known)))
    expected = drift.collapse_time(np.full(10, 0.1), int(pages))
    mark: Judgement = "held" if abs(mean - expected) <= 3 * own else "refuted"
    return {"ours": f"{_plus_minus(mean, own)}, theory {_short(expected)}", "mark": mark}


def forgets_its_start(run: Run) -> Finding:
    """The end of a fresh loop that began elsewhere, against the limit of the flow."""
    mean, own = at(run, "lab", "mean-error", -1)
    limit = mixing.fresh_limit(5, 10)[1]
    mark: Judgement = "held" if abs(mean - limit) <= 3 * own else "refuted"
    return {"ours": f"mean-error {_plus_minus(mean, own)}, limit {_short(limit)}", "mark": mark}


def settles(run: Run) -> Finding:
    """The fixed real set: variance at the end, over archives, against v / (1 + c)."""
    mean, own = at(run, "lab", "model-variance", -1)
    variance = mixing.fixed_limit(10, 1.0)[0] * (1 - 1 / 10)
    mark: Judgement = "held" if abs(mean - variance) <= 3 * own else "refuted"
    return {"ours": f"model-variance {_plus_minus(mean, own)}, limit {_short(variance)}", "mark": mark}


def turns_at_threshold(run: Run) -> Finding:
    """The sign of the first gain of E e^r on both sides of the share b* of rivals."""
    reward = np.array([-1.5, -1.0, -0.5, 0.0])
    threshold = preferences.adversarial_threshold(np.full(4, 0.25), reward, reward[::-1])
    gains = {}
    for provider, rivals in (("clean", 0.0), ("tainted", 0.25), ("captured", 0.75)):
        rows = np.array(values(run, provider, "mean-exp-reward"))
        gain = rows[:, 1] - rows[:, 0]
        gains[rivals] = gain.mean() / (gain.std(ddof=1) / math.sqrt(len(gain)))
    right = all((z > 3) if rivals < threshold else (z < -3) for rivals, z in gains.items())
    told = ", ".join(f"b = {rivals:g}: {z:+.0f} se" for rivals, z in gains.items())
    return {"ours": f"gain {told}; b* = {_short(threshold)} (K = inf)", "mark": "held" if right else "refuted"}


def slower_than_alone(run: Run) -> Finding:
    """Three labs that train on the pool of their pages lose variance as one lab with as many pages as all."""
    kept = [at(run, name, "model-variance", -1) for name in ("one", "two", "three")]
    rounds = len(run.summary["providers"]["one"]["generations"])
    expected = (1 - 1 / 30) ** rounds
    mean, own = float(np.mean([m for m, _ in kept])), max(e for _, e in kept)
    mark: Judgement = "held" if abs(mean - expected) <= 3 * own else "refuted"
    alone = (1 - 1 / 10) ** rounds
    told = f"n = 30 says {_short(expected)}, n = 10 {_short(alone)}"
    return {"ours": f"{_plus_minus(mean, own)} of the variance is left; {told}", "mark": mark}


def above_its_bound(run: Run) -> Finding:
    """The smallest E e^r of the anchored labs over Theorem 2.3's bound, which it must not fall below."""
    worst = math.inf
    for provider, k in (("mixed-2", 2), ("mixed-4", 4), ("mixed-16", 16)):
        reward, reference = np.array([0.0, 0.5, 1.0, 1.5]) - 1.5, np.array([0.4, 0.3, 0.2, 0.1])
        bound = preferences.anchored_utility_bound(reference, reward, k, 0.5)
        rows = np.array(values(run, provider, "mean-exp-reward"))[:, 1:]
        worst = min(worst, float(rows.mean(axis=0).min() / bound))
    return {"ours": f"smallest E e^r over its bound: {worst:.3f}", "mark": "held" if worst >= 1 else "refuted"}


# The table


def _theory(row: str, paper: str, setting: str, scenario: str, provider: str, *metrics: str, **more: Any) -> Check:
    texts = [f"{metric} of {provider} follows theory" for metric in metrics]
    published = f"closed form of {', '.join(metrics)}" + (f" of {provider}" if provider != "lab" else "")
    return Check(row, paper, setting, published, scenario, claimed(*texts), **more)


TEN_PAGES = {"web.archive": 10, "users.crowd.count": 10}

CHECKS: tuple[Check, ...] = (
    _theory("R1", "2305.17493", "replace, n = 30", "gaussian-replace-30", "lab", "model-variance", "mean-error"),
    _theory("R1", "2310.00429", "replace, n = 30", "gaussian-replace-30", "lab", "log-std", "gaussian-w2"),
    _theory("R1", "2305.17493", "replace, n = 100", "gaussian-replace", "lab", "mean-error", "gaussian-w2", cheap=True),
    Check(
        "R1",
        "2410.16713",
        "replace, n = 100, t = 100",
        "E cov .309 ± .040 (logs)",
        "gaussian-replace",
        near("lab", "model-variance", 99, 0.309, 0.040),
        cheap=True,
    ),
    Check(
        "R1",
        "2410.16713",
        "replace, n = 100, t = 100",
        "E mu^2 .584 ± .106 (logs)",
        "gaussian-replace",
        near("lab", "mean-error", 99, 0.584, 0.106),
        cheap=True,
    ),
    Check(
        "R1",
        "2410.16713",
        "replace, n = 10, t = 10",
        "E cov .301 ± .042 (logs)",
        "gaussian-replace",
        near("lab", "model-variance", 9, 0.301, 0.042),
        {**TEN_PAGES, "rounds": 11},
        cheap=True,
    ),
    _theory("R1", "2410.16713", "accumulate, n = 10", "gaussian-accumulate", "lab", "model-variance", "mean-error"),
    Check(
        "R1",
        "2410.16713",
        "accumulate, n = 10, t = 100",
        "E cov .873 ± .048 (logs)",
        "gaussian-accumulate",
        near("lab", "model-variance", 99, 0.873, 0.048),
    ),
    Check(
        "R1",
        "2410.16713",
        "accumulate, n = 10, t = 100",
        "E mu^2 .158 ± .019 (logs)",
        "gaussian-accumulate",
        near("lab", "mean-error", 99, 0.158, 0.019),
    ),
    _theory(
        "R1",
        "2410.16713",
        "accumulate and sub-sample, n = 10",
        "gaussian-subsample",
        "lab",
        "model-variance",
        "mean-error",
    ),
    Check(
        "R1",
        "2410.22812",
        "accumulate and sub-sample, n = 100",
        "n Var(mean) has a plateau at about 2.9 (figure)",
        "gaussian-subsample",
        plateau,
        {"web.archive": 100, "users.crowd.count": 100, "scrapers.frugal.budget": 100, "humans.dims": 40},
    ),
    _theory(
        "R1",
        "2310.00429",
        "fixed real set, lambda = 1",
        "gaussian-fixed",
        "lab",
        "model-variance",
        "mean-error",
        cheap=True,
    ),
    Check(
        "R1",
        "2310.00429",
        "fixed real set, lambda = 1",
        "never collapses: a fixed point",
        "gaussian-fixed",
        settles,
        cheap=True,
    ),
    _theory("R1", "2307.01850", "fresh data each round", "gaussian-fresh", "lab", "model-variance", "mean-error"),
    _theory("R1", "2404.01413", "sliding window", "gaussian-window", "lab", "model-variance", "mean-error"),
    Check(
        "R2",
        "2410.16713",
        "KDE on two moons, bandwidth .1",
        "replace diverges",
        "kde-moons",
        claimed("nll of replace is increasing", "model-variance of replace is increasing"),
    ),
    Check(
        "R2",
        "2410.16713",
        "KDE on two moons, bandwidth .1",
        "sub-sampling lies between",
        "kde-moons",
        claimed("nll of accumulate is lower than of subsample", "nll of subsample is lower than of replace"),
    ),
    _theory("R3", "2305.17493", "ten words, n = 100", "categorical-drift", "lab", "heterozygosity"),
    Check(
        "R3",
        "2410.16713",
        "ten words, n = 10",
        "about 17 iterations to one word (figure)",
        "categorical-drift",
        time_to_one_outcome,
        {**TEN_PAGES, "metrics": ["heterozygosity", "outcomes"]},
        records=True,
    ),
    Check(
        "R4",
        "2310.00429",
        "ring of 8, mixture by EM",
        "own data alone lose modes",
        "ring-8-mixture",
        claimed("modes of own is decreasing", "modes of own is lower than of even"),
    ),
    Check(
        "R4",
        "2310.00429",
        "ring of 8, mixture by EM",
        "the error is monotone in lambda",
        "ring-8-mixture",
        claimed("sliced-wasserstein of tenth is lower than of even", "sliced-wasserstein of even is lower than of own"),
    ),
    Check(
        "R4",
        "2404.01413",
        "ring of 8, mixture by EM",
        "accumulating bounds the error",
        "ring-8-mixture",
        claimed("sliced-wasserstein of hoard is lower than of own"),
    ),
    Check(
        "R4",
        "2310.00429",
        "ring of 8, DDPM",
        "own data alone collapse, lambda = 1/2 stays",
        "ring-8",
        claimed("own is collapsed", "recall of half is higher than of own", "recall of half is higher than 0.9"),
    ),
    *(
        _theory("R5", "2407.09499", f"{words}, K = {k}", "curated-outcomes", f"{name}-{k}", "mean-exp-reward")
        for name, words in (("alone", "curated alone"), ("mixed", "curated and archive, lambda = 1/2"))
        for k in (2, 4, 16)
    ),
    Check(
        "R5",
        "2407.09499",
        "curated alone",
        "reward rises, variance goes to 0",
        "curated-outcomes",
        claimed("mean-exp-reward of alone-2 is increasing", "heterozygosity of alone-4 is lower than 0.001"),
    ),
    Check(
        "R5",
        "2407.09499",
        "curated and archive, lambda = 1/2",
        "Theorem 2.3: E e^r above its bound",
        "curated-outcomes",
        above_its_bound,
        records=True,
    ),
    Check(
        "R5",
        "2407.09499",
        "curated digits, flow matching",
        "curated alone collapses onto the preferred class",
        "curated-digits",
        verdict("curated", "collapsed"),
    ),
    Check(
        "R6",
        "2307.01850",
        "Gaussian, lambda = .8",
        "E Sigma_t = lambda^t Sigma_0",
        "sampling-bias",
        claimed("model-variance of eager follows theory", "mean-error of eager follows theory"),
    ),
    Check(
        "R6",
        "2307.01850",
        "digits, lambda = .7",
        "precision holds",
        "sampling-bias-digits",
        claimed("precision of biased is higher than of honest"),
    ),
    Check(
        "R6",
        "2307.01850",
        "digits, lambda = 1",
        "precision falls",
        "sampling-bias-digits",
        claimed("precision of honest is decreasing"),
    ),
    Check(
        "R6",
        "2307.01850",
        "digits, lambda = .7",
        "recall falls faster",
        "sampling-bias-digits",
        claimed("recall of honest is decreasing", "recall of biased is lower than of honest"),
    ),
    Check(
        "R6",
        "2307.01850",
        "fresh loop, other n_ini",
        "the limit does not depend on n_ini",
        "gaussian-fresh",
        forgets_its_start,
        {"web.archive": 400},
    ),
    *(
        _theory(
            "R7",
            "2505.09768",
            f"{words} of the curators are rivals",
            "adversarial-curators",
            name,
            "mean-exp-reward",
        )
        for name, words in (("clean", "none"), ("tainted", "a quarter"), ("captured", "three quarters"))
    ),
    Check(
        "R7",
        "2505.09768",
        "rivals among curators",
        "the drift changes its sign at one share",
        "adversarial-curators",
        turns_at_threshold,
        records=True,
    ),
    *(
        _theory(
            "R8",
            "2410.16713",
            "three labs on one web, measured W",
            "gaussian-web",
            name,
            "model-variance",
            "mean-error",
        )
        for name in ("large", "narrow", "small")
    ),
    Check(
        "R8",
        "2410.16713",
        "three labs, one pool",
        "the effective sample size is the pool's",
        "gaussian-pool",
        slower_than_alone,
    ),
    Check(
        "R9",
        "2307.01850",
        "detector, TPR .9 and FPR .05",
        "share p (1 - TPR) / (p (1 - TPR) + (1 - p) (1 - FPR))",
        "detector-web",
        claimed("synthetic-share of wary follows theory"),
    ),
    Check(
        "R9",
        "2307.01850",
        "detector on one web",
        "none < filter < human reserve",
        "detector-web",
        claimed("mean-error of wary is lower than of naive", "mean-error of anchored is lower than of wary"),
    ),
    Check(
        "R9",
        "2402.07087",
        "correction, gamma = 1/2",
        "as a share gamma / (1 + gamma) of fresh pages",
        "gaussian-fresh",
        claimed("model-variance of lab follows theory"),
    ),
    Check(
        "R9",
        "2408.16333",
        "negative guidance from a self-trained model, a Gaussian of 60 pages in 20 dimensions",
        "improves on the base, in likelihood",
        "sims-against-filtering",
        claimed("nll of steered is lower than of base"),
    ),
    Check(
        "R9",
        "2408.16333",
        "negative guidance from a self-trained model, a Gaussian of 60 pages in 20 dimensions",
        "improves on the base, in Fréchet distance",
        "sims-against-filtering",
        claimed("gaussian-w2 of steered is lower than of base"),
    ),
    Check(
        "R9",
        "2307.01850",
        "people without memory",
        "a human reserve is better than none",
        "sims-against-filtering",
        claimed("gaussian-w2 of reserved is lower than of naive"),
    ),
    *(
        _theory("R10", "2402.11778", f"ten human pages, m = {m[1:]}", "synthetic-amount", m, "mean-error")
        for m in ("m2", "m50", "m400")
    ),
    Check(
        "R10",
        "2402.11778",
        "ten human pages, t = 10",
        "the error rises and then falls in m",
        "synthetic-amount",
        claimed("mean-error of m50 is higher than of m2", "mean-error of m50 is higher than of m400"),
    ),
)
