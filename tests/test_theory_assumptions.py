"""Outside of its assumptions a closed form refuses, and names the assumption."""

import math

import numpy as np
import pytest

from ecosystem.errors import AssumptionError
from ecosystem.theory import (
    accumulate,
    curation,
    drift,
    gaussian,
    gaussian_curation,
    identities,
    kde,
    mixing,
    preferences,
    providers,
    stability,
)
from ecosystem.theory.flow import DataFlow

P, R = [0.5, 0.3, 0.2], [0.0, 1.0, 2.0]


def web():
    """One group of three human pages, one model of two of them, two pages of that."""
    flow = DataFlow(1.0)
    flow.publish(flow.fit({flow.human(3): 2}), 2)
    return flow


REFUSED = [
    # a variance of one point, points that are no points
    (lambda: gaussian.c4(1), "n >= 2"),
    (lambda: gaussian.c4(2.0), "whole number"),
    (lambda: gaussian.c4(True), "n >= 2"),
    (lambda: gaussian.expected_std(1, 3), "n >= 2"),
    (lambda: gaussian.expected_variance(1, 3), "n >= 2"),
    (lambda: gaussian.log_std_mean(1, 3), "n >= 2"),
    (lambda: gaussian.log_std_variance(0, 3), "n >= 2"),
    (lambda: gaussian.mean_square(-5, 3), "n >= 2"),
    (lambda: gaussian.expected_w2(10, -1), "t >= 0"),
    (lambda: gaussian.expected_w2(10, [1, 2.5]), "whole"),
    (lambda: gaussian.expected_w2(10, math.nan), "generations"),
    (lambda: gaussian.expected_variance(10, 3, "map"), "'mle' or 'unbiased'"),
    (lambda: gaussian.expected_variance(10, 3, "mle", 0.0), "(0, 1]"),
    (lambda: gaussian.expected_variance(10, 3, "mle", 1.1), "(0, 1]"),
    (lambda: gaussian.mean_square(10, 3, "mle", math.nan), "(0, 1]"),
    (lambda: gaussian.expected_determinant(3, 3, 1), "n > d"),
    (lambda: gaussian.log_determinant_mean(10, 0, 1), "d >= 1"),
    # pages that pile up
    (lambda: accumulate.accumulate(1, 5), "n >= 2"),
    (lambda: accumulate.accumulate(5, -1), "rounds >= 0"),
    (lambda: accumulate.accumulate_limit(1), "n >= 2"),
    (lambda: accumulate.subsample(1, 5), "n >= 2"),
    (lambda: accumulate.subsample(5, 5, "median"), "'mle' or 'unbiased'"),
    (lambda: accumulate.subsample_limit(1), "n >= 2"),
    (lambda: accumulate.regression_replace(4, 3, 1), "samples > dims + 1"),
    (lambda: accumulate.regression_accumulate(9, 3, 1, -0.1), "noise >= 0"),
    # mixtures
    (lambda: mixing.fixed(1, 5, 5), "human >= 2"),
    (lambda: mixing.fixed(5, 0, 5), "synthetic >= 1"),
    (lambda: mixing.fixed(5, 5, 5, variance=-1.0), "variance >= 0"),
    (lambda: mixing.fixed(5, 5, 5, sampling_bias=2.0), "(0, 1]"),
    (lambda: mixing.fixed_limit(5, -0.1), "lambda >= 0"),
    (lambda: mixing.fixed_limit(5, math.inf), "finite"),
    (lambda: mixing.deviation(-1, 1), "lambda >= 0"),
    (lambda: mixing.synthetic_amount(5, 0, 1), "synthetic >= 1"),
    (lambda: mixing.worst_amount(5, 0), "t >= 1"),
    (lambda: mixing.fresh(0, 5, 5), "human >= 1"),
    (lambda: mixing.fresh(1, 5, 5, start=(-1.0, 0.0)), "start variance >= 0"),
    (lambda: mixing.fresh_limit(0, 5), "human >= 1"),
    (lambda: mixing.effective_sample_size(0, 5), "human >= 1"),
    # providers
    (lambda: providers.providers([[0.5]], [0.4], [10], 1), "1 is assumed"),
    (lambda: providers.providers([[1.5]], [-0.5], [10], 1), ">= 0"),
    (lambda: providers.providers([[0.5, 0.5]], [0.0], [10], 1), "square"),
    (lambda: providers.providers([[0.5]], [0.5], [5], 1), "whole counts"),
    (lambda: providers.providers([[1.0]], [0.0], [0], 1), "n >= 1"),
    (lambda: providers.providers([[1.0]], [0.0], [5], 1, 0.0), "human_variance > 0"),
    (lambda: providers.providers([[1.0]], [0.0], [5], 1, training_set=[0, 1]), "labels"),
    (lambda: providers.providers(np.eye(2), [0, 0], [5, 5], 1, training_set=[0, 0]), "equal rows"),
    (lambda: providers.limit([[1.0]], [0.0], [5]), "human pages"),
    (lambda: providers.limit([[0.5, 0.5], [0.0, 1.0]], [0.0, 0.0], [4, 4]), "human pages"),
    (lambda: providers.effective_sample_size(np.eye(2), [5, 5]), "primitive"),
    (lambda: providers.effective_sample_size([[0.0, 1.0], [1.0, 0.0]], [5, 5]), "primitive"),
    (lambda: providers.effective_sample_size([[0.5]], [10]), "1 is assumed"),
    # categories
    (lambda: drift.heterozygosity([0.5, 0.6], 5, 1), "sum to 1"),
    (lambda: drift.heterozygosity([1.5, -0.5], 5, 1), "negative"),
    (lambda: drift.heterozygosity(P, 0, 1), "n >= 1"),
    (lambda: drift.heterozygosity_with_fresh_share(P, 5, 1.2, 1), "[0, 1]"),
    (lambda: drift.heterozygosity_with_fresh_pages(P, 0, 0, 1), "human + synthetic >= 1"),
    (lambda: drift.fixation_probability([]), "list of numbers"),
    (lambda: drift.loss_probability([0.2], 5), "sum to 1"),
    (lambda: drift.lost_by(-0.1, 5, 5), "[0, 1]"),
    (lambda: drift.collapse_time(P, 2001), "n <= 2000"),
    (lambda: drift.collapse_time_diffusion(P, 0), "n >= 1"),
    # kernel densities
    (lambda: kde.raw_square(1, -0.1), "bandwidth >= 0"),
    (lambda: kde.raw_square(1, 0.1, fresh=-0.1), "[0, 1]"),
    (lambda: kde.raw_square_limit(0.1, 0.0), "positive share"),
    (lambda: kde.variance(0, 1, 0.1), "n >= 1"),
    (lambda: kde.limit_density(0.0, 0.1, 0.0), "positive share"),
    (lambda: kde.limit_density(0.0, 0.1, 0.5, 0.0, 0.0), "human_variance > 0"),
    # curation
    (lambda: curation.tilt(P, R, 0), "K >= 1"),
    (lambda: curation.tilt(P, R, 2.5), "whole number"),
    (lambda: curation.tilt(P, R, math.nan), "whole number"),
    (lambda: curation.tilt(P, R[:2], 2), "3 are assumed"),
    (lambda: curation.tilt([0.5, 0.6, 0.2], R, 2), "sum to 1"),
    (lambda: curation.tilt(P, [0.0, math.inf, 1.0], 2), "finite"),
    (lambda: curation.tilt(P, [0.0, 601.0, 1.0], 2), "within 600"),
    (lambda: curation.tilt(P, [R, R], 2, [0.5, 0.6]), "sum to 1"),
    (lambda: curation.tilt(P, [R, R], 2), "2 are assumed"),
    (lambda: curation.loop(P, R, 2, 3, synthetic_share=1.01), "[0, 1]"),
    (lambda: curation.loop(P, R, 2, -3), "rounds >= 0"),
    (lambda: curation.loop(P, R, 2, 3, reference=[1.0]), "3 are assumed"),
    (lambda: curation.two_types(1.2, 1.0), "[0, 1]"),
    (lambda: curation.weak_selection(0.0, 1.0, 2), "(0, 1)"),
    (lambda: preferences.anchored_limit(P, R, -1.0), "lambda >= 0"),
    (lambda: preferences.anchored_limit(P, R, math.inf), "finite"),
    (lambda: preferences.expected_utility(P, [0.0, 1.0, 400.0]), "at most 300"),
    (lambda: preferences.gain_bound(P, R, 0), "K >= 1"),
    (lambda: preferences.total_variance_bound(P, R, 1), "K >= 2"),
    (lambda: preferences.anchored_utility_bound(P, R, 2, -1.0), "lambda >= 0"),
    (lambda: preferences.kl_bound(3, 0.5), "lambda < 1 / (K - 1)"),
    (lambda: preferences.reverse_kl_bound(-0.1), "lambda >= 0"),
    (lambda: preferences.best_of_k([1.1], 2, 1), "CDF"),
    (lambda: preferences.best_of_k([0.5], 0, 1), "K >= 1"),
    (lambda: preferences.odds_contraction(2.5, 2, 1.0), "[-1, 1]"),
    (lambda: preferences.adversarial_gain(P, R, R, 1.5), "[0, 1]"),
    (lambda: preferences.adversarial_threshold(P, [1.0] * 3, R), "assumed to vary"),
    (lambda: preferences.plural_limit(0.5, 0.0), "gap > 0"),
    (lambda: preferences.plural_bounds(0.1, 0.2, 0.2), "between the leakages"),
    (lambda: gaussian_curation.linear_reward(0, 0, 1, 1), "variance > 0"),
    (lambda: gaussian_curation.quadratic_reward(0, 1, -1, 0, 1), "curvature >= 0"),
    (lambda: gaussian_curation.chosen_moments(0, 1, lambda x: x[:3], 2), "one number a point|finite number a point"),
    (lambda: gaussian_curation.chosen_moments(0, 1, lambda x: 1000 * x, 2), "standard deviation"),
    (lambda: gaussian_curation.chosen_moments(0, 1, lambda x: 9 * x, math.inf), "within 10 standard deviations"),
    (lambda: gaussian_curation.refitted(0, 1, lambda x: x, 2, 1, synthetic_share=-0.1), "[0, 1]"),
    # stability
    (lambda: stability.bertrand_rate(0.5, 1.0, 1.0, 0.0), "< 1/2"),
    (lambda: stability.bertrand_rate(-0.5, 1.0, 1.0, 0.0), "lambda >= 0"),
    (lambda: stability.bertrand_condition(0.1, 1.0, 0.0, 0.0), "alpha > 0"),
    (lambda: stability.ferbach_rate(0.1, 1.0, 1.0, 1.0), "L eps < alpha"),
    (lambda: stability.ferbach_rate(5.0, 1.0, 1.0, 0.5), "lambda < alpha / (2 L eps)"),
    (lambda: stability.exact_rate(-0.1), "lambda >= 0"),
    (lambda: stability.finite_sample_bound(1, 1.0, 0, 0, 1, 1, 10, 0.1), "rate < 1"),
    (lambda: stability.finite_sample_bound(1, 0.5, 0, 0, 1, 1, 10, 0.0), "(0, 1)"),
    (lambda: stability.finite_sample_bound(1, 0.5, 0, 0, 1, 0.01, 10, 0.5), "log(b t / tau)"),
    # identities
    (lambda: identities.detector_share(0.5, 1.2, 0.0), "[0, 1]"),
    (lambda: identities.detector_share(1.0, 1.0, 0.0), "some page"),
    (lambda: identities.verifier_breakdown(0.0, 0.5), "some good data"),
    (lambda: identities.tullock_effort(1, 1.0), "contestants >= 2"),
    (lambda: identities.tullock_effort(2, 1.0, 0.0), "cost > 0"),
    (lambda: identities.correction_fresh_share(-0.1), "strength >= 0"),
    # data flows
    (lambda: DataFlow(0.0), "square > 0"),
    (lambda: DataFlow(1.0, 1.0), "product"),
    (lambda: DataFlow(1.0, -0.1), "product"),
    (lambda: web().human(0), "pages >= 1"),
    (lambda: web().fit({}), "at least one page"),
    (lambda: web().fit({0: 0}), "at least one page"),
    (lambda: web().fit({0: 4}), "exceed"),
    (lambda: web().fit({(0, 1): 6}), "exceed"),
    (lambda: web().fit({0: 1.5}), "whole"),
    (lambda: web().fit({0: -1}), "whole"),
    (lambda: web().fit({2: 1}), "group 2 does not exist"),
    (lambda: web().fit({-1: 1}), "whole"),
    (lambda: web().fit({(0, 0): 1}), "named once"),
    (lambda: web().fit({0: 1, (0, 1): 2}), "named once"),
    (lambda: web().fit({(): 1}), "named once"),
    (lambda: web().fit({0: 1}, estimator="unbiased"), "n >= 2"),
    (lambda: web().fit({0: 2}, widen=-1.0), "widen >= 0"),
    (lambda: web().fit({0: 2}, same_as=1), "not fitted"),
    (lambda: web().fit({0: 1}, same_as=0), "same counts"),
    (lambda: web().publish(1, 1), "not fitted"),
    (lambda: web().publish(0, 0), "pages >= 1"),
    (lambda: web().publish(0, 1, 0.0), "(0, 1]"),
    (lambda: web().variance(-1), "model >= 0"),
    (lambda: web().product(0, 7), "not fitted"),
]


@pytest.mark.parametrize(("call", "assumption"), REFUSED, ids=range(len(REFUSED)))
def test_outside_its_assumptions_a_closed_form_refuses(call, assumption):
    with pytest.raises(AssumptionError) as refusal:
        call()
    assert any(part in str(refusal.value) for part in assumption.split("|"))
    assert refusal.value.exit_code == 65


def test_a_refusal_changes_nothing():
    """A flow goes on after a refused order as if it had not been given."""
    flow = web()
    for order in (lambda: flow.fit({0: 9}), lambda: flow.publish(0, 0), lambda: flow.human(-1)):
        with pytest.raises(AssumptionError):
            order()
    assert flow.human(1) == 2
    assert flow.fit({2: 1}) == 1


def test_whole_numbers_of_numpy_are_whole():
    assert gaussian.c4(np.int64(5)) == gaussian.c4(5)
    assert web().fit({np.int64(0): np.int64(2)}) == 1
