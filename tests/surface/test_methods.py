"""What no other scenario runs across hosts: methods that programs call seldom.

The objects are made on host 1, the driver is on host 0, and the children run on hosts 0 and 2.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from multiprocessing.managers import IteratorProxy
from typing import Any

import pytest
from places import PATIENCE, Scenario, perform, run, start
from places import cluster as cluster
from places import finish as finish

import dsmproc
from dsmproc.connection import Client, Listener
from dsmproc.managers import BaseManager, SharedMemoryManager, SyncManager


def _square(x: int) -> tuple[int, int]:
    return x * x, dsmproc.current_host()


def _add(x: int, y: int) -> int:
    return x + y


def pools(ctx: Any) -> None:
    with ctx.Pool(2) as pool:
        done = pool.map(_square, range(20))
        assert [value for value, _ in done] == [x * x for x in range(20)]
        assert dsmproc.current_host() not in {host for _, host in done}
        assert pool.apply(_add, (1, 2)) == 3 and pool.starmap(_add, [(1, 2), (3, 4)]) == [3, 7]
        result = pool.apply_async(_add, (5, 6))
        result.wait(PATIENCE)
        assert result.ready() and result.successful() and result.get(PATIENCE) == 11
        assert pool.map_async(_square, [3]).get(PATIENCE)[0][0] == 9
        assert pool.starmap_async(_add, [(1, 1)]).get(PATIENCE) == [2]
        ordered = pool.imap(_square, range(3))
        assert ordered.next(PATIENCE)[0] == 0 and [value for value, _ in ordered] == [1, 4]
        assert sorted(value for value, _ in pool.imap_unordered(_square, range(3))) == [0, 1, 4]
        pool.close()
        pool.join()
    pool = ctx.Pool(1)
    pool.terminate()
    pool.join()


def processes(ctx: Any) -> None:
    process = ctx.Process(target=_add, args=(1, 2))
    process.start()
    assert process.ident == process.pid
    process.join(PATIENCE)
    assert process.exitcode == 0
    process.close()
    with pytest.raises(ValueError):
        process.is_alive()


def _look_at_queue(shared: Any, taken: Any) -> None:
    assert shared.full() and not shared.empty() and shared.qsize() == 2
    with pytest.raises(queue.Full):
        shared.put_nowait("too many")
    assert [shared.get_nowait(), shared.get_nowait()] == ["first", "second"]
    with pytest.raises(queue.Empty):
        shared.get_nowait()
    assert shared.empty() and not shared.full() and shared.qsize() == 0
    shared.put_nowait(dsmproc.current_host())
    taken.release()
    if hasattr(shared, "task_done"):
        shared.task_done()
        shared.task_done()
        shared.join()  # until the maker has done with what this process has put
    shared.cancel_join_thread()
    shared.close()
    shared.join_thread()


def queues(ctx: Any) -> None:
    for shared in (ctx.Queue(2), ctx.JoinableQueue(2)):
        shared.put("first")
        shared.put("second")
        taken = ctx.Semaphore(0)
        child = start(ctx, _look_at_queue, shared, taken)
        if hasattr(shared, "task_done"):
            assert taken.acquire(timeout=PATIENCE)
            assert shared.get(timeout=PATIENCE) != dsmproc.current_host()
            shared.task_done()
        finish(child)
        assert shared.empty() or shared.get(timeout=PATIENCE) != dsmproc.current_host()


def _look_at_simple_queue(shared: Any) -> None:
    assert not shared.empty() and shared.get() == "first" and shared.empty()
    shared.put(dsmproc.current_host())
    shared.close()


def simple_queues(ctx: Any) -> None:
    shared = ctx.SimpleQueue()
    shared.put("first")
    run(ctx, _look_at_simple_queue, shared)
    assert shared.get() != dsmproc.current_host()


def _look_at_connection(end: Any) -> None:
    assert end.writable and not end.readable and not end.closed
    end.close()
    assert end.closed


def connections(ctx: Any) -> None:
    reader, writer = ctx.Pipe(duplex=False)
    run(ctx, _look_at_connection, writer)
    writer.close()
    with pytest.raises(EOFError):
        reader.recv()


def _greet(address: Any) -> None:
    with Client(address, authkey=b"a key") as connection:
        connection.send(dsmproc.current_host())


def listeners(ctx: Any) -> None:
    with Listener(("127.0.0.1", 0), authkey=b"a key") as listener:
        child = start(ctx, _greet, listener.address)
        with listener.accept() as connection:
            assert connection.recv() != dsmproc.current_host()
            assert listener.last_accepted[0] == "127.0.0.1"
        finish(child)
        listener.close()


def _look_at_primitives(
    semaphore: Any, bounded: Any, condition: Any, event: Any, barrier: Any, number: Any
) -> None:
    assert semaphore.get_value() == 3 and bounded.get_value() == 2
    assert event.is_set()
    event.clear()
    condition.acquire()
    assert condition.wait_for(lambda: number.value == 5, PATIENCE)
    condition.release()
    assert not barrier.broken and barrier.n_waiting == 0
    barrier.abort()
    assert barrier.broken
    barrier.reset()
    assert not barrier.broken


def primitives(ctx: Any) -> None:
    semaphore, bounded, condition = ctx.Semaphore(3), ctx.BoundedSemaphore(2), ctx.Condition()
    event, barrier, number = ctx.Event(), ctx.Barrier(2), ctx.Value("i", 0)
    event.set()
    shared = (semaphore, bounded, condition, event, barrier, number)
    child = start(ctx, _look_at_primitives, *shared)
    with condition:
        number.value = 5
        condition.notify_all()
    finish(child)
    assert not event.is_set() and not barrier.broken


def _look_at_values(number: Any, array: Any, text: Any, shared: Any) -> None:
    with number:
        number.get_obj().value += 1
    array.acquire()
    array.get_obj()[0] += 1
    array.release()
    with array.get_lock():
        array[1] += 1
    with text:
        assert len(text) == 5 and text.raw == b"hello" and text[0] == b"h"
        text[0] = b"j"
    with text.get_lock():
        assert text.get_obj().value == b"jello"
    assert shared.count("a") == 2 and shared.format == "8s8sq"


def values(ctx: Any) -> None:
    number, array, text = ctx.Value("i", 1), ctx.Array("i", [1, 2]), ctx.Array("c", b"hello")
    shared = dsmproc.shared_memory.ShareableList(["a", "a", 1])
    try:
        run(ctx, _look_at_values, number, array, text, shared)
        assert number.value == 2 and array[:] == [2, 3] and text.value == b"jello"
    finally:
        shared.shm.close()
        shared.shm.unlink()


def _echo() -> Iterator[Any]:
    said = None
    while True:
        try:
            said = yield said, dsmproc.current_host()
        except KeyError as error:
            said = error.args


class Echoes(BaseManager):
    pass


Echoes.register("echo", _echo, proxytype=IteratorProxy)


def manager_handles(ctx: Any) -> None:
    for kind in (Echoes, SyncManager, SharedMemoryManager):
        manager: Any = kind()
        manager.start()
        assert manager.address[1] != 0
        if kind is Echoes:
            echo = manager.echo()
            assert echo.send(None)[1] != dsmproc.current_host()
            assert echo.send("a word")[0] == "a word"
            assert echo.throw(KeyError("a key"))[0] == ("a key",)
            echo.close()
            del echo
        manager.shutdown()
        manager.join(PATIENCE)


def _connect(address: Any, shared: bool) -> None:
    if shared:
        SharedMemoryManager(address, b"a key").connect()
        return
    manager = SyncManager(address, b"a key")
    manager.connect()
    names = manager.dict({"host": dsmproc.current_host()})
    assert names.copy() == {"host": dsmproc.current_host()}


def served_here(ctx: Any) -> None:
    for kind in (BaseManager, SyncManager, SharedMemoryManager):
        server: Any = kind(authkey=b"a key").get_server()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        if kind is not BaseManager:
            run(ctx, _connect, server.address, kind is SharedMemoryManager)
        server.stop_event.set()
        thread.join()
        server.listener.close()


def proxies(ctx: Any) -> None:
    with ctx.Manager() as manager:
        names = manager.dict(a=1, b=2)
        assert sorted(iter(names)) == ["a", "b"]
        with manager.Pool(1) as pool:
            assert pool.apply(_add, (1, 2)) == 3
        pool = manager.Pool(1)
        pool.terminate()


SCENARIOS = [
    connections,
    listeners,
    manager_handles,
    pools,
    primitives,
    processes,
    proxies,
    queues,
    served_here,
    simple_queues,
    values,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
@pytest.mark.parametrize("place", ["worker"])
def test_methods(cluster: None, place: str, scenario: Scenario) -> None:
    perform(place, scenario)
