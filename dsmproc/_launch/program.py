"""A driver and its terminal: started, interrupted, shown its workers' output, and passed on.

A `Program` is connected to a master by a console. It runs the driver as a child in the same
terminal and process group: Ctrl-C and Ctrl-Z reach it as if we were not there.
supervisor.py adds a cluster of its own to it; alone it serves `dsmproc run --address`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import uuid
from typing import Any

from .. import _patch
from .._net import wire
from .._net.listener import Peer
from .._os import procs
from .._workers import console
from ..errors import ClusterError
from .words import say

DRIVER_GRACE = 5.0
TERM_SECONDS = 1.0
NEWS_SECONDS = 0.5
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
SI_USER = 0  # si_code of a signal that a process sent; the terminal's come from the kernel


def heeded() -> list[signal.Signals]:
    """Of these, what is not ignored from the start (`nohup`, `&`): the driver ignores it too."""
    return [number for number in PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]


class StartError(ClusterError):
    """The cluster did not come up."""


class Program:
    """A console at a master and, perhaps, a driver."""

    def __init__(self, address: tuple[str, int], key: bytes, key_file: str, session: str) -> None:
        self.address = address
        self.key = key
        self.key_file = key_file
        self.session = session  # the sessions whose output is ours, by prefix; "" is all
        self.driver: subprocess.Popen[bytes] | None = None
        self.broken: str | None = None  # why the cluster cannot go on
        self.stopping = asyncio.Event()
        self.ending = False
        self.home: int | None = None  # the driver's host
        self.grace = DRIVER_GRACE
        self.joined: set[int] = set()
        self.news = asyncio.Event()
        self.console: Peer | None = None
        self._reading: asyncio.Task[None] | None = None

    # -- the console --------------------------------------------------------------------------

    async def open_console(self) -> None:
        # Blocking, on purpose: a thread that exists before run_driver() blocks the signals would
        # take them from the one that waits for them.
        try:
            connected = wire.connect_tcp(self.address, "console", self.key)
        except (OSError, EOFError) as error:
            raise StartError(self.broken or f"the master does not answer: {error}") from None
        console.bound(connected.sock)
        self.console = Peer(connected.sock, connected.seals)
        await self.console.send(self.session)
        self._reading = asyncio.create_task(self._read(self.console))

    async def _read(self, master: Peer) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                message = await master.recv()
                if message[0] == "output":
                    await console.show(master, message)
                elif message[0] == "host-lost":
                    self.host_lost(message[1], message[2])
                elif message[0] == "host-left":
                    self.host_left(message[1], message[2])
                elif message[0] == "host-joined":
                    self.joined.add(message[1]["id"])
                    self.news.set()
        if not self.ending:
            self.master_closed()

    def host_lost(self, host: int, reason: str) -> None:
        """The program goes on without it, but not without its driver's."""
        if host == self.home:
            self.grace = 0.0  # nobody serves the driver's waits and faults
            self.fail(reason)

    def host_left(self, host: int, address: tuple[str, int]) -> None:
        if host == self.home:
            self.host_lost(host, f"host {host} ({wire.format_address(address)}) left the cluster")

    def master_closed(self) -> None:
        """The console ended, and not by us."""
        self.fail(f"the master at {wire.format_address(self.address)} is gone")

    def fail(self, reason: str) -> None:
        """The cluster of this program cannot go on: say so, and end the driver."""
        if self.broken is None:
            say(reason)
            self.broken = reason
        self.news.set()
        self.stopping.set()

    async def close_console(self) -> None:
        """Show the last of the output."""
        self.ending = True
        if self.console is not None:
            assert self._reading is not None
            await asyncio.wait([self._reading], timeout=2.0)
            self._reading.cancel()
            self.console.close()

    def find_home(self) -> None:
        """Which host the driver will be on, as it will ask itself."""
        agent = wire.query(self.address, self.key, "membership", procs.machine_id())
        self.home = None if agent is None else agent["id"]

    # -- the driver ---------------------------------------------------------------------------

    async def run_driver(self, command: list[str]) -> int:
        """The driver from its start to its end; its return code."""
        parent = os.getpid()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, heeded())

        def in_child() -> None:
            procs.die_with_parent(parent)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

        settings = {
            "DSMPROC_ADDRESS": wire.format_address(self.address),
            "DSMPROC_AUTHKEY_FILE": self.key_file,
            "DSMPROC_SESSION": self.session,
            **(_patch.environment() if _patch.wanted() else {}),
        }
        procs.libc()  # not in the forked child
        self.driver = driver = subprocess.Popen(
            command, env={**os.environ, **settings}, preexec_fn=in_child
        )
        self.pass_signals_on()
        ended = asyncio.Event()
        when_dead(driver, ended.set)
        stopping = asyncio.create_task(self.stopping.wait())
        finished = asyncio.create_task(ended.wait())
        await asyncio.wait([stopping, finished], return_when=asyncio.FIRST_COMPLETED)
        if not finished.done():
            await self._end_driver(driver, finished)
        stopping.cancel()
        code = int(driver.returncode)
        if code == -signal.SIGKILL and self.broken is None:
            await self._why_killed(driver.pid)
        return code

    async def _why_killed(self, pid: int) -> None:
        """A client that loses its agent is killed; then the agent's own end is the news, and it
        comes a little later."""
        await asyncio.wait([asyncio.create_task(self.stopping.wait())], timeout=NEWS_SECONDS)
        if self.broken is None:
            say(f"the driver (pid {pid}) was killed by SIGKILL")

    async def _end_driver(
        self, driver: subprocess.Popen[bytes], finished: asyncio.Task[Any]
    ) -> None:
        """Its cluster is gone: let it notice (an exception), then ask, then do not ask."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            await asyncio.wait([finished], timeout=self.grace if number == signal.SIGTERM else 0)
            if not finished.done():
                how = f"without its cluster, and is ended by {number.name}"
                say(f"the driver (pid {driver.pid}) goes on {how}")
                driver.send_signal(number)
                await asyncio.wait([finished], timeout=max(self.grace, TERM_SECONDS))

    def pass_signals_on(self) -> None:
        """A thread that waits for signals and knows who sent them.

        The terminal's Ctrl-C has reached the driver already, and must not reach it twice; one that
        was sent to this process alone must be passed on. The workers are in other sessions.
        """
        loop = asyncio.get_running_loop()
        numbers = heeded()

        def wait_for_signals() -> None:
            while numbers:
                info = signal.sigwaitinfo(numbers)
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(self._signalled, info.si_signo, info.si_code)

        threading.Thread(target=wait_for_signals, daemon=True).start()

    def _signalled(self, number: int, code: int) -> None:
        if self.driver is not None and self.driver.returncode is None and code <= SI_USER:
            self.driver.send_signal(number)
        if number == signal.SIGINT and self.console is not None:
            self.console.post(("interrupt",))
        if self.driver is None and number != signal.SIGINT:
            self.fail(f"the supervisor (pid {os.getpid()}) got {signal.Signals(number).name}")


def when_dead(process: subprocess.Popen[bytes], callback: Any) -> None:
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


async def attached(address: tuple[str, int], key: bytes, key_file: str, command: list[str]) -> int:
    """`dsmproc run --address`: a driver on a cluster that is somebody else's."""
    program = Program(address, key, key_file, uuid.uuid4().hex)
    try:
        await program.open_console()
        program.find_home()
        code = await program.run_driver(command)
        return code if code != 0 or program.broken is None else 1
    finally:
        program.ending = True
        if program.console is not None:
            program.console.post(("leave",))
        await program.close_console()
