"""Stacks of MLPs: their arithmetic is autograd's, and nobody's numbers depend on who else is in the stack."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecosystem.errors import TrainingError
from ecosystem.models import stack
from ecosystem.models.base import Fit, TrainingSet
from ecosystem.models.diffusion import AncestralSampler, DdimSampler, Diffusion
from ecosystem.models.edm import Edm
from ecosystem.models.flow_matching import FlowMatching
from ecosystem.models.mlps import MLPs, filled
from ecosystem.models.nets import MLPSettings, UNetSettings, build
from ecosystem.models.ode import AdaptiveSampler, OdeSampler
from ecosystem.models.times import LogitNormal
from ecosystem.models.train import TrainSettings, TrainState, train
from ecosystem.rng import Streams, stream

SHORT = TrainSettings(budget_images=3000, finetune_images=600, batch=50, lr=1e-2)
FAMILIES = (
    FlowMatching(net=MLPSettings(width=16, depth=2), train=SHORT, sampler=OdeSampler(steps=3)),
    FlowMatching(
        net=MLPSettings(width=7, depth=1),
        train=SHORT,
        coupling="independent",
        logit_normal=LogitNormal(mean=-0.5),
        sampler=OdeSampler("heun", steps=2),
    ),
    Diffusion(net=MLPSettings(width=8, depth=1), train=SHORT, sampler=DdimSampler(steps=4)),
    Diffusion(net=MLPSettings(width=8, depth=1), train=SHORT, sampler=AncestralSampler(steps=3)),
    Edm(net=MLPSettings(width=16, depth=3), train=replace(SHORT, batch=33)),
)
IDS = ["flow", "flow, odd", "diffusion", "ancestral", "edm"]


def data(seed, n=200, dims=2, classes=3):
    rng = stream(seed, "test", "data")
    return TrainingSet(
        torch.from_numpy(rng.standard_normal((n, dims)) + seed), torch.from_numpy(rng.integers(0, classes, n)), classes
    )


def images(seed, n=120):
    rng = stream(seed, "test", "images")
    return TrainingSet(
        torch.from_numpy(rng.integers(0, 256, (n, 1, 4, 4)).astype("uint8")), torch.from_numpy(rng.integers(0, 3, n)), 3
    )


def fit(family, data, seed, previous=None, **more):
    training, updates = family.fit(data, previous, Streams(seed, "lab", 0), **more), []
    while True:
        try:
            updates.append(next(training))
        except StopIteration as end:
            return end.value, updates


def fit_stack(family, fits):
    training, updates = family.train_stack(fits), []
    while True:
        try:
            updates.append(next(training))
        except StopIteration as end:
            return end.value, updates


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def draw(model, seed, n):
    return torch.arange(n) % 3, torch.from_numpy(model.noise(n, stream(seed, "test", "noise")))


# The arithmetic


def nets_of(width, depth, dims, classes, members, dtype=torch.float64):
    make = MLPSettings(width=width, depth=depth)
    every = [
        build(lambda: make.build((dims,), classes), torch.Generator().manual_seed(i)).to(dtype) for i in range(members)
    ]
    layout = stack.Layout(every[0])
    return every, layout.table([dict(net.named_parameters()) for net in every], dtype, torch.device("cpu"))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 19), st.integers(1, 3), st.integers(1, 9), st.integers(1, 4), st.integers(1, 40), st.integers(1, 4)
)
def test_values_and_gradients_are_those_of_autograd(width, depth, dims, classes, batch, members):
    nets, table = nets_of(width, depth, dims, classes, members)
    rows, generator = filled(batch), torch.Generator().manual_seed(0)
    x, t = torch.zeros(members, rows, dims, dtype=torch.float64), torch.zeros(members, rows, dtype=torch.float64)
    y, slope = torch.zeros(members, rows, dtype=torch.int64), torch.zeros_like(x)
    x[:, :batch].normal_(generator=generator)
    t[:, :batch].uniform_(generator=generator)
    y[:, :batch].random_(0, classes, generator=generator)
    slope[:, :batch].normal_(generator=generator)
    stacked, asked = (MLPs(nets[0], table, rows, learns) for learns in (True, False))
    for some in (stacked, asked):
        for buffer, values in ((some.x, x), (some.times, t), (some.labels, y), (some.slope, slope)):
            buffer.copy_(values)
    answers = stacked.forward().clone()
    stacked.backward()
    torch.testing.assert_close(asked.forward(), answers, rtol=0, atol=0)
    gradients = stacked.layout.views(stacked.gradient)
    for i, net in enumerate(nets):
        own = [part[i, :batch] for part in (x, t, y)]
        answer = net(*own)
        torch.testing.assert_close(answers[i, :batch], answer, rtol=1e-10, atol=1e-12)
        answer.backward(slope[i, :batch])
        for name, parameter in net.named_parameters():
            torch.testing.assert_close(gradients[name][i], parameter.grad, rtol=1e-9, atol=1e-11)
    one_time = asked.forward(torch.tensor(0.3, dtype=torch.float64)).clone()
    asked.times.fill_(0.3)
    torch.testing.assert_close(one_time, asked.forward(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("family", FAMILIES, ids=IDS)
@pytest.mark.parametrize("make", [data, images])
def test_a_training_is_that_of_the_loop_with_autograd(family, make):
    """In 64 bits, 500 updates, from scratch and going on: parameters, averages, moments, losses."""
    for finetune in (False, True):
        states, losses = [], []
        for stacked in (True, False):
            own, generator = make(0), torch.Generator().manual_seed(3)
            net = build(lambda own=own: family.build(own.shape, own.classes), torch.Generator().manual_seed(1)).double()
            state, budget, lr = TrainState.new(net), 500 * family.train.batch, (3e-3, 1e-4)
            for turn in range(1 + finetune):
                if stacked:
                    loop = stack.train(family, [stack.Member(state, own, generator)], budget, lr)
                    losses.append([update.loss for _, update in loop])
                else:
                    loss = family.loss
                    wide = TrainingSet(own.x, own.y, own.classes)
                    loop = train(
                        lambda net, x, y, g, loss=loss: loss(Wide(net), x, y, g),
                        state,
                        wide,
                        family.train,
                        budget,
                        lr,
                        generator,
                    )
                    losses.append([update.loss for update in loop])
                budget, lr = 60 * family.train.batch, (1e-3, 1e-3)
                assert turn < 2
            states.append(state.saved())
        one, other = states
        assert one.keys() == other.keys()
        for name, value in one.items():
            torch.testing.assert_close(
                value, other[name], rtol=1e-10, atol=1e-11, msg=lambda m, name=name: f"{name}: {m}"
            )
        half = len(losses) // 2
        for a, b in zip(losses[:half], losses[half:], strict=True):
            assert a == pytest.approx(b, rel=1e-6)


class Wide(torch.nn.Module):
    """A network in 64 bits that is asked in 32."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, t, y):
        return self.net(x.double(), t.double(), y)


