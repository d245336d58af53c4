"""A folder of images as human data: what it hands out, what is kept of it on disk, and what can be wrong with it."""

from __future__ import annotations

import io
import multiprocessing
import os
import shutil
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ecosystem import checkpoints, cli, loop, results, scenarios
from ecosystem.errors import DataError, ScenarioError
from ecosystem.humans import Humans, ImageFolder, decoded, image_folder
from ecosystem.humans.listing import Picture, links, pictures
from ecosystem.records import RunRecord
from ecosystem.rng import stream
from ecosystem.sweeping import design, plan

SIDE = 8
NAMES = [f"{person}/{number}.png" for person in ("ann", "ann-b", "ben") for number in range(10)]
SMALL = ImageFolder("faces", size=SIDE, channels=1, held_out=6)


def grey(value: int, side: int = SIDE) -> Image.Image:
    return Image.new("L", (side, side), value)


def fill(folder: Path, names: list[str] = NAMES) -> Path:
    """One-coloured pictures: the n-th of the names has the grey value n."""
    for value, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        grey(value).save(path)
    return folder


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECOSYSTEM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ECOSYSTEM_CACHE", str(tmp_path / "cache"))
    image_folder._reservoir.cache_clear()


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return fill(tmp_path / "data" / "faces")


@pytest.fixture
def cached(tmp_path: Path) -> Callable[[], list[Path]]:
    return lambda: sorted((tmp_path / "cache" / "images").glob("*.npy"))


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every picture that is decoded."""
    seen: list[Path] = []
    pixels = decoded.pixels

    def watched(path: Path, frame: Any) -> Any:
        seen.append(path)
        return pixels(path, frame)

    monkeypatch.setattr(decoded, "pixels", watched)
    return seen


def anew(settings: ImageFolder) -> Humans:
    """As another process would open it."""
    image_folder._reservoir.cache_clear()
    humans = settings.open()
    humans.ready()
    return humans


def values(humans: Humans) -> tuple[list[int], list[int]]:
    """The grey values of all images: those to draw from, and those held out, each in its order."""
    pool, held_out = humans.pool(10**9).x, humans.held_out().x
    for x in (pool, held_out):
        assert (x == x[:, :1, :1, :1]).all()
    return pool[:, 0, 0, 0].tolist(), held_out[:, 0, 0, 0].tolist()


# What is handed out -----------------------------------------------------------------------------------------


def test_every_image_is_there_once_and_the_split_is_one_shuffle(faces: Path) -> None:
    pool, held_out = values(anew(SMALL))
    order = stream(0, "humans", "image-folder split").permutation(30).tolist()
    assert (held_out, pool) == (order[:6], order[6:]), "positions in the order of paths, which are the grey values"


def test_the_order_of_writing_decides_nothing(faces: Path, tmp_path: Path) -> None:
    other = tmp_path / "data" / "other"
    for name in sorted(NAMES, key=lambda name: name[::-1]):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(faces / name, other / name)
    assert values(anew(SMALL)) == values(anew(replace(SMALL, root="other")))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sets(
        st.lists(st.sampled_from(["a", "b", "a-b", "a.b", "B", "9", "10", "é"]), min_size=1, max_size=3).map("/".join),
        min_size=1,
    )
)
def test_paths_are_ordered_part_by_part(tmp_path: Path, stems: set[str]) -> None:
    """A folder's images stand together, whatever signs its neighbours' names have; all of Unicode, by code points."""
    root = tmp_path / "ordered"
    shutil.rmtree(root, ignore_errors=True)
    for stem in stems:
        (root / stem).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{stem}.png").write_bytes(b"x")
    found = [picture.name for picture in pictures(root)]
    assert sorted(found) == sorted(f"{stem}.png" for stem in stems)
    assert found == sorted(found, key=lambda name: tuple(name.split("/")))


def test_classes_are_the_sub_folders_by_name(faces: Path) -> None:
    told, hidden = anew(replace(SMALL, classes=3, labelled=True)), anew(replace(SMALL, classes=3))
    for items in (told.pool(100), told.held_out(), told.draw(24, seed=1, who="a", round=0, used=0)):
        assert np.array_equal(items.y, items.x[:, 0, 0, 0] // 10), "ann, ann-b, ben, each with ten grey values in a row"
    assert (told.classes, told.known_classes) == (3, 3)
    assert (hidden.classes, hidden.known_classes) == (1, 3)
    plain = anew(SMALL)
    assert (plain.classes, plain.known_classes) == (1, 1)
    assert not plain.pool(100).y.any() and values(plain) == values(hidden) == values(told)


def test_images_deep_in_a_class_are_of_it(tmp_path: Path) -> None:
    fill(tmp_path / "data" / "faces", ["a/x/1.png", "a/y/z/1.png", "b/1.png", "b/2.png"])
    humans = anew(replace(SMALL, classes=2, labelled=True, held_out=1))
    items = [humans.pool(9), humans.held_out()]
    assert sorted((int(x), int(y)) for i in items for x, y in zip(i.x[:, 0, 0, 0], i.y, strict=True)) == [
        (0, 0), (1, 0), (2, 1), (3, 1),
    ]  # fmt: skip


def test_what_is_hidden_or_no_image_is_left_out(faces: Path) -> None:
    for name in (".hidden.png", "._ann.png", ".thumbnails/1.png", "list.txt", "ann/notes.md", "ann/model.npy"):
        (faces / name).parent.mkdir(exist_ok=True)
        (faces / name).write_bytes(b"not an image")
    shutil.copyfile(faces / NAMES[0], faces / "ann" / "UPPER.PNG")
    pool, held_out = values(anew(SMALL))
    assert sorted(pool + held_out) == [0, *range(30)]


def test_pages_are_the_first_of_one_order(faces: Path) -> None:
    every, _ = values(anew(SMALL))
    some = anew(replace(SMALL, pages=10))
    assert values(some)[0] == every[:10]
    assert some.pool_size == 10 and anew(SMALL).pool_size is None
    with pytest.raises(DataError, match="has 10 pages to hand out"):
        some.draw(11, seed=0, who="ann", round=0, used=0)


def test_a_relative_root_is_in_the_folder_of_data(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SMALL.place() == faces
    assert replace(SMALL, root=str(tmp_path / "x")).place() == tmp_path / "x"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert replace(SMALL, root="~/x").place() == tmp_path / "x"
    monkeypatch.delenv("ECOSYSTEM_DATA")
    assert SMALL.place() == tmp_path / ".cache" / "ecosystem" / "faces"


def test_real_faces(unpacked: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """400 photographs of 40 people, 64x64 grey: at their own size, and at half of it."""
    monkeypatch.setenv("ECOSYSTEM_DATA", unpacked("orl"))
    [root] = [path.name for path in Path(unpacked("orl")).iterdir() if path.is_dir()]
    whole = anew(ImageFolder(root, size=64, channels=1, held_out=100, classes=40, labelled=True))
    half = anew(ImageFolder(root, size=32, channels=3, held_out=100, classes=40, labelled=True))
    assert np.array_equal(np.bincount(np.concatenate([whole.pool(300).y, whole.held_out().y])), np.full(40, 10))
    x, small = whole.pool(300).x.astype(float), half.pool(300).x.astype(float)
    assert x.shape == (300, 1, 64, 64) and small.shape == (300, 3, 32, 32)
    assert (small == small[:, :1]).all(), "grey in colour"
    blocks = x.reshape(300, 1, 32, 2, 32, 2).mean(axis=(3, 5))
    assert np.corrcoef(blocks.ravel(), small[:, 0].ravel())[0, 1] > 0.99
    first = Image.open(Path(unpacked("orl")) / root / pictures(Path(unpacked("orl")) / root)[0].name)
    everything = np.concatenate([whole.pool(300).x, whole.held_out().x])
    assert (everything == np.asarray(first)).all(axis=(1, 2, 3)).sum() == 1


# What is looked into, and when -------------------------------------------------------------------------------


def test_open_looks_into_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("looked")

    for owner, name in ((os, "scandir"), (os, "stat"), (io, "open"), (Path, "open"), (Path, "stat")):
        monkeypatch.setattr(owner, name, never)
    humans = replace(SMALL, classes=3, labelled=True).open()
    assert (humans.shape, humans.classes, humans.held_out_size, humans.pool_size) == ((1, SIDE, SIDE), 3, 6, None)
    assert humans.conditions == "image-folder faces 1x8x8"


WORLD = """\
name: small-faces
rounds: 3
humans: {source: image-folder, root: faces, size: 8, channels: 1, held_out: 6}
web: {archive: 10}
creators: [{name: people, count: 2, pages_per_round: 2}]
providers: [{name: lab, card: {family: gaussian, covariance: diagonal}}]
checkpoint_minutes: 0
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Callable[..., Path]:
    def write(*replacements: tuple[str, str]) -> Path:
        text = WORLD
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "faces.yaml").write_text(text)
        return tmp_path / "faces.yaml"

    return write


