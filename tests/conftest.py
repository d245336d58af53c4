import numpy as np
import pytest
import torch

from ecosystem import compute

compute.set_up("cpu")


@pytest.fixture(autouse=True)
def _no_hidden_randomness():
    """Nobody may touch the global generators: randomness is named."""
    before = (torch.random.get_rng_state(), np.random.get_state()[1].copy())  # noqa: NPY002
    yield
    assert torch.equal(before[0], torch.random.get_rng_state()), "torch's global generator was used"
    assert np.array_equal(before[1], np.random.get_state()[1]), "NumPy's global generator was used"  # noqa: NPY002
