"""What must hold of queues and connections after a call that a handler interrupted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from queue import Empty
from typing import Any

from moments import SOON, Made, Scenario

LOST = "the message is lost"


def _ends_with(take: Callable[[], Any], end: Any, *before: list[Any]) -> None:
    """What comes until the end of it is one of these."""
    got = [take()]
    while got[-1] != end:
        got.append(take())
    assert got[:-1] in before, LOST if got == [end] else f"it has {got}"


def _used(queue: Any) -> Any:
    """With the connections open that it opens when it is used."""
    queue.put(0)
    queue.get(True, 1)
    return queue


def put_queue(ctx: Any) -> Made:
    queue = _used(ctx.Queue())

    def check(_: Any) -> None:
        queue.put(2)
        _ends_with(lambda: queue.get(True, 1), 2, [], [1])
        assert queue.empty()

    return lambda: queue.put(1), check


def put_bounded_queue(ctx: Any) -> Made:
    queue = _used(ctx.Queue(2))

    def check(_: Any) -> None:
        queue.put(2, True, 1)
        _ends_with(lambda: queue.get(True, 1), 2, [], [1])
        for i in range(2):
            queue.put(i, True, 1)

    return lambda: queue.put(1), check


def _get(put: Callable[[Any], None], get: Callable[[], Any]) -> Made:
    put(1)

    def check(_: Any) -> None:
        put(2)
        _ends_with(get, 2, [1])

    return get, check


def _put(put: Callable[[Any], None], get: Callable[[], Any]) -> Made:
    def check(_: Any) -> None:
        put(2)
        _ends_with(get, 2, [], [1])

    return lambda: put(1), check


def get_queue(ctx: Any) -> Made:
    queue = _used(ctx.Queue())
    return _get(lambda message: queue.put(message), lambda: queue.get(True, 1))


def get_empty_queue(ctx: Any) -> Made:
    queue = ctx.Queue()

    def function() -> None:
        with contextlib.suppress(Empty):
            queue.get(True, SOON)

    def check(_: Any) -> None:
        queue.put(2)
        _ends_with(lambda: queue.get(True, 1), 2, [])

    return function, check


def get_simple_queue(ctx: Any) -> Made:
    queue = ctx.SimpleQueue()
    return _get(lambda message: queue.put(message), lambda: queue.get())


def put_simple_queue(ctx: Any) -> Made:
    queue = ctx.SimpleQueue()
    return _put(lambda message: queue.put(message), lambda: queue.get())


def join_queue(ctx: Any) -> Made:
    queue = ctx.JoinableQueue()

    def check(_: Any) -> None:
        queue.put(1)
        queue.get(True, 1)
        queue.task_done()
        queue.join()

    return lambda: queue.join(), check


def receive(ctx: Any) -> Made:
    reader, writer = ctx.Pipe(duplex=False)
    return _get(lambda message: writer.send(message), lambda: reader.recv())


def send(ctx: Any) -> Made:
    reader, writer = ctx.Pipe(duplex=False)
    return _put(lambda message: writer.send(message), lambda: reader.recv())


def poll(ctx: Any) -> Made:
    reader, writer = ctx.Pipe(duplex=False)

    def check(_: Any) -> None:
        writer.send(2)
        assert reader.poll(1)
        _ends_with(reader.recv, 2, [])

    return lambda: reader.poll(SOON), check


MESSAGES: tuple[Scenario, ...] = (
    put_queue,
    put_bounded_queue,
    get_queue,
    get_empty_queue,
    get_simple_queue,
    put_simple_queue,
    join_queue,
    receive,
    send,
    poll,
)
