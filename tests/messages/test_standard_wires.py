"""Pipes and queues of the standard library, whose other users are on other hosts."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
from multiprocessing import connection, queues
from typing import Any

import pytest
import test_pipes
import test_queues
from helpers import RunScript
from places import PATIENCE, finish, perform, start
from test_interrupted import Interrupt, interrupt, soon
from test_primitives import expect

import dsmproc


class Standard:
    """Processes of the cluster, and pipes and queues that know nothing of it."""

    BufferTooShort = multiprocessing.BufferTooShort

    def __init__(self, ctx: Any) -> None:
        self.Process = ctx.Process
        plain = multiprocessing.get_context("fork")  # of the others the resource tracker remains
        self.Queue, self.JoinableQueue = plain.Queue, plain.JoinableQueue
        self.SimpleQueue, self.Pipe = plain.SimpleQueue, connection.Pipe


class Half(Standard):
    """As concurrent.futures does it: the standard classes, made with our context's locks."""

    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx)
        self.Queue = functools.partial(queues.Queue, ctx=ctx)
        self.JoinableQueue = functools.partial(queues.JoinableQueue, ctx=ctx)
        self.SimpleQueue = functools.partial(queues.SimpleQueue, ctx=ctx)


def _with(kind: type[Standard], scenario: Any, ctx: Any) -> None:
    scenario(kind(ctx))


def _echo_values(ctx: Any) -> None:
    ours, theirs = ctx.Pipe()
    child = start(ctx, test_pipes.echo, theirs)
    theirs.close()
    for value in (None, 5, "text", b"x" * test_pipes.LARGE, [1, {"a": (2.5, "b")}]):
        ours.send(value)
        assert ours.recv() == value
    for i in range(100):
        ours.send(i)
    assert [ours.recv() for _ in range(100)] == list(range(100))
    ours.send("stop")
    expect(EOFError, ours.recv)
    finish(child)


def _look(conn: Any, sentinel: Any) -> None:
    """All the ways to wait, at the proxy."""
    assert isinstance(conn, connection.Connection)
    assert conn.poll(0) is False and conn.poll(0.05) is False
    assert dsmproc.connection.wait([conn, sentinel], 0.05) == []
    with soon(interrupt):
        expect(Interrupt, conn.recv)
    conn.send("go")
    assert conn.poll(PATIENCE) and dsmproc.connection.wait([conn, sentinel]) == [conn]
    assert connection.wait([conn], PATIENCE) == [conn]
    assert conn.recv() == "first"
    conn.send("gone")
    assert conn.poll(None)
    expect(EOFError, conn.recv)
    assert conn.poll(0) is True
    expect(BrokenPipeError, conn.send, 1)
    expect(BrokenPipeError, conn.send, 2)


def looking(ctx: Any) -> None:
    ours, theirs = ctx.Pipe()
    never, kept = ctx.Pipe(duplex=False)
    child = start(ctx, _look, theirs, never)
    theirs.close()
    assert ours.recv() == "go"
    ours.send("first")
    assert ours.recv() == "gone"
    ours.close()
    finish(child)
    never.close()
    expect(BrokenPipeError, kept.send, 1)


def _ends(conn: Any, go: Any) -> None:
    conn.send(os.getpid())
    go.recv()
    conn.send("last")
    os.kill(os.getpid(), signal.SIGKILL)


def what_was_sent_is_there(ctx: Any) -> None:
    """When a sender has ended, its message is in the pipe, and then the end is."""
    reader, writer = ctx.Pipe(duplex=False)
    heard, said = ctx.Pipe(duplex=False)
    child = start(ctx, _ends, writer, heard)
    writer.close()
    assert reader.recv() == child.pid
    said.send(1)
    child.join(PATIENCE)
    assert child.exitcode == -signal.SIGKILL
    assert reader.poll(0) and reader.recv() == "last"
    expect(EOFError, reader.recv)


def _pass_on(conn: Any, host: int) -> None:
    finish(start(dsmproc.get_context(), test_pipes.echo, conn, host=host))


def passed_on(ctx: Any) -> None:
    """A proxy goes on to a third host."""
    ours, theirs = ctx.Pipe()
    child = start(ctx, _pass_on, theirs, 0, host=2)
    theirs.close()
    ours.send([1, 2])
    assert ours.recv() == [1, 2]
    ours.send("stop")
    expect(EOFError, ours.recv)
    finish(child)


def _take_one(conn: Any, said: Any) -> None:
    said.send(conn.recv())


def nothing_ahead(ctx: Any) -> None:
    """A process elsewhere takes the message that it asks for; the next one is still the maker's."""
    ours, theirs = ctx.Pipe()
    heard, said = ctx.Pipe(duplex=False)
    for i in range(4):
        ours.send(i)
    for i in (0, 2):
        child = start(ctx, _take_one, theirs, said)
        assert heard.recv() == i
        finish(child)
        assert theirs.recv() == i + 1


def in_a_message(ctx: Any) -> None:
    """A standard Connection in a message of ours."""
    ours, theirs = dsmproc.Pipe()
    reader, writer = ctx.Pipe(duplex=False)
    child = start(ctx, test_pipes._send_through, theirs)
    ours.send(writer)
    writer.close()
    assert reader.recv() == child.pid
    expect(EOFError, reader.recv)
    finish(child)


@pytest.mark.parametrize(
    "scenario",
    [
        _echo_values,
        test_pipes.byte_messages,
        test_pipes.end_of_file,
        test_pipes.killed_writer,
        test_pipes.killed_reader,
        test_pipes.bounded,
        test_pipes.died_before_unpickling,
        looking,
        what_was_sent_is_there,
        passed_on,
        nothing_ahead,
        in_a_message,
    ],
)
@pytest.mark.parametrize("place", ["driver", "worker"])
def test_pipe(cluster: None, place: str, scenario: Any) -> None:
    perform(place, functools.partial(_with, Standard, scenario))


