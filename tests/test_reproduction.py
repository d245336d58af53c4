"""The literature's table: every check can be read, every reader tells right from wrong, and the board is kept in order.

Readers are handed real runs whose metrics were written over: with what must hold, and with what must not.
"""

import copy
import math
import re
import shlex
import shutil
from collections import Counter
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from ecosystem import cli, literature, loop, reproduction, scenarios, scoreboard, verdicts
from ecosystem.documents import read, split_override
from ecosystem.errors import ScenarioError
from ecosystem.literature import CHECKS, Check
from ecosystem.records import Journal, RunRecord, write_json
from ecosystem.results import Run
from ecosystem.theory import drift, mixing, preferences

MARKS = {"held", "refuted", "undecided"}


# The table


def test_the_rows_are_those_of_the_table():
    assert list(dict.fromkeys(check.row for check in CHECKS)) == [f"R{n}" for n in range(1, 11)]


def test_every_check_has_a_name_of_its_own_in_its_row():
    assert max(Counter((check.row, check.name) for check in CHECKS).values()) == 1


def test_every_check_fits_into_a_line_of_a_table():
    for check in CHECKS:
        assert re.fullmatch(r"\d{4}\.\d{5}", check.paper)
        assert not {"|", "\n"} & set(check.setting + check.published)


@pytest.mark.parametrize(
    "check", [c for c in CHECKS if c.overrides], ids=lambda c: " ".join([c.scenario, *map(str, c.overrides.values())])
)
def test_the_overrides_of_a_check_load(check):
    assert scenarios.load(check.scenario, check.overrides).digest != scenarios.load(check.scenario).digest


@cache
def asked_by(scenario):
    return read(scenarios.path_of(scenario)).data


def summary_of(check):
    """A run of the check's scenario, as far as readers look: every claim held, every metric measured, all of them 1.

    Without its records, as a report is, unless the check says that it needs them.
    """
    asked = asked_by(check.scenario) | {k: v for k, v in check.overrides.items() if "." not in k}
    measured = dict.fromkeys(asked.get("metrics", ()), 1.0)
    generation = {"metrics": measured, "spread": dict.fromkeys(measured, 0.1), "data_set": {"pages": 10.0}}
    names, seeds = [provider["name"] for provider in asked["providers"]], range(4)
    claim = {"verdict": "held", "effect": 1.0, "low": 0.5, "high": None, "evidence": "as it was"}
    line = {"providers": {name: {"trained": {"metrics": measured}} for name in names}}
    seed = SimpleNamespace(lines=lambda: [line] * asked["rounds"])
    rows = {"verdict": "stable", "evidence": [], "generations": [generation] * asked["rounds"]}
    return SimpleNamespace(
        summary={
            "scenario": check.scenario,
            "seeds": list(seeds),
            "claims": [{"text": verdicts.in_words(c), **claim} for c in asked.get("claims", ())],
            "providers": dict.fromkeys(names, rows),
        },
        record=SimpleNamespace(seeds=lambda: [seed] * len(seeds)) if check.records else None,
    )


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # four equal seeds have no standard error
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.row} {check.name}"[:60])
def test_a_reader_finds_all_that_it_reads(check):
    """Its scenario is shipped, and the run has the providers, metrics, generations and claims that it asks for."""
    assert check.scenario in scenarios.names()
    found = check.found(summary_of(check))
    assert found["mark"] in MARKS
    assert found["ours"]


def test_a_reader_of_claims_that_are_not_there_says_which_there_are():
    run = summary_of(next(check for check in CHECKS if check.scenario == "gaussian-fixed"))
    with pytest.raises(ScenarioError, match=r"claims nothing like `lab is happy`; it claims: .*'lab is stable'"):
        literature.claimed("lab is stable", "lab is happy")(run)


# Readers of claims and verdicts


