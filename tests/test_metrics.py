"""Metrics: laws that every metric keeps, then the truth of each against closed forms and other libraries."""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from ecosystem import metrics
from ecosystem.distribution import Distribution
from ecosystem.errors import ScenarioError
from ecosystem.humans import Digits, Gaussian, Ring8, TwoMoons
from ecosystem.humans.base import Endless, Humans
from ecosystem.metrics import Metric, Sample, distances, jackknife
from ecosystem.metrics.base import replicates
from ecosystem.metrics.distances import Nearest
from ecosystem.metrics.exact import bures
from ecosystem.metrics.frechet import frechet
from ecosystem.metrics.neighbours import tail
from ecosystem.metrics.sliced import directions, wasserstein_1d
from ecosystem.rng import stream

N = 600
RING = Ring8(labelled=True)
CENTRES = RING.centres()


HELD_OUT = RING.open().draw(200, seed=0, who="held out", round=0, used=0).x


def judged(x: NDArray[np.float64], y: NDArray[np.int64]) -> Sample:
    """Points near the ring, as a perfect classifier and a user who likes the first mode see them.

    All is known of the model: its moments and its mass on each mode are those of the points.
    """
    distance = np.linalg.norm(x[:, None] - CENTRES, axis=2)
    labels = distance.argmin(axis=1)
    mean, covariance = x.mean(axis=0), np.cov(x.T, ddof=0)
    mass = np.bincount(labels, minlength=8) / len(x)
    log_prob = multivariate_normal(mean, covariance + 1e-6 * np.eye(2)).logpdf(HELD_OUT)
    likes_the_last = -np.linalg.norm(CENTRES - CENTRES[-1], axis=1)
    known = Distribution(mean, covariance, CENTRES, mass)
    return Sample(x, None, labels, y, -distance.min(axis=1), known, log_prob, likes_the_last)


def ring(who: str, n: int = N) -> Sample:
    items = RING.open().draw(n, seed=0, who=who, round=0, used=0)
    sample = judged(items.x, items.y)
    return replace(sample, archive=ring("archive", 2 * N)) if who == "human" else sample


def bare(x: NDArray[np.float64]) -> Sample:
    return Sample(x, None, None, np.zeros(len(x), dtype=np.int64), None)


def noisy(sample: Sample) -> Sample:
    noise = stream(0, "test", "noise").standard_normal(sample.x.shape)
    return judged(sample.x + 0.8 * noise, sample.y)


def without_half_the_modes(sample: Sample) -> Sample:
    """Asked for any mode, it makes one of the first four."""
    return judged(sample.x - CENTRES[sample.y] + CENTRES[sample.y % 4], sample.y)


def of_one_mode(sample: Sample) -> Sample:
    return judged(sample.x - CENTRES[sample.y] + CENTRES[0], sample.y)


def copied(sample: Sample) -> Sample:
    """The archive again, and all of it."""
    archive = ring("archive", 2 * N)
    return judged(archive.x, archive.y)


def normal(who: str, n: int, dims: int) -> NDArray[np.float64]:
    return stream(0, who, "test").standard_normal((n, dims))


def endless(name: str, known: Distribution) -> Humans:
    """A ring whose distribution is said to be known."""
    source = Endless(name, RING.sample, classes=1, held_out=100)
    source.distribution = known
    return source


SMOOTH = endless("smooth", Distribution(np.zeros(2), np.eye(2)))
DISCRETE = endless("discrete", Distribution.discrete(CENTRES, np.full(8, 1 / 8)))
SOURCES = [RING.open(), Digits().open(), SMOOTH, DISCRETE]
BY_NAME = {m.name: m for source in SOURCES for m in metrics.build(metrics.measurable(source), source)}
CLASS_SHARES = [f"class-share-{number}" for number in range(10)]
ALL = [BY_NAME[name] for name in (*metrics.NAMES, *CLASS_SHARES[:2])]
every_metric = pytest.mark.parametrize("metric", ALL, ids=lambda m: m.name)
every_sampled = pytest.mark.parametrize("metric", [m for m in ALL if not m.exact], ids=lambda m: m.name)
EXACT = [m for m in ALL if m.exact]
every_exact = pytest.mark.parametrize("metric", EXACT, ids=lambda m: m.name)

