"""A run that was left at any moment and started again ends with the bytes of one that was not."""


import numpy as np
import pytest

from ecosystem import loop, records, results, scenarios
from ecosystem.records import RunRecord

FAMILIES = {
    "gaussian": "{family: gaussian}",
    "diagonal": "{family: gaussian, covariance: diagonal}",
    "categorical": "{family: categorical}",
    "kde": "{family: kde}",
    "mixture": "{family: mixture, components: 2}",
    "flow-matching": "{family: flow-matching, net: {kind: mlp, width: 8, depth: 1}, "
    "train: {budget_images: 600, finetune_images: 600, batch: 10}}",
    "diffusion": "{family: diffusion, net: {kind: mlp, width: 8, depth: 1}, "
    "train: {budget_images: 600, finetune_images: 600, batch: 10}}",
}


def question(card, rounds=4, more="", start="finetune", minutes=0.0):
    return scenarios.from_text(f"""
        name: left
        rounds: {rounds}
        humans: {{source: gaussian, dims: 2, held_out: 30}}
        web: {{archive: 40, retention: {{synthetic_rounds: 2}}}}
        creators: [{{name: people, count: 3}}]
        users: [{{name: crowd, count: 20, k: 2}}]
        providers:
          - {{name: lab, card: {card}, retrain: {{start: {start}}}}}
          - {{name: rival 2, card: {card}, retrain: {{every: 2, start: {start}}}}}
        metrics: [mean-error, sliced-wasserstein]
        checkpoint_minutes: {minutes}
        {more}
        """)


def finished(asked, folder, seeds=(0,)):
    """The bytes of all that a run gives to its reader."""
    list(loop.run(asked, seeds, folder))
    records.write_json(folder / "summary.json", results.of(asked, folder).summary)
    return outcome(folder)


def outcome(folder):
    """Of everything but the machine, the seconds and how pages are cut into blocks."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and path.name not in ("manifest.json", "status.json") and "pages" not in path.parts:
            found[name] = path.read_bytes()
    for seed in RunRecord(folder).seeds():
        found[f"pages of {seed.seed}"] = pages(seed)
    return found


def pages(seed):
    """Items of all blocks in their order."""
    blocks = sorted((seed.folder / "pages").glob("*.npy"), key=lambda path: int(path.stem.removeprefix("from-")))
    return np.concatenate([np.load(path) for path in blocks]).tobytes()


def left_after(events, asked, folder, seeds=(0,)):
    """A run of which so many events were seen, and that was then closed."""
    running = loop.run(asked, seeds, folder)
    seen = [event for event, _ in zip(running, range(events), strict=False)]
    running.close()
    return seen


@pytest.mark.parametrize("start", ["finetune", "scratch"])
@pytest.mark.parametrize("family", FAMILIES)
def test_left_anywhere_a_run_ends_with_the_same_bytes(family, start, tmp_path):
    asked = question(FAMILIES[family], start=start)
    truth = finished(asked, tmp_path / "whole")
    every = len(list(loop.run(asked, [0], tmp_path / "counted")))
    for events in {1, *range(7, every, every // 4), every - 2, every - 1}:
        folder = tmp_path / f"left-{events}"
        left_after(events, asked, folder)
        assert finished(asked, folder) == truth, events
        assert not list((folder / "seed-0" / "checkpoints").iterdir())
