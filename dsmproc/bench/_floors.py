"""The other side of a figure: what the machine's own network does, and what a figure is."""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

PAGE = 4096
MB = 1 << 20
BLOCK = 20  # short operations are taken in blocks of so many
Sample = tuple[float, float]  # (ours, the floor or the peer), in the figure's unit


@dataclass(frozen=True)
class Figure:
    """Samples of both sides in turn. `compare`: "/" their ratio, "-" what ours needs beyond the
    floor, "" ours alone; that is what the target speaks of."""

    what: str
    samples: Callable[[int], Iterator[Sample]]
    target: str = ""
    compare: str = "/"
    rounds: int | None = None  # fewer than asked for: it takes long


def _answer_tcp(sock: socket.socket, other_end: socket.socket, answer: int) -> None:
    other_end.close()
    data = b"x" * answer
    with sock:
        while sock.recv(64, socket.MSG_WAITALL):
            sock.sendall(data)


@contextlib.contextmanager
def tcp_pair(answer: int) -> Iterator[socket.socket]:
    """A TCP connection over loopback to a process that answers 64 bytes with `answer` bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    for sock in (ours, theirs):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    process = multiprocessing.get_context("fork").Process(
        target=_answer_tcp, args=(theirs, ours, answer)
    )
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join()


def round_trips(sock: socket.socket, answer: int, count: int) -> float:
    """Seconds of one 64-byte request and its answer."""
    started = time.perf_counter()
    for _ in range(count):
        sock.sendall(b"q" * 64)
        sock.recv(answer, socket.MSG_WAITALL)
    return (time.perf_counter() - started) / count


def wire(sock: socket.socket, size: int) -> float:
    """Seconds that `size` bytes take in answers of 64 KiB."""
    return round_trips(sock, 1 << 16, size >> 16) * (size >> 16)
