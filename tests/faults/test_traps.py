"""The traps a, b, c, e, g, i and m of the design: each fault, made by leaving its remedy out."""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hosts import Child, ChildDied, Hosts
from watched import (
    EVENT_MINOR,
    EVENT_WP,
    EVENT_WRITE,
    MINOR,
    MISSING,
    PAGE,
    SOON,
    WP,
    Page,
    Process,
    watched,
)

from dsmproc._memory.client import Client


def read(process: Process, value: bytes) -> None:
    """Let it read, resolving its fault: it has the page then, read-only."""
    process.tell(b"read")
    assert process.event() is not None
    process.map()
    assert process.answer() == value


# ---- a: registration without MINOR ---------------------------------------------------------------


@pytest.mark.parametrize("modes", [MISSING | WP, MISSING | MINOR | WP])
def test_a_write_after_a_punch_is_lost_without_minor(
    page: Page, mechanism: str, modes: int
) -> None:
    with watched(page, mechanism, modes) as one, watched(page, mechanism) as two:
        page.bytes[0] = 1
        if modes & MINOR:
            read(one, b"\1")
        else:  # resident already: nobody is asked
            one.tell(b"read")
            assert one.answer() == b"\1"
        read(two, b"\1")
        page.punch()  # invalidated
        two.tell(b"read")  # `two` asks for it again; it is fetched
        assert two.event() is not None
        page.bytes[0] = 3
        two.map()
        assert two.answer() == b"\3"
        one.tell(b"read")
        if modes & MINOR:
            assert one.event() == EVENT_MINOR
            one.map()
            assert one.answer() == b"\3"
            one.tell(b"write")
            assert one.event() == EVENT_WRITE | EVENT_WP
            one.unprotect()
            assert one.answer() == b"done"
        else:
            assert one.answer() == b"\3"  # it maps the page by itself, writable ...
            one.tell(b"write")
            assert one.answer() == b"done"  # ... so that nobody hears of its store
            assert one.event(0) is None


# ---- b: the last reference to a userfaultfd ------------------------------------------------------


@pytest.mark.parametrize("keep", [False, True])
def test_closing_the_last_userfaultfd_reads_zeros(page: Page, mechanism: str, keep: bool) -> None:
    with watched(page, mechanism, keep=keep) as process:
        process.tell(b"read")
        assert process.event() is not None
        process.release_faults()  # as when the agent dies
        if keep:
            assert process.answer(SOON) is None  # it waits, until its lifeline ends it
            assert not page.resident()
        else:
            assert process.answer() == b"\0"
            assert page.resident()


# ---- c: fork -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dontfork", [False, True])
def test_a_forked_child_plants_a_zero_page(page: Page, mechanism: str, dontfork: bool) -> None:
    with watched(page, mechanism, dontfork=dontfork) as process:
        process.tell(b"fork")
        if dontfork:
            assert process.answer() == b"-11"  # SIGSEGV: no mapping is there
            assert not page.resident()
        else:
            assert process.answer() == b"0"
            assert page.resident()  # the whole host now takes these zeros for the page
            assert process.event(SOON) is None


# ---- e: a punch under a thread that is parked on a write-protect fault ---------------------------


def test_a_parked_writer_waits_for_ever_unless_woken(page: Page, mechanism: str) -> None:
    with watched(page, mechanism) as process:
        page.bytes[0] = 1
        read(process, b"\1")
        process.tell(b"write")
        assert process.event() == EVENT_WRITE | EVENT_WP
        page.punch()
        assert process.answer(SOON) is None
        assert process.event(0) is None  # no new event either: nobody would ever help it
        process.wake()
        assert process.event() == EVENT_WRITE  # it faults again, on the page that is missing now
        page.bytes[0] = 5
        process.map(protect=False)
        assert process.answer() == b"done"
        assert page.bytes[0:2] == b"\5\2"