# Laws ---------------------------------------------------------------------------------------------------


@every_metric
def test_a_metric_is_a_finite_number_with_a_unit_and_a_direction(metric: Metric) -> None:
    generated, human = ring("model"), ring("human")
    assert metric.applies(generated, human)
    assert np.isfinite(metric.measure(generated, human))
    assert isinstance(metric.measure(generated, human), float)
    assert metric.unit and metric.better in ("lower", "higher", "neither")


@every_metric
def test_the_order_of_the_items_does_not_matter(metric: Metric) -> None:
    generated, human = ring("model"), ring("human")
    shuffled = generated.take(stream(0, "test", "a").permutation(N))
    others = human.take(stream(0, "test", "b").permutation(N))
    assert metric.measure(shuffled, others) == pytest.approx(metric.measure(generated, human), abs=1e-9)


DAMAGES = [
    ("frechet", noisy),
    ("frechet", without_half_the_modes),
    ("sliced-wasserstein", noisy),
    ("sliced-wasserstein", without_half_the_modes),
    ("precision", noisy),
    ("recall", without_half_the_modes),
    ("tail-recall", without_half_the_modes),
    ("gaussian-w2", noisy),
    ("gaussian-w2", without_half_the_modes),
    ("nll", noisy),
    ("nll", without_half_the_modes),
    ("mean-error", without_half_the_modes),
    ("heterozygosity", without_half_the_modes),
    ("outcomes", without_half_the_modes),
    ("mean-exp-reward", without_half_the_modes),
    ("between-modes", noisy),
    ("modes", without_half_the_modes),
    ("class-entropy", without_half_the_modes),
    ("class-tv", without_half_the_modes),
    ("agreement", noisy),
    ("agreement", without_half_the_modes),
    ("reward", noisy),
    ("fid", noisy),
    ("kid", without_half_the_modes),
    ("kid", of_one_mode),
    ("density", noisy),
    ("coverage", noisy),
    ("coverage", without_half_the_modes),
    ("vendi", of_one_mode),
    ("fld", noisy),
    ("fld", without_half_the_modes),
    ("fld", copied),
    ("fld-gap", copied),
    ("copies", copied),
    ("c2st", without_half_the_modes),
    ("c2st-knn", noisy),
    ("c2st-knn", without_half_the_modes),
    ("bits-per-dimension", noisy),
    ("bits-per-dimension", without_half_the_modes),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_damage_moves_a_metric_the_worse_way(name: str, damage: Callable[[Sample], Sample]) -> None:
    metric, generated, human = BY_NAME[name], ring("model"), ring("human")
    good, bad = metric.measure(generated, human), metric.measure(damage(generated), human)
    margin = 3 * jackknife(metric, generated, human)
    assert (bad - good if metric.better == "lower" else good - bad) > margin


def test_every_metric_with_a_direction_is_damaged_above() -> None:
    assert {m.name for m in ALL if m.better != "neither"} == {name for name, _ in DAMAGES}


@every_sampled
def test_the_standard_error_is_that_of_plain_deletion(metric: Metric) -> None:
    generated, human = ring("model", 101), ring("human", 90)
    kept = np.arange(101) % 8 != np.arange(8)[:, None]
    quick = metric.without_groups(generated, human, kept)
    assert np.allclose(quick, Metric.without_groups(metric, generated, human, kept), rtol=1e-9)
    assert np.isfinite(jackknife(metric, generated, human, groups=2))
    smallest = generated.take(np.arange(metric.least))
    assert metric.applies(smallest, human) and np.isfinite(jackknife(metric, smallest, human, groups=2))
    assert not metric.applies(generated.take(np.arange(metric.least - 1)), human)


def test_a_metric_applies_only_where_what_it_needs_is_known() -> None:
    human = ring("human")
    silent = {m.name for m in ALL if not m.applies(bare(human.x), human)}
    exact = {m.name for m in EXACT}
    of_labels = {"class-entropy", "class-tv", "agreement", *CLASS_SHARES[:2]}
    assert silent == of_labels | {"reward", "reward-variance"} | exact
    unknown_human = {m.name for m in ALL if not m.applies(human, bare(human.x))}
    remembers = {"fld", "fld-gap", "copies"}
    assert unknown_human == {"mean-error", "gaussian-w2"} | remembers, "what is known of the source, and its archive"


@every_exact
def test_an_exact_metric_looks_at_no_item(metric: Metric) -> None:
    """So it has no sampling error, and the same value without a single sample."""
    generated, human = ring("model"), ring("human")
    none = generated.take(np.arange(0))
    assert (len(none), none.distribution, none.atom_reward) == (0, generated.distribution, generated.atom_reward)
    assert metric.applies(none, human.take(np.arange(0)))
    assert metric.measure(none, human.take(np.arange(0))) == metric.measure(generated, human)
    assert replicates(metric, generated, human) == []
    assert jackknife(metric, generated, human) == 0.0


@every_metric
def test_a_model_that_makes_one_point_is_measured_too(metric: Metric) -> None:
    constant = judged(np.tile(CENTRES[0], (N, 1)), np.zeros(N, dtype=np.int64))
    if metric.name == "log-std":
        assert not metric.applies(constant, ring("human"))
        return
    assert np.isfinite(metric.measure(constant, ring("human")))
    assert np.isfinite(jackknife(metric, constant, ring("human")))


# The registry -------------------------------------------------------------------------------------------


def names_of(source: Humans) -> list[str]:
    return [metric.name for metric in metrics.build(None, source)]


def more_of(source: Humans) -> set[str]:
    """What is measured on request alone."""
    found = metrics.measurable(source)
    assert found[: len(names_of(source))] == names_of(source) and len(set(found)) == len(found)
    return set(found) - set(names_of(source))


COMMON = {"frechet", "sliced-wasserstein", "variance", "reward", "reward-variance"}
NEIGHBOURS = {"precision", "recall", "tail-recall"}
MOMENTS = {"gaussian-w2", "model-variance", "log-std", "mean-error"}
ATOMS = {"heterozygosity", "outcomes", "mean-exp-reward"}


def test_a_source_gets_the_metrics_that_suit_it() -> None:
    vectors = COMMON | NEIGHBOURS | MOMENTS | {"nll"}
    assert set(names_of(Gaussian().open())) == set(names_of(TwoMoons().open())) == set(names_of(SMOOTH)) == vectors
    assert set(names_of(Ring8().open())) == vectors | {"modes", "between-modes"}
    assert set(names_of(Ring8(labelled=True).open())) == vectors | {"modes", "between-modes"}
    assert set(names_of(DISCRETE)) == COMMON | ATOMS | {"nll"}, "among ties there are no neighbourhoods"
    unknown = Endless("unknown", RING.sample, classes=1, held_out=100)
    assert set(names_of(unknown)) == vectors - MOMENTS
    images = COMMON | NEIGHBOURS | {"class-entropy", "class-tv"}
    # The classifier knows the classes also where models are not told them; only prompts are missing then.
    assert set(names_of(Digits(labelled=False).open())) == images
    assert set(names_of(Digits().open())) == images | {"agreement"}


def test_on_request_a_source_gets_more() -> None:
    anywhere = {"kid", "vendi", "c2st"}
    among_neighbours = {"density", "coverage", "fld", "fld-gap", "copies", "c2st-knn"}
    assert more_of(DISCRETE) == anywhere
    assert more_of(RING.open()) == more_of(SMOOTH) == anywhere | among_neighbours
    images = anywhere | among_neighbours | {"fid", "bits-per-dimension", *CLASS_SHARES}
    assert more_of(Digits().open()) == more_of(Digits(labelled=False).open()) == images


def test_names_are_in_the_order_in_which_they_are_shown() -> None:
    assert {*metrics.NAMES, *CLASS_SHARES} == set(BY_NAME) and len(set(metrics.NAMES)) == len(metrics.NAMES)
    assert set(metrics.DEFAULT) == {name for source in SOURCES for name in names_of(source)}
    for source in SOURCES:
        found = names_of(source)
        assert found == [name for name in metrics.NAMES if name in found]


def test_metrics_can_be_named() -> None:
    chosen = metrics.build(["recall", "frechet"], Digits().open())
    assert [m.name for m in chosen] == ["recall", "frechet"]
    assert metrics.build([], Digits().open()) == []
    assert [m.name for m in metrics.build(["kid", "class-share-9"], Digits().open())] == ["kid", "class-share-9"]
    for name in ("modes", "class-share-10", "class-share-", "class-share-00"):
        refused = f"'{name}' cannot be measured on 'digits'(.|\n)*Remedy(.|\n)*class-share-0 to class-share-9"
        with pytest.raises(ScenarioError, match=refused):
            metrics.build([name], Digits().open())
    with pytest.raises(ScenarioError, match="cannot be measured") as told:
        metrics.build(["class-share-0"], RING.open())
    assert "class-share-0 to" not in str(told.value)


# Truth: Fréchet -----------------------------------------------------------------------------------------


def with_moments(z: NDArray[np.float64], mean: float, variances: list[float]) -> NDArray[np.float64]:
    """The points of z moved so that their sample mean and covariance are exactly these."""
    z = z - z.mean(axis=0)
    white = z @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T))).T
    return mean + white * np.sqrt(variances)


