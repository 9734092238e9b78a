"""The agent's service for the workers of its host: they start, and end with their driver.

The purposes spawn, session and modules of agent.py are served here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from typing import Any, Protocol

from .._channels.frames import Place
from .._channels.tickets import TicketOffice
from .._net.listener import Listener, Peer
from .._parcels.service import Parcels
from . import modules
from .console import Output
from .workers import Worker, WorkerTable, membership_frame


class Memory(Protocol):
    """The memory of the host."""

    async def publish(self) -> int: ...
    async def observe(self, stamp: int | None) -> None: ...
    def client_died(self, pid: int, *, by_signal: bool, program_ends: bool) -> None: ...


class Agent(Protocol):
    listener: Listener
    tickets: TicketOffice
    host: int
    reason: str  # why it ends

    @property
    def memory(self) -> Memory: ...
    def giving_up(self) -> str: ...
    def membership(self) -> dict[str, Any]: ...
    def notice(self, *message: Any) -> None: ...
    async def call(self, name: str, *arguments: Any) -> Any: ...


class WorkerService:
    def __init__(self, agent: Agent, directory: str) -> None:
        self._agent = agent
        self._directory = directory
        self.output = Output()
        self.workers = WorkerTable(directory, self.output)
        self._parcels = Parcels(agent.listener)
        self._roots: dict[str, list[str]] = {}  # session -> where its driver's modules are
        self._ended: set[str] = set()  # sessions that are over: nothing of theirs may start
        self._serving: set[asyncio.Task[Any]] = set()  # of our workers, until their ends are told
        agent.listener.on("spawn", self._spawn)
        agent.listener.on("modules", self._modules)
        agent.listener.on("session", self._session, local=True)

    # -- sessions -----------------------------------------------------------------------------

    async def _session(self, peer: Peer) -> None:
        """A driver: everything it started anywhere ends when it does, however it ends."""
        session, roots, program = await peer.recv()
        self._roots[session] = roots
        self._agent.notice("session-began", session, program, peer.pid)
        await peer.send("ok")
        try:
            await self._driver_ends(peer)
        finally:
            del self._roots[session]
            self._agent.notice("session-ended", session)

    async def new_roots(self, session: str, roots: list[str]) -> None:
        """A driver's sys.path has changed."""
        if session in self._roots:
            self._roots[session] = roots

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

    def end_session(self, session: str) -> None:
        self._ended.add(session)
        self.workers.end_session(session)

    def interrupt(self, session: str) -> None:
        self.workers.signal(signal.SIGINT, session)

    async def _modules(self, peer: Peer) -> None:
        while True:
            session, name = await peer.recv()
            found = modules.find(name, self._roots.get(session, []))
            await peer.send(found)

    # -- workers ------------------------------------------------------------------------------

    async def _spawn(self, peer: Peer) -> None:
        request = await peer.recv()
        with self._parcels.held(request["parcels"]):
            if request["parcels"]:
                await self._parcels.receive(peer, request["parcels"])
            await self._spawn_from(peer, request, await peer.recv_bytes())

    async def _spawn_from(self, peer: Peer, request: dict[str, Any], payload: bytearray) -> None:
        if self._agent.reason:
            why = self._agent.giving_up() or f"host {self._agent.host} is ending with its cluster"
            await peer.send(("leaving", why))
            return
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        carried = await self._agent.tickets.carry(Place(*one) for one in request["tickets"])
        try:
            await self._agent.memory.observe(request["stamp"])
            await self._serve_worker(peer, request, payload)
        finally:
            carried.close()

    async def _serve_worker(self, peer: Peer, request: dict[str, Any], payload: bytearray) -> None:
        try:
            worker = await self._start(request, payload)
        except OSError as error:
            await peer.send(("failed", f"host {self._agent.host} cannot start a process: {error}"))
            return
        # Its driver died, or this host began to leave, while this was on the way.
        if request["session"] in self._ended or self._agent.reason:
            worker.signal(signal.SIGKILL)
        with contextlib.suppress(OSError):
            await peer.send(("started", worker.pid))
        commands = self._agent.listener.spawn(self._commands(peer, worker))
        code = await worker.exited
        if self._agent.reason in ("lost", "expelled"):
            return  # its parent learns that the host was lost, when this connection closes
        ends = (
            worker.dismissed
            or request["session"] in self._ended
            or self._agent.reason == "shutdown"
        )
        self._agent.memory.client_died(worker.pid, by_signal=code < 0, program_ends=ends)
        await self.output.written()
        stamp = await self._agent.memory.publish()
        self._agent.notice("gone", worker.pid)
        worker.parent_gone()
        why = self._agent.giving_up()
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
            if worker.pid not in taken and await self._agent.call("claim", worker.pid):
                break
            control.close()
            worker.signal(signal.SIGKILL)
        self._agent.listener.spawn(self._feed(worker, control, request, payload))
        return worker

    async def _feed(
        self, worker: Worker, control: socket.socket, request: dict[str, Any], payload: bytearray
    ) -> None:
        membership = {
            **self._agent.membership(),
            **{name: request[name] for name in ("session", "home", "cwd", "umask", "stamp")},
            "spare_cwd": os.path.join(self._directory, f"cwd-{worker.pid}"),
        }
        await worker.feed(control, membership_frame(membership), payload)

    async def _commands(self, peer: Peer, worker: Worker) -> None:
        """Obey the parent, who speaks through its process handle; silence at last: it is gone."""
        try:
            while True:
                command, argument = await peer.recv()
                worker.dismissed |= command == "dismiss"
                if command in ("signal", "dismiss"):
                    worker.signal(argument)
        except (EOFError, OSError):
            worker.parent_gone()

    async def all_told(self) -> None:
        """Wait until the end of each worker that ended was told to its parent."""
        await asyncio.gather(*self._serving, return_exceptions=True)
