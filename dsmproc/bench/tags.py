"""What the tag of an engine's frame costs each of its two sides."""

from __future__ import annotations

import time
from collections.abc import Iterator

from .._native.ffi import ffi, lib
from ._floors import PAGE, Figure, Sample

SHORT = 64
COUNT = 20_000


def _tag(size: int) -> float:
    """Microseconds of processor time, the call from Python (0.1) among them."""
    key, frame, tag = bytes(16), bytes(size), ffi.new("uint8_t[16]")
    started = time.thread_time()
    for number in range(COUNT):
        lib.dsmproc_frame_tag(key, number, frame, size, tag)
    return (time.thread_time() - started) * 1e6 / COUNT


def tags(rounds: int) -> Iterator[Sample]:
    for _ in range(rounds):
        yield _tag(PAGE), _tag(SHORT)


FIGURES = {
    "tags": Figure("tag of a page, us; peer: of a message of 64 bytes", tags),
}
