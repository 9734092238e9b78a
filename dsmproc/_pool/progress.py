"""A bar on a terminal while a map runs."""

from __future__ import annotations

import sys
import time
from typing import Any

WIDTH = 40
EVERY = 0.1  # seconds
FULL, EMPTY = "█", "░"


def watch(result: Any) -> None:
    """Wait for a MapResult; on a terminal, show how many of its tasks are done."""
    stream = sys.stderr
    if stream is None or not stream.isatty():
        result.wait()
        return
    total, items = max(1, -(-len(result._value) // (result._chunksize or 1))), len(result._value)
    started = time.monotonic()
    while True:
        done = total - result._number_left
        stream.write("\r" + _bar(done, total, items, time.monotonic() - started))
        stream.flush()
        if result.ready():
            break
        result.wait(EVERY)
    stream.write("\n")
    stream.flush()


def _bar(done: int, total: int, items: int, seconds: float) -> str:
    filled = WIDTH * done // total
    count = min(items, items * done // total)
    return f"{FULL * filled}{EMPTY * (WIDTH - filled)} {count}/{items} {seconds:.1f} s"
