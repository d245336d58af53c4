"""The door: what a scenario may say, and every way to get it wrong, told at once with line, place and remedy."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecosystem import grammar, scenarios
from ecosystem import world as world_module
from ecosystem.documents import Document, FaultsError, parse
from ecosystem.errors import EcosystemError, ScenarioError
from ecosystem.models import classifier
from ecosystem.models.classifier import train_classifier
from ecosystem.question import Question, Scenario
from ecosystem.world import World

TINY = """\
name: tiny
rounds: 3
humans: {source: gaussian, held_out: 60}
web: {archive: 50, retention: {synthetic_rounds: 1}}
creators:
  - {name: people, count: 2}
users:
  - name: crowd
    count: 25
    k: 2
    choice: {kind: luce}
    reward: {kind: distance, to: [0, 0]}
scrapers:
  - {name: common, budget: 40}
providers:
  - {name: lab, card: {family: gaussian}}
  - {name: beta, model: gaussian}
events:
  - at: 1
    set: {users.crowd.k: 3}
metrics: [frechet, recall, reward]
claims:
  - {metric: synthetic-share, is: increasing}
  - {metric: frechet, of: lab, is: bounded, within: 2}
"""


def faults_of(text, overrides=None, width=200):
    with pytest.raises(FaultsError) as caught:
        scenarios.from_text(text, overrides, "tiny.yaml")
    readable(str(caught.value), width)
    return caught.value.faults


def readable(message, width=200):
    """Fits a screen, and speaks of scenarios, not of the library that reads them."""
    lines = message.splitlines()
    assert len(lines) <= 25, message
    assert all(len(line) <= width for line in lines), message
    assert len(set(lines)) == len(lines), f"told twice: {message}"
    for jargon in (
        "input",
        "Input",
        "valid ",
        "dictionary",
        "tuple",
        "instance",
        "NoneType",
        "dataclass",
        "after valid",
    ):
        assert jargon not in message, message


def edited(old, new):
    assert TINY.count(old) == 1, f"{old!r} is not once in the text"
    return TINY.replace(old, new)


def described(faults):
    return [f"{fault.line} {fault.where}: {fault.problem} ({fault.remedy})" for fault in faults]


# --- what is valid ------------------------------------------------------------------------------------------


def test_the_base_of_all_mutations_is_valid():
    question = scenarios.from_text(TINY)
    assert question.at(0).users[0].k == 2
    assert question.at(1).users[0].k == question.at(2).users[0].k == 3, "an event holds from its round on"


@pytest.mark.parametrize("name", scenarios.names())
def test_the_shipped_scenarios_load(name):
    question = scenarios.understood(name)
    assert question.scenario.name == name
    assert question.cards.keys() == {provider.name for provider in question.providers}


def test_name_and_path_are_the_same_question():
    assert scenarios.load(str(scenarios.path_of("ring-8"))).digest == scenarios.load("ring-8").digest


THREE_LABS = """\
# yaml-language-server: $schema=schema.json
name: three-labs
question: Three labs scrape one web and each other. Who drifts, and do they converge?
papers: ["arXiv:2310.00429", "arXiv:2407.09499"]
rounds: 12
seeds: [0, 1, 2, 3]
humans: {source: digits}                       # gaussian | ring-8 | two-moons | digits | mnist | cifar10
web:
  archive: 400                                 # human pages before round 0
  sites: {count: 30, graph: barabasi_albert_graph, m: 2}   # default: one site
  retention: {human_rounds: null, synthetic_rounds: null}  # null: for ever; 1: only the last round's
creators: [{name: people, count: 10, pages_per_round: 5}]
users:
  - {name: crowd, count: 200, prompts_per_round: 2, k: 4, choice: {kind: luce},
     reward: {kind: class-confidence, class: 3, gamma: 5}, publish: winner}
scrapers:
  - {name: common, budget: 2000, crawl: {kind: uniform}, filter: {kind: detector, tpr: 0.8, fpr: 0.05}}
