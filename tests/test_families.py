"""The families without a network: that a stack is its members, and what each knows of itself, against the truth."""

import json
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from pydantic import TypeAdapter, ValidationError

from ecosystem import scenarios
from ecosystem.errors import ScenarioError, TrainingError
from ecosystem.models import Categorical, Gaussian, Kde, Mixture, ModelFamily
from ecosystem.models.base import TrainingSet, to_web
from ecosystem.models.gaussian import GaussianGenerator
from ecosystem.rng import Streams, stream

GAUSSIANS = [
    Gaussian(estimator=estimator, covariance=covariance)
    for estimator in ("mle", "unbiased")
    for covariance in ("full", "diagonal")
]
MIXTURES = [Mixture(components=3, covariance=covariance) for covariance in ("full", "diagonal", "spherical")]
CLOSED = [*GAUSSIANS, Categorical(), Kde(bandwidth=0.3), *MIXTURES]
every_family = pytest.mark.parametrize("family", CLOSED, ids=str)
of_densities = pytest.mark.parametrize("family", [f for f in CLOSED if not isinstance(f, Categorical)], ids=str)


def points(n, dims, who="points", scale=1.0, shift=0.0):
    return torch.from_numpy(shift + scale * stream(0, "test", who, n).standard_normal((n, dims)))


def unlabelled(x):
    return TrainingSet(x, torch.zeros(len(x), dtype=torch.int64), 1)


