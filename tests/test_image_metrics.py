"""The metrics that papers report of images: each is its formula, tells what it is said to tell, and bears bad input.

The laws that all metrics keep are in test_metrics.py.
"""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from math import comb, log, log2

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from ecosystem import scenarios
from ecosystem.errors import ScenarioError
from ecosystem.metrics import Sample, distances, likelihood
from ecosystem.metrics.base import jackknife, replicates
from ecosystem.metrics.classes import ClassShare
from ecosystem.metrics.copies import Copies
from ecosystem.metrics.exact import NLL, BitsPerDimension
from ecosystem.metrics.frechet import Frechet
from ecosystem.metrics.kernel import KID
from ecosystem.metrics.likelihood import FLD, FLDGap, Mixture, Scale
from ecosystem.metrics.support import Coverage, Density
from ecosystem.metrics.two_sample import C2ST, C2STNeighbours
from ecosystem.metrics.vendi import Vendi
from ecosystem.rng import stream
from ecosystem.world import World

ALL = [KID(), Density(), Coverage(), Vendi(), FLD(), FLDGap(), Copies(), C2ST(), C2STNeighbours()]
every_metric = pytest.mark.parametrize("metric", ALL, ids=lambda m: m.name)


def sample(x, archive=None, labels=None, **more):
    y = np.zeros(len(x), dtype=np.int64)
    return Sample(x, None, labels, y, None, archive=None if archive is None else sample(archive), **more)


def normal(who, n, dims):
    return stream(0, who, "image metrics").standard_normal((n, dims))


# All of them


@every_metric
def test_items_are_compared_on_the_features_that_are_named(metric):
    features, raw = [normal(who, 40, 5) for who in "gha"], np.zeros((40, 3))
    made, human, archive = (sample(raw, named=f) for f in features)
    human = Sample(human.x, None, None, human.y, None, named=human.named, archive=archive)
    expected = metric.measure(sample(features[0]), sample(features[1], features[2]))
    assert metric.measure(made, human) == expected
    assert metric.applies(made, human)


