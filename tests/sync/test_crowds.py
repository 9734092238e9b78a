"""Many processes on all hosts, some of which are killed: nobody waits for the dead."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from places import PATIENCE, finish, perform, start


def _loop(locks: Any, counts: Any, number: int, times: int, begun: Any) -> None:
    draw = random.Random(number)
    begun.release()
    for _ in range(times):
        lock = draw.choice(locks)
        if draw.random() < 0.2:
            if not lock.acquire(draw.random() < 0.5, draw.random() / 100):
                continue
        else:
            lock.acquire()
        counts[number] += 1
        lock.release()


def killed_in_the_crowd(ctx: Any) -> None:
    locks = [ctx.Lock(), ctx.RLock(), ctx.Lock()]
    counts, begun = ctx.RawArray("q", 12), ctx.Semaphore(0)
    survivors = [start(ctx, _loop, locks, counts, n, 400, begun, host=n % 3) for n in range(6)]
    for _ in survivors:
        assert begun.acquire(True, PATIENCE)
    draw = random.Random(7)
    for number in range(6, 12):
        victim = start(ctx, _loop, locks, counts, number, 1 << 40, begun, host=number % 3)
        assert begun.acquire(True, PATIENCE)
        time.sleep(draw.random() / 10)
        victim.kill()
        victim.join(PATIENCE)
        assert victim.exitcode == -9
    finish(*survivors)
    for lock in locks:
        assert lock.acquire(True, PATIENCE)
        lock.release()
    assert all(counts[number] > 200 for number in range(6))


def _exclude(lock: Any, cells: Any, times: int) -> None:
    for _ in range(times):
        with lock:
            assert cells[0] == 0
            cells[0] = 1
            cells[1] += 1
            cells[0] = 0


def crowds_on_each_host(ctx: Any) -> None:
    """Three processes of each host fight for one lock with those of the others."""
    lock, cells = ctx.Lock(), ctx.RawArray("q", 2)
    finish(*[start(ctx, _exclude, lock, cells, 150, host=n % 3) for n in range(9)])
    assert cells[1] == 9 * 150


@pytest.mark.parametrize("scenario", [killed_in_the_crowd, crowds_on_each_host])
@pytest.mark.parametrize("where", ["driver", "worker"])
def test_crowds(cluster: None, where: str, scenario: Any) -> None:
    perform(where, scenario)
