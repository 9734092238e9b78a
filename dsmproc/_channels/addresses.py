"""Addresses that mean something on one host only, and which host that is.

A program that listens at a loopback address or a path, and gives a child that address, expects the
child to reach it. So a Listener tells the master where it is, and a Client that finds nobody at
such an address on its own host asks there. Nothing listens more widely for it: the agent of the
listener's host connects to it (`Relays.dial`), for whoever has the cluster's key.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from typing import Any

Place = Any  # ("127.0.0.1", port) or a path


def on_one_host(address: Any) -> Place | None:
    """How processes of the address's own host would reach it; None if other hosts can as well."""
    if isinstance(address, (str, bytes)):
        path = os.fsdecode(address)
        return path if path.startswith("\0") else os.path.abspath(path) if path else None
    if not isinstance(address, tuple) or len(address) != 2:
        return None
    name, port = address
    if type(port) is not int or not 0 < port < 1 << 16:
        return None
    if name in ("", "localhost"):
        return ("127.0.0.1", port)
    try:
        number = ipaddress.IPv4Address(name)
    except ValueError:
        return None
    if number.is_unspecified:
        return ("127.0.0.1", port)
    return (str(number), port) if number.is_loopback else None


class Addresses:
    """At the master: where the listeners of each driver's processes are; the newest counts."""

    def __init__(self, public: Callable[[int], dict[str, Any] | None]) -> None:
        self._public = public
        self._hosts: dict[tuple[str, Place], int] = {}

    def announce(self, host: int, session: str, place: Place) -> None:
        self._hosts[session, place] = host

    def withdraw(self, host: int, session: str, place: Place) -> None:
        if self._hosts.get((session, place)) == host:
            del self._hosts[session, place]

    def find(self, _: int, session: str, place: Place) -> dict[str, Any] | None:
        """The host where somebody of this driver listens there, if one does."""
        host = self._hosts.get((session, place))
        return None if host is None else self._public(host)

    def call(self, host: int, question: str, session: str, place: Place) -> Any:
        """What clients ask, from the host `host`."""
        calls = {"announce": self.announce, "withdraw": self.withdraw, "find": self.find}
        return calls[question](host, session, place)

    def session_ended(self, session: str) -> None:
        for key in [key for key in self._hosts if key[0] == session]:
            del self._hosts[key]
