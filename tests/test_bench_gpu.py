"""`make bench` where there is a GPU: what it does beside a thread of the processor, beside bare PyTorch, of its peak.

Its peak is what it reaches in one product of two large matrices in the same numbers. Without a GPU these are skipped,
and `make test` runs what they measure once on the CPU, at a size of nothing. They have not yet been run on a GPU.
"""

import time
from dataclasses import replace

import pytest
import torch
from test_bench_images import bare, in_memory
from test_bench_stacks import BATCH, RING, begun, our_updates
from torch.utils.flop_counter import FlopCounterMode
from turns import by_turns, ratio, show

from ecosystem.models import cards
from ecosystem.models.base import TrainingSet
from ecosystem.models.execution import autocast
from ecosystem.models.nets import build
from ecosystem.models.neural import NeuralGenerator
from ecosystem.models.ode import OdeSampler
from ecosystem.models.train import TrainState, train
from ecosystem.models.unets import UNetSettings
from ecosystem.rng import stream

GPU = torch.cuda.is_available()
CPU = torch.device("cpu")
on_a_gpu = [pytest.mark.bench, pytest.mark.skipif(not GPU, reason="no GPU here")]


def clock():
    """Of the wall; a GPU is done by then."""
    if GPU:
        torch.cuda.synchronize()
    return time.perf_counter()


def peak(device, dtype, n):
    """Operations a second of an n x n product."""
    a = torch.ones(n, n, device=device, dtype=dtype)
    return 2 * n**3 / min(by_turns(5, clock=clock, product=lambda: a @ a)["product"])


def operations():
    """Of an update of one member of RING: products forwards, and twice as many backwards."""
    return 3 * 2 * BATCH * sum(p.numel() for p in begun(RING).net.parameters() if p.ndim == 2)


class Images:
    """A card's training on noise of a shape: by our loop, and by a bare one that is compiled as ours is."""

    def __init__(self, family, shape, device, updates):
        self.family, self.shape, self.device, self.updates = family, shape, device, updates
        self.state = self.begun().laid_out(family.train.channels_last)
        x = stream(0, "bench", "images").integers(0, 256, (4 * family.train.batch, *shape)).astype("uint8")
        self.data = TrainingSet(torch.from_numpy(x).to(device), torch.arange(len(x), device=device) % 10, 10)
        self.generator = torch.Generator(device).manual_seed(0)

    def begun(self):
        net = build(lambda: self.family.build(self.shape, 10), torch.Generator().manual_seed(0))
        return TrainState.new(net.to(self.device))

    def ours(self):
        settings = self.family.train
        images = self.updates * settings.batch
        list(train(self.family.loss, self.state, self.data, settings, images, (1e-4, 1e-4), self.generator))

    def bare(self):
        settings, net = self.family.train, self.begun().laid_out(self.family.train.channels_last).net
        fast = net if settings.compile == "none" else torch.compile(net)

        def call(*inputs):
            with autocast(settings.precision, self.device):
                return fast(*inputs)

        return bare(net, in_memory(self.data, settings.batch), self.updates, call)

    def sampled(self, n):
        y = torch.arange(n, device=self.device) % 10
        noise = torch.randn(n, *self.shape, generator=self.generator, device=self.device)
        return lambda: NeuralGenerator(self.family, self.state, self.shape).sample(y, noise)

    def operations(self):
        """Of an image in an update."""
        x, y = torch.zeros(2, *self.shape, device=self.device), torch.zeros(2, dtype=torch.int64, device=self.device)
        with FlopCounterMode(display=False) as counted:
            self.begun().net(x, torch.zeros(2, device=self.device), y).sum().backward()
        return counted.get_total_flops() / 2


def uncoupled(card):
    """Its transport plans are made on the processor, which is no bare loop's work."""
    return replace(cards.load(card).model, coupling="independent")


def compiled(family):
    return replace(family, train=replace(family.train, compile="default", channels_last=True))


@pytest.mark.parametrize("members", [pytest.param(64, marks=on_a_gpu)])
def test_a_stack_beside_a_thread_of_the_processor(members):
    device, updates = torch.device("cuda"), 100
    torch.cuda.reset_peak_memory_stats()
    gpu = by_turns(5, clock=clock, ours=our_updates(RING, members, updates, device))
    held = torch.cuda.max_memory_allocated() / 2**20
    cpu = by_turns(3, clock=clock, ours=our_updates(RING, members, updates // 10))
    rate = members * updates / min(gpu["ours"])
    times = rate / (members * (updates // 10) / min(cpu["ours"]))
    show(f"a stack of {members} on the GPU: updates/s of all", f"{rate:.0f}", "-")
    show("   to one thread of the processor", f"{times:.1f}", "30")
    show("   memory", f"{held:.0f} MiB", "-")
    share = rate * operations() / peak(device, torch.float32, 8192)
    show("   share of its peak in 32 bits", f"{100 * share:.1f} %", "-")
    assert times > 30


@pytest.mark.parametrize("card", [pytest.param("flow-matching-mnist", marks=on_a_gpu)])
def test_a_unet_beside_a_bare_compiled_loop(card):
    work = Images(compiled(uncoupled(card)), (1, 28, 28), torch.device("cuda"), 50)
    found = by_turns(5, clock=clock, ours=work.ours, bare=work.bare())
    to_bare, told = ratio(found, "bare")
    show(f"{card} on the GPU, compiled, 16 bits: updates, to a bare compiled loop", told, "0.95")
    assert to_bare > 0.95


@pytest.mark.parametrize("card", [pytest.param("flow-matching-cifar10", marks=on_a_gpu)])
def test_what_a_gpu_does_with_the_card_for_cifar10(card):
    work = Images(compiled(uncoupled(card)), (3, 32, 32), torch.device("cuda"), 20)
    torch.cuda.reset_peak_memory_stats()
    spent = min(by_turns(5, clock=clock, ours=work.ours)["ours"])
    images = work.updates * work.family.train.batch / spent
    drawn = 1000 / min(by_turns(2, clock=clock, ours=work.sampled(1000))["ours"])
    show(f"{card} on the GPU, compiled, 16 bits: images/s in training", f"{images:.0f}", "-")
    share = images * work.operations() / peak(work.device, torch.bfloat16, 8192)
    show("   share of its peak in 16 bits", f"{100 * share:.0f} %", "-")
    show("   samples/s", f"{drawn:.0f}", "-")
    show("   peak memory", f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", "-")


def test_what_would_be_measured_works():
    """At a size of nothing, on the CPU."""
    small = replace(uncoupled("flow-matching-mnist"), net=UNetSettings(channels=(8, 8)), sampler=OdeSampler(steps=1))
    work = Images(replace(small, train=replace(small.train, batch=2)), (1, 8, 8), CPU, 1)
    found = by_turns(
        2, clock=clock, ours=work.ours, bare=work.bare(), stack=our_updates(RING, 2, 1), drawn=work.sampled(2)
    )
    assert all(len(spent) == 2 and min(spent) > 0 for spent in found.values())
    assert ratio(found, "bare")[0] > 0
    assert work.state.updates == 3, "ours trains"
    assert tuple(work.sampled(2)().shape) == (2, 1, 8, 8)
    assert peak(CPU, torch.float32, 64) > 1e6
    inner = sum(p.numel() for p in begun(RING).net.parameters() if p.ndim == 2)
    assert operations() == 6 * BATCH * inner and inner > 3 * 64 * 64
    larger = Images(work.family, (1, 16, 16), CPU, 1)
    assert 3.5 < larger.operations() / work.operations() < 4.5, "four times as many pixels"
