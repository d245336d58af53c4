"""`make bench`: training and sampling of image models beside bare PyTorch, each printed as a ratio to it.

Same network, batch and data, on one thread, by turns in one process; the figures are medians of the ratios of a turn,
with their quartiles.
"""

import statistics
import subprocess
import sys

import numpy as np
import pytest
import torch
from turns import by_turns, ratio, show

from ecosystem import baselines
from ecosystem.features.resnet20 import Resnet20Features
from ecosystem.metrics.frechet import frechet
from ecosystem.models import FlowMatching, stack
from ecosystem.models.base import TrainingSet, to_web
from ecosystem.models.nets import MLPSettings, build
from ecosystem.models.neural import NeuralGenerator
from ecosystem.models.ode import OdeSampler
from ecosystem.models.train import TrainSettings, TrainState, train
from ecosystem.models.unets import UNetSettings
from ecosystem.rng import stream
from ecosystem.world import World

pytestmark = pytest.mark.bench
BATCH, SETTINGS = 128, TrainSettings(batch=128)
NETS = {
    "MLP 32 x 1": MLPSettings(width=32, depth=1),
    "MLP 128 x 2": MLPSettings(width=128, depth=2),
    "U-Net 32 64": UNetSettings(channels=(32, 64)),
}
TURNS = {"MLP 32 x 1": (15, 40), "MLP 128 x 2": (15, 40), "U-Net 32 64": (5, 2)}  # how many, and updates in each
LOADED = {
    "MLP 32 x 1": 3.0,
    "MLP 128 x 2": 1.5,
    "U-Net 32 64": 0.95,
}  # loading is the less of it the larger the network


@pytest.fixture(scope="module")
def mnist(unpacked):
    """MNIST's training images: as torchvision serves them, and in memory."""
    from torchvision import datasets, transforms

    seen = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.5, 0.5)])
    found = datasets.MNIST(unpacked("mnist"), train=True, transform=seen)
    return found, TrainingSet(found.data[:, None], found.targets, 10)


def made(net):
    return build(lambda: net.build((1, 28, 28), 10), torch.Generator().manual_seed(0))


def update(net, call, ema, optimiser, generator, x, y):
    """A bare update: flow matching's loss, clipping, Adam and the moving average."""
    z = torch.randn(x.shape, generator=generator, device=x.device)
    t = torch.rand(len(x), generator=generator, device=x.device)
    s = t[:, None, None, None]
    loss = (call((1 - s) * z + s * x, t, y) - (x - z)).square().mean()
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    with torch.no_grad():
        torch._foreach_lerp_(ema, list(net.parameters()), 0.001)


def bare(net, batches, updates, call=None):
    """A plain program, so many updates a call. ``call``: how the network is asked, where not as it is."""
    ema = [p.detach().clone() for p in net.parameters()]
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    generator = torch.Generator(ema[0].device).manual_seed(1)
    return lambda: [update(net, call or net, ema, optimiser, generator, *next(batches)) for _ in range(updates)]


def in_memory(data, batch=BATCH):
    """The batches of a plain program: the whole set as floats, and a random choice each time."""
    x, generator = data.x.float() / 127.5 - 1, torch.Generator(data.x.device).manual_seed(2)
    while True:
        index = torch.randint(len(x), (batch,), generator=generator, device=x.device)
        yield x[index], data.y[index]


def loaded(images):
    """The batches of a DataLoader with its default workers, which are none."""
    order = torch.Generator().manual_seed(3)
    loader = torch.utils.data.DataLoader(images, BATCH, shuffle=True, drop_last=True, generator=order)
    while True:
        yield from loader


def ours(family, state, data, images, generator):
    """As ``fit`` goes on with a training: MLPs as a stack of one."""
    if family.stacks:
        return stack.train(family, [stack.Member(state, data, generator)], images, (1e-3, 1e-3))
    return train(family.loss, state, data, SETTINGS, images, (1e-3, 1e-3), generator)


