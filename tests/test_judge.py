"""The judge is measured as any instrument is: on worlds whose truth is known, how often is it wrong?

Real worlds, not made-up numbers: their noise is that of models fitted to other pages, and nobody says it is normal.

*Null worlds.* Every generation is fitted to fresh human pages and to nothing else. It differs from the one before by
the draw alone, so that any change that is told is a false alarm. Two of them are noisy on purpose (12 pages for eight
modes, 6 pages for a Gaussian), where a chance change is often larger than the margin and the interval alone protects.

*Planted effects.* In the `bias` world an event cuts the variance of what is served by a fifth, a third, a half and
nearly all, or lets a starved lab see more pages; in the `own` world labs are fed on themselves and lose variance by
sampling alone. The size of an effect is the ratio of the metric's means over all seeds, generation 0 and the end, above
1 where it is worse. The judge takes means of logarithms, which in the skewed `own` world are of larger changes.

Seeds 0 to 1,599 of each world make 400 runs of 4 seeds, or 200 of 8, none of which share a seed. A rate's interval is
Clopper and Pearson's at 95 %. `pytest -m slow -s tests/test_judge.py` prints the tables (five minutes on a free core).
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats

from ecosystem import loop, scenarios, summarise
from ecosystem.question import Question
from ecosystem.records import Line
from ecosystem.summary import Definition, Evidence, Verdict
from ecosystem.verdicts import DISTANCES, evidence, of_provider, provider_series
from ecosystem.world import World, together

pytestmark = pytest.mark.slow

SEEDS = 1600
ALARMS = ("collapsed", "degrading", "improving")
SAMPLES = 100


def null(humans, pages, model, metrics):
    return f"""
        name: nothing-changes
        rounds: 8
        humans: {{{humans}}}
        web: {{archive: {pages}, retention: {{human_rounds: 1}}}}
        creators: [{{name: people, pages_per_round: {pages}}}]
        providers: [{{name: lab, model: {model}}}]
        metrics: [{metrics}]
        evaluation: {{samples: {SAMPLES}, groups: 2}}
        """


NULLS = {
    "gaussian": null(
        "source: gaussian, dims: 2, held_out: 100",
        100,
        "gaussian",
        "sliced-wasserstein, recall, precision, model-variance",
    ),
    "ring-8": null(
        "source: ring-8, held_out: 100",
        12,
        "kde",
        "sliced-wasserstein, recall, tail-recall, modes, between-modes, model-variance",
    ),
    "line": null("source: gaussian, dims: 1, held_out: 50", 6, "gaussian", "nll, model-variance"),
    "words": null(
        "source: categorical, probabilities: [0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05]",
        15,
        "categorical",
        "heterozygosity, outcomes",
    ),
}

# Nobody feeds on synthetic pages here: what changes is what the event says.
BIAS = f"""
name: biased-from-round-1
rounds: 3
humans: {{source: gaussian, dims: 2, held_out: 100}}
web: {{archive: 200, retention: {{human_rounds: 1}}}}
creators: [{{name: people, pages_per_round: 200}}]
scrapers: [{{name: all}}, {{name: few, budget: 20}}]
providers:
  - {{name: fifth, model: gaussian}}
  - {{name: third, model: gaussian}}
  - {{name: half, model: gaussian}}
  - {{name: nearly-all, model: gaussian}}
  - {{name: better-fed, model: gaussian, scraper: few}}
events:
  - at: 1
    set:
      providers.fifth.sampling_bias: 0.8
      providers.third.sampling_bias: 0.65
      providers.half.sampling_bias: 0.5
      providers.nearly-all.sampling_bias: 0.05
      scrapers.few.budget: 200
metrics: [sliced-wasserstein, recall, model-variance]
evaluation: {{samples: {SAMPLES}, groups: 2}}
"""

OWN = f"""
name: own-pages-only
rounds: 10
humans: {{source: gaussian, dims: 2, held_out: 100}}
web: {{archive: 40}}
users:
  - {{name: users of slow, prompts_per_round: 40, providers: [slow]}}
  - {{name: users of fast, prompts_per_round: 8, providers: [fast]}}
