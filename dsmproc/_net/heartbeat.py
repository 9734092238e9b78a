"""How long silence may last: DSMPROC_HEARTBEAT seconds, the same on all machines of a cluster.

The engines beat (native threads, which no user code, page fault or interpreter lock can hold up):
every pair of agents, and each agent with the master. The control connections beat too, for a cut
may concern only them. What is counted is the listener's own beats without a sign of life, so one
that was stopped itself, or had no processor, accuses nobody when it goes on.
"""

from __future__ import annotations

from collections.abc import Callable

from .._settings import setting

BEATS = 8  # in that time


def bound() -> float:
    """Seconds of silence that make a host lost."""
    return float(setting("DSMPROC_HEARTBEAT"))


def interval() -> float:
    return bound() / BEATS


class Pulse:
    """One partner's signs of life: `heard` sets them back, `beat` counts."""

    def __init__(self) -> None:
        self._silent = 0

    def heard(self) -> None:
        self._silent = 0

    def beat(self) -> bool:
        """One of our beats; True: the partner is lost."""
        self._silent += 1
        return self._silent > BEATS


def silence(of: str = "") -> str:
    return f"{of}no sign of life for {bound():g} s"


async def beating(beat: Callable[[], None]) -> None:
    """Call it at every beat."""
    import asyncio  # clients import this module too, and do without

    while True:
        await asyncio.sleep(interval())
        beat()
