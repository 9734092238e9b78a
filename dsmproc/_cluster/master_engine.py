"""The master's engine: who is connected to it, and what it has to say."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from .._memory.engine import LOCKS_NAMED, Engine, lock_name
from .._net.listener import Listener, Peer
from ..errors import ProtocolError
from .hosts import Host, Hosts

log = logging.getLogger("dsmproc")

ENGINE_GRACE = 1.0  # seconds; when a host ends, its control connection says so, and better


class Master(Protocol):
    hosts: Hosts
    listener: Listener
    ending: asyncio.Event

    def broadcast(self, message: Any) -> None: ...
    def expel(self, host: Host, reason: str) -> None: ...


class MasterEngine:
    def __init__(self, master: Master, model: str) -> None:
        self._master = master
        self._orphans: dict[int, list[str]] = {}  # host -> locks
        self.engine = Engine("master", model=model)
        master.listener.on("engine-master", self._peer)

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self.engine.fileno(), self._notices)

    def stop(self) -> None:
        """A notice that came in this turn of the loop is of no use any more."""
        asyncio.get_running_loop().remove_reader(self.engine.fileno())
        self.engine.stop()

    async def _peer(self, peer: Peer) -> None:
        """An agent's engine: it says its host id, then the descriptor belongs to our engine."""
        number = await peer.recv()
        host = self._master.hosts.get(number)
        if host is None or host.engine:
            raise ProtocolError(f"there is no host {number!r} whose engine is awaited")
        host.engine = True
        self.engine.host_joined(number)
        await peer.send("ok")
        if self._master.hosts.get(number) is host:  # else it was lost meanwhile
            keys = None if peer.seals is None else peer.seals.engine
            self.engine.add_peer(peer.detach(), number, "master", keys)

    def _notices(self) -> None:
        for notice in self.engine.notices():
            if notice.kind == "fatal":
                log.error("the master's engine failed: %s", notice.text)
                self._master.ending.set()
            elif notice.kind == "log":
                log.warning("the master's engine: %s", notice.text)
            elif notice.kind == "cut":
                self._master.broadcast(("host-cut", notice.host))
            elif notice.kind == "owner_died":
                self._owner_died(notice.host, notice.id, notice.arg)
            elif notice.kind == "peer_lost":
                log.info("the engine connection to host %d ended", notice.host)
                why = f"the connection between its engine and the master's {notice.why}"
                self._master.listener.spawn(self._lost(notice.host, why))

    def _owner_died(self, host: int, lock: int, count: int) -> None:
        """Warn of the locks that were at a lost host, of which this is one; not all are named."""
        named = self._orphans.setdefault(host, [])
        named.append(lock_name(lock))
        if len(named) < min(count, LOCKS_NAMED):
            return
        del self._orphans[host]
        if self._master.ending.is_set():
            return
        more = f" and {count - len(named)} more" if count > len(named) else ""
        log.warning(
            "locks that were at host %d, which is lost, are free: %s%s; what they guard may be "
            "half-written (dsmproc.owner_died tells the next holder)",
            *(host, ", ".join(named), more),
        )

    async def _lost(self, number: int, why: str) -> None:
        host = self._master.hosts.get(number)
        await asyncio.sleep(ENGINE_GRACE)
        if host is not None:
            self._master.expel(host, why)
