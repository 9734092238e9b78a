"""Connections to a lost host end, in all processes of this host.

A host that is stopped, or behind a cut wire, closes nothing: whoever waits on a connection to it
would wait until it comes back. The agent parts its own connections, and tells its host's clients
the address; in each the handler of a signal does the same (_native/sys/part.c), whatever its
threads do just now.
"""

from __future__ import annotations

import contextlib
import ipaddress
from typing import Any

from dsmproc._ffi import ffi, lib

from .listener import Listener, Peer


class Partings:
    def __init__(self, listener: Listener) -> None:
        self._parted: list[Any] = []
        self._clients: set[Peer] = set()
        self._listener = listener
        listener.on("partings", self._client)

    async def _client(self, peer: Peer) -> None:
        """A process of this host that has a connection to another one."""
        self._clients.add(peer)
        try:
            for record in self._parted:
                self._tell(peer, record)
            await peer.recv_bytes()  # it says nothing and closes at last
        finally:
            self._clients.discard(peer)

    def _tell(self, peer: Peer, record: Any) -> None:
        with contextlib.suppress(OSError):  # a client that does not take 19 bytes is stopped too
            peer.sock.send(bytes(ffi.buffer(record)))

    def host_lost(self, host: int, address: tuple[str, int]) -> None:
        record = _record(address)
        self._parted.append(record)
        lib.dsmproc_part(record)
        for client in self._clients:
            self._tell(client, record)
        self._listener.part(host)


def _record(address: tuple[str, int]) -> Any:
    name, port = address
    packed = ipaddress.ip_address(name).packed
    record = ffi.new("struct dsmproc_address *")
    record.length = len(packed)
    record.bytes = packed.ljust(16, b"\0")
    record.port = port.to_bytes(2, "big")
    return record
