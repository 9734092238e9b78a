"""Process objects that run on some host of the cluster.

Everything but the way a process is started, watched and signalled is the standard library's
BaseProcess. The handle is one connection to the agent of the process's host: its descriptor is the
sentinel, signals go out through it, and the end comes in.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import signal
import socket
import sys
import threading
import time
import weakref
from multiprocessing import connection, util
from multiprocessing.process import active_children, current_process, parent_process
from typing import Any

from . import _membership, _std
from ._channels import handles
from ._memory import edges
from ._parcels import arguments
from ._settings import setting
from ._std import pickling
from .errors import ClusterError, HostLostError

__all__ = ["ClusterProcess", "active_children", "current_process", "parent_process"]

__getattr__ = _std.names_of("process")
PLACE_ATTEMPTS = 3
PRELOAD = ("numpy",)  # a worker has it from its start if its parent has


class ClusterProcess(_std.BaseProcess):
    """The Process of the context "cluster": always on the cluster."""

    _start_method: str | None = None

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        return ClusterPopen(process_obj)


class ForkClusterProcess(ClusterProcess):
    """The same, under the name of a standard start method (DSMPROC_METHODS=cluster)."""

    _start_method = "fork"  # which it tells its own processes


class SpawnClusterProcess(ClusterProcess):
    _start_method = "spawn"


class ForkServerClusterProcess(ClusterProcess):
    _start_method = "forkserver"


class _Handles:
    """The pids of this process's handles, whose processes may have ended. Programs keep them in
    dicts by pid, so no new one gets such a pid, which on another host might be free."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pids: weakref.WeakKeyDictionary[ClusterPopen, int] = weakref.WeakKeyDictionary()

    def add(self, handle: ClusterPopen, pid: int) -> None:
        with self._lock:
            self._pids[handle] = pid

    def pids(self) -> list[int]:
        with self._lock:
            return list(self._pids.values())

    def _forked(self) -> None:
        self._lock = threading.Lock()


_handles = _Handles()
os.register_at_fork(after_in_child=_handles._forked)


