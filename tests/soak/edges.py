"""What all edges have in common: they say which records a worker may use, and when."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import dsmproc

from .actor import Actor, Place, places
from .grammar import Part
from .history import Log
from .memory import Memory

edges: dict[str, type[Edge]] = {}


def consistency() -> str:
    return os.environ.get("DSMPROC_CONSISTENCY") or "lrc"


def bind(lock: Any, found: Sequence[Place]) -> None:
    """The records are used under this lock. (A lock of the standard library knows no `bind`.)"""
    if hasattr(lock, "bind"):
        for place in found:
            lock.bind(place.content)
            if place.counter is not None:
                lock.bind(place.counter)


class Edge:
    """Made by the driver, given to each worker; `turns` is what each actor there does."""

    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        edges[cls.name] = cls

    def __init__(self, part: Part, memory: Memory, managers: Managers) -> None:
        self.part, self.memory = part, memory

    def places(self) -> list[Place]:
        return places(self.part, self.memory)

    def prepare(self, found: Sequence[Place]) -> None:
        """In each process that uses the records."""

    def turns(self, actor: Actor, number: int) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        """In the driver, when all workers have ended."""


class Managers:
    """One manager for all that ask for one; and its end."""

    def __init__(self) -> None:
        self._manager: Any = None

    def get(self) -> Any:
        if self._manager is None:
            self._manager = dsmproc.Manager()
        return self._manager

    def end(self) -> None:
        if self._manager is not None:
            self._manager.shutdown()


@contextlib.contextmanager
def logged(folder: str, worker: str) -> Iterator[Log]:
    log = Log(folder, worker)
    try:
        yield log
    finally:
        log.flush()


def make(kind: str, managers: Managers, *arguments: Any) -> Any:
    """A Lock, Queue … of this program; one of a manager where `kind` is `Manager …`."""
    maker: Callable[..., Any]
    owner, _, name = kind.rpartition(" ")
    maker = getattr(managers.get() if owner else dsmproc, name)
    return maker(*arguments)