def two_classes(n=300, dims=2):
    """A round class about 0, and one about 3 that is long in its first coordinate."""
    long = points(n, dims, "long", shift=3.0) * torch.tensor([2.0] + [0.5] * (dims - 1))
    return TrainingSet(torch.cat([points(n, dims, "round"), long]), torch.arange(2 * n) // n, 2)


def three_lumps(n=400):
    """Vectors in the plane: three Gaussians of standard deviation 0.3 about (0, 0), (4, 0) and (0, 4)."""
    centres = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    return centres[torch.arange(3 * n) % 3] + points(3 * n, 2, "lumps", scale=0.3)


def images(n=200):
    x = stream(0, "test", "images").integers(0, 256, (n, 1, 4, 4), dtype=np.uint8)
    x[n // 2 :] = x[: n - n // 2]  # every image twice
    return TrainingSet(torch.from_numpy(x), torch.arange(n) % 2, 2)


def fit(family, data, previous=None, streams=None):
    training = family.fit(data, previous, streams or Streams(0, "lab", 0))
    try:
        while True:
            next(training)
    except StopIteration as end:
        return end.value


def draw(generator, y, what="noise"):
    noise = torch.from_numpy(generator.noise(len(y), stream(0, "test", what)))
    return generator.sample(torch.as_tensor(y), noise)


def mapping(family):
    return json.loads(TypeAdapter(ModelFamily).dump_json(family))


# Laws


@every_family
def test_the_distribution_is_that_of_the_samples(family):
    """Over two classes equally often: 80,000 samples, each moment within 5 standard errors."""
    generator = fit(family, two_classes())
    known = generator.distribution()
    x = draw(generator, np.arange(80_000) % 2).numpy()
    off = np.abs(x.mean(0) - known.mean) / (x.std(0) / len(x) ** 0.5)
    assert off.max() < 5
    centred = x - known.mean
    products = centred[:, :, None] * centred[:, None, :]
    error = products.std(0) / len(x) ** 0.5
    assert (np.abs(products.mean(0) - known.covariance) / error).max() < 5
    assert_allclose(known.variance, np.diagonal(known.covariance))


@every_family
def test_the_distribution_of_one_class(family):
    generator = fit(family, unlabelled(points(50, 3)))
    known = generator.distribution()
    assert known.mean.shape == (3,)
    by_coordinate = getattr(family, "covariance", "") == "diagonal" and isinstance(family, Gaussian)
    assert known.covariance.shape == ((3,) if by_coordinate else (3, 3))
    variance = points(50, 3).var(0, correction=int(getattr(family, "estimator", "mle") == "unbiased")).numpy()
    assert_allclose(known.mean, points(50, 3).mean(0))
    expected = {"kde": variance + 0.3**2, "mixture": variance + 1e-6}.get(family.family, variance)
    if getattr(family, "covariance", "") == "spherical":  # EM keeps the total variance of all coordinates alone
        assert known.variance.sum() == pytest.approx(expected.sum(), rel=1e-3)
    else:
        assert_allclose(known.variance, expected, rtol=1e-3 if family.family == "mixture" else 1e-12)


@of_densities
def test_a_density_has_mass_one(family):
    generator = fit(family, two_classes())
    axis = torch.linspace(-9, 18, 109, dtype=torch.float64)  # a sum over a kernel wider than the spacing is exact
    grid = torch.cartesian_prod(axis, axis)
    for label in (0, 1):
        density = generator.log_prob(grid, torch.full((len(grid),), label)).exp()
        assert float(density.sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1, abs=1e-6)


@every_family
def test_images_go_through(family):
    data = images()
    generator = fit(family, data)
    x = draw(generator, np.arange(40) % 2)
    assert x.shape == (40, 1, 4, 4)
    assert to_web(x).dtype == np.uint8
    assert generator.distribution() is None, "what is published of an image is rounded"
    scaled = generator.log_prob(data.x.double() / 127.5 - 1, data.y)
    assert_allclose(generator.log_prob(data.x, data.y), scaled, rtol=1e-9)
    assert torch.isfinite(scaled).all()


@every_family
def test_a_family_goes_through_its_card(family):
    assert TypeAdapter(ModelFamily).validate_json(json.dumps(mapping(family))) == family


def test_sampling_bias_is_for_gaussians():
    """Noise times sqrt(b) draws from the model with its covariance times b."""
    assert all(family.takes_sampling_bias for family in GAUSSIANS)
    assert not any(family.takes_sampling_bias for family in (Categorical(), Kde(), Mixture()))
    for family in GAUSSIANS:
        generator = fit(family, unlabelled(points(40, 3, scale=2.0)))
        noise = torch.from_numpy(generator.noise(100_000, stream(0, "test", "bias")))
        x = generator.sample(torch.zeros(100_000, dtype=torch.int64), 0.25**0.5 * noise)
        assert_allclose(x.numpy().var(0) / generator.distribution().variance, 0.25, rtol=0.03)


# Stacks


@pytest.mark.parametrize("family", GAUSSIANS, ids=str)
@pytest.mark.parametrize("size", [1, 2, 7, 60])
@pytest.mark.parametrize("dims", [1, 2, 5, 64])
def test_a_stack_is_its_members_bit_for_bit(family, size, dims):
    stacked = 0
    for n in (2, 10, 100):
        if size * n * dims > 13_000:
            continue  # of many large members the arithmetic is that of a few, and takes seconds
        data = [unlabelled(x) for x in points(size * n, dims, "members", shift=3.0).split(n)]
        together = family.fit_stack(data)
        alone = [fit(family, member) for member in data]
        if together is None:
            continue
        for a, b in zip(together, alone, strict=True):
            assert a.shape == b.shape and a.state().keys() == b.state().keys()
            for name, value in a.state().items():
                assert torch.equal(value, b.state()[name]), name
        rng = stream(0, "test", "stack")
        noise = [torch.from_numpy(g.noise(n + 1, rng)) for g in alone]
        y = [torch.zeros(n + 1, dtype=torch.int64)] * size
        x = GaussianGenerator.sample_stack(together, y, noise)
        if x is not None:
            stacked += 1
            for ours, generator, labels, z in zip(x, alone, y, noise, strict=True):
                assert torch.equal(ours, generator.sample(labels, z))
    assert stacked or (dims > 1 and family.covariance == "full"), "only a matrix product may have another arithmetic"


def test_what_makes_no_stack_is_refused():
    family, few, many = Gaussian(), unlabelled(points(10, 2)), unlabelled(points(11, 2))
    labelled = TrainingSet(points(10, 2), torch.arange(10) % 2, 2)
    assert family.fit_stack([few, many]) is None
    assert family.fit_stack([labelled, labelled]) is None
    assert Gaussian(estimator="unbiased").fit_stack([unlabelled(points(1, 2))] * 2) is None
    a, b = fit(family, few), fit(family, labelled)
    z = torch.from_numpy(a.noise(3, stream(0, "test", "refused")))
    y = torch.zeros(3, dtype=torch.int64)
    assert GaussianGenerator.sample_stack([b, b], [y, y], [z, z]) is None
    assert GaussianGenerator.sample_stack([a, a], [y, y[:2]], [z, z[:2]]) is None
    assert GaussianGenerator.sample_stack([a, fit(Gaussian(covariance="diagonal"), few)], [y, y], [z, z]) is None


def test_images_make_a_stack():
    data = [TrainingSet(images().x, torch.zeros(200, dtype=torch.int64), 1)] * 3
    family = Gaussian(covariance="diagonal")
    together = family.fit_stack(data)
    assert together is not None
    assert torch.equal(together[2].root, fit(family, data[0]).root)
    noise = [torch.from_numpy(g.noise(5, stream(0, "test", "images"))) for g in together]
    x = GaussianGenerator.sample_stack(together, [torch.zeros(5, dtype=torch.int64)] * 3, noise)
    assert x is not None and x[0].shape == (5, 1, 4, 4)


# Gaussian


@pytest.mark.parametrize("estimator", ["mle", "unbiased"])
def test_a_diagonal_gaussian_is_a_gaussian_on_every_coordinate(estimator):
    data = two_classes(50, 3)
    generator = fit(Gaussian(estimator=estimator, covariance="diagonal"), data)
    for label in (0, 1):
        x = data.x[data.y == label].numpy()
        assert_allclose(generator.state()["mean"][label], x.mean(0))
        assert_allclose(generator.state()["std"][label], x.std(0, ddof=int(estimator == "unbiased")))
    line = unlabelled(points(50, 1))
    full, diagonal = (fit(Gaussian(estimator=estimator, covariance=c), line) for c in ("full", "diagonal"))
    assert torch.equal(full.root[0, 0], diagonal.root[0]), "one dimension has no covariance"


def test_a_diagonal_gaussian_of_many_dimensions_makes_no_matrix():
    """A million dimensions: a matrix of them would have 8 TB."""
    generator = fit(Gaussian(covariance="diagonal"), unlabelled(points(3, 1_000_000)))
    assert generator.root.shape == (1, 1_000_000)
    assert generator.distribution().covariance.shape == (1_000_000,)
    assert draw(generator, [0]).shape == (1, 1_000_000)
    assert torch.isfinite(generator.log_prob(points(1, 1_000_000), torch.zeros(1, dtype=torch.int64))).all()


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_a_collapsed_gaussian_has_a_density_at_its_centre_alone(covariance):
    generator = fit(Gaussian(covariance=covariance), unlabelled(torch.ones(5, 2, dtype=torch.float64)))
    values = generator.log_prob(torch.tensor([[1.0, 1.0], [1.0, 1.1]]), torch.zeros(2, dtype=torch.int64))
    assert values.tolist() == [np.inf, -np.inf]
    assert torch.equal(draw(generator, [0, 0]), torch.ones(2, 2, dtype=torch.float64))


@pytest.mark.parametrize("family", GAUSSIANS, ids=str)
def test_pages_that_are_not_finite_stop_a_gaussian(family):
    for bad in (float("inf"), float("nan"), 1e200):
        x = points(10, 2)
        x[3, 0] = bad
        with pytest.raises(TrainingError, match="not finite"):
            fit(family, unlabelled(x))


# Categorical


def outcomes(n=500):
    which = stream(0, "test", "outcomes").integers(0, 5, n)
    return torch.from_numpy(np.array([2.5, -1.0, 0.0, 7.0, 3.0])[which % 4])[:, None]


def test_the_mass_is_the_counts():
    x = outcomes()
    generator = fit(Categorical(), unlabelled(x))
    atoms, counts = np.unique(x.numpy(), return_counts=True)
    assert_array_equal(generator.atoms[:, 0], atoms)
    assert_array_equal(generator.mass, counts / len(x))
    known = generator.distribution()
    assert_array_equal(known.atoms[:, 0], atoms)
    assert_allclose(known.mean, x.mean(0))
    assert_allclose(known.variance, x.var(0, correction=0))


@pytest.mark.parametrize("dims", [1, 3])
def test_the_order_of_the_pages_does_not_matter(dims):
    x = torch.cat([outcomes()] * dims, 1)
    x[::2] *= torch.arange(1, dims + 1)
    x[x == 0] = 0.0
    x[:50][x[:50] == 0] = -0.0  # an equal number with other bits
    y = torch.arange(len(x)) % 2
    shuffled = torch.from_numpy(stream(0, "test", "order").permutation(len(x)))
    one = fit(Categorical(), TrainingSet(x, y, 2)).state()
    other = fit(Categorical(), TrainingSet(x[shuffled], y[shuffled], 2)).state()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
    for start, end in zip(one["offsets"], one["offsets"][1:], strict=False):
        assert len(torch.unique(one["atoms"][start:end], dim=0)) == end - start
        assert float(one["mass"][start:end].sum()) == pytest.approx(1)


def test_its_samples_are_the_bootstrap():
    """Counts of 100,000 draws against the mass: chi-square with 3 degrees of freedom, mean 3 and variance 6."""
    generator = fit(Categorical(), unlabelled(outcomes()))
    drawn = draw(generator, np.zeros(100_000, dtype=np.int64)).numpy()
    atoms, counts = np.unique(drawn, return_counts=True)
    assert_array_equal(atoms, generator.atoms[:, 0])
    expected = 100_000 * generator.mass.numpy()
    assert abs(((counts - expected) ** 2 / expected).sum() - 3) < 4 * 6**0.5


def test_sampling_inverts_the_distribution_function():
    generator = fit(Categorical(), unlabelled(torch.tensor([[1.0], [2.0], [2.0], [4.0]], dtype=torch.float64)))
    u = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, 1.0 - 2**-53], dtype=torch.float64)[:, None]
    assert generator.sample(torch.zeros(6, dtype=torch.int64), u)[:, 0].tolist() == [1, 1, 2, 2, 4, 4]


