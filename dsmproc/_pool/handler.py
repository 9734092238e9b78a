"""The driver's side of a pool: one thread that gives tasks to workers and takes their answers.

Rules.
 1. A task (a chunk of a map, or one call) is in the queue (queue.py), not taken from its iterable
    yet or given back; or it is with one worker: `Member.given`.
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

import contextlib
import logging
import os
import selectors
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from .._memory import edges
from .._parcels.parcel import Blob, unpack_parcel
from ..errors import ClusterError, HostLostError, WorkerLostError
from .frames import DROP, FINISH, FORGET, READY, REFUSED
from .member import Blobs, Member, Record, Returned, Stored, new_number
from .queue import Flow, Raw, TaskQueue
from .worker import describe_end

log = logging.getLogger("dsmproc")

GATHER = 1.0  # seconds
LINGER = 0.001  # seconds; what is worth it is of some megabytes
FAILED_STARTS = 3  # workers in a row that died before they were ready: the pool gives up


class Handler(threading.Thread):
    """Serves one pool until it is closed and empty, terminated, or broken."""

    def __init__(self, pool: Any, start: Callable[[int], Member], initial: list[Blob]) -> None:
        super().__init__(name="dsmproc-pool", daemon=True)
        self._processes: int = pool._processes
        self._list: list[Any] = pool._pool  # the processes, for those who look at pool._pool
        self._number = new_number()
        self._start_member = start
        self._members: list[Member] = []
        self._tasks = TaskQueue(pool._cache, pool._processes)
        self._initial = initial  # what every worker needs first
        self._blobs = Blobs()
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
        if closing and not (self._tasks or self._new or self._is_busy()):
            return False  # a result without tasks is of a call that was interrupted
        self._repopulate()
        if self._error is not None:
            return False
        self._give_initial()
        for blob in self._tasks.unshared():
            self._blobs.give_up(blob, DROP, self._members)
        if not (self._tasks.flows or self._is_busy()):
            for function in self._tasks.old_functions():
                self._blobs.give_up(function, FORGET, self._members)
        self._listen()
        return True

    def _is_busy(self) -> bool:
        return any(member.given for member in self._members)

    def _take_new(self) -> bool:
        """The new jobs; is there a call whose large argument no other call names yet?"""
        with self._lock:
            new, self._new = self._new, []
        return self._tasks.add(new)

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
            left = member.patience(now)
            if left is not None and left <= 0:
                member.recall()
            elif left is not None and (soonest is None or left < soonest):
                soonest = left
        return soonest

    # -- giving -------------------------------------------------------------------------------

    def _give_out(self) -> None:
        """Tasks for each worker that wants some, as long as there are any."""
        if not self._gathered():
            return
        for member in self._members:
            while member.room(1) and (first := self._tasks.next()) is not None:
                room = member.room(self._tasks.share(first.function.pace.size))
                needs = (first.function, *first.shared)
                if not room or not all(self._blobs.have(member, blob) for blob in needs):
                    self._tasks.put_back(first)
                    break
                member.give(self._tasks.more_like(first, room))

    def _gathered(self) -> bool:
        """The first tasks wait a moment for all workers, or the first one would have them all."""
        if self._gather_until and (
            time.monotonic() > self._gather_until
            or all(m.ready or m.ended or m.exited for m in self._members)
        ):
            self._gather_until = 0.0
        return not self._gather_until

    def _give_initial(self) -> None:
        for member in self._members:
            if not (member.ready or member.ended or member.exited):
                for blob in self._initial:
                    self._blobs.have(member, blob)

    # -- hearing ------------------------------------------------------------------------------

    def _hear(self, member: Member) -> None:
        for message in member.hear():
            if isinstance(message, Record):
                self._record(member, message)
            elif isinstance(message, Returned):
                self._take_back(member, message)
            elif isinstance(message, Stored):
                self._blobs.stored(member, message.number)

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
        task = member.answered(record)
        if task is not None and self._tasks.wanted(task):
            self._tasks.set(task, *_outcome(record.body))

    def _take_back(self, member: Member, message: Returned) -> None:
        """Rule 3."""
        self._tasks.give_back(member.returned(message.tokens))
        if message.ended:
            member.ended = True
            self._selector.unregister(member)
        else:
            member.recalled = False

    # -- ends ---------------------------------------------------------------------------------

    def _exited(self, member: Member) -> None:
        """Its process has ended. What its agent has of it comes still; if that is lost too, what
        has come."""
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
        self._blobs.gone(member, last=not others)
        for task in member.given.values():
            self._tasks.set(task, False, reason)

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
        self._tasks.fail_all(self._error or WorkerLostError("the pool was terminated"), self._new)
        for member in self._members:
            self._reason(member)  # joins
            member.close()
        self._selector.close()
        with self._lock:
            wake, self._wake_w = self._wake_w, -1
        os.close(wake)
        os.close(self._wake_r)

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
