"""What must hold of shared memory after a call that a handler interrupted."""

from __future__ import annotations

import contextlib
from typing import Any

from moments import Made, Scenario

import dsmproc
from dsmproc._memory import current


def _memory_works(name: str, value: int) -> None:
    """It has the value, and can be attached, written and closed; and so can others."""
    memory = dsmproc.SharedMemory(name)
    assert memory.buf[0] == value, f"it has {memory.buf[0]}, not {value}"
    memory.buf[0] = 8
    again = dsmproc.SharedMemory(name)
    assert again.buf[0] == 8
    again.close()
    memory.close()
    memory.unlink()
    other = dsmproc.SharedMemory(create=True, size=5000)
    other.buf[4999] = 1
    other.close()
    other.unlink()


def closed_memory() -> str:
    memory = dsmproc.SharedMemory(create=True, size=5000)
    memory.buf[0] = 7
    memory.close()
    return memory.name


def create_memory(ctx: Any) -> Made:
    name = closed_memory()
    return lambda: dsmproc.SharedMemory(create=True, size=5000), lambda _: _memory_works(name, 7)


def attach_memory(ctx: Any) -> Made:
    name = closed_memory()
    return lambda: dsmproc.SharedMemory(name), lambda _: _memory_works(name, 7)


def attach_first_memory(ctx: Any) -> Made:
    """With a process that has not joined its host."""
    name = closed_memory()
    client = current.opened()
    if client is not None:  # a cluster's
        client.detach_unused()
        client.close()
    return lambda: dsmproc.SharedMemory(name), lambda _: _memory_works(name, 7)


def close_memory(ctx: Any) -> Made:
    memory = dsmproc.SharedMemory(closed_memory())

    def check(_: Any) -> None:
        memory.close()
        _memory_works(memory.name, 7)

    return lambda: memory.close(), check


def close_used_memory(ctx: Any) -> Made:
    """It fails, and the view is of use all the same."""
    memory = dsmproc.SharedMemory(closed_memory())
    view = memory.buf[:1]

    def function() -> None:
        with contextlib.suppress(BufferError):
            memory.close()

    def check(_: Any) -> None:
        assert view[0] == 7
        view[0] = 9
        view.release()
        memory.close()
        _memory_works(memory.name, 9)

    return function, check


def unlink_memory(ctx: Any) -> Made:
    name = closed_memory()
    memory = dsmproc.SharedMemory(name)

    def check(_: Any) -> None:
        assert memory.buf[0] == 7
        memory.close()
        with contextlib.suppress(FileNotFoundError):
            memory.unlink()
        _memory_works(closed_memory(), 7)

    return lambda: memory.unlink(), check


def make_array(ctx: Any) -> Made:
    kept = dsmproc.shared_array(700, "i4")

    def function() -> Any:  # in a destructor the exception would be lost
        array = dsmproc.shared_array(700, "i4")
        array[5] = 1
        return array

    def check(_: Any) -> None:
        kept[:] = 2
        other = dsmproc.shared_array(700, "i4")
        other[:] = 3
        assert kept.sum() == 1400 and other.sum() == 2100

    return function, check


MEMORY: tuple[Scenario, ...] = (
    create_memory,
    attach_memory,
    attach_first_memory,
    close_memory,
    close_used_memory,
    unlink_memory,
    make_array,
)
