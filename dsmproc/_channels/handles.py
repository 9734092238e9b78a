"""Handles: ends of channels that travel in pickles (tickets.py has the broker's side)."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from typing import NamedTuple

from .. import _membership
from . import frames
from .client import Link, Owner


class Handle(NamedTuple):
    """An end of a channel, in a pickle."""

    owner: Owner
    channel: int
    role: int
    ticket: int
    told: int  # who unpickles it is not told again


class _Pickling(threading.local):
    """The carrier of the tickets of the handles that this thread pickles now."""

    carried: list[frames.Place] | None = None


_pickling = _Pickling()
_anchors: dict[tuple[int, int], Link] = {}
_anchors_lock = threading.Lock()


@contextlib.contextmanager
def carrying() -> Iterator[list[frames.Place]]:
    """Collect the tickets made while pickling: the carrier of the pickle takes them over."""
    before, _pickling.carried = _pickling.carried, []
    try:
        yield _pickling.carried
    finally:
        _pickling.carried = before


def handle(link: Link) -> Handle:
    """Pickle an end: it counts as held from now on, until it is unpickled or cannot be any more.

    Without a carrier (somebody pickles by hand) that is until this process ends.
    """
    link.check()
    body = frames.NEW_TICKET.pack(link.channel, link.role)
    with _anchors_lock:
        anchor = _anchors.get((os.getpid(), link.owner.host))
        if anchor is None or anchor.closed:
            anchor = _anchors[os.getpid(), link.owner.host] = Link(link.owner)
    reply = anchor.request(frames.TICKET, body)
    if reply.kind != frames.OK:
        raise FileNotFoundError(errno.ENOENT, reply.body.decode())
    (ticket,) = frames.NUMBER.unpack(reply.body)
    if _pickling.carried is not None:
        _pickling.carried.append(frames.Place(link.owner.host, ticket))
    return Handle(link.owner, link.channel, link.role, ticket, link.told)


def redeem(handle: Handle, options: int = 0) -> Link:
    """Unpickle an end."""
    owner = Owner(handle.owner[0], tuple(handle.owner[1]))  # type: ignore[arg-type]
    return Link(
        owner,
        handle.channel,
        handle.role,
        options=options,
        ticket=handle.ticket,
        told=handle.told,
    )


def _close_anchors() -> None:
    """This process leaves the cluster."""
    while _anchors:
        _, anchor = _anchors.popitem()
        anchor.close(quietly=True)


_membership.on_leave(_close_anchors)


def _forked_child() -> None:
    """The parent's anchors hold the parent's tickets; ours are new. Closing our copies of them
    lets the parent's end count as the end."""
    global _anchors_lock
    _anchors_lock = threading.Lock()
    _close_anchors()


os.register_at_fork(after_in_child=_forked_child)
