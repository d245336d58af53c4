"""Diffusion against diffusers: schedules, what is trained on, and every step of both samplers; and Gaussian data.

Ours counts times 1..T with a_0 = 1, diffusers 0..T-1: its time s - 1 is our s.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.integrate import quad

from ecosystem import grammar
from ecosystem.documents import parse
from ecosystem.models import Diffusion, FlowMatching
from ecosystem.models.diffusion import AncestralSampler, DdimSampler, ddim_times, signal
from ecosystem.models.guided import predictions
from ecosystem.models.nets import MLPSettings, build
from ecosystem.models.ode import OdeSampler
from ecosystem.rng import stream, torch_stream

CPU = torch.device("cpu")
ITS_NAME = {"noise": "epsilon", "velocity": "v_prediction"}


def scheduler(kind, family, **more):
    """One of diffusers' with the schedule and prediction of a family."""
    import diffusers

    scale = 1000 / family.times
    betas = {"beta_schedule": "squaredcos_cap_v2"}
    if family.schedule == "linear":
        betas = {"beta_schedule": "linear", "beta_start": 1e-4 * scale, "beta_end": 0.02 * scale}
    more = {"clip_sample": family.sampler.clip, "prediction_type": ITS_NAME[family.prediction], **betas, **more}
    return getattr(diffusers, kind)(family.times, **more)


def with_our_signals(found, family):
    """Ours are products in 64 bits, diffusers' in 32: a step is compared on the same ones."""
    found.alphas_cumprod = signal(family.schedule, family.times)[1:]
    return found


def draws(name, *shape):
    return torch.from_numpy(stream(0, "test", name).standard_normal(shape, dtype=np.float32))


def network(d=2):
    return build(lambda: MLPSettings(width=16, depth=1).build((d,), 3), torch_stream(CPU, 0, "test", "net"))


class Perfect:
    """What a network learns of N(0, scale^2) with data without end."""

    def __init__(self, family, scale):
        self.family, self.scale = family, scale

    def __call__(self, x, t, y):
        t = t[:, None].double()
        if isinstance(self.family, FlowMatching):
            return x * (t * self.scale**2 - (1 - t)) / ((t * self.scale) ** 2 + (1 - t) ** 2)
        a = signal(self.family.schedule, self.family.times).double()[(t * self.family.times).round().long()]
        e = x * (1 - a).sqrt() / (a * self.scale**2 + 1 - a)
        return e if self.family.prediction == "noise" else (e - (1 - a).sqrt() * x) / a.sqrt()


def width(family, net):
    """The standard deviation of samples where the sampler is linear in its noise: root of the sum of squares."""
    shape = family.noise_shape((1,))
    units = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    return float(family.integrate(net, torch.zeros(len(units), dtype=torch.int64), units).square().sum().sqrt())


# Training


@pytest.mark.parametrize(("schedule", "times"), [("linear", 1000), ("linear", 250), ("cosine", 1000), ("cosine", 100)])
def test_the_schedules_are_diffusers(schedule, times):
    """To 32-bit rounding in a product of T. (diffusers' linear betas do not know T: ours are scaled by 1000 / T.)"""
    family = Diffusion(schedule=schedule, times=times)
    assert_allclose(signal(schedule, times)[1:], scheduler("DDPMScheduler", family).alphas_cumprod, rtol=2e-4)


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_what_is_trained_on_is_diffusers(prediction):
    """The noisy item and its target, of the same draws."""
    family = Diffusion(schedule="linear", prediction=prediction)
    theirs, seen = with_our_signals(scheduler("DDPMScheduler", family), family), []

    def silent(x, t, y):
        seen.append((x, t))
        return torch.zeros_like(x)

    x = draws("data", 40, 2)
    generator, again = (torch_stream(CPU, 0, "test", "training") for _ in range(2))
    loss = family.loss(silent, x, torch.zeros(40), generator)
    s = torch.randint(1, 1001, (40,), generator=again)
    e = torch.randn(x.shape, generator=again)
    [(noisy, times)] = seen
    assert_allclose(times * 1000, s, rtol=1e-6)
    assert_allclose(noisy, theirs.add_noise(x, e, s - 1), rtol=1e-5, atol=1e-6)
    target = e if prediction == "noise" else theirs.get_velocity(x, e, s - 1)
    assert_allclose(loss, target.square().mean(), rtol=1e-6)


