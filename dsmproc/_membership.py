"""This process's membership in a cluster: as a driver, or as a worker that an agent started.

Importing dsmproc connects nowhere and starts nothing; the first thing that needs the cluster calls
`client()`. A driver finds its cluster in DSMPROC_ADDRESS (set by `dsmproc run`) or through `init`;
a worker is told by its agent (`adopt`). A forked child belongs to the same host and session as its
parent and opens connections of its own.
"""

from __future__ import annotations

import os
import sys
import threading
import uuid
from collections.abc import Callable
from multiprocessing import util
from typing import Any

from ._net import wire
from ._net.roots import driver_roots
from ._os import procs
from ._settings import check_settings
from .errors import AuthenticationError, ClusterError, HostLostError

__all__ = ["Client", "active", "adopt", "attach", "client", "on_leave", "on_loss", "state"]


# What connecting to an agent comes to that has ended; somebody else may have taken its path.
GONE = (
    *(ConnectionError, EOFError, FileNotFoundError),
    *(AuthenticationError, NotADirectoryError, PermissionError),
)


class Client:
    """What a process of the cluster knows, and how it asks its agent."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.master: tuple[str, int] = tuple(fields["master"])  # type: ignore[assignment]
        self.key: bytes = fields["key"]
        self.host: int = fields["host"]
        self.socket: str = fields["socket"]
        self.session: str = fields["session"]
        self.home: tuple[str, int] | None = fields["home"]  # the agent of the driver's host
        self.pid = os.getpid()
        self._partings: wire.Wire | None = None
        self._parting = threading.Lock()

    def connect_agent(self, purpose: str) -> wire.Wire:
        """A new connection to the agent of this host."""
        try:
            return wire.connect_unix(self.socket, purpose)
        except GONE as error:
            reason = error if isinstance(error, AuthenticationError) else None
            raise ClusterError(
                f"the agent of this host (host {self.host}) is gone: the cluster has ended"
            ) from reason

    def connect(self, host: dict[str, Any], purpose: str) -> wire.Wire:
        """A new connection to the agent of any host, as `ask("place")` or `hosts` named it."""
        if host["id"] == self.host:
            return self.connect_agent(purpose)
        self.hear_of_losses()
        self._refuse_lost(host["id"])
        wired = wire.connect_tcp(tuple(host["address"]), purpose, self.key, self.host)
        try:
            self._refuse_lost(host["id"])  # a loss that is told from now on parts the wire
        except BaseException:
            wired.close()
            raise
        return wired

    def _refuse_lost(self, host: int) -> None:
        """Whoever listens where a lost host did is somebody else."""
        from ._native.ffi import lib

        if lib.dsmproc_has_parted(host):
            raise wire.UnreachableError(f"host {host} is not in the cluster any more")

    def hear_of_losses(self) -> None:
        """From now on this process's connections to a host end when that host is lost, also if
        nobody is there to close them (partings.py)."""
        with self._parting:
            if self._partings is None:
                from ._native.ffi import check, ffi, lib

                news = self.connect_agent("partings")
                for record in self._answer(news):
                    lib.dsmproc_part(ffi.from_buffer("struct dsmproc_lost *", record))
                check(lib.dsmproc_part_by(news.fileno()), "cannot watch for lost hosts")
                self._partings = news

    def forget_parent(self) -> None:
        """In a forked child: the connections of the parent are not ours."""
        self.pid = os.getpid()
        self._parting = threading.Lock()
        self.leave()

    def leave(self) -> None:
        if self._partings is not None:
            from ._native.ffi import lib

            lib.dsmproc_part_by(-1)
            self._partings.close()
            self._partings = None

    def ask(self, question: str, *arguments: Any) -> Any:
        """One question to the agent of this host."""
        with self.connect_agent("client") as wired:
            answer = self._answer(wired, (question, *arguments))
        return _said(answer)

    def _answer(self, agent: wire.Wire, question: Any = None) -> Any:
        """Of the agent of this host; some connections are a question."""
        try:
            return agent.recv() if question is None else agent.request(question)
        except (EOFError, ConnectionError) as error:
            raise ClusterError(
                f"the agent of this host (host {self.host}) ended while it was asked"
            ) from error

    def ask_host(self, host: dict[str, Any], question: str, *arguments: Any) -> Any:
        """One question to the agent of any host."""
        try:
            with self.connect(host, "client") as wired:
                answer = wired.request((question, *arguments))
        except (EOFError, OSError) as error:
            raise HostLostError(self.why_lost(host["id"]), host["id"]) from error
        return _said(answer)

    def why_lost(self, host: int) -> str:
        """One sentence about a host whose connection broke. Who is told it may go on with that
        host's work: what was published there is seen, and nothing else will come any more."""
        try:
            why = str(self.ask("why", host))
            _losing()
            return why
        except ClusterError as error:
            return str(error)

    def why_if_lost(self, host: int) -> str:
        """The same of a host of which something has ended; "" if that alone has ended."""
        why = "" if host == self.host else str(self.ask("lost", host))
        _losing()
        return why


