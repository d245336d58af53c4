"""Reports: readable at every width, in every encoding, with or without colour, whatever is missing.

The goldens in ``tests/goldens/`` are whole reports; after a wanted change write them anew and look at them:
``ECOSYSTEM_WRITE_GOLDENS=1 python -m pytest tests/test_reports.py``.
"""

from __future__ import annotations

import copy
import io
import itertools
import json
import math
import os
import re
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageColor
from rich.cells import cell_len
from rich.console import Console
from scipy.stats import t as student
from sklearn.datasets import load_digits

from ecosystem import measures, reports
from ecosystem.reports import (
    ASCII,
    UNICODE,
    Gallery,
    GlyphSet,
    glyphs_for,
    print_report,
    report,
    save_figures,
)
from ecosystem.reports.canvas import dashes
from ecosystem.reports.charts import bands, predictions
from ecosystem.reports.deviations import beyond, deviations
from ecosystem.reports.ecosystem import OF_CREATORS, OF_USERS
from ecosystem.reports.layout import Page, evenly
from ecosystem.reports.pictures import otsu, shrunk
from ecosystem.reports.scatter import Axes, panel
from ecosystem.reports.sparks import Scale, bar, bin_width, binned, scale, spark
from ecosystem.reports.wording import count, more_seeds, number, with_interval
from ecosystem.rng import stream
from ecosystem.summary import (
    BaselineMiss,
    ClaimSummary,
    Definition,
    Ecosystem,
    Evidence,
    GenerationSummary,
    Holds,
    MetricInfo,
    ProviderSummary,
    Source,
    Summary,
    Theory,
    Verdict,
    WebRound,
)

GOLDENS = Path(__file__).parent / "goldens"

# ------------------------------------------------------------------------------------------ a world to report


def a_generation(
    n: int, metrics: dict[str, float | None], makers: dict[str, float], every: int = 1, spread: float = 0.06
) -> GenerationSummary:
    human = makers["human"]
    synthetic = sum(makers.values()) - human
    return {
        "generation": n,
        "round": n * every,
        "lambda": synthetic / human if human else None,
        "synthetic_share": synthetic / (human + synthetic),
        "lineage": 1 + 0.4 * n,
        "data_set": {"pages": human + synthetic, "human": human, "synthetic": synthetic, "by_maker": makers},
        "loss": 0.3,
        "metrics": metrics,
        "spread": {name: None if x is None else spread * x for name, x in metrics.items()},
    }


def a_provider(verdict: Verdict, rate: float, generations: int, names: list[str], every: int = 1) -> ProviderSummary:
    """Metrics that grow (or fall) by a rate a generation, with a small wobble."""
    made = []
    for n in range(generations):
        factor = math.exp(rate * n) * (1 + 0.05 * math.sin(2.1 * n))
        metrics: dict[str, float | None] = {
            "frechet": 4.1 * factor,
            "precision": 0.84 - 0.1 * math.tanh(rate * n),
            "recall": 0.62 / factor,
            "class-entropy": max(3.31 - 0.6 * rate * n, 0.0),
            "nll": None if n == 3 else 11.2 + rate * n,
        }
        synthetic = 0.0 if n == 0 else 400.0 * n / len(names)
        makers = {"human": 1000.0, **dict.fromkeys(names, synthetic)}
        made.append(a_generation(n, metrics, makers, every))
    effect = math.exp(rate * (generations - 1)) if generations else 1.0
    return {
        "model": "flow-matching-digits",
        "family": "flow matching",
        "verdict": verdict,
        "note": "",
        "evidence": evidence(effect, verdict) if generations else [],
        "definitions": definitions(verdict),
        "theory": {},
        "sources": sources(dict.fromkeys(names, generations - 1), human=0.4) if generations > 1 else [],
        "baseline": {"held": True, "misses": []},
        "stopped": [],
        "generations": made,
        "vote_share": [0.25 + 0.02 * n * (1 if verdict == "stable" else -1) for n in range(12)],
    }


def evidence(effect: float, verdict: Verdict) -> list[Evidence]:
    return [
        {
            "metric": metric,
            "start": start,
            "end": end,
            "effect": effect,
            "low": effect * 0.93,
            "high": effect * 1.08,
            "reads": verdict,
            "more_seeds": None,
        }
        for metric, start, end in (("frechet", 4.1, 4.1 * effect), ("recall", 0.62, 0.62 / effect))
    ]


# The eight of Schaeffer et al., with the evidence of a world that has collapsed.
MEANINGS = {
    "catastrophic increase of population risk": "frechet 5.87 [5.46, 6.34] times its generation 0",
    "any increase of population risk": "frechet 5.87 [5.46, 6.34] times its generation 0",
    "asymptotically diverging population risk": "frechet gains 1.1 [1.0, 1.2] late, 0.3 early",
    "change in scaling law": "needs runs at several data-set sizes",
    "collapsing variance": "variance 0.17 [0.16, 0.18] times its generation 0",
    "entanglement of real modes": "agreement -0.012 [-0.03, +0.006]",
    "disappearance of the real tail": "needs tail-recall or outcomes, which was not measured",
    "appearance of hallucinated data": "precision -0.094 [-0.11, -0.079]",
}
HOLD = {"collapsed": "yyy?yn?y", "degrading": "nyn?nn?n", "undecided": "??n??n??", "stable": "nnn?nn?n"}


def definitions(verdict: str) -> list[Definition]:
    words: dict[str, Holds] = {"y": "yes", "n": "no", "?": "undecided"}
    held = zip(MEANINGS.items(), HOLD[verdict], strict=True)
    return [{"name": name, "holds": words[mark], "evidence": evidence} for (name, evidence), mark in held]


def sources(generations: dict[str, int], human: float) -> list[Source]:
    """What is not human is shared among the makers, each of whose generations has a tenth more than the one before."""
    row: list[Source] = [{"maker": "human", "generation": None, "share": human}]
    for maker, before in generations.items():
        weights = [1.1**n for n in range(before)]
        shares = ((1 - human) / len(generations) * weight / sum(weights) for weight in weights)
        row += [{"maker": maker, "generation": n, "share": share} for n, share in enumerate(shares)]
    return row


def a_web(rounds: int) -> list[WebRound]:
    rows: list[WebRound] = []
    for n in range(rounds):
        human, synthetic = 1000.0 + 100 * n, 400.0 * (n + 1)
        share = synthetic / (human + synthetic)
        row: WebRound = {
            "round": n,
            "pages": human + synthetic,
            "human": human,
            "synthetic": synthetic,
            "synthetic_share": share,
            "lineage": share * (1 + 0.3 * n),
        }
        rows.append(row)
    return rows


CLAIMS: list[ClaimSummary] = [
    {
        "text": "synthetic-share is increasing",
        "verdict": "held",
        "effect": 2.46,
        "low": 2.41,
        "high": 2.52,
        "evidence": "0.27 at round 0, 0.70 at round 11, larger in 4 of 4 seeds",
        "more_seeds": None,
    },
    {
        "text": "frechet of alpha is bounded within 2.0 times its own generation 0",
        "verdict": "refuted",
        "effect": 5.87,
        "low": 5.46,
        "high": 6.34,
        "evidence": "reaches 2.0 at generation 5 and 5.9 at generation 11; the interval lies above the bound",
        "more_seeds": None,
    },
    {
        "text": "recall of beta is lower than recall of gamma",
        "verdict": "undecided",
        "effect": -0.008,
        "low": -0.021,
        "high": 0.005,
        "evidence": "difference from gamma",
        "more_seeds": 7,
    },
]


