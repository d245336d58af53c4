"""Verdicts: intervals against SciPy, readings of series made to be read, claims of every kind, and false alarms."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ecosystem import agreement, grammar
from ecosystem.estimates import Estimate, Interval, Series, change, interval, log_ratio, more_seeds, more_seeds_for
from ecosystem.question import Claim
from ecosystem.question import Than as ThanSettings
from ecosystem.rng import stream
from ecosystem.verdicts import (
    DISTANCES,
    DIVERSITIES,
    LONE,
    VARIANCE,
    WORST_FIRST,
    evidence,
    in_words,
    judge,
    log_change,
    of_provider,
    of_run,
    provider_series,
    read,
    web_series,
)

SAMPLES = 1000


def series(values):
    return Series([None if v is None else Estimate(v) for v in values])


def with_groups(data, groups=8):
    """The mean of data (N,), and without each of ``groups`` equal parts."""
    parts = np.arange(len(data)) % groups
    return Estimate(data.mean(), tuple(data[parts != g].mean() for g in range(groups)))


# Estimates and intervals


@pytest.mark.parametrize("seeds", [2, 3, 5, 12])
def test_over_seeds_the_interval_is_students(seeds):
    values = stream(0, "test", "values").standard_normal(seeds)
    found = interval([Estimate(v, (v, v + 1)) for v in values])
    expected = stats.t.interval(0.95, seeds - 1, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.effect == pytest.approx(values.mean())


def test_over_one_seed_the_interval_is_students_of_the_jackknife():
    replicates = stream(0, "test", "replicates").standard_normal(8)
    found = interval([Estimate(2.0, tuple(replicates))])
    error = math.sqrt(7 / 8 * ((replicates - replicates.mean()) ** 2).sum())
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 7, loc=2.0, scale=error))


def test_a_count_of_one_seed_has_no_spread():
    assert interval([Estimate(3.0)]) == Interval(3.0, 3.0, 3.0)


def test_no_interval_where_a_number_is_missing():
    assert interval([]) is None
    for missing in (math.nan, math.inf, -math.inf):
        assert interval([Estimate(1.0), Estimate(missing)]) is None


def test_the_interval_covers_the_truth_19_times_in_20():
    """2,000 intervals over 4 seeds from a normal distribution: 95 %, within 4 standard errors."""
    draws = stream(0, "test", "coverage").standard_normal((2000, 4)) + 3
    found = [interval([Estimate(v) for v in row]) for row in draws]
    covered = np.mean([f.low <= 3 <= f.high for f in found])
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    """Leaving out one item at a time it is s / sqrt(n) exactly."""
    data = stream(0, "test", "data").standard_normal(60)
    assert with_groups(data, groups=60).error() == pytest.approx(stats.sem(data))


def test_the_error_of_a_change_is_that_of_paired_samples():
    """Sample i of both generations has the same noise: the error of the change is that of the differences, exactly."""
    rng = stream(0, "test", "pairs")
    start = rng.standard_normal(80)
    end = start + 0.1 * rng.standard_normal(80) + 0.5
    estimates = with_groups(start, 80), with_groups(end, 80)
    found = change(lambda a, b: b - a, *estimates)
    assert found.value == pytest.approx((end - start).mean())
    assert found.error() == pytest.approx(stats.sem(end - start))
    assert found.error() < 0.2 * min(e.error() for e in estimates), "the draw that both share cancels"


def test_an_estimate_that_was_counted_is_the_same_without_any_group():
    measured = with_groups(stream(0, "test", "data").standard_normal(40))
    assert change(lambda a, b: b - a, Estimate(1.0), measured).error() == pytest.approx(measured.error())
    assert change(lambda a, b: b - a, Estimate(1.0), Estimate(3.0)) == Estimate(2.0)
    assert math.isnan(change(lambda a, b: b - a, None, measured).value)


def test_log_ratio_has_a_floor():
    ratio = log_ratio(0.01)
    assert ratio(2.0, 1.0) == pytest.approx(math.log(0.5))
    assert ratio(1.0, 0.0) == pytest.approx(math.log(0.01))
    assert ratio(0.0, 0.0) == 0


def test_ratios_too_large_for_a_number_stay_numbers():
    found = Interval(2.0, -5000.0, 5000.0).exp()
    assert (found.effect, found.low) == (pytest.approx(math.exp(2)), 0.0)
    assert math.isfinite(found.high) and found.high > 1e300


# More seeds


def above_zero(found):
    return found.low > 0


@pytest.mark.parametrize(("mean", "spread", "seeds"), [(1, 1, 2), (0.3, 1, 4), (0.1, 1, 8), (0.05, 1, 3), (1, 4, 3)])
def test_more_seeds_are_the_fewest_that_decide(mean, spread, seeds):
    """Counted one by one with SciPy's interval."""
    counts = np.arange(seeds + 1, 10_001)
    lows, _ = stats.t.interval(0.95, counts - 1, loc=mean, scale=spread / np.sqrt(counts))
    assert more_seeds(mean, spread, seeds, above_zero) == counts[lows > 0][0] - seeds