def test_its_loop_drifts_as_wright_and_fisher_say():
    """E sum_a p_a (1 - p_a) = (1 - 1/n)^t of its start; 100 loops of ten generations, within 4 standard errors."""
    start = torch.arange(4, dtype=torch.float64).repeat(5)[:, None]
    left = []
    for loop in range(100):
        x = start
        for generation in range(10):
            generator = fit(Categorical(), unlabelled(x))
            x = draw(generator, np.zeros(20, dtype=np.int64), f"drift {loop} {generation}")
        left.append(1 - float(generator.mass.square().sum()))
    expected = 0.75 * (1 - 1 / 20) ** 9
    assert abs(np.mean(left) - expected) < 4 * np.std(left) / 10


def test_an_image_comes_back_exactly():
    data = images()
    generator = fit(Categorical(), data)
    assert generator.atoms.dtype == torch.uint8 and len(generator.atoms) == 100
    originals = {image.tobytes() for image in data.x[::2].numpy()}
    drawn = {image.tobytes() for image in to_web(draw(generator, np.zeros(500, dtype=np.int64)))}
    assert drawn == originals


def test_what_was_never_seen_has_no_mass():
    x = torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype=torch.float64)
    generator = fit(Categorical(), TrainingSet(x, torch.tensor([0, 0, 0, 1]), 2))
    asked = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 4.0], [5.0, 6.0], [5.0, 6.0]], dtype=torch.float64)
    values = generator.log_prob(asked, torch.tensor([0, 0, 0, 0, 1]))
    assert_allclose(values, [np.log(2 / 3), np.log(1 / 3), -np.inf, -np.inf, 0])


