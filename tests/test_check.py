"""What `ecosystem check` tells of a valid scenario: everybody, and every policy that is not the neutral one."""

import pytest

from ecosystem import grammar, scenarios
from ecosystem.commands.check import told

SHORT = """
name: short
rounds: 4
humans: {source: gaussian, held_out: 20}
web: {archive: 60}
creators: [{name: people, count: 7}]
users: [{name: crowd, count: 10}]
scrapers: [{name: all}]
providers: [{name: lab, model: gaussian}]
"""


def lines(*replacements):
    text = SHORT
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    return list(told(scenarios.from_text(text)))


def test_who_is_there_and_that_all_is_neutral():
    assert lines() == [
        "short: valid. 4 rounds, seeds 0.",
        "  human pages: 60 of gaussian in the archive",
        "  ballots a round: 10",
        "  lab: gaussian (gaussian), every 1 round(s)",
    ]


@pytest.mark.parametrize(
    ("group", "settings", "said"),
    [
        ("archive: 60", "capacity: 40", "web: capacity 40"),
        ("archive: 60", "sites: {count: 3}", "web: sites (count 3)"),
        ("archive: 60", "admission: {kind: label, tpr: 0.5, fpr: 0.1}", "web: admission label (tpr 0.5, fpr 0.1)"),
        (
            "name: people",
            "attention: {elasticity: 2.0}, reservoir: 9",
            "people: attention (elasticity 2.0), reservoir 9",
        ),
        ("name: crowd", "k: 3, choice: {kind: best}", "crowd: k 3, choice best"),
        ("name: crowd", "k: 1, publish: winner, prompts: null", None),
        ("name: crowd", "providers: [lab]", 'crowd: providers ["lab"]'),
        ("name: all", "crawl: {kind: random-walk}", "all: crawl random-walk"),
        ("name: all", "filter: {kind: none}, crawl: {kind: uniform}", None),
        ("name: lab", "watermark: true, correction: {gamma: 0.5}", "lab: correction (gamma 0.5), watermark"),
        ("rounds: 4", None, "co-evolution is measured"),
    ],
)
def test_a_policy_is_told_of_where_it_is_in_force(group, settings, said):
    new = f"{group}\ncoevolution: true" if settings is None else f"{group}, {settings}"
    head, others = lines()[:4], lines((group, new))
    assert others[:4] == head
    assert others[4:] == ([] if said is None else ["policies beside the neutral ones:", f"  {said}"])


def test_a_taste_has_its_class_and_long_values_are_cut():
    digits = ("source: gaussian, held_out: 20", "source: digits")
    found = lines(digits, ("name: crowd", "name: crowd, reward: {kind: class-confidence, class: 3}"))
    assert found[-1] == "  crowd: reward class-confidence (class 3)"
    weights = ", ".join(["1.0"] * 30)
    found = lines(
        digits, ("name: crowd", f"name: crowd, prompts: {{kind: drifting, rate: 0.5, weights: [{weights[:48]}]}}")
    )
    assert found[-1] == f"  crowd: prompts drifting (rate 0.5, weights [{weights[:48]}])"
    found = lines(("name: all", f"name: all, take: [{', '.join(['human'] * 30)}]"))
    assert found[-1].startswith('  all: take ["human", "human", ')
    assert found[-1].endswith("...")
    assert len(found[-1]) < 80


def test_events_say_who_enters_and_leaves_and_what_changes():
    late = "{name: late, model: gaussian, distil: {of: lab, images: 30}}"
    happens = (
        f"- {{at: 1, add: {{providers: [{late}]}}}}",
        "- {at: 2, set: {users.crowd.k: 2}, remove: [creators.people]}",
    )
    found = lines(("rounds: 4", "rounds: 4\nevents:\n" + "\n".join(happens)))
    assert found[5:] == [
        "  round 1: late enters (distil (of lab, images 30))",
        "  round 2: people leaves",
        "  round 2: users.crowd.k 2",
    ]


def test_every_shipped_scenario_is_told_of():
    for name in grammar.shipped_names("scenarios"):
        question = scenarios.from_text((grammar.shipped("scenarios") / f"{name}.yaml").read_text(encoding="utf-8"))
        found = list(told(question))
        assert found[0].startswith(f"{name}: valid. ")
        for group in question.scenario.providers:
            assert any(line.startswith(f"  {group.name}: {question.cards[group.name].name} (") for line in found)
        for group in (*question.scenario.users, *question.scenario.scrapers):
            policies = {key: value for key, value in grammar.dump(group).items() if key not in ("name", "count")}
            neutral = {key: value for key, value in grammar.dump(type(group)(name="x")).items() if key in policies}
            assert any(line.startswith(f"  {group.name}: ") for line in found) == (policies != neutral)
