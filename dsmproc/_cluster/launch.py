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
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

from . import console, procs, wire
from .environ import command_environment
from .listener import Peer
from .local import private_directory

START_SECONDS = 60.0
END_SECONDS = 10.0
DRIVER_GRACE = 5.0
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
SI_USER = 0  # si_code of a signal that a process sent; the terminal's come from the kernel


class StartError(Exception):
    """The cluster did not come up."""


class Supervisor:
    """One local cluster and, perhaps, its driver."""

    def __init__(self, count: int, slots: int | None) -> None:
        self.count = count
        self.slots = slots
        self.directory = private_directory()
        self.key_file = os.path.join(self.directory, "key")
        self.key = wire.write_key(self.key_file)
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.address: tuple[str, int] = ("", 0)
        self.driver: subprocess.Popen[bytes] | None = None
        self.broken: str | None = None  # why the cluster cannot go on
        self.stopping = asyncio.Event()
        self._ending = False
        self._lifeline: socket.socket | None = None
        self._console: Peer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._joined: set[int] = set()
        self._news = asyncio.Event()

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
        await self._open_console()
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
        _when_dead(process, lambda: self._child_died(name))

    async def _open_console(self) -> None:
        # Blocking, on purpose: a thread that exists before run_driver() blocks the signals would
        # take them from the one that waits for them.
        try:
            connected = wire.connect_tcp(self.address, "console", self.key)
        except (OSError, EOFError) as error:
            raise StartError(self.broken or f"the master does not answer: {error}") from None
        self._console = Peer(connected.sock, "console")
        await self._console.send("")  # the output of every session is ours
        self._tasks.append(asyncio.create_task(self._read_console(self._console)))

    async def _until_joined(self) -> None:
        while len(self._joined) < self.count:
            if self.broken:
                raise StartError(self.broken)
            self._news.clear()
            await self._news.wait()

    async def _read_console(self, master: Peer) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                message = await master.recv()
                if message[0] == "output":
                    await console.show(master, message)
                elif message[0] == "host-joined":
                    self._joined.add(message[1]["id"])
                    self._news.set()

    # -- watching -----------------------------------------------------------------------------

    def _child_died(self, name: str) -> None:
        process = self.children.pop(name)
        if self._ending:
            return
        line = f"the {name} (pid {process.pid}) {how_it_ended(process.returncode)}"
        print(f"dsmproc: {line}", file=sys.stderr, flush=True)
        # The master, and the agent of the driver's host, are the cluster of this program. Another
        # host's end reaches whoever waits for something on it as HostLostError.
        if name in ("master", "agent of host 0") or len(self._joined) < self.count:
            self.broken = line
            self._news.set()
            self.stopping.set()
        procs.kill_session(process.pid)

    async def run_driver(self, command: list[str]) -> int:
        """The driver from its start to its end; its return code."""
        parent = os.getpid()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)

        def in_child() -> None:
            procs.die_with_parent(parent)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

        settings = {
            "DSMPROC_ADDRESS": wire.format_address(self.address),
            "DSMPROC_AUTHKEY_FILE": self.key_file,
        }
        procs.libc()  # not in the forked child
        self.driver = driver = subprocess.Popen(
            command, env={**os.environ, **settings}, preexec_fn=in_child
        )
        self._pass_signals_on()
        ended = asyncio.Event()
        _when_dead(driver, ended.set)
        stopping = asyncio.create_task(self.stopping.wait())
        finished = asyncio.create_task(ended.wait())
        await asyncio.wait([stopping, finished], return_when=asyncio.FIRST_COMPLETED)
        if not finished.done():
            await self._end_driver(driver, finished)
        stopping.cancel()
        return int(driver.returncode)

    async def _end_driver(
        self, driver: subprocess.Popen[bytes], finished: asyncio.Task[Any]
    ) -> None:
        """Its cluster is gone: let it notice (an exception), then ask, then do not ask."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            await asyncio.wait([finished], timeout=DRIVER_GRACE if number == signal.SIGTERM else 0)
            if not finished.done():
                driver.send_signal(number)
                await asyncio.wait([finished], timeout=DRIVER_GRACE)

    def _pass_signals_on(self) -> None:
        """A thread that waits for signals and knows who sent them.

        The terminal's Ctrl-C has reached the driver already, and must not reach it twice; one that
        was sent to this process alone must be passed on. The workers are in other sessions.
        """
        loop = asyncio.get_running_loop()

        def wait_for_signals() -> None:
            while True:
                info = signal.sigwaitinfo(PASSED_ON)
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(self._signalled, info.si_signo, info.si_code)

        threading.Thread(target=wait_for_signals, daemon=True).start()

    def _signalled(self, number: int, code: int) -> None:
        if self.driver is not None and self.driver.returncode is None and code <= SI_USER:
            self.driver.send_signal(number)
        if number == signal.SIGINT and self._console is not None:
            self._console.post(("interrupt",))
        if self.driver is None and number != signal.SIGINT:
            self.stopping.set()

    # -- ending -------------------------------------------------------------------------------

    async def end(self) -> None:
        """Everything down: politely, then not. Nothing that the cluster made is left."""
        self._ending = True
        sessions = [process.pid for process in self.children.values()]
        if self._console is not None:
            self._console.post(("shutdown",))
        if self._lifeline is not None and self._console is None:
            self._lifeline.close()
        deadline = time.monotonic() + END_SECONDS
        while self.children and time.monotonic() < deadline:
            if "master" not in self.children:
                deadline = min(deadline, time.monotonic() + 3.0)
            await asyncio.sleep(0.01)
        if self._console is not None:
            await asyncio.wait(self._tasks, timeout=2.0)  # the last of the output
            self._console.close()
        if self._lifeline is not None:
            self._lifeline.close()
        for session in sessions:
            procs.kill_session(session)
        for process in list(self.children.values()):
            process.kill()
            process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def _when_dead(process: subprocess.Popen[bytes], callback: Any) -> None:
    """Call back once the process has ended and was reaped."""
    loop = asyncio.get_running_loop()
    pidfd = os.pidfd_open(process.pid)

    def ended() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        process.wait()
        callback()

    loop.add_reader(pidfd, ended)


def how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


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
        return code if code != 0 or supervisor.broken is None else 1
    finally:
        await supervisor.end()


async def serve(count: int, slots: int | None, lifeline: socket.socket) -> int:
    """`dsmproc serve`: a cluster until the lifeline's other end closes."""
    import json

    supervisor = Supervisor(count, slots)
    loop = asyncio.get_running_loop()
    try:
        try:
            await supervisor.start()
        except (StartError, asyncio.TimeoutError) as error:
            lifeline.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
            return 1
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        supervisor._pass_signals_on()
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


def pass_on(code: int) -> int:
    """End as the driver did: by the same signal, or with its exit code."""
    if code >= 0:
        return code
    import resource

    number = -code
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one core dump is enough
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
    return 128 + number
