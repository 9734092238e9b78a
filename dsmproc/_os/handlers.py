"""Exceptions that are a signal handler's, and no failure of what it interrupted."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

__all__ = ["raised_by_handler"]


def raised_by_handler(error: BaseException) -> bool:
    """For who is about to do something else because of an error. A handler's frame is in the
    traceback of what it raises."""
    codes = {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    return any(code in codes for code in _codes(error))


def _code(handler: Any) -> Any:
    return getattr(handler, "__code__", getattr(type(handler).__call__, "__code__", None))


def _codes(error: BaseException) -> Iterator[Any]:
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame.f_code
        traceback = traceback.tb_next
