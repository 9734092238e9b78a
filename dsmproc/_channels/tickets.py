"""Tickets: ends of channels in flight, pickled here and not yet unpickled there.

A ticket is a holder of its channel like a link, so that an end on its way counts. Something always
holds the ticket, and when that goes, the ticket does:

    an anchor link   of the process that pickled the end
    a Carried        a message of this broker, or a worker of this agent that is being started

A carrier takes the tickets over from the anchor before the sender is told that all is well, so
there is no moment in which nobody holds them; the ticket ends when its end is unpickled.
"""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from .._net.frames import Reader
from .._net.listener import Peer
from . import frames
from .channel import Channel, End
from .frames import Place

log = logging.getLogger("dsmproc")

REDEEM_NOTHING = 0


@dataclasses.dataclass
class Ticket:
    channel: Channel
    role: int
    holder: Any


class Carried:
    """The tickets of one carrier, wherever they were issued."""

    def __init__(self, office: TicketOffice) -> None:
        self._office = office
        self.peers: list[Peer] = []

    def close(self) -> None:
        """The carrier has done its work, or will never: ends not unpickled by now are closed."""
        self._office.holder_gone(self)
        for peer in self.peers:
            peer.close()
        self.peers.clear()


class TicketOffice:
    """`let_go` is told of a holder less of a channel, which had a role, at a host."""

    def __init__(
        self,
        let_go: Callable[[Channel, int, int | None], None],
        connect: Callable[[int], Awaitable[Peer]],
    ) -> None:
        self.host = 0
        self._let_go = let_go
        self._connect = connect
        self._tickets: dict[int, Ticket] = {}

    def issue(self, channel: Channel, role: int, holder: Any) -> int:
        number = random.getrandbits(63) | 1
        self._tickets[number] = Ticket(channel, role, holder)
        channel.hold(role)
        return number

    def redeem(self, number: int, channel: Channel) -> bool:
        """A link takes a ticket's place; it must be counted before anything else happens."""
        if number == REDEEM_NOTHING:
            return True
        ticket = self._tickets.get(number)
        if ticket is None or ticket.channel is not channel:
            return False
        del self._tickets[number]
        # The link is counted in this same turn of the loop, so nobody sees the moment between.
        channel.let_go(ticket.role)
        return True

    def move(self, number: int, holder: Any) -> None:
        """Give a ticket to another holder; one that is redeemed already is no matter."""
        ticket = self._tickets.get(number)
        if ticket is not None:
            ticket.holder = holder
            ticket.channel.given(_host_of(holder), ticket.role)

    def holder_gone(self, holder: Any) -> None:
        gone = [number for number, ticket in self._tickets.items() if ticket.holder is holder]
        for number in gone:
            ticket = self._tickets.pop(number)
            self._let_go(ticket.channel, ticket.role, _host_of(holder))

    async def carry(self, places: Iterable[Place]) -> Carried:
        """Take over tickets of any host. A host that is lost has no channels any more."""
        carried = Carried(self)
        remote: dict[int, list[Place]] = {}
        for place in places:
            if place.host == self.host:
                self.move(place.ticket, carried)
            else:
                remote.setdefault(place.host, []).append(place)
        for host, theirs in remote.items():
            try:
                carried.peers.append(await self._adopt(host, theirs))
            except (OSError, EOFError, LookupError) as error:
                log.debug("tickets of host %d: %s", host, error)
        return carried

    async def _adopt(self, host: int, places: list[Place]) -> Peer:
        peer = await self._connect(host)
        try:
            anchor = frames.Attach(0, 0, 0, 0, 0, 0, 0)
            adopt = b"".join(place.pack() for place in places)
            await _request(peer, frames.frame(frames.ATTACH, 1, anchor.pack()))
            await _request(peer, frames.frame(frames.ADOPT, 2, adopt, tickets=len(places)))
        except BaseException:
            peer.close()
            raise
        return peer


def _host_of(holder: Any) -> int | None:
    """The other host whose agent or process holds tickets, if it is not ours."""
    return holder.home if isinstance(holder, End) else None


async def _request(peer: Peer, frame: bytes) -> None:
    await peer.write(frame, b"")
    (kind, *_), _ = await peer.read(Reader(frames.FORMAT, peer.seals))
    if kind != frames.OK:
        raise LookupError("the broker refused")
