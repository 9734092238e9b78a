"""What a pool's tasks have in common, kept by an agent for the workers of its host.

Each parcel is a sealed memfd: a worker maps it privately, so that all of them have the same pages
until one writes.
"""

from __future__ import annotations

import asyncio
import fcntl
import os

Key = tuple[int, int]  # pool, number
SLICE = 8 << 20  # bytes; the loop goes on between two of them


class Vault:
    def __init__(self) -> None:
        self._parcels: dict[Key, asyncio.Future[int]] = {}  # descriptors

    def _parcel(self, key: Key) -> asyncio.Future[int]:
        found = self._parcels.get(key)
        if found is None:
            found = self._parcels[key] = asyncio.get_running_loop().create_future()
        return found

    async def put(self, key: Key, parcel: memoryview) -> None:
        fd = os.memfd_create("dsmproc-shared", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            at = 0
            while at < len(parcel):
                at += os.write(fd, parcel[at : at + SLICE])
                await asyncio.sleep(0)
            seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        except BaseException:
            os.close(fd)
            raise
        future = self._parcel(key)
        if future.done():
            os.close(fd)
        else:
            future.set_result(fd)

    async def get(self, key: Key) -> int:
        """Its descriptor, once it is here; CancelledError if the pool is gone before that."""
        return await asyncio.shield(self._parcel(key))

    def drop(self, key: Key) -> None:
        future = self._parcels.pop(key, None)
        if future is None:
            return
        if future.done() and not future.cancelled():
            os.close(future.result())
        else:
            future.cancel()

    def leave(self, pool: int) -> None:
        for key in [key for key in self._parcels if key[0] == pool]:
            self.drop(key)
