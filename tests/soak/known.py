"""Programs that failed before a mend, by the names of their cases. They come first in each soak.

They are written out, so that they stay what they are when the grammar learns something new.
"""

from __future__ import annotations

import random

from . import configuration, grammar
from .configuration import Configuration
from .grammar import Part, Program, Record


def _part(edge: str, kind: str, *operations: str, **more: object) -> Part:
    said: dict[str, object] = {
        "workers": 3,
        "turns": 500,
        "rest": 0.002,
        "records": [Record(192) for _ in range(48)],
        "counters": "beside",
        **more,
    }
    return Part(edge, kind, operations=operations, threads=1, bound=False, seed="known", **said)  # type: ignore[arg-type]


FEW = [Record(3000) for _ in range(8)]
RETURNING = ("invert", "refill", "turn", "scatter")

# Each was wrong without rule LENT: bytes that a home gave away in the middle of an interval, and
# that had returned to what they were at its end, were announced to nobody.
KNOWN = {
    "known:flags": _part(  # set and cleared, beside a counter that has a lock of its own
        "lock", "Lock", "flag", "add", records=[Record(1), Record(8)], counters="elsewhere"
    ),
    "known:records": _part("lock", "Lock", *RETURNING, "move", workers=4),
    "known:handed-on": _part("queue", "Queue", *RETURNING, "move", workers=4, records=FEW),
    "known:barriers": _part("barrier", "", *RETURNING, turns=60, counters="none"),
    "known:pool": _part(
        "pool", "map", *RETURNING, workers=1, turns=60, counters="none", records=FEW
    ),
}


def program(case: str) -> Program:
    """The program of a case: a known or a drawn one."""
    if case not in KNOWN:
        return grammar.draw(case)
    parts = [KNOWN[case]]
    parts[0].seed = case
    return Program(case, parts, grammar.place(parts, random.Random(case)), driver=False)


def where(case: str) -> Configuration:
    """Known ones failed with all settings as they are by default."""
    return Configuration(jitter=True) if case in KNOWN else configuration.draw(case)