def test_a_run_s_report_needs_neither_the_folder_nor_its_pixels(
    faces: Path, scenario: Callable[..., Path], tmp_path: Path
) -> None:
    run = results.run(scenarios.load(str(scenario())), [0], tmp_path / "run", force=False)
    assert run.summary["humans"]["shape"] == [1, 8, 8] and run.summary["humans"]["held_out"] == 6
    before = run.summary
    shutil.rmtree(faces)
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "run" / "summary.json").unlink()
    assert cli.guarded(lambda: cli.app(["report", str(tmp_path / "run")], standalone_mode=False)) == 0
    assert results.of(run.question, tmp_path / "run").summary == before


@pytest.mark.parametrize("labelled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_classifier_learns_the_sub_folders_also_where_models_are_not_told(
    labelled: bool, faces: Path, scenario: Callable[..., Path], tmp_path: Path
) -> None:
    classes = ("held_out: 6", f"held_out: 6, classes: 3, labelled: {str(labelled).lower()}")
    taste = ("providers:", "users: [{name: u, count: 3, k: 2, reward: {kind: class-confidence, class: 2}}]\nproviders:")
    run = results.run(scenarios.load(str(scenario(classes, taste))), [0], tmp_path / "run", force=False)
    assert run.summary["humans"]["classes"] == (3 if labelled else 1)
    assert run.summary["humans"]["classifier_accuracy"] is not None
    measured = run.summary["providers"]["lab"]["generations"][0]["metrics"]
    assert {"frechet", "class-entropy", "reward"} <= measured.keys() and ("agreement" in measured) == labelled