# Nobody's numbers depend on the others


@pytest.mark.parametrize("family", FAMILIES, ids=IDS)
@pytest.mark.parametrize("make", [data, images])
def test_a_model_is_the_same_alone_and_in_a_stack_of_seven(family, make):
    """To the last bit: parameters, averages, moments and samples, also of data sets of other sizes, and fine-tuned."""
    sets = [make(seed, n=80 + 13 * seed) for seed in range(7)]
    alone = [fit(family, own, seed)[0] for seed, own in enumerate(sets)]
    together, _ = fit_stack(family, [Fit(family, own, None, Streams(i, "lab", 0)) for i, own in enumerate(sets)])
    assert all(same(a.saved(), b.saved()) for a, b in zip(alone, together, strict=True))
    asked = [draw(model, seed, 300 if seed % 2 else 41 * seed) for seed, model in enumerate(alone)]
    one_by_one = [model.sample(y, z) for model, (y, z) in zip(alone, asked, strict=True)]
    at_once = type(alone[0]).sample_stack(together, [y for y, _ in asked], [z for _, z in asked])
    assert all(torch.equal(a, b) for a, b in zip(one_by_one, at_once, strict=True))
    later = [fit(family, own, seed, alone[seed])[0] for seed, own in enumerate(sets)]
    fits = [Fit(family, own, together[i], Streams(i, "lab", 0)) for i, own in enumerate(sets)]
    assert len({family.stack_key(fit) for fit in fits}) == 1
    together, _ = fit_stack(family, fits)
    assert all(same(a.saved(), b.saved()) for a, b in zip(later, together, strict=True))


@pytest.mark.parametrize("family", [*FAMILIES, replace(FAMILIES[0], coupling_batch=16)], ids=[*IDS, "flow, parts"])
@pytest.mark.parametrize("make", [data, images])
@pytest.mark.parametrize("classes", [1, 3])
def test_no_bit_depends_on_how_far_ahead_is_drawn(family, make, classes, monkeypatch):
    own = make(1)
    own = replace(own, y=own.y % classes, classes=classes)
    numbers = family.train.batch * own.x[0].numel()
    found = []
    for ahead in (1, 7 * numbers, stack.AHEAD):
        monkeypatch.setattr(stack, "AHEAD", ahead)
        found.append(fit(family, own, 5)[0].saved())
    assert same(found[0], found[1])
    assert same(found[0], found[2])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70), st.integers(1, 2), st.integers(1, 20), st.integers(1, 5), st.integers(1, 70))
