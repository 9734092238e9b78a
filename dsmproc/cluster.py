"""This process's membership in a cluster: as a driver, or as a worker that an agent started.

Importing dsmproc connects nowhere and starts nothing; the first thing that needs the cluster calls
`client()`. A driver finds its cluster in DSMPROC_ADDRESS (set by `dsmproc run`) or through `init`;
a worker is told by its agent (`adopt`). A forked child belongs to the same host and session as its
parent and opens connections of its own.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import types
import uuid
from collections.abc import Callable
from multiprocessing import util
from typing import Any

from ._memory import edges
from ._net import wire
from ._os import procs
from ._settings import check_settings
from .errors import AuthenticationError, ClusterError, HostLostError

__all__ = ["Client", "active", "client", "current_host", "hosts", "init", "shutdown", "stats"]


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
            good, answer = self._answer(wired, (question, *arguments))
        try:
            if not good:
                raise answer
            return answer
        finally:
            del answer  # an error and the frame it was raised in would hold each other

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
                good, answer = wired.request((question, *arguments))
        except (EOFError, OSError) as error:
            raise HostLostError(self.why_lost(host["id"]), host["id"]) from error
        try:
            if not good:
                raise answer
            return answer
        finally:
            del answer  # an error and the frame it was raised in would hold each other

    def why_lost(self, host: int) -> str:
        """One sentence about a host whose connection broke. Who is told it may go on with that
        host's work: what was published there is seen, and nothing else will come any more."""
        try:
            why = str(self.ask("why", host))
            edges.observe_newest()
            return why
        except ClusterError as error:
            return str(error)


class _State:
    """The membership of this process, if it has one."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.client: Client | None = None
        self.session_wire: wire.Wire | None = None
        self.roots: list[str] = []  # where the agent was told that our modules are
        self.local: Any = None  # the launch.LocalHandle of a cluster that init() started
        self.leaving: list[Callable[[], None]] = []
        self.left = False  # shutdown() was called: DSMPROC_ADDRESS counts no more


_state = _State()


def active() -> bool:
    """Whether names mean the cluster's objects in this process."""
    if _state.client is not None:
        return True
    return not _state.left and bool(os.environ.get("DSMPROC_ADDRESS"))


def client() -> Client:
    """This process's membership; joins the cluster of DSMPROC_ADDRESS at the first call."""
    with _state.lock:
        if _state.client is None:
            if not active():
                raise ClusterError("no cluster: call dsmproc.init() or start with `dsmproc run`")
            _attach(os.environ["DSMPROC_ADDRESS"], os.environ.get("DSMPROC_AUTHKEY_FILE"))
        assert _state.client is not None
        return _state.client


_cluster_client = client


def on_leave(callback: Callable[[], None]) -> None:
    """Call back when this process leaves its cluster (shutdown), while it is still a member."""
    _state.leaving.append(callback)


def adopt(membership: dict[str, Any]) -> None:
    """In a worker, before anything else: the agent says who we are."""
    _state.client = Client(membership)


def _attach(address: str, key_file: str | None) -> None:
    """Become a driver: find the agent of this machine and stay connected to it."""
    from ._workers import modules

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
    roots = modules.driver_roots()
    session_wire.request((session, roots))
    _state.client, _state.session_wire, _state.roots = joined, session_wire, roots


def program_ends() -> bool:
    """This process is the driver, at its end: what runs still is ended with it."""
    return _state.session_wire is not None and util.is_exiting()


def announce_roots() -> None:
    """Before a process is started: where this driver's modules are now, if that has changed."""
    from ._workers import modules

    if _state.session_wire is None:  # no driver
        return
    roots = modules.driver_roots()
    if roots != _state.roots:
        client().ask("roots", client().session, roots)
        _state.roots = roots


def default_key_file() -> str:
    return os.path.expanduser(os.path.join("~", ".dsmproc", "authkey"))


def _forked() -> None:
    """In a forked child: same host, same session, none of the parent's connections."""
    _state.lock = threading.RLock()
    if _state.client is not None:
        _state.client.forget_parent()
    if _state.session_wire is not None:
        _state.session_wire.close()
        _state.session_wire = None
    if _state.local is not None:
        _state.local.forget()
        _state.local = None


os.register_at_fork(after_in_child=_forked)


# -- the public functions ---------------------------------------------------------------------


class _Membership:
    """What init() returns: the cluster, until the end of a `with`."""

    def __enter__(self) -> _Membership:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        shutdown()

    def __repr__(self) -> str:
        joined = _state.client
        if joined is None:
            return "<dsmproc: no cluster>"
        return f"<dsmproc: host {joined.host} of {wire.format_address(joined.master)}>"