@pytest.mark.parametrize(
    ("found", "mark"),
    [
        (["held", "held"], "held"),
        (["held", "undecided"], "undecided"),
        (["undecided", "refuted"], "refuted"),
        (["refuted", "held"], "refuted"),
    ],
)
def test_all_claims_must_hold(found, mark):
    words = {"effect": None, "low": None, "high": None, "evidence": "seen"}
    claims = [{"text": f"claim {i}", "verdict": verdict, **words} for i, verdict in enumerate(found)]
    told = literature.claimed("claim 0", "claim 1")(SimpleNamespace(summary={"scenario": "", "claims": claims}))
    assert told == {"ours": "seen; seen", "mark": mark}


@pytest.mark.parametrize(
    ("actual", "mark"), [("collapsed", "held"), ("degrading", "refuted"), ("stable", "refuted"), ("undecided",) * 2]
)
def test_a_verdict_is_the_word_or_it_is_refuted(actual, mark):
    evidence = [{"metric": "recall", "effect": 2.5, "low": 2.0, "high": None}]
    evidence.append({"metric": "frechet", "effect": None, "low": None, "high": None})
    run = SimpleNamespace(summary={"providers": {"lab": {"verdict": actual, "evidence": evidence}}})
    told = literature.verdict("lab", "collapsed")(run)
    assert told == {"ours": f"{actual}: recall 2.5 [2, none] times worse", "mark": mark}


# Readers of numbers

