"""Contexts: where the objects of a program come from.

`ClusterContext` ("cluster") makes cluster objects. `DefaultContext` is what `dsmproc.Lock` and all
the other module-level names are bound to: it chooses at each call, the cluster if there is one,
else the standard library, whose objects it then returns themselves.

The modules of the objects are imported when asked for; a name whose module does not exist yet
raises NotImplementedError rather than be silently local.
"""

from __future__ import annotations

import importlib
import multiprocessing
import sys
import warnings
from multiprocessing.context import BaseContext
from typing import Any

from . import _membership, _std, cluster, process
from ._std.choice import methods_are_cluster, named, named_method, on_cluster

__all__ = ["ClusterContext", "DefaultContext", "Process", "chosen_context"]

__getattr__ = _std.names_of("context")
STANDARD_METHODS = ("fork", "spawn", "forkserver")


def _make(module: str, name: str, *arguments: Any, **keywords: Any) -> Any:
    """dsmproc.<module>.<name>(...), or NotImplementedError if this version has none."""
    try:
        factory = getattr(importlib.import_module(f"dsmproc.{module}"), name)
    except (ModuleNotFoundError, AttributeError) as error:
        missing = isinstance(error, AttributeError) or error.name == f"dsmproc.{module}"
        if not missing:
            raise
        raise NotImplementedError(f"{name} is not distributed over a cluster yet") from None
    return factory(*arguments, **keywords)