def a_summary(generations: int = 12) -> Summary:
    names = ["alpha", "beta", "gamma"]
    alpha, gamma = a_provider("collapsed", 0.16, generations, names), a_provider("stable", 0.004, generations, names)
    beta = a_provider("degrading", 0.08, (generations + 1) // 2, names, every=2)
    beta["note"] = "retrained every second round: half as many generations as the others"
    for provider, human in ((alpha, 0.4), (beta, 0.7), (gamma, 0.1)):
        before = {"alpha": generations - 1, "beta": generations // 2, "gamma": generations - 1}
        provider["sources"] = sources(before, human) if generations > 1 else []
    return {
        "scenario": "three-labs",
        "question": "Three labs scrape one web and each other. Who drifts, and do they converge?",
        "papers": ["arXiv:2310.00429", "arXiv:2407.09499"],
        "seeds": [0, 1, 2, 3],
        "rounds": 12,
        "humans": {
            "source": "digits",
            "shape": [1, 8, 8],
            "classes": 10,
            "held_out": 360,
            "features": "digits-cnn penultimate layer (64)",
            "classifier_accuracy": 0.972,
        },
        "verdict": "collapsed",
        "providers": {
            "alpha": alpha,
            "beta": beta,
            "gamma": gamma,
        },
        "web": a_web(12),
        "claims": CLAIMS,
        "metrics": {
            "frechet": {"unit": "", "better": "lower"},
            "precision": {"unit": "share", "better": "higher"},
            "recall": {"unit": "share", "better": "higher"},
            "class-entropy": {"unit": "bits", "better": "neither"},
            "nll": {"unit": "nats", "better": "lower"},
        },
    }


CONTRACTION = (
    "I. Shumailov et al., AI models collapse when trained on recursively generated data, 2024, arXiv:2305.17493"
)
WALK = "S. Alemohammad et al., Self-consuming generative models go MAD, 2023, arXiv:2307.01850"


def a_gaussian_world(seeds: int = 100, generations: int = 100, pages: int = 1000) -> Summary:
    """A Gaussian refitted to its own pages alone, really: E[variance] = (1 - 1/n)^t, E[shift^2] = 1 - (1 - 1/n)^t."""
    rng = stream(0, "gaussian", "refits")
    variance, mean, measured = np.ones(seeds), np.zeros(seeds), []
    for _ in range(generations):
        measured.append((variance, mean**2))
        mean = mean + np.sqrt(variance / pages) * rng.standard_normal(seeds)
        variance = variance * rng.chisquare(pages - 1, seeds) / pages
    kept = (1 - 1 / pages) ** np.arange(generations)
    values = {"variance": np.array([v for v, _ in measured]), "shift": np.array([m for _, m in measured])}
    summary = a_summary(generations)
    lab = summary["providers"]["alpha"]
    lab["model"], lab["family"] = "gaussian", "gaussian"
    lab["sources"] = [{"maker": "lab", "generation": generations - 2, "share": 1.0}]
    for row in lab["generations"]:
        n = row["generation"]
        row["metrics"] = {name: float(x[n].mean()) for name, x in values.items()}
        row["spread"] = {name: float(x[n].std(ddof=1)) for name, x in values.items()}
        row["data_set"] = {"pages": pages, "human": pages * (n == 0), "synthetic": pages * (n > 0), "by_maker": {}}
        row["data_set"]["by_maker"] = {"lab": pages} if n else {"human": pages}
    lab["theory"] = {
        "variance": a_theory("contraction by refitting", CONTRACTION, values["variance"], kept),
        "shift": a_theory("random walk of the mean", WALK, values["shift"], 1 - kept),
    }
    lab["evidence"] = [{**evidence(9.0, "collapsed")[0], "metric": "sliced-wasserstein", "start": 0.1, "end": 0.9}]
    summary["humans"].update({"source": "gaussian", "shape": [1], "classes": 1, "classifier_accuracy": None})
    summary["scenario"], summary["seeds"], summary["rounds"] = "gaussian-alone", list(range(seeds)), generations
    summary["question"] = "A Gaussian is refitted to its own samples. Does it shrink as it must?"
    summary["providers"], summary["web"], summary["claims"] = {"lab": lab}, a_web(generations), []
    summary["metrics"] = {"variance": {"unit": "", "better": "neither"}, "shift": {"unit": "", "better": "lower"}}
    return summary


def a_theory(oracle: str, source: str, measured: NDArray[np.float64], predicted: NDArray[np.float64]) -> Theory:
    """(generations, seeds) against (generations,)."""
    error = measured.std(axis=1, ddof=1) / math.sqrt(measured.shape[1])
    apart = np.abs(measured.mean(axis=1) - predicted) / np.where(error > 0, error, np.inf)
    return {
        "oracle": oracle,
        "source": source,
        "values": predicted.tolist(),
        "error": error.tolist(),
        "deviation": float(apart.max()),
        "at": int(apart.argmax()),
    }


def a_theory_of(provider: ProviderSummary, metric: str, largest: float) -> Theory:
    """A closed form from which the measurement departs more and more, to `largest` standard errors of 0.01."""
    values = [row["metrics"][metric] for row in provider["generations"]]
    steps = max(len(values) - 1, 1)
    predicted = [None if x is None else x - 0.01 * largest * n / steps for n, x in enumerate(values)]
    return {
        "oracle": "second moments of the data flow",
        "source": CONTRACTION,
        "values": predicted,
        "error": [0.01] * len(values),
        "deviation": largest,
        "at": len(values) - 1,
    }


def digits(n: int) -> NDArray[np.uint8]:
    """The first scans, (n, 1, 8, 8)."""
    images = scans()[:n, None] / 16 * 255
    return np.asarray(images.round().astype(np.uint8))


@lru_cache
def scans() -> NDArray[np.float64]:
    return np.asarray(load_digits().images)


def a_digit_gallery(generations: int = 12, n: int = 16) -> Gallery:
    """Each provider's images slide towards the mean image, each at its own pace."""
    human = digits(n)
    mean = digits(400).mean(axis=0)

    def drifted(pace: float, generation: int) -> NDArray[np.uint8]:
        kept = (1 - pace) ** generation
        return np.asarray((kept * human + (1 - kept) * mean).round().astype(np.uint8))

    paces = {"alpha": 0.25, "beta": 0.12, "gamma": 0.01}
    made = {name: {g: drifted(pace, g) for g in range(generations)} for name, pace in paces.items()}
    return Gallery(human, made)


def ring(n: int, modes: int = 8, width: float = 0.15, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi * rng.integers(modes, size=n) / 8
    return np.stack([2 * np.cos(angles), 2 * np.sin(angles)], 1) + width * rng.standard_normal((n, 2))


def a_ring_gallery(generations: int = 12) -> Gallery:
    """alpha loses a mode now and then, beta blurs, gamma stays."""
    alpha = {g: ring(500, max(8 - g, 1), seed=g) for g in range(generations)}
    beta = {g: ring(500, width=0.15 + 0.06 * g, seed=g) for g in range(generations)}
    return Gallery(ring(500), {"alpha": alpha, "beta": beta, "gamma": {g: ring(500, seed=g) for g in alpha}})


# ------------------------------------------------------------------------------------------ printing and ways


def text_of(
    summary: Summary,
    gallery: Gallery | None,
    width: int,
    styles: GlyphSet,
    system: Any = None,
) -> str:
    out = io.StringIO()
    terminal = Console(file=out, width=width, color_system=system, force_terminal=bool(system))
    terminal.print(report(summary, gallery, width=width, styles=styles))
    return out.getvalue()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def a_small_summary() -> Summary:
    """Two providers, five generations, one that missed its baseline and one that stopped."""
    summary = a_summary(5)
    summary["scenario"] = "two-labs"
    del summary["providers"]["gamma"]
    summary["web"] = summary["web"][:5]
    summary["metrics"] = {name: summary["metrics"][name] for name in ("frechet", "recall")}
    for provider in summary["providers"].values():
        provider["vote_share"] = provider["vote_share"][:5]
        for generation in provider["generations"]:
            for name in ("precision", "class-entropy", "nll"):
                del generation["metrics"][name]
            del generation["data_set"]["by_maker"]["gamma"]
    missed: BaselineMiss = {"metric": "recall", "card": 0.62, "run": 0.31}
    summary["providers"]["alpha"]["baseline"] = {"held": False, "misses": [missed]}
    summary["providers"]["beta"]["stopped"] = [{"seed": 2, "round": 3, "why": "the loss is not finite"}]
    for name, provider in summary["providers"].items():
        kept = [s for s in provider["sources"] if s["maker"] != "gamma"]
        provider["sources"] = [{**s, "share": s["share"] / math.fsum(k["share"] for k in kept)} for s in kept]
        provider["theory"] = {"recall": a_theory_of(provider, "recall", 4.4 if name == "alpha" else 1.2)}
    summary["providers"]["beta"]["evidence"][1].update({"reads": "undecided", "more_seeds": 12})
    last = summary["providers"]["beta"]["generations"][-1]
    last["lambda"], last["synthetic_share"] = None, 1.0
    return summary


WATCHED: dict[str, MetricInfo] = {
    "vote-concentration": {"unit": "share", "better": "lower"},
    "matthew": {"unit": "log growth a log share", "better": "lower"},
    "welfare": {"unit": "reward", "better": "higher"},
    "self-influence": {"unit": "reward", "better": "higher"},
    "cross-influence": {"unit": "reward", "better": "higher"},
}


def an_ecosystem(providers: list[str], rounds: int = 8, users: int = 2) -> Ecosystem:
    """On record in the order of a round: creators, scrapers, users and providers. The last provider enters late."""

    def by_round(pace: float, start: float = 1.0, since: int = 0) -> list[float | None]:
        return [None if n < since else start * math.exp(-pace * n) for n in range(rounds)]

    agents: dict[str, dict[str, list[float | None]]] = {
        "people": {"active": by_round(0.2, 20), "adopted-share": by_round(0.0, 0.25, since=1)},
        "common": {"removed": by_round(0.0, 0.0), "auc": by_round(-0.05, 0.6, since=1)},
    }
    agents |= {f"crowd {n}": {"refused": by_round(0.0, n), "welfare": by_round(0.3, -1 - n)} for n in range(users)}
    for i, name in enumerate(providers):
        since = rounds // 2 if i and i == len(providers) - 1 else 0
        of = {f"influence of {other}": by_round(0.1, 0.01 * (1 + i) * (1 + j)) for j, other in enumerate(providers)}
        own = of[f"influence of {name}"]
        cross = [math.fsum(series[n] or 0.0 for series in of.values()) - (own[n] or 0.0) for n in range(rounds)]
        told = {"self-influence": own, "cross-influence": cross, **of}
        agents[name] = {measure: [None] * since + series[since:] for measure, series in told.items()}
    web = {"vote-concentration": by_round(-0.02, 0.5), "matthew": by_round(0.0, -0.25, since=1)}
    return {"web": web, "agents": agents, "measures": WATCHED}


def a_living_summary() -> Summary:
    summary = a_summary(5)
    summary["web"] = summary["web"][:5]
    summary["ecosystem"] = an_ecosystem(list(summary["providers"]))
    return summary


def summary_of_many_agents(providers: int = 40) -> Summary:
    summary = a_summary()
    names = [f"lab {i}" for i in range(providers)]
    summary["providers"] = {name: a_provider("stable", 0.01, 1, names) for name in names}
    summary["ecosystem"] = an_ecosystem(names, users=40)
    return summary


def living_of_long_names() -> Summary:
    summary = summary_of_long_names()
    found = an_ecosystem(list(summary["providers"]))
    agents = found["agents"]
    for name in list(agents)[:4]:
        hostile = f"{name}-" + "läb日本語\x1b[31m\n[bold]" * 9
        agents[hostile] = {f"{measure} ∞\x1b[0m\n" * 4: series for measure, series in agents.pop(name).items()}
    long: MetricInfo = {"unit": "a unit with a long name\n" * 3, "better": "neither"}
    found["measures"] = dict.fromkeys([*WATCHED, *next(iter(agents.values()))], long)
    summary["ecosystem"] = found
    return summary


def living_of_missing_numbers() -> Summary:
    summary = a_living_summary()
    broken: list[float | None] = [None, math.nan, 1.0, math.inf] * 2
    for told in summary["ecosystem"]["agents"].values():
        for i, name in enumerate(told):
            told[name] = [broken, [None] * 8, [math.inf] * 8, [1e-9, None] * 4][i % 4]
    summary["ecosystem"]["measures"] = {}
    return summary


def living_of(rounds: int) -> Summary:
    summary = a_living_summary()
    summary["ecosystem"] = an_ecosystem(list(summary["providers"]), rounds)
    return summary


GALLERIES = {"digits": a_digit_gallery, "ring": a_ring_gallery}
STYLES = {"utf-8": UNICODE, "ascii": ASCII}
COLOURED = replace(UNICODE, colour=True)


@pytest.mark.parametrize("encoding", STYLES)
@pytest.mark.parametrize("kind", [*GALLERIES, "gaussian", "living"])
def test_a_whole_report_is_as_it_was_when_someone_looked_at_it(encoding: str, kind: str) -> None:
    if kind == "gaussian":
        text = text_of(a_gaussian_world(), None, 100, STYLES[encoding])
    elif kind == "living":
        text = text_of(a_living_summary(), None, 80, STYLES[encoding])
    else:
        text = text_of(a_small_summary(), GALLERIES[kind](3), 80, STYLES[encoding])
    golden = GOLDENS / f"report-{kind}-{encoding}.txt"
    if os.environ.get("ECOSYSTEM_WRITE_GOLDENS"):
        GOLDENS.mkdir(exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


# ------------------------------------------------------------------------------- every report, on any console


def summary_with_nothing() -> Summary:
    """A run that stopped before its first generation."""
    summary = a_summary()
    summary["claims"], summary["papers"], summary["web"] = [], [], []
    summary["humans"]["classifier_accuracy"] = None
    summary["providers"] = {"alpha": a_provider("undecided", 0.1, 0, ["alpha"])}
    summary["providers"]["alpha"]["vote_share"] = []
    stops = [{"seed": seed, "round": 0, "why": "the data set is empty"} for seed in range(9)]
    summary["providers"]["alpha"]["stopped"] = stops  # type: ignore[typeddict-item]
    return summary


def summary_of_missing_numbers() -> Summary:
    """None, NaN and infinities wherever the schema lets a float through."""
    summary = a_summary()
    for provider in summary["providers"].values():
        for generation in provider["generations"]:
            n = generation["generation"]
            generation["metrics"].update({"frechet": None, "recall": math.nan, "precision": [0.5, math.inf][n % 2]})
            generation["spread"] = dict.fromkeys(generation["metrics"], [None, math.nan][n % 2])
            generation["lambda"] = [None, math.nan, math.inf][n % 3]
            generation["lineage"] = math.nan
        for e in provider["evidence"]:
            e.update({"start": None, "end": math.nan, "effect": math.nan, "low": None, "high": math.inf})
        provider["vote_share"] = [None, math.nan] * 6
        broken = [None, math.nan, 1.0, math.inf] * 3
        said: Theory = {
            "oracle": "",
            "source": "",
            "values": broken,
            "error": broken[1:],
            "deviation": None,
            "at": None,
        }
        provider["theory"] = {"recall": said, "never-measured": {**said, "error": [], "deviation": math.nan}}
        provider["definitions"] = provider["definitions"][3:]
        provider["sources"] = [{"maker": "alpha", "generation": None, "share": math.nan}]
        del provider["evidence"][0]["more_seeds"]  # type: ignore[misc]
    summary["web"][3].update({"synthetic_share": math.nan, "lineage": math.nan, "pages": math.nan})
    return summary


def summary_of_long_names(providers: int = 6) -> Summary:
    """Names of the greatest length allowed, wide characters, and characters that could hurt a terminal."""
    summary = a_summary()
    names = [f"provider-{i}-" + "läb日本語\x1b[31m\n" * 5 for i in range(providers)]
    summary["scenario"] = "a-scenario-with-a-name-" * 6
    summary["question"] = "Does λ → ∞, “quoted” – or [bold]not[/bold]?\n" * 4
    summary["providers"] = {name: a_provider("stable", 0.01, 5, names) for name in names}
    for provider in summary["providers"].values():
        for d in provider["definitions"]:
            d["name"], d["holds"], d["evidence"] = d["name"] * 3, "yes", d["evidence"] * 3
        told = a_theory_of(provider, "recall", 123456.7)
        provider["theory"] = {"metric-" * 9: {**told, "oracle": told["oracle"] * 5, "source": told["source"] * 3}}
        provider["model"] = "a-model-" * 12
        for e in provider["evidence"]:
            e["metric"] = "frechet-distance-" * 4
        for generation in provider["generations"]:
            generation["metrics"] = {"metric-" * 9: 1.5, "x": None}
    return summary


def summary_of_one_generation() -> Summary:
    summary = a_summary(1)
    summary["seeds"], summary["web"] = [7], summary["web"][:1]
    return summary


def summary_of_many_generations() -> Summary:
    summary = a_summary(100)
    summary["seeds"], summary["web"], summary["rounds"] = list(range(100)), a_web(100), 100
    for provider in summary["providers"].values():
        provider["theory"] = {m: a_theory_of(provider, m, 2.5) for m in ("frechet", "recall", "class-entropy")}
    return summary


def a_gallery_for(summary: Summary, kind: str) -> Gallery:
    made = GALLERIES[kind](3)
    return Gallery(made.human, {next(iter(summary["providers"])): made.providers["alpha"]})


SUMMARIES = {
    "usual": a_summary,
    "nothing": summary_with_nothing,
    "missing numbers": summary_of_missing_numbers,
    "long names": summary_of_long_names,
    "one generation": summary_of_one_generation,
    "100 generations": summary_of_many_generations,
    "theory": a_gaussian_world,
}
CONSOLES = {
    "colour": (COLOURED, "truecolor", 120),
    "sixteen colours": (UNICODE, "standard", 80),
    "a pipe": (UNICODE, None, 100),
    "ascii": (ASCII, None, 80),
}


NARROWEST_AND_WIDEST = ("ascii", "colour")  # enough for what is no wider than usual


@pytest.mark.parametrize(
    ("name", "way"),
    [
        (n, w)
        for n in SUMMARIES
        for w in CONSOLES
        if w in NARROWEST_AND_WIDEST or n in ("missing numbers", "long names")
    ],
)
def test_every_report_fits_the_page_and_can_be_encoded(name: str, way: str) -> None:
    styles, system, width = CONSOLES[way]
    summary = SUMMARIES[name]()
    gallery = a_gallery_for(summary, "digits")
    lines = plain(text_of(summary, gallery, width, styles, system)).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert all(line == line.rstrip() for line in lines), "trailing blanks"
    assert all(line.isprintable() for line in lines)
    assert not any(re.search(r"\bnan\b", line) for line in lines)
    "\n".join(lines).encode(styles.encoding)


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_summary_makes_figures(name: str, tmp_path: Path) -> None:
    summary = SUMMARIES[name]()
    saved = save_figures(summary, a_gallery_for(summary, "ring"), tmp_path)
    assert [path.name for path in saved] == ["curves.png", "gallery.png"]
    assert all(path.stat().st_size < 300_000 for path in saved)


def test_a_narrow_console_is_survived() -> None:
    text = text_of(a_summary(), a_ring_gallery(2), 30, UNICODE)
    assert max(map(cell_len, text.splitlines())) <= 30


def test_no_gallery_no_claims_and_one_provider_leave_their_sections_out() -> None:
    summary = a_summary()
    full = text_of(summary, a_digit_gallery(), 80, UNICODE)
    summary["claims"] = []
    summary["providers"] = {"alpha": summary["providers"]["alpha"]}
    short = text_of(summary, None, 80, UNICODE)
    for title in ("Claims", "Votes", "Gallery"):
        assert f" {title} ─" in full
        assert f" {title} ─" not in short


# ----------------------------------------------------------------------------------------------- which glyphs


def a_console(encoding: str, **settings: Any) -> tuple[Console, io.BytesIO]:
    raw = io.BytesIO()
    # Strict, as Python's own stdout is: what cannot be encoded is an error and not a question mark.
    file = io.TextIOWrapper(raw, encoding=encoding, errors="strict", write_through=True)
    return Console(file=file, width=80, **settings), raw


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "utf-8"])
def test_print_report_writes_only_what_the_console_encodes(encoding: str) -> None:
    console, raw = a_console(encoding)
    print_report(summary_of_long_names(), a_digit_gallery(2), console)
    assert len(raw.getvalue().decode(encoding).splitlines()) > 20


def test_pictures_are_coloured_only_where_the_console_has_enough_colours() -> None:
    colours = {"color_system": "truecolor", "force_terminal": True}
    assert glyphs_for(a_console("utf-8", **colours)[0]).colour
    assert not glyphs_for(a_console("utf-8", **colours, no_color=True)[0]).colour
    assert not glyphs_for(a_console("utf-8", color_system="standard", force_terminal=True)[0]).colour
    assert not glyphs_for(a_console("utf-8")[0]).colour
    assert glyphs_for(a_console("ascii")[0]).halves == ""


def test_verdicts_are_coloured() -> None:
    text = text_of(a_summary(), None, 80, UNICODE, "standard")
    for word, code in (("collapsed", "1;31"), ("degrading", "1;33"), ("stable", "1;32"), ("undecided", "35")):
        assert f"\x1b[{code}m{word}" in text


def test_the_alphabets_are_what_they_say() -> None:
    assert ASCII.alphabet.isascii()
    for styles in (ASCII, UNICODE):
        assert all(cell_len(c) == 1 for c in styles.alphabet)


# ----------------------------------------------------------------------------------------------- what is said


def test_warnings_come_first_and_say_what_is_wrong() -> None:
    lines = text_of(a_small_summary(), None, 120, ASCII).splitlines()
    assert lines[0] == (
        "! alpha: generation 0 misses its card's baseline: recall 0.310 against 0.620; "
        "the verdicts below are worth little"
    )
    assert lines[1] == "! beta: stopped in seed 2 at round 3: the loss is not finite"


def test_many_stops_are_summed_up() -> None:
    text = text_of(summary_with_nothing(), None, 80, ASCII)
    assert text.count("stopped in seed") == 4
    assert "stopped in 5 more seeds" in text


def test_the_last_line_reproduces_the_run() -> None:
    text = text_of(a_summary(), None, 80, UNICODE)
    assert text.splitlines()[-1] == "Reproduce: ecosystem run three-labs --seeds 0,1,2,3"


def test_an_infinite_lambda_has_its_sign() -> None:
    assert re.search(r"∞ +100\.0 %", text_of(a_small_summary(), None, 80, UNICODE))
    assert re.search(r"inf +100\.0 %", text_of(a_small_summary(), None, 80, ASCII))


def test_makers_that_do_not_fit_are_added_up() -> None:
    """For 1 to 6 providers the columns of a training set always add up to its synthetic pages."""
    for providers in range(1, 7):
        names = [f"provider{i}" for i in range(providers)]
        summary = a_summary()
        summary["providers"] = {name: a_provider("stable", 0.01, 5, names) for name in names}
        text = "\n".join(section_of(summary, "Training sets", 80))
        last = next(line for line in text.splitlines() if re.match(r" +4 +4 ", line)).split()
        pages, human = float(last[2]), float(last[3])
        assert sum(map(float, last[4:-4])) == pytest.approx(pages - human, abs=providers)
        assert ("(others)" in text) == (providers > 3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "-∞"),
        (0.0, "0"),
        (0.00012, "1.2e-04"),
        (0.0012, "0.0012"),
        (0.0999, "0.100"),
        (0.31, "0.310"),
        (0.9996, "1.00"),
        (9.996, "10.0"),
        (-23.46, "-23.5"),
        (99.96, "100"),
        (1520.4, "1520"),
        (3e7, "3.0e+07"),
    ],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert number(value, UNICODE) == text


def test_effects_and_counts() -> None:
    assert with_interval(1.32, 1.2, 1.447, UNICODE) == "1.32 [1.20, 1.45]"
    assert with_interval(1.32, None, None, UNICODE) == "1.32"
    assert with_interval(12.34, 0.97, math.inf, UNICODE) == "12.3 [0.97, ∞]"
    assert [count(x, UNICODE) for x in (40.0, 12.5, 1520.25)] == ["40", "12.5", "1520"]


# ------------------------------------------------------------------------------ theory, data flow, definitions


SECTIONS = {
    "What collapse means here": reports.definitions,
    "Theory": reports.theory,
    "Data flow": reports.data_flow,
    "Training sets": reports.training_sets,
    "Co-evolution": reports.coevolution,
}


def section_of(summary: Summary, title: str, width: int, styles: GlyphSet = UNICODE) -> list[str]:
    """The lines of one section, printed alone as `report` prints it among the others."""
    part = SECTIONS[title](summary, width, styles)
    assert part is not None
    out = io.StringIO()
    Console(file=out, width=width).print(Page(part, width, styles.encoding))
    return out.getvalue().split(f"{styles.rule * 2} {title} {styles.rule}")[1].splitlines()[1:]


TITLES = ("What collapse means here", "Theory", "Data flow")


def without_news(summary: Summary) -> Summary:
    """As summaries were before there were closed forms, definitions and the rows of W."""
    old: Any = copy.deepcopy(summary)
    for provider in old["providers"].values():
        del provider["theory"], provider["definitions"], provider["sources"]
        for e in provider["evidence"]:
            del e["more_seeds"]
    for claim in old["claims"]:
        del claim["more_seeds"]
    return cast(Summary, old)


def test_new_sections_are_there_where_there_is_something_to_say(tmp_path: Path) -> None:
    empty = a_small_summary()
    for provider in empty["providers"].values():
        provider["theory"], provider["definitions"], provider["sources"] = {}, [], []
        provider["evidence"] = [{**e, "more_seeds": None} for e in provider["evidence"]]
    empty["claims"] = [{**claim, "more_seeds": None} for claim in empty["claims"]]
    text = text_of(empty, None, 80, UNICODE)
    for title in TITLES:
        assert f" {title} ─" in text_of(a_small_summary(), None, 80, UNICODE)
        assert f" {title} ─" not in text
    assert "collapse by" not in text
    assert text == text_of(without_news(a_small_summary()), None, 80, UNICODE), "a summary on file still prints"
    assert save_figures(without_news(a_small_summary()), None, tmp_path)


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("name", ["gaussian", "three labs"])
def test_theory_stands_under_what_was_measured(name: str, width: int) -> None:
    """Every number told is that of its generation, the last always among them, and the sparks lie on one scale."""
    summary = a_gaussian_world() if name == "gaussian" else summary_of_many_generations()
    lines = section_of(summary, "Theory", width)
    heads = [i for i, line in enumerate(lines) if line.startswith("    generation ")]
    for head, provider in zip(heads, summary["providers"].values(), strict=True):
        told = [int(word) for word in lines[head].removesuffix("by generation").split()[1:]]
        assert told[-1] == len(provider["generations"]) - 1
        assert len(told) >= 4
        rows = [line.split() for line in lines[head:] if line.startswith(("    measured", "    predicted"))]
        for i, (metric, theory) in enumerate(provider["theory"].items()):
            values = [row["metrics"][metric] for row in provider["generations"]]
            measured, predicted = rows[2 * i][1:], rows[2 * i + 1][1:]
            assert measured[: len(told)] == [number(values[n], UNICODE) for n in told]
            assert predicted[: len(told)] == [number(theory["values"][n], UNICODE) for n in told]
            on = scale([values, theory["values"]])
            each = next(w for w in range(1, 101) if len(spark(values, on, w, UNICODE)) == len(measured[-1]))
            assert predicted[-1] == spark(theory["values"], on, each, UNICODE)


def test_deviations_are_in_standard_errors() -> None:
    provider = a_gaussian_world()["providers"]["lab"]
    told = provider["theory"]["variance"]
    apart = deviations(provider, "variance")
    known = [abs(d) for d in apart if d is not None]
    assert apart[0] == 0.0, "at generation 0 the two are equal, and have no standard error"
    assert max(known) == pytest.approx(told["deviation"])
    assert known.index(max(known)) == told["at"]
    assert max(known) < 4, "the closed form is true of the refits it is held against"


def test_how_often_noise_alone_deviates_is_students_t() -> None:
    for limit, freedom in itertools.product((0.5, 3.0), (1, 2, 3, 7, 19, 99)):
        assert beyond(limit, freedom) == pytest.approx(2 * student.sf(limit, freedom), rel=1e-9)
    text = " ".join(text_of(a_gaussian_world(8), None, 80, UNICODE).split())
    assert "full at 3, which normal noise exceeds at one generation in 50." in text


def test_what_is_beyond_three_standard_errors_is_red() -> None:
    """alpha departs by 1.1, 2.2, 3.3 and 4.4 standard errors, beta by 1.2 at the most."""
    text = text_of(a_small_summary(), None, 80, UNICODE, "standard")
    rows = [line for line in text.splitlines() if plain(line).startswith("    deviation")]
    red = [re.findall(r"\x1b\[1;31m(.*?)\x1b", row) for row in rows]
    assert red == [["+3.3", "+4.4", "▇", "▇"], []]
    assert "+1.1" in plain(rows[0])
    assert "\x1b[1;31mlargest deviation 4.4 se at generation 4\x1b" in text
    assert "\x1b[2mlargest deviation 1.2 se at generation 2\x1b" in text


def test_without_standard_errors_no_deviation_is_told() -> None:
    summary = a_small_summary()
    for provider in summary["providers"].values():
        provider["theory"]["recall"].update({"error": [None] * 5, "deviation": None, "at": None})
    lines = section_of(summary, "Theory", 80)
    assert sum("no standard error: fewer than two seeds" in line for line in lines) == 2
    assert not any(line.startswith("    deviation") for line in lines)
    for provider in summary["providers"].values():
        provider["theory"]["recall"]["error"] = [0.0] * 5
    lines = section_of(summary, "Theory", 80)
    assert sum("another number than predicted" in line for line in lines) == 2
    assert any(re.search(r"deviation +∞ +∞ +∞", line) for line in lines)


def test_a_counted_share_has_a_theory_as_a_metric_has() -> None:
    summary = a_small_summary()
    alpha = summary["providers"]["alpha"]
    shares: list[float | None] = [row["synthetic_share"] for row in alpha["generations"]]
    told: Theory = {**alpha["theory"]["recall"], "values": shares, "deviation": None, "at": None}
    alpha["theory"] = {"synthetic-share": {**told, "error": [0.0] * 5}}
    text = "\n".join(section_of(summary, "Theory", 80))
    assert re.search(rf"measured +{number(shares[1], UNICODE)} ", text)
    assert "as predicted in every seed" in text


def test_sources_are_cited_once_each() -> None:
    text = " ".join(" ".join(section_of(a_gaussian_world(), "Theory", 80)).split())
    assert text.count(CONTRACTION) == text.count(WALK) == 1
    assert f"[1] {CONTRACTION} [2] {WALK}" in text
    assert "refitting [1]" in text
    assert "mean [2]" in text


def test_a_row_of_w_is_all_of_a_data_set() -> None:
    """At every width, with as many makers as fit and the others added up."""
    for width, providers in itertools.product((80, 120), (1, 3, 5, 8)):
        names = [f"provider{i}" for i in range(providers)]
        summary = a_summary()
        summary["providers"] = {name: a_provider("stable", 0.01, 5, names) for name in names}
        lines = section_of(summary, "Data flow", width)
        rows = [re.findall(r"([\d.]+) %", line) for line in lines if line.startswith("  provider") and "%" in line]
        assert len(rows) == providers
        assert all(sum(map(float, row)) == pytest.approx(100, abs=0.05 * len(row) + 0.01) for row in rows)
        assert ("(others)" in "".join(lines)) == (len(rows[0]) < providers + 1)


def test_shares_are_drawn_at_the_generation_that_made_them() -> None:
    """A maker's columns line up over all data sets; a generation that is in none of a row leaves a blank."""
    summary = a_summary(5)
    rows: dict[str, list[tuple[str, int | None, float]]] = {
        "alpha": [("human", None, 0.3), ("alpha", 2, 0.1), ("alpha", 3, 0.6)],
        "beta": [("alpha", 0, 0.6), ("beta", 1, 0.4)],
        "gamma": [("human", None, 0.4), ("alpha", 1, 0.3), ("alpha", 3, 0.3)],
    }
    for name, row in rows.items():
        summary["providers"][name]["sources"] = [{"maker": m, "generation": n, "share": s} for m, n, s in row]
    lines = section_of(summary, "Data flow", 80)
    assert [line.rstrip() for line in lines[-7:]] == [
        "  provider  gen   human  alpha   beta",
        "                         g0–g3   g1",
        "  alpha       4  30.0 %  70.0 %  0.0 %",
        "                           ▂▇",
        "  beta        2   0.0 %  60.0 %  40.0 %",
        "  gamma       4  40.0 %  60.0 %  0.0 %",
        "                          ▇ ▇",
    ]


def test_many_generations_share_a_character_by_their_mean() -> None:
    """Equal shares are equal characters, the last of them too, although fewer generations are left for it."""
    summary = a_gaussian_world()
    lab = summary["providers"]["lab"]
    lab["sources"] = [{"maker": "lab", "generation": n, "share": 0.01} for n in range(100)]
    lines = section_of(summary, "Data flow", 80)
    assert lines[-1].strip() == "▇" * 34
    assert "one character for each 3 generations (their mean)" in " ".join(" ".join(lines).split())


def test_definitions_are_marked_for_each_provider() -> None:
    lines = section_of(a_summary(), "What collapse means here", 80)
    marks = {words[0]: words[-3:] for line in lines if (words := line.split()) and len(words) > 4}
    columns = [HOLD[word] for word in ("collapsed", "degrading", "stable")]
    for i, name in enumerate(MEANINGS):
        wanted = [{"y": "yes", "n": "no", "?": "?"}[column[i]] for column in columns]
        assert any(line.split() == [str(i + 1), *name.split(), *wanted] for line in lines), marks


def test_verdicts_say_by_which_definitions() -> None:
    text = text_of(a_summary(), None, 120, UNICODE)
    assert "collapsed  alpha  collapse by definitions 1, 2, 3, 5, 8  flow-matching-digits" in text
    assert "degrading  beta  collapse by definition 2  flow-matching-digits" in text
    assert "stable     gamma  flow-matching-digits (flow matching), 12 generations" in text


def test_evidence_is_given_for_what_holds_and_for_what_nobody_knows() -> None:
    lines = section_of(a_summary(), "What collapse means here", 80)
    evidence = [" ".join(line.split()) for line in lines[lines.index("") + 1 :] if line]
    meanings = list(MEANINGS.values())
    assert evidence == [
        f"alpha 1, 2 {meanings[0]}",
        *(f"{n} {meanings[n - 1]}" for n in (3, 5, 8)),
        f"beta 2 {meanings[1]}",
        f"all 4 {meanings[3]}",
        f"7 {meanings[6]}",
    ]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_one_provider_has_all_of_its_evidence(width: int) -> None:
    lines = section_of(a_gaussian_world(), "What collapse means here", width)
    told = " ".join(" ".join(lines).split())
    for (name, evidence), mark in zip(MEANINGS.items(), HOLD["collapsed"], strict=True):
        n = 1 + list(MEANINGS).index(name)
        assert f"{ {'y': 'yes', 'n': 'no', '?': '?'}[mark] } {n} {name} {evidence}" in told
    assert len(lines) <= 2 * len(MEANINGS) + 3


def test_what_is_undecided_says_how_many_seeds_would_decide() -> None:
    text = " ".join(text_of(a_small_summary(), None, 80, UNICODE).split())
    assert "recall: about 12 more seeds would decide" in text
    assert "difference from gamma; about 7 more seeds would decide" in text
    assert text.count("more seeds would decide") == 2, "what is decided needs no more"
    assert more_seeds(1) == "about 1 more seed would decide"


def test_many_seeds_are_reproduced_by_a_range() -> None:
    summary = a_gaussian_world()
    assert text_of(summary, None, 80, UNICODE).splitlines()[-1].endswith("gaussian-alone --seeds 0-99")
    summary["seeds"].remove(50)
    assert ",49,51," in text_of(summary, None, 80, UNICODE).replace("\n", "")


@pytest.mark.parametrize("width", [80, 120])
def test_a_hundred_seeds_and_generations_are_told_at_once_and_as_briefly_as_twenty(width: int) -> None:
    summary = a_gaussian_world()
    began = time.process_time()
    lines = text_of(summary, None, width, UNICODE).splitlines()
    assert time.process_time() - began < 1
    assert len(lines) <= len(text_of(a_gaussian_world(20, 20), None, width, UNICODE).splitlines()) + 2


# ----------------------------------------------------------------------------------------------- co-evolution


LIVING = {
    "usual": a_living_summary,
    "one round": lambda: living_of(1),
    "300 rounds": lambda: living_of(300),
    "40 agents of a kind": summary_of_many_agents,
    "long names": living_of_long_names,
    "missing numbers": living_of_missing_numbers,
}


@pytest.mark.parametrize("name", LIVING)
def test_co_evolution_fits_the_page_and_can_be_encoded(name: str) -> None:
    summary = LIVING[name]()
    for styles, width in itertools.product((ASCII, UNICODE), (60, 80, 120)):
        lines = section_of(summary, "Co-evolution", width, styles)
        assert max(map(cell_len, lines)) <= width
        assert all(line == line.rstrip() and line.isprintable() for line in lines)
        assert not any(re.search(r"\bnan\b", line) for line in lines)
        "\n".join(lines).encode(styles.encoding)
        assert len(lines) < 90, "however many there are"


def test_where_nothing_was_watched_there_is_no_co_evolution() -> None:
    assert reports.coevolution(a_summary(), 80, UNICODE) is None
    summary = a_living_summary()
    assert " Co-evolution ─" in text_of(summary, None, 80, UNICODE).split(" Votes ─")[1], "behind the votes"
    summary["ecosystem"] = {"web": {}, "agents": {"alpha": {}, "people": {}}, "measures": {}}
    assert reports.coevolution(summary, 80, UNICODE) is None


def blocks_of(lines: list[str]) -> list[tuple[str, list[str]]]:
    """Each name with the lines below it."""
    found: list[tuple[str, list[str]]] = []
    start = next(i for i, line in enumerate(lines) if line.startswith("  measure"))
    for line in itertools.takewhile(bool, lines[start + 1 :]):
        if re.match(r"  [↑↓·] ", line):
            found[-1][1].append(line)
        else:
            found.append((line.strip(), []))
    return found


@pytest.mark.parametrize(("rounds", "width"), [(1, 80), (8, 60), (8, 120), (300, 60), (300, 80)])
def test_lines_stand_under_whom_they_tell_of(rounds: int, width: int) -> None:
    """The web, providers, users, creators, scrapers; with the first and the last known number."""
    summary = living_of(rounds)
    found = dict(blocks_of(section_of(summary, "Co-evolution", width)))
    agents = summary["ecosystem"]["agents"]
    assert list(found) == ["web", "alpha", "beta", "gamma", "crowd 0", "crowd 1", "people", "common"]
    for name, lines in found.items():
        told = summary["ecosystem"]["web"] if name == "web" else agents[name]
        told = {measure: series for measure, series in told.items() if not measure.startswith("influence of")}
        assert [line.split()[1] for line in lines] == list(told)
        for line, (measure, series) in zip(lines, told.items(), strict=True):
            known = [x for x in series if x is not None] or [None]
            assert line.split()[-1] == number(known[-1], UNICODE)
            assert f" {number(known[0], UNICODE)} " in line
            better = WATCHED[measure]["better"] if measure in WATCHED else "neither"
            assert line[2] == {"lower": "↓", "higher": "↑", "neither": "·"}[better]


def test_equal_numbers_of_a_measure_are_equal_characters_and_null_is_a_gap() -> None:
    summary = a_living_summary()
    agents = summary["ecosystem"]["agents"]
    agents["crowd 0"] = {"welfare": [0.0, 1.0, None, 2.0]}
    agents["crowd 1"] = {"welfare": [2.0, None, None, 4.0]}
    found = dict(blocks_of(section_of(summary, "Co-evolution", 80)))
    assert "  ▁▂ ▄     " in found["crowd 0"][0]
    assert "  ▄  ▇     " in found["crowd 1"][0]


def test_many_agents_of_a_kind_are_told_by_their_mean() -> None:
    summary = summary_of_many_agents()
    found = blocks_of(section_of(summary, "Co-evolution", 100))
    labs, crowds = [f"lab {i}" for i in range(5)], [f"crowd {i}" for i in range(5)]
    rest = "(35 others, their mean)"
    assert [name for name, _ in found] == ["web", *labs, rest, *crowds, rest, "people", "common"]
    agents = summary["ecosystem"]["agents"]
    welfare = [agents[f"crowd {i}"]["welfare"] for i in range(5, 40)]
    first, last = (float(np.mean([series[n] for series in welfare])) for n in (0, -1))
    line = next(line for _, lines in found for line in lines if "welfare" in line and lines is found[-3][1])
    assert line.split()[-1] == number(last, UNICODE)
    assert f" {number(first, UNICODE)} " in line


@pytest.mark.parametrize(("providers", "width"), [(2, 60), (3, 80), (12, 80), (13, 120), (40, 80), (40, 120)])
def test_a_row_of_the_influences_adds_up(providers: int, width: int) -> None:
    """All who trained, up to twelve; the columns, those without room together, are self- and cross-influence."""
    summary = summary_of_many_agents(providers)
    lines = section_of(summary, "Co-evolution", width)
    head = next(i for i, line in enumerate(lines) if line.startswith("  on "))
    rows = [line.removeprefix(f"  lab {i}").split() for i, line in enumerate(lines[head + 1 :])]
    assert len(rows) == min(providers, 12)
    assert ("(others)" in lines[head]) == (len(rows[0]) < providers + (len(rows[0]) > providers))
    assert (f"{providers - 12} more that train are not shown" in " ".join(" ".join(lines).split())) == (providers > 12)
    for i, row in enumerate(rows):
        told = summary["ecosystem"]["agents"][f"lab {i}"]
        own, cross = (told[name][-1] or 0.0 for name in ("self-influence", "cross-influence"))
        assert math.fsum(map(float, row)) == pytest.approx(own + cross, rel=0.01)
        if i < len(row) - ("(others)" in lines[head]):
            assert row[i] == number(own, UNICODE)


def test_what_tells_creators_from_users_is_what_they_are_told() -> None:
    assert {*measures.BY_CREATORS} - {*measures.BY_USERS} == OF_CREATORS
    assert {*measures.BY_USERS, *measures.OF_USERS} == OF_USERS
    assert not {*measures.BY_SCRAPERS} & (OF_CREATORS | OF_USERS)


@pytest.mark.parametrize(
    "path", sorted((GOLDENS.parent.parent / "reports").glob("*/summary.json")), ids=lambda p: p.parent.name
)
def test_whatever_a_reference_report_tells_of_agents_has_its_unit(path: Path) -> None:
    """Influences stand in a matrix, in the unit of a reward."""
    found = json.loads(path.read_text(encoding="utf-8")).get("ecosystem", {"web": {}, "agents": {}, "measures": {}})
    told = {name for of in (found["web"], *found["agents"].values()) for name in of if not name.startswith("influence")}
    assert found["measures"].keys() == told
    for name in told:
        assert found["measures"][name] == measures.ALL[name]
        assert measures.ALL[name]["unit"]


def test_units_of_what_is_told_are_in_the_report() -> None:
    summary = a_living_summary()
    summary["ecosystem"]["measures"] = {
        name: measures.ALL[name] for name in (*WATCHED, "active", "adopted-share", "auc")
    }
    lines = " ".join(section_of(summary, "Co-evolution", 100))
    for words in ("active people", "adopted-share share of t", "auc probability"):
        assert words in " ".join(lines.split())


def test_one_provider_has_no_matrix_of_influences() -> None:
    summary = a_living_summary()
    summary["providers"] = {"alpha": summary["providers"]["alpha"]}
    assert not any(line.startswith("  on ") for line in section_of(summary, "Co-evolution", 80))


# -------------------------------------------------------------------------------------------- how it is drawn


def test_sparks_share_a_scale_and_leave_gaps() -> None:
    on = Scale(0.0, 1.0)
    assert spark([0.0, None, 0.5, 1.0], on, 1, UNICODE) == "▁ ▄▇"
    assert spark([0.0, 0.5], on, 1, UNICODE) == "▁▄", "the second series does not reach the top of the scale"
    assert spark([3.0, 3.0], Scale(3.0, 3.0), 1, UNICODE) == "▄▄", "no range: neither high nor low"
    assert spark([0.0, math.nan, 1.0], on, 1, ASCII) == "_ #"


def test_a_provider_that_runs_away_does_not_flatten_the_others() -> None:
    assert not Scale(1.0, 100.0).logarithmic
    assert not Scale(0.0, 1e9).logarithmic, "zero has no logarithm"
    on = Scale(1.0, 1e6)
    assert spark([1.0, 1e2, 1e4, 1e6], on, 1, UNICODE) == "▁▃▅▇"
    assert [on.position(x) for x in (-1.0, 1e3, 1e9)] == pytest.approx([0.0, 0.5, 1.0])


def test_long_series_are_binned_by_their_mean() -> None:
    assert bin_width(12, 20) == 1
    assert bin_width(100, 28) == 4
    assert binned([1.0, 3.0, None, 5.0, None, None, 7.0], 2) == [2.0, 5.0, None, 7.0]


def test_bars_are_as_long_as_their_share() -> None:
    assert bar(0.0, 8, UNICODE) == ""
    assert bar(0.5, 8, UNICODE) == "████"
    assert bar(1.0, 8, UNICODE) == "████████"
    assert bar(0.53125, 8, UNICODE) == "████▎"


def test_rows_are_chosen_evenly_with_both_ends() -> None:
    assert evenly(5, 8) == [0, 1, 2, 3, 4]
    chosen = evenly(100, 8)
    assert (len(chosen), chosen[0], chosen[-1]) == (8, 0, 99)
    assert {b - a for a, b in itertools.pairwise(chosen)} <= {14, 15}
    assert evenly(0, 8) == []


def test_shrinking_keeps_the_mean() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32)).astype(np.uint8)
    small = shrunk(images, 16)
    assert small.shape == (3, 16, 16, 3)
    np.testing.assert_allclose(small.mean(axis=(1, 2)), images.mean(axis=(2, 3)))
    assert shrunk(images[:, :1, :28, :28], 16).shape == (3, 14, 14, 1)


