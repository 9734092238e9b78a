"""SharedMemory behaves as multiprocessing.shared_memory's, on one host and on many."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
from multiprocessing import shared_memory
from typing import Any

import pytest
from places import finish, perform, run, start
from test_primitives import expect

import dsmproc
from dsmproc import sharedmem


def memory_of(ctx: Any) -> Any:
    """The SharedMemory of a context; the standard library's, also while there is a cluster."""
    if ctx.get_start_method() == "cluster":
        return dsmproc.SharedMemory
    return sharedmem.standard


@contextlib.contextmanager
def block(ctx: Any, size: int, **keywords: Any) -> Any:
    memory = memory_of(ctx)(create=True, size=size, **keywords)
    try:
        yield memory
    finally:
        memory.close()
        with contextlib.suppress(FileNotFoundError):
            memory.unlink()


def _write(make: Any, name: str, size: int) -> None:
    memory = make(name)
    assert (memory.name, memory.size, len(memory.buf)) == (name, size, size)
    assert bytes(memory.buf[:5]) == b"hello" and memory.buf[size - 1] == 0
    memory.buf[size - 1] = 77
    memory.close()


def exact_sizes(ctx: Any) -> None:
    for size in (5 + 1, 4095, 4096, 4097, 100_000):
        with block(ctx, size) as memory:
            assert (memory.size, len(memory.buf), memory.buf.nbytes) == (size, size, size)
            assert (memory.buf.format, memory.buf.readonly, memory.buf.contiguous) == (
                "B",
                False,
                True,
            )
            assert bytes(memory.buf) == bytes(size)
            memory.buf[:5] = b"hello"
            run(ctx, _write, memory_of(ctx), memory.name, size)
            assert memory.buf[size - 1] == 77
            expect(IndexError, lambda: memory.buf[size])  # noqa: B023


def names(ctx: Any) -> None:
    make = memory_of(ctx)
    name = f"dsm-test-{os.getpid()}"
    with block(ctx, 10, name=name) as memory:
        assert memory.name == name
        assert repr(memory) == f"SharedMemory({name!r}, size=10)"
        assert "/" + name in expect(FileExistsError, lambda: make(name, True, 20))
        other = make(name)
        other.buf[0] = 9
        assert (memory.buf[0], other.size) == (9, 10)
        other.close()
        memory.unlink()
        assert "/" + name in expect(FileNotFoundError, make, name)
        expect(FileNotFoundError, memory.unlink)
        memory.buf[1] = 8  # the mapping lives on
        again = make(name, create=True, size=3)
        assert (again.size, bytes(again.buf)) == (3, b"\0\0\0")
        again.close()
        again.unlink()
        assert bytes(memory.buf[:2]) == b"\x09\x08"
    with block(ctx, 1) as made_up:
        assert made_up.name.startswith("psm_") and len(made_up.name) <= 14


def bad_arguments(ctx: Any) -> None:
    make = memory_of(ctx)
    assert expect(ValueError, lambda: make(create=True)).startswith("'size' must be a positive")
    assert expect(ValueError, lambda: make(create=True, size=-1)).startswith("'size' must be")
    assert expect(ValueError, make) == "'name' can only be None if create=True"
    expect(FileNotFoundError, make, "no-such-memory")
    expect(OSError, lambda: make("a/b", True, 1))


def closing(ctx: Any) -> None:
    with block(ctx, 8192) as memory:
        part = memory.buf[10:20]
        expect(BufferError, memory.close)
        part[0] = 1  # still there
        part.release()
        memory.close()
        assert memory.buf is None
        memory.close()
        again = memory_of(ctx)(memory.name)
        whole = memoryview(again.buf)
        assert whole[10] == 1
        array = struct.Struct("<q")
        array.pack_into(again.buf, 100, 5)
        assert array.unpack_from(again.buf, 100) == (5,)
        whole.release()
        again.close()


def _add_bytes(memory: Any, start_at: int) -> None:
    for index in range(start_at, memory.size, 3):
        memory.buf[index] += 1 + start_at
    memory.close()


def handed_to_children(ctx: Any) -> None:
    """As an argument; and every child writes every third byte of all pages: false sharing."""
    with block(ctx, 3 * 4096) as memory:
        finish(*[start(ctx, _add_bytes, memory, first) for first in range(3)])
        assert bytes(memory.buf) == bytes([1, 2, 3]) * 4096
        copy = pickle.loads(pickle.dumps(memory))
        assert (copy.name, copy.buf[4]) == (memory.name, 2)
        copy.close()


def _reach_after_unlink(memory: Any, attached: Any, unlinked: Any) -> None:
    attached.release()
    assert unlinked.acquire(True, 30)
    assert memory.buf[4096] == 44  # a page that is fetched after the name is gone
    memory.buf[4097] = 55


def mappings_survive_unlink(ctx: Any) -> None:
    with block(ctx, 8192) as memory:
        attached, unlinked = ctx.Semaphore(0), ctx.Semaphore(0)
        child = start(ctx, _reach_after_unlink, memory, attached, unlinked)
        assert attached.acquire(True, 30)
        memory.buf[4096] = 44
        memory.unlink()
        unlinked.release()
        finish(child)
        assert memory.buf[4097] == 55


