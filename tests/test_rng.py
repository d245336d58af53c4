"""Named streams: a draw depends on its name alone, and every name is a stream of its own."""

import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import stats

from ecosystem.rng import Streams, key, stream, torch_stream

CPU = torch.device("cpu")
GOLDEN_KEY = 26087803991807142650976177442419927639
GOLDEN_UNIFORM = 0.4377087366587825
NAMES = st.tuples(st.integers(0, 10**9), st.text(max_size=8), st.text(max_size=8), st.integers(0, 10**5))


@settings(max_examples=40, deadline=None)
@given(NAMES)
def test_equal_names_give_equal_draws(name):
    assert_array_equal(stream(*name).random(3), stream(*name).random(3))
    assert torch.equal(
        torch.rand(3, generator=torch_stream(CPU, *name)), torch.rand(3, generator=torch_stream(CPU, *name))
    )


@settings(max_examples=50, deadline=None)
@given(NAMES, NAMES)
def test_different_names_give_different_draws(a, b):
    """For names without the separator, which no name in a scenario can hold but by an escape in its YAML."""
    assume(a != b and not any("\x1f" in part for name in (a, b) for part in name[1:3]))
    assert key(*a) != key(*b)
    assert stream(*a).random() != stream(*b).random()


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((0, "a", "bc"), (0, "ab", "c")),
        ((0, "", "ab"), (0, "ab", "")),
        ((0, "a", "b"), (0, "b", "a")),
        ((1, "1", "x"), (11, "", "x")),
        ((1, "a", "b", 12), (11, "a", "b", 2)),
        ((0, "a", "b1", 2), (0, "a", "b", 12)),
        ((0, "a", "b", 0), (0, "a", "b", 1)),
    ],
)
def test_no_part_of_a_name_runs_into_the_next(a, b):
    assert stream(*a).random() != stream(*b).random()
    assert torch_stream(CPU, *a).initial_seed() != torch_stream(CPU, *b).initial_seed()


def test_the_round_is_0_where_none_is_given():
    assert key(3, "lab", "noise") == key(3, "lab", "noise", 0)


def test_the_scheme_is_that_of_the_records():
    """Golden values: a change of them makes every reference report a report of another world."""
    assert key(7, "crowd", "noise of lab", 3) == GOLDEN_KEY
    assert stream(7, "crowd", "noise of lab", 3).random() == GOLDEN_UNIFORM
    assert torch_stream(CPU, 7, "crowd", "noise of lab", 3).initial_seed() == GOLDEN_KEY % 2**63


def test_more_rows_leave_the_first_rows_as_they_were():
    for draw in ("random", "standard_normal"):
        few, many = (getattr(stream(0, "crowd", "noise"), draw)((n, 5)) for n in (7, 40))
        assert_array_equal(few, many[:7])


def test_streams_of_an_owner_are_the_streams_of_that_name():
    own = Streams(4, "lab", 9)
    assert_array_equal(own.numpy("noise").random(4), stream(4, "lab", "noise", 9).random(4))
    assert torch.equal(
        torch.rand(4, generator=own.torch("noise", CPU)),
        torch.rand(4, generator=torch_stream(CPU, 4, "lab", "noise", 9)),
    )
    # At its beginning every time: a call has no memory of the one before.
    assert_array_equal(own.numpy("noise").random(4), own.numpy("noise").random(4))


@pytest.mark.parametrize("varied", ["seed", "who", "what", "round"])
def test_first_draws_of_neighbouring_names_are_uniform_and_uncorrelated(varied):
    """2,000 streams that differ in one part of the name: Kolmogorov-Smirnov and a correlation, at 4 standard errors."""
    n = 2_000
    name = {"seed": 0, "who": "user", "what": "prompts", "round": 0}
    values = range(n) if varied in ("seed", "round") else (f"u{i}" for i in range(n))
    first = np.array([stream(**{**name, varied: value}).random() for value in values])
    assert stats.kstest(first, "uniform").pvalue > 6e-5
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 4 / np.sqrt(n)


def test_keys_use_all_their_128_bits():
    """Each bit is set in half of 2,000 keys, within 5 standard errors."""
    keys = [key(0, "user", "x", i) for i in range(2_000)]
    bits = np.array([[k >> bit & 1 for bit in range(128)] for k in keys])
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(2_000)


def test_torch_streams_differ_where_torch_keeps_32_bits_only():
    """torch's CPU generator keeps the low 32 bits of a seed: the key's low bits, too, must tell names apart."""
    low = {
        torch_stream(CPU, seed, who, what).initial_seed() % 2**32
        for seed, who, what in itertools.product(range(10), "abcde", "xyz")
    }
    assert len(low) == 150


def test_the_global_generators_are_left_alone():
    before = (random.getstate(), torch.random.get_rng_state(), np.random.get_state()[1].copy())  # noqa: NPY002
    stream(0, "a", "b").random(10)
    torch.rand(10, generator=torch_stream(CPU, 0, "a", "b"))
    assert random.getstate() == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])
    assert_array_equal(np.random.get_state()[1], before[2])  # noqa: NPY002
