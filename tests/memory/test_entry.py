"""Entry consistency: a lock brings what is bound to it, and nothing else; messages bring all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from places import PATIENCE, finish, local_cluster, start

import dsmproc

TIMES = 200
DATA, FLAG, SEEN = 0, 4096, 8192  # each on a page of its own


@pytest.fixture(scope="module")
def entry_cluster(mechanism: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSMPROC_CONSISTENCY", "ec")
        patch.setenv("DSMPROC_TICK", "0")
        with local_cluster():
            yield


def _count(value: Any, array: Any) -> None:
    for _ in range(TIMES):
        with value.get_lock():
            value.value += 1
        with array.get_lock():
            array[0] += 1
            array[len(array) - 1] += array[0]


def test_value_and_array_are_bound_to_their_locks(entry_cluster: None) -> None:
    value, array = dsmproc.Value("q"), dsmproc.Array("q", 20_000)
    finish(*[start(dsmproc.get_context(), _count, value, array, host=host) for host in range(3)])
    with value.get_lock():
        assert value.value == 3 * TIMES
    with array.get_lock():
        assert array[0] == 3 * TIMES
        assert array[19_999] == sum(range(3 * TIMES + 1))


def _write(name: str, lock: Any, bound: bool) -> None:
    memory = dsmproc.SharedMemory(name)
    if bound:
        lock.bind(memory.buf[DATA : DATA + 1])
    seen = 0
    while not seen:  # the reader has looked once
        with lock:
            seen = memory.buf[SEEN]
    with lock:
        memory.buf[DATA] = 1
        memory.buf[FLAG] = 1
    memory.close()


def _read(name: str, lock: Any, answers: Any) -> None:
    memory = dsmproc.SharedMemory(name)
    before = memory.buf[DATA]
    with lock:
        memory.buf[SEEN] = 1
    flag = 0
    while not flag:
        with lock:
            flag, under_the_lock = memory.buf[FLAG], memory.buf[DATA]
    answers.put((before, under_the_lock))
    memory.close()


@pytest.mark.parametrize("bound", [True, False])
def test_what_is_bound_is_seen_and_what_is_not_is_stale(entry_cluster: None, bound: bool) -> None:
    ctx = dsmproc.get_context()
    memory, lock = dsmproc.SharedMemory(create=True, size=3 * 4096), dsmproc.Lock()
    lock.bind(memory.buf[FLAG:])
    if bound:
        lock.bind(memory.buf[:4096])
    memory.buf[:] = bytes(3 * 4096)
    answers = ctx.Queue()
    finish(
        start(ctx, _read, memory.name, lock, answers, host=1),
        start(ctx, _write, memory.name, lock, bound, host=2),
    )
    assert answers.get(timeout=PATIENCE) == (0, int(bound))
    assert memory.buf[DATA] == 1  # the end of a process is an edge like any other
    memory.close()
    memory.unlink()