def _said(answer: Any) -> Any:
    """The value in an agent's answer, or raise the error in it."""
    good, value = answer
    try:
        if not good:
            raise value
        return value
    finally:
        del value, answer  # an error and the frame it was raised in would hold each other


class _State:
    """The membership of this process, if it has one."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.client: Client | None = None
        self.session_wire: wire.Wire | None = None
        self.roots: list[str] = []  # where the agent was told that our modules are
        self.local: Any = None  # the launch.LocalHandle of a cluster that init() started
        self.leaving: list[Callable[[], None]] = []
        self.losing: list[Callable[[], None]] = []
        self.left = False  # shutdown() was called: DSMPROC_ADDRESS counts no more


state = _State()


def active() -> bool:
    """Whether names mean the cluster's objects in this process."""
    if state.client is not None:
        return True
    return not state.left and bool(os.environ.get("DSMPROC_ADDRESS"))


def client() -> Client:
    """This process's membership; joins the cluster of DSMPROC_ADDRESS at the first call."""
    with state.lock:
        if state.client is None:
            if not active():
                raise ClusterError("no cluster: call dsmproc.init() or start with `dsmproc run`")
            attach(os.environ["DSMPROC_ADDRESS"], os.environ.get("DSMPROC_AUTHKEY_FILE"))
        assert state.client is not None
        return state.client


def on_leave(callback: Callable[[], None]) -> None:
    """Call back when this process leaves its cluster (shutdown), while it is still a member."""
    state.leaving.append(callback)


def _losing() -> None:
    for callback in state.losing:
        callback()


def on_loss(callback: Callable[[], None]) -> None:
    """Call back before somebody in this process is told why a host was lost."""
    state.losing.append(callback)


def adopt(membership: dict[str, Any]) -> None:
    """In a worker, before anything else: the agent says who we are."""
    state.client = Client(membership)


def attach(address: str, key_file: str | None) -> None:
    """Become a driver: find the agent of this machine and stay connected to it."""
    if key_file is None:
        key_file = default_key_file()
    check_settings(os.environ)
    master = wire.parse_address(address)
    key = wire.read_key(key_file)
    try:
        agent = wire.query(master, key, "membership", procs.machine_id())
    except (OSError, EOFError) as error:
        raise ClusterError(f"there is no cluster to join: {error}") from None
    if agent is None:
        raise ClusterError(
            f"the cluster at {address} has no agent on this machine that this user may use: "
            f"start one with `dsmproc agent --join {address}`"
        )
    session = os.environ.get("DSMPROC_SESSION", "") + "." + uuid.uuid4().hex
    joined = Client(
        {
            "master": master,
            "key": key,
            "host": agent["id"],
            "socket": agent["socket"],
            "session": session,
            "home": tuple(agent["address"]),
        }
    )
    session_wire = joined.connect_agent("session")
    roots = driver_roots()
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    session_wire.request((session, roots, program))
    state.client, state.session_wire, state.roots = joined, session_wire, roots


def program_ends() -> bool:
    """This process is the driver, at its end: what runs still is ended with it."""
    return state.session_wire is not None and util.is_exiting()


def announce_roots() -> None:
    """Before a process is started: where this driver's modules are now, if that has changed."""
    if state.session_wire is None:  # no driver
        return
    roots = driver_roots()
    if roots != state.roots:
        client().ask("roots", client().session, roots)
        state.roots = roots


def default_key_file() -> str:
    return os.path.expanduser(os.path.join("~", ".dsmproc", "authkey"))


def _forked() -> None:
    """In a forked child: same host, same session, none of the parent's connections."""
    state.lock = threading.RLock()
    if state.client is not None:
        state.client.forget_parent()
    if state.session_wire is not None:
        state.session_wire.close()
        state.session_wire = None
    if state.local is not None:
        state.local.forget()
        state.local = None


os.register_at_fork(after_in_child=_forked)
