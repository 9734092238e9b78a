"""What a pool's driver, its workers and the agents between them say to each other.

    driver ──TCP or unix, frames of _cluster/wire.py──► the worker's agent ──unix──► worker

    driver -> agent   Order; then, for GIVE, one pickled task after the other (`Frame`); for BLOB,
                      the bytes
    agent -> worker   the GIVEs and BLOBs as they came, each behind its length
    worker -> driver  a stream of Records with their bodies, passed on by the agent in chunks
    agent -> driver   chunks: FROM_WORKER and bytes of that stream; or one of RETURNED, ENDED (both
                      with tokens) and STORED (with a blob's number)

Every task that is given to a worker has a number, its token. The agent writes the tokens into a
pipe, and the worker takes one out before it starts that task. Whoever reads a token first has the
task: RECALL makes the agent read what is left, and that is what the worker will never start, no
matter what it is doing.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Iterator
from typing import Any

from . import _pickle

ORDER = struct.Struct("<BQIQQ")  # kind, first token, count, function, stamp
GIVE, BLOB, RECALL, END, FINISH, FORGET = range(1, 7)

RECORD = struct.Struct("<BQIQQ")  # kind, token, microseconds, stamp, length of the body
READY, REFUSED, RESULT = range(1, 4)

FROM_WORKER, RETURNED, ENDED, STORED = b"w", b"r", b"e", b"s"
CHUNK = 1 << 18  # bytes of the worker's stream in one chunk

TOKEN = struct.Struct("<Q")
LAST = (1 << 64) - 1  # the token that means: no more work

APART = 1 << 15  # bytes; a buffer of this size and more is not copied into its pickle
ALIGN = 64
BLOB_AT = (ORDER.size + ALIGN - 1) // ALIGN * ALIGN  # a blob's parcel in its frame
LENGTH = struct.Struct("<Q")
_PARCEL = struct.Struct("<QI")  # length of the pickle, number of buffers behind it

Pieces = list[bytes | memoryview]


def tokens(first: int, count: int) -> bytes:
    return b"".join(TOKEN.pack(first + i) for i in range(count))


def split_tokens(data: bytes | memoryview) -> list[int]:
    return [token for (token,) in TOKEN.iter_unpack(data)]


class Parcel:
    """A pickled object in pieces: its large buffers are the sender's own memory, not copies."""

    __slots__ = ("pieces", "size")

    def __init__(self, data: bytes, buffers: list[memoryview]) -> None:
        sizes = b"".join(LENGTH.pack(buffer.nbytes) for buffer in buffers)
        head = _PARCEL.pack(len(data), len(buffers)) + sizes + data
        self.pieces: Pieces = [head]
        self.size = len(head)
        for buffer in buffers:
            gap = -self.size % ALIGN
            self.pieces += [bytes(gap), buffer]
            self.size += gap + buffer.nbytes

    def keep(self) -> None:
        """From now on it is a copy."""
        self.pieces = [b"".join(self.pieces)]


def unpack_parcel(view: memoryview) -> Any:
    """The object. Its large buffers stay where they are: in `view`, which is then its own."""
    length, count = _PARCEL.unpack_from(view)
    at = _PARCEL.size
    if not count:
        return _pickle.loads(view[at : at + length])
    sizes = [LENGTH.unpack_from(view, at + i * LENGTH.size)[0] for i in range(count)]
    at += count * LENGTH.size
    data = view[at : at + length]
    at += length
    buffers = []
    for size in sizes:
        at += -at % ALIGN
        buffers.append(view[at : at + size])
        at += size
    return pickle.loads(data, buffers=buffers)


def has_buffers(view: memoryview) -> bool:
    return bool(_PARCEL.unpack_from(view)[1])


class Packer:
    """Pickles one object after the other; cheaper than a pickler for each."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self._buffers: list[memoryview] = []
        self._pickler = _pickle.Pickler(self._file, buffer_callback=self._apart)

    def _apart(self, buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < APART:
            return True
        self._buffers.append(view)
        return False

    def pack(self, value: Any) -> Parcel:
        try:
            self._pickler.dump(value)
            data = self._file.getvalue()
            return Parcel(data, self._buffers)
        except Exception:
            return Parcel(_pickle.dumps(value), [])  # the dear way, or it raises again
        finally:
            self._file.seek(0)
            self._file.truncate()
            self._buffers = []
            self._pickler.clear_memo()
            self._pickler.globals_ref.clear()


def frame(order: bytes, parcels: list[Parcel]) -> Pieces:
    """The order, a table of the parcels' places, and the parcels."""
    at = len(order) + len(parcels) * LENGTH.size
    table, pieces = [order], []
    for parcel in parcels:
        if len(parcel.pieces) > 1:
            gap = -at % ALIGN
            pieces.append(bytes(gap))
            at += gap
        table.append(LENGTH.pack(at))
        pieces += parcel.pieces  # type: ignore[arg-type]
        at += parcel.size
    return joined([b"".join(table), *pieces])


def blob_frame(order: bytes, parcel: Parcel) -> Pieces:
    return joined([order.ljust(BLOB_AT, b"\0"), *parcel.pieces])


def joined(pieces: Pieces) -> Pieces:
    """Neighbours that are small in one piece."""
    result: Pieces = []
    small: list[bytes | memoryview] = []
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


def read_frame(data: bytearray) -> Iterator[tuple[int, memoryview]]:
    """The tokens of a GIVE and where each task is."""
    _, first, count, _, _ = ORDER.unpack_from(data)
    view = memoryview(data)
    for i in range(count):
        (at,) = LENGTH.unpack_from(data, ORDER.size + i * LENGTH.size)
        yield first + i, view[at:]
