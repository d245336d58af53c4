"""An agent-based simulator of a web that generative models both fill and feed on.

    import ecosystem as eco
    run = eco.run("lambda-mixture", seeds=[0, 1, 2])
    run.verdict         # {"alpha": "stable"}
    run.frame()         # tidy pandas: seed, round, provider, generation, metric, value
    run.show()          # the report

Importing the package is instant; torch and mesa are imported by what needs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ecosystem.question import Question
    from ecosystem.results import Run

__version__ = "0.1.0"
__all__ = ["load", "open_run", "run"]


def load(name_or_path: str, overrides: Mapping[str, str] | None = None) -> Question:
    """A shipped scenario by name, or any by path, checked. Raises ScenarioError listing all faults."""
    from ecosystem import scenarios

    return scenarios.load(name_or_path, overrides)


def run(
    scenario: str | Question,
    seeds: Sequence[int] | None = None,
    out: str | Path | None = None,
    force: bool = False,
) -> Run:
    """Run every seed (null: the scenario's own) that is not on record yet, and return the results.

    ``out``: the run's directory; by default runs/NAME/DIGEST under the working directory.
    """
    from ecosystem import results

    question = load(scenario) if isinstance(scenario, str) else scenario
    return results.run(question, seeds, None if out is None else Path(out), force)


def open_run(path: str | Path) -> Run:
    """The results on record in a run's directory. Raises RecordError."""
    from ecosystem import results

    return results.open_run(Path(path))
