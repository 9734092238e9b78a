"""The broker by its frames: what it does with deaths, cancelled requests and nonsense."""

from __future__ import annotations

import fcntl
import sys
import termios

import pytest
from helpers import RunScript, eventually
from places import PATIENCE
from test_interrupted import soon

import dsmproc
from dsmproc._channels import frames
from dsmproc._channels.client import EMPTY, Link, TimedOut

BOTH = frames.READER | frames.WRITER


def ask_and_die(link: Link) -> None:
    """Ask for a message, and end before it is acknowledged, as a killed process does."""
    link._socket.sock.sendall(frames.frame(frames.GET, 7))
    reply = link._socket.receive()
    assert reply.kind == frames.MESSAGE and reply.number == 7
    link.close(quietly=True)


def waiting(link: Link) -> int:
    return frames.unpack_state(link.request(frames.STATE).body).waiting


def test_unacknowledged_message_goes_back_to_the_front(cluster: None) -> None:
    keeper = Link(role=BOTH)
    for text in (b"one", b"two"):
        keeper.send(text)
    keeper.request(frames.SYNC)
    ask_and_die(Link(keeper.owner, keeper.channel, BOTH))
    eventually(lambda: waiting(keeper) == 2, what="the broker has seen the end")
    assert keeper.get(timeout=PATIENCE) == b"one"
    assert keeper.get(timeout=PATIENCE) == b"two"
    keeper.close()


def test_cancelled_get_leaves_the_message(cluster: None) -> None:
    keeper, other = Link(role=BOTH), None
    other = Link(keeper.owner, keeper.channel, BOTH)
    with pytest.raises(TimedOut):
        other.get(timeout=0.05)
    keeper.send(b"late")
    assert keeper.get(timeout=PATIENCE) == b"late"
    assert other.get(flags=frames.NOWAIT) is EMPTY
    # Answered before the cancel is read: the client takes neither, the channel has it again.
    other._socket.sock.sendall(frames.frame(frames.SEND, 0, b"again"))
    other._socket.sock.sendall(frames.frame(frames.GET, 8) + frames.frame(frames.CANCEL, 8))
    kinds = [other._socket.receive().kind for _ in range(2)]
    assert kinds == [frames.MESSAGE, frames.CANCELLED]
    assert keeper.get(timeout=PATIENCE) == b"again"
    keeper.close()
    other.close()


def unread(link: Link) -> int:
    return int.from_bytes(fcntl.ioctl(link._socket.sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def test_a_full_channel_is_read_all_the_same(cluster: None) -> None:
    """A sender asks for room and waits for the answer. A socket that nobody reads would be taken
    for a dead host's after ten seconds (TCP_USER_TIMEOUT)."""
    reader = Link(role=frames.READER, size=1000)
    writer = Link(reader.owner, reader.channel, frames.WRITER)
    large = b"x" * frames.WINDOW
    for _ in range(8):
        writer._socket.sock.sendall(frames.frame(frames.SEND, 0, large))
    eventually(lambda: unread(writer) == 0, what="all was read")
    for _ in range(8):
        with pytest.raises(TimedOut):
            writer.request(frames.ROOM, timeout=0.01)
        assert reader.get() == large
    assert writer.request(frames.ROOM, timeout=PATIENCE).kind == frames.OK
    writer.send(large)
    with soon(reader.close), pytest.raises(BrokenPipeError):
        writer.send(b"waits for room")
    writer.close()


def test_channel_ends_with_its_last_holder(cluster: None) -> None:
    keeper = Link(role=BOTH)
    keeper.close()
    with pytest.raises(FileNotFoundError, match="does not exist any more"):
        Link(keeper.owner, keeper.channel, BOTH)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\xff" * 100,
        frames.frame(frames.GET, 1),  # before ATTACH
        frames.frame(frames.ATTACH, 1, b"short"),
        frames.HEADER.pack(frames.ATTACH, 0, 0, 1, 0, 1 << 60),
        frames.frame(frames.ATTACH, 1, frames.Attach(0, 0, 0, 0, 0, 0, 0).pack())
        + frames.frame(frames.SEND, 0, b"an anchor has no channel"),
        frames.frame(frames.ATTACH, 1, frames.Attach(0, 3, 0, 0, 0, 0, 0).pack())
        + frames.frame(frames.PUT, 2, b"xx", tickets=9),
        frames.frame(frames.ATTACH, 1, frames.Attach(0, 3, 0, 0, 0, 0, 0).pack())
        + frames.frame(frames.GET, 2)
        + frames.frame(frames.GET, 3),
    ],
)
def test_nonsense_ends_its_connection_and_nothing_else(cluster: None, nonsense: bytes) -> None:
    keeper = Link(role=BOTH)
    keeper.send(b"kept")
    wired = dsmproc._membership.client().connect_agent("channel")
    with wired:
        wired.sock.settimeout(PATIENCE)
        wired.sock.sendall(nonsense)
        try:
            while wired.sock.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
    assert keeper.get(timeout=PATIENCE) == b"kept"
    keeper.close()


def test_users_of_a_pipe_are_told_that_its_host_was_lost(run_script: RunScript) -> None:
    result = run_script(
        """
        import os, signal
        import dsmproc as mp

        def make(conn):
            reader, writer = mp.Pipe(False)
            queue = mp.Queue()
            conn.send((os.getppid(), reader, writer))
            signal.pause()

        ours, theirs = mp.Pipe()
        child = mp.Process(target=make, args=(theirs,))
        child._dsmproc_host = 1
        child.start()
        agent, reader, writer = ours.recv()
        writer.send("before")
        assert reader.recv() == "before"
        os.kill(agent, signal.SIGKILL)
        for operation in (reader.recv, lambda: [writer.send("x") for _ in range(100)]):
            try:
                operation()
            except mp.HostLostError as error:
                assert isinstance(error, OSError) and error.host == 1
                print("host 1" in str(error))
        try:
            child.join()
        except mp.HostLostError:
            print("joined")
        """
    )
    assert result.check().lines() == ["True", "True", "joined"]
