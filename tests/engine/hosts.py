"""Hosts without a control plane: a master and some agents in processes, joined by socket pairs.

Everything is a forked process: `Hosts` starts the engines, `host.run(function, ...)` starts a
client of that host, which calls `function(client, ...)` and hands back what it returns or raises.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import select
import signal
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import Any

from dsmproc._memory.client import MASTER, Client, Engine, Home

SECONDS = 30.0  # nothing here takes longer


def die_with_parent() -> None:
    """However the test run ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Child:
    """A forked process; `result()` is what its body returned, or raises what it raised."""

    def __init__(self, body: Callable[[], Any], keep: list[int] | None = None) -> None:
        self._reader, writer = Pipe(duplex=False)
        self.pid = os.fork()
        if self.pid == 0:
            die_with_parent()
            self._reader.close()
            code = 1
            try:
                try:
                    answer = (True, body())
                except BaseException as error:  # noqa: BLE001
                    answer = (False, (repr(error), traceback.format_exc()))
                writer.send_bytes(pickle.dumps(answer))
                code = 0
            finally:
                os._exit(code)
        writer.close()
        self.status: int | None = None

    def result(self, seconds: float = SECONDS) -> Any:
        if not self._reader.poll(seconds):
            self.kill()
            raise TimeoutError(f"process {self.pid} gave no result in {seconds} s")
        try:
            done, value = pickle.loads(self._reader.recv_bytes())
        except EOFError:
            raise ChildDied(self.wait()) from None
        self.wait()
        if not done:
            raise AssertionError(f"in a client process: {value[0]}\n{value[1]}")
        return value

    def peek(self, seconds: float) -> None:
        """TimeoutError if it has no result yet."""
        if not self._reader.poll(seconds):
            raise TimeoutError(f"process {self.pid} is not done")

    def wait(self) -> int:
        if self.status is None:
            self.status = os.waitpid(self.pid, 0)[1]
            self._reader.close()
        return os.waitstatus_to_exitcode(self.status)

    def kill(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()


class ChildDied(Exception):
    def __init__(self, exitcode: int) -> None:
        super().__init__(f"a client process ended with {exitcode}")
        self.exitcode = exitcode


class Node:
    """A process with an engine: its methods are called from here, one at a time."""

    def __init__(self, role: str, host: int, listener: socket.socket | None, **options: Any):
        self.host = host
        self._calls, theirs = Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                die_with_parent()
                self._calls.close()
                _serve(Engine(role, host, **options), theirs, listener)  # type: ignore[arg-type]
            except BaseException:  # noqa: BLE001
                traceback.print_exc()
            finally:
                os._exit(0)
        theirs.close()
        self.dead = False

    def call(self, method: str, *arguments: Any, fd: int = -1) -> Any:
        self._calls.send((method, arguments, fd >= 0))
        if fd >= 0:
            with socket.socket(fileno=os.dup(self._calls.fileno())) as channel:
                socket.send_fds(channel, [b"f"], [fd])
        if not self._calls.poll(SECONDS):
            raise TimeoutError(f"host {self.host}: {method}")
        return self._calls.recv()

    def stop(self) -> None:
        if self.dead:
            return
        self.dead = True
        with contextlib.suppress(OSError):
            self._calls.send(None)
        ready = select.select([pidfd := os.pidfd_open(self.pid)], [], [], SECONDS)[0]
        os.close(pidfd)
        if not ready:
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._calls.close()

    def kill(self) -> None:
        self.dead = True
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._calls.close()


def _serve(engine: Engine, calls: Connection, listener: socket.socket | None) -> None:
    notices: list[Any] = []
    if listener is not None:
        threading.Thread(target=_accept, args=(engine, listener), daemon=True).start()
    while True:
        try:
            wanted = calls.recv()
        except EOFError:
            wanted = None
        if wanted is None:
            break
        method, arguments, passed = wanted
        if passed:
            with socket.socket(fileno=os.dup(calls.fileno())) as channel:
                arguments = (socket.recv_fds(channel, 1, 1)[1][0], *arguments)
        if method == "notices":
            notices += engine.notices()
            calls.send([n for n in notices if not arguments or n.kind in arguments])
        else:
            calls.send(getattr(engine, method)(*arguments))
    for notice in notices + engine.notices():
        if notice.kind in ("fatal", "log"):
            print(f"host {engine.host}: {notice.kind}: {notice.text}", flush=True)
    engine.stop()


def _accept(engine: Engine, listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        engine.add_client(connection.detach(), struct.unpack("3i", credentials)[0])


class Host:
    def __init__(self, number: int, folder: str, **options: Any) -> None:
        self.number = number
        self.path = os.path.join(folder, f"host-{number}")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(64)
        self.node = Node("agent", number, self._listener, **options)
        self._listener.close()

    def connect(self) -> int:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.path)
        return connection.detach()

    def run(self, function: Callable[..., Any], *arguments: Any, lifeline: bool = True) -> Child:
        return Child(lambda: function(Client(self.connect, lifeline=lifeline), *arguments))


class Hosts:
    """A master and `count` agents. A region is made with `region(pages)`."""

    def __init__(self, count: int, folder: Any, tcp: bool = False, **options: Any) -> None:
        options = {"arena": 1 << 30, "tick": 0, **options}
        self.master = Node("master", MASTER, None, **options)
        self.hosts = [Host(i, str(folder), **options) for i in range(count)]
        self._last_region = 0
        for host in self.hosts:
            self.master.call("host_joined", host.number)
            self._join(self.master, host.number, host.node, MASTER, "master", tcp)
            for other in self.hosts[: host.number]:
                for channel in ("fast", "bulk"):
                    self._join(host.node, other.number, other.node, host.number, channel, tcp)

    def __getitem__(self, number: int) -> Host:
        return self.hosts[number]

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, *_: object) -> None:
        for node in [self.master] + [host.node for host in self.hosts]:
            node.stop()

    def _join(self, one: Node, to: int, two: Node, back: int, channel: str, tcp: bool) -> None:
        a, b = _tcp_pair() if tcp else socket.socketpair()
        one.call("add_peer", to, channel, fd=a.fileno())
        two.call("add_peer", back, channel, fd=b.fileno())
        a.close()
        b.close()

    def region(self, pages: int, policy: Home = Home.FIRST) -> int:
        self._last_region += 1
        self.master.call("region_made", self._last_region, pages, policy, len(self.hosts))
        return self._last_region

    def healthy(self) -> None:
        """No engine has complained, and the protocol's invariants hold everywhere."""
        for node in [self.master] + [host.node for host in self.hosts]:
            if node.dead:
                continue
            node.call("check_invariants")
            until = time.monotonic() + SECONDS
            while not (checked := node.call("notices", "checked")):
                assert time.monotonic() < until
                time.sleep(0.01)
            assert all(notice.arg == 0 for notice in checked), checked
            bad = node.call("notices", "fatal", "peer_lost", "log")
            assert not bad, bad

    def stat(self, name: str) -> int:
        return sum(host.node.call("stats")[name] for host in self.hosts)


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        two, _ = server.accept()
    return one, two
