"""The one place that touches private names of the standard library's multiprocessing.

A cluster process is an ordinary one for everything in the standard library: the same current
process, the same set of children, the same exit function. What that takes is here, and
tests/unit/test_std.py runs it on every supported version of Python.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import multiprocessing.connection
import multiprocessing.pool
import multiprocessing.queues
import os
import signal
import sys
import types
from collections.abc import Callable, Iterator
from multiprocessing import context, process, spawn, synchronize, util
from multiprocessing.context import BaseContext, set_spawning_popen
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from queue import Empty
from typing import Any

from .._memory import edges

__all__ = [
    "BaseContext",
    "BaseProcess",
    "Connection",
    "Queue",
    "SimpleQueue",
    "allow_children",
    "bootstrap",
    "children",
    "DefaultContext",
    "default_context",
    "extra_reducers",
    "flush_std_streams",
    "forget_child",
    "in_actual_context",
    "inheriting",
    "interpreter_flags",
    "keep_standard_contexts",
    "names_of",
    "new_memory_name",
    "pool",
    "prepare",
    "preparation_data",
    "register_concrete_context",
    "replace_default_context",
    "spawning",
    "spawning_popen",
    "standard_sharedctypes",
]

# Its task helpers and exceptions; the annotations of typeshed leave most of them out.
pool: Any = multiprocessing.pool

default_context: Any = context._default_context  # type: ignore[attr-defined]
StdProcess: Any = context.Process
DefaultContext: Any = context.DefaultContext
Connection: Any = multiprocessing.connection.Connection
Queue: Any = multiprocessing.queues.Queue
SimpleQueue: Any = multiprocessing.queues.SimpleQueue


def register_concrete_context(name: str, ctx: BaseContext) -> None:
    """`multiprocessing.get_context(name)` finds it."""
    context._concrete_contexts[name] = ctx  # type: ignore[attr-defined]


def in_actual_context() -> str | None:
    """The start method that somebody has chosen already, without choosing one."""
    chosen = default_context._actual_context
    return None if chosen is None else str(chosen._name)


def replace_default_context(ctx: Any) -> None:
    """`ctx` becomes multiprocessing's default context: what module-level names are bound to."""
    was = context._default_context  # type: ignore[attr-defined]
    if was is ctx:
        return
    context._default_context = ctx  # type: ignore[attr-defined]
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != "multiprocessing" or not hasattr(module, "__dict__"):
            continue
        for key, value in list(vars(module).items()):
            if getattr(value, "__self__", None) is was:
                setattr(module, key, getattr(ctx, value.__name__))
    multiprocessing.reducer = ctx.reducer


@functools.cache
def standard_sharedctypes() -> dict[str, Any]:
    """The functions of the standard sharedctypes, as copies that see each other here: they stay
    what they are when the module's own names are replaced."""
    from multiprocessing import heap, sharedctypes

    kept = dict(vars(sharedctypes))
    kept["heap"] = types.SimpleNamespace(BufferWrapper=heap.BufferWrapper)
    for name in ("_new_value", "RawValue", "RawArray", "Value", "Array", "copy", "synchronized"):
        function = kept[name]
        kept[name] = types.FunctionType(
            function.__code__, kept, name, function.__defaults__, function.__closure__
        )
        kept[name].__kwdefaults__ = function.__kwdefaults__
    return kept


def keep_standard_contexts() -> None:
    """Their RawValue and RawArray take none of the names that are replaced."""
    kept = standard_sharedctypes()

    def RawValue(self: Any, typecode_or_type: Any, *args: Any) -> Any:
        """Returns a shared object"""
        return kept["RawValue"](typecode_or_type, *args)

    def RawArray(self: Any, typecode_or_type: Any, size_or_initializer: Any) -> Any:
        """Returns a shared array"""
        return kept["RawArray"](typecode_or_type, size_or_initializer)

    BaseContext.RawValue = RawValue  # type: ignore[assignment]
    BaseContext.RawArray = RawArray  # type: ignore[assignment]


