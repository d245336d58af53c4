"""Crawls: in which order a scraper meets the pages of the web, and so which of them it takes within its budget.

    uniform         any page is as likely to be the next as any other
    breadth-first   from a random site along links, the nearest sites first
    random-walk     along random links, with probability r restarting at a random site; each visit takes one page of
                    the site that was not taken before, if any is left. While no site runs out of pages, site i is
                    visited as often as the page rank with damping d = 1 - r says (Brin & Page 1998, see `Links`),
                    but that a site without links is left by a restart alone
    popularity      the next page is page j of site i with a probability in proportion to w = (rank_i / pages_i) ** e:
                    successive draws without replacement, as the times of independent exponential clocks of rates w
                    (P. Efraimidis, P. Spirakis, Weighted random sampling with a reservoir, 2006)

Every crawl has ``order(links, site, ids, budget, streams)``: of the pages ``ids`` (N,) on the sites ``site`` (N,), none
below 0, those that are taken, at most ``budget`` (null: whatever can be reached), in the order in which they are met.
Where it ``takes_all(pages, budget)``, that is every page, and who does not ask for their order need not crawl.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ecosystem.rng import Streams
from ecosystem.settings import KIND, NonNegative, Settings, Share
from ecosystem.web import walks
from ecosystem.web.corpus import Ids
from ecosystem.web.links import Floats, Links, by_site

Numbers = NDArray[Any]  # of sites
LONGEST_WAIT = 690.0  # as a logarithm: what a float can hold


def _enough(pages: int, budget: int | None) -> bool:
    return budget is None or budget >= pages


@dataclass(frozen=True)
class UniformCrawl(Settings):
    """Every visible page is as likely to be met as any other."""

    kind: Literal["uniform"] = "uniform"

    def order(self, links: Links, site: Numbers, ids: Ids, budget: int | None, streams: Streams) -> Ids:
        order: Ids = streams.numpy("crawl").permutation(ids)
        return order[:budget]

    def takes_all(self, pages: int, budget: int | None) -> bool:
        return _enough(pages, budget)


@dataclass(frozen=True)
class BreadthFirstCrawl(Settings):
    """From a random site along links, nearest sites first; within a site in random order."""

    kind: Literal["breadth-first"] = "breadth-first"

    def order(self, links: Links, site: Numbers, ids: Ids, budget: int | None, streams: Streams) -> Ids:
        rng = streams.numpy("crawl")
        visited = links.breadth_first(int(rng.integers(len(links))))
        rank = np.full(len(links), len(visited))
        rank[visited] = np.arange(len(visited))
        shuffled = rng.permutation(len(ids))
        met, first = by_site(rank[site[shuffled]], len(visited) + 1)
        taken: Ids = ids[shuffled[met[: first[len(visited)]][:budget]]]
        return taken

    def takes_all(self, pages: int, budget: int | None) -> bool:
        return False  # sites that no link leads to are not reached


@dataclass(frozen=True)
class RandomWalkCrawl(Settings):
    """Along random links; with probability ``restart`` the next visit is to a random site. At 0 it never restarts."""

    restart: Share = 0.15
    kind: Literal["random-walk"] = "random-walk"

    def order(self, links: Links, site: Numbers, ids: Ids, budget: int | None, streams: Streams) -> Ids:
        rng = streams.numpy("crawl")
        positions, first = by_site(site, len(links))
        visited = walks.fruitful(links, np.diff(first), self.restart, budget, rng)
        taken: Ids = ids[positions[walks.one_page_a_visit(visited, first, rng)]]
        return taken

    def takes_all(self, pages: int, budget: int | None) -> bool:
        return self.restart > 0 and _enough(pages, budget)


@dataclass(frozen=True)
class PopularityCrawl(Settings):
    """A page is met next in proportion to its share of its site's page rank, to the power of ``exponent``."""

    exponent: NonNegative = 1.0
    kind: Literal["popularity"] = "popularity"

    def order(self, links: Links, site: Numbers, ids: Ids, budget: int | None, streams: Streams) -> Ids:
        times = streams.numpy("crawl").standard_exponential(len(ids))
        times *= self._waits(links, site)[site]
        taken = np.arange(len(ids))
        if budget is not None and budget < len(ids):
            taken = np.flatnonzero(times <= np.partition(times, budget - 1)[budget - 1])
        order: Ids = ids[taken[np.argsort(times[taken])][:budget]]
        return order

    def takes_all(self, pages: int, budget: int | None) -> bool:
        return _enough(pages, budget)

    def _waits(self, links: Links, site: Numbers) -> Floats:
        """How long each page of a site (n,) is waited for on average: 1 / w, in units of the shortest wait."""
        pages = np.bincount(site, minlength=len(links))
        wait = self.exponent * (np.log(np.maximum(pages, 1)) - np.log(links.page_rank()))
        waits: Floats = np.exp(np.minimum(wait - wait.min(), LONGEST_WAIT))
        return waits


Crawl = Annotated[UniformCrawl | BreadthFirstCrawl | RandomWalkCrawl | PopularityCrawl, KIND]
