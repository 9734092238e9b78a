"""Where the drivers of pools and the workers of this host meet: an agent's desks.

A desk passes tasks on to one worker, and its results to the pool that it works for, and keeps the
tokens (see _pool/frames.py): what a worker has not started is given back from here, whatever the
worker is doing, and after its death too. A blob (a function, mostly) comes to a host once and goes
from here to each worker that needs it. It is kept while the pool has a desk here, or until FORGET.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import socket

from .._net import wire
from .._net.listener import Listener, Peer
from .._parcels.parcel import APART, LENGTH
from .._parcels.vault import Vault
from . import frames as frames

FIFO_BYTES = 1 << 16
PATIENCE = 60.0  # seconds until both sides of a desk have come


class Desk:
    """One worker and its pool."""

    def __init__(self, path: str) -> None:
        os.mkfifo(path, 0o600)
        self.path = path
        self.fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.driver: Peer | None = None
        self.worker: Peer | None = None
        self.met = asyncio.Event()
        self.known: set[int] = set()  # the blobs that the worker has
        self.ended = False  # the worker
        self.users = 0
        self.pool = 0
        self.backlog: collections.deque[memoryview] = collections.deque()
        self.more = asyncio.Event()  # in the backlog

    def meet(self) -> None:
        if self.driver is not None and self.worker is not None:
            self.met.set()

    def send(self, body: bytearray) -> None:
        """One frame to the worker. Who gives it does not wait: it may want to take it back."""
        assert self.worker is not None
        head = LENGTH.pack(len(body))
        apart = len(body) >= APART
        views = [memoryview(head), memoryview(body)] if apart else [memoryview(head + body)]
        with contextlib.suppress(OSError):  # no room now; or its end, which is told by others
            while views and not self.backlog:
                sent = self.worker.sock.send(views[0])
                views[0] = views[0][sent:]
                if not views[0]:
                    del views[0]
        self.backlog.extend(views)
        if views:
            self.more.set()

    async def feed(self) -> None:
        """The worker, with what it did not take at once."""
        assert self.worker is not None
        loop = asyncio.get_running_loop()
        while True:
            await self.more.wait()
            while self.backlog:
                await loop.sock_sendall(self.worker.sock, self.backlog[0])
                self.backlog.popleft()
            self.more.clear()

    def left(self) -> bytes:
        """The tokens that nobody has taken: they are the taker's now."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self.fifo, FIFO_BYTES)
        return b""

    async def tell(self, kind: bytes, body: bytes) -> None:
        """Only after this the driver may hear of what comes later."""
        if self.driver is not None:
            with contextlib.suppress(OSError):
                await self.driver.send_bytes(kind + body)

    def end_worker(self) -> None:
        """What it has sent is read still, and then its end."""
        if self.worker is not None:
            with contextlib.suppress(OSError):
                self.worker.sock.shutdown(socket.SHUT_RD)


