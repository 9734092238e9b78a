"""multiprocessing over many machines, with memory that really is shared.

`import dsmproc as multiprocessing`: without a cluster every name here is the standard library's;
with one (`dsmproc run`, or `init`) processes run on all of its hosts. Importing this starts no
thread and connects nowhere.
"""

from __future__ import annotations

import importlib
from typing import Any

from . import _version
from ._sync.robust import mark_consistent, owner_died
from .cluster import current_host, hosts, init, shutdown, stats
from .context import Process
from .context import default_context as _context
from .errors import (
    AuthenticationError,
    BufferTooShort,
    ClusterError,
    HostLostError,
    LastReaderLostError,
    LastWriterLostError,
    LostChannelError,
    ProcessError,
    ProtocolError,
    QueueOwnerLostError,
    TimeoutError,
    WorkerLostError,
    WriterLostError,
)

__version__ = _version.VERSION
SUBDEBUG = 5
SUBWARNING = 25
Array = _context.Array
Barrier = _context.Barrier
BoundedSemaphore = _context.BoundedSemaphore
Condition = _context.Condition
Event = _context.Event
JoinableQueue = _context.JoinableQueue
Lock = _context.Lock
Manager = _context.Manager
Pipe = _context.Pipe
Pool = _context.Pool
Queue = _context.Queue
RLock = _context.RLock
RawArray = _context.RawArray
RawValue = _context.RawValue
Semaphore = _context.Semaphore
SharedMemory = _context.SharedMemory
SimpleQueue = _context.SimpleQueue
Value = _context.Value
active_children = _context.active_children
allow_connection_pickling = _context.allow_connection_pickling
cpu_count = _context.cpu_count
current_process = _context.current_process
freeze_support = _context.freeze_support
get_all_start_methods = _context.get_all_start_methods
get_context = _context.get_context
get_logger = _context.get_logger
get_start_method = _context.get_start_method
log_to_stderr = _context.log_to_stderr
parent_process = _context.parent_process
reducer = _context.reducer
set_executable = _context.set_executable
set_forkserver_preload = _context.set_forkserver_preload
set_start_method = _context.set_start_method

__all__ = [
    "Array",
    "AuthenticationError",
    "Barrier",
    "BoundedSemaphore",
    "BufferTooShort",
    "ClusterError",
    "Condition",
    "Event",
    "HostLostError",
    "JoinableQueue",
    "LastReaderLostError",
    "LastWriterLostError",
    "Lock",
    "LostChannelError",
    "Manager",
    "Pipe",
    "Pool",
    "Process",
    "ProcessError",
    "ProtocolError",
    "Queue",
    "QueueOwnerLostError",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SharedMemory",
    "SimpleQueue",
    "TimeoutError",
    "Value",
    "WorkerLostError",
    "WriterLostError",
    "active_children",
    "allow_connection_pickling",
    "cpu_count",
    "current_host",
    "current_process",
    "freeze_support",
    "get_all_start_methods",
    "get_context",
    "get_logger",
    "get_start_method",
    "hosts",
    "init",
    "log_to_stderr",
    "mark_consistent",
    "owner_died",
    "parent_process",
    "reducer",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
    "shared_array",
    "shutdown",
    "stats",
]

# Submodules, imported when they are asked for.
_SUBMODULES = frozenset(
    {
        "connection",
        "context",
        "dummy",
        "forkserver",
        "heap",
        "managers",
        "pool",
        "popen_fork",
        "popen_forkserver",
        "popen_spawn_posix",
        "process",
        "queues",
        "reduction",
        "resource_sharer",
        "resource_tracker",
        "shared_memory",
        "sharedctypes",
        "spawn",
        "synchronize",
        "util",
    }
)


def shared_array(shape: Any, dtype: Any = float, *, home: str | None = None) -> Any:
    """A numpy array of zeros in memory that all hosts share; it pickles as a handle. `home`: the
    policy for where its pages live, as SharedMemory's."""
    from .sharedarray import shared_array

    return shared_array(shape, dtype, home=home)


def __getattr__(name: str) -> Any:
    if name not in _SUBMODULES:
        raise AttributeError(f"module 'dsmproc' has no attribute {name!r}")
    return importlib.import_module(f"dsmproc.{name}")
