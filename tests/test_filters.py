"""Filters against the formulas: detectors of given rates, watermarks, labels, verifiers, trained detectors.

All draws come from fixed streams, so a test passes or fails for good; shares are held to 3 standard errors.
"""

import itertools
import json
import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from pydantic import TypeAdapter, ValidationError

from ecosystem.rng import Streams, stream
from ecosystem.theory.identities import detector_share, verifier_breakdown
from ecosystem.web.detectors import Detector, Everything, Filter, Labels, Verifier, Watermark, needs_judge
from ecosystem.web.found import VALUES, Found
from ecosystem.web.marks import CLAIMED, FLAGGED, WATERMARKED
from ecosystem.web.trained import FAR, LEAST, TrainedDetector, fit, represented, threshold

STREAMS = Streams(0, "common", 3)


def draws(*shape, what="uniforms"):
    return stream(0, "test", what).random(shape)


def normal(*shape, what="normal"):
    return stream(0, "test", what).standard_normal(shape)


def unread(positions):
    raise AssertionError("a filter that needs no items has read some")


def found_of(n, items=None, **columns):
    """Pages of which only what is given differs from one to the next."""
    neutral = {"synthetic": np.zeros(n, bool), "marks": np.zeros(n, np.uint8)}
    neutral |= {name: np.zeros(n, int) for name in ("label", "site", "round")}
    read = unread if items is None else lambda positions: items[positions].copy()
    return Found(ids=np.arange(n) + 100, items=read, **(neutral | columns))


class Stub:
    """A judge of images 1 x 1 x 2: the class is their first pixel, the feature the parity of the second."""

    def probabilities(self, x):
        return np.eye(10)[x.reshape(len(x), -1)[:, 0]]

    def features(self, x):
        return (x.reshape(len(x), -1)[:, 1:] % 2).astype(float)


def assert_share(pages, expected):
    """Within 3 standard errors of a share of independent pages; exactly where it has none."""
    assert abs(pages.mean() - expected) <= 3 * math.sqrt(expected * (1 - expected) / len(pages)) + 1e-12


# Given rates


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(("tpr", "fpr"), [(0.8, 0.05), (0.5, 0.5), (0.1, 0.3), (1.0, 0.0), (0.99, 0.9)])
def test_a_detector_leaves_the_share_that_the_formula_says(share, tpr, fpr):
    """p (1 - tpr) / (p (1 - tpr) + (1 - p)(1 - fpr)), and as many pages; 20 rounds of 20,000 pages together."""
    synthetic = np.arange(20_000) < share * 20_000
    found = found_of(20_000, synthetic=synthetic)
    kept = [Detector(tpr, fpr).keep(found, None, Streams(0, "common", round)) for round in range(20)]
    assert_share(np.concatenate([k.keep for k in kept]), share * (1 - tpr) + (1 - share) * (1 - fpr))
    assert_share(np.concatenate([synthetic[k.keep] for k in kept]), detector_share(share, tpr, fpr))
    assert all(k.told == {} for k in kept)


