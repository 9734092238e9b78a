"""Losses: the hosts that are gone, as an agent knows them, and its questions about the others."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable


class Losses:
    """`notice` tells the master something."""

    def __init__(self, notice: Callable[..., None]) -> None:
        self._notice = notice
        self.lost: dict[int, str] = {}  # and why
        self.left: set[int] = set()  # of these, in order
        self._cut: dict[int, asyncio.Event] = {}  # of lost hosts: no host hears them any more
        self._probes: dict[int, asyncio.Future[None]] = {}
        self._tokens = itertools.count()

    def cut_of(self, host: int) -> asyncio.Event:
        return self._cut.setdefault(host, asyncio.Event())

    async def why(self, host: int) -> str:
        """Why a host was lost. The client may know of it before the master does. It may go on with
        what was done there when this returns: nothing that is still on its way from there will be
        heard (core/master/cut.c)."""
        for _ in range(20):
            if host in self.lost:
                await self.cut_of(host).wait()
                return self.lost[host]
            await asyncio.sleep(0.05)
        return f"the connection to the agent of host {host} was lost"

    async def is_lost(self, host: int) -> bool:
        """Asked when a process of it has hung up: because it ended, or because its host did? Its
        agent answers by way of the master, or is lost, and by now nobody hears it any more."""
        token, alive = next(self._tokens), asyncio.get_running_loop().create_future()
        self._probes[token] = alive
        cut = asyncio.ensure_future(self.cut_of(host).wait())
        try:
            if host not in self.lost:
                self._notice("probe", host, token)
            await asyncio.wait([alive, cut], return_when=asyncio.FIRST_COMPLETED)
        finally:
            cut.cancel()
            del self._probes[token]
        return not alive.done() and host not in self.left

    async def why_if_lost(self, host: int) -> str:
        return await self.why(host) if await self.is_lost(host) else ""

    def probe(self, asker: int, token: int) -> None:
        self._notice("probed", asker, token)

    def probed(self, token: int) -> None:
        if token in self._probes:
            self._probes[token].set_result(None)

    def unknown(self, host: int) -> None:
        """A probed one: it is lost, as we have been told, or was before we came."""
        if host not in self.lost:
            self.cut_of(host).set()
