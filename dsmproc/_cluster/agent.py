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
from .._channels.frames import Place
from .._channels.relays import Relays
from .._channels.requests import Requests
from .._memory.async_client import Verbs
from .._memory.client import MASTER, Client, Engine
from .._memory.engine import MAX_HOSTS, lock_name
from .._net import heartbeat, wire
from .._net.listener import Listener, Peer
from .._net.wire import format_address
from .._os import descriptors, procs
from .._parcels.service import Parcels
from .._pool.desks import Desks
from .._workers import modules
from .._workers.console import Output, patient
from .._workers.workers import Worker, WorkerTable, membership_frame
from ..errors import ClusterError, ProtocolError
from .partings import Partings

log = logging.getLogger("dsmproc")

END_GRACE = 0.5  # seconds between SIGTERM and SIGKILL for workers that outlive their driver
ENGINE_GRACE = 1.0  # seconds; when a host ends, the master says so, and better
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
        self.output = Output()
        self.workers = WorkerTable(options.directory, self.output)
        self.host = -1
        self.address: tuple[str, int] = ("", 0)
        self.socket_path = os.path.join(options.directory, UNIX_SOCKET)
        self.lost: dict[int, str] = {}
        self._left: set[int] = set()  # of these, in order
        self._ready = False
        self._leaving: set[int] = set()  # since before this host was ready
        self._cut: dict[int, asyncio.Event] = {}  # of lost hosts: no host hears them any more
        self.roots: dict[str, list[str]] = {}  # session -> where its driver's modules are
        # What clients may ask; others add theirs: agent.questions["name"] = an async function.
        self.questions: dict[str, Callable[..., Awaitable[Any]]] = {
            "place": lambda *arguments: self.call("place", *arguments),
            "hosts": lambda: self.call("hosts"),
            "master": self.call,  # any of Master.calls, by its name
            "why": self._why,
            "lost": self._why_if_lost,
            "roots": self._new_roots,
            "stats": self._stats,
        }
        self._orders: dict[str, Callable[..., None]] = {  # what the master says
            "beat": lambda: None,  # it was heard: that is all
            "end-session": self._on_end_session,
            "expelled": self._on_expelled,
            "host-cut": self._on_host_cut,
            "host-joined": self._on_host_joined,
            "host-leaving": self._on_host_leaving,
            "host-left": self._on_host_left,
            "host-lost": self._on_host_lost,
            "interrupt": self._on_interrupt,
            "probe": self._on_probe,
            "probed": self._on_probed,
            "reply": self._on_reply,
            "unknown": self._on_unknown,
            "shutdown": lambda: self.end("shutdown"),
        }
        self._ended: set[str] = set()  # sessions that are over: nothing of theirs may start
        self._control: Peer | None = None
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._probes: dict[int, asyncio.Future[None]] = {}
        self._numbers = itertools.count()
        self._ending = asyncio.Event()
        self._hurry = asyncio.Event()
        self._serving: set[asyncio.Task[Any]] = set()  # of our workers, until their ends are told
        self._reason = ""
        self._pulse = heartbeat.Pulse()  # of the master
        self.partings = Partings(self.listener)
        self.engine: Engine | None = None
        self.verbs: Verbs | None = None
        self._engine_ready = asyncio.Event()
        self.broker = Broker(self.listener, self, self._connect_broker, self._is_lost)
        self.requests = Requests(self.broker)
        self.relays = Relays(self.broker, self.observe)
        self.desks = Desks(self.listener, options.directory)
        self.parcels = Parcels(self.listener)
        for purpose, handler in (
            ("spawn", self._spawn),
            ("client", self._client),
            ("modules", self._modules),
            ("engine-fast", self._engine_peer),
            ("engine-bulk", self._engine_peer),
        ):
            self.listener.on(purpose, handler)
        self.listener.on("session", self._session, local=True)
        self.listener.on("engine-client", self._engine_client, local=True)

    async def _engine_peer(self, peer: Peer) -> None:
        host = await peer.recv()
        if type(host) is not int or not 0 <= host < MAX_HOSTS or host in (self.host, *self.lost):
            raise ProtocolError(f"there is no host {host!r} whose engine is awaited")
        await self._engine_ready.wait()  # this host may have been admitted just now
        await peer.send("ok")
        assert self.engine is not None
        keys = None if peer.seals is None else peer.seals.engine
        self.engine.add_peer(peer.detach(), host, peer.purpose.removeprefix("engine-"), keys)

    async def _engine_client(self, peer: Peer) -> None:
        assert self.engine is not None
        self.engine.add_client(peer.detach(), peer.pid)

    async def _stats(self, reset: bool) -> dict[str, Any]:
        """Our engine's counters; `heard` is what we know of the bytes that others sent."""
        assert self.engine is not None
        sent, heard = self.listener.traffic.totals(reset)
        counted = self.engine.stats(reset)
        counted["bytes_sent"] += sent
        return {**counted, "heard": heard}

    async def _connect_engine(self, host: int, address: tuple[str, int], channel: str) -> None:
        wired = await self._connect(address, f"engine-{channel}")
        await wired.send(self.host)
        await wired.recv()
        assert self.engine is not None
        keys = None if wired.seals is None else wired.seals.engine
        self.engine.add_peer(wired.detach(), host, channel, keys)

    def _start_engine(self, model: str) -> None:
        """This host's half of the memory: one native thread, and a client of it for this process,
        which publishes and observes what leaves and reaches the host by way of the agent."""
        self.engine = Engine("agent", self.host, model=model, memory=_settings.memory_limit())
        self.verbs = Verbs(Client(self.engine.connect, lifeline=False))
        asyncio.get_running_loop().add_reader(self.engine.fileno(), self._engine_notices)
        self._engine_ready.set()

    def _engine_notices(self) -> None:
        assert self.engine is not None
        for notice in self.engine.notices():
            if notice.kind == "fatal":
                log.error("host %d: the engine failed: %s", self.host, notice.text)
                self.end("engine")
            elif notice.kind == "poisoned":
                log.error(
                    "host %d: process %d touched region %d, page %d, whose only copy was on host "
                    "%d, which was lost",
                    *(self.host, notice.pid, notice.id >> 32, notice.id & 0xFFFFFFFF, notice.host),
                )
            elif notice.kind == "peer_lost":
                log.info("host %d: engine connection to %d ended", self.host, notice.host)
                self.listener.spawn(self._engine_lost(notice.host, notice.why))
            elif notice.kind == "owner_died":
                log.log(
                    logging.INFO if notice.arg else logging.WARNING,
                    "host %d: process %d died while it held lock %s, which is free now: what that "
                    "guards may be half-written (dsmproc.owner_died tells the next holder)",
                    *(self.host, notice.pid, lock_name(notice.id)),
                )
            elif notice.kind == "log":
                log.warning("host %d: engine: %s", self.host, notice.text)

    async def _engine_lost(self, host: int, why: str) -> None:
        """Whoever waits for that host would wait for ever: the master decides who has to go."""
        await asyncio.sleep(ENGINE_GRACE)
        if self._ending.is_set() or host in self.lost:
            return
        if host == MASTER:
            log.error("host %d: the engine's connection to the master %s", self.host, why)
            self.end("lost")
        else:
            log.warning("host %d: the engine's connection to host %d %s", self.host, host, why)
            self._notice("peer-lost", host, why)

    def publish_now(self) -> int | None:
        """As publish, if there is nothing to wait for."""
        assert self.verbs is not None
        return self.verbs.publish_now()

    async def publish(self) -> int:
        """A message leaves this host: what its processes changed goes before it."""
        assert self.verbs is not None
        return await self.verbs.publish()

    async def observe(self, stamp: int | None) -> None:
        assert self.verbs is not None
        await self.verbs.observe(stamp)

    # -- life ---------------------------------------------------------------------------------

    async def run(self) -> int:
        """Join, serve, and leave when the master says so, is lost, or a signal comes."""
        descriptors.take_all()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        procs.become_subreaper()
        loop.add_signal_handler(signal.SIGCHLD, self.workers.reap)
        self.listener.listen_unix(self.socket_path)
        self.address = self.listener.listen_tcp(self.options.bind, 0)
        try:
            await self._join()
            await self._ending.wait()
            return await self._leave()
        finally:
            await self.workers.end(0)
            await self.listener.close()
            self.relays.close()
            await self.requests.close()
            if self.engine is not None:
                loop.remove_reader(self.engine.fileno())
                self.engine.stop()
            shutil.rmtree(self.options.directory, ignore_errors=True)
            # The loop closes its pipe before its handlers: a child that ends then would complain.
            signal.set_wakeup_fd(-1)

    def _signalled(self, number: signal.Signals) -> None:
        """The first signal says leave, a second one says now."""
        if self._reason == "a signal":
            self._hurry.set()
        elif not self._reason:
            log.warning("host %d leaves the cluster: it got %s", self.host, number.name)
        self.end("a signal")

    def end(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._ending.set()

    def _giving_up(self) -> str:
        """Why our workers end now, if it is not their own doing or their program's end."""
        why = GIVEN_UP.get(self._reason)
        return f"host {self.host} ({format_address(self.address)}) {why}" if why else ""

    async def _connect(self, address: tuple[str, int], purpose: str) -> Peer:
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
                return await self._connect(other["address"], "channel")
        raise LookupError(f"host {host} is not in the cluster")

    async def _join(self) -> None:
        try:
            self._control = await self._connect(self.options.master, "control")
        except OSError as error:
            at = format_address(self.options.master)
            raise ClusterError(f"the head at {at} cannot be reached: {error}") from None
        offer = {
            "address": self.address,
            "slots": self.options.slots,
            "pid": os.getpid(),
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
        output = await self._connect(self.options.master, "output")
        patient(output.sock)
        await output.send(self.host)
        self.listener.spawn(self._speak(output))
        self.listener.spawn(self._follow(self._control))
        self.listener.spawn(heartbeat.beating(self._beat))
        self._start_engine(model)
        await self._connect_engine(MASTER, self.options.master, "master")
        for other in others:
            for channel in ("fast", "bulk"):
                await self._connect_engine(other["id"], other["address"], channel)
        self.broker.opened(self.host, self.address)
        await self._control.send(("ready",))
        log.info("host %d listens at %s", self.host, format_address(self.address))

    async def _speak(self, output: Peer) -> None:
        """Our workers' words go to the master; without that way nothing can end in order."""
        try:
            await asyncio.gather(self.output.send_to(output), self.output.acknowledgements(output))
        except (OSError, EOFError) as error:
            await asyncio.sleep(ENGINE_GRACE)  # the master's end is told by the control connection
            if not self._ending.is_set():
                log.error("host %d: the output connection to the master: %s", self.host, error)
                self.end("lost")

    async def _leave(self) -> int:
        if self._reason in ("lost", "lifeline", "expelled"):
            if self._reason != "expelled":
                what = "the master" if self._reason == "lost" else "who started this agent"
                log.warning("host %d: %s is gone, ending", self.host, what)
            await self.workers.end(0)
            if self._reason == "lost" and self.options.shared:
                shutil.rmtree(self.options.shared, ignore_errors=True)
            return 1
        if self._reason == "a signal":
            await asyncio.wait(
                [asyncio.ensure_future(self._give_up()), asyncio.ensure_future(self._hurry.wait())],
                return_when=asyncio.FIRST_COMPLETED,
            )
        await self.workers.end(END_GRACE)
        await self.output.written()
        assert self._control is not None
        with contextlib.suppress(OSError):
            await self._control.send(("bye",))
        return 0

    async def _give_up(self) -> None:
        """This host leaves while the cluster goes on: nothing new comes here, what runs here ends
        and its waiters are told why, then the memory moves to other hosts."""
        try:
            await self.call("leaving")
            await self.workers.end(END_GRACE)
            await asyncio.gather(*self._serving, return_exceptions=True)
            await self._hand_over()
        except (OSError, ClusterError) as error:
            log.warning("host %d leaves at once: %s", self.host, error)

    async def _hand_over(self) -> None:
        """Return when this host is home of no page, and the master knows where they are. Tokens of
        locks go back when the master hears that the host is gone: all was announced before."""
        await self.publish()
        assert self.verbs is not None
        for host in self._leaving:  # it takes no pages, and may not know whom to tell
            await self._cut_of(host).wait()
        hosts = await self.call("hosts")
        others = [host["id"] for host in hosts if host["state"] != "joining"]
        left = await self.verbs.leave(other for other in others if other != self.host)
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
        self._notice("beat")
        if self._pulse.beat() and not self._ending.is_set():
            log.error("host %d: the master shows %s", self.host, heartbeat.silence())
            self.end("lost")

    def _on_host_left(self, host: int, address: tuple[str, int]) -> None:
        self._left.add(host)
        self.broker.host_left(host)
        self._on_host_lost(host, f"host {host} left the cluster", address)

    def _on_host_lost(self, host: int, reason: str, address: tuple[str, int]) -> None:
        self.lost[host] = reason
        self.broker.host_lost(host)
        self.partings.host_lost(host, address)
        if self.engine is not None:
            self.engine.host_lost(host)

    def _on_host_cut(self, host: int) -> None:
        self._cut_of(host).set()
        if host in self.lost and host not in self._left:
            self.broker.host_cut(host, self.lost[host])

    def _cut_of(self, host: int) -> asyncio.Event:
        return self._cut.setdefault(host, asyncio.Event())

    def _on_end_session(self, session: str) -> None:
        self._ended.add(session)
        self.workers.end_session(session)

    def _on_interrupt(self, session: str) -> None:
        self.workers.signal(signal.SIGINT, session)

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

    def _notice(self, *message: Any) -> None:
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

    async def _why(self, host: int) -> str:
        """Why a host was lost. The client may know of it before the master does. It may go on with
        what was done there when this returns: nothing that is still on its way from there will be
        heard (core/master/cut.c)."""
        for _ in range(20):
            if host in self.lost:
                await self._cut_of(host).wait()
                return self.lost[host]
            await asyncio.sleep(0.05)
        return f"the connection to the agent of host {host} was lost"

    async def _is_lost(self, host: int) -> bool:
        """Asked when a process of it has hung up: because it ended, or because its host did? Its
        agent answers by way of the master, or is lost, and by now nobody hears it any more."""
        token, alive = next(self._numbers), asyncio.get_running_loop().create_future()
        self._probes[token] = alive
        cut = asyncio.ensure_future(self._cut_of(host).wait())
        try:
            if host not in self.lost:
                self._notice("probe", host, token)
            await asyncio.wait([alive, cut], return_when=asyncio.FIRST_COMPLETED)
        finally:
            cut.cancel()
            del self._probes[token]
        return not alive.done() and host not in self._left

    async def _why_if_lost(self, host: int) -> str:
        return await self._why(host) if await self._is_lost(host) else ""

    def _on_probe(self, asker: int, token: int) -> None:
        self._notice("probed", asker, token)

    def _on_probed(self, token: int) -> None:
        if token in self._probes:
            self._probes[token].set_result(None)

    def _on_unknown(self, host: int) -> None:
        """A probed one: it is lost, as we have been told, or was before we came."""
        if host not in self.lost:
            self._cut_of(host).set()

    async def _session(self, peer: Peer) -> None:
        """A driver: everything it started anywhere ends when it does, however it ends."""
        session, roots = await peer.recv()
        self.roots[session] = roots
        self._notice("session-began", session)
        await peer.send("ok")
        try:
            await self._driver_ends(peer)
        finally:
            del self.roots[session]
            self._notice("session-ended", session)

    async def _new_roots(self, session: str, roots: list[str]) -> None:
        """A driver's sys.path has changed."""
        if session in self.roots:
            self.roots[session] = roots

    async def _driver_ends(self, peer: Peer) -> None:
        """End of file, or the death of the process (its forked children may hold the socket)."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        try:
            pidfd = os.pidfd_open(peer.pid)
        except OSError:  # another pid namespace, or gone already
            pidfd = -1
        closing = asyncio.ensure_future(peer.recv_bytes())
        if pidfd >= 0:
            loop.add_reader(pidfd, lambda: None if ended.done() else ended.set_result(None))
        try:
            await asyncio.wait([closing, ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if pidfd >= 0:
                loop.remove_reader(pidfd)
                os.close(pidfd)
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)

    async def _modules(self, peer: Peer) -> None:
        while True:
            session, name = await peer.recv()
            found = modules.find(name, self.roots.get(session, []))
            await peer.send(found)

    # -- workers ------------------------------------------------------------------------------

    async def _spawn(self, peer: Peer) -> None:
        request = await peer.recv()
        with self.parcels.held(request["parcels"]):
            if request["parcels"]:
                await self.parcels.receive(peer, request["parcels"])
            await self._spawn_from(peer, request, await peer.recv_bytes())

    async def _spawn_from(self, peer: Peer, request: dict[str, Any], payload: bytearray) -> None:
        if self._ending.is_set():
            why = self._giving_up() or f"host {self.host} is ending with its cluster"
            await peer.send(("leaving", why))
            return
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        carried = await self.broker.tickets.carry(Place(*one) for one in request["tickets"])
        try:
            await self.observe(request["stamp"])
            await self._serve_worker(peer, request, payload)
        finally:
            carried.close()

    async def _serve_worker(self, peer: Peer, request: dict[str, Any], payload: bytearray) -> None:
        try:
            worker = await self._start(request, payload)
        except OSError as error:
            await peer.send(("failed", f"host {self.host} cannot start a process: {error}"))
            return
        # Its driver died, or this host began to leave, while this was on the way.
        if request["session"] in self._ended or self._ending.is_set():
            worker.signal(signal.SIGKILL)
        with contextlib.suppress(OSError):
            await peer.send(("started", worker.pid))
        commands = self.listener.spawn(self._commands(peer, worker))
        code = await worker.exited
        if self._reason in ("lost", "expelled"):
            return  # its parent learns that the host was lost, when this connection closes
        assert self.engine is not None
        ends = worker.dismissed or request["session"] in self._ended or self._reason == "shutdown"
        self.engine.client_died(worker.pid, by_signal=code < 0, program_ends=ends)
        await self.output.written()
        stamp = await self.publish()
        self._notice("gone", worker.pid)
        worker.parent_gone()
        why = self._giving_up()
        end = ("given-up", why, stamp) if why else ("exit", code, stamp)
        with contextlib.suppress(OSError):  # nobody may be there to hear it
            await peer.send(end)
        commands.cancel()

    async def _start(self, request: dict[str, Any], payload: bytearray) -> Worker:
        """A worker whose pid no other live process of the cluster has, nor a handle of its
        parent's."""
        taken = set(request["taken"])
        while True:
            worker, control = await self.workers.start(request)
            if worker.pid not in taken and await self.call("claim", worker.pid):
                break
            control.close()
            worker.signal(signal.SIGKILL)
        self.listener.spawn(self._feed(worker, control, request, payload))
        return worker

    async def _feed(
        self, worker: Worker, control: socket.socket, request: dict[str, Any], payload: bytearray
    ) -> None:
        membership = {
            "master": self.options.master,
            "key": self.options.key,
            "host": self.host,
            "socket": self.socket_path,
            "address": self.address,
            "session": request["session"],
            "home": request["home"],
            "cwd": request["cwd"],
            "spare_cwd": os.path.join(self.options.directory, f"cwd-{worker.pid}"),
            "umask": request["umask"],
            "stamp": request["stamp"],
        }
        await worker.feed(control, membership_frame(membership), payload)

    async def _commands(self, peer: Peer, worker: Worker) -> None:
        """What the parent says through its process handle; silence at last: it is gone."""
        try:
            while True:
                command, argument = await peer.recv()
                worker.dismissed |= command == "dismiss"
                if command in ("signal", "dismiss"):
                    worker.signal(argument)
        except (EOFError, OSError):
            worker.parent_gone()
