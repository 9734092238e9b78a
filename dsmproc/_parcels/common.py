"""Large arguments that tasks have in common, and large initargs: to a host they go once.

The bytes of one (its parcel) are a `Blob` that the agent of a host keeps in memory; a task names it
by a persistent id. A worker maps it privately, once for each task: what a task writes to its array
is its own, and memory is used only for what it writes.

What counts as common in a map() or starmap() is the same object more than once in its iterable, not
objects that are equal. Between calls (apply, imap) it is the same object in several calls that are
not done, with the same content when each of them is packed: it may have been written in between.
"""

from __future__ import annotations

import array
import collections
import hashlib
import io
import sys
from collections.abc import Callable, Iterable
from typing import Any

from .._std import pickling
from .parcel import SHARED, Blob, Buffers, Packer, Parcel, unpack_parcel

RECENT = 64  # large objects of one job that may come again
_SIZED = frozenset((bytes, bytearray, str, list, tuple, dict, set, frozenset, array.array))
_NEVER = frozenset((type(None), bool, int, float, complex))  # too small


class Sharer(Packer):
    """Packs the tasks of one job."""

    def __init__(self, candidates: dict[int, Any]) -> None:
        super().__init__()
        self._candidates = candidates  # by id; they live as long as this
        self.blobs: dict[int, Blob] = {}  # by the id of the object

    def pack(self, value: Any) -> Parcel:
        self.used = ()
        file, buffers = io.BytesIO(), Buffers()
        pickler = _Pickler(file, buffer_callback=buffers.apart)
        pickler.find = self._find
        try:
            pickler.dump(value)
        except Exception:
            self.used = ()
            return super().pack(value)
        return Parcel(file.getvalue(), buffers.views, shared=bool(self.used))

    def _find(self, value: Any) -> int | None:
        """The number of its blob."""
        key = id(value)
        if key not in self._candidates:
            return None
        blob = self.blobs.get(key)
        if blob is None:
            parcel = super().pack(value)
            if parcel.size < SHARED:
                del self._candidates[key]
                return None
            blob = self.blobs[key] = Blob(parcel)
        if blob not in self.used:
            self.used += (blob,)
        return blob.number


class _Pickler(pickling.Pickler):
    find: Any

    def persistent_id(self, value: Any) -> int | None:
        return self.find(value)  # type: ignore[no-any-return]


class Calls(Sharer):
    """Packs the calls of a pool, and of an imap."""

    def __init__(self) -> None:
        super().__init__({})
        self._times: collections.Counter[int] = collections.Counter()  # calls not done, by id
        self._named: dict[int, collections.deque[int]] = {}  # by job: those ids
        self._content: dict[bytes, Blob] = {}  # by digest
        self._jobs: dict[bytes, set[int]] = {}  # not done, that name it
        self._job = 0

    def expect(self, job: int, arguments: Iterable[Any]) -> bool:
        """This call will be packed; does it name something large that none did before?"""
        new = False
        for value in arguments:
            if not _is_large(value):
                continue
            ids = self._named.setdefault(job, collections.deque())
            if len(ids) == RECENT:  # an imap that does not end
                self._forget(ids.popleft())
            ids.append(id(value))
            self._times[id(value)] += 1
            new |= self._times[id(value)] == 1
        return new

    def has(self, job: int, arguments: Iterable[Any]) -> bool:
        """Is there something that an expected call names, too? Then pack() finds it."""
        if job not in self._named:
            return False
        self._job = job
        self._candidates = {id(v): v for v in arguments if self._times[id(v)] > 1 and _is_large(v)}
        return bool(self._candidates)

    def jobs(self) -> Iterable[int]:
        """Those of calls with large arguments."""
        return self._named

    def done(self, job: int) -> list[Blob]:
        """Nobody waits for it any more; what is not needed any more, either."""
        for key in self._named.pop(job, ()):
            self._forget(key)
        left = []
        for digest, jobs in list(self._jobs.items()):
            jobs.discard(job)
            if not jobs:
                del self._jobs[digest]
                left.append(self._content.pop(digest))
        return left

    def _forget(self, key: int) -> None:
        self._times[key] -= 1
        if not self._times[key]:
            del self._times[key]

    def _find(self, value: Any) -> int | None:
        if self._candidates.get(id(value)) is not value:
            return None
        parcel = Packer().pack(value)
        parcel.keep()  # its bytes are what the digest is of, whatever is written meanwhile
        digest = hashlib.sha256(parcel.pieces[0]).digest()
        blob = self._content.get(digest)
        if blob is None:
            blob = self._content[digest] = Blob(parcel)
        self._jobs.setdefault(digest, set()).add(self._job)
        if blob not in self.used:
            self.used += (blob,)
        return blob.number


def _is_large(value: Any) -> bool:
    """As far as that is known at once."""
    if type(value) in _SIZED:
        return sys.getsizeof(value) >= SHARED
    size = getattr(value, "nbytes", 0)
    return isinstance(size, int) and size >= SHARED


class Sharing:
    """The standard Pool's helper for a map's chunks, with what its tasks have in common."""

    def __init__(self, helper: Any, sharer: Sharer) -> None:
        self.helper = helper
        self.sharer = sharer


class Elsewhere:
    """Stands for an argument whose pickle is a blob."""

    def __init__(self, number: int) -> None:
        self.number = number


def take_apart(arguments: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[Blob]]:
    """The large ones are blobs, if they can be pickled at any time: a lock, say, cannot."""
    blobs: list[Blob] = []
    kept = list(arguments)
    for i, value in enumerate(arguments):
        try:
            parcel = Packer().pack(value)
        except Exception:  # starting a process says why not
            continue
        if parcel.size >= SHARED:
            blobs.append(Blob(parcel))
            kept[i] = Elsewhere(blobs[-1].number)
    return tuple(kept), blobs


def put_together(arguments: Iterable[Any], fetch: Callable[[int], memoryview]) -> tuple[Any, ...]:
    return tuple(
        unpack_parcel(fetch(value.number)) if isinstance(value, Elsewhere) else value
        for value in arguments
    )


def sharer(items: Any, starred: bool) -> Sharer | None:
    """For the items of a map; None if no object that may be large is there twice."""
    if not isinstance(items, (list, tuple)):
        return None
    seen: set[int] = set()
    twice: dict[int, Any] = {}
    for item in items:
        for value in item if starred and isinstance(item, (list, tuple)) else (item,):
            if type(value) in _NEVER or (
                isinstance(value, (str, bytes, bytearray)) and len(value) < SHARED
            ):
                continue
            key = id(value)
            if key in seen:
                twice[key] = value
            seen.add(key)
    return Sharer(twice) if twice else None