def test_the_threshold_lies_between_dark_and_bright() -> None:
    values = np.concatenate([np.full(90, 10.0), np.full(10, 200.0)])
    assert 10 < otsu(values) < 200
    assert otsu(np.zeros(5)) == 127.5, "nothing to tell apart: the middle"


def test_half_blocks_and_braille_show_every_pixel_at_its_place() -> None:
    image = np.zeros((1, 1, 8, 8), np.uint8)
    image[0, 0, 3, 5] = 255  # fourth row: the lower half of the second line
    summary = a_summary()
    summary["providers"] = {"alpha": summary["providers"]["alpha"]}
    lines = text_of(summary, Gallery(image, {"alpha": {0: image}}), 80, UNICODE).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("  human"))
    assert lines[start : start + 3] == ["  human", " " * 13 + "▄", ""]
    axes = Axes(np.array([0.0, 0.0]), np.array([1.0, 1.0]))
    drawn = [str(line) for line in panel(np.array([[0.01, 0.99], [9.0, -9.0]]), axes, "g0", 8, "", UNICODE)]
    empty = "│        │"
    assert drawn == ["┌─ g0 ───┐", "│⠁       │", empty, empty, "│       ⢀│", "└────────┘"]


def test_truecolour_pixels_are_their_own_colours() -> None:
    image = np.zeros((1, 3, 2, 2), np.uint8)
    image[0, :, 0, 0], image[0, :, 1, 0] = (255, 0, 0), (0, 0, 255)
    summary = a_summary()
    text = text_of(summary, Gallery(image, {"alpha": {0: image}}), 80, COLOURED, "truecolor")
    assert "\x1b[38;2;255;0;0;48;2;0;0;255m▀" in text


