"""A worker: a process, forked by a zygote, that becomes the process object it is sent."""

from __future__ import annotations

import importlib.machinery
import os
import signal
import socket
import sys
import types
from typing import Any

from .._os import procs


def main(fd: int, agent: int) -> None:
    """Read who we are and what to do from the agent's socket, do it, and end."""
    procs.die_with_parent(agent, signal.SIGKILL)
    from .._net import wire

    request = wire.Wire(socket.socket(fileno=fd))
    try:
        membership = request.recv()
        payload = request.recv_bytes()
    except EOFError:
        os._exit(1)  # the agent did not want this worker after all
    sys.exit(_run(request, membership, payload))


def _run(request: Any, membership: dict[str, Any], payload: bytearray) -> int:
    from .. import _membership, _patch, _std
    from .._parcels import arguments
    from .._std import pickling
    from ..errors import HostLostError

    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    _membership.adopt(membership)
    if _patch.wanted():
        _patch.install()
    _adopt_directory(membership)
    prepared, body = _split(payload)
    _new_main(prepared)
    _install_finder(membership)
    with _std.inheriting():
        preparation = pickling.loads(prepared["preparation"])
        _adopt_path(preparation.pop("sys_path"))
        preparation.pop("dir", None)
        _std.prepare(preparation)
        try:
            process_object = (arguments if prepared["large"] else pickling).loads(body)
        except HostLostError as error:
            name = _std.process.current_process().name
            sys.exit(f"dsmproc: {name} (pid {os.getpid()}) cannot start: {error}")
    return _std.bootstrap(process_object, request.fileno())


def _split(payload: bytearray) -> tuple[dict[str, Any], memoryview]:
    """The payload is a small pickle of plain values and, after it, the process object's."""
    import pickle

    length = int.from_bytes(payload[:8], "little")
    view = memoryview(payload)
    return pickle.loads(view[8 : 8 + length]), view[8 + length :]


def _new_main(prepared: dict[str, Any]) -> None:
    """One empty `__main__`, into which the driver's functions and classes unpickle."""
    module = types.ModuleType("__main__")
    module.__dict__.update(prepared["main"])
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module


def _adopt_directory(membership: dict[str, Any]) -> None:
    """The parent's working directory if this host has it, else one of our own."""
    os.umask(membership["umask"])
    try:
        os.chdir(membership["cwd"])
    except OSError:
        os.makedirs(membership["spare_cwd"], mode=0o700, exist_ok=True)
        os.chdir(membership["spare_cwd"])


def _adopt_path(theirs: list[str]) -> None:
    """The parent's sys.path, and behind it what only this host's interpreter has."""
    own = [entry for entry in sys.path if entry and entry not in theirs]
    sys.path[:] = theirs + own


def _install_finder(membership: dict[str, Any]) -> None:
    if membership["home"] is not None:
        from . import modules

        at, host = membership["home"], membership["host"]
        finder = modules.Finder(at, membership["key"], membership["session"], host)
        sys.meta_path.append(finder)
        importlib.machinery.PathFinder.invalidate_caches()
