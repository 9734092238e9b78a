"""What a client and a broker say to each other on a "channel" connection, after its handshake.

Every frame is a header and a body. A connection (a *link*) begins with ATTACH and is then one end
of one channel, or an anchor, which holds nothing but tickets. A client has at most one request
under way on a link; SEND, ACK, TOLD and READY are no requests.

    client -> broker                                broker -> client
    ATTACH   which channel, as what                 OK (Attached), ERROR
    SEND     a message                              nothing (BROKEN once, if nobody can read it)
    PUT      a message that needs an answer         OK, FULL (only with NOWAIT), BROKEN, LOST
    GET      one message                            MESSAGE, LOST, END, EMPTY (only with NOWAIT)
    ACK      the message, or LOST, has arrived      nothing
    TOLD     this process knows of so many losses   nothing
    POLL     is there one?                          YES, NO
    STATE    how many?                              OK (State)
    DONE     one task done                          OK, ERROR
    JOIN     until all tasks are done               OK, LOST
    CANCEL   the request with this number           what it came to, if anything, and CANCELLED
    TICKET   a place for a handle in flight         OK (the ticket)
    ADOPT    tickets, to be held by this link       OK
    SYNC     has all that was sent arrived?         OK
    ROOM     until the channel is not full, by size OK, BROKEN
    CLOSE    this end is closed                     OK (not to number 0), and then end of file

READY comes without a request, to a link that asked for such tokens, has no request under way and
was not told since its last one: it makes the descriptor of an idle reader readable.

LOST (Loss) is the answer to a request that has to wait, once for each lost host on which it waits
in vain (channel.py).

BROKEN carries the NUMBER of the host of the last reader, if that has not closed its end: it may be
lost with its host, of which the writer asks its own agent.

A stamp of 0 is none. A message may carry tickets: `tickets` of them stand before its data.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from .._net.frames import Format

HEADER = struct.Struct("<BBHIQQ")  # kind, flags, tickets, number, stamp, length of the body
LENGTH_LIMIT = 1 << 40
FORMAT = Format(HEADER, LENGTH_LIMIT)

ATTACH, SEND, PUT, GET, ACK, POLL, STATE, DONE, JOIN, CANCEL = range(1, 11)
TICKET, ADOPT, SYNC, CLOSE, ROOM, TOLD = range(11, 17)
OK, FULL, BROKEN, MESSAGE, END, EMPTY, YES, NO, CANCELLED, ERROR, READY, LOST = range(32, 44)

NOWAIT = 1  # flag of GET and PUT: answer at once
CARRIES = 2  # flag of MESSAGE: handles are in it, that hold until the ACK
SURE = 4  # flag of READY: nobody else reads here, and the stamp is the message's
RELAYED = 8  # flag of the OK to ATTACH: a descriptor is behind the channel; send by PUT
FOREIGN = 16  # flag of the same: the descriptor's other end may be on any machine
ENDED = 32  # flag of LOST: no writer is left

READER, WRITER = 1, 2  # roles of a link or ticket; a queue's are both, an anchor's none
WINDOW = 1 << 18  # bytes that a writer sends before it asks whether there is room for more
TASKS = 1  # option of a channel: count unfinished tasks
TOKENS = 2  # option of a link: wants READY


class Attach(NamedTuple):
    """The body of ATTACH."""

    channel: int  # 0: a new one
    role: int
    options: int
    messages: int  # a new channel's bounds, 0 for none
    size: int  # in bytes
    ticket: int  # the ticket that this link takes the place of, or 0
    after: int  # the link of the same client that this one replaces, or 0
    told: int = 0  # how many of the channel's losses its process knows

    def pack(self) -> bytes:
        return _ATTACH.pack(*self)


class Attached(NamedTuple):
    """The body of the OK to an ATTACH; the address of the broker's agent follows it."""

    channel: int
    link: int
    host: int
    port: int

    def pack(self, name: str) -> bytes:
        return _ATTACHED.pack(*self) + name.encode()


class State(NamedTuple):
    """The body of the OK to a STATE."""

    waiting: int  # messages
    unfinished: int  # tasks
    lost: int  # 1: a GET would be answered LOST

    def pack(self) -> bytes:
        return _STATE.pack(*self)


class Loss(NamedTuple):
    """The body of LOST: a host that used the channel; why it was lost follows."""

    number: int  # of the channel's losses, from 1
    host: int
    undone: int  # tasks that it had taken and not reported as done

    def pack(self, why: str) -> bytes:
        return _LOSS.pack(*self) + why.encode()


class Place(NamedTuple):
    """A ticket, and the host whose broker issued it."""

    host: int
    ticket: int

    def pack(self) -> bytes:
        return PLACE.pack(*self)


_ATTACH = struct.Struct("<QBBQQQQQ")
_ATTACHED = struct.Struct("<QQII")
_STATE = struct.Struct("<QQB")
_LOSS = struct.Struct("<QIQ")
PLACE = struct.Struct("<IQ")
NUMBER = struct.Struct("<Q")
NEW_TICKET = struct.Struct("<QB")  # channel, role


def unpack_attach(body: bytes | bytearray) -> Attach:
    return Attach(*_ATTACH.unpack(body))


def unpack_attached(body: bytes | bytearray) -> tuple[Attached, str]:
    return Attached(*_ATTACHED.unpack_from(body)), bytes(body[_ATTACHED.size :]).decode()


def unpack_state(body: bytes | bytearray) -> State:
    return State(*_STATE.unpack(body))


def unpack_loss(body: bytes | bytearray) -> tuple[Loss, str]:
    return Loss(*_LOSS.unpack_from(body)), bytes(body[_LOSS.size :]).decode()


def unpack_places(body: bytes | bytearray, count: int) -> list[Place]:
    return [Place(*PLACE.unpack_from(body, i * PLACE.size)) for i in range(count)]


def frame(
    kind: int,
    number: int = 0,
    body: bytes | bytearray | memoryview = b"",
    *,
    flags: int = 0,
    stamp: int = 0,
    tickets: int = 0,
) -> bytes:
    """Header and body in one piece: for small ones."""
    return HEADER.pack(kind, flags, tickets, number, stamp, len(body)) + body
