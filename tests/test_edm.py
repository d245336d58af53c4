"""EDM: the formulas of the paper's Table 1, diffusers' own, and Gaussian data, whose denoiser is known."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from ecosystem import grammar
from ecosystem.documents import parse
from ecosystem.models import Edm, cards
from ecosystem.models.edm import EdmSampler
from ecosystem.models.guided import predictions
from ecosystem.models.nets import MLPSettings, build
from ecosystem.rng import stream, torch_stream

CPU = torch.device("cpu")
PLANE = MLPSettings(width=16, depth=2)


def draws(name, *shape):
    return torch.from_numpy(stream(0, "test", name).standard_normal(shape))


def network():
    return build(lambda: PLANE.build((2,), 3), torch_stream(CPU, 0, "test", "net"))


def level(time):
    """The sigma that a network is told as ``time``."""
    return ((time.double() - 0.5) * 16).exp()


class Perfect:
    """What a network learns of N(mean, scale^2) with data without end: F of the denoiser, which is known."""

    def __init__(self, family, mean, scale):
        self.family, self.mean, self.scale = family, mean, scale

    def denoised(self, x, sigma):
        return (self.scale**2 * x + sigma**2 * self.mean) / (self.scale**2 + sigma**2)

    def __call__(self, x, t, y):
        s, d = level(t)[:, None], self.family.sigma_data
        total = (s**2 + d**2).sqrt()
        return (self.denoised(x * total, s) - d**2 / total**2 * x * total) / (s * d / total)

    def end(self, noise):
        """Where the exact solution from sigma_max n to sigma_min and one Euler step from there to 0 arrive."""
        high, low = self.family.sampler.sigma_max, self.family.sampler.sigma_min
        shrunk = math.sqrt((self.scale**2 + low**2) / (self.scale**2 + high**2))
        return self.mean + (high * noise - self.mean) * shrunk * self.scale**2 / (self.scale**2 + low**2)


def sample(family, net, noise):
    return family.integrate(net, torch.zeros(len(noise), dtype=torch.int64), noise)


# Training


def test_the_loss_is_the_papers():
    """lambda (sigma) |D - x|^2 with every coefficient of Table 1, on the same draws."""
    family, net = Edm(sigma_data=0.7, p_mean=-0.8, p_std=1.1), network()
    x, y = draws("data", 50, 2).float(), torch.arange(50) % 3
    generator, again = (torch_stream(CPU, 0, "test", "training") for _ in range(2))
    loss = family.loss(net, x, y, generator)
    s = (-0.8 + 1.1 * torch.randn(50, generator=again)).exp()[:, None]
    n = torch.randn(x.shape, generator=again)
    d = 0.7
    skip, out, scale = d**2 / (s**2 + d**2), s * d / (s**2 + d**2).sqrt(), 1 / (s**2 + d**2).sqrt()
    noisy = x + s * n
    denoised = skip * noisy + out * net(scale * noisy, 0.5 + s[:, 0].log() / 4 / 4, y)
    weight = (s**2 + d**2) / (s * d) ** 2
    assert_allclose(loss.detach(), (weight * (denoised - x) ** 2).mean().detach(), rtol=1e-5)
    assert_allclose(family.denoised(net, noisy, s[:, 0], y).detach(), denoised.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 20.0])
def test_a_network_sees_and_answers_numbers_of_variance_one(sigma):
    """At every level of noise, for data of the standard deviation that was said: 5 standard errors."""
    family = Edm(sigma_data=0.7, p_mean=math.log(sigma), p_std=1e-6)
    seen = []

    def silent(x, t, y):
        seen.append((x, t))
        return torch.zeros_like(x)

    x = 0.7 * draws("data", 40_000).float()[:, None]
    loss = family.loss(silent, x, torch.zeros(len(x)), torch_stream(CPU, 0, "test", "training"))
    [(inputs, times)] = seen
    error = 5 * math.sqrt(2 / len(x))
    assert abs(float(inputs.var()) - 1) < error
    assert abs(float(loss) - 1) < error, "that of the target, as nothing was answered"
    assert_allclose(level(times), sigma, rtol=1e-4)


# Sampling


def test_the_levels_are_those_of_diffusers():
    from diffusers import EDMEulerScheduler

    for steps in (2, 18, 40):
        scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, rho=7.0)
        scheduler.set_timesteps(steps)
        levels = EdmSampler(steps=steps).levels()
        assert_allclose(levels, scheduler.sigmas, rtol=1e-5)
        assert len(levels) == steps + 1 and levels[-1] == 0.0
        assert all(a > b for a, b in zip(levels, levels[1:], strict=False))
    assert_allclose(EdmSampler(steps=3, sigma_min=1.0, sigma_max=5.0, rho=1.0).levels(), [5, 3, 1, 0])


@torch.no_grad()
def test_euler_is_diffusers_euler():
    """The same network and coefficients along the same levels: both end at the same samples."""
    from diffusers import EDMEulerScheduler

    family, net = Edm(sigma_data=0.6, sampler=EdmSampler(kind="euler", steps=20)), network()
    noise, y = draws("noise", 9, 2).float(), torch.arange(9) % 3
    scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.6, rho=7.0)
    scheduler.set_timesteps(20)
    x = 80.0 * noise
    for t in scheduler.timesteps:  # of which each is c_noise
        output = net(scheduler.scale_model_input(x, t), torch.full((9,), 0.5 + float(t) / 4), y)
        x = scheduler.step(output, t, x).prev_sample
    assert_allclose(family.integrate(net, y, noise), x, rtol=1e-3, atol=1e-4)


def test_what_a_network_is_asked():
    """Heun asks 2 N - 1 times and Euler N times, at times within [0, 1]; one step is the denoiser's answer to noise."""
    for kind, count in (("heun", 35), ("euler", 18)):
        family, asked = Edm(sampler=EdmSampler(kind=kind)), []
        sample(
            family, lambda x, t, y, asked=asked: asked.append(float(t[0])) or torch.zeros_like(x), draws("noise", 3, 2)
        )
        assert len(asked) == count
        assert max(asked) == pytest.approx(0.5 + math.log(80) / 16)
        assert min(asked) == pytest.approx(0.5 + math.log(0.002) / 16)
    noise, y = draws("noise", 3, 2).float(), torch.tensor([0, 1, 2])
    one, net = Edm(sampler=EdmSampler(steps=1)), network()
    with torch.no_grad():
        answer = one.denoised(net, 80 * noise, torch.full((3,), 80.0), y)
        assert_allclose(one.integrate(net, y, noise), answer, atol=1e-4)


