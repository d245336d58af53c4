"""`ecosystem sweep` and `ecosystem sweep-report`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ecosystem.commands.run import AllowPaths, Seeds, told
from ecosystem.errors import EcosystemError, Interrupted, ScenarioError
from ecosystem.terminal import AsJson, ScenarioName, chosen_seeds, console, reader_may_leave

if TYPE_CHECKING:
    from rich.console import Console

    from ecosystem.sweeping.driver import Done, Kept
    from ecosystem.sweeping.executors import Executor

EXECUTORS = ("serial", "local", "ray")
LISTED = 20  # failed runs that are told one by one

SweptSets = Annotated[
    Optional[list[str]],  # noqa: UP045  typer wants it so
    typer.Option("--set", help="Values, --set users.crowd.k=1,2,4, or a range, 1..16 or log:0.01..1. May be repeated."),
]


def sweep(
    scenario: ScenarioName,
    sets: SweptSets = None,
    seeds: Seeds = "",
    jobs: Annotated[int, typer.Option(min=0, help="Workers. Default: as many as CPUs.")] = 0,
    sampling: Annotated[str, typer.Option(help="grid or list of values; lhs or sobol sample of ranges.")] = "grid",
    points: Annotated[Optional[int], typer.Option(help="Of a sample. Default: 64.")] = None,  # noqa: UP045
    executor: Annotated[str, typer.Option(help="serial (in this process), local (worker processes) or ray.")] = "local",
    ray_address: Annotated[str, typer.Option(help="Of a Ray cluster. Default: RAY_ADDRESS, or this machine.")] = "",
    gpus_per_run: Annotated[float, typer.Option(min=0, help="With Ray: a worker's share of a GPU, as 0.25.")] = 0.0,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The sweep's directory. Default: runs/sweeps/NAME/DIGEST."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Really run more than 10,000 runs.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run again what is on record.")] = False,
    allow_paths: AllowPaths = False,
    as_json: AsJson = False,
) -> None:
    """Run a scenario at many points of its settings; repeating the command runs what is missing."""
    messages = console(stderr=True)
    told(f"sweep of {scenario}")
    workers = _executor(executor, jobs, ray_address, gpus_per_run)
    from ecosystem.documents import split_override
    from ecosystem.sweeping import design, driver, plan

    asked = design.of([split_override(text) for text in sets or []], sampling, points)
    planned = plan.make(scenario, asked, chosen_seeds(seeds) or None, yes, allow_paths)
    folder = out or planned.default_folder
    _tell(messages, f"{len(planned.runs)} points x {len(planned.seeds)} seeds, into {folder}")
    failed: list[Done] = []
    try:
        with closing(driver.run(planned, workers, folder, force)) as progress:
            for event in progress:
                _tell(messages, _line(event))
                if isinstance(event, driver.Done) and event.failures:
                    failed.append(event)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; what has finished is on record in {folder}. Repeat to go on.") from None
    _show(folder, "", "", as_json, messages)
    _tell(messages, f"table: {folder / 'sweep.parquet'}\nagain: ecosystem sweep-report {folder}")
    if failed:
        raise EcosystemError(_failed(failed, folder))


def sweep_report(
    folder: Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep's directory.")],
    metric: Annotated[str, typer.Option(help="A column of the table. Default: what the verdict rests on.")] = "",
    provider: Annotated[str, typer.Option(help="Default: the first.")] = "",
    as_json: AsJson = False,
) -> None:
    """Phase diagram, main effects, sensitivities and boundary of a sweep, from its table."""
    _show(folder, metric, provider, as_json, console(stderr=True))


def _executor(name: str, jobs: int, address: str, gpus: float) -> Executor:
    if name not in EXECUTORS:
        raise ScenarioError(f"--executor {name}: there is none of that name. One of: {', '.join(EXECUTORS)}.")
    if name != "ray" and (address or gpus):
        raise ScenarioError("--ray-address and --gpus-per-run are for --executor ray.")
    if name == "ray":
        from ecosystem.sweeping.cluster import Ray

        return Ray(jobs, address or None, gpus)
    if name == "local":
        from ecosystem.sweeping.local import Local

        return Local(jobs or _cpus())
    from ecosystem.sweeping.executors import Serial

    return Serial()


def _cpus() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tell(messages: Console, text: str) -> None:
    messages.print(text, highlight=False, markup=False, soft_wrap=True)


def _line(event: Kept | Done) -> str:
    from ecosystem.sweeping.driver import Kept

    if isinstance(event, Kept):
        return f"{event.points} of {event.of} points on record already, kept (--force runs them again)"
    words = [f"{name} {verdict}" for name, verdict in event.verdicts.items()]
    words += [f"seed {seed} failed: {failure.why}" for seed, failure in event.failures.items()]
    return f"{event.number}/{event.points}  {event.point}  {', '.join(words)}"


def _failed(failed: Sequence[Done], folder: Path) -> str:
    every = [f"  {done.point} seed {seed}: {failure.why}" for done in failed for seed, failure in done.failures.items()]
    more = [f"  ... and {len(every) - LISTED} more"] if len(every) > LISTED else []
    head = f"{len(every)} runs failed; repeat the command to try them again. Tracebacks are in {folder / 'failures'}:"
    return "\n".join([head, *every[:LISTED], *more])


def _show(folder: Path, metric: str, provider: str, as_json: bool, messages: Console) -> None:
    from ecosystem.sweeping import report

    found = report.of(folder, metric, provider)
    with reader_may_leave():
        if as_json:
            typer.echo(json.dumps(found.as_json(), indent=1, allow_nan=False))
        else:
            found.show(console())
    for path in found.save_figures():
        _tell(messages, f"figure: {path}")
