"""Reports: readable at every width, in every encoding, with or without colour, whatever is missing.

The goldens in ``tests/goldens/`` are whole reports; after a wanted change write them anew and look at them:
``ECOSYSTEM_WRITE_GOLDENS=1 python -m pytest tests/test_reports.py``.
"""

from __future__ import annotations

import io
import itertools
import math
import os
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.cells import cell_len
from rich.console import Console
from sklearn.datasets import load_digits

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
from ecosystem.reports.layout import evenly
from ecosystem.reports.pictures import otsu, shrunk
from ecosystem.reports.scatter import Axes, panel
from ecosystem.reports.sparks import Scale, bar, bin_width, binned, spark
from ecosystem.reports.wording import count, number, with_interval
from ecosystem.summary import (
    BaselineMiss,
    ClaimSummary,
    Evidence,
    GenerationSummary,
    ProviderSummary,
    Summary,
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
        }
        for metric, start, end in (("frechet", 4.1, 4.1 * effect), ("recall", 0.62, 0.62 / effect))
    ]


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
    },
    {
        "text": "frechet of alpha is bounded within 2.0 times its own generation 0",
        "verdict": "refuted",
        "effect": 5.87,
        "low": 5.46,
        "high": 6.34,
        "evidence": "reaches 2.0 at generation 5 and 5.9 at generation 11; the interval lies above the bound",
    },
    {
        "text": "recall of beta is lower than recall of gamma",
        "verdict": "undecided",
        "effect": None,
        "low": None,
        "high": None,
        "evidence": "one seed more would decide",
    },
]


def a_summary(generations: int = 12) -> Summary:
    names = ["alpha", "beta", "gamma"]
    beta = a_provider("degrading", 0.08, (generations + 1) // 2, names, every=2)
    beta["note"] = "retrained every second round: half as many generations as the others"
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
            "alpha": a_provider("collapsed", 0.16, generations, names),
            "beta": beta,
            "gamma": a_provider("stable", 0.004, generations, names),
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
    last = summary["providers"]["beta"]["generations"][-1]
    last["lambda"], last["synthetic_share"] = None, 1.0
    return summary


GALLERIES = {"digits": a_digit_gallery, "ring": a_ring_gallery}
STYLES = {"utf-8": UNICODE, "ascii": ASCII}
COLOURED = replace(UNICODE, colour=True)


@pytest.mark.parametrize("encoding", STYLES)
@pytest.mark.parametrize("kind", GALLERIES)
def test_a_whole_report_is_as_it_was_when_someone_looked_at_it(encoding: str, kind: str) -> None:
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
    summary["seeds"], summary["web"], summary["rounds"] = list(range(20)), a_web(100), 100
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
}
CONSOLES = {
    "colour": (COLOURED, "truecolor", 120),
    "sixteen colours": (UNICODE, "standard", 80),
    "ascii": (ASCII, None, 80),
}


@pytest.mark.parametrize("way", CONSOLES)
@pytest.mark.parametrize("name", SUMMARIES)
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
        text = text_of(summary, None, 80, UNICODE).split(" Training sets ")[1]
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
