"""One model trained by several processes: what they compute together, and what happens when one of them dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_models import fit, images, vectors
from test_training import SMALL, TINY, apart, equal, left, made_of, seeded

from ecosystem.errors import TrainingError
from ecosystem.models import Diffusion, FlowMatching, NormalizingFlow, Vae
from ecosystem.models.base import TrainingSet, to_model
from ecosystem.models.gradients import Gradients
from ecosystem.models.nets import build
from ecosystem.models.ode import OdeSampler
from ecosystem.models.team import ALONE, FAILED, FULL, Team, Trouble
from ecosystem.models.train import TrainSettings, TrainState, train
from ecosystem.models.vae import ConvolutionalSettings
from ecosystem.notices import Notice
from ecosystem.rng import Streams


class Thread(Team):
    """One of some threads that stand for processes."""

    def __init__(self, rank, size, table, meeting):
        self.rank, self.size, self.table, self.meeting = rank, size, table, meeting

    def _all(self, value):
        self.table[self.rank] = value
        self.meeting.wait(60)
        found = list(self.table)
        self.meeting.wait(60)
        return found

    def gather(self, rows):
        found = self._all(rows.clone())
        assert len({tuple(part.shape) for part in found}) == 1
        return found

    def total(self, values):
        return torch.stack(self._all(values.clone())).sum(0)

    def worst(self, kind):
        return max(self._all(kind))


def in_threads(size, work):
    """What work(team) returns or raises in each of some threads."""
    table, meeting, found = [None] * size, threading.Barrier(size), [None] * size

    def run(rank):
        try:
            found[rank] = work(Thread(rank, size, table, meeting))
        except Exception as error:
            found[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def trained(family, data, state, team=ALONE, loss=None, batch=10):
    settings = replace(family.train, batch=batch)
    told = list(train(loss or family.loss, state, data, settings, 6 * batch, (3e-3, 1e-3), seeded(1), None, team))
    return state, told


SHARED = [
    FlowMatching(net=TINY),
    FlowMatching(net=replace(SMALL, attention=(True, False)), coupling="independent"),
    Diffusion(net=TINY, train=TrainSettings(mirror=True)),
    Diffusion(net=SMALL, train=TrainSettings(channels_last=True, precision="bfloat16")),
    Vae(latent=3),
    Vae(net=ConvolutionalSettings(channels=(8,), width=8), latent=3),
    NormalizingFlow(),
]


SHARES = [(2, SHARED[0]), (3, SHARED[0]), (11, SHARED[0]), (2, SHARED[1]), (3, SHARED[5]), (2, SHARED[6])]
SHARES += [pytest.param(n, f, marks=pytest.mark.slow) for n in (2, 3, 11) for f in SHARED if (n, f) not in SHARES]


@pytest.mark.parametrize(("size", "family"), SHARES, ids=lambda v: v if isinstance(v, int) else str(SHARED.index(v)))
def test_the_gradients_of_all_processes_are_those_of_the_batch(family, size):
    """Of ten images, also where these make no equal parts or are fewer than the processes."""
    data = images(10)
    states = [made_of(family, data) for _ in range(size + 1)]

    def gradients(team, state=states[-1]):
        state = state if team is ALONE else states[team.rank]
        found = Gradients(family.loss, state.net, seeded(1), family.train.precision, team=team)
        with found.ready():
            value = found.of(to_model(data.x), data.y, 1)
        return {"loss": value, **{name: p.grad for name, p in state.net.named_parameters()}}

    alone, together = gradients(ALONE), in_threads(size, gradients)
    rounding = 2e-2 if family.train.precision == "bfloat16" else 1e-4
    for name, value in alone.items():
        assert all(torch.equal(found[name], together[0][name]) for found in together), "no process goes another way"
        away = float((together[0][name] - value).abs().max())
        assert away <= rounding * max(1e-2, float(value.abs().max())), name


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_shared_out_a_training_is_the_same_but_for_rounding(size):
    family, data = FlowMatching(net=TINY), vectors()
    states = [made_of(family, data) for _ in range(size)]
    alone, told = trained(family, data, made_of(family, data))
    found = in_threads(size, lambda team: trained(family, data, states[team.rank], team))
    for state, updates in found:
        assert equal(state.saved(), states[0].saved())
        assert updates[-1].loss == pytest.approx(told[-1].loss, rel=1e-5)
    assert apart(states[0].saved(), alone.saved()) < 1e-4


def test_a_loss_may_pair_the_items_of_a_batch():
    """And use its batch in any way: the gradients are those of the whole batch all the same."""

    def loss(net, x, y, generator):
        out = net(x, torch.zeros(len(x)), y).flatten(1)
        return torch.cdist(out, out.roll(3, 0)).square().mean() + out.mean().square()

    family, data = FlowMatching(net=TINY), vectors()
    states = [made_of(family, data) for _ in range(3)]
    trained(family, data, states[2], loss=loss)
    in_threads(2, lambda team: trained(family, data, states[team.rank], team, loss))
    assert apart(states[0].saved(), states[2].saved()) < 1e-4


def test_what_one_process_has_no_memory_for_all_compute_in_parts():
    family, data = FlowMatching(net=TINY), vectors()
    states = [made_of(family, data) for _ in range(2)]

    def work(team):
        def loss(net, x, y, generator):
            out = net(x, torch.zeros(len(x)), y)
            if team.rank == 1 and len(x) > 4:
                raise torch.OutOfMemoryError("behind the network, where the others have gone on")
            return (out - torch.randn(x.shape, generator=generator)).square().mean()

        return trained(family, data, states[team.rank], team, loss)

    with pytest.warns(Notice):
        (one, told), (other, _) = in_threads(2, work)
    assert {update.parts for update in told} == {4}
    assert equal(one.saved(), other.saved())


def test_what_fails_in_one_process_ends_the_others():
    family, data = FlowMatching(net=TINY), vectors()
    states = [made_of(family, data) for _ in range(3)]

    def work(team):
        def loss(net, x, y, generator):
            if team.rank == 1:
                raise ZeroDivisionError("here")
            return net(x, torch.zeros(len(x)), y).mean()

        return trained(family, data, states[team.rank], team, loss)

    found = in_threads(3, work)
    assert isinstance(found[1], ZeroDivisionError)
    assert all(isinstance(found[rank], TrainingError) and "another process" in str(found[rank]) for rank in (0, 2))


def test_trouble_is_the_worst_of_all():
    def work(team):
        with pytest.raises(Trouble) as caught:
            team.agree([None, MemoryError(), ValueError()][team.rank])
        return caught.value.kind, type(caught.value.error)

    assert in_threads(3, work) == [(FAILED, type(None)), (FAILED, type(None)), (FAILED, ValueError)]
    assert in_threads(2, work) == [(FULL, type(None)), (FULL, MemoryError)]


PROCESSES = FlowMatching(
    net=TINY, train=TrainSettings(budget_images=3000, batch=51, lr=3e-3, processes=2), sampler=OdeSampler(steps=2)
)


@pytest.mark.slow
def test_two_processes_train_what_one_trains():
    """51 images a batch, which make no two equal parts; and left behind an update it goes on from there."""
    alone, told = fit(replace(PROCESSES, train=replace(PROCESSES.train, processes=1)), vectors())
    both, updates = fit(PROCESSES, vectors())
    assert [(u.done, u.total) for u in updates] == [(u.done, u.total) for u in told] == [(50, 59), (59, 59)]
    assert updates[-1].loss == pytest.approx(told[-1].loss, rel=1e-4)
    assert apart(both.saved(), alone.saved()) < 1e-4
    resumed, _ = fit(PROCESSES, vectors(), saved=left(PROCESSES.fit(vectors(), None, Streams(0, "lab", 0)), 50))
    assert equal(resumed.saved(), both.saved())


def workers():
    """The processes that train for this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"ecosystem.models.worker" in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return [pid for pid in found if f"PPid:\t{os.getpid()}\n" in Path(f"/proc/{pid}/status").read_text()]