SMALL = {
    "gaussian-replace": {"humans.dims": 2, "humans.held_out": 5, "rounds": 3},
    "gaussian-subsample": {"humans.dims": 2, "humans.held_out": 5, "rounds": 3},
    "gaussian-fixed": {"humans.dims": 2, "humans.held_out": 5, "rounds": 3},
    "gaussian-fresh": {"humans.dims": 2, "humans.held_out": 5, "rounds": 3},
    "gaussian-pool": {"humans.dims": 2, "humans.held_out": 5, "rounds": 3},
    "categorical-drift": {"web.archive": 4, "users.crowd.count": 4, "rounds": 20, "humans.held_out": 5},
    "adversarial-curators": {
        "rounds": 2,
        "web.archive": 100,
        "humans.held_out": 5,
        **{f"users.{g} of {lab}.count": 5 for g in ("friends", "rivals") for lab in ("tainted", "captured")},
        "users.friends of clean.count": 5,
    },
    "curated-outcomes": {
        "rounds": 3,
        "web.archive": 100,
        "humans.held_out": 5,
        **{f"users.{k}{of}.count": 5 for k in ("pair", "four", "sixteen") for of in ("", " and archive")},
    },
}
SEEDS = 4
SPREAD = np.array([-1.5, -0.5, 0.5, 1.5]) / math.sqrt(5 / 3)  # of the seeds: mean 0, standard deviation 1
ERROR = 1 / math.sqrt(SEEDS)  # standard error of their mean


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A real small run of a shipped scenario, once."""
    done = {}

    def run(name):
        if name not in done:
            folder = tmp_path_factory.mktemp("run") / "run"
            question = scenarios.load(name, SMALL[name])
            list(loop.run(question, range(SEEDS), folder))
            done[name] = Run(question, RunRecord(folder))
        return done[name]

    return run


@pytest.fixture
def told(small, tmp_path):
    """The run with a metric of some providers written over: by provider, seed and generation."""

    def run(name, metric, values):
        original, record = small(name), RunRecord(tmp_path / "told")
        for s, seed in enumerate(original.record.seeds()):
            record.seed(s).begin({}, np.zeros((1, 1)))
            journal = Journal(record.seed(s).lines_path)
            for line in copy.deepcopy(seed.lines()):
                for provider, by_seed in values.items():
                    row = line["providers"][provider]
                    row["trained"]["metrics"][metric] = float(by_seed[s][row["generation"]])
                journal.append(line)
            journal.close()
        return Run(original.question, record)

    return run


def around(mean, spread=0.01, rounds=3):
    """Values by seed and generation: at the last ``mean`` with standard error ``spread`` / 2, before that 1."""
    return [[1.0] * (rounds - 1) + [mean + spread * z] for z in SPREAD]


def test_a_number_is_read_with_its_standard_error(told):
    run = told("gaussian-replace", "mean-error", {"lab": around(0.5, spread=0.2)})
    assert literature.at(run, "lab", "mean-error", -1) == pytest.approx((0.5, 0.1))
    assert np.array(literature.values(run, "lab", "mean-error"))[:, 2] == pytest.approx(0.5 + 0.2 * SPREAD)


@pytest.mark.parametrize(("published", "mark"), [(0.5, "held"), (0.64, "held"), (0.66, "refuted"), (0.34, "refuted")])
def test_a_published_number_is_held_within_three_standard_errors_of_the_difference(told, published, mark):
    """Ours 0.5 +- 0.03, theirs +- 0.04: a difference of 0.15 is three of 0.05."""
    run = told("gaussian-replace", "mean-error", {"lab": around(0.5, spread=0.03 / ERROR)})
    found = literature.near("lab", "mean-error", 2, published, 0.04)(run)
    assert found["mark"] == mark
    assert found["ours"] == f"0.5 ± 0.03 ({abs(published - 0.5) / 0.05:.1f} se from it)"
    for metric, generation in (("mean-error", 1), ("model-variance", 2)):
        other = literature.near("lab", metric, generation, 0.5, 1e-6)(run)["mark"]
        assert other == "refuted", "another generation, or metric, is another number"


def test_the_plateau_is_in_units_of_one_page(told):
    """Ten pages: 2.9 as it is plotted, pi^2/2 - 2 as it is, and neither 2 nor 4."""
    for value, mark in ((2.9, "held"), (math.pi**2 / 2 - 2, "held"), (2.0, "refuted"), (4.0, "refuted")):
        run = told("gaussian-subsample", "mean-error", {"lab": around(value / 10, spread=0.001)})
        found = literature.plateau(run)
        assert found["mark"] == mark
        assert found["ours"].startswith(f"{value:.3g} ")


def test_the_limit_of_the_fresh_loop(told):
    limit = mixing.fresh_limit(5, 10)[1]
    for value, mark in ((limit, "held"), (limit + 0.014, "held"), (limit + 0.016, "refuted"), (1 / 15, "refuted")):
        run = told("gaussian-fresh", "mean-error", {"lab": around(value)})
        assert literature.forgets_its_start(run)["mark"] == mark


def test_the_limit_of_the_fixed_loop(told):
    """0.9 / (1 + 1/30), and not the variance of ten human pages alone, nor any collapse."""
    for value, mark in ((0.9 / (1 + 1 / 30), "held"), (0.9, "refuted"), (0.1, "refuted")):
        run = told("gaussian-fixed", "model-variance", {"lab": around(value)})
        assert literature.settles(run)["mark"] == mark
    assert mixing.fixed_limit(10, 1.0, 0.9)[0] == pytest.approx(0.9 / (1 + 1 / 30))


def test_the_pool_keeps_its_variance_as_thirty_pages_do(told):
    labs = ("one", "two", "three")
    for n, mark in ((30, "held"), (10, "refuted"), (1000, "refuted")):
        run = told("gaussian-pool", "model-variance", dict.fromkeys(labs, around((1 - 1 / n) ** 3)))
        assert literature.slower_than_alone(run)["mark"] == mark


def test_one_lab_that_keeps_more_than_the_others_is_no_pool(told):
    values = {"one": around(1.0), "two": around((29 / 30) ** 3), "three": around((29 / 30) ** 3)}
    assert literature.slower_than_alone(told("gaussian-pool", "model-variance", values))["mark"] == "refuted"


def lost_after(times, rounds=20):
    """How many outcomes are left, where one alone is left after so many fits."""
    return {"lab": [[1 if g + 1 >= time else 2 for g in range(rounds)] for time in times]}


def test_the_time_to_one_outcome_counts_fits(told):
    exact = drift.collapse_time(np.full(10, 0.1), 4)
    assert 6 < exact < 7
    for times, mark in (([5, 6, 7, 8], "held"), ([10, 12, 14, 16], "refuted"), ([2, 3, 3, 4], "refuted")):
        found = literature.time_to_one_outcome(told("categorical-drift", "outcomes", lost_after(times)))
        assert found["mark"] == mark
        assert found["ours"].startswith(f"{np.mean(times):.3g} ± {np.std(times, ddof=1) / 2:.3g}, theory {exact:.3g}")
    late = literature.time_to_one_outcome(told("categorical-drift", "outcomes", lost_after([5, 6, 7, 99])))
    assert late == {"ours": "1 of 4 seeds have more than one left", "mark": "undecided"}


def gained(gain, spread=0.01):
    return [[0.5, 0.5 + gain + spread * z] for z in SPREAD]


@pytest.mark.parametrize(
    ("gains", "mark"),
    [
        ({"clean": 0.2, "tainted": 0.1, "captured": -0.1}, "held"),
        ({"clean": 0.2, "tainted": 0.1, "captured": 0.1}, "refuted"),
        ({"clean": 0.2, "tainted": -0.1, "captured": -0.1}, "refuted"),
        ({"clean": 0.2, "tainted": 0.01, "captured": -0.1}, "refuted"),  # 2 standard errors
    ],
)
def test_rivals_turn_the_drift_at_a_share_between_a_quarter_and_three_quarters(told, gains, mark):
    run = told("adversarial-curators", "mean-exp-reward", {name: gained(gain) for name, gain in gains.items()})
    found = literature.turns_at_threshold(run)
    assert found["mark"] == mark
    assert f"b = 0: {gains['clean'] / 0.01 * 2:+.0f} se" in found["ours"]
    r = np.array([-1.5, -1.0, -0.5, 0.0])
    threshold = preferences.adversarial_threshold([0.25] * 4, r, r[::-1])
    assert 0.25 < threshold < 0.75
    assert f"b* = {threshold:.3g}" in found["ours"]


def test_the_bound_of_theorem_2_3_is_a_bound_at_every_generation(told):
    """Of the labs that keep the archive, from generation 1 on; generation 0 has no part in it."""
    reward, p = np.array([-1.5, -1.0, -0.5, 0.0]), [0.4, 0.3, 0.2, 0.1]
    bounds = {f"mixed-{k}": preferences.anchored_utility_bound(p, reward, k, 0.5) for k in (2, 4, 16)}

    def at(factors):
        return {name: [[0.0, *(bound * f for f in factors)]] * SEEDS for name, bound in bounds.items()}

    for factors, mark in (((1.001, 1.1), "held"), ((0.999, 1.1), "refuted"), ((1.1, 0.999), "refuted")):
        found = literature.above_its_bound(told("curated-outcomes", "mean-exp-reward", at(factors)))
        assert found == {"ours": f"smallest E e^r over its bound: {min(factors):.3f}", "mark": mark}
    one_below = at((1.2, 1.2)) | {"mixed-4": at((0.9, 1.2))["mixed-4"]}
    found = literature.above_its_bound(told("curated-outcomes", "mean-exp-reward", one_below))
    assert found["mark"] == "refuted"


# Selecting


def test_checks_are_selected_by_row_and_by_cost():
    assert reproduction.select([], cheap=False) == list(CHECKS)
    assert reproduction.select([], cheap=True) == [check for check in CHECKS if check.cheap]
    chosen = reproduction.select(["R9", "R3"], cheap=False)
    assert chosen == [check for check in CHECKS if check.row in ("R3", "R9")]
    assert reproduction.select(["R3", "R9"], cheap=True) == [check for check in chosen if check.cheap]
    assert {check.cheap for check in CHECKS} == {True, False}


@pytest.mark.parametrize("row", ["R99", "r1", ""])
def test_an_unknown_row_is_refused_with_the_known_ones(row):
    with pytest.raises(ScenarioError, match=f"there is no row `{row}`. The rows are: R1, R2, .*, R10"):
        reproduction.select(["R1", row], cheap=False)


# The board


def entry_of(check, mark="held", ours="0.3 ± 0.1"):
    return {
        "row": check.row,
        "check": check.name,
        "paper": check.paper,
        "setting": check.setting,
        "published": check.published,
        "ours": ours,
        "mark": mark,
        "scenario": check.scenario,
        "seeds": 100,
        "seconds": 12.34,
    }


def test_the_board_is_in_the_order_of_the_table_whatever_is_run_first(tmp_path):
    for number in (7, 3, 50, 0):
        reproduction.keep(tmp_path, entry_of(CHECKS[number]))
    board = scoreboard.read(tmp_path)
    assert [(e["row"], e["check"]) for e in board] == [(CHECKS[n].row, CHECKS[n].name) for n in (0, 3, 7, 50)]


def test_an_entry_is_replaced_and_the_others_stay(tmp_path):
    for check in CHECKS[:3]:
        reproduction.keep(tmp_path, entry_of(check))
    reproduction.keep(tmp_path, entry_of(CHECKS[1], "refuted", "0.9"))
    expected = [entry_of(CHECKS[0]), entry_of(CHECKS[1], "refuted", "0.9"), entry_of(CHECKS[2])]
    assert scoreboard.read(tmp_path) == expected


def test_what_is_no_longer_in_the_table_leaves_the_board(tmp_path):
    scoreboard.write(tmp_path, [entry_of(CHECKS[0]) | {"check": "of another time"}])
    reproduction.keep(tmp_path, entry_of(CHECKS[2]))
    assert scoreboard.read(tmp_path) == [entry_of(CHECKS[2])]


def test_the_board_as_a_page(tmp_path):
    marks = ("held", "refuted", "undecided")
    scoreboard.write(tmp_path, [entry_of(check, mark) for check, mark in zip(CHECKS, marks, strict=False)])
    _, lines = scoreboard.text(tmp_path).split("|---|---|---|---|---|---|---|---|---|\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines()]
    assert [row[5] for row in rows] == ["held", "**refuted**", "*undecided*"]
    for row, check in zip(rows, CHECKS, strict=False):
        link = f"[{check.paper}](https://arxiv.org/abs/{check.paper})"
        assert row[:5] == [check.row, link, check.setting, check.published, "0.3 ± 0.1"]
        assert row[6:] == ["100", "12", f"`{check.scenario}`"]
    assert scoreboard.text(tmp_path / "nothing") == scoreboard.HEAD + "\n"


# From a check to the board, with checks that take no time

TINY = """\
name: tiny
rounds: 4
seeds: 0-3
humans: {source: gaussian, dims: 2, held_out: 5}
web: {archive: 20}
users: [{name: crowd, count: 20}]
scrapers: [{name: latest, window_rounds: 1}]
providers: [{name: lab, model: gaussian-diagonal}]
metrics: [model-variance, mean-error]
claims: [{metric: synthetic-share, of: lab, is: increasing}, {metric: synthetic-share, of: lab, is: decreasing}]
"""
UP, DOWN = "synthetic-share of lab is increasing", "synthetic-share of lab is decreasing"


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table of three checks of a tiny scenario; runs and the board are in a folder of their own."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    overrides = {"web.archive": 10, "metrics": ["mean-error", "log-std"]}
    checks = (
        Check("R1", "2305.17493", "replace", "rises", "tiny.yaml", literature.claimed(UP), cheap=True),
        Check("R1", "2305.17493", "replace", "one", "tiny.yaml", literature.near("lab", "mean-error", 1, 9, 1)),
        Check("R2", "2305.17493", "replace", "falls", "tiny.yaml", literature.claimed(DOWN), overrides, cheap=True),
    )
    monkeypatch.setattr(reproduction, "CHECKS", checks)
    return checks


def test_checks_are_run_marked_and_kept(table, tmp_path):
    said = []
    entries = reproduction.run(table, tmp_path / "board", said.append)
    assert [entry["mark"] for entry in entries] == ["held", "refuted", "refuted"]
    assert [line.split()[:2] for line in said] == [["R1", "held"], ["R1", "refuted"], ["R2", "refuted"]]
    assert scoreboard.read(tmp_path / "board") == entries
    assert {entry["seeds"] for entry in entries} == {4}
    assert all(entry["seconds"] >= 0 for entry in entries)
    assert scoreboard.text(tmp_path / "board") in (tmp_path / "board" / "README.md").read_text()
    runs = sorted((tmp_path / "runs" / "tiny").iterdir())
    assert len(runs) == 2, "two checks ask the same question, and share its run"


def test_the_command_on_the_board_asks_the_question_that_was_run(table, tmp_path):
    *_, entry = reproduction.run(table[2:], tmp_path, lambda _: None)
    scenario, *options = shlex.split(entry["scenario"])
    assert options[::2] == ["--set"] * 2
    question = scenarios.load(scenario, dict(split_override(option) for option in options[1::2]))
    assert [path.name for path in (tmp_path / "runs" / "tiny").iterdir()] == [question.digest]


def test_what_is_on_record_is_not_run_again(table, tmp_path):
    reproduction.run(table, tmp_path / "board", lambda _: None)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/tiny/*/seed-*/metrics.jsonl")}
    assert len(kept) == 8
    reproduction.run(table, tmp_path / "board", lambda _: None)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def reported(table, folder):
    """The run of the first check as a reference report; the run itself is gone."""
    reproduction.run(table[:1], folder / "board", lambda _: None)
    [run] = (folder / "runs" / "tiny").iterdir()
    report = folder / "reports" / "tiny.yaml"
    report.mkdir(parents=True)
    write_json(report / "summary.json", Run(scenarios.load("tiny.yaml"), RunRecord(run)).summary)
    write_json(report / "manifest.json", {"seconds": 12.3})
    (report / "digest.txt").write_text(run.name + "\n")
    shutil.rmtree(folder / "runs")


def test_a_report_of_the_same_question_saves_its_run(table, tmp_path):
    reported(table, tmp_path)
    entries = reproduction.run(table[:2], tmp_path / "board", lambda _: None, from_reports=True)
    assert [(entry["mark"], entry["seeds"], entry["seconds"]) for entry in entries] == [
        ("held", 4, 12.3),
        ("refuted", 4, 12.3),
    ]
    assert not (tmp_path / "runs").exists()
    again = reproduction.run(table[:2], tmp_path / "board", lambda _: None)
    assert [entry["ours"] for entry in again] == [entry["ours"] for entry in entries]


def test_a_report_of_another_question_saves_nothing(table, tmp_path):
    """Nor do reports of what has overrides, of what needs records, nor any if they are not asked for."""
    reported(table, tmp_path)
    needs = replace(table[0], records=True)
    for check, from_reports in ((table[0], False), (table[2], True), (needs, True)):
        reproduction.run([check], tmp_path / "board", lambda _: None, from_reports=from_reports)
        assert len(list(tmp_path.glob("runs/tiny/*"))) == 1
        shutil.rmtree(tmp_path / "runs")
    (tmp_path / "reports" / "tiny.yaml" / "digest.txt").write_text("01234567\n")
    reproduction.run(table[:1], tmp_path / "board", lambda _: None, from_reports=True)
    assert len(list(tmp_path.glob("runs/tiny/*"))) == 1


# The command line


def ecosystem(*arguments):
    """The command line in this process: its exit code."""
    return cli.guarded(lambda: cli.app([str(a) for a in arguments], standalone_mode=False))


def test_an_unknown_row_exits_64(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ecosystem("reproduce", "R99") == 64
    out, err = capsys.readouterr()
    assert "there is no row `R99`" in err
    assert out == ""
    assert list(tmp_path.iterdir()) == [], "nothing was run, and nothing written"


def test_check_tells_by_its_exit_code(table, capsys):
    assert ecosystem("reproduce", "R1", "--cheap", "--out", "board", "--check") == 0
    assert "R1  held" in capsys.readouterr().out
    assert ecosystem("reproduce", "R1", "R2", "--out", "board", "--check") == 1
    assert ecosystem("reproduce", "R1", "R2", "--out", "board") == 0
