"""Contraction as it is measured: by hand, for loops whose rate is known, and where there is nothing to measure."""

import json

import numpy as np
import pytest
import torch

from ecosystem import cli, contraction, scenarios
from ecosystem.errors import ScenarioError
from ecosystem.rng import stream
from ecosystem.theory import stability
from ecosystem.world import World

CPU = torch.device("cpu")
SMALL = 1e-3  # of a standard deviation: a perturbation whose square is nothing beside it


def world_of(
    model="gaussian-diagonal",
    archive=1000,
    users=1000,
    rounds=5,
    retention="{synthetic_rounds: 1}",
    provider="",
    more="",
):
    """A Gaussian world of one lab; by default with a fixed archive beside the pages of its last generation."""
    return scenarios.from_text(
        f"""
        name: contracting
        rounds: {rounds}
        humans: {{source: gaussian, held_out: 200}}
        web: {{archive: {archive}, retention: {retention}}}
        users: [{{name: crowd, count: 10, prompts_per_round: {users // 10}}}]
        providers: [{{name: lab, model: {model}{provider}}}]
        metrics: [model-variance]
        {more}
        """
    )


# By hand


def by_hand(question, seed, size):
    """d_0 and d_1: fits of the archive and round 0's pages, these once moved by delta; both sampled with one z."""
    world = World(question, seed, CPU)
    world.step()
    x, synthetic = world.corpus.items[:], world.corpus.column("maker") >= 0
    direction = stream(seed, "lab", "perturbation").standard_normal(x.shape[1])
    moved = x + synthetic[:, None] * size * direction / np.linalg.norm(direction)
    _, rng = world.evaluator.prompts()
    z = rng.standard_normal((200, x.shape[1]))
    samples = [pages.mean(axis=0) + pages.std(axis=0) * z for pages in (x, moved)]
    return [1.0, np.sqrt(np.square(samples[1] - samples[0]).sum(axis=1).mean()) / size]


@pytest.mark.parametrize("size", [0.1, 3.0])
def test_the_first_distance_is_that_of_two_fits_with_the_same_noise(size):
    question = world_of(archive=40, users=20, rounds=2)
    found = contraction.of(question, [0, 7], "", size)
    assert found.distances == [pytest.approx(by_hand(question, seed, size), rel=1e-9) for seed in (0, 7)]


def test_a_large_perturbation_widens_the_model_as_well():
    """Pages that lie delta apart have a variance of p (1 - p) delta^2 between them: of many pages, and exactly.

    So the distance of two models is that of their means only while delta is small beside the data.
    """
    seed, p = 0, 0.5
    delta = 2 * stream(seed, "lab", "perturbation").standard_normal(2)
    delta *= 2 / np.linalg.norm(delta)
    found = contraction.of(world_of(archive=20_000, users=20_000, rounds=2), [seed], "", 2.0)
    wider = np.sqrt(1 + p * (1 - p) * delta**2) - 1
    expected = np.sqrt((p * delta) ** 2 + wider**2)
    assert found.distances[0][1] == pytest.approx(np.linalg.norm(expected) / 2, rel=0.02)
    assert found.distances[0][1] > 1.03 * p


# Loops whose rate is known


@pytest.mark.parametrize("model", ["gaussian", "gaussian-diagonal", "gaussian-unbiased"])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
def test_a_gaussian_with_a_fixed_archive_contracts_by_the_synthetic_share(model, ratio):
    """d_t = (lambda / (1 + lambda))^t but for the chance in 1,000 pages, and the rate is that to half a percent."""
    found = contraction.of(world_of(model, users=round(1000 * ratio)), range(4), "lab", SMALL)
    rate = ratio / (1 + ratio)
    assert found.predicted == pytest.approx(rate) == stability.exact_rate(ratio)
    assert found.ratio == pytest.approx(ratio)
    for row in found.distances:
        assert row == pytest.approx(rate ** np.arange(5), rel=0.04)
    assert found.rate.effect == pytest.approx(rate, rel=0.005)
    # Twice as wide as a 95 % interval over 4 seeds: left by chance once in 125 times.
    assert abs(found.rate.effect - rate) < 2 * (found.rate.high - found.rate.low) / 2


