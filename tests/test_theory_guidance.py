"""Negative guidance and correction of Gaussian loops against brute force: own samples are drawn, densities multiplied,
pages replaced. Means must agree to four standard errors."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ecosystem.errors import AssumptionError
from ecosystem.rng import stream
from ecosystem.theory import correction, guidance, guided_loops, mixing
from ecosystem.theory.flow import DataFlow

RUNS = 4_000
DDOF = {"mle": 0, "unbiased": 1}
estimators = pytest.mark.parametrize("estimator", ["mle", "unbiased"])


def agree(samples, expected, what="", sigmas=4.0):
    """The mean of samples (runs, ...) is the expected value, to ``sigmas`` standard errors."""
    error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
    off = np.abs(samples.mean(axis=0) - np.asarray(expected))
    assert np.all(off <= sigmas * error + 1e-12), f"{what}: {samples.mean(axis=0)} +- {error}, expected {expected}"


def drawn(rng, mean, variance, n):
    """n points of each run, (runs, n)."""
    return mean[:, None] + np.sqrt(variance)[:, None] * rng.standard_normal((len(mean), n))


def guided(rng, mean, variance, weight, images, estimator="mle", bias=1.0):
    """Mean and precision of what each run serves: exponents of two Gaussian densities, added up."""
    own = drawn(rng, mean, bias * variance, images)
    spread = own.var(axis=1, ddof=DDOF[estimator])
    precision = (1 + weight) / variance - weight / spread
    return ((1 + weight) * mean / variance - weight * own.mean(axis=1) / spread) / precision, precision


# Once


@estimators
@pytest.mark.parametrize("bias", [1.0, 0.8])
def test_what_is_served_once(estimator, bias):
    weight, images, rng = 0.4, 200, stream(0, "test", f"once {estimator} {bias}")
    mean, precision = guided(rng, np.full(RUNS, 3.0), np.full(RUNS, 4.0), weight, images, estimator, bias)
    setting = (weight, images, estimator, bias)
    agree(4 * precision, guidance.expected_precision(weight, images, 1, estimator, bias), "precision")
    widened, moved = guidance.served(*setting)
    agree(1 / precision / 4, widened, "variance")
    agree((mean - 3) ** 2 / 4, moved, "mean")
    for level in (0.1, 0.5, 0.9):
        agree(1 / precision / 4 < guidance.variance_quantile(level, *setting), level, "quantile")


@estimators
def test_few_own_samples_often_leave_nothing_to_serve(estimator):
    rng, one = stream(0, "test", f"failure {estimator}"), np.ones(4 * RUNS)
    _, precision = guided(rng, 0 * one, one, 1.0, 8, estimator)
    fails = guidance.failure(1.0, 8, estimator)
    assert 0.05 < fails < 0.5
    agree(precision <= 0, fails, "failures")
    agree(precision, guidance.expected_precision(1.0, 8, 1, estimator), "precision, failures included")
    assert guidance.variance_quantile(1 - 0.99 * fails, 1.0, 8, estimator) == math.inf
    assert guidance.variance_quantile(1 - 1.01 * fails, 1.0, 8, estimator) < math.inf
    with pytest.raises(AssumptionError, match="Raise images"):
        guidance.served(1.0, 8, estimator)


@estimators
def test_the_precision_in_three_dimensions(estimator):
    weight, images, d = 0.5, 20, 3
    x = stream(0, "test", f"wishart {estimator}").standard_normal((RUNS, images, d))
    x = x - x.mean(axis=1, keepdims=True)
    its = np.linalg.inv(x.transpose(0, 2, 1) @ x / (images - DDOF[estimator]))
    served = (1 + weight) * np.eye(d) - weight * its
    agree(served, np.eye(d) * guidance.expected_precision(weight, images, d, estimator))


@pytest.mark.parametrize(
    ("estimator", "slope"),
    [("mle", lambda w: w * (3 + 2 * w)), ("unbiased", lambda w: 2 * w * (1 + w))],
    ids=["mle", "unbiased"],
)
@pytest.mark.parametrize("weight", [0.2, 1.0])
def test_the_first_order_of_what_is_served(estimator, slope, weight):
    """Errors of the first order fall like 1/N^2."""
    found = [guidance.served(weight, n, estimator) for n in (1000, 2000, 4000)]
    for what, first in ((0, slope(weight)), (1, weight**2)):
        off = [moments[what] - (what == 0) - first / n for moments, n in zip(found, (1000, 2000, 4000), strict=True)]
        assert off[0] / off[1] == pytest.approx(4, rel=0.05)
        assert off[1] / off[2] == pytest.approx(4, rel=0.05)


@estimators
def test_what_a_sampler_that_follows_the_score_serves(estimator):
    weight, images, rng = 0.7, 12, stream(0, "test", f"score {estimator}")
    spread = rng.standard_normal((RUNS, images)).var(axis=1, ddof=DDOF[estimator])
    agree(spread**-weight, guidance.score_guided_variance(weight, images, estimator))
    assert guidance.score_guided_variance(weight, 10**6) == pytest.approx(1 + weight * (2 + weight) / 10**6, abs=1e-10)


def test_the_weight_that_cancels_a_sampling_bias():
    """With samples without end: omega = b for densities, omega = 1 for samplers that follow the score."""
    for b in (0.5, 0.9, 1.0):
        assert b * guidance.extrapolated_variance(b, b) == pytest.approx(1, rel=1e-14)
        assert b * guidance.score_guided_variance(1.0, 10**8, "mle", b) == pytest.approx(1, rel=1e-7)
    assert guidance.served(0.9, 10**7, "mle", 0.9)[0] == pytest.approx(1 / 0.9, rel=1e-5)


# In a loop


def fitted(points, estimator):
    return points.mean(axis=1), points.var(axis=1, ddof=DDOF[estimator])


@pytest.mark.parametrize(
    ("estimator", "human", "bias"), [("mle", 0, 1.0), ("unbiased", 0, 0.8), ("mle", 10, 0.8), ("unbiased", 10, 1.0)]
)
def test_the_loops_of_fresh_pages_and_of_none(estimator, human, bias):
    synthetic, weight, images, rounds = 20, 0.5, 150, 3
    if bias < 1:
        weight, images = 0.6, 250
    rng = stream(0, "test", f"fresh guided {estimator} {human} {bias}")
    mean, variance = fitted(rng.standard_normal((RUNS, 30)), "mle")
    exact = guided_loops.fresh(
        human, synthetic, rounds, weight, images,
        estimator=estimator, sampling_bias=bias, start=(1 - 1 / 30, 1 / 30),
    )  # fmt: skip
    for t in range(rounds + 1):
        agree(variance, exact.trained.variance[t], f"trained variance {t}")
        agree(mean**2, exact.trained.mean_square[t], f"trained mean {t}")
        centre, precision = guided(rng, mean, variance, weight, images, estimator, bias)
        assert (precision > 0).all()
        agree(1 / precision, exact.served.variance[t], f"served variance {t}")
        agree(centre**2, exact.served.mean_square[t], f"served mean {t}")
        pages = drawn(rng, centre, bias / precision, synthetic)
        mean, variance = fitted(np.concatenate([rng.standard_normal((RUNS, human)), pages], axis=1), estimator)


@estimators
def test_the_loop_of_fixed_pages(estimator):
    n, synthetic, weight, images, rounds = 6, 9, 0.4, 120, 3
    rng = stream(0, "test", f"fixed guided {estimator}")
    human = stream(0, "test", "fixed human").standard_normal(n)
    setting = {"variance": human.var(), "estimator": estimator}
    exact = guided_loops.fixed(n, synthetic, rounds, weight, images, **setting)
    known = np.broadcast_to(human, (RUNS, n))
    mean, variance = fitted(known, estimator)
    for t in range(rounds + 1):
        agree(variance, exact.trained.variance[t], f"variance {t}")
        agree((mean - human.mean()) ** 2, exact.trained.mean_square[t], f"mean {t}")
        centre, precision = guided(rng, mean, variance, weight, images, estimator)
        agree(1 / precision, exact.served.variance[t], f"served variance {t}")
        mean, variance = fitted(
            np.concatenate([known, drawn(rng, centre, 1 / precision, synthetic)], axis=1), estimator
        )
    late = guided_loops.fixed(n, synthetic, 3000, weight, images, **setting).trained
    limit = guided_loops.fixed_limit(n, synthetic, weight, images, **setting)
    assert_allclose((late.variance[-1], late.mean_square[-1]), limit, rtol=1e-10)


@estimators
def test_without_weight_the_loops_are_those_without_guidance(estimator):
    for guided_loop, plain in (
        (guided_loops.fixed(7, 5, 9, 0.0, 50, estimator=estimator), mixing.fixed(7, 5, 9, estimator=estimator)),
        (guided_loops.fresh(7, 5, 9, 0.0, 50, estimator=estimator), mixing.fresh(7, 5, 9, estimator=estimator)),
    ):
        for models in guided_loop:
            assert_allclose(models.variance, plain.variance, rtol=1e-9)
            assert_allclose(models.mean_square, plain.mean_square, rtol=1e-9)
    assert_allclose(guided_loops.fixed_limit(7, 14, 0.0, 50), mixing.fixed_limit(7, 2.0), rtol=1e-9)


@estimators
def test_the_log_of_a_replace_loop_given_that_it_goes_on(estimator):
    """Also where one run in ten fails in each generation: the walk's steps are independent."""
    n, weight, images, rounds = 12, 0.8, 12, 3
    rng = stream(0, "test", f"log guided {estimator}")
    mean, variance, served = np.zeros(2 * RUNS), np.ones(2 * RUNS), []
    for _ in range(rounds):
        mean, variance = fitted(drawn(rng, mean, variance, n), estimator)
        mean, precision = guided(rng, mean, variance, weight, images, estimator)
        alive = precision > 0
        mean, variance = mean[alive], 1 / precision[alive]
        served.append(alive.mean())
    agree(np.log(variance) / 2, guided_loops.log_std_mean(n, rounds, weight, images, estimator))
    expected = 1 - guidance.failure(weight, images, estimator)
    assert_allclose(served, expected, atol=4 * math.sqrt(expected * (1 - expected) / RUNS))
    assert expected < 0.95


