"""The classifier of human images: what it must know, and what it must never depend on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from ecosystem.errors import DataError
from ecosystem.humans import Cifar10, Digits, Humans, Mnist, Ring8
from ecosystem.models import classifier as module
from ecosystem.models.classifier import Classifier, Recipe, augment, in_range, train_classifier
from ecosystem.rng import stream, torch_stream

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> Humans:
    return Digits().open()


@pytest.fixture(scope="module")
def classifier(digits: Humans) -> Classifier:
    return train_classifier(digits, CPU)


def accuracy(classifier: Classifier, humans: Humans) -> float:
    held_out = humans.held_out()
    return float((classifier.probabilities(held_out.x).argmax(axis=1) == held_out.y).mean())


def test_it_knows_the_digits(classifier: Classifier, digits: Humans) -> None:
    assert classifier.accuracy >= 0.97
    assert classifier.accuracy == accuracy(classifier, digits)


def test_shapes_types_and_ranges(classifier: Classifier, digits: Humans) -> None:
    x = digits.held_out().x[:20]
    features, probabilities = classifier.features(x), classifier.probabilities(x)
    assert features.shape == (20, 64) and features.dtype == np.float64 and features.min() >= 0
    assert probabilities.shape == (20, 10) and probabilities.dtype == np.float64
    assert np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-12) and probabilities.min() >= 0
    assert classifier.features(x[:0]).shape == (0, 64)


def test_what_it_calls_an_image_is_its_most_probable_class(classifier: Classifier, digits: Humans) -> None:
    x = digits.held_out().x
    found = classifier.labels_of(classifier.features(x))
    np.testing.assert_array_equal(found, classifier.probabilities(x).argmax(axis=1))
    assert len(set(found.tolist())) == 10


def test_bytes_and_floats_and_tensors_are_the_same_images(classifier: Classifier, digits: Humans) -> None:
    x = digits.held_out().x[:20]
    floats = x.astype(np.float64) / 127.5 - 1.0
    assert np.allclose(classifier.features(x), classifier.features(floats), atol=1e-5)
    assert np.array_equal(classifier.features(x), classifier.features(torch.from_numpy(x)))


def test_an_image_does_not_depend_on_those_beside_it(
    classifier: Classifier, digits: Humans, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = digits.held_out().x[:50]
    together = classifier.features(x)
    monkeypatch.setattr(module, "BLOCK", 7)
    assert np.allclose(classifier.features(x), together, atol=1e-5)
    assert np.allclose(classifier.features(x[::-1]), together[::-1], atol=1e-5)


def test_training_is_deterministic_and_leaves_the_global_generators_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = module.recipe
    monkeypatch.setattr(module, "recipe", lambda shape: replace(plan(shape), epochs=3))
    humans = Digits(held_out=1700).open()
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    one, two = (train_classifier(humans, CPU) for _ in range(2))
    for a, b in zip(one.net.parameters(), two.net.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


def test_training_is_that_of_pytorch_s_own_optimiser_and_schedule(digits: Humans) -> None:
    """Bit for bit, over the updates of a whole training."""
    plan, items = replace(module.recipe(digits.shape), epochs=1), digits.pool(1000)
    ours, plain = (module._initial(digits, plan) for _ in range(2))
    losses = list(module.training(ours, items, plan, CPU))
    optimiser = torch.optim.AdamW(plain.parameters(), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.rate, total_steps=len(losses))
    generator = torch_stream(CPU, 0, "classifier", "batches")
    x, y = torch.from_numpy(items.x), torch.from_numpy(items.y)
    for index, loss in zip(torch.split(torch.randperm(len(x), generator=generator), module.BATCH), losses, strict=True):
        value = F.cross_entropy(plain(augment(in_range(x[index]), plan, generator)), y[index])
        assert value.item() == loss
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), plain.parameters(), strict=True))


def test_training_does_without_torch_s_compiler() -> None:
    """Importing it takes as long as the training."""
    code = (
        "import sys, torch; from ecosystem.humans.digits import Digits; from ecosystem.models import classifier\n"
        "humans = Digits(held_out=1700).open()\n"
        "classifier.train_classifier(humans, torch.device('cpu'))\n"
        "assert not {'torch._dynamo', 'sympy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_augmentation_shifts_and_mirrors_and_nothing_else() -> None:
    x = torch.from_numpy(stream(0, "test", "image").random((1, 3, 6, 5), dtype=np.float32))
    plan = Recipe((16, 32, 64), (2, 2, 2), epochs=1, rate=1e-3, shift=1, mirror=True)
    padded = torch.nn.functional.pad(x, [1] * 4, mode="replicate")
    windows = [padded[0, :, r : r + 6, c : c + 5] for r in range(3) for c in range(3)]
    possible = [w for window in windows for w in (window, window.flip(2))]
    seen = augment(x.expand(400, -1, -1, -1), plan, torch_stream(CPU, 0, "test", "augment"))
    found = [next(i for i, w in enumerate(possible) if torch.equal(w, image)) for image in seen]
    assert set(found) == set(range(18))


def test_bytes_come_into_range() -> None:
    assert in_range(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("settings", [Ring8(labelled=True), Digits(labelled=False)], ids=str)
def test_without_labelled_images_the_remedy_is_named(settings: Ring8 | Digits) -> None:
    with pytest.raises(DataError, match="Remedy"):
        train_classifier(settings.open(), CPU)


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "layout", "least"), [(Mnist, "mnist", 0.97), (Cifar10, "cifar10", 0.55)], ids=str)
def test_it_learns_real_images(
    settings: type[Mnist] | type[Cifar10], layout: str, least: float, unpacked: Callable[[str], str]
) -> None:
    humans = settings(root=unpacked(layout)).open()
    assert train_classifier(humans, CPU).accuracy >= least
