"""What clients ask of a broker: one function for each word of frames.py.

A negative answer (EMPTY, NO, FULL) is given only after everything that the kernel held for us at
the time of the question was read: a message that was sent before the question is not overlooked.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from .._net.listener import Peer
from . import frames
from .broker import Broker
from .channel import Channel, Message
from .endpoint import Endpoint
from .frames import Place

TOO_MANY_DONE = "task_done() called too many times"
NO_CHANNEL = "the pipe or queue does not exist any more"


class Requests:
    """Serves the "channel" connections of a broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._connections: set[Endpoint] = set()  # also of those that have no number yet
        self._handlers: dict[int, Callable[[Endpoint, int, int, int, Any], None]] = {
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
        broker.listener.on("channel", self._connected)

    async def _connected(self, peer: Peer) -> None:
        local, seals, home = peer.local, peer.seals, peer.host
        if home in self._broker.lost:
            return
        sock = socket.socket(fileno=peer.detach())
        sock.setblocking(False)
        self._broker.listener.traffic.began(sock, peer)

        def endpoint() -> Endpoint:
            end = Endpoint(self.hear, self._disconnected, local, sock, seals, home)
            self._connections.add(end)
            return end

        await asyncio.get_running_loop().connect_accepted_socket(endpoint, sock)

    async def close(self) -> None:
        """Nothing is heard or answered any more."""
        for end in self._connections:
            end.abort()
        await asyncio.sleep(0)  # their ends are in the loop's next turn

    def _disconnected(self, end: Endpoint) -> None:
        self._connections.discard(end)
        self._broker.listener.traffic.ended(end.sock)
        self._broker.detached(end)

    def hear(
        self, end: Endpoint, kind: int, flags: int, tickets: int, number: int, stamp: int, body: Any
    ) -> None:
        """Obey one frame; ValueError and the like mean that the peer makes no sense."""
        if kind != frames.ATTACH and end.number == 0:
            raise ValueError("no ATTACH yet")
        if kind not in (frames.SEND, frames.ACK, frames.CANCEL, frames.TOLD):
            if end.active:
                raise ValueError("a request while another one is under way")
            end.active, end.told = number, False
        if stamp and end.channel is not None:
            end.channel.release(False, stamp)
        self._handlers[kind](end, flags, tickets, number, body)

    def _on_attach(self, end: Endpoint, flags: int, tickets: int, number: int, body: Any) -> None:
        wish = frames.unpack_attach(body)
        if end.number:
            raise ValueError("a second ATTACH")
        end.number = self._broker.new_number()
        if wish.role:
            channel = self._channel(wish)
            if channel is None or not self._broker.tickets.redeem(wish.ticket, channel):
                end.reply(frames.ERROR, number, NO_CHANNEL.encode())
                end.finish()
                return
            end.knows = wish.told
            end.join(channel, wish.role, bool(wish.options & frames.TOKENS))
        self._broker.endpoints[end.number] = end
        name, port = self._broker.address
        attached = frames.Attached(
            end.channel.number if end.channel is not None else 0,
            end.number,
            self._broker.host,
            port,
        )
        backend = None if end.channel is None else end.channel.backend
        flags = 0 if backend is None else frames.RELAYED | frames.FOREIGN * backend.foreign
        end.reply(frames.OK, number, attached.pack(name), flags=flags)
        if wish.after in self._broker.endpoints:
            self._broker.endpoints[wish.after].succeeded_by(end)
        if end.channel is not None:
            self._broker.serve(end.channel)

    def _channel(self, wish: frames.Attach) -> Channel | None:
        if wish.channel:
            return self._broker.channels.get(wish.channel)
        return self._broker.new_channel(wish.options, wish.messages, wish.size)

    def _on_send(self, end: Endpoint, flags: int, tickets: int, number: int, body: Any) -> None:
        self._broker.accept(end, Message(body))
        self._broker.serve(end.the_channel)

    def _on_put(self, end: Endpoint, flags: int, tickets: int, number: int, body: Any) -> None:
        if tickets:
            places = frames.unpack_places(body, tickets)
            data = body[tickets * frames.PLACE.size :]
            self._broker.spawn(self._put_carrying(end, flags, number, data, places))
        else:
            self._put(end, flags, number, Message(body))

    async def _put_carrying(
        self, end: Endpoint, flags: int, number: int, data: Any, places: list[Place]
    ) -> None:
        carried = await self._broker.tickets.carry(places)
        if end.active == number and not end.closed:
            self._put(end, flags, number, Message(data, carried))
        else:
            carried.close()

    def _put(self, end: Endpoint, flags: int, number: int, message: Message) -> None:
        channel = end.the_channel
        channel.putters.append((end, message))
        self._broker.serve(channel)
        if flags & frames.NOWAIT and end.active == number:
            self._later(end, number, lambda: self._broker.answer(end, frames.FULL))

    def _on_get(self, end: Endpoint, flags: int, tickets: int, number: int, body: Any) -> None:
        channel = end.the_channel
        self._acknowledge(end)
        channel.used(end, frames.READER)
        if channel.count_limit:  # a putter may be waiting for what this one has done
            channel.release(end.local, 0)
        channel.getters.append(end)
        self._broker.serve(channel)
        if flags & frames.NOWAIT and end in channel.getters:
            self._later(end, number, lambda: self._broker.answer(end, frames.EMPTY))

    def _on_ack(self, end: Endpoint, flags: int, tickets: int, number: int, body: Any) -> None:
        self._acknowledge(end)

    def _acknowledge(self, end: Endpoint) -> None:
        if end.hand is not None:
            end.hand.drop()
            end.hand = None
            if end.home is not None:
                end.the_channel.took(end.home)
        if end.telling:
            end.knows, end.telling = end.telling, 0

    def _on_told(self, end: Endpoint, flags: int, tickets: int, number: int, body: Any) -> None:
        end.knows = number

    def _on_poll(self, end: Endpoint, flags: int, tickets: int, number: int, body: Any) -> None:
        def answer() -> None:
            channel = end.the_channel
            there = channel.messages or channel.ended or channel.news(end, frames.WRITER)
            if not there and channel.backend is not None:
                there = channel.backend.readable()
            self._broker.answer(end, frames.YES if there else frames.NO)

        end.the_channel.used(end, frames.READER)
        if end.the_channel.messages:
            answer()
        else:
            self._later(end, number, answer)

    def _on_state(self, end: Endpoint, flags: int, tickets: int, number: int, body: Any) -> None:
        def answer() -> None:
            channel = end.the_channel
            lost = int(channel.news(end, frames.WRITER) > 0)
            state = frames.State(len(channel.messages), channel.unfinished, lost)
            self._broker.answer(end, frames.OK, state.pack())

        self._later(end, number, answer)

    def _on_done(self, end: Endpoint, flags: int, tickets: int, number: int, body: Any) -> None:
        channel = end.the_channel
        if channel.unfinished == 0:
            self._broker.answer(end, frames.ERROR, TOO_MANY_DONE.encode())
            return
        channel.unfinished -= 1
        channel.finished(end.home)
        channel.release(end.local, 0)
        self._broker.answer(end, frames.OK)
        self._end_joins(channel)

    def _on_join(self, end: Endpoint, flags: int, tickets: int, number: int, body: Any) -> None:
        def now() -> None:
            end.the_channel.joiners.append(end)
            self._end_joins(end.the_channel)
            self._broker.tell_losses(end.the_channel)

        self._later(end, number, now)

    def _on_cancel(self, end: Endpoint, flags: int, tickets: int, number: int, body: Any) -> None:
        channel = end.the_channel
        if end.active == number:
            channel.forget(end)
            end.active = 0
        if end.hand_number == number:
            self._broker.take_back(end)
        end.reply(frames.CANCELLED, number)
        self._broker.serve(channel)

    def _on_ticket(self, end: Endpoint, flags: int, tickets: int, number: int, body: Any) -> None:
        wanted, role = frames.NEW_TICKET.unpack(body)
        channel = self._broker.channels.get(wanted)
        if channel is None:
            end.reply(frames.ERROR, number, NO_CHANNEL.encode())
        else:
            ticket = self._broker.tickets.issue(channel, role, end)
            end.reply(frames.OK, number, frames.NUMBER.pack(ticket))

    def _on_adopt(self, end: Endpoint, flags: int, tickets: int, number: int, body: Any) -> None:
        for place in frames.unpack_places(body, tickets):
            self._broker.tickets.move(place.ticket, end)
        end.reply(frames.OK, number)

    def _on_sync(self, end: Endpoint, flags: int, tickets: int, number: int, body: Any) -> None:
        end.reply(frames.OK, number)

    def _on_room(self, end: Endpoint, flags: int, tickets: int, number: int, body: Any) -> None:
        end.the_channel.senders.append(end)
        self._broker.serve(end.the_channel)

    def _on_close(self, end: Endpoint, flags: int, tickets: int, number: int, body: Any) -> None:
        self._broker.detached(end, in_order=True)
        if number:
            end.reply(frames.OK, number)
        end.finish()

    def _end_joins(self, channel: Channel) -> None:
        if channel.unfinished == 0:
            joiners, channel.joiners = channel.joiners, []
            for joiner in joiners:
                self._broker.answer(joiner, frames.OK)

    def _later(self, end: Endpoint, number: int, negative: Callable[[], Any]) -> None:
        """Answer so, unless the request is answered before all that waits to be read is read."""

        def now() -> None:
            if end.active == number and not end.closed and end.answering != number:
                end.the_channel.forget(end)
                negative()

        # The first call comes before the next look at the sockets, the second after it.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, now)
