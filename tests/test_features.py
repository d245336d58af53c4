"""Named feature spaces: what each makes of an item, whose weights it is allowed to read, what is kept on disk."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cleanfid.fid import frechet_distance
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer
from numpy.typing import NDArray
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor, nn

from ecosystem import features, scenarios
from ecosystem import world as world_module
from ecosystem.errors import DataError, EcosystemError, ScenarioError
from ecosystem.features import inception, resnet20, stored
from ecosystem.features.base import Raw
from ecosystem.features.resnet20 import Resnet20, Resnet20Features
from ecosystem.features.weights import known, state_dict
from ecosystem.humans import Cifar10, Digits, Items, Reservoir, files
from ecosystem.loop import round_line, run
from ecosystem.metrics import Sample, frechet
from ecosystem.metrics.frechet import Fid, Frechet, frechet_of_many_dimensions
from ecosystem.records import RunRecord
from ecosystem.reports import print_report
from ecosystem.rng import stream, torch_stream
from ecosystem.summarise import summarise
from ecosystem.web.rewards import ClassConfidence, ClassTaste, MaxConfidence
from ecosystem.world import World

# TorchScript is what clean-fid's weights are in; its end is announced. So is that of an argument clean-fid gives SciPy.
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}Warning") for kind in ("Future", "Deprecation", "User")]
CPU = torch.device("cpu")
Floats = NDArray[np.float64]
Images = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights and cache of the test's own."""
    (tmp_path / "weights").mkdir()
    monkeypatch.setenv("ECOSYSTEM_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("ECOSYSTEM_CACHE", str(tmp_path / "cache"))
    return tmp_path


def images(n: int, shape: tuple[int, ...] = (3, 32, 32), who: str = "images") -> Images:
    return stream(0, "test", who).integers(0, 256, (n, *shape), dtype=np.uint8)


def random_state(who: str = "weights") -> dict[str, Tensor]:
    """Of a ResNet-20 that nobody has trained, in the names that were published."""
    with torch.device("meta"):
        names = Resnet20().state_dict()
    generator, found = torch_stream(CPU, 0, "test", who), {}
    for name, tensor in names.items():
        if not name.endswith("num_batches_tracked"):
            drawn = torch.randn(tensor.shape, generator=generator)
            fan_in = max(1, tensor[0].numel()) if tensor.ndim > 1 else 1
            found[name] = drawn.abs() + 0.5 if tensor.ndim == 1 else drawn * (2 / fan_in) ** 0.5
    return found


def save_as_published(folder: Path, state: dict[str, Tensor] | None = None) -> Path:
    """A checkpoint of several GPUs, as it lies in that repository."""
    path = folder / "weights" / "resnet20-12fca82f.th"
    named = {f"module.{name}": tensor for name, tensor in (state or random_state()).items()}
    torch.save({"state_dict": named, "best_prec1": 91.78}, path)
    return path


# ResNet-20 ----------------------------------------------------------------------------------------------


def test_it_has_the_layers_and_parameters_of_the_paper() -> None:
    """Table 6 of He et al.: 20 layers with weights, 0.27 million parameters."""
    with torch.device("meta"):
        net = Resnet20()
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in net.modules()) == 20
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 2) == 0.27


def test_each_image_has_its_own_features_whatever_stands_beside_it(folders: Path) -> None:
    save_as_published(folders)
    found, x = Resnet20Features(CPU), images(70)  # more than a block
    together = found.of(x)
    assert together.shape == (70, 64) and together.dtype == np.float64 and together.min() >= 0
    scale = together.std()
    assert np.allclose(found.of(x[::-1])[::-1], together, atol=1e-5 * scale)
    assert np.allclose(np.concatenate([found.of(x[i : i + 1]) for i in range(3)]), together[:3], atol=1e-5 * scale)
    assert found.of(x[:0]).shape == (0, 64)


def test_the_formats_hold_the_same_network(folders: Path) -> None:
    save_as_published(folders)
    one = Resnet20Features(CPU).of(images(3))
    save_file(random_state(), folders / "weights" / "resnet20-cifar10.safetensors")  # comes first where there are both
    assert resnet20.found().path.suffix == ".safetensors"
    assert np.array_equal(Resnet20Features(CPU).of(images(3)), one)
    save_file(random_state("others"), folders / "weights" / "resnet20-cifar10.safetensors")
    assert not np.array_equal(Resnet20Features(CPU).of(images(3)), one), "a file that changed is read anew"


