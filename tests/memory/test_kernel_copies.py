"""System calls on shared memory: on fresh pages, on pages at another host, on written pages."""

from __future__ import annotations

import os
import socket
import tempfile
from typing import Any

import pytest
from places import perform, run

import dsmproc

SIZE = 5 * 4096 + 100


def pattern(first: int) -> bytes:
    return bytes((first + index) % 251 for index in range(SIZE))


def _fill(memory: Any, first: int) -> None:
    memory.buf[:] = pattern(first)


def _read_file(memory: Any) -> None:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(pattern(2))
        file.seek(0)
        assert file.readinto(memory.buf) == SIZE


def _receive(memory: Any) -> None:
    one, two = socket.socketpair()
    with one, two:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
        one.sendall(pattern(3))
        got = 0
        while got < SIZE:
            got += two.recv_into(memory.buf[got:])


def _written(memory: Any, first: int) -> None:
    """os.write of pages that are not here."""
    with tempfile.TemporaryFile(buffering=0) as file:
        view = memory.buf
        assert os.write(file.fileno(), view) == SIZE
        file.seek(0)
        assert file.read() == pattern(first)


def _check(memory: Any, first: int) -> None:
    assert bytes(memory.buf) == pattern(first)


def kernel_copies(ctx: Any) -> None:
    memory = dsmproc.SharedMemory(create=True, size=SIZE)
    for first, fill in ((2, _read_file), (3, _receive)):
        fill(memory)  # fresh pages at first, then pages that another host has read
        run(ctx, _check, memory, first)
        run(ctx, _written, memory, first)
        run(ctx, fill, memory)  # pages whose home is elsewhere
        _written(memory, first)
        run(ctx, _fill, memory, 9)
        fill(memory)  # pages that another host has written
        _check(memory, first)
    memory.close()
    memory.unlink()


@pytest.mark.parametrize("where", ["driver", "worker"])
def test_kernel_copies(cluster: None, where: str) -> None:
    perform(where, kernel_copies)
