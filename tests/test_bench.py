"""`make bench`: the figures this project promises, each printed; where a bare reference exists, as a ratio to it.

Not part of `make test`: a timing on a busy machine is no proof. The limits are those of the README's table.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from turns import show

from ecosystem import compute, loop, scenarios
from ecosystem.agents import user
from ecosystem.agents.scraper import Scraper
from ecosystem.agents.user import User
from ecosystem.models import FlowMatching
from ecosystem.models.base import TrainingSet
from ecosystem.models.jobs import drive
from ecosystem.models.nets import MLPSettings, build
from ecosystem.models.train import TrainSettings
from ecosystem.rng import Streams, stream
from ecosystem.web.corpus import HUMAN, NOBODY, Retention
from ecosystem.web.items import Items
from ecosystem.world import World

pytestmark = pytest.mark.bench
REPEATS = 5


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


def peak():
    """MB that this process alone held at most: getrusage would count what its parent held before exec."""
    status = Path("/proc/self/status").read_text()
    return int(next(row for row in status.splitlines() if row.startswith("VmHWM")).split()[1]) / 1024


def alone(program, *arguments):
    """What a function of this file returns in a process of its own, on one thread."""
    code = f"import json, test_bench; print(json.dumps(test_bench.{program.__name__}(*{arguments!r})))"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


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


MARKETS = {
    "one provider": ("a", ""),
    "three, users choose one": ("abc", ", provider_choice: {switching_cost: 0.2, network_effect: 0.1}"),
    "three in each ballot": ("abc", ", candidates: across-providers"),
}
SIZES = (10**4, 10**5, 10**6)
TURNS = 6


def web_of_users(ballots, names, choice):
    """Ten ballots a user, on 1,000 sites; providers train on the archive alone."""
    providers = ", ".join(f"{{name: {name}, model: gaussian}}" for name in names)
    text = f"""
        name: bench
        rounds: 9
        humans: {{source: gaussian}}
        web: {{archive: 1000, sites: {{count: 1000, graph: barabasi_albert_graph, m: 3}}}}
        users:
          - {{name: crowd, count: {ballots // 10}, prompts_per_round: 10, k: 4,
             reward: {{kind: distance, to: [1, 1]}}{choice}}}
        scrapers: [{{name: library, take: [human]}}]
        providers: [{providers}]
        """
    return World(scenarios.from_text(text), 0, torch.device("cpu"))


def asked(names, choice):
    """Microseconds a ballot of what users do in a round, for each of SIZES: prompts, candidates, votes, publication.

    The sizes take turns, a million ballots and more of each, so that what else the machine does falls upon all. Means
    and not medians: memory for new pages is taken now and then.
    """
    worlds, taken = [web_of_users(ballots, names, choice) for ballots in SIZES], [0.0] * len(SIZES)
    for world in worlds:
        world.step()
        world.settings = world.question.at(1)
    for _ in range(TURNS):
        for size, (ballots, world) in enumerate(zip(SIZES, worlds, strict=True)):
            for _ in range(SIZES[-1] // ballots):
                began = time.perf_counter()
                list(drive([user.ask(world)]))
                taken[size] += time.perf_counter() - began
                world.corpus.close()
    return [1e6 * seconds / TURNS / SIZES[-1] for seconds in taken]


def bare_ballots(ballots):
    """The same of one provider in plain NumPy: candidates, distances, votes, and columns of the winners' pages."""
    rng, root = stream(0, "bench", "ballots"), np.eye(2)

    def cast():
        images = rng.standard_normal((4 * ballots, 2)) @ root
        reward = -np.linalg.norm(images - 1.0, axis=1).reshape(ballots, 4)
        winner = np.argmax(reward - np.log(-np.log1p(-rng.random((ballots, 4)))), axis=1)
        pages = images.reshape(ballots, 4, 2)[np.arange(ballots), winner]
        return pages, [np.zeros(ballots, dtype) for dtype in ("i4", "i4", "i8", "u1", "i4")]

    return 1e6 * median(cast) / ballots


def million_ballots(names, choice):
    compute.set_up("cpu")
    rounds, world = [], web_of_users(SIZES[-1], names, choice)
    for _ in range(3):
        began = time.perf_counter()
        world.step()
        rounds.append(time.perf_counter() - began)
    assert len(world.members(User, "crowd")) == 100_000
    assert len(world.corpus) == 1000 + 3 * SIZES[-1]
    told = {"rounds": rounds, "peak": peak()}
    del world
    return told | {"each": asked(names, choice), "bare": bare_ballots(SIZES[-1])}


@pytest.mark.parametrize("market", MARKETS)
def test_a_million_ballots(market):
    """100,000 users on 1,000 sites cast 1,000,000 ballots of four: whole rounds, and what each ballot takes."""
    told = alone(million_ballots, *MARKETS[market])
    seconds, each = max(told["rounds"]), told["each"]
    show(f"1,000,000 ballots, {market}: the round, metrics included", f"{seconds:.2f} s", "5 s")
    show("   peak memory after three of them, whole process", f"{told['peak']:.0f} MB", "4,000 MB")
    for ballots, cost in zip(SIZES, each, strict=True):
        show(f"   what users do, each of {ballots:,} ballots", f"{cost:.2f} us", "-")
    show("   dearest to cheapest", f"{max(each) / min(each):.2f}", "1.5")
    show("   of 1,000,000, as a ratio to bare NumPy with one provider", f"{each[-1] / told['bare']:.2f}", "-")
    assert seconds < 5
    assert told["peak"] < 4000
    assert max(each) / min(each) < 1.5


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


PAGES, SITES, BUDGET = 10_000_000, 1000, 100_000


def bare_walk(site, links):
    """A walker in plain Python who takes a page a visit, once NumPy has grouped the pages by their sites."""
    grouped, first = np.argsort(site, kind="stable"), [0, *np.cumsum(np.bincount(site)).tolist()]
    near = [links.neighbours[a:b].tolist() for a, b in pairwise(links.starts)]
    rng, taken, at = stream(0, "bench", "walk"), set(), 0
    while len(taken) < BUDGET:
        restart, place, page = rng.random(3).tolist()
        at = int(place * SITES) if restart < 0.15 else near[at][int(place * len(near[at]))]
        taken.add(first[at] + int(page * (first[at + 1] - first[at])))
    return np.sort(grouped[list(taken)])


def ten_million_pages():
    compute.set_up("cpu")
    text = f"""
        name: bench
        rounds: 9
        humans: {{source: gaussian}}
        web: {{archive: 1, sites: {{count: {SITES}, graph: barabasi_albert_graph, m: 3}}}}
        scrapers: [{{name: walker, crawl: {{kind: random-walk}}, budget: {BUDGET}}}]
        providers: [{{name: lab, model: gaussian}}]
        """
    world, block = World(scenarios.from_text(text), 0, torch.device("cpu")), 100_000
    for number in range(PAGES // block):
        rng = stream(0, "bench", "pages", number)
        site, x = rng.integers(0, SITES, block), rng.standard_normal((block, 2))
        world.corpus.publish(x, label=0, site=site, author=NOBODY, maker=HUMAN, generation=HUMAN, lineage=0.0)
        world.corpus.close()
    full, times = peak(), []
    for world.round in range(1, 6):
        began = time.perf_counter()
        world.agents_by_type[Scraper].do("crawl")
        times.append(time.perf_counter() - began)
    held = peak()
    assert len(np.unique(world.scrapers[0].ids)) == BUDGET
    site = world.corpus.of("site", world.visible(Retention()))
    began = time.perf_counter()
    assert len(bare_walk(site, world.links)) == BUDGET
    return {"times": times, "full": full, "peak": held, "bare": time.perf_counter() - began}


def test_ten_million_pages_are_crawled():
    """The crawl phase of a scraper that walks at random over 10,000,000 pages on 1,000 sites, for 100,000 of them."""
    told = alone(ten_million_pages)
    first, then = told["times"][0], statistics.median(told["times"])
    show("10,000,000 pages, a random walk for 100,000: the first crawl", f"{first:.2f} s", "2 s")
    show("   median", f"{then:.2f} s", "-")
    show("   as a ratio to a plain walker", f"{then / told['bare']:.2f}", "-")
    show("   peak memory, whole process", f"{told['peak']:.0f} MB", "2,000 MB")
    show("   before the crawls", f"{told['full']:.0f} MB", "-")
    assert first < 2
    assert told["peak"] < 2000


def gathered():
    """Seconds for 10,000 of 400,000 images of 3 x 32 x 32: [array in memory, mapped blocks], by the order of ids."""
    rng, part = stream(0, "bench", "images"), 10_000
    images, mapped = np.empty((400_000, 3, 32, 32), np.uint8), Items(np.uint8, (3, 32, 32), in_memory=0)
    some = rng.integers(0, 256, (part, 3, 32, 32), dtype=np.uint8)
    for number, start in enumerate(range(0, len(images), part)):
        images[start : start + part] = some + np.uint8(number)
        mapped.append(images[start : start + part])
    assert len(mapped) == len(images)
    orders = {"in order": np.sort, "shuffled": np.asarray}
    times = {name: ([], []) for name in orders}
    for _ in range(15):
        ids = rng.permutation(len(images))[:part]
        for name, order in orders.items():
            which, found = order(ids), []
            for spent, items in zip(times[name], (images, mapped), strict=True):
                began = time.perf_counter()
                found.append(items[which])
                spent.append(time.perf_counter() - began)
            assert (found[0] == found[1]).all()
    return {name: [statistics.median(spent) for spent in both] for name, both in times.items()}


def test_images_are_gathered_from_mapped_blocks():
    """1.2 GB of images that lie in files, at hand in the system's cache, against an array in memory."""
    for name, (array, mapped) in alone(gathered).items():
        show(f"10,000 of 400,000 images from mapped blocks, {name}", f"{1e3 * mapped:.1f} ms", "-")
        show("   as a ratio to an array in memory", f"{mapped / array:.2f}", "3")
        assert mapped < 3 * array


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
    net = build(lambda: MLPSettings(width=128, depth=2).build((1, 8, 8), 10), torch.Generator().manual_seed(0))
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
    """Every round of it gets one, as all are to be kept; their time by the clock that decides when the next is due."""
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
    list(loop.run(scenarios.load("lambda-mixture", {"checkpoint_keep": "null"}), [0], tmp_path))
    share = sum(spent) / (time.perf_counter() - began)
    show(f"{len(spent)} checkpoints of the digits demo, of its wall time", f"{100 * share:.2f} %", "3 %")
    assert len(spent) >= 8
    assert share < 0.03


def test_peak_memory_of_this_process():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    show("peak memory of all the above", f"{peak:.0f} MB", "2,000 MB")
    assert peak < 2000