providers:
  - {name: alpha, model: gaussian, scraper: common, retrain: {every: 1, start: finetune}}
  - {name: beta,  model: gaussian-unbiased, scraper: common, retrain: {every: 2, start: scratch}}
events: [{at: 6, set: {scrapers.common.filter.tpr: 0.95}}]
metrics: [frechet, precision, recall, class-entropy, reward]
claims:
  - {metric: synthetic-share, is: increasing}
  - {metric: frechet, of: alpha, is: bounded, within: 2.0}          # times its own generation 0
  - {metric: recall, of: beta, is: lower-than, than: {of: alpha}}
"""


def test_the_example_of_the_design_loads_and_steps(monkeypatch):
    """Its archive of 1,000 with 20 creators would want 2,200 of the 1,000 digits there are; cards are Gaussian here."""
    question = scenarios.from_text(THREE_LABS)
    assert question.at(5).scrapers[0].filter.tpr == 0.8
    assert question.at(6).scrapers[0].filter.tpr == 0.95
    assert question.scenario.claims[2].than.of == "alpha"
    assert question.scenario.users[0].reward.class_ == 3
    # A classifier of one epoch will do: that its reward is right is tested elsewhere.
    plan = classifier.recipe
    monkeypatch.setattr(classifier, "recipe", lambda shape: replace(plan(shape), epochs=1))
    monkeypatch.setattr(world_module, "classifier", lambda source, device: train_classifier(source.open(), device))
    world = World(question, seed=0, device=torch.device("cpu"))
    world.step()
    world.step()
    assert [p.generation for p in world.providers] == [1, 0], "beta retrains every other round"
    assert len(world.links) == 30
    assert len(world.corpus) == 400 + 2 * (50 + 400)


def test_the_design_s_own_numbers_want_more_digits_than_there_are():
    text = THREE_LABS.replace("archive: 400", "archive: 1000").replace("count: 10", "count: 20")
    (fault,) = faults_of(text)
    assert (fault.line, fault.where) == (9, "web.archive")
    assert fault.problem == "1,000 archived and 1,200 fresh human pages are wanted, but `digits` has 1,000"


def test_fresh_pages_are_counted_round_by_round():
    """Creators who begin late want fewer pages than creators who always publish."""
    text = """
        name: late
        rounds: 10
        humans: {source: digits}
        web: {archive: 500}
        creators: [{name: people, count: 100, pages_per_round: 0}]
        providers: [{name: lab, model: gaussian}]
        """  # the event stands in line with it
    late = text + "events: [{at: 5, set: {creators.people.pages_per_round: 1}}]"
    assert scenarios.from_text(late).at(9).creators[0].pages_per_round == 1, "500 + 5 x 100 are there"
    (fault,) = faults_of(late.replace("at: 5", "at: 4"))
    assert "600 fresh" in fault.problem


def test_a_scraper_may_leave_out_human_pages_after_round_0():
    """DESIGN.md's fully synthetic loop."""
    text = edited("set: {users.crowd.k: 3}", "set: {scrapers.common.take: [lab, beta]}")
    assert scenarios.from_text(text).at(1).scrapers[0].take == ("lab", "beta")
    (fault,) = faults_of(text.replace("at: 1", "at: 0"))
    assert "in round 0 there are only human pages" in fault.problem


def test_a_model_card_can_be_a_file(tmp_path):
    card = tmp_path / "mine.yaml"
    card.write_text("name: mine\nabout: a test\nmodel: {family: gaussian}\n")
    text = edited("model: gaussian", f"model: {card}")
    assert scenarios.from_text(text).cards["beta"].name == "mine"
    card.write_text("name: mine\nabout: a test\nmodel: {family: gaussian, sigma: 3}\n")
    with pytest.raises(FaultsError) as caught:
        scenarios.from_text(text)
    (fault,) = caught.value.faults
    assert (fault.origin, fault.line, fault.where) == (str(card), 3, "model.sigma"), "the card's own line is told"


# --- what is wrong ------------------------------------------------------------------------------------------

