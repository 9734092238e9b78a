"""The tests of CPython's suite that are not expected to pass on a cluster, and why.

Reviewed by hand. A key is `Class.method` or `Class.*`; for a class that is made for several types
(`WithProcesses…`, `WithManager…`) or executors it is what follows these words.
"""

from __future__ import annotations

import fnmatch
from typing import NamedTuple

FORK = "state inherited by fork"
PID = "a local pid"
DESCRIPTOR = "a passed descriptor"
PATH = "a file path"
LOOPBACK = "a loopback address"
REASONS = (FORK, PID, DESCRIPTOR, PATH, LOOPBACK)

# May fail across hosts, for one of these reasons only.
ELSEWHERE: dict[str, tuple[str, str]] = {
    "TestConnection.test_fd_transfer": (DESCRIPTOR, "send_handle to a child"),
    "TestConnection.test_large_fd_transfer": (DESCRIPTOR, "send_handle to a child"),
    "TestSharedMemory.test_shared_memory_untracking": (PATH, "a program without dsmproc opens it"),
    "TestSubclassingProcess.test_stderr_flush": (
        PATH,
        "the child writes a file, the parent reads it",
    ),
    "TestSubclassingProcess.test_sys_exit": (PATH, "a file of the child is read"),
    "TestCondition.test_wait_result": (PID, "the child sends its parent's pid a signal"),
    "TestPicklingConnections.test_pickling": (
        LOOPBACK,
        "a plain socket connects to another child's, and is passed on where both are on one host",
    ),
    "TestWait.test_wait_socket": (LOOPBACK, "the children's plain sockets connect to it"),
    "TestWait.test_wait_socket_slow": (LOOPBACK, "the children's plain sockets connect to it"),
    "TestPollEintr.test_poll_eintr": (PID, "the child sends its parent's pid a signal"),
    "TestIgnoreEINTR.test_ignore": (PID, "the parent sends the child's pid a signal"),
    "TestIgnoreEINTR.test_ignore_listener": (PID, "the parent sends the child's pid a signal"),
    "TestAtExit.test_atexit": (PATH, "a file of the child is read"),
}

# Nothing that a program may rely on: of the standard library's own machinery.
PRIVATE: dict[str, str] = {
    "_TestImportStar.*": "the list of files in multiprocessing's own folder",
    "TestResourceTracker.*": "the process that unlinks the standard library's semaphores",
    "FailingInitializerResourcesTest.*": "the exit code of that process",
    "SemLockTests.*": "the C class _multiprocessing.SemLock",
    "WithThreadsTestPool.test_terminate": "in 3.10 and 3.11 it waits for a task of five "
    "minutes if a thread of the standard library's was quick to take it",
    "TestSharedMemory.test_shared_memory_SharedMemoryServer_ignores_sigint": "the process behind a "
    "manager, by the manager's private attribute",
}

# Here a thing works, or is refused at once, where the test expects the original to fail.
BETTER: dict[str, str] = {
    "TestPoolWorkerErrors.test_unpickleable_result": "a lambda is a result like any other",
    "TestSharedMemory.test_shared_memory_tracking": "who attaches to memory does not destroy it",
    "TestStartMethod.test_mixed_startmethod": "locks go to any process",
    "TestQueue.test_queue_feeder_donot_stop_onexc": "put() raises what pickling raises",
}

PREFIXES = ("WithProcesses", "WithManager", "WithThreads", "ProcessPoolForkserver")
PREFIXES += ("ProcessPoolFork", "ProcessPoolSpawn")


class Place(NamedTuple):
    """Where a test stands in these tables: "" for the name of the table means nowhere."""

    table: str  # elsewhere, private or better
    reason: str


def short(name: str) -> str:
    """`Class.method`, without the word for what the class was made for."""
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name


def place(test: str) -> Place:
    whole = ".".join(test.split(".")[-2:])
    names = (whole, short(whole))
    for key, (reason, _) in ELSEWHERE.items():
        if any(fnmatch.fnmatchcase(name, key) for name in names):
            return Place("elsewhere", reason)
    for table, entries in (("private", PRIVATE), ("better", BETTER)):
        for key, why in entries.items():
            if any(fnmatch.fnmatchcase(name, key) for name in names):
                return Place(table, why)
    return Place("", "")