@pytest.mark.usefixtures("published_weights")
def test_the_published_file_is_read_and_is_the_one_of_its_name() -> None:
    found = Resnet20Features(CPU)
    assert found.weights is not None and found.weights.startswith("12fca82f")
    # As our network had them when it was right on 91.73 % of the 10,000 test images: the slow test below is the truth.
    assert found.of(images(2)).sum(axis=1) == pytest.approx([40.7965, 40.6154], rel=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("published_weights")
def test_the_published_network_is_as_good_as_it_was_published(unpacked: Callable[[str], str]) -> None:
    """91.73 % of the whole test set; of 1,000 images of it, within three standard errors, 2.6 %."""
    judge = features.judge("resnet20-cifar10", Cifar10(root=unpacked("cifar10"), held_out=1000), CPU)
    assert judge.accuracy == pytest.approx(0.9173, abs=0.026)


# The judge ----------------------------------------------------------------------------------------------


@pytest.fixture
def cifar(monkeypatch: pytest.MonkeyPatch) -> Cifar10:
    """A source that says it is CIFAR-10, of images that are noise."""

    def reservoir(settings: Any, root: Path) -> Reservoir:
        x = images(60 + settings.held_out, who="cifar")
        y = np.arange(len(x)) % 10
        return Reservoir("cifar10", Items(x[:60], y[:60]), Items(x[60:], y[60:]), classes=10)

    monkeypatch.setattr(files, "_reservoir", reservoir)
    return Cifar10(held_out=40, pages=60)


def test_the_judge_is_the_network_and_rewards_are_its_confidence(folders: Path, cifar: Cifar10) -> None:
    save_as_published(folders)
    judge, x = features.judge("resnet20-cifar10", cifar, CPU), images(8)
    q = judge.probabilities(x)
    assert q.shape == (8, 10) and np.allclose(q.sum(axis=1), 1, atol=1e-12)
    logits = torch.from_numpy(Resnet20Features(CPU).of(x)) @ random_state()["linear.weight"].double().T
    assert np.allclose(q, (logits + random_state()["linear.bias"]).softmax(dim=1), atol=1e-5)
    assert np.array_equal(ClassConfidence(class_=3, gamma=5.0).score(x, judge), 5.0 * q[:, 3])
    assert np.array_equal(MaxConfidence(gamma=2.0).score(x, judge), 2.0 * q.max(axis=1))
    weights = tuple(float(label == 3) for label in range(10))
    assert np.allclose(ClassTaste(weights=weights, gamma=5.0).score(x, judge), 5.0 * q[:, 3])
    held_out = cifar.open().held_out()
    assert judge.accuracy == np.mean(judge.probabilities(held_out.x).argmax(axis=1) == held_out.y)


# Inception ----------------------------------------------------------------------------------------------


class StandIn(nn.Module):
    """Of the same interface as the real file, which cannot be had here: mean colours in place of features."""

    def __init__(self, count: int = 2048) -> None:
        super().__init__()
        self.layers = MeanColours(count)

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        return self.layers(x)


class MeanColours(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(x, [28, 28]).flatten(1)[:, : self.count, None, None]


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    """The bytes of such files, by how many features they make."""
    path = tmp_path_factory.mktemp("scripted") / "net.pt"
    found = {}
    for count in (2048, 7):
        torch.jit.script(StandIn(count)).save(path)
        found[count] = path.read_bytes()
    return found


def trusted(folder: Path, data: bytes) -> Path:
    """A file of Inception's name, with the checksum that its user states."""
    path = folder / "weights" / inception.FILE
    path.write_bytes(data)
    path.with_name(f"{path.name}.sha256").write_text(f"{hashlib.sha256(data).hexdigest()}  {path.name}\n")
    return path


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 32, 32), (3, 48, 20), (3, 299, 299), (3, 400, 310)], ids=str)
def test_images_are_resized_as_clean_fid_does(shape: tuple[int, ...]) -> None:
    x = images(2, shape)
    ours = inception.resized(torch.from_numpy(x)).numpy()
    theirs = [build_resizer("clean")(image.transpose(1, 2, 0)).transpose(2, 0, 1) for image in x]
    assert ours.shape == (2, 3, 299, 299)
    assert np.abs(ours - np.stack(theirs)).max() < 1e-3, "of 255: the rounding of floats"