def many_come_and_go(ctx: Any) -> None:
    for round_ in range(20):
        with block(ctx, 4096 * 3) as memory:
            memory.buf[5000] = round_
            assert memory.buf[5000] == round_


def untracked(ctx: Any) -> None:
    with block(ctx, 10, track=False) as memory:
        other = memory_of(ctx)(memory.name, track=False)
        other.close()


def numpy_arrays(ctx: Any) -> None:
    numpy = pytest.importorskip("numpy")
    with block(ctx, 800) as memory:
        array = numpy.frombuffer(memory.buf, numpy.float64)
        array[:] = 1.5
        expect(BufferError, memory.close)
        assert array.sum() == 150
        del array


def _change_list(items: Any) -> None:
    assert list(items) == [1, 2.5, "text", b"bytes", None, True]
    items[0], items[2] = -7, "new"
    items.shm.close()


def shareable_list(ctx: Any) -> None:
    cluster = ctx.get_start_method() == "cluster"
    make = sharedmem.ShareableList if cluster else shared_memory.ShareableList
    items = make([1, 2.5, "text", b"bytes", None, True])
    run(ctx, _change_list, items)
    assert list(items) == [-7, 2.5, "new", b"bytes", None, True]
    other = make(name=items.shm.name)
    assert (len(other), other[0], other.index(2.5), other.count(None)) == (6, -7, 1, 1)
    other.shm.close()
    items.shm.close()
    items.shm.unlink()


SCENARIOS = [
    shareable_list,
    numpy_arrays,
    exact_sizes,
    names,
    bad_arguments,
    closing,
    handed_to_children,
    mappings_survive_unlink,
    many_come_and_go,
    untracked,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_shared_memory(place: str, scenario: Any) -> None:
    perform(place, scenario)


def test_what_is_forgotten_is_detached(cluster: None) -> None:
    """Dropping the last reference detaches, as far as the next use of memory here."""
    from dsmproc._memory import current

    first = dsmproc.SharedMemory(create=True, size=10)
    attached = len(current.client()._regions)
    name = first.name
    del first
    second = dsmproc.SharedMemory(name)
    assert len(current.client()._regions) == attached
    second.close()
    second.unlink()
    assert len(current.client()._regions) == attached - 1


def test_it_is_a_standard_one_to_isinstance(cluster: None) -> None:
    memory = dsmproc.SharedMemory(create=True, size=10)
    assert isinstance(memory, shared_memory.SharedMemory)
    assert isinstance(memory, sharedmem.SharedMemory)
    memory.close()
    memory.unlink()


def test_an_unknown_home_policy_is_refused(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSMPROC_HOME", "nowhere")
    with pytest.raises(
        ValueError, match="adaptive, barrier, blocks, first, fixed, homeless, migrating"
    ):
        dsmproc.SharedMemory(create=True, size=10)
    monkeypatch.setenv("DSMPROC_HOME", "fixed")
    perform("driver", handed_to_children)


def write_in_turns(memory: Any, barrier: Any, number: int) -> None:
    for turn in range(6):
        if turn % 2 == number:
            memory.buf[0] += 1
        barrier.wait(30)


def moves_of(home: str) -> int:
    """How often the page went to a new home; it is at home here first."""
    ctx = dsmproc.get_context()
    memory, barrier = dsmproc.SharedMemory(create=True, size=10, home=home), ctx.Barrier(2)
    memory.buf[0] = 1
    dsmproc.stats(reset=True)
    children = [start(ctx, write_in_turns, memory, barrier, n, host=1 + n) for n in range(2)]
    finish(*children)
    assert memory.buf[0] == 7
    memory.close()
    memory.unlink()
    return sum(counters["home_migrations"] for counters in dsmproc.stats().values())


def test_each_region_may_have_a_home_policy_of_its_own(cluster: None) -> None:
    assert moves_of("first") == 0
    assert moves_of("migrating") > 0
    assert moves_of("fixed") == 0
    assert moves_of("blocks") == 0
    with pytest.raises(ValueError, match="home=nowhere: this version has"):
        dsmproc.SharedMemory(create=True, size=10, home="nowhere")


def write_third(memory: Any, number: int) -> None:
    page = memory.size // 12
    for index in range(4 * number, 4 * number + 4):
        memory.buf[index * page] = 1 + number


def diffs_of(home: str) -> int:
    """Each of three hosts writes its own third of twelve pages: the changes that had to travel."""
    ctx = dsmproc.get_context()
    memory = dsmproc.SharedMemory(create=True, size=12 * 4096, home=home)
    dsmproc.stats(reset=True)
    finish(*[start(ctx, write_third, memory, n, host=n) for n in range(3)])
    sent = sum(counters["diffs_sent"] for counters in dsmproc.stats().values())
    assert [memory.buf[index * 4096] for index in range(12)] == [1] * 4 + [2] * 4 + [3] * 4
    memory.close()
    memory.unlink()
    return sent


def test_pages_are_dealt_out_one_by_one_or_in_blocks(cluster: None) -> None:
    assert diffs_of("blocks") == 0
    assert diffs_of("fixed") == 6  # of four pages in a row two are at home


def test_too_large(cluster: None) -> None:
    with pytest.raises(MemoryError):
        dsmproc.SharedMemory(create=True, size=1 << 50)
    perform("driver", untracked)  # and nothing is broken by it
