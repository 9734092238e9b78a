"""A process with one watched page, and the other side of its faults: raw system calls, no product.

The tests of this folder show what the kernel does when a remedy is left out, so they cannot go
through the engine, which has them all.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
import fcntl
import mmap
import os
import select
import signal
import socket
import struct
import threading
from collections.abc import Iterator

from dsmproc._native.ffi import check, lib

PAGE = mmap.PAGESIZE
MISSING, WP, MINOR = 1, 2, 4  # what to register; also, shifted, what an event says
EVENT_WRITE, EVENT_WP, EVENT_MINOR = 1, 2, 4
_REGISTER, _WAKE, _CONTINUE, _PROTECT = 0xC020AA00, 0x8010AA02, 0xC020AA07, 0xC018AA06
_POISON, _DONTWAKE = 0xC020AA08, 1
_MADV_DONTFORK, _MADV_RANDOM = 10, 1
SOON = 0.5  # what has not happened by then does not happen
LATE = 10.0

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.memcpy.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]


def ioctl(fd: int, request: int, *numbers: int) -> None:
    fcntl.ioctl(fd, request, bytearray(struct.pack(f"{len(numbers)}Q", *numbers)))


class Page:
    """A memfd of one page (or some), with our own mapping of it, as an agent has."""

    def __init__(self, pages: int = 1) -> None:
        self.fd, self.size = os.memfd_create("page"), pages * PAGE
        os.ftruncate(self.fd, self.size)
        self.bytes = mmap.mmap(self.fd, self.size)

    def punch(self) -> None:
        if libc.fallocate(self.fd, 3, 0, self.size):
            raise OSError(ctypes.get_errno(), "fallocate")

    def resident(self) -> bool:
        try:
            os.lseek(self.fd, 0, os.SEEK_DATA)
        except OSError as error:
            assert error.errno == errno.ENXIO
            return False
        return True

    def close(self) -> None:
        self.bytes.close()
        os.close(self.fd)


class Process:
    """A process that maps the page and does what it is told, while its faults come to us."""

    def __init__(self, page: Page, mechanism: str, modes: int, keep: bool, dontfork: bool) -> None:
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            libc.prctl(1, signal.SIGKILL)
            try:
                self._be(page, theirs, mechanism, modes, keep, dontfork)
            finally:
                os._exit(1)
        theirs.close()
        self._socket = ours
        self._socket.settimeout(LATE)
        address, fds, _, _ = socket.recv_fds(ours, 8, 1)
        self._address = struct.unpack("Q", address)[0]
        self.faults = fds[0]

    def _be(
        self, page: Page, out: socket.socket, mechanism: str, modes: int, keep: bool, dontfork: bool
    ) -> None:
        faulthandler.disable()  # dying is what we want to see
        address = libc.mmap(None, page.size, 3, mmap.MAP_SHARED, page.fd, 0)
        if dontfork:
            libc.madvise(address, page.size, _MADV_DONTFORK)
        faults = check(lib.dsmproc_faults_open(1 if mechanism == "uffd" else 2), "userfaultfd")
        ioctl(faults, _REGISTER, address, page.size, modes, 0)
        socket.send_fds(out, [struct.pack("Q", address)], [faults])
        if not keep:
            os.close(faults)
        memory = (ctypes.c_ubyte * PAGE).from_address(address)

        def obey(order: bytes, passed: list[int]) -> None:
            if order == b"read":
                answer = bytes(memory[0:1])
            elif order == b"write":
                memory[1] = 2
                answer = b"done"
            elif order == b"pipe":
                try:
                    answer = b"%d" % os.write(passed[0], memoryview(memory)[0:4])
                except OSError as error:
                    answer = errno.errorcode[error.errno or 0].encode()
            elif order == b"split":
                answer = b"%d" % libc.madvise(address, PAGE, _MADV_RANDOM)
            elif order == b"unmap":
                answer = b"%d" % libc.munmap(address, PAGE)
            elif order == b"copy":  # without the GIL
                libc.memcpy(answer := b" ", address, 1)
            else:
                answer = _in_fork(memory)
            out.sendall(answer)

        while True:
            order, passed, _, _ = socket.recv_fds(out, 16, 1)
            if not order:
                os._exit(0)
            threading.Thread(target=obey, args=(order, passed)).start()

    def tell(self, order: bytes, *passed: int) -> None:
        socket.send_fds(self._socket, [order], list(passed))

    def answer(self, seconds: float = LATE) -> bytes | None:
        """None: it is still parked."""
        if not select.select([self._socket], [], [], seconds)[0]:
            return None
        return self._socket.recv(16)

    def event(self, seconds: float = LATE) -> int | None:
        """The flags of the next fault; None: there is none."""
        if not select.select([self.faults], [], [], seconds)[0]:
            return None
        kind, flags = struct.unpack_from("B7xQ", os.read(self.faults, 32))
        assert kind == 0x12
        return int(flags)

    def map(self, protect: bool = True, pages: int = 1) -> None:
        ioctl(self.faults, _CONTINUE, self._address, pages * PAGE, 2 if protect else 0, 0)

    def unprotect(self, wake: bool = True) -> None:
        ioctl(self.faults, _PROTECT, self._address, PAGE, 0 if wake else 2)

    def poison(self, wake: bool = True) -> None:
        ioctl(self.faults, _POISON, self._address, PAGE, 0 if wake else _DONTWAKE, 0)

    def ended(self) -> int:
        """The signal that ends it, soon."""
        pidfd = os.pidfd_open(self.pid)
        ready = select.select([pidfd], [], [], LATE)[0]
        os.close(pidfd)
        assert ready, "it lives"
        result = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        assert result is not None
        return result.si_status

    def wake(self) -> None:
        ioctl(self.faults, _WAKE, self._address, PAGE)

    def release_faults(self) -> None:
        if self.faults >= 0:
            os.close(self.faults)
            self.faults = -1

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.release_faults()
        self._socket.close()


def _in_fork(memory: ctypes.Array[ctypes.c_ubyte]) -> bytes:
    """What a forked child reads, or the signal that ends it."""
    pid = os.fork()
    if pid == 0:
        os._exit(memory[0])
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return b"%d" % code


@contextlib.contextmanager
def watched(
    page: Page,
    mechanism: str,
    modes: int = MISSING | MINOR | WP,
    keep: bool = True,
    dontfork: bool = True,
) -> Iterator[Process]:
    process = Process(page, mechanism, modes, keep, dontfork)
    try:
        yield process
    finally:
        process.end()