@pytest.mark.parametrize("name", NETS)
def test_training_beside_bare_pytorch(name, mnist):
    images, data = mnist
    few = TrainingSet(data.x[:10_000], data.y[:10_000], 10)
    turns, updates = TURNS[name]
    family = FlowMatching(net=NETS[name], train=SETTINGS, coupling="independent")
    nets = [made(NETS[name]) for _ in range(3)]
    state = TrainState.new(nets[0])
    generator = torch.Generator().manual_seed(1)
    seconds = by_turns(
        turns,
        ours=lambda: list(ours(family, state, few, BATCH * updates, generator)),
        bare=bare(nets[1], in_memory(few), updates),
        loaded=bare(nets[2], loaded(images), updates),
    )
    to_bare, told = ratio(seconds, "bare")
    show(f"{name}, MNIST, batch {BATCH}: updates/s", f"{updates / statistics.median(seconds['ours']):.1f}", "-")
    show("   to a bare loop over tensors in memory", told, "0.95")
    to_loaded, told = ratio(seconds, "loaded")
    show("   to the same over torchvision's MNIST and a DataLoader", told, f"{LOADED[name]:g}")
    assert to_bare > 0.95
    assert to_loaded > LOADED[name]


@pytest.mark.parametrize(("name", "samples"), [("MLP 128 x 2", 1000), ("U-Net 32 64", 32)])
def test_sampling_beside_bare_pytorch(name, samples):
    """Eight steps of the midpoint rule."""
    family = FlowMatching(net=NETS[name], coupling="independent", sampler=OdeSampler(steps=8))
    net = made(NETS[name])
    generator = NeuralGenerator(family, TrainState.new(net), (1, 28, 28))
    noise = torch.from_numpy(generator.noise(samples, stream(0, "bench", "noise")))
    y = torch.arange(samples) % 10

    @torch.no_grad()
    def plain():
        x = noise
        for step in range(8):
            t = torch.full((samples,), step / 8)
            half = x + net(x, t, y) / 16
            x = x + net(half, t + 1 / 16, y) / 8
        return x

    torch.testing.assert_close(generator.sample(y, noise), plain(), rtol=1e-3, atol=1e-3)
    seconds = by_turns(9, ours=lambda: generator.sample(y, noise), bare=plain)
    to_bare, told = ratio(seconds, "bare")
    show(f"{name}: {samples} samples of 28x28, as a ratio to a bare loop", told, "0.95")
    assert to_bare > 0.95


LARGE_BATCH = """
import sys, time, torch
from ecosystem import compute
from ecosystem.models.unets import UNetSettings
if sys.argv[1] == "gives back":
    compute._keep_memory = lambda: None
compute.set_up("cpu")
net = UNetSettings(channels=(32, 64), patch=2).build((1, 28, 28), 10)
x, t, y = torch.randn(1000, 1, 28, 28), torch.rand(1000), torch.arange(1000) % 10
spent = []
with torch.no_grad():
    for _ in range(4):
        began = time.process_time()
        net(x, t, y)
        spent.append(time.process_time() - began)
print(min(spent[1:]))
"""


def test_memory_that_is_kept():
    """Processes that do and do not keep what they gave back, in turns."""

    def seconds(which):
        told = subprocess.run([sys.executable, "-c", LARGE_BATCH, which], capture_output=True, text=True, check=True)
        return float(told.stdout)

    found = {which: [] for which in ("gives back", "keeps")}
    for _ in range(5):
        for which, spent in found.items():
            spent.append(seconds(which))
    gain, told = ratio(found, "gives back", "keeps")
    show("1,000 digits through a U-Net 32 64 of patches, to a process that gives its memory back", told, "1")
    assert gain > 1


@pytest.mark.usefixtures("published_weights")
def test_what_the_small_card_for_cifar10_reaches(unpacked):
    """Generation 0 of one seed, 2,000 samples, in the eyes of a network that knows CIFAR-10; beside noise."""
    source = {"source": "cifar10", "root": unpacked("cifar10"), "held_out": 10_000}
    asked = baselines.question("flow-matching-cifar10-small", source, 10_000)
    world = World(asked, 0, torch.device("cpu"))
    world.step()
    draw = world.providers[0].draw(*world.evaluator.prompts())
    x = to_web(draw.generator.sample(draw.y, draw.noise))
    noise = stream(0, "bench", "images").integers(0, 256, (10_000, 3, 32, 32), dtype=np.uint8)
    features = Resnet20Features(torch.device("cpu"))
    held_out = features.of(world.humans.held_out().x)
    human = world.corpus.items[:10_000]
    found = [frechet(features.of(images), held_out) for images in (human, x, noise)]
    what = "Frechet on resnet20-cifar10 features, to the test set: 10,000 training images"
    show(what, f"{found[0]:.3f}", "-")
    show("   2,000 samples of flow-matching-cifar10-small, generation 0", f"{found[1]:.2f}", "-")
    show("   10,000 images of noise", f"{found[2]:.1f}", "-")
    assert found[0] < 0.1 < found[1] < found[2] / 2