# DDIM


def test_the_linear_spacing_is_diffusers_trailing_one():
    for steps in (7, 50, 333, 1000):
        theirs = scheduler("DDIMScheduler", Diffusion(), timestep_spacing="trailing")
        theirs.set_timesteps(steps)
        assert ddim_times(1000, DdimSampler(steps=steps)) == [int(t) + 1 for t in theirs.timesteps]


def test_the_quadratic_spacing_is_that_of_the_paper_from_t_on():
    """tau_i = c i^2, the last of which is T; where several fall on time 1 it is visited once."""
    times = ddim_times(1000, DdimSampler(steps=100, spacing="quadratic"))
    assert (times[0], times[-1], len(times)) == (1000, 1, 98)
    assert_allclose(times, [0.1 * i**2 for i in range(100, 2, -1)], atol=0.5 + 1e-9)


@pytest.mark.parametrize("spacing", ["linear", "quadratic"])
@pytest.mark.parametrize(
    ("schedule", "prediction"), [("linear", "noise"), ("linear", "velocity"), ("cosine", "velocity")]
)
@pytest.mark.parametrize("clip", [False, True])
@torch.no_grad()
def test_ddim_is_diffusers_step_for_step(spacing, schedule, prediction, clip):
    """Where images are clipped, their noise is recomputed, which diffusers does if told to."""
    sampler = DdimSampler(steps=15, spacing=spacing, clip=clip)
    family, net = Diffusion(schedule=schedule, prediction=prediction, sampler=sampler), network()
    theirs = with_our_signals(scheduler("DDIMScheduler", family), family)
    theirs.final_alpha_cumprod = torch.tensor(1.0)
    noise, y = draws("noise", 9, 2), torch.arange(9) % 3
    times, x = [*ddim_times(1000, sampler), 0], noise
    for s, before in zip(times, times[1:], strict=False):
        theirs.num_inference_steps = Fraction(1000, s - before)  # its step goes back by T // num_inference_steps
        output = net(x, torch.full((9,), s / 1000), y)
        x = theirs.step(output, s - 1, x, use_clipped_model_output=clip).prev_sample
    assert_allclose(family.integrate(net, y, noise), x, rtol=1e-4, atol=1e-5)


# Ancestral sampling


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("spacing", ["linear", "quadratic"])
@pytest.mark.parametrize(("schedule", "prediction"), [("linear", "noise"), ("cosine", "velocity")])
@torch.no_grad()
def test_ancestral_is_diffusers_ddpm_step_for_step(variance, spacing, schedule, prediction):
    """But for the last step: there diffusers adds the large variance to the finished item, unless it is at time 0."""
    sampler = AncestralSampler(steps=12, spacing=spacing, variance=variance, clip=True)
    family, net = Diffusion(schedule=schedule, prediction=prediction, sampler=sampler), network()
    theirs = scheduler("DDPMScheduler", family, variance_type=f"fixed_{variance}")
    times = ddim_times(1000, sampler)
    theirs.set_timesteps(timesteps=[s - 1 for s in times])
    with_our_signals(theirs, family)
    generator, again = (torch_stream(CPU, 0, "test", "noise") for _ in range(2))
    noise = torch.stack([torch.randn(9, 2, generator=again) for _ in times], dim=1)
    y, x = torch.arange(9) % 3, torch.randn(9, 2, generator=generator)
    for t in theirs.timesteps:
        if t == theirs.timesteps[-1]:
            theirs.register_to_config(variance_type="fixed_small")
        x = theirs.step(net(x, torch.full((9,), (int(t) + 1) / 1000), y), t, x, generator=generator).prev_sample
    assert noise.shape[1:] == family.noise_shape((2,))
    assert_allclose(family.integrate(net, y, noise), x, rtol=1e-4, atol=1e-5)


def test_ancestral_noise_is_drawn_for_every_step():
    """In the first of which it is where a sample starts; a quadratic spacing visits fewer times."""
    assert Diffusion(sampler=AncestralSampler(steps=20)).noise_shape((3, 8, 8)) == (20, 3, 8, 8)
    assert Diffusion(sampler=AncestralSampler(steps=100, spacing="quadratic")).noise_shape((2,)) == (98, 2)
    assert Diffusion(sampler=DdimSampler(steps=20)).noise_shape((2,)) == (2,)