# Kernel density


def test_kde_density_is_the_formula():
    points_, x, h = points(37, 2), points(23, 2, "asked"), 0.3
    generator = fit(Kde(bandwidth=h), unlabelled(points_))
    squares = ((x[:, None] - points_[None]) ** 2).sum(2).numpy()
    truth = np.log(np.exp(-squares / (2 * h**2)).mean(1) / (2 * np.pi * h**2))
    assert_allclose(generator.log_prob(x, torch.zeros(23, dtype=torch.int64)), truth, rtol=1e-10)


def test_kde_density_is_scipys():
    """Theirs scales the kernel by the data's covariance; in one dimension that is a bandwidth."""
    from scipy.stats import gaussian_kde

    x, h = points(30, 1), 0.25
    theirs = gaussian_kde(x[:, 0].numpy(), bw_method=h / float(x.std()))
    generator = fit(Kde(bandwidth=h), unlabelled(x))
    asked = torch.linspace(-3, 3, 50, dtype=torch.float64)
    ours = generator.log_prob(asked[:, None], torch.zeros(50, dtype=torch.int64))
    assert_allclose(ours, theirs.logpdf(asked.numpy()), rtol=1e-9)


def test_kde_density_does_not_depend_on_its_blocks(monkeypatch):
    generator, x = fit(Kde(), two_classes()), points(50, 2)
    whole = generator.log_prob(x, torch.arange(50) % 2)
    monkeypatch.setattr("ecosystem.models.kde.BLOCK", 1000)
    assert_allclose(generator.log_prob(x, torch.arange(50) % 2), whole, rtol=1e-12)


