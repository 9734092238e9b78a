"""Pages without the bytes that are 0 in each of their words."""

from __future__ import annotations

import numpy as np
import pytest
from dsmproc._native._core import ffi, lib
from hypothesis import given
from hypothesis import strategies as st

SIZE = 64
WORDS = SIZE // 8


def pack(pages: bytes, size: int = SIZE) -> bytes | None:
    room = ffi.new("uint8_t[]", pages)
    used = lib.dsm_pack(room, len(pages) // size, size)
    whole = bytes(ffi.buffer(room, len(pages)))
    if used:
        return whole[:used]
    assert whole == pages
    return None


def unpack(data: bytes, count: int, size: int = SIZE) -> tuple[bytes, bytes] | None:
    """What stands before the pages, and the pages; None if they cannot be."""
    used = lib.dsm_packed(data, len(data), count, size)
    if not used:
        return None
    pages = ffi.new("uint8_t[]", count * size)
    lib.dsm_unpack(data, len(data), count, size, pages)
    return data[: len(data) - used], bytes(ffi.buffer(pages))


words = st.integers(0, 255).flatmap(
    lambda mask: st.lists(
        st.integers(0, 2**64 - 1).map(
            lambda word: bytes(
                b if mask >> i & 1 else 0 for i, b in enumerate(word.to_bytes(8, "big"))
            )
        ),
        min_size=WORDS,
        max_size=WORDS,
    )
)


@given(st.lists(words.map(b"".join), min_size=1, max_size=6), st.binary(max_size=9))
def test_pages_come_back_as_they_were(pages: list[bytes], before: bytes) -> None:
    needed = sum(any(page[i::8]) for page in pages for i in range(8)) * WORDS + len(pages)
    packed = pack(b"".join(pages))
    if packed is None:
        assert needed > len(pages) * SIZE * 3 / 4
    else:
        assert len(packed) == needed <= len(pages) * SIZE * 3 / 4
        assert unpack(before + packed, len(pages)) == (before, b"".join(pages))


@pytest.mark.parametrize(
    ("dtype", "values", "share"),
    [
        ("i4", [0, 7, 255], 2 / 8),
        ("u8", [0, 7, 255], 1 / 8),
        ("i2", [1], 4 / 8),
        ("f8", [0.0, 1.0, 100.0], 2 / 8),
        ("?", [False], 0),
        ("f8", [0.1], None),
        ("i8", [-1], None),
        ("u1", [1], None),
    ],
)
def test_what_arrays_need(dtype: str, values: list[object], share: float | None) -> None:
    page = np.resize(np.array(values, dtype), 4096 // np.dtype(dtype).itemsize).tobytes()
    packed = pack(page * 16, 4096)
    assert (packed and len(packed)) == (share if share is None else 16 * (4096 * share + 1))


@given(st.binary(max_size=200), st.integers(1, 70))
def test_any_bytes_are_pages_or_refused(data: bytes, count: int) -> None:
    needed = count + sum(bin(mask).count("1") for mask in data[-count:]) * WORDS
    found = unpack(data, count)
    if count > min(len(data), lib.DSM_PACK_MOST) or needed > len(data):
        assert found is None
    else:
        assert found and found[0] == data[: len(data) - needed]
        first = data[len(data) - needed :]
        mask = data[len(data) - count]
        for i in range(8):
            if mask >> i & 1:
                step, below = bin(mask).count("1"), bin(mask & ((1 << i) - 1)).count("1")
                assert found[1][i:SIZE:8] == first[below : WORDS * step : step]
            else:
                assert not any(found[1][i:SIZE:8])


def test_more_pages_than_a_message_has_are_left_alone() -> None:
    assert pack(bytes(SIZE) * lib.DSM_PACK_MOST) == bytes(lib.DSM_PACK_MOST)
    assert pack(bytes(SIZE) * (lib.DSM_PACK_MOST + 1)) is None
