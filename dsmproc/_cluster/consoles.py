"""Consoles: the supervisors that show what the workers of a cluster write.

Without one for its session, a worker's output goes to the master's own.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from .._net.listener import Listener, Peer
from .._workers.console import bound, patient
from .hosts import Hosts


class Consoles:
    def __init__(self, listener: Listener, hosts: Hosts, ending: asyncio.Event) -> None:
        self._hosts = hosts
        self._ending = ending
        self._open: list[tuple[Peer, str]] = []  # and the sessions of each, by prefix
        listener.on("output", self._output)
        listener.on("console", self._console)

    def post(self, message: Any) -> None:
        for console, _ in self._open:
            console.post(message)

    async def done(self) -> None:
        for console, _ in self._open:
            console.post(("done",))
            await console.flush()

    async def _output(self, peer: Peer) -> None:
        bound(peer.sock)
        host = self._hosts[await peer.recv()]
        host.output = peer
        while True:
            number, session, stream, data = await peer.recv()
            host.sent = number
            for console, wanted in self._open:
                if session.startswith(wanted):
                    # Waiting here is the back pressure: nothing more is read from this agent.
                    await console.send(("output", host.id, number, stream, data))
                    break
            else:
                await asyncio.get_running_loop().run_in_executor(None, _write_all, stream, data)
                peer.post(number)

    async def _console(self, peer: Peer) -> None:
        patient(peer.sock)
        entry = (peer, await peer.recv())
        self._open.append(entry)
        try:
            for host in self._hosts.values():
                if host.ready:
                    await peer.send(("host-joined", host.public()))
            while True:
                message = await peer.recv()
                if message[0] == "ack":
                    writer = self._hosts.get(message[1])
                    if writer is not None and writer.output is not None:
                        writer.output.post(message[2])
                elif message[0] == "interrupt":
                    for host in self._hosts.values():
                        host.control.post(("interrupt", entry[1]))
                elif message[0] == "shutdown":
                    self._ending.set()
                elif message[0] == "leave":
                    return
        finally:
            self._open.remove(entry)
            for host in self._hosts.values():
                if host.output is not None:  # nobody else will
                    host.output.post(host.sent)


def _write_all(stream: int, data: bytes) -> None:
    out = sys.stdout if stream == 1 else sys.stderr
    out.buffer.write(data)
    out.flush()
