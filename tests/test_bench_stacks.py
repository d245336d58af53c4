"""`make bench`: many small models as one, beside bare PyTorch loops over the same networks, batches and data.

What is shown as a limit is what is wanted; where that is not reached, what is asserted is what must not be lost.
"""

import statistics
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from turns import by_turns, ratio, show

from ecosystem import baselines, loop, scenarios
from ecosystem.models import stack
from ecosystem.models.base import TrainingSet, to_model, to_web
from ecosystem.models.diffusion import DdimSampler, Diffusion
from ecosystem.models.edm import EdmSampler
from ecosystem.models.flow_matching import FlowMatching, pair
from ecosystem.models.nets import MLPSettings, build
from ecosystem.models.neural import NeuralGenerator
from ecosystem.models.ode import OdeSampler
from ecosystem.models.train import TrainSettings, TrainState
from ecosystem.rng import stream
from ecosystem.stopwatch import clock
from ecosystem.world import World, together

pytestmark = pytest.mark.bench
BATCH, UPDATES, TURNS, MEMBERS = 256, 100, 7, 16
RING = FlowMatching(
    net=MLPSettings(width=64, depth=3),
    train=TrainSettings(batch=BATCH, lr=4e-3, ema=0.998),
    coupling="independent",
    sampler=OdeSampler("euler", steps=100),
)


def ring(n, seed=0):
    rng = stream(seed, "bench", "ring")
    at = rng.integers(0, 8, n) * np.pi / 4
    return 2 * np.stack([np.cos(at), np.sin(at)], 1) + 0.1 * rng.standard_normal((n, 2))


def points(n=1500, seed=0, device="cpu"):
    return TrainingSet(torch.from_numpy(ring(n, seed)).to(device), torch.zeros(n, dtype=torch.int64, device=device), 1)


def begun(family, seed=0, device="cpu"):
    return TrainState.new(build(lambda: family.build((2,), 1), torch.Generator().manual_seed(seed)).to(device))


