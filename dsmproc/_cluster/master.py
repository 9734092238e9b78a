"""The master: who is in the cluster, where the next process goes, and whose output goes where.

    purpose    from         what is said
    control    agent        join, ready, calls (place, claim), notices (gone, attached, detached)
    output     agent        its workers' output, acknowledged when a console has written it
    console    supervisor   the output, hosts that come and go; from it: interrupt, shutdown
    query      anybody      one question, one answer (membership, status)

An agent whose control connection closes without `bye` is lost, and everybody is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from .._channels.addresses import Addresses
from .._net import heartbeat
from .._net.listener import Listener, Peer
from .._net.wire import format_address, is_loopback
from .._os import descriptors, procs
from .._settings import setting
from ..errors import ClusterError
from .consoles import Consoles
from .hosts import Host, Hosts
from .master_engine import MasterEngine
from .names import Names

log = logging.getLogger("dsmproc")

GOODBYE_SECONDS = 5.0
HANG_UP_SECONDS = 1.0  # to tell an expelled host why; it may not listen
LOSSES_TOLD = 3
FIGURES_SECONDS = 1.0


@dataclasses.dataclass
class Session:
    """A driver, and what it started anywhere."""

    host: int
    program: str
    pid: int
    began: float = dataclasses.field(default_factory=time.monotonic)

    def status(self) -> dict[str, Any]:
        age = time.monotonic() - self.began
        return {"host": self.host, "program": self.program, "pid": self.pid, "age": age}


class Master:
    def __init__(self, key: bytes, reserved: int = 0) -> None:
        """The first `reserved` host ids are for agents that wish for them."""
        self.key = key
        self.listener = Listener(key)
        self.hosts = Hosts(reserved)
        self._began = time.monotonic()
        self.sessions: dict[str, Session] = {}
        self.ending = asyncio.Event()
        self.consoles = Consoles(self.listener, self.hosts, self.ending)
        self.losses: list[str] = []
        self._warned = False
        self.address: tuple[str, int] = ("", 0)
        # What agents (and, through them, clients) may ask. Others add theirs: a function of the
        # asking Host and the arguments; what it raises is raised at the asker.
        self.calls: dict[str, Callable[..., Any]] = {
            "place": self.hosts.place,
            "claim": self.hosts.claim,
            "hosts": lambda _: self.hosts.all_public(),
            "leaving": self._leaving,
            "losses": lambda _: self.losses[-LOSSES_TOLD:],
            "stats": lambda _, reset: self._stats(reset),
        }
        self._notices: dict[str, Callable[..., None]] = {  # what agents tell
            "beat": lambda _: None,  # it was heard: that is all
            "call": self._on_call,
            "figures": Host.figures,
            "gone": lambda host, pid: host.pids.discard(pid),
            "peer-lost": self._on_peer_lost,
            "probe": self._on_probe,
            "probed": self._on_probed,
            "ready": self._on_ready,
            "session-began": self._on_session_began,
            "session-ended": self._on_session_ended,
        }
        # Told of every driver's end, with its session: for what lives as long as a driver.
        self.session_ended: list[Callable[[str], None]] = []
        self.model = setting("DSMPROC_CONSISTENCY")
        self.memory = MasterEngine(self, self.model)
        self.engine = self.memory.engine
        self.names = Names(self.engine, self.hosts.fixed_homes, self.hosts.memory)
        self.calls["names"] = lambda _, question, *of: self.names.calls[question](*of)
        self.session_ended.append(self.names.session_ended)
        self.addresses = Addresses(self.hosts.public)
        self.calls["addresses"] = lambda host, *of: self.addresses.call(host.id, *of)
        self.session_ended.append(self.addresses.session_ended)
        self.listener.on("control", self._control)
        self.listener.on("query", self._query)

    # -- life ---------------------------------------------------------------------------------

    async def run(self, listening: socket.socket, lifeline: int | None) -> int:
        """Serve until a console, a signal or the end of the lifeline says stop."""
        descriptors.take_all()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, f"it got {number.name}")
        if lifeline is not None:
            loop.add_reader(lifeline, self._lifeline_ended, lifeline)
        self.memory.start()
        self.address = self.listener.adopt(listening)
        self.listener.spawn(heartbeat.beating(self._beat))
        log.info("the master listens at %s", format_address(self.address))
        self._warn_if_reachable(self.address)
        await self.ending.wait()
        await self._goodbye()
        return 0

    def _warn_if_reachable(self, address: tuple[str, int]) -> None:
        """Warn, once in a cluster's life, of what an onlooker can see."""
        if not self._warned and not is_loopback(address[0]):
            self._warned = True
            log.warning(
                "traffic at %s is authenticated but not encrypted: whoever is on the network can "
                "read it, so it must be one that you trust",
                format_address(address),
            )

    def _lifeline_ended(self, fd: int) -> None:
        asyncio.get_running_loop().remove_reader(fd)
        self._end("its supervisor is gone")

    def _end(self, why: str) -> None:
        if not self.ending.is_set():
            log.warning("the master ends, and the cluster with it: %s", why)
        self.ending.set()

    async def _goodbye(self) -> None:
        for host in self.hosts.values():
            host.control.post(("shutdown",))
        deadline = time.monotonic() + GOODBYE_SECONDS
        while self.hosts and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        await self.consoles.done()
        await self.listener.close()
        self.memory.stop()

    def broadcast(self, message: Any) -> None:
        for host in self.hosts.values():
            host.control.post(message)
        self.consoles.post(message)

    # -- agents -------------------------------------------------------------------------------

    async def _control(self, peer: Peer) -> None:
        _, offer = await peer.recv()
        try:
            host = self.hosts.admit(peer, offer)
        except ClusterError as error:
            await peer.send(("refused", str(error)))
            return
        peer.host = host.id
        self._warn_if_reachable(host.address)
        others = [other.public() for other in self.hosts.values() if other is not host]
        await peer.send(("welcome", host.id, others, self.model))
        reason = "the connection to its agent closed without a goodbye"
        try:
            while True:
                notice, *arguments = await peer.recv()
                host.pulse.heard()
                if notice == "bye":
                    host.goodbye = True
                    break
                self._notices[notice](host, *arguments)
        except EOFError:
            pass
        except OSError as error:
            reason = f"the connection to its agent failed ({error.strerror or error})"
        except Exception as error:
            reason = f"its agent says what makes no sense ({error!r})"
            log.debug("where it failed", exc_info=True)
        finally:
            self._remove(host, reason)

    def expel(self, host: Host, reason: str) -> None:
        """Remove a host that lives, but with which the cluster cannot go on."""
        if self.hosts.get(host.id) is not host:
            return
        host.control.post(("expelled", reason))
        self._remove(host, reason)
        self.listener.spawn(self._hang_up(host.control))
        if host.output is not None:
            self.listener.spawn(self._hang_up(host.output))

    async def _hang_up(self, peer: Peer) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(peer.flush(), HANG_UP_SECONDS)
        with contextlib.suppress(OSError):
            peer.sock.shutdown(socket.SHUT_RDWR)

    def _beat(self) -> None:
        for host in list(self.hosts.values()):
            host.control.post(("beat",))
            if host.pulse.beat():
                self.expel(host, "its agent shows " + heartbeat.silence())

    def _on_probe(self, host: Host, number: int, token: int) -> None:
        """An agent wants to hear of another one; if that is gone, it has been told."""
        if number in self.hosts:
            self.hosts[number].control.post(("probe", host.id, token))
        else:
            host.control.post(("unknown", number))

    def _on_probed(self, _: Host, asker: int, token: int) -> None:
        if asker in self.hosts:
            self.hosts[asker].control.post(("probed", token))

    def _on_peer_lost(self, host: Host, number: int, why: str) -> None:
        """Two hosts cannot speak: one of them must go; rather not one with a driver."""
        other = self.hosts.get(number)
        if other is None or self.hosts.get(host.id) is not host:
            return
        drivers = [session.host for session in self.sessions.values()]
        if number in drivers and host.id not in drivers:
            host, other = other, host
        self.expel(other, f"the connection between its engine and that of host {host.id} {why}")

    def _remove(self, host: Host, reason: str) -> None:
        if self.hosts.get(host.id) is not host:
            return
        del self.hosts[host.id]
        self._tell_removed(host, reason)
        if host.engine:
            self.engine.host_lost(host.id)
        else:  # ours has never heard of it, nor has any other
            self.broadcast(("host-cut", host.id))
        for session, of in list(self.sessions.items()):
            if of.host == host.id:
                self._on_session_ended(host, session)

    def _tell_removed(self, host: Host, reason: str) -> None:
        if host.goodbye:
            self.broadcast(("host-left", host.id, host.address))
            return
        text = f"host {host.id} ({format_address(host.address)}, agent pid {host.pid}) was lost: "
        log.warning("%s", text + reason)
        self.losses.append(text + reason)
        self.broadcast(("host-lost", host.id, text + reason, host.address))

    def _on_ready(self, host: Host) -> None:
        host.ready = True
        self.broadcast(("host-joined", host.public()))

    def _on_call(self, host: Host, number: int, name: str, arguments: tuple[Any, ...]) -> None:
        try:
            answer = (True, self.calls[name](host, *arguments))
        except Exception as error:
            answer = (False, error)
        host.control.post(("reply", number, *answer))

    def _leaving(self, host: Host) -> None:
        """Place no process there from the answer on."""
        host.leaving = True
        log.info("host %d leaves", host.id)
        self.broadcast(("host-leaving", host.public()))

    def _stats(self, reset: bool) -> dict[str, Any]:
        """Our own share of what is sent, and the host on whose machine we are (-1: none)."""
        mine = procs.machine_id()
        beside = [host.id for host in self.hosts.values() if host.machine == mine]
        counted = self.engine.stats(reset)
        sent, heard = self.listener.traffic.totals(reset)
        return {
            "host": min(beside, default=-1),
            "messages_sent": counted["messages_sent"],
            "bytes_sent": counted["bytes_sent"] + sent,
            "heard": heard,
        }

    # -- sessions -----------------------------------------------------------------------------

    def _on_session_began(self, host: Host, session: str, program: str, pid: int) -> None:
        self.sessions[session] = Session(host.id, program, pid)

    def _on_session_ended(self, _: Host, session: str) -> None:
        self.sessions.pop(session, None)
        for told in self.session_ended:
            told(session)
        for host in self.hosts.values():
            host.control.post(("end-session", session))

    # -- questions ----------------------------------------------------------------------------

    async def _query(self, peer: Peer) -> None:
        while True:
            question, argument = await peer.recv()
            if question == "membership":
                await peer.send(self._membership(argument))
            elif question == "status":
                await peer.send(await self._status())
            else:
                await peer.send(None)

    def _membership(self, machine: str) -> dict[str, Any] | None:
        """The agent that a client on `machine` belongs to: the first of its machine."""
        for host in self.hosts.all_public():
            if host["machine"] == machine and host["ready"]:
                return host
        return None

    async def _status(self) -> dict[str, Any]:
        """A host that does not answer in time has its last figures."""
        asked = [host for host in self.hosts.values() if host.ready]
        for host in asked:
            host.told.clear()
            host.control.post(("figures",))
        with contextlib.suppress(asyncio.TimeoutError):
            told = asyncio.gather(*(host.told.wait() for host in asked))
            await asyncio.wait_for(told, FIGURES_SECONDS)
        return {
            "address": format_address(self.address),
            "pid": os.getpid(),
            "age": time.monotonic() - self._began,
            "hosts": [self.hosts[number].status() for number in sorted(self.hosts)],
            "sessions": len(self.sessions),
            "drivers": [session.status() for session in self.sessions.values()],
        }
