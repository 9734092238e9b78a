"""The broker: all channels whose makers are on this host. It lives in the agent's loop.

It never waits for anybody: what a link cannot be told yet is remembered in the channel
(channel.py), and what must be published first is answered when that is done. frames.py has the
words; link.py the sockets.

A negative answer (EMPTY, NO, FULL) is given only after everything that the kernel held for us at
the time of the question was read: a message that was sent before the question is not overlooked.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from .._net.listener import Listener, Peer
from . import frames
from .channel import Channel, Message
from .frames import Place
from .link import Link
from .relays import Wires
from .tickets import TicketOffice

log = logging.getLogger("dsmproc")

TOO_MANY_DONE = "task_done() called too many times"
NO_CHANNEL = "the pipe or queue does not exist any more"


class Memory(Protocol):
    """The two verbs, as the agent has them."""

    def publish_now(self) -> int | None: ...
    async def publish(self) -> int: ...
    async def observe(self, stamp: int | None) -> None: ...


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
        self.links: dict[int, Link] = {}
        self._connections: set[Link] = set()  # also of those that have no number yet
        self.tickets = TicketOffice(self, connect)
        self.wires = Wires(self, memory.observe)
        self._memory = memory
        self._is_lost = is_lost
        self._lost: set[int] = set()
        self._next = random.getrandbits(48)
        self._handlers: dict[int, Callable[[Link, int, int, int, Any], None]] = {
            frames.ATTACH: self._on_attach,
            frames.SEND: self._on_send,
            frames.PUT: self._on_put,
            frames.GET: self._on_get,
            frames.ACK: self._on_ack,
            frames.POLL: self._on_poll,
            frames.STATE: self._on_state,
            frames.DONE: self._on_done,
            frames.JOIN: self._on_join,
            frames.CANCEL: self._on_cancel,
            frames.TICKET: self._on_ticket,
            frames.ADOPT: self._on_adopt,
            frames.SYNC: self._on_sync,
            frames.CLOSE: self._on_close,
            frames.ROOM: self._on_room,
            frames.TOLD: self._on_told,
        }
        listener.on("channel", self._connected)

    def opened(self, host: int, address: tuple[str, int]) -> None:
        """Who we are: known only when the agent has joined."""
        self.host, self.address = host, address

    async def _connected(self, peer: Peer) -> None:
        local, seals = peer.local, peer.seals
        if peer.host in self._lost:
            return
        sock = socket.socket(fileno=peer.detach())
        sock.setblocking(False)
        self.listener.traffic.began(sock, peer)
        link = Link(self, local, sock, seals, peer.host)
        self._connections.add(link)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: link, sock)

    def host_lost(self, host: int) -> None:
        """Its processes hold nothing any more, though nobody may close their connections."""
        self._lost.add(host)
        for link in [link for link in self.links.values() if link.home == host]:
            self.detached(link)
            link.abort()

    def host_cut(self, host: int, why: str) -> None:
        """It was lost, and nothing of it comes any more, to any host: who waits for it is told."""
        for channel in list(self.channels.values()):
            if host in channel.users:
                channel.host_lost(host, why)
                self.serve(channel)

    def host_left(self, host: int) -> None:
        """In order: its processes have ended as processes do."""
        for channel in self.channels.values():
            channel.users.pop(host, None)
            channel.taken.pop(host, None)

    def new_number(self) -> int:
        self._next += 1
        return self._next

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.listener.spawn(work)

    # -- what links say -----------------------------------------------------------------------

    def hear(
        self, link: Link, kind: int, flags: int, tickets: int, number: int, stamp: int, body: Any
    ) -> None:
        """One frame; ValueError and the like mean that the peer makes no sense."""
        if kind != frames.ATTACH and link.number == 0:
            raise ValueError("no ATTACH yet")
        if kind not in (frames.SEND, frames.ACK, frames.CANCEL, frames.TOLD):
            if link.active:
                raise ValueError("a request while another one is under way")
            link.active, link.told = number, False
        if stamp and link.channel is not None:
            link.channel.release(False, stamp)
        self._handlers[kind](link, flags, tickets, number, body)

    def _on_attach(self, link: Link, flags: int, tickets: int, number: int, body: Any) -> None:
        wish = frames.unpack_attach(body)
        if link.number:
            raise ValueError("a second ATTACH")
        link.number = self.new_number()
        if wish.role:
            channel = self._channel(wish)
            if channel is None or not self.tickets.redeem(wish.ticket, channel):
                link.reply(frames.ERROR, number, NO_CHANNEL.encode())
                link.finish()
                return
            link.knows = wish.told
            link.join(channel, wish.role, bool(wish.options & frames.TOKENS))
        self.links[link.number] = link
        name, port = self.address
        attached = frames.Attached(
            link.channel.number if link.channel is not None else 0, link.number, self.host, port
        )
        wire = None if link.channel is None else link.channel.wire
        flags = 0 if wire is None else frames.WIRE | frames.FOREIGN * wire.foreign
        link.reply(frames.OK, number, attached.pack(name), flags=flags)
        if wish.after in self.links:
            self.links[wish.after].succeeded_by(link)
        if link.channel is not None:
            self.serve(link.channel)

    def _channel(self, wish: frames.Attach) -> Channel | None:
        if wish.channel:
            return self.channels.get(wish.channel)
        return self.new_channel(wish.options, wish.messages, wish.size)

    def new_channel(self, options: int = 0, count: int = 0, size: int = 0) -> Channel:
        channel = Channel(self.new_number(), options, count, size)
        self.channels[channel.number] = channel
        return channel

    def _on_send(self, link: Link, flags: int, tickets: int, number: int, body: Any) -> None:
        self._accept(link, Message(body))
        self.serve(link.the_channel)

    def _accept(self, link: Link, message: Message) -> None:
        channel = link.the_channel
        if channel.broken:
            message.drop()
            return
        channel.used(link, frames.WRITER)
        channel.append(message)
        channel.release(link.local, 0)
        if channel.options & frames.TASKS:
            channel.unfinished += 1

    def _on_put(self, link: Link, flags: int, tickets: int, number: int, body: Any) -> None:
        if tickets:
            places = frames.unpack_places(body, tickets)
            data = body[tickets * frames.PLACE.size :]
            self.spawn(self._put_carrying(link, flags, number, data, places))
        else:
            self._put(link, flags, number, Message(body))

    async def _put_carrying(
        self, link: Link, flags: int, number: int, data: Any, places: list[Place]
    ) -> None:
        carried = await self.tickets.carry(places)
        if link.active == number and not link.closed:
            self._put(link, flags, number, Message(data, carried))
        else:
            carried.close()

    def _put(self, link: Link, flags: int, number: int, message: Message) -> None:
        channel = link.the_channel
        channel.putters.append((link, message))
        self.serve(channel)
        if flags & frames.NOWAIT and link.active == number:
            self._later(link, number, lambda: self.answer(link, frames.FULL))

    def _on_get(self, link: Link, flags: int, tickets: int, number: int, body: Any) -> None:
        channel = link.the_channel
        self._acknowledge(link)
        channel.used(link, frames.READER)
        if channel.count_limit:  # a putter may be waiting for what this one has done
            channel.release(link.local, 0)
        channel.getters.append(link)
        self.serve(channel)
        if flags & frames.NOWAIT and link in channel.getters:
            self._later(link, number, lambda: self.answer(link, frames.EMPTY))

    def _on_ack(self, link: Link, flags: int, tickets: int, number: int, body: Any) -> None:
        self._acknowledge(link)

    def _acknowledge(self, link: Link) -> None:
        if link.hand is not None:
            link.hand.drop()
            link.hand = None
            if link.home is not None:
                link.the_channel.took(link.home)
        if link.telling:
            link.knows, link.telling = link.telling, 0

    def _on_told(self, link: Link, flags: int, tickets: int, number: int, body: Any) -> None:
        link.knows = number

    def _on_poll(self, link: Link, flags: int, tickets: int, number: int, body: Any) -> None:
        def answer() -> None:
            channel = link.the_channel
            there = channel.messages or channel.ended or channel.news(link, frames.WRITER)
            if not there and channel.wire is not None:
                there = channel.wire.readable()
            self.answer(link, frames.YES if there else frames.NO)

        link.the_channel.used(link, frames.READER)
        if link.the_channel.messages:
            answer()
        else:
            self._later(link, number, answer)

    def _on_state(self, link: Link, flags: int, tickets: int, number: int, body: Any) -> None:
        def answer() -> None:
            channel = link.the_channel
            lost = int(channel.news(link, frames.WRITER) > 0)
            state = frames.State(len(channel.messages), channel.unfinished, lost)
            self.answer(link, frames.OK, state.pack())

        self._later(link, number, answer)

    def _on_done(self, link: Link, flags: int, tickets: int, number: int, body: Any) -> None:
        channel = link.the_channel
        if channel.unfinished == 0:
            self.answer(link, frames.ERROR, TOO_MANY_DONE.encode())
            return
        channel.unfinished -= 1
        channel.finished(link.home)
        channel.release(link.local, 0)
        self.answer(link, frames.OK)
        self._end_joins(channel)

    def _on_join(self, link: Link, flags: int, tickets: int, number: int, body: Any) -> None:
        def now() -> None:
            link.the_channel.joiners.append(link)
            self._end_joins(link.the_channel)
            self._tell_losses(link.the_channel)

        self._later(link, number, now)

    def _end_joins(self, channel: Channel) -> None:
        if channel.unfinished == 0:
            joiners, channel.joiners = channel.joiners, []
            for joiner in joiners:
                self.answer(joiner, frames.OK)

    def _on_cancel(self, link: Link, flags: int, tickets: int, number: int, body: Any) -> None:
        channel = link.the_channel
        if link.active == number:
            channel.forget(link)
            link.active = 0
        if link.hand_number == number:
            self._take_back(link)
        link.reply(frames.CANCELLED, number)
        self.serve(channel)

    def _take_back(self, link: Link) -> None:
        message, link.hand, link.telling = link.hand, None, 0
        if message is not None and link.channel is not None:
            link.channel.give_back(message)

    def _on_ticket(self, link: Link, flags: int, tickets: int, number: int, body: Any) -> None:
        wanted, role = frames.NEW_TICKET.unpack(body)
        channel = self.channels.get(wanted)
        if channel is None:
            link.reply(frames.ERROR, number, NO_CHANNEL.encode())
        else:
            ticket = self.tickets.issue(channel, role, link)
            link.reply(frames.OK, number, frames.NUMBER.pack(ticket))

    def _on_adopt(self, link: Link, flags: int, tickets: int, number: int, body: Any) -> None:
        for place in frames.unpack_places(body, tickets):
            self.tickets.move(place.ticket, link)
        link.reply(frames.OK, number)

    def _on_sync(self, link: Link, flags: int, tickets: int, number: int, body: Any) -> None:
        link.reply(frames.OK, number)

    def _on_room(self, link: Link, flags: int, tickets: int, number: int, body: Any) -> None:
        link.the_channel.senders.append(link)
        self.serve(link.the_channel)

    def _on_close(self, link: Link, flags: int, tickets: int, number: int, body: Any) -> None:
        self.detached(link, in_order=True)
        if number:
            link.reply(frames.OK, number)
        link.finish()

    # -- ends ---------------------------------------------------------------------------------

    async def close(self) -> None:
        """Nothing is heard or answered any more."""
        self.wires.close()
        for link in self._connections:
            link.abort()
        await asyncio.sleep(0)  # their ends are in the loop's next turn

    def disconnected(self, link: Link) -> None:
        self._connections.discard(link)
        self.listener.traffic.ended(link.sock)
        self.detached(link)

    def detached(self, link: Link, in_order: bool = False) -> None:
        """A link was closed, or its process is gone."""
        if self.links.pop(link.number, None) is None:
            return
        self.tickets.holder_gone(link)
        channel, link.active = link.channel, 0
        if channel is None:
            return
        channel.forget(link)
        self._take_back(link)
        channel.leave(link)
        if in_order:
            if link.role == frames.WRITER and channel.sole_writer:
                channel.users.pop(link.home, None)
            self.let_go(channel, link.role)
        else:
            self.let_go(channel, link.role, link.home)

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
            if channel.wire is not None:
                channel.wire.let_go(channel)
        else:
            self.serve(channel)

    # -- what channels do ---------------------------------------------------------------------

    def serve(self, channel: Channel) -> None:
        """Do all that can be done now."""
        if channel.broken:
            self._break(channel)
        if channel.wire is not None:
            channel.wire.serve(channel)
        while True:
            while channel.putters and not channel.full:
                putter, message = channel.putters.popleft()
                self._accept(putter, message)
                if channel.broken:
                    self.answer(putter, frames.BROKEN, channel.last_reader)
                else:
                    self.answer(putter, frames.OK)
            if not (channel.getters and channel.messages):
                break
            self._hand(channel.getters.popleft(), channel.take())
        self._tell_losses(channel)
        if channel.ended and not channel.doubts:
            while channel.getters:
                self.answer(channel.getters.popleft(), frames.END)
        if channel.senders and (channel.broken or not channel.crowded):
            senders, channel.senders = channel.senders, []
            for link in senders:
                kind = frames.BROKEN if channel.broken else frames.OK
                link.reply(kind, link.active, channel.last_reader)
        for link in channel.listeners:
            self.tell(link)

    def _break(self, channel: Channel) -> None:
        channel.discard_all()
        for link in channel.links:
            if link.role == frames.WRITER and not link.broken:
                link.broken = True
                if not link.active:  # else its request is answered with it
                    link.reply(frames.BROKEN, 0, channel.last_reader)

    def _hand(self, link: Link, message: Message) -> None:
        link.hand, link.hand_number = message, link.active
        flags = 0 if message.carried is None else frames.CARRIES
        self.answer(link, frames.MESSAGE, message.data, flags)

    def _tell_losses(self, channel: Channel) -> None:
        if not channel.losses:
            return
        flags = frames.ENDED if channel.ended else 0
        for link, number in channel.waits_in_vain():
            channel.forget(link)
            link.telling, link.hand_number = number, link.active
            loss = channel.losses[number - 1]
            body = frames.Loss(number, loss.host, loss.undone).pack(loss.why)
            self.answer(link, frames.LOST, body, flags)

    def tell(self, link: Link) -> None:
        """Make an idle reader's descriptor readable, if there is something to read."""
        channel = link.channel
        idle = link.tokens and not link.told and not link.active
        if not idle or channel is None:
            return
        if channel.readable or channel.news(link, frames.WRITER):
            link.told = True
            sole = channel.wire is None and channel.sole_reader
            if sole and (link.local or self._published(channel)):
                ready = frames.frame(frames.READY, flags=frames.SURE, stamp=channel.stamp)
            else:
                ready = frames.frame(frames.READY)
            link.write(ready)

    def _later(self, link: Link, number: int, negative: Callable[[], Any]) -> None:
        """Answer so, unless the request is answered before all that waits to be read is read."""

        def now() -> None:
            if link.active == number and not link.closed and link.answering != number:
                link.the_channel.forget(link)
                negative()

        # The first call comes before the next look at the sockets, the second after it.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, now)

    def answer(self, link: Link, kind: int, body: Any = b"", flags: int = 0) -> None:
        """The answer to the request under way; it carries what this host's processes released."""
        channel = link.the_channel
        if link.local or self._published(channel):
            link.reply(kind, link.active, body, flags=flags, stamp=channel.stamp)
            self.tell(link)
        else:
            link.answering = link.active
            self.spawn(self._answer_published(link, link.active, kind, body, flags))

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
        self, link: Link, number: int, kind: int, body: Any, flags: int
    ) -> None:
        channel = link.the_channel
        released = channel.released
        try:
            stamp = await self._memory.publish()
        except Exception:
            log.exception("a channel's answer could not be published: its link is closed")
            link.abort()
            return
        channel.release(False, stamp)  # others may have come meanwhile with a newer one
        channel.published = max(channel.published, released)
        if link.active == number and not link.closed:
            link.reply(kind, number, body, flags=flags, stamp=channel.stamp)
            self.tell(link)
