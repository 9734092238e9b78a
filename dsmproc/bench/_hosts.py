"""Processes on chosen hosts, and memory that is at home there."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import dsmproc

from .._pool.worker import describe_end
from ._floors import MB


def on_host(host: int, target: Callable[..., Any], *args: Any) -> Any:
    """A started process on a host, and its end of a pipe as first argument."""
    ours, theirs = dsmproc.Pipe()
    process = dsmproc.Process(target=target, args=(theirs, *args))
    process._dsmproc_host = host
    process.start()
    theirs.close()
    return process, ours


def answer(process: Any, pipe: Any) -> Any:
    """What it sends; if it ends instead, how."""
    try:
        return pipe.recv()
    except EOFError:
        process.join()
        how = describe_end(process.exitcode)
        raise RuntimeError(f"process {process.pid} {how} and sent nothing") from None


def fill(pipe: Any, name: str, small: bool) -> None:
    """Write every page, so that this host is their home; then wait to be let go.

    `small`: integers of 4 bytes below 256; otherwise pages that need all of their bytes.
    """
    shm = dsmproc.SharedMemory(name, track=False)
    block = bytes([7, 0, 0, 0]) * (MB // 4) if small else random.Random(1).randbytes(MB)
    for at in range(0, shm.size, MB):
        shm.buf[at : at + MB] = block[: shm.size - at]
    pipe.send("filled")
    pipe.recv()
    shm.close()


@contextlib.contextmanager
def remote_memory(size: int, small: bool = False) -> Iterator[Any]:
    """SharedMemory whose pages are at home on host 1."""
    shm = dsmproc.SharedMemory(create=True, size=size)
    process, pipe = on_host(1, fill, shm.name, small)
    answer(process, pipe)
    try:
        yield shm
    finally:
        pipe.send("go")
        process.join()
        shm.close()
        shm.unlink()
