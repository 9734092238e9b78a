"""Bytes that the control plane's TCP connections cost the network, for `dsmproc.stats()`.

Each connection is counted once, by the process that accepted it, in both directions: what comes in
was sent by the host at the other end. So the connections of workers and drivers count too, and how
they end does not matter. Connections that become an engine's are counted by the engines.
"""

from __future__ import annotations

import socket
from collections import Counter
from typing import Protocol

LAST = 66  # bytes of the segment that answers the end of a connection, after we looked


def _bytes(sock: socket.socket) -> tuple[int, int]:
    from .._native.ffi import wire_bytes  # others than agents and masters never come here

    return wire_bytes(sock.fileno())


class Sender(Protocol):
    """The other end of a connection: a host's id, or an address if that is not known (yet)."""

    @property
    def whose(self) -> int | str: ...


class Traffic:
    def __init__(self) -> None:
        self._sent = 0
        self._heard: Counter[int | str] = Counter()  # by host id, or by address if that is unknown
        self._live: dict[socket.socket, Sender] = {}
        self._told: tuple[int, Counter[int | str]] = 0, Counter()

    def began(self, sock: socket.socket, peer: Sender) -> None:
        if sock.family != socket.AF_UNIX:
            self._live[sock] = peer

    def ended(self, sock: socket.socket) -> None:
        """Before it is closed; one that was given away is counted where it went."""
        peer = self._live.pop(sock, None)
        if peer is not None and sock.fileno() >= 0:
            sent, received = _bytes(sock)
            self._sent += sent + LAST
            self._heard[peer.whose] += received + LAST

    def totals(self, reset: bool) -> tuple[int, dict[int | str, int]]:
        """Bytes sent from here, and bytes received, by sender; since the last reset."""
        sent, heard = self._sent, Counter(self._heard)
        for sock, peer in self._live.items():
            if sock.fileno() >= 0:
                out, back = _bytes(sock)
                sent += out
                heard[peer.whose] += back
        since = sent - self._told[0], {who: n - self._told[1][who] for who, n in heard.items()}
        if reset:
            self._told = sent, heard
        return since