def test_fresh_human_pages_pull_as_a_fixed_archive_does():
    """As many new ones a round, and none lives longer."""
    more = "creators: [{name: people, count: 10, pages_per_round: 50}]"
    retention = "{human_rounds: 1, synthetic_rounds: 1}"
    found = contraction.of(world_of(archive=500, rounds=4, retention=retention, more=more), range(4), "", SMALL)
    assert (found.ratio, found.predicted) == (pytest.approx(2), pytest.approx(2 / 3))
    assert found.rate.effect == pytest.approx(2 / 3, rel=0.005)


def test_without_human_pages_nothing_pulls_back():
    """Every page of the loop is moved: the distance stays as it is, to the last digits."""
    question = world_of("gaussian", archive=50, users=50, more="scrapers: [{name: latest, window_rounds: 1}]")
    found = contraction.of(question, [0, 1], "", 1.0)
    assert np.array(found.distances) == pytest.approx(np.ones((2, 5)), rel=1e-12)
    assert found.rate.effect == pytest.approx(1, rel=1e-12)
    assert (found.ratio, found.predicted) == (None, None)
    assert "no page is human: nothing pulls the model back" in found.in_words()


def test_without_synthetic_pages_nothing_is_left_of_it():
    question = world_of(archive=50, users=50, rounds=3, more="scrapers: [{name: pure, take: [human]}]")
    found = contraction.of(question, [0, 1], "", 1.0)
    assert found.distances == [[1.0, 0.0, 0.0]] * 2
    assert (found.rate, found.ratio, found.predicted) == (None, 0.0, 0.0)
    assert "no rate" in found.in_words()


def test_all_that_generation_0_draws_is_moved_however_long_it_serves():
    """Retrained every third round on three rounds of pages, lambda = 1: half of it is left, a generation."""
    question = world_of(
        archive=900, users=300, rounds=7, retention="{synthetic_rounds: 3}", provider=", retrain: {every: 3}"
    )
    found = contraction.of(question, range(4), "", SMALL)
    assert [len(row) for row in found.distances] == [3] * 4
    assert found.ratio == pytest.approx(1)
    for row in found.distances:
        assert row == pytest.approx([1, 0.5, 0.25], rel=0.02)


def test_a_perturbation_reaches_a_lab_that_feeds_on_the_perturbed_one():
    """Another lab's own draws are not moved: perturbed is who is named."""
    question = scenarios.from_text(
        """
        name: two
        rounds: 3
        humans: {source: gaussian, held_out: 200}
        web: {archive: 1000, retention: {synthetic_rounds: 1}}
        users: [{name: of a, count: 1000, providers: [a]}, {name: of b, count: 1000, providers: [b]}]
        scrapers: [{name: for a, take: [human, a]}, {name: for b, take: [human, a, b]}]
        providers:
          - {name: a, model: gaussian-diagonal, scraper: for a}
          - {name: b, model: gaussian-diagonal, scraper: for b}
        metrics: [model-variance]
        """
    )
    for name, rate in (("a", 1 / 2), ("b", 1 / 3)):
        found = contraction.of(question, [0], name, SMALL)
        assert found.provider == name
        assert found.distances[0] == pytest.approx([1, rate, rate**2], rel=0.02)


@pytest.mark.parametrize(("at", "rows"), [(1, [[1.0]]), (2, [[1.0, pytest.approx(0.5, rel=0.1)]])])
def test_a_provider_that_stops_ends_its_row(at, rows):
    """From a round on a filter flags every page."""
    event = f"events: [{{at: {at}, set: {{scrapers.all.filter: {{kind: detector, tpr: 1.0, fpr: 1.0}}}}}}]"
    question = world_of(archive=50, users=50, more=f"scrapers: [{{name: all}}]\n        {event}")
    found = contraction.of(question, [0], "", SMALL)
    assert found.distances == rows
    assert len(list(found.by_generation())) == at
    assert (found.rate is None) == ("no rate" in found.in_words()) == (at < 2)
    assert found.ratio == at - 1


