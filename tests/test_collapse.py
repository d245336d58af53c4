"""The eight definitions of collapse: each on series in which it was planted, in which it was not, and on noise."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecosystem.collapse import SCALING, definitions, scaling, scaling_of
from ecosystem.estimates import Estimate, Series
from ecosystem.metrics import NAMES
from ecosystem.rng import stream
from ecosystem.verdicts import LONE

SAMPLES = 1000
CATASTROPHE, INCREASE, DIVERGENCE = (
    "catastrophic increase of population risk",
    "any increase of population risk",
    "asymptotically diverging population risk",
)
VARIANCE, MODES = "collapsing variance", "entanglement of real modes"
TAIL, HALLUCINATION = "disappearance of the real tail", "appearance of hallucinated data"


def seeds_of(path, noise=0.0, seeds=5):
    """Runs around a path (T,), each number with its own noise, of mean nought over seeds."""
    z = stream(0, "test", "noise around a path").standard_normal((seeds, len(path)))
    z = z - z.mean(axis=0)
    return [Series([Estimate(float(v)) for v in row]) for row in np.asarray(path) + noise * z]


def found(noise=0.0, seeds=5, images=False, **paths):
    """Definition -> (holds, evidence), of a provider whose metrics follow these paths; `_` stands for `-`."""
    series = {name.replace("_", "-"): seeds_of(path, noise, seeds) for name, path in paths.items()}
    told = definitions(lambda name: series[name], list(series), SAMPLES, images)
    return {d["name"]: (d["holds"], d["evidence"]) for d in told}


def holds(name, **more):
    return found(**more)[name][0]


def line(start, end, generations=12):
    return np.linspace(start, end, generations)


LOW_NOISE, T = 0.003, np.arange(41)


def test_there_are_eight_and_without_measurements_none_is_decided():
    told = found()
    assert list(told) == [CATASTROPHE, INCREASE, DIVERGENCE, SCALING, VARIANCE, MODES, TAIL, HALLUCINATION]
    assert {verdict for verdict, _ in told.values()} == {"undecided"}
    assert all(words.startswith("needs ") for _, words in told.values())
    assert told[VARIANCE][1] == "needs model-variance, variance or heterozygosity, not measured here"
    named = {word for _, words in told.values() for word in words.replace(",", "").split()}
    assert len(named & set(NAMES)) == 13, "what is needed are metrics"


# Changes: (definition, metric, a path where it is so, one where it is not, one that noise twice its change hides)

PLANTED = [
    (CATASTROPHE, "nll", line(2, 4), line(2, 2.5), line(2, 3.3)),
    (CATASTROPHE, "sliced_wasserstein", line(0.1, 0.4), line(0.1, 0.15), line(0.1, 0.22)),
    (CATASTROPHE, "frechet", line(10, 40), line(10, 15), line(10, 22)),
    (CATASTROPHE, "gaussian_w2", line(0.1, 0.4), line(0.1, 0.15), line(0.1, 0.22)),
    (INCREASE, "nll", line(2, 2.3), line(2, 1.9), line(2, 2.1)),
    (INCREASE, "nll", line(2, 2.05), line(2, 2), line(2, 2.1)),
    (INCREASE, "sliced_wasserstein", line(0.1, 0.2), line(0.2, 0.1), line(0.1, 0.12)),
    (VARIANCE, "model_variance", line(1, 0.3), line(1, 0.7), line(1, 0.45)),
    (VARIANCE, "variance", line(4, 1), line(4, 5), line(4, 1.7)),
    (VARIANCE, "heterozygosity", line(0.7, 0.2), line(0.7, 0.5), line(0.7, 0.35)),
    (MODES, "between_modes", line(0.01, 0.2), line(0.01, 0.03), line(0.01, 0.07)),
    (MODES, "agreement", line(0.95, 0.7), line(0.95, 0.93), line(0.95, 0.89)),
    (TAIL, "tail_recall", line(0.8, 0.2), line(0.8, 0.6), line(0.8, 0.38)),
    (TAIL, "outcomes", line(100, 30), line(100, 80), line(100, 48)),
    (HALLUCINATION, "precision", line(0.9, 0.6), line(0.9, 0.88), line(0.9, 0.84)),
    (HALLUCINATION, "between_modes", line(0.01, 0.2), line(0.01, 0.03), line(0.01, 0.07)),
]


@pytest.mark.parametrize(("name", "metric", "yes", "no", "hidden"), PLANTED)
def test_a_definition_holds_where_it_was_planted(name, metric, yes, no, hidden):
    scale = abs(yes[0] - yes[-1])
    for noise in (0.0, LOW_NOISE * scale):
        assert holds(name, noise=noise, **{metric: yes}) == "yes"
        assert holds(name, noise=noise, **{metric: no}) == "no"
    assert holds(name, noise=2 * abs(hidden[-1] - hidden[0]), **{metric: hidden}) == "undecided"


@pytest.mark.parametrize(("name", "metric", "yes"), [(name, metric, yes) for name, metric, yes, _, _ in PLANTED])
def test_evidence_names_the_metric_with_its_number_and_interval(name, metric, yes):
    words = found(noise=LOW_NOISE * abs(yes[-1] - yes[0]), **{metric: yes})[name][1]
    assert words.startswith(metric.replace("_", "-"))
    number, low, high = (float(w.strip("[],")) for w in words.split()[1:4])
    assert low <= number <= high
    end = np.mean(yes[-3:])
    expected = end / yes[0] if words.endswith("times its generation 0") else end - yes[0]
    assert number == pytest.approx(expected, rel=0.1)


def test_the_words_by_example():
    told = found(nll=line(2, 2.5, 3), precision=line(0.9, 0.5, 3), variance=line(1, 0.25, 3))
    assert told[INCREASE] == ("yes", "nll +0.5 [+0.5, +0.5] nats")
    assert told[HALLUCINATION] == ("yes", "precision -0.4 [-0.4, -0.4]")
    assert told[VARIANCE] == ("yes", "variance 0.25 [0.25, 0.25] times its generation 0")


def test_the_first_that_is_measured_is_taken():
    up, flat = line(0.1, 0.5), line(0.1, 0.1)
    assert holds(INCREASE, nll=flat, frechet=up, sliced_wasserstein=up) == "no"
    assert holds(INCREASE, frechet=up, sliced_wasserstein=flat) == "no"
    assert holds(INCREASE, frechet=up, sliced_wasserstein=flat, images=True) == "yes"
    assert holds(INCREASE, frechet=flat, gaussian_w2=up) == "no"
    assert holds(VARIANCE, variance=up[::-1], model_variance=flat) == "no"
    series = {"nll": [Series([None] * 12)] * 5, "frechet": seeds_of(up)}
    told = definitions(series.__getitem__, list(series), SAMPLES)
    assert told[1]["holds"] == "yes", "named, but not known of this family: the next is taken"


def test_a_lost_tail_is_lost_and_not_infinitely():
    """Half an item of the hundred in the tail: two seeds that keep different remains still agree."""
    paths = [Series([Estimate(0.8), Estimate(end)]) for end in (0.0, 0.0, 0.02, 0.01)]
    told = definitions(lambda _: paths, ["tail-recall"], SAMPLES)
    assert told[6]["holds"] == "yes"


def test_one_seed_is_judged_by_its_samples_alone():
    wobble = 0.001 * stream(0, "test", "wobble").standard_normal(8)
    for ends, verdict in ((0.6, "yes"), (0.89, "no")):
        run = Series([Estimate(0.9, (0.9,) * 8), Estimate(ends, tuple(ends + wobble))])
        told = definitions(lambda _, run=run: [run], ["precision"], SAMPLES)
        assert told[7]["holds"] == verdict
    for name, metric, yes, _, _ in PLANTED:
        assert found(seeds=1, **{metric: yes})[name] == ("undecided", LONE)
    assert found(seeds=1, nll=line(2, 4))[DIVERGENCE] == ("undecided", LONE)


def test_one_generation_or_a_missing_end_decides_nothing():
    for name, metric, yes, _, _ in PLANTED:
        assert found(**{metric: yes[:1]})[name] == ("undecided", "one generation: nothing to compare")
    gone = [Series([Estimate(0.9), None])] * 4
    assert definitions(lambda _: gone, ["precision"], SAMPLES)[7]["holds"] == "undecided"


@pytest.mark.parametrize(("name", "metric", "yes", "no"), [row[:4] for row in PLANTED])
def test_without_noise_all_is_decided_and_noise_turns_no_answer_round(name, metric, yes, no):
    """A yes may become undecided, not a no: more noise widens the interval around what was planted.

    The noise is centred, so that the mean of the changes stays as it was.
    """
    z = stream(0, "test", "centred").standard_normal((6, 1))
    z = (z - z.mean()) / z.std() * 0.1 * abs(yes[0] - yes[-1])
    for path, answer in ((yes, "yes"), (no, "no")):
        assert _decided(name, metric, path, 1e-9 * z) == answer
        for noise in (0.1, 0.3, 0.8, 2.0):
            assert _decided(name, metric, path, noise * z) in (answer, "undecided")


def _decided(name, metric, path, offsets):
    """Each seed's path moves by its offset after generation 0, on the scale on which the change is told."""
    ratio = abs(np.log(path[-1] / path[0])) if metric not in ("nll", "between_modes", "agreement", "precision") else 0
    rows = [path * np.exp(o) if ratio else path + o for o in offsets[:, 0]]
    runs = [Series([Estimate(float(path[0])), *(Estimate(float(v)) for v in row[1:])]) for row in rows]
    told = definitions(lambda _: runs, [metric.replace("_", "-")], SAMPLES)
    return next(d["holds"] for d in told if d["name"] == name)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=2, max_size=6))