@pytest.mark.parametrize(("estimator", "first"), [("mle", (math.sqrt(17) - 3) / 2), ("unbiased", math.sqrt(2) - 1)])
def test_the_weight_that_balances_a_replace_loop(estimator, first):
    off = []
    for n in (200, 400, 10**5):
        weight = guided_loops.balance(n, n, estimator)
        assert guided_loops.log_std_mean(n, 1, weight, n, estimator) == pytest.approx(0, abs=1e-10)
        assert guided_loops.log_std_mean(n, 1, 1.1 * weight, n, estimator) > 0
        assert guided_loops.log_std_mean(n, 1, 0.9 * weight, n, estimator) < 0
        off.append(abs(weight - first))
    assert off[0] / off[1] == pytest.approx(2, rel=0.1)
    assert off[2] < 1e-4


# As flows of pages


@estimators
@pytest.mark.parametrize("bias", [1.0, 0.8])
def test_guided_loops_are_flows_of_pages(estimator, bias):
    """Fresh, fixed and no human pages, with g and h put into the recursion of any data flow."""
    weight, images, rounds, synthetic = 0.5, 250, 12, 20
    setting = {"estimator": estimator, "sampling_bias": bias}
    effect = guidance.served(weight, images, estimator, bias)

    def flow(human, renewed, first):
        """Variance and mean square, as trained and as served, by generation: (T, 2, 2)."""
        web = DataFlow(1.0)
        people = web.human(30)
        model, found = web.fit({people: 30}, estimator=first), []
        for t in range(rounds + 1):
            served = web.guide(model, *effect)
            found.append([(web.variance(m), web.mean_square(m)) for m in (model, served)])
            pages = web.publish(served, synthetic, bias)
            if t < rounds:
                people = web.human(human) if renewed and human else people
                counts = {people: human} if human else {}
                model = web.fit({**counts, pages: synthetic}, estimator=estimator)
        return np.array(found)

    def loop(exact):
        return np.moveaxis(np.array([[models.variance, models.mean_square] for models in exact]), 2, 0)

    for human in (0, 10):
        exact = guided_loops.fresh(human, synthetic, rounds, weight, images, start=(1 - 1 / 30, 1 / 30), **setting)
        assert_allclose(flow(human, True, "mle"), loop(exact), rtol=1e-9)
    exact = guided_loops.fixed(30, synthetic, rounds, weight, images, variance=1 - 1 / 30, **setting)
    from_humans = np.array([0, 1 / 30])  # the formula takes means from those of the human pages
    assert_allclose(flow(30, False, estimator), loop(exact) + from_humans, rtol=1e-9)


