"""`make bench`: the figures this project promises, each printed; where a bare reference exists, as a ratio to it.

Not part of `make test`: a timing on a busy machine is no proof. The limits are those of the README's table.
"""

import resource
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from ecosystem import loop, scenarios
from ecosystem.agents import user
from ecosystem.models import FlowMatching
from ecosystem.models.base import TrainingSet
from ecosystem.models.jobs import drive
from ecosystem.models.nets import MLPSettings, build
from ecosystem.models.train import TrainSettings
from ecosystem.rng import Streams, stream
from ecosystem.world import World

pytestmark = pytest.mark.bench
REPEATS = 5


def show(what, value, limit):
    print(f"\n{what:70s} {value:>12s}   (limit {limit})")


def median(function):
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def test_help_is_instant():
    seconds = median(
        lambda: subprocess.run([sys.executable, "-m", "ecosystem", "--help"], check=True, capture_output=True)
    )
    show("ecosystem --help", f"{seconds:.2f} s", "0.5 s")
    assert seconds < 0.5


def ballots_world(users):
    return World(
        scenarios.from_text(
            f"""
            name: bench
            rounds: 3
            humans: {{source: gaussian}}
            web: {{archive: 1000}}
            users: [{{name: crowd, count: {users}, prompts_per_round: 1, k: 4, reward: {{kind: distance, to: [1, 1]}}}}]
            providers: [{{name: lab, model: gaussian}}]
            """
        ),
        0,
        torch.device("cpu"),
    )


def test_ten_thousand_ballots():
    """One round of 10,000 ballots of four over a Gaussian provider: sampling, votes and publication."""
    world = ballots_world(10_000)
    world.step()
    world.settings = world.question.at(1)
    seconds = median(lambda: list(drive([user.ask(world)])))
    show("10,000 ballots, K = 4, gaussian", f"{seconds:.3f} s", "0.3 s")
    assert seconds < 0.3


def test_a_million_pages():
    """1,000,000 pages of 2-D vectors on the web, crawled once: peak memory of a fresh process."""
    code = """
from pathlib import Path
from ecosystem.rng import stream
from ecosystem.web.corpus import HUMAN, NOBODY, Corpus, Retention
corpus = Corpus((2,)); corpus.close()
def peak():  # of this process alone: getrusage would count its parent's before exec
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
    return int(line.split()[1])
before = peak()
for block in range(10):
    x = stream(0, "bench", "pages", block).standard_normal((100_000, 2))
    corpus.publish(x, label=0, site=0, author=NOBODY, maker=HUMAN, generation=HUMAN, lineage=0.0); corpus.close()
assert len(corpus.visible(Retention())) == 1_000_000
print(before / 1024, peak() / 1024)
"""
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    before, after = map(float, out.split())
    show("1,000,000 pages of 2-D vectors, whole process", f"{after:.0f} MB", "1,000 MB")
    show("   of which pages", f"{after - before:.0f} MB", "-")
    assert after < 1000


def bare_replacement(seeds, generations, n, dims):
    """The loop of gaussian-replace in plain NumPy, seed by seed: fit, draw, and nothing else."""
    for seed in range(seeds):
        rng = stream(seed, "bench", "replacement")
        x = rng.standard_normal((n, dims))
        for _ in range(generations):
            mean, std = x.mean(0), x.std(0)
            x = mean + std * rng.standard_normal((n, dims))


def test_a_hundred_seeds_of_a_hundred_generations(tmp_path):
    """`ecosystem run gaussian-replace --seeds 0-99`: start-up, worlds, records, summary, theory and report."""
    began = time.perf_counter()
    bare_replacement(100, 100, 100, 40)
    bare = time.perf_counter() - began
    run = ["run", "gaussian-replace", "--seeds", "0-99", "--out", tmp_path / "run"]
    command = [sys.executable, "-m", "ecosystem", *run]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    show("gaussian-replace, 100 seeds, start-up and report included", f"{seconds:.1f} s", "20 s")
    show("   as a ratio to the bare loop", f"{seconds / bare:.1f}", "-")
    assert seconds < 20


def training_set(n=1000):
    rng = stream(0, "bench", "digits")
    return TrainingSet(
        torch.from_numpy(rng.integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)), torch.from_numpy(np.arange(n) % 10), 10
    )


def bare_loop(data, settings, updates):
    """The same work in plain PyTorch: network, loss, clipping, Adam and moving average, nothing else."""
    net = build(MLPSettings(width=128, depth=2), (1, 8, 8), 10, torch.Generator().manual_seed(0))
    ema = [p.detach().clone() for p in net.parameters()]
    optimiser = torch.optim.Adam(net.parameters(), lr=settings.lr, fused=True)
    generator = torch.Generator().manual_seed(1)
    x, y = data.x.float() / 127.5 - 1, data.y
    for _ in range(updates):
        index = torch.randint(len(y), (settings.batch,), generator=generator)
        target, label = x[index], y[index]
        z = torch.randn(target.shape, generator=generator)
        t = torch.rand(len(target), generator=generator)
        s = t[:, None, None, None]
        loss = (net((1 - s) * z + s * target, t, label) - (target - z)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), settings.clip)
        optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(ema, list(net.parameters()), 0.001)


def test_training_against_a_bare_loop():
    """Updates a second of our training loop, alternated with a bare loop over the same net, data and batch."""
    data, updates = training_set(), 150
    settings = TrainSettings(budget_images=128 * updates)
    rates = {"bare": [], "independent": [], "minibatch-ot": []}
    for _ in range(REPEATS):
        for name in rates:
            began = time.perf_counter()
            if name == "bare":
                bare_loop(data, settings, updates)
            else:
                family = FlowMatching(net=MLPSettings(width=128, depth=2), train=settings, coupling=name)
                for _ in family.fit(data, None, Streams(0, "bench", 0)):
                    pass
            rates[name].append(updates / (time.perf_counter() - began))
    bare = statistics.median(rates["bare"])
    for name, found in rates.items():
        rate = statistics.median(found)
        show(f"flow matching, MLP 128 x 2, batch 128: {name}", f"{rate:.0f} upd/s", "-")
        show("   ratio to the bare loop", f"{rate / bare:.2f}", "0.90 independent")
    assert statistics.median(rates["independent"]) > 0.9 * bare


def test_a_round_of_the_world():
    world = ballots_world(10_000)
    show("a round, 10,000 ballots, gaussian, metrics included", f"{median(world.step):.2f} s", "-")


def test_what_checkpoints_cost_the_digits_demo(tmp_path, monkeypatch):
    """Every round of it gets one; their time by the clock that decides when the next is due."""
    spent = []

    class Watched(loop.Pace):
        @contextmanager
        def writing(self):
            began = time.perf_counter()
            with super().writing():
                yield
            spent.append(time.perf_counter() - began)

    monkeypatch.setattr(loop, "Pace", Watched)
    began = time.perf_counter()
    list(loop.run(scenarios.load("lambda-mixture"), [0], tmp_path))
    share = sum(spent) / (time.perf_counter() - began)
    show(f"{len(spent)} checkpoints of the digits demo, of its wall time", f"{100 * share:.2f} %", "3 %")
    assert len(spent) >= 8
    assert share < 0.03


def test_peak_memory_of_this_process():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    show("peak memory of all the above", f"{peak:.0f} MB", "2,000 MB")
    assert peak < 2000
