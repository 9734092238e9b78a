"""Pages: single faults, scans, bulk writes."""

from __future__ import annotations

import functools
import multiprocessing.shared_memory
import random
import time
from collections.abc import Iterator
from typing import Any

import dsmproc

from .._memory import edges
from ._floors import BLOCK, MB, PAGE, Figure, Sample, round_trips, tcp_pair, wire
from ._hosts import remote_memory

SIZE = 256 * MB


def fault(rounds: int) -> Iterator[Sample]:
    blocks = rounds * 10
    order = random.Random(1).sample(range(blocks * BLOCK), blocks * BLOCK)  # no row of faults
    with remote_memory(blocks * BLOCK * 16 * PAGE) as shm, tcp_pair(PAGE) as sock:
        for turn in range(blocks):
            floor = round_trips(sock, PAGE, BLOCK)
            started = time.perf_counter()
            for page in order[turn * BLOCK : (turn + 1) * BLOCK]:
                shm.buf[page * 16 * PAGE]
            yield (time.perf_counter() - started) / BLOCK * 1e6, floor * 1e6


def scan(rounds: int, small: bool = False) -> Iterator[Sample]:
    with tcp_pair(1 << 16) as sock:
        for _ in range(rounds):
            floor = SIZE / wire(sock, SIZE) / 1e6
            with remote_memory(SIZE, small) as shm:
                started = time.perf_counter()
                for at in range(0, SIZE, PAGE):
                    shm.buf[at]
                yield SIZE / (time.perf_counter() - started) / 1e6, floor


def _write_all(shm: Any) -> float:
    """Seconds; until others may read it."""
    block = b"y" * MB
    started = time.perf_counter()
    for at in range(0, shm.size, MB):
        shm.buf[at : at + MB] = block
    edges.publish()  # nothing to do for the standard one
    return time.perf_counter() - started


def write_fresh(rounds: int) -> Iterator[Sample]:
    for _ in range(rounds):
        seconds = []
        for make in (dsmproc.SharedMemory, multiprocessing.shared_memory.SharedMemory):
            shm: Any = make(create=True, size=SIZE)
            seconds.append(_write_all(shm))
            shm.close()
            shm.unlink()
        yield seconds[0] / (SIZE / PAGE) * 1e6, seconds[1] / (SIZE / PAGE) * 1e6


def write_remote(rounds: int) -> Iterator[Sample]:
    with tcp_pair(1 << 16) as sock:
        for _ in range(rounds):
            floor = 2 * wire(sock, SIZE)
            with remote_memory(SIZE) as shm:
                yield _write_all(shm) / (SIZE / PAGE) * 1e6, floor / (SIZE / PAGE) * 1e6


FIGURES = {
    "fault": Figure(
        "one page read that is at home elsewhere, us; floor: TCP round trip 64 B -> 4 KiB",
        fault,
        "<= 2.5",
    ),
    "scan": Figure(
        "first sequential read of 256 MB, MB/s; floor: TCP in answers of 64 KiB",
        scan,
        ">= 0.5",
        rounds=3,
    ),
    "scan-small": Figure(
        "the same of small numbers, which travel packed",
        functools.partial(scan, small=True),
        ">= 0.5",
        rounds=3,
    ),
    "write-fresh": Figure(
        "256 MB fresh written and published, us a page; peer: the standard SharedMemory",
        write_fresh,
        "<= 5",
        compare="",
        rounds=3,
    ),
    "write-remote": Figure(
        "256 MB at home elsewhere overwritten and published, us a page;"
        " floor: there and back by TCP",
        write_remote,
        "<= 5",
        compare="-",
        rounds=3,
    ),
}
