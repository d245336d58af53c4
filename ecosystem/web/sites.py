"""Sites: where pages stand, and the links between them (a networkx graph).

Creators and users have a home site and publish there; a scraper that follows links meets the sites in the order
of the graph. One site, the default, is the web of the single-loop papers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ecosystem.documents import shown, suggest
from ecosystem.errors import ScenarioError
from ecosystem.rng import key
from ecosystem.settings import Positive, Settings, Share
from ecosystem.web import graphs

if TYPE_CHECKING:
    import networkx as nx

# The graphs whose faults are all known without building one, and what each of them needs.
GRAPHS = {
    "complete_graph": (),
    "cycle_graph": (),
    "barabasi_albert_graph": ("m",),
    "erdos_renyi_graph": ("p",),
    "watts_strogatz_graph": ("k", "p"),
}
LARGEST_COMPLETE = 1000  # sites; twice as many, two million links, take seconds and 300 MB
FORMATS = (".graphml", ".edgelist", ".txt")


@dataclass(frozen=True)
class SitesSettings(Settings):
    """``count`` sites linked by networkx's generator of that name, or the sites and links of a ``file``.

    ``graph``: ``complete_graph``, ``cycle_graph``, ``barabasi_albert_graph``, ``erdos_renyi_graph``,
    ``watts_strogatz_graph``, or any other of networkx's generators that begins with a number ``n``, which is
    ``count``. Its further arguments are ``arguments``; ``m``, ``k`` and ``p`` may be given for short.
    ``file``: GraphML (.graphml) or an edge list (.edgelist, .txt); ``count`` may be left out.
    """

    count: Positive = 1
    graph: str = "complete_graph"
    m: Positive | None = None
    k: Positive | None = None
    p: Share | None = None
    arguments: dict[str, bool | int | float] | None = None
    file: str | None = None

    def faults(self) -> list[str]:
        """What is wrong with the arguments or the file, in words."""
        if self.file is not None:
            return self._file_faults(Path(self.file))
        if self.graph not in GRAPHS and self.graph not in graphs.generators():
            known = suggest(self.graph, graphs.generators())
            return [f"networkx has no generator `{shown(self.graph)}` that begins with a number `n`: {known}"]
        return [*self._argument_faults(), *self._size_faults()] or self._trial_faults()

    def build(self, seed: int) -> nx.Graph:
        """The graph, its sites numbered from 0; raises ScenarioError where networkx or the file makes none."""
        if self.file is not None:
            return graphs.read(Path(self.file))
        return graphs.generate(self.graph, self.count, self._arguments, key(seed, "web", "graph") % 2**32)

    @property
    def _short(self) -> dict[str, float]:
        """What is given by the short keys."""
        given = {name: getattr(self, name) for name in ("m", "k", "p")}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def _arguments(self) -> dict[str, float]:
        return self._short | (self.arguments or {})

    @property
    def _tried(self) -> bool:
        """Whether the graph is built once to see what is wrong with it."""
        return self.graph not in GRAPHS or self.arguments is not None

    def _argument_faults(self) -> list[str]:
        """Arguments that are missing or that the generator does not take."""
        needed, known, _ = graphs.parameters(self.graph)
        found = [f"{self.graph} needs `{name}`" for name in needed if name not in self._arguments]
        found += [f"{self.graph} takes no `{name}`" for name in self._short if name not in known]
        for name in self.arguments or {}:
            if name in self._short:
                found.append(f"`{name}` is given twice")
            elif name not in known:
                found.append(f"{self.graph} takes no `{shown(name)}` ({suggest(name, known)})")
        return found

    def _size_faults(self) -> list[str]:
        """Too few sites for the links of each, or more links than a memory should hold."""
        found, many = [], graphs.links_at_most(self.graph, self.count, self._arguments)
        degree = self._arguments.get({"barabasi_albert_graph": "m", "watts_strogatz_graph": "k"}.get(self.graph, ""))
        if degree is not None and degree >= self.count:
            found.append(f"{self.graph} needs more sites than links a site ({self.count} against {degree})")
        if self.graph == "complete_graph" and self.count > LARGEST_COMPLETE:
            found.append(
                f"complete_graph links every pair; for more than {LARGEST_COMPLETE:,} sites take another graph"
            )
        if self._tried and many > graphs.LIMIT_LINKS:
            most = f"{many:,.0f}" if many < 1e15 else f"{many:.0e}"
            found.append(f"{self.graph} may make {most} links of this, more than {graphs.LIMIT_LINKS:,}")
        return found

    def _trial_faults(self) -> list[str]:
        """What only networkx can tell: it builds the graph once, with a seed of its own."""
        arguments = tuple(sorted(self._arguments.items()))
        return list(filter(None, [_trial(self.graph, self.count, arguments)])) if self._tried else []

    def _file_faults(self, path: Path) -> list[str]:
        if self.graph != "complete_graph" or self._arguments:
            return ["a `file` has its own links: leave out `graph`, `arguments`, `m`, `k` and `p`"]
        if path.suffix not in FORMATS:
            return [f"the graph file `{shown(path)}` must end in one of: {', '.join(FORMATS)}"]
        try:
            sites = len(graphs.read(path))
        except ScenarioError as error:
            return [str(error)]
        return [f"`{shown(path)}` has {sites:,} sites, not {self.count:,}"] if self.count not in (1, sites) else []


@lru_cache(maxsize=16)
def _trial(graph: str, n: int, arguments: tuple[tuple[str, float], ...]) -> str:
    """Why a graph cannot be built, or ""."""
    try:
        graphs.generate(graph, n, dict(arguments), 0)
    except ScenarioError as error:
        return str(error)
    return ""