def test_too_few_pages_are_told_before_the_run(faces: Path, scenario: Callable[..., Path]) -> None:
    """24 are not held out; with ten archived and four a round, three rounds take 22."""
    scenarios.load(str(scenario()))
    with pytest.raises(DataError, match=r"25 human pages are wanted, but .*faces has 24 beside(.|\n)*Remedy"):
        scenarios.load(str(scenario(("archive: 10", "archive: 13"))))
    with pytest.raises(ScenarioError, match=r"13 archived and 12 fresh human pages are wanted, but .* has 24"):
        scenarios.load(str(scenario(("archive: 10", "archive: 13"), ("held_out: 6", "held_out: 6, pages: 24"))))
    with pytest.raises(DataError, match="26 human pages are wanted"):
        plan.make(str(scenario()), design.of([("rounds", "3,4")], "grid", None))


def test_a_run_does_not_go_on_with_other_images(faces: Path, scenario: Callable[..., Path], tmp_path: Path) -> None:
    """Else the order would be another, and a page come twice or one that was held out."""
    asked, out = scenarios.load(str(scenario())), tmp_path / "run"
    for event in loop.run(asked, [0], out):
        if event.kind == "round":
            break
    [seed] = RunRecord(out).seeds()
    assert checkpoints.found(seed)
    os.utime(faces / NAMES[3])
    assert "resumed" in kinds(asked, out), "another time of change, the same images"
    grey(200).save(faces / "cat.png")
    told = kinds(asked, out)
    assert "resumed" not in told and "warning" in told


