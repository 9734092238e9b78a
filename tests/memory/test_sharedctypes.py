"""Value, Array and their raw forms: as multiprocessing.sharedctypes, in distributed memory."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing.sharedctypes
import pickle
from typing import Any

import pytest
from places import finish, perform, run, start
from test_primitives import expect

import dsmproc.sharedctypes
from dsmproc import heap
from dsmproc._memory import regions


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double), ("y", ctypes.c_short)]


def module_of(ctx: Any) -> Any:
    cluster = ctx.get_start_method() == "cluster"
    return dsmproc.sharedctypes if cluster else multiprocessing.sharedctypes


def _look_and_change(number: Any, text: Any, list_: Any, point: Any, raw: Any) -> None:
    assert (number.value, text.value, list_[:], raw[:]) == (5, b"hello", [1.5, 2.5], [7, 8, 9])
    assert (point.x, point.y) == (0.5, 3)
    number.value += 1
    text.value = b"bye"
    list_[1] = 4
    point.x, point.y = 9, -1
    raw[2] = 10


def all_kinds(ctx: Any) -> None:
    number = ctx.Value("i", 5)
    text = ctx.Array("c", b"hello")
    list_ = ctx.Array("d", [1.5, 2.5])
    point = ctx.Value(Point, 0.5, 3)
    raw = ctx.RawArray("q", [7, 8, 9])
    run(ctx, _look_and_change, number, text, list_, point, raw)
    assert (number.value, text.value, list_[:], raw[:]) == (6, b"bye", [1.5, 4], [7, 8, 10])
    assert (point.x, point.y) == (9, -1)
    assert len(list_) == 2 and len(text) == 5
    assert repr(number).startswith("<Synchronized wrapper for c_int")
    assert [type(thing).__name__ for thing in (number, text, list_, point)] == [
        "Synchronized",
        "SynchronizedString",
        "SynchronizedArray",
        "SynchronizedPoint",
    ]
    expect(RuntimeError, pickle.dumps, number)


def _add(number: Any, cells: Any, times: int) -> None:
    for _ in range(times):
        with number.get_lock():
            number.value += 1
        with cells:
            for index in range(len(cells)):
                cells[index] += 1


def under_locks(ctx: Any) -> None:
    number, cells = ctx.Value("q"), ctx.Array("i", 5)
    finish(*[start(ctx, _add, number, cells, 60) for _ in range(3)])
    assert (number.value, cells[:]) == (180, [180] * 5)


def locks(ctx: Any) -> None:
    lock = ctx.Lock()
    assert ctx.Value("i", lock=lock).get_lock() is lock
    assert ctx.Array("i", 3, lock=lock).get_lock() is lock
    assert not hasattr(ctx.Value("i", lock=False), "get_lock")
    assert not hasattr(ctx.Array("i", 3, lock=False), "get_lock")
    expect(AttributeError, lambda: ctx.Value("i", lock="no lock"))
    value = ctx.Value("i", 3)
    with value:  # an RLock of its own
        value.value += 1
    assert value.get_obj().value == 4
    expect(TypeError, lambda: ctx.Array("i"))


def copies(ctx: Any) -> None:
    module = module_of(ctx)
    one = ctx.RawValue(Point, 1, 2)
    two = module.copy(one)
    two.x = 5
    assert (one.x, two.x, two.y) == (1, 5, 2)
    wrapped = module.synchronized(two, ctx.RLock(), ctx=ctx)
    assert wrapped.x == 5
    expect(AssertionError, lambda: module.synchronized(wrapped, ctx=ctx))


def zeroed(ctx: Any) -> None:
    """What is allocated again does not show what was there."""
    for _ in range(50):
        raw = ctx.RawArray("B", 300)
        assert bytes(raw) == bytes(300)
        ctypes.memset(ctypes.addressof(raw), 255, 300)
        del raw
    assert bytes(ctx.RawArray("B", 100_000)) == bytes(100_000)
    assert bytes(ctx.RawArray("B", 0)) == b""


SCENARIOS = [all_kinds, under_locks, locks, copies, zeroed]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_sharedctypes(place: str, scenario: Any) -> None:
    perform(place, scenario)


def page_of(thing: Any) -> range:
    """The pages that a ctypes object lies on."""
    address = ctypes.addressof(thing)
    return range(address // 4096, (address + ctypes.sizeof(thing) - 1) // 4096 + 1)


def test_locks_never_share_a_page(cluster: None) -> None:
    things = [dsmproc.Value("b") for _ in range(20)] + [dsmproc.Array("d", 700) for _ in range(5)]
    raws = [dsmproc.RawValue("b") for _ in range(20)]
    pages = [page for thing in things for page in page_of(thing.get_obj())]
    assert len(pages) == len(set(pages)) == 20 + 5 * 2
    assert not set(pages) & {page for raw in raws for page in page_of(raw)}
    addresses = sorted(map(ctypes.addressof, raws))
    assert all(address % 64 == 0 for address in addresses)
    assert all(b - a >= 64 for a, b in zip(addresses, addresses[1:], strict=False))


def test_blocks_are_used_again(cluster: None) -> None:
    first = dsmproc.RawArray("B", 5000)
    address = ctypes.addressof(first)
    del first
    assert ctypes.addressof(dsmproc.RawArray("B", 5000)) == address
    arenas = len(heap._packed._arenas)  # type: ignore[attr-defined]
    for _ in range(10):
        large = dsmproc.RawArray("B", 8 << 20)  # larger than what an arena keeps when it is empty
        large[8_000_000] = 1
        del large
        gc.collect()
    assert len(heap._packed._arenas) == arenas  # type: ignore[attr-defined]
    regions.tidy()  # else the next use of shared memory would detach the last one
