"""One cluster after the other in the same process: what is left of the first disturbs nothing."""

from __future__ import annotations

from typing import Any

import pytest
from places import finish, local_cluster, start

import dsmproc
from dsmproc.errors import ClusterError


def _bump(number: Any, memory: Any, lock: Any) -> None:
    with lock:
        number.value += 1
        memory.buf[0] += 1


def _use() -> tuple[Any, ...]:
    number, lock = dsmproc.Value("i"), dsmproc.Lock()
    memory = dsmproc.SharedMemory("again", create=True, size=5000)
    ctx = dsmproc.get_context()
    finish(*[start(ctx, _bump, number, memory, lock) for _ in range(2)])
    assert (number.value, memory.buf[0], memory.buf[4999]) == (2, 2, 0)
    return number, memory, lock


def test_two_clusters() -> None:
    with local_cluster(2):
        first = _use()
    with pytest.raises(ClusterError):
        dsmproc.get_context("cluster").Lock()
    with local_cluster(2):
        second = _use()
        assert first[1].buf[0] == 2  # what this process had seen
        first[1].close()
        del first
        _use_again(second)
        second[1].close()
        second[1].unlink()
    del second


def _use_again(things: tuple[Any, ...]) -> None:
    number, memory, lock = things
    ctx = dsmproc.get_context()
    finish(start(ctx, _bump, number, memory, lock))
    assert (number.value, memory.buf[0]) == (3, 3)