# old, new -> "line where: problem (remedy)" of every fault, in order; the text after "..." is left open.
WRONG = {
    # unknown keys, types, bounds
    ("rounds: 3", "round: 3"): ["2 round: unknown key (did you mean `rounds`?)"],
    ("rounds: 3", "rounds: 3\nlambda: 1"): ["3 lambda: unknown key (known: about, ..."],
    ("count: 25", "cout: 25"): ["9 users.crowd.cout: unknown key (did you mean `count`?)"],
    ("kind: luce", "kind: luce, temprature: 2"): [
        "11 users.crowd.choice.temprature: unknown key (did you mean `temperature`?)"
    ],
    ("to: [0, 0]", "to: [0, 0], gama: 1"): ["12 users.crowd.reward.gama: unknown key (did you mean `gamma`?)"],
    ("{family: gaussian}", "{family: gaussian, estimater: mle}"): [
        "16 providers.lab.card.estimater: unknown key (did you mean `estimator`?)"
    ],
    ("rounds: 3", 'rounds: "4"'): ['2 rounds: must be a whole number, not the text "4" (write it without quotes)'],
    ("rounds: 3", "rounds: 4.5"): ["2 rounds: must be a whole number, not 4.5 ()"],
    ("rounds: 3", "rounds: null"): ["2 rounds: must be a whole number, not null ()"],
    ("rounds: 3", "rounds: true"): ["2 rounds: must be a whole number, not true ()"],
    ("rounds: 3", "rounds: [3]"): ["2 rounds: must be a whole number, not a list ()"],
    ("rounds: 3", "rounds: 0"): ["2 rounds: must be 1 or more, not 0 ()"],
    ("rounds: 3\n", ""): ["1 rounds: missing (add `rounds:`)"],
    ("rounds: 3", "rounds: 3\nquestion: 4"): ["3 question: must be text, not 4 (put it in quotes)"],
    ("rounds: 3", "rounds: 3\npapers: here"): ['3 papers: must be a list, not the text "here" (write [here])'],
    ("rounds: 3", "rounds: 3\nseeds: 3"): ["3 seeds: must be a list, not 3 (write [3])"],
    ("rounds: 3", "rounds: 3\nseeds: []"): ["3 seeds: must have 1 or more items, not 0 ()"],
    ("rounds: 3", "rounds: 3\nseeds: [0, 1, 0]"): ["3 seeds.2: 0 stands twice (keep one of them)"],
    ("rounds: 3", "rounds: 3\ndevice: gpu"): ["3 device: cannot be `gpu` (did you mean `cpu`?)"],
    ("rounds: 3", "rounds: 3\nrounds: 4"): [
        "3 rounds: `rounds` stands on line 2 and again on line 3 (keep one of them)"
    ],
    ("rounds: 3", "rounds: 3\n\tseeds: [0]"): ["3 : a tab in the indentation (YAML indents with spaces)"],
    ("  - {name: people, count: 2}", "  {name: people, count: 2}"): ["5 creators: must be a list, not a mapping ()"],
    ("{name: people, count: 2}", "people"): ['6 creators.0: must be a mapping, not the text "people" ()'],
    ("choice: {kind: luce}", "choice: best"): [
        '11 users.crowd.choice: must be a mapping, not the text "best" (write {kind: best})'
    ],
    ("choice: {kind: luce}", "choice: null"): ["11 users.crowd.choice: must be a mapping, not null ()"],
    ("kind: luce", "temperature: 2"): [
        "11 users.crowd.choice: `kind` is missing (add `kind:`, one of: best, luce, uniform)"
    ],
    ("kind: luce", "kind: lucee"): ["11 users.crowd.choice.kind: there is no kind `lucee` (did you mean `luce`?)"],
    ("{kind: luce}", "{kind: luce, temperature: 0}"): [
        "11 users.crowd.choice.temperature: must be above 0.0, not 0 ()"
    ],
    ("source: gaussian", "source: gausian"): [
        "3 humans.source: there is no source `gausian` (did you mean `gaussian`?)"
    ],
    ("{family: gaussian}", "{family: gausian}"): [
        "16 providers.lab.card.family: there is no family `gausian` (did you mean `gaussian`?)"
    ],
    ("budget: 40", "budget: 40, filter: {kind: detector, tpr: 1.5}"): [
        "14 scrapers.common.filter.tpr: must be 1.0 or less, not 1.5 ()",
        "14 scrapers.common.filter.fpr: missing (add `fpr:`)",
    ],
    # cards
    ("model: gaussian", "model: gausian"): [
        "17 providers.beta.model: there is no model card `gausian` (did you mean ..."
    ],
    ("model: gaussian", "model: no.yaml"): ["17 providers.beta.model: `no.yaml`: there is no such file (..."],
    ("model: gaussian", "model: gaussian, card: {family: gaussian}"): ["17 providers.beta: has both `model`, ..."],
    (", model: gaussian", ""): ["17 providers.beta: has neither `model`, ..."],
    ("model: gaussian", "model: flow-matching-mnist"): [
        "17 providers.beta.model.net: `beta` has a U-Net, which needs images, and `gaussian` has vectors ..."
    ],
    ("{family: gaussian}", "{family: diffusion, sampler: {clip: true}}"): [
        "16 providers.lab.card.sampler: `lab` clips to [-1, 1], the range of images, and `gaussian` has vectors ..."
    ],
    ("{family: gaussian}", "{family: diffusion, net: {width: 3}}"): [
        "16 providers.lab.card.net: `kind` is missing (add `kind:`, one of: mlp, unet)"
    ],
    ("{family: gaussian}", "{family: diffusion, net: {kind: unet, channels: [12]}}"): [
        "16 providers.lab.card.net.channels.0: must be a multiple of 8, not 12 ()"
    ],
    # counts
    ("archive: 50", "archive: 0"): ["4 web.archive: generation 0 needs human pages, ..."],
    ("archive: 50", "archive: -1"): ["4 web.archive: must be 0 or more, not -1 ()"],
    ("k: 2", "k: 0"): ["10 users.crowd.k: must be 1 or more, not 0 ()"],
    ("count: 25", "count: -25"): ["9 users.crowd.count: must be 0 or more, not -25 ()"],
    ("count: 25", "count: 100000000"): ["7 users: 100,000,000 users are too many (at most ..."],
    ("archive: 50", "archive: 1000000000"): ["4 web.archive: 1,000,000,000 pages of 2 numbers are too many (..."],
    ("held_out: 60", "held_out: 60, dims: 1000000000"): [
        "3 humans: 60 pages are held out, 60,000,000,000 numbers in all ..."
    ],
    ("held_out: 60", "held_out: 60, std: 1e308"): ["3 humans.std: 1e+308 is too far from 0 (at most 1e+09)"],
    ("archive: 50", "archive: 50, sites: {count: 2, graph: barabasi_albert_graph, m: 5, k: 2}"): [
        "4 web.sites: barabasi_albert_graph takes no `k` ()",
        "4 web.sites: barabasi_albert_graph needs more sites than links a site (2 against 5) ()",
    ],
    # names
    ("name: beta", "name: lab"): [
        "17 providers.lab.name: the name `lab` is taken: it is also one of the providers ..."
    ],
    ("name: beta", "name: crowd"): [
        "17 providers.crowd.name: the name `crowd` is taken: it is also one of the users ..."
    ],
    ("name: beta", "name: human"): ["17 providers.human.name: the name `human` is taken: it is the word for ..."],
    ("name: beta", "name: archive"): ["17 providers.archive.name: the name `archive` is taken: it is the word for ..."],
    ("name: beta", "name: ../beta"): ["17 providers.../beta.name: `../beta` cannot be a name (a name has letters, ..."],
    ("name: tiny", "name: a/b"): ["1 name: `a/b` cannot be a name (a name has letters, ..."],
    ("name: beta", "name: 3"): ["17 providers.1.name: must be text, not 3 (put it in quotes)"],
    ("name: beta, ", ""): ["17 providers.1.name: missing (add `name:`)"],
    ("model: gaussian", "model: gaussian, scraper: comon"): [
        "17 providers.beta.scraper: there is no scraper `comon` (did you mean `common`?)"
    ],
    ("count: 25", "count: 25\n    providers: [labb]"): [
        "10 users.crowd.providers: there is no provider `labb` (did you mean `lab`?)"
    ],
    ("count: 25", "count: 25\n    providers: []"): ["10 users.crowd.providers: the group asks nobody (null means ..."],
    ("budget: 40", "take: [huma]"): [
        "14 scrapers.common.take: nobody called `huma` makes pages (did you mean `human`?)"
    ],
    ("budget: 40", "take: [lab]"): ["14 scrapers.common.take: in round 0 there are only human pages, ..."],
    ("budget: 40", "filter: {kind: detector, tpr: 0.5, fpr: 1}"): [
        "14 scrapers.common.filter.fpr: in round 0 there are only human pages, ..."
    ],
    # rewards
    ("kind: distance, to: [0, 0]", "kind: class-confidence, class: 3"): [
        "12 users.crowd.reward: there is no classifier for `gaussian` (use `kind: distance` on vectors)"
    ],
    ("kind: distance, to: [0, 0]", "kind: class-confidence, clas: 3"): [
        "12 users.crowd.reward.clas: unknown key (did you mean `class`?)"
    ],
    ("to: [0, 0]", "to: [0]"): [
        "12 users.crowd.reward.to: `gaussian` has vectors of 2 numbers, and this point has 1 ()"
    ],
    # metrics and claims
    ("[frechet, recall, reward]", "[frechet, recal, modes, reward, frechet]"): [
        "21 metrics.4: frechet stands twice (keep one of them)",
        "21 metrics.1: there is no metric `recal` (did you mean `recall`?)",
        "21 metrics.2: `modes` cannot be measured on `gaussian` (these can: ...",
    ],
    ("    reward: {kind: distance, to: [0, 0]}\n", ""): [
        "20 metrics.2: `reward` cannot be measured: no users have one (give them a `reward`)"
    ],
    ("of: lab, is: bounded, within: 2", "of: lob, is: increasing"): [
        "24 claims.1.of: there is no provider `lob` (did you mean `lab`?)"
    ],
    ("is: bounded, within: 2", "is: lower-than, than: {of: bet}"): [
        "24 claims.1.than: there is no provider `bet` (..."
    ],
    ("is: bounded, within: 2", "is: bounded"): ["24 claims.1: `bounded` needs `within` (for example `within: 2.0`)"],
    ("is: bounded, within: 2", "is: outgrows"): ["24 claims.1: `outgrows` needs `factor` (for example `factor: 2.0`)"],
    ("is: bounded, within: 2", "is: higher-than"): ["24 claims.1: `higher-than` needs `than` or `value` (..."],
    ("is: bounded, within: 2", "is: lower-than, than: {}"): [
        "24 claims.1.than: `than` names neither another provider ..."
    ],
    ("is: bounded, within: 2", "is: lower-than, than: {of: lab}"): [
        "24 claims.1.than: `lab` is compared with itself ..."
    ],
    ("is: bounded, within: 2", "is: lower-than, than: {generation: 7}"): [
        "24 claims.1.than.generation: there is no generation 7 in 3 rounds (at most 2)"
    ],
    ("is: bounded, within: 2", "is: increasing, within: 2"): [
        "24 claims.1.within: `within` means nothing to `increasing` (it belongs to `bounded` and `recovers`)"
    ],
    ("is: bounded, within: 2", "is: bouned"): ["24 claims.1.is: cannot be `bouned` (did you mean `bounded`?)"],
    ("{metric: frechet, of: lab, is: bounded, within: 2}", "{is: collapsed}"): [
        "24 claims.1: a claim of `collapsed` is ..."
    ],
    ("is: bounded, within: 2", "is: collapsed"): [
        "24 claims.1.metric: a claim of `collapsed` is about the verdict, ..."
    ],
    ("{metric: frechet, of: lab, is: bounded, within: 2}", "{of: lab, is: increasing}"): [
        "24 claims.1: `metric` is missing ..."
    ],
    ("metric: frechet, of: lab", "metric: frechet"): ["24 claims.1.metric: `frechet` is no number of the web, ..."],
    ("metric: frechet", "metric: precision"): ["24 claims.1.metric: `precision` is not measured (add it to `metrics`)"],
    ("metric: frechet", "metric: frecet"): ["24 claims.1.metric: there is no metric `frecet` of `lab` (did you ..."],
    # events
    ("at: 1", "at: 3"): ["19 events.0.at: in round 3 the scenario is over: its rounds are 0 to 2 (..."],
    ("at: 1", "at: -1"): ["19 events.0.at: must be 0 or more, not -1 ()"],
    ("{users.crowd.k: 3}", "{}"): ["20 events.0.set: the event sets nothing (..."],
    ("{users.crowd.k: 3}", "[3]"): ["20 events.0.set: must be a mapping, not a list ()"],
    ("users.crowd.k: 3", "users.crowd.count: 3"): [
        "20 events.0.set.users.crowd.count: an event cannot set this (it can set users.NAME. and one of: ..."
    ],
    ("users.crowd.k: 3", "rounds: 3"): [
        "20 events.0.set.rounds: an event cannot set this (it can set policies of: ..."
    ],
    ("users.crowd.k: 3", "users.crwd.k: 3"): ["20 events.0.set.users.crwd.k: nothing is called `crwd` in `users` (..."],
    ("users.crowd.k: 3", "users.crowd.k: x"): [
        '20 events.0.set.users.crowd.k: must be a whole number, not the text "x" ()'
    ],
    ("users.crowd.k: 3", "users.crowd.choice.temprature: 3"): [
        "20 events.0.set.users.crowd.choice.temprature: unknown key (did you mean `temperature`?)"
    ],
    ("users.crowd.k: 3", "scrapers.common.take: [lb]"): [
        "20 events.0.set.scrapers.common.take: nobody called `lb` makes pages (did you mean `lab`?)"
    ],
    ("users.crowd.k: 3", "users.crowd.reward.to: [1]"): [
        "20 events.0.set.users.crowd.reward.to: `gaussian` has vectors of 2 numbers, and this point has 1 ()"
    ],
}


