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
import sys
import time
from collections.abc import Callable
from typing import Any

from .._channels.addresses import Addresses
from .._memory.engine import LOCKS_NAMED, MAX_HOSTS, Engine, lock_name
from .._net import heartbeat
from .._net.listener import Listener, Peer
from .._net.wire import format_address, is_loopback
from .._os import descriptors, procs
from .._settings import setting
from .._workers.console import bound, patient
from ..errors import ClusterError, ProtocolError
from .names import Names

log = logging.getLogger("dsmproc")

PENDING_SECONDS = 10.0  # a placement that was not used by then counts no more
GOODBYE_SECONDS = 5.0
HANG_UP_SECONDS = 1.0  # to tell an expelled host why; it may not listen
LOSSES_TOLD = 3
ENGINE_GRACE = 1.0  # seconds; when a host ends, its control connection says so, and better


@dataclasses.dataclass
class Host:
    """An agent as the master knows it."""

    id: int
    address: tuple[str, int]
    slots: int
    pid: int
    machine: str
    memory: int  # bytes of its machine
    socket: str
    control: Peer
    output: Peer | None = None
    ready: bool = False
    engine: bool = False  # its engine is connected to ours
    leaving: bool = False  # nothing new is placed there
    goodbye: bool = False  # it has left: its end is no loss
    sent: int = 0  # the last output of it that went to a console
    started: int = 0
    pids: set[int] = dataclasses.field(default_factory=set)
    pulse: heartbeat.Pulse = dataclasses.field(default_factory=heartbeat.Pulse)
    pending: list[float] = dataclasses.field(default_factory=list)

    def load(self) -> float:
        """Processes per slot, placements on their way included."""
        now = time.monotonic()
        self.pending = [until for until in self.pending if until > now]
        return (len(self.pids) + len(self.pending)) / self.slots

    def public(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "address": self.address,
            "slots": self.slots,
            "pid": self.pid,
            "machine": self.machine,
            "socket": self.socket,
            "processes": len(self.pids),
            "ready": self.ready and not self.leaving,
            "state": "leaving" if self.leaving else "ready" if self.ready else "joining",
        }


