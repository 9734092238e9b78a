"""A channel: a FIFO of messages between processes, at the host of the process that made it.

Definitions
    holder   a link (a connected end) or a ticket (an end in flight); each has a role
    hand     a message that was given to a link and not acknowledged by it
    ended    no message, and the last writer is gone
    broken   the last reader is gone

Rules
 1. A message is in the channel, in one hand, or gone; a hand that is lost gives it back in front.
 2. A writer asks for room after every WINDOW of one-way messages, and is answered when the channel
    is not crowded; a PUT waits here for room. What is sent is always read: a TCP connection whose
    window stays shut is taken for dead (wire.py: tune).
 3. The stamp is the newest that anybody sent with what it did here. `released` counts what was
    done here by processes of this host, whose writes are not published yet; before an answer
    leaves the host they must be (broker.py).
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Protocol

from .frames import READER, WRITER

if TYPE_CHECKING:
    from .link import Link
    from .wires import Wire


class Closing(Protocol):
    def close(self) -> None: ...


class Message:
    """The bytes, and what holds the handles in them alive."""

    __slots__ = ("carried", "data")

    def __init__(self, data: bytes | bytearray, carried: Closing | None = None) -> None:
        self.data = data
        self.carried = carried

    def drop(self) -> None:
        """It has arrived, or never will."""
        if self.carried is not None:
            self.carried.close()
            self.carried = None


class Channel:
    def __init__(self, number: int, options: int, count: int, size: int) -> None:
        self.number = number
        self.options = options
        self.count_limit = count
        self.size_limit = size
        self.links: set[Link] = set()
        self.listeners: set[Link] = set()  # those that want to be told of messages
        self.messages: collections.deque[Message] = collections.deque()
        self.size = 0
        self.unfinished = 0
        self.getters: collections.deque[Link] = collections.deque()
        self.putters: collections.deque[tuple[Link, Message]] = collections.deque()
        self.joiners: list[Link] = []
        self.senders: list[Link] = []  # writers that wait for room
        self.stamp = 0
        self.released = 0
        self.published = 0
        self.wire: Wire | None = None
        self._holders = {READER: 0, WRITER: 0}
        self._ever = 0
        self._total = 0

    def join(self, link: Link) -> None:
        self.links.add(link)
        if link.tokens:
            self.listeners.add(link)
        self.hold(link.role)

    def leave(self, link: Link) -> None:
        self.links.discard(link)
        self.listeners.discard(link)

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
        """The other end of the wire of this channel: it ends or breaks the channel like a holder,
        but keeps nothing alive."""
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

    # -- messages -----------------------------------------------------------------------------

    @property
    def readable(self) -> bool:
        """Whether a reader is to be told that something waits."""
        wired = self.wire is not None and self is self.wire.input and self.wire.maybe_readable()
        return bool(self.messages) or self.ended or wired

    @property
    def full(self) -> bool:
        if self.wire is not None:
            return True  # it takes messages only when the wire can
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

    def forget(self, link: Link) -> None:
        """Whatever the link waits for, it does not any more."""
        if link in self.getters:
            self.getters.remove(link)
        for entry in self.putters:
            if entry[0] is link:
                self.putters.remove(entry)
                entry[1].drop()
                break
        for waiting in (self.joiners, self.senders):
            if link in waiting:
                waiting.remove(link)

    def discard_all(self) -> None:
        for message in self.messages:
            message.drop()
        self.messages.clear()
        self.size = 0

    # -- stamps -------------------------------------------------------------------------------

    def release(self, local: bool, stamp: int) -> None:
        """Somebody did something here that may order others after it."""
        self.stamp = max(self.stamp, stamp)
        if local:
            self.released += 1

    @property
    def owes(self) -> bool:
        return self.released > self.published
