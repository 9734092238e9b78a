"""Calls that take bytes from a buffer, or put some there: what test_transfers.py makes of each.

A call out gets a buffer and returns what arrived where it was sent. A call in gets a buffer and
what is to arrive in it.
"""

from __future__ import annotations

import ctypes
import io
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

SIZE = 300 * 1024 + 100  # more than one piece, and no whole pages
MESSAGE = 60_000  # what one datagram holds
Out = Callable[[memoryview], bytes]
In = Callable[[memoryview, bytes], None]


def libc() -> ctypes.CDLL:
    """Asked for each time: an address that was asked for before there was shared memory is the C
    library's own."""
    library = ctypes.CDLL(None, use_errno=True)
    library.fdopen.restype = ctypes.c_void_p
    library.fwrite.restype = library.fread.restype = ctypes.c_size_t
    return library


def halves(view: memoryview) -> list[memoryview]:
    """Parts that do not begin on pages, and one that is private and empty."""
    return [view[:5000], memoryview(b""), view[5000:]]


@contextmanager
def scratch(data: bytes = b"") -> Iterator[io.FileIO]:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(data)
        file.seek(0)
        yield file  # type: ignore[misc]


def content(file: Any) -> bytes:
    with open(f"/proc/self/fd/{file.fileno()}", "rb") as again:
        return again.read()


# ---- files, out ----


def to_file(write: Callable[[int, memoryview], int | None]) -> Out:
    def call(view: memoryview) -> bytes:
        with scratch() as file:
            assert write(file.fileno(), view) in (len(view), None)
            return content(file)

    return call


def at_3(write: Callable[[int, memoryview], int]) -> Out:
    """At an offset; where the file stands does not change."""

    def call(view: memoryview) -> bytes:
        with scratch(b"abc") as file:
            assert write(file.fileno(), view) == len(view)
            assert file.tell() == 0
            return content(file)[3:]

    return call


def buffered(view: memoryview) -> bytes:
    with tempfile.TemporaryFile() as file:
        file.write(b"abc")
        assert file.write(view) == len(view)
        file.flush()
        return content(file)[3:]


def appended(view: memoryview) -> bytes:
    with tempfile.NamedTemporaryFile() as file, open(file.name, "ab", buffering=0) as end:
        file.write(b"abc")
        file.flush()
        assert end.write(view) == len(view)
        return content(end)[3:]


def saved(view: memoryview) -> bytes:
    with tempfile.TemporaryFile() as file:
        np.save(file, np.frombuffer(view, np.uint8))
        file.seek(0)
        return bytes(np.load(file))


def to_stream(put: Callable[[memoryview, int], int]) -> Out:
    """By a stream of the C library."""

    def call(view: memoryview) -> bytes:
        with scratch() as file:
            stream = libc().fdopen(os.dup(file.fileno()), b"w")
            assert put(view, stream) == len(view)
            assert libc().fclose(ctypes.c_void_p(stream)) == 0
            return content(file)

    return call


def address(view: memoryview) -> ctypes.c_void_p:
    return ctypes.c_void_p(np.frombuffer(view, np.uint8).ctypes.data)


def fwrite(view: memoryview, stream: int) -> int:
    size, count = ctypes.c_size_t(1), ctypes.c_size_t(len(view))
    return int(libc().fwrite(address(view), size, count, ctypes.c_void_p(stream)))


def fputs(view: memoryview, stream: int) -> int:
    """Up to a zero, which is behind it."""
    assert libc().fputs(address(view), ctypes.c_void_p(stream)) > 0
    return len(view)


# ---- files, in ----


def from_file(read: Callable[[int, memoryview], int]) -> In:
    def call(view: memoryview, data: bytes) -> None:
        with scratch(data) as file:
            assert read(file.fileno(), view) == len(view)
            assert file.tell() == len(data)

    return call


def from_3(read: Callable[[int, memoryview], int]) -> In:
    def call(view: memoryview, data: bytes) -> None:
        with scratch(b"abc" + data) as file:
            assert read(file.fileno(), view) == len(view)

    return call


