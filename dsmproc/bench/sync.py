"""Locks, hand-overs, barriers."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from typing import Any

import dsmproc

from .._memory import edges
from ._floors import BLOCK, PAGE, Figure, Sample, round_trips, tcp_pair
from ._hosts import answer, on_host

FLOOR = "floor: TCP round trip 64 B -> 64 B"


def lock_again(rounds: int) -> Iterator[Sample]:
    locks = dsmproc.Lock(), multiprocessing.get_context("fork").Lock()
    for _ in range(rounds * 10):
        times = []
        for lock in locks:
            started = time.perf_counter()
            for _ in range(2000):
                lock.acquire()
                lock.release()
            times.append((time.perf_counter() - started) / 2000 * 1e9)
        yield times[0], times[1]


def take_turns(pipe: Any, name: str, locks: list[Any], mine: int, turns: int, bound: Any) -> None:
    """Two hosts pass a counter to and fro, and tell how long a block of turns took, from the first
    taken to the last given away."""
    shm = dsmproc.SharedMemory(name, track=False)
    if bound is not None:
        bound.bind(shm.buf)
    mine_lock, other_lock = locks[mine], locks[1 - mine]
    pipe.send("ready")
    for turn in range(turns):
        if turn % (BLOCK + 1) == 0:
            pipe.recv()
        mine_lock.acquire()
        if turn % (BLOCK + 1) == 0:
            started = time.perf_counter()
        shm.buf[0] = (shm.buf[0] + 1) % 256
        other_lock.release()
        if turn % (BLOCK + 1) == BLOCK:
            pipe.send(time.perf_counter() - started)
    shm.close()


def hand_over(third: bool, bound: bool = False) -> Callable[[int], Iterator[Sample]]:
    def samples(rounds: int) -> Iterator[Sample]:
        blocks = rounds * 10
        shm = dsmproc.SharedMemory(create=True, size=PAGE)
        lock = dsmproc.Lock() if bound else None
        if third:  # the first publisher is the home
            shm.buf[1] = 1
            edges.publish()
        locks = [dsmproc.Semaphore(0), dsmproc.Semaphore(0)]
        with tcp_pair(64) as sock:
            sides = [
                on_host(host, take_turns, shm.name, locks, i, blocks * (BLOCK + 1), lock)
                for i, host in enumerate((1, 2))
            ]
            for side in sides:
                answer(*side)
            for block in range(blocks):
                floor = round_trips(sock, 64, BLOCK)
                for _, pipe in sides:
                    pipe.send("go")
                if not block:
                    locks[0].release()
                yield max(answer(*side) for side in sides) / BLOCK / 2 * 1e6, floor * 1e6
            for process, _ in sides:
                process.join()
        shm.close()
        shm.unlink()

    return samples


def meet(pipe: Any, barrier: Any, times: int) -> None:
    for _ in range(times):
        barrier.wait()
    pipe.send("done")


def barrier_of(hosts: int) -> Callable[[int], Iterator[Sample]]:
    def samples(rounds: int) -> Iterator[Sample]:
        blocks = rounds * 10
        with tcp_pair(64) as sock:
            barrier = dsmproc.Barrier(hosts)
            others = [on_host(i, meet, barrier, blocks * (BLOCK + 1)) for i in range(1, hosts)]
            for _ in range(blocks):
                floor = round_trips(sock, 64, BLOCK)
                barrier.wait()
                started = time.perf_counter()
                for _ in range(BLOCK):
                    barrier.wait()
                yield (time.perf_counter() - started) / BLOCK * 1e6, floor * 1e6
            for process, pipe in others:
                answer(process, pipe)
                process.join()

    return samples


FIGURES = {
    "lock-again": Figure(
        "lock taken again on the same host, ns; peer: multiprocessing.Lock", lock_again, "<= 5"
    ),
    "hand-over": Figure(
        f"a counter handed from host to host by semaphores, at home on one of them, us; {FLOOR}",
        hand_over(third=False),
        "<= 6",
    ),
    "hand-over-3": Figure(
        f"the same, at home on a third host, us; {FLOOR}", hand_over(third=True), "<= 6"
    ),
    "bound": Figure(
        f"hand-over of a counter that is bound to a lock (it causes no fault), us; {FLOOR}",
        hand_over(third=False, bound=True),
        "<= 6",
    ),
    "bound-3": Figure(
        f"the same, at home on a third host, us; {FLOOR}", hand_over(third=True, bound=True), "<= 6"
    ),
    "barrier-2": Figure(f"barrier of 2 hosts, us; {FLOOR}", barrier_of(2), "<= 4"),
    "barrier-4": Figure(f"barrier of 4 hosts, us; {FLOOR}", barrier_of(4), "<= 4"),
}
