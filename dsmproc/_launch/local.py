"""How `init(local=N)` gets its cluster: a supervisor process that ends when we do.

The supervisor (`dsmproc serve`) holds the other end of a socket pair. It says through it where the
cluster is; when our end closes, however we ended, it takes everything down.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys

from .._settings import command_environment
from ..errors import ClusterError
from .words import say

END_SECONDS = 15.0


@dataclasses.dataclass
class Plan:
    """The cluster that a supervisor starts: hosts of this machine, and of others."""

    local: int
    slots: int | None = None
    hosts: list[str] = dataclasses.field(default_factory=list)  # as ssh knows them
    python: str = sys.executable  # there

    def options(self) -> list[str]:
        """For `dsmproc serve`."""
        if self.hosts:
            words = ["--hosts", ",".join(self.hosts), "--python", self.python]
        else:
            words = ["--local", str(self.local)]
        return words if self.slots is None else [*words, "--slots", str(self.slots)]


class LocalHandle:
    """A local cluster that lives until `close`, or until this process ends."""

    def __init__(
        self, plan: Plan, process: subprocess.Popen[bytes], lifeline: socket.socket
    ) -> None:
        self.plan = plan
        self._process = process
        self._lifeline = lifeline
        self.address = ""
        self.key_file = ""

    def read_address(self) -> None:
        """Wait until the cluster is there."""
        with self._lifeline.makefile("rb") as file:
            line = file.readline()
        said = json.loads(line) if line else {"error": "its supervisor ended at the start"}
        if "error" in said:
            raise ClusterError(f"the cluster did not start: {said['error']}")
        self.address, self.key_file = said["address"], said["key_file"]

    def close(self) -> None:
        self._lifeline.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            pid = self._process.pid
            say(f"the supervisor (pid {pid}) does not end: it is killed")
            self._process.kill()
            self._process.wait()

    def forget(self) -> None:
        """In a forked child: the cluster is the parent's."""
        self._lifeline.close()
        self._process.returncode = 0  # not ours to wait for


def start(plan: Plan, settings: dict[str, str]) -> LocalHandle:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "dsmproc", "serve", *plan.options()]
    command += ["--lifeline", str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=command_environment(settings),
            cwd="/",
        )
    handle = LocalHandle(plan, process, ours)
    try:
        handle.read_address()
    except BaseException:
        with contextlib.suppress(OSError):
            handle.close()
        raise
    return handle


def private_directory(prefix: str = "dsmproc-") -> str:
    """A new directory for our user alone, with a name short enough for a unix socket in it. It is
    not in $XDG_RUNTIME_DIR, which ends with a user's last login: a cluster may go on."""
    import tempfile

    base = tempfile.gettempdir()
    if len(os.path.join(base, prefix)) > 60:
        base = "/tmp"
    return tempfile.mkdtemp(prefix=prefix, dir=base)