def test_writers_and_invalidations_at_once(tmp_path: Path, any_mechanism: str) -> None:
    """The engine under the same race: threads that write while their page is punched again and
    again by notices of another host."""

    def write(client: Client, region: int, me: int, rounds: int) -> bytes:
        memory = client.attach(region)

        def thread(at: int) -> None:
            for turn in range(rounds):
                memory[at] = turn % 251
                client.observe_newest()
                client.publish()

        threads = [threading.Thread(target=thread, args=(me * 8 + i,)) for i in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return bytes(memory[me * 8 : me * 8 + 4])

    with Hosts(2, tmp_path) as hosts:
        region = hosts.region(1)
        children = [hosts[i].run(write, region, i, 100) for i in (0, 1)]
        for child in children:
            assert child.result() == bytes([99] * 4)
        hosts.healthy()
        assert hosts.stat("invalidations") > 0


# ---- g: user code that splits or unmaps what is watched ------------------------------------------


def test_a_split_mapping_takes_nothing_as_a_whole(mechanism: str) -> None:
    """One call over two mappings does nothing, though both are watched: page by page it goes."""
    page = Page(2)
    with watched(page, mechanism) as process:
        process.tell(b"split")
        assert process.answer() == b"0"
        process.tell(b"read")
        assert process.event() is not None
        page.bytes[0] = page.bytes[PAGE] = 1
        with pytest.raises(FileNotFoundError):
            process.map(pages=2)
        assert process.answer(SOON) is None
        process.map()
        assert process.answer() == b"\1"
    page.close()


def test_pages_are_used_where_a_mapping_is_split(tmp_path: Path, any_mechanism: str) -> None:
    """As mlock, madvise and what registers memory with a device do."""

    def fill(client: Client, region: int) -> int:
        client.attach(region)[:] = bytes(range(1, 17)) * PAGE
        return client.publish()

    def read(client: Client, region: int, stamp: int) -> list[int]:
        memory = client.attach(region)
        client.observe(stamp)
        start = ctypes.addressof(ctypes.c_ubyte.from_buffer(memory))
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        assert not madvise(start + 3 * PAGE, 2 * PAGE, mmap.MADV_RANDOM)
        seen = [memory[i * PAGE + i] for i in range(16)]
        for i in range(16):
            memory[i * PAGE] = i
        return seen + [memory[i * PAGE] for i in range(16)]

    with Hosts(2, tmp_path, run=16) as hosts:
        region = hosts.region(16)
        stamp = hosts[0].run(fill, region).result()
        seen = hosts[1].run(read, region, stamp).result(10)
        assert seen == [*range(1, 17), *range(16)]
        hosts.healthy()


def test_a_thread_stays_parked_when_its_page_is_unmapped(page: Page, mechanism: str) -> None:
    with watched(page, mechanism) as process:
        process.tell(b"copy")
        assert process.event() is not None
        process.tell(b"unmap")
        assert process.answer() == b"0"
        assert process.answer(SOON) is None
        process.wake()
        assert process.ended() == signal.SIGSEGV  # as anywhere


def test_who_is_parked_in_memory_that_is_detached_ends(tmp_path: Path, any_mechanism: str) -> None:
    """A thread with a bare pointer, whose page is on its way when another one detaches."""

    def hold(client: Client, region: int) -> int:
        client.attach(region)[0] = 1
        return client.publish()

    def body(client: Client, region: int, stamp: int, go: int) -> None:
        faulthandler.disable()
        memory = client.attach(region)
        client.observe(stamp)
        start = (ctypes.c_ubyte * PAGE).from_buffer(memory)
        address = ctypes.addressof(start)
        del start
        copy = ctypes.CDLL(None).memcpy  # without the GIL
        copy.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]
        parked = threading.Thread(target=copy, args=(b" ", address, 1))
        parked.start()
        os.read(go, 1)
        memory.release()
        client.detach_unused()
        parked.join()

    with Hosts(2, tmp_path) as hosts:
        region = hosts.region(1)
        stamp = hosts[0].run(hold, region).result()
        reader, writer = os.pipe()
        faults = hosts[1].node.call("stats")["read_faults"]
        os.kill(hosts[0].node.pid, signal.SIGSTOP)
        try:
            child = hosts[1].run(body, region, stamp, reader)
            until = time.monotonic() + 10
            while hosts[1].node.call("stats")["read_faults"] == faults:
                assert time.monotonic() < until
                time.sleep(0.01)
            os.write(writer, b"!")
            with pytest.raises(ChildDied) as died:
                child.result(10)
        finally:
            os.kill(hosts[0].node.pid, signal.SIGCONT)
        assert died.value.exitcode == -signal.SIGSEGV
        hosts.healthy()
        os.close(reader)
        os.close(writer)