class Process(_std.StdProcess):  # type: ignore[misc]
    """`multiprocessing.Process`: chooses when it is started where it runs."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        chosen = chosen_context().Process
        if issubclass(chosen, process.ClusterProcess):
            process_obj._start_method = chosen._start_method
        return chosen._Popen(process_obj)


class ClusterContext(BaseContext):
    """Processes on all hosts, and objects that all hosts share."""

    _name = "cluster"
    Process = process.ClusterProcess

    def cpu_count(self) -> int:
        """The slots of all hosts: what Pool() starts."""
        return cluster.total_slots()

    def Manager(self) -> Any:
        return _make("managers", "Manager", ctx=self)

    def Pipe(self, duplex: bool = True) -> Any:
        return _make("connection", "Pipe", duplex)

    def Lock(self) -> Any:
        return _make("lock", "Lock", ctx=self)

    def RLock(self) -> Any:
        return _make("lock", "RLock", ctx=self)

    def Condition(self, lock: Any = None) -> Any:
        return _make("lock", "Condition", lock, ctx=self)

    def Semaphore(self, value: int = 1) -> Any:
        return _make("lock", "Semaphore", value, ctx=self)

    def BoundedSemaphore(self, value: int = 1) -> Any:
        return _make("lock", "BoundedSemaphore", value, ctx=self)

    def Event(self) -> Any:
        return _make("lock", "Event", ctx=self)

    def Barrier(self, parties: int, action: Any = None, timeout: float | None = None) -> Any:
        return _make("lock", "Barrier", parties, action, timeout, ctx=self)

    def Queue(self, maxsize: int = 0) -> Any:
        return _make("queues", "Queue", maxsize, ctx=self)

    def JoinableQueue(self, maxsize: int = 0) -> Any:
        return _make("queues", "JoinableQueue", maxsize, ctx=self)

    def SimpleQueue(self) -> Any:
        return _make("queues", "SimpleQueue", ctx=self)

    def Pool(
        self,
        processes: int | None = None,
        initializer: Any = None,
        initargs: Any = (),
        maxtasksperchild: int | None = None,
    ) -> Any:
        return _make(
            "pool", "Pool", processes, initializer, initargs, maxtasksperchild, context=self
        )

    def RawValue(self, typecode_or_type: Any, *args: Any) -> Any:
        return _make("sharedctypes", "RawValue", typecode_or_type, *args)

    def RawArray(self, typecode_or_type: Any, size_or_initializer: Any) -> Any:
        return _make("sharedctypes", "RawArray", typecode_or_type, size_or_initializer)

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:
        return _make("sharedctypes", "Value", typecode_or_type, *args, lock=lock, ctx=self)

    def Array(self, typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True) -> Any:
        return _make(
            "sharedctypes", "Array", typecode_or_type, size_or_initializer, lock=lock, ctx=self
        )

    def SharedMemory(
        self,
        name: str | None = None,
        create: bool = False,
        size: int = 0,
        *,
        track: bool = True,
        home: str | None = None,
    ) -> Any:
        return _make("sharedmem", "SharedMemory", name, create, size, track=track, home=home)

    def _dsmproc_on_cluster(self) -> bool:
        return True

    def get_context(self, method: str | None = None) -> Any:
        return self if method is None else named_context(method)

    def get_start_method(self, allow_none: bool = False) -> str:
        return self._name


class ForkClusterContext(ClusterContext):
    """The cluster, under the name of a standard start method: programs look at that."""

    _name = "fork"
    Process = process.ForkClusterProcess


class SpawnClusterContext(ClusterContext):
    _name = "spawn"
    Process = process.SpawnClusterProcess


class ForkServerClusterContext(ClusterContext):
    _name = "forkserver"
    Process = process.ForkServerClusterProcess


class DefaultContext(_std.DefaultContext):  # type: ignore[misc]
    """The choice at each call. Written out name by name, so that readers and tools find them."""

    Process = Process
    ProcessError = multiprocessing.ProcessError
    BufferTooShort = multiprocessing.BufferTooShort
    TimeoutError = multiprocessing.TimeoutError
    AuthenticationError = multiprocessing.AuthenticationError

    current_process = staticmethod(multiprocessing.current_process)
    parent_process = staticmethod(multiprocessing.parent_process)
    active_children = staticmethod(multiprocessing.active_children)
    freeze_support = staticmethod(multiprocessing.freeze_support)
    get_logger = staticmethod(multiprocessing.get_logger)
    log_to_stderr = staticmethod(multiprocessing.log_to_stderr)
    allow_connection_pickling = staticmethod(multiprocessing.allow_connection_pickling)
    set_executable = staticmethod(multiprocessing.set_executable)
    set_forkserver_preload = staticmethod(multiprocessing.set_forkserver_preload)

    def __init__(self, context: BaseContext | None = None) -> None:
        super().__init__(context or _std.default_context.get_context("fork"))

    def _dsmproc_on_cluster(self) -> bool:
        return on_cluster()

    def get_context(self, method: str | None = None) -> Any:
        """Return the context of a start method, or the one that is chosen now."""
        return chosen_context() if method is None else named_context(method)

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Choose a start method; on a cluster a standard one keeps processes on this host."""
        if not _membership.active():
            _std.default_context.set_start_method(method, force)
        elif method is None or method == "cluster":
            named.method = None
        else:
            named_context(method)  # ValueError if there is no such method, and the warning
            named.method = method

    def get_start_method(self, allow_none: bool = False) -> str | None:
        """Return the name of the start method, "cluster" on a cluster."""
        if _membership.active():
            method = named_method()
            # Who sets a method where there is none would leave the cluster, unless that means it.
            return method or (None if allow_none and methods_are_cluster() else "cluster")
        method = _std.default_context.get_start_method(allow_none)
        return method

    def get_all_start_methods(self) -> list[str]:
        """List the names that `get_context` takes; on a cluster the first is "cluster"."""
        # From 3.14 on the standard one lists "cluster" too, since it is registered there.
        methods = [m for m in _std.default_context.get_all_start_methods() if m != "cluster"]
        ours = _membership.active() and not methods_are_cluster()
        return ["cluster", *methods] if ours else methods

    @property
    def reducer(self) -> Any:
        return _std.default_context.reducer

    @reducer.setter
    def reducer(self, reduction: Any) -> None:
        _std.default_context.reducer = reduction

    def cpu_count(self) -> int:
        """Return the slots of all hosts, or this machine's processors without a cluster."""
        count: int = chosen_context().cpu_count()
        return count

    def Manager(self) -> Any:
        """Start a manager and return it; its objects are used from any host."""
        return chosen_context().Manager()

    def Pipe(self, duplex: bool = True) -> Any:
        """Return two connections, (reader, writer) unless `duplex`; each may go to any host."""
        return chosen_context().Pipe(duplex)

    def Lock(self) -> Any:
        """Return a lock that processes of all hosts share."""
        return chosen_context().Lock()

    def RLock(self) -> Any:
        """Return a recursive lock that processes of all hosts share."""
        return chosen_context().RLock()

    def Condition(self, lock: Any = None) -> Any:
        """Return a condition variable that processes of all hosts share."""
        return chosen_context().Condition(lock)

    def Semaphore(self, value: int = 1) -> Any:
        """Return a semaphore that processes of all hosts share."""
        return chosen_context().Semaphore(value)

    def BoundedSemaphore(self, value: int = 1) -> Any:
        """Return a semaphore that raises ValueError if it is released too often."""
        return chosen_context().BoundedSemaphore(value)

    def Event(self) -> Any:
        """Return an event that processes of all hosts share."""
        return chosen_context().Event()

    def Barrier(self, parties: int, action: Any = None, timeout: float | None = None) -> Any:
        """Return a barrier for `parties` processes on any hosts; `timeout` in seconds."""
        return chosen_context().Barrier(parties, action, timeout)

    def Queue(self, maxsize: int = 0) -> Any:
        """Return a queue that processes of all hosts share; `maxsize` in messages, 0: no limit."""
        return chosen_context().Queue(maxsize)

    def JoinableQueue(self, maxsize: int = 0) -> Any:
        """Return a queue with `task_done` and `join`."""
        return chosen_context().JoinableQueue(maxsize)

    def SimpleQueue(self) -> Any:
        """Return a queue with `get`, `put`, `empty` and `close` alone."""
        return chosen_context().SimpleQueue()

    def Pool(
        self,
        processes: int | None = None,
        initializer: Any = None,
        initargs: Any = (),
        maxtasksperchild: int | None = None,
    ) -> Any:
        """Return a pool of workers on all hosts; `processes`: the cluster's slots if not given."""
        return chosen_context().Pool(processes, initializer, initargs, maxtasksperchild)

    def RawValue(self, typecode_or_type: Any, *args: Any) -> Any:
        """Return a ctypes object in shared memory, without a lock."""
        return chosen_context().RawValue(typecode_or_type, *args)

    def RawArray(self, typecode_or_type: Any, size_or_initializer: Any) -> Any:
        """Return a ctypes array in shared memory, without a lock."""
        return chosen_context().RawArray(typecode_or_type, size_or_initializer)

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:
        """Return a ctypes object in shared memory, with a lock."""
        return chosen_context().Value(typecode_or_type, *args, lock=lock)

    def Array(self, typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True) -> Any:
        """Return a ctypes array in shared memory, with a lock."""
        return chosen_context().Array(typecode_or_type, size_or_initializer, lock=lock)

    def SharedMemory(
        self,
        name: str | None = None,
        create: bool = False,
        size: int = 0,
        *,
        track: bool = True,
        home: str | None = None,
    ) -> Any:
        """As multiprocessing.shared_memory.SharedMemory, with `track` on every version of Python.
        `home`: the policy for where its pages live, if not the cluster's (DSMPROC_HOME)."""
        if _membership.active():
            return cluster_context.SharedMemory(name, create, size, track=track, home=home)
        return _make("sharedmem", "standard", name, create, size, track=track, home=home)


cluster_context = ClusterContext()
aliases = {
    c._name: c() for c in (ForkClusterContext, SpawnClusterContext, ForkServerClusterContext)
}
default_context = DefaultContext()
_std.register_concrete_context("cluster", cluster_context)


def chosen_context() -> Any:
    """The cluster's context if there is a cluster, else the standard library's default."""
    if not _membership.active():
        return _std.default_context.get_context()
    method = named_method()
    if method is None:
        return cluster_context
    return aliases[method] if methods_are_cluster() else _std.default_context.get_context(method)


def named_context(method: str) -> Any:
    """A context by name. A standard one, named under a cluster, stays on this host and says so."""
    if method == "cluster":
        return cluster_context
    if _membership.active() and method in STANDARD_METHODS:
        if methods_are_cluster():
            return aliases[method]
        warnings.warn(
            f"the start method {method!r} keeps its processes on this host "
            "(DSMPROC_METHODS=cluster makes it mean the cluster)",
            RuntimeWarning,
            stacklevel=_level_outside(),
        )
    return _std.default_context.get_context(method)


def _level_outside() -> int:
    """For a warning: the frame of the program, not one of ours."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
        level += 1
    return level
