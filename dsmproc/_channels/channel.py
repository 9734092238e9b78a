"""A channel: a FIFO of messages between processes, at the host of the process that made it.

Definitions
    holder   a link (a connected end) or a ticket (an end in flight); each has a role
    hand     a message that was given to a link and not acknowledged by it
    ended    no message, and the last writer is gone
    broken   the last reader is gone
    loss     a host that was lost, and had used the channel

Rules
 1. A message is in the channel, in one hand, or gone; a hand that is lost gives it back in front.
 2. A writer asks for room after every WINDOW of one-way messages, and is answered when the channel
    is not crowded; a PUT waits here for room. What is sent is always read: a TCP connection whose
    window stays shut is taken for dead (_net/sockets.py).
 3. The stamp is the newest that anybody sent with what it did here. `released` counts what was
    done here by processes of this host, whose writes are not published yet; before an answer
    leaves the host they must be (broker.py).
 4. Who has to wait is told first of each loss that its process does not know yet, if what it waits
    for might have come from there: a reader, of a host that had written, or had the end and had not
    read; a writer that waits for room, of one that had read, if nobody else has; who waits for
    tasks, of one that had taken some and not reported them as done. Losses are told in their
    order, and an ended channel has no more of them.
 5. The end of the last writer is told when it is known whether its host was lost.
"""

from __future__ import annotations

import collections
from typing import Any, NamedTuple, Protocol

from . import frames
from .frames import READER, TASKS, WRITER

OWES = 4  # a host has taken tasks and not reported them as done


class Closing(Protocol):
    def close(self) -> None: ...


class Message:
    """The bytes, and what holds the handles in them alive."""

    __slots__ = ("carried", "data")

    def __init__(self, data: bytes | bytearray, carried: Closing | None = None) -> None:
        self.data = data
        self.carried = carried

    def drop(self) -> None:
        """Let go of the handles in it: the message has arrived, or never will."""
        if self.carried is not None:
            self.carried.close()
            self.carried = None


class Loss(NamedTuple):
    host: int
    did: int  # READER and WRITER, and OWES if tasks are undone
    undone: int
    why: str


class End:
    """The broker's view of a client that has an end of a channel, or an anchor, which holds nothing
    but tickets. endpoint.py adds the socket."""

    def __init__(self, local: bool, home: int | None) -> None:
        self.local = local  # its process is on this host
        self.home = home  # its process's host, unless that is ours
        self.number = 0
        self.channel: Channel | None = None
        self.role = 0
        self.tokens = False
        self.told = False  # a READY is on its way, or waits in the client's socket
        self.active = 0  # the number of the request under way
        self.answering = 0  # of the one that is answered as soon as the publish is done
        self.hand: Message | None = None
        self.hand_number = 0
        self.knows = 0  # how many of the channel's losses its process knows
        self.telling = 0  # and will know when this answer has arrived; 0: none is on its way
        self.broken = False
        self.closed = False

    @property
    def the_channel(self) -> Channel:
        if self.channel is None:
            raise ValueError("an anchor is no end of a channel")
        return self.channel

    @property
    def heard(self) -> int:
        return max(self.knows, self.telling)

    def join(self, channel: Channel, role: int, tokens: bool) -> None:
        self.channel, self.role, self.tokens = channel, role, tokens
        channel.join(self)

    def reply(
        self, kind: int, number: int, body: Any = b"", *, flags: int = 0, stamp: int = 0
    ) -> None:
        if number == self.active:
            self.active = 0
        self.write(frames.HEADER.pack(kind, flags, 0, number, stamp, len(body)), body)

    def write(self, head: bytes, body: bytes | bytearray = b"") -> None:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError


class Backend(Protocol):
    """A descriptor behind a channel, which gives the messages or takes them (relays.py)."""

    foreign: bool
    input: Channel | None

    def serve(self, channel: Channel) -> None: ...
    def readable(self) -> bool: ...
    def maybe_readable(self) -> bool: ...
    def let_go(self, channel: Channel) -> None: ...


