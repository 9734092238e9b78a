"""A drawn program, as a driver: what its workers saw goes into a folder.

    dsmproc run --local 3 -m tests.soak.program CASE FOLDER

Without a cluster it is the same program with the standard library.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import dsmproc

from . import known, locks, phases, pools, tokens  # noqa: F401 (the edges are in them)
from .actor import Actor
from .edges import Edge, Managers, edges, logged
from .memory import Memory


def work(edge: Edge, number: int, together: Any, folder: str) -> None:
    """A worker: all of its actors, which are threads if it has several."""
    found = edge.places()
    edge.prepare(found)
    together.wait()  # or a quick one might be done before the next begins
    failed: list[BaseException] = []

    def act(thread: int) -> None:
        name = f"{edge.part.seed.replace('/', '-')}-worker-{number}.{thread}"
        with logged(folder, name) as log:
            try:
                edge.turns(Actor(edge.part, found, log, name), number)
            except BaseException as error:
                failed.append(error)
                raise

    threads = [threading.Thread(target=act, args=(n,)) for n in range(1, edge.part.threads)]
    for thread in threads:
        thread.start()
    act(0)
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def run(case: str, folder: str) -> None:
    program = known.program(case)
    memory, managers = Memory(program.regions), Managers()
    made = [edges[part.edge](part, memory, managers) for part in program.parts]
    together = dsmproc.Barrier(sum(part.workers for part in program.parts))
    jobs = [(e, n, together, folder) for e in made for n in range(e.part.workers)]
    mine = jobs.pop(0) if program.driver else None
    workers = [dsmproc.Process(target=work, args=job) for job in jobs]
    for worker in workers:
        worker.start()
    if mine is not None:
        work(*mine)
    for worker in workers:
        worker.join()
    codes = [worker.exitcode for worker in workers]
    if any(codes):
        raise SystemExit(f"the workers ended with {codes}")
    with logged(folder, "driver") as log:
        for edge in made:
            edge.finish()
            Actor(edge.part, edge.places(), log, "driver").look(range(len(edge.part.records)))
    managers.end()
    memory.unlink()


if __name__ == "__main__":
    run(*sys.argv[1:])
