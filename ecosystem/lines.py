"""The rounds on record, as a report may rely on them: whoever wrote them, numbers are numbers and add up to a story.

``records.py`` reads lines and looks for their keys. A stranger's records, or damaged ones, may hold text where a number
belongs, an infinity, a data set of pages that nobody published: those are refused here, with the file and the line,
before anything is computed from them.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NotRequired

import annotated_types as at
from pydantic import ConfigDict, Strict, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic wants this one on Python 3.11

from ecosystem.documents import printable, shown
from ecosystem.errors import RecordError
from ecosystem.records import Line, RunRecord, damaged

_Count = Annotated[int, at.Ge(0), at.Le(2**53)]
_Generation = Annotated[int, at.Ge(-1)]  # -1: humans, or a provider that has not been trained yet


class _Web(TypedDict):
    pages: _Count
    human: _Count
    synthetic: _Count
    synthetic_share: float
    lineage: float
    published: list[Annotated[tuple[_Count, str, _Generation, _Count], Strict(False)]]
    measured: NotRequired[dict[str, float]]


# "lambda" is a Python keyword.
_Trained = TypedDict(
    "_Trained",
    {
        "pages": _Count,
        "human": _Count,
        "by_maker": dict[str, _Count],
        "by_batch": list[Annotated[tuple[_Count, _Count], Strict(False)]],
        "lambda": float | None,
        "synthetic_share": float,
        "lineage": float,
        "loss": float | None,
        "metrics": dict[str, float | None],
        "replicates": dict[str, list[float]],
    },
)


class _Provider(TypedDict):
    generation: _Generation
    vote_share: float | None
    stopped: NotRequired[str]
    trained: NotRequired[_Trained]


class _Line(TypedDict):
    round: _Count
    web: _Web
    ballots: _Count
    classifier_accuracy: float | None
    providers: dict[str, _Provider]
    agents: NotRequired[dict[str, dict[str, float]]]


_LINES: TypeAdapter[Any] = TypeAdapter(list[_Line], config=ConfigDict(strict=True, allow_inf_nan=False))


def runs_of(record: RunRecord, providers: Sequence[str]) -> dict[int, list[Line]]:
    """By seed, the lines of those that have closed a round; numbers are numbers, and providers the scenario's."""
    with _nothing_dies():
        runs = {seed.seed: lines for seed in record.seeds() if (lines := seed.lines())}
        if not runs:
            raise RecordError(f"{record.folder}: no seed has closed a round yet; there is nothing to report.")
        for seed, lines in runs.items():
            _check_lines(record.seed(seed).folder / "metrics.jsonl", lines, providers)
    return runs


@contextmanager
def _nothing_dies() -> Iterator[None]:
    """Numbers and names refer to nothing: to look for circles among a million of them takes longer than some checks."""
    looked = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looked:
            gc.enable()


def _check_lines(path: Path, lines: Sequence[Line], providers: Sequence[str]) -> None:
    """Raises RecordError naming the line."""
    try:
        _LINES.validate_python(lines)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        number, *place = first["loc"]
        problem = f"{'.'.join(map(str, place))}: {first['msg']}"
        raise damaged(f"{path}:{int(number) + 1} is damaged: {shown(printable(problem))}.") from error
    story = _Story(set(providers))
    for number, line in enumerate(lines, 1):
        for problem in story.contradictions(line):
            raise damaged(f"{path}:{number} is damaged: {problem}.")


class _Story:
    """What the lines up to one have told."""

    def __init__(self, providers: set[str]) -> None:
        self.providers = providers
        self.batches: set[int] = set()  # that were published
        self.models: set[str] = set()  # whose providers have one
        self.groups: dict[tuple[str, str], int] = {}  # of the jackknife, by provider and metric

    def contradictions(self, line: Line) -> Iterator[str]:
        """In the order of a round: humans publish, providers train, users publish what models made."""
        if line["providers"].keys() != self.providers:
            yield "it tells of other providers than its scenario"
        told = [row["generation"] for row in line["providers"].values()]
        if max([*told, *(generation for _, _, generation, _ in line["web"]["published"])]) > line["round"]:
            yield "it tells of a generation that cannot have been trained yet"
        makers = {number: maker for number, maker, *_ in line["web"]["published"]}
        self.batches |= {number for number, maker in makers.items() if maker == "human"}
        for name, row in line["providers"].items():
            if "trained" in row:
                yield from self._of_training(name, row["trained"])
                self.models.add(name)
        self.batches |= makers.keys()
        for maker in set(makers.values()) - {"human", *self.models}:
            yield f"pages by {shown(maker)}, who had no model"

    def _of_training(self, name: str, row: Line) -> Iterator[str]:
        if any(number not in self.batches for number, _ in row["by_batch"]):
            yield f"{name} was trained on pages that nobody had published"
        if row["by_batch"] and not row["pages"]:
            yield f"{name} was trained on nothing, of which there are parts"
        if sum(pages for _, pages in row["by_batch"]) != row["pages"]:
            yield f"{name} was trained on another number of pages than its parts add up to"
        for metric, values in row["replicates"].items():
            if values and self.groups.setdefault((name, metric), len(values)) != len(values):
                yield f"{name} was measured in more groups, or fewer, than before"
