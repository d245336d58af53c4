"""Scrapers: they crawl the web and hand data sets, arrays of page numbers, to the providers they serve.

Policies in the order in which they act: what the web still shows (its retention) and the scraper still wants (its
own), ``window_rounds`` (only pages of the last rounds; 1 with no creators is the fully synthetic loop after round 0),
``take`` (whose pages), the ``filter``, the ``crawl`` that says in which order pages are met, and the ``budget``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import mesa
import numpy as np

from ecosystem.rng import Streams
from ecosystem.settings import KIND, Name, Positive, Settings
from ecosystem.web.corpus import HUMAN, Ids, Retention
from ecosystem.web.detectors import Everything, Filter
from ecosystem.web.sites import breadth_first

if TYPE_CHECKING:
    from ecosystem.world import World


@dataclass(frozen=True)
class UniformCrawl(Settings):
    """Every visible page is as likely to be met as any other."""

    kind: Literal["uniform"] = "uniform"

    def order(self, world: World, ids: Ids, streams: Streams) -> Ids:
        order: Ids = streams.numpy("crawl").permutation(ids)
        return order


@dataclass(frozen=True)
class BreadthFirstCrawl(Settings):
    """From a random site along links, nearest sites first; within a site in random order."""

    kind: Literal["breadth-first"] = "breadth-first"

    def order(self, world: World, ids: Ids, streams: Streams) -> Ids:
        rng = streams.numpy("crawl")
        visited = breadth_first(world.graph, int(rng.integers(len(world.graph))))
        rank = np.full(len(world.graph), len(visited))
        rank[visited] = np.arange(len(visited))
        shuffled = rng.permutation(ids)
        distance = rank[world.corpus.of("site", shuffled)]
        order = np.argsort(distance, kind="stable")
        reached: Ids = shuffled[order][distance[order] < len(visited)]
        return reached


Crawl = Annotated[UniformCrawl | BreadthFirstCrawl, KIND]


@dataclass(frozen=True)
class ScraperSettings(Settings):
    """``budget`` pages a crawl (null: all it can see); ``take`` a list of `human` and provider names (null: all).

    ``window_rounds``: pages of the last rounds alone; ``retention``: the same, apart for human and synthetic pages.
    """

    name: Name
    budget: Positive | None = None
    window_rounds: Positive | None = None
    retention: Retention = Retention()
    take: tuple[str, ...] | None = None
    crawl: Crawl = UniformCrawl()
    filter: Filter = Everything()


class Scraper(mesa.Agent):
    def __init__(self, world: World, name: str) -> None:
        super().__init__(world)
        self.name = name
        self.ids: Ids = np.empty(0, dtype=np.int64)

    def crawl(self) -> None:
        """Phase 2: ``ids``, the data set of this round, in order of publication."""
        world: World = self.model
        settings = world.settings.scraper(self.name)
        streams = Streams(world.seed, self.name, world.round)
        ids = world.corpus.visible(world.settings.web.retention.and_(settings.retention))
        if settings.window_rounds is not None:
            ids = ids[np.searchsorted(ids, world.corpus.since(world.round - settings.window_rounds)) :]
        if settings.take is not None:
            wanted = [HUMAN if name == "human" else world.number(name) for name in settings.take]
            ids = ids[np.isin(world.corpus.of("maker", ids), wanted)]
        if not isinstance(settings.filter, Everything):
            synthetic = world.corpus.of("maker", ids) != HUMAN
            ids = ids[settings.filter.keep(synthetic, streams.numpy("filter"))]
        if isinstance(settings.crawl, UniformCrawl) and (settings.budget is None or settings.budget >= len(ids)):
            self.ids = ids  # whatever the order in which they are met, all are taken
        else:
            self.ids = np.sort(settings.crawl.order(world, ids, streams)[: settings.budget])
