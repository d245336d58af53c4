"""Stages of selection: quality, near duplicates against brute force, balance, resampling against exact probabilities.

All draws come from fixed streams, so a test passes or fails for good; shares are held to 3 standard errors.
"""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal
from pydantic import TypeAdapter, ValidationError

from ecosystem.rng import Streams, stream
from ecosystem.web.found import Found
from ecosystem.web.rewards import Distance, MaxConfidence
from ecosystem.web.selection import (
    ROWS,
    Balance,
    NearDuplicates,
    Quality,
    Resample,
    by_products,
    by_tree,
    drawn,
    first_exact,
    needs_judge,
)

STREAMS = Streams(0, "common", 3)
ORIGIN = Distance((0.0, 0.0))


def draws(*shape, what="uniforms"):
    return stream(0, "test", what).random(shape)


def normal(*shape, what="normal"):
    return stream(0, "test", what).standard_normal(shape)


def unread(positions):
    raise AssertionError("a stage that needs no items has read some")


def found_of(n, items=None, **columns):
    """Pages of which only what is given differs from one to the next."""
    neutral = {"synthetic": np.zeros(n, bool), "marks": np.zeros(n, np.uint8)}
    neutral |= {name: np.zeros(n, int) for name in ("label", "site", "round")}
    read = unread if items is None else lambda positions: items[positions].copy()
    return Found(ids=np.arange(n) + 100, items=read, **(neutral | columns))


def positions_of(stage, found, judge=None):
    return stage.take(found, judge, STREAMS).positions


# Quality


def test_quality_above_a_threshold():
    """Distance from the origin: r = -||x||."""
    x = normal(1000, 2)
    taken = Quality(ORIGIN, above=-1.0).take(found_of(1000, x), None, STREAMS)
    length = np.linalg.norm(x, axis=1)
    assert_array_equal(taken.positions, np.flatnonzero(length < 1.0))
    assert taken.told["reward_before"] == pytest.approx(-length.mean())
    assert taken.told["reward_after"] == pytest.approx(-length[length < 1.0].mean())


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.07, 7), (0.071, 8), (0.5, 50), (1.0, 100)])
def test_quality_keeps_the_best_share(share, count):
    x = normal(100, 2)
    positions = positions_of(Quality(ORIGIN, keep=share), found_of(100, x))
    assert_array_equal(positions, np.sort(np.argsort(np.linalg.norm(x, axis=1))[:count]))


def test_among_pages_of_equal_reward_no_one_is_preferred():
    """Each of 40 equal pages is among the best 20 half of the time; the 10 better ones always, 1,000 rounds."""
    x = np.repeat([[1.0, 0.0], [0.5, 0.0], [1.0, 0.0]], [20, 10, 20], axis=0)
    stage, times = Quality(ORIGIN, keep=0.6), np.zeros(50)
    for round in range(1000):
        times[stage.take(found_of(50, x), None, Streams(0, "common", round)).positions] += 1
    assert (times[20:30] == 1000).all()
    z = (np.delete(times, np.s_[20:30]) / 1000 - 0.5) / math.sqrt(0.25 / 1000)
    assert np.abs(z).max() < 4, "of forty"
    assert abs(times[:20].sum() - times[30:].sum()) < 3 * math.sqrt(1000 * 40 * 0.25)


def test_quality_wants_exactly_one_rule():
    faults = [Quality(ORIGIN, above, keep).faults() for above in (None, 0.0) for keep in (None, 0.0)]
    assert [len(found) for found in faults] == [1, 0, 0, 1]


# Near duplicates


def one_by_one(x, reach):
    """The definition: a page stays if no page that stayed before it is within reach."""
    kept = [0]
    for page in range(1, len(x)):
        if ((x[kept] - x[page]) ** 2).sum(axis=1).min() > reach**2:
            kept.append(page)
    return kept


# Quarters, so that squares are exact, and reaches that are no distance between such points.
shapes = st.tuples(st.integers(1, 24), st.sampled_from([1, 2, 17]))
points = hnp.arrays(np.int8, shapes, elements=st.integers(-12, 12)).map(lambda quarters: quarters / 4)
reaches = st.sampled_from([0.1, 0.3, 0.8, 1.23, 3.3, 20.2])