def kinds(asked: Any, out: Path) -> list[str]:
    """Of the events of a run that is left once a round is over."""
    seen = []
    for event in loop.run(asked, [0], out):
        seen.append(event.kind)
        if event.kind == "round":
            break
    return seen


def test_the_fingerprint_is_of_names_and_pixels(faces: Path) -> None:
    def told() -> str:
        image_folder._reservoir.cache_clear()
        return SMALL.open().fingerprint

    first = told()
    os.utime(faces / NAMES[0])
    assert told() == first
    (faces / NAMES[0]).rename(faces / "ann" / "0.PNG")
    assert told() != first
    (faces / "ann" / "0.PNG").rename(faces / NAMES[0])
    assert told() == first
    for name in NAMES:
        grey(77).save(faces / name)
    assert told() != first


# Where a scenario may look -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("root", "allowed"),
    [("faces", True), ("faces/ann", True), ("missing", True), ("../strange", False), ("/", False), ("'~'", False)],
)
def test_a_stranger_s_scenario_names_folders_of_data(
    root: str, allowed: bool, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: Any
) -> None:
    (tmp_path / "own").mkdir()
    path = scenario(("root: faces", f"root: {root}")).rename(tmp_path / "own" / "x.yaml")
    monkeypatch.chdir(tmp_path / "own")
    assert ("--allow-paths" in refusal(path)) == (not allowed)


def refusal(path: Path, allow_paths: bool = False) -> str:
    from ecosystem.documents import read

    try:
        scenarios.from_document(read(path), {}, allow_paths)
    except ScenarioError as error:
        return str(error)
    return ""


def test_links_among_the_images_lead_to_where_it_may_look(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: Any
) -> None:
    (tmp_path / "own").mkdir()
    path = scenario().rename(tmp_path / "own" / "x.yaml")
    monkeypatch.chdir(tmp_path / "own")
    (faces / "same.png").symlink_to(faces / NAMES[0])
    (faces / "notes.txt").symlink_to(tmp_path / "private.txt")
    assert refusal(path) == ""
    grey(3).save(tmp_path / "private.png")
    (faces / "ben" / "link.png").symlink_to(tmp_path / "private.png")
    assert "link.png` leads to" in refusal(path) and "--allow-paths" in refusal(path)
    assert refusal(path, allow_paths=True) == ""
    assert sorted(link.name for link in links(faces)) == ["link.png", "same.png"]
    assert list(links(tmp_path / "missing")) == []


# What is kept on disk ----------------------------------------------------------------------------------------


def test_images_are_decoded_once(faces: Path, decodings: list[Path], cached: Callable[[], list[Path]]) -> None:
    first = values(anew(SMALL))
    assert sorted(decodings) == sorted(faces / name for name in NAMES)
    for same in (SMALL, replace(SMALL, pages=4, held_out=9), replace(SMALL, classes=3, labelled=True)):
        anew(same)
    assert len(decodings) == 30 and len(cached()) == 1 and values(anew(SMALL)) == first
    anew(replace(SMALL, channels=3))
    assert len(decodings) == 60 and len(cached()) == 2
    moved = faces.rename(faces.parent / "moved")
    anew(replace(SMALL, root=str(moved)))
    assert len(decodings) == 60, "where it stands does not count"


