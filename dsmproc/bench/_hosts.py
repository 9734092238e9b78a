"""Processes on chosen hosts, and memory that is at home there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import dsmproc

from ._floors import PAGE


def on_host(host: int, target: Callable[..., Any], *args: Any) -> Any:
    """A started process on a host, and its end of a pipe as first argument."""
    ours, theirs = dsmproc.Pipe()
    process = dsmproc.Process(target=target, args=(theirs, *args))
    process._dsmproc_host = host
    process.start()
    theirs.close()
    return process, ours


def fill(pipe: Any, name: str) -> None:
    """Write every page, so that this host is their home; then wait to be let go."""
    shm = dsmproc.SharedMemory(name, track=False)
    for at in range(0, shm.size, PAGE):
        shm.buf[at] = 1 + at // PAGE % 255
    pipe.send("filled")
    pipe.recv()
    shm.close()


@contextlib.contextmanager
def remote_memory(size: int) -> Iterator[Any]:
    """SharedMemory whose pages are at home on host 1."""
    shm = dsmproc.SharedMemory(create=True, size=size)
    process, pipe = on_host(1, fill, shm.name)
    pipe.recv()
    try:
        yield shm
    finally:
        pipe.send("go")
        process.join()
        shm.close()
        shm.unlink()
