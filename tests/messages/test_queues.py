"""Queues behave as multiprocessing's, with putters and getters on one host or on three."""

from __future__ import annotations

import queue
import signal
import threading
from typing import Any

import pytest
from places import PATIENCE, finish, perform, run, start
from test_interrupted import Interrupt, interrupt, soon
from test_primitives import expect, timed

COUNT = 60


def _consume(source: Any, results: Any) -> None:
    while (item := source.get()) is not None:
        results.put(item)


def producers_and_consumers(ctx: Any) -> None:
    source, results = ctx.Queue(), ctx.Queue()
    children = [start(ctx, _consume, source, results) for _ in range(3)]
    for i in range(COUNT):
        source.put(i)
    assert sorted(results.get(timeout=PATIENCE) for _ in range(COUNT)) == list(range(COUNT))
    for _ in children:
        source.put(None)
    finish(*children)


def _put_all(where: Any, values: list[Any]) -> None:
    for value in values:
        where.put(value)


def order(ctx: Any) -> None:
    """One process's objects come in the order of its puts, small and large."""
    values = [i if i % 5 else "x" * 200_000 for i in range(40)]
    for made in (ctx.Queue(), ctx.Queue(3), ctx.JoinableQueue(), ctx.SimpleQueue()):
        child = start(ctx, _put_all, made, values)
        assert [made.get() for _ in values] == values
        finish(child)


def _get_one(source: Any) -> None:
    source.get(timeout=PATIENCE)


def limits(ctx: Any) -> None:
    made = ctx.Queue(maxsize=2)
    expect(queue.Empty, made.get_nowait)
    expect(queue.Empty, made.get, False)
    timed(0.1, expect, queue.Empty, made.get, True, 0.1)
    made.put(1)
    made.put(2, timeout=PATIENCE)
    expect(queue.Full, made.put_nowait, 3)
    timed(0.1, expect, queue.Full, made.put, 3, True, 0.1)
    assert made.full()
    child = start(ctx, _get_one, made)
    made.put(3, timeout=PATIENCE)  # there is room when the child has taken one
    finish(child)
    assert made.qsize() == 2 and made.full() and not made.empty()
    assert [made.get(), made.get(timeout=PATIENCE)] == [2, 3]
    assert made.qsize() == 0


def _work(tasks: Any, count: int) -> None:
    for _ in range(count):
        tasks.get()
        tasks.task_done()


def joinable(ctx: Any) -> None:
    tasks = ctx.JoinableQueue()
    tasks.join()
    children = [start(ctx, _work, tasks, 5) for _ in range(2)]
    for i in range(10):
        tasks.put(i)
    tasks.join()
    assert tasks.qsize() == 0
    assert "too many times" in expect(ValueError, tasks.task_done)
    finish(*children)


def closed(ctx: Any) -> None:
    made = ctx.Queue()
    made.put(1)
    assert made.get() == 1
    made.close()
    made.join_thread()
    assert "is closed" in expect(ValueError, made.put, 1)
    assert "is closed" in expect(ValueError, made.get)
    expect(OSError, made.empty)
    expect(RuntimeError, ctx.Queue().__getstate__)


def simple(ctx: Any) -> None:
    made = ctx.SimpleQueue()
    assert made.empty()
    made.put({"a": 1})
    assert not made.empty() and made.get() == {"a": 1}
    run(ctx, _put_all, made, [1, 2])
    assert [made.get(), made.get()] == [1, 2]
    made.close()


def threads(ctx: Any) -> None:
    """Many threads of a process share a queue; one that waits is in nobody's way."""
    made = ctx.Queue()
    got: list[int] = []
    getters = [threading.Thread(target=lambda: got.append(made.get())) for _ in range(4)]
    for getter in getters:
        getter.start()
    for i in range(4):
        made.put(i)
    for getter in getters:
        getter.join(PATIENCE)
    assert sorted(got) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "scenario",
    [producers_and_consumers, order, limits, joinable, closed, simple, threads],
)
def test_everywhere(place: str, scenario: Any) -> None:
    perform(place, scenario)


