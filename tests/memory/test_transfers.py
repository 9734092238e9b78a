"""System calls on shared memory, under each mechanism: whatever the pages are when they begin, and
whatever becomes of them meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from places import finish, start
from transfers import IN, OUT, SIZE

import dsmproc

PAGE = 4096


def pattern(first: int) -> bytes:
    """Without zeros, and with one behind it in fresh memory."""
    return bytes((first + index) % 251 + 1 for index in range(251)) * (SIZE // 251 + 1)


def serve(name: str, orders: Any) -> None:
    """Another host: writes the memory, or says whether it is as it should be."""
    memory = dsmproc.SharedMemory(name)
    while True:
        order, first = orders.recv()
        if order == "write":
            memory.buf[:SIZE] = pattern(first)[:SIZE]
        elif order == "end":
            break
        orders.send(bytes(memory.buf[:SIZE]) == pattern(first)[:SIZE])
    memory.close()


class Elsewhere:
    def __init__(self) -> None:
        self.memory = dsmproc.SharedMemory(create=True, size=SIZE + 1)
        self._orders, theirs = dsmproc.Pipe()
        context = dsmproc.get_context()
        self._process = start(context, serve, self.memory.name, theirs)
        theirs.close()

    def ask(self, order: str, first: int) -> bool:
        self._orders.send((order, first))
        right: bool = self._orders.recv()
        return right

    def end(self) -> None:
        self._orders.send(("end", 0))
        finish(self._process)
        self._orders.close()
        self.memory.close()
        self.memory.unlink()


@pytest.fixture(scope="module")
def elsewhere(cluster: None) -> Iterator[Elsewhere]:
    one = Elsewhere()
    yield one
    one.end()


def nothing(view: memoryview) -> None:
    pass


def read_all(view: memoryview) -> None:
    assert len(bytes(view)) == SIZE


def touch_some(view: memoryview) -> None:
    """Every third page is read, and every third written."""
    for at in range(0, SIZE, 3 * PAGE):
        assert view[at]
    for at in range(PAGE, SIZE, 3 * PAGE):
        view[at] = view[at]


STATES: dict[str, Callable[[memoryview], None]] = {
    "not here": nothing,
    "read-only": read_all,
    "in part": touch_some,
}


def in_every_state(elsewhere: Elsewhere, view: memoryview) -> Iterator[int]:
    """The pages are written elsewhere, each time with another pattern, and are then here so far."""
    for first, prepare in enumerate(STATES.values()):
        elsewhere.ask("write", first)
        prepare(view)
        yield first


@pytest.mark.parametrize("call", OUT)
def test_out(elsewhere: Elsewhere, call: str) -> None:
    with elsewhere.memory.buf[:SIZE] as view:
        for first in in_every_state(elsewhere, view):
            assert OUT[call](view) == pattern(first)[:SIZE]


@pytest.mark.parametrize("call", IN)
def test_in(elsewhere: Elsewhere, call: str) -> None:
    with elsewhere.memory.buf[:SIZE] as view:
        for first in in_every_state(elsewhere, view):
            IN[call](view, pattern(first + 5)[:SIZE])
            assert view == pattern(first + 5)[:SIZE]
            assert elsewhere.ask("check", first + 5)


def test_hdf5(elsewhere: Elsewhere) -> None:
    """A C library with calls of its own, loaded when the memory is there already."""
    h5py = pytest.importorskip("h5py")
    with elsewhere.memory.buf[:SIZE] as view:
        elsewhere.ask("write", 1)
        with tempfile.NamedTemporaryFile() as name, h5py.File(name.name, "w") as file:
            rows = np.frombuffer(view, np.uint8)
            file.create_dataset("rows", data=rows)
            file.flush()
            assert bytes(file["rows"][:]) == pattern(1)[:SIZE]
            file["rows"][:] = np.frombuffer(pattern(6)[:SIZE], np.uint8)
            elsewhere.ask("write", 2)
            file["rows"].read_direct(rows)
            del rows
        assert view == pattern(6)[:SIZE]
        assert elsewhere.ask("check", 6)


# ---- meanwhile ----

PAGES, OURS, ROUNDS = 24, 3000, 60


def scribble(name: str, lock: Any, go_on: Any) -> None:
    """Another host writes the other bytes of the same pages, again and again."""
    memory = dsmproc.SharedMemory(name)
    turn = 0
    while go_on.value:
        with lock:
            turn = turn % 250 + 1
            for page in range(PAGES):
                memory.buf[page * PAGE + OURS : (page + 1) * PAGE] = bytes([turn]) * (PAGE - OURS)
    memory.close()


def test_others_write_the_same_pages_meanwhile(cluster: None) -> None:
    """A thread takes the lock all the time, so the pages are invalidated in the midst of calls."""
    memory = dsmproc.SharedMemory(create=True, size=PAGES * PAGE)
    lock, go_on = dsmproc.Lock(), dsmproc.Value("b", 1)
    process = start(dsmproc.get_context(), scribble, memory.name, lock, go_on)
    stop, torn = threading.Event(), []

    def take() -> None:
        while not stop.is_set():
            with lock:
                theirs = {bytes(memory.buf[at + OURS : at + PAGE]) for at in starts}
                if len(theirs) != 1 or len(set(theirs.pop())) != 1:
                    torn.append(True)

    starts = range(0, PAGES * PAGE, PAGE)
    thread = threading.Thread(target=take)
    thread.start()
    parts = [memory.buf[at : at + OURS] for at in starts]
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with tempfile.TemporaryFile(buffering=0) as file, one, two:
        for turn in range(ROUNDS):
            data = bytes([turn + 1]) * (OURS * PAGES)
            file.write(data)
            file.seek(0)
            assert os.preadv(file.fileno(), parts, 0) == len(data)
            assert os.pwritev(file.fileno(), parts, 0) == len(data)
            assert os.pread(file.fileno(), len(data), 0) == data
            assert one.sendmsg(parts) == len(data)
            assert two.recvmsg_into(parts)[0] == len(data)
            assert b"".join(parts) == data
    stop.set()
    thread.join()
    go_on.value = 0
    finish(process)
    assert not torn
    del parts
    memory.close()
    memory.unlink()


def test_pages_are_given_up_meanwhile(mechanism: str, run_script: Any) -> None:
    """More than a host may keep, in one call."""
    run_script(
        """
        import os, tempfile
        import dsmproc

        SIZE = 12 << 20
        BLOCK = bytes(range(251)) * 4096

        def fill(memory):
            for at in range(0, SIZE, len(BLOCK)):
                memory.buf[at : at + len(BLOCK)] = BLOCK[: SIZE - at]

        def check(memory):
            for at in range(0, SIZE, len(BLOCK)):
                assert memory.buf[at : at + len(BLOCK)] == BLOCK[1 : SIZE - at] + BLOCK[:1], at

        def there(function, memory):
            process = dsmproc.Process(target=function, args=(memory,))
            process._dsmproc_host = 1
            process.start()
            process.join()
            assert process.exitcode == 0

        if __name__ == "__main__":
            memory = dsmproc.SharedMemory(create=True, size=SIZE, home="first")
            there(fill, memory)
            data = (BLOCK * (SIZE // len(BLOCK) + 1))[:SIZE]
            with tempfile.TemporaryFile(buffering=0) as file:
                assert file.write(memory.buf) == SIZE
                file.seek(0)
                assert file.read() == data
                file.seek(0)
                assert file.readinto(memory.buf) == SIZE
                assert memory.buf == data
            memory.close()
            memory.unlink()
            print("right")
        """,
        local=2,
        env={"DSMPROC_FAULTS": mechanism, "DSMPROC_MEMORY": "20M"},
    ).check()


class Interrupted(Exception):
    pass


def interrupt(*_: Any) -> None:
    raise Interrupted


@pytest.mark.parametrize("part", [0, 100_000])
def test_a_signal_ends_a_call_that_waits(elsewhere: Elsewhere, part: int) -> None:
    """Whether something has come or not; what has come is not lost by it."""
    one, two = socket.socketpair()
    before = signal.signal(signal.SIGALRM, interrupt)
    view = elsewhere.memory.buf[:SIZE]
    elsewhere.ask("write", 1)
    try:
        one.sendall(pattern(9)[:part])
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        with pytest.raises(Interrupted):
            while True:  # what has come is returned first
                got = two.recv_into(view, 0, socket.MSG_WAITALL)
                assert got == part
                assert view[:part] == pattern(9)[:part]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        view.release()
        one.close()
        two.close()