@pytest.mark.parametrize(("old", "new"), WRONG, ids=lambda text: " ".join(text.split())[:60])
def test_what_is_wrong_is_told_with_line_place_and_remedy(old, new):
    told, expected = described(faults_of(edited(old, new))), WRONG[old, new]
    assert len(told) == len(expected), told
    for line, start in zip(told, expected, strict=True):
        assert line.startswith(start[:-3]) if start.endswith("...") else line == start, told


def test_images_have_classes_and_no_distances():
    digits = TINY.replace("{source: gaussian, held_out: 60}", "{source: digits}")
    assert described(faults_of(digits)) == [
        "12 users.crowd.reward: `digits` has images, and a distance is for vectors (use `kind: class-confidence`)"
    ]
    digits = digits.replace("kind: distance, to: [0, 0]", "kind: class-confidence, class: 10")
    assert described(faults_of(digits)) == [
        "12 users.crowd.reward.class: there is no class 10 (`digits` has classes 0 to 9)"
    ]


def test_all_faults_are_told_at_once_and_each_once():
    """Also those that hold in the policies of every round, and those inside groups on lines of their own."""
    text = TINY.replace("budget: 40", "take: [human, nobody]").replace("to: [0, 0]", "to: [0]")
    text = text.replace("- at: 1", "- {at: 2, set: {users.crowd.k: 4}}\n  - at: 1").replace("of: lab", "of: lob")
    assert [(fault.line, fault.where) for fault in faults_of(text)] == [
        (12, "users.crowd.reward.to"),
        (14, "scrapers.common.take"),
        (25, "claims.1.of"),
    ]