def test_no_bit_depends_on_the_stack_whatever_the_sizes(width, depth, dims, classes, batch):
    family = FlowMatching(
        net=MLPSettings(width=width, depth=depth),
        train=TrainSettings(budget_images=3 * batch, batch=batch),
        sampler=OdeSampler("euler", steps=2),
    )
    sets = [data(seed, dims=dims, classes=classes) for seed in range(4)]
    alone = [fit(family, own, seed)[0] for seed, own in enumerate(sets)]
    together, _ = fit_stack(family, [Fit(family, own, None, Streams(i, "lab", 0)) for i, own in enumerate(sets)])
    assert all(same(a.saved(), b.saved()) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("family", FAMILIES, ids=IDS)
def test_samples_are_those_of_the_plain_network(family):
    model, _ = fit(family, data(0), 0)
    y, z = draw(model, 0, 300)
    with torch.no_grad():
        plain = family.integrate(model.training.ema, y, z)
    torch.testing.assert_close(model.sample(y, z), plain, rtol=1e-3, atol=1e-4)


def test_rows_of_a_model_do_not_matter_to_one_another():
    model, _ = fit(FAMILIES[0], data(0), 0)
    y, z = draw(model, 0, 700)
    x = model.sample(y, z)
    torch.testing.assert_close(model.sample(y[256:300], z[256:300]), x[256:300], rtol=1e-5, atol=1e-6)
    assert torch.equal(model.sample(y[:512], z[:512]), x[:512])


def test_a_member_that_diverges_leaves_the_others_alone():
    family = FAMILIES[1]
    sets = [data(0), TrainingSet(data(1).x * torch.inf, data(1).y, 3), data(2)]
    models, updates = fit_stack(family, [Fit(family, own, None, Streams(i, "lab", 0)) for i, own in enumerate(sets)])
    assert isinstance(models[1], TrainingError)
    assert "the loss became nan at update 50" in str(models[1])
    assert {number for number, _ in updates} == {0, 2}
    for i in (0, 2):
        assert same(models[i].saved(), fit(family, sets[i], i)[0].saved())
    with pytest.raises(TrainingError, match="the loss became"):
        fit(family, sets[1], 1)


def test_a_training_that_was_left_ends_as_one_that_was_not_whatever_stack_it_goes_on_in():
    family = FAMILIES[0]
    fits = [Fit(family, data(seed), None, Streams(seed, "lab", 0)) for seed in range(3)]
    whole, _ = fit_stack(family, fits)
    training = family.train_stack(fits)
    saved = {}
    for number, update in training:
        if update.save is not None:
            saved[number] = {name: value.clone() for name, value in update.save().items()}
        if len(saved) == 3:
            break
    training.close()
    on = [replace(fit, saved=saved[i]) for i, fit in enumerate(fits)]
    for some in ([0], [1, 2], [2, 0, 1]):
        models, _ = fit_stack(family, [on[i] for i in some])
        assert all(same(whole[i].saved(), model.saved()) for i, model in zip(some, models, strict=True))


def test_who_makes_a_stack():
    flow = FAMILIES[0]
    begun = Fit(flow, data(0), None, Streams(0, "lab", 0))
    key = flow.stack_key(begun)
    assert key is not None
    assert key == flow.stack_key(replace(begun, data=data(1, n=50), streams=Streams(7, "other", 3)))
    model, _ = fit(flow, data(0), 0)
    others = (
        replace(begun, data=data(0, dims=3)),
        replace(begun, data=data(0, classes=2)),
        replace(begun, data=images(0)),
        replace(begun, previous=model),
        replace(begun, budget_images=1000),
    )
    assert all(flow.stack_key(fit) not in (key, None) for fit in others)
    assert flow.stack_key(replace(begun, budget_images=0)) is None
    for family in (
        replace(flow, net=UNetSettings(channels=(8,))),
        replace(flow, train=replace(SHORT, precision="bfloat16")),
        replace(flow, train=replace(SHORT, compile="default")),
        replace(flow, train=replace(SHORT, processes=2)),
    ):
        assert not family.stacks
        assert family.stack_key(replace(begun, family=family)) is None
    rows = replace(flow, sampler=AdaptiveSampler())
    assert rows.stacks
    assert not rows.samples_in_blocks
    adaptive = replace(model, family=rows)
    assert type(model).sample_stack([model, adaptive], [torch.zeros(1)] * 2, [torch.zeros(1, 2)] * 2) is None


def test_whoever_is_told_of_an_update_may_train_something_else():
    """A training that is suspended holds nothing of torch's: gradients are on between its updates."""
    family = FAMILIES[0]
    training = family.fit(data(0), None, Streams(0, "lab", 0))
    next(training)
    assert torch.is_grad_enabled()
    training.close()
