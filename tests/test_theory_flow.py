"""The data-flow oracle: against pages drawn one by one, against raw second moments with sixty digits, and against every
closed form that is a special case of it."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from ecosystem.rng import stream
from ecosystem.theory import accumulate, drift, gaussian, kde, mixing
from ecosystem.theory.flow import DataFlow
from ecosystem.theory.providers import effective_sample_size, limit, providers

RUNS = 6_000  # a tenth too much is noticed; the slow tests below have 400,000
CATEGORIES = np.array([0.5, 0.3, 0.15, 0.05])


def agree(samples, expected, what, sigmas=4.0):
    error = samples.std(ddof=1) / math.sqrt(len(samples))
    assert abs(samples.mean() - expected) <= sigmas * error + 1e-12, f"{what}: {samples.mean()} +- {error}, {expected}"


class Simulation:
    """The same interface, done with pages: (runs, pages, dims) per group, one dimension or one-hot categories."""

    def __init__(self, family, name, bandwidth=0.0, runs=RUNS):
        self.family, self.bandwidth, self.runs, self.rng = (
            family,
            bandwidth,
            runs,
            stream(0, "test", f"simulation {family} {name}"),
        )
        self.groups, self.sets, self.fits = [], [], []

    def human(self, pages):
        if self.family == "categorical":
            x = np.eye(len(CATEGORIES))[self.rng.choice(len(CATEGORIES), p=CATEGORIES, size=(self.runs, pages))]
        else:  # Laplace: only second moments matter
            x = self.rng.laplace(scale=math.sqrt(0.5), size=(self.runs, pages, 1))
        self.groups.append(x)
        return len(self.groups) - 1

    def drawn(self, pages, count):
        order = np.argsort(self.rng.random(pages.shape[:2]), axis=1)[:, :count]
        return np.take_along_axis(pages, order[..., None], axis=1)

    def fit(self, counts, *, estimator="mle", widen=0.0, same_as=None):
        if same_as is None:
            parts = []
            for key, count in counts.items():
                union = key if isinstance(key, tuple) else (key,)
                parts.append(self.drawn(np.concatenate([self.groups[g] for g in union], axis=1), count))
            self.sets.append(np.concatenate(parts, axis=1))
        else:
            self.sets.append(self.sets[same_as])
        x = self.sets[-1]
        variance = x.var(axis=1, ddof=int(estimator == "unbiased")) + widen
        self.fits.append((x.mean(axis=1), variance))
        return len(self.fits) - 1

    def publish(self, model, pages, sampling_bias=1.0):
        mean, variance = self.fits[model]
        noise = self.rng.standard_normal((self.runs, pages, mean.shape[1]))
        if self.family == "gaussian":
            x = mean[:, None] + np.sqrt(sampling_bias * variance)[:, None] * noise
        else:  # a kernel density, and with no bandwidth the empirical distribution: resample
            n = self.sets[model].shape[1]
            picked = self.rng.integers(n, size=(self.runs, pages))[..., None]
            x = np.take_along_axis(self.sets[model], picked, axis=1) + self.bandwidth * noise
        self.groups.append(x)
        return len(self.groups) - 1


def flow_of(family):
    return DataFlow(1.0, float(CATEGORIES @ CATEGORIES)) if family == "categorical" else DataFlow(1.0)


# Each story is told twice: to the oracle and to the simulation. ``options`` are those of every fit.


def windows(web, options, bias):
    """People keep publishing; the scraper keeps the last two rounds and takes part of them."""
    human, synthetic = [web.human(5)], []
    for _ in range(4):
        counts = dict.fromkeys(human[-2:], 3) | dict.fromkeys(synthetic[-2:], 4)
        synthetic.append(web.publish(web.fit(counts, **options), 5, bias))
        human.append(web.human(4))


def accumulating(web, options, bias):
    pool = {web.human(3): 3}
    for _ in range(4):
        pool[web.publish(web.fit(pool, **options), 3, bias)] = 3


def crawls(web, options, bias):
    """Pages drawn from the whole web, whatever their source; and a fixed quota of human ones beside."""
    human, other, synthetic = web.human(6), web.human(4), []
    for _ in range(3):
        counts = {(other, *synthetic): 4, human: 2}
        synthetic.append(web.publish(web.fit(counts, **options), 3, bias))


def labs(web, options, bias):
    """Alpha and beta train on each other and on one archive; gamma, later, on the very pages that beta saw."""
    archive = web.human(5)
    seen = {archive: 3}
    alpha, beta = web.fit({archive: 4}, **options), web.fit(seen, **options)
    for _ in range(2):
        a, b = web.publish(alpha, 4, bias), web.publish(beta, 3, bias)
        alpha = web.fit({archive: 1, a: 2, b: 2}, **options)  # descends from what beta saw
        gamma = web.fit(seen, same_as=beta, **options)
        seen = {archive: 2, a: 2, b: 1, web.publish(gamma, 2, bias): 1}
        beta = web.fit(seen, **options)


STORIES = [windows, accumulating, crawls, labs]
CASES = [
    ("gaussian", {}, 1.0),
    ("gaussian", {"estimator": "unbiased"}, 0.8),
    ("kde", {"widen": 0.3}, 1.0),
    ("categorical", {}, 1.0),
]


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize(("family", "options", "bias"), CASES, ids=["mle", "unbiased-biased", "kde", "categorical"])
def test_against_pages_drawn_one_by_one(story, family, options, bias):
    against_pages(story, family, options, bias, RUNS)


@pytest.mark.slow
@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize(("family", "options", "bias"), CASES, ids=["mle", "unbiased-biased", "kde", "categorical"])
def test_against_many_pages_drawn_one_by_one(story, family, options, bias):
    against_pages(story, family, options, bias, 400_000)


def against_pages(story, family, options, bias, runs):
    simulation = Simulation(family, f"{story.__name__} {bias} {runs}", math.sqrt(options.get("widen", 0.0)), runs)
    flow = flow_of(family)
    story(simulation, options, bias)
    story(flow, options, bias)
    for i, (mean, variance) in enumerate(simulation.fits):
        agree(variance.sum(axis=1), flow.variance(i), f"variance {i}")
        agree(np.square(mean).sum(axis=1), flow.mean_square(i), f"mean square {i}")
        for j in range(i):
            other = simulation.fits[j][0]
            agree((mean * other).sum(axis=1), flow.product(i, j), f"product {i} {j}")
            agree(np.square(mean - other).sum(axis=1), flow.distance(i, j), f"distance {i} {j}")


# The same in raw second moments, which cancel; with sixty digits they are the reference


class RawMoments:
    """S_g = E k(x, x), Gamma_gh = E k(x, y), MG_ig = E k(m_i, x): the textbook bookkeeping."""

    def __init__(self, square, product):
        self.square, self.constant = Decimal(square), Decimal(product)
        self.size, self.S, self.Gamma, self.models = [], [], [], []

    def human(self, pages):
        return self.add(pages, self.square, [self.constant] * (len(self.size) + 1), [self.constant] * len(self.models))

    def add(self, pages, S, row, column):
        for other, value in zip(self.Gamma, row, strict=False):
            other.append(value)
        for model, value in zip(self.models, column, strict=True):
            model["MG"].append(value)
        self.size.append(pages)
        self.S.append(S)
        self.Gamma.append(row)
        return len(self.size) - 1

    def fit(self, counts, *, estimator="mle", widen=0, same_as=None):
        c = {g: Decimal(count) for g, count in counts.items() if count}
        n = sum(c.values())
        mm = sum(c[g] * self.S[g] + c[g] * (c[g] - 1) * self.Gamma[g][g] for g in c)
        mm = (mm + sum(c[g] * c[h] * self.Gamma[g][h] for g in c for h in c if g != h)) / n**2
        v = sum(c[g] * self.S[g] for g in c) / n - mm
        v = v * (n / (n - 1) if estimator == "unbiased" else 1) + Decimal(widen)
        MG = [] if same_as is None else self.models[same_as]["MG"].copy()  # those pages were drawn then, not now
        for h in range(len(MG), len(self.size)):
            here = c.get(h, Decimal(0)) / self.size[h]
            others = sum(c[g] * self.Gamma[g][h] for g in c if g != h)
            MG.append((others + here * self.S[h] + here * (self.size[h] - 1) * self.Gamma[h][h]) / n)
        same = len(self.models) if same_as is None else self.models[same_as]["same"]
        self.models.append({"c": c, "n": n, "mm": mm, "v": v, "MG": MG, "same": same})
        return len(self.models) - 1

    def product(self, i, j):
        first, last = sorted((self.models[i], self.models[j]), key=lambda model: model["same"])  # as sets were drawn
        if first["same"] == last["same"]:
            return first["mm"]
        return sum(count * first["MG"][g] for g, count in last["c"].items()) / last["n"]

    def publish(self, i, pages, sampling_bias=1):
        model = self.models[i]
        column = [self.product(i, j) for j in range(len(self.models))]
        S = model["mm"] + Decimal(sampling_bias) * model["v"]
        return self.add(pages, S, [*model["MG"], model["mm"]], column)


@st.composite
def programs(draw):
    """A random web: what people publish, who trains on how many pages of what, who publishes."""
    square, product = draw(st.sampled_from([(1.0, 0.0), (2.0, 0.0), (1.0, 0.25)]))
    sizes, orders, models = [], [], []
    for _ in range(draw(st.integers(2, 9))):
        kind = draw(st.sampled_from(["human", "fit", "same", "publish"])) if sizes else "human"
        if kind == "human" or (kind != "fit" and not models):
            sizes.append(draw(st.integers(1, 5)))
            orders.append(("human", sizes[-1]))
        elif kind == "fit":
            counts = {g: draw(st.integers(0, size)) for g, size in enumerate(sizes)}
            if sum(counts.values()) < 2:
                counts = dict(enumerate(sizes))
            estimator = draw(st.sampled_from(["mle", "unbiased"])) if sum(counts.values()) > 1 else "mle"
            orders.append(("fit", counts, estimator, draw(st.sampled_from([0.0, 0.5])), None))
            models.append(orders[-1])
        elif kind == "same":
            which = draw(st.integers(0, len(models) - 1))
            orders.append((*models[which][:4], which))
            models.append(orders[-1])
        else:
            sizes.append(draw(st.integers(1, 5)))
            bias = draw(st.sampled_from([1.0, 0.5]))
            orders.append(("publish", draw(st.integers(0, len(models) - 1)), sizes[-1], bias))
    return square, product, orders


def told(web, orders):
    models = 0
    for order in orders:
        if order[0] == "human":
            web.human(order[1])
        elif order[0] == "fit":
            web.fit(order[1], estimator=order[2], widen=order[3], same_as=order[4])
            models += 1
        else:
            web.publish(*order[1:])
    return models


@settings(max_examples=40, deadline=None)
@given(programs())
def test_any_web_has_the_raw_moments_of_the_textbook(program):
    square, product, orders = program
    flow, exact = DataFlow(square, product), RawMoments(square, product)
    models = told(flow, orders)
    with localcontext(prec=60):
        assert models == told(exact, orders)
    for i in range(models):
        assert flow.variance(i) == pytest.approx(float(exact.models[i]["v"]), rel=1e-12, abs=1e-14)
        for j in range(models):
            assert flow.product(i, j) == pytest.approx(float(exact.product(i, j)), abs=1e-12)
            assert flow.distance(i, j) == pytest.approx(flow.distance(j, i), abs=1e-13), "symmetric"


def cross_training(web, rounds):
    """Two labs without people, each on the other's pages and its own."""
    last = [web.human(4), web.human(4)]
    for _ in range(rounds):
        fits = [web.fit({last[0]: 2, last[1]: 1}), web.fit({last[0]: 1, last[1]: 2})]
        last = [web.publish(model, 3) for model in fits]
    return fits