def test_so_many_more_seeds_of_the_same_kind_do_decide_and_one_fewer_does_not():
    seen = stream(0, "test", "seen").standard_normal(4) + 0.3
    more = more_seeds_for([Estimate(v) for v in seen], above_zero)
    assert more > 1
    for count, decides in ((more, True), (more - 1, False)):
        z = stream(0, "test", "others").standard_normal(4 + count)
        z = (z - z.mean()) / z.std(ddof=1)
        found = interval([Estimate(v) for v in seen.mean() + seen.std(ddof=1) * z])
        assert above_zero(found) is decides


@pytest.mark.parametrize(
    ("mean", "spread", "seeds"),
    [
        (1.0, 0.1, 4),  # decided
        (0.0, 1.0, 4),  # never
        (-1.0, 1.0, 4),  # never
        (1e-3, 1.0, 4),  # by 3.8 million seeds, which nobody has
        (1.0, 1.0, 1),  # one seed has no spread
        (math.nan, 1.0, 4),
        (1.0, math.inf, 4),
    ],
)
def test_there_are_no_more_seeds_where_they_would_not_tell(mean, spread, seeds):
    assert more_seeds(mean, spread, seeds, above_zero) is None


@given(st.floats(0.01, 2), st.floats(0.1, 5), st.integers(2, 50))
def test_less_spread_and_a_larger_effect_need_no_more_seeds(mean, spread, seeds):
    def needed(m, s):
        found = more_seeds(m, s, seeds, above_zero)
        return found if found is not None else 0 if above_zero(Interval(m, m - half(s), m)) else math.inf

    def half(s):
        return stats.t.ppf(0.975, seeds - 1) * s / math.sqrt(seeds)

    assert needed(mean, spread / 2) <= needed(mean, spread)
    assert needed(2 * mean, spread) <= needed(mean, spread)


# Series


@pytest.mark.parametrize(("length", "tail"), [(1, 1), (2, 1), (3, 1), (7, 1), (8, 2), (9, 2), (12, 3), (40, 10)])
def test_the_end_is_the_mean_of_the_last_quarter(length, tail):
    values = stream(0, "test", "series").random(length)
    assert series(values).start().value == values[0]
    assert series(values).end().value == pytest.approx(values[-tail:].mean())


@given(st.floats(-1e9, 1e9), st.integers(1, 60))
def test_what_does_not_change_has_exactly_no_change(value, length):
    """A mean of equal numbers is that number to the last bit; else rounding would be a sure increase."""
    flat = series([value] * length)
    assert flat.end() == flat.start()


def test_the_replicates_of_the_end_are_means_as_well():
    values = [Estimate(float(i), (float(i), 2.0 * i)) for i in range(8)]
    assert Series(values).end() == Estimate(6.5, (6.5, 13.0))


def test_what_is_missing_at_the_end_is_not_made_up():
    assert series([1, None, None, 2]).end().value == 2
    assert series([1, 2, 3, 4, 5, 6, 7, None]).end() is None
    assert series([1, 2, 3, 4, 5, 6, None, 7]).end() is None
    assert series([]).end() is None
    assert series([]).start() is None
    assert series([1, 2]).at(1).value == 2
    assert series([1, 2]).at(2) is None


# Readings


@pytest.mark.parametrize(
    ("effect", "low", "high", "distance", "diversity", "variance"),
    [
        (1.0, 0.9, 1.1, "stable", "stable", "stable"),
        (1.0, 0.8, 1.25, "stable", "stable", "stable"),
        (1.0, 0.79, 1.1, "undecided", "stable", "undecided"),  # more diversity is no harm, however uncertain how much
        (1.0, 0.9, 1.26, "undecided", "undecided", "undecided"),
        (1.1, 1.05, 1.2, "stable", "stable", "stable"),  # surely worse, and surely within the margin
        (1.2, 1.1, 1.3, "undecided", "undecided", "undecided"),
        (1.24, 1.2, 1.3, "undecided", "undecided", "undecided"),
        (1.25, 1.01, 1.6, "degrading", "degrading", "degrading"),
        (1.3, 0.99, 1.7, "undecided", "undecided", "undecided"),
        (3.0, 1.9, 5.0, "degrading", "degrading", "degrading"),
        (3.0, 2.01, 5.0, "degrading", "collapsed", "collapsed"),
        (0.8, 0.7, 0.99, "improving", "stable", "undecided"),
        (0.8, 0.5, 1.01, "undecided", "stable", "undecided"),
        (0.5, 0.1, 1.3, "undecided", "undecided", "undecided"),
        (0.1, 0.05, 0.2, "improving", "stable", "degrading"),  # a variance that grows without end is no gain
    ],
)
def test_the_word_for_an_effect(effect, low, high, distance, diversity, variance):
    found = Interval(effect, low, high)
    words = tuple(read(found, kind) for kind in ("distance", "diversity", "variance"))
    assert words == (distance, diversity, variance)


