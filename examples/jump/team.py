"""What the programs of this folder have in common: H processes, one a host, over numpy arrays.

    python mm.py [HOSTS]                               on this machine
    dsmproc run --local 4 --slots 1 mm.py [HOSTS]      on four hosts

A program is one function that all H processes run, each with a `Team` of its own, and that asserts
what must be true at its end. These are the programs on which JUMP and JIAJIA were compared, with
the layout, the partition and the synchronisation that they have there; loops over elements are
numpy's.
"""

import os
import time

import numpy as np

try:
    import dsmproc as multiprocessing
    from dsmproc import SharedMemory
except ImportError:  # the same program without dsmproc
    import multiprocessing
    from multiprocessing.shared_memory import SharedMemory

PAGE = 4096


class Team:
    """Process `p` of `hosts`: the shared arrays by name, the locks, the barrier of all."""

    def __init__(self, p, hosts, memories, shapes, barrier, locks) -> None:
        self.p, self.hosts, self.locks = p, hosts, locks
        self._memories, self._barrier = memories, barrier
        self._marks = [0.0, 0.0]
        for (name, (shape, kind)), memory in zip(shapes.items(), memories, strict=True):
            setattr(self, name, np.ndarray(shape, kind, buffer=memory.buf))

    def barrier(self) -> None:
        self._barrier.wait()

    def guards(self, lock, array) -> None:
        """Entry consistency alone asks programs to say which lock is for what."""
        if os.environ.get("DSMPROC_CONSISTENCY") == "ec":
            lock.bind(array)

    def begin(self, together=True) -> None:
        """The part whose seconds count begins, for all at once."""
        if together:
            self.barrier()
        self._marks[0] = time.perf_counter()

    def end(self, together=True) -> None:
        if together:
            self.barrier()
        self._marks[1] = time.perf_counter()

    @property
    def seconds(self) -> float:
        return self._marks[1] - self._marks[0]

    def band(self, n):
        """This process's part of n things."""
        return slice(self.p * n // self.hosts, (self.p + 1) * n // self.hosts)


def member(work, result, team_arguments, arguments) -> None:
    team = Team(*team_arguments)
    work(team, *arguments)
    if result is not None:
        result.send(team.seconds)


def memory_of(shape, kind, blocks) -> SharedMemory:
    """`blocks`: where homes are fixed, the program asks for them in blocks of pages."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    if blocks and os.environ.get("DSMPROC_HOME") == "fixed":
        return SharedMemory(create=True, size=size, home="blocks")
    return SharedMemory(create=True, size=size)


def run(work, hosts, shapes, *arguments, locks=0, blocks=False) -> float:
    """Run `work` on all hosts; the seconds between begin() and end(). Raises if one failed."""
    memories = [memory_of(shape, kind, blocks) for shape, kind in shapes.values()]
    shared = (memories, shapes, multiprocessing.Barrier(hosts))
    shared += ([multiprocessing.Lock() for _ in range(locks)],)
    ours, theirs = multiprocessing.Pipe()
    processes = []
    for p in range(hosts):
        told = (work, None if p else theirs, (p, hosts, *shared), arguments)
        processes.append(multiprocessing.Process(target=member, args=told))
        processes[-1].start()
    theirs.close()
    try:
        seconds = ours.recv()
    except EOFError:
        seconds = None
    if seconds is None:  # process 0 failed: the others may wait for it for ever
        shared[2].abort()
    for process in processes:
        process.join()
    codes = [process.exitcode for process in processes]
    for memory in memories:
        memory.close()
        memory.unlink()
    if any(codes) or seconds is None:
        raise SystemExit(f"{work.__module__}: WRONG, exit codes {codes}")
    return seconds


def main(name, program) -> None:
    import sys

    hosts = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    print(f"{name} on {hosts} hosts: right, {program(hosts):.2f} s")
