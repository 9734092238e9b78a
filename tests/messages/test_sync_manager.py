"""Every method of every proxy of a SyncManager, called on another host than the object's.

What is answered by another proxy (an iterator, an asynchronous result) is asked by the manager's
maker, on host 1: as in the standard library, a proxy that was sent to a process has no manager.
"""

from __future__ import annotations

import operator
import queue
import threading
from collections.abc import Callable
from multiprocessing import managers
from typing import Any

import pytest
from places import PATIENCE, finish, perform, start
from test_primitives import expect

import dsmproc


def use_list(one: Any) -> None:
    one.append(3)
    one.extend([1, 2])
    one += [5]
    one.insert(0, 0)
    one[1] = 4
    del one[2]
    assert one.pop() == 5 and one.count(4) == 1 and one.index(2) == 2
    one.remove(0)
    one.sort()
    assert one[:] == [2, 4] and 4 in one and len(one) == 2
    one.reverse()
    assert one[0] == 4 and list(reversed(one[:])) == [2, 4]
    one *= 2
    assert one + [1] == [4, 2, 4, 2, 1] and one * 1 == one[:] == 1 * one
    expect(IndexError, one.pop, 9)
    expect(ValueError, one.index, 9)
    assert str(one) == "[4, 2, 4, 2]" and isinstance(one, managers.ListProxy)


def after_list(one: Any) -> None:
    assert one._getvalue() == [4, 2, 4, 2]


def use_dict(one: Any) -> None:
    one["a"] = 1
    one.update(b=2, c=3)
    assert one.get("d") is None and one.get("a") == one["a"] == 1
    assert one.setdefault("d", 4) == 4 and one.pop("d") == 4
    assert "b" in one and len(one) == 3
    assert sorted(one.keys()) == ["a", "b", "c"]
    assert sorted(one.values()) == [1, 2, 3] and dict(one.items()) == one.copy()
    del one["a"]
    assert one.popitem() == ("c", 3)
    expect(KeyError, operator.getitem, one, "a")
    saved = one.copy()
    one.clear()
    assert not one.copy() and saved == {"b": 2}
    one.update(saved)


def after_dict(one: Any) -> None:
    assert one.copy() == {"b": 2} and list(one) == ["b"]


def use_namespace(one: Any) -> None:
    assert one.x == 1
    one.y = lambda number: number + 1
    del one.x
    expect(AttributeError, getattr, one, "x")


def after_namespace(one: Any) -> None:
    assert one.y(1) == 2


def use_value(one: Any) -> None:
    assert one.value == one.get() == 1
    one.value = 5
    one.set(one.value + 1)


def after_value(one: Any) -> None:
    assert one.value == 6


def use_array(one: Any) -> None:
    assert len(one) == 3 and one[:] == one[0:3]
    one[1] = 7
    one[2:] = type(one[:])("i", [9])


def after_array(one: Any) -> None:
    assert list(one[:]) == [1, 7, 9]


def use_lock(one: Any) -> None:
    assert one.acquire() and not one.acquire(False) and not one.acquire(True, 0.05)
    one.release()
    expect(RuntimeError, one.release)
    with one:
        assert not one.acquire(False)


def use_rlock(one: Any) -> None:
    assert one.acquire() and one.acquire(False)
    one.release()
    one.release()
    with one, one:
        pass


def use_semaphore(one: Any) -> None:
    assert one.acquire() and one.acquire(False) and not one.acquire(True, 0.05)
    one.release()
    with one:
        assert not one.acquire(False)
    one.release()


def use_bounded(one: Any) -> None:
    use_semaphore(one)
    expect(ValueError, one.release)


def use_condition(one: Any) -> None:
    with one:
        assert not one.wait(0.05)
        assert one.wait_for(lambda: True, 0.05) is True
        assert one.wait_for(lambda: False, 0.05) is False
        one.notify(2)
        one.notify_all()
    assert one.acquire()
    one.release()
    with one:
        ready = threading.Thread(target=_notify, args=(one,))
        ready.start()
        assert one.wait(PATIENCE)
    ready.join()