def test_frechet_is_the_closed_form_for_two_gaussians() -> None:
    a = with_moments(normal("a", 200, 3), 0.0, [1.0, 4.0, 9.0])
    b = with_moments(normal("b", 300, 3), 2.0, [4.0, 4.0, 1.0])
    # |mu|^2 = 3 * 4, and commuting covariances give sum (sqrt a - sqrt b)^2 = 1 + 0 + 4
    assert frechet(a, b) == pytest.approx(17.0, rel=1e-9)
    assert frechet(b, a) == pytest.approx(17.0, rel=1e-9)


def test_frechet_of_covariances_that_do_not_commute() -> None:
    # tr (S1 S2)^(1/2) in two dimensions is sqrt(tr(S1 S2) + 2 sqrt(det S1 det S2))
    a = with_moments(normal("a", 100, 2), 0.0, [1.0, 9.0])
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    b = with_moments(normal("b", 100, 2), 0.0, [4.0, 1.0]) @ turn.T
    s1, s2 = np.diag([1.0, 9.0]), turn @ np.diag([4.0, 1.0]) @ turn.T
    root = np.sqrt(np.trace(s1 @ s2) + 2 * np.sqrt(np.linalg.det(s1) * np.linalg.det(s2)))
    assert frechet(a, b) == pytest.approx(10 + 5 - 2 * root, rel=1e-9)


