"""The driver's side of a pool: one thread that gives batches to workers and takes their answers.

Rules.
 1. A batch is either not taken from its iterable yet, or with one worker: `Member.given`.
 2. A worker is given a batch when it has none. Sending the next one ahead would save a round trip,
    and would hang programs whose tasks wait for each other: a task must never queue up behind one
    that waits while another worker is idle.
 3. When a worker dies, its batch is taken as started: it fails with WorkerLostError and is never
    run twice.
 4. Answers that a worker sent before it died count.
 5. The tasks of a job are taken from their iterable one at a time, when a worker wants one; imap
    also waits for its reader (`Flow.limit`).
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from multiprocessing import connection
from multiprocessing.pool import IMapIterator
from typing import Any

from . import _pickle
from ._poolworker import READY, Answer, Batch, describe_end, split
from .errors import HostLostError, WorkerLostError

log = logging.getLogger("dsmproc")

FUNCTIONS = 64  # pickled functions kept
FAILED_STARTS = 3  # workers in a row that died before they were ready: the pool gives up

Task = tuple[int, int, Any, tuple[Any, ...], dict[str, Any]]


@dataclasses.dataclass
class Member:
    """A worker of the pool."""

    process: Any
    channel: Any
    left: int | None  # batches that it may still be given (maxtasksperchild)
    ready: bool = False
    dismissed: bool = False
    given: Batch | None = None
    functions: set[bytes] = dataclasses.field(default_factory=set)

    @property
    def host(self) -> int:
        return getattr(self.process._popen, "host", 0)

    def where(self) -> str:
        return f"host {self.host}, pid {self.process.pid}"

    def wants(self) -> bool:
        return self.ready and not self.dismissed and self.given is None and self.left != 0


@dataclasses.dataclass
class Flow:
    """A job whose tasks are still being taken from their iterable."""

    tasks: Iterator[Task]
    set_length: Callable[[int], None] | None
    result: Any = None  # of an imap: its reader sets the pace
    last: int = -1

    def may_go_on(self, limit: int) -> bool:
        result = self.result
        if not isinstance(result, IMapIterator):
            return True
        read = result._index - len(result._items)  # type: ignore[attr-defined]
        return self.last + 1 - read < limit


class Handler(threading.Thread):
    """Serves one pool until it is closed and empty, terminated, or broken."""

    def __init__(self, pool: Any, start: Callable[[], Member]) -> None:
        super().__init__(name="dsmproc-pool", daemon=True)
        self._cache: dict[int, Any] = pool._cache
        self._processes: int = pool._processes
        self._list: list[Any] = pool._pool  # the processes, for those who look at pool._pool
        self._start_member = start
        self._members: list[Member] = []
        self._flows: collections.deque[Flow] = collections.deque()
        self._functions: collections.OrderedDict[int, tuple[Any, bytes, bytes]] = (
            collections.OrderedDict()
        )
        self._failed_starts = 0
        self._lock = threading.Lock()
        self._new: list[Flow] = []  # under the lock, like the next two
        self._closing = False
        self._terminating = False
        self._error: BaseException | None = None  # why the pool is of no use any more
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_w, False)

    # -- called by the pool's users -----------------------------------------------------------

    def put(self, item: tuple[Iterator[Task], Callable[[int], None] | None]) -> None:
        """A new job: what the standard Pool puts into its task queue."""
        tasks, set_length = item
        result = getattr(set_length, "__self__", None)
        with self._lock:
            self._new.append(Flow(iter(tasks), set_length, result))
        self.poke()

    def poke(self) -> None:
        """Look again: something changed."""
        try:
            os.write(self._wake_w, b"x")
        except (BlockingIOError, OSError):
            return  # it is awake already, or it has ended

    def close(self) -> None:
        with self._lock:
            self._closing = True
        self.poke()

    def terminate(self) -> None:
        with self._lock:
            self._closing = self._terminating = True
        self.poke()

    # -- the thread ---------------------------------------------------------------------------

    def run(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:  # a bug of ours: nobody may wait for ever
            log.exception("the pool's handler failed")
            self._error = error
        finally:
            self._end()

    def _turn(self) -> bool:
        with self._lock:
            self._flows.extend(self._new)
            self._new.clear()
            closing, terminating = self._closing, self._terminating
        if terminating or self._error is not None:
            return False
        self._give_out()  # which finds out that a job has no more tasks
        if closing and not self._cache and not self._flows:
            return False
        self._repopulate()
        self._listen()
        return True

    def _repopulate(self) -> None:
        while len(self._members) < self._processes:
            self.add(self._start_member())

    def add(self, member: Member) -> None:
        self._members.append(member)
        self._list.append(member.process)

    def _listen(self) -> None:
        channels = {m.channel: m for m in self._members}
        sentinels = {m.process.sentinel: m for m in self._members}
        for thing in connection.wait([self._wake_r, *channels, *sentinels]):
            if thing == self._wake_r:
                os.read(self._wake_r, 4096)
            elif thing in channels:
                self._hear(channels[thing])
            else:
                self._bury(sentinels[thing])  # type: ignore[index]

    # -- giving -------------------------------------------------------------------------------

    def _give_out(self) -> None:
        """A batch to each worker that has none."""
        for member in self._members:
            if not member.wants():
                continue
            batch = self._next_batch()
            if batch is None:
                return
            self._give(member, batch)

    def _give(self, member: Member, batch: Batch) -> None:
        known = batch.digest in member.functions
        sent = dataclasses.replace(batch, function=None) if known else batch
        member.given = batch
        member.functions.add(batch.digest)
        if member.left is not None:
            member.left -= 1
        try:
            member.channel.send_bytes(_pickle.dumps(sent))
        except OSError:
            return  # it died: its sentinel tells, and its batches are taken care of then

    def _next_batch(self) -> Batch | None:
        for _ in range(len(self._flows)):
            flow = self._flows[0]
            if not flow.may_go_on(4 * self._processes):
                self._flows.rotate(-1)
                continue
            batch = self._from_flow(flow)
            if batch is not None:
                return batch
        return None

    def _from_flow(self, flow: Flow) -> Batch | None:
        """Its next batch; None and the flow is done when there is none."""
        for job, part, function, args, kwds in flow.tasks:
            flow.last = part
            if job not in self._cache:
                break  # nobody waits for it any more
            try:
                kind, inner, arguments = split(function, args)
                digest, pickled = self._pickled(inner)
                return Batch(job, part, digest, pickled, _pickle.dumps((kind, arguments, kwds)))
            except Exception as error:
                self._cache[job]._set(part, (False, error))
        if flow.set_length is not None:
            flow.set_length(flow.last + 1)
        self._flows.popleft()
        return None

    def _pickled(self, function: Any) -> tuple[bytes, bytes]:
        """Digest and bytes, made once for a function object."""
        entry = self._functions.get(id(function))
        if entry is None:
            data = _pickle.dumps(function)
            entry = (function, hashlib.sha256(data).digest(), data)
            self._functions[id(function)] = entry
            if len(self._functions) > FUNCTIONS:
                self._functions.popitem(last=False)
        return entry[1], entry[2]

    # -- hearing ------------------------------------------------------------------------------

    def _hear(self, member: Member) -> bool:
        """One message of a worker; False: there is none (any more)."""
        try:
            if not member.channel.poll(0):
                return False
            message = _pickle.loads(member.channel.recv_bytes())
        except (EOFError, OSError):
            return False
        if isinstance(message, Answer):
            member.given = None
            self._settle(message.job, message.part, message.outcome)
            if member.left == 0:
                member.dismissed = True  # it ends by itself now
        elif message == READY:
            member.ready = True
            self._failed_starts = 0
        else:
            self._error = message[1]
        return True

    def _settle(self, job: int, part: int, outcome: bytes) -> None:
        try:
            good, value = _pickle.loads(outcome)
        except Exception as error:
            text = f"a result came that cannot be unpickled: {type(error).__name__}: {error}"
            good, value = False, RuntimeError(text)
        self._set(job, part, good, value)

    def _set(self, job: int, part: int, good: bool, value: Any) -> None:
        result = self._cache.get(job)
        if result is not None:
            result._set(part, (good, value))

    # -- ends ---------------------------------------------------------------------------------

    def _bury(self, member: Member) -> None:
        """A worker has ended: rule 4, then rule 3."""
        while self._hear(member):
            pass
        reason = self._reason(member)
        if not member.ready and self._error is None:
            self._failed_starts += 1
        self._members.remove(member)
        self._list.remove(member.process)
        member.channel.close()
        if member.given is not None:
            self._set(member.given.job, member.given.part, False, reason)
        if self._failed_starts >= FAILED_STARTS:
            self._error = reason

    def _reason(self, member: Member) -> WorkerLostError:
        pid, host = member.process.pid, member.host
        try:
            member.process.join()
        except HostLostError as error:
            return WorkerLostError(f"a pool worker was lost: {error}", host, pid)
        code = member.process.exitcode
        text = f"a pool worker ({member.where()}) {describe_end(code)} before its task was done"
        return WorkerLostError(text, host, pid, code)

    def _end(self) -> None:
        """Let the workers go (or end them), and leave nobody waiting."""
        with self._lock:
            terminating = self._terminating or self._error is not None
        for member in self._members:
            if terminating:
                member.process.terminate()
            elif not member.dismissed:
                try:
                    member.channel.send_bytes(_pickle.dumps(None))
                except OSError:
                    continue  # it is gone already
        self._fail_all(self._error or WorkerLostError("the pool was terminated"))
        for member in self._members:
            self._reason(member)  # joins
            member.channel.close()
        with self._lock:
            wake, self._wake_w = self._wake_w, -1
        os.close(wake)
        os.close(self._wake_r)

    def _fail_all(self, error: BaseException) -> None:
        for flow in [*self._flows, *self._new]:
            if flow.result is not None and flow.set_length is not None:
                flow.result._set(flow.last + 1, (False, error))
                flow.set_length(flow.last + 2)
        for result in list(self._cache.values()):
            parts = getattr(result, "_number_left", 1)
            while parts > 0 and result._job in self._cache:
                result._set(0, (False, error))
                parts -= 1

    def failure(self) -> BaseException | None:
        """Why nothing can be submitted any more, if something broke the pool."""
        return self._error
