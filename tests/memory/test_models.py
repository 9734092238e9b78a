"""The litmus files of the simulator on real hosts, under each consistency model.

A file's threads are processes of its hosts, the same ones for all files; each time is on pages of
its own, which nobody has touched. What a file says `never` or `always` happens must hold each time.
What it says happens `sometimes` need not be seen here, but for scope consistency's stale read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from places import PATIENCE, finish, local_cluster, start
from sim.explore import Litmus, Outcome, judge, parse

import dsmproc

PAGE = 4096
TIMES = 20
HOSTS = 3
FILES = sorted((Path(__file__).parents[1] / "sim" / "litmus").glob("[LR]*.litmus"))
# `wait` is no message of the cluster: there is nothing like it here
FILES = [path for path in FILES if path.stem != "R6"]


@pytest.fixture(scope="module", params=["lrc", "scc", "erc", "sc"])
def model(request: pytest.FixtureRequest) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSMPROC_CONSISTENCY", request.param)
        patch.setenv("DSMPROC_TICK", "0")
        with local_cluster():
            yield request.param


class Objects:
    """What the programs of a file share, by the file's names."""

    def __init__(self, litmus: Litmus) -> None:
        ctx = dsmproc.get_context()
        ops = [op.split() for _, thread in litmus.threads for op in thread]
        self.locks = {name: ctx.Lock() for name in litmus.locks}
        self.semaphores = {op[1]: ctx.Semaphore(0) for op in ops if op[0] in ("acquire", "release")}
        self.barriers = {op[1]: ctx.Barrier(int(op[2])) for op in ops if op[0] == "barrier"}
        mails = {op[1] for op in ops if op[0] in ("receive", "wait")}
        self.queues = {name: ctx.SimpleQueue() for name in mails}
        self.turn = ctx.Barrier(len(litmus.threads))


def _do(op: str, objects: Objects, at: dict[str, int], memory: Any, registers: Any) -> None:
    word, *names = op.split()
    left, sign, right = op.partition("=")
    if sign and right.isdigit():
        memory[at[left]] = int(right)
    elif sign:
        registers[left] = memory[at[right]]
    elif word == "lock":
        objects.locks[names[0]].acquire()
    elif word == "unlock":
        objects.locks[names[0]].release()
    elif word in ("acquire", "release"):
        getattr(objects.semaphores[names[0]], word)()
    elif word == "barrier":
        objects.barriers[names[0]].wait(PATIENCE)
    elif word == "send" and names[0] in objects.queues:
        objects.queues[names[0]].put(None)
    elif word == "receive":
        objects.queues[names[0]].get()


def _run(litmus: Litmus, number: int, memory: Any, objects: Objects) -> list[dict[str, int]]:
    """What one thread of the file reads, each time."""
    seen = []
    for time in range(TIMES):
        first = time * litmus.pages
        at = {name: (first + page) * PAGE + off for name, (page, off) in litmus.bytes.items()}
        registers: dict[str, int] = {}
        objects.turn.wait(PATIENCE)
        for op in litmus.threads[number][1]:
            _do(op, objects, at, memory, registers)
        seen.append(registers)
    return seen


Part = tuple[Litmus, int, str, Objects]  # a thread of a file, by its number


def _process(parts: list[Part], answers: Any) -> None:
    for litmus, number, name, objects in parts:
        memory = dsmproc.SharedMemory(name)
        answers.put((litmus.name, _run(litmus, number, memory.buf, objects)))
        memory.close()


def _share_out(litmus: Litmus, name: str, processes: dict[tuple[int, int], list[Part]]) -> None:
    """Each thread of the file to a process of its host."""
    objects, used = Objects(litmus), dict.fromkeys(range(HOSTS), 0)
    for number, (host, _) in enumerate(litmus.threads):
        processes.setdefault((host, used[host]), []).append((litmus, number, name, objects))
        used[host] += 1


def _outcome(seen: list[list[dict[str, int]]]) -> Outcome:
    outcome = Outcome(whole=False)
    for registers in zip(*seen, strict=True):
        together = {name: value for one in registers for name, value in one.items()}
        outcome.results[tuple(sorted(together.items()))] = []
    return outcome


