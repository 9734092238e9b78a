"""What must hold after each call, when a signal handler has raised in it.

Each scenario makes the objects, and answers what to call and what to look at then. The standard
library is judged by the same ones:

    python tests/sync/interrupts.py [--standard] [SCENARIO ...]     at every moment
    python tests/sync/interrupts.py --random SECONDS ...            by signals at random
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from threading import BrokenBarrierError
from typing import Any

from interrupts_memory import MEMORY, closed_memory
from interrupts_messages import MESSAGES
from moments import PATIENCE, SOON, Made, Scenario, at_random, moments

import dsmproc


def is_free(lock: Any) -> None:
    """Of a lock, or what has the methods of one: taken by nobody, and usable."""
    assert lock.acquire(False), "it is still held"
    lock.release()
    try:
        lock.release()
    except (ValueError, AssertionError, RuntimeError):
        return
    raise AssertionError("it could be released too often")


def _with(lock: Any, inside: Callable[[], Any] = lambda: None) -> Callable[[], None]:
    def function() -> None:
        with lock:
            inside()

    return function


def acquire_lock(ctx: Any) -> Made:
    lock = ctx.Lock()
    return lambda: lock.acquire(), lambda _: is_free(lock)


def acquire_held_lock(ctx: Any) -> Made:
    lock = ctx.Lock()
    lock.acquire()

    def check(_: Any) -> None:
        lock.release()
        is_free(lock)

    return lambda: lock.acquire(True, SOON), check


def release_lock(ctx: Any) -> Made:
    lock = ctx.Lock()
    lock.acquire()
    return lambda: lock.release(), lambda _: is_free(lock)


def with_lock(ctx: Any) -> Made:
    lock = ctx.Lock()
    return _with(lock), lambda _: is_free(lock)


def with_rlock(ctx: Any) -> Made:
    lock = ctx.RLock()
    return _with(lock), lambda _: is_free(lock)


def with_held_rlock(ctx: Any) -> Made:
    lock = ctx.RLock()
    lock.acquire()

    def check(_: Any) -> None:
        lock.release()
        is_free(lock)

    return _with(lock), check


def acquire_semaphore(ctx: Any) -> Made:
    permits = ctx.Semaphore(2)

    def check(_: Any) -> None:
        assert permits.get_value() == 2

    return lambda: permits.acquire(), check


def acquire_empty_semaphore(ctx: Any) -> Made:
    permits = ctx.Semaphore(0)

    def check(_: Any) -> None:
        assert permits.get_value() == 0
        permits.release()
        assert permits.acquire(True, 1)

    return lambda: permits.acquire(True, SOON), check


def release_semaphore(ctx: Any) -> Made:
    permits = ctx.BoundedSemaphore(1)
    permits.acquire()
    return lambda: permits.release(), lambda _: is_free(permits)


def with_semaphore(ctx: Any) -> Made:
    permits = ctx.BoundedSemaphore(1)
    return _with(permits), lambda _: is_free(permits)


def _works(condition: Any) -> None:
    """Whatever was left of it does no harm."""
    is_free(condition)
    for _ in range(2):
        with condition:
            condition.notify_all()
        with condition:
            assert not condition.wait(SOON), "woken by nobody"


def _on(condition: Any, call: Callable[[], Any]) -> Made:
    return _with(condition, call), lambda _: _works(condition)


def wait_condition(ctx: Any) -> Made:
    condition = ctx.Condition()
    return _on(condition, lambda: condition.wait(SOON))


def wait_for_condition(ctx: Any) -> Made:
    condition = ctx.Condition(ctx.Lock())
    return _on(condition, lambda: condition.wait_for(lambda: False, SOON))


def notify_nobody(ctx: Any) -> Made:
    condition = ctx.Condition()
    return _on(condition, lambda: condition.notify())


def notify_late_one(ctx: Any) -> Made:
    """One that has waited is not yet known to be awake."""
    condition = ctx.Condition()
    with condition:
        condition.wait(SOON)
    return _on(condition, lambda: condition.notify_all())


def wait_event(ctx: Any) -> Made:
    event = ctx.Event()

    def check(_: Any) -> None:
        is_free(event._cond)
        assert not event.is_set()
        event.set()
        assert event.wait(1) and event.is_set()

    return lambda: event.wait(SOON), check


def set_event(ctx: Any) -> Made:
    event = ctx.Event()

    def check(_: Any) -> None:
        is_free(event._cond)
        event.is_set()
        event.set()
        assert event.wait(1)
        event.clear()
        assert not event.wait(SOON)

    return lambda: event.set(), check


def look_at_event(ctx: Any) -> Made:
    event = ctx.Event()
    event.set()

    def check(_: Any) -> None:
        is_free(event._cond)
        assert event.is_set() and event.wait(1), "to look at it has changed it"

    return lambda: event.is_set(), check


def clear_event(ctx: Any) -> Made:
    event = ctx.Event()
    event.set()

    def check(_: Any) -> None:
        is_free(event._cond)
        event.clear()
        assert not event.is_set()

    return lambda: event.clear(), check


def _goes_on(barrier: Any) -> None:
    try:
        barrier.wait(1)
    except BrokenBarrierError:
        barrier.reset()
        barrier.wait(1)
    assert barrier.n_waiting == 0


def barrier(ctx: Any) -> Made:
    barrier = ctx.Barrier(1)
    return lambda: barrier.wait(), lambda _: _goes_on(barrier)


def late_barrier(ctx: Any) -> Made:
    barrier = ctx.Barrier(2)

    def function() -> None:
        with contextlib.suppress(BrokenBarrierError):
            barrier.wait(SOON)

    def check(_: Any) -> None:
        assert barrier.n_waiting == 0
        barrier.reset()
        assert barrier.n_waiting == 0 and not barrier.broken

    return function, check


def barrier_action(ctx: Any) -> Made:
    barrier = ctx.Barrier(1, action=lambda: None)
    return lambda: barrier.wait(), lambda _: _goes_on(barrier)


SYNC: tuple[Scenario, ...] = (
    acquire_lock,
    acquire_held_lock,
    release_lock,
    with_lock,
    with_rlock,
    with_held_rlock,
    acquire_semaphore,
    acquire_empty_semaphore,
    release_semaphore,
    with_semaphore,
    wait_condition,
    wait_for_condition,
    notify_nobody,
    notify_late_one,
    wait_event,
    set_event,
    look_at_event,
    clear_event,
    barrier,
    late_barrier,
    barrier_action,
)


# ---- with a process elsewhere ------------------------------------------------------------------


class _Turns:
    """A process elsewhere that waits once for each call, in `wait`."""

    def __init__(self, ctx: Any, wait: Callable[[Any], None], thing: Any) -> None:
        self._go, self._done, self._left = ctx.Semaphore(0), ctx.Semaphore(0), 0
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "begins")
            os.mkfifo(path)
            self._begins = os.open(path, os.O_RDWR)
            arguments = (wait, thing, path, self._go, self._done)
            self._process = ctx.Process(target=_in_turn, args=arguments, daemon=True)
            self._process.start()
            os.read(self._begins, 1)

    def begin(self) -> None:
        """Returns when it waits, or has waited: what it says that it begins does not sleep."""
        self._left += 1
        self._go.release()
        os.read(self._begins, 1)
        while _runs(self._process.pid):
            time.sleep(0)

    def ended(self, block: bool) -> bool:
        while self._left and self._done.acquire(block, 1):
            self._left -= 1
        return not self._left

    def end(self) -> None:
        assert self.ended(True), "who waits elsewhere has not heard of it"


def _in_turn(wait: Callable[[Any], None], thing: Any, path: str, go: Any, done: Any) -> None:
    begins = os.open(path, os.O_WRONLY)
    os.write(begins, b".")
    while True:
        go.acquire()
        os.write(begins, b".")
        wait(thing)
        done.release()


def _runs(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] == b"R"


def _take(lock: Any) -> None:
    with lock:
        pass


def give(lock: Any) -> None:
    """If this thread has it."""
    if lock._semlock._is_mine():
        lock.release()


def lock_elsewhere(ctx: Any) -> Scenario:
    """Its token was taken to another host before."""
    lock = ctx.Lock()
    turns = _Turns(ctx, _take, lock)

    def scenario(_: Any) -> Made:
        give(lock)
        turns.begin()
        turns.end()

        def check(_: Any) -> None:
            # Not at once: the token that was asked for may be on its way.
            assert lock.acquire(True, 1), "it is still held"
            lock.release()
            is_free(lock)

        return _with(lock), check

    return scenario


def wanted_lock(ctx: Any) -> Scenario:
    """Another host waits for it while it is released."""
    lock = ctx.Lock()
    turns = _Turns(ctx, _take, lock)

    def scenario(_: Any) -> Made:
        give(lock)
        turns.end()
        assert lock.acquire(True, 1)
        turns.begin()

        def check(_: Any) -> None:
            turns.end()
            assert lock.acquire(True, 1)
            lock.release()

        return lambda: lock.release(), check

    return scenario


def _wait(event: Any) -> None:
    event.wait()


def awaited_event(ctx: Any) -> Scenario:
    """Who waits for it hears of it, if it is set."""
    event = ctx.Event()
    turns = _Turns(ctx, _wait, event)

    def scenario(_: Any) -> Made:
        event.set()
        turns.end()
        event.clear()
        turns.begin()

        def check(_: Any) -> None:
            if not event.is_set():
                assert not turns.ended(False), "woken, and it is not set"
                event.set()
            turns.end()

        return lambda: event.set(), check

    return scenario


def _count_up(name: str) -> None:
    memory = dsmproc.SharedMemory(name)
    memory.buf[0] = memory.buf[0] % 100 + 1
    memory.close()


def memory_elsewhere(ctx: Any) -> Scenario:
    """Another host writes it after each close."""
    name = closed_memory()
    turns = _Turns(ctx, _count_up, name)

    def scenario(_: Any) -> Made:
        memory = dsmproc.SharedMemory(name)
        memory.buf[0] = 5

        def check(_: Any) -> None:
            turns.begin()
            turns.end()
            again = dsmproc.SharedMemory(name)
            assert again.buf[0] == 6, f"it has {again.buf[0]}"
            again.buf[1] = 1
            again.close()

        return lambda: memory.close(), check

    return scenario


APART: tuple[Callable[[Any], Scenario], ...] = (lock_elsewhere, wanted_lock, awaited_event)


# ---- processes, pools, managers ----------------------------------------------------------------


def join_process(ctx: Any) -> Made:
    process = ctx.Process(target=sys.exit, args=(3,))
    process.start()

    def check(_: Any) -> None:
        process.join(2)
        assert process.exitcode == 3, f"exit code {process.exitcode}"
        process.close()

    return lambda: process.join(), check


def _pool_works(pool: Any) -> Callable[[Any], None]:
    def check(_: Any) -> None:
        assert pool.map_async(abs, [-1, -2, -3]).get(2) == [1, 2, 3]
        assert pool.apply_async(abs, (-1,)).get(2) == 1

    return check


def map_in_pool(ctx: Any) -> Scenario:
    pool = ctx.Pool(1)
    return lambda _: (lambda: pool.map(abs, [-1, -2]), _pool_works(pool))


def wait_for_pool(ctx: Any) -> Scenario:
    pool = ctx.Pool(1)

    def scenario(_: Any) -> Made:
        result = pool.apply_async(abs, (-1,))

        def check(_: Any) -> None:
            assert result.get(2) == 1
            _pool_works(pool)(_)

        return lambda: result.get(), check

    return scenario


def call_manager(ctx: Any) -> Scenario:
    manager = ctx.Manager()
    made = manager.dict(a=1, b=2)

    def scenario(_: Any) -> Made:
        def check(_: Any) -> None:
            assert made["b"] == 2, "it got the answer to another question"

        return lambda: made["a"], check

    return scenario


SERVED: tuple[Callable[[Any], Scenario], ...] = (
    map_in_pool,
    wait_for_pool,
    call_manager,
)


# ---- the command -------------------------------------------------------------------------------

MAKERS = (*APART, *SERVED, memory_elsewhere)  # of scenarios
EVERY = (*SYNC, *MESSAGES, *MEMORY, *MAKERS, join_process)


def find(ctx: Any, maker: Any, patience: float = PATIENCE, step: int = 1) -> dict[str, str]:
    scenario = maker(ctx) if maker in MAKERS else maker
    return moments(scenario, ctx, patience, step)


def _look(ctx: Any, names: list[str], seconds: float) -> None:
    for maker in EVERY:
        if names and maker.__name__ not in names:
            continue
        if seconds and maker in SERVED:  # each has threads that wait where a signal does harm
            continue
        if seconds:
            scenario = maker(ctx) if maker in MAKERS else maker
            count, wrong = at_random(scenario, ctx, seconds)
        else:
            found = find(ctx, maker, 1)
            count, wrong = len(found), [f"{at}: {what}" for at, what in found.items() if what]
        print(f"{maker.__name__:24} {count:6} interrupts {len(wrong):6} wrong", flush=True)
        for what in wrong[:20]:
            print(f"    {what}")


def _command() -> None:
    options = argparse.ArgumentParser(description="What a handler that raises leaves behind.")
    options.add_argument("scenarios", nargs="*", help="all, if none is named")
    options.add_argument("--random", type=float, default=0, metavar="SECONDS")
    options.add_argument("--standard", action="store_true", help="of the standard library")
    chosen = options.parse_args()
    if chosen.standard:
        _look(multiprocessing.get_context("fork"), chosen.scenarios, chosen.random)
        return
    with dsmproc.init(local=2):
        _look(dsmproc.get_context(), chosen.scenarios, chosen.random)


if __name__ == "__main__":
    _command()