def test_variances_stay_exact_while_they_collapse():
    """To a relative 1e-12 at 1e-7 and 1e-70; raw second moments in floats would be noise below 1e-16."""
    flow, exact = DataFlow(1.0), RawMoments(1, 0)
    model, _ = cross_training(flow, 90)
    with localcontext(prec=60):
        cross_training(exact, 90)
    true = float(exact.models[model]["v"])
    assert true < 1e-6
    assert flow.variance(model) == pytest.approx(true, rel=1e-12, abs=0)
    flow = DataFlow(1.0)
    group = flow.human(3)
    for _ in range(400):
        model = flow.fit({group: 3})
        group = flow.publish(model, 3)
    assert flow.variance(model) == pytest.approx((2 / 3) ** 400, rel=1e-12, abs=0)
    assert flow.mean_square(model) == pytest.approx(1, abs=1e-12)


# Every closed form is a special case


def by_round(flow, rounds, human, publish, training, **options):
    """(variance, mean square) of ``rounds`` models; ``training(human groups, synthetic groups)`` are counts."""
    people, machine, models = [flow.human(human)], [], []
    for _ in range(rounds):
        models.append(flow.fit(training(people, machine), **options))
        machine.append(flow.publish(models[-1], publish[0], *publish[1:]))
        people.append(flow.human(human))
    return np.array([(flow.variance(i), flow.mean_square(i)) for i in models]).T