@pytest.mark.parametrize("search", [by_tree, by_products])
@given(x=points, reach=reaches)
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
def test_near_duplicates_are_those_of_the_definition(search, x, reach):
    assert_array_equal(search(found_of(len(x), x), reach), one_by_one(x, reach))


@given(x=points, reach=reaches)
@settings(max_examples=20, deadline=None, derandomize=True, database=None)
def test_exact_duplicates_first_changes_nothing(x, reach):
    """The whole stage against the definition; the radius is a root mean square."""
    radius = reach / math.sqrt(x.shape[1])
    assert_array_equal(positions_of(NearDuplicates(radius), found_of(len(x), x)), one_by_one(x, reach))


@pytest.mark.parametrize(("dimensions", "reach"), [(2, 0.3), (24, 5.0)])
def test_both_searches_and_the_definition_agree_beyond_a_block(dimensions, reach):
    """So many pages that the products are of several blocks, and pages drive out pages of other blocks."""
    x = normal(3 * ROWS // 2, dimensions)
    expected = one_by_one(x, reach)
    assert len(expected) < len(x)
    for search in (by_tree, by_products):
        assert_array_equal(search(found_of(len(x), x), reach), expected)


def test_products_of_many_small_blocks(monkeypatch):
    monkeypatch.setattr("ecosystem.web.selection.ROWS", 7)
    x = normal(200, 20)
    assert_array_equal(by_products(found_of(200, x), 5.5), one_by_one(x, 5.5))


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 8, 8), (3, 4, 4)])
def test_images_are_compared_as_numbers_in_minus_one_to_one(shape):
    rng = stream(0, "test", "images")
    base = rng.integers(0, 246, (60, *shape), dtype=np.uint8)
    items = base[rng.integers(0, 60, 300)] + rng.integers(0, 10, (300, *shape), dtype=np.uint8)
    x = items.reshape(300, -1) / 127.5 - 1.0
    for radius in (0.003, 0.03, 0.04, 0.5):
        reach = radius * math.sqrt(x.shape[1])
        assert_array_equal(positions_of(NearDuplicates(radius), found_of(300, items)), one_by_one(x, reach))


@pytest.mark.parametrize("shape", [(1, 2, 3), (1, 7, 9)])
def test_an_image_at_the_radius_is_within_it(shape):
    """Every pixel so many levels off: a root mean square of levels / 127.5, which no binary fraction is."""
    for levels in range(1, 60):
        items = np.array([100, 100 + levels], np.uint8).reshape(2, 1, 1, 1) * np.ones((1, *shape), np.uint8)
        assert_array_equal(positions_of(NearDuplicates(levels / 127.5), found_of(2, items)), [0])
        assert_array_equal(positions_of(NearDuplicates((levels - 0.01) / 127.5), found_of(2, items)), [0, 1])


@pytest.mark.parametrize("shape", [(2,), (30,), (1, 8, 8)])
def test_radius_zero_removes_exact_duplicates_alone(shape):
    rng = stream(0, "test", "images")
    items = rng.integers(0, 2, (8, *shape), dtype=np.uint8)[rng.integers(0, 8, 100)]
    items = items if len(shape) == 3 else np.nextafter(items.astype(float), 5)
    first = np.sort(np.unique(items.reshape(100, -1), axis=0, return_index=True)[1])
    assert_array_equal(positions_of(NearDuplicates(0.0), found_of(100, items)), first)
    items = np.repeat(np.arange(4.0)[:, None], 2, axis=1)
    items[1] = np.nextafter(items[0], 1)
    assert_array_equal(positions_of(NearDuplicates(0.0), found_of(4, items)), range(4))


def test_minus_zero_is_zero():
    assert_array_equal(first_exact(found_of(2, np.array([[0.0, 1.0], [-0.0, 1.0]]))), [0])


def test_what_stays_is_apart_and_covers_what_went():
    x = normal(3000, 2)
    stay = positions_of(NearDuplicates(0.2), found_of(3000, x))
    distance = np.linalg.norm(x[:, None] - x[stay], axis=2) / math.sqrt(2)
    assert (distance[stay] + np.eye(len(stay)) > 0.2).all()
    earlier = stay <= np.arange(3000)[:, None]
    assert ((distance <= 0.2) & earlier).any(axis=1).all()