@given(st.floats(-2, 2), st.floats(0, 3), st.floats(0, 1), st.sampled_from(("distance", "diversity", "variance")))
def test_what_is_decided_stays_decided_as_the_interval_shrinks(log_effect, half, part, kind):
    """So that the fewest seeds that decide can be found by halving."""
    wide, narrow = (Interval(log_effect, log_effect - h, log_effect + h).exp() for h in (half, part * half))
    assert read(wide, kind) == "undecided" or read(narrow, kind) != "undecided"


# Five seeds with a little noise around a path; what it is after 9 generations, as a ratio "worse".
def runs_of(path, noise=0.03, seeds=5):
    rng = stream(0, "test", "paths")
    return [series(np.array(path) * np.exp(noise * rng.standard_normal(len(path)))) for _ in range(seeds)]


FLAT, DOUBLING, HALVING, LOST = [1.0] * 9, np.geomspace(1, 2, 9), np.geomspace(1, 0.5, 9), np.geomspace(1, 0.1, 9)


@pytest.mark.parametrize(
    ("metric", "path", "reads"),
    [
        *((d, FLAT, "stable") for d in (*DISTANCES, "recall", "modes")),
        *((d, DOUBLING, "degrading") for d in DISTANCES),
        *((d, HALVING, "improving") for d in DISTANCES),
        *((d, np.geomspace(1, 50, 9), "degrading") for d in DISTANCES),
        ("recall", HALVING, "degrading"),
        ("recall", LOST, "collapsed"),
        ("modes", LOST, "collapsed"),
        ("recall", DOUBLING, "stable"),
        (VARIANCE, FLAT, "stable"),
        (VARIANCE, HALVING, "degrading"),
        (VARIANCE, LOST, "collapsed"),
        (VARIANCE, DOUBLING, "degrading"),
        ("heterozygosity", LOST, "collapsed"),
        ("heterozygosity", DOUBLING, "stable"),
    ],
)
def test_a_path_is_read_as_it_was_made(metric, path, reads):
    found = evidence(metric, runs_of(path), SAMPLES)
    assert found["reads"] == reads
    ratio = np.mean(path[-2:]) / path[0]
    assert found["effect"] == pytest.approx(ratio if metric in DISTANCES else 1 / ratio, rel=0.05)
    assert found["low"] < found["effect"] < found["high"]
    assert found["start"] == pytest.approx(path[0], rel=0.05)
    assert found["end"] == pytest.approx(np.mean(path[-2:]), rel=0.05)


def test_noise_that_hides_a_change_is_undecided():
    assert evidence("frechet", runs_of(np.geomspace(1, 1.4, 9), noise=0.8), SAMPLES)["reads"] == "undecided"


def test_what_is_undecided_says_how_many_more_seeds_would_tell():
    found = evidence("frechet", runs_of(np.geomspace(1, 1.6, 9), noise=0.5), SAMPLES)
    assert found["reads"] == "undecided" and found["more_seeds"] > 0
    assert evidence("frechet", runs_of(DOUBLING), SAMPLES)["more_seeds"] is None, "decided"
    assert evidence("frechet", [series([1.0, 1.4])], SAMPLES)["more_seeds"] is None, "one seed"


@pytest.mark.parametrize("metric", [VARIANCE, "heterozygosity"])
def test_an_exact_number_of_one_seed_says_nothing_of_others(metric):
    """It has no sampling error: its interval would have no width. Two seeds have a spread."""
    one, two = evidence(metric, [series([0.9, 0.1])], SAMPLES), evidence(metric, [series([0.9, 0.1])] * 2, SAMPLES)
    assert (one["effect"], one["low"], one["high"]) == (pytest.approx(9), None, None)
    assert (one["reads"], two["reads"]) == ("undecided", "collapsed")


def test_a_lost_variance_is_lost_in_any_unit():
    """What is too little to count is told from the start, so that the unit does not matter."""
    for unit in (1e-15, 1.0, 1e15):
        assert log_change(VARIANCE, SAMPLES)(unit, 0.0) == pytest.approx(math.log(1e-12))
        assert log_change(VARIANCE, SAMPLES)(unit, 3 * unit) == pytest.approx(math.log(3))
    assert evidence(VARIANCE, [series([1.0, 0.0]), series([1.0, 1e-3])], SAMPLES)["high"] < math.inf


