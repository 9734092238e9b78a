"""The listening side of master and agents: accept, authenticate, hand to the purpose's handler.

One asyncio loop per process; each connection is a task, so a slow or silent peer stands in nobody's
way. Another module adds a purpose of its own with `listener.on("channel", handler)`:

    async def handler(peer: Peer) -> None      # the connection is closed when it returns,
                                               # unless it took the socket with peer.detach()
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import pickle
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from .._os import descriptors
from . import frames, traffic, wire
from .seal import ForgedFrameError, Seals
from .sockets import peer_uid, tune
from .strangers import Strangers

log = logging.getLogger("dsmproc")

PENDING_LIMIT = 256  # connections in their handshake at one time
CANCEL_SECONDS = 0.2  # then once more: Python's wait_for, before 3.12, may lose a cancellation


class Peer:
    """A connection of the loop. Any task may send; one receives."""

    def __init__(self, sock: socket.socket, seals: Seals | None = None) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.seals = seals
        self.remote: tuple[str, int] | None = None  # of a TCP peer
        if not self.local:
            with contextlib.suppress(OSError):  # it is gone already
                self.remote = sock.getpeername()[:2]
        self.purpose = ""
        self.host: int | None = None  # that the other end belongs to, once it is known
        self.pid = 0  # of a peer on this host (unix socket), else 0
        self._loop = asyncio.get_running_loop()
        self._sending = asyncio.Lock()
        self._posting: set[asyncio.Task[None]] = set()

    @property
    def whose(self) -> int | str:
        """The other end's host, or at least its address."""
        if self.host is None:
            return self.remote[0] if self.remote else ""
        return self.host

    @property
    def local(self) -> bool:
        return self.sock.family == socket.AF_UNIX

    def __str__(self) -> str:
        """The other end's name for the log."""
        if self.local:
            return f"process {self.pid}"
        return wire.format_address(self.remote) if self.remote else "nobody any more"

    async def recv_bytes(self, limit: int = wire.FRAME_LIMIT) -> bytearray:
        """Receive one frame; EOFError when the peer has closed."""
        _, body = await self.read(wire.message(limit, self.seals))
        return body

    async def read(self, reader: frames.Reader) -> frames.Frame:
        """The fields of a frame's header, and its body."""
        while True:
            count = await self._loop.sock_recv_into(self.sock, reader.room)
            frame = reader.came(count)
            if frame is not None:
                return frame

    async def recv(self) -> Any:
        return wire.load(await self.recv_bytes())

    async def send_bytes(self, data: bytes | bytearray) -> None:
        await self.write(wire.frame_header(len(data)), data)

    async def write(self, head: bytes, body: bytes | bytearray) -> None:
        """Send one frame."""
        async with self._sending:
            for piece in frames.pieces(self.seals, head, body):
                await self._loop.sock_sendall(self.sock, piece)

    async def send(self, message: Any) -> None:
        await self.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))

    def post(self, message: Any) -> None:
        """Send soon, in the order of the calls, without waiting; a peer that is gone is ignored."""
        if self.sock.fileno() < 0:
            return  # perhaps the loop ends, and a task would be left
        task = self._loop.create_task(self._post(message))
        self._posting.add(task)
        task.add_done_callback(self._posting.discard)

    async def _post(self, message: Any) -> None:
        with contextlib.suppress(OSError):
            await self.send(message)

    async def flush(self) -> None:
        """Wait until everything posted so far is with the kernel."""
        await asyncio.gather(*self._posting)

    def detach(self) -> int:
        """Give the descriptor away (blocking again); nothing beyond the last frame was read."""
        self.sock.setblocking(True)
        return self.sock.detach()

    def close(self) -> None:
        if self.sock.fileno() >= 0:
            # A task may be waiting on it: it must not sleep on a number that is used again.
            self._loop.remove_reader(self.sock)
            self._loop.remove_writer(self.sock)
            self.sock.close()


Handler = Callable[[Peer], Awaitable[None]]


