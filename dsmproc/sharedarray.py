"""shared_array(shape, dtype): a numpy array in distributed memory, without name, size or close.

It pickles as a handle: whoever gets it, on any host, has the same memory. A view of it keeps its
memory mapped, and pickles as a handle of that part; what is computed from it is private and travels
by value. The memory lives while any process has such an array or one is on its way; what its maker
did not live to end, ends with the driver.

How the maker learns that nobody has it: the holders have the writing end of a pipe, which is made
when the array is first pickled. Pipes count ends, those in flight too, so its end of file is the
last holder's end.

Without a cluster the memory is a file in /dev/shm, unlinked by its maker: at once if the array was
never pickled, else at the maker's end.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import mmap
import os
import secrets
import sys
from collections.abc import Callable
from multiprocessing import resource_tracker, util
from typing import TYPE_CHECKING, Any

try:
    import numpy
except ImportError as error:
    raise ImportError("dsmproc.shared_array needs numpy: pip install numpy") from error

from . import _membership
from ._memory import regions
from .connection import Pipe

if TYPE_CHECKING:
    from .connection import LinkConnection

__all__ = ["SharedArray", "shared_array"]

SHM = "/dev/shm"


class _Region:
    """The memory on a cluster."""

    def __init__(self, number: int, size: int, token: LinkConnection | None = None) -> None:
        self.maker = os.getpid() if token is None else 0
        self._number = number
        self._size = size
        self._token = token  # a writing end: "somebody has it"
        self._mapping = regions.Mapping(number)
        assert self._mapping.view is not None
        self.view = self._mapping.view[:size]

    @classmethod
    def make(cls, size: int, home: str | None = None) -> _Region:
        _sweep()
        number = regions.create(regions.ANONYMOUS, size, home=home)[1]
        try:
            return cls(number, size)
        except BaseException:
            regions.ask("drop", number)
            raise

    def __reduce__(self) -> Any:
        if self._token is None:
            reader, self._token = Pipe(duplex=False)
            _lent.append((reader, self._number))
        return _Region, (self._number, self._size, self._token)

    def __del__(self, at_the_end: Callable[[], bool] = sys.is_finalizing) -> None:
        if not at_the_end() and hasattr(self, "view"):
            self.view.release()
            self._mapping.leave(drop=self.maker == os.getpid() and self._token is None)


# Pipes of arrays that this process made and has pickled, and their regions.
_lent: collections.deque[tuple[Any, int]] = collections.deque()


def _sweep() -> None:
    """End what nobody has any more."""
    for _ in range(len(_lent)):
        try:
            lent = reader, number = _lent[0]
            if not reader.poll(0):  # it is never written to: readable means that its end has come
                _lent.rotate(-1)
                continue
            regions.ask("drop", number)  # twice does no harm
            _lent.remove(lent)
            reader.close()
        except (IndexError, ValueError):  # another thread was faster
            return


def _forget() -> None:
    while _lent:
        _lent.popleft()[0].close()


_membership.on_leave(_forget)
os.register_at_fork(after_in_child=_lent.clear)


class _File:
    """The memory without a cluster."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._pickled = False
        self._unlink: Any = None
        with open(os.path.join(SHM, name), "r+b") as file:
            self.view = memoryview(mmap.mmap(file.fileno(), max(size, 1)))[:size]

    @classmethod
    def make(cls, size: int) -> _File:
        name = f"psm_{secrets.token_hex(8)}"
        path = os.path.join(SHM, name)
        with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "r+b") as file:
            file.truncate(max(size, 1))
        made = cls(name, size)
        resource_tracker.register("/" + name, "shared_memory")  # if this process is killed
        made._unlink = util.Finalize(None, _unlink, args=(path, os.getpid()), exitpriority=0)
        return made

    def __reduce__(self) -> Any:
        self._pickled = True
        return _File, (self._name, self._size)

    def __del__(self) -> None:
        if getattr(self, "_unlink", None) is not None and not self._pickled:
            self._unlink()


def _unlink(path: str, maker: int) -> None:
    if os.getpid() == maker:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        resource_tracker.unregister("/" + os.path.basename(path), "shared_memory")


class SharedArray(numpy.ndarray):  # type: ignore[type-arg]
    """A numpy array in memory that all hosts share; see the top of this file."""

    _block: Any = None

    def __array_finalize__(self, source: Any) -> None:
        self._block = getattr(source, "_block", None)

    def __reduce__(self) -> Any:
        where = self._place()
        if where is None:
            return numpy.asarray(self).__reduce__()
        return _rebuild, (self._block, where, self.shape, self.strides, self.dtype)

    def _place(self) -> int | None:
        """Where in the shared memory the first element is; None if the data are private."""
        if self._block is None or self.dtype.hasobject:
            return None
        start = _address(self._block.view)
        low, high = _byte_bounds(self)
        if not start <= low <= high <= start + len(self._block.view):
            return None
        return int(self.__array_interface__["data"][0]) - start


_numpy: Any = numpy
try:
    _byte_bounds = _numpy.lib.array_utils.byte_bounds
except AttributeError:  # before numpy 2
    _byte_bounds = _numpy.byte_bounds


def _address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def _rebuild(
    block: Any, where: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any
) -> SharedArray:
    if not len(block.view):
        made: Any = numpy.empty(shape, dtype).view(SharedArray)
    else:
        memory: Any = (ctypes.c_char * len(block.view)).from_buffer(block.view)
        memory._block = block  # plain views of the array keep `memory`, and so the mapping
        made = SharedArray(shape, dtype, memory, where, strides)
    made._block = block
    return made


def shared_array(shape: Any, dtype: Any = float, *, home: str | None = None) -> SharedArray:
    """A numpy array of zeros that every process that is given it shares; `home`: SharedMemory's."""
    kind = numpy.dtype(dtype)
    if kind.hasobject:
        raise TypeError(f"an array of {kind} holds references to objects of one process only")
    like = numpy.broadcast_to(numpy.empty((), kind), shape)
    size = like.size * kind.itemsize
    block = _Region.make(size, home) if _membership.active() and size else _File.make(size)
    return _rebuild(block, 0, like.shape, _row_major(like.shape, kind.itemsize), kind)


def _row_major(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    strides = []
    for length in reversed(shape):
        strides.append(itemsize)
        itemsize *= max(length, 1)
    return tuple(reversed(strides))