def test_kde_draws_every_point_equally_often():
    """With a kernel narrower than the gaps a sample tells its point: chi-square with 9 degrees of freedom."""
    x = torch.arange(10, dtype=torch.float64)[:, None]
    generator = fit(Kde(bandwidth=0.01), unlabelled(x))
    drawn = draw(generator, np.zeros(50_000, dtype=np.int64))[:, 0]
    counts = torch.bincount(drawn.round().long(), minlength=10).numpy()
    assert abs(((counts - 5000) ** 2 / 5000).sum() - 9) < 4 * 18**0.5
    assert float((drawn - drawn.round()).std()) == pytest.approx(0.01, rel=0.02)


# Mixture


@pytest.mark.parametrize("family", MIXTURES, ids=str)
def test_a_mixture_finds_planted_components(family):
    generator = fit(family, unlabelled(three_lumps()))
    order = (generator.mean[0] @ torch.tensor([1.0, 2.0], dtype=torch.float64)).argsort()
    assert_allclose(generator.mean[0][order], [[0, 0], [4, 0], [0, 4]], atol=0.06)
    assert_allclose(generator.weight[0], 1 / 3, atol=1e-6)
    root = generator.root[0]
    std = root if root.ndim == 2 else (root @ root.mT).diagonal(dim1=1, dim2=2).sqrt()
    assert_allclose(std, 0.3, rtol=0.08)


@pytest.mark.parametrize("family", MIXTURES, ids=str)
def test_a_mixtures_density_is_scikit_learns(family):
    from sklearn.mixture import GaussianMixture

    x, asked = three_lumps(), points(40, 2, "asked", scale=3.0)
    seed = int(Streams(0, "lab", 0).numpy("mixture").integers(2**31))
    kind = "diag" if family.covariance == "diagonal" else family.covariance
    theirs = GaussianMixture(3, covariance_type=kind, random_state=seed).fit(x.numpy())
    generator = fit(family, unlabelled(x))
    ours = generator.log_prob(asked, torch.zeros(40, dtype=torch.int64))
    assert_allclose(ours, theirs.score_samples(asked.numpy()), rtol=1e-9)


@pytest.mark.parametrize("family", MIXTURES, ids=str)
def test_a_fine_tuned_mixture_starts_where_the_last_one_ended(family):
    """Components keep their numbers from generation to generation, where from scratch k-means numbers them anew."""
    first = fit(family, unlabelled(three_lumps()))
    moved = unlabelled(three_lumps() + 0.1)
    for round in range(6):
        tuned = fit(family, moved, first, Streams(0, "lab", round))
        assert_allclose(tuned.mean, first.mean + 0.1, atol=1e-3)
        assert_allclose(tuned.weight, first.weight, atol=1e-3)
    anew = [fit(family, moved, None, Streams(0, "lab", round)).mean for round in range(6)]
    assert any(not torch.allclose(mean, first.mean + 0.1, atol=1.0) for mean in anew)


def test_another_mixture_is_no_start():
    first = fit(Mixture(components=2), unlabelled(three_lumps()))
    tuned, scratch = (fit(Mixture(components=3), unlabelled(three_lumps()), previous) for previous in (first, None))
    assert torch.equal(tuned.mean, scratch.mean)


@pytest.mark.parametrize("family", MIXTURES, ids=str)
def test_a_collapsed_set_still_has_a_mixture_and_no_warning(family):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = fit(family, unlabelled(torch.ones(20, 2, dtype=torch.float64)))
        again = fit(family, unlabelled(torch.ones(20, 2, dtype=torch.float64)), first)
    for generator in (first, again):
        assert_allclose(generator.distribution().mean, [1, 1])
        assert_allclose(generator.distribution().variance, 1e-6, rtol=1e-3)
        assert torch.isfinite(draw(generator, [0, 0, 0])).all()


