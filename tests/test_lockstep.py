"""Worlds ask for fits and draws; driven together they are what they are alone, to the last bit."""

import numpy as np
import pytest
import torch

from ecosystem import loop, scenarios
from ecosystem.errors import TrainingError
from ecosystem.models import FlowMatching
from ecosystem.models.base import Family, Fit, Generator, TrainingSet
from ecosystem.models.jobs import Draw, Heard, at_once, drive
from ecosystem.rng import Streams
from ecosystem.world import World, together


def text(model="gaussian-diagonal", dims=3, rounds=6, users=30, more=""):
    return f"""
        name: locked
        rounds: {rounds}
        humans: {{source: gaussian, dims: {dims}, held_out: 50}}
        web: {{archive: 30, retention: {{synthetic_rounds: 2}}}}
        creators: [{{name: people, count: 4}}]
        users: [{{name: crowd, count: {users}}}]
        providers: [{{name: lab, model: {model}}}, {{name: rival, model: {model}, sampling_bias: 0.7}}]
        metrics: [model-variance, mean-error, sliced-wasserstein]
        {more}
        """


def lines_of(folder, question, seeds):
    list(loop.run(question, seeds, folder))
    return {seed: (folder / f"seed-{seed}" / "metrics.jsonl").read_bytes() for seed in seeds}


@pytest.mark.parametrize(
    "model",
    [
        "gaussian-diagonal",
        "kde",
        *(pytest.param(m, marks=pytest.mark.slow) for m in ("gaussian-unbiased", "categorical")),
    ],
)
def test_a_seed_is_on_record_alike_alone_and_in_lockstep(tmp_path, model):
    question = scenarios.from_text(text(model, rounds=5))
    together = lines_of(tmp_path / "all", question, [0, 1, 2])
    alone = {seed: lines_of(tmp_path / f"one-{seed}", question, [seed])[seed] for seed in (0, 2)}
    assert {seed: together[seed] for seed in alone} == alone
    pages = [np.load(tmp_path / part / "seed-2" / "pages" / "from-0.npy") for part in ("all", "one-2")]
    np.testing.assert_array_equal(*pages)
    assert together[0] != together[1]


def test_a_provider_that_stops_in_one_seed_stops_alone():
    """Two pages an unbiased fit needs; a filter that lets few pass starves some seeds of them and not others."""
    more = "scrapers: [{name: strict, window_rounds: 1, filter: {kind: detector, tpr: 0.9, fpr: 0.6}}]"
    question = scenarios.from_text(text("gaussian-diagonal-unbiased", users=6, rounds=5, more=more))
    worlds = [World(question, seed, torch.device("cpu")) for seed in range(12)]
    alone = [World(question, seed, torch.device("cpu")) for seed in range(12)]
    for _ in range(5):
        list(together(worlds))
        for world in alone:
            world.step()
    stopped = [[p.stopped for p in world.providers] for world in worlds]
    assert stopped == [[p.stopped for p in world.providers] for world in alone]
    assert 0 < sum(any(row) for row in stopped) < 12
    for one, other in zip(worlds, alone, strict=True):
        np.testing.assert_array_equal(one.corpus.items, other.corpus.items)


ACROSS = "candidates: across-providers, k: 2"


def flows(*providers, plus="k: 1"):
    train = "train: {budget_images: 500, finetune_images: 100, batch: 25}"
    net = "net: {kind: mlp, width: 8, depth: 1}"
    samplers = {"sound": "{kind: euler, steps: 2}", "broken": "{kind: adaptive, tolerance: 1.0e-6, most_steps: 1}"}
    samplers["fine"] = "{kind: adaptive, tolerance: 0.5}"
    labs = [
        f"{{name: {name}, card: {{family: flow-matching, {net}, {train}, sampler: {samplers[name]}}}}}"
        for name in providers
    ]
    return World(
        scenarios.from_text(f"""
            name: flows
            rounds: 3
            humans: {{source: ring-8, held_out: 50}}
            web: {{archive: 40}}
            users: [{{name: crowd, count: 12, publish: all, {plus}}}]
            providers: [{", ".join(labs)}]
            metrics: [sliced-wasserstein]
            """),
        0,
        torch.device("cpu"),
    )


@pytest.mark.parametrize("plus", ["k: 1", ACROSS])
def test_a_model_that_cannot_be_sampled_stops_its_provider_and_serves_nobody(plus):
    worlds = [flows("sound", "broken", plus=plus) for _ in range(2)]
    for _ in range(2):
        list(together(worlds))
    for world in worlds:
        sound, broken = world.providers
        assert "provider broken, round 0: the adaptive sampler is not at its end after 1 steps" in broken.stopped
        assert sound.stopped is None and sound.generation == 1
        assert set(world.corpus.of("maker", np.arange(len(world.corpus)))) == {-1, 0}
        assert set(world.measurements) == {"sound"}


