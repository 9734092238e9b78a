"""Large arguments that tasks of a map have in common, and large initargs: to a host they go once.

The bytes of one (its parcel) are a `Blob` that the agent of a host keeps in memory; a task names it
by a persistent id. A worker maps it privately, once for each task: what a task writes to its array
is its own, and memory is used only for what it writes.

What counts as common is the same object more than once in the iterable of map() or starmap(), not
objects that are equal.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any

from . import _pickle
from ._poolframes import SHARED, Buffers, Packer, Parcel, unpack_parcel
from ._poolmember import Blob

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


class _Pickler(_pickle.Pickler):
    find: Any

    def persistent_id(self, value: Any) -> int | None:
        return self.find(value)  # type: ignore[no-any-return]


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
