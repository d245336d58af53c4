"""Human creators: they publish at their home sites, what they made themselves or, some of it, what a model made.

The pages of a group are drawn in one call and dealt out to its members in order, so that one more creator changes
nobody else's pages. Three policies, each of them off unless it is set:

- *attention*: creators leave as synthetic pages take the attention away, and come back. With a the human share of what
  the web shows, count a^elasticity members are active.
- *adoption* of AI: a share of the pages is made by a provider's model and published as if by hand (F. Yao et al.,
  Human vs. Generative AI in Content Creation Competition: Symbiosis or Conflict?, 2024, arXiv 2402.15467).
- a *reservoir*: so many human pages the group has in it, and no more (P. Villalobos et al., Will We Run Out of Data?,
  2022, arXiv 2211.04325).
"""

from __future__ import annotations

from collections.abc import Generator as Iteration
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mesa
import numpy as np
from numpy.typing import NDArray

from ecosystem.agents.user import candidates
from ecosystem.models.jobs import Draw, Jobs
from ecosystem.rng import Streams
from ecosystem.settings import Count, Name, NonNegative, Positive, Settings, Share
from ecosystem.web.marks import CLAIMED

if TYPE_CHECKING:
    from ecosystem.agents.provider import Provider
    from ecosystem.world import World

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Attention(Settings):
    """How strongly members answer to the human share a of what the web shows: a^``elasticity`` of them stay."""

    elasticity: NonNegative

    def active(self, count: int, human_share: float) -> int:
        stay: float = human_share**self.elasticity
        return round(count * stay)


@dataclass(frozen=True)
class Adoption(Settings):
    """The ``share`` of pages that a model makes, ``growth`` more of them every round; by ``provider`` (null: any)."""

    share: Share
    growth: NonNegative = 0.0
    provider: str | None = None

    def at(self, round: int) -> float:
        return min(1.0, self.share + self.growth * round)


@dataclass(frozen=True)
class CreatorSettings(Settings):
    """A group of ``count`` creators who publish ``pages_per_round`` pages each; ``reservoir``: human pages in all."""

    name: Name
    count: Count = 1
    pages_per_round: Count = 1
    attention: Attention | None = None
    adoption: Adoption | None = None
    reservoir: Positive | None = None


class Creator(mesa.Agent):
    def __init__(self, world: World, group: str, site: int) -> None:
        super().__init__(world)
        self.group = group
        self.site = site


def publish(world: World) -> Iteration[Draw | Jobs, Any, None]:
    """Phase 1: every group's pages of this round."""
    for group in world.settings.creators:
        told: dict[str, float] = {}
        active = group.count
        if group.attention is not None:
            active = group.attention.active(group.count, world.human_share())
            told["active"] = float(active)
        author = np.repeat(np.arange(active), group.pages_per_round)
        adopted = _adopted(world, group, len(author))
        human = author[~adopted]
        if group.reservoir is not None:
            human, told["reservoir-left"] = _from_reservoir(world, group.name, group.reservoir, human)
        _publish_human(world, group, human)
        if adopted.any():
            told["adopted-share"] = float(adopted.mean())
            yield from _publish_adopted(world, group, author[adopted])
        world.tell(group.name, told)


def _adopted(world: World, group: CreatorSettings, pages: int) -> NDArray[np.bool_]:
    """Which of the pages (pages,) a model makes."""
    share = group.adoption.at(world.round) if group.adoption is not None else 0.0
    if share == 0.0 or not _asked(world, group):
        return np.zeros(pages, dtype=bool)
    return Streams(world.seed, group.name, world.round).numpy("adoption").random(pages) < share


def _asked(world: World, group: CreatorSettings) -> list[Provider]:
    wanted = group.adoption.provider if group.adoption is not None else None
    return [p for p in world.providers if p.serves and wanted in (None, p.name)]


def _from_reservoir(world: World, name: str, reservoir: int, authors: Ints) -> tuple[Ints, float]:
    """Those who still find something in it, and how much is then left."""
    left = int(world.memory.get(name, {}).get("reservoir", np.array(reservoir)))
    authors = authors[:left]
    world.remember(name, reservoir=np.array(left - len(authors)))
    return authors, float(left - len(authors))


def _publish_human(world: World, group: CreatorSettings, author: Ints) -> None:
    """``author`` (pages,): whose page each is, as the position in the group."""
    if len(author) == 0:
        return
    ids, homes = world.addresses(Creator, group.name)
    items = world.draw_humans(group.name, len(author))
    world.publish_human(items, site=homes[author], author=ids[author], who=group.name)


def _publish_adopted(world: World, group: CreatorSettings, author: Ints) -> Iteration[Draw | Jobs, Any, None]:
    streams = Streams(world.seed, group.name, world.round)
    serving = _asked(world, group)
    classes, pages = world.humans.classes, len(author)
    label = (streams.numpy("adopted prompts").random(pages) * classes).astype(np.int64)
    which = (streams.numpy("adopted providers").random(pages) * len(serving)).astype(np.int64)
    images = yield from candidates(world, serving, which[:, None], label, streams.numpy, "adopted noise")
    ids, homes = world.addresses(Creator, group.name)
    world.publish_made(
        images[:, 0],
        label=label,
        site=homes[author],
        author=ids[author],
        makers=serving,
        which=which,
        who=group.name,
        marks=int(CLAIMED),
    )
