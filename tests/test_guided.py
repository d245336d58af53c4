"""Negative guidance: the laws of a guided model over the families that take it, and what it does, against the truth."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from pydantic import TypeAdapter, ValidationError

from ecosystem.errors import TrainingError
from ecosystem.models import Categorical, Diffusion, Edm, FlowMatching, Gaussian, Kde, Mixture
from ecosystem.models.base import TrainingSet
from ecosystem.models.diffusion import DdimSampler
from ecosystem.models.edm import EdmSampler
from ecosystem.models.flow_matching import OdeSampler
from ecosystem.models.gaussian import GaussianGenerator, symmetric_root
from ecosystem.models.guided import Guided, NegativeGuidance, restored
from ecosystem.models.nets import MLPSettings
from ecosystem.models.train import TrainSettings
from ecosystem.rng import Streams, stream
from ecosystem.theory import guidance

TINY = MLPSettings(width=16, depth=1)
QUICK = TrainSettings(budget_images=1_000, finetune_images=500, batch=50, lr=3e-3)
GAUSSIANS = [Gaussian(), Gaussian(covariance="diagonal", estimator="unbiased")]
NEURAL = [
    FlowMatching(net=TINY, train=QUICK, sampler=OdeSampler(steps=4)),
    FlowMatching(net=TINY, train=QUICK, coupling="independent", sampler=OdeSampler(kind="euler", steps=4)),
    Diffusion(net=TINY, train=QUICK, prediction="noise", schedule="linear", sampler=DdimSampler(steps=5)),
    Diffusion(net=TINY, train=QUICK, sampler=DdimSampler(steps=5, spacing="quadratic")),
    Edm(net=TINY, train=QUICK, sampler=EdmSampler(steps=5)),
]
CPU = torch.device("cpu")


def vectors(n=200, classes=2, scale=0.3, who="vectors"):
    y = np.arange(n) % classes
    x = stream(0, "test", who).standard_normal((n, 2)) * scale + np.stack([2.0 * y - 1, 0 * y], axis=1)
    return TrainingSet(torch.from_numpy(x), torch.from_numpy(y), classes)


def fit(family, data, previous=None, who="lab", **kw):
    training = family.fit(data, previous, Streams(0, who, 0), **kw)
    while True:
        try:
            next(training)
        except StopIteration as end:
            return end.value


def self_trained(family, main, settings):
    """The auxiliary as a provider trains it, on its main model's own samples."""
    drawn = settings.draw(main, 2, Streams(0, "lab", 0), CPU)
    own = settings.training_set(drawn, main.sample(drawn.y, drawn.noise), 2)
    return fit(family, own, main, "lab auxiliary", budget_images=settings.budget_images), own


def draw(generator, y):
    return generator.sample(torch.as_tensor(y), torch.from_numpy(generator.noise(len(y), stream(0, "test", "noise"))))


@pytest.fixture(scope="module", params=[*GAUSSIANS, *NEURAL], ids=lambda f: f"{f.family}")
def pair(request):
    main = fit(request.param, vectors())
    auxiliary, own = self_trained(request.param, main, NegativeGuidance(weight=0.3, images=400))
    return request.param, main, auxiliary, own


# Laws


def test_without_weight_it_is_the_main_model(pair):
    _, main, auxiliary, _ = pair
    same = Guided(main, auxiliary, 0.0)
    assert torch.equal(draw(same, [0, 1, 1]), draw(main, [0, 1, 1]))
    assert not torch.equal(draw(Guided(main, auxiliary, 0.3), [0, 1, 1]), draw(main, [0, 1, 1]))


def test_it_comes_back_from_what_was_saved(pair):
    family, main, auxiliary, _ = pair
    guided = Guided(main, auxiliary, 0.3)
    saved = {name: value.clone() for name, value in guided.saved().items()}
    again = restored(family, saved, main.shape, 2)
    assert isinstance(again, Guided) and again.weight == 0.3
    assert saved.keys() == again.saved().keys()
    assert all(torch.equal(value, again.saved()[name]) for name, value in saved.items())
    assert torch.equal(draw(again, [0, 1, 0]), draw(guided, [0, 1, 0]))
    assert guided.state().keys() == {
        *(f"main/{n}" for n in main.state()),
        *(f"auxiliary/{n}" for n in main.state()),
        "weight",
    }


def test_a_model_that_is_not_guided_comes_back_as_it_was(pair):
    family, main, _, _ = pair
    again = restored(family, main.saved(), main.shape, 2)
    assert type(again) is type(main)
    assert torch.equal(draw(again, [0, 1]), draw(main, [0, 1]))


