"""The driver's side of a pool: one thread that gives tasks to workers and takes their answers.

Rules.
 1. A task (a chunk of a map, or one call) is not taken from its iterable yet, or in `_returned`, or
    with one worker: `Member.given`.
 2. Several tasks go to a worker at once only when tasks of their function have shown to be short,
    and only as many as keep it busy for some milliseconds. A worker that is silent for STALL has
    what it did not start taken back, by its agent (_pool/desks.py), and the function counts as
    slow: a task does not wait behind one that waits for it. It is given nothing more before it
    says something; one that finds that all it was given is gone says that it is ready.
 3. What comes back from a worker, alive or dead, was not started. What does not come back from a
    dead one was, or may have been: it fails with WorkerLostError and is never run twice.
 4. Answers that a worker sent before it died count.
 5. The tasks of a job are taken from their iterable when a worker wants them; imap also waits for
    its reader (`Flow.room`).
 6. A function's bytes go to a host once, and so does what tasks have in common. Another worker
    there is given tasks that need them only when the agent has said that it has them.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import logging
import os
import selectors
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.pool import IMapIterator, MapResult
from typing import Any

from .._memory import edges
from .._parcels.common import Calls, Sharer, Sharing
from ..errors import ClusterError, HostLostError, WorkerLostError
from .frames import DROP, FINISH, FORGET, READY, REFUSED, Packer, unpack_parcel
from .member import FRAME_BYTES, Blob, Function, Member, Record, Returned, Stored, Task, new_number
from .worker import describe_end, split

log = logging.getLogger("dsmproc")

FUNCTIONS = 64  # kept between jobs,
LARGE = 1 << 20  # if they have not more bytes than this
GATHER = 1.0  # seconds
LINGER = 0.001  # seconds; what is worth it is of some megabytes
FAILED_STARTS = 3  # workers in a row that died before they were ready: the pool gives up
STALL = 0.005  # seconds of silence of a worker that has tasks it may not have started
STALL_ALONE = 0.1  # of one that has a single task, which it started, if it can

Raw = tuple[int, int, Any, tuple[Any, ...], dict[str, Any]]


@dataclasses.dataclass
class Flow:
    """A job whose tasks are still being taken from their iterable."""

    tasks: Iterator[Raw]
    set_length: Callable[[int], None] | None
    result: Any = None  # of an imap: its reader sets the pace
    call: Raw | None = None  # it is a single one
    last: int = -1
    total: int = 1  # tasks, once one was taken

    def room(self, workers: int) -> int:
        """How many tasks may be taken now, as far as is known."""
        result = self.result
        if isinstance(result, IMapIterator):
            limit = getattr(result, "_limit", None) or 4 * workers
            read = result._index - len(result._items)  # type: ignore[attr-defined]
            return int(limit - (self.last + 1 - read))
        return max(1, self.total - 1 - self.last)  # 1: its end is to be seen


class Handler(threading.Thread):
    """Serves one pool until it is closed and empty, terminated, or broken."""

    def __init__(self, pool: Any, start: Callable[[int], Member], initial: list[Blob]) -> None:
        super().__init__(name="dsmproc-pool", daemon=True)
        self._cache: dict[int, Any] = pool._cache
        self._processes: int = pool._processes
        self._list: list[Any] = pool._pool  # the processes, for those who look at pool._pool
        self._number = new_number()
        self._start_member = start
        self._members: list[Member] = []
        self._flows: collections.deque[Flow] = collections.deque()
        self._returned: collections.deque[Task] = collections.deque()
        self._by_id: dict[int, Function] = {}
        self._functions: dict[bytes, Function] = {}  # by the digest of their pickles
        self._initial = initial  # what every worker needs first
        self._blobs: dict[int, Blob] = {}  # all that are in use, by number
        self._sharers: dict[int, Sharer] = {}  # by job
        self._calls = Calls()
        self._packer = Packer()
        self._failed_starts = 0
        self._gather_until = time.monotonic() + GATHER  # 0: that is over
        self._lock = threading.Lock()
        self._new: list[Flow] = []  # under the lock, like the next two
        self._closing = False
        self._terminating = False
        self._error: BaseException | None = None  # why the pool is of no use any more
        self._poked = False  # it will look for new jobs
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_w, False)
        os.set_blocking(self._wake_r, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_r, selectors.EVENT_READ)

    # -- called by the pool's users -----------------------------------------------------------

    def put(self, item: tuple[Iterator[Raw], Callable[[int], None] | None]) -> None:
        """A new job: what the standard Pool puts into its task queue."""
        tasks, set_length = item
        result = getattr(set_length, "__self__", None)
        call = tasks[0] if isinstance(tasks, list) else None
        with self._lock:
            self._new.append(Flow(iter(tasks), set_length, result, call))
        if not self._poked:
            self._poked = True
            try:
                self.poke()
            except BaseException:  # a signal handler's, and others rely on it now
                self.poke()
                raise

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
        except ClusterError as error:  # there is no cluster any more: whoever waits is told
            self._error = error
        except BaseException as error:  # a bug of ours: nobody may wait for ever
            log.exception("the pool's handler failed")
            self._error = error
        finally:
            self._end()

    def _turn(self) -> bool:
        if self._take_new():  # a loop that submits the same again is a moment behind
            time.sleep(LINGER)
            self._take_new()
        with self._lock:
            closing, terminating = self._closing, self._terminating
        if terminating or self._error is not None:
            return False
        self._give_out()  # which finds out that a job has no more tasks
        if closing and not (self._flows or self._new or self._returned or self._is_busy()):
            return False  # a result without tasks is of a call that was interrupted
        self._repopulate()
        if self._error is not None:
            return False
        self._give_initial()
        self._drop_shared()
        if not (self._flows or self._is_busy()):
            self._forget_functions()
        self._listen()
        return True

    def _is_busy(self) -> bool:
        return any(member.given for member in self._members)

    def _take_new(self) -> bool:
        """The new jobs; is there a call whose large argument no other call names yet?"""
        with self._lock:
            new, self._new = self._new, []
        self._flows.extend(new)
        calls = [flow.call for flow in new if flow.call is not None]
        return any([self._calls.expect(job, (*a, *k.values())) for job, _, _, a, k in calls])

    def _repopulate(self) -> None:
        while len(self._members) < self._processes and self._error is None:
            try:
                self.add(self._start_member(self._number))
            except HostLostError as error:  # the next one is placed on another host
                self._failed_start(error)
            except OSError as error:  # e.g. out of descriptors
                self._error = error

    def _failed_start(self, reason: BaseException) -> None:
        self._failed_starts += 1
        if self._failed_starts >= FAILED_STARTS:
            self._error = reason

    def start_all(self) -> None:
        """The first workers, before this thread is one."""
        for _ in range(self._processes):
            self.add(self._start_member(self._number))
        self._gather_until = time.monotonic() + GATHER

    def add(self, member: Member) -> None:
        self._members.append(member)
        self._list.append(member.process)
        self._selector.register(member, selectors.EVENT_READ, member)
        self._selector.register(member.process.sentinel, selectors.EVENT_READ, member)

    def _listen(self) -> None:
        for one in self._members:
            self._watch(one)
        for key, events in self._selector.select(self._recall_silent()):
            member: Member | None = key.data
            if member is None:
                os.read(self._wake_r, 4096)
                self._poked = False
            elif key.fileobj is not member:
                self._exited(member)
            else:
                if events & selectors.EVENT_WRITE:
                    member.flush()
                if events & selectors.EVENT_READ and not member.ended:
                    self._hear(member)
        for member in [m for m in self._members if m.exited and m.ended]:
            self._bury(member)

    def _watch(self, member: Member) -> None:
        """Also for room in its socket, if something waits for that."""
        if member.ended or member.blocked == member.watched:
            return
        member.watched = member.blocked
        wish = selectors.EVENT_READ | (selectors.EVENT_WRITE if member.watched else 0)
        self._selector.modify(member, wish, member)

    def _recall_silent(self) -> float | None:
        """Rule 2; seconds until somebody is silent for too long."""
        now = time.monotonic()
        soonest = max(0.0, self._gather_until - now) + 0.001 if self._gather_until else None
        for member in self._members:
            if not member.given or member.asked or member.ended or member.exited:
                continue
            patience = STALL if len(member.given) > 1 else STALL_ALONE
            left = member.heard_at + patience - now
            if left <= 0:
                for task in member.given.values():
                    task.function.pace.stalled()
                member.recall()
            elif soonest is None or left < soonest:
                soonest = left
        return soonest

    # -- giving -------------------------------------------------------------------------------

    def _give_out(self) -> None:
        """Tasks for each worker that wants some, as long as there are any."""
        if not self._gathered():
            return
        for member in self._members:
            while member.room(1) and (first := self._next_task()) is not None:
                room = member.room(self._share(first.function.pace.size))
                needs = (first.function, *first.shared)
                if not room or not all(self._have(member, blob) for blob in needs):
                    self._returned.appendleft(first)
                    break
                member.give(self._more_like(first, room))

    def _gathered(self) -> bool:
        """The first tasks wait a moment for all workers, or the first one would have them all."""
        if self._gather_until and (
            time.monotonic() > self._gather_until
            or all(m.ready or m.ended or m.exited for m in self._members)
        ):
            self._gather_until = 0.0
        return not self._gather_until

    def _share(self, size: int) -> int:
        """Of `size` tasks, what leaves something for the other workers."""
        there = len(self._returned) + len(self._flows)
        if self._flows:
            there += max(0, self._flows[0].room(self._processes) - 1)
        return max(1, min(size, -(-there // (2 * self._processes))))

    def _more_like(self, first: Task, room: int) -> list[Task]:
        """It and up to room - 1 tasks of its function; a large one goes alone."""
        tasks, size = [first], first.parcel.size
        while len(tasks) < room and size < FRAME_BYTES:
            task = self._next_task()
            if task is None:
                break
            size += task.parcel.size
            alike = task.function is first.function and task.shared == first.shared
            if not alike or size > FRAME_BYTES:
                self._returned.appendleft(task)
                break
            tasks.append(task)
        return tasks

    def _have(self, member: Member, blob: Blob) -> bool:
        """Rule 6: whether the member's host has it, or gets it from here now."""
        if member.host in blob.stored or blob.shipping.get(member.host) is member:
            return True
        if member.host in blob.shipping:
            return False
        blob.shipping[member.host] = member
        self._blobs[blob.number] = blob
        member.give_blob(blob)
        return True

    def _give_initial(self) -> None:
        for member in self._members:
            if not (member.ready or member.ended or member.exited):
                for blob in self._initial:
                    self._have(member, blob)

    def _next_task(self) -> Task | None:
        while self._returned:
            task = self._returned.popleft()
            if task.job in self._cache:
                return task
        for _ in range(len(self._flows)):
            flow = self._flows[0]
            if flow.room(self._processes) <= 0:
                self._flows.rotate(-1)
                continue
            found = self._from_flow(flow)
            if found is not None:
                return found
        return None

    def _from_flow(self, flow: Flow) -> Task | None:
        """Its next task; None and the flow is done when there is none."""
        for job, part, function, args, kwds in flow.tasks:
            result = self._cache.get(job)
            if result is None:
                break  # nobody waits for it any more
            if flow.last < 0:
                flow.total = getattr(result, "_number_left", 1)
            flow.last = part
            packer = self._packer
            if isinstance(function, Sharing):
                packer = self._sharers[job] = function.sharer
                function = function.helper
            try:
                kind, inner, arguments = split(function, args)
                if packer is self._packer and self._has_shared(flow, job, kind, arguments, kwds):
                    packer = self._calls
                function = self._pickled(inner)
                parcel = packer.pack((kind, arguments, kwds))
                return Task(job, part, function, parcel, packer.used)
            except Exception as error:
                result._set(part, (False, error))
        if flow.set_length is not None:
            flow.set_length(flow.last + 1)
        self._flows.popleft()
        return None

    def _has_shared(self, flow: Flow, job: int, kind: str, args: Any, kwds: Any) -> bool:
        if flow.call is None and not isinstance(flow.result, IMapIterator):
            return False  # a map has looked for itself
        values = (*args, *kwds.values())
        if flow.call is None:
            self._calls.expect(job, values)
        return self._calls.has(job, values)

    def _pickled(self, value: Any) -> Function:
        """Made once for a function object, and sent once for its content."""
        function = self._by_id.get(id(value))
        if function is None:
            parcel = self._packer.pack(value)
            parcel.keep()
            digest = hashlib.sha256(b"".join(parcel.pieces)).digest()
            function = self._functions.get(digest)
            if function is None:
                function = self._functions[digest] = Function(value, digest, parcel)
            else:
                function.values.append(value)
            self._by_id[id(value)] = function
        return function

    def _forget_functions(self) -> None:
        """Nothing is to be done: the largest and the oldest functions need not be kept anywhere."""
        old = list(self._functions.values())[:-FUNCTIONS]
        large = [one for one in self._functions.values() if one.parcel.size > LARGE]
        for function in {*old, *large}:
            del self._functions[function.digest]
            for value in function.values:
                del self._by_id[id(value)]
            self._give_up(function, FORGET)

    def _drop_shared(self) -> None:
        """What the tasks of a job had in common, once nobody waits for them."""
        for job in [job for job in self._sharers if job not in self._cache]:
            for blob in self._sharers.pop(job).blobs.values():
                self._give_up(blob, DROP)
        for job in [job for job in self._calls.jobs() if job not in self._cache]:
            for blob in self._calls.done(job):
                self._give_up(blob, DROP)

    def _give_up(self, blob: Blob, order: int) -> None:
        """No host needs it any more."""
        self._blobs.pop(blob.number, None)
        hosts = {*blob.stored, *blob.shipping}
        for member in self._members:
            host = member.host
            if host in hosts and blob.shipping.get(host, member) is member and not member.ended:
                member.say(order, blob.number)
                hosts.remove(host)

    # -- hearing ------------------------------------------------------------------------------

    def _hear(self, member: Member) -> None:
        for message in member.hear():
            if isinstance(message, Record):
                self._record(member, message)
            elif isinstance(message, Returned):
                self._take_back(member, message)
            elif isinstance(message, Stored):
                self._stored(member, message.number)

    def _stored(self, member: Member, number: int) -> None:
        blob = self._blobs.get(number)
        if blob is not None:
            blob.shipping.pop(member.host, None)
            blob.stored.add(member.host)

    def _record(self, member: Member, record: Record) -> None:
        if record.stamp:
            edges.observe(record.stamp)
        if record.kind == READY:
            member.ready = True
            self._failed_starts = 0
        elif record.kind == REFUSED:
            self._error = unpack_parcel(record.body)[1]
        else:
            self._answer(member, record)

    def _answer(self, member: Member, record: Record) -> None:
        task = member.answered(record.token)
        if task is None:
            return
        task.function.pace.heard(record.spent)
        if task.last:
            task.function.pace.frame_done()
        if member.left == 0 and not member.given:
            member.dismissed = True  # it ends by itself now
        if task.job in self._cache:
            self._set(task, *_outcome(record.body))

    def _set(self, task: Task, good: bool, value: Any) -> None:
        result = self._cache.get(task.job)
        if result is not None:
            result._set(task.part, (good, value))

    def _take_back(self, member: Member, message: Returned) -> None:
        """Rule 3."""
        tasks = [task for token in message.tokens if (task := member.answered(token))]
        if member.left is not None:
            member.left += len(tasks)
        self._returned = collections.deque(
            sorted([*self._returned, *tasks], key=lambda task: task.order)
        )
        if message.ended:
            member.ended = True
            self._selector.unregister(member)
        else:
            member.recalled = False

    # -- ends ---------------------------------------------------------------------------------

    def _exited(self, member: Member) -> None:
        """Its process has. What its agent has of it comes still; if that is lost too, what has
        come."""
        member.exited = True
        self._selector.unregister(member.process.sentinel)
        member.process.is_alive()  # looks
        if member.process._popen.lost:
            while not member.ended and member.said_something():
                self._hear(member)
            if not member.ended:
                self._take_back(member, Returned([], True))
        elif not member.ended:
            member.say(FINISH)

    def _bury(self, member: Member) -> None:
        reason = self._reason(member)
        if not member.ready and self._error is None:
            self._failed_start(reason)
        self._members.remove(member)
        self._list.remove(member.process)
        member.close()
        others = [m for m in self._members if m.host == member.host and m.ready and not m.ended]
        for blob in self._blobs.values():
            if blob.shipping.get(member.host) is member:
                del blob.shipping[member.host]
            if not others:  # the agent keeps nothing for a pool that has no desk there
                blob.stored.discard(member.host)
        for task in member.given.values():
            self._set(task, False, reason)

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
                with contextlib.suppress(HostLostError, OSError):  # it is gone
                    member.process.terminate()
            elif not member.dismissed:
                member.let_go()
        self._fail_all(self._error or WorkerLostError("the pool was terminated"))
        for member in self._members:
            self._reason(member)  # joins
            member.close()
        self._selector.close()
        with self._lock:
            wake, self._wake_w = self._wake_w, -1
        os.close(wake)
        os.close(self._wake_r)

    def _fail_all(self, error: BaseException) -> None:
        for flow in [*self._flows, *self._new]:
            if isinstance(flow.result, IMapIterator) and flow.set_length is not None:
                flow.result._set(flow.last + 1, (False, error))  # type: ignore[attr-defined]
                flow.set_length(flow.last + 2)
        for result in list(self._cache.values()):
            parts = getattr(result, "_number_left", int(not isinstance(result, MapResult)))
            while parts > 0 and result._job in self._cache:
                result._set(0, (False, error))
                parts -= 1

    def failure(self) -> BaseException | None:
        """Why nothing can be submitted any more, if something broke the pool."""
        return self._error


def _outcome(body: memoryview) -> tuple[bool, Any]:
    try:
        good, value = unpack_parcel(body)
        return good, value
    except Exception as error:
        text = f"a result came that cannot be unpickled: {type(error).__name__}: {error}"
        return False, RuntimeError(text)