@pytest.mark.parametrize("change", ["touched", "replaced", "added", "taken"])
def test_another_folder_is_decoded_anew(change: str, faces: Path, decodings: list[Path]) -> None:
    anew(SMALL)
    path = faces / NAMES[7]
    if change == "touched":
        os.utime(path)
    elif change == "taken":
        path.unlink()
    else:
        grey(99).save(path if change == "replaced" else faces / "zoe.png")
    pool, held_out = values(anew(SMALL))
    assert len(decodings) == 60 + (change == "added") - (change == "taken")
    assert [*pool, *held_out].count(99) == (change in ("replaced", "added"))


def test_files_that_differ_in_their_content_alone_are_told_apart(tmp_path: Path) -> None:
    """As where all were unpacked with one and the same time, and pictures of one size have as many bytes."""
    for root, base in (("one", 0), ("two", 100)):
        (tmp_path / "data" / root).mkdir(parents=True)
        for number in range(20):
            path = tmp_path / "data" / root / f"{number}.bmp"
            grey(base + number).save(path)
            os.utime(path, ns=(10**18, 10**18))
    one, two = (tmp_path / "data" / root for root in ("one", "two"))
    assert pictures(one) == pictures(two)
    found = [sorted(x for part in values(anew(replace(SMALL, root=root))) for x in part) for root in ("one", "two")]
    assert found == [list(range(20)), list(range(100, 120))]


def spoilt(whole: bytes) -> Iterator[bytes]:
    """What may stand where pixels should."""
    yield b""
    yield whole[:5]
    yield whole[:128]
    yield whole[:-1]
    yield whole + b"\0"
    yield b"PK\x03\x04" + whole[4:]
    yield whole.replace(b"|u1", b"|i1")
    yield whole.replace(b"(30, 1, 8, 8)", b"(30, 8, 8, 1)")
    yield whole.replace(b"False", b"True ")
    yield whole.replace(b"30", b"9" * 2, 1)
    yield whole.replace(b"{", b"(", 1)
    for array in (np.zeros(3), np.array([{}], dtype=object), np.zeros((30, 1, 8, 8), np.int8)):
        file = io.BytesIO()
        np.save(file, array, allow_pickle=True)
        yield file.getvalue()


def test_damaged_pixels_are_written_anew(faces: Path, decodings: list[Path], cached: Callable[[], list[Path]]) -> None:
    first = values(anew(SMALL))
    [path] = cached()
    whole = path.read_bytes()
    for count, damaged in enumerate(spoilt(whole), start=2):
        assert damaged != whole
        path.write_bytes(damaged)
        assert values(anew(SMALL)) == first
        assert path.read_bytes() == whole and len(decodings) == 30 * count


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.integers(0, 2048), flips=st.lists(st.tuples(st.integers(0, 127), st.integers(1, 255)), max_size=3))
def test_a_damaged_header_never_gives_other_pixels(tmp_path: Path, cut: int, flips: list[tuple[int, int]]) -> None:
    x = np.arange(1920, dtype=np.uint8).reshape(30, 1, 8, 8)
    path = tmp_path / "pixels.npy"
    np.save(path, x)
    data = bytearray(path.read_bytes())
    for place, change in flips:
        data[place] ^= change
    path.write_bytes(data[: max(cut, 0)])
    found = decoded._whole(path, x.shape)
    assert found is None or np.array_equal(found, x)


def test_what_a_killed_process_left_is_swept_away(
    faces: Path, tmp_path: Path, cached: Callable[[], list[Path]]
) -> None:
    anew(SMALL)
    [path] = cached()
    path.unlink()
    left = path.with_name(f".{path.name}.part.elsewhere.7")
    left.write_bytes(b"half")
    anew(SMALL)
    assert path.exists() and not left.exists()
    assert {p.name for p in path.parent.iterdir()} == {path.name, f".{path.name}.lock"}


