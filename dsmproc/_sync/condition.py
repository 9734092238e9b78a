"""Condition and Event: those that sleep are a queue at the master, under the standard interface.

A wait joins the queue, gives the lock away, sleeps, and takes the lock again; `notify` wakes the
first ones of the queue, and waits for none of them: who has ended, or was lost with its host, is
not in the queue. The standard library counts sleepers, and waits for each one that it wakes.

 1. A wait that has begun ends with the lock held, as pthread_cond_wait does: what a signal handler
    has raised comes then, or when a second one raises. Had it been woken, another sleeper is.
 2. To look at an event changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import synchronize
from typing import Any

from .._std.choice import Choosing

__all__ = ["Condition", "Event"]


class Condition(synchronize.Condition, metaclass=Choosing):
    _standard = synchronize.Condition
    _lock: Any
    _sleeping_count: Any  # the queue; its value is the number of those that sleep

    @property
    def __enter__(self) -> Any:
        return self._lock.__enter__

    @property
    def __exit__(self) -> Any:
        return self._lock.__exit__

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a notify; False if none came in time."""
        lock = self._lock._semlock
        assert lock._is_mine(), "must acquire() condition before using wait()"
        depth = lock._count()
        interrupted: BaseException | None = None

        def release() -> None:
            for _ in range(depth):
                self._lock.release()

        try:
            return bool(self._sleeping_count._semlock.sleep(release, timeout))
        finally:
            while True:
                try:
                    while not (lock._is_mine() and lock._count() == depth):
                        lock.acquire()
                    break
                except BaseException as error:
                    if interrupted is not None:
                        raise
                    interrupted = error
            if interrupted is not None:
                raise interrupted

    def notify(self, n: int = 1) -> None:
        """Wake up to n of those that wait."""
        assert self._lock._semlock._is_mine(), "lock is not owned"
        if n > 0:
            self._sleeping_count._semlock.wake(n)


class Event(synchronize.Event, metaclass=Choosing):
    _standard = synchronize.Event
    _cond: Any
    _flag: Any

    def is_set(self) -> bool:
        """Whether it is set."""
        return bool(self._flag.get_value())

    def set(self) -> None:
        """Set it: whoever waits goes on."""
        self._locked(self._set)

    def clear(self) -> None:
        """Reset it: who waits from now on waits."""
        self._locked(self._flag.acquire, False)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; False if it was not in time."""
        return self.is_set() or bool(self._locked(self._wait, timeout))

    def _set(self) -> None:
        try:
            if not self.is_set():
                self._flag.release()
            self._cond.notify_all()
        except BaseException:
            if self.is_set():
                self._cond.notify_all()
            raise

    def _wait(self, timeout: float | None) -> bool:
        if not self.is_set():
            self._cond.wait(timeout)
        return self.is_set()

    def _locked(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call it while the lock is held, which is free afterwards whatever comes."""
        lock = self._cond._lock
        mine = lock._semlock._is_mine
        try:
            lock.acquire()
            return function(*arguments)
        finally:
            try:
                if mine():
                    lock.release()
            except BaseException:
                if mine():
                    lock.release()
                raise
