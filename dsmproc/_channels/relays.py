"""Relays: descriptors of standard Connections, behind channels that other hosts can use.

A process that sends a standard Connection to another host hands a copy of its descriptor to its
agent ("wire" connections, see `Relays.connected`); one that wants to speak to a Listener of another
host has that host's agent connect to it ("dial", addresses.py). A relay joins a descriptor to a
channel for each direction:

    input    what the descriptor gives: a message is read when a process asks for it, not before
    output   what processes send: each is told that all is well when the descriptor has taken it

Nobody marks what local processes wrote into the descriptor with a stamp. So what is read counts as
released by this host, and what is written is first observed by it.

Reading and writing may block, for the flags of a descriptor are shared with its other users, and
because a process in a page fault may hold a pipe's lock: threads of their own do it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import queue
import select
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from .._net.listener import Peer
from ..errors import ProtocolError
from . import frames
from .addresses import on_one_host
from .broker import Broker
from .channel import Channel, Closing, End, Message
from .frames import READER, WRITER

log = logging.getLogger("dsmproc")

Observe = Callable[[int], Awaitable[None]]

HANG_UP = select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP
SHORT, LONG = struct.Struct("!i"), struct.Struct("!Q")  # how a standard Connection says a length
DIAL_SECONDS = 20.0  # until a listener must have room for one more
PIECE = 1 << 20
BACKLOG_SECONDS = 0.02  # between two looks for it
JOIN_BELOW = 1 << 14  # length and message in one write, as the standard class does it


class _Hand:
    """A thread that does one thing after the other, from the first one on."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._started = False

    def do(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._jobs.put((work, loop, future))
        if not self._started:
            self._started = True
            threading.Thread(target=self._run, name="relay", daemon=True).start()
        return future

    def end(self) -> None:
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, loop, future = job
            result = work()
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(_settle, future, result)


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


class Relay:
    """One descriptor. All but the threads' work is done in the loop."""

    def __init__(self, relays: Relays, fd: int, roles: int, foreign: bool) -> None:
        self._relays = relays
        self._broker = relays.broker
        self._fd = fd
        self.foreign = foreign  # its other end may be on another machine, with writes of that one
        self._readable = False
        self._reading = self._writing = False
        self._hands = (_Hand(), _Hand())  # of the reader, of the writer
        self._carried: list[Closing] = []  # of messages that a standard reader will unpickle
        self.input = self._channel(WRITER) if roles & READER else None
        self.output = self._channel(READER) if roles & WRITER else None
        self._open = {one for one in (self.input, self.output) if one is not None}
        relays.watch(self, fd, self._wish())

    def _channel(self, far: int) -> Channel:
        channel = self._broker.new_channel()
        channel.backend = self
        channel.far_side(far, True)
        return channel

    # -- what the descriptor says ---------------------------------------------------------------

    def _wish(self) -> int:
        return select.EPOLLIN if self.input in self._open and not self._readable else 0

    def event(self, mask: int) -> None:
        """An event of the descriptor, which was watched for one."""
        if self.input in self._open and mask & ~select.EPOLLERR:
            self._has_input()
        if mask & HANG_UP:
            self._hung_up()
        else:
            self._relays.rearm(self._fd, self._wish())

    def _has_input(self) -> None:
        assert self.input is not None
        self._readable = True
        self.input.release(True, 0)
        self._broker.serve(self.input)

    def _hung_up(self) -> None:
        if self.output in self._open:
            assert self.output is not None
            self.output.far_side(READER, False)
            self._broker.serve(self.output)

    def readable(self) -> bool:
        """Whether a read would find a message or the end; asks the kernel."""
        if self.input not in self._open or self._reading:
            return False
        there = _ready(self._fd)
        if there and not self._readable:
            self._has_input()
        elif self._readable and not there:  # somebody here was faster
            self._readable = False
            self._relays.rearm(self._fd, self._wish())
        return there

    def maybe_readable(self) -> bool:
        return self._readable and not self._reading

    # -- work -----------------------------------------------------------------------------------

    def serve(self, channel: Channel) -> None:
        """Begin what somebody waits for, if nothing is under way."""
        if channel is self.input:
            wanted = channel.getters and not channel.messages and not channel.ended
            if wanted and self._readable and not self._reading:
                self._reading = True
                self._broker.spawn(self._read(channel))
            return
        while channel.broken and channel.putters:
            end, message = channel.putters.popleft()
            message.drop()
            self._broker.answer(end, frames.BROKEN)
        if channel.putters and not self._writing:
            self._writing = True
            self._broker.spawn(self._write(channel, *channel.putters.popleft()))

    async def _read(self, channel: Channel) -> None:
        data = await self._hands[0].do(lambda: _read_message(self._fd))
        self._reading = self._readable = False
        if channel not in self._open:
            self._close_if_idle()
        elif data is None:
            channel.far_side(WRITER, False)
        else:
            if data is not NOTHING:
                channel.append(Message(data))
                channel.release(True, 0)
            self._relays.rearm(self._fd, self._wish())
        self._broker.serve(channel)

    async def _write(self, channel: Channel, end: End, message: Message) -> None:
        number = end.active
        good = False
        try:
            await self._relays.observe(channel.stamp)
            good = await self._hands[1].do(lambda: _write_message(self._fd, message.data))
        except Exception:
            log.exception("a message could not be written: its pipe is closed")
        self._writing = False
        if message.carried is not None:
            self._carried.append(message.carried)
        if not good:
            channel.far_side(READER, False)
        if end.active == number and not end.closed:
            self._broker.answer(end, frames.OK if good else frames.BROKEN)
        if channel in self._open:
            self._broker.serve(channel)
        self._close_if_idle()

    # -- the end --------------------------------------------------------------------------------

    def let_go(self, channel: Channel) -> None:
        """No process of another host holds this direction any more."""
        self._open.discard(channel)
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._open or self._reading or self._writing or self._fd < 0:
            return
        self._relays.forget(self._fd)
        os.close(self._fd)
        self._fd = -1
        for hand in self._hands:
            hand.end()
        for carried in self._carried:
            carried.close()
        self._carried.clear()


class Relays:
    """All relays of a broker, and how they come."""

    def __init__(self, broker: Broker, observe: Observe) -> None:
        self.broker = broker
        self.observe = observe
        self._relays: dict[int, Relay] = {}
        self._epoll: select.epoll | None = None
        broker.listener.on("wire", self.connected, local=True)
        broker.listener.on("dial", self.dial)

    async def connected(self, peer: Peer) -> None:
        """A process of this host sends a descriptor and one byte, what it is; the answer is a
        channel and a ticket for each direction. The tickets are good until it hangs up."""
        await _has_come(peer.sock)
        data, fds, _, _ = socket.recv_fds(peer.sock, 1, 1, socket.MSG_CMSG_CLOEXEC)
        kind = data[0] if data else 0
        if len(fds) != 1 or not kind & (READER | WRITER):
            for fd in fds:
                os.close(fd)
            raise EOFError("a relay without a descriptor")
        relay = Relay(self, fds[0], kind & (READER | WRITER), bool(kind & frames.FOREIGN))
        await self._offer(peer, relay)

    async def dial(self, peer: Peer) -> None:
        """A process, mostly of another host, wants to speak to who listens at an address of this
        host: the answer is as for a descriptor, or the number of the error."""
        address = await peer.recv()
        if address is None or on_one_host(address) != address:
            raise ProtocolError(f"{address!r} is no address of this host alone")
        try:
            sock = await asyncio.wait_for(_connected(address), DIAL_SECONDS)
        except asyncio.TimeoutError:
            await peer.send(errno.ETIMEDOUT)
        except OSError as error:
            await peer.send(error.errno or errno.ECONNREFUSED)
        else:
            sock.setblocking(True)
            await self._offer(peer, Relay(self, sock.detach(), READER | WRITER, False))

    async def _offer(self, peer: Peer, relay: Relay) -> None:
        office = self.broker.tickets
        answer: list[tuple[int, int] | None] = []
        for channel, role in ((relay.input, READER), (relay.output, WRITER)):
            if channel is None:
                answer.append(None)
            else:
                answer.append((channel.number, office.issue(channel, role, peer)))
        try:
            await peer.send(answer)
            await peer.recv_bytes()  # end of file
        finally:
            office.holder_gone(peer)

    def close(self) -> None:
        """No descriptor says anything any more."""
        if self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())

    def watch(self, relay: Relay, fd: int, events: int) -> None:
        if self._epoll is None:
            self._epoll = select.epoll()
            asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._events)
        self._relays[fd] = relay
        self._epoll.register(fd, events | select.EPOLLRDHUP | select.EPOLLONESHOT)

    def rearm(self, fd: int, events: int) -> None:
        assert self._epoll is not None
        self._epoll.modify(fd, events | select.EPOLLRDHUP | select.EPOLLONESHOT)

    def forget(self, fd: int) -> None:
        assert self._epoll is not None
        self._epoll.unregister(fd)
        del self._relays[fd]

    def _events(self) -> None:
        assert self._epoll is not None
        for fd, mask in self._epoll.poll(0):
            relay = self._relays.get(fd)
            if relay is not None:
                relay.event(mask)


