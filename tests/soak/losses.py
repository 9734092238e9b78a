"""A program in the middle of which a host is lost, and what must be right all the same.

    dsmproc run --local 3 -m tests.soak.losses CASE FOLDER

Workers on all hosts use records whose home is the driver's host, each with a lock of its own, until
the agent of another host is killed, and for some turns more. Then

 1. each record is read as the one before has left it. If that one was lost with its lock, the next
    one is told (`owner_died`), and begins the record anew: with zeros, in an epoch of its own;
 2. who waits for a process, a queue or a pipe of the lost host is told which host it was;
 3. the log says so, and of no other host.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dsmproc

from . import history
from .actor import Actor, Place
from .grammar import WORD, Part
from .history import Entry, Log

PREFIX = "lost:"  # of the names of such cases
EPOCH = 1 << 20  # turns
RECORDS, SIZE = 16, 56
OPERATIONS = ("flag", "flip", "refill", "scatter", "invert", "turn")
BEFORE, AFTER = (5, 60), 60  # turns of each worker
LINE = re.compile(r"^lost: host (\d+) agent (\d+)$", re.MULTILINE)
SAID = re.compile(r"host (\d+) \(\S+ agent pid (\d+)\) was lost: \w+")


class Now(Log):
    """What a killed worker has done must be there."""

    def add(self, entry: Entry) -> None:
        super().add(entry)
        self.flush()


def places(memory: Any) -> list[Place]:
    """In a memory, counters and contents in turn."""
    view, step = memory.buf, WORD + SIZE
    starts = [number * step for number in range(RECORDS)]
    return [
        Place(f"record {at // step}", view[at + WORD : at + step], view[at : at + WORD])
        for at in starts
    ]


def begin_anew(place: Place) -> None:
    assert place.counter is not None
    epoch = int.from_bytes(place.counter, sys.byteorder) // EPOCH
    place.content[:] = bytes(SIZE)
    place.counter[:] = ((epoch + 1) * EPOCH).to_bytes(WORD, sys.byteorder)


def use(case: str, name: str, locks: list[Any], before: int, ready: Any, folder: str) -> None:
    memory, me = dsmproc.SharedMemory("records"), f"worker-{name}"
    part = Part("lost", OPERATIONS, [], seed=case)
    log = Now(folder, me)
    actor = Actor(part, places(memory), log, me)
    done = after = 0
    while after < AFTER:
        number = actor.dice.randrange(RECORDS)
        with locks[number]:
            if dsmproc.owner_died(locks[number]):
                begin_anew(actor.places[number])
                dsmproc.mark_consistent(locks[number])
            actor.turn([number])
        done += 1
        if done == before:
            ready.put(name)
        after += os.path.exists(os.path.join(folder, "killed"))
    log.flush()


def feed(queue: Any, writer: Any) -> None:
    """On the host that is to be lost."""
    queue.put("first")
    writer.send(os.getppid())
    while True:
        signal.pause()


def start(host: int, function: Any, *arguments: Any) -> Any:
    process = dsmproc.Process(target=function, args=arguments)
    process._dsmproc_host = host
    process.start()
    return process


def must_raise(kind: type[dsmproc.HostLostError], host: int, call: Any) -> None:
    try:
        got = call()
    except kind as error:
        assert error.host == host and SAID.search(str(error)), f"{kind.__name__}: {error}"
    else:
        raise AssertionError(f"{call} gave {got!r} and not {kind.__name__}")


def run(case: str, folder: str) -> None:
    dice = random.Random(case)
    victim = dice.choice(dsmproc.hosts()[1:])
    size = RECORDS * (WORD + SIZE)
    memory = dsmproc.SharedMemory("records", create=True, size=size, home="first")
    memory.buf[:] = bytes(memory.size)  # its home is here
    locks = [dsmproc.Lock() for _ in range(RECORDS)]
    ready, queue, (reader, writer) = dsmproc.Queue(), dsmproc.Queue(), dsmproc.Pipe(duplex=False)
    feeder = start(victim, feed, queue, writer)
    writer.close()
    agent = reader.recv()
    workers = {
        (host, name): start(
            host, use, case, f"{host}.{name}", locks, dice.randint(*BEFORE), ready, folder
        )
        for host in dsmproc.hosts()
        for name in range(dice.choice((1, 2)))
    }
    for _ in workers:
        ready.get()
    print(f"lost: host {victim} agent {agent}", flush=True)
    os.kill(agent, signal.SIGKILL)
    Path(folder, "killed").touch()
    assert queue.get() == "first"
    must_raise(dsmproc.WriterLostError, victim, queue.get)
    must_raise(dsmproc.LastWriterLostError, victim, reader.recv)
    must_raise(dsmproc.HostLostError, victim, feeder.join)
    for (host, _), worker in workers.items():
        if host == victim:
            must_raise(dsmproc.HostLostError, victim, worker.join)
        else:
            worker.join()
            assert worker.exitcode == 0, f"the worker on host {host} ended with {worker.exitcode}"
    memory.close()
    memory.unlink()


def check(entries: Iterable[Entry]) -> list[str]:
    """As of any history; each epoch of a record is one of its own."""
    named = [
        entry._replace(record=f"{entry.record}, {at[0]} times begun anew", turn=at[1])
        for entry in entries
        for at in [divmod(entry.turn, EPOCH)]
    ]
    return history.check(named, {entry.record: SIZE for entry in named})


def verdict(code: int, text: str) -> tuple[str, str]:
    """Of the program: what its exit code and its output come to."""
    told = LINE.findall(text)
    said = set(SAID.findall(text))
    if code != 0 or "Traceback" in text or len(told) != 1:
        return "error", f"exit code {code}\n{text}"
    if said != set(told):
        return "false loss", f"lost was {told}, and said is {said}\n{text}"
    return "right", ""


if __name__ == "__main__":
    run(*sys.argv[1:])
