"""Where records lie: side by side in random order, those of all parts together."""

from __future__ import annotations

import random
from collections.abc import Iterator

from .grammar import PAGE, WORD, Part, Record, Region

GAPS = (0, 0, 0, 1, 8, 56)
KINDS = ("SharedMemory", "shared_array", "RawArray")
HOMES = ("first", "fixed", "barrier", "migrating", "adaptive", "blocks")

Block = tuple[Record, bool, bool]  # what is in it: the counter, the content


def place(parts: list[Part], dice: random.Random) -> list[Region]:
    """Counters that are `elsewhere` have the last region to themselves."""
    count = dice.randint(1, 3)
    ends = [0] * (count + 1)

    def put(block: Block, region: int, gap: int) -> None:
        record, counter, content = block
        ends[region] += gap
        if counter:
            record.counter_region, record.counter = region, ends[region]
            ends[region] += WORD
        if content:
            record.region, record.start = region, ends[region]
            ends[region] += record.size

    blocks = [block for part in parts for block in _blocks(part)]
    dice.shuffle(blocks)
    for block in blocks:
        put(block, dice.randrange(count), dice.choice(GAPS))
    for part in parts:
        for record in part.records if part.counters == "elsewhere" else ():
            put((record, True, False), count, 0)
    # The tasks of a pool get their records as slices of an array.
    kinds = ("shared_array",) if any(part.edge == "pool" for part in parts) else KINDS
    return [_region(end, dice.choice(kinds), dice) for end in ends]


def _blocks(part: Part) -> Iterator[Block]:
    for record in part.records:
        yield record, part.counters == "beside", True
        if part.counters == "apart":
            yield record, True, False


def _region(size: int, kind: str, dice: random.Random) -> Region:
    home = dice.choice(HOMES) if dice.random() < 0.15 else None
    return Region(kind, -(-max(size, 1) // PAGE) * PAGE, home)
