"""Diffs, byte by byte."""

from __future__ import annotations

import pytest
from dsmproc._native._core import ffi, lib
from hypothesis import assume, given, settings
from hypothesis import strategies as st

SIZE = 64
page_bytes = st.binary(min_size=SIZE, max_size=SIZE)
changes = st.dictionaries(st.integers(0, SIZE - 1), st.integers(1, 255), max_size=SIZE)


def encode(page: bytes, twin: bytes | None) -> tuple[bytes, bytes]:
    words = ffi.new("uint64_t[]", SIZE // 8)
    ffi.buffer(words)[:] = page
    old = ffi.new("uint8_t[]", twin) if twin is not None else ffi.NULL
    snapshot, diff = ffi.new("uint8_t[]", SIZE), ffi.new("uint8_t[]", lib.dsm_diff_max(SIZE))
    at = ffi.cast("uint8_t *", words)
    used = lib.dsm_diff_encode(at, old, snapshot, SIZE, diff)
    return bytes(ffi.buffer(diff, used)), bytes(ffi.buffer(snapshot))


def apply(page: bytes, diff: bytes) -> tuple[int, bytes]:
    target = ffi.new("uint8_t[]", SIZE)
    ffi.buffer(target)[:] = page
    status = lib.dsm_diff_apply(target, SIZE, ffi.from_buffer("uint8_t[]", diff), len(diff))
    return status, bytes(ffi.buffer(target))


def changed(page: bytes, by: dict[int, int]) -> bytes:
    after = bytearray(page)
    for at, flip in by.items():
        after[at] ^= flip
    return bytes(after)


@given(page_bytes, changes)
def test_applying_the_diff_to_the_twin_gives_the_page(twin: bytes, by: dict[int, int]) -> None:
    page = changed(twin, by)
    diff, snapshot = encode(page, twin)
    assert snapshot == page
    assert bool(diff) == bool(by)
    if diff:
        assert apply(twin, diff) == (0, page)


@given(page_bytes)
def test_no_twin_means_a_twin_of_zeros(page: bytes) -> None:
    assert encode(page, None) == encode(page, bytes(SIZE))


@given(page_bytes, changes, changes)
def test_a_neighbours_change_survives(twin: bytes, ours: dict[int, int], theirs: dict[int, int]):
    """Rule 7: a diff names no byte that is equal in page and twin."""
    theirs = {at: flip for at, flip in theirs.items() if at not in ours}
    diff, _ = encode(changed(twin, ours), twin)
    assume(diff)
    assert apply(changed(twin, theirs), diff) == (0, changed(changed(twin, theirs), ours))


@given(page_bytes, changes)
def test_a_diff_is_never_much_longer_than_what_changed(twin: bytes, by: dict[int, int]) -> None:
    diff, _ = encode(changed(twin, by), twin)
    assert len(diff) <= min(lib.dsm_diff_max(SIZE), 1 + 5 * len(by))


@settings(max_examples=500)
@given(st.binary(max_size=90), page_bytes)
def test_any_bytes_are_applied_whole_or_refused_whole(diff: bytes, page: bytes) -> None:
    status, after = apply(page, diff)
    assert status in (0, lib.DSM_E_PEER)
    if status:
        assert after == page


@pytest.mark.parametrize(
    "diff",
    [
        b"",
        b"\x00",
        b"\x00\x00\x00\x00\x00",  # a run of nothing
        b"\x00\x3f\x00\x02\x00ab",  # over the end of the page
        b"\x00\xff\xff\x01\x00a",  # beyond it
        b"\x00\x00\x00\x04\x00ab",  # shorter than it says
        b"\x00\x00\x00\x01\x00a\x01\x00\x01",  # half a run after a good one
        b"\x01" + b"\xff" * 8,  # bits without bytes
        b"\x01" + bytes(8) + b"a",  # a byte without a bit
        b"\x02\x00\x00\x01\x00a",  # an encoding that does not exist
    ],
)
def test_malformed_diffs_are_refused(diff: bytes) -> None:
    page = bytes(range(SIZE))
    assert apply(page, diff) == (lib.DSM_E_PEER, page)