# ---- what only a cluster can be asked ---------------------------------------------------------


def put_is_at_once(ctx: Any) -> None:
    """A process sees what it put; what cannot be pickled raises in put and nothing is sent."""
    made = ctx.Queue()
    for i in range(20):
        made.put(i)
        assert made.qsize() == 1 and not made.empty()
        assert made.get_nowait() == i
    expect(TypeError, made.put, threading.Lock())
    assert made.empty()


def _wait_for_ever(said: Any, source: Any) -> None:
    said.send("here")
    source.get()


def killed_getter(ctx: Any) -> None:
    """A getter that is killed while it waits takes nothing with it and blocks nobody."""
    made = ctx.Queue()
    heard, said = ctx.Pipe(duplex=False)
    child = start(ctx, _wait_for_ever, said, made)
    assert heard.recv() == "here"
    child.kill()
    child.join(PATIENCE)
    made.put(1)
    assert made.get(timeout=PATIENCE) == 1


def _put_and_die(where: Any) -> None:
    import os

    for i in range(3):
        where.put(i)
    os.kill(os.getpid(), signal.SIGKILL)


def killed_putter(ctx: Any) -> None:
    """What was put is there, whatever becomes of the process."""
    made = ctx.Queue()
    child = start(ctx, _put_and_die, made)
    child.join(PATIENCE)
    assert child.exitcode == -signal.SIGKILL
    assert [made.get(timeout=PATIENCE) for _ in range(3)] == [0, 1, 2]


def _get_some(said: Any, made: Any, count: int) -> None:
    for _ in range(count):
        said.send(made.get())


def killed_putter_of_another_getter(ctx: Any) -> None:
    """A getter waits on, for others may put."""
    made = ctx.Queue()
    heard, said = ctx.Pipe(duplex=False)
    other = start(ctx, _get_some, said, made, 4)
    child = start(ctx, _put_and_die, made)
    child.join(PATIENCE)
    assert [heard.recv() for _ in range(3)] == [0, 1, 2]
    made.put("later")
    assert heard.recv() == "later"
    finish(other)


def interrupted(ctx: Any) -> None:
    """Ctrl-C, or a handler's exception, ends a wait; no message is lost or doubled."""
    made = ctx.Queue(1)
    tasks = ctx.JoinableQueue()
    tasks.put("never done")
    with soon(interrupt):
        expect(Interrupt, made.get)
    with soon(lambda: made.put("in time")):
        assert made.get() == "in time"
    made.put(1)
    with soon(interrupt):
        expect(Interrupt, made.put, 2)
    with soon(interrupt):
        expect(Interrupt, tasks.join)
    assert made.get() == 1
    made.put(3)
    assert made.get() == 3 and made.empty()


def _forked(source: Any, results: Any) -> None:
    results.put(source.get(timeout=PATIENCE) + 1)


def in_a_forked_child(ctx: Any) -> None:
    from multiprocessing import get_context

    source, results = ctx.Queue(), ctx.Queue()
    source.put(1)
    assert source.get() == 1  # this process has used all of its links
    child = get_context("fork").Process(target=_forked, args=(source, results))
    child.start()
    source.put(2)
    assert results.get(timeout=PATIENCE) == 3
    child.join(PATIENCE)
    assert child.exitcode == 0


def connection_inside(ctx: Any) -> None:
    made = ctx.Queue()
    ours, theirs = ctx.Pipe()
    child = start(ctx, _answer_there, made)
    made.put(theirs)
    theirs.close()
    assert ours.recv() == child.pid
    expect(EOFError, ours.recv)
    finish(child)


def _answer_there(source: Any) -> None:
    import os

    with source.get() as conn:
        conn.send(os.getpid())


@pytest.mark.parametrize(
    "scenario",
    [
        put_is_at_once,
        killed_getter,
        killed_putter,
        killed_putter_of_another_getter,
        interrupted,
        in_a_forked_child,
        connection_inside,
    ],
)
@pytest.mark.parametrize("place", ["driver", "worker"])
def test_on_a_cluster(cluster: None, place: str, scenario: Any) -> None:
    perform(place, scenario)