@pytest.mark.parametrize("estimator", ["mle", "unbiased"])
def test_replace_accumulate_and_subsample(estimator):
    n, rounds = 6, 30
    t = np.arange(1, rounds + 1)
    options = {"estimator": estimator}
    variance, square = by_round(DataFlow(1.0), rounds, n, (n,), lambda p, m: {m[-1] if m else p[0]: n}, **options)
    assert_allclose(variance, gaussian.expected_variance(n, t, estimator), rtol=1e-12)
    assert_allclose(square, gaussian.mean_square(n, t, estimator), rtol=1e-11)
    found = by_round(DataFlow(1.0), rounds, n, (n,), lambda p, m: dict.fromkeys([p[0], *m], n), **options)
    exact = accumulate.accumulate(n, rounds, estimator)
    assert_allclose(found, [exact.variance[1:], exact.mean_square[1:]], rtol=1e-11)
    found = by_round(DataFlow(1.0), rounds, n, (n,), lambda p, m: {(p[0], *m): n}, **options)
    exact = accumulate.subsample(n, rounds, estimator)
    assert_allclose(found, [exact.variance[1:], exact.mean_square[1:]], rtol=1e-11)


def test_sampling_bias_from_a_known_model():
    """An endless first set is a known model."""
    n, bias, flow = 5, 0.7, DataFlow(1.0)
    group = flow.publish(flow.fit({flow.human(10**9): 10**9}), n, bias)
    for t in range(1, 8):
        model = flow.fit({group: n}, estimator="unbiased")
        group = flow.publish(model, n, bias)
        assert flow.variance(model) == pytest.approx(gaussian.expected_variance(n, t, "unbiased", bias), rel=1e-8)
        assert flow.mean_square(model) == pytest.approx(gaussian.mean_square(n, t, "unbiased", bias), rel=1e-7)


