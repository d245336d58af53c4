"""Weights on disk: those that the model cards of a scenario name are looked at before it is run, and part of it.

What a run does depends on what is in such a folder, so a question knows each by a checksum of its contents: with other
weights it is another question, with a directory of its own, and a run that was left does not go on with them. Nothing
is opened that a scenario may not name, and nothing at all for a report, which has the checksums on record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ecosystem import checks
from ecosystem.documents import Document, Fault, Route
from ecosystem.errors import ScenarioError
from ecosystem.models import Pretrained, pipelines
from ecosystem.models.pipeline_settings import PipelineError
from ecosystem.question import Event, Question


def opened(
    question: Question, document: Document, home: Path | None = None, trusted: Sequence[Route] = ()
) -> tuple[Question, list[Fault]]:
    """The question with the checksums that it lacks, and what is wrong with the folders.

    ``home``: the folder of a scenario that may be a stranger's; ``trusted``: the places that the caller has set.
    """
    found, faults = dict(question.weights), []
    for route, model in _named(question):
        if model.path in question.weights:
            continue
        wrong = list(_strange(route, model, home, trusted)) or list(_misfits(route, model, question))
        faults += [checks.fault(document, finding) for finding in wrong]
        if not wrong:
            found[model.path] = model.pipeline.sha256
    return replace(question, weights=found), faults


def unchanged(question: Question) -> None:
    """Raise ScenarioError where a folder no longer holds what the question knows."""
    for path, model in {model.path: model for _, model in _named(question)}.items():
        there, known = pipelines.fresh(model.folder).sha256, question.weights.get(path)
        if there != known:
            raise ScenarioError(
                f"the weights in {path} are not those that were asked for: their checksum is {there[:12]}, and was "
                f"{str(known)[:12]}. Put those back, or run the scenario itself anew: with these weights it is another "
                "question."
            )


def _strange(route: Route, model: Pretrained, home: Path | None, trusted: Sequence[Route]) -> Iterator[checks.Finding]:
    if home is not None and not any(route[: len(place)] == place for place in trusted):
        files: Iterable[Path] = (model.folder / name for name in pipelines.NAMES)
        yield from checks.strange(route, (model.folder, *files), checks.roots_of(home))


def _misfits(route: Route, model: Pretrained, question: Question) -> Iterator[checks.Finding]:
    humans = question.scenario.humans.open()
    try:
        pipeline = pipelines.fresh(model.folder)
    except PipelineError as error:
        yield route, error.problem, error.remedy
    else:
        yield from ((route, *misfit) for misfit in pipeline.misfits(humans.shape, humans.classes))


def _named(question: Question) -> Iterator[tuple[Route, Pretrained]]:
    """All that any provider ever has, and where."""
    entering: list[tuple[Route, object, str]] = []
    for number, provider in enumerate(question.scenario.providers):
        entering.append((("providers", number), provider.card, provider.name))
    for happening, event in enumerate(question.scenario.events):
        for number, provider in enumerate(event.add.providers if event.add else ()):
            entering.append((("events", happening, "add", "providers", number), provider.card, provider.name))
    for route, card, name in entering:
        model = question.cards[name].model
        if isinstance(model, Pretrained):
            yield (*route, *(("model",) if card is None else ("card", "path"))), model
    for name, later in question.changed.items():
        for start, card in later.items():
            if isinstance(card.model, Pretrained):
                yield _of_event(question.scenario.events, start, name), card.model


def _of_event(events: Sequence[Event], start: int, provider: str) -> Route:
    """Where an event gives a provider another card."""
    for number, event in enumerate(events):
        for dotted in event.set or () if event.at == start else ():
            if dotted.startswith((f"providers.{provider}.model", f"providers.{provider}.card")):
                return "events", number, "set", dotted
    return ("events",)
