"""The supervisor: a cluster of local hosts, the driver, and the end of both.

`dsmproc run --local N script` is this process. It starts the master and N agents as plain commands
in sessions of their own (Ctrl-C is for the driver; the workers are told through the master), waits
until all have joined, starts the driver in its own terminal, and passes on how it ended. Whatever
is left in the sessions of the agents afterwards is killed, and the cluster's directory removed.
`dsmproc serve` is the same without a driver, for `init(local=N)`.

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

from . import procs, wire
from .environ import command_environment
from .local import private_directory
from .program import PASSED_ON, Program, StartError, how_it_ended, when_dead

START_SECONDS = 60.0
END_SECONDS = 10.0


class Supervisor(Program):
    """A local cluster of our own and, perhaps, its driver."""

    def __init__(self, count: int, slots: int | None) -> None:
        self.count = count
        self.slots = slots
        self.directory = private_directory()
        key_file = os.path.join(self.directory, "key")
        super().__init__(("", 0), wire.write_key(key_file), key_file, session="")
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self._lifeline: socket.socket | None = None

    # -- starting -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Master and agents; returns when every host has joined."""
        listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = listening.getsockname()[:2]
        self._lifeline, theirs = socket.socketpair()
        descriptors = [listening.fileno(), theirs.fileno()]
        with listening, theirs:
            head = ["head", "--no-agent", "--listen-fd", str(descriptors[0])]
            self._command("master", [*head, "--lifeline", str(descriptors[1])], descriptors)
        for number in range(self.count):
            agent = ["agent", "--join", wire.format_address(self.address), "--host", str(number)]
            if self.slots is not None:
                agent += ["--slots", str(self.slots)]
            self._command(f"agent of host {number}", agent, [])
        await self.open_console()
        await asyncio.wait_for(self._until_joined(), START_SECONDS)

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

    async def _until_joined(self) -> None:
        while len(self.joined) < self.count:
            if self.broken:
                raise StartError(self.broken)
            self.news.clear()
            await self.news.wait()

    def master_closed(self) -> None:
        """It is our child: `_child_died` knows how it ended."""

    # -- watching -----------------------------------------------------------------------------

    def _child_died(self, name: str) -> None:
        process = self.children.pop(name)
        if self.ending:
            return
        line = f"the {name} (pid {process.pid}) {how_it_ended(process.returncode)}"
        # The master, and the agent of the driver's host, are the cluster of this program. Another
        # host's end reaches whoever waits for something on it as HostLostError.
        if name in ("master", "agent of host 0") or len(self.joined) < self.count:
            self.fail(line)
        else:
            print(f"dsmproc: {line}", file=sys.stderr, flush=True)
        procs.kill_session(process.pid)

    # -- ending -------------------------------------------------------------------------------

    async def end(self) -> None:
        """Everything down: politely, then not. Nothing that the cluster made is left."""
        self.ending = True
        sessions = [process.pid for process in self.children.values()]
        if self.console is not None:
            self.console.post(("shutdown",))
        if self._lifeline is not None and self.console is None:
            self._lifeline.close()
        deadline = time.monotonic() + END_SECONDS
        while self.children and time.monotonic() < deadline:
            if "master" not in self.children:
                deadline = min(deadline, time.monotonic() + 3.0)
            await asyncio.sleep(0.01)
        await self.close_console()
        if self._lifeline is not None:
            self._lifeline.close()
        for session in sessions:
            procs.kill_session(session)
        for process in list(self.children.values()):
            process.kill()
            process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


async def supervise(count: int, slots: int | None, command: list[str]) -> int:
    """`dsmproc run --local N`: the driver's return code, negative for a signal."""
    supervisor = Supervisor(count, slots)
    try:
        try:
            await supervisor.start()
        except (StartError, asyncio.TimeoutError) as error:
            print(f"dsmproc: the cluster did not start: {error}", file=sys.stderr)
            return 1
        code = await supervisor.run_driver(command)
        if code == -signal.SIGKILL:
            # A client that loses its agent is killed; then the agent's own death is the news, and
            # it comes a little later.
            await asyncio.wait([asyncio.create_task(supervisor.stopping.wait())], timeout=0.5)
        return code if code != 0 or supervisor.broken is None else 1
    finally:
        await supervisor.end()


async def serve(count: int, slots: int | None, lifeline: socket.socket) -> int:
    """`dsmproc serve`: a cluster until the lifeline's other end closes."""
    supervisor = Supervisor(count, slots)
    loop = asyncio.get_running_loop()
    try:
        try:
            await supervisor.start()
        except (StartError, asyncio.TimeoutError) as error:
            lifeline.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
            return 1
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
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
