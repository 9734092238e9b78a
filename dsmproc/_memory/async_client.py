"""publish and observe for an agent's loop: no thread waits for the engine, and nobody for nothing.

A publish that begins covers all that was written before it. So there is one under way and one that
begins after it, for all who ask meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from .client import Client, Pending


class Verbs:
    """The two verbs of the host, as its agent's loop calls them."""

    def __init__(self, memory: Client) -> None:
        self._memory = memory
        self._publishing: asyncio.Future[int] | None = None
        self._publish_next: asyncio.Future[int] | None = None

    def publish_now(self) -> int | None:
        """The stamp, if there is nothing to do for it."""
        return self._memory.idle_stamp()

    async def publish(self) -> int:
        stamp = self._memory.idle_stamp()
        return await self._publish_soon() if stamp is None else stamp

    async def _publish_soon(self) -> int:
        if self._publish_next is None:
            self._publish_next = asyncio.ensure_future(self._publish_after(self._publishing))
        return await asyncio.shield(self._publish_next)

    async def _publish_after(self, before: asyncio.Future[int] | None) -> int:
        if before is not None:
            await asyncio.wait([before])
        self._publishing, self._publish_next = self._publish_next, None
        return await _answered(self._memory.begin_publish())

    async def observe(self, stamp: int | None) -> None:
        if stamp is not None and stamp > self._memory.seen():
            await _answered(self._memory.begin_observe(stamp))

    async def leave(self, others: Iterable[int]) -> int:
        """This host's pages move to the others; how many nobody was left to take."""
        return await _answered(self._memory.begin_leave(others))


async def _answered(pending: Pending) -> int:
    loop = asyncio.get_running_loop()
    come = asyncio.Event()
    loop.add_reader(pending.fileno(), come.set)
    try:
        await come.wait()
        while not pending.done():
            come.clear()
            await come.wait()
        return pending.value()
    finally:
        loop.remove_reader(pending.fileno())
        pending.close()
