"""Managers: the server on the driver's host, proxies everywhere, and plain multiprocessing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from helpers import RunScript
from places import PATIENCE, finish, perform, start
from test_primitives import expect

import dsmproc
from dsmproc.connection import Client, Listener
from dsmproc.managers import BaseManager


class Counter:
    def __init__(self, value: int = 0) -> None:
        self.value = value

    def add(self, number: int) -> int:
        self.value += number
        return self.value

    def host(self) -> int:
        return dsmproc.current_host()


class Counters(BaseManager):
    pass


Counters.register("Counter", Counter)


def _count(shared: Any, seen: Any, lock: Any, counter: Any) -> None:
    for _ in range(10):
        with lock:
            shared["n"] = shared.get("n", 0) + 1
    seen.append(dsmproc.current_host())
    counter.add(5)


def shared_objects(ctx: Any) -> None:
    with ctx.Manager() as manager, Counters() as counters:
        shared, seen, lock = manager.dict(), manager.list(), manager.Lock()
        counter = counters.Counter(1)
        assert counter.host() == 0
        children = [start(ctx, _count, shared, seen, lock, counter, host=i) for i in range(3)]
        finish(*children)
        assert shared.copy() == {"n": 30}
        assert sorted(seen) == [0, 1, 2]
        assert counter.add(0) == 16


def _fill(queue: Any, event: Any, space: Any) -> None:
    queue.put(space.function(4))
    event.set()


def threading_objects(ctx: Any) -> None:
    with ctx.Manager() as manager:
        queue, event, space = manager.Queue(), manager.Event(), manager.Namespace()
        space.function = lambda number: number + 1
        child = start(ctx, _fill, queue, event, space)
        assert event.wait(PATIENCE) and queue.get(timeout=PATIENCE) == 5
        finish(child)
        expect(KeyError, manager.dict().__getitem__, "missing")


def _nested(shared: Any) -> None:
    shared["inner"].append(dsmproc.current_host())


def proxies_in_proxies(ctx: Any) -> None:
    with ctx.Manager() as manager:
        shared = manager.dict()
        shared["inner"] = manager.list()
        finish(start(ctx, _nested, shared, host=2))
        assert list(shared["inner"]) == [2]


@pytest.mark.parametrize("scenario", [shared_objects, threading_objects, proxies_in_proxies])
@pytest.mark.parametrize("place", ["driver", "worker"])
def test_on_a_cluster(cluster: None, place: str, scenario: Any) -> None:
    perform(place, scenario)


PLAIN = """
import sys
from multiprocessing.connection import Client
with Client(("127.0.0.1", int(sys.argv[1])), authkey=b"key") as conn:
    conn.send([conn.recv(), "back"])
    assert conn.recv_bytes() == b"raw"
"""


def test_listener_speaks_to_plain_multiprocessing(cluster: None) -> None:
    with Listener(("127.0.0.1", 0), authkey=b"key") as listener:
        child = subprocess.Popen([sys.executable, "-c", PLAIN, str(listener.address[1])])
        with listener.accept() as conn:
            conn.send("hello")
            assert conn.recv() == ["hello", "back"]
            conn.send_bytes(b"raw")
        assert child.wait(PATIENCE) == 0


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


def test_listener_and_client(place: str) -> None:
    perform(place, listener_on_another_host)


def test_server_that_cannot_start(cluster: None) -> None:
    manager = Counters()
    with pytest.raises(dsmproc.ProcessError, match="did not start"):
        manager.start(initializer=int, initargs=("no number",))


def test_a_shared_memory_manager_is_refused(run_script: RunScript) -> None:
    script = """
    import dsmproc.managers
    try:
        dsmproc.managers.SharedMemoryManager()
    except NotImplementedError as error:
        print(error)
    """
    lines = run_script(script, local=2).check().lines()
    assert lines == ["SharedMemoryManager is not distributed over a cluster yet"]
