"""A pickled object on its way: its large buffers travel beside the pickle, uncopied."""

from __future__ import annotations

import io
import itertools
import pickle
import struct
from collections.abc import Callable
from typing import Any

from .._std import pickling

APART = 1 << 15  # bytes; a buffer of this size and more is not copied into its pickle
SHARED = 1 << 20  # bytes; what several tasks have in common goes once to each host (common.py)
ALIGN = 64
LENGTH = struct.Struct("<Q")
_PARCEL = struct.Struct("<QI")  # length of the pickle, number of buffers behind it
_NAMES_SHARED = 1 << 31  # with that number: the pickle names parcels that are elsewhere

Pieces = list[bytes | bytearray | memoryview]


class Parcel:
    """A pickled object in pieces: its large buffers are the sender's own memory, not copies."""

    __slots__ = ("pieces", "size")

    def __init__(self, data: bytes, buffers: list[memoryview], shared: bool = False) -> None:
        sizes = b"".join(LENGTH.pack(buffer.nbytes) for buffer in buffers)
        count = len(buffers) | (_NAMES_SHARED if shared else 0)
        head = _PARCEL.pack(len(data), count) + sizes + data
        self.pieces: Pieces = [head]
        self.size = len(head)
        for buffer in buffers:
            gap = -self.size % ALIGN
            self.pieces += [bytes(gap), buffer]
            self.size += gap + buffer.nbytes

    def keep(self) -> None:
        """From now on it is a copy."""
        self.pieces = [b"".join(self.pieces)]


def unpack_parcel(view: memoryview, fetch: Callable[[int], memoryview] | None = None) -> Any:
    """The object. Its large buffers stay where they are: in `view`, which is then its own. `fetch`
    gives a shared parcel that it names, in memory that is then its own too."""
    length, count = _PARCEL.unpack_from(view)
    names_shared, count = count & _NAMES_SHARED, count & ~_NAMES_SHARED
    at = _PARCEL.size
    if not count and not names_shared:
        return pickling.loads(view[at : at + length])
    sizes = [LENGTH.unpack_from(view, at + i * LENGTH.size)[0] for i in range(count)]
    at += count * LENGTH.size
    data = view[at : at + length]
    at += length
    buffers = []
    for size in sizes:
        at += -at % ALIGN
        buffers.append(view[at : at + size])
        at += size
    if names_shared and fetch is not None:
        return _Unpickler(io.BytesIO(data), fetch, buffers).load()
    return pickle.loads(data, buffers=buffers)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, fetch: Callable[[int], memoryview], buffers: Any) -> None:
        super().__init__(file, buffers=buffers)
        self._fetch = fetch
        self._loaded: dict[int, Any] = {}  # named twice, it is one object

    def persistent_load(self, number: int) -> Any:
        if number not in self._loaded:
            self._loaded[number] = unpack_parcel(self._fetch(number))
        return self._loaded[number]


def has_buffers(view: memoryview) -> bool:
    return bool(_PARCEL.unpack_from(view)[1] & ~_NAMES_SHARED)


class Buffers:
    """Takes the large ones out of a pickle."""

    def __init__(self) -> None:
        self.views: list[memoryview] = []

    def apart(self, buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < APART:
            return True
        self.views.append(view)
        return False


class Packer:
    """Pickles one object after the other; cheaper than a pickler for each."""

    used: tuple[Any, ...] = ()  # what the last one names that is elsewhere

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self._buffers = Buffers()
        self._pickler = pickling.Pickler(self._file, buffer_callback=self._buffers.apart)

    def pack(self, value: Any) -> Parcel:
        try:
            self._pickler.dump(value)
            data = self._file.getvalue()
            return Parcel(data, self._buffers.views)
        except Exception:
            return Parcel(pickling.dumps(value), [])  # the dear way, or it raises again
        finally:
            self._file.seek(0)
            self._file.truncate()
            self._buffers.views = []
            self._pickler.clear_memo()
            self._pickler.globals_ref.clear()


def joined(pieces: Pieces) -> Pieces:
    """Neighbours that are small in one piece."""
    result: Pieces = []
    small: Pieces = []
    for piece in pieces:
        if len(piece) < APART:
            small.append(piece)
            continue
        if small:
            result.append(b"".join(small))
            small = []
        result.append(piece)
    if small:
        result.append(b"".join(small))
    return result


class Blob:
    """Something that was pickled, and the hosts that have it."""

    numbers = itertools.count(1)
    is_function = False

    def __init__(self, parcel: Parcel) -> None:
        self.parcel = parcel
        self.number = next(self.numbers)
        self.stored: set[int] = set()
        self.shipping: dict[int, Any] = {}  # host -> the pool's member through which it goes there