def test_features_are_those_of_clean_fid_whatever_stands_beside_an_image(
    folders: Path, scripted: dict[int, bytes]
) -> None:
    path = trusted(folders, scripted[2048])
    found, x = inception.Inception(CPU), images(20)  # more than a block
    resize, net = build_resizer("clean"), InceptionV3W(str(path.parent), download=False)
    theirs = [net(torch.from_numpy(resize(image.transpose(1, 2, 0)).transpose(2, 0, 1))[None])[0] for image in x]
    together = found.of(x)
    assert together.shape == (20, 2048) and together.dtype == np.float64
    assert np.allclose(together, np.stack(theirs), atol=1e-5)
    assert np.allclose(found.of(x[3:4])[0], together[3], atol=1e-6)
    assert found.of(x[:0]).shape == (0, 2048)


def test_grey_images_have_three_equal_channels(folders: Path, scripted: dict[int, bytes]) -> None:
    trusted(folders, scripted[2048])
    x = images(2, (1, 28, 28))
    found = inception.Inception(CPU)
    assert np.array_equal(found.of(x), found.of(np.repeat(x, 3, axis=1)))


# Weights that are none ----------------------------------------------------------------------------------


class Trap:
    """Would write a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.write_text, (self.path, "sprung")


def zipped(tree: Any) -> bytes:
    file = io.BytesIO()
    torch.save(tree, file)
    return file.getvalue()


def without(name: str) -> dict[str, Tensor]:
    return {key: value for key, value in random_state().items() if key != name}


WRONG: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "a pickle": (lambda folder: pickle.dumps(Trap(folder / "trap")), "cannot be read as a state dict"),
    "a pickle within": (lambda folder: zipped({"state_dict": Trap(folder / "trap")}), "cannot be read"),
    "a module": (lambda _: zipped(nn.ReLU()), "cannot be read"),
    "truncated": (lambda _: zipped(random_state())[:-2000], "cannot be read"),
    "empty": (lambda _: b"", "cannot be read"),
    "text": (lambda _: b"<html>not found</html>", "cannot be read"),
    "a tensor": (lambda _: zipped(torch.zeros(3)), "holds no state dict"),
    "numbers": (lambda _: zipped({"lr": 0.1}), "holds no state dict"),
    "a layer too few": (lambda _: zipped(without("linear.weight")), "holds no ResNet-20"),
    "a layer too many": (lambda _: zipped(random_state() | {"more": torch.zeros(1)}), "holds no ResNet-20"),
    "other shapes": (lambda _: zipped(random_state() | {"linear.bias": torch.zeros(100)}), "holds no ResNet-20"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_named_and_nothing_in_it_is_run(case: str, folders: Path) -> None:
    make, problem = WRONG[case]
    path = folders / "weights" / "resnet20-cifar10.th"
    path.write_bytes(make(folders))
    with pytest.raises(DataError, match=problem) as caught:
        features.ready(["resnet20-cifar10"])
    assert str(path) in str(caught.value) and "Remedy" in str(caught.value)
    assert not (folders / "trap").exists()


def test_damaged_safetensors_are_named(folders: Path) -> None:
    path = folders / "weights" / "resnet20-cifar10.safetensors"
    save_file(random_state(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="cannot be read as a state dict"):
        state_dict(known(path))


def test_where_there_are_no_weights_the_remedy_is_told(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(inception.urllib.request, "urlopen", no_network)
    for name in ("resnet20-cifar10", "inception"):
        with pytest.raises(DataError, match=r"ECOSYSTEM_WEIGHTS"):
            features.ready([name])
    assert list((folders / "weights").iterdir()) == []


def test_what_is_fetched_must_be_the_published_file(
    folders: Path, monkeypatch: pytest.MonkeyPatch, scripted: dict[int, bytes]
) -> None:
    asked: list[str] = []

    def sent(address: str, timeout: float) -> io.BytesIO:
        asked.append(address)
        return io.BytesIO(scripted[2048])

    monkeypatch.setattr(inception.urllib.request, "urlopen", sent)
    with pytest.raises(DataError, match=inception.SHA256):
        features.ready(["inception"])
    assert asked[0].startswith("https://") and asked[0].endswith(inception.FILE)
    assert list((folders / "weights").iterdir()) == [], "nothing is left of it"
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(scripted[2048]).hexdigest())
    features.ready(["inception"])
    assert [path.name for path in (folders / "weights").iterdir()] == [inception.FILE]


def test_torchscript_that_nobody_vouches_for_is_not_run(folders: Path, scripted: dict[int, bytes]) -> None:
    path = trusted(folders, scripted[2048])
    path.with_name(f"{path.name}.sha256").unlink()
    with pytest.raises(DataError, match=inception.SHA256) as caught:
        features.ready(["inception"])
    assert f"{path.name}.sha256" in str(caught.value), "the remedy"


@pytest.mark.parametrize("stated", ["", "12fca82f", "0" * 64], ids=["nothing", "a part", "another"])
def test_a_checksum_beside_a_file_must_be_its_own(stated: str, folders: Path) -> None:
    path = save_as_published(folders)
    path.with_name(f"{path.name}.sha256").write_text(stated)
    with pytest.raises(DataError, match="sha256"):
        features.ready(["resnet20-cifar10"])


@pytest.mark.parametrize("case", ["another network", "no layers", "no TorchScript"])
def test_a_wrong_inception_is_named(case: str, folders: Path, scripted: dict[int, bytes]) -> None:
    layerless = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Identity()), layerless)
    data = {"another network": scripted[7], "no layers": layerless.getvalue(), "no TorchScript": zipped({})}
    path = trusted(folders, data[case])
    with pytest.raises(DataError, match="is not clean-fid's Inception") as caught:
        features.ready(["inception"])
    assert str(path) in str(caught.value)


# What is kept on disk -----------------------------------------------------------------------------------


class Counting:
    """Features that count how often they were computed."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: NDArray[Any]) -> Floats:
        self.calls += 1
        return x.reshape(len(x), -1)[:, :5].astype(np.float64) / 3 // 1e-6 * 2.0**-20  # a float32 by nature


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "features").iterdir())


