"""This process as a client of its host's agent; and, for others to import, the engine itself.

A `Client` maps regions, publishes and observes, takes locks. It connects when it is first used, has
one connection per thread, and survives fork: the child maps all regions again, at the same
addresses, with connections of its own.

Blocking requests let go of the GIL, end by Ctrl-C and by timeouts; what was granted in that moment
is given back.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import mmap
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .._native.ffi import MASTER, Broke, Call, Home, Status, check, ffi, lib, raise_status
from ..errors import ClusterError, HostLostError
from . import faults
from .engine import Engine, Notice
from .faults import probe_faults
from .requests import IDLE, WAITING, Connection, call_request, new_request

__all__ = [
    "MASTER",
    "Broke",
    "Call",
    "Client",
    "Engine",
    "IDLE",
    "Home",
    "Lock",
    "Notice",
    "Pending",
    "Status",
    "probe_faults",
]

NEWEST = 2**64 - 1
quick_take, quick_give = lib.dsmproc_quick_take, lib.dsmproc_quick_give
quick_untake = lib.dsmproc_quick_untake
GIVE_ASK, GIVE_NOT_OWNED = 1, 3  # what quick_give says


class Pending:
    """A request under way, for a loop: when the descriptor is readable it may be `done`."""

    def __init__(self, client: Client, what: str, kind: int, **fields: int) -> None:
        self._client = client
        self._what = what
        self._request = new_request(kind, **fields)
        self._connection = client._take_free()
        self._connection.send(self._request)

    def fileno(self) -> int:
        return self._connection.fd

    def done(self) -> bool:
        return self._connection.wait(self._request, 0.0)

    def value(self) -> int:
        status, value = self._request.status, self._request.value
        if status:
            raise_status(status, value, self._what)
        return int(value)

    def close(self) -> None:
        """The connection is good for the next request, if this one was answered."""
        if self._request.status == WAITING:
            self._connection.close()
        else:
            self._client._free.append(self._connection)


class _Reference(weakref.ref[Any]):
    """To what keeps a region mapped. Its callback is C's: no handler runs in the middle."""

    region: _Region


class _Region:
    """A region here. What is true of it is changed by C: the answer to `attach` says whether the
    agent counts us, and `mapping` where it is mapped. It is mapped as long as anything refers to
    its memory: views, and arrays that were made of one. So whatever a signal handler's exception
    leaves of an attach or a detach, the next one finishes."""

    def __init__(self, region: int) -> None:
        self.attach = new_request(lib.DSMPROC_OP_ATTACH, region)
        self.mapping = ffi.new("struct dsmproc_mapping *")
        self.first: Any = None  # its memory, until the first view has it
        self.reference: _Reference | None = None

    def map(self, faults: int, unused: Callable[[Any], None]) -> None:
        mapped = lib.dsmproc_region_map(faults, self.attach, self.mapping)
        check(mapped, "cannot map shared memory")
        pointer = ffi.cast("char *", self.mapping.address)
        unmap = functools.partial(lib.dsmproc_region_unmap, self.mapping)
        self.first = ffi.gc(pointer, unmap)
        self.reference = _Reference(self.first, unused)
        self.reference.region = self

    @property
    def region(self) -> _Region:
        return self

    def memory(self) -> Any:
        return self.reference and self.reference()


