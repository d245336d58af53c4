"""The training loop under every key that says how a network is computed, and on whatever there is to compute on."""

import os
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from test_models import draw, fit, images, vectors
from torch import nn

from ecosystem import scenarios
from ecosystem.errors import TrainingError
from ecosystem.models import Diffusion, FlowMatching
from ecosystem.models import train as loop_of_updates
from ecosystem.models.base import TrainingSet, to_model
from ecosystem.models.diffusion import DdimSampler
from ecosystem.models.execution import autocast, called, dropout, drops, laid_out
from ecosystem.models.gradients import Gradients
from ecosystem.models.nets import MLPSettings, build
from ecosystem.models.ode import OdeSampler
from ecosystem.models.train import TrainSettings, TrainState, train
from ecosystem.models.unets import UNetSettings
from ecosystem.models.vae import ConvolutionalSettings
from ecosystem.notices import Notice
from ecosystem.rng import Streams

CPU = torch.device("cpu")
TINY = MLPSettings(width=16, depth=1)
SMALL = UNetSettings(channels=(8, 16))
ONE_LEVEL = UNetSettings(channels=(8,))  # a compiler takes long over each
SHORT = TrainSettings(budget_images=96, finetune_images=48, batch=12, lr=3e-3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def tiny(net=SMALL, **keys):
    return FlowMatching(net=net, train=replace(SHORT, **keys), coupling="independent", sampler=OdeSampler(steps=2))


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def apart(one, other):
    """The largest difference between two states, by name."""
    assert one.keys() == other.keys()
    return max(float((value.double() - other[name].double()).abs().max()) for name, value in one.items())


def made_of(family, data):
    net = build(lambda: family.build(data.shape, data.classes), seeded())
    family.prepare(net, data, seeded())
    return TrainState.new(net).laid_out(family.train.channels_last)


# --- laws over every way to compute -----------------------------------------------------------------------------------

WAYS = {
    "plain": tiny(),
    "mirror": tiny(mirror=True),
    "bfloat16": tiny(precision="bfloat16"),
    "channels-last": tiny(channels_last=True),
    "dropout": tiny(replace(SMALL, dropout=0.3)),
    "attention": tiny(replace(SMALL, attention=(True, False))),
    "patch": tiny(replace(SMALL, patch=2)),
    "all": tiny(
        replace(SMALL, dropout=0.3, attention=(False, True), patch=2),
        mirror=True,
        precision="bfloat16",
        channels_last=True,
    ),
    "compiled": tiny(ONE_LEVEL, compile="default"),
    "compiled, all": tiny(replace(ONE_LEVEL, dropout=0.3, patch=2), mirror=True, channels_last=True, compile="graphs"),
}
EVERY_DAY = {"channels-last", "all"}


@pytest.fixture(params=[w if w in EVERY_DAY else pytest.param(w, marks=pytest.mark.slow) for w in WAYS])
def way(request, monkeypatch):
    monkeypatch.setattr(loop_of_updates, "REPORT_EVERY", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        yield WAYS[request.param]


@cache
def whole(way):
    """A training that is not left, and what it told on its way."""
    return fit(way, images())


def left(training, updates):
    """What a training of so many updates saves, and the training is over."""
    for update in training:
        if update.done == updates:
            return update.save()
    raise AssertionError("it was not that long")


def test_left_in_the_middle_a_training_ends_with_the_same_bits(way):
    data, (end, updates) = images(), whole(way)
    assert [update.done for update in updates] == [3, 6, 8]
    saved = left(way.fit(data, None, Streams(0, "lab", 0)), 3)
    assert set(saved) >= {"ema.unet.conv_in.weight", "net.unet.conv_in.weight"}, "by the names of the plain network"
    # As a checkpoint keeps it: without layouts.
    saved = {name: value.contiguous() for name, value in saved.items()}
    resumed, later = fit(way, data, saved=saved)
    assert [update.done for update in later] == [6, 8]
    assert equal(resumed.saved(), end.saved())


def test_a_generator_from_disk_samples_and_is_fine_tuned_with_the_same_bits(way):
    data, (generator, _) = images(), whole(way)
    saved = {name: value.contiguous() for name, value in generator.saved().items()}
    restored = way.restored(saved, data.shape, data.classes)
    assert torch.equal(draw(restored, [0, 1, 2]), draw(generator, [0, 1, 2]))
    assert torch.equal(draw(generator, [0, 1, 2]), draw(generator, [0, 1, 2])), "dropout is for trainings"
    later = [fit(way, data, previous, Streams(0, "lab", 1))[0] for previous in (generator, restored)]
    assert equal(later[0].saved(), later[1].saved())


def test_every_way_goes_in_the_same_direction(way):
    """But for the bits of a float: the gradients of a batch, as far as they are the plain network's."""
    if way.net.dropout:
        pytest.skip("other draws")
    data, found = images(12), []
    for family in (tiny(way.net), way):
        state, keys = made_of(family, data), family.train
        gradients = Gradients(family.loss, state.net, seeded(1), keys.precision, keys.compile)
        with gradients.ready():
            gradients.of(to_model(data.x), data.y, 1)
        found.append(torch.cat([p.grad.flatten() for p in state.net.parameters()]))
    plain, ours = found
    assert float((plain - ours).norm() / plain.norm()) < (0.05 if way.train.precision == "bfloat16" else 1e-4)


# --- the data ---------------------------------------------------------------------------------------------------------


def heard(data, settings=SHORT, updates=5, generator=None):
    """The batches that a loss is shown."""
    seen = []

    def loss(net, x, y, generator):
        seen.append((x.clone(), y.clone()))
        return net(x, torch.zeros(len(x)), y).square().mean()

    net = build(lambda: TINY.build(data.shape, data.classes), seeded())
    list(
        train(loss, TrainState.new(net), data, settings, updates * settings.batch, (1e-3, 1e-3), generator or seeded())
    )
    return seen


def test_images_are_converted_batch_by_batch(monkeypatch):
    data, sizes = images(), []
    monkeypatch.setattr(loop_of_updates, "to_model", lambda x: (sizes.append(len(x)), to_model(x))[1])
    seen = heard(data)
    assert set(sizes) == {SHORT.batch}
    converted = TrainingSet(to_model(data.x), data.y, data.classes)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(seen, heard(converted), strict=True))


def test_mirror_turns_half_of_the_images_and_nothing_else():
    data = images(300)
    data = TrainingSet(data.x, torch.arange(300), 300)  # each image with a label of its own
    seen = heard(data, replace(SHORT, mirror=True, batch=100), updates=30)
    turned = 0
    for x, y in seen:
        shown, other = to_model(data.x[y]), to_model(data.x[y]).flip(-1)
        is_turned = (x == other).flatten(1).all(1)
        assert ((x == shown).flatten(1).all(1) ^ is_turned).all()
        turned += int(is_turned.sum())
    assert abs(turned / 3000 - 0.5) < 4 * 0.5 / 3000**0.5


def test_without_mirror_nothing_is_drawn_for_it():
    states = []
    for mirror in (False, True):
        generator = seeded()
        heard(images(), replace(SHORT, mirror=mirror), 3, generator)
        states.append(generator.get_state())
    only_batches = seeded()
    batches = loop_of_updates.Batches(60, SHORT.batch, only_batches)
    for _ in range(3):
        next(batches)
    assert torch.equal(states[0], only_batches.get_state())
    assert not torch.equal(states[1], states[0])


def test_vectors_have_no_mirror():
    with pytest.raises(TrainingError, match="`mirror` turns images, and these are vectors"):
        heard(vectors(), replace(SHORT, mirror=True))


# --- how it is computed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "dtype"), [("auto", 32), ("float32", 32), ("bfloat16", 16)])
def test_precision_is_that_of_the_products(precision, dtype):
    """On the CPU; parameters, their averages and Adam's moments stay in 32 bits."""
    seen = []

    def loss(net, x, y, generator):
        out = net(x, torch.zeros(len(x)), y)
        seen.append(out.dtype)
        return out.float().square().mean()

    state = TrainState.new(build(lambda: TINY.build((1, 6, 6), 3), seeded()))
    list(train(loss, state, images(), replace(SHORT, precision=precision), 24, (1e-3, 1e-3), seeded()))
    assert set(seen) == {torch.bfloat16 if dtype == 16 else torch.float32}
    assert {value.dtype for value in state.saved().values()} == {torch.float32, torch.int64}
    with autocast(precision, CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == seen[0], "and so a sampler computes"


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_on_a_gpu_auto_is_16_bits():
    assert autocast("auto", torch.device("cuda")).fast_dtype == torch.bfloat16
    assert not isinstance(autocast("float32", torch.device("cuda")), torch.autocast)


def test_an_optimal_pairing_is_computed_in_32_bits():
    """Under autocast its products would be rounded, and NumPy knows no bfloat16."""
    family = FlowMatching(net=TINY, train=replace(SHORT, precision="bfloat16"))
    assert torch.isfinite(draw(fit(family, images())[0], [0, 1])).all()


def test_channels_last_lays_out_the_filters():
    generator, _ = fit(WAYS["channels-last"], images())
    for net in (generator.training.net, generator.training.ema):
        filters = [p for p in net.parameters() if p.ndim == 4 and min(p.shape) > 1]
        assert filters and all(p.is_contiguous(memory_format=torch.channels_last) for p in filters)
    assert laid_out(net, False) is net


def test_what_a_loss_calls_of_a_network():
    net = made(SMALL)
    assert called(net) == [net]
    parts = build(lambda: ConvolutionalSettings(channels=(8,)).build((1, 6, 6), 3, 4), seeded())
    assert called(parts) == [parts.encoder, parts.decoder], "it has no forward of its own"


class Refusing:
    """A compiler that fails: when it is asked, when what it made is called, or on the way back."""

    def __init__(self, when):
        self.when = when

    def __call__(self, forward, mode):
        if self.when == "asked":
            raise RuntimeError("no compiler here\nand a long story about it")
        return forward if self.when == "never" else lambda *inputs: self._call(forward, inputs)

    def _call(self, forward, inputs):
        if self.when == "called":
            raise RuntimeError("no compiler here\nand a long story about it")
        out = forward(*inputs)
        out.register_hook(self._back)
        return out

    @staticmethod
    def _back(gradient):
        raise RuntimeError("no compiler here\nand a long story about it")


@pytest.mark.parametrize(
    ("when", "net"), [("asked", TINY), ("called", TINY), ("back", replace(SMALL, dropout=0.3)), ("never", TINY)]
)
def test_without_a_compiler_it_is_said_once_and_computed_as_it_is(when, net, monkeypatch):
    monkeypatch.setattr(torch, "compile", Refusing(when))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found, _ = fit(tiny(net, compile="default"), images())
    plain, _ = fit(tiny(net), images())
    for name, value in plain.saved().items():  # an MLP is trained by stack.py where it is not to be compiled
        torch.testing.assert_close(found.saved()[name], value, rtol=1e-4, atol=1e-5)
    assert isinstance(net, MLPSettings) or equal(found.saved(), plain.saved()), "also what was drawn in vain"
    told = [str(warning.message) for warning in said if warning.category is Notice]
    assert told == ([] if when == "never" else [told[0]])
    assert when == "never" or re.fullmatch(r"a network cannot be compiled here .*: no compiler here", told[0])
    assert "forward" not in vars(found.training.net)


def test_an_error_of_the_loss_is_no_fault_of_the_compiler(monkeypatch):
    monkeypatch.setattr(torch, "compile", Refusing("never"))

    def loss(net, x, y, generator):
        raise ZeroDivisionError("of the family")

    net = build(lambda: TINY.build((2,), 2), seeded())
    gradients = Gradients(loss, net, seeded(), compile="default")
    with gradients.ready(), pytest.warns(Notice), pytest.raises(ZeroDivisionError, match="of the family"):
        gradients.of(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64), 1)
    assert "forward" not in vars(net)


@pytest.mark.slow
def test_a_machine_without_a_compiler(tmp_path):
    """Inductor looks for one by the environment; in a process of its own, as it remembers what it found."""
    code = """
import sys, warnings
sys.path.insert(0, sys.argv[1])
import test_training as t
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    found, _ = t.fit(t.WAYS["compiled"], t.images())
assert t.equal(found.saved(), t.fit(t.tiny(t.ONE_LEVEL), t.images())[0].saved())
print([str(w.message) for w in said if w.category is t.Notice])
"""
    nowhere = {"CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    done = subprocess.run(command, env=os.environ | nowhere, capture_output=True, text=True, check=True)
    assert done.stdout.count("cannot be compiled here and is computed as it is") == 1


@pytest.mark.slow
def test_generations_are_compiled_once():
    """A world trains one network after another of the same make."""
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    generator = None
    for number in range(12):
        generator, _ = fit(WAYS["compiled"], images(), generator, Streams(0, "lab", number))
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["recompile_limit"]


# --- dropout ----------------------------------------------------------------------------------------------------------


def test_dropout_is_of_the_named_stream_and_leaves_no_trace():
    net, x = nn.Dropout(0.25), torch.ones(20_000)
    assert drops(nn.Sequential(net)) and not drops(nn.Sequential(nn.Dropout(0.0), nn.SiLU()))
    masks = {}
    for seed, update, rank in [(0, 1, 0), (0, 2, 0), (1, 1, 0), (0, 1, 1)]:
        with dropout(seeded(seed), update, rank):
            masks[seed, update, rank] = net(x) == 0
    with dropout(seeded(0), 1, 0):
        assert torch.equal(net(x) == 0, masks[0, 1, 0])
    generator = seeded(0)
    torch.rand(7, generator=generator)
    with dropout(generator, 1, 0):
        assert torch.equal(net(x) == 0, masks[0, 1, 0]), "by name, not by order"
    for mask in masks.values():
        assert float(mask.double().mean()) == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 20_000) ** 0.5)
    first = masks[0, 1, 0].double()
    for name, mask in masks.items():
        if name != (0, 1, 0):
            both = float((first * mask).mean())
            assert both == pytest.approx(0.0625, abs=4 * (0.0625 * 0.9375 / 20_000) ** 0.5), "independent"