@pytest.mark.parametrize("rate", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("marked", [0.25, 1.0])
def test_a_watermark_is_a_detector_of_the_share_that_is_marked(rate, marked):
    """tpr = marked share times rate, fpr = 0; human pages carry no mark. 50,000 pages, 40 % synthetic."""
    synthetic = np.arange(50_000) < 20_000
    marks = np.where(synthetic & (draws(50_000, what="marks") < marked), WATERMARKED, 0) | CLAIMED
    found = found_of(50_000, synthetic=synthetic, marks=marks.astype(np.uint8))
    keep = Watermark(rate).keep(found, None, STREAMS).keep
    assert_share(synthetic[keep], detector_share(0.4, rate * marked, 0.0))
    assert keep[~synthetic].all()
    assert keep[marks == CLAIMED].all()


def test_labels_leave_out_what_is_flagged_and_nothing_else():
    marks = np.array([0, WATERMARKED, FLAGGED, CLAIMED, WATERMARKED | FLAGGED, WATERMARKED | CLAIMED], np.uint8)
    found = found_of(6, marks=marks, synthetic=np.array([False, True, False, True, True, True]))
    assert_array_equal(Labels().keep(found, None, STREAMS).keep, [True, True, False, True, False, True])


NEUTRAL = [Everything(), Detector(0.0, 0.0), Watermark(0.0), Labels(), Verifier(1.0, 1.0)]


@pytest.mark.parametrize("rule", NEUTRAL, ids=lambda rule: rule.kind)
def test_neutral_settings_keep_every_page(rule):
    items = stream(0, "test", "images").integers(0, 10, (1000, 1, 1, 2), dtype=np.uint8)
    marked = np.full(1000, WATERMARKED, np.uint8)
    found = found_of(1000, items, synthetic=draws(1000) < 0.5, marks=marked)
    kept = rule.keep(found, Stub(), STREAMS).keep
    assert kept.dtype == bool
    assert_array_equal(found.ids[kept], found.ids)


def test_a_blind_detector_keeps_nothing_and_a_perfect_one_what_is_human():
    found = found_of(1000, synthetic=draws(1000) < 0.5)
    assert not Detector(1.0, 1.0).keep(found, None, STREAMS).keep.any()
    assert_array_equal(Detector(1.0, 0.0).keep(found, None, STREAMS).keep, ~found.synthetic)


def test_a_detector_draws_what_it_has_always_drawn():
    """One uniform number a page of the stream `filter`: records of earlier versions stay what they are."""
    found = found_of(1000, synthetic=draws(1000) < 0.5)
    expected = stream(0, "common", "filter", 3).random(1000) >= np.where(found.synthetic, 0.8, 0.05)
    assert_array_equal(Detector(0.8, 0.05).keep(found, None, STREAMS).keep, expected)


@pytest.mark.parametrize("family", [lambda rate: Detector(rate, 0.1), Watermark], ids=["detector", "watermark"])
def test_a_sharper_filter_drops_what_a_weaker_one_drops_and_more(family):
    """Common random numbers: two scenarios that differ in a rate differ by pages in one direction only."""
    synthetic = draws(5000) < 0.5
    found = found_of(5000, synthetic=synthetic, marks=synthetic.astype(np.uint8) * WATERMARKED)
    kept = [family(rate).keep(found, None, STREAMS).keep for rate in (0.2, 0.5, 0.9)]
    for weak, sharp in itertools.pairwise(kept):
        assert (sharp <= weak).all()
        assert sharp.sum() < weak.sum()
        assert_array_equal(sharp[~synthetic], weak[~synthetic])


@pytest.mark.parametrize("rule", [Detector(0.6, 0.3), Watermark(0.5), Verifier(0.7, 0.2)], ids=lambda rule: rule.kind)
def test_one_page_more_changes_nobody_elses_fate(rule):
    items = stream(0, "test", "images").integers(0, 10, (501, 1, 1, 2), dtype=np.uint8)
    synthetic = draws(501) < 0.5
    found = found_of(501, items, synthetic=synthetic, marks=synthetic.astype(np.uint8) * WATERMARKED)
    fewer = rule.keep(found.at(np.arange(500)), Stub(), STREAMS).keep
    assert_array_equal(rule.keep(found, Stub(), STREAMS).keep[:500], fewer)
    assert 0 < fewer.sum() < 500


# Verification


@pytest.mark.parametrize(("phi", "psi"), [(0.9, 0.3), (1.0, 0.1), (0.5, 0.5), (0.2, 0.4)])
def test_a_verifier_breaks_even_at_the_known_share_of_bad_pages(phi, psi):
    """Feng et al.: at p* = 1 / (1 + psi / phi) bad pages, half of what is kept is good. 40,000 pages."""
    n, p = 40_000, verifier_breakdown(phi, psi)
    items = stream(0, "test", "images").integers(0, 10, (n, 1, 1, 2), dtype=np.uint8)
    bad = np.arange(n) < round(p * n)
    found = found_of(n, items, label=(items[:, 0, 0, 0] + bad) % 10)
    kept = Verifier(phi, psi).keep(found, Stub(), STREAMS)
    assert_share(~bad[kept.keep], 0.5)
    assert kept.told == {"good_share_before": (~bad).mean(), "good_share_after": (~bad[kept.keep]).mean()}


def test_a_verifier_does_not_ask_who_made_a_page():
    items = np.arange(10, dtype=np.uint8).repeat(2).reshape(10, 1, 1, 2)
    found = found_of(10, items, label=np.arange(10), synthetic=np.arange(10) < 5)
    assert Verifier(1.0, 0.0).keep(found, Stub(), STREAMS).keep.all()
    nothing = Verifier(0.0, 0.0).keep(found, Stub(), STREAMS)
    assert not nothing.keep.any()
    assert nothing.told == {"good_share_before": 1.0}, "of no pages no share is good"


# Trained


def narrowed(n, share=0.5, scale=0.5, what="pages"):
    """Human vectors N(0, I), synthetic ones N(0, scale^2 I), in two dimensions."""
    synthetic = draws(n, what=f"{what} synthetic") < share
    x = normal(n, 2, what=what) * np.where(synthetic, scale, 1.0)[:, None]
    return found_of(n, x, synthetic=synthetic)


@pytest.mark.parametrize("wanted", [0.05, 0.3])
def test_the_measured_rates_are_the_rates_on_fresh_pages(wanted):
    """Pages that neither fitted it nor set its threshold are an honest sample, over 20 rounds: no bias, no outliers."""
    found, fresh = narrowed(4000), narrowed(10_000, what="fresh")
    scores = {"tpr": [], "fpr": []}
    for round in range(20):
        trained = fit(found, None, Streams(0, "common", round).numpy("labelled"), 500, wanted)
        high = trained.log_odds(fresh.items(np.arange(len(fresh)))) > trained.threshold
        assert trained.auc > 0.5 + 3 / math.sqrt(12 * 125), "three standard errors of a coin, 125 pages of either kind"
        for name, rate, pages in (("tpr", trained.tpr, 125), ("fpr", trained.fpr, 62)):
            q = high[fresh.synthetic == (name == "tpr")].mean()
            scores[name].append((rate - q) / math.sqrt(q * (1 - q) / pages))
    for z in map(np.array, scores.values()):
        assert abs(z.mean()) <= 3 / math.sqrt(20)
        assert (np.abs(z) <= 3).mean() >= 0.95


def gaussian_pages(seed):
    """316 human and 316 narrower vectors of 20 dimensions, and 1,000 human ones beside them."""
    x = stream(seed, "test", "twenty dimensions").standard_normal((1632, 20))
    return x[:316], 0.85 * x[316:632], x[632:]


def digit_pages(seed):
    """316 scans, as many noisy ones, and the 1,481 scans beside the first."""
    from sklearn.datasets import load_digits

    scans, rng = load_digits().images[:, None] * 255 / 16, stream(seed, "test", "scans")
    mixed, noisy = rng.permutation(scans), rng.permutation(scans)[:316]
    noisy = (noisy + rng.normal(0, 25, noisy.shape)).clip(0, 255)
    return tuple(x.astype(np.uint8) for x in (mixed[:316], noisy, mixed[316:]))


@pytest.mark.parametrize("wanted", [0.05, 0.2])
@pytest.mark.parametrize("pages", [gaussian_pages, digit_pages])
def test_the_rate_on_fresh_human_pages_is_the_wanted_one(pages, wanted):
    """Over 60 seeds, on pages that were not labelled and as it is told, within 3 standard errors.

    79 of the labelled human pages calibrate, and 80 times either rate is whole, so that no law of scores is assumed.
    Set on the pages it was fitted on, a threshold for 0.05 has 0.1 on either kind of pages (measured).
    """
    fresh, told = [], []
    for seed in range(60):
        human, made, beside = pages(seed)
        found = found_of(632, np.concatenate([human, made]), synthetic=np.arange(632) >= 316)
        trained = fit(found, None, Streams(seed, "common", 0).numpy("labelled"), 632, wanted)
        fresh.append((trained.log_odds(beside) > trained.threshold).mean())
        told.append(trained.fpr)
    for rates in (fresh, told):
        assert abs(np.mean(rates) - wanted) <= 3 * np.std(rates, ddof=1) / math.sqrt(60)
    # Told of 79 pages, behind a threshold that 79 others set: two binomial errors.
    expected = math.sqrt(wanted * (1 - wanted) * (1 / 79 + 1 / 81))
    assert 0.7 * expected < np.std(told, ddof=1) < 1.4 * expected


def test_a_trained_detector_does_to_the_web_what_its_rates_say():
    """The identity with the rates told, whose own errors are added: 20,000 pages, 5,000 labelled."""
    found = narrowed(20_000, share=0.4)
    kept = TrainedDetector(labelled=5000, fpr=0.2).keep(found, None, STREAMS)
    tpr, fpr = kept.told["tpr"], kept.told["fpr"]
    for pages, rate, labelled in ((found.synthetic, tpr, 1000), (~found.synthetic, fpr, 750)):
        removed = 1 - kept.keep[pages].mean()
        assert abs(removed - rate) <= 3 * math.sqrt(rate * (1 - rate) * (1 / labelled + 1 / pages.sum()))
    share = found.synthetic[kept.keep].mean()
    error = 3 * math.sqrt(tpr * (1 - tpr) / 1000) / (1 - tpr) + 3 * math.sqrt(fpr * (1 - fpr) / 750) / (1 - fpr)
    assert abs(share - detector_share(0.4, tpr, fpr)) <= share * (1 - share) * (error + 3 / math.sqrt(len(found)))
    assert share < 0.35


def test_where_both_kinds_have_one_law_a_detector_is_a_coin():
    """AUC within 3 standard errors of 1/2, sqrt((n + m + 1) / (12 n m)), in each of 20 rounds and in their mean."""
    found = narrowed(10_000, scale=1.0)
    aucs = [TrainedDetector().keep(found, None, Streams(0, "common", r)).told["auc"] for r in range(20)]
    error = math.sqrt(251 / (12 * 125 * 125))
    assert max(abs(auc - 0.5) for auc in aucs) <= 3 * error
    assert abs(np.mean(aucs) - 0.5) <= 3 * error / math.sqrt(20)


def test_a_trained_detector_scores_a_probability():
    """Of pages scored q about a share q is synthetic, in each fifth of the scores; the logistic law holds here."""
    found = narrowed(20_000)
    scores = TrainedDetector(labelled=10_000).score(found, None, STREAMS)
    for fifth in np.array_split(np.argsort(scores), 5):
        assert abs(scores[fifth].mean() - found.synthetic[fifth].mean()) < 0.03


def test_a_trained_detector_sees_images_by_pixels_and_features():
    """Kinds that differ in the parity of a pixel alone: no weight of pixels parts them, the judge's feature does."""
    n = 2000
    items = stream(0, "test", "images").integers(0, 10, (n, 1, 1, 2), dtype=np.uint8)
    found = found_of(n, items, synthetic=items[:, 0, 0, 1] % 2 == 1)
    assert TrainedDetector().keep(found, Stub(), STREAMS).told["auc"] == 1.0
    without = TrainedDetector().keep(found, None, STREAMS).told["auc"]
    assert without < 0.75, "four in five pairs at best by where the odd numbers lie"


def test_a_trained_detector_on_real_scans():
    """Digits against digits of which a tenth of the pixels is drawn anew: found by their pixels, most scans kept."""
    from sklearn.datasets import load_digits

    scans = load_digits().images.astype(np.int64)
    noisy = draws(*scans.shape, what="which") < 0.1
    made = np.where(noisy, stream(0, "test", "grey").integers(0, 17, scans.shape), scans)
    items = (np.concatenate([scans, made])[:, None] * 255 // 16).astype(np.uint8)
    found = found_of(len(items), items, synthetic=np.arange(len(items)) >= len(scans))
    kept = TrainedDetector(labelled=2000, fpr=0.05).keep(found, None, STREAMS)
    assert kept.told["auc"] > 0.8
    assert found.synthetic[kept.keep].mean() < 0.4
    assert kept.keep[~found.synthetic].mean() > 0.85


@pytest.mark.parametrize("rare", [0, LEAST - 1])
@pytest.mark.parametrize("kind", [False, True])
def test_too_few_of_a_kind_and_everything_is_kept_and_nothing_told(rare, kind):
    found = narrowed(400)
    found = found_of(400, found.items(np.arange(400)), synthetic=(np.arange(400) < rare) == kind)
    kept = TrainedDetector().keep(found, None, STREAMS)
    assert kept.keep.all()
    assert kept.told == {}
    assert TrainedDetector().score(found, None, STREAMS) is None


def test_with_ten_of_either_kind_there_is_a_detector():
    found = found_of(20, normal(20, 2), synthetic=np.arange(20) < 10)
    assert set(TrainedDetector(labelled=20).keep(found, None, STREAMS).told) == {"tpr", "fpr", "auc"}


def test_the_same_round_trains_the_same_detector_and_another_another():
    found = narrowed(3000)
    first, again, later = (TrainedDetector().keep(found, None, Streams(0, "common", r)) for r in (1, 1, 2))
    assert first.told == again.told != later.told
    assert_array_equal(first.keep, again.keep)


def test_scores_do_not_depend_on_blocks(monkeypatch):
    """One page a block, and all in one: up to the rounding of a product of matrices."""
    found = narrowed(100)
    whole = TrainedDetector().score(found, None, STREAMS)
    monkeypatch.setattr("ecosystem.web.found.VALUES", 2)
    assert max(len(x) for _, x in found.blocks()) == 1
    np.testing.assert_allclose(TrainedDetector().score(found, None, STREAMS), whole, rtol=1e-12)


def test_pages_beyond_all_measure_are_found_and_not_tripped_over():
    x = normal(1000, 2)
    x[::2] *= 10.0 ** (300 * draws(500, 1))
    found = found_of(1000, x, synthetic=np.arange(1000) % 2 == 0)
    kept = TrainedDetector().keep(found, None, STREAMS)
    assert all(0 <= value <= 1 for value in kept.told.values())
    assert np.isfinite(represented(x, None)).all()
    assert np.abs(represented(x, None)).max() == FAR**2


def test_a_threshold_is_exceeded_as_often_as_it_says_by_one_page_more():
    """Of 100 exchangeable scores each is the one more as often: the share above the threshold of the 99 others."""
    scores = normal(100)
    for fpr in (0.01, 0.05, 0.29, 0.99):
        above = [scores[i] > threshold(np.delete(scores, i), fpr) for i in range(100)]
        assert np.mean(above) == pytest.approx(fpr)
    assert np.mean([scores[i] > threshold(np.delete(scores, i), 0.125) for i in range(100)]) in (0.12, 0.13)


def test_a_threshold_lies_between_its_neighbours_in_proportion():
    human = np.array([3.0, 1.0, 7.0])
    found = [threshold(human, fpr) for fpr in (0.24, 0.25, 0.3, 0.5, 0.75, 0.9, 1.0)]
    assert found == pytest.approx([math.inf, 7, 6.2, 3, 1, 1, -math.inf])
    assert threshold(human, 0.0) == math.inf
    assert threshold(np.array([2.0, 5.0, 5.0, 5.0]), 0.3) == 5.0, "where many have one score, none of them is found"


def test_too_few_human_pages_for_so_low_a_rate_and_nothing_is_found():
    """18 that calibrate cannot tell of one in twenty, 19 can."""
    x = np.concatenate([normal(76, 2), 0.1 * normal(200, 2, what="narrow")])
    for least, human in ((0, 72), (1, 76)):
        some = x[76 - human :]
        found = found_of(len(some), some, synthetic=np.arange(len(some)) >= human)
        kept = TrainedDetector().keep(found, None, STREAMS)
        assert kept.told["auc"] > 0.9
        assert kept.keep.all() == (not least)
        assert (kept.told["tpr"] > 0) == bool(least)


# All of them


EVERY = [*NEUTRAL, TrainedDetector()]


@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: rule.kind)
def test_no_pages_are_no_trouble(rule):
    kept = rule.keep(found_of(0, np.empty((0, 2))), Stub(), STREAMS)
    assert kept.keep.shape == (0,)
    assert kept.told == {}


def test_which_filters_look_with_the_eyes_of_a_classifier():
    assert [needs_judge(rule) for rule in EVERY] == [False, False, False, False, True, True]


@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: rule.kind)
def test_every_filter_can_be_written_in_yaml(rule):
    settings = {name: getattr(rule, name) for name in rule.__dataclass_fields__}
    assert TypeAdapter(Filter).validate_json(json.dumps(settings)) == rule


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "detector", "tpr": 1.2, "fpr": 0.0},
        {"kind": "detector", "tpr": 0.5},
        {"kind": "watermark", "rate": -0.1},
        {"kind": "labels", "rate": 0.5},
        {"kind": "verifier", "phi": 0.5},
        {"kind": "trained-detector", "labelled": 19},
        {"kind": "trained-detector", "fpr": 2.0},
    ],
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValidationError):
        TypeAdapter(Filter).validate_json(json.dumps(settings))


def test_pages_are_read_in_blocks_and_once():
    read = []
    items = normal(VALUES // 2 + 10, 2)

    def items_of(positions):
        read.append(len(positions))
        return items[positions]

    found = found_of(len(items))
    found = Found(found.ids, found.synthetic, found.label, found.marks, found.site, found.round, items_of)
    assert_array_equal(found.measure(lambda x: x[:, 0]), items[:, 0])
    assert read == [1, VALUES // 2, 10]


def test_some_of_the_pages_are_found_again():
    items = normal(100, 2)
    columns = {name: stream(0, "test", name).integers(0, 5, 100) for name in ("label", "marks", "site", "round")}
    found = found_of(100, items, synthetic=draws(100) < 0.5, **columns)
    some = found.at(np.array([3, 3, 7, 50])).at(np.array([1, 3]))
    assert_array_equal(some.ids, [103, 150])
    assert_array_equal(some.items(np.array([1, 0])), items[[50, 3]])
    for name in ("synthetic", *columns):
        assert_array_equal(getattr(some, name), getattr(found, name)[[3, 50]])