@pytest.mark.parametrize(("kind", "order"), [("heun", 2), ("euler", 1)])
def test_a_sampler_has_the_order_that_it_claims(kind, order):
    """On data N(0.4, 0.3^2), whose ODE is solved in closed form."""
    noise = torch.tensor([[1.0], [-0.7]], dtype=torch.float64)

    def error(steps):
        net = Perfect(Edm(sampler=EdmSampler(kind=kind, steps=steps)), 0.4, 0.3)
        return float((sample(net.family, net, noise) - net.end(noise)).abs().max())

    assert math.log2(error(150) / error(300)) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(("steps", "wider"), [(18, 0.065), (40, 0.0113), (80, 0.0027)])
def test_samples_of_a_gaussian_have_its_law(steps, wider):
    """But for a deviation too wide by what the module says of these steps, and the noise that sigma_max leaves."""
    net = Perfect(Edm(sampler=EdmSampler(steps=steps)), 0.4, 0.3)
    z = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
    low, centre, high = sample(net.family, net, z)[:, 0].tolist()
    assert (high - low) / 2 / 0.3 - 1 == pytest.approx(wider, rel=0.03)
    assert high + low == pytest.approx(2 * centre, rel=1e-9), "the map is affine"
    assert centre == pytest.approx(0.4 * (1 - 0.3 / 80), rel=1e-3)


def test_a_silent_network_draws_a_gaussian():
    """F = 0 is the denoiser of N(0, sigma_data^2)."""
    z = torch.tensor([[-1.0], [2.0]], dtype=torch.float64)
    family = Edm(sigma_data=0.8, sampler=EdmSampler(steps=300))
    assert_allclose(sample(family, lambda x, t, y: torch.zeros_like(x), z), 0.8 * z, rtol=1e-3)