def test_who_reads_two_batches_of_a_guided_model_and_who_shares_its_data():
    """Three labs: ``one`` is guided and published twice; ``twin`` has its very training set, unguided; ``late`` reads
    all. Every variance, mean and distance, against pages drawn one by one."""
    weight, images, rng = 0.5, 150, stream(0, "test", "guided web")
    effect = guidance.served(weight, images)
    people, twice = rng.standard_normal((RUNS, 12)), []
    mean, variance = fitted(people, "mle")
    centre, precision = guided(rng, mean, variance, weight, images)
    twice = [drawn(rng, centre, 1 / precision, n) for n in (9, 7)]
    of_twin = drawn(rng, mean, variance, 5)
    late = fitted(np.concatenate([*twice, of_twin[:, :3], people[:, :4]], axis=1), "mle")
    last = fitted(np.concatenate([twice[0][:, :5], drawn(rng, *late, 6)], axis=1), "mle")

    web = DataFlow(1.0)
    given = web.human(12)
    one = web.fit({given: 12})
    served = web.guide(one, *effect)
    twin = web.fit({given: 12}, same_as=one)
    groups = [web.publish(served, n) for n in (9, 7)]
    groups.append(web.publish(twin, 5))
    read = web.fit({groups[0]: 9, groups[1]: 7, groups[2]: 3, given: 4})
    pages = web.publish(read, 6)
    end = web.fit({groups[0]: 5, pages: 6})

    agree(1 / precision, web.variance(served), "served variance")
    agree(late[1], web.variance(read), "late variance")
    agree(last[1], web.variance(end), "last variance")
    models = {"one": (one, mean), "served": (served, centre), "twin": (twin, mean), "late": (read, late[0])}
    models["last"] = (end, last[0])
    for name, (model, means) in models.items():
        agree(means**2, web.mean_square(model), name)
        for other, (rival, its) in models.items():
            agree((means - its) ** 2, web.distance(model, rival), f"{name} and {other}")