class Master:
    def __init__(self, key: bytes, reserved: int = 0) -> None:
        """The first `reserved` host ids are for agents that wish for them."""
        self.key = key
        self.listener = Listener(key)
        self.hosts: dict[int, Host] = {}
        self.consoles: list[tuple[Peer, str]] = []  # and the sessions of each, by prefix
        self.sessions: dict[str, int] = {}  # session -> host of its driver
        self.ending = asyncio.Event()
        self._next_host = reserved
        self._used: set[int] = set()
        self.losses: list[str] = []
        self._warned = False
        self._orphans: dict[int, list[str]] = {}  # host -> locks
        self.address: tuple[str, int] = ("", 0)
        # What agents (and, through them, clients) may ask. Others add theirs: a function of the
        # asking Host and the arguments; what it raises is raised at the asker.
        self.calls: dict[str, Callable[..., Any]] = {
            "place": self._place,
            "claim": self._claim,
            "hosts": lambda _: self._public_hosts(),
            "leaving": self._leaving,
            "losses": lambda _: self.losses[-LOSSES_TOLD:],
            "stats": lambda _, reset: self._stats(reset),
        }
        self._notices: dict[str, Callable[..., None]] = {  # what agents tell
            "beat": lambda _: None,  # it was heard: that is all
            "call": self._on_call,
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
        self.engine = Engine("master", model=self.model)
        self.names = Names(self.engine, self._fixed_homes, self._memory)
        self.calls["names"] = lambda _, question, *of: self.names.calls[question](*of)
        self.session_ended.append(self.names.session_ended)
        self.addresses = Addresses(self._public)
        self.calls["addresses"] = lambda host, *of: self.addresses.call(host.id, *of)
        self.session_ended.append(self.addresses.session_ended)
        for purpose, handler in (
            ("control", self._control),
            ("output", self._output),
            ("console", self._console),
            ("query", self._query),
            ("engine-master", self._engine_peer),
        ):
            self.listener.on(purpose, handler)

    async def _engine_peer(self, peer: Peer) -> None:
        """An agent's engine: it says its host id, then the descriptor belongs to our engine."""
        number = await peer.recv()
        host = self.hosts.get(number)
        if host is None or host.engine:
            raise ProtocolError(f"there is no host {number!r} whose engine is awaited")
        host.engine = True
        self.engine.host_joined(number)
        await peer.send("ok")
        if self.hosts.get(number) is host:  # else it was lost meanwhile
            keys = None if peer.seals is None else peer.seals.engine
            self.engine.add_peer(peer.detach(), number, "master", keys)

    def _stop_engine(self) -> None:
        """A notice that came in this turn of the loop is of no use any more."""
        asyncio.get_running_loop().remove_reader(self.engine.fileno())
        self.engine.stop()

    def _engine_notices(self) -> None:
        for notice in self.engine.notices():
            if notice.kind == "fatal":
                log.error("the master's engine failed: %s", notice.text)
                self.ending.set()
            elif notice.kind == "log":
                log.warning("the master's engine: %s", notice.text)
            elif notice.kind == "cut":
                self._broadcast(("host-cut", notice.host))
            elif notice.kind == "owner_died":
                self._owner_died(notice.host, notice.id, notice.arg)
            elif notice.kind == "peer_lost":
                log.info("the engine connection to host %d ended", notice.host)
                why = f"the connection between its engine and the master's {notice.why}"
                self.listener.spawn(self._engine_lost(notice.host, why))

    def _owner_died(self, host: int, lock: int, count: int) -> None:
        """One of so many locks that were at a lost host; not all are named."""
        named = self._orphans.setdefault(host, [])
        named.append(lock_name(lock))
        if len(named) < min(count, LOCKS_NAMED):
            return
        del self._orphans[host]
        if self.ending.is_set():
            return
        more = f" and {count - len(named)} more" if count > len(named) else ""
        log.warning(
            "locks that were at host %d, which is lost, are free: %s%s; what they guard may be "
            "half-written (dsmproc.owner_died tells the next holder)",
            *(host, ", ".join(named), more),
        )

    async def _engine_lost(self, number: int, why: str) -> None:
        host = self.hosts.get(number)
        await asyncio.sleep(ENGINE_GRACE)
        if host is not None:
            self._expel(host, why)

    # -- life ---------------------------------------------------------------------------------

    async def run(self, listening: socket.socket, lifeline: int | None) -> int:
        """Serve until a console, a signal or the end of the lifeline says stop."""
        descriptors.take_all()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, f"it got {number.name}")
        if lifeline is not None:
            loop.add_reader(lifeline, self._lifeline_ended, lifeline)
        loop.add_reader(self.engine.fileno(), self._engine_notices)
        self.address = self.listener.adopt(listening)
        self.listener.spawn(heartbeat.beating(self._beat))
        log.info("the master listens at %s", format_address(self.address))
        self._warn_if_reachable(self.address)
        await self.ending.wait()
        await self._goodbye()
        return 0

    def _warn_if_reachable(self, address: tuple[str, int]) -> None:
        """Once in a cluster's life: what an onlooker can see."""
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
        for console, _ in self.consoles:
            console.post(("done",))
            await console.flush()
        await self.listener.close()
        self._stop_engine()

    def _broadcast(self, message: Any) -> None:
        for host in self.hosts.values():
            host.control.post(message)
        for console, _ in self.consoles:
            console.post(message)

    # -- agents -------------------------------------------------------------------------------

    async def _control(self, peer: Peer) -> None:
        _, offer = await peer.recv()
        try:
            host = self._admit(peer, offer)
        except ClusterError as error:
            await peer.send(("refused", str(error)))
            return
        peer.host = host.id
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

    def _admit(self, peer: Peer, offer: dict[str, Any]) -> Host:
        wish = offer.pop("wish", None)
        number = self._next_host if wish is None else wish
        while number in self._used:  # ids are not used twice
            number += 1
        if number >= MAX_HOSTS:
            raise ClusterError(
                f"the cluster is full: it numbers at most {MAX_HOSTS} hosts in its life"
            )
        self._used.add(number)
        if wish is None:
            self._next_host = number + 1
        host = Host(id=number, control=peer, **offer)
        log.info("host %d joined: %s", number, format_address(host.address))
        self._warn_if_reachable(host.address)
        self.hosts[number] = host
        return host

    def _expel(self, host: Host, reason: str) -> None:
        """It lives, but the cluster cannot go on with it."""
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
                self._expel(host, "its agent shows " + heartbeat.silence())

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
        drivers = self.sessions.values()
        if number in drivers and host.id not in drivers:
            host, other = other, host
        self._expel(other, f"the connection between its engine and that of host {host.id} {why}")

    def _remove(self, host: Host, reason: str) -> None:
        if self.hosts.get(host.id) is not host:
            return
        del self.hosts[host.id]
        self._tell_removed(host, reason)
        if host.engine:
            self.engine.host_lost(host.id)
        else:  # ours has never heard of it, nor has any other
            self._broadcast(("host-cut", host.id))
        for session, home in list(self.sessions.items()):
            if home == host.id:
                self._on_session_ended(host, session)

    def _tell_removed(self, host: Host, reason: str) -> None:
        if host.goodbye:
            self._broadcast(("host-left", host.id, host.address))
            return
        text = f"host {host.id} ({format_address(host.address)}, agent pid {host.pid}) was lost: "
        log.warning("%s", text + reason)
        self.losses.append(text + reason)
        self._broadcast(("host-lost", host.id, text + reason, host.address))

    def _on_ready(self, host: Host) -> None:
        host.ready = True
        self._broadcast(("host-joined", host.public()))

    def _on_call(self, host: Host, number: int, name: str, arguments: tuple[Any, ...]) -> None:
        try:
            answer = (True, self.calls[name](host, *arguments))
        except Exception as error:
            answer = (False, error)
        host.control.post(("reply", number, *answer))

    def _leaving(self, host: Host) -> None:
        """From the answer on no process is placed there."""
        host.leaving = True
        log.info("host %d leaves", host.id)
        self._broadcast(("host-leaving", host.public()))

    def _public(self, number: int) -> dict[str, Any] | None:
        host = self.hosts.get(number)
        return None if host is None else host.public()

    def _place(self, caller: Host, policy: str, wanted: int | None) -> dict[str, Any]:
        """The host for the next process of a client on the host `caller`."""
        ready = [host for host in self.hosts.values() if host.ready and not host.leaving]
        if wanted is not None:
            ready = [host for host in ready if host.id == wanted]
        elif policy == "local" and not caller.leaving:
            ready = [caller]
        elif policy == "remote":
            ready = [host for host in ready if host is not caller] or ready
        if not ready and wanted is None:
            raise LookupError("all hosts of the cluster are leaving it")
        if not ready:
            how = "leaving" if wanted in self.hosts else "not in"
            raise LookupError(f"host {wanted} is {how} the cluster")
        if policy == "spread":
            chosen = min(ready, key=lambda host: (host.started, host.id))
        else:
            chosen = min(ready, key=lambda host: (host.load(), host.id))
        chosen.pending.append(time.monotonic() + PENDING_SECONDS)
        chosen.started += 1
        return chosen.public()

    def _claim(self, host: Host, pid: int) -> bool:
        """A new process at `host`: False if another live process of the cluster has its pid."""
        if any(pid in other.pids for other in self.hosts.values()):
            return False
        if host.pending:
            host.pending.pop(0)
        host.pids.add(pid)
        return True

    def _fixed_homes(self) -> int:
        """Fixed homes are dealt out to the hosts 0, 1, ... as far as they are all there."""
        count = 0
        while count in self.hosts and self.hosts[count].public()["ready"]:
            count += 1
        return count

    def _memory(self) -> int:
        """Bytes that all hosts have together; several of them may be on one machine."""
        machines = {host.machine: host.memory for host in self.hosts.values()}
        return sum(machines.values())

    def _public_hosts(self) -> list[dict[str, Any]]:
        return [self.hosts[number].public() for number in sorted(self.hosts)]

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

    # -- sessions: a driver, and what it started anywhere ---------------------------------------

    def _on_session_began(self, host: Host, session: str) -> None:
        self.sessions[session] = host.id

    def _on_session_ended(self, _: Host, session: str) -> None:
        self.sessions.pop(session, None)
        for told in self.session_ended:
            told(session)
        for host in self.hosts.values():
            host.control.post(("end-session", session))

    # -- output -------------------------------------------------------------------------------

    async def _output(self, peer: Peer) -> None:
        bound(peer.sock)
        host = self.hosts[await peer.recv()]
        host.output = peer
        while True:
            number, session, stream, data = await peer.recv()
            host.sent = number
            for console, wanted in self.consoles:
                if session.startswith(wanted):
                    # Waiting here is the back pressure: nothing more is read from this agent.
                    await console.send(("output", host.id, number, stream, data))
                    break
            else:
                await asyncio.get_running_loop().run_in_executor(None, _write_all, stream, data)
                peer.post(number)

    async def _console(self, peer: Peer) -> None:
        patient(peer.sock)
        entry = (peer, await peer.recv())
        self.consoles.append(entry)
        try:
            for host in self.hosts.values():
                if host.ready:
                    await peer.send(("host-joined", host.public()))
            while True:
                message = await peer.recv()
                if message[0] == "ack":
                    writer = self.hosts.get(message[1])
                    if writer is not None and writer.output is not None:
                        writer.output.post(message[2])
                elif message[0] == "interrupt":
                    for host in self.hosts.values():
                        host.control.post(("interrupt", entry[1]))
                elif message[0] == "shutdown":
                    self.ending.set()
                elif message[0] == "leave":
                    return
        finally:
            self.consoles.remove(entry)
            for host in self.hosts.values():
                if host.output is not None:  # nobody else will
                    host.output.post(host.sent)

    # -- questions ----------------------------------------------------------------------------

    async def _query(self, peer: Peer) -> None:
        while True:
            question, argument = await peer.recv()
            if question == "membership":
                await peer.send(self._membership(argument))
            elif question == "status":
                await peer.send(self._status())
            else:
                await peer.send(None)

    def _membership(self, machine: str) -> dict[str, Any] | None:
        """The agent that a client on `machine` belongs to: the first of its machine."""
        for host in self._public_hosts():
            if host["machine"] == machine and host["ready"]:
                return host
        return None

    def _status(self) -> dict[str, Any]:
        return {
            "address": format_address(self.address),
            "pid": os.getpid(),
            "hosts": self._public_hosts(),
            "sessions": len(self.sessions),
        }


def _write_all(stream: int, data: bytes) -> None:
    out = sys.stdout if stream == 1 else sys.stderr
    out.buffer.write(data)
    out.flush()
