"""Human creators: they publish human pages, at their home sites, at a fixed rate.

The pages of a group are drawn in one call and dealt out to its members in order, so that one more creator
changes nobody else's pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import mesa
import numpy as np

from ecosystem.settings import Count, Name, Settings
from ecosystem.web.corpus import HUMAN

if TYPE_CHECKING:
    from ecosystem.world import World


@dataclass(frozen=True)
class CreatorSettings(Settings):
    """A group of ``count`` creators who publish ``pages_per_round`` human pages each."""

    name: Name
    count: Count = 1
    pages_per_round: Count = 1


class Creator(mesa.Agent):
    def __init__(self, world: World, group: str, site: int) -> None:
        super().__init__(world)
        self.group = group
        self.site = site


def publish(world: World) -> None:
    """Phase 1: every group's human pages of this round."""
    for group in world.settings.creators:
        ids, homes = world.addresses(Creator, group.name)
        pages = len(ids) * group.pages_per_round
        if pages == 0:
            continue
        items = world.draw_humans(group.name, pages)
        world.corpus.publish(
            items.x,
            label=items.y,
            site=np.repeat(homes, group.pages_per_round),
            author=np.repeat(ids, group.pages_per_round),
            maker=HUMAN,
            generation=HUMAN,
            lineage=0.0,
        )