def test_a_model_that_draws_no_numbers_stops_its_provider_and_serves_nobody(monkeypatch):
    world, integrate = flows("sound", "fine"), FlowMatching.integrate

    def spoilt(self, net, y, noise):
        return integrate(self, net, y, noise) * (1 if self.sampler.kind == "euler" else np.nan)

    monkeypatch.setattr(FlowMatching, "integrate", spoilt)
    list(together([world]))
    sound, fine = world.providers
    assert "round 0: its samples are not finite" in fine.stopped
    assert sound.stopped is None
    assert np.isfinite(world.corpus.items).all()


@pytest.mark.parametrize("providers, plus", [(("fine",), "k: 1"), (("sound", "fine"), ACROSS)])
def test_a_model_that_fails_later_ends_the_run_and_is_named(providers, plus, monkeypatch):
    world, integrate, asked = flows(*providers, plus=plus), FlowMatching.integrate, []

    def once(self, net, y, noise):
        if self.sampler.kind == "adaptive":
            asked.append(len(y))
            if len(asked) > 1:
                raise TrainingError("it has had enough")
        return integrate(self, net, y, noise)

    monkeypatch.setattr(FlowMatching, "integrate", once)
    with pytest.raises(TrainingError, match="provider fine, round 0: it has had enough"):
        list(together([world]))


class Echo(Generator):
    def noise(self, n, rng):
        return rng.standard_normal((n, 1))

    def sample(self, y, noise):
        return noise + 1

    def state(self):
        return {}


class Counting(Family):
    """Remembers how it was asked."""

    def __init__(self, stacks, fails=False):
        self.asked, self.can, self.fails = [], stacks, fails

    def restored(self, saved, shape, classes):
        return Echo()

    def fit(self, data, previous, streams, budget_images=None, saved=None):
        self.asked.append(1)
        if self.fails:
            raise TrainingError("no")
        yield from ()
        return Echo()

    def fit_stack(self, data):
        if not self.can:
            return None
        self.asked.append(len(data))
        return [Echo() for _ in data]


def set_of(n):
    return TrainingSet(torch.zeros(n, 1, dtype=torch.float64), torch.zeros(n, dtype=torch.int64), 1)


def asker(family, told, fits=1):
    for _ in range(fits):
        yield "before"
        trained = yield Fit(family, set_of(3), None, Streams(0, "lab", 0))
        told.append(trained.generator)
    x = yield Draw(Echo(), torch.zeros(2, dtype=torch.int64), torch.ones(2, 1))
    told.append(x.tolist())


def test_jobs_of_one_family_are_done_as_one_stack():
    family, told = Counting(stacks=True), []
    heard = list(drive([asker(family, told) for _ in range(5)]))
    assert family.asked == [5]
    assert [h.number for h in heard if h.item == "before"] == [0, 1, 2, 3, 4]
    assert told[5:] == [[[2.0], [2.0]]] * 5


def test_where_there_is_no_stack_they_are_done_one_by_one():
    family, told = Counting(stacks=False), []
    list(drive([asker(family, told) for _ in range(3)]))
    assert family.asked == [1, 1, 1]
    assert len(told) == 6


def test_askers_may_end_at_different_times():
    family, told = Counting(stacks=True), []
    list(drive([asker(family, told, fits) for fits in (1, 3, 2)]))
    assert family.asked == [3, 2, 1]
    assert len(told) == 9


def test_an_error_is_raised_where_it_was_asked_for():
    def careful(told):
        try:
            yield Fit(Counting(stacks=False, fails=True), set_of(1), None, Streams(0, "lab", 0))
        except TrainingError as error:
            told.append(str(error))

    told = []
    list(drive([careful(told), asker(Counting(stacks=True), told)]))
    assert "no" in told
    assert len(told) == 3


def test_updates_are_told_with_their_fit():
    question = scenarios.from_text(
        text().replace(
            "model: gaussian-diagonal", "card: {family: flow-matching, train: {budget_images: 200, batch: 50}}"
        )
    )
    world = World(question, 0, torch.device("cpu"))
    heard = list(drive([world.work()]))
    updates = [h for h in heard if h.update is not None]
    assert {h.fit.streams.who for h in updates} == {"lab", "rival"}
    assert all(isinstance(h, Heard) for h in heard)
    assert [p.provider for p in World(question, 0, torch.device("cpu")).phases() if p.update is not None] == [
        h.fit.streams.who for h in updates
    ]


# Batches: where pages come from


def test_every_page_is_of_the_batch_of_its_maker_generation_and_round():
    world = World(scenarios.from_text(text()), 0, torch.device("cpu"))
    for _ in range(4):
        world.step()
    corpus = world.corpus
    rows = np.stack([corpus.column(name) for name in ("maker", "generation", "round")])
    counted = corpus.count_batches(np.arange(len(corpus)))
    assert sum(counted.values()) == len(corpus)
    for number, batch in enumerate(corpus.batches):
        same = (rows == np.array([[batch.maker], [batch.generation], [batch.round]])).all(axis=0)
        assert same.sum() == counted[number] == batch.pages
    assert len({(b.maker, b.generation, b.round) for b in corpus.batches}) == len(corpus.batches)


