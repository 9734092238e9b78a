"""Locks, semaphores, conditions, events and barriers of a cluster.

The classes are the standard library's: they do everything through `self._semlock`, and here that is
an object with the interface of `_multiprocessing.SemLock` whose state is the cluster's.

    Lock, RLock                  a token, which stays at the host that used it last: taking it again
                                 there is one compare-and-swap, no message and no system call
    Semaphore, BoundedSemaphore  permits counted at the master
    Condition, Event             those that sleep are a queue at the master (_sync/condition.py)
    Barrier                      parties counted at the master, the API of threading.Barrier

As in multiprocessing no lock but an RLock has an owner: any process may release it. What the
standard SemLock keeps for its process (how often and by which thread it was taken) is kept too.
"""

from __future__ import annotations

import contextlib
import errno
import operator
import os
from collections.abc import Callable
from multiprocessing import context, synchronize, util
from threading import BrokenBarrierError, get_ident
from typing import Any

from . import _membership
from ._memory import current, edges
from ._memory.client import (
    GIVE_ASK,
    GIVE_NOT_OWNED,
    IDLE,
    Broke,
    Call,
    Client,
    Status,
    call_request,
    new_quick,
    quick_give,
    quick_take,
    quick_untake,
)
from ._memory.client import Lock as _Word
from ._memory.engine import lock_name
from ._native.ffi import raise_status
from ._std.choice import Choosing
from ._sync.condition import Condition, Event
from .errors import ClusterError

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Condition",
    "Event",
    "Lock",
    "RLock",
    "Semaphore",
]

ARRIVED, LATER = 1, 2  # what a cancelled BAR_WAIT had come to (master/barrier.c)
RECURSIVE_MUTEX: int = synchronize.RECURSIVE_MUTEX  # type: ignore[attr-defined]
SEMAPHORE: int = synchronize.SEMAPHORE  # type: ignore[attr-defined]
SEM_VALUE_MAX: int = synchronize.SEM_VALUE_MAX  # type: ignore[attr-defined]
TOO_OFTEN = "semaphore or lock released too many times"
NOT_OWNED = "attempt to release recursive lock not owned by thread"


class _SemLock:
    """What a _multiprocessing.SemLock keeps for its process: who took it here, and how often. Only
    C writes that down, in the call that learns of it: an exception cannot come in between."""

    SEM_VALUE_MAX = SEM_VALUE_MAX
    __slots__ = ("handle", "kind", "maxvalue", "_client", "_quick")

    def __init__(self, handle: int, kind: int, maxvalue: int) -> None:
        self.handle = handle  # the object's number in the cluster
        self.kind = kind
        self.maxvalue = maxvalue
        self._client = current.client()
        self._quick: Any = self._open()

    @property
    def name(self) -> str:
        return lock_name(self.handle)

    def _open(self) -> Any:
        """Find this process's way to the object."""
        raise NotImplementedError

    acquire: Callable[..., bool]  # (block=True, timeout=None)
    release: Callable[..., None]  # ignores what a with statement passes

    def _get_value(self) -> int:
        raise NotImplementedError

    def _count(self) -> int:
        return int(self._quick.depth)

    def _is_mine(self) -> bool:
        return bool(self._quick.depth > 0 and self._quick.owner == get_ident())

    def _is_zero(self) -> bool:
        return self._get_value() == 0

    def _after_fork(self) -> None:
        self._quick.pid, self._quick.owner, self._quick.depth = os.getpid(), 0, 0

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class _Token(_SemLock):
    """A lock. The engine is asked only when it is held or its token is at another host."""

    __slots__ = ("_word", "acquire", "release")

    def _open(self) -> Any:
        self._word = self._client.lock_open(self.handle, self.kind == RECURSIVE_MUTEX)
        self.acquire, self.release = _ways(self._client, self._word)
        return self._word.quick

    def _get_value(self) -> int:
        """0 or 1. An acquire, like every look at a lock: it takes the lock for a moment."""
        if self._quick.owner or not self.acquire(False):
            return 0
        self.release()
        return 1

    def owner_died(self) -> bool:
        self._check_held()
        return self._client.lock_owner_died(self._word)

    def mark_consistent(self) -> None:
        self._check_held()
        if self._client.lock_owner_died(self._word):
            self._client.lock_consistent(self._word)

    def _check_held(self) -> None:
        if not self._quick.owner:
            raise RuntimeError("this process does not hold the lock")