def test_a_web_that_collapsed_to_points_is_quick():
    """30,000 pages at three places, and as many in a cloud much smaller than the radius: no N^2 pairs are made."""
    x = np.concatenate([np.arange(3.0).repeat(2).reshape(3, 2)[np.arange(30_000) % 3], 1e-6 * normal(30_000, 2)])
    taken = NearDuplicates(0.01).take(found_of(60_000, x), None, STREAMS)
    assert_array_equal(taken.positions, [0, 1, 2])
    assert taken.told == {"removed": pytest.approx(1 - 3 / 60_000)}


@pytest.mark.parametrize("dimensions", [2, 20])
def test_pages_beyond_all_measure_are_no_duplicates(dimensions):
    x = np.outer([1.0, 1e200, -1e200, 1.001, 1e200], np.ones(dimensions))
    assert_array_equal(positions_of(NearDuplicates(0.01), found_of(5, x)), [0, 1, 2])


# Balance


@pytest.mark.parametrize("ratio", [1.0, 1.5, 3.0])
def test_balance_brings_counts_to_the_ratio(ratio):
    counts = np.array([50, 20, 90, 0, 31])
    label = stream(0, "test", "label").permutation(np.repeat(np.arange(5), counts))
    taken = Balance(ratio).take(found_of(len(label), label=label), None, STREAMS)
    kept = np.bincount(label[taken.positions], minlength=5)
    assert_array_equal(kept, np.minimum(counts, int(20 * ratio)))
    assert (np.diff(taken.positions) > 0).all()
    assert taken.told == {"rarest": 20.0}


def test_balance_takes_any_page_of_a_class_as_likely_as_another():
    """10 of 40 pages of the frequent class: each a quarter of the time, chi-square over 600 rounds."""
    label = np.repeat([7, -1], [40, 10])
    times = np.zeros(50)
    for round in range(600):
        times[Balance().take(found_of(50, label=label), None, Streams(0, "common", round)).positions] += 1
    assert (times[40:] == 600).all()
    # Draws without replacement: variance q (1 - q) each, and a sum that is fixed takes one degree of freedom.
    statistic = ((times[:40] - 150) ** 2).sum() / (600 * 0.25 * 0.75) * 39 / 40
    assert abs(statistic - 39) < 3 * math.sqrt(2 * 39)


def test_what_is_balanced_already_or_of_one_class_stays_as_it_is():
    found = found_of(90, label=np.arange(90) % 3)
    assert_array_equal(positions_of(Balance(), found), np.arange(90))
    assert_array_equal(positions_of(Balance(), found_of(90)), np.arange(90))
    skewed = found_of(90, label=np.minimum(np.arange(90), 1))
    assert_array_equal(positions_of(Balance(1e6), skewed), np.arange(90))


# Resampling


def narrowed(n, share=0.5, scale=0.5):
    """Human vectors N(0, I), synthetic ones N(0, scale^2 I), in two dimensions."""
    synthetic = draws(n, what="synthetic") < share
    return found_of(n, normal(n, 2) * np.where(synthetic, scale, 1.0)[:, None], synthetic=synthetic)


def test_resampling_favours_human_pages_and_repeats_none_too_often():
    found = narrowed(4000, share=0.6)
    taken = Resample().take(found, None, STREAMS)
    repeats = np.bincount(taken.positions, minlength=4000)
    assert len(taken.positions) == 6000
    assert (np.diff(taken.positions) >= 0).all()
    assert repeats.max() == 3
    before, after = found.synthetic.mean(), found.synthetic[taken.positions].mean()
    assert after < before - 3 * math.sqrt(0.25 / 4000)
    assert taken.told["auc"] > 0.6
    assert taken.told["taken"] == (repeats > 0).mean()
    # At equal distance from the centre the detector knows no difference; far out there are humans alone.
    far = np.linalg.norm(found.items(np.arange(4000)), axis=1) > 2.0
    assert repeats[far].mean() > 2.5 > 1.6 > repeats[~far].mean()


def test_a_higher_power_favours_them_more():
    found = narrowed(4000)
    shares = [found.synthetic[positions_of(Resample(power=power), found)].mean() for power in (0.0, 1.0, 4.0, 16.0)]
    assert all(high > low for high, low in itertools.pairwise(shares))
    assert abs(shares[0] - found.synthetic.mean()) < 3 * math.sqrt(0.25 / 6000)