# ---- m: the mark that a protected page leaves ----------------------------------------------------


@pytest.mark.parametrize("order", [b"read", b"write", b"pipe"])
@pytest.mark.parametrize("had", [False, True])
@pytest.mark.parametrize("clean", [False, True])
def test_a_page_that_was_protected_cannot_be_poisoned(
    page: Page, order: bytes, had: bool, clean: bool
) -> None:
    """Protection outlives the page; where it does, a poison is refused and nobody is woken."""
    reader, writer = os.pipe()
    with watched(page, "uffd") as process:
        page.bytes[0] = 1
        if had:
            read(process, b"\1")
        page.punch()
        process.tell(order, writer)
        assert process.event() is not None
        if clean:
            process.unprotect(wake=False)
        if had and not clean:
            with pytest.raises(FileExistsError):
                process.poison()
            assert process.answer(SOON) is None
        else:
            process.poison()
            if order == b"pipe":  # in a system call it is an error
                assert process.answer() == b"EFAULT"
                process.tell(b"read")
            assert process.ended() == signal.SIGBUS
    os.close(reader)
    os.close(writer)


def test_a_second_poison_wakes_nobody(page: Page, mechanism: str) -> None:
    """A thread that parks while its page is being poisoned is woken by the poison of its fault."""
    with watched(page, mechanism) as process:
        process.tell(b"read")
        assert process.event() is not None
        process.poison(wake=False)
        with pytest.raises(FileExistsError):
            process.poison()
        assert process.answer(SOON) is None
        process.unprotect(wake=False)  # that takes the poison from nobody
        process.wake()
        assert process.ended() == signal.SIGBUS


# ---- i: kernel locks held across a fault ---------------------------------------------------------


def _pipe() -> tuple[int, int]:
    return os.pipe()


def _socketpair() -> tuple[int, int]:
    one, two = socket.socketpair()
    return one.detach(), two.detach()


@pytest.mark.parametrize("make", [_pipe, _socketpair])
def test_a_faulting_write_holds_the_pipe(page: Page, make: Callable[[], tuple[int, int]]) -> None:
    """Even who would not wait must wait; a socket's lock is not held while bytes are copied."""
    reader, writer = make()
    os.set_blocking(writer, False)
    with watched(page, "uffd") as process:
        process.tell(b"pipe", writer)
        assert process.event() is not None
        other = Child(lambda: os.write(writer, b"agent"))
        if make is _pipe:
            with pytest.raises(TimeoutError):
                other.peek(SOON)
        else:
            assert other.result() == 5
        page.bytes[0:4] = b"page"
        process.map()
        assert process.answer() == b"4"
        if make is _pipe:
            assert other.result() == 5
        assert sorted(os.read(reader, 9)) == sorted(b"agentpage")
    os.close(reader)
    os.close(writer)


def test_the_engine_lives_while_its_output_is_held(tmp_path: Path) -> None:
    """Agents whose stdout and stderr are the pipe into which a client writes remote pages."""

    def fill(client: Client, region: int) -> int:
        memory = client.attach(region)
        memory[0 : 16 * PAGE] = b"x" * (16 * PAGE)
        return client.publish()

    def pour(client: Client, region: int, stamp: int) -> int:
        memory = client.attach(region)
        client.observe(stamp)
        return sum(os.write(1, memory[i * PAGE : i * PAGE + 100]) for i in range(16))

    def body() -> int:
        reader, writer = os.pipe()
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        with Hosts(2, tmp_path, run=1) as hosts:
            region = hosts.region(16)
            stamp = hosts[0].run(fill, region).result()
            poured: int = hosts[1].run(pour, region, stamp).result()
        assert os.read(reader, 10_000) == b"x" * poured
        return poured

    assert Child(body).result() == 1600
