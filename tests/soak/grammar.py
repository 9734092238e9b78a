"""Programs, drawn from a grammar by the name of a case.

    program   part{1,3} over regions that they share
    part      an edge, workers, turns, records, operations
    edge      how a record passes from one holder to the next: see the classes of `EDGES`
    record    bytes that only their holder uses; beside, apart or without a number that counts turns
    region    SharedMemory, shared_array or RawArray, of a few pages; records lie close together

A case is a seed, as `7.12`; or an edge and a seed, as `queue:7.12`, whose parts all have that edge.
Each part is drawn by a generator of its own, so that a case stays what it is when another edge
learns something new.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

EDGES = {  # how often
    "lock": 6,
    "queue": 3,
    "ring": 2,
    "condition": 2,
    "barrier": 3,
    "event": 2,
    "buffer": 2,
    "pool": 3,
    "process": 1,
}
TURNS = {  # about a second each on an idle machine
    "lock": (200, 500),
    "queue": (100, 300),
    "ring": (80, 200),
    "condition": (60, 150),
    "barrier": (30, 80),
    "event": (40, 100),
    "buffer": (80, 200),
    "pool": (15, 40),
    "process": (6, 12),
}
KINDS = {  # of the objects that make the edge
    "lock": ("Lock", "Lock", "Lock", "RLock", "Semaphore", "BoundedSemaphore", "Array", "Manager"),
    "queue": ("Queue", "SimpleQueue", "JoinableQueue", "Manager"),
    "condition": ("Lock", "RLock"),
    "pool": ("map", "imap", "imap_unordered", "starmap", "apply_async"),
}
COUNTED = ("lock", "condition", "event")  # edges that hand on nothing which could count turns
COUNTERS = ("none", "beside", "apart", "elsewhere")
SIZES = ((1,), (1, 8), (8,), (24, 40), (192,), (192, 500), (3000,), (9000,))
OPERATIONS = ("flag", "flip", "refill", "scatter", "add", "invert", "turn", "move", "swap")
RESTS = (0.0, 0.0, 0.0005, 0.002, 0.002, 0.01)
PAGE = 4096
WORD = 8


@dataclasses.dataclass
class Record:
    """Where its bytes are, and where the number of the next turn (-1: who hands it on says it)."""

    size: int
    region: int = 0
    start: int = 0
    counter_region: int = -1
    counter: int = 0


@dataclasses.dataclass
class Part:
    edge: str
    operations: Sequence[str]
    records: list[Record]  # see layout.py
    kind: str = ""  # KINDS
    workers: int = 3
    threads: int = 1  # of each worker
    turns: int = 500
    rest: float = 0.002  # seconds, at most, in the middle of an operation
    counters: str = "beside"  # COUNTERS
    bound: bool = False  # the records, to the locks that they have
    seed: str = ""


@dataclasses.dataclass
class Region:
    kind: str
    size: int
    home: str | None


@dataclasses.dataclass
class Program:
    parts: list[Part]
    regions: list[Region]
    driver: bool  # it is the first worker of the first part


def record_name(part: Part, number: int) -> str:
    """For people, and as a key."""
    record = part.records[number]
    where = f"region {record.region} at {record.start}, {record.size} bytes"
    return f"{part.edge} {part.seed} record {number} ({where})"


def sizes(program: Program) -> dict[str, int]:
    return {
        record_name(part, number): record.size
        for part in program.parts
        for number, record in enumerate(part.records)
    }


def draw(case: str) -> tuple[list[Part], bool]:
    """The parts, which are still to be placed; and whether the driver works in the first."""
    edge, _, _ = case.rpartition(":")
    if edge and edge not in EDGES:
        raise ValueError(f"{case}: {edge} is none of {', '.join(EDGES)}")
    dice = random.Random(case)
    names = dice.choices(list(EDGES), list(EDGES.values()), k=dice.choice((1, 2, 2, 3)))
    parts = [_part(edge or name, f"{case}/{number}") for number, name in enumerate(names)]
    return parts, dice.random() < 0.3


def _part(edge: str, seed: str) -> Part:
    dice = random.Random(seed)
    workers = 1 if edge in ("pool", "process") else dice.randint(2, 4)
    least = workers + 1  # so that a worker that wants a second one gets it
    sizes = dice.choice(SIZES)
    many = max(6 if max(sizes) > 1000 else dice.choice((6, 16, 48)), 2 * least)
    if edge == "buffer":
        many = dice.choice((1, 2, 6))
    return Part(
        edge=edge,
        kind=dice.choice(KINDS.get(edge, ("",))),
        workers=workers,
        threads=2 if edge in ("lock", "queue") and dice.random() < 0.15 else 1,
        turns=dice.randint(*TURNS[edge]),
        rest=dice.choice(RESTS),
        operations=dice.sample(OPERATIONS, dice.randint(1, 4)),
        records=[Record(dice.choice(sizes)) for _ in range(many)],
        counters="none" if edge == "pool" else dice.choice(COUNTERS[edge in COUNTED :]),
        bound=dice.random() < 0.4,
        seed=seed,
    )
