"""The process from which an agent's workers are forked: it has imported what they need.

The first worker of a program on a host is a fresh interpreter (`boot`), which leaves its copy, the
zygote, behind when it has imported what all workers do. A zygote has one thread, no connection to
the cluster and no memory of it; a worker opens its own. Both are forked twice, so that they become
children of the agent (a subreaper): exit codes, death signals and places in `ps` are those of the
agent's children, and a zygote that is killed takes no worker along.

numpy, if the program has imported it, is imported here too, from the program's sys.path. Its
threads are stopped in a fork by its own handlers, and its random numbers are seeded again.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import sys
import time
import warnings
from typing import Any

from .._net import wire
from .._os import procs

READY = b"R"
NAME = b"dsmproc-zygote"  # in `ps`


def boot(fd: int, agent: int, control: int) -> None:
    """A worker that reads its request from `fd`; `control` is a zygote's, or -1."""
    procs.die_with_parent(agent, signal.SIGKILL)
    _import_all()
    if control >= 0:
        if _forked():
            os.close(fd)
            fd = _zygote(control, agent)
        else:
            os.close(control)
    from . import worker

    worker.main(fd, agent)


def _import_all() -> None:
    """What every worker imports."""
    import dsmproc._channels.handles
    import dsmproc._memory.client
    import dsmproc._memory.current
    import dsmproc._patch
    import dsmproc._pool.worker
    import dsmproc._std.pickling
    import dsmproc._workers.modules
    import dsmproc._workers.worker
    import dsmproc.cluster
    import dsmproc.connection
    import dsmproc.context  # noqa: F401


def _zygote(control: int, agent: int) -> int:
    """Fork workers; returns in a worker, with the descriptor of its socket."""
    _adopted_by(agent)
    null = os.open(os.devnull, os.O_RDWR)
    _take_streams(null, os.dup(null))  # not those of the worker that it comes from
    name = procs.name()
    procs.rename(NAME)
    with socket.socket(fileno=control) as commands:
        worker = _serve(commands, agent)
    if worker < 0:
        os._exit(0)
    procs.rename(name)
    _reseed()
    return worker


def _serve(commands: socket.socket, agent: int) -> int:
    """The descriptor of a worker's socket, in a worker; -1 in the zygote, when it is to end."""
    with contextlib.suppress(EOFError, OSError):
        _preload(pickle.loads(wire.recv_frame(commands, wire.FRAME_LIMIT)))
        commands.sendall(READY)
        while True:
            _, fds, _, _ = socket.recv_fds(commands, 1, 3)
            environ = pickle.loads(wire.recv_frame(commands, wire.FRAME_LIMIT))
            if _forked():
                _adopted_by(agent)
                _take_streams(*fds[1:])
                os.environ.clear()
                os.environ.update(environ)
                os.write(fds[0], os.getpid().to_bytes(8, "little"))
                return fds[0]
            for number in fds:
                os.close(number)
    return -1


def _forked() -> bool:
    """Fork, twice: whether this is the grandchild."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that a library stops
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            return False
        try:
            if os.fork():
                os._exit(0)
        except BaseException:
            os._exit(1)
    return True


def _adopted_by(agent: int) -> None:
    """Wait until the agent is the parent, and end when it does."""
    until = time.monotonic() + 10.0
    while os.getppid() != agent:
        if time.monotonic() > until:
            os._exit(1)
        time.sleep(0.0002)
    procs.die_with_parent(agent, signal.SIGKILL)


def _take_streams(out: int, err: int) -> None:
    for number, target in ((out, 1), (err, 2)):
        os.dup2(number, target)
        os.close(number)


def _preload(request: dict[str, Any]) -> None:
    """Modules of the program that are known to bear it."""
    before = list(sys.path)
    sys.path[:] = request["path"] + [entry for entry in before if entry not in request["path"]]
    try:
        for name in request["preload"]:
            with contextlib.suppress(Exception):  # then the worker's import raises
                __import__(name)
    finally:
        sys.path[:] = before


def _reseed() -> None:
    """Forked workers must not draw the same random numbers."""
    random: Any = sys.modules.get("numpy.random")
    if random is not None:
        random.seed()
