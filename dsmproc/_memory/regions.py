"""Regions of distributed memory, as one process makes, maps and forgets them."""

from __future__ import annotations

import collections
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
    """A region mapped into this process. Whoever made it ends it, by `detach` or by `leave`."""

    def __init__(self, region: int) -> None:
        tidy()
        self.region = region
        self._client = current.client()
        self.view: memoryview | None = self._client.attach(self.region)

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

    def detach(self) -> None:
        """BufferError while views of it live; then try again later."""
        self.release()
        if self._client is current.opened():  # else its cluster is over
            self._client.detach(self.region)

    def close(self) -> None:
        """As detach, but what only an array refers to (numpy.ndarray(buffer=view) holds no view)
        is no error: it stays mapped until that is gone."""
        try:
            self.detach()
        except BufferError:
            if self._client.exported(self.region):
                raise
            self.leave()

    def leave(self, drop: bool = False) -> None:
        """As detach, from a destructor; with `drop` the region itself is not needed any more."""
        self.release()
        if self._client is current.opened():  # else its cluster is over
            _left.append((self, drop))


# What destructors left behind. A destructor may run in the middle of anything, also of a request of
# this very thread, so the next ordinary call does the work.
_left: collections.deque[tuple[Mapping, bool]] = collections.deque()


def tidy() -> None:
    """Detach what destructors left behind."""
    for _ in range(len(_left)):
        try:
            mapping, drop = _left.popleft()
        except IndexError:  # another thread was faster
            return
        try:
            mapping.detach()
        except BufferError:  # a view lives on
            _left.append((mapping, drop))
            continue
        if drop and mapping._client is current.opened():
            ask("drop", mapping.region)
