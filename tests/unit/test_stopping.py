"""What comes in the very turn of the loop in which master and agents stop."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dsmproc._channels import frames
from dsmproc._channels.broker import Broker
from dsmproc._channels.linksocket import LinkSocket
from dsmproc._channels.requests import Requests
from dsmproc._cluster.master import Master
from dsmproc._net import wire
from dsmproc._net.listener import Listener, Peer

KEY = b"k" * 32
SECONDS = 10.0


def run(body: Callable[[], Coroutine[Any, Any, None]]) -> list[str]:
    """What the loop's callbacks have raised."""
    raised: list[str] = []

    async def watched() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: raised.append(str(context)))
        await body()
        await asyncio.sleep(0)

    asyncio.run(watched())
    return raised


def test_a_notice_for_a_master_that_stops() -> None:
    async def body() -> None:
        master = Master(KEY)
        engine = master.engine

        async def close() -> None:
            engine.check_invariants()  # the engine's answer is a notice
            assert select.select([engine], [], [], SECONDS)[0]
            await asyncio.sleep(0)

        master.listener.close = close  # type: ignore[method-assign]
        master.ending.set()
        listening = socket.create_server(("127.0.0.1", 0))
        await master.run(listening, None)
        for task in master.listener._tasks:
            task.cancel()
        await asyncio.gather(*master.listener._tasks, return_exceptions=True)
        listening.close()

    assert run(body) == []


def test_a_connection_to_a_listener_that_closes() -> None:
    async def body() -> None:
        listener = Listener(KEY)
        address = listener.listen_tcp("127.0.0.1", 0)
        await asyncio.sleep(0)  # it waits for one
        with socket.create_connection(address):
            await asyncio.sleep(0)
            await listener.close()

    assert run(body) == []


@pytest.mark.parametrize("turns", range(6))
def test_a_handshake_that_ends_when_the_listener_closes(turns: int) -> None:
    """The task's cancellation may be lost in wait_for (Python before 3.12)."""
    began: list[Peer] = []

    async def body() -> None:
        listener = Listener(KEY)
        known = asyncio.Event()

        async def authenticate(peer: Peer) -> None:
            peer.purpose = "forever"
            began.append(peer)
            await known.wait()

        async def forever(peer: Peer) -> None:
            await asyncio.Event().wait()

        listener.on("forever", forever)
        listener._authenticate = authenticate  # type: ignore[method-assign]
        with socket.create_connection(listener.listen_tcp("127.0.0.1", 0)):
            while not began:
                await asyncio.sleep(0)
            known.set()
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.wait_for(listener.close(), SECONDS)

    assert run(body) == []


def test_what_comes_after_the_listener_has_closed_never_begins() -> None:
    async def body() -> None:
        listener = Listener(KEY)
        ours, theirs = socket.socketpair()
        with theirs:
            peer = Peer(ours)
            peer.close()
            await listener.close()
            peer.post("too late")
            assert listener.spawn(asyncio.sleep(0)).cancelled()
            assert asyncio.all_tasks() == {asyncio.current_task()}

    assert run(body) == []


class Memory:
    """Of a host that has nothing to publish."""

    def publish_now(self) -> int | None:
        return 0

    async def publish(self) -> int:
        return 0

    async def observe(self, stamp: int | None) -> None:
        """There is nothing."""


@pytest.mark.parametrize("end", ["by the peer", "by the broker"])
def test_a_last_writer_of_another_host_when_the_broker_has_closed(end: str) -> None:
    """Whether that host is lost is asked by a task, which nobody would wait for."""

    async def body() -> None:
        listener = Listener(KEY)
        broker = Broker(listener, Memory(), never, never)
        requests = Requests(broker)
        address = listener.listen_tcp("127.0.0.1", 0)
        loop = asyncio.get_running_loop()
        wired = await loop.run_in_executor(None, writer_of_host_1, address)
        assert broker.channels
        await listener.close()
        if end == "by the peer":
            wired.close()
            while broker.endpoints:
                await asyncio.sleep(0)
        await requests.close()
        assert not broker.channels
        assert asyncio.all_tasks() == {asyncio.current_task()}
        wired.close()

    async def never(_: int) -> Any:
        await asyncio.Event().wait()

    assert run(body) == []


def writer_of_host_1(address: tuple[str, int]) -> wire.Wire:
    wired = wire.connect_tcp(address, "channel", KEY, 1)
    wish = frames.Attach(0, frames.WRITER, 0, 0, 0, 0, 0, 0)
    assert LinkSocket(wired, wish).attached.kind == frames.OK
    return wired
