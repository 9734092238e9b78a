"""Locks, hand-overs, barriers."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from typing import Any

import dsmproc
from dsmproc import _edges

from ._floors import PAGE, Figure, Sample, round_trips, tcp_pair
from ._hosts import on_host

FLOOR = "floor: TCP round trip 64 B -> 64 B"


def lock_again(rounds: int) -> Iterator[Sample]:
    locks = dsmproc.Lock(), multiprocessing.get_context("fork").Lock()
    for _ in range(rounds):
        times = []
        for lock in locks:
            started = time.perf_counter()
            for _ in range(20000):
                lock.acquire()
                lock.release()
            times.append((time.perf_counter() - started) / 20000 * 1e9)
        yield times[0], times[1]


def take_turns(pipe: Any, name: str, locks: list[Any], mine: int, turns: int) -> None:
    """Two hosts pass a counter to and fro."""
    shm = dsmproc.SharedMemory(name, track=False)
    mine_lock, other_lock = locks[mine], locks[1 - mine]
    pipe.send("ready")
    pipe.recv()
    for _ in range(turns):
        mine_lock.acquire()
        shm.buf[0] = (shm.buf[0] + 1) % 256
        other_lock.release()
    pipe.send("done")
    shm.close()


def hand_over(third: bool) -> Callable[[int], Iterator[Sample]]:
    def samples(rounds: int) -> Iterator[Sample]:
        turns = 200
        with tcp_pair(64) as sock:
            for _ in range(rounds):
                floor = round_trips(sock, 64, 500)
                shm = dsmproc.SharedMemory(create=True, size=PAGE)
                if third:  # the first publisher is the home
                    shm.buf[1] = 1
                    _edges.publish()
                locks = [dsmproc.Semaphore(0), dsmproc.Semaphore(0)]
                sides = [
                    on_host(host, take_turns, shm.name, locks, i, turns)
                    for i, host in enumerate((1, 2))
                ]
                for _, pipe in sides:
                    pipe.recv()
                for _, pipe in sides:
                    pipe.send("go")
                started = time.perf_counter()
                locks[0].release()
                for _, pipe in sides:
                    pipe.recv()
                seconds = time.perf_counter() - started
                for process, _ in sides:
                    process.join()
                shm.close()
                shm.unlink()
                yield seconds / (2 * turns) * 1e6, floor * 1e6

    return samples


def meet(pipe: Any, barrier: Any, times: int) -> None:
    for _ in range(times):
        barrier.wait()
    pipe.send("done")


def barrier_of(hosts: int) -> Callable[[int], Iterator[Sample]]:
    def samples(rounds: int) -> Iterator[Sample]:
        times = 300
        with tcp_pair(64) as sock:
            for _ in range(rounds):
                floor = round_trips(sock, 64, 500)
                barrier = dsmproc.Barrier(hosts)
                others = [on_host(host, meet, barrier, times + 1) for host in range(1, hosts)]
                barrier.wait()
                started = time.perf_counter()
                for _ in range(times):
                    barrier.wait()
                seconds = time.perf_counter() - started
                for process, pipe in others:
                    pipe.recv()
                    process.join()
                yield seconds / times * 1e6, floor * 1e6

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
    "barrier-2": Figure(f"barrier of 2 hosts, us; {FLOOR}", barrier_of(2), "<= 4"),
    "barrier-4": Figure(f"barrier of 4 hosts, us; {FLOOR}", barrier_of(4), "<= 4"),
}
