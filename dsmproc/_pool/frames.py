"""What a pool's driver, its workers and the agents between them say to each other.

    driver ──TCP or unix, frames of _net/wire.py──► the worker's agent ──unix──► worker

    driver -> agent   Order; then, for GIVE, one pickled task after the other (`Frame`); for BLOB
                      and SHARE, the bytes
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

import struct
from collections.abc import Iterator

from .._parcels.parcel import ALIGN, LENGTH, Parcel, Pieces, joined

ORDER = struct.Struct("<BQIQQ")  # kind, first token, count, function, stamp
GIVE, BLOB, RECALL, END, FINISH, FORGET, SHARE, DROP = range(1, 9)

RECORD = struct.Struct("<BQIQQ")  # kind, token, microseconds, stamp, length of the body
READY, REFUSED, RESULT = range(1, 4)

FROM_WORKER, RETURNED, ENDED, STORED = b"w", b"r", b"e", b"s"
CHUNK = 1 << 18  # bytes of the worker's stream in one chunk

TOKEN = struct.Struct("<Q")
LAST = (1 << 64) - 1  # the token that means: no more work

BLOB_AT = (ORDER.size + ALIGN - 1) // ALIGN * ALIGN  # a blob's parcel in its frame


def tokens(first: int, count: int) -> bytes:
    return b"".join(TOKEN.pack(first + i) for i in range(count))


def split_tokens(data: bytes | memoryview) -> list[int]:
    return [token for (token,) in TOKEN.iter_unpack(data)]


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


def read_frame(data: bytearray) -> Iterator[tuple[int, memoryview]]:
    """The tokens of a GIVE and where each task is."""
    _, first, count, _, _ = ORDER.unpack_from(data)
    view = memoryview(data)
    for i in range(count):
        (at,) = LENGTH.unpack_from(data, ORDER.size + i * LENGTH.size)
        yield first + i, view[at:]
