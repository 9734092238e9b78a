"""The broker: all channels whose makers are on this host. It lives in the agent's loop.

It never waits for anybody: what a client cannot be told yet is remembered in the channel
(channel.py), and what must be published first is answered when that is done. frames.py has the
words, requests.py what is done at each of them.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from .._net.listener import Listener, Peer
from . import frames
from .channel import Channel, End, Message
from .endpoint import Endpoint
from .tickets import TicketOffice

log = logging.getLogger("dsmproc")


class Memory(Protocol):
    """The part of the agent that publishes this host's writes."""

    def publish_now(self) -> int | None: ...
    async def publish(self) -> int: ...


class Broker:
    """`connect` is the agent's way to another agent; `is_lost` says whether a host is lost, when
    that is known and its losses were told here."""

    def __init__(
        self,
        listener: Listener,
        memory: Memory,
        connect: Callable[[int], Awaitable[Peer]],
        is_lost: Callable[[int], Awaitable[bool]],
    ) -> None:
        self.listener = listener
        self.host = 0
        self.address: tuple[str, int] = ("", 0)
        self.channels: dict[int, Channel] = {}
        self.endpoints: dict[int, Endpoint] = {}
        self.tickets = TicketOffice(self.let_go, connect)
        self._memory = memory
        self._is_lost = is_lost
        self.lost: set[int] = set()
        self._next = random.getrandbits(48)

    def opened(self, host: int, address: tuple[str, int]) -> None:
        """The agent has joined: only now it knows who it is."""
        self.host = self.tickets.host = host
        self.address = address

    def host_lost(self, host: int) -> None:
        """Drop what its processes held, though nobody may close their connections."""
        self.lost.add(host)
        for end in [end for end in self.endpoints.values() if end.home == host]:
            self.detached(end)
            end.abort()

    def host_cut(self, host: int, why: str) -> None:
        """Tell who waits for a lost host, from which nothing comes any more, to any host."""
        for channel in list(self.channels.values()):
            if host in channel.users:
                channel.host_lost(host, why)
                self.serve(channel)

    def host_left(self, host: int) -> None:
        """Forget a host that left in order: its processes have ended as processes do."""
        for channel in self.channels.values():
            channel.users.pop(host, None)
            channel.taken.pop(host, None)

    def new_number(self) -> int:
        self._next += 1
        return self._next

    def new_channel(self, options: int = 0, count: int = 0, size: int = 0) -> Channel:
        channel = Channel(self.new_number(), options, count, size)
        self.channels[channel.number] = channel
        return channel

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.listener.spawn(work)

    # -- ends ---------------------------------------------------------------------------------

    def detached(self, end: End, in_order: bool = False) -> None:
        """A link was closed, or its process is gone."""
        if self.endpoints.pop(end.number, None) is None:
            return
        self.tickets.holder_gone(end)
        channel, end.active = end.channel, 0
        if channel is None:
            return
        channel.forget(end)
        self.take_back(end)
        channel.leave(end)
        if in_order:
            if end.role == frames.WRITER and channel.sole_writer:
                channel.users.pop(end.home, None)
            self.let_go(channel, end.role)
        else:
            self.let_go(channel, end.role, end.home)

    def take_back(self, end: End) -> None:
        message, end.hand, end.telling = end.hand, None, 0
        if message is not None and end.channel is not None:
            end.channel.give_back(message)

    async def _resolve(self, channel: Channel, host: int) -> None:
        """The last writer has gone: was it a process's end, or its host's?"""
        if not await self._is_lost(host):
            channel.users.pop(host, None)
        channel.doubts -= 1
        self.serve(channel)

    def let_go(self, channel: Channel, role: int, host: int | None = None) -> None:
        """A holder less; of another host, if that may be lost."""
        if host is not None and role == frames.WRITER and channel.sole_writer:
            channel.doubts += 1
            self.spawn(self._resolve(channel, host))
        if host is not None and role == frames.READER and channel.sole_reader:
            channel.last_reader = frames.NUMBER.pack(host)
        channel.let_go(role)
        if channel.abandoned:
            channel.discard_all()
            del self.channels[channel.number]
            if channel.backend is not None:
                channel.backend.let_go(channel)
        else:
            self.serve(channel)

    # -- what channels do ---------------------------------------------------------------------

    def serve(self, channel: Channel) -> None:
        """Do all that can be done now."""
        if channel.broken:
            self._break(channel)
        if channel.backend is not None:
            channel.backend.serve(channel)
        while True:
            while channel.putters and not channel.full:
                putter, message = channel.putters.popleft()
                self.accept(putter, message)
                if channel.broken:
                    self.answer(putter, frames.BROKEN, channel.last_reader)
                else:
                    self.answer(putter, frames.OK)
            if not (channel.getters and channel.messages):
                break
            self._hand(channel.getters.popleft(), channel.take())
        self.tell_losses(channel)
        if channel.ended and not channel.doubts:
            while channel.getters:
                self.answer(channel.getters.popleft(), frames.END)
        if channel.senders and (channel.broken or not channel.crowded):
            senders, channel.senders = channel.senders, []
            for end in senders:
                kind = frames.BROKEN if channel.broken else frames.OK
                end.reply(kind, end.active, channel.last_reader)
        for end in channel.listeners:
            self.tell(end)

    def accept(self, end: End, message: Message) -> None:
        channel = end.the_channel
        if channel.broken:
            message.drop()
            return
        channel.used(end, frames.WRITER)
        channel.append(message)
        channel.release(end.local, 0)
        if channel.options & frames.TASKS:
            channel.unfinished += 1

    def _break(self, channel: Channel) -> None:
        channel.discard_all()
        for end in channel.ends:
            if end.role == frames.WRITER and not end.broken:
                end.broken = True
                if not end.active:  # else its request is answered with it
                    end.reply(frames.BROKEN, 0, channel.last_reader)

    def _hand(self, end: End, message: Message) -> None:
        end.hand, end.hand_number = message, end.active
        flags = 0 if message.carried is None else frames.CARRIES
        self.answer(end, frames.MESSAGE, message.data, flags)

    def tell_losses(self, channel: Channel) -> None:
        if not channel.losses:
            return
        flags = frames.ENDED if channel.ended else 0
        for end, number in channel.waits_in_vain():
            channel.forget(end)
            end.telling, end.hand_number = number, end.active
            loss = channel.losses[number - 1]
            body = frames.Loss(number, loss.host, loss.undone).pack(loss.why)
            self.answer(end, frames.LOST, body, flags)

    def tell(self, end: End) -> None:
        """Make an idle reader's descriptor readable, if there is something to read."""
        channel = end.channel
        idle = end.tokens and not end.told and not end.active
        if not idle or channel is None:
            return
        if channel.readable or channel.news(end, frames.WRITER):
            end.told = True
            sole = channel.backend is None and channel.sole_reader
            if sole and (end.local or self._published(channel)):
                ready = frames.frame(frames.READY, flags=frames.SURE, stamp=channel.stamp)
            else:
                ready = frames.frame(frames.READY)
            end.write(ready)

    def answer(self, end: End, kind: int, body: Any = b"", flags: int = 0) -> None:
        """The answer to the request under way; it carries what this host's processes released."""
        channel = end.the_channel
        if end.local or self._published(channel):
            end.reply(kind, end.active, body, flags=flags, stamp=channel.stamp)
            self.tell(end)
        else:
            end.answering = end.active
            self.spawn(self._answer_published(end, end.active, kind, body, flags))

    def _published(self, channel: Channel) -> bool:
        """Whether nothing is owed any more, perhaps because this host has nothing to publish."""
        if channel.owes:
            stamp = self._memory.publish_now()
            if stamp is None:
                return False
            channel.stamp = max(channel.stamp, stamp)
            channel.published = channel.released
        return True

    async def _answer_published(
        self, end: End, number: int, kind: int, body: Any, flags: int
    ) -> None:
        channel = end.the_channel
        released = channel.released
        try:
            stamp = await self._memory.publish()
        except Exception:
            log.exception("a channel's answer could not be published: its link is closed")
            end.abort()
            return
        channel.release(False, stamp)  # others may have come meanwhile with a newer one
        channel.published = max(channel.published, released)
        if end.active == number and not end.closed:
            end.reply(kind, number, body, flags=flags, stamp=channel.stamp)
            self.tell(end)
