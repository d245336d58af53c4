"""`make test-slow`: minutes of real training on real images, and what the shipped scenarios say over one more seed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecosystem import results, scenarios

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("source", ["mnist", "cifar10"])
def test_real_images_through_a_unet(source, unpacked, tmp_path):
    """Two generations of a small U-Net on MNIST and CIFAR-10 through torchvision: every phase and metric."""
    question = scenarios.from_text(
        f"""
        name: images
        rounds: 2
        humans: {{source: {source}, root: {unpacked(source)}, pages: 2000, held_out: 200}}
        web: {{archive: 500}}
        users: [{{name: crowd, count: 20, k: 2, reward: {{kind: class-confidence, class: 1}}}}]
        providers:
          - name: lab
            retrain: {{budget_images: 640}}
            card:
              family: flow-matching
              net: {{kind: unet, channels: [8, 16]}}
              train: {{budget_images: 6400, batch: 64}}
              coupling: independent
              sampler: {{kind: euler, steps: 5}}
        """
    )
    run = results.run(question, [0], tmp_path / "run", force=False)
    metrics = run.summary["providers"]["lab"]["generations"][1]["metrics"]
    assert {"frechet", "precision", "recall", "agreement", "reward"} <= metrics.keys()
    losses = [g["loss"] for g in run.summary["providers"]["lab"]["generations"]]
    assert losses[0] < 1.0, "a velocity of zero would cost about 1.5"
    assert run.summary["humans"]["shape"] == ([1, 28, 28] if source == "mnist" else [3, 32, 32])


@pytest.mark.parametrize(
    "name", ["bertrand-cifar10-small", "ferbach-cifar10-small", "mad-mnist-small", "two-families-mnist"]
)
def test_the_loops_of_the_papers_on_images_run(name, unpacked, tmp_path):
    """Two generations of each, with little of everything: the labs part, and those with one network began as one."""
    text = (Path(__file__).parents[1] / "scenarios" / f"{name}.yaml").read_text(encoding="utf-8")
    known = scenarios.from_text(text)
    little = {f"users.{group.name}.count": 20 for group in known.users}
    little |= {f"providers.{lab.name}.retrain.budget_images": 320 for lab in known.providers}
    source = known.scenario.humans.source
    little |= {"rounds": 2, "evaluation.samples": 40, "humans.root": unpacked(source), "humans.pages": 6000}
    card = {"family": "flow-matching", "net": {"kind": "unet", "channels": [8, 16], "patch": 2}}
    card |= {"train": {"budget_images": 3200, "batch": 64}, "sampler": {"kind": "euler", "steps": 4}}
    for lab in known.providers:
        if lab.model is None or "flow-matching" in lab.model:
            little |= {f"providers.{lab.name}.model": None, f"providers.{lab.name}.card": card}
    run = results.run(scenarios.from_text(text, little), [0], tmp_path / "run", force=False)
    first, second = (
        [lab["generations"][number]["metrics"]["frechet"] for lab in run.summary["providers"].values()]
        for number in (0, 1)
    )
    assert len(set(second)) == len(second)
    alike = [lab.sampling_bias == 1.0 for lab in known.providers]
    begun = len({value for value, same in zip(first, alike, strict=True) if same})
    assert begun == (1 if any(lab.weights_of for lab in known.providers) else len(first))


@pytest.mark.parametrize(
    ("name", "provider", "expected"),
    [
        ("own-data-only", "lab", {"collapsed"}),
        ("lambda-mixture", "lab", {"stable", "undecided"}),
        ("curated-digits", "curated", {"collapsed"}),
    ],
)
def test_what_the_papers_say_happens(name, provider, expected, tmp_path):
    run = results.run(scenarios.load(name), [11], tmp_path / "run", force=False)
    assert run.verdict[provider] in expected


def test_the_demo_is_within_its_limits(tmp_path):
    """120 seconds and 2 GB on two cores, from the command to the report."""
    import resource
    import time

    began = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "ecosystem", "run", "lambda-mixture", "--out", str(tmp_path / "run")]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    assert time.monotonic() - began < 120
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024 < 2000