def test_an_increase_backwards_is_none_and_a_catastrophe_is_an_increase(pairs):
    def answers(rows):
        runs = [Series([Estimate(a), Estimate(b)]) for a, b in rows]
        for metric in ("nll", "frechet"):
            told = definitions(lambda _, runs=runs: runs, [metric], SAMPLES)
            yield told[0]["holds"], told[1]["holds"]

    for there, back in zip(answers(pairs), answers([(b, a) for a, b in pairs]), strict=True):
        if there[1] == "yes":
            assert back[1] == "no"
        if there[0] == "yes":
            assert there[1] == "yes" and back == ("no", "no")


def test_where_nothing_changes_a_collapse_is_seldom_seen():
    """200 runs of 4 seeds, all noise. By construction any increase is sure in 1 of 40, divergence in no more, and
    what asks for a change that matters hardly ever. Measured: 3 % and 2 %, and 1 of 2,000 others (400 runs).
    """
    rng, runs, seen = stream(0, "test", "nothing planted"), 200, Counter()
    levels = {"nll": 2.0, "between-modes": 0.05, "precision": 0.9, "tail-recall": 0.8, "model-variance": 1.0}
    for _ in range(runs):
        noisy = {name: level * np.exp(0.05 * rng.standard_normal((4, 12))) for name, level in levels.items()}
        series = {name: [Series([Estimate(float(v)) for v in row]) for row in rows] for name, rows in noisy.items()}
        seen.update(d["name"] for d in definitions(series.__getitem__, list(levels), SAMPLES) if d["holds"] == "yes")
    limit = 0.025 * runs + 4 * math.sqrt(0.025 * runs)
    assert 0 < seen[INCREASE] < limit and seen[DIVERGENCE] < limit, seen
    assert sum(seen.values()) - seen[INCREASE] - seen[DIVERGENCE] <= 0.01 * runs, seen