def test_dropout_is_on_in_training():
    """Without it, and with all activations but one in three, the same network has another loss."""
    losses = {p: fit(tiny(replace(SMALL, dropout=p)), images())[1][-1].loss for p in (0.0, 0.3, 0.6)}
    assert len(set(losses.values())) == 3


# --- U-Nets -----------------------------------------------------------------------------------------------------------


def made(settings, shape=(1, 6, 6), classes=3, seed=0):
    return build(lambda: settings.build(shape, classes), seeded(seed))


def blocks(net):
    return [type(block).__name__ for block in (*net.unet.down_blocks, net.unet.mid_block, *net.unet.up_blocks)]


def test_attention_is_on_the_levels_that_are_named():
    plain = ["DownBlock2D", "DownBlock2D", "UNetMidBlock2D", "UpBlock2D", "UpBlock2D"]
    assert blocks(made(SMALL)) == plain == blocks(made(replace(SMALL, attention=(False, False))))
    assert blocks(made(replace(SMALL, attention=(False, True)))) == [
        "DownBlock2D",
        "AttnDownBlock2D",
        "UNetMidBlock2D",
        "AttnUpBlock2D",
        "UpBlock2D",
    ]


DDPM = UNetSettings(
    channels=(128, 256, 256, 256),
    layers=2,
    attention=(False, True, False, False),
    dropout=0.1,
    groups=32,
    head_channels=None,
)