def test_frechet_to_itself_is_nought_even_where_covariances_are_singular(
    capsys: pytest.CaptureFixture[str],
) -> None:
    flat = normal("a", 500, 8) @ normal("b", 8, 64)  # rank 8 in 64 dimensions
    few = normal("c", 20, 64)  # fewer items than dimensions
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in (normal("d", 500, 64), flat, few, np.maximum(few, 1.0)):
            assert frechet(x, x) < 1e-6 * max(1.0, np.trace(np.cov(x.T)))
        constant = np.zeros((10, 64))
        expected = np.square(few.mean(axis=0)).sum() + np.trace(np.cov(few.T))
        assert frechet(constant, few) == pytest.approx(expected, rel=1e-3)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
@pytest.mark.parametrize(("n", "dims", "rel"), [(800, 2, 1e-12), (800, 64, 1e-12), (40, 64, 1e-6)])
def test_frechet_is_the_number_of_clean_fid(n: int, dims: int, rel: float) -> None:
    """It imports torchvision, which takes five seconds; that is why nothing else here does."""
    from cleanfid.fid import frechet_distance

    a, b = normal("a", n, dims), 1.3 * normal("b", n, dims) + 0.2
    theirs = frechet_distance(a.mean(axis=0), np.cov(a.T), b.mean(axis=0), np.cov(b.T))
    assert frechet(a, b) == pytest.approx(theirs, rel=rel)