class ClusterPopen:
    """The handle of a started process."""

    method = "cluster"

    def __init__(self, process_obj: Any) -> None:
        _std.flush_std_streams()
        self.returncode: int | None = None
        self._lost: str | None = None
        self._told_to_end = False
        self._end: list[Any] | None = None  # code and stamp, once received
        self._receiving = threading.Lock()
        self._process = weakref.ref(process_obj)
        self._client = _membership.client()
        _membership.announce_roots()
        with handles.carrying() as self._tickets:
            payload, self._parcels = self._payload(process_obj)
        self.host, self._wire, self.pid = self._launch(process_obj, payload)
        self._parcels = {}
        self.sentinel = self._wire.fileno()
        self.finalizer = util.Finalize(self, self._wire.close)

    # -- starting -----------------------------------------------------------------------------

    def _payload(self, process_obj: Any) -> tuple[bytes, arguments.Parcels]:
        """What the worker unpickles: plain values first, then the process object; and what that
        names that may be on the host already."""
        with _std.spawning(self):
            preparation = pickling.dumps(_std.preparation_data(process_obj._name))
            body, parcels = arguments.dumps(process_obj)
        plain: dict[str, Any] = {"preparation": preparation, "main": _std.main_module_fields()}
        plain["large"] = bool(parcels)
        head = pickle.dumps(plain, pickle.HIGHEST_PROTOCOL)
        return len(head).to_bytes(8, "little") + head + body, parcels

    def duplicate_for_child(self, fd: int) -> int:
        """The standard library's objects ask this when they are pickled for a child."""
        raise ClusterError(
            "an object of the standard multiprocessing, made before the cluster was there, cannot "
            "be sent to a process on another host: create it after dsmproc.init()"
        )

    DupFd = duplicate_for_child

    def _launch(self, process_obj: Any, payload: bytes) -> tuple[int, Any, int]:
        policy = setting("DSMPROC_PLACE")
        wanted = getattr(process_obj, "_dsmproc_host", None)
        request = {
            "session": self._client.session,
            "home": self._client.home,
            "flags": _std.interpreter_flags(),
            "environ": dict(os.environ),
            "path": list(sys.path),
            "preload": [name for name in PRELOAD if name in sys.modules],
            "cwd": os.getcwd(),
            "umask": _umask(),
            "stamp": edges.publish(),
            "tickets": [tuple(ticket) for ticket in self._tickets],
            "parcels": list(self._parcels),
            "taken": _handles.pids(),
        }
        for attempt in range(PLACE_ATTEMPTS):
            host = self._client.ask("place", policy, wanted)
            try:
                wired = self._client.connect(host, "spawn")
            except OSError as error:  # it was lost just now, and the master may not know yet
                if error.errno == errno.EMFILE:
                    raise
                if attempt == PLACE_ATTEMPTS - 1:
                    raise HostLostError(
                        f"host {host['id']} cannot be reached: {error}", host["id"]
                    ) from error
                time.sleep(0.2)
                continue
            kind, value = self._request(wired, host["id"], request, payload)
            if kind == "started":
                self._address = host
                _handles.add(self, value)
                return host["id"], wired, value
            wired.close()
            if kind == "failed":
                raise ClusterError(value)
        raise HostLostError(value, host["id"])  # it began to leave when this was on the way

    def _request(self, wired: Any, host: int, request: dict[str, Any], payload: bytes) -> Any:
        """What the agent says to it: started, failed, or leaving."""
        try:
            wired.send(request)
            if self._parcels:
                for digest in wired.recv():
                    wired.send_bytes(self._parcels[digest])
            wired.send_bytes(payload)
            return wired.recv()
        except (EOFError, OSError) as error:
            wired.close()
            raise HostLostError(self._client.why_lost(host), host) from error
        except BaseException:
            wired.close()
            raise

    def connect(self, purpose: str) -> Any:
        """A connection to the agent of the process's host."""
        try:
            return self._client.connect(self._address, purpose)
        except OSError as error:
            raise HostLostError(self._client.why_lost(self.host), self.host) from error

    @property
    def lost(self) -> bool:
        """Its end is known, and it was its host's."""
        return self._lost is not None

    # -- watching -----------------------------------------------------------------------------

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code if the process has ended."""
        if self.returncode is None and self._speaks(0):
            self._receive()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """As `poll`, after at most `timeout` seconds; HostLostError if its host was lost before it
        was told to end."""
        if self.returncode is None:
            if not self._speaks(timeout):
                return None
            self._receive()
        if self._lost is not None and not self._told_to_end:
            _std.forget_child(self._process())
            raise HostLostError(self._lost, self.host)
        return self.returncode

    def _speaks(self, timeout: float | None) -> bool:
        return self._wire.begun or bool(connection.wait([self.sentinel], timeout))

    def _receive(self) -> None:
        """The sentinel is readable: the end of the process, or of its host."""
        with self._receiving:
            if self.returncode is not None:
                return
            if self._end is None:
                try:
                    kind, *said = self._wire.recv_last()
                    if kind == "given-up":  # its agent ended it, and says why
                        self._lost = f"process {self.pid} was given up: {said[0]}"
                        said = [-int(signal.SIGKILL), said[1]]
                    self._end = said
                except (EOFError, OSError):
                    self._lost = (
                        f"process {self.pid} was lost with its host: "
                        f"{self._client.why_lost(self.host)}"
                    )
                    self._end = [-int(signal.SIGKILL), None]
                # The sentinel stays readable for whoever waits for it now or later.
                with contextlib.suppress(OSError):
                    self._wire.sock.shutdown(socket.SHUT_RD)
            code, stamp = self._end
            edges.observe(stamp)  # Ctrl-C may come here; the end is kept for the next look
            self.returncode = code

    # -- signals ------------------------------------------------------------------------------

    def _send_signal(self, number: int) -> None:
        if self.returncode is None:
            try:
                kind = "dismiss" if _membership.program_ends() else "signal"
                self._wire.send((kind, int(number)))
            except OSError:
                if self._speaks(0.1):
                    self._receive()
                if self.returncode is None:
                    raise

    def interrupt(self) -> None:
        self._send_signal(signal.SIGINT)

    def terminate(self) -> None:
        """Also one that is stopped, as a shell's kill does: otherwise its parent waits for ever."""
        self._told_to_end = True
        self._send_signal(signal.SIGTERM)
        self._send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._told_to_end = True
        self._send_signal(signal.SIGKILL)

    def close(self) -> None:
        self.finalizer()


def _umask() -> int:
    """Without changing it for a moment, which another thread could see."""
    with open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    raise OSError("the kernel does not tell the umask")
