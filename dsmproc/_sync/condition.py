"""Condition and Event: the standard library's algorithm over the cluster's locks and semaphores.

A wait counts itself among the sleepers, gives the lock away, waits for a permit, counts itself
among the woken and takes the lock again; `notify` moves permits. If a signal handler's exception
ended that in the middle, a later notify would wait for a sleeper that is not there, or the end of a
`with` would give away a lock that somebody else holds. The standard library is in the middle for
microseconds, for its steps are calls of C; here each is a round trip. Therefore

 1. a wait that has begun ends with both counts right and the lock held, as pthread_cond_wait does:
    what a handler has raised comes then, or when a second one raises;
 2. a notify that does not come to its end gives back what it has counted, and the permits;
 3. to look at an event changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import synchronize
from typing import Any

from .._memory.client import IDLE, Call, Status
from .._std.choice import Choosing

__all__ = ["Condition", "Event"]


class Condition(synchronize.Condition, metaclass=Choosing):
    _standard = synchronize.Condition
    _lock: Any
    _sleeping_count: Any
    _woken_count: Any
    _wait_semaphore: Any

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
        sleeping, woken = self._sleeping_count._semlock, self._woken_count._semlock
        asleep = sleeping.request(Call.SEM_RELEASE, 1)
        awake = woken.request(Call.SEM_RELEASE, 1)
        interrupted: BaseException | None = None
        try:
            sleeping.give(asleep)
            for _ in range(depth):
                self._lock.release()
            return bool(self._wait_semaphore.acquire(True, timeout))
        finally:
            while True:
                try:
                    if asleep.status == Status.OK and awake.status == IDLE:
                        woken.give(awake)
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
        assert not self._wait_semaphore.acquire(False), (
            "notify: Should not have been able to acquire _wait_semaphore"
        )
        sleeping, woken = self._sleeping_count._semlock, self._woken_count._semlock
        asked: list[tuple[Any, Any]] = []

        def take(count: Any, block: bool = False) -> bool:
            request = count.request(Call.SEM_ACQUIRE, int(not block))
            asked.append((count, request))
            return bool(count.take(request))

        try:
            # Those whose time was over have said that they are awake, and count as asleep still.
            while take(woken):
                assert take(sleeping), "notify: a woken one was not asleep"
            permits = 0
            while permits < n and take(sleeping):
                self._wait_semaphore.release()
                permits += 1
            for _ in range(permits):
                take(woken, block=True)
            if permits:
                self._take_permits_back()
        except BaseException:
            self._take_permits_back()
            for count, request in asked:
                if request.status == Status.OK:
                    count.release()
            raise

    def _take_permits_back(self) -> None:
        """Those of sleepers whose time was over just now."""
        while self._wait_semaphore.acquire(False):
            pass


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
