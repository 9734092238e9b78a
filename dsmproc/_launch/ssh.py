"""Agents on other machines, started over ssh.

What runs there is `PYTHON -m dsmproc agent --join H:P --over-ssh`. Its standard input brings one
line of JSON, the cluster's key and our settings, and then stays open as the lifeline: when it ends,
because we end, are killed or are cut off, the agent and all its workers end. Nothing secret stands
in an argument list, and nothing is left in a file there.

Which ssh, and with which options, is in DSMPROC_SSH: "ssh -F file -p 2222". Passwords cannot be
typed (BatchMode); keys and agents are ssh's matter.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
from collections import deque
from collections.abc import Callable
from typing import Any

from .._net import wire
from .._settings import CHOICES, setting
from ..errors import ClusterError
from .program import how_it_ended
from .words import say

OPTIONS = ["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
OPTIONS += ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]
SETTINGS = (
    *CHOICES,
    "DSMPROC_TICK",
    "DSMPROC_MEMORY",
    "DSMPROC_HEARTBEAT",
)  # what an agent there is told of our environment
HEADER_LIMIT = 1 << 16
LINES = 20  # of what it says on stderr, kept to explain its end
SSH_FAILED = 255
NO_COMMAND = (126, 127)  # what shells say


def _ssh() -> list[str]:
    try:
        return shlex.split(setting("DSMPROC_SSH")) or ["ssh"]
    except ValueError as error:
        raise ClusterError(f"DSMPROC_SSH is no command: {error}") from None


def address_towards(host: str) -> str:
    """Our own address on the route to a machine that ssh knows by this name."""
    if not host or host.startswith("-"):
        raise ClusterError(f"{host!r} is no host")
    try:
        command = [*_ssh(), "-G", host]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ClusterError(f"cannot run ssh: {error}") from None
    if done.returncode != 0:
        raise ClusterError(f"host {host}: {_last(done.stderr.splitlines()) or 'ssh failed'}")
    settings = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    name, port = settings.get("hostname", host), int(settings.get("port", 22))
    try:
        return wire.own_address((name, port))
    except OSError as error:
        raise ClusterError(f"host {host}: no route to {name}: {error.strerror}") from None


class RemoteAgent:
    """One ssh, and the agent at its other end."""

    def __init__(self, host: str, number: int, python: str) -> None:
        self.host = host
        self.number = number
        self.python = python
        self.quiet = True  # until it has joined, what it says is kept for the explanation
        self._said: deque[str] = deque(maxlen=LINES)
        self._partial = b""

    @property
    def name(self) -> str:
        return f"agent of host {self.number} ({self.host})"

    def start(self, master: tuple[str, int], slots: int | None) -> subprocess.Popen[bytes]:
        agent = [self.python, "-m", "dsmproc", "agent", "--over-ssh"]
        agent += ["--join", wire.format_address(master), "--host", str(self.number)]
        if slots is not None:
            agent += ["--slots", str(slots)]
        self.process = subprocess.Popen(
            [*_ssh(), *OPTIONS, "--", self.host, "exec " + shlex.join(agent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the driver
        )
        assert self.process.stderr is not None
        os.set_blocking(self.process.stderr.fileno(), False)
        asyncio.get_running_loop().add_reader(self.process.stderr, self._readable)
        return self.process

    def introduce(self, key: bytes) -> None:
        """The header; it fits into the pipe, so this waits for nobody."""
        settings = {name: os.environ[name] for name in SETTINGS if os.environ.get(name)}
        header = json.dumps({"key": key.decode("ascii"), "settings": settings}).encode()
        assert self.process.stdin is not None and len(header) < HEADER_LIMIT
        try:
            self.process.stdin.write(header + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return  # it ended already; its end is told

    def _readable(self) -> None:
        assert self.process.stderr is not None
        while data := self.process.stderr.read(1 << 16):
            *lines, self._partial = (self._partial + data).split(b"\n")
            for line in lines:
                self._say(line.decode("utf-8", "replace").rstrip())
        if data == b"":
            asyncio.get_running_loop().remove_reader(self.process.stderr)

    def _say(self, line: str) -> None:
        self._said.append(line)
        if not self.quiet:
            say(line, self.host)

    def close(self) -> None:
        """The process has ended, or shall: its lifeline, and what we read of it."""
        assert self.process.stdin is not None and self.process.stderr is not None
        if not self.process.stderr.closed:
            self._readable()
            asyncio.get_running_loop().remove_reader(self.process.stderr)
            self.process.stderr.close()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            return

    def why(self, code: int) -> str:
        """One sentence about its end."""
        said = _last([*self._said, self._partial.decode("utf-8", "replace")])
        if code == SSH_FAILED:
            return f"host {self.host}: {said or 'ssh failed without a word'}"
        if code in NO_COMMAND:
            return f"host {self.host} has no Python at {self.python} (--python says where): {said}"
        if "No module named dsmproc" in said:
            return f"host {self.host}: the Python at {self.python} has no dsmproc: install it there"
        said = said.removeprefix("dsmproc: ")
        return f"host {self.host}: its agent {how_it_ended(code)}" + (said and f": {said}")


def _last(lines: list[str]) -> str:
    """The last line that says something; ssh warns before it fails."""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


# -- the other end ------------------------------------------------------------------------------


def read_header() -> bytes:
    """In the agent: take what `introduce` sent from standard input; the key."""
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(0, HEADER_LIMIT)
        if not data or len(line) > HEADER_LIMIT:
            raise ClusterError("standard input ended before the cluster's key came")
        line += data
    header: dict[str, Any] = json.loads(line)
    os.environ.update({k: v for k, v in header["settings"].items() if k in SETTINGS})
    return str(header["key"]).encode("ascii")


def watch_lifeline(ended: Callable[[], None]) -> None:
    """In the agent: call back when standard input ends. Nothing more comes through it."""
    loop = asyncio.get_running_loop()

    def readable() -> None:
        loop.remove_reader(0)
        ended()

    loop.add_reader(0, readable)
