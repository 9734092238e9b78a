"""The supervisor: a cluster of local hosts, the driver, and the end of both.

`dsmproc run --local N script` is this process. It starts the master and N agents as plain commands
in sessions of their own (Ctrl-C is for the driver; the workers are told through the master), waits
until all have joined, starts the driver in its own terminal, and passes on how it ended. Whatever
is left in the sessions of the agents afterwards is killed, and the cluster's directory removed.
`dsmproc serve` is the same without a driver, for `init(local=N)`. With `--hosts a,b,c` this machine
is host 0, and the agents of the others are started over ssh (ssh.py).

The listening socket of the master is made here and inherited by it, so all commands start at once
and nobody asks for a port.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

from .._net import wire
from .._net.listener import listening_socket
from .._os import procs
from .._settings import command_environment
from ..errors import ClusterError
from . import ssh
from .local import Plan, private_directory
from .program import Program, StartError, heeded, how_it_ended, when_dead
from .ssh import RemoteAgent
from .words import say

START_SECONDS = 60.0
END_SECONDS = 10.0
BROKEN_SECONDS = 3.0  # when something died or was silent already


class Supervisor(Program):
    """A local cluster of our own and, perhaps, its driver."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.count = plan.local + len(plan.hosts)
        self.directory = private_directory()
        key_file = os.path.join(self.directory, "key")
        super().__init__(("", 0), wire.write_key(key_file), key_file, session="")
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.remotes: dict[str, RemoteAgent] = {}
        self.silent: set[int] = set()  # agents ended by us
        self._lifeline: socket.socket | None = None
        self._started = False

    # -- starting -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Master and agents; returns when every host has joined."""
        plan = self.plan
        here = ssh.address_towards(plan.hosts[0]) if plan.hosts else "127.0.0.1"
        listening = listening_socket(here, 0)
        self.address = listening.getsockname()[:2]
        if plan.hosts:
            say(f"head at {wire.format_address(self.address)}")
        self._lifeline, theirs = socket.socketpair()
        descriptors = [listening.fileno(), theirs.fileno()]
        with listening, theirs:
            head = ["head", "--no-agent", "--listen-fd", str(descriptors[0])]
            self._command("master", [*head, "--lifeline", str(descriptors[1])], descriptors)
        for number in range(plan.local):
            agent = ["agent", "--join", wire.format_address(self.address), "--host", str(number)]
            if plan.slots is not None:
                agent += ["--slots", str(plan.slots)]
            self._command(f"agent of host {number}", agent, [])
        for number, host in enumerate(plan.hosts, plan.local):
            self._remote(RemoteAgent(host, number, plan.python))
        await self.open_console()
        try:
            await asyncio.wait_for(self._until_joined(), START_SECONDS)
        except asyncio.TimeoutError:
            names = [remote.host for remote in self.remotes.values() if remote.quiet]
            names += [f"host {n}" for n in range(plan.local) if n not in self.joined]
            late = f"{', '.join(names)} did not join within {START_SECONDS:.0f} s"
            raise StartError(late) from None
        self._started = True

    def _command(self, name: str, arguments: list[str], descriptors: list[int]) -> None:
        settings = {"DSMPROC_AUTHKEY_FILE": self.key_file, "DSMPROC_DIR": self.directory}
        self.children[name] = process = subprocess.Popen(
            [sys.executable, "-m", "dsmproc", *arguments],
            stdin=subprocess.DEVNULL,
            pass_fds=descriptors,
            env=command_environment(settings),
            cwd=self.directory,
            start_new_session=True,
        )
        when_dead(process, lambda: self._child_died(name))

    def _remote(self, remote: RemoteAgent) -> None:
        self.remotes[remote.name] = remote
        self.children[remote.name] = process = remote.start(self.address, self.plan.slots)
        when_dead(process, lambda: self._child_died(remote.name))
        remote.introduce(self.key)

    async def _until_joined(self) -> None:
        while len(self.joined) < self.count:
            if self.broken:
                raise StartError(self.broken)
            self.news.clear()
            await self.news.wait()
            for remote in self.remotes.values():
                remote.quiet = remote.number not in self.joined

    def master_closed(self) -> None:
        """It is our child: `_child_died` knows how it ended."""

    # -- watching -----------------------------------------------------------------------------

    def _child_died(self, name: str) -> None:
        process = self.children.pop(name)
        remote = self.remotes.get(name)
        if remote is not None:
            remote.close()
        if process.pid in self.silent:
            return
        quiet = remote is not None or process.returncode == 0 or not self._started
        if self.ending and (quiet or self.broken):
            return
        if process.returncode == 0:  # it was told to leave
            line = f"the {name} has left the cluster"
        elif remote is not None:
            line = remote.why(process.returncode)
        else:
            line = f"the {name} (pid {process.pid}) {how_it_ended(process.returncode)}"
        # The master, and the agent of the driver's host, are the cluster of this program. Another
        # host's end reaches whoever waits for something on it as HostLostError.
        if name in ("master", "agent of host 0") or len(self.joined) < self.count:
            self.fail(line)
        else:
            say(line)
        procs.kill_session(process.pid)

    def host_lost(self, host: int, reason: str) -> None:
        """One whose agent lives is stopped or hangs: it ends here, and so do those who wait for
        it as clients. The end of one that died is told by `_child_died`."""
        agent = self.children.get(f"agent of host {host}")
        if self.ending or agent is None or not procs.lives(agent.pid):
            return
        self.silent.add(agent.pid)
        if host == 0:
            self.fail(reason)
        else:
            say(reason)
        procs.kill_session(agent.pid)

    # -- ending -------------------------------------------------------------------------------

    async def end(self) -> None:
        """Everything down: politely, then not. Nothing that the cluster made is left."""
        self.ending = True
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a second Ctrl-C
        for remote in self.remotes.values():
            if remote.quiet:  # it may still be on its way; if not, its lifeline ends
                self.silent.add(remote.process.pid)
                remote.process.kill()
        sessions = [process.pid for process in self.children.values()]
        if not self._started:
            self._end_at_once()
        if self.console is not None:
            self.console.post(("shutdown",))
        if self._lifeline is not None and self.console is None:
            self._lifeline.close()
        deadline = time.monotonic() + (END_SECONDS if self.broken is None else BROKEN_SECONDS)
        while self.children and time.monotonic() < deadline:
            if "master" not in self.children:
                deadline = min(deadline, time.monotonic() + 3.0)
            await asyncio.sleep(0.01)
        await self.close_console()
        if self._lifeline is not None:
            self._lifeline.close()
        for session in sessions:
            procs.kill_session(session)
        for name, process in self.children.items():
            line = f"the {name} (pid {process.pid}) does not end, and is killed"
            say(line)
            process.kill()
            process.wait()
            if name in self.remotes:
                self.remotes[name].close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end_at_once(self) -> None:
        """Nobody has used the cluster yet. Its processes would say of each other that they are
        lost, and that they miss our directory; so they all stop before the first is gone. A host
        that was reached over ssh ends with its lifeline."""
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in self.children.values():
                process.send_signal(number)


