"""SharedMemory on every host, by name, as multiprocessing.shared_memory has it on one.

Without a cluster `SharedMemory(...)` makes the standard library's object itself (with `track` on
every version of Python). With one, names are kept at the master and the bytes are a region of
distributed memory: a page comes over when it is touched.
"""

from __future__ import annotations

import contextlib
import errno
import operator
import os
import sys
import types
from multiprocessing import resource_tracker, shared_memory

from . import _std
from ._memory import regions
from ._std.choice import Choosing

__all__ = ["ShareableList", "SharedMemory"]

NAME_LIMIT = 255


# Kept here: with --patch the standard module's names are ours.
StdSharedMemory = shared_memory.SharedMemory
StdShareableList = shared_memory.ShareableList


class _Untracked(StdSharedMemory):
    """The standard one with track=False, before Python 3.13."""

    def __init__(self, name: str | None = None, create: bool = False, size: int = 0) -> None:
        super().__init__(name, create, size)
        resource_tracker.unregister(self._name, "shared_memory")  # type: ignore[attr-defined]

    def unlink(self) -> None:
        resource_tracker.register(self._name, "shared_memory")  # type: ignore[attr-defined]
        try:
            super().unlink()
        except BaseException:
            resource_tracker.unregister(self._name, "shared_memory")  # type: ignore[attr-defined]
            raise


def standard(
    name: str | None = None,
    create: bool = False,
    size: int = 0,
    *,
    track: bool = True,
    home: str | None = None,
) -> StdSharedMemory:
    """The standard library's SharedMemory, which knows `track` from Python 3.13 on. (`home` has no
    meaning on one machine.)"""
    if sys.version_info >= (3, 13):
        return StdSharedMemory(name, create, size, track=track)
    return (StdSharedMemory if track else _Untracked)(name, create, size)


class SharedMemory(StdSharedMemory, metaclass=Choosing):
    """A named block of memory that all hosts of the cluster share. `home`, when it is created: the
    policy for where its pages live (docs/policies.md), otherwise the cluster's (DSMPROC_HOME)."""

    _standard = StdSharedMemory
    _make_standard = staticmethod(standard)
    _mapping: regions.Mapping | None = None
    _buf: memoryview | None = None

    def __init__(
        self,
        name: str | None = None,
        create: bool = False,
        size: int = 0,
        *,
        track: bool = True,
        home: str | None = None,
    ) -> None:
        if not size >= 0:
            raise ValueError("'size' must be a positive integer")
        if create and size == 0:
            raise ValueError("'size' must be a positive number different from zero")
        if name is None and not create:
            raise ValueError("'name' can only be None if create=True")
        if name is not None:
            _check_name(name)
        if name is None or create:
            size = operator.index(size)
            name, region = _create(name, size, track, home)
        else:
            region, size = regions.ask("lookup", name)
        self._name = "/" + name  # as the standard class keeps it
        self._size = size
        self._track = track
        try:
            self._mapping = regions.Mapping(region)
        except BaseException:
            if create:
                regions.ask("unlink", name)
            raise
        assert self._mapping.view is not None
        self._buf = self._mapping.view[:size]

    def __del__(self) -> None:
        """Somebody's last reference went: detach soon, and never raise."""
        try:  # at the interpreter's end there is no contextlib any more
            if self._mapping is not None:
                self._release_buffer()
                self._mapping.leave()
        except Exception:
            pass

    def _release_buffer(self) -> None:
        if self._buf is not None:
            self._buf.release()
            self._buf = None

    def close(self) -> None:
        """No more access through this object; the memory stays. BufferError while views of it
        live: then try again when they are gone. An array that was made of `buf` may live on."""
        self._release_buffer()
        if self._mapping is not None:
            self._mapping.close()
            self._mapping = None

    def unlink(self) -> None:
        """The name is free at once; whoever has the memory mapped keeps it until it closes."""
        _check_name(self.name)
        regions.tidy()
        regions.ask("unlink", self.name)

    @property
    def name(self) -> str:
        return str(self._name[1:])


def _create(name: str | None, size: int, track: bool, home: str | None) -> tuple[str, int]:
    """A new block: its name, made up if there is none, and its region."""
    while name is None:
        with contextlib.suppress(FileExistsError):
            return regions.create(_std.new_memory_name(), size, track, home)
    return regions.create(name, size, track, home)


def _check_name(name: str) -> None:
    """As shm_open(3) sees it: any name but an empty one, without slashes, not too long."""
    if len(os.fsencode(name)) > NAME_LIMIT:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), "/" + name)
    if not name or "/" in name:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), "/" + name)
    if "\0" in name:
        raise ValueError("embedded null character")


class ShareableList(StdShareableList, metaclass=Choosing):  # type: ignore[type-arg]
    """The standard library's, on a SharedMemory of ours."""

    _standard = StdShareableList
    # Its methods use self.shm; only __init__ knows which class that is, by a global name.
    __init__ = types.FunctionType(  # type: ignore[assignment]
        StdShareableList.__init__.__code__,
        {**vars(shared_memory), "SharedMemory": SharedMemory},
        "__init__",
        StdShareableList.__init__.__defaults__,
    )
    __init__.__kwdefaults__ = StdShareableList.__init__.__kwdefaults__
