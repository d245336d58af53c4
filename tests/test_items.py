"""The items of all pages are one array, however they lie: in blocks in memory, or in files mapped into it."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ecosystem.rng import stream
from ecosystem.web import items
from ecosystem.web.items import FIRST_ROWS, Items

SHAPES = [((3,), np.float64), ((1, 4, 4), np.uint8)]


def rows(n, shape, dtype, what="rows"):
    drawn = stream(0, "test", what).random((n, *shape))
    return drawn if dtype == np.float64 else (256 * drawn).astype(dtype)


def filled(sizes, shape, dtype, in_memory):
    """Items that came in parts of these sizes, and the array that they should be."""
    found, parts = Items(dtype, shape, in_memory), [np.empty((0, *shape), dtype)]
    for number, size in enumerate(sizes):
        parts.append(rows(size, shape, dtype, f"part {number}"))
        found.append(parts[-1])
    return found, np.concatenate(parts)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Of 2, 4, 8, 16 and then 20 rows of three numbers, so that little data make many."""
    monkeypatch.setattr(items, "FIRST_ROWS", 2)
    monkeypatch.setattr(items, "LARGEST_BLOCK", 480)


WHERE = st.none() | st.integers(-200, 200)
STEP = st.none() | st.integers(-9, 9).filter(bool)


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(SHAPES),
    sizes=st.lists(st.integers(0, 60), max_size=6),
    in_memory=st.sampled_from([0, 500, 2**30]),
    part=st.builds(slice, WHERE, WHERE, STEP),
    data=st.data(),
)
def test_items_are_read_as_one_array(kind, sizes, in_memory, part, data):
    found, expected = filled(sizes, *kind, in_memory)
    n = len(expected)
    assert (len(found), found.shape, found.dtype) == (n, expected.shape, expected.dtype)
    assert_array_equal(np.asarray(found), expected)
    assert_array_equal(found[part], expected[part])
    ids = np.array(data.draw(st.lists(st.integers(-n, n - 1), max_size=40) if n else st.just([])), dtype=np.int64)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=bool)
    for which in (ids, mask):
        assert_array_equal(found[which], expected[which])
        assert found[which].dtype == expected.dtype


@pytest.mark.parametrize("sizes", [(1,), (3, 200)], ids=["one block", "many blocks"])
def test_what_is_not_there_is_an_error(sizes):
    """Also where a block has room for more."""
    found, expected = filled(sizes, (3,), np.float64, 0)
    n = len(expected)
    for which in (np.array([0, n]), np.array([-n - 1]), np.ones(n + 1, dtype=bool)):
        with pytest.raises(IndexError):
            expected[which]
        with pytest.raises(IndexError):
            found[which]


@pytest.mark.parametrize(("shape", "dtype"), SHAPES, ids=["vectors", "images"])
def test_mapped_blocks_hold_the_same_rows(shape, dtype):
    sizes = [7, 100, 1, 0, 300]
    (memory, expected), (mapped, _), (both, _) = (filled(sizes, shape, dtype, limit) for limit in (2**30, 0, 1000))
    kinds = [{type(block) for block in found._blocks} for found in (memory, mapped, both)]
    assert kinds == [{np.ndarray}, {np.memmap}, {np.ndarray, np.memmap}]
    some = stream(0, "test", "some").integers(0, len(expected), 500)
    for found in (memory, mapped, both):
        assert_array_equal(found[:], expected)
        assert_array_equal(found[some], expected[some])
        assert type(found[some]) is np.ndarray, "who gathers gets memory of his own"


def test_no_block_ever_moves():
    """What was read stays what it was, and a slice within a block is no copy."""
    found, expected = filled([100], (3,), np.float64, 0)
    before, first = [block.ctypes.data for block in found._blocks], found[:2]
    found.append(rows(500, (3,), np.float64))
    assert [block.ctypes.data for block in found._blocks][: len(before)] == before
    assert np.shares_memory(first, found._blocks[0])
    assert_array_equal(found[:100], expected)


def test_blocks_double_up_to_the_largest(monkeypatch):
    monkeypatch.setattr(items, "FIRST_ROWS", FIRST_ROWS)
    monkeypatch.setattr(items, "LARGEST_BLOCK", 2**16)
    found, _ = filled([20_000], (), np.int64, 2**30)
    assert [len(block) for block in found._blocks] == [1024, 2048, 4096, 8192, 8192]


def test_an_item_larger_than_the_largest_block_has_a_block_of_its_own():
    found, expected = filled([3], (1, 30, 30), np.uint8, 0)
    assert [len(block) for block in found._blocks] == [1, 1, 1]
    assert_array_equal(found[:], expected)


# Memory

BEYOND = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (200 * 2**20, 200 * 2**20))
import numpy as np
from ecosystem.web import corpus, items

pages = corpus.Corpus((3, 32, 32))
pages.items = items.Items(np.uint8, (3, 32, 32), in_memory=50 * 2**20)
COLUMNS = dict(label=0, site=0, author=0, maker=corpus.HUMAN, generation=corpus.HUMAN, lineage=0.0)


def images(ids):  # each tells its number to the base of 251, again and again
    digits = np.stack([ids % 251, ids // 251 % 251, ids // 251**2], axis=1).astype(np.uint16)
    return ((np.tile(digits, 1024) + np.arange(3072, dtype=np.uint16)) % 251).astype(np.uint8).reshape(-1, 3, 32, 32)


N = 600 * 2**20 // 3072
for start in range(0, N, 2000):
    ids = np.arange(start, min(start + 2000, N))
    pages.publish(images(ids), **COLUMNS)
pages.close()
visible = pages.visible(corpus.Retention())
assert len(visible) == len(pages) == N and pages.items.item_bytes * N >= 599 * 2**20
for start in (1, 5, 17):
    some = visible[start :: N // 1500]
    assert (pages.items[some] == images(some)).all()
assert (pages.items[N - 3000 :] == images(visible[-3000:])).all()
mapped = [isinstance(block, np.memmap) for block in pages.items._blocks]
assert any(mapped) and not all(mapped)
try:
    np.ones(250 * 2**20, dtype=np.uint8)
except MemoryError:
    print("limited", "torch" in sys.modules)
"""


@pytest.mark.slow
def test_images_beyond_memory_are_on_the_web():
    """600 MB of them in a process that may have 200 MB of data, its libraries included."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # of which each has a stack
    done = subprocess.run(
        [sys.executable, "-c", BEYOND], env=os.environ | threads, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["limited", "False"], "")
