"""Managers: the server on the driver's host, proxies everywhere, and plain multiprocessing."""

from __future__ import annotations

import multiprocessing.managers
import pickle
import subprocess
import sys
from multiprocessing.managers import IteratorProxy
from typing import Any

import pytest
from places import PATIENCE, finish, perform, start
from test_primitives import expect

import dsmproc
from dsmproc.managers import BaseManager, BaseProxy, SharedMemoryManager


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
        assert counter.host() != dsmproc.current_host()
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


def test_server_that_cannot_start(cluster: None) -> None:
    manager = Counters()
    with pytest.raises(dsmproc.ProcessError, match="did not start"):
        manager.start(initializer=int, initargs=("no number",))


def _use_blocks(name: str, values: Any, other: Any) -> None:
    block = dsmproc.SharedMemory(name)
    block.buf[1] = block.buf[0] + 1
    assert (values[0], values[-1]) == (1, None) and values.index(2.5) == 1
    values[0] = 10
    values[2] = "short"
    values[3] = b"bytes"
    assert other.shm.name != values.shm.name and len(other) == 1
    other[0] = dsmproc.current_host()
    block.close()


def shared_memory(ctx: Any) -> None:
    """Blocks and lists of a manager, used on two hosts; its end unlinks them all."""
    with SharedMemoryManager() as manager:
        assert isinstance(manager, multiprocessing.managers.SharedMemoryManager)
        block = manager.SharedMemory(size=100)
        values = manager.ShareableList([1, 2.5, "a text", b"some bytes", True, None])
        other = manager.ShareableList([0])
        gone = manager.SharedMemory(size=1)
        gone.unlink()
        gone.close()
        assert (len(block.buf), values.count(True), other.format) == (100, 2, "q")
        block.buf[0] = 41
        finish(start(ctx, _use_blocks, block.name, values, other, host=2))
        assert block.buf[1] == 42
        assert list(values) == [10, 2.5, "short", b"bytes", True, None]
        copy = pickle.loads(pickle.dumps(other))
        assert list(copy) == [2]
        copy.shm.close()
        expect(ValueError, values.__setitem__, 2, "x" * 100)
        expect(ValueError, values.index, "absent")
        expect(IndexError, values.__getitem__, 6)
        names = [block.name, values.shm.name, other.shm.name]
    for name in names:
        expect(FileNotFoundError, dsmproc.SharedMemory, name)
    assert block.buf[1] == 42  # what is mapped stays
    for one in (block, values.shm, other.shm):
        one.close()


def shared_memory_of_a_killed_server(ctx: Any) -> None:
    """Its blocks stay usable, as long as the driver runs or until somebody unlinks them."""
    manager = SharedMemoryManager()
    manager.start()
    block = manager.SharedMemory(size=10)
    manager._process.kill()
    manager._process.join(PATIENCE)
    block.buf[0] = 1
    finish(start(ctx, _bump, block.name))
    assert block.buf[0] == 2
    expect(OSError, manager.SharedMemory, 10)
    block.close()
    block.unlink()
    manager.shutdown()


def _bump(name: str) -> None:
    block = dsmproc.SharedMemory(name)
    block.buf[0] += 1
    block.close()


class Proxy(BaseProxy):
    _exposed_ = ("add", "host", "__getattribute__")

    def add(self, number: int) -> Any:
        return self._callmethod("add", (number,))

    @property
    def value(self) -> Any:
        return self._callmethod("__getattribute__", ("value",))


class Family:
    """Makes counters, and gives them out by reference."""

    def __init__(self) -> None:
        self._counters = {name: Counter() for name in "ab"}

    def counter(self, name: str) -> Counter:
        return self._counters[name]

    def names(self) -> Any:
        return iter(sorted(self._counters))

    def hidden(self) -> None:
        """Not exposed."""


class Registered(BaseManager):
    pass


_only = Counter(100)
Registered.register("Counter", Counter, proxytype=Proxy)
Registered.register("only", callable=lambda: _only)
Registered.register(
    "Family",
    Family,
    exposed=("counter", "names"),
    method_to_typeid={"counter": "reference", "names": "Iterator"},
)
Registered.register("reference", proxytype=Proxy, create_method=False)
Registered.register("Iterator", proxytype=IteratorProxy, create_method=False)


def _use_registered(counter: Any, inner: Any, only: Any) -> None:
    assert type(counter) is Proxy and counter.add(1) == 2 and counter.value == 2
    assert inner.add(3) == 3
    only.add(1)


def own_types(ctx: Any) -> None:
    with Registered() as manager:
        counter, family, only = manager.Counter(1), manager.Family(), manager.only()
        inner = family.counter("a")
        finish(start(ctx, _use_registered, counter, inner, only, host=2))
        assert counter.value == 2 and list(family.names()) == ["a", "b"]
        assert family.counter("a").value == 3 and family.counter("b").value == 0
        assert manager.only().add(0) == 101
        assert not hasattr(family, "hidden") and not hasattr(manager, "reference")
        assert counter == counter and "Counter object" in str(counter)


def _connect(address: Any, key: bytes, counter: Any) -> None:
    manager = Registered(address=address, authkey=key)
    manager.connect()
    assert manager.only().add(5) == 105
    assert manager.Counter(7).value == 7
    copy = multiprocessing.managers.BaseManager(address=address, authkey=b"wrong")
    expect(dsmproc.AuthenticationError, copy.connect)
    counter.add(1)


def remote_connect(ctx: Any) -> None:
    with Registered(authkey=b"the key") as manager:
        counter = manager.Counter(1)
        finish(start(ctx, _connect, manager.address, b"the key", counter, host=2))
        assert counter.value == 2 and manager.only().add(0) == 105


def killed_server(ctx: Any) -> None:
    manager = Registered()
    manager.start()
    counter = manager.Counter(1)
    manager._process.kill()
    manager._process.join(PATIENCE)
    for _ in range(2):
        expect((OSError, EOFError), counter.add, 1)
    manager.shutdown()


@pytest.mark.parametrize(
    "scenario",
    [
        shared_memory,
        shared_memory_of_a_killed_server,
        own_types,
        remote_connect,
        killed_server,
    ],
)
@pytest.mark.parametrize("place", ["driver", "worker"])
def test_own_managers(cluster: None, place: str, scenario: Any) -> None:
    perform(place, scenario)


def test_shared_memory_manager_of_one_host() -> None:
    """Without a cluster the blocks are the standard library's."""
    script = """
import dsmproc.managers
from multiprocessing import shared_memory
if __name__ == "__main__":
    with dsmproc.managers.SharedMemoryManager() as manager:
        block = manager.SharedMemory(5)
        made = manager.ShareableList([1])
        assert type(block) is shared_memory.SharedMemory, block
        assert type(made) is shared_memory.ShareableList, made
        block.close(); made.shm.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (0, "")
