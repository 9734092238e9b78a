"""The one pickler: cloudpickle's, with multiprocessing's registered reducers chained in.

Functions and classes of `__main__`, closures and lambdas go by value, the rest by name. In the
receiving process there is one `__main__`:

 1. A function of the sender's `__main__` becomes a function of the receiver's: same globals.
 2. The globals that it reaches travel with it. A name that the receiver's `__main__` has already
    stays as it is there: what an initializer has set is not undone by the next task.
 3. A function or class that the sender's `__main__` knows by its name is known there by it too.
 4. A class that is known already (it came before, or it was born here) keeps its attributes.
 5. A global that cannot be pickled becomes a stand-in that says so when it is used.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import pickle
import sys
import types
import weakref
from collections import ChainMap
from collections.abc import Callable
from multiprocessing import synchronize
from typing import Any

import cloudpickle
from cloudpickle import cloudpickle as inner

from .. import _std
from .._os.handlers import raised_by_handler
from ..errors import ClusterError

__all__ = ["Pickler", "Unsendable", "dumps", "loads", "register"]

PLAIN = frozenset((type(None), bool, int, float, complex, str, bytes))  # no reducer is asked
_reducers: dict[type, Callable[[Any], Any]] = {}
# Standard classes whose objects, those of derived classes too, travel by a module's reduce_standard
# (which leaves our own, for some are derived from them, to their classes). Imported when needed.
_FAMILIES: tuple[tuple[type, str], ...] = (
    (_std.Connection, "connection"),
    (_std.Queue, "_channels.stdqueues"),
    (_std.SimpleQueue, "_channels.stdqueues"),
)


def register(kind: type, reduce: Callable[[Any], Any]) -> None:
    """How objects of a type travel between the cluster's processes; wins over everybody's."""
    _reducers[kind] = reduce


def _refuse(lock: Any) -> Any:
    raise ClusterError(
        f"a {type(lock).__name__} of the standard multiprocessing, made before the cluster was "
        "there, cannot be sent to a cluster process: create it after dsmproc.init()"
    )


for _kind in (
    synchronize.Lock,
    synchronize.RLock,
    synchronize.Semaphore,
    synchronize.BoundedSemaphore,
):
    register(_kind, _refuse)


def dumps(value: Any) -> bytes:
    """Pickle for another process of the cluster."""
    if type(value) in PLAIN:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    try:
        return _dump(value, None)
    except Exception as error:
        if raised_by_handler(error):
            raise
        # The dear way (each global on its own), to find out whether only globals are to blame.
        return _dump(value, {})


def loads(data: bytes | bytearray | memoryview) -> Any:
    return pickle.loads(data)


def _dump(value: Any, verdicts: dict[int, tuple[Any, str | None]] | None) -> bytes:
    buffer = io.BytesIO()
    Pickler(buffer, verdicts).dump(value)
    return buffer.getvalue()


_table = ChainMap(_reducers, _std.extra_reducers(), inner.Pickler.dispatch_table)


class Pickler(cloudpickle.Pickler):
    """With `verdicts`, globals of `__main__` are tried one by one and replaced if they must be."""

    dispatch_table = _table

    def __init__(
        self,
        file: Any,
        verdicts: dict[int, tuple[Any, str | None]] | None = None,
        buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None,
    ) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL, buffer_callback)
        self._verdicts = verdicts

    def reducer_override(self, obj: Any) -> Any:
        for kind, module in _FAMILIES:
            if isinstance(obj, kind):
                return importlib.import_module(f"dsmproc.{module}").reduce_standard(obj)
        result = super().reducer_override(obj)
        if result is NotImplemented or not isinstance(obj, type) or len(result) != 6:
            return result
        make, arguments, state = result[:3]
        return _make_class, (make, arguments, _bound_name(obj)), state, None, None, _fill_class

    def _dynamic_function_reduce(self, func: types.FunctionType) -> Any:
        result = super()._dynamic_function_reduce(func)
        if func.__globals__ is not sys.modules["__main__"].__dict__:
            return result
        code, _, name, defaults, closure = result[1]
        state, slots = result[2]
        if self._verdicts is not None:
            slots["__globals__"] = self._sendable(slots["__globals__"])
        arguments = (code, name, defaults, closure, _bound_name(func))
        return _make_function, arguments, (state, slots), None, None, _fill_function

    def _sendable(self, names: dict[str, Any]) -> dict[str, Any]:
        return {name: self._or_stand_in(name, value) for name, value in names.items()}

    def _or_stand_in(self, name: str, value: Any) -> Any:
        verdicts = self._verdicts
        assert verdicts is not None
        if id(value) not in verdicts:
            verdicts[id(value)] = (value, None)  # while it is being tried: it may refer to itself
            try:
                _dump(value, verdicts)
            except Exception as error:
                verdicts[id(value)] = (value, f"{type(error).__name__}: {error}")
        reason = verdicts[id(value)][1]
        return value if reason is None else Unsendable(name, reason)


def _bound_name(obj: Any) -> str | None:
    """The name by which `__main__` knows a function or class of its own, if it does."""
    name = getattr(obj, "__name__", None)
    main = sys.modules["__main__"].__dict__
    if isinstance(name, str) and name.isidentifier() and main.get(name) is obj:
        return name
    return None


def _bind(name: str | None, value: Any) -> None:
    if name is not None:
        sys.modules["__main__"].__dict__.setdefault(name, value)


def _make_function(
    code: types.CodeType, name: str | None, defaults: Any, closure: Any, bound: str | None
) -> types.FunctionType:
    main = sys.modules["__main__"].__dict__
    function = types.FunctionType(code, main, name, defaults, closure)
    _bind(bound, function)
    return function


def _fill_function(function: types.FunctionType, state: tuple[dict[str, Any], Any]) -> None:
    plain, slots = state
    main = function.__globals__
    news = {name: value for name, value in slots["__globals__"].items() if name not in main}
    inner._function_setstate(function, (plain, {**slots, "__globals__": news}))


# Classes that this process made from a pickle, and whether they have got their attributes.
_made: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()


def _make_class(make: Callable[..., type], arguments: tuple[Any, ...], bound: str | None) -> type:
    known: type | None = inner._DYNAMIC_CLASS_TRACKER_BY_ID.get(arguments[-2])
    if known is not None:
        return known
    cls = make(*arguments)
    _made[cls] = False
    _bind(bound, cls)
    return cls


def _fill_class(cls: type, state: Any) -> None:
    if _made.get(cls) is False:
        inner._class_setstate(cls, state)
        _made[cls] = True


def main_definitions() -> list[bytes]:
    """The functions and classes of this `__main__`, for a process that is being started and will
    be sent some of them by name, by the standard library's pickler."""
    if _std.spawning_popen() is None:
        return []
    found = []
    for name, value in list(sys.modules["__main__"].__dict__.items()):
        if isinstance(value, (types.FunctionType, type)) and _bound_name(value) == name:
            with contextlib.suppress(Exception):  # who cannot travel is missed when it is used
                found.append(dumps(value))
    return found


def adopt_definitions(definitions: list[bytes]) -> None:
    """In the started process: they come to be in `__main__` (rule 3)."""
    for one in definitions:
        loads(one)


class Unsendable:
    """Stands for a global of `__main__` that could not be sent to this process."""

    def __init__(self, name: str, reason: str) -> None:
        self.__dict__["_dsmproc_why"] = (
            f"the global {name!r} of __main__ could not be sent to this process ({reason})"
        )

    def __reduce__(self) -> Any:
        return _restore_unsendable, (self._dsmproc_why,)

    def __repr__(self) -> str:
        return f"<{self._dsmproc_why}>"

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise pickle.PicklingError(self._dsmproc_why)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self._refuse()

    __setattr__ = __call__ = __getitem__ = __setitem__ = __delitem__ = __iter__ = _refuse
    __enter__ = __exit__ = __len__ = __bool__ = __contains__ = __next__ = _refuse
    __add__ = __sub__ = __mul__ = __lt__ = __gt__ = _refuse


def _restore_unsendable(why: str) -> Unsendable:
    stand_in = Unsendable("", "")
    stand_in.__dict__["_dsmproc_why"] = why
    return stand_in
