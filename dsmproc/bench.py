"""What one operation costs, as a ratio to a floor or a peer measured in the same run.

    python -m dsmproc.bench [--rounds N] [NAME ...]

Each figure is taken in rounds that alternate between the two sides; medians are printed, with the
range. Processes are not pinned: the machine's own placement is part of what a user sees.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import multiprocessing.shared_memory
import os
import random
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import dsmproc

PAGE = 4096
MB = 1 << 20
Sample = tuple[float, float]  # (ours, the floor or the peer), in the figure's unit


# ---- floors -----------------------------------------------------------------------------------


def _answer_tcp(sock: socket.socket, other_end: socket.socket, answer: int) -> None:
    other_end.close()
    data = b"x" * answer
    with sock:
        while sock.recv(64, socket.MSG_WAITALL):
            sock.sendall(data)


@contextlib.contextmanager
def tcp_pair(answer: int) -> Iterator[socket.socket]:
    """A TCP connection over loopback to a process that answers 64 bytes with `answer` bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    for sock in (ours, theirs):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    process = multiprocessing.get_context("fork").Process(
        target=_answer_tcp, args=(theirs, ours, answer)
    )
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join()


def round_trips(sock: socket.socket, answer: int, count: int) -> float:
    """Seconds of one 64-byte request and its answer."""
    started = time.perf_counter()
    for _ in range(count):
        sock.sendall(b"q" * 64)
        sock.recv(answer, socket.MSG_WAITALL)
    return (time.perf_counter() - started) / count


# ---- helpers ------------------------------------------------------------------------------------


def on_host(host: int, target: Callable[..., Any], *args: Any) -> Any:
    """A started process on a host, and its end of a pipe as first argument."""
    ours, theirs = dsmproc.Pipe()
    process = dsmproc.Process(target=target, args=(theirs, *args))
    process._dsmproc_host = host
    process.start()
    theirs.close()
    return process, ours


def fill(pipe: Any, name: str) -> None:
    """Write every page, so that this host is their home; then wait to be let go."""
    shm = dsmproc.SharedMemory(name, track=False)
    for at in range(0, shm.size, PAGE):
        shm.buf[at] = 1 + at // PAGE % 255
    pipe.send("filled")
    pipe.recv()
    shm.close()


@contextlib.contextmanager
def remote_memory(size: int) -> Iterator[Any]:
    """SharedMemory whose pages are at home on host 1."""
    shm = dsmproc.SharedMemory(create=True, size=size)
    process, pipe = on_host(1, fill, shm.name)
    pipe.recv()
    try:
        yield shm
    finally:
        pipe.send("go")
        process.join()
        shm.close()
        shm.unlink()


# ---- figures ------------------------------------------------------------------------------------


def fault(rounds: int) -> Iterator[Sample]:
    """one-page remote read fault, us; floor: raw TCP round trip 64 B -> 4 KiB"""
    pages = 200
    order = random.Random(1).sample(range(rounds * pages), rounds * pages)  # no row of faults
    with remote_memory(rounds * pages * 16 * PAGE) as shm, tcp_pair(PAGE) as sock:
        for turn in range(rounds):
            floor = round_trips(sock, PAGE, pages)
            started = time.perf_counter()
            for page in order[turn * pages : (turn + 1) * pages]:
                shm.buf[page * 16 * PAGE]  # it brings the other 15 of its window
            yield (time.perf_counter() - started) / pages * 1e6, floor * 1e6


def scan(rounds: int) -> Iterator[Sample]:
    """first sequential scan of 64 MB, MB/s; floor: raw TCP in answers of 64 KiB"""
    size = 64 * MB
    with tcp_pair(1 << 16) as sock:
        for _ in range(rounds):
            floor = (1 << 16) / round_trips(sock, 1 << 16, size >> 16) / 1e6
            with remote_memory(size) as shm:
                started = time.perf_counter()
                for at in range(0, size, PAGE):
                    shm.buf[at]
                yield size / (time.perf_counter() - started) / 1e6, floor


def bulk_write(rounds: int) -> Iterator[Sample]:
    """bulk write of 64 MB fresh, us a page; peer: the standard SharedMemory"""
    size, block = 64 * MB, b"y" * MB
    for _ in range(rounds):
        seconds = []
        for make in (dsmproc.SharedMemory, multiprocessing.shared_memory.SharedMemory):
            shm: Any = make(create=True, size=size)
            started = time.perf_counter()
            for at in range(0, size, MB):
                shm.buf[at : at + MB] = block
            seconds.append(time.perf_counter() - started)
            shm.close()
            shm.unlink()
        yield seconds[0] / (size / PAGE) * 1e6, seconds[1] / (size / PAGE) * 1e6