@pytest.mark.parametrize(("estimator", "bias"), [("mle", 1.0), ("unbiased", 1.0), ("mle", 0.6), ("unbiased", 0.6)])
def test_fixed_and_fresh(estimator, bias):
    n, m, rounds = 5, 8, 20
    options = {"estimator": estimator}
    found = by_round(DataFlow(1.0), rounds, n, (m, bias), lambda p, s: {p[0]: n} | dict.fromkeys(s[-1:], m), **options)
    given_pages = mixing.fixed(n, m, rounds - 1, variance=1 - 1 / n, estimator=estimator, sampling_bias=bias)
    assert_allclose(found, [given_pages.variance, given_pages.mean_square + 1 / n], rtol=1e-11)
    found = by_round(DataFlow(1.0), rounds, n, (m, bias), lambda p, s: {p[-1]: n} | dict.fromkeys(s[-1:], m), **options)
    start = (found[0, 0], found[1, 0])
    exact = mixing.fresh(n, m, rounds - 1, estimator=estimator, sampling_bias=bias, start=start)
    assert start[1] == pytest.approx(1 / n)
    assert_allclose(found, [exact.variance, exact.mean_square], rtol=1e-11)


def test_kernel_densities():
    n, h, rounds = 7, 0.4, 25
    variance, square = by_round(DataFlow(1.0), rounds, n, (n,), lambda p, m: {(m or p)[-1]: n}, widen=h**2)
    t = np.arange(rounds)
    assert_allclose(variance - h**2, kde.variance(n, t, h, start=1 - 1 / n), rtol=1e-11)
    assert_allclose(variance - h**2 + square, kde.raw_square(t, h), rtol=1e-11)


def test_kernel_densities_with_fresh_pages():
    human, synthetic, h, rounds = 3, 9, 0.4, 200
    variance, square = by_round(
        DataFlow(1.0),
        rounds,
        human,
        (synthetic,),
        lambda p, m: {p[-1]: human} | dict.fromkeys(m[-1:], synthetic),
        widen=h**2,
    )
    raw, share = variance - h**2 + square, human / (human + synthetic)
    assert_allclose(raw, kde.raw_square(np.arange(rounds), h, fresh=share), rtol=1e-11)
    assert raw[-1] == pytest.approx(kde.raw_square_limit(h, share), rel=1e-10)