def test_class_entropy_counts_classes_in_use():
    """From 10 classes to 2: the entropy falls by log 5, and that is five times fewer."""
    runs = [series(np.log([10.0, 8, 4, 2])) for _ in range(3)]
    found = evidence("class-entropy", runs, SAMPLES)
    assert found["effect"] == pytest.approx(5)
    assert found["reads"] == "collapsed"


def test_a_metric_lost_to_zero_is_lost_and_not_infinitely():
    """Recall 0 counts as half a sample: 0.6 became 0.5 / 1000."""
    found = evidence("recall", [series([0.6, 0.3, 0.0, 0.0])] * 4, SAMPLES)
    assert found["reads"] == "collapsed"
    assert found["effect"] == pytest.approx(0.6 * 1000 / 0.5)
    assert evidence("recall", [series([0.0, 0.0])] * 4, SAMPLES)["reads"] == "stable"


def test_one_seed_is_judged_by_its_samples_alone():
    """The same change, with small and with large jackknife errors; over more seeds the replicates do not matter."""
    for spread, reads in ((0.01, "degrading"), (3.0, "undecided")):
        wobble = spread * stream(0, "test", "wobble").standard_normal(8)
        end = Estimate(1.6, tuple(1.6 * np.exp(wobble)))
        run = Series([Estimate(1.0, (1.0,) * 8), end])
        assert evidence("frechet", [run], SAMPLES)["reads"] == reads
        assert evidence("frechet", [run, run, run], SAMPLES)["reads"] == "degrading"


def test_one_generation_has_no_effect():
    found = evidence("frechet", [series([1.0, 2.0]), series([1.0])], SAMPLES)
    assert (found["effect"], found["reads"], found["start"]) == (None, "undecided", 1.0)


def test_a_metric_that_is_missing():
    assert evidence("frechet", [series([None, None])] * 2, SAMPLES) is None
    gone = evidence("frechet", [series([1.0, 1.0]), series([1.0, None])], SAMPLES)
    assert (gone["effect"], gone["reads"], gone["end"]) == (None, "undecided", 1.0)
    gone = evidence("frechet", [series([1.0, None])] * 2, SAMPLES)
    assert (gone["end"], gone["reads"]) == (None, "undecided")


def test_seeds_of_different_lengths_are_each_judged_by_their_own_end():
    found = evidence("frechet", [series([1.0, 1.0, 2.0]), series([1.0, 2.0])], SAMPLES)
    assert (found["effect"], found["low"], found["reads"]) == (pytest.approx(2), pytest.approx(2), "degrading")


def test_a_provider_is_what_its_worst_reading_is():
    for size in (1, 2, 3):
        for words in itertools.product(WORST_FIRST, repeat=size):
            worst = next(word for word in WORST_FIRST if word in words)
            assert of_provider([{"reads": word} for word in words]) == worst
            assert of_run(words) == worst
    assert of_provider([]) == of_run([]) == "undecided"
    assert WORST_FIRST == ("collapsed", "degrading", "undecided", "improving", "stable")


# False alarms and power, over 120 synthetic runs of 4 seeds and 9 generations; over 400 worlds in test_judge.py


NOISE = 0.10  # standard deviation of the logarithm of a metric, by seed and generation
LEVELS = {"frechet": 12.0, "recall": 0.6, "class-entropy": 10.0}  # of the last: classes in use


def verdicts_of(end, seeds=4, runs=120, what="null"):
    """How often each verdict falls when each metric moves geometrically to ``end`` times its start, under noise."""
    rng = stream(0, "test", what)
    return Counter(of_provider(readings(rng, end, seeds)) for _ in range(runs))


def readings(rng, end, seeds):
    for metric, level in LEVELS.items():
        path = np.log(level) + np.linspace(0, math.log(end.get(metric, 1)), 9)
        noisy = path + NOISE * rng.standard_normal((seeds, 9))
        values = noisy if metric == "class-entropy" else np.exp(noisy)
        yield evidence(metric, [series(row) for row in values], SAMPLES)


def test_false_alarms_are_rare():
    """No change at all: at most 5 % are called degrading, improving or collapsed.

    Measured: none of 120. The price is caution: 29 % of them are called stable and 71 % undecided, since the interval
    over 4 seeds of 10 % noise is about as wide as the margin; 8 seeds are enough (58 of 60 stable, 2 undecided).
    """
    found = verdicts_of({})
    assert 120 - found["stable"] - found["undecided"] <= 0.05 * 120, found
    more = verdicts_of({}, seeds=8, runs=60)
    assert more["stable"] >= 0.9 * 60, more


