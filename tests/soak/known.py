"""Programs that failed before a mend, by the names of their cases. They come first in each soak.

They are written out, so that they stay what they are when the grammar learns something new.
"""

from __future__ import annotations

import dataclasses
import random

from . import configuration, grammar, losses
from .configuration import Configuration
from .grammar import Part, Program, Record
from .layout import place


def records(number: int, size: int) -> list[Record]:
    return [Record(size) for _ in range(number)]


RETURNING = ("invert", "refill", "turn", "scatter")
MOVING = (*RETURNING, "move")

# Each was wrong without rule LENT: bytes that a home gave away in the middle of an interval, and
# that had returned to what they were at its end, were announced to nobody.
KNOWN = {
    # A flag that is set and cleared beside a counter that has a lock of its own.
    "known:flags": Part(
        "lock", ("flag", "add"), [Record(1), Record(8)], "Lock", counters="elsewhere"
    ),
    "known:records": Part("lock", MOVING, records(16, 192), "Lock", workers=4),
    "known:handed-on": Part("queue", MOVING, records(8, 3000), "Queue", workers=4),
    "known:barriers": Part("barrier", RETURNING, records(48, 192), turns=60, counters="none"),
    "known:pool": Part(
        "pool", RETURNING, records(12, 1000), "map", workers=1, turns=100, counters="none"
    ),
}


TIMES = 3  # that each is run: not every one failed each time


def program(case: str) -> Program:
    """The program of a case: a known or a drawn one."""
    if case in KNOWN:
        part = dataclasses.replace(KNOWN[case], seed=case)
        part.records = [dataclasses.replace(record) for record in part.records]
        parts, driver = [part], False
    else:
        parts, driver = grammar.draw(case)
    return Program(parts, place(parts, random.Random(f"{case}/place")), driver)


def where(case: str) -> Configuration:
    """Known ones failed with all settings as they are by default."""
    drawn = Configuration(jitter=True) if case in KNOWN else configuration.draw(case)
    if case.startswith(losses.PREFIX):  # whose oracle is that of the default model
        drawn = dataclasses.replace(drawn, hosts=max(3, drawn.hosts), model="lrc")
    return drawn
