"""Runs beside each other: the differences are those that pandas finds, and every way to print them says the same."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from rich.cells import cell_len

import ecosystem as eco
from ecosystem import cli
from ecosystem.commands.compare import compare as command
from ecosystem.comparison import compare
from ecosystem.errors import ScenarioError
from ecosystem.results import Run

TINY = """\
name: tiny
rounds: 3
humans: {source: gaussian, held_out: 60}
web: {archive: 50, retention: {synthetic_rounds: 1}}
users: [{name: crowd, count: 25}]
providers: [{name: lab, card: {family: gaussian}}, {name: idle, model: gaussian, retrain: {every: 2}}]
metrics: [frechet, recall]
"""
T_2 = 4.302652729911275  # Student's quantile 0.975 with 2 degrees of freedom, from a table
alone = typer.Typer()
alone.command()(command)


def printed(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    """The command's exit code, standard output and standard error."""
    code = cli.guarded(lambda: alone([str(a) for a in arguments], standalone_mode=False))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Four worlds: b has another policy and a further round, ``later`` other seeds, ``other`` other names."""
    folder = tmp_path_factory.mktemp("compared")
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "other.yaml").write_text(TINY.replace("lab", "firm").replace("idle", "club"))
    worlds: dict[str, tuple[str, dict[str, str], list[int]]] = {
        "a": ("tiny", {}, [0, 1, 2, 3]),
        "b": ("tiny", {"users.crowd.count": "80", "rounds": "4", "providers.idle.retrain.every": "1"}, [1, 2, 3, 7]),
        "later": ("tiny", {}, [8]),
        "other": ("other", {}, [0]),
        "recall": ("tiny", {"metrics": "[recall]"}, [0]),
        "distance": ("tiny", {"metrics": "[frechet]"}, [0]),
    }
    return {
        name: eco.run(eco.load(str(folder / f"{file}.yaml"), sets), seeds, folder / name)
        for name, (file, sets, seeds) in worlds.items()
    }


def differences(runs: dict[str, Run], *names: str) -> dict[tuple[str, str, str], Any]:
    [found] = compare([(name, runs[name]) for name in names])["comparisons"]
    return {(d["provider"], d["metric"], d["what"]): d for d in found["differences"]}


def last_and_growth(frame: pd.DataFrame, provider: str, metric: str, axis: str) -> tuple[pd.Series, pd.Series]:
    """By seed, straight from the tidy frame."""
    rows = frame[(frame.provider == provider) & (frame.metric == metric)]
    table = rows.pivot(index=axis, columns="seed", values="value")
    return table.iloc[-1], table.iloc[-1] - table.iloc[0]


@pytest.mark.parametrize(
    ("provider", "metric", "axis"),
    [("lab", "frechet", "generation"), ("idle", "recall", "generation"), ("web", "synthetic-share", "round")],
)
def test_differences_are_those_of_the_frames(runs: dict[str, Run], provider: str, metric: str, axis: str) -> None:
    """The mean of b - a by seed, and Student's interval of it."""
    found = differences(runs, "a", "b")
    sides = [last_and_growth(runs[name].frame(), provider, metric, axis) for name in ("a", "b")]
    for what, a, b in zip(("last", "growth"), *sides, strict=True):
        paired = (b - a).dropna()
        assert list(paired.index) == [1, 2, 3]
        d = found[provider, metric, what]
        half = T_2 * paired.std() / math.sqrt(3)
        told = [d["baseline"], d["run"], d["difference"], d["low"], d["high"]]
        truth = [a[[1, 2, 3]].mean(), b[[1, 2, 3]].mean(), paired.mean(), paired.mean() - half, paired.mean() + half]
        assert told == pytest.approx(truth, rel=1e-9, abs=1e-14)
        assert d["reads"] == ("higher" if d["low"] > 0 else "lower" if d["high"] < 0 else "no difference")


def test_what_was_set_and_who_is_left_out(runs: dict[str, Run]) -> None:
    compared = compare([("a", runs["a"]), ("b", runs["b"])])
    [found] = compared["comparisons"]
    assert {setting["key"]: (setting.get("before"), setting.get("after")) for setting in found["changes"]} == {
        "rounds": (3, 4),
        "users.crowd.count": (25, 80),
        "providers.idle.retrain.every": (2, 1),
    }
    assert found["seeds"] == [1, 2, 3]
    assert found["unpaired"] == {"baseline": [0], "run": [7]}
    assert found["differences"][0]["generations"] == [2, 3], "one has a round more"
    assert [side["verdicts"] for side in compared["runs"]] == [runs[name].verdict for name in ("a", "b")]


def test_a_run_does_not_differ_from_itself(runs: dict[str, Run]) -> None:
    compared = compare([("a", runs["a"]), ("a", runs["a"])])
    [found] = compared["comparisons"]
    assert found["changes"] == [] and found["unpaired"] == {"baseline": [], "run": []}
    assert len(found["differences"]) == 2 * 2 * 2 + 2
    for d in found["differences"]:
        assert (d["difference"], d["low"], d["high"], d["reads"]) == (0, 0, 0, "no difference")
        assert d["baseline"] == d["run"]


def test_the_way_back_is_the_mirror_image(runs: dict[str, Run]) -> None:
    there, back = differences(runs, "a", "b"), differences(runs, "b", "a")
    turned = {"higher": "lower", "lower": "higher"}
    for place, d in there.items():
        told = [back[place][key] for key in ("difference", "low", "high", "baseline", "run")]
        assert told == pytest.approx([-d["difference"], -d["high"], -d["low"], d["run"], d["baseline"]])
        assert back[place]["reads"] == turned.get(d["reads"], d["reads"])