async def supervise(plan: Plan, command: list[str]) -> int:
    """`dsmproc run --local N`: the driver's return code, negative for a signal."""
    supervisor = Supervisor(plan)
    try:
        try:
            await supervisor.start()
        except (StartError, ClusterError, OSError) as error:
            if supervisor.broken is None:  # else it was said
                say(f"the cluster did not start: {error}")
            return 1
        code = await supervisor.run_driver(command)
        return code if code != 0 or supervisor.broken is None else 1
    finally:
        await supervisor.end()


async def serve(plan: Plan, lifeline: socket.socket) -> int:
    """`dsmproc serve`: a cluster until the lifeline's other end closes."""
    supervisor = Supervisor(plan)
    loop = asyncio.get_running_loop()
    try:
        try:
            await supervisor.start()
        except (StartError, ClusterError, OSError) as error:
            lifeline.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
            return 1
        signal.pthread_sigmask(signal.SIG_BLOCK, heeded())
        supervisor.pass_signals_on()
        said = {
            "address": wire.format_address(supervisor.address),
            "key_file": supervisor.key_file,
        }
        lifeline.sendall(json.dumps(said).encode() + b"\n")
        loop.add_reader(lifeline, supervisor.stopping.set)  # it can only close
        await supervisor.stopping.wait()
        loop.remove_reader(lifeline)
        return 0
    finally:
        await supervisor.end()