def init(
    address: str | None = None,
    *,
    local: int | None = None,
    hosts: list[str] | None = None,
    python: str | None = None,
    slots: int | None = None,
    consistency: str | None = None,
    home: str | None = None,
) -> _Membership:
    """Join the cluster at `address`, or start one: `local` hosts on this machine, or this machine
    and `hosts`, where ssh starts agents with the interpreter `python` (DSMPROC_SSH: which ssh).

    Under `dsmproc run` the cluster is there already: init() without an address joins that one,
    whatever `local` says, so a script may contain it and be run either way.
    """
    with _state.lock:
        if _state.client is not None:
            if address is not None and wire.parse_address(address) != _state.client.master:
                raise ClusterError(f"this process is in a cluster already: {_Membership()!r}")
            return _Membership()
        _state.left = False
        address = address or os.environ.get("DSMPROC_ADDRESS") or None
        if address is not None:
            _attach(address, os.environ.get("DSMPROC_AUTHKEY_FILE"))
        elif local is not None or hosts is not None:
            _start(_plan(local, hosts, python, slots), consistency, home)
        else:
            raise ClusterError("which cluster? give init() an address, local=N or hosts=[...]")
        # The standard library joins a program's processes at its end; only then may we leave.
        util.Finalize(None, shutdown, exitpriority=-100)
        return _Membership()


def _plan(local: int | None, hosts: list[str] | None, python: str | None, slots: int | None) -> Any:
    from ._launch.local import Plan

    for what, number in (("local", local), ("slots", slots)):
        if number is not None and (type(number) is not int or number < 1):
            raise ValueError(f"init({what}={number!r}): a number of at least 1 is needed")
    if hosts is None:
        return Plan(local or 1, slots)
    if local is not None:
        raise ValueError("init(): local and hosts exclude each other")
    if not hosts or not all(isinstance(name, str) and name and "," not in name for name in hosts):
        raise ValueError(f"init(hosts={hosts!r}): a list of host names is needed")
    return Plan(1, slots, list(hosts), python or sys.executable)


def _start(plan: Any, consistency: str | None, home: str | None) -> None:
    from ._launch import local

    wanted = {"DSMPROC_CONSISTENCY": consistency, "DSMPROC_HOME": home}
    settings = {name: value for name, value in wanted.items() if value is not None}
    check_settings({**os.environ, **settings})
    handle = local.start(plan, settings)
    try:
        _attach(handle.address, handle.key_file)
    except BaseException:
        handle.close()
        raise
    _state.local = handle


def shutdown() -> None:
    """Leave the cluster. What this program started on it ends; one that init() started ends too."""
    with _state.lock:
        if _state.client is None:
            return
        for callback in _state.leaving:
            callback()
        memory = sys.modules.get("dsmproc._memory.current")
        if memory is not None:
            memory.close()  # before the agent ends: a client that loses its agent is killed
        _state.client.leave()
        _state.client = None
        _state.left = True
        if _state.session_wire is not None:
            with contextlib.suppress(OSError):
                _state.session_wire.close()
            _state.session_wire = None
        if _state.local is not None:
            _state.local.close()
            _state.local = None


def hosts() -> list[int]:
    """The ids of the cluster's hosts; [0] without a cluster."""
    if not active():
        return [0]
    return [host["id"] for host in client().ask("hosts") if host["ready"]]


def current_host() -> int:
    """The id of the host that this process runs on; 0 without a cluster."""
    return client().host if active() else 0


def total_slots() -> int:
    """How many processes the cluster was made for."""
    return sum(host["slots"] for host in client().ask("hosts") if host["ready"])


def stats(reset: bool = False) -> dict[int, dict[str, int]]:
    """The counters of every host, since the start or since the last call with `reset`.

    What the master sends is counted to the host on whose machine it is (-1 if there is none).
    """
    if not active():
        return {0: {}}
    joined = client()
    members = [host for host in joined.ask("hosts") if host["ready"]]
    counted = {host["id"]: joined.ask_host(host, "stats", reset) for host in members}
    master = joined.ask("master", "stats", reset)
    heard = [master.pop("heard"), *(counters.pop("heard") for counters in counted.values())]
    beside = counted.setdefault(master.pop("host"), {})
    for name, value in master.items():
        beside[name] = beside.get(name, 0) + value
    by_address = {host["address"][0]: host["id"] for host in reversed(members)}
    for senders in heard:
        for who, value in senders.items():
            sender = by_address.get(who, who)  # a host's number stands for itself
            if sender in counted:  # it may have left, or have been nobody of the cluster
                counted[sender]["bytes_sent"] += value
    return counted