scrapers:
  - {{name: of slow, window_rounds: 1, take: [human, slow]}}
  - {{name: of fast, window_rounds: 1, take: [human, fast]}}
providers:
  - {{name: slow, model: gaussian, scraper: of slow}}
  - {{name: fast, model: gaussian, scraper: of fast}}
metrics: [recall, model-variance]
evaluation: {{samples: {SAMPLES}, groups: 2}}
"""

WORLDS = {**NULLS, "bias": BIAS, "own": OWN}


@dataclass(frozen=True)
class Ensemble:
    """Many seeds of one question."""

    question: Question
    seeds: list[list[Line]]

    def runs(self, size: int) -> list[list[list[Line]]]:
        """As runs of so many seeds, none of which is in two of them."""
        return [self.seeds[i : i + size] for i in range(0, len(self.seeds), size)]

    def labs(self) -> list[str]:
        return [p.name for p in self.question.scenario.providers]


@cache
def ensemble(name: str) -> Ensemble:
    question = scenarios.from_text(WORLDS[name])
    lines = [lines for first in range(0, SEEDS, 50) for lines in run(question, range(first, first + 50))]
    return Ensemble(question, lines)


def run(question: Question, seeds: range) -> list[list[Line]]:
    """Some seeds in lockstep, as `loop` runs them, but not to disk."""
    worlds = [World(question, seed, torch.device("cpu")) for seed in seeds]
    lines: list[list[Line]] = [[] for _ in seeds]
    for _ in range(question.scenario.rounds):
        list(together(worlds))
        for world, told in zip(worlds, lines, strict=True):
            told.append(loop.round_line(world))
    for world in worlds:
        world.release()
    return lines


@dataclass(frozen=True)
class Judged:
    word: Verdict
    evidence: list[Evidence]
    definitions: list[Definition]


@cache
def judged(name: str, lab: str, size: int) -> list[Judged]:
    """Every run of an ensemble, as a summary judges it."""
    chosen = ensemble(name)
    found = []
    for lines in chosen.runs(size):
        of_lab = summarise._evidence(chosen.question, lab, lines)
        definitions = summarise._definitions(chosen.question, lab, lines)
        found.append(Judged(of_provider(of_lab), of_lab, definitions))
    return found


def share(name: str, lab: str, size: int, holds: Callable[[Judged], bool]) -> tuple[int, int]:
    """Of how many runs it holds, and of how many there are."""
    runs = judged(name, lab, size)
    return sum(map(holds, runs)), len(runs)


def rate(count: int, of: int) -> str:
    interval = stats.binomtest(count, of).proportion_ci()
    return f"{count} of {of} = {count / of:.1%} [{interval.low:.1%}, {interval.high:.1%}]"


def tell(text: str) -> None:
    sys.stdout.write(text + "\n")


# False alarms


@pytest.mark.parametrize("name", NULLS)
def test_nothing_but_the_draw_changes_in_a_null_world(name):
    """Each generation is fitted to human pages alone, and to none that the one before has seen."""
    for lines in ensemble(name).seeds[:20]:
        trained = [line["providers"]["lab"]["trained"] for line in lines]
        assert [row["synthetic_share"] for row in trained] == [0.0] * 8
        assert {row["pages"] for row in trained} == {trained[0]["pages"]}
        batches = [number for row in trained for number, _ in row["by_batch"]]
        assert len(batches) == len(set(batches)) == 8


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("name", NULLS)
def test_false_alarms_of_the_verdict(name, size):
    """Measured: 0 to 4 % of 400 runs of 4 seeds, 0 to 2 % of 200 of 8; the most with 12 pages for eight modes."""
    counts = Counter(found.word for found in judged(name, "lab", size))
    alarms, runs = share(name, "lab", size, lambda found: found.word in ALARMS)
    told = f"null world {name}, {size} seeds: {rate(alarms, runs)} false alarms; {dict(counts)}"
    tell(told)
    assert runs == SEEDS // size
    assert alarms <= 0.05 * runs, told


@pytest.mark.parametrize("name", NULLS)
def test_false_alarms_of_the_definitions(name):
    """Each of those that can be measured there; a definition that is always undecided would not be measured."""
    names = [d["name"] for d in judged(name, "lab", 4)[0].definitions]
    for place, definition in enumerate(names):
        counts = Counter(found.definitions[place]["holds"] for found in judged(name, "lab", 4))
        told = f"null world {name}, {definition}: yes in {rate(counts['yes'], 400)}; {dict(counts)}"
        if counts["undecided"] < 400:
            tell(told)
        assert counts["yes"] <= 0.05 * 400, told


def test_every_definition_that_one_size_can_show_is_measured_in_a_null_world():
    able = {
        d["name"]
        for name in NULLS
        for found in judged(name, "lab", 4)
        for d in found.definitions
        if d["holds"] != "undecided"
    }
    assert len(able) == 7


# Power


def size_of(name: str, lab: str, metric: str) -> float:
    """The true effect: how many times worse the end is than generation 0, means over all seeds."""
    series = [provider_series(lines, lab, metric) for lines in ensemble(name).seeds]
    start, end = (float(np.mean([getattr(s, side)().value for s in series])) for side in ("start", "end"))
    return end / start if metric in DISTANCES else start / end


def found_in(name: str, lab: str, size: int, words: str, metric: str | None) -> tuple[int, int]:
    """How many runs have the verdict, or of one metric the reading; "collapsed or degrading" is either."""
    wanted = words.split(" or ")
    if metric is None:
        return share(name, lab, size, lambda found: found.word in wanted)
    return share(
        name,
        lab,
        size,
        lambda found: any(e["reads"] in wanted for e in found.evidence if e["metric"] == metric),
    )


@pytest.mark.parametrize(
    ("name", "lab", "metric", "low", "high"),
    [
        ("bias", "fifth", "sliced-wasserstein", 1.02, 1.2),
        ("bias", "third", "sliced-wasserstein", 1.25, 1.45),
        ("bias", "half", "sliced-wasserstein", 1.5, 1.75),
        ("bias", "nearly-all", "recall", 3.3, 4.2),
        ("bias", "nearly-all", "sliced-wasserstein", 3.2, 4.0),
        ("bias", "better-fed", "sliced-wasserstein", 0.62, 0.73),
        ("own", "slow", "recall", 1.15, 1.27),
        ("own", "slow", "model-variance", 1.2, 1.3),
        ("own", "fast", "recall", 4.8, 6.2),
        ("own", "fast", "model-variance", 2.8, 3.5),
    ],
)
def test_the_planted_effects_are_of_the_stated_size(name, lab, metric, low, high):
    """Without this, the power below would be that of an unknown change."""
    size = size_of(name, lab, metric)
    series = [provider_series(lines, lab, metric) for lines in ensemble(name).seeds]
    judge = evidence(metric, series, SAMPLES)
    tell(f"planted {name}, {lab}: {metric} {size:.2f} times worse; the judge over all seeds: {judge['effect']:.2f}")
    assert low < size < high


# World, lab, verdict (or reading of a metric), least share of 400 runs of 4 seeds and of 200 runs of 8.
POWER = [
    ("bias", "third", "degrading", None, 0.4, 0.65),  # measured: 0.53, 0.77
    ("bias", "half", "degrading", None, 0.82, 0.96),  # 0.90, 1
    ("bias", "nearly-all", "collapsed", None, 0.95, 0.98),  # 0.99, 1
    ("bias", "better-fed", "improving", "sliced-wasserstein", 0.28, 0.7),  # 0.37, 0.81
    # The whole verdict waits until the variance, of 20 pages at generation 0, is known to be stable: 0.01, 0.19.
    ("bias", "better-fed", "improving", None, 0.0, 0.1),
    ("own", "slow", "degrading", None, 0.2, 0.4),  # 0.28, 0.51: at the margin
    ("own", "fast", "collapsed", None, 0.5, 0.95),  # 0.60, 0.99
    ("own", "fast", "collapsed or degrading", None, 0.85, 0.97),  # 0.91, 1
]


@pytest.mark.parametrize(("name", "lab", "words", "metric", "with_4", "with_8"), POWER)
def test_power(name, lab, words, metric, with_4, with_8):
    for size, least in ((4, with_4), (8, with_8)):
        count, runs = found_in(name, lab, size, words, metric)
        told = f"planted {name}, {lab}, {size} seeds: {metric or 'verdict'} {words} in {rate(count, runs)}"
        tell(told)
        assert count >= least * runs, told


@pytest.mark.parametrize(("size", "most"), [(4, 0.1), (8, 0.08)])
def test_an_effect_inside_the_margin_is_seldom_called_degrading(size, most):
    """A distance 1.1 times as long is not to matter; that it is surely longer is no reason to say so.

    Measured: 4.5 % of 400, 1.5 % of 200.
    """
    count, runs = found_in("bias", "fifth", size, "collapsed or degrading", None)
    told = f"planted bias, fifth, {size} seeds: verdict degrading in {rate(count, runs)}"
    tell(told)
    assert count <= most * runs, told


@pytest.mark.parametrize(
    ("name", "lab"), [("bias", "third"), ("bias", "half"), ("bias", "nearly-all"), ("own", "slow"), ("own", "fast")]
)
@pytest.mark.parametrize("size", [4, 8])
def test_what_matters_is_not_called_harmless(name, lab, size):
    """An effect at or beyond the margin may be missed, by `undecided`, but is not called stable or improving."""
    count, runs = found_in(name, lab, size, "stable or improving", None)
    assert count <= 0.02 * runs, rate(count, runs)


@pytest.mark.parametrize(("name", "lab"), [("bias", "third"), ("bias", "half"), ("own", "slow")])
@pytest.mark.parametrize("size", [4, 8])
def test_what_is_not_halved_is_not_called_collapsed(name, lab, size):
    """No diversity or variance is lost to half there."""
    count, runs = found_in(name, lab, size, "collapsed", None)
    assert count <= 0.02 * runs, rate(count, runs)


# How many more seeds

MOST = 400  # seeds in one run that are tried; what asks for more is not tried


def decided_by_more(name: str, lab: str, metric: str) -> tuple[int, int]:
    """Of the runs of 4 seeds that ask for m more: how many 4 + m other seeds decide, and how many were tried."""
    series = [provider_series(lines, lab, metric) for lines in ensemble(name).seeds]
    decided = tried = 0
    for number, found in enumerate(judged(name, lab, 4)):
        asked = next(e["more_seeds"] for e in found.evidence if e["metric"] == metric)
        if asked is None or 4 + asked > MOST:
            continue
        others = [series[(4 * number + 4 + i) % SEEDS] for i in range(4 + asked)]
        again = evidence(metric, others, SAMPLES)
        tried += 1
        decided += again is not None and again["reads"] != "undecided"
    return decided, tried


def all_decided_by_more(name: str) -> tuple[int, int]:
    """The same over all labs and metrics of a world."""
    pairs = [
        decided_by_more(name, lab, e["metric"])
        for lab in ensemble(name).labs()
        for e in judged(name, lab, 4)[0].evidence
    ]
    return sum(decided for decided, _ in pairs), sum(tried for _, tried in pairs)


@pytest.mark.parametrize("name", [name for name in WORLDS if name != "line"])
def test_so_many_more_seeds_decide_in_half_of_the_cases_or_more(name):
    """The number takes mean and spread of four seeds for the truth, so a half is what to expect.

    Measured: 63 to 94 %.
    """
    decided, tried = all_decided_by_more(name)
    told = f"more seeds, {name}: as many as asked for decide in {rate(decided, tried)}"
    tell(told)
    assert decided >= 0.5 * tried > 0, told


def test_where_noise_is_beyond_the_margin_more_seeds_are_too_few():
    """The known weakness: the logarithm of the variance of 6 pages has a spread of 0.8, the margin is 0.22.

    Four seeds then mostly show a change beyond the margin that is none, and ask for the few seeds that would prove it;
    others show none. Measured: 16 %. Should this improve, the line goes to the test above.
    """
    decided, tried = all_decided_by_more("line")
    told = f"more seeds, line: as many as asked for decide in {rate(decided, tried)}"
    tell(told)
    assert 0.1 * tried < decided < 0.5 * tried, told
