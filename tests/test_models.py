"""The laws of the model contract, over every family."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pydantic import TypeAdapter, ValidationError
from scipy.optimize import linear_sum_assignment

from ecosystem.errors import TrainingError
from ecosystem.models import (
    Categorical,
    ClosedForm,
    Diffusion,
    Edm,
    FlowMatching,
    Gaussian,
    Kde,
    Mixture,
    ModelFamily,
    NormalizingFlow,
    Vae,
    flow_matching,
)
from ecosystem.models.base import TrainingSet, to_model, to_web
from ecosystem.models.diffusion import AncestralSampler, DdimSampler, ddim_times, signal
from ecosystem.models.edm import EdmSampler
from ecosystem.models.flow_matching import OdeSampler, pair
from ecosystem.models.flow_nets import MAFSettings, NSFSettings, RealNVPSettings
from ecosystem.models.multi_scale import MultiScaleSettings
from ecosystem.models.nets import MLPSettings, UNetSettings, build
from ecosystem.models.ode import AdaptiveSampler
from ecosystem.models.times import LogitNormal
from ecosystem.models.train import TrainSettings, TrainState, train
from ecosystem.models.vae import ConvolutionalSettings, PerceptronSettings
from ecosystem.rng import Streams, stream

SMALL = TrainSettings(budget_images=1_000, finetune_images=200, batch=50, lr=3e-3)
TINY = MLPSettings(width=16, depth=1)
NARROW, QUICK = MLPSettings(width=32, depth=1), TrainSettings(budget_images=12_000, batch=100, lr=1e-2)
OF_IMAGES = UNetSettings | ConvolutionalSettings | MultiScaleSettings
FAMILIES = [
    Gaussian(),
    Gaussian(estimator="unbiased"),
    Gaussian(covariance="diagonal"),
    Gaussian(estimator="unbiased", covariance="diagonal"),
    Categorical(),
    Kde(bandwidth=0.2),
    Mixture(components=3),
    Mixture(components=3, covariance="diagonal", restarts=2),
    Mixture(components=3, covariance="spherical"),
    FlowMatching(net=TINY, train=SMALL, sampler=OdeSampler(steps=4)),
    FlowMatching(net=TINY, train=SMALL, coupling="independent", sampler=OdeSampler(kind="euler", steps=4)),
    FlowMatching(net=TINY, train=SMALL, logit_normal=LogitNormal(mean=-1.0), sampler=OdeSampler(steps=4)),
    Diffusion(net=TINY, train=SMALL, prediction="noise", schedule="linear", sampler=DdimSampler(steps=5)),
    Diffusion(net=TINY, train=SMALL, sampler=DdimSampler(steps=5, spacing="quadratic")),
    Diffusion(net=TINY, train=SMALL, sampler=AncestralSampler(steps=4)),
    Edm(net=TINY, train=SMALL, sampler=EdmSampler(steps=4)),
    FlowMatching(net=TINY, train=SMALL, sampler=AdaptiveSampler(tolerance=1e-3)),
    NormalizingFlow(net=NSFSettings(transforms=2, width=16, depth=1, bins=4), train=SMALL),
    NormalizingFlow(net=MAFSettings(transforms=2, width=16, depth=1), train=SMALL),
    NormalizingFlow(
        net=MultiScaleSettings(channels=8, blocks=1), train=replace(SMALL, budget_images=200, finetune_images=100)
    ),
    Vae(net=PerceptronSettings(width=16, depth=1), train=SMALL, latent=2),
    Vae(net=ConvolutionalSettings(channels=(8, 16), width=16), train=replace(SMALL, budget_images=500), latent=2),
    Diffusion(
        net=UNetSettings(channels=(8, 16)),
        train=TrainSettings(budget_images=60, finetune_images=20, batch=20),
        sampler=DdimSampler(steps=3),
    ),
]


def vectors(n=200, classes=2):
    rng = stream(0, "test", "vectors")
    y = np.arange(n) % classes
    x = rng.standard_normal((n, 2)) * 0.3 + np.stack([2.0 * y - 1, 0 * y], axis=1)
    return TrainingSet(torch.from_numpy(x), torch.from_numpy(y), classes)


def images(n=60):
    rng = stream(0, "test", "images")
    y = torch.from_numpy(np.arange(n) % 3)
    x = rng.integers(0, 40, (n, 1, 6, 6), dtype=np.uint8)
    x[np.arange(n), 0, :, y.numpy()] += 180
    return TrainingSet(torch.from_numpy(x), y, 3)


def data_for(family):
    return images() if isinstance(getattr(family, "net", None), OF_IMAGES) else vectors()


def fit(family, data, previous=None, streams=None, **kw):
    training = family.fit(data, previous, streams or Streams(0, "lab", 0), **kw)
    updates = []
    while True:
        try:
            updates.append(next(training))
        except StopIteration as end:
            return end.value, updates


def twin(number, family):
    """Whether a network of its kind stands before it: it differs in an option, and is not for every day."""
    kind = (type(family), type(getattr(family, "net", None)))
    return hasattr(family, "net") and kind in [(type(f), type(getattr(f, "net", None))) for f in FAMILIES[:number]]


@pytest.fixture(
    scope="module",
    params=[pytest.param(f, marks=pytest.mark.slow) if twin(number, f) else f for number, f in enumerate(FAMILIES)],
    ids=lambda f: f"{f.family}-{FAMILIES.index(f)}",
)
def fitted(request):
    data = data_for(request.param)
    generator, updates = fit(request.param, data)
    return request.param, data, generator, updates


def draw(generator, y, seed=0):
    noise = torch.from_numpy(generator.noise(len(y), stream(seed, "test", "noise")))
    return generator.sample(torch.as_tensor(y), noise)


def test_samples_have_the_shape_of_an_item(fitted):
    _, data, generator, _ = fitted
    x = draw(generator, [0, 1, 1, 0, 1])
    assert x.shape == (5, *data.shape)
    assert torch.isfinite(x).all()
    assert draw(generator, np.empty(0, dtype=np.int64)).shape == (0, *data.shape)


def test_training_depends_on_its_named_streams_alone(fitted):
    family, data, generator, _ = fitted
    again, _ = fit(family, data)
    for name, value in generator.state().items():
        assert torch.equal(value, again.state()[name]), name


def test_another_name_trains_another_model(fitted):
    family, data, generator, _ = fitted
    if isinstance(family, ClosedForm):
        pytest.skip("a closed form draws nothing, and EM no more than its start")
    other, _ = fit(family, data, streams=Streams(0, "lab", 1))
    assert any(not torch.equal(v, other.state()[n]) for n, v in generator.state().items())


def test_sampling_is_a_pure_function_of_prompts_and_noise(fitted):
    _, _, generator, _ = fitted
    assert torch.equal(draw(generator, [0, 1, 0]), draw(generator, [0, 1, 0]))


def test_more_noise_leaves_the_first_rows_as_they_were(fitted):
    _, _, generator, _ = fitted
    few = generator.noise(7, stream(0, "test", "rows"))
    many = generator.noise(19, stream(0, "test", "rows"))
    np.testing.assert_array_equal(few, many[:7])


def test_a_sample_does_not_depend_on_its_neighbours(fitted):
    _, _, generator, _ = fitted
    y = torch.tensor([0, 1, 1, 0, 1, 0])
    noise = torch.from_numpy(generator.noise(6, stream(0, "test", "rows")))
    together = generator.sample(y, noise)
    alone = torch.cat([generator.sample(y[i : i + 1], noise[i : i + 1]) for i in range(6)])
    assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_progress_counts_to_its_end(fitted):
    family, _, _, updates = fitted
    assert updates[-1].done == updates[-1].total
    if not isinstance(family, ClosedForm):
        assert updates[-1].total == math.ceil(family.train.budget_images / family.train.batch)


def test_fine_tuning_goes_on_and_leaves_the_generation_before_alone(fitted):
    family, data, generator, _ = fitted
    before = {name: value.clone() for name, value in generator.state().items()}
    after, updates = fit(family, data, generator, Streams(0, "lab", 1))
    assert all(torch.equal(value, generator.state()[name]) for name, value in before.items())
    if not isinstance(family, ClosedForm):
        assert updates[-1].total == family.train.finetune_images // family.train.batch
        assert after.training.updates == generator.training.updates + updates[-1].total
        assert after.training.optimiser["state"], "Adam's state goes on with the network"


def test_a_budget_in_place_of_the_card(fitted):
    family, data, _, _ = fitted
    if isinstance(family, ClosedForm):
        pytest.skip("a closed form has no budget")
    _, updates = fit(family, data, budget_images=3 * family.train.batch)
    assert updates[-1].total == 3


@pytest.mark.parametrize(
    "family",
    [
        FlowMatching(net=NARROW, train=QUICK),
        FlowMatching(net=NARROW, train=QUICK, logit_normal=LogitNormal(mean=-0.6, std=1.2)),
        Diffusion(net=NARROW, train=QUICK),
        Diffusion(net=NARROW, train=QUICK, prediction="noise", schedule="linear"),
        Diffusion(net=NARROW, train=QUICK, logit_normal=LogitNormal(mean=0.7, std=1.2)),
        Edm(net=NARROW, train=QUICK, sampler=EdmSampler(steps=40)),
        NormalizingFlow(net=NSFSettings(transforms=2, width=32, depth=1), train=QUICK),
        NormalizingFlow(net=RealNVPSettings(width=32, depth=1), train=QUICK),
        Vae(net=PerceptronSettings(width=32), train=replace(QUICK, budget_images=20_000, ema=0.95), latent=2),
        Gaussian(),
        Gaussian(covariance="diagonal"),
        Categorical(),
        Kde(bandwidth=0.05),
        Mixture(components=2),
        Mixture(components=2, covariance="spherical"),
    ],
    ids=lambda f: f.family,
)
def test_a_trained_model_draws_the_density_of_its_prompt(family):
    """Two Gaussians of standard deviation 0.3 at (-1, 0) and (1, 0), one a class."""
    generator, _ = fit(family, vectors(2000))
    for label, centre in ((0, -1.0), (1, 1.0)):
        x = draw(generator, np.full(2000, label)).double()
        assert_allclose(x.mean(0), [centre, 0.0], atol=0.08)
        assert_allclose(x.std(0), [0.3, 0.3], rtol=0.25)


def test_gaussian_is_the_moments_of_each_class():
    data = vectors(400)
    generator, _ = fit(Gaussian(), data)
    for label in (0, 1):
        x = data.x[data.y == label]
        assert_allclose(generator.mean[label], x.mean(0))
        assert_allclose(generator.root[label] @ generator.root[label], torch.cov(x.T, correction=0), atol=1e-12)


def test_gaussian_density_is_scipys():
    from scipy.stats import multivariate_normal

    data = vectors(100)
    generator, _ = fit(Gaussian(), data)
    x = data.x[data.y == 1]
    truth = multivariate_normal(x.mean(0).numpy(), np.cov(x.T.numpy(), bias=True)).logpdf(x.numpy())
    assert_allclose(generator.log_prob(x, torch.ones(len(x), dtype=torch.int64)), truth, rtol=1e-8)


@pytest.mark.parametrize("family", [f for f in FAMILIES if isinstance(f, ClosedForm)], ids=lambda f: f.family)
def test_a_closed_form_without_a_page_of_a_class_says_so(family):
    data = vectors(10)
    with pytest.raises(TrainingError, match=r"(0 page\(s\)|no page) of class 2(.|\n)*Raise the archive"):
        fit(family, TrainingSet(data.x, data.y, 3))


@pytest.mark.parametrize("family", [f for f in FAMILIES if getattr(f, "net", None) is TINY], ids=lambda f: f.family)
def test_a_loss_that_is_not_a_number_stops_the_training(family):
    data = vectors()
    data.x[3] = float("nan")
    with pytest.raises(TrainingError, match="loss became nan"):
        fit(family, data)


def test_times_are_logit_normal_where_the_card_says_so():
    from scipy.stats import kstest, norm, uniform

    def drawn(family):
        return family.draws(torch.zeros(20_000, 2), torch.Generator().manual_seed(0))

    told = LogitNormal(mean=-0.6, std=1.2)
    assert kstest(drawn(FlowMatching())[1].double(), uniform.cdf).pvalue > 1e-3
    assert kstest(torch.logit(drawn(FlowMatching(logit_normal=told))[1].double()), norm(-0.6, 1.2).cdf).pvalue > 1e-3
    # A diffusion's are rounded up to whole ones: of a million almost none is seen twice, and of three the shares are.
    many = drawn(Diffusion(times=10**6, logit_normal=told))[0]
    assert kstest(torch.logit((many - 0.5).double() / 10**6), norm(-0.6, 1.2).cdf).pvalue > 1e-3
    three = drawn(Diffusion(times=3, logit_normal=told))[0].bincount(minlength=4) / 20_000
    shares = np.diff(norm(-0.6, 1.2).cdf([-np.inf, np.log(1 / 2), np.log(2), np.inf]))
    assert_allclose(three, [0, *shares], atol=0.02)
    wide = drawn(Diffusion(times=10, logit_normal=LogitNormal(std=1000.0)))[0]
    assert int(wide.min()) == 1 and int(wide.max()) == 10, "where t is rounded to 0 or 1"


@pytest.mark.parametrize("family", ["flow-matching", "diffusion"])
@pytest.mark.parametrize("times", [{"std": 0.0}, {"std": -1.0}, {"mean": "nan"}, {"mode": 1.0}, "uniform"], ids=str)
def test_times_that_are_none_are_refused(family, times):
    with pytest.raises(ValidationError, match="logit_normal"):
        TypeAdapter(ModelFamily).validate_json(json.dumps({"family": family, "logit_normal": times}))


def test_the_pairing_is_pots_optimal_plan_within_classes():
    import ot

    rng = stream(0, "test", "pairs")
    z, x = (torch.from_numpy(rng.standard_normal((150, 3))).float() for _ in range(2))
    y = (torch.arange(150) % 7) // 3  # 64 of two classes, which the solver is prepared for, and 22 of one
    p = pair(z, x, y)
    assert sorted(p.tolist()) == list(range(150))
    assert torch.equal(y[p], y), "the label must not leak into the noise"
    for label in range(3):
        members = torch.nonzero(y == label).flatten()
        cost = ot.dist(x[members].double().numpy(), z[members].double().numpy())
        ours = (x[members] - z[p[members]]).double().square().sum().item()
        assert ours / len(members) == pytest.approx(ot.emd2([], [], cost), rel=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 90), st.integers(1, 4), st.integers(1, 100), st.integers(1, 5))
def test_plans_of_parts_pair_within_classes_and_come_near_the_whole(n, classes, size, dims):
    rng = stream(n, "test", "parts")
    z, x = (torch.from_numpy(rng.standard_normal((n, dims))).float() for _ in range(2))
    y = torch.from_numpy(rng.integers(0, classes, n))
    whole, parts = pair(z, x, y), pair(z, x, y, size)
    for p in (whole, parts):
        assert sorted(p.tolist()) == list(range(n))
        assert torch.equal(y[p], y)
    costs = [float((x - z[p]).double().square().sum()) for p in (whole, parts, torch.arange(n))]
    assert costs[0] <= costs[1] * (1 + 1e-6)
    assert costs[1] <= costs[2] * (1 + 1e-6)
    if size >= n:
        assert torch.equal(whole, parts)
    if size == 1:
        assert torch.equal(parts, torch.arange(n))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 70), st.integers(1, 6), st.integers(1, 4), st.integers(1, 40) | st.none(), st.integers(1, 70))
def test_batches_behind_one_another_are_paired_as_each_alone(n, batches, classes, size, dims):
    rng = stream(n, "test", "batches")
    z, x = (torch.from_numpy(rng.standard_normal((n * batches, dims))).float() for _ in range(2))
    y = torch.from_numpy(rng.integers(0, classes, n * batches))
    own = [pair(*(part[i : i + n] for part in (z, x, y)), size) + i for i in range(0, n * batches, n)]
    assert torch.equal(pair(z, x, y, size, n), torch.cat(own))


def gains(kind, parts, n):
    """Of few values, of one, with rows and columns far away, near the largest number, near the smallest."""
    rng = stream(n, "test", "gains", kind)
    found = rng.standard_normal((parts, n, n)).astype(np.float32)
    match kind:
        case "few":
            found = found.round()
        case "one":
            found[:] = 3
        case "away":
            found[:, ::5] -= 1e6
            found[:, :, ::7] += 1e7
        case "large":
            found *= np.float32(5e37)
        case "small":
            found *= np.float32(1e-42)
    return found


@pytest.mark.parametrize("parts, n", [(1, 64), (1, 300), (9, flow_matching.WORTH)])
@pytest.mark.parametrize("kind", ["normal", "few", "one", "away", "large", "small"])
def test_plans_that_were_prepared_are_as_good_as_those_that_were_not(kind, parts, n):
    found = gains(kind, parts, n)
    for gain, columns in zip(found, flow_matching._assigned(found), strict=True):
        assert sorted(columns) == list(range(n))
        truth = gain.astype(np.float64)
        rows, best = linear_sum_assignment(truth, maximize=True)
        assert truth[rows, columns].sum() == pytest.approx(truth[rows, best].sum(), rel=1e-12)


def test_what_is_no_number_is_not_paired():
    x, z = torch.arange(12.0).reshape(2, 6, 1).expand(2, 6, 2).clone()
    y = torch.tensor([0, 0, 0, 1, 1, 1])
    x[1] = float("nan")
    p = pair(z, x, y)
    assert p[:3].tolist() == [0, 1, 2]
    assert sorted(p.tolist()) == list(range(6))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("times", [10, 100, 1000])
def test_a_schedule_goes_from_the_image_to_noise(schedule, times):
    a = signal(schedule, times)
    assert len(a) == times + 1
    assert a[0] == 1
    assert (a.diff() < 0).all()
    assert a[-1] < 1e-3


@pytest.mark.parametrize("spacing", ["linear", "quadratic"])
@pytest.mark.parametrize("steps", [1, 7, 50, 1000, 5000])
def test_ddim_starts_at_pure_noise(spacing, steps):
    times = ddim_times(1000, DdimSampler(steps=steps, spacing=spacing))
    assert times[0] == 1000
    assert min(times) >= 1
    assert times == sorted(set(times), reverse=True)


def test_a_sampler_that_would_explode_is_refused():
    """Measured before this check: samples of 5,000 where the data end at 1."""
    with pytest.raises(ValueError, match="explodes"):
        Diffusion(prediction="noise", schedule="cosine")
    Diffusion(prediction="noise", schedule="cosine", sampler=DdimSampler(clip=True))


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_ddim_is_diffusers_ddim(prediction):
    """The same network along the same times: diffusers' DDIMScheduler and ours end at the same image."""
    from diffusers import DDIMScheduler

    family = Diffusion(net=TINY, prediction=prediction, schedule="linear", times=1000, sampler=DdimSampler(steps=20))
    net = build(lambda: TINY.build((2,), 2), torch.Generator().manual_seed(0))
    noise = torch.randn(9, 2, generator=torch.Generator().manual_seed(1))
    y = torch.arange(9) % 2
    scheduler = DDIMScheduler(
        1000,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        clip_sample=False,
        set_alpha_to_one=True,
        prediction_type="epsilon" if prediction == "noise" else "v_prediction",
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(20)
    x = noise
    with torch.no_grad():
        for s in scheduler.timesteps:
            x = scheduler.step(net(x, torch.full((9,), (int(s) + 1) / 1000), y), int(s), x).prev_sample
        ours = family.integrate(net, y, noise)
    assert_allclose(ours, x, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize(("kind", "order"), [("euler", 1), ("midpoint", 2)])
def test_an_ode_solver_has_the_order_that_it_claims(kind, order):
    """dx/dt = x has the solution e x(0); the error falls by 2^order when the number of steps doubles."""

    def error(steps):
        family = FlowMatching(sampler=OdeSampler(kind=kind, steps=steps))
        x = torch.ones(1, 1, dtype=torch.float64)
        return abs(float(family.integrate(lambda x, t, y: x, torch.zeros(1, dtype=torch.int64), x)) - math.e)

    assert math.log2(error(16) / error(32)) == pytest.approx(order, abs=0.1)


def test_batches_go_through_every_item_before_any_twice():
    from ecosystem.models.train import Batches

    batches = Batches(10, 4, torch.Generator().manual_seed(0))
    drawn = torch.cat([next(batches) for _ in range(5)])
    assert sorted(drawn[:10].tolist()) == sorted(drawn[10:].tolist()) == list(range(10))


def test_a_set_smaller_than_the_batch_is_repeated():
    from ecosystem.models.train import Batches

    assert len(next(Batches(3, 8, torch.Generator().manual_seed(0)))) == 8


def test_budget_is_counted_in_images_seen():
    data, seen = vectors(30), []

    def loss(net, x, y, generator):
        seen.append(len(x))
        return net(x, torch.zeros(len(x)), y).square().mean()

    state = TrainState.new(build(lambda: TINY.build((2,), 2), torch.Generator().manual_seed(0)))
    list(train(loss, state, data, TrainSettings(batch=20), 200, (1e-3, 1e-3), torch.Generator().manual_seed(0)))
    assert sum(seen) == 200


def test_images_go_to_the_web_and_back():
    x = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert np.array_equal(to_web(to_model(x)), x.numpy())
    assert to_web(torch.tensor([[[[-3.0, 3.0]]]])).ravel().tolist() == [0, 255]


def test_unet_takes_odd_sizes():
    net = build(lambda: UNetSettings(channels=(8, 16, 16)).build((3, 7, 9), 2), torch.Generator().manual_seed(0))
    assert net(torch.zeros(2, 3, 7, 9), torch.zeros(2), torch.tensor([0, 1])).shape == (2, 3, 7, 9)


def test_parameters_come_from_the_named_generator():
    unet = UNetSettings(channels=(8, 8))
    nets = [build(lambda: unet.build((1, 8, 8), 2), torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    first, same, other = (torch.cat([p.flatten() for p in net.parameters()]) for net in nets)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