def from_buffered(view: memoryview, data: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        assert file.readinto(view) == len(view)


def to_its_end(view: memoryview, data: bytes) -> None:
    """The file is shorter: what is behind stays."""
    last = bytes(view[-1:])
    with scratch(data[:-1]) as file:
        assert file.readinto(view) == len(view) - 1
    assert view[-1:] == last
    view[-1:] = data[-1:]


def fread(view: memoryview, data: bytes) -> None:
    with scratch(data) as file:
        library = libc()
        stream = ctypes.c_void_p(library.fdopen(os.dup(file.fileno()), b"r"))
        first = library.fread(address(view), ctypes.c_size_t(3), ctypes.c_size_t(1), stream)
        rest = ctypes.c_size_t(len(view))  # one byte is missing, three are there already
        count = library.fread(address(view[3:]), ctypes.c_size_t(1), rest, stream)
        assert (first, count) == (1, len(view) - 3)
        assert library.fclose(stream) == 0


# ---- sockets and pipes ----


@contextmanager
def pair(kind: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair(socket.AF_UNIX, kind)
    with one, two:
        yield one, two


def collect(two: socket.socket, size: int) -> tuple[threading.Thread, bytearray]:
    got = bytearray()

    def read() -> None:
        while len(got) < size:
            got.extend(two.recv(1 << 16))

    thread = threading.Thread(target=read)
    thread.start()
    return thread, got


def sent(send: Callable[[socket.socket, memoryview], int | None]) -> Out:
    """A blocking send takes all, whatever has room."""

    def call(view: memoryview) -> bytes:
        with pair(socket.SOCK_STREAM) as (one, two):
            thread, got = collect(two, len(view))
            assert send(one, view) in (len(view), None)
            thread.join()
            return bytes(got)

    return call


def message(kind: int, send: Callable[[socket.socket, memoryview], int]) -> Out:
    """It stays one message."""

    def call(view: memoryview) -> bytes:
        with pair(kind) as (one, two):
            part = view[:MESSAGE]
            assert send(one, part) == len(part)
            return two.recv(1 << 20) + bytes(view[MESSAGE:])

    return call


def through_a_pipe(view: memoryview) -> bytes:
    out, into = os.pipe()
    got = bytearray()

    def read() -> None:
        while len(got) < len(view):
            got.extend(os.read(out, 1 << 16))

    thread = threading.Thread(target=read)
    thread.start()
    assert os.write(into, view) == len(view)
    thread.join()
    os.close(out)
    os.close(into)
    return bytes(got)


def in_part(view: memoryview) -> bytes:
    """What does not wait takes what there is room for."""
    with pair(socket.SOCK_STREAM) as (one, two):
        one.setblocking(False)
        count = one.send(view)
        assert 0 < count < len(view)
        thread, got = collect(two, count)
        thread.join()
        return bytes(got) + bytes(view[count:])


def with_a_descriptor(view: memoryview) -> bytes:
    """Which is sent once."""
    with pair(socket.SOCK_STREAM) as (one, two), scratch(b"passed") as file:
        two.settimeout(20)
        thread = threading.Thread(target=lambda: socket.send_fds(one, [view], [file.fileno()]))
        thread.start()
        got, fds, _, _ = socket.recv_fds(two, len(view), 3)
        while len(got) < len(view):
            more, more_fds, _, _ = socket.recv_fds(two, len(view), 3)
            got, fds = got + more, fds + more_fds
        thread.join()
        (passed,) = fds
        assert os.pread(passed, 9, 0) == b"passed"
        os.close(passed)
        return got


def received(receive: Callable[[socket.socket, memoryview], int]) -> In:
    """In as many calls as it takes."""

    def call(view: memoryview, data: bytes) -> None:
        with pair(socket.SOCK_STREAM) as (one, two):
            thread = threading.Thread(target=lambda: one.sendall(data))
            thread.start()
            got = 0
            while got < len(view):
                more = receive(two, view[got:])
                assert more > 0
                got += more
            thread.join()

    return call


def whole(view: memoryview, data: bytes) -> None:
    with pair(socket.SOCK_STREAM) as (one, two):
        thread = threading.Thread(target=lambda: one.sendall(data))
        thread.start()
        assert two.recv_into(view, 0, socket.MSG_WAITALL) == len(view)
        thread.join()


def what_is_there(view: memoryview, data: bytes) -> None:
    """Nobody waits for more than there is."""
    out, into = os.pipe()
    os.write(into, data[:5000])
    assert os.readv(out, [view]) == 5000
    os.close(out)
    os.close(into)
    view[5000:] = data[5000:]


def datagram(view: memoryview, data: bytes) -> None:
    """Looked at, then taken, and cut to the length that there is room for."""
    with pair(socket.SOCK_DGRAM) as (one, two):
        one.send(data[:MESSAGE])
        one.send(data[:MESSAGE])
        assert two.recv_into(view, 0, socket.MSG_PEEK) == MESSAGE
        assert view[:MESSAGE] == data[:MESSAGE]
        count, _, flags, _ = two.recvmsg_into([view[:10], view[10:20]])
        assert (count, flags & socket.MSG_TRUNC) == (20, socket.MSG_TRUNC)
        assert two.recvfrom_into(view[:100], 0, socket.MSG_TRUNC)[0] == MESSAGE
    view[MESSAGE:] = data[MESSAGE:]


OUT: dict[str, Out] = {
    "write": to_file(os.write),
    "pwrite": at_3(lambda fd, view: os.pwrite(fd, view, 3)),
    "writev": to_file(lambda fd, view: os.writev(fd, halves(view))),
    "pwritev": at_3(lambda fd, view: os.pwritev(fd, halves(view), 3)),
    "pwritev2": at_3(lambda fd, view: os.pwritev(fd, halves(view), 3, os.RWF_SYNC)),
    "FileIO.write": to_file(lambda fd, view: io.FileIO(fd, "w", closefd=False).write(view)),
    "BufferedWriter.write": buffered,
    "append": appended,
    "np.save": saved,
    "tofile": to_file(
        lambda fd, view: np.frombuffer(view, np.uint8).tofile(io.FileIO(fd, "w", closefd=False))
    ),
    "fwrite": to_stream(fwrite),
    "fputs": to_stream(fputs),
    "send": sent(lambda sock, view: sock.send(view)),
    "sendall": sent(lambda sock, view: sock.sendall(view)),
    "sendmsg": sent(lambda sock, view: sock.sendmsg(halves(view))),
    "datagram": message(socket.SOCK_DGRAM, lambda sock, view: sock.send(view)),
    "seqpacket": message(socket.SOCK_SEQPACKET, lambda sock, view: sock.sendmsg(halves(view))),
    "pipe": through_a_pipe,
    "in part": in_part,
    "with a descriptor": with_a_descriptor,
}
IN: dict[str, In] = {
    "readv": from_file(lambda fd, view: os.readv(fd, halves(view)[::2])),
    "preadv": from_3(lambda fd, view: os.preadv(fd, halves(view)[::2], 3)),
    "preadv2": from_3(lambda fd, view: os.preadv(fd, halves(view)[::2], 3, os.RWF_HIPRI)),
    "FileIO.readinto": from_file(lambda fd, v: io.FileIO(fd, closefd=False).readinto(v) or 0),
    "BufferedReader.readinto": from_buffered,
    "end of file": to_its_end,
    "fread": fread,
    "recv_into": received(lambda sock, view: sock.recv_into(view)),
    "recvfrom_into": received(lambda sock, view: sock.recvfrom_into(view)[0]),
    "recvmsg_into": received(lambda sock, view: sock.recvmsg_into(halves(view)[::2])[0]),
    "MSG_WAITALL": whole,
    "pipe": what_is_there,
    "datagram": datagram,
}