class Client:
    """This process, as a client of its host's agent."""

    def __init__(self, connect: Callable[[], int], *, lifeline: bool = True) -> None:
        """`connect` gives a fresh, authenticated unix socket to the agent, of which the engine has
        the other end. With `lifeline`, this process ends (SIGKILL) when its agent does."""
        self._connect = connect
        self._lifeline = lifeline
        self._control: Any = None
        self._regions: dict[int, _Region] = {}
        self._unused: deque[_Region | _Reference] = deque()  # of these, what is to be detached
        self._forget()
        me = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forked(me()))

    def _forget(self) -> None:
        """No connection, and nothing locked: the state at the start, and in a child after fork."""
        self._main = -1
        self._first: Connection | None = None
        self._faults = -1
        self._faults_shared = False
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._local = threading.local()
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._free: list[Connection] = []  # of requests that a loop has made

    # -- connections --

    def open(self) -> None:
        """Connect this process, if it is not yet. Done by every operation that needs it."""
        if self._main >= 0:
            return
        with self._lock:
            while self._main < 0:
                try:
                    self._join()
                except HostLostError:
                    if self._main < 0:
                        raise

    def _join(self) -> None:
        """A process has one first connection: another one ends what belongs to the one before. So
        if a signal handler or a destructor runs in the middle of this, and joins, that counts.

        The process is to end when the engine's end closes. The kernel tells us by the signal by
        which it tells that something has come; and it may tell so late, when the answer to the
        greeting was read long ago. Therefore the greeting of a second connection: the engine's
        thread answers it when it has done with the first."""
        first = Connection(self._connect())
        if self._main >= 0:
            return
        fd = first.greet(a=1)
        if self._control is None:
            self._control = lib.dsmproc_control_map(fd)
        os.close(fd)
        if self._control == ffi.NULL:
            self._control = None
            raise ClusterError("the agent speaks another version")
        if self._lifeline:
            self._give_back(self._greeted())
            if self._main >= 0:
                return
            first.arm()
        self._first = first  # kept: its destructor would swallow a signal handler's exception
        self._main, first.fd = first.fd, -1

    def _greeted(self) -> Connection:
        """A new connection of this process, which has joined."""
        connection = Connection(self._connect())
        connection.greet()
        self._connections.add(connection)
        return connection

    def close(self) -> None:
        """Disconnect; the regions must be detached. Only when no other thread uses this."""
        with self._lock:
            if self._main >= 0 and self._lifeline:
                lib.dsmproc_lifeline_off(self._main)
            self._drop_connections()
            self._forget()

    def _drop_connections(self) -> None:
        for connection in list(self._connections):
            connection.close()
        if self._main >= 0:
            os.close(self._main)
        if self._faults >= 0:
            lib.dsmproc_faults_close(self._faults)

    def _connection(self) -> Connection:
        """This thread's, until `_give_back`: a signal handler or a destructor that runs in the
        middle of a request, and makes one of its own, gets another."""
        if self._main < 0:
            self.open()
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is not None and connection.fd >= 0:
            self._local.connection = None
            return connection
        return self._new_connection()

    def _take_free(self) -> Connection:
        return self._free.pop() if self._free else self._new_connection()

    def _new_connection(self) -> Connection:
        self.open()
        return self._greeted()

    def _give_back(self, connection: Connection) -> None:
        if connection.fd >= 0 and connection in self._connections:  # not before a fork, or close()
            self._local.connection = connection

    def run(self, request: Any, timeout: float | None = None) -> int:
        """Send and wait: the status. An exception (Ctrl-C) ends the request, too: see
        dsmproc_request_end."""
        until = None if timeout is None else time.monotonic() + max(0.0, timeout)
        connection = self._connection()
        try:
            connection.send(request)
            if not connection.wait(request, until):
                connection.cancel(request)
            self._give_back(connection)
            return request.status  # type: ignore[no-any-return]
        except BaseException:
            connection.end(request)
            self._give_back(connection)
            raise

    def sleep(self, request: Any, begun: Callable[[], None], timeout: float | None = None) -> int:
        """The same for a SEM_SLEEP: `begun` is called when it is under way. It may make requests of
        its own, so this one has another connection."""
        until = None if timeout is None else time.monotonic() + max(0.0, timeout)
        connection = self._take_free()
        try:
            connection.send(request)
            connection.wait_begun(request)
            begun()
            if not connection.wait(request, until):
                connection.cancel(request)
            return request.status  # type: ignore[no-any-return]
        except BaseException:
            connection.end(request)
            raise
        finally:
            if connection.fd >= 0 and connection in self._connections:
                self._free.append(connection)

    def _ask(self, what: str, kind: int, id: int = 0, a: int = 0, **more: Any) -> int:
        request = new_request(kind, id, a, **more)
        if self.run(request):
            raise_status(request.status, request.value, what)
        return int(request.value)

    # -- consistency --

    @property
    def host(self) -> int:
        """The number of this host."""
        self.open()
        return int(lib.dsmproc_control_host(self._control))

    def publish(self) -> int:
        """Make all that this host has written visible to whoever observes the answer (a stamp)."""
        stamp = self.idle_stamp()
        return self._ask("publish", lib.DSMPROC_OP_PUBLISH) if stamp is None else stamp

    def begin_publish(self) -> Pending:
        """The same, for a loop that does not wait."""
        return Pending(self, "publish", lib.DSMPROC_OP_PUBLISH)

    def idle_stamp(self) -> int | None:
        """What publish would answer, if it has nothing to do; else None. Never waits."""
        self.open()
        stamp = ffi.new("uint64_t *")
        return int(stamp[0]) if lib.dsmproc_control_idle(self._control, stamp) else None

    def observe(self, stamp: int) -> None:
        """See at least what the publish with this stamp made visible."""
        self.open()
        if stamp > lib.dsmproc_control_seen(self._control):
            self._ask("observe", lib.DSMPROC_OP_OBSERVE, 0, stamp)

    def begin_observe(self, stamp: int) -> Pending:
        """The same, for a loop that does not wait."""
        return Pending(self, "observe", lib.DSMPROC_OP_OBSERVE, a=stamp)

    def begin_leave(self, others: Iterable[int]) -> Pending:
        """The agent's own: this host's pages move to the other hosts, which are all named."""
        bits = sum(1 << host for host in others)
        fields = {
            name: bits >> 64 * i & (1 << 64) - 1 for i, name in enumerate(("id", "a", "b", "c"))
        }
        return Pending(self, "leave", lib.DSMPROC_OP_LEAVE, **fields)

    def observe_newest(self) -> None:
        """See all that was published anywhere before this call."""
        self._ask("observe", lib.DSMPROC_OP_OBSERVE, 0, NEWEST)

    def out(self) -> int:
        """The stamp that goes into messages: all that this host has published or seen."""
        self.open()
        return int(lib.dsmproc_control_out(self._control))

    def seen(self) -> int:
        self.open()
        return int(lib.dsmproc_control_seen(self._control))

    # -- regions --

    def attach(self, region: int) -> memoryview:
        """The region's memory, all of its pages. It is detached when nothing refers to any."""
        with self._lock:
            self.detach_unused()
            known = self._regions.get(region)
            memory = known and known.memory()
            if known is None or memory is None:
                self.detach_unused()  # this one, if it was given up in this moment
                return self._map(region)
            if known.first is not None:
                raise RuntimeError("reentrant call: this memory is just being attached")
            return memoryview(ffi.buffer(memory, known.mapping.bytes))

    def _map(self, number: int) -> memoryview:
        region = _Region(number)
        try:
            self._regions[number] = region
            self._open_faults()
            self._attach(region)
            region.map(self._faults, self._unused.append)
            self._ask("attach", lib.DSMPROC_OP_MAPPED, number, region.mapping.address)
            view = memoryview(ffi.buffer(region.first, region.mapping.bytes))
            region.first = None
            return view
        except BaseException:
            region.first, view = None, memoryview(b"")  # tracebacks keep what frames have
            self._unused.append(region)
            raise

    def detach_unused(self) -> None:
        """Tell the agent of the regions to whose memory nothing refers any more."""
        while self._unused:
            with self._lock:
                entry = self._unused[0]
                self._detach(entry.region)
                with contextlib.suppress(ValueError):  # a destructor in the middle of this did it
                    self._unused.remove(entry)

    def _detach(self, region: _Region) -> None:
        if region.memory() is not None:
            return  # something has it still, and says so when it goes
        lib.dsmproc_region_unmap(region.mapping, ffi.NULL)
        number = region.attach.id
        if self._regions.get(number) is region:
            self._undo(region.attach)
            self._regions.pop(number, None)
        region.reference = None

    def _undo(self, request: Any) -> None:
        """What it was granted is given back."""
        connection = self._connection()
        connection.end(request)
        if connection.fd < 0:
            connection.fail()
        self._give_back(connection)

    def bind(self, buffer: Any, lock: int = 0, large: bool = False) -> None:
        """The bytes of this buffer, which lies in attached memory, are used under a lock: they
        travel with it. `lock` is its number, for models in which it matters (0: some lock, which
        another process names). `large`: its changes are, they go by pages. ValueError if the buffer
        lies elsewhere."""
        with ffi.from_buffer(buffer) as start:
            address, size = int(ffi.cast("uintptr_t", start)), len(start)
        with self._lock:
            region, offset = self._place(address, size)
        if size:
            first, last = offset // mmap.PAGESIZE, (offset + size - 1) // mmap.PAGESIZE
            page = region << 32 | first
            self._ask("bind", lib.DSMPROC_OP_BIND, page, last - first + 1, b=lock, c=int(large))

    def _place(self, address: int, size: int) -> tuple[int, int]:
        """The region in which these bytes lie, and where in it."""
        for region, known in self._regions.items():
            offset = address - known.mapping.address
            if known.mapping.address and 0 <= offset <= known.mapping.bytes - size:
                return region, offset
        raise ValueError("the buffer is not in the cluster's memory")

    def _open_faults(self) -> None:
        """Kept: if the agent dies, faults wait instead of reading zeros. The agent takes the end of
        the line for the end of this process, so what it may have is not closed."""
        if self._faults_shared:
            return
        mechanism, why = faults.choose(os.environ.get("DSMPROC_FAULTS"))
        if self._faults < 0:
            fd = lib.dsmproc_faults_open(mechanism)
            self._faults = check(fd, faults.NAMES[mechanism])
        if mechanism == faults.SEGV:
            faults.share_signal(why)
        request = new_request(lib.DSMPROC_OP_FAULTS, a=mechanism, descriptor=self._faults)
        has_it = (Status.SYSTEM, errno.EEXIST)  # we were interrupted when it was shared
        if self.run(request) and (request.status, request.value) != has_it:
            raise_status(request.status, request.value, "share faults")
        self._faults_shared = True

    def _attach(self, region: _Region) -> None:
        request = region.attach
        if self.run(request):
            why = f"no more shared memory on host {self.host}"
            raise_status(request.status, request.value, why)

    def _remap(self, number: int, region: _Region) -> None:
        """In a child: where the parent has it (the child inherited a hole). The agent knows it
        before it can be touched, by a signal's handler for instance."""
        region.attach = new_request(lib.DSMPROC_OP_ATTACH, number)
        self._attach(region)
        self._ask("attach", lib.DSMPROC_OP_MAPPED, number, region.mapping.address)
        remapped = lib.dsmproc_region_remap(self._faults, region.attach, region.mapping)
        check(remapped, "cannot map a region after fork")

    def after_fork(self) -> None:
        """In a child: nothing of the parent's is used any more, its regions are mapped again."""
        if self._pid == os.getpid():
            return
        self._drop_connections()
        self._forget()
        self._unused.clear()
        mapped = [(number, one, one.memory()) for number, one in self._regions.items()]
        self._regions = {number: one for number, one, memory in mapped if memory is not None}
        if self._regions:
            self._open_faults()
        for number, region in self._regions.items():
            self._remap(number, region)

    # -- locks and what is kept at the master --

    def new_id(self) -> int:
        """A number that no other object of the cluster has."""
        return self._ask("new id", lib.DSMPROC_OP_ID)

    def lock_open(self, id: int, recursive: bool = False) -> Lock:
        """The lock of this id; it is made free, with its token here, by the first to open it on
        the host where the id was made."""
        slot = self._ask("open a lock", lib.DSMPROC_OP_LOCK_OPEN, id)
        quick = new_quick(control=self._control, slot=slot, pid=self._pid, recursive=recursive)
        return Lock(id, slot, quick)

    def lock_acquire(self, lock: Lock, block: bool = True, timeout: float | None = None) -> bool:
        if self._main < 0:
            self.open()
        if quick_take(lock.quick):
            return True
        wait = block and (timeout is None or timeout > 0)
        request = new_request(lib.DSMPROC_OP_LOCK, lock.id, 0 if wait else 1, lock=lock.quick)
        status = self.run(request, timeout if wait else None)
        if status not in (Status.OK, Status.BUSY, Status.CANCELLED):
            raise_status(status, request.value, "acquire")
        return status == Status.OK

    def lock_release(self, lock: Lock) -> None:
        """By whoever: a lock has no owner, but for a recursive one."""
        if self._main < 0:
            self.open()
        given = quick_give(lock.quick)
        if given == GIVE_ASK:
            self._ask("release", lib.DSMPROC_OP_UNLOCK, lock.id, lock=lock.quick)
        elif given:
            raise_status(Status.TOO_OFTEN, 0, "release")

    def lock_held(self, lock: Lock) -> bool:
        """Held by a process of this host, as far as this host knows without asking."""
        self.open()
        word = int(lib.dsmproc_lock_word(self._control, lock.slot))
        return word & 3 >= lib.DSM_LOCK_HELD

    def lock_owner_died(self, lock: Lock) -> bool:
        """To be asked by who holds it: a holder died, and none has said since that what the lock
        guards is right."""
        self.open()
        return bool(lib.dsmproc_lock_owner_died(self._control, lock.slot))

    def lock_consistent(self, lock: Lock) -> None:
        """By who holds it: what it guards is right again."""
        self._ask("mark a lock consistent", lib.DSMPROC_OP_CONSISTENT, lock.id)

    def call(
        self,
        op: Call,
        id: int,
        a: int = 0,
        b: int = 0,
        c: int = 0,
        timeout: float | None = None,
        block: bool = True,
    ) -> tuple[int, int]:
        """An operation at the master. CANCELLED: the timeout. Raises only for lost hosts and
        nonsense."""
        if op == Call.SEM_ACQUIRE and (not block or (timeout is not None and timeout <= 0)):
            c, timeout = 1, None
        request = call_request(op, id, a, b, c)
        status = self.run(request, timeout)
        if status == Status.HOST_LOST or status >= Status.FULL:
            raise_status(status, request.value, op.name.lower())
        return status, request.value


@dataclass(frozen=True)
class Lock:
    """A lock as this host knows it: its id, its word's place in the control segment, and what this
    process has of it."""

    id: int
    slot: int
    quick: Any = field(compare=False)


def new_quick(**fields: Any) -> Any:
    """What a process has of a lock or a semaphore. For `quick_take` and `quick_give`: take is 0 if
    `lock_acquire` must be asked, give is GIVE_ASK if `lock_release` must be."""
    return ffi.new("struct dsmproc_quick *", fields)


def _forked(client: Client | None) -> None:
    if client is not None:
        with contextlib.suppress(ReferenceError):
            client.after_fork()