@every_metric
def test_blocks_change_nothing_and_bound_the_memory(metric, monkeypatch):
    """Of 800 x 800 distances, 5 MB in one piece; what is kept of them is a list for each item, of 128 at most."""
    x = [normal(who, 800, 3) for who in "gha"]
    kept = stream(0, "test", "kept").random((1, 800)) < 0.9
    whole = [
        metric.measure(sample(x[0]), sample(x[1], x[2])),
        *metric.without_groups(sample(x[0]), sample(x[1], x[2]), kept),
    ]
    monkeypatch.setattr(distances, "BLOCK_BYTES", 2**17)
    made, human = sample(x[0]), sample(x[1], x[2])
    tracemalloc.start()
    found = [metric.measure(made, human), *metric.without_groups(made, human, kept)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == pytest.approx(whole, rel=1e-9, abs=1e-12)
    assert peak < 5 * 2**20


def test_what_is_found_of_two_samples_is_found_once_and_goes_with_either():
    calls = []

    def find(a, b):
        calls.append((a, b))
        return len(a) + len(b)

    a, b = sample(normal("a", 3, 2)), sample(normal("b", 4, 2))
    assert [a.against(b, find), a.against(b, find), b.against(a, find), a.against(a, find)] == [7, 7, 7, 6]
    assert len(calls) == 3
    calls.clear()
    gone = weakref.ref(b)
    del b
    gc.collect()
    assert gone() is None and len(a._found) == 1


# KID


def mmd(x, h):
    """One pair at a time."""

    def k(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    n, m = len(x), len(h)
    own = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    human = sum(k(h[i], h[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return own + human - 2 * sum(k(a, b) for a in x for b in h) / (n * m)


@pytest.mark.parametrize("sizes", [(7, 5), (4, 9)])
def test_kid_is_its_formula(sizes):
    x, h = normal("g", sizes[0], 4) + 0.5, normal("h", sizes[1], 4)
    assert KID().measure(sample(x), sample(h)) == pytest.approx(mmd(x, h), rel=1e-12)


def test_kid_is_without_bias_in_samples_of_any_size():
    """Twelve items against nine, 400 times; the mean is nought within four of its own standard errors."""
    x, h = normal("unbiased", 400 * 12, 3).reshape(400, 12, 3), normal("humans", 400 * 9, 3).reshape(400, 9, 3)
    found = [KID().measure(sample(a), sample(b)) for a, b in zip(x, h, strict=True)]
    assert abs(np.mean(found)) < 4 * np.std(found) / 20
    assert min(found) < 0 < max(found)


def test_kid_of_two_gaussians_has_its_closed_form():
    """In one dimension k = 1 + 3xy + 3(xy)^2 + (xy)^3, so that MMD^2 = 3 dm1^2 + 3 dm2^2 + dm3^2 of raw moments."""
    n, mean, std = 1500, 0.3, 1.2
    moments = np.array([mean, mean**2 + std**2, mean**3 + 3 * mean * std**2]) - np.array([0, 1, 0])
    made, human = sample(mean + std * normal("g", n, 1)), sample(normal("h", n, 1))
    expected = np.array([3, 3, 1]) @ moments**2
    assert KID().measure(made, human) == pytest.approx(expected, abs=5 * jackknife(KID(), made, human))
    assert jackknife(KID(), made, human) < 0.3 * expected


@pytest.mark.slow
def test_kid_is_that_of_clean_fid_where_its_subsets_are_all(monkeypatch):
    """It imports torchvision, which takes five seconds, and draws subsets from the global generator."""
    from cleanfid.fid import kernel_distance

    monkeypatch.setattr(np.random, "choice", lambda n, size, replace: np.arange(n)[:size])
    x, h = normal("g", 300, 16) + 0.2, normal("h", 300, 16)
    theirs = kernel_distance(h, x, num_subsets=1, max_subset_size=300)
    assert KID().measure(sample(x), sample(h)) == pytest.approx(theirs, rel=1e-9)


# Density and coverage


@pytest.mark.parametrize("dims", [1, 3, 20])
def test_density_and_coverage_follow_their_definition(dims):
    made, human = 0.3 + 0.8 * normal("g", 35, dims), normal("h", 50, dims)
    radii = np.sort(cdist(human, human), axis=1)[:, 5]  # [0] is the point itself
    inside = cdist(human, made) <= radii[:, None]
    assert Density().measure(sample(made), sample(human)) == pytest.approx(inside.sum() / (5 * 35), rel=1e-12)
    assert Coverage().measure(sample(made), sample(human)) == inside.any(axis=1).mean()


@pytest.mark.parametrize("sizes", [(500, 500), (100, 500)])
def test_coverage_and_density_of_the_truth_are_those_of_the_paper(sizes):
    """Whatever the law: 1 - (M-1)...(M-k) / ((M+N-1)...(M+N-k)), and 1. Means of 30, within 4 standard errors."""
    n, m = sizes
    pairs = [(sample(normal(f"g{i}", n, 2)), sample(normal(f"h{i}", m, 2))) for i in range(30)]
    for metric, expected in ((Coverage(), 1 - comb(m - 1, 5) / comb(m + n - 1, 5)), (Density(), 1.0)):
        found = [metric.measure(*pair) for pair in pairs]
        assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / 30**0.5)


def test_one_outlier_covers_nothing():
    """It has a ball as large as all: recall believes it, coverage does not."""
    from ecosystem.metrics.neighbours import Recall

    human = sample(normal("h", 200, 2))
    few = np.concatenate([0.01 * normal("g", 190, 2) - 50.0, [[900.0, 900.0]]])
    assert Recall().measure(sample(few), human) == 1.0
    assert Coverage().measure(sample(few), human) == 0.0


# Vendi


def test_vendi_counts_what_is_different():
    assert Vendi().measure(sample(np.eye(7) * np.arange(1.0, 8)[:, None]), sample(np.eye(7))) == pytest.approx(7)
    assert Vendi().measure(sample(np.tile([[0.3, -2.0]], (9, 1))), sample(np.eye(2))) == pytest.approx(1)
    kinds = np.eye(5)[[0, 0, 0, 0, 1, 1, 2, 2]]
    shares = np.array([4, 2, 2]) / 8
    assert Vendi().measure(sample(kinds), sample(kinds)) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


@pytest.mark.parametrize("sizes", [(12, 40), (40, 12)])
def test_vendi_is_the_entropy_of_the_kernel_whichever_matrix_is_the_smaller(sizes):
    x = normal("v", *sizes)
    values = np.linalg.eigvalsh((1 - cdist(x, x, "cosine")) / len(x))
    values = values[values > 1e-12]
    expected = np.exp(-(values * np.log(values)).sum())
    assert Vendi().measure(sample(x), sample(x)) == pytest.approx(expected, rel=1e-9)
    assert Vendi().measure(sample(1e200 * x), sample(x)) == pytest.approx(expected, rel=1e-9)


def test_items_at_the_origin_are_one_kind_of_their_own():
    x = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    assert Vendi().measure(sample(x), sample(x)) == pytest.approx(2)
    assert Vendi().measure(sample(0 * x), sample(x)) == pytest.approx(1)


# Feature likelihood


def one(dims):
    return Scale(np.arange(dims), np.zeros(dims), np.ones(dims))


def by_scipy(centres, archive, log_variance):
    """The widths that make the archive likely beside the background, from a start, by another optimiser."""
    dims, squared = centres.shape[1], cdist(archive, centres, "sqeuclidean")
    background = multivariate_normal(np.zeros(dims), np.eye(dims)).logpdf(archive)

    def loss(s):
        log_p = -squared / (2 * np.exp(s)) - dims / 2 * (np.log(2 * np.pi) + s) - log(len(centres))
        return -np.logaddexp(logsumexp(log_p, axis=1), background).mean()

    return np.exp(minimize(loss, log_variance, method="BFGS", options={"gtol": 1e-9}).x)


def nll(centres, variances, items):
    """The mean of -log p a coordinate, one Gaussian at a time."""
    dims = centres.shape[1]
    logs = [multivariate_normal(c, v * np.eye(dims)).logpdf(items) for c, v in zip(centres, variances, strict=True)]
    return float(-(logsumexp(logs, axis=0) - log(len(centres))).mean() / dims)


@pytest.mark.parametrize("dims", [2, 5])
def test_the_widths_are_the_likeliest(dims, monkeypatch):
    monkeypatch.setattr(likelihood, "UPDATES", 5000)
    monkeypatch.setattr(likelihood, "GAIN", 1e-14)
    centres, archive, unseen = normal("g", 6, dims), normal("a", 40, dims), normal("h", 30, dims)
    mixture, keep = Mixture(centres, archive, one(dims)), np.ones(6, dtype=bool)
    found = mixture.fit(keep)
    start = np.log(cdist(archive, centres, "sqeuclidean").min(axis=0) / dims)
    assert found == pytest.approx(by_scipy(centres, archive, start), rel=1e-3)
    told = mixture.nll(unseen, keep[None], found[None], one(dims))[0]
    assert told == pytest.approx(nll(centres, found, unseen), rel=1e-12)
    part = np.array([True, True, False, True, False, True])
    assert mixture.fit(part)[part] == pytest.approx(by_scipy(centres[part], archive, start[part]), rel=1e-3)


def test_fld_is_its_formula():
    """Of standardised coordinates; the one that does not vary in the archive is nothing to it."""
    raw = {who: 3.0 + normal(who, n, 4) * [1.0, 5.0, 0.1, 0.0] for who, n in (("g", 8), ("a", 16), ("h", 12))}
    mean, std = raw["a"].mean(axis=0)[:3], raw["a"].std(axis=0)[:3]
    g, a, h = ((raw[who][:, :3] - mean) / std for who in "gah")
    human = sample(raw["h"], raw["a"])

    def told(centres, archive, items):
        return nll(centres, Mixture(centres, archive, one(3)).fit(np.ones(len(centres), dtype=bool)), items)

    order = stream(0, "metrics", "halves of the archive").permutation(16)
    baseline = told(a[order[:8]], a[order[8:]], h)
    assert FLD().measure(sample(raw["g"]), human) == pytest.approx(100 * (told(g, a, h) - baseline), rel=1e-9)
    assert FLDGap().measure(sample(raw["g"]), human) == pytest.approx(100 * (told(g, a, a) - told(g, a, h)), rel=1e-9)


def test_few_of_the_centres_are_enough():
    """An archive item answers to 128 centres; if to all, it moves less than another draw would, whose spread is 2."""
    x = [normal(who, 500, 2) for who in "gha"]
    human = sample(x[1], x[2])
    few = [m.measure(sample(x[0]), human) for m in (FLD(), FLDGap())]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(likelihood, "LISTED", 500)
        everything = [m.measure(sample(x[0]), sample(x[1], x[2])) for m in (FLD(), FLDGap())]
    assert few == pytest.approx(everything, abs=0.5) and few != everything


DIMS = 16
TRUTH, HELD_OUT, ARCHIVE = (normal(who, n, DIMS) for who, n in (("truth", 400), ("held out", 400), ("archive", 800)))
MADE = {
    "truth": TRUTH,
    "copies": ARCHIVE[:400],
    "nearly copies": ARCHIVE[:400] + 0.01 * TRUTH,
    "half copies": np.concatenate([ARCHIVE[:200], TRUTH[:200]]),
    "one mode": 0.05 * TRUTH + TRUTH[0],
    "noise": 2.0 * TRUTH,
}


def of_made(metric, made):
    return metric.measure(sample(MADE[made]), sample(HELD_OUT, ARCHIVE))


def test_fld_tells_copies_and_collapse_from_the_truth_and_its_gap_tells_which():
    fld = {made: of_made(FLD(), made) for made in MADE}
    gap = {made: of_made(FLDGap(), made) for made in MADE}
    assert abs(fld["truth"]) < 1.5  # a few times the spread of repeated draws, 0.3
    assert min(fld["copies"], fld["nearly copies"]) > 1e4
    assert fld["half copies"] > 3 and fld["one mode"] > 10 and fld["noise"] > 10
    assert max(gap["copies"], gap["nearly copies"], gap["half copies"]) < -50
    assert all(-5 < gap[made] < 5 for made in ("truth", "one mode", "noise"))


def test_what_fld_tells_the_frechet_distance_does_not():
    distance = {made: of_made(Frechet(), made) for made in ("truth", "copies", "noise")}
    assert (
        distance["copies"] == pytest.approx(distance["truth"], rel=0.3) and distance["noise"] > 10 * distance["truth"]
    )


def test_features_are_compared_in_units_of_the_archive():
    scale, shift = 10.0 ** np.arange(-8, 8), 3.0 * np.arange(16)
    moved = [x * scale + shift for x in (TRUTH, HELD_OUT, ARCHIVE)]
    expected = of_made(FLD(), "truth")
    assert FLD().measure(sample(moved[0]), sample(*moved[1:])) == pytest.approx(expected, abs=1e-4)


def test_the_baseline_is_found_once_for_each_size(monkeypatch):
    fits = []
    fit = Mixture.fit
    monkeypatch.setattr(Mixture, "fit", lambda self, keep: fits.append(len(keep)) or fit(self, keep))
    human = sample(HELD_OUT, ARCHIVE)
    first = sample(TRUTH[:160])
    FLD().measure(first, human)
    assert len(fits) == 2
    replicates(FLD(), first, human)
    assert len(fits) == 2 + 8 + 1, "eight mixtures of seven eighths, and their baseline"
    FLDGap().measure(first, human)
    replicates(FLDGap(), first, human)
    assert len(fits) == 11, "the gap is of the same mixtures"
    FLD().measure(sample(TRUTH[160:320]), human)
    assert len(fits) == 12, "the baseline is known"


@pytest.mark.parametrize("metric", [FLD(), FLDGap()], ids=lambda m: m.name)
def test_fld_needs_an_archive_that_varies(metric):
    made, held_out = sample(normal("g", 10, 2)), normal("h", 10, 2)
    assert metric.applies(made, sample(held_out, normal("a", 2, 2)))
    assert not metric.applies(made, sample(held_out, normal("a", 1, 2)))
    assert not metric.applies(made, sample(held_out, np.full((10, 2), 0.1)))
    assert not metric.applies(made, sample(held_out))


# Copies


def test_copies_follow_their_definition():
    made, archive = normal("g", 60, 2), normal("a", 80, 2)
    near = np.sort(cdist(made, archive), axis=1)
    expected = (near[:, 0] < near[:, 1] / 3).mean()
    assert 0 < expected < 1
    assert Copies().measure(sample(made), sample(archive, archive)) == expected


@pytest.mark.parametrize(("dims", "n"), [(1, 4000), (2, 4000), (5, 4000)])
def test_fresh_items_pass_for_copies_as_often_as_is_said(dims, n):
    """Where the archive is dense, (d1 / d2)^D is uniform: a share 3^-D, within 4 standard errors."""
    made, archive = (stream(0, who, "uniform").random((n, dims)) for who in ("g", "a"))
    middle = made[(np.abs(made - 0.5) < 0.4).all(axis=1)]  # far from where the archive ends
    expected = 3.0**-dims
    error = np.sqrt(expected * (1 - expected) / len(middle))
    assert Copies().measure(sample(middle), sample(made, archive)) == pytest.approx(expected, abs=4 * error + 0.002)


def test_real_copies_are_found_and_real_originals_are_not():
    """Digits: the archive's own, these with a little noise, half one and half another, and held-out ones."""
    from ecosystem.humans import Digits

    humans = Digits().open()
    archive = humans.pool(1000).x.reshape(1000, -1) / 127.5 - 1.0
    held_out = humans.held_out().x.reshape(-1, 64) / 127.5 - 1.0
    human = sample(held_out, archive)
    changed = archive[:200] + 0.05 * normal("noise", 200, 64)
    assert Copies().measure(sample(archive[:200]), human) == 1.0
    assert Copies().measure(sample(changed), human) > 0.9
    assert Copies().measure(sample((archive[:200] + archive[200:400]) / 2), human) < 0.02
    assert Copies().measure(sample(held_out), human) < 0.02


def test_an_item_twice_in_the_archive_does_not_hide_its_copies():
    archive, held_out = normal("a", 50, 20), normal("h", 50, 20)
    assert Copies().measure(sample(archive), sample(held_out, np.concatenate([archive, archive]))) == 1.0


def test_copies_need_two_different_archive_items():
    made, held_out = sample(normal("g", 10, 2)), normal("h", 10, 2)
    assert Copies().applies(made, sample(held_out, normal("a", 2, 2)))
    assert not Copies().applies(made, sample(held_out, np.ones((10, 2))))
    assert not Copies().applies(made, sample(held_out))


# Classifier two-sample tests


@pytest.mark.parametrize("metric", [C2ST(), C2STNeighbours()], ids=lambda m: m.name)
@pytest.mark.parametrize("delta", [0.0, 1.0, 2.0])
def test_gaussians_that_are_apart_are_told_apart_as_often_as_can_be(metric, delta):
    """Phi(delta / 2) for the best of classifiers; 2,000 answers are known to 0.011."""
    x, h = normal("g", 1000, 2), normal("h", 1000, 2)
    x[:, 0] += delta
    assert metric.measure(sample(x), sample(h)) == pytest.approx(norm.cdf(delta / 2), abs=0.035)


@pytest.mark.parametrize("metric", [C2ST(), C2STNeighbours()], ids=lambda m: m.name)
def test_samples_of_other_sizes_are_no_help_and_no_harm(metric):
    """Taking all for the larger sample would be right four times of five; to lean to it, less often than can be."""
    found = [metric.measure(sample(normal(f"g{i}", 100, 3)), sample(normal(f"h{i}", 400, 3))) for i in range(10)]
    assert np.mean(found) == pytest.approx(0.5, abs=4 * np.std(found) / 10**0.5)
    assert np.std(found) < 0.06
    apart = sample(normal("g", 300, 2) + np.array([1.0, 0.0]))
    assert metric.measure(apart, sample(normal("h", 1200, 2))) == pytest.approx(norm.cdf(0.5), abs=0.04)


def test_a_lost_variance_is_told_by_neighbours_alone():
    """What c2st is said to be blind to."""
    x, h = sample(0.5 * normal("g", 600, 4)), sample(normal("h", 600, 4))
    assert C2ST().measure(x, h) < 0.55
    assert C2STNeighbours().measure(x, h) > 0.6


@pytest.mark.parametrize("metric", [C2ST(), C2STNeighbours()], ids=lambda m: m.name)
def test_more_coordinates_than_items_are_not_learnt_by_heart(metric):
    x, h = sample(normal("g", 60, 300)), sample(normal("h", 60, 300))
    assert metric.measure(x, h) == pytest.approx(0.5, abs=0.16)


def test_neighbours_are_looked_for_anew_where_too_many_are_left_out():
    """Of a tight cluster all listed neighbours are in it, and most of these go; the others are near, and generated."""
    made = sample(4.0 + np.concatenate([0.01 * normal("tight", 60, 2), normal("around", 40, 2)]))
    human, kept = sample(normal("h", 90, 2)), np.arange(100)[None] >= 55
    found = C2STNeighbours().without_groups(made, human, kept)
    assert found == [C2STNeighbours().measure(made.take(kept[0]), human)] and found[0] > 0.95


def test_copies_of_the_held_out_items_are_told_by_neighbours_alone():
    """A regression asks about both of a pair at once; the next neighbour of each is the other."""
    h = normal("h", 300, 5)
    assert C2ST().measure(sample(h[::-1]), sample(h)) == 0.5
    assert C2STNeighbours().measure(sample(h), sample(h)) < 0.4


def test_an_outcome_of_two_is_told_by_how_often_it_comes():
    """Items that are the same are dealt to all folds; the best guess of two outcomes is right (0.8 + 0.5) / 2."""
    x, h = np.zeros((1000, 1)), np.zeros((1000, 1))
    x[:800], h[:500] = 1.0, 1.0
    assert C2ST().measure(sample(x), sample(h)) == pytest.approx(0.65, abs=0.01)


@every_metric
def test_ties_and_constants_give_a_number(metric):
    """All generated items at one place, which may be that of a human one."""
    h, archive = normal("h", 60, 3), normal("a", 60, 3)
    for place in (h[0], np.zeros(3), np.full(3, 50.0)):
        made, human = sample(np.tile(place, (60, 1))), sample(h, archive)
        assert metric.applies(made, human)
        assert np.isfinite([metric.measure(made, human), *replicates(metric, made, human)]).all()
    assert np.isfinite(C2ST().measure(sample(np.ones((20, 3))), sample(np.ones((20, 3)))))


# Bits per dimension


def test_the_uniform_density_takes_the_bits_of_its_levels():
    x = np.zeros((5, 12))
    uniform = sample(x, log_prob=np.full(5, -12 * log(2)))  # on [-1, 1]^12
    assert BitsPerDimension().measure(uniform, sample(x)) == pytest.approx(log2(255))


def test_bits_are_those_of_the_levels_of_a_smooth_density():
    """A Gaussian much wider than a cell: the probabilities of its 256 levels by its distribution function."""
    levels = np.arange(256)
    x = stream(0, "test", "levels").choice(
        levels, (2000, 3), p=norm.pdf(levels, 120, 30) / norm.pdf(levels, 120, 30).sum()
    )
    model = norm(120 / 127.5 - 1, 30 / 127.5)
    log_prob = model.logpdf(x / 127.5 - 1).sum(axis=1)
    edges = ((levels - 0.5) / 127.5 - 1), ((levels + 0.5) / 127.5 - 1)
    mass = model.cdf(edges[1]) - model.cdf(edges[0])
    found = BitsPerDimension().measure(sample(x / 127.5 - 1, log_prob=log_prob), sample(x / 127.5 - 1))
    assert found == pytest.approx(-np.log2(mass[x]).mean(), rel=1e-4)


def test_bits_are_the_likelihood_in_another_unit():
    made = sample(np.zeros((3, 4)), log_prob=np.array([1.0, -2.0, -3.0]))
    nats = NLL().measure(made, made)
    assert BitsPerDimension().measure(made, made) == pytest.approx((nats / 4 - log(2 / 255)) / log(2))
    never = sample(np.zeros((3, 4)), log_prob=np.array([1.0, -np.inf, 0.0]))
    assert BitsPerDimension().measure(never, never) == np.inf
    assert not BitsPerDimension().applies(sample(np.zeros((3, 4))), made)


# Shares of the classes


def test_the_shares_of_the_classes_add_up():
    labels = stream(0, "test", "labels").integers(0, 4, 50)
    made = sample(np.zeros((50, 2)), labels=labels)
    shares = [ClassShare(number).measure(made, made) for number in range(5)]
    assert shares == [*(np.bincount(labels, minlength=5) / 50)]
    assert sum(shares) == pytest.approx(1.0) and shares[4] == 0.0
    assert [ClassShare(n).name for n in (0, 17)] == ["class-share-0", "class-share-17"]


# In a scenario

DIGITS = """
name: papers
rounds: 1
seeds: [0]
humans: {source: digits}
web: {archive: 300}
users: [{name: crowd, count: 20}]
providers: [{name: lab, card: {family: kde, bandwidth: 0.02}}]
evaluation: {samples: 120, groups: 2}
metrics: [METRICS]
"""


def test_a_scenario_names_them_and_gets_them():
    names = [metric.name for metric in ALL] + ["bits-per-dimension"]
    world = World(scenarios.from_text(DIGITS.replace("METRICS", ", ".join(names))), 0, torch.device("cpu"))
    assert world.judge is None, "none of them asks for a classifier"
    world.step()
    found = world.measurements["lab"]
    assert list(found.metrics) == names
    assert {len(found.replicates[name]) for name in names[:-1]} == {2} and found.replicates[names[-1]] == []
    # Kernels this narrow make copies.
    assert found.metrics["copies"] > 0.9 and found.metrics["fld-gap"] < -50
    assert found.metrics["bits-per-dimension"] > 8, "more than to say each pixel by itself"


def test_only_a_share_of_a_class_asks_for_the_classifier(monkeypatch):
    from ecosystem import world

    def needs(metrics, source="digits"):
        scenario = scenarios.from_text(DIGITS.replace("METRICS", metrics).replace("digits", source)).scenario
        return world.needs_judge(scenario, scenario.humans.open())

    assert needs("class-share-3") and needs("kid, class-entropy") and not needs("kid, vendi")


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        ("class-share-10", r"`class-share-10` cannot be measured on `digits`(.|\n)*class-share-0 to class-share-9"),
        ("class-share-x", r"`class-share-x` cannot be measured on `digits`"),
        ("kidd", r"there is no metric `kidd`(.|\n)*did you mean `kid`"),
    ],
)
def test_a_name_that_means_nothing_is_refused(metrics, told):
    with pytest.raises(ScenarioError, match=told):
        scenarios.from_text(DIGITS.replace("METRICS", metrics))


def test_a_share_of_a_class_can_be_claimed():
    claim = "claims: [{metric: class-share-3, of: lab, is: increasing}]"
    asked = scenarios.from_text(DIGITS.replace("METRICS", "class-share-3") + claim)
    assert asked.scenario.claims[0].metric == "class-share-3"
    with pytest.raises(ScenarioError, match=r"`class-share-3` is not measured(.|\n)*add it to `metrics`"):
        scenarios.from_text(DIGITS.replace("METRICS", "kid") + claim)
