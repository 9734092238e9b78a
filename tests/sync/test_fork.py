"""Cluster objects in children that the standard library forks on the same host."""

from __future__ import annotations

import multiprocessing
from typing import Any

import pytest
from places import finish, perform, start

import dsmproc


def _use(lock: Any, permits: Any, number: Any, memory: Any, barrier: Any) -> None:
    for _ in range(50):
        with lock:
            memory.buf[5000] = (memory.buf[5000] + 1) % 256
    with number.get_lock():
        number.value += 1
    permits.release()
    barrier.wait(30)
    with lock:
        assert memory.buf[5000] == 150
    assert lock._semlock._count() == 0


def forked_children(ctx: Any) -> None:
    lock, permits, number = ctx.Lock(), ctx.Semaphore(0), ctx.Value("i")
    memory, barrier = dsmproc.SharedMemory(create=True, size=8192), ctx.Barrier(3)
    arguments = (lock, permits, number, memory, barrier)
    with lock:
        forks = [start(multiprocessing.get_context("fork"), _use, *arguments) for _ in range(2)]
        remote = start(ctx, _use, *arguments)
    finish(*forks, remote)
    assert (number.value, permits.get_value(), memory.buf[5000]) == (3, 3, 150)
    memory.close()
    memory.unlink()


@pytest.mark.parametrize("where", ["driver", "worker"])
def test_fork(cluster: None, where: str) -> None:
    perform(where, forked_children)
