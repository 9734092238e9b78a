"""The one importer of the native engine: its functions, its constants, its errors."""

from __future__ import annotations

import errno
import os
import threading
from enum import IntEnum
from typing import Any

from ..errors import ClusterError, HostLostError
from . import check_built

check_built()
from . import _engine  # type: ignore[attr-defined] # noqa: E402

lib: Any = _engine.lib
ffi: Any = _engine.ffi

MASTER: int = lib.DSM_MASTER


def wire_bytes(fd: int) -> tuple[int, int]:
    """What a TCP connection has sent and received, headers included."""
    sent, received = ffi.new("uint64_t *"), ffi.new("uint64_t *")
    lib.dsmproc_traffic(fd, sent, received)
    return int(sent[0]), int(received[0])


class Status(IntEnum):
    """What an operation kept at the master came to."""

    OK = lib.DSM_ST_OK
    CANCELLED = lib.DSM_ST_CANCELLED
    BUSY = lib.DSM_ST_BUSY
    NO_REGION = lib.DSM_ST_NO_REGION
    TOO_OFTEN = lib.DSM_ST_TOO_OFTEN
    BROKEN = lib.DSM_ST_BROKEN
    ACTION = lib.DSM_ST_ACTION
    HOST_LOST = lib.DSM_ST_HOST_LOST
    FULL = lib.DSMPROC_ST_FULL
    WRONG = lib.DSMPROC_ST_WRONG
    SYSTEM = lib.DSMPROC_ST_SYSTEM
    MEMORY = lib.DSMPROC_ST_MEMORY
    FILES = lib.DSMPROC_ST_FILES


class Call(IntEnum):
    """Operations kept at the master; their arguments are described in core.h."""

    SEM_ACQUIRE = lib.DSM_CALL_SEM_ACQUIRE
    SEM_RELEASE = lib.DSM_CALL_SEM_RELEASE
    SEM_VALUE = lib.DSM_CALL_SEM_VALUE
    SEM_SLEEP = lib.DSM_CALL_SEM_SLEEP
    SEM_WAKE = lib.DSM_CALL_SEM_WAKE
    BAR_WAIT = lib.DSM_CALL_BAR_WAIT
    BAR_DONE = lib.DSM_CALL_BAR_DONE
    BAR_ABORT = lib.DSM_CALL_BAR_ABORT
    BAR_RESET = lib.DSM_CALL_BAR_RESET
    BAR_STATE = lib.DSM_CALL_BAR_STATE


class Broke(IntEnum):
    """What broke a barrier, in the value of Status.BROKEN."""

    RESET = lib.DSM_BROKE_RESET
    ABORT = lib.DSM_BROKE_ABORT
    LEFT = lib.DSM_BROKE_LEFT
    LOST = lib.DSM_BROKE_LOST


class Home(IntEnum):
    """Home policies of a region."""

    FIRST = lib.DSM_HOME_FIRST
    FIXED = lib.DSM_HOME_FIXED
    BARRIER = lib.DSM_HOME_BARRIER
    MIGRATING = lib.DSM_HOME_MIGRATING
    ADAPTIVE = lib.DSM_HOME_ADAPTIVE
    HOMELESS = lib.DSM_HOME_HOMELESS
    BLOCKS = lib.DSM_HOME_BLOCKS


class Model(IntEnum):
    """Consistency models of a cluster."""

    LRC = lib.DSM_LRC
    EC = lib.DSM_EC
    SCC = lib.DSM_SCC
    ERC = lib.DSM_ERC
    SC = lib.DSM_SC


def raise_status(status: int, value: int, what: str) -> None:
    """The one place where native statuses become exceptions."""
    if status == Status.NO_REGION:
        raise FileNotFoundError(errno.ENOENT, f"{what}: the cluster has no such region")
    if status == Status.TOO_OFTEN:
        raise ValueError("semaphore or lock released too many times")
    if status == Status.BROKEN:
        raise threading.BrokenBarrierError
    if status == Status.HOST_LOST:
        raise HostLostError(f"{what}: host {value} is lost", value)
    if status == Status.FULL:
        raise OSError(errno.ENOSPC, f"{what}: no room for more processes or locks on this host")
    if status == Status.MEMORY:
        raise MemoryError(f"{what}: pages that live there fill its memory limit of {value} bytes")
    if status == Status.FILES:
        raise OSError(
            errno.EMFILE,
            f"{what}: its agent has nearly all of the {value} files open that it may: raise "
            "`ulimit -Hn` where the cluster is started",
        )
    if status == Status.SYSTEM:
        raise OSError(value, f"{what}: {os.strerror(value)}")
    raise ClusterError(f"{what}: the agent answers {Status(status).name}")


def check(error: int, what: str) -> int:
    if error < 0:
        raise OSError(-error, f"{what}: {os.strerror(-error)}")
    return error