def test_litmus_on_real_hosts(model: str) -> None:
    ctx = dsmproc.get_context()
    answers, processes = ctx.SimpleQueue(), dict[tuple[int, int], list[Part]]()
    memories = []
    for path in FILES:
        litmus = parse(path)
        litmus.model = model
        memory = dsmproc.SharedMemory(create=True, size=TIMES * litmus.pages * PAGE)
        memories.append((litmus, memory))
        _share_out(litmus, memory.name, processes)
    children = [
        start(ctx, _process, parts, answers, host=at) for (at, _), parts in processes.items()
    ]
    seen: dict[str, list[list[dict[str, int]]]] = {}
    for _ in range(sum(map(len, processes.values()))):
        name, registers = answers.get()
        seen.setdefault(name, []).append(registers)
    finish(*children)
    for litmus, memory in memories:
        outcome = _outcome(seen[litmus.name])
        assert outcome.results and judge(litmus, outcome) == [], litmus.name
        memory.close()
        memory.unlink()


def _write_then_lock(name: str, lock: Any, begin: Any, end: Any) -> None:
    memory = dsmproc.SharedMemory(name)
    begin.get()
    memory.buf[0] = 3
    with lock:
        memory.buf[PAGE] = 5
    end.get()  # the end of a process would tell everything
    memory.close()


def _look(name: str, lock: Any, begin: Any, answers: Any) -> None:
    memory = dsmproc.SharedMemory(name)
    begin.put(None)  # from here on this host hears of nothing but by the lock
    flag = 0
    while not flag:
        with lock:
            flag = memory.buf[PAGE]
    answers.put((flag, memory.buf[0]))
    memory.close()


def test_the_stale_read_is_seen_under_scope_consistency_only(model: str) -> None:
    """The seed's figure 3: x is written before the critical section that writes y."""
    ctx = dsmproc.get_context()
    memory, lock = dsmproc.SharedMemory(create=True, size=2 * PAGE), dsmproc.Lock()
    begin, end, answers = ctx.SimpleQueue(), ctx.SimpleQueue(), ctx.SimpleQueue()
    writer = start(ctx, _write_then_lock, memory.name, lock, begin, end, host=2)
    reader = start(ctx, _look, memory.name, lock, begin, answers, host=1)
    assert answers.get() == (5, 0 if model == "scc" else 3)
    assert memory.buf[0] == 3  # a message tells everything
    end.put(None)
    finish(reader, writer)
    memory.close()
    memory.unlink()


def _poll(name: str, ready: Any, answers: Any) -> None:
    memory = dsmproc.SharedMemory(name)
    seen = [memory.buf[PAGE]]
    ready.put(None)
    while not memory.buf[0]:
        pass
    seen.append(memory.buf[PAGE])
    answers.put(seen)
    memory.close()


@pytest.mark.parametrize("model", ["sc"], indirect=True)
def test_polling_a_flag_ends_under_sequential_consistency(model: str) -> None:
    """R6 and R2: nothing but the memory says that the flag is set, and then the data are there."""
    ctx = dsmproc.get_context()
    memory = dsmproc.SharedMemory(create=True, size=2 * PAGE)
    ready, answers = ctx.SimpleQueue(), ctx.SimpleQueue()
    reader = start(ctx, _poll, memory.name, ready, answers, host=2)
    ready.get()
    memory.buf[PAGE] = 7
    memory.buf[0] = 1
    assert answers.get() == [0, 7]
    finish(reader)
    memory.close()
    memory.unlink()


def _add(name: str, places: list[int], turns: int, answers: Any) -> None:
    memory = dsmproc.SharedMemory(name)
    for _ in range(turns):
        for at in places:
            memory.buf[at] = (memory.buf[at] + 1) % 256
    answers.put(memory.buf[places[0]])
    memory.close()


def test_two_writers_of_one_page_get_on(model: str) -> None:
    """Under sequential consistency the page goes to and fro, and each of them gets its turn."""
    ctx = dsmproc.get_context()
    memory, answers = dsmproc.SharedMemory(create=True, size=PAGE), ctx.SimpleQueue()
    writers = [
        start(ctx, _add, memory.name, [at, at + 100], 50, answers, host=host)
        for host, at in ((1, 0), (2, 50))
    ]
    assert [answers.get() for _ in writers] == [50, 50]
    finish(*writers)
    assert [memory.buf[at] for at in (0, 100, 50, 150)] == [50] * 4
    memory.close()
    memory.unlink()