def test_a_later_training_goes_on_from_the_main_model(pair):
    family, main, auxiliary, own = pair
    one, other = (fit(family, own, previous) for previous in (main, Guided(main, auxiliary, 0.3)))
    assert all(torch.equal(value, other.state()[name]) for name, value in one.state().items())
    assert Guided(main, auxiliary, 0.3).trained is main


def test_the_samples_are_those_of_every_prompt_alone(pair):
    _, main, auxiliary, _ = pair
    guided = Guided(main, auxiliary, 0.3)
    y = torch.tensor([0, 1, 1, 0])
    noise = torch.from_numpy(guided.noise(4, stream(0, "test", "rows")))
    alone = torch.cat([guided.sample(y[i : i + 1], noise[i : i + 1]) for i in range(4)])
    assert_allclose(guided.sample(y, noise), alone, rtol=1e-4, atol=1e-4)
    assert guided.sample(y[:0], noise[:0]).shape == (0, 2)


def test_a_model_guided_from_itself_is_itself(pair):
    _, main, _, _ = pair
    assert_allclose(draw(Guided(main, main, 0.7), [0, 1]), draw(main, [0, 1]), rtol=1e-4, atol=1e-5)


def test_its_own_samples_are_as_many_as_asked_and_of_all_classes(pair):
    _, _, _, own = pair
    assert own.y.tolist() == [0, 1] * 200
    assert own.x.shape == (400, 2) and own.x.dtype == torch.float64


def test_who_takes_guidance():
    assert all(family.takes_guidance for family in [*GAUSSIANS, *NEURAL])
    assert not Mixture().takes_guidance
    for family in (Categorical(), Kde(bandwidth=0.2)):
        assert not family.takes_guidance
        model = fit(family, vectors())
        with pytest.raises(TypeError, match="no score"):
            Guided(model, model, 0.5)


def test_strangers_guide_nobody():
    flow, narrow, diffusion = (
        fit(family, vectors())
        for family in (NEURAL[0], replace(NEURAL[0], net=MLPSettings(width=8, depth=1)), NEURAL[2])
    )
    assert draw(Guided(flow, narrow, 0.5), [0]).shape == (1, 2), "a smaller network, as in autoguidance"
    for main, other in ((flow, diffusion), (diffusion, fit(NEURAL[3], vectors())), (flow, fit(Gaussian(), vectors()))):
        with pytest.raises(TypeError, match="same family"):
            Guided(main, other, 0.5)
    for other in (flow, fit(GAUSSIANS[1], vectors()), fit(Gaussian(), vectors(classes=1))):
        with pytest.raises(TypeError, match="by a Gaussian"):
            Guided(fit(Gaussian(), vectors()), other, 0.5)


def test_the_settings_go_through_yaml():
    settings = TypeAdapter(NegativeGuidance)
    assert settings.validate_json('{"weight": 0.5, "images": 100}') == NegativeGuidance(0.5, 100, None)
    for wrong in ({"weight": -0.1, "images": 100}, {"weight": 0.5, "images": 0}, {"weight": 0.5}, {"images": 5}):
        with pytest.raises(ValidationError):
            settings.validate_json(json.dumps(wrong))


# Gaussians, exactly


def gaussian(mean, covariance, diagonal=False):
    mean, covariance = (torch.from_numpy(np.array(a, dtype=np.float64)) for a in (mean, covariance))
    root = covariance.sqrt() if diagonal else torch.stack([symmetric_root(c) for c in covariance])
    return GaussianGenerator(mean, root, (mean.shape[1],))


def planes(diagonal):
    """Two classes in the plane, and an auxiliary that is narrower along one axis and wider along another."""
    main, other = [[1.0, 0.3], [0.3, 0.5]], [[0.8, 0.1], [0.1, 0.7]]
    if diagonal:
        main, other = [1.0, 0.5], [0.8, 0.7]
    one = gaussian([[0.5, -1.0], [2.0, 0.0]], [main, np.multiply(main, 0.25)], diagonal)
    return one, gaussian([[0.3, -0.8], [2.1, 0.1]], [other, np.multiply(other, 0.3)], diagonal)