def lock_again(rounds: int) -> Iterator[Sample]:
    """lock taken again on the same host, ns; peer: multiprocessing.Lock"""
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
    """Two hosts pass a counter to and fro: whose turn it is, is the parity of the counter."""
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


def hand_over(rounds: int) -> Iterator[Sample]:
    """a counter handed from host to host by semaphores, us; floor: TCP round trip 64 B -> 64 B"""
    turns = 200
    shm = dsmproc.SharedMemory(create=True, size=PAGE)
    with tcp_pair(64) as sock:
        for _ in range(rounds):
            floor = round_trips(sock, 64, 500)
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
            yield seconds / (2 * turns) * 1e6, floor * 1e6
    shm.close()
    shm.unlink()


def meet(pipe: Any, barrier: Any, times: int) -> None:
    for _ in range(times):
        barrier.wait()
    pipe.send("done")


def barrier_of(hosts: int) -> Callable[[int], Iterator[Sample]]:
    def figure(rounds: int) -> Iterator[Sample]:
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

    figure.__doc__ = f"barrier of {hosts} hosts, us; floor: TCP round trip 64 B -> 64 B"
    return figure


def echo(pipe: Any, there: Any, back: Any) -> None:
    pipe.send("ready")
    while (item := there.get()) is not None:
        back.put(item)


def queue(rounds: int) -> Iterator[Sample]:
    """queue round trip between two hosts, us; floor: TCP round trip 64 B -> 64 B"""
    there, back = dsmproc.Queue(), dsmproc.Queue()
    process, pipe = on_host(1, echo, there, back)
    pipe.recv()
    with tcp_pair(64) as sock:
        for _ in range(rounds):
            floor = round_trips(sock, 64, 500)
            started = time.perf_counter()
            for item in range(200):
                there.put(item)
                back.get()
            yield (time.perf_counter() - started) / 200 * 1e6, floor * 1e6
    there.put(None)
    process.join()


def nothing(_: int) -> None:
    return None


def pool_map(rounds: int) -> Iterator[Sample]:
    """Pool.map of a no-op, chunksize 1, tasks/s; peer: the standard pool, equal workers"""
    tasks = 1000
    with dsmproc.Pool(2) as ours, multiprocessing.get_context("fork").Pool(2) as theirs:
        for pool in (ours, theirs):
            pool.map(nothing, range(50), chunksize=1)
        for _ in range(rounds):
            rates = []
            for pool in (ours, theirs):
                started = time.perf_counter()
                pool.map(nothing, range(tasks), chunksize=1)
                rates.append(tasks / (time.perf_counter() - started))
            yield rates[0], rates[1]


def start(rounds: int) -> Iterator[Sample]:
    """process start and join on another host, ms; peer: the standard spawn method"""
    spawn = multiprocessing.get_context("spawn")
    for _ in range(rounds):
        times = []
        for make in (dsmproc.Process, spawn.Process):
            process: Any = make(target=abs, args=(1,))
            process._dsmproc_host = 1
            started = time.perf_counter()
            process.start()
            process.join()
            times.append((time.perf_counter() - started) * 1e3)
        yield times[0], times[1]


FIGURES: dict[str, tuple[Callable[[int], Iterator[Sample]], str]] = {
    "fault": (fault, "<= 2.5"),
    "scan": (scan, ">= 0.5"),
    "bulk-write": (bulk_write, ""),
    "lock-again": (lock_again, "<= 5"),
    "hand-over": (hand_over, "<= 6"),
    "barrier-2": (barrier_of(2), "<= 4"),
    "barrier-4": (barrier_of(4), "<= 4"),
    "queue": (queue, ""),
    "pool-map": (pool_map, ">= 0.3"),
    "start": (start, ""),
}


def measure(name: str, rounds: int) -> str:
    figure, target = FIGURES[name]
    samples = list(figure(rounds))
    ours = [sample[0] for sample in samples]
    floors = [sample[1] for sample in samples]
    ratios = sorted(a / b for a, b in samples)
    return (
        f"{name:11} {statistics.median(ours):10.1f} {statistics.median(floors):10.1f}"
        f" {statistics.median(ratios):8.2f}  ({ratios[0]:.2f} .. {ratios[-1]:.2f})"
        f"  {target:7}  {figure.__doc__}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIGURES))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    unknown = set(args.names) - set(FIGURES)
    if unknown:
        parser.error(f"no figure called {', '.join(sorted(unknown))}")
    print(f"{os.cpu_count()} cores, {args.rounds} rounds, medians; nothing is pinned")
    print(f"{'':11} {'ours':>10} {'floor/peer':>10} {'ratio':>8}  {'(range)':16} target")
    with dsmproc.init(local=4, slots=1):
        for name in args.names or FIGURES:
            print(measure(name, args.rounds), flush=True)
    return 0


if __name__ == "__main__":
    assert threading.active_count() == 1  # the floors fork
    sys.exit(main())