def test_guidance_that_does_nothing_and_guidance_that_comes_late():
    web = DataFlow(1.0)
    model = web.fit({web.human(10): 10})
    same = web.guide(model, 1.0, 0.0)
    assert (web.variance(same), web.mean_square(same)) == (web.variance(model), web.mean_square(model))
    assert web.distance(model, same) == 0
    web.publish(model, 5)
    with pytest.raises(AssumptionError, match="as soon as it is fitted"):
        web.guide(model, 1.1, 0.1)


# Correction


@estimators
@pytest.mark.parametrize("human", [0, 6])
@pytest.mark.parametrize("counts", ["drawn", "fixed"])
def test_a_corrected_loop(estimator, human, counts):
    synthetic, strength, rounds = 8, 1 / 3, 4  # a quarter: two of eight
    rng = stream(0, "test", f"corrected {estimator} {human} {counts}")
    exact = correction.corrected(human, synthetic, rounds, strength, estimator=estimator, counts=counts)
    known = rng.standard_normal((4 * RUNS, human))
    mean, variance = fitted(known, estimator) if human else (np.zeros(4 * RUNS), np.ones(4 * RUNS))
    for t in range(rounds + 1):
        agree(variance, exact.variance[t], f"variance {t}")
        agree(mean**2, exact.mean_square[t], f"mean {t}")
        pages = drawn(rng, mean, variance, synthetic)
        if counts == "drawn":
            replaced = rng.random(pages.shape) < strength / (1 + strength)
        else:
            replaced = np.arange(synthetic) < 2
        pages = np.where(replaced, rng.standard_normal(pages.shape), pages)
        mean, variance = fitted(np.concatenate([known, pages], axis=1), estimator)