def test_a_doubled_distance_is_found():
    """Power: at least 90 % of planted doublings of the distance are called degrading. Measured: all of 120."""
    found = verdicts_of({"frechet": 2.0}, what="doubling")
    assert found["degrading"] >= 0.9 * 120, found


def test_a_loss_of_diversity_to_a_third_is_called_a_collapse():
    """At least 90 % of them, and none is called anything milder than degrading. Measured: 116 of 120, and 4."""
    found = verdicts_of({"recall": 0.33}, what="collapse")
    assert found["collapsed"] >= 0.9 * 120, found
    assert found["collapsed"] + found["degrading"] == 120, found


def test_a_halved_distance_is_an_improvement():
    """At least 90 % of them over 8 seeds, since diversity must be known to be stable. Measured: 59 of 60."""
    found = verdicts_of({"frechet": 0.5}, seeds=8, runs=60, what="improvement")
    assert found["improving"] >= 0.9 * 60, found


# Records


def line(number, trained=None, vote_share=0.5, web_share=0.0):
    """A line of metrics.jsonl of one provider; ``trained``: metric -> value or (value, replicates)."""
    row = {"generation": number, "vote_share": vote_share}
    if trained is not None:
        counts = {"pages": 100, "human": 100, "by_maker": {"human": 100}, "lambda": 0.0}
        counts |= {"synthetic_share": 0.0, "lineage": 1.0, "loss": None}
        counts |= {name: trained[name] for name in counts if name in trained}
        measured = {name: value for name, value in trained.items() if name not in counts}
        metrics = {name: v[0] if isinstance(v, tuple) else v for name, v in measured.items()}
        replicates = {name: list(v[1]) for name, v in measured.items() if isinstance(v, tuple)}
        row["trained"] = {**counts, "metrics": metrics, "replicates": replicates}
    web = {"pages": 100, "human": 100, "synthetic": 0, "synthetic_share": web_share, "lineage": web_share}
    return {"round": number, "web": web, "ballots": 10, "classifier_accuracy": None, "providers": {"lab": row}}


def records(seeds, metric="frechet", **others):
    """Seeds of lines: a number a generation each; ``others``: the rows of other providers."""
    found = [[line(n, {metric: v}) for n, v in enumerate(values)] for values in seeds]
    for name, rows in others.items():
        for lines, values in zip(found, rows, strict=True):
            for n, value in enumerate(values):
                lines[n]["providers"][name] = line(n, {metric: value})["providers"]["lab"]
    return found


def test_series_out_of_records():
    lines = [
        line(0, {"frechet": (2.0, (1.0, 3.0)), "lambda": None, "lineage": 1.0, "pages": 7}, vote_share=None),
        line(1, vote_share=0.25, web_share=0.3),
        line(2, {"recall": 0.5, "frechet": None, "lambda": 0.5, "lineage": 1.5, "pages": 9}, vote_share=1.0),
    ]
    assert provider_series(lines, "lab", "frechet").values == [Estimate(2.0, (1.0, 3.0)), None]
    assert provider_series(lines, "lab", "recall").values == [None, Estimate(0.5)]
    assert provider_series(lines, "lab", "lambda").values == [None, Estimate(0.5)]
    assert provider_series(lines, "lab", "lineage").values == [Estimate(1.0), Estimate(1.5)]
    assert provider_series(lines, "lab", "data-set-pages").values == [Estimate(7), Estimate(9)]
    assert provider_series(lines, "lab", "vote-share").values == [None, Estimate(0.25), Estimate(1.0)]
    assert web_series(lines, "synthetic-share").values == [Estimate(0.0), Estimate(0.3), Estimate(0.0)]
    assert web_series(lines, "pages").values == [Estimate(100)] * 3


# Claims


def claim(word, metric="frechet", of="lab", **more):
    if isinstance(than := more.get("than"), dict):
        more["than"] = ThanSettings(**than)
    return grammar.dump(Claim(is_=word, metric=metric, of=of, **more))


UP = [[1.0, 1.5, 2.0], [1.1, 1.6, 2.1], [0.9, 1.4, 2.2]]
DOWN = [row[::-1] for row in UP]
WILD = [[1.0, 1.0, 3.0], [1.0, 1.0, 0.2], [1.0, 1.0, 1.2]]
HIGH = [[5.0, 5.0, 5.0], [5.1, 5.0, 5.2], [4.9, 5.0, 5.1]]


