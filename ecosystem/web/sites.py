"""Sites: where pages stand, and the links between them (a networkx graph).

Creators and users have a home site and publish there; a scraper that follows links meets the sites in the order
of the graph. One site, the default, is the web of the single-loop papers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ecosystem.rng import key
from ecosystem.settings import Positive, Settings, Share

if TYPE_CHECKING:
    import networkx as nx

Sites = NDArray[np.int64]

# networkx's generator -> the settings it takes beside the number of sites
GRAPHS = {
    "complete_graph": (),
    "cycle_graph": (),
    "barabasi_albert_graph": ("m",),
    "erdos_renyi_graph": ("p",),
    "watts_strogatz_graph": ("k", "p"),
}
LARGEST_COMPLETE = 1000  # sites; twice as many, two million links, take seconds and 300 MB
RANDOM = ("barabasi_albert_graph", "erdos_renyi_graph", "watts_strogatz_graph")


@dataclass(frozen=True)
class SitesSettings(Settings):
    """``count`` sites linked by networkx's generator of that name with its arguments ``m``, ``k``, ``p``."""

    count: Positive = 1
    graph: Literal[
        "complete_graph",
        "cycle_graph",
        "barabasi_albert_graph",
        "erdos_renyi_graph",
        "watts_strogatz_graph",
    ] = "complete_graph"
    m: Positive | None = None
    k: Positive | None = None
    p: Share | None = None

    def faults(self) -> list[str]:
        """What is wrong with the arguments, in words."""
        wanted = GRAPHS[self.graph]
        given = {name: getattr(self, name) for name in ("m", "k", "p")}
        found = [f"{self.graph} needs `{name}`" for name in wanted if given[name] is None]
        found += [f"{self.graph} takes no `{name}`" for name in given if given[name] is not None and name not in wanted]
        degree = self.m if "m" in wanted else self.k if "k" in wanted else None
        if degree is not None and degree >= self.count:
            found.append(f"{self.graph} needs more sites than links a site ({self.count} against {degree})")
        if self.graph == "complete_graph" and self.count > LARGEST_COMPLETE:
            found.append(
                f"complete_graph links every pair; for more than {LARGEST_COMPLETE:,} sites take another graph"
            )
        return found

    def build(self, seed: int) -> nx.Graph:
        import networkx as nx

        arguments = {name: getattr(self, name) for name in GRAPHS[self.graph]}
        if self.graph in RANDOM:
            arguments["seed"] = key(seed, "web", "graph") % 2**32
        return getattr(nx, self.graph)(self.count, **arguments)


def breadth_first(graph: nx.Graph, start: int) -> Sites:
    """The sites reachable from ``start``, nearest first."""
    import networkx as nx

    return np.array([start, *(site for _, site in nx.bfs_edges(graph, start))], dtype=np.int64)