def gone(pids):
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < end, "a worker outlived its parent"
        time.sleep(0.05)
    return True


@pytest.mark.slow
def test_a_worker_that_dies_is_told_of():
    training = PROCESSES.fit(vectors(), None, Streams(0, "lab", 0), budget_images=10**6)
    next(training)
    pids = workers()
    assert len(pids) == 2
    os.kill(max(pids), signal.SIGKILL)
    with pytest.raises(TrainingError, match=r"process 2 of the 2 that train this model was killed by SIGKILL"):
        list(training)
    assert gone(pids)


@pytest.mark.slow
def test_what_a_worker_says_of_the_training_is_the_error():
    data = vectors()
    data.x[3] = float("nan")
    with pytest.raises(TrainingError, match="loss became nan"):
        fit(PROCESSES, data)
    assert not workers()


@pytest.mark.slow
def test_a_training_that_is_left_leaves_no_worker():
    training = PROCESSES.fit(vectors(), None, Streams(0, "lab", 0), budget_images=10**6)
    next(training)
    pids = workers()
    training.close()
    assert pids and gone(pids)


@pytest.mark.slow
def test_workers_die_with_their_parent():
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import test_processes as t
training = t.PROCESSES.fit(t.vectors(), None, t.Streams(0, "lab", 0), budget_images=10**6)
next(training)
print(*t.workers(), flush=True)
for _ in training: pass
"""
    parent = subprocess.Popen([sys.executable, "-c", code, str(Path(__file__).parent)], stdout=subprocess.PIPE)
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.communicate()
    assert len(pids) == 2 and gone(pids)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    """Without a GPU to ask: the data only say that they are on one."""
    from ecosystem.models import sharded

    class Elsewhere:
        device, dtype, shape = torch.device("cuda"), torch.uint8, (4, 2)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    data = TrainingSet(Elsewhere(), torch.zeros(4, dtype=torch.int64), 2)
    state = TrainState.new(build(lambda: TINY.build((2,), 2), seeded()))
    task = sharded.Task(PROCESSES, data, state, 100, (1e-3, 1e-3), Streams(0, "lab", 0))
    with pytest.raises(TrainingError, match=r"`processes: 2` .* asks for a GPU each, and there are 1"):
        next(sharded.train(task))