def test_a_shared_draw_cancels(runs: dict[str, Run]) -> None:
    """Common random numbers: generation 0 of both is the same to the last bit, so growth and value differ alike."""
    first = {
        name: runs[name].frame().query("provider == 'lab' and metric == 'frechet' and generation == 0 and seed == 2")
        for name in ("a", "b")
    }
    assert first["a"]["value"].item() == first["b"]["value"].item()
    found = differences(runs, "a", "b")
    assert found["lab", "frechet", "growth"]["difference"] == pytest.approx(
        found["lab", "frechet", "last"]["difference"], abs=1e-14
    )


def test_one_shared_seed_has_the_interval_of_its_samples(runs: dict[str, Run]) -> None:
    """The jackknife, as a verdict has it; what was counted has none, and is not called anything."""
    later = eco.run(runs["b"].question or "", [0], runs["b"].record.folder.parent / "single")
    found = {(d["provider"], d["what"]): d for d in differences({**runs, "single": later}, "a", "single").values()}
    d = found["lab", "last"]
    sides = [
        [line["providers"]["lab"]["trained"] for line in run.record.seed(0).lines()][-1]["replicates"]
        for run in (runs["a"], later)
    ]
    without = np.subtract(sides[1][d["metric"]], sides[0][d["metric"]])
    error = math.sqrt((len(without) - 1) * without.var())
    assert (d["high"] - d["low"]) / 2 == pytest.approx(2.3646242515927845 * error)  # 7 degrees of freedom
    assert found["web", "last"]["reads"] == "unknown" and found["web", "last"]["low"] is None
    assert found["web", "last"]["difference"] > 0


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("a", "later"), "share no seed: 0,1,2,3 against 8"),
        (("a", "other"), "share no provider: lab, idle against firm, club"),
        (("recall", "distance"), "share no metric: recall against frechet"),
    ],
)
def test_nothing_to_compare(runs: dict[str, Run], names: tuple[str, str], says: str) -> None:
    with pytest.raises(ScenarioError, match=says) as caught:
        compare([(name, runs[name]) for name in names])
    assert "Remedy" in str(caught.value)


# --- as printed ---------------------------------------------------------------------------------------------


def folders(runs: dict[str, Run], *names: str) -> list[str]:
    return [str(runs[name].record.folder) for name in names]


def test_json_is_the_object(runs: dict[str, Run], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = printed(capsys, *folders(runs, "a", "b"), "--json")
    named = [(str(runs[name].record.folder), runs[name]) for name in ("a", "b")]
    assert (code, err) == (0, "")
    assert json.loads(out) == compare(named)


def test_csv_is_tidy_and_exact(runs: dict[str, Run], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = printed(capsys, *folders(runs, "a", "b", "b"), "--csv")
    frame = pd.read_csv(io.StringIO(out))
    assert code == 0 and not frame.duplicated(["provider", "metric", "what"])[:10].any() and len(frame) == 20
    truth = differences(runs, "a", "b")
    for row in csv.DictReader(io.StringIO(out)):
        d = truth[row["provider"], row["metric"], row["what"]]
        numbers = [d[key] for key in ("baseline", "run", "difference", "low", "high")]
        assert [float(row[key]) for key in ("baseline", "value", "difference", "low", "high")] == numbers
        assert (row["seeds"], row["reads"]) == ("3", d["reads"])


def test_markdown_is_tables_of_as_many_cells_as_their_heads(
    runs: dict[str, Run], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = printed(capsys, *folders(runs, "a", "b"), "--md")
    assert code == 0
    tables = [part.splitlines() for part in out.split("\n\n") if part.startswith("|")]
    assert len(tables) == 4
    for table in tables:
        assert set(table[1]) == set("| -") and len({row.replace("\\|", "").count("|") for row in table}) == 1
    assert "| users.crowd.count | 25 | 80 |" in out


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1"}], ids=str)
def test_the_page_fits(
    runs: dict[str, Run],
    width: int,
    environment: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"COLUMNS": str(width), **environment}.items():
        monkeypatch.setenv(name, value)
    code, out, _ = printed(capsys, *folders(runs, "a", "b", "a"))
    assert code == 0
    assert ("\x1b" in out) == ("FORCE_COLOR" in environment)
    plain = "".join(part.partition("m")[2] if i else part for i, part in enumerate(out.split("\x1b[")))
    assert max(map(cell_len, plain.splitlines())) <= width
    for said in ("users.crowd.count", "1 seed (0)", "1 seed (7)", "no difference", "higher", "C against A", "none"):
        assert said in plain


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["a"], 64, "two run directories or more"),
        (["a", "b", "--json", "--csv"], 64, "choose one"),
        (["a", "nowhere"], 74, "is no directory"),
        (["a", "."], 74, "holds no run"),
        (["a", "later"], 64, "share no seed"),
        (["a", "other"], 64, "share no provider"),
    ],
)
def test_bad_input_is_refused(
    runs: dict[str, Run], arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    home = runs["a"].record.folder.parent
    given = [a if a.startswith("--") else home / a for a in arguments]
    found, out, err = printed(capsys, *given)
    assert (found, out) == (code, "")
    assert says in err and len(err.splitlines()) <= 24
