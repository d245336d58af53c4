"""What the world does to a run: full disks, folders that cannot be written, little memory, clocks that jump.

Each is really provoked: by a small tmpfs, by the process's own limits, by a patched clock.
"""

import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from test_kills import child, ended
from test_resume import finished, outcome, question

from ecosystem import compute, loop, records
from ecosystem.errors import RecordError, TrainingError
from ecosystem.models.base import TrainingSet
from ecosystem.models.nets import MLPSettings, build
from ecosystem.models.train import TrainSettings, TrainState, train
from ecosystem.notices import Notice
from ecosystem.records import RunRecord
from ecosystem.rng import stream


def asked(rounds=14):
    return question("{family: gaussian}", rounds=rounds)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a quarter of a megabyte, and a way to mount it again with other options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        return subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True
        ).returncode

    if mount("size=240k"):
        pytest.skip("mounting a tmpfs needs root")
    yield folder, lambda options: subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_a_run_that_goes_on_when_there_is_room(small_disk, tmp_path):
    folder, remount = small_disk
    with pytest.raises(RecordError, match=r"cannot be written: No space left on device.*the same command goes on"):
        list(loop.run(asked(), [0], folder / "run"))
    seed = RunRecord(folder / "run").seed(0)
    told = len(seed.lines())
    assert 1 < told < 14, "what was written can be read"
    remount("size=50m")
    resumed = [event.round for event in loop.run(asked(), [0], folder / "run") if event.kind == "resumed"]
    assert resumed and told - 1 <= resumed[0] <= told
    assert finished(asked(), folder / "run") == finished(asked(), tmp_path / "whole")


def test_a_disk_that_is_full_from_the_start(small_disk):
    folder, _ = small_disk
    (folder / "ballast").write_bytes(bytes(240 * 1024 - 4096))
    with pytest.raises(RecordError, match="No space left on device"):
        list(loop.run(asked(), [0], folder / "run"))


def test_a_folder_that_has_become_read_only(small_disk, tmp_path):
    folder, remount = small_disk
    remount("size=50m")
    running = loop.run(asked(8), [0], folder / "run")
    for event in running:
        if event.kind == "round" and event.line["round"] == 3:
            break
    running.close()
    before = outcome(folder / "run")
    remount("ro")
    with pytest.raises(RecordError, match="Read-only file system"):
        list(loop.run(asked(8), [0], folder / "run"))
    assert outcome(folder / "run") == before
    remount("rw")
    assert finished(asked(8), folder / "run") == finished(asked(8), tmp_path / "whole")


def test_a_file_larger_than_the_process_may_write(tmp_path):
    """The limit that batch systems set: the kernel refuses, as where a quota is full."""

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))
        with pytest.raises(RecordError, match="File too large"):
            list(loop.run(asked(30), [0], tmp_path / "run"))

    assert not ended(child(limited))
    told = len(RunRecord(tmp_path / "run").seed(0).lines())
    assert 1 < told < 30
    assert finished(asked(30), tmp_path / "run") == finished(asked(30), tmp_path / "whole")


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch):
    """Back by years and forth again, at every look."""
    truth = finished(asked(6), tmp_path / "whole")
    rng, real = stream(0, "test", "clock"), time.time
    monkeypatch.setattr(time, "time", lambda: real() + rng.normal() * 1e8)
    running = loop.run(asked(6), [0], tmp_path / "run")
    for event in running:
        if event.kind == "round" and event.line["round"] == 2:
            break
    running.close()
    assert finished(asked(6), tmp_path / "run") == truth


# --- memory -----------------------------------------------------------------------------------------------------------


def training(most, batch=32, updates=20):
    """A training whose loss can be computed of so many images at a time; the updates that it told of, and its net."""
    net = build(lambda: MLPSettings(width=8, depth=1).build((2,), 2), torch.Generator().manual_seed(0))
    state = TrainState.new(net)
    rng = stream(0, "test", "data")
    data = TrainingSet(torch.from_numpy(rng.standard_normal((100, 2))), torch.zeros(100, dtype=torch.int64), 2)

    def loss(net, x, y, generator):
        if len(x) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return (net(x, torch.zeros(len(x)), y) - x).square().mean()

    told = train(
        loss, state, data, TrainSettings(batch=batch), updates * batch, (1e-2, 1e-3), torch.Generator().manual_seed(1)
    )
    return list(told), state


def test_where_memory_is_full_a_batch_is_halved_until_it_fits():
    with pytest.warns(Notice, match="for want of memory the gradients of a batch are computed in 4 parts") as said:
        told, halved = training(most=10)
    assert len(said) == 1
    assert {update.parts for update in told} == {4}
    whole_told, whole = training(most=32)
    assert {update.parts for update in whole_told} == {1}
    for a, b in zip(halved.net.parameters(), whole.net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    assert told[-1].loss == pytest.approx(whole_told[-1].loss, rel=1e-3)


def test_where_one_image_is_too_much_the_training_ends():
    with pytest.raises(TrainingError, match="the memory is full, also for one image at a time"):
        training(most=0)


def test_samples_are_drawn_in_blocks_that_fit(monkeypatch):
    from ecosystem.models import FlowMatching
    from ecosystem.models.neural import NeuralGenerator

    family = FlowMatching(net=MLPSettings(width=8, depth=1))
    net = build(lambda: family.net.build((2,), 2), torch.Generator().manual_seed(0))
    generator = NeuralGenerator(family, TrainState.new(net), (2,))
    y, noise = torch.zeros(50, dtype=torch.int64), torch.from_numpy(generator.noise(50, stream(0, "test", "noise")))
    whole, real, asked = generator.sample(y, noise), FlowMatching.integrate, []

    def little(self, net, y, noise):
        asked.append(len(y))
        if len(y) > 13:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")
        return real(self, net, y, noise)

    monkeypatch.setattr(FlowMatching, "integrate", little)
    with pytest.warns(Notice, match="for want of memory samples are drawn in smaller blocks"):
        torch.testing.assert_close(generator.sample(y, noise), whole, rtol=1e-5, atol=1e-5)
    assert asked[:4] == [64, 50, 25, 12], "as a block of a stack, and then as many rows as there is room for"
    monkeypatch.setattr(FlowMatching, "integrate", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("full")))
    with pytest.raises(MemoryError):
        generator.sample(y, noise)


def test_what_is_out_of_memory_and_what_is_not():
    limited = [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()]
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58, dtype=torch.uint8)
    assert all(map(compute.out_of_memory, [*limited, caught.value]))
    assert not any(map(compute.out_of_memory, [RuntimeError("shapes differ"), ValueError(), OSError(28, "full")]))


def test_a_world_too_large_for_the_memory_stops_cleanly_and_goes_on_with_more(tmp_path):
    """The limit of the address space is real; an allocation of the fourth round's measurement does not fit in it."""
    what = asked(6)
    truth = finished(what, tmp_path / "whole")

    def limited():
        running = loop.run(what, [0], tmp_path / "run")
        for event in running:
            if event.kind == "round" and event.line["round"] == 2:
                break
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used, used))
        hog = []
        try:
            while True:
                hog.append(bytearray(2**16))
        except MemoryError:
            pass
        try:
            for _ in running:
                hog.append(bytearray(2**16))
        except MemoryError:
            os._exit(0)
        os._exit(3)

    assert not ended(child(limited))
    status = RunRecord(tmp_path / "run").seed(0).status()
    assert status["state"] in (records.FAILED, records.RUNNING, records.INTERRUPTED)
    assert finished(what, tmp_path / "run") == truth