@pytest.mark.parametrize(
    ("asked", "held", "refuted"),
    [
        (claim("increasing"), UP, DOWN),
        (claim("decreasing"), DOWN, UP),
        (claim("bounded", within=1.2), DOWN, UP),
        (claim("outgrows", factor=1.2), UP, DOWN),
        (claim("higher-than", value=1.5), UP, DOWN),
        (claim("lower-than", value=1.5), DOWN, UP),
        (claim("higher-than", than={"generation": 0}), UP, DOWN),
        (claim("lower-than", than={"generation": 0}), DOWN, UP),
        (claim("lower-than", than={"of": "rival"}), UP, [[9.0, 9.0, 9.0], [9.1, 9.0, 9.0], [8.9, 9.0, 9.1]]),
        (claim("higher-than", than={"of": "rival"}), [[9.0, 9.0, 9.0], [9.1, 9.0, 9.0], [8.9, 9.0, 9.1]], UP),
        (claim("lower-than", than={"of": "rival", "generation": 1}), UP, [[7.0, 7.0, 7.0]] * 3),
    ],
    ids=lambda c: c["is"] if isinstance(c, dict) else "",
)
def test_a_claim_is_held_refuted_or_undecided(asked, held, refuted):
    for seeds, verdict in ((held, "held"), (refuted, "refuted")):
        judged = judge(asked, records(seeds, rival=HIGH), {})
        assert judged.verdict == verdict
        assert judged.found.low <= judged.found.effect <= judged.found.high
    shift = 4.0 if (asked["than"] or {}).get("of") else 0.0  # around the rival's level
    wild = [[v + shift for v in row] for row in WILD]
    assert judge(asked, records(wild, rival=HIGH), {}).verdict == "undecided"


def test_opposite_claims_never_agree():
    """What holds one refutes the other, and what is undecided is so for both; over 80 random sets of seeds."""
    opposites = [
        (claim("increasing"), claim("decreasing")),
        (claim("bounded", within=1.3), claim("outgrows", factor=1.3)),
        (claim("lower-than", value=1.5), claim("higher-than", value=1.5)),
        (claim("lower-than", than={"of": "rival"}), claim("higher-than", than={"of": "rival"})),
    ]
    rng, seen = stream(0, "test", "claims"), Counter()
    for _ in range(80):
        runs = records(1 + rng.random((3, 4)) + rng.normal(), rival=1 + rng.random((3, 4)))
        for a, b in opposites:
            pair = judge(a, runs, {}).verdict, judge(b, runs, {}).verdict
            seen[pair] += 1
    assert set(seen) == {("held", "refuted"), ("refuted", "held"), ("undecided", "undecided")}


def test_a_counted_number_without_spread_is_exact():
    """Synthetic shares do not vary over seeds: any difference is one, and no difference is none."""
    up = [[line(n, {"synthetic_share": 0.1 * n, "lambda": 1.0}, web_share=0.1 * n) for n in range(4)]] * 3
    for seeds in (up, up[:1]):
        for of in ("lab", None):
            assert judge(claim("increasing", "synthetic-share", of), seeds, {}).verdict == "held"
            assert judge(claim("decreasing", "synthetic-share", of), seeds, {}).verdict == "refuted"
        for word in ("increasing", "decreasing"):
            flat = judge(claim(word, "lambda"), seeds, {})
            assert (flat.verdict, flat.found) == ("refuted", Interval(0.0, 0.0, 0.0)), "exactly no change"
        assert judge(claim("lower-than", "lambda", value=1.0), seeds, {}).verdict == "refuted"
        assert judge(claim("bounded", "lambda", within=1.0), seeds, {}).verdict == "held"
        assert judge(claim("outgrows", "lambda", factor=1.0), seeds, {}).verdict == "refuted"


@pytest.mark.parametrize("metric", ["vote-share", VARIANCE])
def test_a_number_of_one_seed_without_sampling_error_decides_nothing(metric):
    def lines():
        return [line(n, {VARIANCE: 1.0 + n}, vote_share=0.1 + 0.1 * n) for n in range(5)]

    asked = claim("increasing", metric), claim("outgrows", metric, factor=1.1), claim("higher-than", metric, value=0.2)
    for question in asked:
        judged = judge(question, [lines()], {})
        assert (judged.verdict, judged.found, judged.evidence) == ("undecided", None, LONE)
        assert judge(question, [lines()] * 2, {}).verdict == "held"
    sampled = [[line(n, {"recall": (v, (v - 0.01, v, v + 0.01))}) for n, v in enumerate((0.2, 0.8))]]
    assert judge(claim("increasing", "recall"), sampled, {}).verdict == "held", "by its evaluation samples"


def test_an_undecided_claim_says_how_many_more_seeds_would_tell():
    wild = records([[1.0, 2.0], [1.0, 4.0], [1.0, 0.9]])
    for asked in (claim("increasing"), claim("outgrows", factor=1.2), claim("higher-than", value=1.2)):
        judged = judge(asked, wild, {})
        assert judged.verdict == "undecided" and 0 < judged.more_seeds < 100
        decided = judge(asked, records(UP if asked["is"] != "higher-than" else HIGH), {})
        assert (decided.verdict, decided.more_seeds) == ("held", None)