class Desks:
    """All desks of an agent."""

    def __init__(self, listener: Listener, directory: str) -> None:
        self._directory = directory
        self._desks: dict[int, Desk] = {}
        self._pools: dict[int, int] = {}  # pool -> its desks here
        self._blobs: dict[tuple[int, int], bytearray] = {}
        self._vault = Vault()
        listener.on("pool-driver", self._driver)
        listener.on("pool-worker", self._worker, local=True)
        listener.on("pool-shared", self._shared, local=True)

    @contextlib.contextmanager
    def _desk(self, number: int):  # type: ignore[no-untyped-def]
        desk = self._desks.get(number)
        if desk is None:
            path = os.path.join(self._directory, f"desk-{number:016x}")
            desk = self._desks[number] = Desk(path)
        desk.users += 1
        try:
            yield desk
        finally:
            desk.users -= 1
            if desk.users == 0:
                del self._desks[number]
                os.close(desk.fifo)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(desk.path)

    # -- the worker ---------------------------------------------------------------------------

    async def _worker(self, peer: Peer) -> None:
        number = int(await peer.recv())
        with self._desk(number) as desk:
            if desk.worker is not None:
                raise wire.ProtocolError("a desk has one worker")
            desk.worker = peer
            await peer.send(desk.path)
            try:
                await peer.recv()  # it has opened the pipe
                os.unlink(desk.path)
                desk.meet()
                await asyncio.wait_for(desk.met.wait(), PATIENCE)
                await self._pass_on(peer, desk)
            except (EOFError, OSError):
                pass
            finally:
                desk.ended = True
                await desk.tell(frames.ENDED, desk.left())

    async def _shared(self, peer: Peer) -> None:
        """A worker wants what its tasks have in common with others."""
        number, blob = await peer.recv()
        desk = self._desks.get(number)
        if desk is None:
            raise wire.ProtocolError("no worker of a pool asks for a shared parcel")
        await desk.met.wait()
        with contextlib.suppress(asyncio.CancelledError):  # no pool any more
            fd = await self._vault.get((desk.pool, blob))
            socket.send_fds(peer.sock, [b"F"], [fd])

    async def _pass_on(self, worker: Peer, desk: Desk) -> None:
        """What the worker says, in chunks, to its end."""
        feeding = asyncio.ensure_future(desk.feed())
        try:
            await self._listen(worker, desk)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)

    async def _listen(self, worker: Peer, desk: Desk) -> None:
        loop = asyncio.get_running_loop()
        buffer = bytearray(1 + frames.CHUNK)
        buffer[:1] = frames.FROM_WORKER
        view = memoryview(buffer)
        while count := await loop.sock_recv_into(worker.sock, view[1:]):
            if desk.driver is None:  # its program has ended
                return
            await desk.driver.send_bytes(bytes(view[: 1 + count]))

    # -- the driver ---------------------------------------------------------------------------

    async def _driver(self, peer: Peer) -> None:
        pool, number = await peer.recv()
        with self._desk(number) as desk:
            if desk.driver is not None:
                raise wire.ProtocolError("a desk has one driver")
            desk.driver, desk.pool = peer, pool
            desk.meet()
            self._pools[pool] = self._pools.get(pool, 0) + 1
            try:
                while True:
                    await self._obey(pool, desk, await peer.recv_bytes())
            finally:
                desk.driver = None
                if desk.worker is not None:
                    with contextlib.suppress(OSError):
                        desk.worker.sock.shutdown(socket.SHUT_RDWR)
                self._leave(pool)

    def _leave(self, pool: int) -> None:
        self._pools[pool] -= 1
        if not self._pools[pool]:
            del self._pools[pool]
            for key in [key for key in self._blobs if key[0] == pool]:
                del self._blobs[key]
            self._vault.leave(pool)

    async def _obey(self, pool: int, desk: Desk, body: bytearray) -> None:
        kind, first, count, blob, _ = frames.ORDER.unpack_from(body)
        if kind == frames.GIVE:
            tokens = frames.tokens(first, count)
            if desk.ended:
                await desk.tell(frames.RETURNED, tokens)
            else:
                self._give(desk, tokens, self._blobs[pool, blob], blob, body)
        elif kind == frames.BLOB:
            self._blobs[pool, blob] = body
            await desk.tell(frames.STORED, frames.TOKEN.pack(blob))
        elif kind == frames.FORGET:
            self._forget(pool, blob, body)
        elif kind == frames.SHARE:
            await self._vault.put((pool, blob), memoryview(body)[frames.BLOB_AT :])
            await desk.tell(frames.STORED, frames.TOKEN.pack(blob))
        elif kind == frames.DROP:
            self._vault.drop((pool, blob))
        elif kind == frames.RECALL:
            await desk.tell(frames.RETURNED, desk.left())
        elif kind == frames.END:
            os.write(desk.fifo, frames.TOKEN.pack(frames.LAST))
        elif kind == frames.FINISH:
            if desk.worker is None:
                desk.ended = True
                await desk.tell(frames.ENDED, b"")
            else:
                desk.end_worker()
        else:
            raise wire.ProtocolError(f"a pool's driver says {kind}")

    def _forget(self, pool: int, blob: int, body: bytearray) -> None:
        """No task that needs it is on its way."""
        del self._blobs[pool, blob]
        for desk in list(self._desks.values()):
            if desk.pool == pool and desk.worker is not None and blob in desk.known:
                desk.send(body)

    def _give(
        self, desk: Desk, tokens: bytes, blob: bytearray, number: int, body: bytearray
    ) -> None:
        os.write(
            desk.fifo, tokens
        )  # before the tasks: a worker that finds none knows they are gone
        if number not in desk.known:
            desk.known.add(number)
            desk.send(blob)
        desk.send(body)