def test_a_provider_that_never_begins_has_no_distance():
    """One page, where an unbiased variance needs two."""
    found = contraction.of(world_of("gaussian-unbiased", archive=1, users=10), [0, 1], "", SMALL)
    assert found.distances == [[], []]
    assert (found.rate, found.ratio, found.predicted) == (None, None, None)
    assert list(found.by_generation()) == []
    assert found.in_words().endswith("it never trained.")


def test_generations_are_told_over_the_seeds_that_have_them():
    found = contraction.Contraction("lab", [[1.0, 0.5, 0.2], [1.0, 0.7]], None, None, None)
    assert list(found.by_generation()) == [
        (0, 2, 1.0, 1.0, 1.0),
        (1, 2, pytest.approx(0.6), 0.5, 0.7),
        (2, 1, 0.2, 0.2, 0.2),
    ]


# What it refuses


def test_an_unknown_provider_is_refused_with_the_known_ones():
    with pytest.raises(ScenarioError, match="no provider `lob`; the scenario has lab"):
        contraction.of(world_of(), [0], "lob", 1.0)


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf")])
def test_a_perturbation_has_a_size(size):
    with pytest.raises(ScenarioError, match="a perturbation has a size above 0"):
        contraction.of(world_of(), [0], "", size)


# The command line


def ecosystem(*arguments):
    """The command line in this process: its exit code."""
    return cli.guarded(lambda: cli.app([str(a) for a in arguments], standalone_mode=False))


FIXED = ("contraction", "gaussian-fixed", "--set", "rounds=3", "--set", "humans.dims=2", "--size", SMALL)


def test_json_is_the_contraction(capsys):
    assert ecosystem(*FIXED, "--seeds", "3,5", "--json") == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    question = scenarios.load("gaussian-fixed", {"rounds": 3, "humans.dims": 2})
    assert told == json.loads(json.dumps(contraction.of(question, [3, 5], "", SMALL).as_json()))
    assert told["rate"].keys() == {"effect", "low", "high"}
    assert (told["ratio"], told["predicted"]) == (1.0, 0.5)
    assert "seed 3 done" in err
    assert "seed 5 done" in err


def test_the_table_has_a_row_a_generation(capsys):
    assert ecosystem(*FIXED, "--seeds", "0-1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [["0", "2"], ["1", "2"], ["2", "2"]]
    assert "lambda = 1: an exponential family contracts by 0.5000" in " ".join(lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--provider", "lob"), "there is no provider `lob`"),
        (("--size", "0"), "a perturbation has a size above 0"),
        (("--size", "much"), "--size"),
        (("--seeds", "x"), "`x` is no seed"),
    ],
)
def test_wrong_arguments_exit_64(arguments, message, capsys):
    assert ecosystem("contraction", "gaussian-fixed", *arguments) == 64
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""


# A network


@pytest.mark.slow
@pytest.mark.parametrize("start", ["finetune", "scratch"])
def test_a_network_is_perturbed_and_trained_on(start):
    """A tiny flow on two moons: its draws are moved in round 0, and what it learns from them is told."""
    question = scenarios.from_text(
        f"""
        name: flow
        rounds: 3
        humans: {{source: two-moons, held_out: 50}}
        web: {{archive: 60, retention: {{synthetic_rounds: 1}}}}
        users: [{{name: crowd, count: 60}}]
        providers:
          - name: lab
            card:
              family: flow-matching
              train: {{budget_images: 600, batch: 60}}
              sampler: {{kind: euler, steps: 4}}
            retrain: {{start: {start}, budget_images: 300}}
        metrics: [variance]
        """
    )
    found = contraction.of(question, [0], "", 1.0)
    assert found.ratio == 1.0
    assert [len(row) for row in found.distances] == [3]
    assert all(0 < d < 5 for d in found.distances[0])
    still = contraction.of(question, [0], "", 1e-30)
    assert still.distances[0][1:] == [0.0, 0.0], "on the same draws the same network is trained, to the last bit"
