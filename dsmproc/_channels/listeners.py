"""Listeners at addresses of one host, and how processes of the other hosts reach them.

See _channels/addresses.py. Challenges, and what goes on, are between the listener and its client.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Any, NamedTuple

from .. import _membership
from .._os.procs import machine_id
from ..errors import HostLostError, ProcessError
from . import frames
from .addresses import Place, on_one_host
from .client import Link, Owner


class Announced(NamedTuple):
    """That this process listens somewhere; a forked child does not take it back."""

    pid: int
    place: Place


def _ask(question: str, place: Place) -> Any:
    joined = _membership.client()
    return joined.ask("master", "addresses", question, joined.session, place)


def announce(address: Any) -> Announced | None:
    """The other hosts' processes may ask for it; nothing to do if they can reach it anyway."""
    place = on_one_host(address) if _membership.active() else None
    if place is None:
        return None
    _ask("announce", place)
    return Announced(os.getpid(), place)


def withdraw(announced: Announced | None) -> None:
    """Nobody listens there any more."""
    if announced is not None and announced.pid == os.getpid() and _membership.active():
        with contextlib.suppress(OSError, ProcessError):
            _ask("withdraw", announced.place)


def host_at(address: Any) -> int | None:
    """The host of whoever of this program listens there, if it can be told."""
    if address is None or not _membership.active():  # a server that was not started has none
        return None
    place, here = on_one_host(address), _membership.client()
    if place is not None:
        told = _ask("find", place)  # whoever is meant on another machine is not who answers here
        found = [told] if told is not None and told["machine"] == machine_id() else []
    else:
        found = [host for host in here.ask("hosts") if host["address"][0] == address[0]]
    return found[0]["id"] if len(found) == 1 else None


def dial(address: Any) -> tuple[Link, Link] | None:
    """Links from and to whoever of this program listens there on another host; None: nobody."""
    place = on_one_host(address) if _membership.active() else None
    if place is None:
        return None
    host = _ask("find", place)
    joined = _membership.client()
    if host is None or host["id"] == joined.host:
        return None
    try:
        with joined.connect(host, "dial") as wired:
            answer = wired.request(place)
            if isinstance(answer, int):
                why = f"{os.strerror(answer)} (at {place!r} on host {host['id']})"
                raise ConnectionRefusedError(errno.ECONNREFUSED, why)
            return _links(Owner(host["id"], tuple(host["address"])), *answer)
    except (EOFError, ConnectionResetError) as error:
        raise HostLostError(joined.why_lost(host["id"]), host["id"]) from error


def _links(owner: Owner, given: tuple[int, int], taken: tuple[int, int]) -> tuple[Link, Link]:
    """The tickets are good while the agent's connection lasts."""
    reader = Link(owner, given[0], frames.READER, options=frames.TOKENS, ticket=given[1])
    try:
        return reader, Link(owner, taken[0], frames.WRITER, ticket=taken[1])
    except BaseException:
        reader.close(quietly=True)
        raise
