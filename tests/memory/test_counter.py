"""A numpy array that three hosts count in: each element under one lock, all on the same pages."""

from __future__ import annotations

from typing import Any

import pytest
from places import finish, start

import dsmproc

numpy = pytest.importorskip("numpy")


def _count(name: str, lock: Any, times: int) -> None:
    memory = dsmproc.SharedMemory(name)
    array = numpy.ndarray((1000,), numpy.int64, buffer=memory.buf)
    host = dsmproc.current_host()
    for _ in range(times):
        array[host + 1 :: 10] += 1  # without a lock: nobody else writes these bytes
        with lock:
            array[0] += 1
            array[999] += array[0]
    del array
    memory.close()


def test_three_hosts_count_right(cluster: None) -> None:
    times = 300
    memory = dsmproc.SharedMemory(create=True, size=8000)
    array = numpy.ndarray((1000,), numpy.int64, buffer=memory.buf)
    lock = dsmproc.Lock()
    ctx = dsmproc.get_context()
    before = dsmproc.stats()
    finish(*[start(ctx, _count, memory.name, lock, times, host=host) for host in range(3)])
    after = dsmproc.stats()
    assert array[0] == 3 * times
    assert array[999] == sum(range(3 * times + 1))
    for host in range(3):
        assert (array[host + 1 : 990 : 10] == times).all()
        assert after[host]["lock_remote"] > before[host]["lock_remote"] or host == 0
    del array
    memory.close()
    memory.unlink()