def test_a_screenful_of_faults_is_cut():
    claims = "\n".join(f"  - {{metric: nothing-{n}, is: increasing}}" for n in range(60))
    assert len(faults_of(TINY + claims)) == 60


def test_hostile_words_are_shortened():
    long = "x" * 5000
    for text in (
        edited("rounds: 3", f"rounds: 3\n{long}: 4"),
        edited("model: gaussian", f"model: {long}"),
        edited("model: gaussian", f"model: gaussian, scraper: {long}"),
        edited("kind: luce", f"kind: {long}"),
        edited("rounds: 3", f"rounds: {long}"),
        edited("metric: frechet", f"metric: {long}"),
        edited("users.crowd.k: 3", f"users.crowd.{long}: 3"),
        edited("users.crowd.k: 3", f"users.{long}.k: 3"),
    ):
        assert len(faults_of(text, width=280)) == 1


# --- overrides ----------------------------------------------------------------------------------------------


def test_overrides_are_yaml_and_reach_inside_groups():
    question = scenarios.from_text(TINY, {"users.crowd.k": "4", "humans.std": "1e-3", "scrapers.0.budget": "null"})
    scenario = question.scenario
    assert (scenario.users[0].k, scenario.humans.std, scenario.scrapers[0].budget) == (4, 1e-3, None)