def names_of(submodule: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module of ours: what needs nothing of ours is the standard module's,
    whatever this version of Python has there."""
    ours, theirs = f"dsmproc.{submodule}", f"multiprocessing.{submodule}"

    def standard_name(name: str) -> Any:
        if not name.startswith("__"):
            with contextlib.suppress(AttributeError):
                return getattr(importlib.import_module(theirs), name)
        raise AttributeError(f"module {ours!r} has no attribute {name!r}")

    return standard_name


def new_memory_name() -> str:
    """For a SharedMemory whose maker gave none."""
    shared_memory: Any = importlib.import_module("multiprocessing.shared_memory")
    name: str = shared_memory._make_filename()
    return name.lstrip("/")


@contextlib.contextmanager
def spawning(popen: Any) -> Iterator[None]:
    """This thread pickles a process object: what may only be inherited may be pickled."""
    set_spawning_popen(popen)
    try:
        yield
    finally:
        set_spawning_popen(None)


def spawning_popen() -> Any:
    """The handle of the process that this thread is pickling now, if it is."""
    return context.get_spawning_popen()


def extra_reducers() -> dict[type, Any]:
    """What libraries registered with multiprocessing's own pickler (sockets, tensors...)."""
    return ForkingPickler._extra_reducers  # type: ignore[attr-defined, no-any-return]


def flush_std_streams() -> None:
    util._flush_std_streams()  # type: ignore[attr-defined]


def interpreter_flags() -> list[str]:
    """-W, -X, -O and the like: a child runs as its parent does."""
    return list(util._args_from_interpreter_flags())  # type: ignore[attr-defined]


def children() -> set[Any]:
    return process._children  # type: ignore[attr-defined, no-any-return]


def allow_children() -> None:
    """This process is daemonic for its parent, and may have children of its own all the same."""
    current: Any = process.current_process()
    current._config["daemon"] = False


def forget_child(child: Any) -> None:
    children().discard(child)


def preparation_data(name: str) -> dict[str, Any]:
    """What the standard spawn sends ahead of the process object, but nothing of `__main__`.

    Asking for it makes the standard default context choose its start method for good; a program
    that calls set_start_method() later must not fail because of us.
    """
    chosen = default_context._actual_context
    try:
        data = spawn.get_preparation_data(name)
    finally:
        default_context._actual_context = chosen
    data.pop("init_main_from_name", None)
    data.pop("init_main_from_path", None)
    if chosen is None:
        data.pop("start_method", None)
    return data


def prepare(data: dict[str, Any]) -> None:
    """In the child: name, authkey, logging, argv, start method."""
    spawn.prepare(data)


@contextlib.contextmanager
def inheriting() -> Iterator[None]:
    """In the child, while the process object is unpickled."""
    current: Any = process.current_process()
    current._inheriting = True
    try:
        yield
    finally:
        del current._inheriting


def bootstrap(process_object: Any, parent_sentinel: int) -> int:
    """In the child: become the process, run it, and say how it ended."""
    config = process_object._config
    if not os.path.isdir(config.get("tempdir") or ""):  # its parent's, on another host
        config.pop("tempdir", None)
    _interruptible_when_it_runs(process_object)
    code = int(process_object._bootstrap(parent_sentinel))
    edges.deliver(last=True)
    return code


def _interruptible_when_it_runs(process_object: Any) -> None:
    """SIGINT is blocked until then: an interpreter that is interrupted while it starts prints a
    fatal error. `_after_fork` is called where a KeyboardInterrupt ends the process as in `run`."""

    def after_fork() -> None:
        del process_object._after_fork
        process_object._after_fork()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    process_object._after_fork = after_fork


def main_module_fields() -> dict[str, Any]:
    """What functions of `__main__` may ask their module for."""
    main = sys.modules["__main__"]
    names = ("__file__", "__package__", "__doc__")
    return {name: getattr(main, name) for name in names if hasattr(main, name)}


# -- queues -------------------------------------------------------------------------------------


def has_standard_locks(queue: Any) -> bool:
    """Whether a standard queue is bound to its host; one made with our context has our locks."""
    lock = getattr(queue, "_rlock", None)
    return type(lock).__module__ == synchronize.__name__


def queue_get(queue: Any, seconds: float) -> Any:
    """An object of a standard queue of any kind, or queue.Empty after the time."""
    if isinstance(queue, Queue):
        return queue.get(seconds > 0, seconds)
    if not queue._rlock.acquire(True, seconds):
        raise Empty
    try:
        if not queue._reader.poll():
            raise Empty
        data = queue._reader.recv_bytes()
    finally:
        queue._rlock.release()
    return ForkingPickler.loads(data)


def queue_joined(queue: Any, seconds: float) -> bool:
    """Whether all tasks of a JoinableQueue are done, or are in this time."""
    with queue._cond:
        if not queue._unfinished_tasks._semlock._is_zero():
            queue._cond.wait(seconds)
        return bool(queue._unfinished_tasks._semlock._is_zero())
