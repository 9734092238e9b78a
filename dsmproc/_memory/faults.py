"""How this process's page faults reach its agent; and SIGSEGV, shared with Python."""

from __future__ import annotations

import faulthandler
import functools
import logging
from typing import Any

from .._native.ffi import ffi, lib
from ..errors import ClusterError

SEGV = 3
NAMES = {1: "uffd", 2: "uffd-user", SEGV: "segv"}
log = logging.getLogger("dsmproc")
_ours = False  # SIGSEGV brings page faults in this process


def probe_faults(force: str | None = None) -> str:
    """The best fault mechanism that works here, "uffd", "uffd-user" or "segv"; ClusterError says
    why the one that is named does not. `force` is what DSMPROC_FAULTS would say."""
    return NAMES[choose(force)[0]]


def choose(force: str | None) -> tuple[int, str]:
    """Its number, and why it is not a better one ("": it is the best, or named)."""
    why = ffi.new("char[]", 400)
    found = int(lib.dsmproc_faults_probe((force or "").encode() or ffi.NULL, why, 400))
    reason: str = ffi.string(why).decode("utf-8", "replace")
    if found < 0:
        raise ClusterError(reason)
    return found, reason


def share_signal(why: str) -> None:
    """With segv. faulthandler also owns SIGSEGV, and what it does with our faults is a crash: after
    it took the signal or gave it back, we take it again and hand on to it what is not ours."""
    global _ours
    if _ours:
        return
    _ours = True
    if why:
        log.warning("shared memory is watched by mprotect and SIGSEGV, as %s", why)
    enable, disable = faulthandler.enable, faulthandler.disable

    @functools.wraps(enable)
    def enable_under_us(*arguments: Any, **named: Any) -> Any:
        result = enable(*arguments, **named)
        lib.dsmproc_faults_arm(0)
        return result

    @functools.wraps(disable)
    def disable_under_us() -> Any:
        result = disable()
        if result:
            lib.dsmproc_faults_arm(1)
        return result

    faulthandler.enable = enable_under_us
    faulthandler.disable = disable_under_us
