"""Users: they prompt providers, see K candidates, vote, and publish the winner.

A group's ballots are computed as arrays: one call for its prompts, one sampling a provider, one choice. Rows stand
in the order of users, and every draw is by row from a stream of the group's name, so that one more user changes
nobody else's ballots.
"""

from __future__ import annotations

from collections.abc import Generator as Iteration
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import mesa
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ecosystem.agents.provider import Provider
from ecosystem.models.base import to_web
from ecosystem.models.jobs import Draw
from ecosystem.rng import Streams
from ecosystem.settings import Count, Name, Positive, Settings
from ecosystem.web.choice import Choice, Luce
from ecosystem.web.rewards import Reward

if TYPE_CHECKING:
    from ecosystem.world import World

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class UserSettings(Settings):
    """A group of ``count`` users with ``prompts_per_round`` ballots each and one taste.

    ``providers``: whom they ask (null: all). ``candidates``: the K images of a ballot come from `one-provider`,
    drawn for the ballot, or each from a provider drawn for it (`across-providers`).
    """

    name: Name
    count: Count = 1
    prompts_per_round: Count = 1
    k: Positive = 1
    choice: Choice = Luce()
    reward: Reward | None = None
    publish: Literal["winner", "all", "none"] = "winner"
    providers: tuple[str, ...] | None = None
    candidates: Literal["one-provider", "across-providers"] = "one-provider"


class User(mesa.Agent):
    def __init__(self, world: World, group: str, site: int) -> None:
        super().__init__(world)
        self.group = group
        self.site = site


def ask(world: World) -> Iteration[Draw, Tensor, None]:
    """Phase 4: every group's ballots, winners and publications of this round."""
    for group in world.settings.users:
        if group.count * group.prompts_per_round:
            yield from _ballots(world, group)


def _ballots(world: World, group: UserSettings) -> Iteration[Draw, Tensor, None]:
    asked = group.providers or tuple(provider.name for provider in world.providers)
    serving = [p for p in world.providers if p.serves and p.name in asked]
    if not serving:
        return
    streams = Streams(world.seed, group.name, world.round)
    ballots = group.count * group.prompts_per_round
    prompts = _drawn(streams, "prompts", (ballots,), world.humans.classes)
    columns = 1 if group.candidates == "one-provider" else group.k
    server = np.broadcast_to(
        _drawn(streams, "providers", (ballots, group.k), len(serving))[:, :columns], (ballots, group.k)
    )
    images = yield from _candidates(world, serving, server, prompts, streams)
    winner = _vote(world, group, images, streams)
    world.count_votes(serving, server, winner)
    _publish(world, group, serving, server, prompts, images, winner)


def _drawn(streams: Streams, what: str, shape: tuple[int, ...], choices: int) -> Ints:
    """Equally likely numbers below ``choices``; where there is one choice nothing is drawn."""
    if choices == 1:
        return np.zeros(shape, dtype=np.int64)
    return (streams.numpy(what).random(shape) * choices).astype(np.int64)


def _candidates(
    world: World, serving: list[Provider], server: Ints, prompts: Ints, streams: Streams
) -> Iteration[Draw, Tensor, NDArray[Any]]:
    """The images of all ballots, (ballots, K, ...), as they will stand on the web."""
    shape = (*server.shape, *world.humans.shape)
    if len(serving) == 1:
        stream = streams.numpy(f"noise of {serving[0].name}")
        x = yield serving[0].draw(np.repeat(prompts, server.shape[1]), stream)
        return to_web(x).reshape(shape)
    images = np.empty(shape, dtype=world.corpus.items.dtype)
    for number, provider in enumerate(serving):
        rows, slots = np.nonzero(server == number)
        x = yield provider.draw(prompts[rows], streams.numpy(f"noise of {provider.name}"))
        images[rows, slots] = to_web(x)
    return images


def _vote(world: World, group: UserSettings, images: NDArray[Any], streams: Streams) -> Ints:
    """The winning slot of every ballot, (ballots,)."""
    ballots, k = images.shape[:2]
    if k == 1:
        return np.zeros(ballots, dtype=np.int64)
    rewards = np.zeros((ballots, k))
    if group.reward is not None:
        flat = images.reshape(-1, *images.shape[2:])
        rewards = group.reward.score(flat, world.judge).reshape(ballots, k)
    return group.choice.choose(rewards, streams.numpy("choice").random((ballots, k)))


def _publish(
    world: World,
    group: UserSettings,
    serving: list[Provider],
    server: Ints,
    prompts: Ints,
    images: NDArray[Any],
    winner: Ints,
) -> None:
    if group.publish == "none":
        return
    ballots, k = server.shape
    if group.publish == "winner":
        rows, slots = np.arange(ballots), winner
    else:
        rows, slots = np.repeat(np.arange(ballots), k), np.tile(np.arange(k), ballots)
    ids, homes = world.addresses(User, group.name)
    author, maker = rows // group.prompts_per_round, server[rows, slots]
    world.corpus.publish(
        images[:, 0] if k == 1 else images[rows, slots],
        label=prompts[rows],
        site=homes[author],
        author=ids[author],
        maker=_of_maker([world.number(p.name) for p in serving], maker),
        generation=_of_maker([p.generation for p in serving], maker),
        lineage=_of_maker([p.provenance.lineage if p.provenance else 0.0 for p in serving], maker),
    )


def _of_maker(values: Sequence[float], maker: Ints) -> Any:
    """A column: the maker's value for each page, or the one value where there is one maker."""
    return values[0] if len(values) == 1 else np.array(values)[maker]
