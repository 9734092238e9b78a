"""What strangers do is worth a few lines of the log a minute, and a count of the rest."""

from __future__ import annotations

import asyncio
import logging

log = logging.getLogger("dsmproc")

LINES = 5
SECONDS = 60.0


class Strangers:
    def __init__(self) -> None:
        self._lines = 0
        self._more = 0
        self._minute: asyncio.TimerHandle | None = None

    def warning(self, text: str, *arguments: object) -> None:
        if self._minute is None:
            self._minute = asyncio.get_running_loop().call_later(SECONDS, self.close)
        if self._lines < LINES:
            self._lines += 1
            log.warning(text, *arguments)
        else:
            self._more += 1

    def close(self) -> None:
        """The minute is over, or the listener closes."""
        if self._minute is not None:
            self._minute.cancel()
            self._minute = None
        if self._more:
            log.warning("%d more connections were refused within a minute", self._more)
        self._lines = self._more = 0
