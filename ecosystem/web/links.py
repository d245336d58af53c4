"""The links of a web as arrays, and what follows from them: page rank, components, the order of a crawl.

Page rank (S. Brin, L. Page, The anatomy of a large-scale hypertextual Web search engine, 1998) is where somebody
stands who follows a random link with probability d, and otherwise, or where there is no link, goes to any of the n
sites:  r = d (P^T r + (the sum of r over sites without links) / n) + (1 - d) / n.
"""

from __future__ import annotations

from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import networkx as nx

Sites = NDArray[np.int64]
Floats = NDArray[np.float64]

TOLERANCE = 1e-12  # of a page rank: the sum of all its changes in one more iteration
FEW = 2**14  # pages: to sort them is quicker than to set a sparse matrix up


class Links:
    """The links of n sites: site i's neighbours are ``neighbours[starts[i]:starts[i + 1]]``, in the graph's order."""

    def __init__(self, graph: nx.Graph) -> None:
        degrees = np.fromiter((len(near) for near in graph.adj.values()), np.int64, len(graph))
        self.starts: Sites = np.concatenate([[0], np.cumsum(degrees)])  # (n + 1,)
        near = chain.from_iterable(graph.adj.values())
        self.neighbours: NDArray[np.int32] = np.fromiter(near, np.int32, self.starts[-1])  # (2 links,)
        self._ranks: dict[float, Floats] = {}

    def __len__(self) -> int:
        """The number of sites."""
        return len(self.starts) - 1

    @property
    def degrees(self) -> Sites:
        """How many links each site has, (n,)."""
        return np.diff(self.starts)

    @cached_property
    def components(self) -> NDArray[np.int32]:
        """The number of the component each site is in, (n,): sites are linked, over whatever others, or not."""
        from scipy.sparse.csgraph import connected_components

        labels: NDArray[np.int32] = connected_components(self._matrix(), directed=False)[1]
        return labels

    def page_rank(self, damping: float = 0.85) -> Floats:
        """(n,), summing to 1, for a damping in [0, 1): every iteration shrinks the error by it."""
        if damping not in self._ranks:
            self._ranks[damping] = self._iterated(damping)
        return self._ranks[damping]

    def _iterated(self, damping: float) -> Floats:
        n, degrees = len(self), self.degrees
        out = np.divide(1.0, degrees, out=np.zeros(n), where=degrees > 0)
        matrix, dangling = self._matrix(), degrees == 0
        rank, change = np.full(n, 1 / n), 1.0
        while change > TOLERANCE:
            moved = matrix @ (rank * out) + rank[dangling].sum() / n
            following = damping * moved + (1 - damping) / n
            change, rank = np.abs(following - rank).sum(), following / following.sum()
        return rank

    def _matrix(self) -> Any:
        """(n, n) sparse: 1 where two sites are linked."""
        from scipy.sparse import csr_array

        return csr_array((np.ones(len(self.neighbours)), self.neighbours, self.starts), shape=(len(self), len(self)))

    def breadth_first(self, start: int) -> Sites:
        """The sites reachable from ``start``, nearest first; of equally near ones those that were seen first."""
        seen = np.zeros(len(self), dtype=bool)
        seen[start] = True
        levels = [np.array([start], dtype=np.int64)]
        while len(levels[-1]):
            near = self._around(levels[-1])
            near = near[~seen[near]]
            _, first = np.unique(near, return_index=True)
            levels.append(near[np.sort(first)])
            seen[near] = True
        return np.concatenate(levels)

    def _around(self, sites: Sites) -> Sites:
        """The neighbours of these sites, one site's after another's."""
        degrees = self.degrees[sites]
        ends = np.cumsum(degrees)
        place = np.arange(ends[-1]) + np.repeat(self.starts[sites] - ends + degrees, degrees)
        around: Sites = self.neighbours[place].astype(np.int64)
        return around


def by_site(site: NDArray[Any], sites: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pages (N,) grouped by their site: positions (N,), in their order within a site, and where each site begins.

    Site i's pages are ``positions[first[i]:first[i + 1]]``. A counting sort: N + sites, whatever the order.
    """
    if len(site) < FEW:
        return np.argsort(site, kind="stable"), np.concatenate([[0], np.cumsum(np.bincount(site, minlength=sites))])
    from scipy.sparse import csc_array

    n = len(site)
    size = np.int32 if max(n, sites) < 2**31 else np.int64
    columns = np.arange(n + 1, dtype=size)
    grouped = csc_array((np.ones(n, np.int8), site.astype(size, copy=False), columns), shape=(sites, n)).tocsr()
    return grouped.indices, grouped.indptr


def newest_of_each_site(site: NDArray[Any], capacity: int) -> NDArray[np.bool_]:
    """Which pages (N,), the oldest first, stay where each site has room for its ``capacity`` newest ones."""
    counts = np.bincount(site)
    kept = np.ones(len(site), dtype=bool)
    if counts.max(initial=0) > capacity:
        positions, first = by_site(site, len(counts))
        over = np.maximum(counts - capacity, 0)
        place = np.arange(over.sum()) + np.repeat(first[:-1] - np.cumsum(over) + over, over)
        kept[positions[place]] = False
    return kept
