"""The package for Python: what `import ecosystem as eco` gives."""

import subprocess
import sys

import pandas as pd
import pytest

import ecosystem as eco
from ecosystem.errors import RecordError, ScenarioError

TWO_LABS = ("{family: gaussian}}", "{family: gaussian}}, {name: idle, model: gaussian, retrain: {every: 2}}")


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_in):
    folder = tmp_path_factory.mktemp("api")
    return eco.run(str(tiny_in(folder, TWO_LABS)), seeds=[0, 2], out=folder / "run")


def test_the_import_is_instant():
    script = "import sys, ecosystem; print(*{'torch', 'mesa', 'pydantic', 'numpy', 'pandas'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_load_checks_and_overrides():
    question = eco.load("lambda-mixture", {"rounds": "3", "web.archive": 500})
    assert (question.scenario.rounds, question.scenario.web.archive) == (3, 500)
    with pytest.raises(ScenarioError, match="did you mean `lambda-mixture`"):
        eco.load("lambda-mixtur")


def test_the_verdict_is_by_provider(run):
    assert run.verdict.keys() == {"lab", "idle"}
    assert set(run.verdict.values()) <= {"stable", "improving", "degrading", "collapsed", "undecided"}


def test_the_frame_is_tidy(run):
    frame = run.frame()
    assert list(frame.columns) == ["seed", "round", "provider", "generation", "metric", "value"]
    assert not frame.duplicated(["seed", "round", "provider", "metric"]).any(), "one value a row"
    assert set(frame["seed"]) == {0, 2}
    assert set(frame["provider"]) == {"web", "lab", "idle"}
    assert pd.api.types.is_float_dtype(frame["value"])
    lab = frame[(frame.provider == "lab") & (frame.seed == 2)].pivot(
        index="generation", columns="metric", values="value"
    )
    assert {"frechet", "recall", "lambda", "synthetic-share", "lineage", "data-set-pages", "vote-share"} == set(lab)
    assert list(lab["data-set-pages"]) == [50, 75, 75]
    assert list(lab["lambda"]) == [0, 0.5, 0.5]
    idle = frame[(frame.provider == "idle") & (frame.metric == "frechet") & (frame.seed == 0)]
    assert list(idle["round"]) == [0, 2], "it trains every other round"
    pages = frame[(frame.provider == "web") & (frame.metric == "pages")]
    assert list(pages["value"]) == [75] * 6


def test_the_frame_and_the_summary_agree(run):
    frame = run.frame()
    for name, provider in run.summary["providers"].items():
        for generation in provider["generations"]:
            rows = frame[(frame.provider == name) & (frame.generation == generation["generation"])]
            for metric, value in generation["metrics"].items():
                assert rows[rows.metric == metric]["value"].mean() == pytest.approx(value)


def test_show_prints_the_report(run, capsys):
    run.show()
    text = capsys.readouterr().out
    assert text.startswith("tiny") and "lab" in text and "idle" in text


def test_a_run_opens_again_as_it_was(run):
    again = eco.open_run(str(run.record.folder))
    assert again.summary == run.summary
    assert again.frame().equals(run.frame())
    with pytest.raises(RecordError):
        eco.open_run(run.record.folder.parent)


def test_a_question_can_be_run_and_finished_seeds_are_kept(run, tmp_path):
    question = eco.load(str(run.record.folder.parent / "tiny.yaml"))
    before = (run.record.folder / "seed-0" / "manifest.json").stat().st_mtime_ns
    again = eco.run(question, seeds=range(3), out=run.record.folder)
    assert again.summary["seeds"] == [0, 1, 2]
    assert (run.record.folder / "seed-0" / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("seeds", [[], [-1], [0.5], ["1"], [True], [10**10]])
def test_what_is_no_seed_is_refused_before_anything_is_written(seeds, run, tmp_path):
    with pytest.raises(ScenarioError, match="seed"):
        eco.run(run.question, seeds=seeds, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_report_needs_the_records_alone(run, monkeypatch):
    """Also on a machine without the human data of the run."""
    from ecosystem import results
    from ecosystem.errors import DataError

    def absent(record):
        raise DataError("mnist is not here")

    recomputed = eco.open_run(run.record.folder).summary
    monkeypatch.setattr(results, "question_of", absent)
    assert eco.open_run(run.record.folder).summary == recomputed
