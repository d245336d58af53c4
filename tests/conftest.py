"""What every test gets: one thread, an eye on the global generators, and the fixtures that several files share."""

import atexit
import copy
import gc
import importlib.util
import os
from dataclasses import replace
from functools import cache, wraps
from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).parents[2] / "shared" / "data"
UNPACK, WEIGHTS = DATA / "unpack.py", DATA / "cifar10-classifier"
TINY = """\
name: tiny
rounds: 3
humans: {source: gaussian, held_out: 60}
web: {archive: 50, retention: {synthetic_rounds: 1}}
users: [{name: crowd, count: 25}]
metrics: [frechet, recall]
providers: [{name: lab, card: {family: gaussian}}]
claims: [{metric: lambda, of: lab, is: increasing}]
"""
STATES = pytest.StashKey[tuple[bytes, bytes]]()


def pytest_configure(config):
    """Nothing here logs, and to look for what torch's hundred loggers say took a millisecond or two of every test."""
    config.pluginmanager.set_blocked("logging-plugin")


def pytest_sessionfinish():
    """Only where a table is wanted: the module imports torch, which xdist's own process does without."""
    if os.environ.get("ECOSYSTEM_WRITE_BENCH") == "1":
        from turns import write

        write()


def pytest_pycollect_makemodule():
    """Before the first test file is imported; xdist's own process imports none, and does without torch."""
    from ecosystem import compute

    compute.set_up("cpu")
    remember_documents()
    gc.disable()  # modules do not die: to look for dead ones among them took a second


@cache
def remember_documents():
    """The same few scenarios are read a thousand times, in a pure function that took a tenth of all the time.

    Only what was without fault is remembered, and each reader gets a copy; the parser's own tests go without.
    """
    from ecosystem import documents

    parse, known = documents.parse, {}

    @wraps(parse)
    def parse_once(text, origin, *limits):
        if (text, limits) not in known:
            if len(known) == 500:
                known.clear()
            known[text, limits] = parse(text, origin, *limits)
        found = known[text, limits]
        return replace(found, data=copy.deepcopy(found.data), origin=origin, lines=dict(found.lines))

    documents.parse = parse_once


def pytest_collection_finish():
    gc.freeze()
    gc.enable()
    atexit.register(gc.unfreeze)  # else libraries in C++ complain at the exit of what was never freed


def states():
    """Of the global generators."""
    import torch

    return torch.random.get_rng_state().numpy().tobytes(), np.random.get_state()[1].tobytes()  # noqa: NPY002


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    item.config.stash.setdefault(STATES, states())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Nobody may touch the global generators, no test and no fixture before it: randomness is named."""
    result = yield
    before, after = item.config.stash[STATES], states()
    item.config.stash[STATES] = after
    touched = [name for name, a, b in zip(("torch", "NumPy"), before, after, strict=True) if a != b]
    assert not touched, f"the global generator of {' and of '.join(touched)} was used"
    return result


@pytest.fixture(scope="session")
def tiny_in():
    """Writes the scenario TINY, with replacements, into a folder and gives its path."""

    def write(folder, *replacements, name="tiny.yaml"):
        text = TINY
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = folder / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def tiny(tiny_in, tmp_path):
    """The same into the test's own folder."""
    return lambda *replacements, **more: tiny_in(tmp_path, *replacements, **more)


@pytest.fixture
def published_weights(monkeypatch):
    """A network of others that knows CIFAR-10."""
    if not WEIGHTS.is_dir():
        pytest.skip(f"{WEIGHTS} is absent")
    monkeypatch.setenv("ECOSYSTEM_WEIGHTS", str(WEIGHTS))


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory):
    """Lays a real data set out in torchvision's own format, once, and gives its folder."""

    @cache
    def lay_out(data_set):
        if not UNPACK.exists():
            pytest.skip(f"no real data to unpack: {UNPACK} is absent")
        spec = importlib.util.spec_from_file_location("unpack", UNPACK)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        root = tmp_path_factory.mktemp(data_set)
        getattr(module, data_set)(root)
        return str(root)

    return lay_out
