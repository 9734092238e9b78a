"""Locks, semaphores, conditions and events behave as multiprocessing's, on one host and on many."""

from __future__ import annotations

import functools
import pickle
import threading
import time
from typing import Any

import pytest
from places import PATIENCE, finish, perform, run, start


def expect(error: type[BaseException], function: Any, *arguments: Any) -> str:
    """pytest.raises, for processes that do not run under pytest."""
    try:
        function(*arguments)
    except error as caught:
        return str(caught)
    raise AssertionError(f"no {error.__name__}")


def timed(seconds: float, function: Any, *arguments: Any) -> Any:
    """The call's value; it took at least `seconds`, and not much longer."""
    began = time.monotonic()
    value = function(*arguments)
    took = time.monotonic() - began
    assert seconds - 0.01 <= took < seconds + 5, took
    return value


# ---- Lock -----------------------------------------------------------------------------------


def lock_in_one_process(ctx: Any) -> None:
    lock = ctx.Lock()
    assert repr(lock) == "<Lock(owner=None)>"
    assert lock.acquire() is True
    assert lock.acquire(False) is False
    assert lock.acquire(True, 0) is False
    assert lock.acquire(True, -1) is False
    assert timed(0.1, lock.acquire, True, 0.1) is False
    assert lock.acquire(block=False, timeout=5) is False
    assert "owner=None" not in repr(lock)
    lock.release()
    message = expect(ValueError, lock.release)
    assert message == "semaphore or lock released too many times"
    with lock as taken:
        assert taken is True
        assert lock.acquire(False) is False
    assert lock.acquire(timeout=0) is True
    lock.release()
    expect(TypeError, functools.partial(lock.acquire, foo=1))
    expect(RuntimeError, pickle.dumps, lock)


def _find_it_held(lock: Any) -> None:
    assert lock.acquire(False) is False
    assert timed(0.1, lock.acquire, True, 0.1) is False
    assert repr(lock) == "<Lock(owner=SomeOtherProcess)>"


def _release_it(lock: Any) -> None:
    lock.release()


def _take_it(lock: Any) -> None:
    assert lock.acquire(True, PATIENCE)


def lock_between_processes(ctx: Any) -> None:
    lock = ctx.Lock()
    lock.acquire()
    run(ctx, _find_it_held, lock)
    run(ctx, _release_it, lock)  # a lock has no owner
    run(ctx, _take_it, lock)  # and stays held when its taker ends
    assert lock.acquire(False) is False
    lock.release()
    assert lock.acquire(False) is True


def _add(lock: Any, cells: Any, times: int) -> None:
    for _ in range(times):
        with lock:
            cells[0] += 1


def lock_excludes(ctx: Any) -> None:
    for lock in (ctx.Lock(), ctx.RLock(), ctx.Semaphore(1), ctx.BoundedSemaphore(1)):
        cells = ctx.RawArray("q", 1)
        children = [start(ctx, _add, lock, cells, 100) for _ in range(3)]
        _add(lock, cells, 100)
        finish(*children)
        assert cells[0] == 400, type(lock)