def test_frechet_compares_features_where_there_are_some() -> None:
    x, features = normal("x", 50, 2), normal("f", 50, 5)
    y = np.zeros(50, dtype=np.int64)
    one, two = Sample(x, features, None, y, None), Sample(x, features + 1.0, None, y, None)
    assert BY_NAME["frechet"].measure(one, two) == pytest.approx(5.0)


# Truth: sliced Wasserstein ------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(40, 40), (40, 25), (7, 100)], ids=str)
def test_wasserstein_in_one_dimension_is_that_of_pot(sizes: tuple[int, int]) -> None:
    ot = pytest.importorskip("ot")
    a, b = normal("a", sizes[0], 4), 0.5 + 2.0 * normal("b", sizes[1], 4)
    assert np.allclose(wasserstein_1d(a, b), ot.wasserstein_1d(a, b, p=2), rtol=1e-9)


def test_the_sliced_distance_is_that_of_pot() -> None:
    ot = pytest.importorskip("ot")
    a, b = normal("a", 150, 6), 0.3 + normal("b", 90, 6)
    expected = ot.sliced_wasserstein_distance(a, b, projections=directions(6), p=2)
    assert BY_NAME["sliced-wasserstein"].measure(bare(a), bare(b)) == pytest.approx(expected, rel=1e-9)


def test_a_shift_has_its_closed_form() -> None:
    x, v = normal("a", 80, 5), np.array([1.0, 0.0, -2.0, 0.0, 0.5])
    expected = np.sqrt(np.square(directions(5).T @ v).mean())  # near |v| / sqrt(5)
    assert BY_NAME["sliced-wasserstein"].measure(bare(x + v), bare(x)) == pytest.approx(expected)
    assert expected == pytest.approx(np.linalg.norm(v) / 5**0.5, rel=0.2)


# Truth: precision and recall ----------------------------------------------------------------------------


def by_definition(points: NDArray[np.float64], sample: NDArray[np.float64], k: int) -> float:
    """Share of points in the balls, by the definition, one pair at a time."""
    radii = [sorted(np.linalg.norm(p - q) for q in sample)[k] for p in sample]  # [0] is the point itself
    hits = [any(np.linalg.norm(p - q) <= r for q, r in zip(sample, radii, strict=True)) for p in points]
    return sum(hits) / len(hits)


@pytest.mark.parametrize("dims", [1, 2, 30])
def test_precision_and_recall_follow_their_definition(dims: int) -> None:
    human, generated = normal("h", 60, dims), 0.4 + 0.7 * normal("g", 45, dims)
    precision = BY_NAME["precision"].measure(bare(generated), bare(human))
    recall = BY_NAME["recall"].measure(bare(generated), bare(human))
    assert precision == pytest.approx(by_definition(generated, human, 3))
    assert recall == pytest.approx(by_definition(human, generated, 3))
    assert 0.0 < recall < precision <= 1.0 or dims == 30


def test_recall_is_precision_with_the_samples_exchanged() -> None:
    a, b = ring("model"), noisy(ring("human"))
    assert BY_NAME["recall"].measure(a, b) == BY_NAME["precision"].measure(b, a)