def test_an_infinite_lambda_decides_nothing():
    """A training set without a human page has no lambda: null in the records, and no mean hides it."""
    runs = [[line(n, {"lambda": value}) for n, value in enumerate((0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, None))]] * 2
    for word, more in (("increasing", {}), ("bounded", {"within": 2.0}), ("higher-than", {"value": 0.5})):
        judged = judge(claim(word, "lambda", **more), runs, {})
        assert (judged.verdict, judged.found) == ("undecided", None)


def test_a_metric_lost_to_zero_does_not_outgrow_and_is_bounded():
    assert judge(claim("outgrows", "recall", factor=2.0), records([[0.5, 0.0]] * 3, "recall"), {}).verdict == "refuted"
    assert judge(claim("bounded", "recall", within=2.0), records([[0.5, 0.0]] * 3, "recall"), {}).verdict == "held"


@pytest.mark.parametrize("word", ["stable", "improving", "degrading", "collapsed"])
def test_a_claim_of_a_verdict(word):
    asked = claim(word, metric=None)
    for actual in WORST_FIRST:
        expected = "undecided" if actual == "undecided" else "held" if actual == word else "refuted"
        assert judge(asked, [], {"lab": actual}).verdict == expected


def test_what_was_not_measured_or_has_no_trend_is_undecided():
    for asked in (claim("increasing"), claim("bounded", within=2.0)):
        assert judge(asked, records([[1.0], [1.0]]), {}).evidence == "one generation has no trend"
    assert judge(claim("increasing"), records([[1.0, 2.0], []]), {}).evidence == "not measured in every seed"
    assert judge(claim("higher-than", value=0.5), records([[1.0], [1.0]]), {}).verdict == "held", "needs no trend"
    late = claim("higher-than", than={"generation": 7})
    assert judge(late, records(UP), {}).verdict == "undecided", "generation 7 never was"


def test_vote_shares_are_compared_by_round():
    """A provider that trained once is voted for in every round."""
    runs = [[line(n, {"frechet": 1.0} if n == 0 else None, vote_share=0.1 * n) for n in range(5)]] * 2
    assert judge(claim("increasing", "vote-share"), runs, {}).verdict == "held"
    assert judge(claim("higher-than", "vote-share", than={"generation": 3}), runs, {}).verdict == "held"


# Theory

# A variance that halves every ten generations, as it is predicted and as 10 seeds measure it.
PREDICTED = 0.5 ** (np.arange(31) / 10)


def theory_of(values, measured):
    """With the standard error of measured minus predicted, (S, T), over seeds."""
    error = (measured - np.asarray(values)).std(axis=0, ddof=1) / math.sqrt(len(measured))
    return {
        "oracle": "halving",
        "source": "made for this test",
        "values": list(values),
        "error": [float(e) for e in error],
        "human": None,
        "deviation": None,
        "at": None,
    }


def measurements(seeds=10, noise=1e-3, predicted=PREDICTED, shifts=None):
    """Noisy around the prediction, their mean off by just so many standard errors at some generations: (S, T)."""
    z = stream(0, "test", "measured").standard_normal((seeds, len(predicted)))
    z = (z - z.mean(axis=0)) / stats.sem(z, axis=0)
    for generation, deviation in (shifts or {}).items():
        z[:, generation] += deviation
    return predicted + noise / math.sqrt(seeds) * z


def judge_theory(measured, values=PREDICTED):
    asked = {"is": "as-theory", "metric": VARIANCE, "of": "lab"}
    return judge(asked, records(measured, VARIANCE), {}, {("lab", VARIANCE): theory_of(values, measured)})


def test_theory_is_held_where_measurement_follows_it_to_the_standard_error():
    held = judge_theory(measurements(shifts={1: 0.5, 3: -2.9, 10: 1.0, 30: 2.8}))
    assert (held.verdict, held.found, held.more_seeds) == ("held", None, None)
    # The error is 0.001 / sqrt(10), the smallest effect that of generation 1: 1 - 0.5 ** 0.1.
    percent = 100 * 1e-3 / math.sqrt(10) / (1 - 0.5**0.1)
    assert held.evidence == (
        f"largest deviation -2.9 standard errors, at generation 3; largest error {percent:.2g} % of the effect"
    )


@pytest.mark.parametrize(("generation", "verdict"), [(1, "refuted"), (10, "refuted"), (30, "refuted"), (29, "held")])
def test_theory_is_refuted_by_one_far_deviation_at_a_generation_that_is_checked(generation, verdict):
    for deviation in (3.1, -3.1):
        assert judge_theory(measurements(shifts={generation: deviation})).verdict == verdict