@pytest.mark.parametrize("diagonal", [False, True], ids=["full", "diagonal"])
@pytest.mark.parametrize("weight", [0.2, 1.0])
def test_the_closed_form_is_the_extrapolated_density(diagonal, weight):
    """Both densities on a grid, to their powers, multiplied and divided by their sum."""
    main, auxiliary = planes(diagonal)
    guided = Guided(main, auxiliary, weight)
    axis = torch.linspace(-14, 14, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    moments = []
    for label in (0, 1):
        y = torch.full((len(grid),), label)
        log = (1 + weight) * main.log_prob(grid, y) - weight * auxiliary.log_prob(grid, y)
        mass = torch.softmax(log, 0)
        cell = float(axis[1] - axis[0]) ** 2
        near = mass > 1e-12
        assert_allclose(guided.log_prob(grid, y)[near], (mass[near] / cell).log(), atol=1e-6)
        mean = mass @ grid
        moments.append((mean, (mass[:, None] * grid).T @ grid))
    known = guided.distribution()
    centre = (moments[0][0] + moments[1][0]) / 2
    raw = (moments[0][1] + moments[1][1]) / 2
    assert_allclose(known.mean, centre, atol=1e-9)
    assert_allclose(known.covariance, raw - torch.outer(centre, centre), atol=1e-8)


@pytest.mark.parametrize("diagonal", [False, True], ids=["full", "diagonal"])
def test_its_samples_have_its_distribution(diagonal):
    main, auxiliary = planes(diagonal)
    guided = Guided(main, auxiliary, 0.5)
    x, known = draw(guided, np.arange(80_000) % 2).numpy(), guided.distribution()
    off = np.abs(x.mean(0) - known.mean) / (x.std(0) / len(x) ** 0.5)
    assert off.max() < 5
    centred = x - known.mean
    products = centred[:, :, None] * centred[:, None, :]
    assert (np.abs(products.mean(0) - known.covariance) / (products.std(0) / len(x) ** 0.5)).max() < 5


def test_a_narrower_auxiliary_widens_and_a_wider_one_narrows():
    main = gaussian([[0.0, 0.0]], [np.eye(2)])
    for scale in (0.8, 1.25):
        guided = Guided(main, gaussian([[0.0, 0.0]], [scale * np.eye(2)]), 0.5)
        assert_allclose(guided.distribution().covariance, guidance.extrapolated_variance(scale, 0.5) * np.eye(2))
        assert (guided.distribution().covariance[0, 0] > 1) == (scale < 1)


@pytest.mark.parametrize("diagonal", [False, True], ids=["full", "diagonal"])
def test_where_no_density_is_left(diagonal):
    one = [[1.0, 1.0]] if diagonal else [np.eye(2)]
    main = gaussian([[0.0, 0.0]], one, diagonal)
    at_edge, narrow = (gaussian([[0.0, 0.0]], np.multiply(s, one), diagonal) for s in (0.5, 0.3))
    Guided(main, at_edge, 0.99)
    for auxiliary in (at_edge, narrow):
        with pytest.raises(TrainingError, match=r"needs more than 0\.5\. Raise the `images`.*or lower its `weight`"):
            Guided(main, auxiliary, 1.0)
    fewest = gaussian([[0.0, 0.0]], np.multiply(0, one), diagonal)
    with pytest.raises(TrainingError, match="has 0 of the main"):
        Guided(main, fewest, 0.1)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_pixels_that_never_change_stay_as_they_are(covariance):
    """Images with a frame of one colour: the covariance is singular, of the auxiliary as well."""
    x = np.zeros((300, 1, 4, 4), dtype=np.uint8)
    x[:, :, 1:3, 1:3] = stream(0, "test", "frame").integers(90, 140, (300, 1, 2, 2))
    family = Gaussian(covariance=covariance)
    main = fit(family, TrainingSet(torch.from_numpy(x), torch.zeros(300, dtype=torch.int64), 1))
    settings = NegativeGuidance(weight=0.5, images=300)
    drawn = settings.draw(main, 1, Streams(0, "lab", 0), CPU)
    own = settings.training_set(drawn, main.sample(drawn.y, drawn.noise), 1)
    assert own.x.dtype == torch.uint8 and own.x.shape == (300, 1, 4, 4)
    guided = settings.serve(main, fit(family, own))
    sample = draw(guided, np.zeros(2000, dtype=np.int64))
    assert_allclose(sample[:, :, 0], -1, atol=1e-6)
    ratio = sample[:, :, 1:3, 1:3].var(0) / draw(main, np.zeros(2000, dtype=np.int64))[:, :, 1:3, 1:3].var(0)
    assert_allclose(ratio, 1, atol=0.3)


def test_a_collapsed_model_is_served_as_it_is():
    for diagonal, none in ((True, [[0.0, 0.0]]), (False, [np.zeros((2, 2))])):
        main = gaussian([[1.0, 2.0]], none, diagonal)
        assert draw(Guided(main, main, 0.5), [0]).tolist() == [[1.0, 2.0]]


def test_self_guidance_is_what_theory_says():
    """200 models of one coordinate, each guided away from a fit to 150 of its own samples."""
    family, settings, served = Gaussian(), NegativeGuidance(weight=0.5, images=150), []
    main = gaussian([[2.0]], [[[4.0]]])
    for run in range(200):
        drawn = settings.draw(main, 1, Streams(0, "lab", run), CPU)
        own = settings.training_set(drawn, main.sample(drawn.y, drawn.noise), 1)
        known = settings.serve(main, fit(family, own)).distribution()
        served.append((known.covariance[0, 0] / 4, (known.mean[0] - 2) ** 2 / 4))
    off = np.mean(served, axis=0) - guidance.served(0.5, 150)
    assert np.all(np.abs(off) < 4 * np.std(served, axis=0) / 200**0.5)


def test_guided_gaussians_are_drawn_as_one_stack():
    data = [vectors(classes=1, who=f"seed {i}") for i in range(5)]
    mains = [fit(Gaussian(covariance="diagonal"), member) for member in data]
    guided = [
        Guided(main, fit(Gaussian(covariance="diagonal"), vectors(400, 1, who=f"own {i}")), 0.1)
        for i, main in enumerate(mains)
    ]
    noise = [torch.from_numpy(g.noise(9, stream(0, "test", f"{i}"))) for i, g in enumerate(guided)]
    y = [torch.zeros(9, dtype=torch.int64)] * 5
    together = Guided.sample_stack(guided, y, noise)
    assert together is not None
    for ours, generator, labels, z in zip(together, guided, y, noise, strict=True):
        assert torch.equal(ours, generator.sample(labels, z))
    flow = fit(NEURAL[0], vectors())
    assert Guided.sample_stack([guided[0], Guided(flow, flow, 0.5)], y[:2], noise[:2]) is None


# Samplers


class Perfect(torch.nn.Module):
    """What a network learns of N(0, sigma^2) with data without end, in the words of its family."""

    def __init__(self, family, sigma):
        super().__init__()
        self.family, self.sigma = family, sigma

    def forward(self, x, t, y):
        from ecosystem.models.diffusion import signal

        t = t[:, None].double()
        if isinstance(self.family, FlowMatching):
            return x * (t * self.sigma**2 - (1 - t)) / ((t * self.sigma) ** 2 + (1 - t) ** 2)
        a = signal(self.family.schedule, self.family.times).double()[(t * self.family.times).round().long()]
        noise = x * (1 - a).sqrt() / (a * self.sigma**2 + 1 - a)
        return noise if self.family.prediction == "noise" else (noise - (1 - a).sqrt() * x) / a.sqrt()


@pytest.mark.parametrize(
    "family",
    [
        FlowMatching(sampler=OdeSampler(steps=100)),
        Diffusion(schedule="linear", prediction="noise", sampler=DdimSampler(steps=300)),
        Diffusion(sampler=DdimSampler(steps=300)),
    ],
    ids=["flow", "noise", "velocity"],
)
@pytest.mark.parametrize(
    ("narrower", "weight"),
    [(0.6, 0.5), pytest.param(0.9, 1.0, marks=pytest.mark.slow), pytest.param(1.2, 2.0, marks=pytest.mark.slow)],
)
def test_perfect_scores_end_where_theory_says(family, narrower, weight):
    """sigma (sigma / sigma_a)^omega, also where the density p^(1 + omega) / p_a^omega does not exist."""
    from ecosystem.models.guided import predictions

    predict = predictions(Perfect(family, 1.5), Perfect(family, 1.5 * narrower), weight)
    noise = torch.tensor([[1.0], [-2.0]], dtype=torch.float64)
    x = family.integrate(predict, torch.zeros(2, dtype=torch.int64), noise)
    assert_allclose(x / noise, 1.5 * narrower**-weight, rtol=0.02)


WIDE = TrainSettings(budget_images=30_000, finetune_images=10_000, batch=200, lr=1e-2, finetune_lr=2e-3)


@pytest.mark.parametrize(
    "family",
    [
        FlowMatching(
            net=MLPSettings(width=32, depth=1), train=WIDE, sampler=OdeSampler(steps=10), coupling="independent"
        ),
        pytest.param(
            Diffusion(net=MLPSettings(width=32, depth=1), train=WIDE, sampler=DdimSampler(steps=30)),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["flow", "diffusion"],
)
def test_a_network_guided_from_a_narrower_one_is_wider(family):
    """The auxiliary is fine-tuned on main samples shrunk to 0.8 about their mean: 0.8^-omega as wide, and not moved."""
    main = fit(family, vectors(2000, 1, 0.5))
    y = torch.zeros(2000, dtype=torch.int64)
    x = draw(main, y)
    auxiliary = fit(family, TrainingSet((x.mean(0) + 0.8 * (x - x.mean(0))).double(), y, 1), main)
    own = x.std(0)
    narrow = draw(auxiliary, y).std(0)
    for weight in (0.5, 1.0):
        guided = draw(Guided(main, auxiliary, weight), y)
        assert_allclose(guided.std(0) / own, (own / narrow) ** weight, rtol=0.1)
        assert (guided.std(0) > 1.05 * own).all()
