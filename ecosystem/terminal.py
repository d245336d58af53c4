"""What the commands share: options, tables on the terminal, and a reader who may leave. Nothing heavy is imported."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ecosystem.errors import ScenarioError

if TYPE_CHECKING:
    from rich.console import Console

    from ecosystem.summary import Judgement

ScenarioName = Annotated[
    str, typer.Argument(metavar="SCENARIO", help="A shipped scenario's name (see `ecosystem list`) or a path.")
]
Sets = Annotated[
    Optional[list[str]],  # noqa: UP045  typer wants it so
    typer.Option("--set", help="Override a value: --set users.crowd.k=4. May be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def overrides_of(sets: list[str] | None) -> dict[str, str]:
    from ecosystem.documents import split_override

    return dict(split_override(text) for text in sets or [])


def chosen_seeds(text: str) -> list[int]:
    from ecosystem.question import seeds_of

    try:
        return list(seeds_of(text)) if text else []
    except ValueError as error:
        raise ScenarioError(f"--seeds {text}: {error}.") from error


def console(stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


def print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.table import Table

    table = Table(*head, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for row in rows:
        table.add_row(*row)
    with reader_may_leave():
        console().print(table, highlight=False)


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Print for a reader who may stop reading (`| head`): no fault, and no reason to stop."""
    try:
        yield
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # rich makes a SystemExit of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def importing() -> Iterator[None]:
    """Modules do not die: looking for dead ones among them takes a second now, and another at the exit."""
    gc.disable()
    try:
        # As mesa is imported it looks for its callers among all modules there are: quicker before torch brings its own.
        import mesa  # noqa: F401

        yield
        gc.freeze()
    finally:
        gc.enable()


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM came. The first is only told, so that work can stop where it can go on from; the second
    interrupts at once."""
    came: list[int] = []

    def tell(number: int, _: object) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)
        sys.stderr.write("stopping; once more to stop at once\n")

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def claims_code(words: set[Judgement]) -> int:
    return 1 if "refuted" in words else 2 if "undecided" in words else 0
