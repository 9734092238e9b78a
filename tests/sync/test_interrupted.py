"""Waits that end otherwise: by a signal, or with the death of who waits or holds."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable
from threading import BrokenBarrierError
from typing import Any

import pytest
from moments import Interrupt, alarm
from places import PATIENCE, finish, perform, start
from test_primitives import expect

SOON = 0.1


def soon(handler: Callable[[], Any]) -> contextlib.AbstractContextManager[None]:
    """The handler runs, in the main thread, in the middle of what the block waits for."""
    return alarm(lambda *_: handler(), SOON)


def interrupt() -> None:
    raise Interrupt


def interrupted_waits(ctx: Any) -> None:
    lock, permits, event = ctx.Lock(), ctx.Semaphore(0), ctx.Event()
    lock.acquire()
    for wait in (lock.acquire, permits.acquire, event.wait):
        with soon(interrupt):
            expect(Interrupt, wait)
    lock.release()
    assert lock.acquire(True, PATIENCE)  # nothing was taken by the wait that was given up
    assert permits.get_value() == 0
    permits.release()
    assert permits.acquire(False)


def interrupted_time_limits(ctx: Any) -> None:
    """The handler raises about when the time is over, so in the midst of giving up, too."""
    permits, draw, armed, interrupts = ctx.Semaphore(0), random.Random(1), False, 0

    def handler(*_: Any) -> None:
        if armed:
            raise Interrupt

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for _ in range(200):
            signal.setitimer(signal.ITIMER_REAL, draw.uniform(0.0001, 0.01))
            try:
                armed = True
                assert not permits.acquire(True, 0.005)
                armed = False
            except Interrupt:
                interrupts += 1
            finally:
                armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupts
    permits.release()
    assert permits.acquire(True, PATIENCE)


def handlers_that_synchronise(ctx: Any) -> None:
    """A signal handler may use the cluster while the thread that it runs in waits for it."""
    lock, permits, other = ctx.Lock(), ctx.Semaphore(0), ctx.Semaphore(3)
    lock.acquire()

    def help_out() -> None:
        assert other.get_value() == 3
        other.acquire()
        assert not permits.acquire(False)
        lock.release()
        permits.release()

    with soon(help_out):
        assert lock.acquire(True, PATIENCE)
        assert permits.acquire(True, PATIENCE)
    assert other.get_value() == 2


@pytest.mark.parametrize("scenario", [interrupted_waits, handlers_that_synchronise])
def test_signals(place: str, scenario: Any) -> None:
    perform(place, scenario)


def test_time_limits(cluster: None) -> None:
    """In a worker: a new connection of the driver would look like a leak."""
    perform("worker", interrupted_time_limits)


# ---- death: here a cluster does better than one machine, where a lock stays held for ever -----


def _hold(lock: Any, held: Any) -> None:
    lock.acquire()
    held.release()
    time.sleep(PATIENCE)


def killed_holder(ctx: Any) -> None:
    for lock in (ctx.Lock(), ctx.RLock()):
        held = ctx.Semaphore(0)
        child = start(ctx, _hold, lock, held)
        assert held.acquire(True, PATIENCE)
        assert lock.acquire(False) is False
        child.kill()
        assert lock.acquire(True, PATIENCE)
        lock.release()
        child.join(PATIENCE)
        assert child.exitcode == -signal.SIGKILL


def _take(permits: Any, ready: Any) -> None:
    ready.release()
    permits.acquire()
    raise AssertionError("this process was to be killed")


def killed_waiters(ctx: Any) -> None:
    """Who dies while it waits takes nothing with it."""
    lock, permits, ready = ctx.Lock(), ctx.Semaphore(0), ctx.Semaphore(0)
    lock.acquire()
    for thing in (permits, lock):
        child = start(ctx, _take, thing, ready)
        assert ready.acquire(True, PATIENCE)
        time.sleep(0.05)  # most likely it waits by now; the test holds if it does not
        child.kill()
        child.join(PATIENCE)
        thing.release()
        assert thing.acquire(True, PATIENCE)


def _come(barrier: Any) -> None:
    barrier.wait(PATIENCE)


def killed_party(ctx: Any) -> None:
    barrier = ctx.Barrier(3)
    child = start(ctx, _come, barrier)
    until = time.monotonic() + PATIENCE
    while not barrier.n_waiting:
        assert time.monotonic() < until
        time.sleep(0.005)
    child.kill()
    expect(BrokenBarrierError, barrier.wait, PATIENCE)
    child.join(PATIENCE)


def _release_for(lock: Any) -> None:
    lock.release()


def _wait_for(lock: Any, ready: Any) -> None:
    ready.release()
    assert lock.acquire(True, PATIENCE)


def released_by_a_third(ctx: Any) -> None:
    lock, ready = ctx.Lock(), ctx.Semaphore(0)
    lock.acquire()
    waiting = start(ctx, _wait_for, lock, ready, host=0)
    assert ready.acquire(True, PATIENCE)
    finish(start(ctx, _release_for, lock, host=2), waiting)
    assert lock.acquire(False) is False
    lock.release()


@pytest.mark.parametrize(
    "scenario", [killed_holder, killed_waiters, killed_party, released_by_a_third]
)
@pytest.mark.parametrize("where", ["driver", "worker"])
def test_death(cluster: None, where: str, scenario: Any) -> None:
    perform(where, scenario)