def test_a_mixture_says_what_it_lacks():
    with pytest.raises(TrainingError, match=r"5 page\(s\) of class 0; a mixture of 8 needs at least as many"):
        fit(Mixture(), unlabelled(points(5, 2)))
    x = points(30, 2)
    x[3] = float("nan")
    with pytest.raises(TrainingError, match="the mixture cannot be fitted"):
        fit(Mixture(), unlabelled(x))


# Settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"family": "gaussian", "covariance": "spherical"},
        {"family": "kde", "bandwidth": 0.0},
        {"family": "kde", "bandwidth": -1.0},
        {"family": "categorical", "atoms": 3},
        {"family": "mixture", "components": 0},
        {"family": "mixture", "covariance": "diag"},
        {"family": "mixture", "reg_covar": 0.0},
        {"family": "mixture", "restarts": 0},
    ],
    ids=str,
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        TypeAdapter(ModelFamily).validate_json(json.dumps(wrong))


WORLD = """
name: tried
rounds: 2
humans: {humans}
web: {{archive: 40}}
users: [{{name: crowd, count: 5}}]
providers:
  - name: lab
    card: {card}
"""


def faults(humans, card):
    with pytest.raises(ScenarioError) as caught:
        scenarios.from_text(WORLD.format(humans=humans, card=card))
    return str(caught.value)


@pytest.mark.parametrize(
    ("humans", "card", "told"),
    [
        ("{source: gaussian}", "{family: kde, bandwidth: 0}", "providers.lab.card.bandwidth: must be above 0"),
        ("{source: gaussian}", "{family: mixture, covariance: diag}", "card.covariance: cannot be `diag`"),
        (
            "{source: gaussian, dims: 9999, held_out: 9}",
            "{family: mixture, components: 20}",
            "in 9,999 dimensions have",
        ),
        ("{source: gaussian, dims: 99999, held_out: 9}", "{family: kde}", "`covariance: diagonal` has none"),
        ("{source: categorical}", "{family: categorical}", "4  humans.probabilities: missing"),
        (
            "{source: categorical, probabilities: [0.5, 0.4]}",
            "{family: categorical}",
            "4  humans: probabilities must sum to 1, and these sum to 0.9",
        ),
        (
            "{source: categorical, probabilities: [0.5, 0.5], values: [0.0, 1e12]}",
            "{family: categorical}",
            "4  humans.values.1: 1e+12 is too far from 0",
        ),
        (
            "{source: categorical, probabilities: [0.5, 0.5], held_out: 30000000}",
            "{family: categorical}",
            "30,000,000 numbers in all",
        ),
        (
            "{source: categorical, probabilities: [0.5, 0.5]}",
            "{family: diffusion, net: {kind: unet}}",
            "which needs images, and `categorical` has vectors",
        ),
    ],
)
def test_a_world_that_cannot_be_is_refused_where_it_says_so(humans, card, told):
    assert told in faults(humans, card)


@pytest.mark.parametrize("card", [mapping(family) for family in CLOSED], ids=str)
@pytest.mark.parametrize("humans", ["{source: gaussian, dims: 2}", "{source: categorical, probabilities: [0.5, 0.5]}"])
def test_closed_forms_stand_in_any_world_of_vectors(humans, card):
    assert scenarios.from_text(WORLD.format(humans=humans, card=json.dumps(card))).cards["lab"].model.family


def test_diagonal_gaussians_take_any_dimension():
    text = WORLD.format(
        humans="{source: gaussian, dims: 99999, held_out: 9}", card="{family: gaussian, covariance: diagonal}"
    )
    assert scenarios.from_text(text).scenario.humans.dims == 99999


# Worlds


@pytest.mark.parametrize(
    "family", [Gaussian(covariance="diagonal"), Categorical(), Kde(), Mixture(components=2)], ids=str
)
def test_a_world_runs_with_a_closed_form(family):
    from ecosystem.world import World

    text = WORLD.format(humans="{source: two-moons, held_out: 50}", card=json.dumps(mapping(family)))
    world = World(scenarios.from_text(text), seed=0, device=torch.device("cpu"))
    for _ in range(2):
        world.step()
    lab = world.providers[0]
    assert lab.stopped is None and lab.generation == 1
    assert lab.provenance.synthetic_share == pytest.approx(5 / 45)
