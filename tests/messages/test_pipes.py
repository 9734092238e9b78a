"""Pipes behave as multiprocessing's, with the ends on one host or on three."""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import signal
from multiprocessing import connection as standard
from typing import Any

import pytest
from places import PATIENCE, finish, perform, start
from test_interrupted import Interrupt, interrupt, soon
from test_primitives import expect

from dsmproc import reduction
from dsmproc._channels import handles
from dsmproc.connection import wait

LARGE = 3 << 20


def echo(conn: Any) -> None:
    with contextlib.suppress(EOFError):
        while (value := conn.recv()) != "stop":
            conn.send(value)
    conn.close()


def messages(ctx: Any) -> None:
    ours, theirs = ctx.Pipe()
    child = start(ctx, echo, theirs)
    theirs.close()
    for value in (None, 5, "text", b"x" * LARGE, [1, {"a": (2.5, ours.__class__.__name__)}]):
        ours.send(value)
        assert ours.recv() == value
    for i in range(100):
        ours.send(i)
    assert [ours.recv() for _ in range(100)] == list(range(100))
    assert ours.poll() is False and ours.poll(0.05) is False
    assert not ours.closed and ours.readable and ours.writable
    ours.send("stop")  # a child forked from here has our end too, and would see no end of file
    ours.close()
    assert ours.closed
    assert str(expect(OSError, ours.send, 1)) == "handle is closed"
    finish(child)


def _bytes_back(conn: Any) -> None:
    assert conn.recv_bytes() == b"first"
    data = bytearray(10)
    assert conn.recv_bytes_into(data, 2) == 6
    assert data == b"\0\0second\0\0"
    conn.send_bytes(b"0123456789", 3, 4)
    conn.send_bytes(bytearray(b"long" * 10))
    conn.send_bytes(memoryview(b"x" * LARGE))
    conn.send_bytes(b"")


def byte_messages(ctx: Any) -> None:
    ours, theirs = ctx.Pipe()
    child = start(ctx, _bytes_back, theirs)
    ours.send_bytes(b"first")
    ours.send_bytes(b"second")
    assert ours.recv_bytes() == b"3456"
    try:
        ours.recv_bytes_into(bytearray(5))
        raise AssertionError("no BufferTooShort")
    except ctx.BufferTooShort as error:
        assert error.args[0] == b"long" * 10
    assert ours.recv_bytes() == b"x" * LARGE
    assert ours.recv_bytes() == b""
    finish(child)
    ours.send_bytes(b"much")
    expect(OSError, theirs.recv_bytes, 3)


def one_way(ctx: Any) -> None:
    reader, writer = ctx.Pipe(duplex=False)
    assert (reader.readable, reader.writable) == (True, False)
    assert (writer.readable, writer.writable) == (False, True)
    expect(OSError, reader.send, 1)
    expect(OSError, writer.recv)
    with writer:
        writer.send(1)
    assert writer.closed and reader.recv() == 1
    expect(EOFError, reader.recv)
    assert reader.poll() is True  # as the standard one: there is something to be told


def _write_and_go(conn: Any) -> None:
    for i in range(3):
        conn.send(i)


def end_of_file(ctx: Any) -> None:
    """What was sent by a process that ended is still there; then the end."""
    reader, writer = ctx.Pipe(duplex=False)
    child = start(ctx, _write_and_go, writer)
    writer.close()
    finish(child)
    assert [reader.recv() for _ in range(3)] == [0, 1, 2]
    expect(EOFError, reader.recv)
    expect(EOFError, reader.recv_bytes)


def _say_and_hang(said: Any, *_: Any) -> None:
    said.send("here")
    signal.pause()


def killed_writer(ctx: Any) -> None:
    reader, writer = ctx.Pipe(duplex=False)
    child = start(ctx, _say_and_hang, writer)
    writer.close()
    assert reader.recv() == "here"
    child.kill()
    assert reader.poll(PATIENCE)
    expect(EOFError, reader.recv)
    child.join(PATIENCE)


def _read_to_the_end(heard: Any, said: Any, reader: Any, writer: Any) -> None:
    writer.close()
    heard.close()
    said.send(reader.recv())
    expect(EOFError, reader.recv)


def killed_writer_of_another_reader(ctx: Any) -> None:
    heard, said = ctx.Pipe(duplex=False)
    reader, writer = ctx.Pipe(duplex=False)
    child = start(ctx, _say_and_hang, writer)
    other = start(ctx, _read_to_the_end, heard, said, reader, writer)
    writer.close()
    reader.close()
    assert heard.recv() == "here"
    child.kill()
    finish(other)
    child.join(PATIENCE)


