"""A cluster of plain commands over hosts that share nothing."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from typing import Any

import hostnet
from helpers import TIMEOUT, Result, Running, eventually

PYTHON = sys.executable
KEY_FILE = os.path.join(hostnet.HOME, ".dsmproc", "authkey")


class HostCluster:
    """A head on host 0 and agents on the others, as people would start them by hand."""

    def __init__(self, count: int) -> None:
        self.network = hostnet.Network(count)
        self.hosts = self.network.hosts
        self.running: list[Running] = []
        self.agents: dict[int, Running] = {}
        self.address = ""

    def start(self, agents: int | None = None) -> None:
        """The head, and agents on so many of the other hosts."""
        head = self.command(0, "head", "--bind", f"{self.hosts[0].address}:0", "--slots", "2")
        text = head.read_until("\n")
        self.address = text.split()[-1]
        self.share_key()
        for number in range(1, len(self.hosts))[:agents]:
            self.join(number)
        self.wait_for(1 + len(self.agents))

    def share_key(self) -> None:
        with open(self.hosts[0].path(KEY_FILE), encoding="ascii") as file:
            key = file.read()
        for host in self.hosts[1:]:
            host.write(KEY_FILE, key, 0o600)

    def join(self, number: int) -> Running:
        """An agent on that host; here a host's id is its number."""
        agent = ["agent", "--join", self.address, "--slots", "2", "--host", str(number)]
        self.agents[number] = self.command(number, *agent)
        return self.agents[number]

    def command(self, number: int, *arguments: str) -> Running:
        running = Running(self.hosts[number].popen(PYTHON, "-m", "dsmproc", *arguments))
        self.running.append(running)
        return running

    def script(
        self, on: int, text: str, *arguments: str, env: dict[str, str] | None = None
    ) -> Running:
        """A script, known to one host alone, under `dsmproc run --address` there."""
        host = self.hosts[on]
        path = host.write(f"{host.work}/script.py", textwrap.dedent(text))
        command = [PYTHON, "-m", "dsmproc", "run", "--address", self.address, path, *arguments]
        running = Running(host.popen(*command, env=env))
        self.running.append(running)
        return running

    def run(
        self, on: int, text: str, *arguments: str, timeout: float = TIMEOUT, **options: Any
    ) -> Result:
        return self.script(on, text, *arguments, **options).wait(timeout)

    def status(self) -> dict[str, Any]:
        done = self.hosts[0].run(
            PYTHON, "-m", "dsmproc", "status", "--address", self.address, "--json"
        )
        status: dict[str, Any] = json.loads(done.check().out)
        return status

    def wait_for(self, count: int) -> None:
        eventually(
            lambda: sum(host["ready"] for host in self.status()["hosts"]) == count,
            timeout=30,
            what=f"{count} hosts",
        )

    def wait_until_idle(self) -> None:
        eventually(
            lambda: not any(host["processes"] for host in self.status()["hosts"]),
            timeout=20,
            what="the end of all processes",
        )

    def end(self) -> None:
        self.network.end()
        for running in self.running:
            running.close()
