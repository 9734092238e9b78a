"""Large arguments of processes, on the agent of the host where they run (arguments.py).

One comes before the first process that needs it, and is kept until the last one has ended.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import hashlib
import socket
from collections.abc import Iterator

from .._net import wire
from .._net.listener import Listener, Peer
from .vault import Key, Vault


def _key(digest: bytes) -> Key:
    return 0, int.from_bytes(digest, "little")


class Parcels:
    def __init__(self, listener: Listener) -> None:
        self._vault = Vault()
        self._users: collections.Counter[bytes] = collections.Counter()
        self._here: set[bytes] = set()
        listener.on("parcel", self._wanted, local=True)

    @contextlib.contextmanager
    def held(self, digests: list[bytes]) -> Iterator[None]:
        """What has come is kept so long."""
        self._users.update(digests)
        try:
            yield
        finally:
            self._users.subtract(digests)
            for digest in digests:
                if not self._users[digest]:
                    del self._users[digest]
                    self._here.discard(digest)
                    self._vault.drop(_key(digest))

    async def receive(self, peer: Peer, digests: list[bytes]) -> None:
        """Have those sent that are not here; two starters may send the same at one time."""
        missing = [digest for digest in digests if digest not in self._here]
        await peer.send(missing)
        for digest in missing:
            parcel = await peer.recv_bytes()
            if hashlib.sha256(parcel).digest() != digest:
                raise wire.ProtocolError("an argument that is not what its digest says")
            await self._vault.put(_key(digest), memoryview(parcel))
            self._here.add(digest)

    async def _wanted(self, peer: Peer) -> None:
        """A process of this host is being started with it."""
        digest = await peer.recv()
        if digest not in self._here:
            raise wire.ProtocolError("no process here was started with this argument")
        with contextlib.suppress(asyncio.CancelledError):
            fd = await self._vault.get(_key(digest))
            socket.send_fds(peer.sock, [b"P"], [fd])
