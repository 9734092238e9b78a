"""What a host that leaves waits for before it hands its pages over."""

from __future__ import annotations

import asyncio
from typing import Any

from dsmproc._cluster.agent import Agent, Options


class Verbs:
    def __init__(self) -> None:
        self.heirs: list[int] | None = None

    async def publish(self) -> int:
        return 0

    async def leave(self, others: Any) -> int:
        self.heirs = list(others)
        return 0


class Leaver(Agent):
    """Host 2, whose master says that hosts 0, 1 and 2 are in the cluster."""

    def __init__(self, directory: str) -> None:
        super().__init__(Options(b"", ("127.0.0.1", 1), directory))
        self.host = 2
        self.gives: Any = Verbs()
        self.memory._verbs = self.gives

    async def call(self, name: str, *arguments: Any) -> Any:
        return [{"id": host, "state": "ready"} for host in range(3)]


async def hand_over(leaver: Leaver, before: list[int], after: list[int]) -> asyncio.Task[None]:
    for host in before:
        leaver._on_host_leaving({"id": host})
    leaver._on_host_joined({"id": 2})
    for host in after:
        leaver._on_host_leaving({"id": host})
    task = asyncio.ensure_future(leaver._hand_over())
    for _ in range(10):
        await asyncio.sleep(0)
    return task


def test_a_host_lets_those_go_first_that_left_before_it_was_ready(tmp_path: Any) -> None:
    """They may not know of it, so they would not tell it that they take no pages."""

    async def scene() -> None:
        leaver = Leaver(str(tmp_path))
        task = await hand_over(leaver, before=[1], after=[])
        assert leaver.gives.heirs is None and not task.done()
        leaver._on_host_cut(1)
        await asyncio.wait_for(task, 10)
        assert leaver.gives.heirs == [0, 1]

    asyncio.run(scene())


def test_it_does_not_wait_for_those_that_know_of_it(tmp_path: Any) -> None:
    async def scene() -> None:
        leaver = Leaver(str(tmp_path))
        task = await hand_over(leaver, before=[], after=[1])
        await asyncio.wait_for(task, 10)
        assert leaver.gives.heirs == [0, 1]

    asyncio.run(scene())