class Listener:
    """Listening sockets of one process, and the purposes that it serves."""

    def __init__(self, key: bytes, whose: str = "the master") -> None:
        self._key = key
        self.whose = whose
        self.traffic = traffic.Traffic()
        self._handlers: dict[str, Handler] = {}
        self._over_tcp: set[str] = set()
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._peers: set[Peer] = set()
        self._pending = asyncio.Semaphore(PENDING_LIMIT)
        self._strangers = Strangers()
        self._closed = False

    def on(self, purpose: str, handler: Handler, *, local: bool = False) -> None:
        """`local`: for processes of this host alone, by the unix socket."""
        assert purpose not in self._handlers, f"two handlers for {purpose!r}"
        self._handlers[purpose] = handler
        if not local:
            self._over_tcp.add(purpose)

    def listen_tcp(self, host: str, port: int) -> tuple[str, int]:
        return self.adopt(listening_socket(host, port))

    def listen_unix(self, path: str) -> None:
        sock = socket.socket(socket.AF_UNIX)
        old = os.umask(0o177)
        try:
            sock.bind(path)
        except OSError as error:  # the disk is full
            sock.close()
            raise OSError(error.errno, error.strerror, path) from None
        finally:
            os.umask(old)
        sock.listen(512)
        self.adopt(sock)

    def adopt(self, sock: socket.socket) -> Any:
        """Serve a socket that listens already; its address."""
        sock.setblocking(False)
        self._sockets.append(sock)
        self.spawn(self._accept(sock))
        return sock.getsockname()[:2] if sock.family != socket.AF_UNIX else sock.getsockname()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        """A task that lives until it ends or the listener closes; its errors are logged. What comes
        after that never begins: the loop may end before it would."""
        if self._closed:
            work.close()
            never = asyncio.get_running_loop().create_future()
            never.cancel()
            return never
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a control task failed", exc_info=task.exception())

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._pending.acquire()
            try:
                sock, _ = await loop.sock_accept(listening)
            except OSError as error:  # e.g. out of descriptors: others may be freed
                self._pending.release()
                log.warning("accept: %s", error)
                await asyncio.sleep(0.1)
                continue
            self.spawn(self._serve(sock))

    async def _serve(self, sock: socket.socket) -> None:
        peer = Peer(sock)
        self._peers.add(peer)
        self.traffic.began(sock, peer)
        try:
            try:
                await asyncio.wait_for(self._authenticate(peer), wire.HANDSHAKE_SECONDS)
            finally:
                self._pending.release()
            await self._handlers[peer.purpose](peer)
        except ForgedFrameError as error:
            log.warning("closed the %s connection of %s: %s", peer.purpose, peer, error)
        except (EOFError, OSError, asyncio.TimeoutError) as error:
            log.debug("%s connection ended: %s", peer.purpose or "new", error)
        except Refused as error:
            self._strangers.warning("refused a connection of %s: %s", peer, error)
        except Exception as error:  # who has the key may still say nonsense: the others go on
            why = str(error) if isinstance(error, wire.ProtocolError) else repr(error)
            what = (peer.purpose or "new", str(peer), wire.printable(why))
            warning = log.warning if peer.purpose else self._strangers.warning
            warning("a %s connection of %s makes no sense and is closed: %s", *what)
            log.debug("where it failed", exc_info=True)
        finally:
            self._peers.discard(peer)
            self.traffic.ended(sock)
            peer.close()

    async def _authenticate(self, peer: Peer) -> None:
        try:
            if peer.local:
                peer.pid, uid = peer_uid(peer.sock)
                if uid != os.geteuid():
                    raise wire.AuthenticationError(f"user {uid} may not speak to this agent")
                steps = wire.server_side(None, self._handlers)
            else:
                tune(peer.sock)
                steps = wire.server_side(self._key, self._over_tcp)
            await self._introduce(peer, steps)
        except (wire.AuthenticationError, wire.ProtocolError) as error:
            await peer.send_bytes(wire.refuse(error))
            raise Refused(str(error)) from None
        except OSError as error:
            if error.errno == errno.EMFILE:
                await peer.send_bytes(wire.refuse(error))
            raise

    async def _introduce(self, peer: Peer, steps: wire.ServerSteps) -> None:
        next(steps)
        try:
            while True:
                _, frame = await peer.read(wire.handshake("connecting"))
                if frame[:1] == b"H" and descriptors.scarce(peer.sock.fileno()):
                    self._spare(wire.read_hello(bytes(frame), "connecting"))
                await peer.send_bytes(steps.send(bytes(frame)))
        except StopIteration as done:
            purpose, last, seals = done.value
            peer.purpose, _, host = purpose.partition(wire.HOST_MARK)
            peer.host = int(host) if host.isdecimal() else None
            await peer.send_bytes(last)
            peer.seals = seals

    def _spare(self, purpose: str) -> None:
        """A question may still be asked with the last descriptors; what stays open is refused."""
        if purpose.partition(wire.HOST_MARK)[0] != "client":
            raise OSError(errno.EMFILE, descriptors.refusal(self.whose))

    def part(self, host: int) -> None:
        """The connections that processes of a lost host have made."""
        for peer in self._peers:
            if peer.host == host and peer.sock.fileno() >= 0:
                with contextlib.suppress(OSError):
                    peer.sock.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """Stop listening and end every task but the caller's."""
        self._closed = True
        self._strangers.close()
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.remove_reader(sock)  # a connection that came in this turn is not accepted
            sock.close()
        mine = asyncio.current_task()
        while rest := [task for task in self._tasks if task is not mine]:
            for task in rest:
                task.cancel()
            await asyncio.wait(rest, timeout=CANCEL_SECONDS)
        for peer in list(self._peers):
            peer.close()


def listening_socket(host: str, port: int) -> socket.socket:
    """Listen at an address of this machine; OSError with a sentence that names it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        number = error.errno or 0  # negative: the name is not known
        why = os.strerror(number) if number > 0 else error.strerror
        raise OSError(f"cannot listen at {wire.format_address((host, port))}: {why}") from None


class Refused(Exception):
    """A peer that was turned away; it has been told why."""
