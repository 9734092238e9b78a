"""Queues between the processes of a cluster, with the standard signatures and exceptions.

A queue lives in the broker of its maker's host (_channels/broker.py), which gives each message to
one getter. Differences from the standard library's, all of them towards what one would expect:

 1. put pickles and sends in the caller. There is no feeder thread, because a thread of Python
    could stand still in a page fault that holds the interpreter; so put raises what pickling
    raises, and what was put is not lost when the process ends: join_thread has nothing to do.
 2. A getter that is killed while it waits takes no message with it and holds no lock.
 3. A process sees what it put itself at once.
 4. Who waits for a lost host is told, each process once for each such host (docs/failures.md).
"""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import context, queues
from queue import Empty, Full
from typing import Any

from . import _std
from ._channels import client, frames, handles
from ._channels.client import Link, TimedOut, at_the_end
from ._std import pickling
from ._std.choice import Choosing
from .connection import LinkConnection, Pipe
from .errors import HostLostError

__all__ = ["Empty", "Full", "JoinableQueue", "Queue", "SimpleQueue"]

LARGE = 1 << 16  # bytes; a put of more waits until the broker has it, so that memory is bounded
__getattr__ = _std.names_of("queues")
BOTH = frames.READER | frames.WRITER


class Queue(queues.Queue, metaclass=Choosing):  # type: ignore[type-arg]
    """A queue of at most `maxsize` objects, without bound if that is not positive."""

    _standard = queues.Queue
    _options = 0

    def __init__(self, maxsize: int = 0, *, ctx: Any = None) -> None:
        maxsize = max(0, maxsize)
        self._open(Link(role=BOTH, options=self._options, count=maxsize), maxsize)

    def _open(self, link: Link, maxsize: int) -> None:
        self._maxsize = maxsize
        self._closed = False
        self._link = link  # holds the queue; one-way puts go through it in their order
        self._spare: list[Link] = []  # for everything else: a thread takes one and gives it back
        self._used = False  # something was put by this process
        self._unsent = False  # puts were sent that the broker need not have read yet
        self._poller: LinkConnection | None = None

    # -- as it travels ------------------------------------------------------------------------

    def __getstate__(self) -> Any:
        context.assert_spawning(self)
        self._check()
        return handles.handle(self._link), self._maxsize

    def __setstate__(self, state: Any) -> None:
        handle, maxsize = state
        self._open(handles.redeem(handle), maxsize)

    def __del__(self, at_the_end: Callable[[], bool] = at_the_end) -> None:
        if hasattr(self, "_link") and not at_the_end():
            self._close_links(quietly=True)

    # -- links --------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")

    def _ask(self, kind: int, **options: Any) -> Any:
        """A request on a link of its own; GET gives a message's bytes."""
        if self._unsent:
            self._unsent = False  # before: another thread may send meanwhile
            try:
                self._link.request(frames.SYNC)
            except BaseException:
                self._unsent = True
                raise
        try:
            link = self._spare.pop()
        except IndexError:
            link = Link(self._link.owner, self._link.channel, BOTH, told=self._link.told)
        link.learn(self._link.told)
        try:
            if kind == frames.GET:
                return link.get(**options)
            return link.request(kind, **options)
        except HostLostError:
            self._learn(link.told)
            raise
        finally:
            if self._closed and self._used:
                link.close(quietly=True)
            else:
                self._spare.append(link)

    def _learn(self, told: int) -> None:
        """Each loss is told to a process once: to those of its threads that wait then."""
        self._link.told = max(told, self._link.told)  # never reads, but travels
        if self._poller is not None and self._poller._reader is not None:
            self._poller._reader.learn(told)

    def _release_stamp(self) -> int:
        return self._link.stamp()

    # -- put and get --------------------------------------------------------------------------

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an object; Full if there is no room (in time)."""
        self._check()
        try:
            with handles.carrying() as places:
                data = pickling.dumps(obj)
        except Exception as error:
            report: Any = self._on_queue_feeder_error  # type: ignore[attr-defined]
            if report is queues.Queue._on_queue_feeder_error:  # type: ignore[attr-defined]
                raise
            report(error, obj)  # a derived class wants to deal with it
            return
        self._used = True
        if self._maxsize == 0 and not places and len(data) < LARGE:
            self._unsent = True
            self._link.send(data)
            return
        body = b"".join(place.pack() for place in places) + data
        flags = 0 if block else frames.NOWAIT
        if block and timeout is not None and timeout <= 0:
            flags, timeout = frames.NOWAIT, None
        try:
            reply = self._ask(
                frames.PUT,
                body=body,
                flags=flags,
                stamp=self._release_stamp(),
                tickets=len(places),
                timeout=timeout if block else None,
            )
        except TimedOut:
            raise Full from None
        if reply.kind == frames.FULL:
            raise Full

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The next object; Empty if there is none (in time)."""
        self._check()
        flags = 0 if block else frames.NOWAIT
        if not block or (timeout is not None and timeout <= 0):
            flags, timeout = frames.NOWAIT, None
        stamp = self._release_stamp() if self._maxsize else 0
        try:
            found = self._ask(
                frames.GET, convert=pickling.loads, flags=flags, timeout=timeout, stamp=stamp
            )
        except TimedOut:
            raise Empty from None
        if found is client.EMPTY:
            raise Empty
        return found

    # -- looking ------------------------------------------------------------------------------

    def _state(self) -> frames.State:
        if self._closed and self._used:
            raise OSError("handle is closed")
        return frames.unpack_state(self._ask(frames.STATE).body)

    def qsize(self) -> int:
        return self._state().waiting

    def empty(self) -> bool:
        state = self._state()
        return state.waiting == 0 and not state.lost

    def full(self) -> bool:
        return 0 < self._maxsize <= self._state().waiting

    @property
    def _reader(self) -> LinkConnection:
        """The descriptor that some programs wait for, as in the standard class."""
        self._check()
        if self._poller is None:
            options = frames.TOKENS
            self._poller = LinkConnection(
                Link(
                    self._link.owner,
                    self._link.channel,
                    BOTH,
                    options=options,
                    told=self._link.told,
                ),
                None,
            )
        return self._poller

    # -- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """This process puts and gets no more. As ever, it may still look at a queue into which it
        has put nothing."""
        self._closed = True
        if self._used:
            self._close_links(quietly=False)

    def _close_links(self, quietly: bool) -> None:
        for link in [self._link, *self._spare]:
            link.close(quietly)
        self._spare.clear()
        if self._poller is not None:
            self._poller.close()

    def join_thread(self) -> None:
        """There is no thread: what was put is on its way."""
        assert self._closed, f"Queue {self!r} not closed"

    def cancel_join_thread(self) -> None:
        """There is no thread."""

    def __repr__(self) -> str:
        return f"<dsmproc {type(self).__name__} at {id(self):#x}>"


class JoinableQueue(Queue, queues.JoinableQueue, metaclass=Choosing):  # type: ignore[type-arg, misc]
    """A queue that counts what was put and not yet reported as done."""

    _standard = queues.JoinableQueue
    _options = frames.TASKS

    def task_done(self) -> None:
        self._check()
        reply = self._ask(frames.DONE, stamp=self._release_stamp())
        if reply.kind == frames.ERROR:
            raise ValueError(reply.body.decode())

    def join(self) -> None:
        """Wait until everything that was put is done."""
        self._check()
        self._ask(frames.JOIN)


class SimpleQueue(queues.SimpleQueue, metaclass=Choosing):  # type: ignore[type-arg]
    """A pipe that many processes share; put waits while much waits to be read."""

    _standard = queues.SimpleQueue

    def __init__(self, *, ctx: Any = None) -> None:
        self.__setstate__(Pipe(duplex=False))

    def __getstate__(self) -> Any:
        context.assert_spawning(self)
        return self._reader, self._writer

    def __setstate__(self, state: Any) -> None:
        self._reader, self._writer = state
        self._reader._reader.what = self._writer._writer.what = "queue"  # in errors
        self._poll = self._reader.poll

    def get(self) -> Any:
        return self._reader.recv()

    def put(self, obj: Any) -> None:
        self._writer.send(obj)
