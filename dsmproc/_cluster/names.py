"""Names of shared memory, at the master: one namespace for the whole cluster.

A name stands for a region of the engine. Unlinking takes the name away at once and the region when
no host has it attached any more (the engine sees to that), so old mappings stay valid. What was
created with `track` is unlinked when the session of its driver ends, whoever of it created it.

Regions without a name are the arenas behind Value and Array.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import secrets
from collections.abc import Callable
from typing import Any, Protocol

PAGE = 4096
MAX_PAGES = 1 << 28  # 1 TiB: the master's table of a region's pages stays small
MAX_REGION = (1 << 32) - 1
ANONYMOUS = ""


class RegionMaker(Protocol):
    """The master's engine, as far as names need it."""

    def region_made(self, region: int, pages: int, policy: int, hosts: int) -> None: ...

    def region_unlink(self, region: int) -> None: ...


@dataclasses.dataclass(frozen=True)
class Region:
    id: int
    name: str  # ANONYMOUS: nobody looks it up
    size: int
    session: str  # "" if it outlives its driver


class Names:
    """`calls` is what clients ask for; what these raise is raised there."""

    def __init__(
        self, engine: RegionMaker, hosts: Callable[[], int], memory: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._hosts = hosts
        self._memory = memory  # bytes that all hosts have together
        self._regions: dict[int, Region] = {}
        self._by_name: dict[str, Region] = {}
        self._last = 0
        self.calls: dict[str, Callable[..., Any]] = {
            "create": self.create,
            "lookup": self.lookup,
            "unlink": self.unlink,
            "drop": self.drop,
        }

    def create(self, name: str | None, size: int, policy: int, session: str) -> tuple[str, int]:
        """A new region: its name and number. Without a name one is made up."""
        pages = -(-size // PAGE)
        memory = self._memory()
        if size > memory:
            raise MemoryError(
                f"{size} bytes of shared memory are more than all hosts have together ({memory})"
            )
        if not 0 < pages <= MAX_PAGES:
            raise MemoryError(f"{size} bytes are more than one shared memory can have")
        if self._last == MAX_REGION:
            raise MemoryError("this cluster has made all the regions that it can number")
        if name is None:
            name = self._new_name()
        elif name in self._by_name:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), "/" + name)
        self._last += 1
        region = Region(self._last, name, size, session)
        self._engine.region_made(region.id, pages, policy, self._hosts())
        self._regions[region.id] = region
        if name != ANONYMOUS:
            self._by_name[name] = region
        return name, region.id

    def _new_name(self) -> str:
        while True:
            name = "psm_" + secrets.token_hex(4)
            if name not in self._by_name:
                return name

    def _find(self, name: str) -> Region:
        region = self._by_name.get(name)
        if region is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/" + name)
        return region

    def lookup(self, name: str) -> tuple[int, int]:
        """The region's number and its exact size."""
        region = self._find(name)
        return region.id, region.size

    def unlink(self, name: str) -> None:
        self._end(self._find(name))

    def drop(self, number: int) -> None:
        """An anonymous region that its maker needs no more; it may have ended with its driver."""
        region = self._regions.get(number)
        if region is not None and region.name == ANONYMOUS:
            self._end(region)

    def session_ended(self, session: str) -> None:
        """A driver and all that it started are gone."""
        for region in [region for region in self._regions.values() if region.session == session]:
            self._end(region)

    def _end(self, region: Region) -> None:
        del self._regions[region.id]
        if region.name != ANONYMOUS:
            del self._by_name[region.name]
        self._engine.region_unlink(region.id)
