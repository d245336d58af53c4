"""The solvers of ordinary differential equations, against known solutions and against SciPy's."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from pydantic import TypeAdapter
from scipy.integrate import solve_ivp

from ecosystem import grammar
from ecosystem.documents import parse
from ecosystem.errors import TrainingError
from ecosystem.models import FlowMatching
from ecosystem.models.nets import MLPSettings, build
from ecosystem.models.ode import AdaptiveSampler, OdeSampler
from ecosystem.rng import stream, torch_stream

CPU = torch.device("cpu")


class Riccati:
    """dx/dt = -2 k t x^2, hence x(1) = 1 / (1 / x(0) + k), each row with a stiffness k of its own, its prompt.

    Counts the rows that it is asked for.
    """

    def __init__(self):
        self.asked, self.calls = 0, 0

    def __call__(self, x, t, y):
        assert t.dtype == x.dtype or t.dtype == torch.float32
        self.asked, self.calls = self.asked + len(x), self.calls + 1
        return -2.0 * (y * t)[:, None] * x**2

    @staticmethod
    def end(x, y):
        return 1 / (1 / x + y[:, None])


def starts(n=5, d=3):
    """Positive (N, D), and a stiffness for each row, from 1 to 3^(N - 1)."""
    x = torch.from_numpy(stream(0, "test", "starts").uniform(0.2, 2.0, (n, d)))
    return x, 3 ** torch.arange(n)


def network(d=2):
    """An MLP in 64 bits whose velocities are far from straight."""
    net = build(lambda: MLPSettings(width=16, depth=2).build((d,), 3), torch_stream(CPU, 0, "test", "net")).double()
    with torch.no_grad():
        return lambda x, t, y: 20 * net(x, t, y)


@pytest.mark.parametrize(("kind", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_a_solver_of_fixed_steps_has_the_order_that_it_claims(kind, order):
    x, y = starts(3)

    def error(steps):
        return float((OdeSampler(kind, steps).solve(Riccati(), y, x) - Riccati.end(x, y)).abs().max())

    assert math.log2(error(256) / error(512)) == pytest.approx(order, abs=0.05)
    calls = Riccati()
    OdeSampler(kind, 10).solve(calls, y, x)
    assert calls.calls == 10 * order


def test_the_error_of_the_adaptive_solver_follows_its_tolerance():
    """Over six decades the error stays below ten tolerances, and evaluations grow no faster than order 5 says."""
    x, y = starts()
    asked = []
    for tolerance in (1e-3, 1e-5, 1e-7, 1e-9):
        field = Riccati()
        error = AdaptiveSampler(tolerance=tolerance).solve(field, y, x) - Riccati.end(x, y)
        assert float(error.abs().max()) < 10 * tolerance
        asked.append(field.asked)
    grown = np.diff(np.log10(asked))
    assert (grown > 0).all()
    assert (grown < 2 / 5 + 0.05).all(), "100 times as exact for 100^(1/5) times as many evaluations"


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
def test_it_is_scipys_attempt_for_attempt(tolerance):
    """Among them rows with refused attempts: the last is of stiffness 81."""
    x, y = starts()
    for row in range(len(x)):
        field, one = Riccati(), y[row : row + 1]
        ours = AdaptiveSampler(tolerance=tolerance).solve(field, one, x[row : row + 1])
        k = float(one)
        theirs = solve_ivp(lambda t, v, k=k: -2 * k * t * v**2, (0, 1), x[row], rtol=tolerance, atol=tolerance)
        assert field.asked == theirs.nfev
        assert_allclose(ours[0], theirs.y[:, -1], rtol=1e-12)


@torch.no_grad()
def test_of_a_network_it_is_scipys():
    net, x = network(), torch.from_numpy(stream(0, "test", "noise").standard_normal((6, 2)))
    y = torch.arange(6) % 3
    ours = AdaptiveSampler(tolerance=1e-6).solve(net, y, x)
    assert float((ours - x).abs().max()) > 1, "it has gone somewhere"
    for row in range(len(x)):

        def velocity(t, v, row=row):
            return net(torch.from_numpy(v)[None], torch.tensor([t], dtype=torch.float64), y[row : row + 1])[0].numpy()

        theirs = solve_ivp(velocity, (0, 1), x[row].numpy(), rtol=1e-6, atol=1e-6).y[:, -1]
        assert_allclose(ours[row], theirs, rtol=1e-9)


def test_a_row_in_a_batch_is_the_row_alone_and_costs_no_more():
    x, y = starts(9)
    field = Riccati()
    together = AdaptiveSampler().solve(field, y, x)
    alone = [Riccati() for _ in range(len(x))]
    for row, own in enumerate(alone):
        assert torch.equal(AdaptiveSampler().solve(own, y[row : row + 1], x[row : row + 1])[0], together[row])
    assert field.asked == sum(own.asked for own in alone)
    assert alone[-1].asked > 2 * alone[0].asked, "which tells that rows have steps of their own"
    assert field.calls == max(own.asked for own in alone)
    assert AdaptiveSampler().solve(Riccati(), y[:0], x[:0]).shape == (0, 3)


def test_images_keep_their_shape():
    x = torch.from_numpy(stream(0, "test", "images").uniform(0.2, 2.0, (4, 2, 3, 3)))
    y = torch.arange(4)
    field = Riccati()
    found = AdaptiveSampler().solve(lambda v, t, k: field(v.flatten(1), t, k).reshape(v.shape), y, x)
    assert_allclose(found.flatten(1), AdaptiveSampler().solve(Riccati(), y, x.flatten(1)))


def test_a_velocity_that_stands_still_is_soon_left_behind():
    """From a first step of 1e-6, ten times as long each time."""
    field, x = Riccati(), starts()[0]
    assert torch.equal(AdaptiveSampler().solve(field, torch.zeros(len(x)), x), x)
    assert field.calls == 2 + 6 * 7


def test_where_there_is_no_end_it_says_so():
    """Blow-up at t = 1/2; and a budget of steps that is too small."""
    x = torch.ones(3, 1, dtype=torch.float64)
    y = torch.tensor([0, 1, 0])
    with pytest.raises(
        TrainingError, match=r"after 200 steps: of 3 sample\(s\), 1 came no further than t = 0\.5\. Raise"
    ):
        AdaptiveSampler(most_steps=200).solve(lambda x, t, y: 2.0 * y[:, None] * x**2, y, x)
    x, y = starts()
    with pytest.raises(TrainingError, match=r"after 1 steps: of 5.*Raise its `tolerance` of 1e-09 or its `most_steps`"):
        AdaptiveSampler(tolerance=1e-9, most_steps=1).solve(Riccati(), y, x)


def test_a_network_that_answers_no_number_gives_none():
    """As the samplers of fixed steps do it: who measures samples says so, and the others go on."""
    x, y = starts()
    sick = x.clone()
    sick[1, 2] = torch.nan
    found = AdaptiveSampler().solve(Riccati(), y, sick)
    assert torch.isnan(found[1]).all()
    kept = [0, 2, 3, 4]
    assert torch.equal(found[kept], AdaptiveSampler().solve(Riccati(), y, x)[kept])


@torch.no_grad()
def test_it_asks_in_32_bits_where_sampling_has_16():
    net = build(lambda: MLPSettings(width=16, depth=1).build((2,), 2), torch_stream(CPU, 0, "test", "net"))
    noise = torch.from_numpy(stream(0, "test", "noise").standard_normal((6, 2), dtype=np.float32))
    y = torch.arange(6) % 2
    exact = AdaptiveSampler().solve(net, y, noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(AdaptiveSampler().solve(net, y, noise), exact)
        assert not torch.equal(OdeSampler().solve(net, y, noise), OdeSampler().solve(net.double(), y, noise.double()))


@pytest.mark.parametrize(
    ("text", "sampler"),
    [
        ("{}", OdeSampler()),
        ("{steps: 3}", OdeSampler("midpoint", 3)),
        ("{kind: heun, steps: 3}", OdeSampler("heun", 3)),
        ("{kind: adaptive}", AdaptiveSampler()),
        ("{kind: adaptive, tolerance: 1.0e-5, most_steps: 50}", AdaptiveSampler(tolerance=1e-5, most_steps=50)),
    ],
)
def test_samplers_in_yaml(text, sampler):
    family, faults = grammar.check(FlowMatching, parse(f"{{family: flow-matching, sampler: {text}}}", "card"))
    assert not faults
    assert family == FlowMatching(sampler=sampler)
    assert TypeAdapter(FlowMatching).validate_python(family) == family


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{kind: ruler}", "there is no kind `ruler`"),
        ("{kind: adaptive, steps: 20}", "unknown key"),
        ("{tolerance: 0.1}", "unknown key"),
        ("{kind: adaptive, tolerance: 1.0e-8}", "must be 1e-06 or more, not 1e-08"),
        ("{kind: adaptive, tolerance: 1.0}", "must be below 1.0, not 1.0"),
        ("{kind: adaptive, most_steps: 0}", "must be 1 or more, not 0"),
        ("adaptive", "must be a mapping"),
    ],
)
def test_faults_of_samplers(text, problem):
    _, faults = grammar.check(FlowMatching, parse(f"{{family: flow-matching, sampler: {text}}}", "card"))
    assert [fault.problem.startswith(problem) for fault in faults] == [True], faults
