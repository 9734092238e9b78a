"""What the threads share, and the oracle.

Every byte belongs to one *guard*, and a guard has one owner at a time: the holder of its lock, the
party whose turn it is after a barrier, the receiver of the message that carried it. So the program
has no data race by construction, the last write to a byte is known, and a read that returns
anything else is a violation. What is written is new, or what the byte held before, or what it holds
(Params.values, returns, same): a twin, a copy and an announcement may be equal or not in each byte.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .binding import StaleRead, Violation

if TYPE_CHECKING:
    from .host import SimHost
    from .thread import Thread
    from .world import World


class Byte:
    """One byte of shared memory, and the value it must have."""

    __slots__ = (
        *("at", "guard", "page", "region", "off", "value", "writer", "writes"),
        *("since", "torn", "ever"),
    )

    def __init__(self, region: int, index: int, off: int, size: int) -> None:
        self.region, self.off = region, off
        self.page = region << 32 | index
        self.at = index * size + off
        self.value = self.writes = 0
        self.writer: Thread | None = None
        self.since = [0]  # its values since it came to this host, the first one is announced
        self.torn: set[int] = set()  # what a host that died had written and perhaps not announced
        self.ever = {0}  # all that it has held
        self.guard: Guard | None = None

    def wrote(self, thread: Thread, value: int | None = None) -> int:
        self.value = self.choose(thread.world) if value is None else value
        self.writes += 1
        self.writer = thread
        self.ever.add(self.value)
        self.since.append(self.value)
        self.torn.clear()
        return self.value

    def choose(self, world: World) -> int:
        if world.rng.random() < world.params.same:
            return self.value
        return (self.writes + 1) % world.params.values

    def announced(self) -> None:
        """Whatever it holds now, others may rely on."""
        self.since = [*self.torn, self.value]

    def died(self, host: SimHost) -> None:
        """The host of its last writer is no more: what it did last may be known or not."""
        if self.writer is not None and self.writer.host is host:
            self.torn.update(self.since)

    def check(self, thread: Thread, value: int, owns: bool = True) -> None:
        """An owner reads the last value; anybody, at any moment, only what was there some time."""
        if value == self.value or value in self.torn or (not owns and value in self.ever):
            return
        by = f"{self.writer.name} (write {self.writes})" if self.writer else "nobody"
        raise StaleRead(
            f"{thread.name} read {value} at region {self.region} page {self.page & 0xFFFFFFFF}"
            f" byte {self.off}, whose last value is {self.value}, written by {by}",
            self.page,
        )


class Post:
    """The owner of what is on its way."""

    name = "the post"


POST: Any = Post()


@dataclass(eq=False)
class Guard:
    name: str
    bytes: list[Byte] = field(default_factory=list)
    owner: Thread | None = None
    changes: int = 0  # counts all that happened to it
    host: SimHost | None = None  # where its last owner is

    def __post_init__(self) -> None:
        if self.owner is not None:  # from the beginning: nothing needs to be announced there
            self.host = self.owner.host

    def give(self, thread: Thread | None) -> None:
        """Pass it on; two owners at once are a failure of mutual exclusion."""
        if thread is not None and self.owner is not None:
            raise Violation(f"{self.name} has two owners: {self.owner.name} and {thread.name}")
        self.owner = thread
        self.changes += 1
        if thread is not None and thread.host is not self.host:
            self.host = thread.host
            for byte in self.bytes:
                byte.announced()

    def post(self) -> None:
        """On its way in a message: nobody else may have it."""
        self.owner = POST
        self.changes += 1


@dataclass(eq=False)
class Lock(Guard):
    """A multiprocessing lock. `travels`: may be released by another thread than its taker."""

    id: int = 0
    travels: bool = False
    asking: int = 0  # requests without answer
    disturbed: bool = False  # a cancel or a crash made "is it held?" unanswerable here
    died: bool = False  # a holder, and none has said since that what it guards is right
    perhaps: bool = False  # its token was or is perhaps granted to a host that died

    def taken(self, thread: Thread) -> None:
        """It is told that a holder died if one did, and not else."""
        self.give(thread)
        told = self.id in thread.host.died
        if self.died and not told:
            raise StaleRead(f"{thread.name} takes {self.name} and is not told that its holder died")
        if told and not self.died and not self.perhaps:
            raise Violation(f"{thread.name} is told that the holder of {self.name} died")
        self.died = told


@dataclass(eq=False)
class Semaphore(Guard):
    """As a mutex: initial value 1."""

    id: int = 0


@dataclass(eq=False)
class Pair:
    """Two threads that hand one guard to and fro by two semaphores of initial value 0."""

    guard: Guard
    threads: tuple[Thread, Thread]
    ids: tuple[int, int]


@dataclass(eq=False)
class Gather:
    """Several producers, one consumer, one semaphore: its acquirer sees all releases it counts."""

    consumer: Thread
    producers: list[Thread]
    slots: list[Guard]
    id: int
    back: list[int]
    count: int = 0


@dataclass(eq=False)
class Mail:
    sender: Thread
    host: int
    stamp: int | None  # None: inside a host nothing is published
    guards: list[Guard]
