"""Value, Array, RawValue and RawArray in distributed memory.

The standard library's module but for where the bytes are: its Synchronized wrappers, its type codes
and its pickling (a ctypes object travels as its type and its block), over blocks of heap.py.
"""

from __future__ import annotations

import ctypes
from multiprocessing import sharedctypes
from multiprocessing.sharedctypes import (
    Synchronized,
    SynchronizedArray,
    SynchronizedBase,
    SynchronizedString,
)
from typing import Any

from . import _std, heap
from ._std.choice import on_cluster
from .context import chosen_context
from .lock import lock_number

__all__ = [
    "Array",
    "RawArray",
    "RawValue",
    "Synchronized",
    "SynchronizedArray",
    "SynchronizedBase",
    "SynchronizedString",
    "Value",
    "copy",
    "synchronized",
]

__getattr__ = _std.names_of("sharedctypes")
_standard = _std.standard_sharedctypes()
typecode_to_type = sharedctypes.typecode_to_type  # type: ignore[attr-defined]


def _new(kind: Any, paged: bool, zero: bool = True) -> Any:
    """An object of a ctypes type in distributed memory."""
    block = heap.Block(ctypes.sizeof(kind), paged)
    made = sharedctypes.rebuild_ctype(kind, block, None)  # type: ignore[attr-defined]
    if zero and not block.zeros:
        ctypes.memset(ctypes.addressof(made), 0, ctypes.sizeof(made))
    return made


def _raw_value(typecode_or_type: Any, args: tuple[Any, ...], paged: bool) -> Any:
    made = _new(typecode_to_type.get(typecode_or_type, typecode_or_type), paged)
    made.__init__(*args)
    return made


def _raw_array(typecode_or_type: Any, size_or_initializer: Any, paged: bool) -> Any:
    kind = typecode_to_type.get(typecode_or_type, typecode_or_type)
    if isinstance(size_or_initializer, int):
        return _new(kind * size_or_initializer, paged)
    made = _new(kind * len(size_or_initializer), paged, zero=False)
    made.__init__(*size_or_initializer)
    return made


def RawValue(typecode_or_type: Any, *args: Any) -> Any:
    """A ctypes object in shared memory."""
    if not on_cluster():
        return _standard["RawValue"](typecode_or_type, *args)
    return _raw_value(typecode_or_type, args, paged=False)


def RawArray(typecode_or_type: Any, size_or_initializer: Any) -> Any:
    """A ctypes array in shared memory."""
    if not on_cluster():
        return _standard["RawArray"](typecode_or_type, size_or_initializer)
    return _raw_array(typecode_or_type, size_or_initializer, paged=False)


def Value(typecode_or_type: Any, *args: Any, lock: Any = True, ctx: Any = None) -> Any:
    """A ctypes object in shared memory and, unless lock=False, a lock around its use."""
    if not on_cluster(ctx):
        return _standard["Value"](typecode_or_type, *args, lock=lock, ctx=ctx)
    raw = _raw_value(typecode_or_type, args, paged=lock is not False)
    return raw if lock is False else synchronized(raw, _lock(lock, ctx), ctx)


def Array(
    typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True, ctx: Any = None
) -> Any:
    """A ctypes array in shared memory and, unless lock=False, a lock around its use."""
    if not on_cluster(ctx):
        return _standard["Array"](typecode_or_type, size_or_initializer, lock=lock, ctx=ctx)
    raw = _raw_array(typecode_or_type, size_or_initializer, paged=lock is not False)
    return raw if lock is False else synchronized(raw, _lock(lock, ctx), ctx)


def _lock(lock: Any, ctx: Any) -> Any:
    if lock in (True, None):
        return _context(ctx).RLock()
    if not hasattr(lock, "acquire"):
        raise AttributeError(f"{lock!r} has no method 'acquire'")
    return lock


def _context(ctx: Any) -> Any:
    return chosen_context() if ctx is None else ctx


def copy(obj: Any) -> Any:
    """A copy of a ctypes object, in shared memory of its own."""
    if not on_cluster():
        return _standard["copy"](obj)
    made = _new(type(obj), paged=False, zero=False)
    ctypes.pointer(made)[0] = obj
    return made


def synchronized(obj: Any, lock: Any = None, ctx: Any = None) -> Any:
    """A lock around the use of a ctypes object."""
    context = _context(ctx)
    lock = lock or context.RLock()
    block = getattr(obj, "_wrapper", None)
    if isinstance(block, heap.Block):
        block.bind(lock_number(lock))
    return _standard["synchronized"](obj, lock, context)
