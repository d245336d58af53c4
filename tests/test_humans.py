"""Human sources: laws that every source keeps, then the truth of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from ecosystem.errors import DataError
from ecosystem.humans import (
    Categorical,
    Cifar10,
    Digits,
    FashionMnist,
    Gaussian,
    Humans,
    HumanSource,
    ImageFolder,
    Mnist,
    Ring8,
    TwoMoons,
)
from ecosystem.humans.files import folder
from ecosystem.rng import stream

ENDLESS = [
    Gaussian(),
    Gaussian(dims=5, mean=3.0, std=0.5, held_out=100),
    Ring8(),
    Ring8(labelled=True),
    TwoMoons(),
    TwoMoons(labelled=True),
]
DISCRETE = [
    Categorical((0.5, 0.3, 0.2)),
    Categorical((0.1,) * 10, values=tuple(2.0**k for k in range(10)), held_out=50),
]
FINITE = [
    Digits(),
    Digits(held_out=1000, labelled=False),
    Mnist(pages=3000),
    FashionMnist(pages=350, held_out=60),
    ImageFolder("images", size=8, pages=350, held_out=60, classes=5, labelled=True),
    ImageFolder("images", size=6, channels=1, pages=350, held_out=60),
    pytest.param(Cifar10(pages=3000), marks=pytest.mark.slow),
]


def idx(values: Any) -> bytes:
    """The format of MNIST's files: the type, the number of sides, the sides, the bytes."""
    return bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes() + values.astype(np.uint8).tobytes()


def clothes(root: Path, training: int = 400, test: int = 100) -> None:
    """Fashion-MNIST as torchvision lays it out: fewer images, of noise; the label is that of the first pixel."""
    folder = root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    for part, size in (("train", training), ("t10k", test)):
        x = stream(0, "test", part).integers(0, 256, (size, 28, 28))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(x))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(x[:, 0, 0] % 10))


