"""Users: they prompt providers, see K candidates, vote, and publish the winner.

A group's ballots are computed as arrays: one call for its prompts, one sampling a provider, one choice. Rows stand
in the order of users, and every draw is by row from a stream of the group's name, so that one more user changes
nobody else's ballots. What a group remembers, its members' experience of providers, its interest and its taste, are
arrays of the world (``World.memory``): never changed, only replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Generator as Iteration
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import mesa
import numpy as np
from numpy.typing import NDArray

from ecosystem.agents.provider import Provider
from ecosystem.errors import TrainingError
from ecosystem.models.base import to_web
from ecosystem.models.jobs import Draw, Jobs
from ecosystem.rng import Streams
from ecosystem.settings import Count, Name, Positive, Settings, Share
from ecosystem.web.choice import Choice, Luce
from ecosystem.web.market import NONE, ProviderChoice
from ecosystem.web.prompts import DriftingPrompts, Prompts, drawn
from ecosystem.web.rewards import FIXED, ClassTaste, Distance, Reward, of_ballots

if TYPE_CHECKING:
    from ecosystem.world import World

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Named = Callable[[str], np.random.Generator]
Moving = ClassTaste | Distance  # rewards that are a taste

BLOCK = 1 << 17  # images shown and voted on at once; memory that is new costs as much as what is computed in it


@dataclass(frozen=True)
class Adversary(Settings):
    """A ``share`` of the ballots that is cast by the ``reward`` of somebody else, null: against the group's own.

    Noisy and malicious curation (H. Wei, X. Zhang, Self-Consuming Generative Models with Adversarially Curated Data,
    2025, arXiv 2505.09768).
    """

    share: Share
    reward: Reward | None = None


@dataclass(frozen=True)
class UserSettings(Settings):
    """A group of ``count`` users with ``prompts_per_round`` ballots each and one taste.

    ``providers``: whom they ask (null: all). ``candidates``: the K images of a ballot come from `one-provider`,
    drawn for the ballot, or each from a provider drawn for it (`across-providers`). With a ``provider_choice`` each
    user asks the provider that experience and habit make attractive. ``prompts``: null asks for any class as often.
    ``taste_drift``: how far a round moves the taste, the weights of `class-taste` or the point of `distance`, towards
    what won. ``publish_share``: of the ballots whose outcome is published (null: all).
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
    prompts: Prompts | None = None
    provider_choice: ProviderChoice | None = None
    taste_drift: Share | None = None
    adversary: Adversary | None = None
    publish_share: Share | None = None

    @property
    def ballots(self) -> int:
        """In a round."""
        return self.count * self.prompts_per_round


class User(mesa.Agent):
    def __init__(self, world: World, group: str, site: int) -> None:
        super().__init__(world)
        self.group = group
        self.site = site


def ask(world: World) -> Iteration[Draw | Jobs, Any, None]:
    """Phase 4: every group's ballots, winners and publications of this round."""
    for group in world.settings.users:
        if group.ballots:
            yield from _ballots(world, group)


