"""What a pool's worker process does, and what goes between it and the driver.

    driver -> worker   Batch: a part of a job; None: no more work
    worker -> driver   READY (the initializer has run), or (REFUSED, exception); then one Answer
                       for each batch, in order

A function is sent once to a worker: later batches name it by the digest of its bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from collections.abc import Callable, Iterable
from typing import Any

from . import _pickle, _std

READY = "ready"
REFUSED = "refused"


@dataclasses.dataclass
class Batch:
    job: int
    part: int
    digest: bytes
    function: bytes | None  # None: the worker has it
    work: bytes  # pickled (kind, args, kwds)


@dataclasses.dataclass
class Answer:
    job: int
    part: int
    outcome: bytes  # pickled (good, value or exception)


# How the arguments of a batch are to be applied. The standard Pool wraps the user's function in
# helpers of its own; here the function travels apart from them.
CALL, MAP, STARMAP = "call", "map", "starmap"


def apply(kind: str, function: Callable[..., Any], args: Any, kwds: dict[str, Any]) -> Any:
    if kind == MAP:
        return [function(item) for item in args]
    if kind == STARMAP:
        return [function(*item) for item in args]
    return function(*args, **kwds)


def split(function: Any, args: tuple[Any, ...]) -> tuple[str, Any, Any]:
    """(kind, the user's function, its arguments) of a task as the standard Pool makes it."""
    for helper, kind in ((_std.pool.mapstar, MAP), (_std.pool.starmapstar, STARMAP)):
        if function is helper:
            (inner, items), *_ = args
            return kind, inner, items
    return CALL, function, args


class Functions:
    """The functions that this worker was sent, by digest."""

    def __init__(self) -> None:
        self._known: dict[bytes, Any] = {}

    def of(self, batch: Batch) -> Any:
        if batch.function is not None:
            self._known[batch.digest] = _pickle.loads(batch.function)
        return self._known[batch.digest]


def work(
    channel: Any,
    initializer: Callable[..., Any] | None,
    initargs: Iterable[Any],
    batches: int | None,
    wrap_exception: bool,
) -> None:
    """The target of a worker process: serve until there is no more work, at most `batches`."""
    if initializer is not None:
        try:
            initializer(*initargs)
        except Exception as error:
            refusal = (REFUSED, _std.pool.ExceptionWithTraceback(error, error.__traceback__))
            channel.send_bytes(_pickle.dumps(refusal))
            return
    channel.send_bytes(_pickle.dumps(READY))
    functions = Functions()
    served = 0
    while batches is None or served < batches:
        try:
            batch = _pickle.loads(channel.recv_bytes())
        except (EOFError, OSError):
            break  # the driver is gone
        if batch is None:
            break
        outcome = serve(functions, batch, wrap_exception)
        channel.send_bytes(_pickle.dumps(Answer(batch.job, batch.part, outcome)))
        served += 1
    with contextlib.suppress(OSError):
        channel.close()


def serve(functions: Functions, batch: Batch, wrap_exception: bool) -> bytes:
    """Do it; the pickled outcome."""
    function = None
    try:
        function = functions.of(batch)
        kind, args, kwds = _pickle.loads(batch.work)
        outcome = (True, apply(kind, function, args, kwds))
    except Exception as error:
        reraises = function is _std.pool._helper_reraises_exception
        outcome = (False, _traced(error) if wrap_exception and not reraises else error)
    try:
        return _pickle.dumps(outcome)
    except Exception as error:
        wrapped = _std.pool.MaybeEncodingError(error, outcome[1])
        return _pickle.dumps((False, wrapped))


def _traced(error: Exception) -> Any:
    return _std.pool.ExceptionWithTraceback(error, error.__traceback__)


def describe_end(exitcode: int | None) -> str:
    """How a worker ended, in words."""
    if exitcode is not None and exitcode < 0:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-exitcode).name}"
        return f"was killed by signal {-exitcode}"
    return f"ended with exit code {exitcode}"
