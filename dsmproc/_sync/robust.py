"""Locks whose holder died, as pthread's robust mutexes: who holds such a lock next can know it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["mark_consistent", "owner_died"]


class AnyLock(Protocol):
    """A lock, or what contains one: a Condition, a Value or an Array. Of any library."""

    @property
    def acquire(self) -> Callable[..., Any]: ...

    @property
    def release(self) -> Callable[..., Any]: ...


def owner_died(lock: AnyLock) -> bool:
    """Whether what the lock guards may be half-written: a process died that held it, or a host on
    which it had been used last, and nobody has called `mark_consistent` since. For the process that
    holds the lock now; any other gets RuntimeError. Always False for semaphores, which have no
    owner and are not freed when a process dies, for the locks of a manager, and for those of the
    standard library."""
    token = _token_of(lock)
    return token is not None and bool(token.owner_died())


def mark_consistent(lock: AnyLock) -> None:
    """Say that what the lock guards is right again: `owner_died` is False from now on, for all who
    hold the lock. For the process that holds it; does nothing where `owner_died` is False."""
    token = _token_of(lock)
    if token is not None:
        token.mark_consistent()


def _token_of(lock: AnyLock) -> Any:
    """What knows of dead holders; None: nothing does."""
    if not callable(getattr(lock, "acquire", None)) or not callable(getattr(lock, "release", None)):
        raise TypeError(f"a lock is needed, not {type(lock).__name__}")
    semlock = getattr(getattr(lock, "_lock", lock), "_semlock", None)
    return semlock if hasattr(semlock, "owner_died") else None