def test_neutral_resampling_takes_every_page_once():
    positions = positions_of(Resample(power=0.0, upsampling=1.0, max_repeats=1), narrowed(1000))
    assert_array_equal(positions, np.arange(1000))


def test_without_a_detector_every_page_is_taken_once():
    taken = Resample().take(found_of(1000, normal(1000, 2)), None, STREAMS)
    assert_array_equal(taken.positions, np.arange(1000))
    assert taken.told == {}


def test_no_more_than_all_copies():
    positions = positions_of(Resample(upsampling=9.0), narrowed(1000))
    assert_array_equal(positions, np.arange(1000).repeat(3))


def inclusion(weights, count):
    """How often each of a few items is among the first so many drawn by weight without replacement: enumerated."""
    expected = np.zeros(len(weights))
    for order in itertools.permutations(range(len(weights)), count):
        left, probability = sum(weights), 1.0
        for item in order:
            probability *= weights[item] / left
            left -= weights[item]
        expected[list(order)] += probability
    return expected


@pytest.mark.parametrize(("copies", "count"), [(1, 2), (2, 3)])
def test_copies_are_drawn_by_weight_without_replacement(copies, count):
    """Against the enumeration of all orders, 3 pages, 6,000 draws."""
    weights = np.array([0.1, 0.3, 0.6])
    rng, times = stream(0, "test", "drawn"), np.zeros(3)
    for _ in range(6_000):
        times += np.bincount(drawn(np.log(weights), copies, count, rng), minlength=3)
    expected = inclusion(weights.repeat(copies), count).reshape(3, copies)
    error = np.sqrt((expected * (1 - expected)).sum(axis=1) / 6_000)  # copies exclude one another: less than this
    assert (np.abs(times / 6_000 - expected.sum(axis=1)) <= 3 * error).all()


# All of them


STAGES = [Quality(ORIGIN, keep=0.5), Quality(ORIGIN, above=0.0), NearDuplicates(0.1), Balance(), Resample()]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: type(stage).__name__)
def test_no_pages_are_no_trouble(stage):
    taken = stage.take(found_of(0, np.empty((0, 2))), None, STREAMS)
    assert taken.positions.shape == (0,)
    assert taken.positions.dtype.kind == "i"
    assert taken.told == {}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: type(stage).__name__)
def test_the_same_round_takes_the_same_pages(stage):
    found = narrowed(500)
    first, again = (stage.take(found, None, STREAMS) for _ in range(2))
    assert_array_equal(first.positions, again.positions)
    assert first.told == again.told


NEUTRAL = [Quality(ORIGIN, keep=1.0), Quality(ORIGIN, above=-1e300), NearDuplicates(0.0), Balance(1e9)]


@pytest.mark.parametrize("stage", NEUTRAL, ids=lambda stage: type(stage).__name__)
def test_neutral_settings_take_every_page_once(stage):
    found = narrowed(500)
    assert_array_equal(positions_of(stage, found), np.arange(500))


def test_which_stages_look_with_the_eyes_of_a_classifier():
    stages = [None, *STAGES, Quality(MaxConfidence(), keep=0.5)]
    assert [needs_judge(stage) for stage in stages] == [False, False, False, False, False, True, True]


@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        (Quality, {"keep": 0.5}),
        (Quality, {"reward": {"kind": "distance", "to": [0.0]}, "keep": 1.5}),
        (NearDuplicates, {"radius": -1.0}),
        (NearDuplicates, {}),
        (Balance, {"ratio": 0.5}),
        (Resample, {"labelled": 10}),
        (Resample, {"upsampling": 0.0}),
        (Resample, {"max_repeats": 0}),
        (Resample, {"power": -1.0}),
    ],
)
def test_settings_that_mean_nothing_are_refused(stage, settings):
    with pytest.raises(ValidationError):
        TypeAdapter(stage).validate_json(json.dumps(settings))


def test_settings_as_yaml_has_them():
    read = TypeAdapter(Quality).validate_json('{"reward": {"kind": "distance", "to": [0, 0]}, "keep": 0.25}')
    assert read == Quality(ORIGIN, keep=0.25)
    assert TypeAdapter(Resample).validate_json("{}") == Resample(500, 10.0, 1.5, 3)
    assert TypeAdapter(Balance).validate_json('{"ratio": 2}') == Balance(2.0)