def test_features_of_the_same_items_are_computed_once(folders: Path) -> None:
    call, x = Counting(), images(10)
    first = stored.recalled(x, "net", CPU, call)
    again = stored.recalled(x.copy(), "net", CPU, call)
    assert call.calls == 1 and np.array_equal(again, call(x).astype(np.float32)) and again.dtype == np.float64
    assert np.allclose(first, again, rtol=1e-7)
    stored.recalled(x.transpose(0, 1, 3, 2), "net", CPU, Counting())
    stored.recalled(x.reshape(10, 3, 1024, 1), "net", CPU, Counting())
    stored.recalled(x, "another net", CPU, Counting())
    assert len(kept(folders)) == 4, "other items, another shape and another net have names of their own"


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "a bit flipped": lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
    "no archive": lambda data: b"not a zip",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_passed_over_and_written_anew(damage: str, folders: Path) -> None:
    call, x = Counting(), images(10)
    good = stored.recalled(x, "net", CPU, call)
    (path,) = kept(folders)
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    assert np.array_equal(stored.recalled(x, "net", CPU, call), good) and call.calls == 2
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "content",
    [{"features": np.zeros((9, 5), np.float32)}, {"features": np.full((10, 5), np.nan, np.float32)}, {"x": np.ones(3)}],
    ids=["too few", "no numbers", "another array"],
)
def test_so_is_one_of_other_things(content: dict[str, NDArray[Any]], folders: Path) -> None:
    call, x = Counting(), images(10)
    stored.recalled(x, "net", CPU, call)
    np.savez(kept(folders)[0], **content)
    stored.recalled(x, "net", CPU, call)
    assert call.calls == 2


