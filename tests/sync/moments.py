"""A signal at each moment of a call at which Python would run its handler.

Python runs handlers between two instructions, at few of them: where a function begins, after a
call of C, at the end of a loop's round. A tracer counts the instructions; at the n-th it marks a
signal as arrived, as the interpreter's own C handler would, and gets out of the way, for it is
Python itself. What follows is Python's: the handler runs at the next of its moments, and raises. So
every moment is had, for n = 1, 2, ..., and always the same. Those within `threading` are not
counted: they are of any program with threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import dis
import functools
import gc
import itertools
import os
import random
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TESTS = str(Path(__file__).parent.parent)
PATIENCE = 5.0  # seconds; what takes longer hangs
SOON = 0.001  # seconds


class Interrupt(Exception):
    """What the handler raises."""


class Hang(BaseException):
    pass


def _tracer(name: str, library: Any) -> Any:
    """A function of C as a trace function: no instruction of Python runs in it."""
    return ctypes.PYFUNCTYPE(None, *[ctypes.py_object] * 3)((name, library))


_arrive = _tracer("PyErr_SetInterrupt", ctypes.pythonapi)  # SIGINT; it takes no arguments
_ignore = _tracer("getppid", ctypes.CDLL(None))
# Instructions during which no handler runs: it does as well before the next one.
_QUIET = ("LOAD_", "STORE_", "PUSH_", "POP_TOP", "COPY", "SWAP", "DUP_", "ROT_", "NOP", "PRECALL")
_QUIET += ("KW_NAMES", "CACHE", "IS_OP", "BUILD_", "RETURN_", "RERAISE", "EXTENDED_ARG", "MAKE_")


@functools.cache
def _offsets(code: types.CodeType) -> frozenset[int]:
    """The instructions after which one comes that is not quiet, or one that is not known."""
    found = set()
    for here, following in itertools.pairwise(dis.get_instructions(code)):
        if not following.opname.startswith(_QUIET) or "JUMP" in here.opname or "FOR" in here.opname:
            found.add(here.offset)
    return frozenset(found)


class _Trace:
    """Counts down; then the signal arrives before the next instruction of that frame."""

    def __init__(self, n: int) -> None:
        self.left = n
        self.stepping = self.step  # one object, kept: Python's tracing borrows it
        self.where = ""  # the handler ran
        self.over = False
        self.inside = False  # ... while the call was under way

    def begin(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename in (__file__, threading.__file__):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self.stepping

    def step(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        if event != "opcode" or frame.f_lasti not in _offsets(frame.f_code):
            return self.stepping
        self.left -= 1
        if self.left:
            return self.stepping
        sys.settrace(_ignore)
        _forget(frame.f_back)
        return _arrive  # before the next instruction

    def handle(self, number: int, frame: types.FrameType | None) -> None:
        assert frame is not None
        sys.settrace(None)
        _forget(frame)
        if not self.where and not self.over:
            name = os.path.basename(frame.f_code.co_filename)
            self.where = f"{name}:{frame.f_lineno} {frame.f_code.co_name}+{frame.f_lasti}"
            ours = frame.f_code.co_filename != threading.__file__
            self.inside = ours and not _is_test(frame) and not _begins(frame)
            raise Interrupt(self.where)


def _is_test(frame: types.FrameType | None) -> bool:
    return frame is not None and frame.f_code.co_filename.startswith(TESTS)


def _begins(frame: types.FrameType) -> bool:
    """Whether the call that is interrupted has done nothing yet."""
    opcode = frame.f_code.co_code[frame.f_lasti] if frame.f_lasti >= 0 else None
    return _is_test(frame.f_back) and (opcode is None or dis.opname[opcode] == "RESUME")


def _forget(frame: types.FrameType | None) -> None:
    while frame is not None:
        frame.f_trace = None
        frame = frame.f_back


def call(trace: _Trace, function: Callable[[], Any]) -> Any:
    """What it returned, or Interrupt."""
    before = signal.signal(signal.SIGINT, trace.handle)
    sys._getframe().f_trace_opcodes = True  # 3.12 wants to know before it begins to trace
    value: Any = Interrupt
    begin = trace.begin
    try:
        with contextlib.suppress(Interrupt):
            try:
                sys.settrace(begin)
                value = function()
            finally:
                sys.settrace(None)
    finally:
        signal.signal(signal.SIGINT, before)
    return value


@contextlib.contextmanager
def alarm(handler: Callable[..., Any], seconds: float) -> Iterator[None]:
    """The handler runs in the main thread after this time, if the block still does."""
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def watched(patience: float) -> contextlib.AbstractContextManager[None]:
    """What hangs fails."""

    def hangs(number: int, frame: Any) -> None:
        raise Hang(f"it hangs for {patience} s")

    return alarm(hangs, patience)


Made = tuple[Callable[[], Any], Callable[[Any], Any]]
Scenario = Callable[[Any], Made]


def moments(
    scenario: Scenario, ctx: Any, patience: float = PATIENCE, step: int = 1, limit: int = 5000
) -> dict[str, str]:
    """The moments of a call, and what is wrong after each ("": nothing). A scenario makes what to
    call, and what to look at then, which gets what the call has returned, or Interrupt. With a
    `step`, one of so many."""
    found: dict[str, str] = {}
    last = ""
    gc.disable()  # what it would find at some moment is not of the call
    try:
        for n in range(1, limit, step):
            trace, wrong = _moment(n, scenario, ctx, patience, last)
            if not trace.where:
                return found
            if trace.inside:
                found[trace.where] = found.get(trace.where) or wrong
            last = trace.where
    finally:
        gc.enable()
    raise AssertionError(f"more than {limit} moments")


def _moment(n: int, scenario: Scenario, ctx: Any, patience: float, last: str) -> tuple[_Trace, str]:
    """What is wrong after the n-th one. Where the last one was, too, it is the same one."""
    function, check = scenario(ctx)
    trace = _Trace(n)
    try:
        with watched(patience):
            value = call(trace, function)
            if trace.inside and trace.where != last:
                assert value is Interrupt, "the handler's exception is lost"
                check(value)
    except (Exception, Hang) as error:
        if not trace.where:
            raise
        return trace, f"{type(error).__name__}: {error}"
    return trace, ""


def at_random(scenario: Scenario, ctx: Any, seconds: float, seed: int = 1) -> tuple[int, list[str]]:
    """The same with a timer's signals: how many interrupted the call, and what was wrong then."""
    draw, count, took, wrong = random.Random(seed), 0, 0.001, []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        function, check = scenario(ctx)
        trace, begun = _Trace(0), time.monotonic()
        before = signal.signal(signal.SIGALRM, trace.handle)
        try:
            signal.setitimer(signal.ITIMER_REAL, draw.uniform(1e-6, took))
            function()
        except Interrupt:
            pass
        except Exception as error:
            wrong.append(f"{trace.where}: it ends with {type(error).__name__}: {error}")
        finally:
            trace.over = True
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        if not trace.where:
            took = 0.9 * took + 0.1 * (time.monotonic() - begun)
        if not trace.inside:
            continue
        count += 1
        try:
            with watched(1):
                check(Interrupt)
        except (Exception, Hang) as error:
            wrong.append(f"{trace.where}: {type(error).__name__}: {error}")
    return count, wrong
