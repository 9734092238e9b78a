"""Options of our sockets, which the kernel is told and asked for."""

from __future__ import annotations

import contextlib
import math
import socket
import struct

from . import heartbeat

KEEPALIVES = 100  # the kernel counts no more than 127
TCP_RTO_MAX_MS = 44  # <linux/tcp.h>


def tune(sock: socket.socket) -> None:
    """Small messages at once, and a peer whose machine is gone is noticed within seconds."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 3)
    seconds = heartbeat.bound()  # a cut that is shorter must not end what it interrupts
    interval = max(2, math.ceil(seconds / KEEPALIVES))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, max(3, math.ceil(seconds / interval)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000) + 4000)
    with contextlib.suppress(OSError):  # Linux 6.15: go on within a second after a cut
        sock.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, 1000)


def peer_uid(sock: socket.socket) -> tuple[int, int]:
    """(pid, uid) of the process at the other end of a unix socket, as the kernel knows them."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _ = struct.unpack("3i", raw)
    return pid, uid