def test_a_pickle_among_them_is_not_opened(folders: Path) -> None:
    call, x = Counting(), images(10)
    stored.recalled(x, "net", CPU, call)
    np.savez(kept(folders)[0], features=np.array([Trap(folders / "trap")], dtype=object))
    stored.recalled(x, "net", CPU, call)
    assert call.calls == 2 and not (folders / "trap").exists()


def test_where_nothing_can_be_written_nothing_is_kept(folders: Path) -> None:
    (folders / "cache").write_text("a file in place of the folder")
    call = Counting()
    for _ in range(2):
        stored.recalled(images(10), "net", CPU, call)
    assert call.calls == 2


def test_many_may_write_at_once(folders: Path) -> None:
    """All find nothing, all compute, all write: one whole file is left, and nothing beside it."""
    call, x, found = Counting(), images(10), list[Floats]()
    together = threading.Barrier(8)

    def compute(x: NDArray[Any]) -> Floats:
        together.wait()
        return call(x)

    threads = [threading.Thread(target=lambda: found.append(stored.recalled(x, "net", CPU, compute))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert call.calls == len(found) == 8 and all(np.array_equal(f, found[0]) for f in found)
    assert [path.suffix for path in kept(folders)] == [".npz"]
    assert np.allclose(stored.recalled(x, "net", CPU, call), found[0]) and call.calls == 8


def test_human_items_are_recalled_and_others_are_not(folders: Path) -> None:
    save_as_published(folders)
    found, x = Resnet20Features(CPU), images(5)
    assert np.array_equal(found.of_humans(x), found.of(x))
    assert len(kept(folders)) == 1, "what was generated is not kept"
    assert np.array_equal(found.of_humans(x), found.of(x)), "to the last bit"
    Raw().of_humans(x)
    assert len(kept(folders)) == 1, "what costs nothing is not kept either"


# The Fréchet distance in many dimensions ----------------------------------------------------------------


def points(who: str, n: int, dims: int, shift: float = 0.0) -> Floats:
    """Correlated, of decaying variance and not negative, as pooled activations are."""
    mixing = stream(0, "test", "mixing").standard_normal((dims, dims)) * np.exp(-6 * np.arange(dims) / dims)
    return np.maximum(stream(0, "test", who).standard_normal((n, dims)) @ mixing.T / dims**0.5 + 0.4 + shift, 0)


def clean_fid(a: Floats, b: Floats) -> float:
    return float(frechet_distance(a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False)))


# More points than dimensions on both sides, on one, and on none: then both covariances are singular.
SIZES = pytest.mark.parametrize(("n", "m"), [(400, 300), (30, 300), (300, 30), (30, 40)])


@SIZES
def test_it_is_the_number_of_clean_fid(n: int, m: int) -> None:
    a, b = points("model", n, 64, shift=0.05), points("human", m, 64)
    found = frechet_of_many_dimensions(a, b)
    assert found == pytest.approx(clean_fid(a, b), rel=1e-6)
    assert found == pytest.approx(frechet.frechet(a, b), rel=1e-6), "and that of few dimensions"


def test_of_the_same_points_it_is_nothing() -> None:
    a = points("model", 300, 64)
    assert frechet_of_many_dimensions(a, a) == pytest.approx(0.0, abs=1e-6 * a.var(axis=0).sum())


def sample(x: Floats) -> Sample:
    return Sample(np.zeros((len(x), 2)), None, None, np.zeros(len(x), dtype=np.int64), None, named=x)


@SIZES
def test_its_replicates_are_the_distances_without_each_group(n: int, m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frechet, "WIDE", 10)
    generated, human = sample(points("model", n, 64)), sample(points("human", m, 64))
    kept_items = np.arange(n) % 5 != np.arange(5)[:, None]
    kept_items[4] = True  # nothing is left out
    found = Frechet().without_groups(generated, human, kept_items)
    slowly = [Frechet().measure(generated.take(keep), human) for keep in kept_items]
    assert found == pytest.approx(slowly, rel=1e-6)
    assert found[4] == Frechet().measure(generated, human)
    assert Fid().without_groups(generated, human, kept_items) == found and Fid().name == "fid"


def test_few_dimensions_go_the_old_way() -> None:
    a, b = points("model", 40, 8), points("human", 50, 8)
    assert Frechet().measure(sample(a), sample(b)) == frechet.frechet(a, b)


# In a scenario ------------------------------------------------------------------------------------------


def asked(**parts: Any) -> scenarios.Question:
    tree: dict[str, Any] = {
        "name": "seen",
        "rounds": 2,
        "humans": {"source": "gaussian", "dims": 3, "held_out": 60},
        "web": {"archive": 40},
        "users": [{"name": "crowd", "count": 5, "k": 2}],
        "providers": [{"name": "lab", "card": {"family": "gaussian"}}],
        "metrics": ["frechet", "precision", "recall", "sliced-wasserstein", "variance"],
    }
    return scenarios.from_text(json.dumps(tree | parts))


IMAGES: dict[str, Any] = {
    "humans": {"source": "cifar10", "held_out": 40, "pages": 60},
    "web": {"archive": 50},
    "providers": [{"name": "lab", "card": {"family": "gaussian", "covariance": "diagonal"}}],
}


def rounds(question: scenarios.Question) -> Iterator[dict[str, Any]]:
    world = World(question, 0, CPU)
    for _ in range(2):
        world.step()
        yield json.loads(json.dumps(round_line(world)))


def measured(line: dict[str, Any]) -> dict[str, float]:
    found: dict[str, float] = line["providers"]["lab"]["trained"]["metrics"]
    return found


def test_raw_values_of_vectors_are_where_they_were_always_compared() -> None:
    assert list(rounds(asked())) == list(rounds(asked(evaluation={"features": "raw"})))


def test_a_key_that_is_left_out_changes_no_digest() -> None:
    plain = asked().digest
    assert asked(evaluation={"features": None}, judge=None).digest == plain
    assert asked(evaluation={"features": "raw"}).digest != plain


def test_the_classifier_s_features_are_for_all_metrics_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """The distance stays what it was to the bit; neighbours are looked for among features now."""

    class Pixels:
        accuracy = 1.0

        def features(self, x: NDArray[Any]) -> Floats:
            return x.reshape(len(x), -1)[:, ::7].astype(np.float64)

        def labels_of(self, features: Floats) -> NDArray[np.int64]:
            return np.zeros(len(features), dtype=np.int64)

    monkeypatch.setattr(world_module, "classifier", lambda source, device: Pixels())
    digits = IMAGES | {"humans": {"source": "digits", "held_out": 60}, "metrics": ["frechet", "precision"]}
    unnamed = [measured(line) for line in rounds(asked(**digits))]
    named = [measured(line) for line in rounds(asked(**digits, evaluation={"features": "classifier"}))]
    assert [m["frechet"] for m in unnamed] == [m["frechet"] for m in named]
    assert [m["precision"] for m in unnamed] != [m["precision"] for m in named]


def test_a_world_is_seen_with_the_eyes_of_a_resnet(folders: Path, cifar: Cifar10) -> None:
    """Two rounds, as they stand on record: whose features, whose weights, and what is measured on them."""
    path = save_as_published(folders)
    users = [{"name": "crowd", "count": 6, "k": 2, "reward": {"kind": "max-confidence"}}]
    question = asked(
        **IMAGES,
        users=users,
        judge="resnet20-cifar10",
        evaluation={"features": "resnet20-cifar10"},
        metrics=["frechet", "recall", "class-entropy", "reward"],
    )
    for _ in run(question, [0], folders / "run"):
        pass
    record = RunRecord(folders / "run")
    manifest = record.seed(0).manifest()
    assert manifest["weights"] == {"resnet20-cifar10": hashlib.sha256(path.read_bytes()).hexdigest()}
    summary = summarise(record, question)
    assert summary["humans"]["features"] == "resnet20-cifar10"
    assert summary["providers"]["lab"]["baseline"] is None
    found = summary["providers"]["lab"]["generations"][1]["metrics"]
    assert set(found) == {"frechet", "recall", "class-entropy", "reward"}
    console = Console(record=True, width=100, file=io.StringIO())
    print_report(summary, None, console)
    assert "Frechet distance on resnet20-cifar10" in console.export_text()
    judge = features.judge("resnet20-cifar10", cifar, CPU)
    assert summary["humans"]["classifier_accuracy"] == pytest.approx(judge.accuracy)


def test_the_distance_of_a_world_is_that_of_its_features(folders: Path, cifar: Cifar10) -> None:
    save_as_published(folders)
    world = World(asked(**IMAGES, evaluation={"features": "resnet20-cifar10"}), 0, CPU)
    world.step()
    (lab,) = world.providers
    draw = lab.draw(*world.evaluator.prompts())
    x = world_module.to_web(draw.generator.sample(draw.y, draw.noise))
    seen = Resnet20Features(CPU)
    expected = frechet.frechet(seen.of(x), seen.of(world.humans.held_out().x))
    assert world.measurements["lab"].metrics["frechet"] == pytest.approx(expected, rel=1e-9)


def test_the_fid_of_a_world_is_that_of_clean_fid(folders: Path, cifar: Cifar10, scripted: dict[int, bytes]) -> None:
    """With the stand-in for Inception's weights: 40 images, 2,048 features, covariances that are singular."""
    path = trusted(folders, scripted[2048])
    world = World(asked(**IMAGES, evaluation={"features": "inception"}, metrics=["fid", "frechet"]), 0, CPU)
    world.step()
    (lab,) = world.providers
    draw = lab.draw(*world.evaluator.prompts())
    x = world_module.to_web(draw.generator.sample(draw.y, draw.noise))
    resize, net = build_resizer("clean"), InceptionV3W(str(path.parent), download=False)
    ours, theirs = (
        np.stack([net(torch.from_numpy(resize(i.transpose(1, 2, 0)).transpose(2, 0, 1))[None])[0].numpy() for i in x])
        for x in (x, world.humans.held_out().x)
    )
    found = world.measurements["lab"]
    assert found.metrics["fid"] == found.metrics["frechet"]
    assert found.metrics["fid"] == pytest.approx(
        frechet_of_many_dimensions(ours.astype(np.float64), theirs.astype(np.float64)), rel=1e-5
    )
    assert len(found.replicates["fid"]) == 8


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"evaluation": {"features": "resnet20-cifar10"}}, "looks at images, and `gaussian` has vectors"),
    ({"evaluation": {"features": "inception"}}, "looks at images"),
    ({"evaluation": {"features": "classifier"}}, "looks at images"),
    ({"evaluation": {"features": "vgg11"}}, "cannot be `vgg11`"),
    ({**IMAGES, "humans": {"source": "digits"}, "evaluation": {"features": "resnet20-cifar10"}}, "3x32x32 images"),
    ({"judge": "resnet20-cifar10"}, "not those of `gaussian`"),
    ({**IMAGES, "humans": {"source": "digits"}, "judge": "resnet20-cifar10"}, "not those of `digits`"),
    ({"judge": "trained"}, "cannot be `trained`"),
    ({"metrics": ["fid"]}, "elsewhere it is called `frechet`"),
    ({**IMAGES, "metrics": ["fid"], "evaluation": {"features": "raw"}}, r"add `evaluation: \{features: inception\}`"),
]


@pytest.mark.parametrize(("parts", "problem"), REFUSED, ids=[problem for _, problem in REFUSED])
def test_eyes_that_do_not_suit_the_items_are_refused(parts: dict[str, Any], problem: str) -> None:
    with pytest.raises(ScenarioError, match=problem):
        asked(**parts)


def test_two_channels_are_neither_grey_nor_colour() -> None:
    humans = copy(Digits().open())  # a source that is open is everybody's
    humans.shape = (2, 8, 8)
    assert "2 channels" in str(features.features_fault("inception", humans))
    humans.shape, humans.known_classes = (1, 8, 8), 1
    assert "no classifier" in str(features.features_fault("classifier", humans))


def test_a_scenario_is_not_begun_without_its_weights(folders: Path) -> None:
    path = folders / "seen.yaml"
    path.write_text(json.dumps(asked(**IMAGES, judge="resnet20-cifar10").resolved["scenario"]))
    with pytest.raises(EcosystemError, match="resnet20-cifar10"):
        scenarios.load(str(path))