def _ways(client: Client, word: _Word) -> tuple[Callable[..., bool], Callable[..., None]]:
    """To take and to give a lock: one call of C each, if the engine need not be asked. Functions
    without attributes to look up; they know no more than what they need."""
    quick, take, give, sent = word.quick, quick_take, quick_give, edges.sent

    def wait(block: bool, timeout: float | None) -> bool:
        if timeout is not None and timeout <= 0:
            block, timeout = False, None
        return client.lock_acquire(word, bool(block), timeout)

    def acquire(block: bool = True, timeout: float | None = None) -> bool:
        try:
            return True if take(quick) else wait(block, timeout)
        except BaseException:
            if quick_untake(quick) == GIVE_ASK:
                client.lock_release(word)
            raise

    def ask(given: int) -> None:
        if given == GIVE_NOT_OWNED:
            raise AssertionError(NOT_OWNED)
        client.lock_release(word)

    def release(*_: object) -> None:
        try:
            try:
                if sent:
                    edges.deliver()
            finally:
                given = give(quick)
            if given:
                ask(given)
        except BaseException:
            if quick.owed:
                client.lock_release(word)
            raise

    return acquire, release


class _Permits(_SemLock):
    """A semaphore. Every call says what it was made with: the master makes it at the first one."""

    __slots__ = ("_value",)

    def __init__(self, handle: int, value: int, maxvalue: int) -> None:
        self._value = value
        super().__init__(handle, SEMAPHORE, maxvalue)

    def _open(self) -> Any:
        return new_quick()

    def request(self, op: Call, argument: int = 0) -> Any:
        fields = (self._value, self.maxvalue, argument)
        return call_request(op, self.handle, *fields, quick=self._quick)

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        if timeout is not None and timeout <= 0:
            block = False
        request = self.request(Call.SEM_ACQUIRE, int(not block))
        try:
            return self.take(request, timeout if block else None)
        except BaseException:
            if request.status == Status.OK:
                self.give(self.request(Call.SEM_RELEASE, 1))
            raise

    def take(self, request: Any, timeout: float | None = None) -> bool:
        status = self._client.run(request, timeout)
        if status not in (Status.OK, Status.BUSY, Status.CANCELLED):
            raise_status(status, request.value, "acquire")
        return status == Status.OK

    def release(self, *_: object) -> None:
        request = None
        try:
            edges.deliver()
            request = self.request(Call.SEM_RELEASE, 1)
            self.give(request)
        except BaseException:
            if request is None or request.status == IDLE:  # it came before the engine was asked
                self.give(self.request(Call.SEM_RELEASE, 1))
            raise

    def give(self, request: Any) -> None:
        if self.maxvalue <= 0:  # at the master a bound of 0 is none
            raise ValueError(TOO_OFTEN)
        if self._client.run(request):
            raise_status(request.status, request.value, "release")

    def sleep(self, begun: Callable[[], None], timeout: float | None = None) -> bool:
        """Until somebody wakes us; `begun` is called when whoever comes next can."""
        request = self.request(Call.SEM_SLEEP)
        status = self._client.sleep(request, begun, timeout)
        if status not in (Status.OK, Status.CANCELLED):
            raise_status(status, request.value, "wait")
        return status == Status.OK

    def wake(self, count: int) -> None:
        """Wake up to so many of those that sleep."""
        edges.deliver()
        request = self.request(Call.SEM_WAKE, count)
        if self._client.run(request):
            raise_status(request.status, request.value, "notify")

    def _get_value(self) -> int:
        request = self.request(Call.SEM_VALUE)
        if self._client.run(request):
            raise_status(request.status, request.value, "value")
        return int(request.value)


# ---- the objects of a program ---------------------------------------------------------------


def _after_fork(shared: Any) -> None:
    shared._semlock._after_fork()


class _Shared(synchronize.SemLock):
    """The standard SemLock's face, with a _semlock of ours behind it."""

    _is_fork_ctx = False  # asked by the standard library where it must not be inherited

    # The very functions: between one that has taken and a caller of it a handler could run.

    @property
    def __enter__(self) -> Any:
        return self._semlock.acquire

    @property
    def __exit__(self) -> Any:
        return self._semlock.release

    def _adopt(self, semlock: _SemLock) -> None:
        self._semlock: Any = semlock
        self._make_methods()  # type: ignore[attr-defined]
        util.register_after_fork(self, _after_fork)

    def __getstate__(self) -> tuple[Any, ...]:
        context.assert_spawning(self)
        semlock = self._semlock
        return (semlock.handle, getattr(semlock, "_value", 1), semlock.maxvalue)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._adopt(self._open(*state))

    @staticmethod
    def _open(handle: int, value: int, maxvalue: int) -> _SemLock:
        return _Permits(handle, value, maxvalue)


class _Bindable(_Shared):
    def bind(self, buffer: Any) -> None:
        """Say that the bytes of `buffer` (in the cluster's memory) are used under this lock: small
        changes of them travel with it, and taking it leaves them in place instead of fetching their
        pages again. Say it in every process that uses them; the program means the same without."""
        current.client().bind(buffer, self._semlock.handle)


def lock_number(lock: Any) -> int:
    """The number of a lock to which bytes can be bound; 0: it is none."""
    return int(lock._semlock.handle) if isinstance(lock, _Bindable) else 0


class Lock(_Bindable, synchronize.Lock, metaclass=Choosing):
    _standard = synchronize.Lock

    def __init__(self, *, ctx: Any = None) -> None:
        self._adopt(self._open(current.client().new_id()))

    @staticmethod
    def _open(handle: int, value: int = 1, maxvalue: int = 1) -> _SemLock:
        return _Token(handle, SEMAPHORE, 1)


