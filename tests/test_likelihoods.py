"""Families that are trained by likelihood: flows against changes of variables, autoencoders against PCA and the truth.

The laws that hold for every family are in test_models.py.
"""

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from pydantic import TypeAdapter, ValidationError

from ecosystem import scenarios
from ecosystem.errors import ScenarioError, TrainingError
from ecosystem.metrics.exact import BitsPerDimension
from ecosystem.models import ModelFamily, NormalizingFlow, Vae
from ecosystem.models.base import TrainingSet, to_web
from ecosystem.models.flow_nets import MAFSettings, NSFSettings, RealNVPSettings
from ecosystem.models.multi_scale import MultiScaleSettings, squares
from ecosystem.models.nets import build
from ecosystem.models.train import TrainSettings
from ecosystem.models.vae import ConvolutionalSettings, PerceptronSettings, divergence
from ecosystem.rng import Streams, stream

NETS = [
    RealNVPSettings(transforms=4, width=16, depth=1),
    NSFSettings(transforms=2, width=16, depth=1, bins=4),
    MAFSettings(transforms=2, width=16, depth=1),
]
QUICK = TrainSettings(budget_images=10_000, batch=100, lr=1e-2, ema=0.95)
every_net = pytest.mark.parametrize("net", NETS, ids=lambda net: net.kind)


def normal(n, dims, who="points"):
    return torch.from_numpy(stream(0, "test", who, n).standard_normal((n, dims)))


def labelled(x, classes=1):
    return TrainingSet(x, torch.arange(len(x)) % classes, classes)


SHEAR = torch.tensor([[3.0, 0.0], [2.4, 1.5]], dtype=torch.float64)


def leaning(n=2000, who="leaning"):
    """A Gaussian in the plane far from the origin, its coordinates correlated by 0.85."""
    return normal(n, 2, who) @ SHEAR.T + torch.tensor([10.0, -40.0])


def noisy_images(n=400, side=2):
    """Every level equally often: no model can tell them in less than 8 bits a pixel."""
    x = stream(0, "test", "images", n).integers(0, 256, (n, 1, side, side), dtype=np.uint8)
    return labelled(torch.from_numpy(x))


def fit(family, data, previous=None, **kw):
    training = family.fit(data, previous, Streams(0, "lab", 0), **kw)
    while True:
        try:
            next(training)
        except StopIteration as end:
            return end.value


def draw(generator, y, bias=1.0):
    noise = torch.from_numpy(generator.noise(len(y), stream(0, "test", "noise")))
    return generator.sample(torch.as_tensor(y), bias**0.5 * noise)


def stirred(net, shape, classes=2, seed=0, std=0.4):
    """A flow in 64 bits whose every parameter is drawn, so that none of its maps is the identity."""
    generator = torch.Generator().manual_seed(seed)
    flow = build(lambda: net.build(shape, classes), generator).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.normal_(0, std, generator=generator)
        flow.shift.normal_(generator=generator)
        flow.scale.uniform_(0.5, 2.0, generator=generator)
    return flow.requires_grad_(False)


# Flows: what they are


@every_net
@pytest.mark.parametrize("dims", [1, 2, 5])
def test_a_flow_comes_back(net, dims):
    flow, z, y = stirred(net, (dims,)), normal(50, dims), torch.arange(50) % 2
    x = flow.inverse(z, y)
    assert (x - z).abs().mean() > 0.1, "it moves what it is given"
    assert_allclose(flow(x, y)[0], z, atol=1e-9)


@every_net
@pytest.mark.parametrize("dims", [1, 2, 5])
def test_its_log_determinant_is_that_of_its_jacobian(net, dims):
    flow, x, y = stirred(net, (dims,)), normal(6, dims), torch.arange(6) % 2
    _, change = flow(x, y)
    for number in range(6):
        label = y[number : number + 1]
        jacobian = torch.autograd.functional.jacobian(lambda one, label=label: flow(one[None], label)[0][0], x[number])
        assert float(change[number]) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]), abs=1e-9)


