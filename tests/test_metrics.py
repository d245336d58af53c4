"""Metrics: laws that every metric keeps, then the truth of each against closed forms and other libraries."""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from ecosystem import metrics
from ecosystem.errors import ScenarioError
from ecosystem.humans import Digits, Gaussian, Ring8, TwoMoons
from ecosystem.metrics import Metric, Sample, jackknife, neighbours
from ecosystem.metrics.frechet import frechet
from ecosystem.metrics.sliced import directions, wasserstein_1d
from ecosystem.rng import stream

N = 600
RING = Ring8(labelled=True)
CENTRES = RING.centres()


def judged(x: NDArray[np.float64], y: NDArray[np.int64]) -> Sample:
    """Points near the ring, as a perfect classifier and a user who likes the first mode see them."""
    distance = np.linalg.norm(x[:, None] - CENTRES, axis=2)
    return Sample(x, None, distance.argmin(axis=1), y, -distance.min(axis=1))


def ring(who: str, n: int = N) -> Sample:
    items = RING.open().draw(n, seed=0, who=who, round=0, used=0)
    return judged(items.x, items.y)


def bare(x: NDArray[np.float64]) -> Sample:
    return Sample(x, None, None, np.zeros(len(x), dtype=np.int64), None)


def noisy(sample: Sample) -> Sample:
    noise = stream(0, "test", "noise").standard_normal(sample.x.shape)
    return judged(sample.x + 0.8 * noise, sample.y)


def without_half_the_modes(sample: Sample) -> Sample:
    """Asked for any mode, it makes one of the first four."""
    return judged(sample.x - CENTRES[sample.y] + CENTRES[sample.y % 4], sample.y)


def normal(who: str, n: int, dims: int) -> NDArray[np.float64]:
    return stream(0, who, "test").standard_normal((n, dims))


BY_NAME = {m.name: m for source in (RING, Digits()) for m in metrics.build(None, source.open())}
ALL = [BY_NAME[name] for name in metrics.NAMES]
every_metric = pytest.mark.parametrize("metric", ALL, ids=lambda m: m.name)

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
    ("modes", without_half_the_modes),
    ("class-entropy", without_half_the_modes),
    ("class-tv", without_half_the_modes),
    ("agreement", noisy),
    ("agreement", without_half_the_modes),
    ("reward", noisy),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_damage_moves_a_metric_the_worse_way(name: str, damage: Callable[[Sample], Sample]) -> None:
    metric, generated, human = BY_NAME[name], ring("model"), ring("human")
    good, bad = metric.measure(generated, human), metric.measure(damage(generated), human)
    margin = 3 * jackknife(metric, generated, human)
    assert (bad - good if metric.better == "lower" else good - bad) > margin


def test_every_metric_with_a_direction_is_damaged_above() -> None:
    assert {m.name for m in ALL if m.better != "neither"} == {name for name, _ in DAMAGES}


@every_metric
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
    assert silent == {"class-entropy", "class-tv", "agreement", "reward", "reward-variance"}


@every_metric
def test_a_model_that_makes_one_point_is_measured_too(metric: Metric) -> None:
    constant = judged(np.tile(CENTRES[0], (N, 1)), np.zeros(N, dtype=np.int64))
    assert np.isfinite(metric.measure(constant, ring("human")))
    assert np.isfinite(jackknife(metric, constant, ring("human")))


# The registry -------------------------------------------------------------------------------------------


def names_of(source: Ring8 | Digits | Gaussian | TwoMoons) -> list[str]:
    return [metric.name for metric in metrics.build(None, source.open())]


def test_a_source_gets_the_metrics_that_suit_it() -> None:
    common = ["frechet", "sliced-wasserstein", "precision", "recall"]
    rest = ["variance", "reward", "reward-variance"]
    assert names_of(Gaussian()) == names_of(TwoMoons()) == [*common, *rest]
    assert names_of(Ring8()) == names_of(Ring8(labelled=True)) == [*common, "modes", *rest]
    # The classifier knows the classes also where models are not told them; only prompts are missing then.
    assert names_of(Digits(labelled=False)) == [*common, "class-entropy", "class-tv", *rest]
    assert names_of(Digits()) == [*common, "class-entropy", "class-tv", "agreement", *rest]
    assert set(names_of(Digits())) | set(names_of(Ring8())) == set(metrics.NAMES)


def test_metrics_can_be_named() -> None:
    chosen = metrics.build(["recall", "frechet"], Digits().open())
    assert [m.name for m in chosen] == ["recall", "frechet"]
    assert metrics.build([], Digits().open()) == []
    for name in ("modes", "fid"):
        with pytest.raises(ScenarioError, match=f"'{name}' cannot be measured on 'digits'(.|\n)*Remedy"):
            metrics.build([name], Digits().open())


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
    whole = BY_NAME["recall"].measure(a, b)
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 2**20)
    tracemalloc.start()
    assert BY_NAME["recall"].measure(a, b) == whole
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 2**20


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