def test_the_network_of_ho_et_al_can_be_written():
    """Theirs for CIFAR-10 has 35.7 million parameters, 35,746,307 in diffusers' copy of it; ours has a class beside."""
    with torch.device("meta"):
        net = DDPM.build((3, 32, 32), 1)
    assert sum(p.numel() for p in net.parameters()) == 35_746_307 + 4 * 128
    attention = [m for m in net.modules() if type(m).__name__ == "Attention"]
    assert {m.heads for m in attention} == {1} and len(attention) == 6
    assert {m.dropout.p for m in net.modules() if type(m).__name__ == "ResnetBlock2D"} == {0.1}


def test_a_patch_is_seen_as_one_pixel():
    """The network of patch 2 is that of four times the channels at half the side, between unshuffle and shuffle."""
    net, half = made(replace(SMALL, patch=2), (1, 8, 8)), made(SMALL, (4, 4, 4))
    half.load_state_dict(net.state_dict())
    x, t, y = torch.randn(3, 1, 8, 8, generator=seeded(1)), torch.rand(3, generator=seeded(2)), torch.arange(3)
    small = torch.stack([x[:, 0, i::2, j::2] for i in range(2) for j in range(2)], 1)
    answer = half(small, t, y)
    found = net(x, t, y)
    for number, (i, j) in enumerate((i, j) for i in range(2) for j in range(2)):
        assert torch.equal(found[:, 0, i::2, j::2], answer[:, number])


