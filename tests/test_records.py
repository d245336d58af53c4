"""The laws of what a run leaves on disk."""

import hashlib
import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecosystem.errors import RecordError
from ecosystem.records import Journal, RunRecord, open_run, read_json, slug, write_json, write_text
from ecosystem.rng import stream
from ecosystem.web.corpus import COLUMNS

TRAINED = dict.fromkeys(("pages", "human", "lambda", "synthetic_share", "lineage", "loss"), 1)
LINE = {
    "web": dict.fromkeys(("pages", "human", "synthetic", "synthetic_share", "lineage", "published"), 1),
    "ballots": 0,
    "classifier_accuracy": None,
    "providers": {
        "lab \u2028 one": {
            "generation": 0,
            "vote_share": None,
            "trained": {**TRAINED, "by_maker": {}, "by_batch": [], "metrics": {}, "replicates": {}},
        }
    },
}


def line(round):
    return {"round": round, **LINE}


def append(seed, row):
    journal = Journal(seed.lines_path, seed.lines_path.stat().st_size)
    try:
        journal.append(row)
    finally:
        journal.close()


@pytest.fixture
def seed(tmp_path):
    record = RunRecord(tmp_path).seed(3)
    record.begin({"seed": 3}, np.zeros((4, 2)))
    return record


# --- atomic writes ------------------------------------------------------------------------------------------


def test_a_write_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    for text in ("a long text\n" * 100, "short", "é\u2028"):
        write_text(path, text)
        assert path.read_text(encoding="utf-8") == text
        assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_json(path, {"a": 2})
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"], "no temporary file is left"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [-float("inf")]])
def test_json_without_nan_and_infinity(value, tmp_path, seed):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", value)
    assert not (tmp_path / "a.json").exists()
    with pytest.raises(ValueError, match="JSON"):
        append(seed, {"round": 0, "x": value})
    assert seed.lines() == []


def test_what_is_no_json_is_a_record_error_that_names_the_file(tmp_path):
    (tmp_path / "a.json").write_text("{")
    for name in ("a.json", "none.json"):
        with pytest.raises(RecordError, match=name):
            read_json(tmp_path / name)


# --- names --------------------------------------------------------------------------------------------------


def test_plain_names_stay_as_they_are():
    assert slug("lab") == "lab"
    assert slug("lab-2_b") == "lab-2_b"


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_different_names_have_different_files(a, b):
    """Also where a file system takes A and a for the same; and every name is one that it takes."""
    assert (slug(a).lower() == slug(b).lower()) == (a == b)
    assert len(f"{slug(a)}-000.npy".encode()) <= 255
    assert not set(slug(a)) & set("/\\:*?\0 ") and not slug(a).startswith(".")


@pytest.mark.parametrize(("a", "b"), [("a b", "a_b"), ("A", "a"), ("ä", "ö"), ("a/b", "a:b"), (".", "..")])
def test_names_that_would_look_alike(a, b):
    assert slug(a) != slug(b)


def test_galleries_of_similar_names_are_kept_apart(seed):
    """`a b` and `a_b`, and a name that ends like a generation."""
    names = ["a b", "a_b", "A_b", "a", "a-1", "a-001"]
    for number, name in enumerate(names):
        for generation in (0, 1):
            seed.save_gallery(name, generation, np.full((4, 2), 10 * number + generation))
    for number, name in enumerate(names):
        found = seed.gallery(name)
        assert {g: int(samples[0, 0]) for g, samples in found.items()} == {0: 10 * number, 1: 10 * number + 1}, name


# --- lines --------------------------------------------------------------------------------------------------


def test_lines_come_back_in_order_whatever_they_hold(seed):
    """A line break of Unicode inside a text is no end of a line."""
    for round in range(3):
        append(seed, line(round))
    assert seed.lines() == [line(round) for round in range(3)]


def test_a_file_cut_anywhere_gives_the_rounds_before_the_cut(seed):
    for round in range(3):
        append(seed, line(round))
    path = seed.folder / "metrics.jsonl"
    whole = path.read_bytes()
    ends = [number for number, byte in enumerate(whole) if byte == ord("\n")]
    for cut in {*range(0, len(whole), 37), *(end + near for end in ends for near in (-1, 0, 1)), len(whole)}:
        path.write_bytes(whole[:cut])
        assert seed.lines() == [line(round) for round in range(whole[:cut].count(b"\n"))]