def _add_by_threads(lock: Any, cells: Any) -> None:
    threads = [threading.Thread(target=_add, args=(lock, cells, 50)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def lock_excludes_threads(ctx: Any) -> None:
    for lock in (ctx.Lock(), ctx.RLock(), ctx.Semaphore(1)):
        cells = ctx.RawArray("q", 1)
        children = [start(ctx, _add_by_threads, lock, cells) for _ in range(2)]
        finish(*children)
        assert cells[0] == 400, type(lock)


# ---- RLock ----------------------------------------------------------------------------------


def _cannot_have(lock: Any) -> None:
    assert lock.acquire(False) is False
    assert expect(AssertionError, lock.release).startswith("attempt to release recursive lock")
    assert repr(lock) == "<RLock(SomeOtherProcess, nonzero)>"


def rlock(ctx: Any) -> None:
    lock = ctx.RLock()
    assert repr(lock) == "<RLock(None, 0)>"
    assert lock.acquire() and lock.acquire(False) and lock.acquire(True, 1)
    assert repr(lock).endswith(", 3)>")
    run(ctx, _cannot_have, lock)
    refused: list[Any] = []
    thread = threading.Thread(target=lambda: refused.append(lock.acquire(False)))
    thread.start()
    thread.join()
    assert refused == [False]
    for _ in range(3):
        lock.release()
    expect(AssertionError, lock.release)
    run(ctx, _take_and_give, lock)
    with lock, lock:
        assert lock._semlock._count() == 2
    assert repr(lock) == "<RLock(None, 0)>"


def _take_and_give(lock: Any) -> None:
    with lock:
        pass


# ---- Semaphores -----------------------------------------------------------------------------


def semaphore(ctx: Any) -> None:
    permits = ctx.Semaphore(2)
    assert repr(permits) == "<Semaphore(value=2)>"
    assert permits.acquire() and permits.acquire()
    assert permits.get_value() == 0
    assert permits.acquire(False) is False
    assert permits.acquire(True, 0) is False
    assert timed(0.1, permits.acquire, True, 0.1) is False
    for _ in range(5):
        permits.release()
    assert permits.get_value() == 5
    child = start(ctx, _take_permits, permits, 5)
    finish(child)
    assert permits.get_value() == 0
    waiting = start(ctx, _take_permits, permits, 2)
    permits.release()
    permits.release()
    finish(waiting)
    expect(OSError, ctx.Semaphore, -1)
    expect(TypeError, ctx.Semaphore, 1.5)
    expect(OverflowError, ctx.Semaphore, 1 << 31)


def _take_permits(permits: Any, count: int) -> None:
    for _ in range(count):
        assert permits.acquire(True, PATIENCE)


def bounded_semaphore(ctx: Any) -> None:
    permits = ctx.BoundedSemaphore(2)
    assert repr(permits) == "<BoundedSemaphore(value=2, maxvalue=2)>"
    expect(ValueError, permits.release)
    run(ctx, _take_permits, permits, 2)
    permits.release()
    permits.release()
    expect(ValueError, permits.release)
    assert permits.get_value() == 2
    never = ctx.BoundedSemaphore(0)
    assert never.acquire(False) is False
    expect(ValueError, never.release)


# ---- Condition and Event --------------------------------------------------------------------


def _sleep(condition: Any, ready: Any, cells: Any) -> None:
    with condition:
        ready.release()
        assert condition.wait(PATIENCE)
        cells[0] += 1


def condition(ctx: Any) -> None:
    for lock in (None, ctx.Lock()):
        wake = ctx.Condition(lock)
        ready, cells = ctx.Semaphore(0), ctx.RawArray("q", 1)
        children = [start(ctx, _sleep, wake, ready, cells) for _ in range(3)]
        for _ in children:
            assert ready.acquire(True, PATIENCE)
        with wake:  # they sleep: each said so while it held the lock
            wake.notify()
        assert eventually(wake, lambda: cells[0] == 1)  # noqa: B023
        with wake:
            wake.notify_all()
        finish(*children)
        assert cells[0] == 3
        with wake:
            assert timed(0.1, wake.wait, 0.1) is False
            assert wake.wait_for(lambda: 5) == 5
            assert timed(0.1, wake.wait_for, lambda: 0, 0.1) == 0
        expect(AssertionError, wake.wait)
        expect(AssertionError, wake.notify)


def eventually(lock: Any, predicate: Any) -> bool:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with lock:
            if predicate():
                return True
        time.sleep(0.005)
    return False


def _answer(event: Any, back: Any) -> None:
    assert event.wait(PATIENCE) is True
    assert event.is_set()
    back.set()


def event(ctx: Any) -> None:
    there, back = ctx.Event(), ctx.Event()
    assert not there.is_set()
    assert there.wait(0) is False
    assert timed(0.1, there.wait, 0.1) is False
    child = start(ctx, _answer, there, back)
    there.set()
    assert back.wait(PATIENCE) is True
    finish(child)
    there.set()
    assert there.is_set() and there.wait()
    there.clear()
    assert not there.is_set()


SCENARIOS = [
    lock_in_one_process,
    lock_between_processes,
    lock_excludes,
    lock_excludes_threads,
    rlock,
    semaphore,
    bounded_semaphore,
    condition,
    event,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_primitive(place: str, scenario: Any) -> None:
    perform(place, scenario)