@pytest.mark.parametrize("patch", [2, 3, 4])
def test_a_patch_takes_any_size_and_less_work(patch):
    from torch.utils.flop_counter import FlopCounterMode

    wide, shape = UNetSettings(channels=(32, 32)), (2, 24, 24)
    x, t, y = torch.zeros(1, *shape), torch.zeros(1), torch.zeros(1, dtype=torch.int64)
    work = []
    for settings in (wide, replace(wide, patch=patch)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            made(settings, shape)(x, t, y)
        work.append(counter.get_total_flops())
    assert work[0] / work[1] == pytest.approx(patch**2, rel=0.25)
    odd = made(replace(SMALL, patch=patch), (3, 7, 9))
    assert odd(torch.zeros(2, 3, 7, 9), torch.zeros(2), torch.tensor([0, 1])).shape == (2, 3, 7, 9)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("attention: [true]", "attention: 1 for 2 levels"),
        ("groups: 16", "groups: the 8 channels of a level do not make 16 groups"),
        ("head_channels: 32", "head_channels: 16 channels do not make heads of 32"),
        ("attention: [true, false], head_channels: 16", "head_channels: 8 channels do not make heads of 16"),
        ("dropout: 1.0", "dropout"),
        ("patch: 0", "patch"),
    ],
)
def test_a_network_that_cannot_be_is_refused(keys, told):
    with pytest.raises(Exception, match=re.escape(told)):
        scenarios.from_text(card(f"net: {{kind: unet, channels: [8, 16], {keys}}}"))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("processes: 20, batch: 10", "processes: 20 share a batch of 10"),
        ("compile: fast", "compile"),
        ("precision: float16", "precision"),
        ("processes: 0", "processes"),
    ],
)
def test_a_training_that_cannot_be_is_refused(keys, told):
    with pytest.raises(Exception, match=re.escape(told)):
        scenarios.from_text(card(f"train: {{{keys}}}"))