# Divergence


GROWTH = {
    "linear": (1 + 0.2 * T, "yes"),
    "quadratic": (1 + 0.01 * T**2, "yes"),
    "exponential": (np.exp(0.1 * T), "yes"),
    "square root": (1 + np.sqrt(T), "yes"),
    "logistic, over": (1 + 5 / (1 + np.exp(-(T - 10) / 2)) - 5 / (1 + np.exp(5)), "no"),
    "towards a limit": (3 - 2 * np.exp(-T / 8), "no"),
    "a step": (1 + 2.0 * (T > 0), "no"),
    "flat": (1 + 0.0 * T, "no"),
    "falling": (3 - 0.05 * T, "no"),
    "up and back": (1 + np.sin(np.pi * T / 40), "no"),
}


@pytest.mark.parametrize("metric", ["nll", "sliced_wasserstein", "gaussian_w2"])
@pytest.mark.parametrize("shape", GROWTH)
def test_divergence_is_growth_that_does_not_slow_down(shape, metric):
    path, expected = GROWTH[shape]
    for noise in (0.0, 0.02):
        assert holds(DIVERGENCE, noise=noise, **{metric: path}) == expected
    for length in (16, 17, 18, 19, 40):  # whatever the rounding of quarters and middles
        if shape in ("linear", "quadratic", "flat", "falling", "a step"):
            assert holds(DIVERGENCE, **{metric: path[:length]}) == expected


def test_divergence_hidden_by_noise_or_too_short_a_run_is_undecided():
    assert holds(DIVERGENCE, noise=3.0, nll=1 + 0.1 * T) == "undecided"
    assert found(nll=1.0 + T[:7])[DIVERGENCE] == ("undecided", "needs 8 generations")
    assert found(nll=1.0 + T[:8])[DIVERGENCE][0] == "yes"


def test_the_speeds_of_a_line_are_its_slope():
    for length in range(8, 60):
        words = found(nll=3 + 0.25 * np.arange(length))[DIVERGENCE][1]
        assert words == "nll +0.25 [+0.25, +0.25] a generation late, +0.25 early", length


@settings(max_examples=20, deadline=None)
@given(st.floats(0.3, 2.5))
def test_a_power_of_time_diverges_if_it_keeps_a_third_of_its_speed(power):
    """From the middle to the end t^p grows 2^p - 1 times as much as to the middle: a third at p = 0.415."""
    late = holds(DIVERGENCE, nll=1 + 3.0 * np.arange(201) ** power)
    if abs(power - math.log2(4 / 3)) > 0.03:
        assert late == ("yes" if power > math.log2(4 / 3) else "no")