@pytest.mark.parametrize("bias", [0.25, 0.8])
def test_sampling_bias_scales_the_variance(bias):
    net = Perfect(Edm(), 0.4, 0.3)
    noise = draws("noise", 200, 1)
    plain, biased = (sample(net.family, net, scale * noise) for scale in (1.0, bias**0.5))
    assert_allclose(biased.var(0) / plain.var(0), bias, rtol=1e-9)
    assert_allclose(biased.mean(0), 0.4, atol=0.06)


# Guidance


@pytest.mark.parametrize(("narrower", "weight"), [(0.6, 0.5), (0.9, 1.0), (1.2, 2.0)])
def test_guided_by_perfect_denoisers_it_ends_where_theory_says(narrower, weight):
    """scale (scale / auxiliary scale)^omega, also where the density p^(1 + omega) / p_a^omega does not exist."""
    family = Edm(sampler=EdmSampler(steps=200))
    pair = (Perfect(family, 0.0, scale) for scale in (0.5, 0.5 * narrower))
    noise = torch.tensor([[1.0], [-2.0]], dtype=torch.float64)
    found = sample(family, predictions(*pair, weight), noise)
    assert_allclose(found / noise, 0.5 * narrower**-weight, rtol=2e-3)


def test_what_is_extrapolated_is_the_denoiser():
    family, sigma = Edm(sigma_data=0.6), torch.tensor([0.01, 0.4, 30.0])
    x, y = sigma[:, None] * draws("noise", 3, 1), torch.zeros(3)
    main, other = Perfect(family, 0.4, 0.3), Perfect(family, -0.2, 0.5)
    guided = family.denoised(predictions(main, other, 0.7), x, sigma, y)
    assert_allclose(guided, 1.7 * main.denoised(x, sigma[:, None]) - 0.7 * other.denoised(x, sigma[:, None]), atol=1e-4)


# Settings


def test_the_settings_go_through_yaml():
    text = "{family: edm, sigma_data: 0.7, p_mean: -0.4, p_std: 1.0, sampler: {kind: euler, steps: 5, rho: 3.0}}"
    found, faults = grammar.check(Edm, parse(text, "card"))
    assert not faults
    assert found == Edm(sigma_data=0.7, p_mean=-0.4, p_std=1.0, sampler=EdmSampler(kind="euler", steps=5, rho=3.0))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sigma_data: 0.0", "must be above 0.0, not 0.0"),
        ("p_std: -1.0", "must be above 0.0, not -1.0"),
        ("sampler: {sigma_min: 0.0}", "must be 0.000335"),
        ("sampler: {sigma_max: 3000.0}", "must be 2,980.9"),
        ("sampler: {sigma_min: 2.0, sigma_max: 1.0}", "sigma_min 2 must be below sigma_max 1"),
        ("sampler: {kind: midpoint}", "cannot be `midpoint`"),
        ("sampler: {steps: 0}", "must be 1 or more, not 0"),
        ("sigma: 1.0", "unknown key"),
    ],
)
def test_faults_of_the_settings(text, problem):
    _, faults = grammar.check(Edm, parse(f"{{family: edm, {text}}}", "card"))
    assert [fault.problem.startswith(problem) for fault in faults] == [True], faults


def test_noise_is_of_the_shape_of_an_item():
    assert Edm().noise_shape((3, 4, 5)) == (3, 4, 5)
    assert np.isfinite(EdmSampler().levels()).all()


# Cards


@pytest.mark.parametrize(
    ("name", "side", "half_life_images"), [("edm-cifar10", 32, 500_000), ("edm-ffhq64", 64, 500_000)]
)
def test_the_cards_of_the_papers_size(name, side, half_life_images):
    """What they say of themselves: parameters, the average's half-life, and attention where an image is 16x16."""
    model = cards.load(name).model
    with torch.device("meta"):
        net = model.build((3, side, side), 1)
    millions = sum(parameter.numel() for parameter in net.parameters()) / 1e6
    assert f"{millions:.1f}" in cards.load(name).about
    assert model.train.ema ** (half_life_images / model.train.batch) == pytest.approx(0.5, abs=2e-3)
    assert [side >> level for level, attends in enumerate(model.net.attention) if attends] == [16]