def killed_reader(ctx: Any) -> None:
    """A sender that waits for room is told."""
    heard, said = ctx.Pipe(duplex=False)
    reader, writer = ctx.Pipe(duplex=False)
    child = start(ctx, _say_and_hang, said, reader)
    reader.close()
    assert heard.recv() == "here"
    with soon(child.kill):
        try:
            while True:
                writer.send_bytes(b"x" * 65536)
        except BrokenPipeError:
            pass
    expect(BrokenPipeError, writer.send, 1)
    child.join(PATIENCE)


def closed_reader(ctx: Any) -> None:
    reader, writer = ctx.Pipe(duplex=False)
    reader.close()
    expect(BrokenPipeError, writer.send, 1)
    expect(BrokenPipeError, writer.send, 2)


COUNT, SIZE = 8192, 4096


def _fill(conn: Any, told: Any) -> None:
    for i in range(COUNT):
        if i % 64 == 0:
            told.send(i)
        conn.send_bytes(b"x" * SIZE)


def bounded(ctx: Any) -> None:
    """A sender waits when nobody reads."""
    reader, writer = ctx.Pipe(duplex=False)
    heard, told = ctx.Pipe(duplex=False)
    child = start(ctx, _fill, writer, told)
    writer.close()
    sent = heard.recv()
    while heard.poll(0.5):
        sent = heard.recv()
    assert sent < COUNT * 3 // 4
    for _ in range(COUNT):
        assert len(reader.recv_bytes()) == SIZE
    expect(EOFError, reader.recv_bytes)
    finish(child)


def interrupted(ctx: Any) -> None:
    """An exception in the middle of a wait costs no message, and the pipe goes on."""
    ours, theirs = ctx.Pipe()
    for method in (ours.recv, ours.recv_bytes, lambda: ours.poll(PATIENCE)):
        with soon(interrupt):
            expect(Interrupt, method)
    with soon(lambda: theirs.send("in time")):
        assert ours.recv() == "in time"
    ours.send(1)
    assert theirs.poll(PATIENCE) and theirs.recv() == 1


def _send_through(conn: Any) -> None:
    inner = conn.recv()
    inner.send(os.getpid())


def connection_in_a_message(ctx: Any) -> None:
    ours, theirs = ctx.Pipe()
    reader, writer = ctx.Pipe(duplex=False)
    child = start(ctx, _send_through, theirs)
    ours.send(writer)
    writer.close()
    assert reader.recv() == child.pid
    expect(EOFError, reader.recv)
    finish(child)


@pytest.mark.parametrize(
    "scenario",
    [
        messages,
        byte_messages,
        one_way,
        end_of_file,
        killed_writer,
        killed_writer_of_another_reader,
        killed_reader,
        closed_reader,
        bounded,
    ],
)
def test_everywhere(place: str, scenario: Any) -> None:
    perform(place, scenario)


# ---- what only a cluster can be asked ---------------------------------------------------------


def mixed_wait(ctx: Any) -> None:
    """wait() over pipes of the cluster, standard ones, sockets and sentinels."""
    ours, theirs = ctx.Pipe()
    plain, other = standard.Pipe()
    child = start(ctx, echo, theirs)
    theirs.close()
    things = [ours, plain, child.sentinel]
    assert wait(things, 0) == []
    ours.send(1)
    assert wait(things, PATIENCE) == [ours]
    assert wait(things, PATIENCE) == [ours]
    assert standard.wait(things, PATIENCE) == [ours]
    other.send(2)
    assert set(map(id, wait(things))) == {id(ours), id(plain)}
    assert (ours.recv(), plain.recv()) == (1, 2)
    assert wait(things, 0.05) == []
    ours.close()
    assert wait(things[1:], PATIENCE) == [child.sentinel]
    finish(child)


def readable_descriptor(ctx: Any) -> None:
    """Readable while messages wait, and not before or after: selectors and asyncio."""
    ours, theirs = ctx.Pipe()
    with selectors.DefaultSelector() as selector:
        selector.register(ours, selectors.EVENT_READ)
        assert selector.select(0) == []
        theirs.send(1)
        theirs.send(2)
        for value in (1, 2):
            assert selector.select(PATIENCE)
            assert ours.poll() and selector.select(PATIENCE)
            assert ours.recv() == value
        assert selector.select(0.05) == []

    async def receive() -> Any:
        loop = asyncio.get_running_loop()
        came = loop.create_future()
        loop.add_reader(ours.fileno(), lambda: came.done() or came.set_result(ours.recv()))
        theirs.send("for the loop")
        try:
            return await asyncio.wait_for(came, PATIENCE)
        finally:
            loop.remove_reader(ours.fileno())

    assert asyncio.run(receive()) == "for the loop"


def _several(conn: Any, go: Any, said: Any) -> None:
    said.send(conn.recv())
    go.recv()
    assert wait([conn], 0.05) == []