def test_drift():
    n, rounds, same = 7, 25, float(CATEGORIES @ CATEGORIES)
    variance, square = by_round(DataFlow(1.0, same), rounds, n, (n,), lambda p, m: {(m or p)[-1]: n})
    assert_allclose(variance, drift.heterozygosity(CATEGORIES, n, np.arange(1, rounds + 1)), rtol=1e-12)
    assert_allclose(variance + square, 1)
    variance, _ = by_round(DataFlow(1.0, same), rounds, 9, (5,), lambda p, m: {p[-1]: 2, m[-1]: 5} if m else {p[-1]: 9})
    exact = drift.heterozygosity_with_fresh_pages(CATEGORIES, 2, 5, rounds)
    flow = DataFlow(1.0, same)  # that loop starts from people themselves: 5 more of them at first
    model = flow.fit({flow.human(7): 7})
    for t in range(1, rounds):
        assert flow.variance(model) == pytest.approx(exact[t], rel=1e-12)
        model = flow.fit({flow.human(2): 2, flow.publish(model, 5): 5})


def provider_flow(counts, fresh, rounds, same=None):
    """Models by round of providers with whole counts (M, M) and fresh human pages (M,)."""
    flow, M = DataFlow(1.0), len(fresh)
    models, last = [], None
    for _ in range(rounds):
        fits, training = [], {}
        for i in range(M):
            if same is not None and same[i] < i:
                fits.append(flow.fit(training[same[i]], same_as=fits[same[i]]))
                continue
            training[i] = {flow.human(int(fresh[i])): int(fresh[i])} if fresh[i] else {}
            for j in np.flatnonzero(counts[i]):
                pages = int(counts[i, j])  # at t = 0 every model is the human distribution
                training[i][flow.publish(last[j], pages) if last else flow.human(pages)] = pages
            fits.append(flow.fit(training[i]))
        models.append(fits)
        last = fits
    return flow, models


@pytest.mark.parametrize("case", range(4))
def test_providers_that_train_on_each_other(case):
    M, rounds = 3, 15
    rng = stream(0, "test", "providers", case)
    counts, fresh = rng.integers(0, 6, size=(M, M)), rng.integers(0, 4, size=M)
    counts[:, 0] += 1
    if case == 3:
        fresh[:] = 0
    n = counts.sum(axis=1) + fresh
    exact = providers(counts / n[:, None], fresh / n, n, rounds)
    flow, models = provider_flow(counts, fresh, rounds)
    for t, fits in enumerate(models, start=1):
        assert_allclose([flow.variance(i) for i in fits], exact.variance[t], rtol=1e-10)
        products = [[flow.product(i, j) for j in fits] for i in fits]
        assert_allclose(products, exact.product[t], atol=1e-12)
        assert_allclose(np.diag(products), exact.mean_square[t], atol=1e-12)


def test_providers_that_share_a_crawl():
    counts, fresh = np.array([[2, 3, 0], [2, 3, 0], [1, 1, 4]]), np.array([1, 1, 2])
    n = counts.sum(axis=1) + fresh
    exact = providers(counts / n[:, None], fresh / n, n, 12, training_set=[0, 0, 1])
    flow, models = provider_flow(counts, fresh, 12, same=[0, 0, 2])
    for t, fits in enumerate(models, start=1):
        assert_allclose([flow.variance(i) for i in fits], exact.variance[t], rtol=1e-10)
        assert_allclose([[flow.product(i, j) for j in fits] for i in fits], exact.product[t], atol=1e-12)
    apart = providers(counts / n[:, None], fresh / n, n, 12)
    assert np.all(exact.variance[2:] < apart.variance[2:]), "one crawl for two is less data"


def test_providers_obey_the_recursion_in_raw_moments():
    """q' = W q + w0 s0, C' = W C W^T + diag((W s + w0 s0) / n)."""
    W, w0, n = (
        np.array([[0.5, 0.25, 0], [0.1, 0.4, 0.3], [0, 0.5, 0.5]]),
        np.array([0.25, 0.2, 0]),
        np.array([40, 100, 60]),
    )
    s0, q, C = 2.0, np.full(3, 2.0), np.zeros((3, 3))
    exact = providers(W, w0, n, 25, s0)
    for t in range(1, 26):
        s = q - C.diagonal()
        q, C = W @ q + w0 * s0, W @ C @ W.T + np.diag((W @ s + w0 * s0) / n)
        assert_allclose(exact.variance[t], q - C.diagonal(), rtol=1e-12)
        assert_allclose(exact.product[t], C, atol=1e-14)


