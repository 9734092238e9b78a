"""Blocks of distributed memory for Value, Array and their raw forms.

The standard library's heap with arenas that are regions. Two heaps: blocks that are used under a
lock have pages of their own, so two locks never share a page; raw blocks are packed by cache lines.
A block is freed by the process that allocated it; an arena lives until then, else until the driver
of its process ends.

The standard Heap's private names used here are the same in Python 3.10 to 3.13 (tests/memory).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from collections.abc import Callable
from multiprocessing import context, heap, util
from typing import Any

from . import _membership, _std
from ._memory import regions
from ._std.choice import Choosing
from .errors import ClusterError

__all__ = ["Block", "BufferWrapper"]

__getattr__ = _std.names_of("heap")

FIRST_ARENA = 1 << 20  # it costs nothing before it is touched
CACHE_LINE = 64
BOUND_MAX = 64 << 10  # larger blocks change by more than travels with a lock


class RegionArena:
    """A region without a name, mapped here."""

    def __init__(self, region: int, size: int) -> None:
        self.region = region
        self.size = size
        self.fresh = 0  # from here on nothing was ever allocated: it holds zeros
        self.owner = 0
        self._mapping = regions.Mapping(region)

    @classmethod
    def make(cls, size: int) -> RegionArena:
        _, region = regions.create(regions.ANONYMOUS, size)
        try:
            arena = cls(region, size)
        except BaseException:
            regions.ask("drop", region)
            raise
        arena.owner = os.getpid()
        return arena

    def __reduce__(self) -> tuple[Any, ...]:
        context.assert_spawning(self)
        return RegionArena, (self.region, self.size)

    def view(self, start: int, stop: int) -> memoryview:
        assert self._mapping.view is not None
        return self._mapping.view[start:stop]

    def bind(self, start: int, stop: int, lock: int, large: bool) -> None:
        self._mapping.bind(start, stop, lock, large)

    def __del__(self, at_the_end: Callable[[], bool] = sys.is_finalizing) -> None:
        if hasattr(self, "_mapping") and not at_the_end():
            self._mapping.leave(drop=self.owner == os.getpid())


class _Heap(heap.Heap):
    """All private names of the standard Heap are here: _new_arena, _roundup, _arenas, _size."""

    def __init__(self, alignment: int) -> None:
        self._alignment = alignment
        self._membership: Any = None
        super().__init__(FIRST_ARENA)

    def malloc(self, size: int) -> tuple[Any, int, int]:
        membership = _membership.client()
        if os.getpid() != self._lastpid or membership is not self._membership:  # type: ignore[attr-defined]
            self.forget()  # a forked child, or another cluster: new arenas
            self._membership = membership
        regions.tidy()
        block: tuple[Any, int, int] = super().malloc(size)  # type: ignore[misc]
        return block

    def forget(self) -> None:
        """No arenas; those with blocks in use live as long as these."""
        super().__init__(FIRST_ARENA)

    def _new_arena(self, size: int) -> tuple[Any, int, int]:
        length = self._roundup(max(self._size, size), mmap.PAGESIZE)  # type: ignore[attr-defined]
        arena = RegionArena.make(length)
        self._arenas.append(arena)  # type: ignore[attr-defined]
        return (arena, 0, length)


_packed = _Heap(CACHE_LINE)
_paged = _Heap(mmap.PAGESIZE)


def _leave() -> None:
    """The cluster is left: what nobody uses is detached."""
    for each in (_packed, _paged):
        each.forget()
    with contextlib.suppress(ClusterError, OSError):  # the agent may be gone already
        regions.tidy()


_membership.on_leave(_leave)


class Block(heap.BufferWrapper):
    """`size` bytes of distributed memory; what the standard sharedctypes call a BufferWrapper."""

    def __init__(self, size: int, paged: bool = False) -> None:
        if size < 0:
            raise ValueError(f"Size {size} out of range")
        if sys.maxsize <= size:
            raise OverflowError(f"Size {size} too large")
        chosen = _paged if paged else _packed
        block = chosen.malloc(size)
        self._state = (block, size)
        self._bound = False
        util.Finalize(self, _free, args=(chosen, block))
        arena, start, stop = block
        self.zeros = start >= arena.fresh  # nobody had these bytes before
        arena.fresh = max(arena.fresh, stop)

    def bind(self, lock: int = 0) -> None:
        """It is used under this lock, also where it is sent: small changes travel with that."""
        (arena, start, _), size = self._state
        small = size <= BOUND_MAX
        if size and (small or lock):
            arena.bind(start, start + size, lock, not small)
        self._bound = self._bound or small

    def __getstate__(self) -> tuple[Any, ...]:
        return (*self._state, self._bound)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        block, size, bound = state
        self._state = (block, size)
        self._bound = False
        if bound:
            self.bind()

    def create_memoryview(self) -> memoryview:
        (arena, start, _), size = self._state
        view: memoryview = arena.view(start, start + size)
        return view


class BufferWrapper(Block, metaclass=Choosing):
    """The standard library's name for it."""

    _standard = heap.BufferWrapper

    def __init__(self, size: int) -> None:
        super().__init__(size)


def _free(chosen: _Heap, block: tuple[Any, int, int]) -> None:
    if block[0] in chosen._arenas:  # type: ignore[attr-defined]
        chosen.free(block)  # type: ignore[attr-defined]
