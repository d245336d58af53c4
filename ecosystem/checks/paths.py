"""Files and folders that a scenario names: a stranger's scenario is only settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecosystem.checks.findings import Finding
from ecosystem.documents import Route
from ecosystem.humans import ImageFolder
from ecosystem.humans.files import folder
from ecosystem.humans.listing import links
from ecosystem.models import cards

if TYPE_CHECKING:
    from ecosystem.question import Scenario

Roots = Sequence[Path | None]  # folders


def strange_paths(scenario: Scenario, home: Path, trusted: Sequence[Route]) -> Iterator[Finding]:
    """Files and folders that the scenario names outside of where it may: a stranger's scenario is only settings.

    ``home``: the scenario's own folder. ``trusted``: places that the caller has set. Links and `..` are followed.
    """
    roots = roots_of(home)
    for route, path in _paths(scenario):
        if not any(route[: len(place)] == place for place in trusted):
            yield from strange(route, _with_links(scenario, route, path, roots), roots)


def roots_of(home: Path) -> Roots:
    """Where a scenario of that folder may name files: there, in the working directory and among human data."""
    return list(dict.fromkeys(_followed(root) for root in (home, Path(), folder(None))))


def strange(route: Route, paths: Iterable[Path], roots: Roots) -> Iterator[Finding]:
    """The first of them that leads elsewhere."""
    path = next((p for p in paths if not _within(_followed(p), roots)), None)
    if path is not None:
        target = _followed(path)
        end = "nowhere" if target is None else f"to {shown_path(target)}"
        inside = ", ".join(shown_path(root) for root in roots if root is not None)
        problem = f"the path `{shown_path(path)}` leads {end}, and a scenario may name what is in {inside}"
        yield route, problem, "move it there, or pass --allow-paths if you trust this scenario"


def _within(target: Path | None, roots: Roots) -> bool:
    return target is not None and any(root is not None and target.is_relative_to(root) for root in roots)


def _with_links(scenario: Scenario, route: Route, path: Path, roots: Roots) -> Iterator[Path]:
    """A path, and where it is a folder of images that may be looked into, the links among them."""
    yield path
    if route == ("humans", "root") and isinstance(scenario.humans, ImageFolder) and _within(_followed(path), roots):
        yield from links(path)


def _paths(scenario: Scenario) -> Iterator[tuple[Route, Path]]:
    """Everything in a scenario that would be opened."""
    root = getattr(scenario.humans, "root", None)
    if root is not None:
        yield ("humans", "root"), scenario.humans.place() if isinstance(scenario.humans, ImageFolder) else folder(root)
    if scenario.web.sites.file is not None:
        yield ("web", "sites", "file"), Path(scenario.web.sites.file)
    entering: list[tuple[Route, Any]] = [(("providers", n), provider) for n, provider in enumerate(scenario.providers)]
    for number, event in enumerate(scenario.events):
        added = event.add.providers if event.add else ()
        entering += [(("events", number, "add", "providers", n), provider) for n, provider in enumerate(added)]
        for dotted, value in (event.set or {}).items():
            named = dotted.startswith("providers.") and dotted.endswith(".model")
            if named and isinstance(value, str) and cards.is_path(value):
                yield ("events", number, "set", dotted), cards.path_of(value)
    for route, provider in entering:
        if provider.model is not None and cards.is_path(provider.model):
            yield (*route, "model"), cards.path_of(provider.model)


def _followed(path: Path) -> Path | None:
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):  # a name that no file system takes, or links in a circle
        return None


def shown_path(path: Path) -> str:
    """Both ends of a long one."""
    text = str(path)
    return text if len(text) <= 100 else f"{text[:40]}...{text[-50:]}"