def _ballots(world: World, group: UserSettings) -> Iteration[Draw | Jobs, Any, None]:
    """A group's ballots, in blocks of rows, unless what was shown is measured as a whole.

    The streams run on from block to block, so that what is drawn does not depend on where a block ends.
    """
    asked = group.providers or tuple(provider.name for provider in world.providers)
    serving = [p for p in world.providers if p.serves and p.name in asked]
    if not serving:
        return
    streams = Streams(world.seed, group.name, world.round)
    named = cache(streams.numpy)
    interest = _interest(world, group)
    choice = group.provider_choice
    of_users = None if choice is None else _chosen(world, group, choice, serving, streams)
    moving = _moving(world, group)
    won, liked = [], []
    size = group.ballots if world.seen is not None else max(1, BLOCK // group.k)
    for start in range(0, group.ballots, size):
        ballots = np.arange(start, min(start + size, group.ballots))
        prompts = _prompts(interest, len(ballots), world.humans.classes, named)
        server = _servers(group, len(serving), of_users, ballots, named)
        images = yield from candidates(world, serving, server, prompts, named)
        rewards = _rewards(world, group, images)
        winner = _vote(world, group, images, rewards, named)
        world.count_votes(serving, server, winner)
        if choice is not None and rewards is not None:
            won.append(_picked(rewards, winner))
        if world.seen is not None:
            maker = np.array([world.number(p.name) for p in serving])[server]
            published = (1.0 if group.publish_share is None else group.publish_share) * (group.publish == "winner")
            known = None if rewards is None else (taste(world, group), rewards)
            world.seen.see(group.name, images, prompts, maker, winner, known, published)
        if moving is not None:
            liked.append(moving.seen(_picked(images, winner), world.judge).sum(axis=0))
        _publish(world, group, serving, server, prompts, images, winner, ballots, named)
    if choice is not None and of_users is not None and won:
        _remember(world, group, choice, serving, of_users, np.concatenate(won))
    if moving is not None:
        _drift(world, group, moving, sum(liked, np.zeros(())) / group.ballots)


def _interest(world: World, group: UserSettings) -> Floats | None:
    """The share of each class among the prompts, (classes,); None: any is as likely."""
    if group.prompts is None:
        return None
    shares = group.prompts.shares(world.humans.classes)
    if isinstance(group.prompts, DriftingPrompts):
        shares = world.memory.get(group.name, {}).get("interest", shares)
        if (seen := world.classes_of_last_round()) is not None:
            shares = group.prompts.moved(shares, seen)
        world.remember(group.name, interest=shares)
    return shares


def _prompts(interest: Floats | None, ballots: int, classes: int, named: Named) -> Ints:
    """The class of each ballot, (ballots,)."""
    if interest is None:
        return _drawn(named, "prompts", (ballots, 1), classes)[:, 0]
    return drawn(interest, named("prompts").random(ballots))


def _servers(group: UserSettings, serving: int, of_users: Ints | None, ballots: Ints, named: Named) -> Ints:
    """Whose images stand in the slots of these ballots, (ballots, K), as positions among those who serve.

    ``of_users`` (count,): whom each user asks, where they choose.
    """
    shape = (len(ballots), group.k)
    if of_users is not None:
        return np.broadcast_to(of_users[ballots // group.prompts_per_round][:, None], shape)
    columns = 1 if group.candidates == "one-provider" else group.k
    server = _drawn(named, "providers", shape, serving, columns)
    return server if columns == group.k else np.broadcast_to(server, shape)


def _chosen(
    world: World, group: UserSettings, choice: ProviderChoice, serving: list[Provider], streams: Streams
) -> Ints:
    """Whom each user asks, (count,)."""
    known = _experience(world, group, choice)
    numbers = [world.number(p.name) for p in serving]
    # Each provider has its draws, so that one that comes or goes changes nobody's.
    uniforms = np.stack([streams.numpy(f"market of {p.name}").random(group.count) for p in serving], axis=1)
    shares = world.vote_shares[numbers]
    shares = shares / shares.sum() if shares.any() else shares
    stranger = (known["last"][:, None] != numbers) & (known["last"][:, None] != NONE)
    return choice.chosen(known["experienced"][:, numbers], stranger, shares, uniforms)


def _experience(world: World, group: UserSettings, choice: ProviderChoice) -> dict[str, Any]:
    """What the members remember: ``experienced`` (count, P) and ``last`` (count,)."""
    start: dict[str, Any] = {
        "experienced": np.full((group.count, len(world.providers)), choice.prior),
        "last": np.full(group.count, NONE),
    }
    return {**start, **world.memory.get(group.name, {})}


def _remember(
    world: World,
    group: UserSettings,
    choice: ProviderChoice,
    serving: list[Provider],
    of_users: Ints,
    won: Floats,
) -> None:
    """What the members experienced: of whom they asked (count,), and the reward of each winner (ballots,)."""
    known = _experience(world, group, choice)
    asked = np.array([world.number(p.name) for p in serving])[of_users]
    reward = won.reshape(group.count, group.prompts_per_round).mean(axis=1)
    world.remember(
        group.name, experienced=choice.remembered(known["experienced"], asked, reward), last=asked.astype(np.int64)
    )


def _drawn(named: Named, what: str, shape: tuple[int, int], choices: int, columns: int = 1) -> Ints:
    """The first columns of equally likely numbers below ``choices``; where there is one choice nothing is drawn."""
    if choices == 1:
        return np.zeros((shape[0], columns), dtype=np.int64)
    return (named(what).random(shape)[:, :columns] * choices).astype(np.int64)


def candidates(
    world: World, serving: list[Provider], server: Ints, prompts: Ints, named: Named, noise: str = "noise"
) -> Iteration[Draw | Jobs, Any, NDArray[Any]]:
    """The images of all ballots, (ballots, K, ...), as they will stand on the web.

    ``server`` (ballots, K) whose each is, as a position among those who serve; ``noise``: what their streams among the
    ``named`` are called. Raises TrainingError where a model fails that could be sampled before.
    """
    (ballots, k), shape = server.shape, world.humans.shape
    if len(serving) == 1:
        provider = serving[0]
        every = prompts if k == 1 else np.repeat(prompts, k)
        x = yield from provider.drawn(every, named(f"{noise} of {provider.name}"))
        return to_web(x).reshape(ballots, k, *shape)
    asked = server[:, :1] if server.strides[1] == 0 else server  # a column, where all slots of a ballot are one's
    each = k // asked.shape[1]  # images in a row
    images = np.empty((asked.size, each, *shape), dtype=world.corpus.items.dtype)
    rows = [np.flatnonzero(asked == number) for number in range(len(serving))]
    found = yield tuple(
        provider.draw(np.repeat(prompts[own // asked.shape[1]], each), named(f"{noise} of {provider.name}"))
        for provider, own in zip(serving, rows, strict=True)
    )
    for provider, own, x in zip(serving, rows, found, strict=True):
        if isinstance(x, TrainingError):
            raise provider.at_fault(x)
        images[own] = to_web(x).reshape(len(own), each, *shape)
    return images.reshape(ballots, k, *shape)


def _rewards(world: World, group: UserSettings, images: NDArray[Any]) -> Floats | None:
    """How the group likes each image, (ballots, K); None where nobody asks."""
    reward = taste(world, group)
    wanted = group.k > 1 or group.provider_choice is not None or world.seen is not None
    if reward is None or not wanted:
        return None
    return of_ballots(reward, images, world.judge)


def taste(world: World, group: UserSettings) -> Reward | None:
    """The group's reward as its taste now is."""
    now = world.memory.get(group.name, {}).get("taste") if group.taste_drift else None
    if group.reward is None or now is None or isinstance(group.reward, FIXED):
        return group.reward
    return group.reward.towards(now)


def _moving(world: World, group: UserSettings) -> Moving | None:
    """The group's taste as it now is, if it moves."""
    reward = taste(world, group) if group.taste_drift else None
    return None if isinstance(reward, FIXED) else reward


def _drift(world: World, group: UserSettings, moving: Moving, mean: Floats) -> None:
    """The taste moves towards what won: w' = (1 - beta) w + beta mean phi(x) (X. Wei et al., Co-evolving Human
    Preferences, 2026)."""
    beta = group.taste_drift or 0.0
    world.remember(group.name, taste=(1 - beta) * moving.target() + beta * mean)


def _vote(world: World, group: UserSettings, images: NDArray[Any], rewards: Floats | None, named: Named) -> Ints:
    """The winning slot of every ballot, (ballots,)."""
    ballots, k = images.shape[:2]
    if k == 1:
        return np.zeros(ballots, dtype=np.int64)
    judged = np.zeros((ballots, k)) if rewards is None else rewards
    if group.adversary is not None and group.adversary.share:
        judged = _corrupted(world, group.adversary, images, judged, named)
    return group.choice.choose(judged, named("choice").random((ballots, k)))


def _corrupted(world: World, adversary: Adversary, images: NDArray[Any], rewards: Floats, named: Named) -> Floats:
    """The rewards (ballots, K) by which votes are cast, some of them an adversary's."""
    theirs = named("adversary").random(len(images)) < adversary.share
    judged = rewards.copy()
    if adversary.reward is None:
        judged[theirs] = -rewards[theirs]
    else:
        judged[theirs] = of_ballots(adversary.reward, images[theirs], world.judge)
    return judged


def _publish(
    world: World,
    group: UserSettings,
    serving: list[Provider],
    server: Ints,
    prompts: Ints,
    images: NDArray[Any],
    winner: Ints,
    ballots: Ints,
    named: Named,
) -> None:
    """What comes of these ballots, by their numbers in the group."""
    if group.publish == "none":
        return
    k, share = group.k, group.publish_share
    kept = slice(None) if share is None or share == 1 else named("publishing").random(len(ballots)) < share
    author = ballots[kept] // group.prompts_per_round
    if group.publish == "winner":
        items, which, label = _picked(images, winner, kept), _picked(server, winner, kept), prompts[kept]
    else:
        items, which = images[kept].reshape(-1, *images.shape[2:]), server[kept].reshape(-1)
        author, label = np.repeat(author, k), np.repeat(prompts[kept], k)
    ids, homes = world.addresses(User, group.name)
    world.publish_made(
        items,
        label=label,
        site=homes[author],
        author=ids[author],
        makers=serving,
        which=which,
        who=group.name,
    )


def _picked(of_slots: NDArray[Any], slot: Ints, kept: slice | NDArray[np.bool_] = slice(None)) -> NDArray[Any]:
    """What (ballots, K, ...) holds of each ballot's slot (ballots,), of those ballots that are kept, (N, ...)."""
    ballots, k = of_slots.shape[:2]
    if k == 1 or of_slots.strides[1] == 0:  # all slots of a ballot have the same
        return of_slots[:, 0][kept]
    rows = np.arange(0, ballots * k, k) + slot
    found: NDArray[Any] = np.take(of_slots.reshape(ballots * k, *of_slots.shape[2:]), rows[kept], axis=0)
    return found
