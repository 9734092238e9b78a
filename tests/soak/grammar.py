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
GAPS = (0, 0, 0, 1, 8, 56)
HOMES = ("first", "fixed", "barrier", "migrating", "adaptive", "blocks")
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
    kind: str
    workers: int
    threads: int  # of each worker
    turns: int
    rest: float  # seconds, at most, in the middle of an operation
    operations: Sequence[str]
    records: list[Record]
    counters: str  # COUNTERS
    bound: bool  # the records, to the locks that they have
    seed: str


@dataclasses.dataclass
class Region:
    kind: str
    size: int
    home: str | None


@dataclasses.dataclass
class Program:
    case: str
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


def draw(case: str) -> Program:
    edge, _, _ = case.rpartition(":")
    if edge and edge not in EDGES:
        raise ValueError(f"{case}: {edge} is none of {', '.join(EDGES)}")
    dice = random.Random(case)
    parts = []
    for number in range(dice.choice((1, 2, 2, 3))):
        name = edge or dice.choices(list(EDGES), EDGES.values())[0]
        parts.append(_part(name, f"{case}/{number}"))
    return Program(case, parts, place(parts, random.Random(f"{case}/place")), dice.random() < 0.3)


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


def place(parts: list[Part], dice: random.Random) -> list[Region]:
    """Put records and counters side by side in random order, those of all parts together."""
    shared = dice.randint(1, 3)
    blocks: list[tuple[Record, bool]] = []
    elsewhere: list[Record] = []
    for part in parts:
        for record in part.records:
            blocks.append((record, False))
            if part.counters == "apart":
                blocks.append((record, True))
            elif part.counters == "elsewhere":
                elsewhere.append(record)
    dice.shuffle(blocks)
    beside = {id(record) for part in parts if part.counters == "beside" for record in part.records}
    ends = [0] * shared
    for record, counter in blocks:
        region = dice.randrange(shared)
        at = ends[region] + dice.choice(GAPS)
        if counter:
            record.counter_region, record.counter = region, at
            at += WORD
        else:
            if id(record) in beside:
                record.counter_region, record.counter = region, at
                at += WORD
            record.region, record.start = region, at
            at += record.size
        ends[region] = at
    for number, record in enumerate(elsewhere):
        record.counter_region, record.counter = shared, number * WORD
    ends.append(len(elsewhere) * WORD)
    pooled = any(part.edge == "pool" for part in parts)
    return [_region(end, pooled, dice) for end in ends]


def _region(size: int, pooled: bool, dice: random.Random) -> Region:
    kind = dice.choice(("SharedMemory", "shared_array", "RawArray"))
    home = dice.choice(HOMES) if dice.random() < 0.15 else None
    return Region("shared_array" if pooled else kind, -(-max(size, 1) // PAGE) * PAGE, home)
