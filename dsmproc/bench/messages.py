"""Queues and pipes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import dsmproc

from ._floors import BLOCK, Figure, Sample, round_trips, tcp_pair
from ._hosts import answer, on_host


def echo(pipe: Any, there: Any, back: Any) -> None:
    pipe.send("ready")
    while (item := there.get()) is not None:
        back.put(item)


def queue(rounds: int) -> Iterator[Sample]:
    there, back = dsmproc.Queue(), dsmproc.Queue()
    process, pipe = on_host(1, echo, there, back)
    answer(process, pipe)
    with tcp_pair(64) as sock:
        for _ in range(rounds * 10):
            floor = round_trips(sock, 64, BLOCK)
            started = time.perf_counter()
            for item in range(BLOCK):
                there.put(item)
                back.get()
            yield (time.perf_counter() - started) / BLOCK * 1e6, floor * 1e6
    there.put(None)
    process.join()


FIGURES = {
    "queue": Figure(
        "queue round trip between two hosts, us; floor: TCP round trip 64 B -> 64 B", queue
    ),
}