class RLock(_Bindable, synchronize.RLock, metaclass=Choosing):
    _standard = synchronize.RLock

    def __init__(self, *, ctx: Any = None) -> None:
        self._adopt(self._open(current.client().new_id()))

    @staticmethod
    def _open(handle: int, value: int = 1, maxvalue: int = 1) -> _SemLock:
        return _Token(handle, RECURSIVE_MUTEX, 1)


def _permits(value: int, bounded: bool) -> _Permits:
    value = operator.index(value)
    if not -SEM_VALUE_MAX <= value <= SEM_VALUE_MAX:
        raise OverflowError("Python int too large to convert to C int")
    if value < 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return _Permits(current.client().new_id(), value, value if bounded else SEM_VALUE_MAX)


class Semaphore(_Shared, synchronize.Semaphore, metaclass=Choosing):
    _standard = synchronize.Semaphore

    def __init__(self, value: int = 1, *, ctx: Any = None) -> None:
        self._adopt(_permits(value, bounded=False))


class BoundedSemaphore(_Shared, synchronize.BoundedSemaphore, metaclass=Choosing):
    _standard = synchronize.BoundedSemaphore

    def __init__(self, value: int = 1, *, ctx: Any = None) -> None:
        self._adopt(_permits(value, bounded=True))


_BREACHES = {
    Broke.RESET: "a process on host {} has reset it",
    Broke.ABORT: "a process on host {} has aborted it, or ended while it ran the action",
    Broke.LEFT: "a process on host {} has ended, or given up waiting",
    Broke.LOST: "host {} is lost",
}


def _breach(value: int) -> str:
    """Who broke a barrier, from the master's answer."""
    why, host = value >> 16, value & 0xFFFF
    text = f"the barrier is broken: {_BREACHES[Broke(why)].format(host)}"
    if why == Broke.LOST:
        with contextlib.suppress(OSError, EOFError, ClusterError):
            text += (
                " (lost so far: " + "; ".join(_membership.client().ask("master", "losses")) + ")"
            )
    return text


class Barrier(synchronize.Barrier, metaclass=Choosing):
    """n processes wait for each other, wherever they run. Decided at the master, all of it."""

    _standard = synchronize.Barrier

    def __init__(
        self,
        parties: int,
        action: Callable[[], Any] | None = None,
        timeout: float | None = None,
        *,
        ctx: Any = None,
    ) -> None:
        parties = operator.index(parties)
        if not 1 <= parties <= SEM_VALUE_MAX:
            raise ValueError("parties must be >= 1")
        self._action = action
        self._timeout = timeout
        self._parties = parties
        self._id: int = current.client().new_id()

    def __getstate__(self) -> tuple[Any, ...]:
        context.assert_spawning(self)
        return (self._parties, self._action, self._timeout, self._id)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._parties, self._action, self._timeout, self._id = state

    def _request(self, op: Call) -> Any:
        return call_request(op, self._id, self._parties, int(self._action is not None))

    def _ask(self, op: Call) -> int:
        request = self._request(op)
        if current.client().run(request):
            raise_status(request.status, request.value, op.name.lower())
        return int(request.value)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for all parties; this party's number among them. One of them runs the action."""
        if timeout is None:
            timeout = self._timeout
        edges.deliver()
        run = current.client().run
        request = self._request(Call.BAR_WAIT)
        try:
            run(request, timeout)
            while request.status == Status.CANCELLED and request.value == LATER:
                # The round before is complete and its action runs still: ours has not begun.
                request = self._request(Call.BAR_WAIT)
                run(request, timeout)
            if request.status == Status.ACTION:
                self._act()
        except BaseException:
            if request.status == Status.ACTION:
                self.abort()
            raise
        return self._passed(request.status, request.value)

    def _act(self) -> None:
        """All have come, and this party is to run the action."""
        assert self._action is not None
        self._action()
        self._ask(Call.BAR_DONE)

    def _passed(self, status: int, value: int) -> int:
        if status in (Status.OK, Status.ACTION):
            return value
        if status == Status.BROKEN:
            raise BrokenBarrierError(_breach(value))
        if status == Status.CANCELLED:
            if value != ARRIVED:
                self.abort()  # it timed out before it had come
            raise BrokenBarrierError
        raise_status(status, value, "wait for a barrier")
        raise AssertionError

    def reset(self) -> None:
        """Back to the start; those that wait get a BrokenBarrierError."""
        self._ask(Call.BAR_RESET)

    def abort(self) -> None:
        """Break the barrier: those that wait and those that come get a BrokenBarrierError."""
        self._ask(Call.BAR_ABORT)

    @property
    def n_waiting(self) -> int:
        return self._ask(Call.BAR_STATE) & 0xFFFFFFFF

    @property
    def broken(self) -> bool:
        return bool(self._ask(Call.BAR_STATE) >> 32)