# Scaling


SIZES = (100, 400, 1600)


def power_law(exponent, noise=0.0, seeds=5, sizes=SIZES, who="a"):
    z = stream(0, who, "risks").standard_normal((len(sizes), seeds))
    return np.array(sizes)[:, None] ** -exponent * np.exp(noise * z)


@pytest.mark.parametrize(
    ("start", "end", "noise", "expected"),
    [
        (1.0, 0.5, 0.05, "yes"),  # more data help less
        (0.5, 1.0, 0.05, "yes"),
        (1.0, 1.0, 0.05, "no"),
        (1.0, 0.98, 0.0, "no"),  # sure, and too little to matter
        (1.0, 0.9, 2.0, "undecided"),
    ],
)
def test_a_scaling_law_changes_if_its_exponent_does(start, end, noise, expected):
    told = scaling(SIZES, power_law(start, noise), power_law(end, noise, who="b"))
    assert (told["name"], told["holds"]) == (SCALING, expected)
    if noise <= 0.05:
        laws = [float(w.strip(",:").removeprefix("n^")) for w in told["evidence"].split() if w.startswith("n^")]
        assert laws == pytest.approx([-start, -end], abs=0.05)


def test_a_constant_factor_is_no_change_of_the_exponent():
    told = scaling(SIZES, power_law(1.0), 7 * power_law(1.0))
    assert told["holds"] == "no"


def test_noise_that_start_and_end_share_cancels_seed_by_seed():
    """Slopes that differ between seeds by far more than the change: paired, it is seen."""
    own = np.array(SIZES)[:, None] ** stream(0, "test", "slopes").standard_normal(5)
    assert scaling(SIZES, own * power_law(1.0), own * power_law(0.8))["holds"] == "yes"
    shuffled = np.roll(own, 1, axis=1)
    assert scaling(SIZES, own * power_law(1.0), shuffled * power_law(0.8))["holds"] == "undecided"


def test_what_no_law_can_be_fitted_to_is_undecided():
    good = power_law(1.0)
    assert scaling(SIZES[:2], good[:2], good[:2])["evidence"] == "needs runs at several data-set sizes"
    assert scaling((100, 105, 110), good, good)["holds"] == "undecided", "sizes that are one but for chance"
    more = power_law(1.0, sizes=(*SIZES, 6400))
    assert scaling((*SIZES, math.nan), more, more)["holds"] == "undecided"
    assert scaling(SIZES, good[:, :1], good[:, :1])["evidence"] == LONE
    for bad in (0.0, -1.0, math.nan, math.inf):
        broken = good.copy()
        broken[1, 2] = bad
        assert scaling(SIZES, good, broken)["holds"] == "undecided"
        assert scaling(SIZES, broken, good)["holds"] == "undecided"
    assert scaling(SIZES, good, [good[0], good[1], good[2, :4]])["holds"] == "undecided", "a seed stopped"


def test_providers_of_several_sizes_tell_the_scaling_law_together():
    pages = [seeds_of([n, 9 * n]) for n in SIZES]
    risks = {
        "gaussian-w2": [seeds_of([n**-1.0, n**-0.3]) for n in SIZES],
        "sliced-wasserstein": [seeds_of([n**-0.5, n**-0.5]) for n in SIZES],
        "nll": [seeds_of([1.0, 2.0])] * 3,
        "frechet": [seeds_of([n**-0.5, n**-0.1]) for n in SIZES],
    }
    measured = list(risks)
    told = scaling_of(pages, risks.__getitem__, measured)
    assert told["holds"] == "yes" and told["evidence"].startswith("gaussian-w2 as n^-1.00 at generation 0, n^-0.30 at")
    assert scaling_of(pages, risks.__getitem__, measured[1:])["holds"] == "no", "the distance of the verdict"
    assert scaling_of(pages, risks.__getitem__, measured[1:], images=True)["holds"] == "yes"
    assert scaling_of(pages, risks.__getitem__, ["nll"])["holds"] == "undecided", "log-likelihood has no zero"
    assert scaling_of(pages[:2], risks.__getitem__, measured) is None
    assert scaling_of([pages[0]] * 3, risks.__getitem__, measured) is None


@pytest.mark.parametrize("exponents", list(pairwise((0.2, 0.5, 0.8, 1.1))))
def test_the_change_of_an_exponent_turned_round_is_its_opposite(exponents):
    there, back = (scaling(SIZES, power_law(a), power_law(b)) for a, b in (exponents, exponents[::-1]))
    assert there["holds"] == back["holds"] == "yes"
    signs = [d["evidence"].rpartition("exponent ")[2][0] for d in (there, back)]
    assert signs == ["-", "+"]
