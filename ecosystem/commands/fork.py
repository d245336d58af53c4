"""``ecosystem fork``: a run again from one of its rounds on, under other policies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from ecosystem.commands.run import follow, told
from ecosystem.terminal import AsJson, Sets, chosen_seeds, console, importing, overrides_of


def fork(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory.")],
    at: Annotated[int, typer.Option(help="The round with which the other world begins.")],
    sets: Sets = None,
    seeds: Annotated[str, typer.Option(help="Seeds, as 0-4 or 0,2,5. Default: those on record.")] = "",
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The fork's directory. Default: beside the run, named by round and question."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What if a policy had changed in round N? The run up to there, and a counterfactual from there on.

    `ecosystem compare RUN FORK` shows the difference, paired by seed. Checkpoints make it quick where they were kept
    (`--set checkpoint_keep=null`); else the rounds before are run again, to the same bytes.
    """
    overrides = overrides_of(sets)
    told(str(folder))
    with importing():
        from ecosystem import forking
        from ecosystem.records import open_run

    record = open_run(folder)
    question = forking.asked(record, at, overrides)
    target = out or forking.default_folder(record, question, at)
    chosen = chosen_seeds(seeds) or [seed.seed for seed in record.seeds()]
    begins = forking.fork(record, question, at, chosen, target)
    if again := [seed for seed, round in begins.items() if round < at]:
        text = (
            f"{len(again)} of {len(begins)} seeds have no checkpoint of round {at} and run the rounds before it again"
        )
        console(stderr=True).print(text, highlight=False)
    follow(question, chosen, target, False, as_json)