# ---- queues -------------------------------------------------------------------------------------


def _use(made: Any, other: Any) -> None:
    assert isinstance(made, queues.Queue) and isinstance(other, queues.JoinableQueue)
    expect(queues.Empty, made.get, False)
    expect(queues.Empty, made.get, True, 0.05)
    assert made.empty() and made.qsize() == 0
    made.put(1)
    made.put({"b": 2}, timeout=PATIENCE)
    assert made.full() and made.qsize() == 2
    expect(queues.Full, made.put_nowait, 3)
    expect(queues.Full, made.put, 3, True, 0.05)
    assert other.get(timeout=PATIENCE) == "task"
    other.task_done()
    expect(ValueError, other.task_done)
    made.close()
    expect(ValueError, made.get)
    made.join_thread()


def both_directions(ctx: Any) -> None:
    made, other = ctx.Queue(2), ctx.JoinableQueue()
    child = start(ctx, _use, made, other)
    other.put("task")
    other.join()
    finish(child)
    assert made.full()
    assert made.get(timeout=PATIENCE) == 1 and made.get(timeout=PATIENCE) == {"b": 2}


def _interrupted(made: Any, tasks: Any) -> None:
    with soon(interrupt):
        expect(Interrupt, made.get)
    with soon(interrupt):
        expect(Interrupt, tasks.join)
    tasks.put("go")
    assert made.get(timeout=PATIENCE) == "in time"
    made.put("ready")


def interrupted_elsewhere(ctx: Any) -> None:
    """Ctrl-C ends a wait at the proxy; nothing is lost."""
    made, tasks = ctx.Queue(1), ctx.JoinableQueue()
    tasks.put("never done")
    child = start(ctx, _interrupted, made, tasks)
    assert [tasks.get(timeout=PATIENCE) for _ in range(2)] == ["never done", "go"]
    made.put("in time")
    finish(child)
    assert made.get(timeout=PATIENCE) == "ready"


def _get_and_pass(made: Any, results: Any) -> None:
    ctx = dsmproc.get_context()
    finish(start(ctx, _put_next, made, results, host=0))


def _put_next(made: Any, results: Any) -> None:
    results.put(made.get() + 1)


def queue_passed_on(ctx: Any) -> None:
    made, results = ctx.Queue(), ctx.SimpleQueue()
    child = start(ctx, _get_and_pass, made, results, host=2)
    made.put(1)
    assert results.get() == 2
    finish(child)


@pytest.mark.parametrize("kind", [Standard, Half])
@pytest.mark.parametrize(
    "scenario",
    [
        test_queues.producers_and_consumers,
        test_queues.order,
        test_queues.joinable,
        test_queues.killed_getter,
        both_directions,
        interrupted_elsewhere,
        queue_passed_on,
    ],
)
@pytest.mark.parametrize("place", ["driver", "worker"])
def test_queue(cluster: None, place: str, scenario: Any, kind: type[Standard]) -> None:
    perform(place, functools.partial(_with, kind, scenario))


def _own_a_queue(conn: Any) -> None:
    made = multiprocessing.get_context("fork").Queue()
    child = start(dsmproc.get_context(), _wait_for_owner, made, conn, host=2)
    conn.send((os.getpid(), child.pid))
    signal.pause()


def _wait_for_owner(made: Any, conn: Any) -> None:
    conn.send("here")
    try:
        made.get()
    except dsmproc.ProcessError as error:
        conn.send(str(error))


def test_owner_is_killed(cluster: None) -> None:
    ctx = dsmproc.get_context()
    ours, theirs = ctx.Pipe()
    owner = start(ctx, _own_a_queue, theirs, host=1)
    theirs.close()
    heard = [ours.recv(), ours.recv()]
    assert "here" in heard
    owner.kill()
    assert f"process {owner.pid} on host 1, which served it, has ended" in ours.recv()
    owner.join(PATIENCE)
    expect(EOFError, ours.recv)  # the owner's child has ended too


EXECUTOR = """
import os, threading, time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
import dsmproc

greeting = None

class Point:
    def __init__(self, x):
        self.x = x

def prepare(word):
    global greeting
    greeting = word

def square(point):
    return Point(point.x ** 2), dsmproc.current_host()

def greet(barrier):
    barrier.wait(30)
    return greeting, dsmproc.current_host()

def fail():
    raise KeyError("as it should")

def die():
    os._exit(9)

def executor():
    context = dsmproc.get_context("cluster")
    return ProcessPoolExecutor(3, mp_context=context, initializer=prepare, initargs=("hello",))

if __name__ == "__main__":
    with dsmproc.Manager() as manager:
        with executor() as pool:
            barrier = manager.Barrier(3)
            futures = [pool.submit(greet, barrier) for _ in range(3)]
            print(sorted({future.result() for future in as_completed(futures)}))
            done = list(pool.map(square, map(Point, range(50)), chunksize=7))
            print([point.x for point, _ in done] == [x * x for x in range(50)])
            print({host for _, host in done} <= {1, 2})
            print(repr(pool.submit(fail).exception()))
            try:
                pool.submit(square, threading.Lock()).result(30)
            except TypeError:
                print("not picklable")
        with executor() as pool:
            try:
                pool.submit(die).result(30)
            except BrokenProcessPool:
                print("broken")
"""


def test_process_pool_executor(run_script: RunScript) -> None:
    done = run_script(EXECUTOR, env={"DSMPROC_PLACE": "remote"}).check()
    assert done.lines() == [
        "[('hello', 1), ('hello', 2)]",
        "True",
        "True",
        "KeyError('as it should')",
        "not picklable",
        "broken",
    ]