@pytest.mark.parametrize(
    "row",
    [
        "",
        "null",
        "[]",
        "{}",
        json.dumps(line(5)),
        json.dumps({**line(1), "web": 3}),
        json.dumps({**line(1), "providers": []}),
        json.dumps({**line(1), "providers": {"lab": None}}),
        json.dumps({**line(1), "providers": {"lab": {"generation": 0, "vote_share": None, "trained": {}}}}),
    ],
)
def test_a_line_that_is_no_round_is_refused_with_its_number(row, seed):
    append(seed, line(0))
    with (seed.folder / "metrics.jsonl").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(RecordError, match=r"metrics\.jsonl:2"):
        seed.lines()


# --- seeds --------------------------------------------------------------------------------------------------


def test_to_begin_is_to_begin_anew(seed):
    append(seed, line(0))
    seed.save_gallery("lab", 0, np.zeros((4, 2)))
    seed.begin({"seed": 3}, np.ones((4, 2)))
    assert seed.lines() == []
    assert seed.gallery("lab") == {}
    assert seed.human_gallery().tolist() == np.ones((4, 2)).tolist()
    assert seed.status() == {"state": "running", "rounds_done": 0}


def test_seeds_are_found_in_order_and_nothing_else_is_one(tmp_path):
    record = RunRecord(tmp_path)
    for number in (10, 2, 0):
        record.seed(number).begin({}, np.zeros((1, 2)))
    (tmp_path / "seed-7").mkdir()  # made, but not begun
    (tmp_path / "seed-x").mkdir()
    assert [seed.seed for seed in record.seeds()] == [0, 2, 10]


def test_to_clear_a_run_takes_away_what_was_found_and_nothing_else(tmp_path):
    record = RunRecord(tmp_path)
    record.seed(0).begin({}, np.zeros((1, 2)))
    for name in ("summary.json", "notes.txt"):
        (tmp_path / name).write_text("{}")
    for name in ("figures", "seed-notes"):
        (tmp_path / name).mkdir()
    record.clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "seed-notes"]


def test_a_journal_goes_on_where_it_is_told_to(seed):
    """What stands behind is of rounds that are run again; the checksum is of what stands before and after."""
    journal = Journal(seed.lines_path)
    ends = []
    for round in range(3):
        journal.append(line(round))
        ends.append((journal.size, journal.sha256))
    journal.close()
    again = Journal(seed.lines_path, ends[0][0])
    assert (again.size, again.sha256) == ends[0]
    assert seed.lines() == [line(0)]
    for round in (1, 2):
        again.append(line(round))
    assert (again.size, again.sha256) == ends[2]
    assert hashlib.sha256(seed.lines_path.read_bytes()).hexdigest() == again.sha256


def test_pages_come_back_as_they_were_saved(seed):
    rng = stream(0, "test", "pages")
    columns = {name: rng.integers(0, 100, 7).astype(dtype) for name, dtype in COLUMNS.items()}
    items = rng.integers(0, 256, (7, 1, 4, 4)).astype(np.uint8)
    blocks = [
        seed.save_pages(first, {name: column[first:end] for name, column in columns.items()}, items[first:end])
        for first, end in ((0, 3), (3, 7))
    ]
    assert [(block.first, block.count) for block in blocks] == [(0, 3), (3, 4)]
    found, back = seed.load_pages(blocks[1])
    np.testing.assert_array_equal(back, items[3:])
    assert {name: (column.dtype, column.tolist()) for name, column in found.items()} == {
        name: (column.dtype, column[3:].tolist()) for name, column in columns.items()
    }
    for block in blocks:
        for path, sha256 in seed.page_files(block):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    seed.keep_pages(blocks[:1])
    assert sorted(path.name for path in (seed.folder / "pages").iterdir()) == ["from-0.npy", "from-0.parquet"]


def test_a_run_is_found_by_its_directory_or_a_seed_s(tmp_path, seed):
    (tmp_path / "scenario.resolved.yaml").write_text("scenario: {}\n")
    assert open_run(tmp_path) == open_run(seed.folder) == RunRecord(tmp_path)
    with pytest.raises(RecordError, match="lacks the scenario"):
        open_run(tmp_path).resolved()
