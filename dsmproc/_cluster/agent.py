"""The agent: one process per host. It starts and reaps the workers of its host.

    purpose      from                          what is said
    spawn        a client, on any host         a request; its answers are started and exit
    client       a client, on any host         questions, one answer to each (`Agent.questions`)
    session      the driver                    stays open while the driver lives
    modules      a worker, on any host         source of modules beside the driver's script
    engine-fast  an agent that joined later    its descriptor goes to the engine
    engine-bulk  the same
    channel      anybody                       an end of a pipe or queue (frames.py)
    wire         a client of this host         a descriptor, to be used from others (relays.py)
    partings     a client of this host         it is told which hosts are lost (partings.py)
    engine-client  a thread of a client of this host: its descriptor goes to the engine

The clients of a host speak to their agent through a unix socket, everybody else over TCP.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import logging
import os
import shutil
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from .. import _settings
from .._channels.broker import Broker
from .._channels.relays import Relays
from .._channels.requests import Requests
from .._memory.client import MASTER
from .._net import heartbeat, wire
from .._net.listener import Listener, Peer
from .._net.wire import format_address
from .._os import descriptors, procs
from .._pool.desks import Desks
from .._workers.console import patient
from .._workers.service import WorkerService
from ..errors import ClusterError
from .host_engine import HostEngine
from .losses import Losses
from .partings import Partings

log = logging.getLogger("dsmproc")

END_GRACE = 0.5  # seconds between SIGTERM and SIGKILL for workers that outlive their driver
MASTER_GRACE = 1.0  # seconds; the master's end is told by the control connection
UNIX_SOCKET = "agent"
# Reasons to end that are not the end of the cluster, and what waiters are told.
GIVEN_UP = {
    "a signal": "left the cluster",
    "lost": "lost the master",
    "lifeline": "ended: who started its agent is gone",
    "expelled": "was expelled from the cluster",
    "engine": "ended: its engine failed",
}


@dataclasses.dataclass
class Options:
    key: bytes
    master: tuple[str, int]
    directory: str  # private to this agent, removed when it ends
    bind: str = "127.0.0.1"
    slots: int = 0
    wish: int | None = None  # the host id to ask for
    shared: str | None = None  # a local cluster's directory: removed if the master is lost


class Agent:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.listener = Listener(options.key, "an agent")
        self.host = -1
        self.address: tuple[str, int] = ("", 0)
        self.socket_path = os.path.join(options.directory, UNIX_SOCKET)
        self.losses = Losses(self.notice)
        self._ready = False
        self._leaving: set[int] = set()  # since before this host was ready
        self.memory = HostEngine(self)
        self.broker = Broker(self.listener, self.memory, self._connect_broker, self.losses.is_lost)
        self.tickets = self.broker.tickets
        self.requests = Requests(self.broker)
        self.relays = Relays(self.broker, self.memory.observe)
        self.service = WorkerService(self, options.directory)
        self.desks = Desks(self.listener, options.directory)
        self.partings = Partings(self.listener)
        self.listener.on("client", self._client)
        # What clients may ask; others add theirs: agent.questions["name"] = an async function.
        self.questions: dict[str, Callable[..., Awaitable[Any]]] = {
            "place": lambda *arguments: self.call("place", *arguments),
            "hosts": lambda: self.call("hosts"),
            "master": self.call,  # any of Master.calls, by its name
            "why": self.losses.why,
            "lost": self.losses.why_if_lost,
            "roots": self.service.new_roots,
            "stats": self.memory.stats,
        }
        self._orders: dict[str, Callable[..., None]] = {  # what the master says
            "beat": lambda: None,  # it was heard: that is all
            "end-session": self.service.end_session,
            "expelled": self._on_expelled,
            "figures": lambda: self.notice("figures", *self.memory.figures()),
            "host-cut": self._on_host_cut,
            "host-joined": self._on_host_joined,
            "host-leaving": self._on_host_leaving,
            "host-left": self._on_host_left,
            "host-lost": self._on_host_lost,
            "interrupt": self.service.interrupt,
            "probe": self.losses.probe,
            "probed": self.losses.probed,
            "reply": self._on_reply,
            "unknown": self.losses.unknown,
            "shutdown": lambda: self.end("shutdown"),
        }
        self._control: Peer | None = None
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count()
        self._ending = asyncio.Event()
        self._hurry = asyncio.Event()
        self.reason = ""
        self._pulse = heartbeat.Pulse()  # of the master

    # -- life ---------------------------------------------------------------------------------

    async def run(self) -> int:
        """Join, serve, and leave when the master says so, is lost, or a signal comes."""
        descriptors.take_all()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        procs.become_subreaper()
        loop.add_signal_handler(signal.SIGCHLD, self.service.workers.reap)
        self.listener.listen_unix(self.socket_path)
        self.address = self.listener.listen_tcp(self.options.bind, 0)
        try:
            await self._join()
            await self._ending.wait()
            return await self._leave()
        finally:
            await self.service.workers.end(0)
            await self.listener.close()
            self.relays.close()
            await self.requests.close()
            self.memory.stop()
            shutil.rmtree(self.options.directory, ignore_errors=True)
            # The loop closes its pipe before its handlers: a child that ends then would complain.
            signal.set_wakeup_fd(-1)

    def _signalled(self, number: signal.Signals) -> None:
        """The first signal says leave, a second one says now."""
        if self.reason == "a signal":
            self._hurry.set()
        elif not self.reason:
            log.warning("host %d leaves the cluster: it got %s", self.host, number.name)
        self.end("a signal")

    def end(self, reason: str) -> None:
        self.reason = self.reason or reason
        self._ending.set()

    def giving_up(self) -> str:
        """Why our workers end now, if it is not their own doing or their program's end."""
        why = GIVEN_UP.get(self.reason)
        return f"host {self.host} ({format_address(self.address)}) {why}" if why else ""

    def membership(self) -> dict[str, Any]:
        """The facts that make a process of this host a client of ours."""
        return {
            "master": self.options.master,
            "key": self.options.key,
            "host": self.host,
            "socket": self.socket_path,
            "address": self.address,
        }

    async def connect(self, address: tuple[str, int], purpose: str) -> Peer:
        """A connection of our own to a listener of the cluster."""
        loop = asyncio.get_running_loop()
        host = None if self.host < 0 else self.host
        connected = await loop.run_in_executor(
            None, wire.connect_tcp, address, purpose, self.options.key, host
        )
        return Peer(connected.sock, connected.seals)

    async def _connect_broker(self, host: int) -> Peer:
        """A channel connection to the agent of another host."""
        for other in await self.call("hosts"):
            if other["id"] == host:
                return await self.connect(other["address"], "channel")
        raise LookupError(f"host {host} is not in the cluster")

    async def _join(self) -> None:
        try:
            self._control = await self.connect(self.options.master, "control")
        except OSError as error:
            at = format_address(self.options.master)
            raise ClusterError(f"the head at {at} cannot be reached: {error}") from None
        offer = {
            "address": self.address,
            "slots": self.options.slots,
            "pid": os.getpid(),
            "name": socket.gethostname(),
            "limit": _settings.memory_limit(),
            "machine": procs.machine_id(),
            "memory": procs.machine_memory(),
            "socket": self.socket_path,
            "wish": self.options.wish,
        }
        await self._control.send(("join", offer))
        answer, *values = await self._control.recv()
        if answer == "refused":
            raise ClusterError(f"the master refuses this host: {values[0]}")
        self.host, others, model = values
        self._leaving.update(host["id"] for host in others if host["state"] == "leaving")
        self.listener.whose = f"the agent of host {self.host}"
        output = await self.connect(self.options.master, "output")
        patient(output.sock)
        await output.send(self.host)
        self.listener.spawn(self._speak(output))
        self.listener.spawn(self._follow(self._control))
        self.listener.spawn(heartbeat.beating(self._beat))
        self.memory.start(model)
        await self.memory.connect(MASTER, self.options.master, "master")
        for other in others:
            for channel in ("fast", "bulk"):
                await self.memory.connect(other["id"], other["address"], channel)
        self.broker.opened(self.host, self.address)
        await self._control.send(("ready",))
        log.info("host %d listens at %s", self.host, format_address(self.address))

    async def _speak(self, output: Peer) -> None:
        """Our workers' words go to the master; without that way nothing can end in order."""
        ours = self.service.output
        try:
            await asyncio.gather(ours.send_to(output), ours.acknowledgements(output))
        except (OSError, EOFError) as error:
            await asyncio.sleep(MASTER_GRACE)
            if not self._ending.is_set():
                log.error("host %d: the output connection to the master: %s", self.host, error)
                self.end("lost")

    async def _leave(self) -> int:
        if self.reason in ("lost", "lifeline", "expelled"):
            if self.reason != "expelled":
                what = "the master" if self.reason == "lost" else "who started this agent"
                log.warning("host %d: %s is gone, ending", self.host, what)
            await self.service.workers.end(0)
            if self.reason == "lost" and self.options.shared:
                shutil.rmtree(self.options.shared, ignore_errors=True)
            return 1
        if self.reason == "a signal":
            await asyncio.wait(
                [asyncio.ensure_future(self._give_up()), asyncio.ensure_future(self._hurry.wait())],
                return_when=asyncio.FIRST_COMPLETED,
            )
        await self.service.workers.end(END_GRACE)
        await self.service.output.written()
        assert self._control is not None
        with contextlib.suppress(OSError):
            await self._control.send(("bye",))
        return 0

    async def _give_up(self) -> None:
        """This host leaves while the cluster goes on: nothing new comes here, what runs here ends
        and its waiters are told why, then the memory moves to other hosts."""
        try:
            await self.call("leaving")
            await self.service.workers.end(END_GRACE)
            await self.service.all_told()
            await self._hand_over()
        except (OSError, ClusterError) as error:
            log.warning("host %d leaves at once: %s", self.host, error)

    async def _hand_over(self) -> None:
        """Return when this host is home of no page, and the master knows where they are. Tokens of
        locks go back when the master hears that the host is gone: all was announced before."""
        await self.memory.publish()
        for host in self._leaving:  # it takes no pages, and may not know whom to tell
            await self.losses.cut_of(host).wait()
        hosts = await self.call("hosts")
        others = [host["id"] for host in hosts if host["state"] != "joining"]
        left = await self.memory.verbs.leave(other for other in others if other != self.host)
        if left:
            log.warning("host %d leaves %d pages behind: no host takes them", self.host, left)

    # -- the master -----------------------------------------------------------------------------

    async def _follow(self, control: Peer) -> None:
        """Do what the master says until it closes."""
        try:
            while True:
                order, *arguments = await control.recv()
                self._pulse.heard()
                self._orders[order](*arguments)
        except (EOFError, OSError):
            pass
        except Exception as error:
            log.error("host %d: the master says what makes no sense (%r)", self.host, error)
            log.debug("where it failed", exc_info=True)
        if not self._ending.is_set():
            self.end("lost")

    def _on_reply(self, number: int, good: bool, value: Any) -> None:
        future = self._calls.pop(number)
        if future.done():
            return
        if good:
            future.set_result(value)
        else:
            future.set_exception(value)

    def _on_host_joined(self, host: dict[str, Any]) -> None:
        self._ready = self._ready or host["id"] == self.host
        log.debug("host %d is in the cluster", host["id"])

    def _on_host_leaving(self, host: dict[str, Any]) -> None:
        if not self._ready:
            self._leaving.add(host["id"])
        log.info("host %d leaves the cluster", host["id"])

    def _beat(self) -> None:
        self.notice("beat")
        if self._pulse.beat() and not self._ending.is_set():
            log.error("host %d: the master shows %s", self.host, heartbeat.silence())
            self.end("lost")

    def _on_host_left(self, host: int, address: tuple[str, int]) -> None:
        self.losses.left.add(host)
        self.broker.host_left(host)
        self._on_host_lost(host, f"host {host} left the cluster", address)

    def _on_host_lost(self, host: int, reason: str, address: tuple[str, int]) -> None:
        self.losses.lost[host] = reason
        self.broker.host_lost(host)
        self.partings.host_lost(host, address)
        self.memory.host_lost(host)

    def _on_host_cut(self, host: int) -> None:
        self.losses.cut_of(host).set()
        if host in self.losses.lost and host not in self.losses.left:
            self.broker.host_cut(host, self.losses.lost[host])

    def _on_expelled(self, reason: str) -> None:
        log.error("host %d has to leave the cluster: %s", self.host, reason)
        self.end("expelled")

    async def call(self, name: str, *arguments: Any) -> Any:
        """Ask the master."""
        assert self._control is not None
        number = next(self._numbers)
        future = self._calls[number] = asyncio.get_running_loop().create_future()
        await self._control.send(("call", number, name, arguments))
        return await future

    def notice(self, *message: Any) -> None:
        assert self._control is not None
        self._control.post(message)

    # -- clients of this host ---------------------------------------------------------------------

    async def _client(self, peer: Peer) -> None:
        while True:
            question, *arguments = await peer.recv()
            try:
                if question not in self.questions:
                    raise LookupError(f"an agent does not answer {question!r}")
                answer = await self.questions[question](*arguments)
            except Exception as error:
                await peer.send((False, error))
            else:
                await peer.send((True, answer))
