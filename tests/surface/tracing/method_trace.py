"""What the tracer looks at, and how.

A line of the file `calls` in the trace's folder: the test that runs now, `Class.method`, the role
of its caller, and the host of that. Roles: `maker` is the process in which a scenario of
tests/places.py runs (on host 1, while the driver is on host 0), `child` any other worker.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Class(NamedTuple):
    """A standard class, and the one that stands for it on a cluster."""

    name: str
    module: str  # of multiprocessing
    standard: str  # its name there
    ours: str = ""  # in the module of dsmproc, if it is another
    more: tuple[str, ...] = ()  # methods that its objects get when they are made


_LOCK = ("acquire", "release")
CLASSES = [
    Class("Process", "context", "Process", "dsmproc.process.ClusterProcess"),
    Class("Pool", "pool", "Pool"),
    Class("AsyncResult", "pool", "AsyncResult"),
    Class("IMapIterator", "pool", "IMapIterator", "dsmproc.pool._IMapIterator"),
    Class("Queue", "queues", "Queue"),
    Class("JoinableQueue", "queues", "JoinableQueue"),
    Class("SimpleQueue", "queues", "SimpleQueue"),
    Class("Connection", "connection", "Connection", "dsmproc.connection.LinkConnection"),
    Class("Listener", "connection", "Listener"),
    Class("Lock", "synchronize", "Lock", more=_LOCK),
    Class("RLock", "synchronize", "RLock", more=_LOCK),
    Class("Semaphore", "synchronize", "Semaphore", more=_LOCK),
    Class("BoundedSemaphore", "synchronize", "BoundedSemaphore", more=_LOCK),
    Class("Condition", "synchronize", "Condition", more=_LOCK),
    Class("Event", "synchronize", "Event"),
    Class("Barrier", "synchronize", "Barrier"),
    Class("SharedMemory", "shared_memory", "SharedMemory"),
    Class("ShareableList", "shared_memory", "ShareableList"),
    Class("Synchronized", "sharedctypes", "Synchronized", more=_LOCK),
    Class("SynchronizedArray", "sharedctypes", "SynchronizedArray", more=_LOCK),
    Class("SynchronizedString", "sharedctypes", "SynchronizedString", more=_LOCK),
    Class("SharedMemoryManager", "managers", "SharedMemoryManager"),
    Class("SyncManager", "managers", "SyncManager"),
    Class("BaseManager", "managers", "BaseManager"),
    *(
        Class(name, "managers", name)
        for name in (
            "AcquirerProxy",
            "ArrayProxy",
            "BarrierProxy",
            "ConditionProxy",
            "DictProxy",
            "EventProxy",
            "IteratorProxy",
            "ListProxy",
            "NamespaceProxy",
            "PoolProxy",
            "ValueProxy",
        )
    ),
]
# Of those with two underscores, what programs call with a sign.
SIGNS = {
    "__contains__",
    "__delitem__",
    "__enter__",
    "__exit__",
    "__getitem__",
    "__iter__",
    "__len__",
    "__next__",
    "__setitem__",
}
# Made, used and ended by one process: what runs elsewhere is its child, or its peer.
HANDLES = {
    "Process",
    "Pool",
    "AsyncResult",
    "IMapIterator",
    "Listener",
    "SharedMemoryManager",
    "SyncManager",
    "BaseManager",
    "IteratorProxy",
    "PoolProxy",
}
# So are these of proxies: what they answer is a proxy, made where the manager was made.
HANDLE_METHODS = {"DictProxy.__iter__"}


def standard_class(one: Class) -> type:
    found: type = getattr(importlib.import_module(f"multiprocessing.{one.module}"), one.standard)
    return found


def our_class(one: Class) -> type:
    module, _, name = (one.ours or f"dsmproc.{one.module}.{one.standard}").rpartition(".")
    found: type = getattr(importlib.import_module(module), name)
    return found


def methods(one: Class) -> list[str]:
    """The public methods and properties of the standard class, by name."""
    found = set(one.more)
    for base in standard_class(one).__mro__[:-1]:
        found |= {
            name
            for name, value in vars(base).items()
            if (name in SIGNS or not name.startswith("_"))
            and (callable(value) or inspect.isdatadescriptor(value))
            and not isinstance(value, type | staticmethod | classmethod)
        }
    return sorted(found)


class Tracer:
    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._names: dict[type, str] = {}
        self._seen: set[tuple[str, str]] = set()
        os.register_at_fork(after_in_child=self._seen.clear)

    def install(self) -> None:
        done: set[tuple[type, str]] = set()
        for one in CLASSES:
            cls = our_class(one)
            self._names[cls] = one.name
            for name in methods(one):
                home = next((c for c in cls.__mro__[:-1] if name in vars(c)), None)
                if home is not None and (home, name) not in done:
                    done.add((home, name))
                    with contextlib.suppress(TypeError, AttributeError):
                        setattr(home, name, self._wrapped(vars(home)[name], name))
        from multiprocessing import sharedctypes, synchronize

        for base, method in (
            (synchronize.SemLock, "_make_methods"),
            (synchronize.Condition, "_make_methods"),
            (sharedctypes.SynchronizedBase, "__init__"),
        ):
            setattr(base, method, self._arming(getattr(base, method)))

    def _arming(self, function: Any) -> Any:
        """Objects that get these methods of theirs when they are made."""

        @functools.wraps(function)
        def arming(made: Any, *arguments: Any, **keywords: Any) -> None:
            function(made, *arguments, **keywords)
            for name in _LOCK:
                setattr(made, name, self._bound(made, name, getattr(made, name)))

        return arming

    def _bound(self, made: Any, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        kind = type(made)

        def traced(*arguments: Any, **keywords: Any) -> Any:
            self._record(kind, name)
            return method(*arguments, **keywords)

        return traced

    def _wrapped(self, value: Any, name: str) -> Any:
        if isinstance(value, property):
            getter = value.fget and self._function(value.fget, name)
            setter = value.fset and self._function(value.fset, name)
            return property(getter, setter, value.fdel, value.__doc__)
        if isinstance(value, staticmethod | classmethod) or not inspect.isfunction(value):
            raise TypeError(name)
        return self._function(value, name)

    def _function(self, function: Any, name: str) -> Any:
        @functools.wraps(function)
        def traced(self_: Any, *arguments: Any, **keywords: Any) -> Any:
            self._record(type(self_), name)
            return function(self_, *arguments, **keywords)

        return traced

    def _record(self, kind: type, name: str) -> None:
        for base in kind.__mro__:
            if base in self._names:
                label = self._names[base]
                break
        else:
            return
        if (label, name) in self._seen:
            return
        client = sys.modules["dsmproc._membership"].state.client
        if client is None:
            return
        self._seen.add((label, name))
        places = sys.modules.get("places")
        role = "maker" if getattr(places, "making", False) else "child"
        with contextlib.suppress(OSError):
            with open(os.path.join(self._folder, "current"), encoding="utf-8") as file:
                test = file.read()
            line = f"{test}\t{label}.{name}\t{role}\t{client.host}\n"
            with open(os.path.join(self._folder, "calls"), "a", encoding="utf-8") as file:
                file.write(line)


def install(folder: str) -> None:
    Tracer(folder).install()


def read(folder: str) -> Iterator[tuple[str, str, str, int]]:
    """test, Class.method, role, host"""
    with open(os.path.join(folder, "calls"), encoding="utf-8") as file:
        for line in file:
            test, method, role, host = line.rstrip("\n").split("\t")
            yield test, method, role, int(host)


# -- as a plugin of pytest ------------------------------------------------------------------------


def pytest_runtest_setup(item: Any) -> None:
    """Whatever is called from now on is called by this test."""
    folder = os.environ["DSMTEST_TRACE"]
    with open(os.path.join(folder, "current"), "w", encoding="utf-8") as file:
        file.write(item.nodeid)


def pytest_runtest_logreport(report: Any) -> None:
    if report.when == "call" and report.passed:
        folder = os.environ["DSMTEST_TRACE"]
        with open(os.path.join(folder, "passed"), "a", encoding="utf-8") as file:
            file.write(report.nodeid + "\n")