def test_theory_is_undecided_over_too_few_seeds_or_with_too_coarse_an_error():
    few = judge_theory(measurements(seeds=7))
    assert (few.verdict, few.more_seeds) == ("undecided", 1)
    assert "7 seeds of the 8" in few.evidence
    assert judge_theory(measurements(seeds=8)).verdict == "held"
    coarse = judge_theory(measurements(noise=0.02))
    # At generation 1 the error is 0.02 / sqrt(S) of an effect of 0.067, and must be 3 % of it.
    needed = math.ceil((0.02 / 0.03 / (1 - 0.5**0.1)) ** 2)
    assert (coarse.verdict, coarse.more_seeds) == ("undecided", needed - 10)
    assert judge_theory(measurements(noise=10.0)).more_seeds is None, "more than anybody has"
    asked = {"is": "as-theory", "metric": VARIANCE, "of": "lab"}
    runs = records(measurements(), VARIANCE)
    for theory in (None, {}, {("lab", "nll"): {}}):
        assert judge(asked, runs, {}, theory).verdict == "undecided"
    short = judge_theory(measurements()[:, :1], PREDICTED[:1])
    assert (short.verdict, short.more_seeds) == ("undecided", None), "nothing but generation 0"


def test_the_error_of_a_constant_is_compared_with_its_value():
    flat = np.full(31, 2.0)
    for noise, verdict in ((0.1, "held"), (0.3, "undecided")):  # 3 % of 2, over 10 seeds: 0.19
        assert judge_theory(measurements(noise=noise, predicted=flat), flat).verdict == verdict
    late = np.where(np.arange(31) < 5, 1.0, 2.0)  # no effect at generations 1 and 3: compared with its value there
    assert judge_theory(measurements(noise=0.05, predicted=late), late).verdict == "held"


def test_the_effect_is_how_far_theory_says_that_the_model_is_from_human_data():
    """A plateau that is far from the human value has an effect though it does not move any more."""
    plateau = np.full(31, 0.9)
    measured = measurements(noise=0.02, predicted=plateau)  # an error of 0.006, 6 % of 0.1
    error = judge_theory(measured, plateau)
    assert error.verdict == "held", "0.7 % of its value where nothing is known of human data"
    theory = {**theory_of(plateau, measured), "human": 1.0}
    found = agreement.checks([series(row) for row in measured], theory)
    assert agreement.verdict(found, len(measured)) == "undecided"


def test_a_prediction_met_exactly_is_no_deviation():
    exact = np.tile(PREDICTED, (8, 1))
    assert judge_theory(exact).verdict == "held"
    assert judge_theory(exact * (1 + 1e-12)).verdict == "held", "rounding"
    assert judge_theory(exact * 1.01).verdict == "refuted", "infinitely many of no error"


def test_a_true_theory_is_refuted_as_seldom_as_is_said():
    """2,000 true theories over 8 seeds, one generation each: 2.0 %, within 4 standard errors."""
    draws = 1 + 0.01 * stream(0, "test", "true").standard_normal((2000, 8))
    refuted = 0
    for row in draws:
        theory = theory_of([1.0, 1.0], np.stack([row, row], axis=1))
        refuted += agreement.verdict(agreement.checks([series([v, v]) for v in row], theory), 8) == "refuted"
    rate = 2 * stats.t.sf(3, 7)
    assert abs(refuted / 2000 - rate) < 4 * math.sqrt(rate / 2000)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (claim("increasing", "synthetic-share", None), "synthetic-share of the web is increasing"),
        (claim("decreasing", "recall"), "recall of lab is decreasing"),
        (claim("bounded", within=2.0), "frechet of lab stays within 2 times its generation 0"),
        (claim("outgrows", factor=1.5), "frechet of lab outgrows 1.5 times its generation 0"),
        (claim("lower-than", value=0.25), "frechet of lab is lower than 0.25"),
        (claim("higher-than", than={"of": "rival"}), "frechet of lab is higher than of rival"),
        (claim("higher-than", than={"generation": 0}), "frechet of lab is higher than its own at generation 0"),
        (
            claim("lower-than", than={"of": "rival", "generation": 3}),
            "frechet of lab is lower than of rival at generation 3",
        ),
        (claim("collapsed", metric=None), "lab is collapsed"),
        ({"is": "as-theory", "metric": VARIANCE, "of": "lab"}, "model-variance of lab follows theory"),
    ],
)
def test_a_claim_as_a_sentence(asked, words):
    assert in_words(asked) == words


def test_every_judged_metric_is_a_metric():
    from ecosystem.metrics import NAMES

    assert {*DISTANCES, *DIVERSITIES} <= set(NAMES)
