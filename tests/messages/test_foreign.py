"""Listener, Client and managers, and programs of plain multiprocessing at the other end."""

from __future__ import annotations

import contextlib
import multiprocessing.managers
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from places import PATIENCE, finish, perform, start
from test_primitives import expect

import dsmproc
from dsmproc.connection import Client, Listener
from dsmproc.managers import BaseManager

FAMILIES = ("AF_INET", "AF_UNIX")


@contextlib.contextmanager
def plain(script: str, *arguments: Any) -> Iterator[subprocess.Popen[str]]:
    """A program that cannot even import dsmproc."""
    guard = "import sys; sys.modules['dsmproc'] = sys.modules['cloudpickle'] = None\n"
    child = subprocess.Popen(
        [sys.executable, "-c", guard + script, *map(repr, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        with child:
            yield child
            assert child.wait(PATIENCE) == 0
    finally:
        child.kill()


CLIENT = """
from multiprocessing.connection import Client
with Client(eval(sys.argv[1]), authkey=b"key") as conn:
    conn.send([conn.recv(), "back"])
    assert conn.recv_bytes() == b"raw"
    conn.send_bytes(b"x" * 100_000)
    data = bytearray(10)
    assert conn.recv_bytes_into(data, 1) == 4 and data[1:5] == b"into"
    try:
        conn.recv()
    except EOFError:
        pass
"""

LISTENER = """
from multiprocessing.connection import Listener, AuthenticationError
with Listener(("127.0.0.1", 0), authkey=b"key") as listener:
    print(listener.address[1], flush=True)
    try:
        listener.accept()
    except AuthenticationError:
        pass
    with listener.accept() as conn:
        while (value := conn.recv()) != "stop":
            conn.send(value)
"""

MANAGER = """
import queue
from multiprocessing.managers import BaseManager
class Manager(BaseManager): pass
values, tasks = {"plain": 1}, queue.Queue()
Manager.register("values", lambda: values, exposed=("get", "__setitem__", "copy"))
Manager.register("tasks", lambda: tasks)
server = Manager(address=("127.0.0.1", 0), authkey=b"key").get_server()
print(server.address[1], flush=True)
server.serve_forever()
"""

USER = """
from multiprocessing.managers import BaseManager
class Manager(BaseManager): pass
Manager.register("values")
manager = Manager(address=eval(sys.argv[1]), authkey=b"key")
manager.connect()
values = manager.values()
values.update(plain=2)
assert values.get("ours") == 1
try:
    values.pop("absent")
except KeyError as error:
    assert error.args == ("absent",)
"""


@contextlib.contextmanager
def listening(family: str) -> Iterator[Listener]:
    with tempfile.TemporaryDirectory() as folder:
        address = ("127.0.0.1", 0) if family == "AF_INET" else f"{folder}/socket"
        with Listener(address, family, authkey=b"key") as listener:
            yield listener


def plain_client(ctx: Any) -> None:
    for family in FAMILIES:
        with listening(family) as listener, plain(CLIENT, listener.address):
            with listener.accept() as conn:
                assert conn.poll(0.01) is False
                conn.send("hello")
                assert conn.poll(PATIENCE) and conn.recv() == ["hello", "back"]
                conn.send_bytes(b"raw")
                assert conn.recv_bytes(100_000) == b"x" * 100_000
                conn.send_bytes(b"into")
            assert listener.last_accepted is not None


def plain_listener(ctx: Any) -> None:
    with plain(LISTENER) as peer:
        assert peer.stdout is not None
        address = ("127.0.0.1", int(peer.stdout.readline()))
        expect(dsmproc.AuthenticationError, _connect, address, b"wrong")
        finish(start(ctx, _talk, address, host=2))


def _connect(address: Any, key: bytes) -> Any:
    return Client(address, authkey=key)


def _talk(address: Any) -> None:
    with Client(address, "AF_INET", b"key") as conn:
        for value in (1, {"a": b"x" * 70_000}, None):
            conn.send(value)
            assert dsmproc.connection.wait([conn], PATIENCE) == [conn] and conn.recv() == value
        conn.send("stop")
        expect(EOFError, conn.recv)


def _serve(said: Any) -> None:
    with Listener(("127.0.0.1", 0)) as listener:
        said.send(listener.address)
        with listener.accept() as conn:
            conn.send(conn.recv() * 2)


def listener_on_another_host(ctx: Any) -> None:
    heard, said = ctx.Pipe(duplex=False)
    child = start(ctx, _serve, said)
    with Client(heard.recv()) as conn:
        conn.send(21)
        assert conn.recv() == 42
    finish(child)


def accepted_and_passed_on(ctx: Any) -> None:
    """A connection that was accepted here is used by a process on another host."""
    with listening("AF_INET") as listener, plain(CLIENT, listener.address):
        conn = listener.accept()
        child = start(ctx, _answer, conn)
        conn.close()
        finish(child)


def _answer(conn: Any) -> None:
    conn.send("hello")
    assert conn.recv() == ["hello", "back"]
    conn.send_bytes(b"raw")
    assert len(conn.recv_bytes()) == 100_000
    conn.send_bytes(b"into")


def plain_manager(ctx: Any) -> None:
    """Our processes use the objects of a server that knows nothing of us."""
    with plain(MANAGER) as peer:
        assert peer.stdout is not None
        address = ("127.0.0.1", int(peer.stdout.readline()))
        manager = Plain(address=address, authkey=b"key")
        manager.connect()
        values, tasks = manager.values(), manager.tasks()
        child = start(ctx, _use_plain, values, tasks, host=2)
        assert tasks.get(True, PATIENCE) == "task"
        finish(child)
        assert values.copy() == {"plain": 1, "ours": [2]}
        peer.terminate()
        peer.wait(PATIENCE)
        peer.returncode = 0  # it would serve for ever


class Plain(BaseManager):
    pass


Plain.register("values", exposed=("get", "__setitem__", "copy"))
Plain.register("tasks")


def _use_plain(values: Any, tasks: Any) -> None:
    assert values.get("plain") == 1
    values.__setitem__("ours", [dsmproc.current_host()])
    tasks.put("task")


class Served(BaseManager):
    pass


_values = {"ours": 1}
Served.register("values", callable=lambda: _values, proxytype=multiprocessing.managers.DictProxy)


def plain_user(ctx: Any) -> None:
    """A program that knows nothing of us uses the objects of our server."""
    with Served(authkey=b"key") as manager:
        with plain(USER, manager.address):
            pass
        assert manager.values().copy() == {"ours": 1, "plain": 2}


@pytest.mark.parametrize(
    "scenario",
    [plain_client, plain_listener, accepted_and_passed_on, plain_manager, plain_user],
)
@pytest.mark.parametrize("place", ["driver", "worker"])
def test_plain_peers(cluster: None, place: str, scenario: Any) -> None:
    perform(place, scenario)


def test_listener_and_client(place: str) -> None:
    perform(place, listener_on_another_host)