def test_overrides_from_python_may_be_values():
    assert scenarios.from_text(TINY, {"users.crowd.k": 4, "seeds": [3]}).scenario.seeds == (3,)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"users.crowd.k": "x"}, ['None users.crowd.k: must be a whole number, not the text "x" ()']),
        ({"users.0.k": "0"}, ["None users.crowd.k: must be 1 or more, not 0 ()"]),
        ({"users.crwd.k": "3"}, ["None users.crwd.k: nothing is called `crwd` in `users` (there are: crowd)"]),
        ({"users.crowd.nme": "3"}, ["None users.crowd.nme: unknown key (did you mean `name`?)"]),
        ({"evalation.groups": "3"}, ["None evalation: unknown key (did you mean `evaluation`?)"]),
        ({"rounds.x": "1"}, ["None rounds.x: `rounds` is 3, which has no `x` inside (set `rounds` itself)"]),
        ({"rounds": '"3"', "nope.x": "1"}, ["None rounds: must be a whole number, ...", "None nope: unknown key ..."]),
        ({"rounds": "[1"}, ["None rounds: ..."]),
        ({"rounds": ""}, ["None rounds: must be a whole number, not null ()"]),
    ],
)
def test_a_bad_override_is_told_as_such_and_not_with_a_line_of_the_file(overrides, expected):
    faults = faults_of(TINY, overrides)
    assert {fault.origin for fault in faults} == {"--set"}
    told = described(faults)
    assert len(told) == len(expected), told
    for line, start in zip(told, expected, strict=True):
        assert line.startswith(start[:-3]) if start.endswith("...") else line == start, told


