"""Whole programs: the start of processes, and Jacobi iterations."""

from __future__ import annotations

import multiprocessing
import multiprocessing.shared_memory
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import dsmproc

from ._floors import Figure, Sample
from ._hosts import answer, on_host

# A script, because a process gets its script: what it imports is part of the start.
START = """
import multiprocessing, sys, time
import numpy
import dsmproc

def nothing():
    return numpy.pi

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    with dsmproc.init(local=2, slots=4):
        for turn in range(int(sys.argv[1]) + 1):
            times = []
            for make in (dsmproc.Process, spawn.Process):
                process = make(target=nothing)
                process._dsmproc_host = 1
                started = time.perf_counter()
                process.start()
                process.join()
                times.append((time.perf_counter() - started) * 1e3)
                assert process.exitcode == 0
            if turn:  # the host's first process prepares what the others use
                print(*times, flush=True)
"""


def start(rounds: int) -> Iterator[Sample]:
    with tempfile.TemporaryDirectory() as folder:
        script = os.path.join(folder, "start.py")
        with open(script, "w") as file:
            file.write(START)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DSMPROC_ADDRESS")}
        done = subprocess.run(
            [sys.executable, script, str(rounds)],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    for line in done.stdout.splitlines():
        ours, theirs = map(float, line.split())
        yield ours, theirs


SIDE, ITERATIONS = 1024, 50


def _grids(shm: Any) -> Any:
    import numpy

    return numpy.ndarray((2, SIDE, SIDE), dtype=float, buffer=shm.buf)


def relax(pipe: Any, make: Any, name: str, barrier: Any, first: int, end: int) -> None:
    """Rows first..end-1, from one grid into the other and back."""
    shm = make(name)
    grids = _grids(shm)
    for turn in range(ITERATIONS + 1):
        barrier.wait()
        if turn == 1:
            started = time.perf_counter()
        old, new = grids[turn % 2], grids[1 - turn % 2]
        new[first:end, 1:-1] = 0.25 * (
            old[first - 1 : end - 1, 1:-1]
            + old[first + 1 : end + 1, 1:-1]
            + old[first:end, :-2]
            + old[first:end, 2:]
        )
    barrier.wait()
    pipe.send((time.perf_counter() - started) / ITERATIONS * 1e3)
    del grids, old, new
    shm.close()


def _jacobi(make: Any, barrier: Any, launch: Any) -> float:
    """ms an iteration; the driver has written every page."""
    import numpy

    shm = make(create=True, size=2 * SIDE * SIDE * 8)
    grids = _grids(shm)
    grids[:] = 0.0
    grids[:, 0, :] = 1.0
    grids[:, 1:, :] = numpy.random.default_rng(1).random((SIDE - 1, SIDE))  # all of it changes
    half = SIDE // 2
    sides = [launch(0, shm.name, barrier, 1, half), launch(1, shm.name, barrier, half, SIDE - 1)]
    times = [answer(*side) for side in sides]
    for process, _ in sides:
        process.join()
    assert grids[0, 1:-1, 1:-1].std() < 0.25  # it has spread; at first it is 0.29
    del grids
    shm.close()
    shm.unlink()
    return float(max(times))


def _attach(name: str) -> Any:
    return dsmproc.SharedMemory(name, track=False)


def jacobi(rounds: int) -> Iterator[Sample]:
    fork = multiprocessing.get_context("fork")

    def ours(host: int, *args: Any) -> Any:
        return on_host(host, relax, _attach, *args)

    def theirs(host: int, *args: Any) -> Any:
        here, there = fork.Pipe()
        process = fork.Process(
            target=relax, args=(there, multiprocessing.shared_memory.SharedMemory, *args)
        )
        process.start()
        return process, here

    for _ in range(rounds):
        yield (
            _jacobi(dsmproc.SharedMemory, dsmproc.Barrier(2), ours),
            _jacobi(multiprocessing.shared_memory.SharedMemory, fork.Barrier(2), theirs),
        )


FIGURES = {
    "start": Figure(
        "start and join of a host's second process, script importing numpy, ms;"
        " peer: the standard spawn",
        start,
        "<= 50",
        compare="",
    ),
    "jacobi": Figure(
        f"Jacobi {SIDE} x {SIDE} on 2 hosts, pages first written by the driver, ms an iteration;"
        " peer: 2 standard processes",
        jacobi,
        "<= 5",
        compare="",
        rounds=3,
    ),
}
