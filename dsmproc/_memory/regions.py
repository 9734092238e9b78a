"""Regions of distributed memory, as one process makes, maps and forgets them."""

from __future__ import annotations

import collections
import contextlib
import gc
import weakref
from typing import Any

from .. import _membership
from .._settings import CHOICES, setting
from . import current

ANONYMOUS = ""


def home_policy(name: str | None = None) -> int:
    """Where the pages of a new region live: as DSMPROC_HOME says, or this region's own `name`."""
    where = "home" if name else "DSMPROC_HOME"
    name = name or setting("DSMPROC_HOME")
    known = CHOICES["DSMPROC_HOME"]
    if name not in known:
        raise ValueError(
            f"{where}={name}: this version has the home policies {', '.join(sorted(known))}"
        )
    from .._native.ffi import Home

    return int(Home[name.upper()])


def ask(question: str, *arguments: Any) -> Any:
    """A question to the names at the master, by way of this host's agent."""
    return _membership.client().ask("master", "names", question, *arguments)


def create(
    name: str | None, size: int, track: bool = True, home: str | None = None
) -> tuple[str, int]:
    """A new region: its name and number. With `track` it ends with its driver at the latest."""
    session = _membership.client().session if track else ""
    made: tuple[str, int] = ask("create", name, size, home_policy(home), session)
    return made


class Mapping:
    """A region mapped into this process, as long as anything refers to its memory.

    `detach` and `leave` can be interrupted anywhere (a signal handler raises): what is left to do
    does the next of them, or the next `tidy`."""

    def __init__(self, region: int) -> None:
        tidy()
        self.region = region
        self._client = current.client()
        self.view: memoryview | None = self._client.attach(self.region)
        self._memory = weakref.ref(self.view.obj)

    def bind(self, start: int, stop: int, lock: int, large: bool) -> None:
        """These bytes are used under a lock (0: one that another process names)."""
        assert self.view is not None
        with self.view[start:stop] as bytes_of_it:
            self._client.bind(bytes_of_it, lock, large)

    def release(self) -> None:
        """Our own view goes; others may live."""
        if self.view is not None:
            self.view.release()
            self.view = None

    def used(self) -> bool:
        """Whether anything refers to the memory: views, and also arrays that were made of a view
        which was released, for numpy keeps the object but no export of it."""
        return self._memory() is not None

    def close(self) -> None:
        """BufferError while views of it live. What only an array refers to
        (numpy.ndarray(buffer=view) holds no view) is no error: it stays mapped until that is
        gone."""
        self.release()
        memory = self._memory()
        if memory is not None and _exported(memory):
            raise BufferError("cannot close exported pointers exist")
        if self._client is current.opened():  # else its cluster is over
            self._client.detach_unused()

    def leave(self, drop: bool = False) -> None:
        """From a destructor; with `drop` the region itself is not needed any more."""
        if drop and self._client is current.opened():  # else its cluster is over
            _dropped.append(self)
        self.release()


def _exported(memory: Any) -> bool:
    """Whether a view lives. Slow: it is asked only when something refers to the memory."""
    return any(type(one).__name__ == "managedbuffer" for one in gc.get_referrers(memory))


# Regions that are not needed any more. A destructor may run in the middle of anything, also of a
# request of this very thread, so the next ordinary call says so.
_dropped: collections.deque[Mapping] = collections.deque()


def tidy() -> None:
    """Finish what destructors and interrupted calls have left."""
    client = current.opened()
    if client is not None:
        client.detach_unused()
    for mapping in list(_dropped):
        if mapping.used():
            continue
        if mapping._client is client:
            ask("drop", mapping.region)  # twice does no harm
        with contextlib.suppress(ValueError):  # another thread was faster
            _dropped.remove(mapping)