def many_readers(ctx: Any) -> None:
    """Each message goes to one reader; a descriptor readable for nothing is no readiness."""
    reader, writer = ctx.Pipe(duplex=False)
    heard, said = ctx.Pipe(duplex=False)
    waiting, go = ctx.Pipe(duplex=False)
    children = [start(ctx, _several, reader, waiting, said) for _ in range(3)]
    for i in range(3):
        writer.send(i)
    assert sorted(heard.recv() for _ in range(3)) == [0, 1, 2]
    for _ in range(3):
        go.send(None)
    finish(*children)


class DiesWhenUnpickled:
    def __reduce__(self) -> Any:
        return os._exit, (3,)


def died_before_unpickling(ctx: Any) -> None:
    """An end on its way to a process that never came counts no more."""
    reader, writer = ctx.Pipe(duplex=False)
    child = start(ctx, echo, DiesWhenUnpickled(), writer)
    writer.close()
    assert reader.poll(PATIENCE)
    expect(EOFError, reader.recv)
    child.join(PATIENCE)
    assert child.exitcode == 3


def never_read(ctx: Any) -> None:
    """An end inside a message that nobody reads is closed with the pipe that holds it."""
    ours, theirs = ctx.Pipe()
    reader, writer = ctx.Pipe(duplex=False)
    ours.send(writer)
    writer.close()
    assert not reader.poll(0.05)
    ours.close()
    theirs.close()
    assert reader.poll(PATIENCE)
    expect(EOFError, reader.recv)


def home_elsewhere(ctx: Any) -> None:
    """A pipe made on one host, used by two others, none of them its maker's."""
    ours, theirs = ctx.Pipe()
    maker = start(ctx, _make, theirs, host=1)
    first, second = ours.recv()
    child = start(ctx, echo, second, host=2)
    second.close()
    first.send("around")
    assert first.recv() == "around"
    ours.send("end")
    finish(maker)
    first.close()
    finish(child)
    handles._close_anchors()  # else kept until this process leaves: the leak check would see it


def _in_turns(conn: Any, lock: Any, barrier: Any, rounds: int) -> None:
    for number in range(rounds):
        barrier.wait(PATIENCE)
        with lock:
            conn.send(number)
    barrier.wait(PATIENCE)
    conn.send("end")


def several_writers_in_order(ctx: Any) -> None:
    """What was sent before a barrier is read before what another host sends after it; and what a
    process that has ended had sent is there."""
    rounds = 200
    reader, writer = ctx.Pipe(duplex=False)
    shared = (writer, ctx.Lock(), ctx.Barrier(2), rounds)
    children = [start(ctx, _in_turns, *shared, host=host) for host in (0, 2)]
    writer.close()
    numbers = [reader.recv() for _ in range(2 * rounds)]
    assert numbers == [number for number in range(rounds) for _ in range(2)]
    finish(*children)
    assert reader.poll(0) and [reader.recv(), reader.recv()] == ["end", "end"]
    expect(EOFError, reader.recv)


def wait_for_what_was_sent_here(ctx: Any) -> None:
    ours, theirs = ctx.Pipe()
    for number in range(50):
        ours.send(number)
        assert wait([ours, theirs], 0) == [theirs]
        assert theirs.recv() == number


def a_descriptor_is_refused(ctx: Any) -> None:
    ours, theirs = ctx.Pipe()
    text = str(expect(NotImplementedError, reduction.send_handle, ours, 0, os.getpid()))
    assert "may be on different hosts" in text
    expect(NotImplementedError, reduction.recv_handle, theirs)
    ours.send("as before")
    assert theirs.recv() == "as before"


def _make(conn: Any) -> None:
    import dsmproc

    conn.send(dsmproc.Pipe())
    assert conn.recv() == "end"


def _forked(reader: Any, writer: Any) -> None:
    writer.send(reader.recv() + 1)


def in_a_forked_child(ctx: Any) -> None:
    """The child's ends are its own, though it was born with its parent's sockets."""
    from multiprocessing import get_context

    ours, theirs = ctx.Pipe()
    child = get_context("fork").Process(target=_forked, args=(theirs, theirs))
    child.start()
    theirs.close()
    ours.send(1)
    assert ours.recv() == 2
    child.join(PATIENCE)
    assert child.exitcode == 0
    expect(EOFError, ours.recv)


@pytest.mark.parametrize(
    "scenario",
    [
        connection_in_a_message,
        interrupted,
        mixed_wait,
        readable_descriptor,
        many_readers,
        died_before_unpickling,
        never_read,
        several_writers_in_order,
        wait_for_what_was_sent_here,
        a_descriptor_is_refused,
        home_elsewhere,
        in_a_forked_child,
    ],
)
@pytest.mark.parametrize("place", ["driver", "worker"])
def test_on_a_cluster(cluster: None, place: str, scenario: Any) -> None:
    perform(place, scenario)
