"""The regions of a program, as each of its processes maps them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dsmproc

from .grammar import Region


def _make(region: Region) -> Any:
    if region.kind == "SharedMemory":
        return dsmproc.SharedMemory(create=True, size=region.size, home=region.home)
    if region.kind == "shared_array":
        return dsmproc.shared_array(region.size, "B", home=region.home)
    return dsmproc.RawArray("B", region.size)


class Memory:
    def __init__(self, regions: Sequence[Region]) -> None:
        self.blocks = [_make(region) for region in regions]

    def view(self, region: int, start: int, size: int) -> memoryview:
        block = self.blocks[region]
        whole = memoryview(getattr(block, "buf", block)).cast("B")
        return whole[start : start + size]

    def unlink(self) -> None:
        for block in self.blocks:
            if hasattr(block, "unlink"):
                block.close()
                block.unlink()