def card(keys, more=""):
    return f"""
        name: image
        rounds: 2
        humans: {{source: digits}}
        web: {{archive: 30}}
        users: [{{name: crowd, count: 3}}]
        providers: [{{name: lab, card: {{family: flow-matching, {keys}}}}}{more}]
        """


# --- where memory is full ---------------------------------------------------------------------------------------------


def scarce(most):
    """A loss of at most so many images, that draws its noise as others do."""

    def loss(net, x, y, generator):
        z = torch.randn(x.shape, generator=generator)
        if len(x) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return (net(x, torch.zeros(len(x)), y) - z).square().mean()

    return loss


@pytest.mark.parametrize("net", [replace(SMALL, dropout=0.3), pytest.param(SMALL, marks=pytest.mark.slow)])
def test_where_memory_is_full_a_resumed_training_ends_with_the_same_bits(net, monkeypatch):
    """The first attempts of the resumed one are in vain, those of the other were long before."""
    monkeypatch.setattr(loop_of_updates, "REPORT_EVERY", 3)
    settings = replace(SHORT, mirror=True, channels_last=True)

    def training(saved=None):
        state = TrainState.new(made(net)) if saved is None else TrainState.restored(made(net), saved)
        updates = train(scarce(3), state.laid_out(True), images(), settings, 96, (1e-3, 1e-4), seeded(), saved)
        with pytest.warns(Notice, match="in 4 parts"):
            yield from updates
        yield state

    *told, end = training()
    assert {update.parts for update in told} == {4}
    *_, resumed = training(left(training(), 3))
    assert equal(resumed.saved(), end.saved())


def test_a_diffusion_is_trained_with_every_key_of_the_card():
    """As YAML has it."""
    keys = "mirror: true, compile: none, precision: bfloat16, channels_last: true, processes: 1"
    net = (
        "kind: unet, channels: [8, 8], attention: [false, true], dropout: 0.1, patch: 2, head_channels: null, groups: 4"
    )
    text = card(f"net: {{{net}}}, train: {{budget_images: 20, batch: 10, {keys}}}")
    model = scenarios.from_text(text).card("lab", 0).model
    assert model.train.mirror and model.train.channels_last and model.net.patch == 2
    assert Diffusion(net=model.net, train=model.train, sampler=DdimSampler(steps=1)).train.precision == "bfloat16"
    assert torch.isfinite(draw(fit(model, images())[0], [0, 1, 2])).all()
