"""Hosts that share nothing: each has its own network, pid, mount, uts and ipc namespace.

    switch: a network namespace with a bridge ──┬── eth0 of host 0   192.0.2.1
                                                ├── eth0 of host 1   192.0.2.2
                                                └── ...

The namespaces have no names: each lives as long as one process, whose standard input this process
holds. Nothing can be left behind, also after `kill -9`, and runs beside each other never meet.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import IO

from helpers import TIMEOUT, Result, Running, eventually

import dsmproc

PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(dsmproc.__file__)))
HOME = os.path.expanduser("~")
MARK = "DSMTEST_MARK"


def why_not() -> str | None:
    """Why there can be no such hosts here, or None."""
    for command in ("unshare", "nsenter", "ip"):
        if shutil.which(command) is None:
            return f"netns: no {command}"
    done = subprocess.run(
        ["unshare", "-n", "-p", "-m", "-u", "-i", "--fork", "--mount-proc", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if done.returncode == 0 else f"netns: {done.stderr.strip()}"


def _child(pid: int) -> int | None:
    """The only child of a process."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            words = file.read().split()
        return int(words[0]) if words else None
    return None


class Namespace:
    """A process that holds namespaces, until `end` or the end of this process."""

    def __init__(self, unshare: Sequence[str], command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            ["unshare", *unshare, "--fork", "--kill-child", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == b"ready\n", "a namespace did not start"
        pid = _child(self._process.pid)
        assert pid is not None
        self.pid = pid  # of its first process, as seen from here

    def end(self) -> None:
        """All its processes are killed by the kernel when the first one ends."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(TIMEOUT)
        self._process.stdout.close()


class Host(Namespace):
    """A machine: what the tests do on it goes through `popen` and `path`."""

    def __init__(self, number: int, hide: Sequence[str]) -> None:
        self.number = number
        self.name = f"host{number}"
        self.address = f"192.0.2.{number + 1}"
        self.work = f"/srv/work{number}"  # the folder where somebody on this machine works
        plan = {
            "name": self.name,
            "hide": ["/tmp", "/var/tmp", "/dev/shm", "/run", "/srv", HOME, *hide],
            "keep": [sys.base_prefix, sys.prefix, os.path.join(PACKAGE_ROOT, "dsmproc")],
            "make": [self.work, "/run/sshd"],
        }
        init = os.path.join(os.path.dirname(os.path.abspath(__file__)), "init.py")
        namespaces = ["--net", "--pid", "--mount", "--uts", "--ipc", "--mount-proc"]
        super().__init__(namespaces, [sys.executable, init, json.dumps(plan)])

    def path(self, inside: str) -> str:
        """Where a file of this host is found from outside."""
        return f"/proc/{self.pid}/root{inside}"

    def write(self, inside: str, text: str, mode: int = 0o644) -> str:
        os.makedirs(os.path.dirname(self.path(inside)), mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with open(os.open(self.path(inside), flags, mode), "w", encoding="utf-8") as file:
            file.write(text)
        return inside

    def environment(self, more: dict[str, str] | None = None) -> dict[str, str]:
        """Nothing of ours but the mark and dsmproc's own settings."""
        environ = {
            "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
            "HOME": HOME,
            "LANG": "C.UTF-8",
            MARK: os.environ.get(MARK, ""),
            "PYTHONPATH": PACKAGE_ROOT,
        }
        for name in ("DSMPROC_LOG", "DSMPROC_FAULTS", "DSMPROC_TICK", "DSMPROC_HEARTBEAT"):
            if name in os.environ:
                environ[name] = os.environ[name]
        return {**environ, **(more or {})}

    def popen(
        self,
        *command: str,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        output: IO[bytes] | None = None,
    ) -> subprocess.Popen[bytes]:
        """A command on this host, its output piped or in a file. The process is the nsenter around
        it: see `inner`."""
        enter = ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p"]
        return subprocess.Popen(
            [*enter, f"--wd={self.path(cwd or self.work)}", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=output or subprocess.PIPE,
            stderr=output or subprocess.PIPE,
            env=self.environment(env),
            start_new_session=True,
        )

    def run(self, *command: str, timeout: float = TIMEOUT, **options: object) -> Result:
        running = Running(self.popen(*command, **options))  # type: ignore[arg-type]
        try:
            return running.wait(timeout)
        finally:
            running.close()

    def processes(self) -> list[tuple[int, str]]:
        """Pid (as seen from here) and command line of what runs on this host."""
        found = []
        namespace = os.readlink(f"/proc/{self.pid}/ns/pid")
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{name}/ns/pid") == namespace:
                    with open(f"/proc/{name}/cmdline", "rb") as file:
                        line = file.read().replace(b"\0", b" ").decode(errors="replace")
                    found.append((int(name), line))
        return found

    def commands(self) -> list[str]:
        return [line for _, line in self.processes()]

    def sent(self, device: str) -> int:
        """What the kernel counted as sent by a network device of this host, in bytes."""
        with open(f"/proc/{self.pid}/net/dev", encoding="ascii") as file:
            for line in file:
                name, _, numbers = line.partition(":")
                if name.strip() == device:
                    return int(numbers.split()[8])
        raise LookupError(device)


def inner(process: subprocess.Popen[bytes]) -> int:
    """The pid, as seen from here, of the command that a `popen` runs."""
    return int(eventually(lambda: _child(process.pid), what="the command inside the host"))


def kill(process: subprocess.Popen[bytes]) -> None:
    """The command that a `popen` runs, and so the nsenter around it. (An orphan of a killed nsenter
    takes the kernel more than a second to be rid of.)"""
    if process.poll() is None:
        os.kill(inner(process), signal.SIGKILL)
        process.wait(TIMEOUT)


def _ip(namespace: Namespace, *lines: str) -> None:
    """Commands of ip(8) in a namespace."""
    subprocess.run(
        ["nsenter", "-t", str(namespace.pid), "-n", "ip", "-batch", "-"],
        input="\n".join(lines) + "\n",
        text=True,
        check=True,
    )


class Network:
    """Some hosts and the switch between them."""

    def __init__(self, count: int, hide: Sequence[str] = ()) -> None:
        self.hosts: list[Host] = []
        self._stack = contextlib.ExitStack()
        try:
            self._switch = Namespace(["--net"], ["sh", "-c", "echo ready; exec cat"])
            self._stack.callback(self._switch.end)
            _ip(self._switch, "link add br0 type bridge", "link set br0 up")
            for number in range(count):
                self._add(number, hide)
        except BaseException:
            self._stack.close()
            raise

    def _add(self, number: int, hide: Sequence[str]) -> None:
        host = Host(number, hide)
        self._stack.callback(host.end)
        self.hosts.append(host)
        port = f"port{number}"
        _ip(
            self._switch,
            f"link add {port} type veth peer name eth0 netns {host.pid}",
            f"link set {port} master br0",
            f"link set {port} up",
        )
        _ip(
            host,
            "link set eth0 addrgenmode none",  # no IPv6 chatter in the counters
            f"addr add {host.address}/24 dev eth0",
            "link set eth0 up",
        )

    def end(self) -> None:
        self._stack.close()