@pytest.mark.parametrize(("variance", "sign"), [("small", -1), ("large", 1)])
def test_ancestral_samples_of_a_gaussian_come_to_its_law(variance, sign):
    """The small variance is that for data at a point, the large one for unit noise: from below and from above."""
    off = []
    for steps in (250, 500):
        family = Diffusion(times=8000, sampler=AncestralSampler(steps=steps, variance=variance))
        off.append(width(family, Perfect(family, 0.5)) / 0.5 - 1)
    assert np.sign(off).tolist() == [sign, sign]
    assert abs(off[1]) < 0.02
    assert off[0] / off[1] == pytest.approx(2, abs=0.15), "of first order in the steps"


def test_sampling_bias_scales_all_of_the_noise():
    """So the variance is that of the model times it, as of the samplers that draw but once."""
    family = Diffusion(sampler=AncestralSampler(steps=10))
    noise = torch.from_numpy(stream(0, "test", "bias").standard_normal((50, 10, 1)))
    plain, biased = (family.integrate(Perfect(family, 0.5), torch.zeros(50), r * noise) for r in (1.0, 0.5**0.5))
    assert_allclose(biased.var(0) / plain.var(0), 0.5, rtol=1e-9)


@pytest.mark.parametrize(("narrower", "weight"), [(0.9, 0.5), (0.6, 1.0)])
def test_guided_ancestral_samples_end_where_theory_says(narrower, weight):
    """With u = (1 - a) / a, s the scale and r that of the auxiliary, dV/du = 2 P V - 1 from u = infinity to 0, where
    P = (1 + omega) / (s^2 + u) - omega / (r^2 + u)."""
    s, r, w = 0.5, 0.5 * narrower, weight
    family = Diffusion(times=2000, sampler=AncestralSampler(steps=1000))
    found = width(family, predictions(Perfect(family, s), Perfect(family, r), w))
    shrunk, _ = quad(lambda u: (s**2 + u) ** (-2 * (1 + w)) * (r**2 + u) ** (2 * w), 0, math.inf)
    end = math.sqrt(s ** (4 * (1 + w)) * r ** (-4 * w) * shrunk)
    assert found == pytest.approx(end, rel=5e-3)
    assert found > 1.02 * s
    if narrower < 0.8:
        assert abs(end / (s * narrower**-w) - 1) > 0.05, "not where an ODE ends"


# What a sampler does to a Gaussian


@pytest.mark.parametrize(
    ("family", "wider"),
    [
        (FlowMatching(sampler=OdeSampler("midpoint", 20)), -0.0001),
        (FlowMatching(sampler=OdeSampler("heun", 20)), 0.0030),
        (FlowMatching(sampler=OdeSampler("euler", 40)), -0.047),
        (Diffusion(sampler=DdimSampler(steps=50)), -0.046),
        (Diffusion(sampler=DdimSampler(steps=100)), -0.0235),
        (Diffusion(sampler=DdimSampler(steps=50, spacing="quadratic")), -0.028),
        (Diffusion(schedule="linear", sampler=DdimSampler(steps=100, spacing="quadratic")), -0.0195),
    ],
    ids=lambda value: getattr(value, "family", ""),
)
def test_what_a_sampler_does_to_the_width_of_a_gaussian(family, wider):
    """Of a deviation of 0.3, with a perfect network: what a loop takes from its sampler in every generation."""
    assert width(family, Perfect(family, 0.3)) / 0.3 - 1 == pytest.approx(wider, abs=1e-3, rel=0.03)


# Settings


def test_samplers_in_yaml():
    def read(sampler):
        found, faults = grammar.check(Diffusion, parse(f"{{family: diffusion, sampler: {sampler}}}", "card"))
        return found.sampler if found else [fault.problem for fault in faults]

    assert read("{steps: 20}") == read("{kind: ddim, steps: 20}") == DdimSampler(steps=20)
    assert read("{kind: ancestral, variance: large}") == AncestralSampler(variance="large")
    assert read("{variance: large}") == ["unknown key"]
    assert read("{kind: sde}") == ["there is no kind `sde`"]