def images(root: Path) -> None:
    """500 pictures of noise in five folders."""
    for number, pixels in enumerate(stream(0, "test", "images").integers(0, 256, (500, 8, 8, 3), dtype=np.uint8)):
        path = root / "images" / "abcde"[number % 5] / f"{number}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("made")
    clothes(root)
    images(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECOSYSTEM_CACHE", str(root / "cache"))
        yield root


def opened(settings: HumanSource, unpacked: Callable[[str], str], made: Path) -> Humans:
    if isinstance(settings, Mnist | Cifar10):
        settings = replace(settings, root=unpacked(settings.source))
    elif isinstance(settings, FashionMnist):
        settings = replace(settings, root=str(made))
    elif isinstance(settings, ImageFolder):
        settings = replace(settings, root=str(made / settings.root))
    return settings.open()


@pytest.fixture(params=ENDLESS, ids=str)
def endless(request: pytest.FixtureRequest, unpacked: Callable[[str], str], made: Path) -> Humans:
    return opened(request.param, unpacked, made)


@pytest.fixture(params=FINITE, ids=str)
def finite(request: pytest.FixtureRequest, unpacked: Callable[[str], str], made: Path) -> Humans:
    return opened(request.param, unpacked, made)


@pytest.fixture(params=[*ENDLESS, *DISCRETE], ids=str)
def known(request: pytest.FixtureRequest, unpacked: Callable[[str], str], made: Path) -> Humans:
    return opened(request.param, unpacked, made)


@pytest.fixture(params=[*ENDLESS, *DISCRETE, *FINITE], ids=str)
def humans(request: pytest.FixtureRequest, unpacked: Callable[[str], str], made: Path) -> Humans:
    return opened(request.param, unpacked, made)


def rows(x: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in x}


# Laws ---------------------------------------------------------------------------------------------------


def test_items_have_the_declared_shape_type_and_labels(humans: Humans) -> None:
    drawn = humans.draw(40, seed=0, who="ann", round=1, used=0)
    for items in (drawn, humans.held_out(), humans.pool(300)):
        assert items.x.shape == (len(items), *humans.shape)
        assert items.x.dtype == (np.float64 if len(humans.shape) == 1 else np.uint8)
        assert items.y.shape == (len(items),)
        assert items.y.dtype == np.int64
        assert items.y.min() >= 0
        assert items.y.max() < humans.classes
    assert len(drawn) == 40
    assert len(humans.pool(300)) == 300


def test_a_draw_depends_on_its_name_alone(humans: Humans) -> None:
    first = humans.draw(30, seed=4, who="ann", round=2, used=60)
    humans.draw(7, seed=5, who="ben", round=1, used=0)
    again = humans.draw(30, seed=4, who="ann", round=2, used=60)
    other = humans.draw(30, seed=5, who="ann", round=2, used=60)
    assert np.array_equal(first.x, again.x) and np.array_equal(first.y, again.y)
    assert not np.array_equal(first.x, other.x)


def test_one_more_item_leaves_the_first_ones_unchanged(humans: Humans) -> None:
    few = humans.draw(50, seed=1, who="ann", round=0, used=0)
    more = humans.draw(51, seed=1, who="ann", round=0, used=0)
    assert np.array_equal(more.x[:50], few.x) and np.array_equal(more.y[:50], few.y)


def test_endless_sources_give_each_creator_and_round_its_own_items(endless: Humans) -> None:
    assert endless.pool_size is None
    names = [("ann", 0), ("ann", 1), ("ben", 0)]
    one, two, three = (rows(endless.draw(20, seed=0, who=who, round=r, used=0).x) for who, r in names)
    assert not one & two and not one & three and not two & three


def test_a_reservoir_hands_every_page_out_once_and_then_says_so(finite: Humans) -> None:
    size = finite.pool_size
    assert size is not None
    half = size // 2
    first = finite.draw(half, seed=3, who="ann", round=0, used=0)
    rest = finite.draw(size - half, seed=3, who="ben", round=9, used=half)
    everything = np.concatenate([first.x, rest.x])
    pool = finite.pool(10**9)
    assert len(pool) == size
    assert sorted(x.tobytes() for x in everything) == sorted(x.tobytes() for x in pool.x)
    assert len(finite.draw(0, seed=3, who="ann", round=9, used=size)) == 0
    with pytest.raises(DataError, match=r"ann asks for 1 more in round 9(.|\n)*Remedy"):
        finite.draw(1, seed=3, who="ann", round=9, used=size)


def test_held_out_items_are_never_handed_out(humans: Humans) -> None:
    if humans.name == "categorical":
        pytest.skip("its outcomes come again and again")
    size = humans.pool_size
    drawn = humans.draw(size or 5000, seed=0, who="ann", round=0, used=0)
    assert not (rows(drawn.x) & rows(humans.held_out().x))
    assert np.array_equal(humans.held_out().x, humans.held_out().x)


def test_a_known_distribution_is_that_of_the_items(known: Humans) -> None:
    """Each moment of 100,000 items within 5 standard errors."""
    x = known.draw(100_000, seed=0, who="ann", round=0, used=0).x
    truth = known.distribution
    assert truth is not None and truth.mean.shape == known.shape
    standard_error = x.std(axis=0) / len(x) ** 0.5
    assert (np.abs(x.mean(axis=0) - truth.mean) / standard_error).max() < 5
    centred = x - truth.mean
    products = centred[:, :, None] * centred[:, None, :]
    covariance = np.diag(truth.covariance) if truth.covariance.ndim == 1 else truth.covariance
    assert (np.abs(products.mean(axis=0) - covariance) / (products.std(axis=0) / len(x) ** 0.5)).max() < 5
    if truth.atoms is not None and truth.mass is not None:
        counts = (x == truth.atoms.T).sum(axis=0)
        assert counts.sum() == len(x)
        assert (np.abs(counts - len(x) * truth.mass) / (len(x) * truth.mass) ** 0.5).max() < 5


def test_a_source_of_files_has_no_known_distribution(finite: Humans) -> None:
    assert finite.distribution is None


# Truth --------------------------------------------------------------------------------------------------


def test_equal_settings_open_once() -> None:
    assert Digits().open() is Digits().open()
    assert Ring8(std=0.1).open() is not Ring8().open()


def test_the_gaussian_has_its_moments() -> None:
    n = 20_000
    x = Gaussian(dims=3, mean=2.0, std=0.5).open().draw(n, seed=0, who="a", round=0, used=0).x
    # six standard errors: a false alarm once in 5e8 runs, were the streams not fixed
    assert np.abs(x.mean(axis=0) - 2.0).max() < 6 * 0.5 / n**0.5
    assert np.abs(np.cov(x.T) - 0.25 * np.eye(3)).max() < 6 * 0.25 * (2 / n) ** 0.5


def test_the_ring_stands_at_its_modes() -> None:
    humans = Ring8(radius=3.0, std=0.1, labelled=True).open()
    assert humans.modes is not None
    centres, std = humans.modes
    assert centres.shape == (8, 2) and std == 0.1
    assert np.allclose(np.linalg.norm(centres, axis=1), 3.0)
    items = humans.draw(16_000, seed=0, who="a", round=0, used=0)
    residual = items.x - centres[items.y]
    assert abs(residual.std() - 0.1) < 6 * 0.1 / (2 * 32_000) ** 0.5
    counts = np.bincount(items.y, minlength=8)
    assert np.abs(counts - 2000).max() < 6 * (2000 * 7 / 8) ** 0.5


def test_unlabelled_sources_draw_the_same_items() -> None:
    for make in (Ring8, TwoMoons, Digits):
        with_labels, without = make(labelled=True).open(), make(labelled=False).open()
        a, b = (h.draw(50, seed=0, who="a", round=0, used=0) for h in (with_labels, without))
        assert np.array_equal(a.x, b.x) and not b.y.any() and a.y.any()
        assert without.classes == 1


def test_the_moons_lie_on_the_curves_of_scikit_learn() -> None:
    from sklearn.datasets import make_moons

    curve, labels = make_moons(4000, shuffle=False, noise=None, random_state=0)
    items = TwoMoons(noise=1e-6, labelled=True).open().draw(500, seed=0, who="a", round=0, used=0)
    for moon in (0, 1):
        ours, theirs = items.x[items.y == moon], curve[labels == moon]
        nearest = np.linalg.norm(ours[:, None] - theirs[None], axis=2).min(axis=1)
        assert nearest.max() < np.pi / 2000  # the spacing of scikit-learn's points


@pytest.mark.parametrize("noise", [1e-9, 0.05, 0.5])
def test_the_moments_of_the_moons_are_integrals_along_them(noise: float) -> None:
    """By quadrature over the angle: the midpoint rule on 10,000 points is exact to 1e-8."""
    t = np.pi * (np.arange(10_000) + 0.5) / 10_000
    upper, lower = (np.cos(t), np.sin(t)), (1 - np.cos(t), 0.5 - np.sin(t))
    curve = np.concatenate([np.stack(upper, 1), np.stack(lower, 1)])
    truth = TwoMoons(noise=noise).distribution()
    assert np.allclose(truth.mean, curve.mean(axis=0), atol=1e-7)
    assert np.allclose(truth.covariance, np.cov(curve.T, bias=True) + noise**2 * np.eye(2), atol=1e-7)


def test_outcomes_stand_where_they_are_put() -> None:
    plain, placed = Categorical((0.25, 0.75)).open(), Categorical((0.25, 0.75), values=(3.0, -1.5)).open()
    a, b = (h.draw(200, seed=0, who="a", round=0, used=0).x for h in (plain, placed))
    assert set(a.ravel()) == {0.0, 1.0}
    assert np.array_equal(b, np.where(a == 0, 3.0, -1.5)), "the same outcomes elsewhere"
    assert plain.shape == (1,) and plain.classes == 1 and plain.pool_size is None and plain.modes is None
    assert placed.distribution is not None and placed.distribution.mass is not None
    assert placed.distribution.mass.tolist() == [0.25, 0.75]


def test_probabilities_may_miss_one_by_rounding() -> None:
    assert sum((0.1,) * 10) != 1
    known = Categorical((0.1,) * 10).distribution()
    assert known.mass is not None and abs(known.mass.sum() - 1) < 1e-15


def test_digits_are_the_real_scans() -> None:
    humans = Digits().open()
    assert humans.shape == (1, 8, 8) and humans.classes == 10
    assert humans.pool_size == 1000 and len(humans.held_out()) == 797
    everything = np.concatenate([humans.pool(2000).x, humans.held_out().x])
    assert everything.min() == 0 and everything.max() == 255
    assert set(np.unique(everything)) <= {round(v * 255 / 16) for v in range(17)}


def test_mnist_is_read_from_a_folder(unpacked: Callable[[str], str]) -> None:
    humans = Mnist(root=unpacked("mnist")).open()
    assert humans.shape == (1, 28, 28) and humans.classes == 10 and humans.pool_size == 60_000
    assert humans.pool(3).y.tolist() == [5, 0, 4]  # the first three labels of the official file
    assert len(humans.held_out()) == 2000


def test_fashion_mnist_is_read_from_a_folder(made: Path) -> None:
    humans = FashionMnist(root=str(made), pages=300, held_out=40).open()
    humans.ready()
    truth = stream(0, "test", "train").integers(0, 256, (400, 28, 28))
    assert humans.shape == (1, 28, 28) and humans.classes == 10 and humans.pool_size == 300
    assert np.array_equal(humans.pool(400).x[:, 0], truth[:300])
    for items in (humans.pool(400), humans.held_out()):
        assert np.array_equal(items.y, items.x[:, 0, 0, 0] % 10)
    assert FashionMnist().open().pool_size == 60_000 and FashionMnist(labelled=False).open().classes == 1


@pytest.mark.slow
def test_cifar10_is_read_from_a_folder(unpacked: Callable[[str], str]) -> None:
    humans = Cifar10(root=unpacked("cifar10"), held_out=500).open()
    assert humans.shape == (3, 32, 32) and humans.classes == 10 and humans.pool_size == 50_000
    assert humans.pool(4).y.tolist() == [6, 9, 9, 4]
    assert humans.pool(1).x[0, :, 0, 0].tolist() == [59, 62, 63]  # red, green, blue of its first pixel
    assert len(humans.held_out()) == 500


# Faults -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "inside"),
    [(Mnist(), "MNIST/raw"), (FashionMnist(), "FashionMNIST/raw"), (Cifar10(), "cifar-10-batches-py")],
    ids=["mnist", "fashion-mnist", "cifar10"],
)
def test_missing_files_name_the_folder_and_both_remedies(
    settings: Mnist | FashionMnist | Cifar10, inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    def nothing_there(root: Path, *, train: bool, download: bool) -> None:
        raise RuntimeError("Dataset not found." if not download else "no network")

    monkeypatch.setenv("ECOSYSTEM_DATA", str(tmp_path / "here"))
    for name in ("MNIST", "FashionMNIST", "CIFAR10"):
        monkeypatch.setattr(torchvision.datasets, name, nothing_there)
    with pytest.raises(DataError) as caught:
        settings.open().ready()
    message = str(caught.value)
    assert str(tmp_path / "here") in message
    assert "no network" in message and "ECOSYSTEM_DATA" in message and "network be reached" in message
    assert f"a folder that holds {inside}" in message


@pytest.mark.parametrize("damage", ["fewer", "no test set", "labels cut", "no idx", "fewer labels"])
def test_damaged_official_files_are_refused(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clothes(tmp_path)
    raw = tmp_path / "FashionMNIST" / "raw"
    labels = raw / "train-labels-idx1-ubyte"
    if damage == "no test set":
        (raw / "t10k-images-idx3-ubyte").unlink()
    elif damage == "labels cut":
        labels.write_bytes(labels.read_bytes()[:-1])
    elif damage == "no idx":
        labels.write_text("<html>404</html>")
    elif damage == "fewer labels":
        labels.write_bytes(idx(np.zeros(399)))

    def no_network(self: object) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr("torchvision.datasets.FashionMNIST.download", no_network)
    settings = FashionMnist(root=str(tmp_path), held_out=60, pages=None if damage == "fewer" else 100)
    with pytest.raises(DataError, match=r"(not the official one|no network)(.|\n)*Remedy"):
        settings.open().ready()


def test_the_folder_is_root_then_the_environment_then_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECOSYSTEM_DATA", "/data")
    assert folder("/mine") == Path("/mine")
    assert folder(None) == Path("/data")
    monkeypatch.delenv("ECOSYSTEM_DATA")
    assert folder(None) == Path.home() / ".cache" / "ecosystem"


@pytest.mark.parametrize(
    "mapping",
    [
        {"source": "digits", "held_out": 1797},
        {"source": "gaussian", "dims": 0},
        {"source": "gaussian", "std": 0.0},
        {"source": "ring-8", "labelled": "yes"},
        {"source": "two-moons", "nose": 0.1},
        {"source": "mnist", "held_out": 10_001},
        {"source": "fashion-mnist", "held_out": 10_001},
        {"source": "fashion_mnist"},
        {"source": "image-folder"},
        {"source": "image-folder", "root": ""},
        {"source": "image-folder", "root": None},
        {"source": "image-folder", "root": "x", "size": 3},
        {"source": "image-folder", "root": "x", "size": 1025},
        {"source": "image-folder", "root": "x", "channels": 2},
        {"source": "image-folder", "root": "x", "crop": "centre"},
        {"source": "image-folder", "root": "x", "crop": None},
        {"source": "image-folder", "root": "x", "held_out": 0},
        {"source": "image-folder", "root": "x", "held_out": 0.1},
        {"source": "image-folder", "root": "x", "pages": 0},
        {"source": "image-folder", "root": "x", "classes": 1},
        {"source": "image-folder", "root": "x", "labelled": True},
        {"source": "categorical"},
        {"source": "categorical", "probabilities": []},
        {"source": "categorical", "probabilities": [0.5, 0.5 + 1e-8]},
        {"source": "categorical", "probabilities": [0.5, 0.6, -0.1]},
        {"source": "categorical", "probabilities": [1.0, 0.0]},
        {"source": "categorical", "probabilities": [0.5, 0.5], "values": [1.0]},
        {"source": "categorical", "probabilities": [0.5, 0.5], "values": [1.0, 1.0]},
        {"source": "svhn"},
    ],
    ids=str,
)
def test_wrong_settings_are_refused(mapping: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(HumanSource).validate_json(json.dumps(mapping))


def test_settings_are_read_from_a_mapping() -> None:
    read = TypeAdapter(HumanSource).validate_json
    assert read('{"source": "gaussian", "mean": 1}') == Gaussian(mean=1.0)
    assert read('{"source": "ring-8", "labelled": true}') == Ring8(labelled=True)
    assert read('{"source": "mnist", "pages": 5000}') == Mnist(pages=5000)
    assert read('{"source": "fashion-mnist"}') == FashionMnist()
    folder_of_faces = '{"source": "image-folder", "root": "faces", "channels": 1, "classes": 40, "labelled": true}'
    assert read(folder_of_faces) == ImageFolder("faces", channels=1, classes=40, labelled=True)
    assert read('{"source": "categorical", "probabilities": [0.5, 0.5]}') == Categorical((0.5, 0.5))