def test_a_fault_of_the_file_keeps_its_line_beside_one_of_an_override():
    faults = faults_of(edited("k: 2", "k: 0"), {"rounds": "0"})
    assert [(fault.origin, fault.line) for fault in faults] == [("tiny.yaml", 10), ("--set", None)]


# --- files --------------------------------------------------------------------------------------------------


def refusal(path):
    with pytest.raises(ScenarioError) as caught:
        scenarios.load(str(path))
    message = str(caught.value).replace(str(path), "PATH").replace(str(Path(path).parent), "FOLDER")
    readable(message)
    return message


def test_files_that_are_none(tmp_path):
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "huge.yaml").write_bytes(b"a: b\n" * (10 * 2**20))  # 50 MB
    (tmp_path / "list.yaml").write_text("- a\n")
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    assert "holds no settings" in refusal(tmp_path / "empty.yaml")
    assert "more than the limit of 0.25 MiB" in refusal(tmp_path / "huge.yaml")
    assert "is a list at its top level" in refusal(tmp_path / "list.yaml")
    assert "not UTF-8" in refusal(tmp_path / "latin.yaml")
    assert "is a directory" in refusal(tmp_path)
    assert "there is no such file (did you mean `empty.yaml`?)" in refusal(tmp_path / "emty.yaml")


@pytest.mark.parametrize("name", ["three-lab", "nothing", "", "\0", "a" * 5000, "/dev/null"])
def test_names_that_are_none(name):
    with pytest.raises(ScenarioError) as caught:
        scenarios.load(name)
    assert len(str(caught.value)) < 1000
    if name == "three-lab":
        assert "did you mean `three-labs`?" in str(caught.value)


