"""What every test gets: one thread, an eye on the global generators, and the fixtures that several files share."""

import gc
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).parents[2] / "shared" / "data"
STATES = pytest.StashKey[tuple[bytes, ...]]()


def pytest_pycollect_makemodule():
    """Before the first test file is imported; xdist's own process imports none, and does without torch."""
    from ecosystem import compute

    compute.set_up("cpu")
    gc.disable()  # modules do not die: looking for dead ones among them took a second


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


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
    assert before[0] == after[0], "torch's global generator was used"
    assert before[1] == after[1], "NumPy's global generator was used"
    return result