def test_a_web_without_people_collapses_at_the_rate_of_its_effective_size():
    assert effective_sample_size([[1.0]], [7]) == pytest.approx(7)
    alike = effective_sample_size(np.full((4, 4), 0.25), [40] * 4)
    assert alike == pytest.approx(4 * 40, rel=0.03), "the samples of all add up"
    W, n = np.array([[0.5, 0.5, 0], [0, 0.5, 0.5], [0.25, 0, 0.75]]), [8, 12, 20]
    late = providers(W, [0, 0, 0], n, 3000).variance
    assert_allclose(late[-1] / late[-2], 1 - 1 / effective_sample_size(W, n), rtol=1e-9)
    assert np.all(late[-1] < 1e-15)


def test_human_pages_hold_all_providers_that_they_reach():
    W, w0, n = [[0.5, 0.25], [0.5, 0.5]], [0.25, 0.0], [20, 40]
    variance, product = limit(W, w0, n, 3.0)
    late = providers(W, w0, n, 2000, 3.0)
    assert_allclose(late.variance[-1], variance, rtol=1e-11)
    assert_allclose(late.product[-1], product, rtol=1e-11)
    one, mean = mixing.fresh_limit(4, 12)
    alone = limit([[0.75]], [0.25], [16])
    assert_allclose([alone[0][0], alone[1][0, 0]], [one, mean], rtol=1e-12)


# Laws


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(2, 6), st.integers(1, 4))
def test_splitting_a_group_that_is_fully_used_changes_nothing(first, second, pages, rounds):
    def loop(flow, archive):
        machine, out = {}, []
        for _ in range(rounds):
            model = flow.fit(archive | machine)
            machine = {flow.publish(model, pages): pages - 1}
            out.append((flow.variance(model), flow.mean_square(model)))
        return out

    whole, split = DataFlow(1.0), DataFlow(1.0)
    together = loop(whole, {whole.human(first + second): first + second})
    apart = loop(split, {split.human(first): first, split.human(second): second})
    assert_allclose(apart, together, rtol=1e-12, atol=1e-14)


@settings(max_examples=20, deadline=None)
@given(programs(), st.floats(0.01, 100))
def test_units_do_not_matter(program, unit):
    _, _, orders = program
    orders = [(*order[:3], 0.0, order[4]) if order[0] == "fit" else order for order in orders]
    one, other = DataFlow(1.0), DataFlow(unit)
    for i in range(told(one, orders)) if told(other, orders) else []:
        assert other.variance(i) == pytest.approx(unit * one.variance(i), rel=1e-12)
        assert other.mean_square(i) == pytest.approx(unit * one.mean_square(i), rel=1e-9, abs=1e-13 * unit)


def test_a_union_that_is_fully_used_is_its_groups():
    flow = DataFlow(1.0)
    a, b = flow.human(3), flow.human(4)
    c = flow.publish(flow.fit({a: 3}), 5)
    apart, union = flow.fit({a: 3, b: 4, c: 5}), flow.fit({(a, b, c): 12})
    assert flow.variance(union) == pytest.approx(flow.variance(apart), rel=1e-14)
    assert flow.mean_square(union) == pytest.approx(flow.mean_square(apart), rel=1e-12)
    d = flow.fit({a: 2, (b, c): 3})
    assert flow.product(union, d) == pytest.approx(flow.product(apart, d), rel=1e-12)


def test_the_same_set_is_no_distance_away():
    flow = DataFlow(1.0)
    human = flow.human(10)
    first, second = flow.fit({human: 4}), flow.fit({human: 4})
    again = flow.fit({human: 4}, same_as=first, widen=0.1)
    assert flow.distance(first, again) == 0
    assert flow.product(first, again) == flow.mean_square(first)
    assert flow.distance(first, second) == pytest.approx(2 * (1 / 4 - 1 / 10)), "subsets overlap by chance"
    assert flow.variance(again) == pytest.approx(flow.variance(first) + 0.1)
