"""The engine of an agent's host: its peers, what it has to say, and the two verbs of the memory."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from .. import _settings
from .._memory.async_client import Verbs
from .._memory.client import MASTER, Client, Engine
from .._memory.engine import MAX_HOSTS, lock_name
from .._net.listener import Listener, Peer
from ..errors import ProtocolError
from .losses import Losses

log = logging.getLogger("dsmproc")

ENGINE_GRACE = 1.0  # seconds; when a host ends, the master says so, and better


class Agent(Protocol):
    listener: Listener
    host: int
    losses: Losses
    reason: str  # why it ends

    def end(self, reason: str) -> None: ...
    def notice(self, *message: Any) -> None: ...
    async def connect(self, address: tuple[str, int], purpose: str) -> Peer: ...


class HostEngine:
    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._engine: Engine | None = None
        self._verbs: Verbs | None = None
        self._ready = asyncio.Event()
        agent.listener.on("engine-fast", self._peer)
        agent.listener.on("engine-bulk", self._peer)
        agent.listener.on("engine-client", self._client, local=True)

    @property
    def engine(self) -> Engine:
        assert self._engine is not None
        return self._engine

    @property
    def verbs(self) -> Verbs:
        assert self._verbs is not None
        return self._verbs

    def start(self, model: str) -> None:
        """This host's half of the memory: one native thread, and a client of it for this process,
        which publishes and observes what leaves and reaches the host by way of the agent."""
        self._engine = Engine(
            "agent", self._agent.host, model=model, memory=_settings.memory_limit()
        )
        self._verbs = Verbs(Client(self.engine.connect, lifeline=False))
        asyncio.get_running_loop().add_reader(self.engine.fileno(), self._notices)
        self._ready.set()

    def stop(self) -> None:
        if self._engine is not None:
            asyncio.get_running_loop().remove_reader(self._engine.fileno())
            self._engine.stop()

    def host_lost(self, host: int) -> None:
        if self._engine is not None:
            self._engine.host_lost(host)

    async def _peer(self, peer: Peer) -> None:
        host, known = await peer.recv(), (self._agent.host, *self._agent.losses.lost)
        if type(host) is not int or not 0 <= host < MAX_HOSTS or host in known:
            raise ProtocolError(f"there is no host {host!r} whose engine is awaited")
        await self._ready.wait()  # this host may have been admitted just now
        await peer.send("ok")
        keys = None if peer.seals is None else peer.seals.engine
        self.engine.add_peer(peer.detach(), host, peer.purpose.removeprefix("engine-"), keys)

    async def _client(self, peer: Peer) -> None:
        self.engine.add_client(peer.detach(), peer.pid)

    async def connect(self, host: int, address: tuple[str, int], channel: str) -> None:
        wired = await self._agent.connect(address, f"engine-{channel}")
        await wired.send(self._agent.host)
        await wired.recv()
        keys = None if wired.seals is None else wired.seals.engine
        self.engine.add_peer(wired.detach(), host, channel, keys)

    def client_died(self, pid: int, *, by_signal: bool, program_ends: bool) -> None:
        self.engine.client_died(pid, by_signal=by_signal, program_ends=program_ends)

    async def stats(self, reset: bool) -> dict[str, Any]:
        """Our engine's counters; `heard` is what we know of the bytes that others sent."""
        sent, heard = self._agent.listener.traffic.totals(reset)
        counted = self.engine.stats(reset)
        counted["bytes_sent"] += sent
        return {**counted, "heard": heard}

    def figures(self) -> tuple[int, int]:
        """Bytes that pages take here, and bytes sent since the start or the last reset."""
        sent, _ = self._agent.listener.traffic.totals(False)
        return self.engine.measure(), self.engine.stats()["bytes_sent"] + sent

    def _notices(self) -> None:
        host = self._agent.host
        for notice in self.engine.notices():
            if notice.kind == "fatal":
                log.error("host %d: the engine failed: %s", host, notice.text)
                self._agent.end("engine")
            elif notice.kind == "poisoned":
                log.error(
                    "host %d: process %d touched region %d, page %d, whose only copy was on host "
                    "%d, which was lost",
                    *(host, notice.pid, notice.id >> 32, notice.id & 0xFFFFFFFF, notice.host),
                )
            elif notice.kind == "peer_lost":
                log.info("host %d: engine connection to %d ended", host, notice.host)
                self._agent.listener.spawn(self._lost(notice.host, notice.why))
            elif notice.kind == "owner_died":
                log.log(
                    logging.INFO if notice.arg else logging.WARNING,
                    "host %d: process %d died while it held lock %s, which is free now: what that "
                    "guards may be half-written (dsmproc.owner_died tells the next holder)",
                    *(host, notice.pid, lock_name(notice.id)),
                )
            elif notice.kind == "log":
                log.warning("host %d: engine: %s", host, notice.text)

    async def _lost(self, host: int, why: str) -> None:
        """Tell the master, who decides which host has to go: else others would wait for ever."""
        await asyncio.sleep(ENGINE_GRACE)
        if self._agent.reason or host in self._agent.losses.lost:
            return
        what = "the engine's connection to"
        if host == MASTER:
            log.error("host %d: %s the master %s", self._agent.host, what, why)
            self._agent.end("lost")
        else:
            log.warning("host %d: %s host %d %s", self._agent.host, what, host, why)
            self._agent.notice("peer-lost", host, why)

    def publish_now(self) -> int | None:
        """Publish, if there is nothing to wait for; None if there is."""
        return self.verbs.publish_now()

    async def publish(self) -> int:
        """A message leaves this host: what its processes changed goes before it."""
        return await self.verbs.publish()

    async def observe(self, stamp: int | None) -> None:
        await self.verbs.observe(stamp)