def test_a_data_set_is_counted_by_batch_as_by_maker():
    world = World(scenarios.from_text(text()), 0, torch.device("cpu"))
    for _ in range(5):
        world.step()
        for provider in world.providers:
            by_batch = provider.provenance.by_batch
            assert sum(by_batch.values()) == provider.provenance.pages
            for maker, pages in provider.provenance.by_maker.items():
                of_maker = [n for i, n in by_batch.items() if world.maker_name(world.corpus.batches[i].maker) == maker]
                assert sum(of_maker) == pages


def test_what_was_published_is_on_record_once():
    world, told, published = World(scenarios.from_text(text()), 0, torch.device("cpu")), 0, []
    for _ in range(4):
        world.step()
        line = loop.round_line(world, told)
        told = len(world.corpus.batches)
        published += line["web"]["published"]
    assert [number for number, *_ in published] == list(range(told))
    assert sum(pages for *_, pages in published) == len(world.corpus)


def test_sampling_bias_scales_the_covariance_of_what_is_served():
    question = scenarios.from_text(text(dims=1, users=40_000, rounds=1))
    world = World(question, 0, torch.device("cpu"))
    world.step()
    x, maker = world.corpus.items[:][:, 0], world.corpus.column("maker")
    for number, bias in ((0, 1.0), (1, 0.7)):
        model = world.providers[number].generator.distribution().variance[0]
        assert x[maker == number].var() == pytest.approx(bias * model, rel=0.05)


def test_a_neutral_sampling_bias_changes_no_bit():
    worlds = [
        World(scenarios.from_text(text().replace(", sampling_bias: 0.7", bias)), 0, torch.device("cpu"))
        for bias in ("", ", sampling_bias: 1.0")
    ]
    for world in worlds:
        world.step()
        world.step()
    np.testing.assert_array_equal(worlds[0].corpus.items, worlds[1].corpus.items)


# Several jobs at once


def test_askers_together_ask_for_what_all_of_them_need():
    """Each is sent its own; one that fails hears of it alone, and one that ends lets the others go on."""

    def one(name, jobs, told):
        yield f"{name} begins"
        for job in jobs:
            try:
                told.append((name, (yield job)))
            except TrainingError as error:
                told.append((name, str(error)))

    draws = [Draw(Echo(), torch.zeros(1, dtype=torch.int64), torch.tensor([[float(i)]])) for i in range(3)]
    told = []
    several = at_once([one("a", draws[:2], told), one("b", [], told), one("c", draws[2:], told)])
    assert [next(several), next(several), next(several)] == ["a begins", "b begins", "c begins"]
    assert next(several) == (draws[0], draws[2])
    assert several.send((10, TrainingError("no"))) == (draws[1],)
    with pytest.raises(StopIteration):
        several.send((20,))
    assert told == [("a", 10), ("c", "no"), ("a", 20)]


def test_jobs_that_are_asked_for_at_once_are_answered_in_their_order():
    def asker(told, numbers):
        draws = tuple(Draw(Echo(), torch.zeros(1, dtype=torch.int64), torch.tensor([[float(i)]])) for i in numbers)
        told.append([x.item() for x in (yield draws)])
        told.append((yield draws[0]).item())

    told = []
    list(drive([asker(told, [1, 2, 3]), asker(told, [7])]))
    assert told == [[2.0, 3.0, 4.0], [8.0], 2.0, 8.0]


NEURAL = """
        name: locked
        rounds: 3
        humans: {source: ring-8, held_out: 50}
        web: {archive: 60, retention: {synthetic_rounds: 2}}
        users: [{name: crowd, count: 40, k: 2, candidates: across-providers}]
        providers:
          - {name: lab, card: CARD}
          - {name: rival, card: CARD, sampling_bias: 0.7}
          - {name: late, card: CARD, weights_of: lab, retrain: {every: 2}}
        metrics: [frechet]
        """.replace(
    "CARD",
    "{family: flow-matching, net: {kind: mlp, width: 8, depth: 1}, sampler: {steps: 3}, "
    "train: {budget_images: 3000, finetune_images: 1000, batch: 20}}",
)


def test_seeds_of_neural_models_are_on_record_alike_alone_and_in_lockstep(tmp_path):
    """Their providers train together too: two fine-tune as one stack, beside those of the other seeds."""
    question = scenarios.from_text(NEURAL)
    together = lines_of(tmp_path / "all", question, [0, 1, 2])
    alone = {seed: lines_of(tmp_path / f"one-{seed}", question, [seed])[seed] for seed in (0, 2)}
    assert {seed: together[seed] for seed in alone} == alone
    assert together[0] != together[1]


def test_trainings_that_fall_due_together_are_one_stack(monkeypatch):
    from ecosystem.models import stack

    sizes, train = [], stack.train
    monkeypatch.setattr(
        stack, "train", lambda family, members, *rest: (sizes.append(len(members)), train(family, members, *rest))[1]
    )
    worlds = [World(scenarios.from_text(NEURAL), seed, torch.device("cpu")) for seed in range(2)]
    for _ in range(3):
        list(together(worlds))
    assert sizes == [4, 4, 6], "the late one adopts in round 0, and trains in round 2"