def _notify(one: Any) -> None:
    with one:
        one.notify()


def use_event(one: Any) -> None:
    assert not one.is_set() and not one.wait(0.05)
    one.set()
    assert one.is_set() and one.wait()
    one.clear()
    assert not one.is_set()
    one.set()


def after_event(one: Any) -> None:
    assert one.wait(PATIENCE)


def use_barrier(one: Any) -> None:
    assert (one.parties, one.n_waiting, one.broken) == (2, 0, False)
    other = threading.Thread(target=one.wait)
    other.start()
    assert one.wait(PATIENCE) in (0, 1)
    other.join()
    expect(threading.BrokenBarrierError, one.wait, 0.05)
    assert one.broken
    one.reset()
    assert not one.broken
    one.abort()


def after_barrier(one: Any) -> None:
    assert one.broken


def use_queue(one: Any) -> None:
    assert one.empty() and not one.full() and one.qsize() == 0
    one.put(1)
    one.put_nowait(2)
    assert one.full()
    expect(queue.Full, one.put, 3, True, 0.05)
    assert one.get() == 1 and one.get_nowait() == 2
    expect(queue.Empty, one.get, True, 0.05)
    expect(queue.Empty, one.get_nowait)
    one.task_done()
    one.task_done()
    expect(ValueError, one.task_done)
    one.join()
    one.put("last")


def after_queue(one: Any) -> None:
    assert one.get(timeout=PATIENCE) == "last"


def use_pool(one: Any) -> None:
    assert one.map(abs, [-1, 2]) == [1, 2] == one.starmap(max, [(1, 0), (2, 1)])
    assert one.apply(divmod, (7, 2)) == (3, 1)
    expect(TypeError, one.apply, abs, ("text",))


def after_pool(one: Any) -> None:
    assert one.apply_async(abs, (-3,)).get(PATIENCE) == 3
    assert one.map_async(abs, [-4]).get(PATIENCE) == [4]
    assert one.starmap_async(max, [(5, 1)]).get(PATIENCE) == [5]
    assert list(one.imap(abs, [-1, -2])) == [1, 2]
    assert sorted(one.imap_unordered(abs, [-1, -2])) == [1, 2]
    one.close()
    one.join()


Use = Callable[[Any], None]
OBJECTS: dict[str, tuple[tuple[Any, ...], Use, Use]] = {
    "list": (([],), use_list, after_list),
    "dict": ((), use_dict, after_dict),
    "Namespace": ((), use_namespace, after_namespace),
    "Value": (("i", 1), use_value, after_value),
    "Array": (("i", [1, 2, 3]), use_array, after_array),
    "Lock": ((), use_lock, use_lock),
    "RLock": ((), use_rlock, use_rlock),
    "Semaphore": ((2,), use_semaphore, use_semaphore),
    "BoundedSemaphore": ((2,), use_bounded, use_bounded),
    "Condition": ((), use_condition, use_condition),
    "Event": ((), use_event, after_event),
    "Barrier": ((2,), use_barrier, after_barrier),
    "Queue": ((2,), use_queue, after_queue),
    "JoinableQueue": ((2,), use_queue, after_queue),
    "Pool": ((2,), use_pool, after_pool),
}


def _use_all(objects: dict[str, Any]) -> None:
    for name, one in objects.items():
        OBJECTS[name][1](one)


def every_method(ctx: Any) -> None:
    with dsmproc.Manager() as manager:
        objects = {name: getattr(manager, name)(*OBJECTS[name][0]) for name in OBJECTS}
        objects["Namespace"].x = 1
        finish(start(ctx, _use_all, objects, host=2))
        for name, one in objects.items():
            OBJECTS[name][2](one)


@pytest.mark.parametrize("place", ["driver", "worker"])
def test_every_method(cluster: None, place: str) -> None:
    perform(place, every_method)


def test_all_are_here() -> None:
    registry = managers.SyncManager._registry  # type: ignore[attr-defined]
    made = {name for name in registry if hasattr(managers.SyncManager, name)}
    assert made - {"set"} == set(OBJECTS)  # Python 3.14 has sets