def test_real_digits_cover_real_digits() -> None:
    humans = Digits().open()
    x = np.concatenate([humans.pool(1000).x, humans.held_out().x]).reshape(1797, -1) / 127.5 - 1.0
    precision, recall = [], []
    for split in range(8):
        order = stream(split, "test", "split").permutation(1797)
        training, held_out = bare(x[order[797:]]), bare(x[order[:797]])
        precision.append(BY_NAME["precision"].measure(training, held_out))
        recall.append(BY_NAME["recall"].measure(training, held_out))
    # SciPy's cdist and the definition over 20 other splits: 0.904 and 0.899, one split to 0.014 (sd)
    assert np.mean(precision) == pytest.approx(0.904, abs=0.015)
    assert np.mean(recall) == pytest.approx(0.899, abs=0.015)


def test_blocks_change_nothing_and_bound_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = bare(normal("a", 2000, 2)), bare(normal("b", 2000, 2))  # 32 MB of distances
    whole = BY_NAME["recall"].measure(bare(a.x), b)
    monkeypatch.setattr(distances, "BLOCK_BYTES", 2**20)
    tracemalloc.start()
    assert BY_NAME["recall"].measure(a, b) == whole
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 2**20


def test_radii_in_a_part_of_the_sample_are_those_of_the_part_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the list of neighbours is long enough (for eighths) or not (for a tenth, or where it is short)."""
    x = normal("x", 150, 3)
    draws = stream(0, "test", "subsets").random((6, 150))
    subsets = np.concatenate([draws < 7 / 8, draws < 1 / 2, draws < 1 / 10, np.ones((1, 150), dtype=bool)])
    for listed in (16, 4):
        monkeypatch.setattr(distances, "LISTED", listed)
        radii = Nearest(x).squared_radii(subsets, 3)
        for keep, radius in zip(subsets, radii, strict=True):
            expected = [np.sort(np.linalg.norm(x[keep] - p, axis=1))[3] for p in x[keep]]
            assert np.allclose(np.sqrt(radius[keep]), expected)


def test_the_tail_is_the_tenth_that_is_most_alone() -> None:
    human = bare(normal("h", 200, 2))
    chosen = tail(human)
    alone = np.array([np.sort(np.linalg.norm(human.x - p, axis=1))[3] for p in human.x])
    assert chosen.sum() == 20 and alone[chosen].min() > alone[~chosen].max()
    assert np.linalg.norm(human.x[chosen], axis=1).mean() > 1.5 * np.linalg.norm(human.x[~chosen], axis=1).mean()
    generated = bare(0.8 * normal("g", 150, 2))
    expected = by_definition(human.x[chosen], generated.x, 3)
    assert BY_NAME["tail-recall"].measure(generated, human) == pytest.approx(expected)


def test_a_model_without_tails_loses_the_tail_before_the_rest() -> None:
    """Points cut at 1.5 standard deviations: the bulk is covered as before, the tail nearly lost."""
    human, x = bare(normal("h", 1000, 2)), normal("g", 2000, 2)
    whole, cut = bare(x[:1000]), bare(x[np.linalg.norm(x, axis=1) < 1.5][:1000])
    lost = {name: 1 - BY_NAME[name].measure(cut, human) / BY_NAME[name].measure(whole, human) for name in NEIGHBOURS}
    assert lost["tail-recall"] > 0.8 > 0.4 > lost["recall"]


def test_human_points_lie_between_modes_as_rarely_as_a_gaussian_says() -> None:
    items = RING.open().draw(20_000, seed=0, who="between", round=0, used=0)
    share, expected = BY_NAME["between-modes"].measure(bare(items.x), bare(items.x)), np.exp(-4.5)
    assert share == pytest.approx(expected, abs=4 * np.sqrt(expected / 20_000))


# Truth: exact metrics -----------------------------------------------------------------------------------


def of(known: Distribution, **more: NDArray[np.float64]) -> Sample:
    """No item, but all is known."""
    dims = len(known.mean)
    return Sample(np.empty((0, dims)), None, None, np.empty(0, dtype=np.int64), None, known, **more)


def covariance(who: str, dims: int, rank: int | None = None) -> NDArray[np.float64]:
    z = normal(who, dims, rank or dims)
    found: NDArray[np.float64] = z @ z.T / dims
    return found


def test_exact_moments_by_hand() -> None:
    model = of(Distribution(np.array([1.0, 3.0]), np.array([[4.0, 0.5], [0.5, 1.0]])))
    human = of(Distribution(np.array([0.0, 1.0]), np.array([1.0, 1.0])))
    assert BY_NAME["model-variance"].measure(model, human) == 2.5
    assert BY_NAME["mean-error"].measure(model, human) == 2.5  # (1 + 4) / 2
    assert BY_NAME["log-std"].measure(model, human) == pytest.approx(np.log(2) / 2)
    assert BY_NAME["nll"].measure(of(model.distribution, log_prob=np.array([-1.0, -4.0])), human) == 2.5
    assert BY_NAME["nll"].measure(of(model.distribution, log_prob=np.array([-1.0, -np.inf])), human) == np.inf


def test_metrics_of_atoms_by_hand() -> None:
    atoms, mass = np.arange(4.0)[:, None], np.array([0.5, 0.25, 0.25, 0.0])
    model = of(Distribution.discrete(atoms, mass), atom_reward=np.log([1.0, 2.0, 4.0, 99.0]))
    assert BY_NAME["heterozygosity"].measure(model, model) == 1 - 0.25 - 2 / 16
    assert BY_NAME["outcomes"].measure(model, model) == 3
    assert BY_NAME["mean-exp-reward"].measure(model, model) == pytest.approx(2.0)


def test_heterozygosity_drifts_by_the_law_of_wright_and_fisher() -> None:
    """Frequencies of n draws: in expectation 1 - 1/n of it is left. 4,000 generations, within 4 standard errors."""
    n, mass = 20, np.array([0.4, 0.3, 0.2, 0.1])
    draws = stream(0, "test", "drift").multinomial(n, mass, size=4000) / n
    atoms = np.arange(4.0)[:, None]
    metric, human = BY_NAME["heterozygosity"], of(Distribution.discrete(atoms, mass))
    found = [metric.measure(of(Distribution.discrete(atoms, p)), human) for p in draws]
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    assert abs(np.mean(found) - (1 - 1 / n) * metric.measure(human, human)) < 4 * error


@pytest.mark.parametrize("dims", [1, 2, 7])
def test_gaussian_w2_is_the_frechet_distance_of_samples_with_these_moments(dims: int) -> None:
    """clean-fid on samples whose moments are exactly these, by another formula; and it is a mean over coordinates."""
    shape = np.linalg.cholesky(covariance("a", dims) + np.eye(dims))
    a, b = normal("a", 60, dims), normal("b", 80, dims) @ shape.T + 0.7
    known = [Distribution(x.mean(axis=0), np.cov(x.T).reshape(dims, dims)) for x in (a, b)]
    found = BY_NAME["gaussian-w2"].measure(of(known[0]), of(known[1]))
    expected = frechet(a, b) if dims > 1 else (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert found * dims == pytest.approx(expected, rel=1e-6)
    assert BY_NAME["gaussian-w2"].measure(of(known[1]), of(known[0])) == pytest.approx(found, rel=1e-9)


def test_the_distance_of_covariances_keeps_its_laws() -> None:
    s = covariance("s", 6)
    diagonal = np.array([1.0, 4.0, 9.0, 0.0]), np.array([4.0, 4.0, 1.0, 1.0])
    assert bures(*diagonal) == 1 + 0 + 4 + 1
    assert bures(np.diag(diagonal[0]), diagonal[1]) == pytest.approx(6)
    assert bures(s, 9 * s) == pytest.approx(4 * np.trace(s))  # (3 - 1)^2
    flat = covariance("flat", 6, rank=2)
    assert bures(s, s) < 1e-25 and bures(flat, flat) < 1e-15  # the root of nought is nought to 1e-8
    assert bures(flat, np.zeros(6)) == pytest.approx(np.trace(flat))


@pytest.mark.parametrize("step", [1e-3, 1e-6])
def test_near_covariances_keep_their_distance_to_full_precision(step: float) -> None:
    """tr S - 2 tr (S S')^1/2 + tr S' would lose it to rounding: here it is 1e-12 of the traces and less."""
    s = covariance("s", 6)
    near = (1 + step) ** 2 * s
    assert bures(s, near) == pytest.approx(step**2 * np.trace(s), rel=1e-6)


# Truth: the rest ----------------------------------------------------------------------------------------


def labelled(labels: list[int], prompts: list[int]) -> Sample:
    x = np.zeros((len(labels), 2))
    return Sample(x, None, np.array(labels), np.array(prompts), np.array(labels, dtype=np.float64))


def test_metrics_of_labels_by_hand() -> None:
    human, made = labelled([0, 1, 2, 3], [0, 1, 2, 3]), labelled([0, 0, 1, 1], [0, 1, 1, 1])
    assert BY_NAME["class-entropy"].measure(human, human) == pytest.approx(np.log(4))
    assert BY_NAME["class-entropy"].measure(made, human) == pytest.approx(np.log(2))
    assert BY_NAME["class-tv"].measure(made, human) == pytest.approx(0.5)
    assert BY_NAME["class-tv"].measure(human, human) == 0.0
    assert BY_NAME["agreement"].measure(made, human) == 0.75


def test_moments_by_hand() -> None:
    sample = labelled([1, 3, 5, 7], [0, 0, 0, 0])
    assert BY_NAME["reward"].measure(sample, sample) == 4.0
    assert BY_NAME["reward-variance"].measure(sample, sample) == pytest.approx(20 / 3)
    x = with_moments(normal("x", 50, 2), 3.0, [2.0, 5.0])
    assert BY_NAME["variance"].measure(bare(x), bare(x)) == pytest.approx(7.0)


def test_a_mode_is_kept_by_a_tenth_of_its_fair_share() -> None:
    at = [0] * 78 + [1] + [2]  # of 80 points, eight modes: one point is a tenth of the fair share
    x = CENTRES[at]
    x[-1] += [0.0, 3.1 * RING.std]  # outside three standard deviations
    assert BY_NAME["modes"].measure(bare(x), bare(x)) == pytest.approx(2 / 8)
    assert BY_NAME["modes"].measure(ring("model"), ring("human")) == 1.0


def test_the_jackknife_of_a_share_is_binomial() -> None:
    p, n, repeats = 0.3, 160, 300
    draws = stream(0, "test", "share").random((repeats, n)) < p
    samples = [labelled([int(hit) for hit in row], [1] * n) for row in draws]
    squares = [jackknife(BY_NAME["agreement"], s, s) ** 2 for s in samples]
    # se^2 is a chi-square on 7 degrees of freedom: relative error sqrt(2 / 7 / 300) = 3 %; four of them
    assert np.mean(squares) == pytest.approx(p * (1 - p) / n, rel=0.125)


def test_the_jackknife_of_the_variance_is_that_of_fresh_samples() -> None:
    n, repeats = 200, 200
    samples = [bare(x) for x in stream(0, "test", "variance").standard_normal((repeats, n, 2))]
    squares = [jackknife(BY_NAME["variance"], s, s) ** 2 for s in samples]
    true = 2 * 2.0 / (n - 1)  # var of a sample variance is 2 sigma^4 / (n - 1), for each of two coordinates
    assert np.mean(squares) == pytest.approx(true, rel=0.2)


def test_frechet_of_a_sample_that_has_collapsed_to_a_point():
    """Where a matrix root of the product would come back without a number."""
    from ecosystem.metrics.frechet import frechet

    human = stream(0, "test", "point").standard_normal((50, 1))
    point = np.full((50, 1), 2.0)
    assert frechet(point, human) == pytest.approx((2 - human.mean()) ** 2 + human.var(ddof=1))
    assert frechet(point, point) == 0
