"""A random walk over sites that restarts, many steps at once.

A walk with restarts is a row of independent walks, each from a restart to the next, so they are all walked abreast and
told one after another: the law of a single walker, at the price of the longest stretch between two restarts.

Visits to a site whose pages are all taken bring nothing. Once fewer than one visit in LEAST_YIELD brings a page, what
is left is met at the times of independent Poisson processes, of each site at the rate at which the walk came to it so
far: visits that lie far apart are independent. This alone is an approximation, and of the order of the last pages only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecosystem.web.links import Floats, Links, Sites, by_site

Counts = NDArray[Any]

FEWEST, MOST = 2**10, 2**20  # visits walked at once
FEW = 32  # walks: fewer are walked one by one, as an array of so few is slower than a list
LEAST_YIELD = 4


def visits(links: Links, restart: float, batch: int, rng: np.random.Generator) -> Iterator[Sites]:
    """The sites of a walk in their order, without end, ``batch`` of them at a time."""
    at = None
    while True:
        fresh = rng.random(batch) < restart
        fresh[0] |= at is None
        sites = walk(links, fresh, rng.random(batch), at)
        at = int(sites[-1])
        yield sites


def walk(links: Links, fresh: NDArray[np.bool_], uniforms: Floats, before: int | None) -> Sites:
    """The sites visited (T,): where ``fresh`` any site, and else a neighbour of the one before; who has none, stays."""
    starts, neighbours, degrees = _with_waiting(links)
    sites = np.empty(len(fresh), np.int64)
    sites[fresh] = uniforms[fresh] * len(links)
    if not fresh[0]:
        sites[0] = neighbours[starts[before] + int(uniforms[0] * degrees[before])]
    heads = np.flatnonzero(np.concatenate([[True], fresh[1:]]))
    lengths = np.diff(heads, append=len(fresh))
    if len(heads) < FEW:
        _one_by_one(sites, heads, lengths, uniforms, starts, neighbours)
    else:
        _abreast(sites, heads, lengths, uniforms, starts, neighbours)
    return sites


def _with_waiting(links: Links) -> tuple[Sites, Sites, Sites]:
    """Starts, neighbours and degrees, with a loop at every site without links."""
    alone = np.flatnonzero(links.degrees == 0)
    degrees = np.maximum(links.degrees, 1)
    neighbours = np.insert(links.neighbours, links.starts[alone], alone).astype(np.int64)
    return np.concatenate([[0], np.cumsum(degrees)]), neighbours, degrees


def _abreast(sites: Sites, heads: Sites, lengths: Sites, uniforms: Floats, starts: Sites, neighbours: Sites) -> None:
    """Fill ``sites`` from its heads on: all walks that are as long as that take their t-th step together."""
    longest_first = np.argsort(-lengths, kind="stable")
    heads, degrees = heads[longest_first], np.diff(starts)
    still = np.searchsorted(-lengths[longest_first], -np.arange(1, lengths.max()))  # walks with more than t visits
    for t, walking in enumerate(still, start=1):
        place = heads[:walking] + t
        at = sites[place - 1]
        sites[place] = neighbours[starts[at] + (uniforms[place] * degrees[at]).astype(np.int64)]


def _one_by_one(sites: Sites, heads: Sites, lengths: Sites, uniforms: Floats, starts: Sites, neighbours: Sites) -> None:
    """The same."""
    first, near = starts.tolist(), neighbours.tolist()
    for head, length in zip(heads, lengths, strict=True):
        at, path = int(sites[head]), []
        for u in uniforms[head + 1 : head + length].tolist():
            at = near[first[at] + int(u * (first[at + 1] - first[at]))]
            path.append(at)
        sites[head + 1 : head + length] = path


def fruitful(links: Links, pages: Counts, restart: float, budget: int | None, rng: np.random.Generator) -> Sites:
    """The visits that find a page, given each site's number of ``pages`` (n,): at most ``budget``."""
    left, came = pages.astype(np.int64), np.zeros(len(links))
    found: list[Sites] = []
    most = int(left.sum()) if budget is None else min(budget, int(left.sum()))
    for sites in visits(links, restart, min(max(most, FEWEST), MOST), rng):
        if restart == 0 and not found:
            left[links.components != links.components[sites[0]]] = 0  # they are never reached
        need = min(most - sum(len(each) for each in found), int(left.sum()))
        came += np.bincount(sites, minlength=len(links))
        lucky = sites[_place(sites, len(links)) < left[sites]][:need]
        found.append(lucky)
        left -= np.bincount(lucky, minlength=len(links))
        if len(lucky) == need:
            break
        if len(lucky) * LEAST_YIELD < len(sites):
            found.append(_rest(left, came, rng)[: need - len(lucky)])
            break
    return np.concatenate(found)


def _place(sites: Sites, n: int) -> Counts:
    """How many earlier ones of these visits (T,) were to the same site."""
    positions, first = by_site(sites, n)
    place = np.empty(len(sites), np.int64)
    place[positions] = np.arange(len(sites)) - np.repeat(first[:-1], np.diff(first))
    return place


def _rest(left: Counts, came: Floats, rng: np.random.Generator) -> Sites:
    """The sites of all pages that are left, in the order in which they are met at rates ``came``."""
    site = np.repeat(np.arange(len(left)), left)
    clock = np.cumsum(rng.standard_exponential(len(site)))
    begun = np.concatenate([[0.0], clock])[np.cumsum(left) - left]
    times = (clock - begun[site]) / np.maximum(came, 0.5)[site]
    order: Sites = site[np.argsort(times, kind="stable")]
    return order


def one_page_a_visit(sites: Sites, first: Counts, rng: np.random.Generator) -> Counts:
    """For visits to ``sites`` (T,) a random page each, none twice: site i has the pages first[i] ... first[i + 1] - 1.

    Where most pages of a site are taken, they are shuffled; elsewhere a visit draws until it meets a page that no other
    has. Both treat all pages of a site alike, hence both are uniform.
    """
    pages, wanted = np.diff(first), np.bincount(sites, minlength=len(first) - 1)
    many = 2 * wanted > pages
    chosen = np.empty(len(sites), np.int64)
    shuffled = many[sites]
    chosen[shuffled] = _shuffled(sites[shuffled], first, many, rng)
    chosen[~shuffled] = _drawn(sites[~shuffled], first, rng)
    return chosen


def _shuffled(sites: Sites, first: Counts, many: NDArray[np.bool_], rng: np.random.Generator) -> Counts:
    pages = np.where(many, np.diff(first), 0)
    owner = np.repeat(np.arange(len(pages)), pages)
    order = rng.permutation(len(owner))
    positions, begins = by_site(owner[order], len(pages))
    place = order[positions] - begins[owner]  # of each page within its site
    chosen: Counts = first[sites] + place[begins[sites] + _place(sites, len(pages))]
    return chosen


def _drawn(sites: Sites, first: Counts, rng: np.random.Generator) -> Counts:
    pages = np.diff(first)
    holder = np.full(first[-1], -1, np.int32)  # of each page: the visit that has it
    chosen, todo = np.empty(len(sites), np.int64), np.arange(len(sites))
    while len(todo):
        at = sites[todo]
        page = first[at] + (rng.random(len(todo)) * pages[at]).astype(np.int64)
        free = holder[page] < 0
        holder[page[free]] = todo[free]  # of visits that meet at one page the last has it
        got = holder[page] == todo
        chosen[todo[got]], todo = page[got], todo[~got]
    return chosen