class Channel:
    def __init__(self, number: int, options: int, count: int, size: int) -> None:
        self.number = number
        self.options = options
        self.count_limit = count
        self.size_limit = size
        self.ends: set[End] = set()
        self.listeners: set[End] = set()  # those that want to be told of messages
        self.messages: collections.deque[Message] = collections.deque()
        self.size = 0
        self.unfinished = 0
        self.getters: collections.deque[End] = collections.deque()
        self.putters: collections.deque[tuple[End, Message]] = collections.deque()
        self.joiners: list[End] = []
        self.senders: list[End] = []  # writers that wait for room
        self.users: dict[int | None, int] = {}  # host (None: ours) -> what its processes did
        self.taken: dict[int, int] = {}  # host -> tasks that it has not reported as done
        self.losses: list[Loss] = []
        self.last_reader = b""  # of a broken one: the number of its host, if that may be lost
        self.doubts = 0  # ends of last writers whose hosts may be lost
        self.stamp = 0
        self.released = 0
        self.published = 0
        self.backend: Backend | None = None
        self._holders = {READER: 0, WRITER: 0}
        self._ever = 0
        self._total = 0

    def join(self, end: End) -> None:
        self.ends.add(end)
        if end.tokens:
            self.listeners.add(end)
        self.given(end.home, end.role)
        self.hold(end.role)

    def leave(self, end: End) -> None:
        self.ends.discard(end)
        self.listeners.discard(end)

    # -- holders ------------------------------------------------------------------------------

    def hold(self, role: int) -> None:
        self._total += 1
        self._ever |= role
        for one in (READER, WRITER):
            if role & one:
                self._holders[one] += 1

    def let_go(self, role: int) -> None:
        self._total -= 1
        for one in (READER, WRITER):
            if role & one:
                self._holders[one] -= 1

    def far_side(self, role: int, there: bool) -> None:
        """The other end of the descriptor behind this channel: it ends or breaks the channel like
        a holder, but keeps nothing alive."""
        self._ever |= role
        self._holders[role] = int(there)

    @property
    def abandoned(self) -> bool:
        return self._total == 0

    def _gone(self, role: int) -> bool:
        return bool(self._ever & role) and self._holders[role] == 0

    @property
    def broken(self) -> bool:
        return self._gone(READER)

    @property
    def ended(self) -> bool:
        return not self.messages and not self.putters and self._gone(WRITER)

    @property
    def sole_reader(self) -> bool:
        return self._holders[READER] == 1

    @property
    def sole_writer(self) -> bool:
        return self._holders[WRITER] == 1

    # -- losses -------------------------------------------------------------------------------

    def given(self, host: int | None, role: int) -> None:
        """A process of it has an end, or will have: it may write."""
        if role & WRITER:
            self.users.setdefault(host, 0)

    def used(self, end: End, role: int) -> None:
        self.users[end.home] = self.users.get(end.home, 0) | role

    def took(self, host: int) -> None:
        if self.options & TASKS:
            self.taken[host] = self.taken.get(host, 0) + 1

    def finished(self, host: int | None) -> None:
        """A task is done; reported by whom took it, as a rule."""
        if host is not None and self.taken.get(host):
            self.taken[host] -= 1

    def host_lost(self, host: int, why: str) -> None:
        """Note the loss, if somebody may wait for that host. A process that had an end, and had not
        used it, might have written."""
        did = self.users.pop(host, None)
        undone = self.taken.pop(host, 0)
        if did == READER and not (undone or self.count_limit):
            return  # nobody waits for readers
        if did is not None:
            self.losses.append(Loss(host, (did or WRITER) | OWES * bool(undone), undone, why))

    def news(self, end: End, role: int) -> int:
        """The loss to tell this link now, from 1, if it waits for who did that; 0: none."""
        pending = self.losses[end.heard :]
        return end.heard + 1 if any(loss.did & role for loss in pending) else 0

    def waits_in_vain(self) -> list[tuple[End, int]]:
        """The ends to be told of a loss now, and its number, once all that could be was done."""
        found = [(end, self.news(end, WRITER)) for end in self.getters]
        if not any(did & READER for did in self.users.values()):
            found += [(end, self.news(end, READER)) for end, _ in self.putters]
        found += [(end, self.news(end, OWES)) for end in self.joiners]
        return [(end, number) for end, number in found if number]

    # -- messages -----------------------------------------------------------------------------

    @property
    def readable(self) -> bool:
        """Whether a reader is to be told that something waits."""
        behind = self.backend
        waits = behind is not None and self is behind.input and behind.maybe_readable()
        return bool(self.messages) or self.ended or waits

    @property
    def full(self) -> bool:
        if self.backend is not None:
            return True  # it takes messages only when the descriptor can
        return 0 < self.count_limit <= len(self.messages)

    @property
    def crowded(self) -> bool:
        """Full, by bytes: an empty channel takes a message of any size."""
        return 0 < self.size_limit < self.size

    def append(self, message: Message) -> None:
        self.messages.append(message)
        self.size += len(message.data)

    def give_back(self, message: Message) -> None:
        self.messages.appendleft(message)
        self.size += len(message.data)

    def take(self) -> Message:
        message = self.messages.popleft()
        self.size -= len(message.data)
        return message

    def forget(self, end: End) -> None:
        """Whatever the link waits for, it does not any more."""
        if end in self.getters:
            self.getters.remove(end)
        for entry in self.putters:
            if entry[0] is end:
                self.putters.remove(entry)
                entry[1].drop()
                break
        for waiting in (self.joiners, self.senders):
            if end in waiting:
                waiting.remove(end)

    def discard_all(self) -> None:
        for message in self.messages:
            message.drop()
        self.messages.clear()
        self.size = 0

    # -- stamps -------------------------------------------------------------------------------

    def release(self, local: bool, stamp: int) -> None:
        """Note that somebody did something here that may order others after it."""
        self.stamp = max(self.stamp, stamp)
        if local:
            self.released += 1

    @property
    def owes(self) -> bool:
        return self.released > self.published
