"""What a holder does to the bytes of its records. Most of it brings bytes back to what they were.

Each operation is done twice: on private copies, to know what must come of it, and in the shared
memory, with rests in the middle in which other processes use the neighbours.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np

Rest = Callable[[], None]
Operation = Callable[[memoryview, random.Random, Rest], None]
SMALL = (0, 0, 1, 2)  # values, so few that they return


def fill(cell: memoryview, dice: random.Random) -> None:
    """What a record begins with: else moving and emptying would find nothing."""
    few = dice.choices(SMALL, k=len(cell))
    cell[:] = bytes(few) if dice.random() < 0.5 else dice.randbytes(len(cell))


def flag(cell: memoryview, dice: random.Random, rest: Rest) -> None:
    """Set and cleared."""
    at = dice.randrange(len(cell))
    cell[at] = 1
    rest()
    cell[at] = 0


def flip(cell: memoryview, dice: random.Random, rest: Rest) -> None:
    """There and back; sometimes not all of it."""
    places = [dice.randrange(len(cell)) for _ in range(dice.choice((1, 2, 8)))]
    old = [cell[at] for at in places]
    for at in places:
        cell[at] ^= dice.choice((1, 255))
    rest()
    for at, value in zip(places, old, strict=True):
        cell[at] = value
    if dice.random() < 0.5:
        cell[places[0]] = dice.choice(SMALL)


def refill(cell: memoryview, dice: random.Random, rest: Rest) -> None:
    """Emptied, and filled again with what was in it, or nearly."""
    full = bytearray(cell)
    cell[:] = bytes(len(cell))
    rest()
    if dice.random() < 0.5:
        full[dice.randrange(len(full))] = dice.choice(SMALL)
    cell[:] = full


def scatter(cell: memoryview, dice: random.Random, rest: Rest) -> None:
    for _ in range(dice.randint(1, 6)):
        cell[dice.randrange(len(cell))] = dice.choice(SMALL)
    rest()
    cell[dice.randrange(len(cell))] = dice.randrange(256)


def add(cell: memoryview, dice: random.Random, rest: Rest) -> None:
    """Counters that go up and down, in place."""
    words = np.frombuffer(cell[: len(cell) // 8 * 8] or cell, np.int64 if len(cell) >= 8 else "B")
    amount = dice.choice((1, 1, 3))
    words += words.dtype.type(amount)
    rest()
    if dice.random() < 0.6:
        words -= words.dtype.type(amount)


def invert(cell: memoryview, dice: random.Random, rest: Rest) -> None:
    array = np.frombuffer(cell, np.uint8)
    part = array[:: dice.choice((1, 1, 3))]
    np.bitwise_xor(part, 255, out=part)
    rest()
    if dice.random() < 0.7:
        np.bitwise_xor(part, 255, out=part)


def turn(cell: memoryview, dice: random.Random, rest: Rest) -> None:
    """Reversed, and perhaps again."""
    array = np.frombuffer(cell, np.uint8)
    array[:] = array[::-1].copy()
    rest()
    if dice.random() < 0.5:
        array[:] = array[::-1].copy()


def move(cells: Sequence[memoryview], dice: random.Random, rest: Rest) -> None:
    """One is emptied into another."""
    one, two = cells[:2]
    size = min(len(one), len(two))
    two[:size] = bytes(one[:size])
    rest()
    one[:size] = bytes(size)


def swap(cells: Sequence[memoryview], dice: random.Random, rest: Rest) -> None:
    one, two = cells[:2]
    size = min(len(one), len(two))
    kept = bytes(one[:size])
    one[:size] = bytes(two[:size])
    rest()
    two[:size] = kept


SINGLE: dict[str, Operation] = {
    function.__name__: function for function in (flag, flip, refill, scatter, add, invert, turn)
}
DOUBLE = {function.__name__: function for function in (move, swap)}


def perform(
    names: Sequence[str], cells: Sequence[memoryview], dice: random.Random, rest: Rest
) -> None:
    """One of the operations, on all cells. What moves needs two; a single one is scattered over."""
    name = dice.choice(names)
    if name in DOUBLE and len(cells) > 1:
        DOUBLE[name](cells, dice, rest)
        cells = cells[:1] if dice.random() < 0.5 else ()
        name = "scatter"
    for cell in cells:
        SINGLE.get(name, scatter)(cell, dice, rest)