def bare_updates(family, net, data, updates, lr=4e-3):
    """A plain program: autograd, clipping, a fused Adam and the moving average."""
    x, generator = to_model(data.x), torch.Generator().manual_seed(1)
    parameters, ema = list(net.parameters()), [p.detach().clone() for p in net.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=lr, fused=True)
    for _ in range(updates):
        index = torch.randint(len(x), (family.train.batch,), generator=generator)
        seen, t, target = family.regression(x[index], *family.draws(x[index], generator))
        loss = (net(seen, t, data.y[index]) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(ema, parameters, 0.002)


def our_updates(family, members, updates, device="cpu"):
    """A call is so many updates of each member."""
    made = [
        stack.Member(begun(family, i, device), points(seed=i, device=device), torch.Generator(device).manual_seed(i))
        for i in range(members)
    ]
    return lambda: list(stack.train(family, made, updates * BATCH, (4e-3, 2e-4)))


def products_alone(updates):
    """The matrix products of an update of RING's network and nothing else: what no arrangement of it is faster than."""
    h, w = np.ones((BATCH, 64), np.float32), np.ones((64, 64), np.float32)
    waves, into, out = (
        np.ones((BATCH, 32), np.float32),
        np.ones((32, 64), np.float32),
        np.empty((BATCH, 64), np.float32),
    )
    for _ in range(updates):
        for _ in range(6):
            np.matmul(h, w, out=out)
            np.matmul(h, w.T, out=out)
            np.matmul(h.T, out)
        np.matmul(waves, into, out=out)
        np.matmul(waves.T, out)


def test_training_of_one_and_of_sixteen():
    data, net = points(), begun(RING).net
    seconds = by_turns(
        TURNS,
        one=our_updates(RING, 1, UPDATES),
        stacked=our_updates(RING, MEMBERS, UPDATES // 4),
        bare=lambda: bare_updates(RING, net, data, UPDATES),
        products=lambda: products_alone(UPDATES),
    )
    show("flow matching on 8 Gaussians, MLP 3 x 64, batch 256", "", "-")
    show("   a bare eager loop: updates/s", f"{UPDATES / statistics.median(seconds['bare']):.0f}", "-")
    alone, told = ratio(seconds, "bare", "one")
    show("   one model, as a ratio to it (no compiler is needed)", told, "1.5")
    every, told = ratio(seconds, "bare", "stacked", MEMBERS / 4)
    show("   a stack of 16, updates of all of them", told, "3")
    _, told = ratio(seconds, "bare", "products")
    show("   nothing but the matrix products of the same updates, in NumPy", told, "-")
    assert alone > 1.5
    assert every > 2.4


def test_what_a_transport_plan_costs():
    x, z = to_model(points(BATCH).x), torch.randn(BATCH, 2, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(BATCH, dtype=torch.int64)
    costs, works = {}, {"independent": our_updates(RING, 1, UPDATES // 2)}
    for size in (None, 64, 32):
        planned = FlowMatching(net=RING.net, train=RING.train, coupling_batch=size)
        works[str(size)] = our_updates(planned, 1, UPDATES // 2)
        costs[size] = float((x - z[pair(z, x, y, size)]).square().sum(1).mean())
    seconds = by_turns(TURNS, **works)
    free = float((x - z).square().sum(1).mean())
    for size, cost in costs.items():
        speed, told = ratio(seconds, "independent", str(size))
        what = f"plans of {size}" if size else "the exact plan of all 256"
        show(f"   minibatch-ot, {what}, as a ratio to independent pairs", told, "0.6" if size == 32 else "-")
        show("      squared distance of a pair, independent being " + f"{free:.2f}", f"{cost:.2f}", "-")
    assert speed > 0.6


def test_sampling_of_one_and_of_sixteen():
    """By Euler-100: 1,000 samples of each."""
    models = [NeuralGenerator(RING, begun(RING, seed), (2,)) for seed in range(MEMBERS)]
    net, n = models[0].training.ema, 1000
    noise = torch.from_numpy(models[0].noise(n, stream(0, "bench", "noise")))
    y = torch.zeros(n, dtype=torch.int64)

    @torch.no_grad()
    def bare():
        x = noise
        for step in range(100):
            x = x + net(x, torch.full((n,), step / 100), y) / 100
        return x

    torch.testing.assert_close(models[0].sample(y, noise), bare(), rtol=1e-3, atol=1e-3)
    seconds = by_turns(
        TURNS,
        one=lambda: models[0].sample(y, noise),
        stacked=lambda: NeuralGenerator.sample_stack(models, [y] * MEMBERS, [noise] * MEMBERS),
        bare=bare,
    )
    alone, told = ratio(seconds, "bare", "one")
    show("   sampling by Euler-100, one model, as a ratio to a bare loop", told, "1.2")
    every, told = ratio(seconds, "bare", "stacked", MEMBERS)
    show("   a stack of 16, samples of all of them", told, "1.5")
    assert alone > 1.2
    assert every > 1.5


LOOP = """
name: bench
rounds: 6
humans: {source: ring-8, held_out: 100}
web: {archive: 1500, retention: {synthetic_rounds: 1}}
users: [{name: crowd, count: 1500}]
providers:
  - name: lab
    retrain: {start: scratch}
    card:
      family: diffusion
      net: {kind: mlp, width: 64, depth: 2}
      train: {budget_images: 153600, batch: 256, lr: 3.0e-3, ema: 0.998}
      sampler: {steps: 30}
metrics: [modes]
"""
SIX = Diffusion(
    net=MLPSettings(width=64, depth=2), train=TrainSettings(batch=256, ema=0.998), sampler=DdimSampler(steps=30)
)


def bare_six(generations=6):
    real, synthetic, noise = ring(1500), np.empty((0, 2)), torch.Generator().manual_seed(0)
    for generation in range(generations):
        x = torch.from_numpy(np.concatenate([real, synthetic]))
        net = begun(SIX, generation).net
        bare_updates(SIX, net, TrainingSet(x, torch.zeros(len(x), dtype=torch.int64), 1), 600, 3e-3)
        with torch.no_grad():
            synthetic = SIX.integrate(
                net, torch.zeros(1500, dtype=torch.int64), torch.randn(1500, 2, generator=noise)
            ).numpy()


def worlds(question, seeds):
    every = [World(question, seed, torch.device("cpu")) for seed in range(seeds)]
    for _ in range(question.scenario.rounds):
        list(together(every))


def test_the_mix_loop_of_six_generations():
    question = scenarios.from_text(LOOP)
    seconds = by_turns(5, one=lambda: worlds(question, 1), bare=bare_six)
    share, told = ratio(seconds, "one", "bare")
    show("six generations of 600 updates, half of each set real: a world, to a bare loop's time", told, "0.6")
    many = by_turns(1, many=lambda: worlds(question, MEMBERS))["many"][0] / statistics.median(seconds["one"])
    show("   16 seeds in lockstep, as a ratio to the time of one", f"{many:.1f}", "6")
    assert share < 0.6
    assert many < MEMBERS  # what is wanted is less, here and below; README says what stands in the way


def test_sixteen_seeds_of_the_digits_demo(tmp_path):
    question, took = scenarios.load("lambda-mixture"), {}
    for seeds in (1, MEMBERS):
        began, before = time.process_time(), clock.seconds
        list(loop.run(question, range(seeds), tmp_path / str(seeds)))
        took[seeds] = time.process_time() - began
        spent = {phase: now - before.get(phase, 0.0) for phase, now in clock.seconds.items()}
        rest = sum(value for phase, value in spent.items() if phase not in ("training", "sampling", "start"))
        inside = rest + spent["training"] + spent["sampling"]
        show(f"lambda-mixture, {seeds} seed(s): beside training and sampling", f"{100 * rest / inside:.1f} %", "10 %")
    show("   16 seeds in lockstep, as a ratio to the time of one", f"{took[MEMBERS] / took[1]:.1f}", "5")
    assert took[MEMBERS] / took[1] < MEMBERS


FIRST = """
import sys, time
from ecosystem import baselines, loop, scenarios
for event in loop.run(scenarios.load("lambda-mixture"), [0], __import__("pathlib").Path(sys.argv[2])):
    if event.progress and event.progress.update:
        print(time.time() - float(sys.argv[1]))
        break
"""


def test_from_the_start_to_the_first_updates(tmp_path):
    """A new process, imports included, until the first 50 updates are told of; files may be in the system's cache."""
    found = []
    for turn in range(5):
        command = [sys.executable, "-c", FIRST, str(time.time()), str(tmp_path / str(turn))]
        found.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]))
    seconds = statistics.median(found)
    show("from the start of a small run to its first 50 updates", f"{seconds:.1f} s", "6 s")
    assert seconds < 6


SAMPLERS = {
    "flow-matching-digits": [
        OdeSampler(kind, steps) for kind in ("euler", "midpoint", "heun") for steps in (5, 10, 20)
    ],
    "diffusion-digits": [DdimSampler(steps=steps) for steps in (10, 20, 50, 100)],
    "edm-digits": [EdmSampler(steps=steps) for steps in (10, 20, 40, 80)],
}


@pytest.mark.parametrize("card", SAMPLERS)
def test_what_few_steps_cost(card):
    """One model drawn from in several ways, with the same noise, against the held-out digits."""
    world = World(baselines.question(card, {"source": "digits"}, 1000), 0, torch.device("cpu"))
    world.step()
    model = world.provider("lab").generator
    prompts, rng = world.evaluator.prompts()
    y, noise = torch.from_numpy(prompts), torch.from_numpy(model.noise(len(prompts), rng))
    for sampler in SAMPLERS[card]:
        drawn = replace(model, family=replace(model.family, sampler=sampler))
        began = time.process_time()
        x = to_web(drawn.sample(y, noise))
        seconds = time.process_time() - began
        found = world.evaluator.measure(drawn, x, None).metrics
        told = ", ".join(f"{name} {found[name]:.3g}" for name in ("frechet", "precision", "recall", "agreement"))
        show(f"{card}, {sampler.kind}, {sampler.steps} steps: {1e6 * seconds / len(y):.0f} us a sample", told, "-")
        assert found["agreement"] > 0.5
