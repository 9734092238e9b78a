"""What a seed decides before its world starts."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass
class Params:
    seed: int = 0
    policy: str = "first"  # a name of world.POLICIES
    model: str = "lrc"  # a name of world.MODELS
    hosts: int = 2
    page_size: int = 16
    run: int = 1
    most: int = 1
    ahead: int = 0
    hot: int = 0
    grants: int = 1
    keep: int = 1 << 20  # bytes of kept diffs above which they are collected (homeless)
    carry: int = 0  # bytes of a bound page's diff that go with a notice
    feed: int = 0  # notices followed by a fetch after which a home feeds
    bound: float = 0.0  # share of pages that are bound at a host
    regions: list[int] = field(default_factory=lambda: [1])  # pages of each
    clients: list[list[int]] = field(default_factory=lambda: [[1], [1]])  # host -> threads of each
    turns: int = 6
    rounds: int = 0  # barriers
    bands: bool = False  # what a thread owns by its turn is read by its neighbour and comes back
    action: bool = False
    crash: float = 0.0
    crashes: int = 0
    unlink: bool = False
    lost: bool = False  # hosts die or leave
    losses: int = 0  # so many die
    leaves: int = 0  # so many leave
    late: int = 0  # so many hosts, the last ones, join late
    fresh: bool = False  # the last region is made while the others are in use
    zombies: float = 0.0  # share of the lost hosts that go on for a while
    children: int = 0  # processes that are started by others, at most
    locks: int = 4  # at most
    wide: int = 0  # pages of one more region, written in sweeps
    scattered: bool = True  # a guard's bytes lie anywhere, else side by side
    # how likely each kind of thing is next
    w_thread: float = 1.0
    w_net: float = 1.0
    w_inbox: float = 1.0
    w_more: float = 0.3
    w_tick: float = 0.0
    w_cancel: float = 0.02
    surprise: float = 0.0  # a crash, a death, a host that joins
    w_move: float = 0.0  # homes are handed over for no reason
    moves: int = 0  # at most so often
    w_evict: float = 0.0  # memory is short
    evictions: int = 0  # at most so often
    w_still: float = 0.0  # a host, or the master, stands still, or goes on
    intra: float = 0.05  # between two actions, and within one, local threads run
    burst: int = 1  # so many times at most
    queued: float = 0.2  # a request or fault reaches the engine later
    slow: float = 0.0  # share of connections that are slow
    slowness: float = 1.0  # how often a slow one is passed over
    turn: dict[str, float] = field(default_factory=dict)
    poll: bool = False
    values: int = 256  # new values of a byte go round through so many
    returns: float = 0.0  # share of writes that are undone soon
    same: float = 0.0  # ... that store what is there


TURNS = {
    "lock": 4.0,
    "private": 1.0,
    "mail": 3.0,
    "baton": 2.0,
    "semaphore": 1.0,
    "pair": 1.5,
    "gather": 1.0,
    "travel": 1.0,
    "publish": 0.5,
    "observe": 0.5,
    "reattach": 0.3,
    "sweep": 1.0,
    "party": 0.5,
    "peek": 1.0,
    "bind": 0.3,
    "child": 0.5,
}
HOMES = ["first", "fixed", "barrier", "migrating", "adaptive", "blocks"]


def spread(rng: random.Random, threads: int) -> list[int]:
    """Threads dealt to processes."""
    clients = [1]
    for _ in range(threads - 1):
        if rng.random() < 0.5:
            clients.append(1)
        else:
            clients[-1] += 1
    return clients


def bury_hosts(p: Params, rng: random.Random) -> None:
    """Make it a world of few pages whose hosts die or leave while they use them."""
    p.regions = [rng.choice([1, 1, 2]) for _ in range(rng.choice([1, 1, 1, 2]))]
    p.rounds, p.wide, p.poll, p.unlink, p.lost = 0, 0, False, False, True
    p.losses, p.leaves = rng.choice([(1, 0), (2, 0), (1, 1), (0, 1)])
    p.surprise = rng.choice([0.02, 0.05])
    p.turns, p.evictions = 12, rng.choice([0, 0, 10])
    p.turn.pop("travel", None)
    p.turn.pop("sweep", None)
    p.turn |= {"lock": 6.0, "mail": 4.0, "baton": 3.0, "private": 1.0}


def crowd(p: Params, rng: random.Random) -> None:
    """Make it a world of many locks whose bytes lie on few pages: records, flags and buffers that
    others use beside each other, and that travel with notices where that is possible."""
    p.regions = [rng.choice([1, 1, 2, 3])]
    p.locks, p.scattered, p.turns, p.wide, p.fresh = 8, True, rng.choice([12, 20]), 0, False
    p.feed, p.carry = rng.choice([1, 2]), rng.choice([12, 30, 100])
    p.bound, p.returns = rng.choice([0.0, 0.5, 1.0]), rng.choice([0.3, 0.6])
    p.turn = {"lock": 6.0, "mail": 1.0, "baton": 0.5, "semaphore": 0.5, "pair": 0.5}
    p.turn |= {"publish": 0.3, "peek": rng.choice([0.0, 1.0]), "private": 0.5}
    p.w_evict, p.evictions = rng.choice([0.0, 0.1, 0.3]), 200  # bound copies go by this alone


def iterate(p: Params, rng: random.Random) -> None:
    """Make it a world that writes and reads the same bands again and again, as a stencil does."""
    p.bands, p.turns = True, 1
    p.rounds = rng.choice([6, 10, 16]) if rng.random() < 0.9 else 44  # a home asks again (feed.c)
    p.wide, p.poll, p.unlink, p.late, p.lost, p.surprise = 0, False, False, 0, False, 0.0
    p.crash, p.crashes, p.fresh, p.children = 0.0, 0, False, 0
    p.feed, p.carry = rng.choice([1, 1, 2]), rng.choice([12, 30, 100])
    if p.policy == "homeless":
        p.keep = rng.choice([0, 40, 200, 1000, 1 << 20])
    p.bound = rng.choice([0.0, 0.0, 0.3])
    p.regions = [rng.choice([1, 2, 3, 6]) for _ in range(rng.choice([1, 1, 1, 2]))]
    p.clients = [spread(rng, rng.choice([1, 1, 2])) for _ in range(p.hosts)]
    p.turn = {"private": 1.0, "lock": rng.choice([0.2, 1.0]), "observe": 0.3, "publish": 0.3}
    p.turn["peek"] = rng.choice([0.0, 0.5])


def draw(
    seed: int, policy: str | None, grim: bool = False, model: str = "lrc", bands: bool = False
) -> tuple[Params, random.Random]:
    rng = random.Random(seed)
    p = Params(seed=seed, model=model)
    p.policy = policy or rng.choice(HOMES + ["homeless"] * (model in ("lrc", "erc")))
    kind = rng.random()
    grim, bands = grim or (not bands and kind < 0.1), bands or (not grim and kind > 0.95)
    p.hosts = rng.choice([3, 4]) if grim else rng.choice([2, 2, 2, 2, 3, 3, 3, 4, 5])
    p.page_size = rng.choice([16, 16, 16, 32, 64])
    p.run = rng.choice([1, 1, 2, 4])
    p.most = rng.choice([1, 2, 4, 16, 64])
    p.ahead = rng.choice([0, 0, 2, 16, 64])
    p.hot = rng.choice([0, 1, 2])
    p.grants = rng.choice([0, 1, 3])
    p.carry = rng.choice([0, 0, 6, 12, 30, 100])
    p.feed = rng.choice([0, 1, 2])
    p.keep = rng.choice([0, 40, 200, 1 << 20, 1 << 20])
    p.bound = rng.choice([0.0, 0.3, 0.7, 1.0]) if p.carry else 0.0
    p.regions = [rng.choice([1, 1, 2, 3, 6]) for _ in range(rng.choice([1, 1, 2, 3]))]
    p.clients = [spread(rng, rng.choice([1, 1, 2, 3])) for _ in range(p.hosts)]
    p.turns = rng.choice([3, 6, 6, 12])
    p.rounds = rng.choice([0, 0, 1, 2])
    p.action = rng.random() < 0.5
    p.scattered = rng.random() < 0.7
    if rng.random() < 0.25:
        p.crash, p.crashes, p.rounds = 0.01, rng.choice([1, 2]), 0
    p.unlink = rng.random() < 0.15
    p.late = rng.choice([1, 1, p.hosts - 2]) if p.hosts > 2 and rng.random() < 0.2 else 0
    p.fresh = len(p.regions) > 1 and rng.random() < 0.2
    if p.rounds:
        p.late = 0
    else:
        p.children = rng.choice([0, 0, 1, 3])
    if not p.rounds and rng.random() < 0.25:
        p.lost = True
        p.losses, p.leaves = rng.choice([(1, 0), (0, 1), (1, 1), (2, 0), (0, 2)])
    p.zombies = rng.choice([0.0, 0.5])
    p.wide = rng.choice([70, 150, 300]) if rng.random() < 0.03 else 0
    p.w_thread = rng.choice([0.3, 1, 3])
    p.w_tick = 0.05 if rng.random() < 0.5 else 0.0
    p.poll = p.w_tick > 0 and not (p.crash or p.unlink or p.lost or p.fresh)
    p.w_cancel = rng.choice([0.005, 0.02, 0.1])
    p.w_move = rng.choice([0, 0, 0.05, 0.3])
    p.w_evict = rng.choice([0, 0, 0, 0.02, 0.2])
    p.evictions = rng.choice([10, 100])
    p.moves = rng.choice([5, 30, 100])
    p.w_more = rng.choice([0.05, 0.3, 1])
    p.intra = rng.choice([0, 0.05, 0.2])
    p.burst = rng.choice([1, 3, 20])
    p.queued = rng.choice([0, 0.2, 0.6])
    p.w_still = rng.choice([0, 0, 0.01, 0.05])
    p.values = rng.choice([2, 3, 256, 256])
    p.returns = rng.choice([0.0, 0.3, 0.6])
    p.same = rng.choice([0.0, 0.1])
    p.slow = rng.choice([0, 0.2, 0.5])
    p.slowness = rng.choice([0.9, 0.98, 0.995])
    kinds = [k for k in TURNS if rng.random() < 0.7] or ["lock"]
    p.turn = {k: w * rng.choice([0.5, 1, 2]) for k, w in TURNS.items() if k in kinds}
    if not p.wide:
        p.turn.pop("sweep", None)
    if not p.children:
        p.turn.pop("child", None)
    if p.lost:
        p.turn.pop("travel", None)  # a lock whose token died is free, whoever thought to have it
    p.turn["mail"] = max(p.turn.get("mail", 0), 1.0)
    p.surprise = 0.01 if p.crashes or p.unlink or p.late or p.lost or p.fresh else 0.0
    if grim:
        bury_hosts(p, rng)
    if bands:
        iterate(p, rng)
    if not grim and not bands and kind < 0.4:
        crowd(p, rng)
    if model == "sc":  # no page has a home that could be handed over
        p.moves = 0
    return p, rng