async def _connected(address: Any) -> socket.socket:
    """A connection to a listener of this host, as soon as that has room for one more."""
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    try:
        sock.setblocking(False)
        if sock.family == socket.AF_INET:
            await loop.sock_connect(sock, address)
            return sock
        while True:
            with contextlib.suppress(BlockingIOError):  # its backlog is full; nothing would tell us
                sock.connect(address)
                return sock
            await asyncio.sleep(BACKLOG_SECONDS)
    except BaseException:
        sock.close()
        raise


async def _has_come(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    come = loop.create_future()
    loop.add_reader(sock, lambda: None if come.done() else come.set_result(None))
    try:
        await come
    finally:
        loop.remove_reader(sock)


# -- what the threads do --------------------------------------------------------------------------

NOTHING = object()


def _ready(fd: int) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))


def _read_message(fd: int) -> Any:
    """A message; None at the end; NOTHING if a process of this host took it before us."""
    if not _ready(fd):
        return NOTHING
    try:
        (length,) = SHORT.unpack(_exactly(fd, SHORT.size))
        if length == -1:
            (length,) = LONG.unpack(_exactly(fd, LONG.size))
        if not 0 <= length <= frames.LENGTH_LIMIT:
            raise ValueError(f"a message of {length} bytes")
        return _exactly(fd, length)
    except (EOFError, OSError, MemoryError, ValueError) as error:
        log.debug("a relay ended: %s", error)
        return None


def _exactly(fd: int, count: int) -> bytes:
    parts = []
    while count:
        data = os.read(fd, min(count, PIECE))
        if not data:
            raise EOFError("end of file")
        parts.append(data)
        count -= len(data)
    return b"".join(parts)


def _write_message(fd: int, data: bytes | bytearray) -> bool:
    """False if nobody can read it."""
    length = len(data)
    head = SHORT.pack(length) if length <= 0x7FFFFFFF else SHORT.pack(-1) + LONG.pack(length)
    try:
        if length <= JOIN_BELOW:
            _write_all(fd, head + data)
        else:
            _write_all(fd, head)
            _write_all(fd, data)
        return True
    except OSError as error:
        log.debug("a relay is broken: %s", error)
        return False


def _write_all(fd: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