# --- the question's name ------------------------------------------------------------------------------------


def test_the_digest_names_what_a_run_does():
    digest = scenarios.from_text(TINY).digest
    assert len(digest) == 8 and int(digest, 16) >= 0
    reordered = dict(reversed(parse(TINY, "tiny.yaml").data.items()))
    assert scenarios.from_document(Document(reordered, "x", {}), {}).digest == digest, (
        "the order of keys is no question"
    )
    for same in (
        {"seeds": "[5]"},
        {"question": "why"},
        {"about": "words"},
        {"users.crowd.k": "2"},
        {"web.sites": "{}"},
    ):
        assert scenarios.from_text(TINY, same).digest == digest, same
    others = [
        {"users.crowd.k": "3"},
        {"web.archive": "51"},
        {"rounds": "4"},
        {"providers.lab.card.estimator": "unbiased"},
        {"providers.beta.model": "gaussian-unbiased"},
        {"providers.lab.retrain.every": "2"},
        {"humans.std": "1.1"},
        {"events": "[]"},
        {"metrics": "[frechet]"},
    ]
    digests = {scenarios.from_text(TINY, other).digest for other in others}
    assert len(digests | {digest}) == len(others) + 1


def test_what_is_resolved_is_the_same_question_again():
    """Settings -> plain tree -> settings, all defaults written out, is the identity."""
    question = scenarios.from_text(TINY)
    tree = json.loads(json.dumps(question.resolved["scenario"]))
    assert scenarios.from_document(Document(tree, "resolved", {}), {}).digest == question.digest


def test_the_schema_knows_the_grammar():
    """For editors: the keys of the schema are those that a scenario may have."""
    schema = grammar.schema(Scenario)
    assert {"name", "rounds", "humans", "users", "claims"} <= schema["properties"].keys()
    assert schema["additionalProperties"] is False
    assert json.dumps(schema)


# --- any tree -----------------------------------------------------------------------------------------------

VALID = parse(TINY, "tiny.yaml").data
WORDS = [
    "",
    "luce",
    "kind",
    "lab",
    "beta",
    "gaussian",
    "human",
    "crowd",
    "frechet",
    "increasing",
    "users.crowd.k",
    "\n",
    "é",
]
HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.integers(-2, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(WORDS),
    st.text(max_size=8),
    st.sampled_from([[], {}, [[]], [{}], {"kind": "luce"}, {"kind": "detector", "tpr": 1, "fpr": 0}, ["lab"]]),
)


def places(tree, route=()):
    """Every place in a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*route, key)
        yield from places(value, (*route, key))


def holder(tree, route):
    for part in route[:-1]:
        tree = tree[part]
    return tree


@st.composite
def mutants(draw):
    tree = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(1, 3))):
        route = draw(st.sampled_from(list(places(tree)) or [("name",)]))
        inside, key = holder(tree, route), route[-1]
        what = draw(st.sampled_from(["drop", "retype", "rename", "swap"]))
        if what == "retype" or not isinstance(inside, dict) or key not in inside:
            inside[key] = copy.deepcopy(draw(HOSTILE))
        elif what == "drop":
            del inside[key]
        elif what == "rename":
            inside[draw(st.sampled_from([*WORDS, "metric", "is", "of", "at"]))] = inside.pop(key)
        else:
            other = draw(st.sampled_from(sorted(inside)))
            inside[key], inside[other] = inside[other], inside[key]
    return tree


@settings(max_examples=150, deadline=None)
@given(mutants())
def test_any_tree_is_a_question_or_is_refused_with_located_faults(tree):
    try:
        question = scenarios.from_document(Document(tree, "tree.yaml", {(): 1}), {})
    except FaultsError as error:
        assert error.faults
        assert all(fault.where and fault.problem and fault.line == 1 for fault in error.faults), str(error)
        readable(str(error), width=280)
    except EcosystemError as error:
        raise AssertionError(f"no place is told: {error}") from error
    else:
        assert isinstance(question, Question)
        assert question.digest
