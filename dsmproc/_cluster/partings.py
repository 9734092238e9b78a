"""Connections to a lost host end, in all processes of this host, and none is made any more.

A host that is stopped, or behind a cut wire, closes nothing: whoever waits on a connection to it
would wait until it comes back. At the address of one that is dead somebody else may listen. The
agent parts its own connections, and tells its host's clients: first who was lost before they asked,
in one frame, and then each loss in a record of its own, with which the handler of a signal does the
same there (_native/client/part.c), whatever their threads do just now.
"""

from __future__ import annotations

import contextlib
import ipaddress
import pickle

from .._native.ffi import ffi, lib
from .._net import wire
from .._net.listener import Listener, Peer


class Partings:
    def __init__(self, listener: Listener) -> None:
        self._parted: list[bytes] = []
        self._clients: set[Peer] = set()
        self._listener = listener
        listener.on("partings", self._client, local=True)

    async def _client(self, peer: Peer) -> None:
        """A process of this host that has a connection to another one."""
        self._clients.add(peer)
        try:
            so_far = pickle.dumps(self._parted)
            self._tell(peer, wire.frame_header(len(so_far)) + so_far)
            await peer.recv_bytes()  # it says nothing and closes at last
        finally:
            self._clients.discard(peer)

    def _tell(self, peer: Peer, data: bytes) -> None:
        """At once, so that no record comes into the middle of the frame."""
        with contextlib.suppress(OSError):  # a client that does not take so few is stopped too
            peer.sock.send(data)

    def host_lost(self, host: int, address: tuple[str, int]) -> None:
        record = _record(host, address)
        self._parted.append(record)
        lib.dsmproc_part(ffi.from_buffer("struct dsmproc_lost *", record))
        for client in self._clients:
            self._tell(client, record)
        self._listener.part(host)


def _record(host: int, address: tuple[str, int]) -> bytes:
    name, port = address
    packed = ipaddress.ip_address(name).packed
    lost = ffi.new("struct dsmproc_lost *")
    lost.host = host
    lost.length = len(packed)
    lost.bytes = packed.ljust(16, b"\0")
    lost.port = port.to_bytes(2, "big")
    return bytes(ffi.buffer(lost))