@every_net
def test_its_density_is_the_change_of_variables(net):
    """Backwards, from the noise: log p(x) = log N(z) - log |det dx/dz|, by the inverse's own Jacobian."""
    flow, z, y = stirred(net, (3,)), normal(6, 3), torch.arange(6) % 2
    for number in range(6):
        one, label = z[number], y[number : number + 1]
        jacobian = torch.autograd.functional.jacobian(lambda z, label=label: flow.inverse(z[None], label)[0], one)
        base = -0.5 * float(one.square().sum() + 3 * math.log(2 * math.pi))
        expected = base - float(torch.linalg.slogdet(jacobian)[1])
        assert float(flow.log_prob(flow.inverse(one[None], label), label)) == pytest.approx(expected, abs=1e-9)


@every_net
def test_its_density_has_mass_one(net):
    flow = stirred(net, (2,))
    axis = torch.linspace(-30, 30, 241, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    for label in (0, 1):
        density = flow.log_prob(grid, torch.full((len(grid),), label)).exp()
        assert float(density.sum() * 0.25**2) == pytest.approx(1, abs=0.01)


@every_net
def test_nothing_in_a_flow_is_drawn_but_its_parameters(net):
    one, other = (build(lambda: net.build((6,), 2), torch.Generator().manual_seed(seed)) for seed in (0, 1))
    fixed = {name for name, _ in one.named_buffers()}
    assert all(torch.equal(value, dict(other.named_buffers())[name]) for name, value in one.named_buffers())
    assert fixed >= {"shift", "scale"}
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@every_net
def test_every_coordinate_leans_on_every_other(net):
    """z as a function of x, through two maps: one that left a coordinate alone could not learn a correlation."""
    flow = stirred(net, (6,))
    jacobian = torch.autograd.functional.jacobian(
        lambda x: flow(x[None], torch.tensor([0]))[0][0], torch.linspace(-1, 1, 6, dtype=torch.float64)
    )
    inverse = torch.linalg.inv(jacobian)
    assert ((jacobian.abs() > 1e-9) | (inverse.abs() > 1e-9)).all()


# Flows: couplings of convolutions, on images


MANY = MultiScaleSettings(channels=8, blocks=1, scales=2)
ONE = MultiScaleSettings(channels=8, blocks=2, scales=1)
every_image = pytest.mark.parametrize(
    ("net", "shape"),
    [(ONE, (1, 4, 4)), (ONE, (3, 4, 6)), (MANY, (1, 8, 8)), (replace(ONE, scales=0), (2, 3, 2))],
    ids=str,
)


def stirred_images(net, shape, n=4):
    dims = math.prod(shape)
    return stirred(net, shape, std=0.1), normal(n, dims), torch.arange(n) % 2


@every_image
def test_a_flow_of_convolutions_comes_back(net, shape):
    flow, z, y = stirred_images(net, shape, 20)
    x = flow.inverse(z, y)
    assert (x - z).abs().mean() > 0.1, "it moves what it is given"
    assert_allclose(flow(x, y)[0], z, atol=1e-8)


@every_image
def test_the_log_determinant_of_convolutions_is_that_of_their_jacobian(net, shape):
    flow, x, y = stirred_images(net, shape, 1)
    jacobian = torch.autograd.functional.jacobian(lambda one: flow(one[None], y)[0][0], x[0])
    sign, size = torch.linalg.slogdet(jacobian)
    assert sign == 1
    assert float(flow(x, y)[1]) == pytest.approx(float(size), abs=1e-8)


def test_every_pixel_is_moved_by_its_neighbours_and_by_the_class():
    """After the first scale half of the pixels are done; all of them have been moved by then."""
    flow, x, y = stirred_images(ONE, (1, 4, 4), 1)
    jacobian = torch.autograd.functional.jacobian(lambda one: flow(one[None], y)[0][0], x[0])
    assert ((jacobian.abs() > 1e-9).sum(1) > 2).all()
    assert ((flow(x, y)[0] - flow(x, 1 - y)[0]).abs() > 1e-9).all()


def test_squares_are_the_four_pixels_of_each():
    image = np.arange(2 * 4 * 6).reshape(2, 4, 6)
    corners = squares(image)
    assert corners.shape == (4, 2, 2, 3)
    for corner, (down, right) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        assert (corners[corner] == image[:, down::2, right::2]).all()


def test_real_nvps_scales_hand_on_the_white_fields():
    """By the masks: chessboards of all pixels, halves of all, and chessboards of those that half of them leave."""
    flow = stirred(ONE, (1, 4, 4))
    moved = [np.flatnonzero(~part.mask.numpy()) for part in list(flow.chain.transforms)[:-1]]
    fields = np.indices((4, 4)).sum(0).ravel() % 2
    black, white = np.flatnonzero(fields == 0), np.flatnonzero(fields == 1)
    upper, lower = ([i for i in range(16) if i // 4 % 2 == half] for half in (0, 1))
    first = [black, white, black, upper, lower, upper]
    assert all(np.array_equal(a, b) for a, b in zip(moved, first, strict=False)) and len(moved) == 10
    assert all(set(a) < set(white) for a in moved[6:])
    assert set(moved[6]) | set(moved[7]) == set(white) and not set(moved[6]) & set(moved[7])


def test_convolutions_learn_that_neighbours_are_alike():
    """Pixels of one grey an image, within 2 levels: one number has to be told, and a flow of pixels alone needs all."""
    rng = stream(0, "test", "greys")
    grey = rng.integers(20, 230, (600, 1, 1, 1)) + rng.integers(-2, 3, (600, 1, 4, 4))
    data = labelled(torch.from_numpy(grey.astype(np.uint8)))
    train = TrainSettings(budget_images=4000, batch=50, lr=1e-2, ema=0.9)
    flow = fit(NormalizingFlow(net=replace(ONE, scales=0), train=train), TrainingSet(data.x[:500], data.y[:500], 1))
    told = in_bits(flow.log_prob(data.x[500:], data.y[500:]), data.x[500:])
    truth = (math.log2(210) + 16 * math.log2(5)) / 16  # nearly: that the grey can be told from its pixels
    assert truth - 0.1 < told < truth + 2.5, "the pixels alone have log2 210 = 7.7"


def test_images_that_cannot_be_halved_are_refused_before_anything_runs():
    card = "{family: normalizing-flow, net: {kind: multi-scale, scales: 2}}"
    with pytest.raises(ScenarioError, match=r"images of 8 x 8 cannot be halved 3 time.*lower `scales`"):
        humans = "{source: digits, held_out: 50}"
        scenarios.from_text(WORLD.format(humans=humans, card=card.replace("scales: 2", "scales: 3"), more=""))
    scenarios.from_text(WORLD.format(humans="{source: digits, held_out: 50}", card=card, more=""))
    with pytest.raises(ScenarioError, match=r"need images, and `two-moons` has vectors(.|\n)*kind: nsf"):
        scenarios.from_text(WORLD.format(humans="{source: two-moons}", card=card, more=""))
    with pytest.raises(TrainingError, match="need images"):
        fit(NormalizingFlow(net=MANY), labelled(normal(10, 4)))


# Flows: what they learn


@every_net
def test_an_untrained_flow_is_the_gaussian_with_the_moments_of_its_data(net):
    from scipy.stats import norm

    x = leaning(300)
    flow = fit(NormalizingFlow(net=net), labelled(x, 2), budget_images=0)
    truth = norm(x.mean(0), x.std(0, correction=0)).logpdf(x.numpy()).sum(1)
    assert_allclose(flow.log_prob(x, torch.arange(300) % 2), truth, rtol=1e-5)
    # Then the sampling bias multiplies the covariance; of a flow that bends it means a lower temperature, and no more.
    drawn = draw(flow, np.zeros(20_000, dtype=np.int64), bias=0.25).double()
    assert_allclose(drawn.var(0) / x.var(0, correction=0), 0.25, rtol=0.05)


@every_net
def test_a_flow_learns_a_gaussian_up_to_its_entropy(net):
    x = leaning(2000, "held out")
    flow = fit(NormalizingFlow(net=net, train=QUICK), labelled(leaning()))
    y = torch.zeros(2000, dtype=torch.int64)
    truth = torch.distributions.MultivariateNormal(torch.tensor([10.0, -40.0]).double(), scale_tril=SHEAR)
    lost = truth.log_prob(x) - flow.log_prob(x, y)  # its mean is the divergence, and no model has a negative one
    assert -0.01 < float(lost.mean()) < 0.05
    assert -float(flow.log_prob(x, y).mean()) == pytest.approx(float(truth.entropy()), abs=0.1)
    drawn = draw(flow, y).double()
    assert_allclose(np.cov(drawn.T.numpy()), SHEAR @ SHEAR.T, rtol=0.2)
    assert_allclose(drawn.mean(0), [10, -40], atol=0.5)


def test_a_spline_learns_what_no_gaussian_is():
    """Two lumps a coordinate, 0.1 wide: the entropy is that of one and log 2; a Gaussian would miss it by 2.5 nats."""

    def lumps(n, who):
        return 0.1 * normal(n, 2, who) + 2 * (normal(n, 2, f"{who} sides") > 0).double()

    family = NormalizingFlow(net=NSFSettings(transforms=2, width=32, depth=1), train=QUICK)
    flow = fit(family, labelled(lumps(2000, "train")))
    entropy = 2 * (math.log(2) + 0.5 * math.log(2 * math.pi * math.e * 0.1**2))
    held_out = flow.log_prob(lumps(2000, "held out"), torch.zeros(2000, dtype=torch.int64))
    assert -float(held_out.mean()) == pytest.approx(entropy, abs=0.5)


def test_a_likelihood_is_as_exact_as_the_web():
    """Vectors are 64 bits wide there; a density at 32 would be one of a grid."""
    flow = fit(NormalizingFlow(net=NETS[0]), labelled(leaning(300)), budget_images=0)
    x = leaning(1).repeat(2, 1)
    x[1] += 1e-9
    near = flow.log_prob(x, torch.tensor([0, 0]))
    assert near.dtype == torch.float64
    assert 0 < float((near[0] - near[1]).abs()) < 1e-7


def test_fine_tuning_keeps_the_units_of_the_first_training_set():
    family = NormalizingFlow(net=NETS[1], train=QUICK)
    first = fit(family, labelled(leaning(300)), budget_images=100)
    after = fit(family, labelled(leaning(300) + 1.0), first, budget_images=100)
    assert torch.equal(first.state()["shift"], after.state()["shift"])


@pytest.mark.parametrize(
    "family",
    [NormalizingFlow(net=NETS[1], train=QUICK), Vae(net=PerceptronSettings(width=16), train=QUICK)],
    ids=lambda f: f.family,
)
def test_a_coordinate_that_never_changes_stays_a_number(family):
    x = normal(200, 2)
    x[:, 1] = 7.0
    drawn = draw(fit(family, labelled(x), budget_images=1000), np.zeros(100, dtype=np.int64))
    assert torch.isfinite(drawn).all()
    assert float(drawn[:, 1].mean()) == pytest.approx(7.0, abs=0.5)
    still = draw(fit(family, labelled(torch.full((50, 2), 7.0).double()), budget_images=1000), [0, 0])
    assert_allclose(still, 7.0, atol=1e-3)


@pytest.mark.parametrize("family", [NormalizingFlow(net=NETS[1]), Vae()], ids=lambda f: f.family)
def test_pages_that_are_no_numbers_stop_the_training(family):
    x = normal(100, 2)
    x[3] = float("nan")
    with pytest.raises(TrainingError, match="loss became nan"):
        fit(family, labelled(x), budget_images=1000)


def test_an_autoregressive_flow_of_too_many_dimensions_says_so():
    with pytest.raises(TrainingError, match=r"20,000 dimensions.*use `kind: nsf`"):
        fit(NormalizingFlow(net=NETS[2]), labelled(torch.zeros(2, 20_000, dtype=torch.float64)))


@pytest.mark.parametrize(
    ("family", "data"),
    [
        (NormalizingFlow(net=NETS[1], train=QUICK), noisy_images(100)),
        (Vae(net=PerceptronSettings(width=8), latent=2, train=QUICK), labelled(leaning(200), 2)),
    ],
    ids=["normalizing-flow", "vae"],
)
def test_a_training_goes_on_from_its_middle(family, data):
    whole = fit(family, data, budget_images=6_000)
    half = next(family.fit(data, None, Streams(0, "lab", 0), budget_images=6_000))
    assert half.done < half.total
    saved = {name: value.clone() for name, value in half.save().items()}
    again = fit(family, data, saved=saved, budget_images=6_000)
    restored = family.restored(again.saved(), data.shape, data.classes)
    assert whole.saved().keys() == again.saved().keys()
    for name, value in whole.saved().items():
        assert torch.equal(value, again.saved()[name]), name
    assert torch.equal(draw(restored, [0, 0]), draw(whole, [0, 0]))


# Flows of images


def in_bits(log_prob, x):
    """By the metric itself."""
    from ecosystem.metrics.base import Sample

    human = Sample(x.flatten(1).double().numpy(), None, None, np.zeros(len(x)), None, None)
    return BitsPerDimension().measure(Sample(human.x, None, None, human.y, None, None, log_prob.numpy()), human)


@every_net
def test_bits_per_dimension_bound_the_entropy(net):
    alpha = 1e-4 if net.kind == "nsf" else 0.05
    flow = fit(NormalizingFlow(net=net, train=QUICK, alpha=alpha), noisy_images(), budget_images=3000)
    held_out = noisy_images(1000)
    bits = in_bits(flow.log_prob(held_out.x, held_out.y), held_out.x)
    assert 8 - 0.01 < bits < 8.25


@every_net
def test_images_are_the_same_in_8_bits_and_on_the_scale_of_models(net):
    data = noisy_images(50)
    flow = fit(NormalizingFlow(net=net, train=QUICK), data, budget_images=500)
    scaled = data.x.double() / 127.5 - 1
    assert_allclose(flow.log_prob(scaled, data.y), flow.log_prob(data.x, data.y), rtol=1e-9)
    alone = torch.cat([flow.log_prob(data.x[i : i + 1], data.y[i : i + 1]) for i in range(5)])
    assert_allclose(alone, flow.log_prob(data.x[:5], data.y[:5]), rtol=1e-9)
    assert flow.distribution() is None


def test_beyond_black_and_white_there_is_no_density():
    flow = fit(NormalizingFlow(net=NETS[0], alpha=0.01), noisy_images(50), budget_images=0)
    x = torch.zeros(3, 1, 2, 2, dtype=torch.float64)
    x[1, 0, 0, 0], x[2, 0, 1, 1] = -1.5, 1.5
    assert flow.log_prob(x, torch.tensor([0, 0, 0])).isfinite().tolist() == [True, False, False]
    assert flow.log_prob(x, torch.tensor([0, 0, 0]))[1:].tolist() == [-math.inf, -math.inf]


def dark():
    """Images of one pixel, most of them black: half of the mass is on level 0."""
    levels = stream(0, "test", "dark").integers(0, 60, 1000).astype(np.uint8)
    levels[::2] = 0
    return labelled(torch.from_numpy(levels).reshape(-1, 1, 1, 1))


@pytest.fixture(scope="module")
def of_dark():
    """A flow of them, and the probability of each level, by integrating its density."""
    flow = fit(NormalizingFlow(net=NSFSettings(transforms=2, width=16, depth=1), train=QUICK), dark())
    places = (torch.arange(40, dtype=torch.float64) + 0.5) / 40  # within a level
    x, exact = torch.arange(256, dtype=torch.float64)[:, None] / 127.5 - 1, copy.deepcopy(flow.training.ema).double()
    y = torch.zeros(256, dtype=torch.int64)
    with torch.no_grad():
        inside = [flow.family.log_density(exact, x, y, u[None]).exp() for u in places]
    return flow, torch.stack(inside).mean(0) / 127.5


def test_what_is_published_has_the_probability_of_its_level(of_dark):
    flow, probability = of_dark
    assert 0.9 < float(probability.sum()) <= 1 + 1e-3, "little lies beyond black and white, by alpha"
    n = 20_000
    levels = to_web(draw(flow, np.zeros(n, dtype=np.int64))).ravel()
    share = np.bincount(levels, minlength=256) / n
    error = (probability.clamp(min=1 / n) / n).sqrt().numpy()
    assert (np.abs(share - probability.numpy()) < 5 * error)[1:255].all()
    assert share[0] >= float(probability[0]) - 5 * float(error[0]), "what lies below is published as black"
    assert share[0] == pytest.approx(0.5, abs=0.1)


def test_the_likelihood_of_an_image_is_below_that_of_its_levels(of_dark):
    flow, probability = of_dark
    levels = torch.arange(256, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    bound = flow.log_prob(levels, torch.zeros(256, dtype=torch.int64)) - math.log(127.5)
    common = probability > 1e-3
    assert common.sum() > 20
    assert (bound < probability.log() + 0.05)[common].all(), "to the error of eight draws"
    assert (probability.log() - bound)[common].median() < 0.1


@every_net
def test_images_keep_inside_their_range(net):
    flow = fit(NormalizingFlow(net=net, train=QUICK), noisy_images(100), budget_images=500)
    x = draw(flow, np.zeros(200, dtype=np.int64))
    assert x.shape == (200, 1, 2, 2)
    margin = 0.06 + 1 / 255  # alpha / (1 - 2 alpha) of the range, and half a level
    assert x.min() > -1 - 2 * margin and x.max() < 1 + 2 * margin


# Autoencoders


def test_the_divergence_is_torchs():
    from torch.distributions import Normal, kl_divergence

    mean, log_variance = normal(20, 4), normal(20, 4, "variances")
    theirs = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(1)
    assert_allclose(divergence(mean, log_variance), theirs, rtol=1e-9)


LONGER = TrainSettings(budget_images=40_000, batch=100, lr=2e-2, ema=0.98)
LINEAR = PerceptronSettings(depth=0)


def flat_cloud(n=2000):
    """In three dimensions, standard deviations 2, 1 and 0.5 along axes that are turned; far from the origin."""
    turn = torch.linalg.qr(normal(3, 3, "turn"))[0]
    return normal(n, 3, "cloud") * torch.tensor([2.0, 1.0, 0.5]) @ turn.T + 5.0


@pytest.fixture(scope="module")
def linear():
    return fit(Vae(net=LINEAR, latent=1, train=LONGER), labelled(flat_cloud()))


def parts(generator):
    """W and sigma of a linear decoder, in the units of the data."""
    net = generator.training.ema
    y = torch.zeros(2, dtype=torch.int64)
    at_zero, at_one = net.decode(torch.tensor([[0.0], [1.0]]), y).double().detach()
    return at_zero, at_one - at_zero, float(generator.family._std(net))


def elbo(generator, x):
    """Of one latent dimension exactly: three nodes integrate what is quadratic in the noise."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    y, family, net = torch.zeros(len(x), dtype=torch.int64), generator.family, copy.deepcopy(generator.training.ema)
    with torch.no_grad():
        terms = [family.terms(net, x.float(), y, torch.full((len(x), 1), float(e))) for e in nodes]
    return sum(
        w / weights.sum() * (likelihood - kl).double() for w, (likelihood, kl) in zip(weights, terms, strict=True)
    )


def test_a_linear_autoencoder_is_probabilistic_pca(linear):
    from sklearn.decomposition import PCA

    x = flat_cloud()
    truth = PCA(1).fit(x.numpy())
    mean, direction, std = parts(linear)
    noise = truth.noise_variance_ * (len(x) - 1) / len(x)  # theirs divides by n - 1
    assert std**2 == pytest.approx(noise, rel=0.05)
    model = torch.outer(direction, direction) + std**2 * torch.eye(3)
    assert_allclose(model, truth.get_covariance(), atol=0.15)
    assert_allclose(mean, x.mean(0), atol=0.1)
    assert float(elbo(linear, x).mean()) == pytest.approx(truth.score(x.numpy()), abs=0.02)


def test_the_elbo_is_below_the_likelihood_of_every_item(linear):
    for model in (linear, fit(linear.family, labelled(flat_cloud()), budget_images=500)):
        x = flat_cloud(500)
        mean, direction, std = parts(model)
        covariance = torch.outer(direction, direction) + std**2 * torch.eye(3)
        truth = torch.distributions.MultivariateNormal(mean, covariance).log_prob(x)
        gap = truth - elbo(model, x)
        assert gap.min() > -1e-3
    assert gap.mean() > 0.01, "what is hardly trained is further below"


def test_a_vector_is_drawn_with_the_noise_of_its_decoder(linear):
    _, direction, std = parts(linear)
    model = torch.outer(direction, direction) + std**2 * torch.eye(3)
    drawn = draw(linear, np.zeros(20_000, dtype=np.int64)).double()
    assert_allclose(np.cov(drawn.T.numpy()), model, atol=0.12)
    assert linear.noise(2, stream(0, "test", "noise")).shape == (2, 4)
    biased = draw(linear, np.zeros(20_000, dtype=np.int64), bias=0.25).double()
    assert_allclose(np.cov(biased.T.numpy()), model / 4, atol=0.03)


def test_beta_and_a_fixed_std_are_the_closed_form():
    """Of a linear autoencoder: |w|^2 = lambda - beta sigma^2, lambda the largest variance of the data."""
    family = Vae(net=LINEAR, latent=1, train=LONGER, std=0.8, beta=2.0)
    generator = fit(family, labelled(flat_cloud()))
    _, direction, std = parts(generator)
    assert std == pytest.approx(0.8)
    largest = float(torch.linalg.eigvalsh(torch.cov(flat_cloud().T, correction=0))[-1])
    assert float(direction.square().sum()) == pytest.approx(largest - 2 * 0.8**2, rel=0.05)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 9), (1, 1, 1)])
@pytest.mark.parametrize(
    "net", [ConvolutionalSettings(channels=(8, 16), width=16), PerceptronSettings(width=16)], ids=lambda net: net.kind
)
def test_an_autoencoder_takes_images_of_any_size(shape, net):
    x = torch.from_numpy(stream(0, "test", "images").integers(0, 256, (40, *shape), dtype=np.uint8))
    data = labelled(x, 2)
    generator = fit(Vae(net=net, latent=3, train=QUICK), data, budget_images=500)
    assert draw(generator, [0, 1, 1]).shape == (3, *shape)
    assert generator.noise(2, stream(0, "test", "noise")).shape == (2, 3)


def test_pixel_noise_is_that_of_the_decoder():
    data = noisy_images(100)
    family = Vae(net=PerceptronSettings(width=16), latent=2, train=QUICK, std=0.3, pixel_noise=True)
    generator = fit(family, data, budget_images=500)
    assert family.noise_shape((1, 2, 2)) == (2 + 4,)
    noise = torch.from_numpy(generator.noise(5000, stream(0, "test", "noise")))
    y = torch.zeros(5000, dtype=torch.int64)
    still = noise.clone()
    still[:, 2:] = 0
    added = generator.sample(y, noise) - generator.sample(y, still)
    assert_allclose(added, 0.3 * noise[:, 2:].reshape(-1, 1, 2, 2), atol=1e-5)


def test_the_density_of_an_autoencoder_is_not_known(linear):
    with pytest.raises(AttributeError, match="no closed-form density"):
        linear.log_prob(flat_cloud(2), torch.tensor([0, 0]))


# Settings and scenarios

WORLD = """
name: tried
rounds: 2
humans: {humans}
web: {{archive: 60}}
users: [{{name: crowd, count: 5}}]
providers:
  - name: lab
    card: {card}
    {more}
"""
SHORT = "train: {budget_images: 200, finetune_images: 100, batch: 20}"
CARDS = [
    f"{{family: normalizing-flow, net: {{kind: nsf, transforms: 2, width: 8, depth: 1, bins: 4}}, {SHORT}}}",
    f"{{family: vae, net: {{kind: mlp, width: 8, depth: 1}}, latent: 2, {SHORT}}}",
]


@pytest.mark.parametrize("family", [NormalizingFlow(net=NETS[1]), Vae()], ids=lambda f: f.family)
def test_neither_takes_guidance(family):
    from ecosystem.models.guided import Guided

    assert not family.takes_guidance and not family.takes_sampling_bias
    model = fit(family, labelled(normal(50, 2)), budget_images=50)
    with pytest.raises(TypeError, match="takes no negative guidance: it has no score"):
        Guided(model, model, 0.5)


@pytest.mark.parametrize("card", CARDS)
def test_a_scenario_with_guidance_is_refused(card):
    more = "negative_guidance: {weight: 0.5, images: 10}"
    with pytest.raises(ScenarioError, match=r"negative_guidance(.|\n)*has no score that guidance could extrapolate"):
        scenarios.from_text(WORLD.format(humans="{source: two-moons}", card=card, more=more))


def test_convolutions_want_images():
    card = "{family: vae, net: {kind: conv}}"
    with pytest.raises(ScenarioError, match="convolutions, which need images, and `two-moons` has vectors"):
        scenarios.from_text(WORLD.format(humans="{source: two-moons}", card=card, more=""))


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("bias", ["", "sampling_bias: 0.8"])
def test_a_world_runs_with_it(card, bias):
    from ecosystem.world import World

    text = WORLD.format(humans="{source: two-moons, held_out: 50}", card=card, more=bias)
    world = World(scenarios.from_text(text), seed=0, device=torch.device("cpu"))
    for _ in range(2):
        world.step()
    assert world.providers[0].stopped is None and world.providers[0].generation == 1


@pytest.mark.parametrize(
    "family",
    [
        NormalizingFlow(net=NETS[2], alpha=0.01),
        NormalizingFlow(net=ONE),
        Vae(net=ConvolutionalSettings(), std=0.1, pixel_noise=True),
    ],
    ids=lambda f: f.family,
)
def test_a_family_goes_through_its_card(family):
    adapter = TypeAdapter(ModelFamily)
    assert adapter.validate_json(adapter.dump_json(family)) == family


@pytest.mark.parametrize(
    "wrong",
    [
        {"family": "normalizing-flow", "net": {"kind": "glow"}},
        {"family": "normalizing-flow", "net": {"kind": "maf", "bins": 8}},
        {"family": "normalizing-flow", "net": {"kind": "nsf", "bins": 1}},
        {"family": "normalizing-flow", "net": {"kind": "nsf", "transforms": 0}},
        {"family": "normalizing-flow", "net": {"kind": "multi-scale", "channels": 12}},
        {"family": "normalizing-flow", "net": {"kind": "multi-scale", "blocks": 0}},
        {"family": "normalizing-flow", "net": {"kind": "multi-scale", "scales": 17}},
        {"family": "normalizing-flow", "alpha": 0.5},
        {"family": "normalizing-flow", "alpha": 0.0},
        {"family": "vae", "latent": 0},
        {"family": "vae", "beta": -1.0},
        {"family": "vae", "std": 0.0},
        {"family": "vae", "net": {"kind": "conv", "channels": []}},
        {"family": "vae", "net": {"kind": "mlp", "depth": -1}},
        {"family": "vae", "sampler": {"steps": 3}},
    ],
    ids=str,
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        TypeAdapter(ModelFamily).validate_json(json.dumps(wrong))
