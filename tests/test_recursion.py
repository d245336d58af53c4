"""The recursion emerges: no line of the package knows lambda, yet the world is the papers' loop, bit for bit."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from ecosystem import scenarios
from ecosystem.rng import stream
from ecosystem.world import World

N, ROUNDS = 60, 8


def world_of(ratio, estimator, fully_synthetic=False, seed=7, dims=3):
    window = ", window_rounds: 1" if fully_synthetic else ""
    return World(
        scenarios.from_text(
            f"""
            name: recursion
            rounds: {ROUNDS}
            humans: {{source: gaussian, dims: {dims}, mean: 1.5, std: 2.0, held_out: 100}}
            web: {{archive: {N}, retention: {{synthetic_rounds: 1}}}}
            users: [{{name: crowd, count: {int(ratio * N)}, prompts_per_round: 1}}]
            scrapers: [{{name: all{window}}}]
            providers: [{{name: lab, card: {{family: gaussian, estimator: {estimator}}}}}]
            metrics: [variance]
            """
        ),
        seed=seed,
        device=torch.device("cpu"),
    )


def textbook(real, ratio, ddof, fully_synthetic):
    """p_{t+1} = fit(real + lambda n samples of p_t), drawing from the streams that the world names."""
    data = real
    for generation in range(ROUNDS):
        mean, covariance = data.mean(0), torch.cov(data.T, correction=ddof)
        values, vectors = torch.linalg.eigh(covariance)
        root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        yield mean, root
        z = stream(7, "crowd", "noise of lab", generation).standard_normal((int(ratio * N), 3))
        synthetic = mean + torch.from_numpy(z) @ root
        data = synthetic if fully_synthetic else torch.cat([real, synthetic])


@pytest.mark.parametrize("estimator", ["mle", "unbiased"])
@pytest.mark.parametrize(
    ("ratio", "fully_synthetic"), [(0, False), (0.5, False), (1, False), (2, False), (1, True), (2, True)]
)
def test_the_world_is_the_textbook_loop_bit_for_bit(ratio, estimator, fully_synthetic):
    world = world_of(ratio, estimator, fully_synthetic)
    real = torch.from_numpy(1.5 + 2.0 * stream(7, "archive", "human pages", 0).standard_normal((N, 3)))
    assert_array_equal(world.corpus.items, real.numpy())
    for generation, (mean, root) in enumerate(textbook(real, ratio, int(estimator == "unbiased"), fully_synthetic)):
        world.step()
        state = world.providers[0].generator.state()
        assert_array_equal(state["mean"][0].numpy(), mean.numpy(), f"generation {generation}")
        assert_array_equal(state["root"][0].numpy(), root.numpy(), f"generation {generation}")


@pytest.mark.parametrize("ratio", [0, 0.5, 1, 2])
def test_lambda_is_counted_and_equals_users_pages_over_the_archive(ratio):
    world = world_of(ratio, "mle")
    world.step()
    assert world.providers[0].provenance.ratio == 0, "generation 0 is trained on human data only"
    for _ in range(2):
        world.step()
        assert world.providers[0].provenance.ratio == ratio
        assert world.providers[0].provenance.synthetic_share == pytest.approx(ratio / (1 + ratio))


def test_fully_synthetic_has_no_lambda():
    world = world_of(1, "mle", fully_synthetic=True)
    world.step()
    world.step()
    assert world.providers[0].provenance.ratio is None
    assert world.providers[0].provenance.synthetic_share == 1


def test_lineage_counts_the_models_an_item_went_through():
    world = world_of(1, "mle", fully_synthetic=True)
    for generation in range(4):
        world.step()
        assert world.providers[0].provenance.lineage == generation + 1
    mixed = world_of(1, "mle")
    expected = 1.0
    for _ in range(4):
        mixed.step()
        assert mixed.providers[0].provenance.lineage == pytest.approx(expected)
        expected = 1 + expected / 2  # half of the next training set is human, of lineage 0


def test_variance_of_the_fully_synthetic_loop_shrinks_as_the_closed_form_says():
    """E sigma_t^2 = (1 - 1/n)^t sigma_0^2 for the MLE (Kazdan et al. 2024, arXiv 2410.16713), to 3.5 se."""
    ratios, dims = [], 40
    for seed in range(15):
        world = world_of(0.5, "mle", fully_synthetic=True, seed=seed, dims=dims)
        for _ in range(5):
            world.step()
        real = torch.from_numpy(world.corpus.items[:N])
        start = float(real.var(0, correction=0).sum())
        ratios.append(float(world.providers[0].generator.state()["root"][0].square().sum()) / start)
    # Generation 0 saw 60 real points, generations 1 to 4 saw 30 synthetic ones each.
    expected = (1 - 1 / 30) ** 4
    error = np.std(ratios, ddof=1) / np.sqrt(15)
    assert abs(np.mean(ratios) - expected) < 3.5 * error < 0.8 * (1 - expected)
