"""Scrapers: they crawl the web and hand data sets, arrays of page numbers, to the providers they serve.

Policies in the order in which they act: what the web still shows (its retention, and the capacity of its sites) and
the scraper still wants (its own retention), ``window_rounds`` (only pages of the last rounds; 1 with no creators is the
fully synthetic loop after round 0), ``take`` (whose pages), the ``filter`` (web/detectors.py), then ``quality``,
``near_duplicates`` and ``balance`` (web/selection.py), the ``crawl`` that says in which order pages are met
(web/crawls.py) and the ``budget``, and last ``resample``, which may take a page more than once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import mesa
import numpy as np

from ecosystem.rng import Streams
from ecosystem.settings import Name, Positive, Settings
from ecosystem.web.corpus import HUMAN, Ids, Retention
from ecosystem.web.crawls import Crawl, UniformCrawl
from ecosystem.web.detectors import Everything, Filter
from ecosystem.web.selection import Balance, NearDuplicates, Quality, Resample

if TYPE_CHECKING:
    from ecosystem.world import World


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
    quality: Quality | None = None
    near_duplicates: NearDuplicates | None = None
    balance: Balance | None = None
    resample: Resample | None = None


class Scraper(mesa.Agent):
    def __init__(self, world: World, name: str) -> None:
        super().__init__(world)
        self.name = name
        self.ids: Ids = np.empty(0, dtype=np.int64)

    def crawl(self) -> None:
        """Phase 2: ``ids``, the data set of this round, in order of publication."""
        world: World = self.model
        settings = world.settings.found_scraper(self.name)
        if settings is None:  # it has not entered yet, or has left
            return
        streams = Streams(world.seed, self.name, world.round)
        ids = world.visible(settings.retention)
        if settings.window_rounds is not None:
            ids = ids[np.searchsorted(ids, world.corpus.since(world.round - settings.window_rounds)) :]
        if settings.take is not None:
            wanted = [HUMAN if name == "human" else world.number(name) for name in settings.take]
            ids = ids[np.isin(world.corpus.of("maker", ids), wanted)]
        ids, told = self._selected(world, settings, ids, streams)
        if settings.crawl.takes_all(len(ids), settings.budget):
            met = ids
        else:
            site = world.corpus.of("site", ids)
            met = np.sort(settings.crawl.order(world.links, site, ids, settings.budget, streams))
        if settings.resample is not None:
            taken = settings.resample.take(world.found(met), world.judge, streams)
            met, told = met[taken.positions], told | taken.told
        self.ids = met
        world.tell(self.name, {name.replace("_", "-"): value for name, value in told.items()})

    def _selected(
        self, world: World, settings: ScraperSettings, ids: Ids, streams: Streams
    ) -> tuple[Ids, dict[str, float]]:
        """What the filter and the stages behind it leave, and what they measured."""
        told: dict[str, float] = {}
        if not isinstance(settings.filter, Everything):
            kept = settings.filter.keep(world.found(ids), world.judge, streams)
            ids, told = ids[kept.keep], kept.told
        for stage in (settings.quality, settings.near_duplicates, settings.balance):
            if stage is not None:
                taken = stage.take(world.found(ids), world.judge, streams)
                ids, told = ids[taken.positions], told | taken.told
        return ids, told
