"""Providers on several devices, and what a user is told of a machine that has too little."""

import platform
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from test_models import fit, images, vectors
from test_training import card

from ecosystem import checkpoints, compute, loop, notices, progress, scenarios
from ecosystem.agents.provider import Provider
from ecosystem.checkpoints import Kept
from ecosystem.records import RunRecord
from ecosystem.rng import stream
from ecosystem.world import World

CPU = torch.device("cpu")
THREE = "{name: b, card: {family: gaussian}}, {name: c, card: {family: gaussian}}"


def gaussians(devices=(), more=f", {THREE}"):
    text = card("", more).replace("{family: flow-matching, }", "{family: gaussian}")
    return World(scenarios.from_text(text), 0, CPU, devices)


def test_providers_take_the_devices_in_turn():
    world = gaussians([torch.device("cuda", 0), torch.device("cuda", 1)])
    assert [str(provider.device) for provider in world.providers] == ["cuda:0", "cuda:1", "cuda:0"]
    assert {str(provider.device) for provider in gaussians().providers} == {"cpu"}


def test_data_prompts_and_noise_are_where_the_provider_is():
    """On torch's `meta` device, which every machine has."""
    world = gaussians([CPU, torch.device("meta")])
    provider = world.provider("b")
    data = provider._data(world, np.arange(5))
    assert data.x.device.type == data.y.device.type == "meta"
    world.provider("lab").generator = provider.generator = fit(world.question.card("lab", 0).model, vectors())[0]
    drawn = [world.provider(name).draw(np.zeros(3, dtype=np.int64), stream(0, "test", "draw")) for name in ("lab", "b")]
    assert [(d.y.device.type, d.noise.device.type) for d in drawn] == [("cpu", "cpu"), ("meta", "meta")]


def test_jobs_of_two_devices_make_no_stack(monkeypatch):
    from ecosystem.models import Gaussian, jobs

    generator = fit(Gaussian(), vectors())[0]
    y, noise = torch.zeros(2, dtype=torch.int64), torch.from_numpy(generator.noise(2, stream(0, "test", "noise")))
    asked = []
    monkeypatch.setattr(jobs, "together", lambda jobs: asked.append(len(jobs)))
    monkeypatch.setattr(jobs, "_alone", lambda number, job: iter(()))
    here, there = (jobs.Draw(generator, y.to(device), noise.to(device)) for device in ("cpu", "meta"))
    list(jobs._done({0: (here,), 1: (there,), 2: (here,)}))
    assert asked == [2]


def test_a_model_from_another_device_is_brought_here():
    world = gaussians([CPU, torch.device("meta")])
    lab, other = world.provider("lab"), world.provider("b")
    lab.generator = fit(world.question.card("lab", 0).model, images())[0]
    lab.generation = 0
    Provider._adopt(other, lab)
    assert {value.device.type for value in other.generator.state().values()} == {"meta"}
    world.provider("c")._adopt(lab)
    assert all(torch.equal(v, lab.generator.state()[n]) for n, v in world.provider("c").generator.state().items())


def test_a_checkpoint_is_read_to_where_each_provider_is(tmp_path):
    question = scenarios.from_text(card("", f", {THREE}").replace("{family: flow-matching, }", "{family: gaussian}"))
    running = loop.run(question, [0], tmp_path)
    for event in running:
        if event.kind == "round":
            break
    running.close()
    seed = RunRecord(tmp_path).seed(0)
    world = World(question, 0, CPU, [CPU, torch.device("meta")])
    assert isinstance(checkpoints.restore(seed, world, checkpoints.found(seed)[0]), Kept)
    where = [next(iter(p.generator.state().values())).device.type for p in world.providers]
    assert where == ["cpu", "meta", "cpu"]


def test_auto_is_every_gpu_and_cuda_is_one(monkeypatch):
    assert compute.present("cpu") == (CPU,)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for count, auto in ((1, ["cuda"]), (3, ["cuda:0", "cuda:1", "cuda:2"])):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert list(map(str, compute.present("auto"))) == auto
        assert list(map(str, compute.present("cuda"))) == ["cuda"]
        assert compute.present("cpu") == (CPU,)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library has these thresholds")
def test_memory_that_was_given_back_is_not_asked_for_anew():
    """Arrays of 64 MiB, ten times: else the system would have to hand over 16,384 pages each time, or 32 large ones."""
    program = """
import resource, torch
from ecosystem import compute

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.empty(2**24).fill_(1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before, _ = pages(), compute.set_up("cpu")
pages()
print(before, pages())
"""
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    before, since = map(int, told.split())
    assert since < max(100, before / 50)


def test_the_manifest_tells_of_devices_where_there_are_several():
    assert loop._devices(gaussians()) == []
    assert loop._devices(gaussians([torch.device("cuda", 0), torch.device("cuda", 1)])) == [
        "cuda:0",
        "cuda:1",
        "cuda:0",
    ]


# --- notices ----------------------------------------------------------------------------------------------------------


def test_a_notice_is_shown_once_and_other_warnings_go_their_way():
    told = []
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        with notices.shown(told.append):
            for _ in range(3):
                notices.say("memory\n   was short")
                notices.say("another")
                warnings.warn("of somebody else", UserWarning, stacklevel=1)
        notices.say("afterwards")
    assert told == ["memory was short", "another"]
    assert [str(w.message) for w in others] == ["of somebody else"] * 3 + ["afterwards"]


def test_a_command_shows_a_notice_in_one_line(capsys):
    from rich.console import Console

    question = scenarios.from_text(card("").replace("{family: flow-matching, }", "{family: gaussian}"))
    with progress.watching(question, 1, Console(stderr=True, width=40)):
        notices.say("a long line that is wider than the terminal [of] the user, and is told once")
        notices.say("a long line that is wider than the terminal [of] the user, and is told once")
    line = "notice: a long line that is wider than the terminal [of] the user, and is told once\n"
    assert capsys.readouterr().err == line