def test_two_that_begin_at_once_decode_once(faces: Path, decodings: list[Path]) -> None:
    found, begin = pictures(faces), threading.Barrier(4)
    seen: list[Any] = []

    def opened() -> None:
        begin.wait()
        seen.append(np.array(decoded.mapped(faces, found, SMALL.frame)))

    threads = [threading.Thread(target=opened) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(decodings) == 30 and len(seen) == 4
    assert all(np.array_equal(x, seen[0]) for x in seen)


def _decode_in_a_process(faces: Path) -> None:
    found = decoded.mapped(faces, pictures(faces), SMALL.frame)
    assert found[:, 0, 0, 0].tolist() == list(range(30))


def test_processes_without_locks_leave_one_whole_file(
    faces: Path, cached: Callable[[], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(decoded.fcntl, "flock", unknown)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_decode_in_a_process, args=(faces,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    [path] = cached()
    assert np.load(path)[:, 0, 0, 0].tolist() == list(range(30))
    assert not list(path.parent.glob(".*.part.*"))


def test_a_place_that_cannot_be_written_names_the_variable(faces: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match=r"cannot be kept in .*cache/images(.|\n)*ECOSYSTEM_CACHE to a folder with"):
        anew(SMALL)
    (tmp_path / "cache").unlink()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decoded.os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        anew(SMALL)
    assert not [p for p in (tmp_path / "cache" / "images").iterdir() if p.suffix != ".lock"], "nothing is left behind"


def test_pixels_that_cannot_be_mapped_are_told(faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded, "_whole", lambda *_: None)
    with pytest.raises(DataError, match=r"cannot be mapped(.|\n)*ECOSYSTEM_CACHE"):
        anew(SMALL)


def test_a_long_decoding_is_told_on_standard_error(faces: Path, monkeypatch: Any, capsys: Any) -> None:
    anew(SMALL)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(decoded, "MANY", 29)
    anew(replace(SMALL, channels=3))
    told = capsys.readouterr()
    assert told.out == "" and "decoding 30 images" in told.err


def test_a_folder_may_be_larger_than_memory(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sparse file of 250 MB stands for it: what is held is what was drawn, and the order."""
    many, frame = 20_000, ImageFolder("faces").frame
    sparse = np.lib.format.open_memmap(tmp_path / "s.npy", mode="w+", dtype=np.uint8, shape=(many, *frame.shape))
    sparse.flush()
    mapped = np.lib.format.open_memmap(tmp_path / "s.npy", mode="r")
    names = tuple(Picture(f"{n}.png", 1, 0) for n in range(many))
    monkeypatch.setattr(image_folder, "pictures", lambda _: names)
    monkeypatch.setattr(image_folder, "mapped", lambda *_: mapped)
    item = int(np.prod(frame.shape))
    humans = ImageFolder("faces", held_out=50).open()
    tracemalloc.start()
    try:
        humans.ready(19_000)
        ready = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        drawn, pool = humans.draw(100, seed=0, who="a", round=0, used=0), humans.pool(100)
        held = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert mapped.nbytes > 2e8
    assert ready < 50 * item + 60 * many, "the items held out, and a few numbers for each of the others"
    assert held < 220 * item + 20 * many, "the items drawn and those of the pool, and the order"
    for x in (drawn.x, pool.x, humans.held_out().x):
        assert type(x) is np.ndarray and x.flags.writeable and not np.shares_memory(x, mapped)


# Faults ------------------------------------------------------------------------------------------------------


def broken(folder: Path, kind: str) -> ImageFolder:
    """A folder with something wrong, and who would read it."""
    first, second = folder / NAMES[3], folder / NAMES[8]
    match kind:
        case "missing":
            shutil.rmtree(folder)
        case "a file":
            shutil.rmtree(folder)
            folder.write_text("x")
        case "empty":
            shutil.rmtree(folder)
            folder.mkdir()
        case "no images":
            shutil.rmtree(folder)
            folder.mkdir()
            (folder / "faces.zip").write_bytes(b"PK")
        case "null byte":
            return replace(SMALL, root="a\0b")
        case "cut short":
            for path in (first, second):
                path.write_bytes(path.read_bytes()[:50])
        case "no image":
            first.write_text("<html>404 Not Found</html>")
        case "zero bytes":
            first.write_bytes(b"")
        case "part" | "CRDOWNLOAD":
            (folder / f"ben/10.png.{kind}").write_bytes(b"x")
        case "lost link":
            first.unlink()
            first.symlink_to(folder / "nowhere")
        case "pipe":
            first.unlink()
            os.mkfifo(first)
        case "linked folder":
            (folder / "zoe").symlink_to(folder / "ann")
        case "small":
            grey(5, side=6).save(first)
            grey(5, side=7).save(second)
        case "two kinds":
            grey(5, side=6).save(first)
            second.write_text("x")
        case "too few":
            return replace(SMALL, held_out=30)
        case "too few for pages":
            return replace(SMALL, pages=25)
        case "other classes":
            return replace(SMALL, classes=4)
        case "loose":
            grey(5).save(folder / "loose.png")
            return replace(SMALL, classes=3)
    return SMALL


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", ["faces cannot be listed (No such file or directory)", "ECOSYSTEM_DATA"]),
        ("a file", ["faces cannot be listed (Not a directory)"]),
        ("null byte", ["cannot be listed"]),
        ("empty", ["there are no images in", "it holds no files", ".jpg"]),
        ("no images", ["none of its 1 files ends as images do", "unpack them"]),
        ("cut short", ["2 of 30 images in", "cannot be read: first ann/3.png (", "fetch them again"]),
        ("no image", ["1 of 30 images in", "cannot be read: first ann/3.png (its content is no image)"]),
        ("zero bytes", ["1 of 30 images in", "cannot be read: first ann/3.png (an empty file)"]),
        ("part", ["on their way: 1 files", "ben/10.png.part", "let them end"]),
        ("CRDOWNLOAD", ["on their way: 1 files", "ben/10.png.CRDOWNLOAD"]),
        ("lost link", ["first ann/3.png (a link that leads nowhere)"]),
        ("pipe", ["first ann/3.png (no regular file)"]),
        ("linked folder", ["zoe is a link to a folder"]),
        ("small", ["2 of 30 images in", "cannot fill the size asked for: first ann/3.png (6x6)", "a `size` of 6"]),
        ("two kinds", ["1 of 30", "cannot fill the size", "cannot be read: first ann/8.png"]),
        ("too few", ["there are 30 images in", "`held_out: 30` and at least one page"]),
        ("too few for pages", ["`held_out: 6` and `pages: 25`"]),
        ("other classes", ["3 sub-folders of", "`classes` is 4", "`classes: 3`"]),
        ("loose", ["1 of 31 images", "stand in none: first loose.png"]),
    ],
)
def test_faults_are_counted_and_named_with_a_remedy(
    kind: str, words: list[str], faces: Path, cached: Callable[[], list[Path]]
) -> None:
    reader = broken(faces, kind)
    with pytest.raises(DataError) as caught:
        anew(reader)
    message = str(caught.value)
    for word in [*words, "humans: ", "Remedy: "]:
        assert word in message, message
    assert len(message.splitlines()) <= 4 and not cached()


def test_a_mended_folder_is_read(faces: Path) -> None:
    """A fault is not remembered."""
    broken(faces, "cut short")
    with pytest.raises(DataError):
        SMALL.open().ready()
    fill(faces)
    assert sorted(value for part in values(SMALL.open()) for value in part) == list(range(30))


def test_an_image_that_changes_while_it_is_read_is_told(faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = decoded.pixels

    def meddled(path: Path, frame: Any) -> Any:
        found = pixels(path, frame)
        if path == faces / NAMES[4]:
            os.utime(path)
        if path == faces / NAMES[5]:
            path.unlink()
        return found

    monkeypatch.setattr(decoded, "pixels", meddled)
    with pytest.raises(DataError, match=r"2 of 30 .* first ann/4.png \(it changed meanwhile\)"):
        anew(SMALL)