@estimators
def test_a_corrected_loop_is_a_flow_of_pages(estimator):
    flow = DataFlow(1.0)
    human = flow.human(6)
    models = [flow.fit({human: 6}, estimator=estimator)]
    for _ in range(20):
        counts = {human: 6, flow.human(5): 5, flow.publish(models[-1], 15): 15}
        models.append(flow.fit(counts, estimator=estimator))
    exact = correction.corrected(6, 20, 20, 1 / 3, estimator=estimator, counts="fixed")
    assert_allclose(exact.variance, [flow.variance(model) for model in models], rtol=1e-12)
    assert_allclose(exact.mean_square, [flow.mean_square(model) for model in models], rtol=1e-10)


@estimators
def test_corrections_that_are_known_loops(estimator):
    """None is the fixed loop averaged over human pages; without human pages it is the fresh one."""
    none = correction.corrected(10, 15, 8, 0.0, estimator=estimator)
    fixed = mixing.fixed(10, 15, 8, variance=1 - 1 / 10, estimator=estimator)
    assert_allclose(none.variance, fixed.variance, rtol=1e-12)
    assert_allclose(none.mean_square, fixed.mean_square + 1 / 10, rtol=1e-12)
    alone = correction.corrected(0, 30, 8, 0.5, estimator=estimator, counts="fixed")
    fresh = mixing.fresh(10, 20, 8, estimator=estimator)
    assert_allclose(alone.variance, fresh.variance, rtol=1e-12)
    assert_allclose(alone.mean_square, fresh.mean_square, rtol=1e-12, atol=1e-15)


def test_a_stronger_correction_is_steadier():
    """The sizes of their Gaussian toy: 50 human pages, half as many synthetic ones, strengths from 0 to 5."""
    limits = [correction.corrected_limit(50, 25, strength) for strength in (0, 0.01, 0.03, 0.1, 0.3, 1, 2, 5)]
    assert np.all(np.diff([square for _, square in limits]) < 0)
    assert np.all(np.diff([variance for variance, _ in limits]) > 0)
    late = correction.corrected(50, 25, 500, 0.3)
    assert_allclose((late.variance[-1], late.mean_square[-1]), correction.corrected_limit(50, 25, 0.3), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "assumption"),
    [
        (lambda: guidance.served(-0.1, 50), "weight >= 0"),
        (lambda: guidance.served(0.5, 1), "images >= 2"),
        (lambda: guidance.served(0.5, 50, "mle", 1.5), "(0, 1]"),
        (lambda: guidance.expected_precision(0.5, 5, 3), "images >= 6"),
        (lambda: guidance.variance_quantile(1.0, 0.5, 50), "(0, 1)"),
        (lambda: guidance.extrapolated_variance(0.5, 1.0), "ratio > weight"),
        (lambda: guidance.failure(math.inf, 50), "finite"),
        (lambda: guidance.score_guided_variance(5.0, 11), "weight < (images - 1) / 2"),
        (lambda: guided_loops.balance(10, 100_000), "to balance"),
        (lambda: guided_loops.fresh(-1, 5, 5, 0.1, 200), "human >= 0"),
        (lambda: guided_loops.fixed(1, 5, 5, 0.1, 200), "n >= 2"),
        (lambda: guided_loops.fixed_limit(3, 3000, 2.0, 2000), "has a limit"),
        (lambda: guided_loops.log_std_mean(1, 5, 0.1, 200), "n >= 2"),
        (lambda: correction.corrected(1, 5, 5, 0.1), "none or two"),
        (lambda: correction.corrected(5, 5, 5, -0.1), "strength >= 0"),
        (lambda: correction.corrected(5, 5, 5, 0.1, counts="fixed"), "whole"),
        (lambda: correction.corrected(5, 5, 5, 0.1, counts="some"), "'drawn' or 'fixed'"),
        (lambda: correction.corrected_limit(0, 5, 0.0), "collapses"),
    ],
    ids=range(18),
)
def test_outside_its_assumptions_it_refuses(call, assumption):
    with pytest.raises(AssumptionError) as refusal:
        call()
    assert assumption in str(refusal.value)