def test_a_width_of_80_holds_eight_digits_and_120_twelve() -> None:
    for width, digits_a_row in ((80, 8), (120, 12)):
        text = text_of(a_summary(), a_digit_gallery(1), width, COLOURED, "truecolor")
        row = next(line for line in text.splitlines() if "human" in line and "▀" in line)
        assert row.count("▀") == 8 * digits_a_row


@pytest.mark.parametrize(("dimensions", "said"), [(1, "Histograms"), (2, "On the"), (5, "first two of 5")])
def test_vectors_of_any_dimension_are_drawn(dimensions: int, said: str, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((200, dimensions))
    broken = np.where(vectors > 1, np.nan, vectors * 1e9)
    gallery = Gallery(vectors, {"alpha": {0: vectors, 1: 0 * vectors, 2: broken}})
    for styles in (UNICODE, ASCII):
        text = text_of(a_summary(), gallery, 80, styles)
        assert said in text.split(" Gallery ")[1]
    assert len(save_figures(a_summary(), gallery, tmp_path)) == 2


# ---------------------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize("kind", GALLERIES)
def test_figures_are_the_same_bytes_each_time(kind: str, tmp_path: Path) -> None:
    once, again = (
        [path.read_bytes() for path in save_figures(a_summary(), GALLERIES[kind](2), tmp_path / name)]
        for name in ("once", "again")
    )
    assert once == again


def pixels_of(summary: Summary, path: Path, colour: str) -> int:
    """How many pixels of the curves have exactly that colour."""
    image = np.asarray(Image.open(save_figures(summary, None, path)[0]).convert("RGB"))
    return int((image == ImageColor.getrgb(colour)).all(axis=-1).sum())


def test_theory_is_dashed_over_the_curves(tmp_path: Path) -> None:
    """In the provider's colour, darkened, with an entry in the legend; and nothing where there is no theory."""
    summary, dark = a_gaussian_world(), "#003350"
    bare = copy.deepcopy(summary)
    bare["providers"]["lab"]["theory"] = {}
    assert pixels_of(summary, tmp_path, dark) > 100
    assert pixels_of(bare, tmp_path, dark) == 0
    once, again = (save_figures(summary, None, tmp_path / name)[0].read_bytes() for name in ("once", "again"))
    assert once == again


def test_a_closed_form_far_from_the_measurement_is_still_in_the_picture() -> None:
    summary = a_gaussian_world()
    lab = summary["providers"]["lab"]
    lab["theory"]["variance"]["values"] = [3.0] * 100
    series = [bands(lab, "variance"), predictions(lab, "variance")]
    for low, value, high in (band for one in series for band in one if band):
        assert low <= value <= high <= 3.0
    assert predictions(lab, "shift")[0] == (0.0, 0.0, 0.0)
    assert predictions(lab, "recall") == []


@pytest.mark.parametrize("corners", [[(0, 0), (70, 0)], [(0, 0), (3, 4), (3, 40), (3, 40), (-20, 40)], [(5, 5)], []])
def test_dashes_cover_four_pixels_in_seven_and_lie_on_the_line(corners: list[tuple[float, float]]) -> None:
    def length(line: list[tuple[float, float]]) -> float:
        return sum(itertools.starmap(math.dist, itertools.pairwise(line)))

    whole, rest = divmod(length(corners), 7)
    found = list(dashes(corners))
    assert sum(map(length, found)) == pytest.approx(4 * whole + min(rest, 4))
    sides = list(itertools.pairwise(corners))
    for point in itertools.chain(*found):
        assert min(math.dist(a, point) + math.dist(point, b) - math.dist(a, b) for a, b in sides) < 1e-9


def test_without_a_gallery_there_are_only_curves(tmp_path: Path) -> None:
    assert [path.name for path in save_figures(a_summary(), None, tmp_path)] == ["curves.png"]


def test_the_gallery_figure_shows_the_very_pixels(tmp_path: Path) -> None:
    gallery = Gallery(digits(4), {"alpha": {0: digits(4)}})
    path = save_figures(a_summary(), gallery, tmp_path)[1]
    pixels = np.asarray(Image.open(path).convert("L"))
    first = digits(1)[0, 0].repeat(5, axis=0).repeat(5, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, first.shape)
    assert (windows[:, 50:70] == first).all(axis=(2, 3)).any()


def test_noisy_photographs_stay_under_the_limit(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 3, 48, 48)).astype(np.uint8)
    gallery = Gallery(noise, {name: dict.fromkeys(range(9), noise) for name in ("alpha", "beta", "gamma")})
    assert all(path.stat().st_size < 300_000 for path in save_figures(a_summary(), gallery, tmp_path))
