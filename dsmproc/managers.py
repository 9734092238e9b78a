"""Managers whose server any process of the cluster can reach; multiprocessing.managers otherwise.

The server is a process on the driver's host (with DSMPROC_PLACE=remote on another than that of its
starter) and listens at that host's address. What goes between it and the proxies is the standard
protocol, challenges included, with our pickler; each message is published before and observed after
(connection.ForeignConnection), so a call orders plain memory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from multiprocessing import connection as std_connection
from multiprocessing import managers as standard
from multiprocessing import resource_tracker, util
from multiprocessing.managers import (
    BaseProxy,
    DictProxy,
    ListProxy,
    Namespace,
    Token,
    ValueProxy,
)
from typing import Any

from . import _membership
from . import _std as _private
from ._channels.listeners import host_at
from ._os.handlers import raised_by_handler
from ._settings import setting
from ._std import pickling
from ._std.choice import on_cluster
from .connection import ForeignConnection, LinkConnection, Listener, Pipe, reach
from .context import chosen_context, cluster_context
from .errors import HostLostError, ProcessError
from .sharedmem import ShareableList, SharedMemory

__all__ = [
    "AcquirerProxy",
    "BarrierProxy",
    "BaseManager",
    "BaseProxy",
    "ConditionProxy",
    "DictProxy",
    "EventProxy",
    "ListProxy",
    "Manager",
    "Namespace",
    "NamespaceProxy",
    "SharedMemoryManager",
    "SyncManager",
    "Token",
    "ValueProxy",
]

_std: Any = standard
_std_wrapper: Any = vars(std_connection)["ConnectionWrapper"]
AcquirerProxy = _std.AcquirerProxy
BarrierProxy = _std.BarrierProxy
ConditionProxy = _std.ConditionProxy
EventProxy = _std.EventProxy
NamespaceProxy = _std.NamespaceProxy


__getattr__ = _private.names_of("managers")


class _Connection(ForeignConnection):
    """Between a server and a proxy."""

    def send(self, obj: Any) -> None:
        self._check_closed()
        self._check_writable()
        self._send_bytes(pickling.dumps(obj))


class _Asking(_Connection):
    """A proxy's end: it asks, and is answered. After a call that a signal handler's exception ended
    in between, the next one would get that one's answer; so it goes on with a new connection."""

    _way: tuple[Any, ...]  # to the server
    _greeting: Any = None  # what was sent first: as which thread's connection it is served
    _owed = False  # an answer that was not read

    def send(self, obj: Any) -> None:
        if self._owed:
            self._renew()
        if self._greeting is None:
            self._greeting = obj
        self._owed = True
        super().send(obj)

    def recv(self) -> Any:
        try:
            value = super().recv()
        except (OSError, EOFError) as error:
            self._owed = raised_by_handler(error)
            raise
        self._owed = False
        return value

    def _ended(self, error: Exception) -> None:
        """Each call says so, not only the first."""
        host = self._host
        try:
            super()._ended(error)
        finally:
            self._host = host

    def _renew(self) -> None:
        with reach(*self._way) as new:
            os.dup2(new.fileno(), self.fileno(), inheritable=False)
        super().send(self._greeting)
        super().recv()


class _Listener(Listener):
    def accept(self) -> Any:
        return _ours(super().accept())


def _client(address: Any, family: str | None = None, authkey: bytes | None = None) -> Any:
    host = host_at(address)
    if host is not None:
        _servers[address] = host
    try:
        connection = _ours(reach(address, family, authkey))
    except (OSError, EOFError):
        _check_lost(address)
        raise
    if type(connection) is _Connection:
        connection.__class__ = _Asking
        connection._way = (address, family, authkey)
        connection._host = host
    return connection


_servers: dict[Any, int] = {}  # address of one that was reached: its host


def _check_lost(address: Any) -> None:
    """Nobody is at this address: HostLostError if a server was, on a host that is lost."""
    host = _servers.get(address)
    why = "" if host is None else _membership.client().why_if_lost(host)
    if why:
        raise HostLostError(f"{why}. The manager's server was there: start another", host)


def _ours(connection: Any) -> Any:
    if not isinstance(connection, LinkConnection):
        connection.__class__ = _Connection
    return connection


class _XmlListener(_Listener):
    def accept(self) -> Any:
        return _in_xml(super().accept())


def _xml_client(address: Any, family: str | None = None, authkey: bytes | None = None) -> Any:
    return _in_xml(_client(address, family, authkey))


def _in_xml(connection: Any) -> Any:
    """The standard library's other serializer, over our connection."""
    import xmlrpc.client

    def dumps(value: Any) -> bytes:
        return xmlrpc.client.dumps((value,), allow_none=True).encode()

    def loads(data: bytes) -> Any:
        return xmlrpc.client.loads(data)[0][0]

    return _std_wrapper(connection, dumps, loads)


class _Serializer(str):
    """The name of our kind of connection. A process that unpickles it knows the kind by then."""

    def __reduce__(self) -> str:
        return _SERIALIZERS[self]


SERIALIZER, XML_SERIALIZER = _Serializer("dsmproc"), _Serializer("dsmproc-xmlrpclib")
_SERIALIZERS = {SERIALIZER: "SERIALIZER", XML_SERIALIZER: "XML_SERIALIZER"}
for _name in _SERIALIZERS:
    _name.__dict__["__module__"] = __name__  # where pickle is to look for it
_std.listener_client[SERIALIZER] = (_Listener, _client)
_std.listener_client[XML_SERIALIZER] = (_XmlListener, _xml_client)
_OURS = {"pickle": SERIALIZER, "xmlrpclib": XML_SERIALIZER}


StdBaseManager = standard.BaseManager  # with --patch that name is ours


class BaseManager(StdBaseManager):
    """As the standard one; on a cluster its server is a process of the cluster."""

    def __init__(
        self,
        address: Any = None,
        authkey: bytes | None = None,
        serializer: str = "pickle",
        ctx: Any = None,
        **options: Any,
    ) -> None:
        self._dsmproc_ours = on_cluster(ctx)
        if self._dsmproc_ours:
            serializer = _OURS.get(serializer, serializer)
            ctx = ctx or cluster_context
        StdBaseManager.__init__(self, address, authkey, serializer, ctx, **options)

    def start(
        self, initializer: Callable[..., Any] | None = None, initargs: Iterable[Any] = ()
    ) -> None:
        """Start the server's process."""
        if not self._dsmproc_ours:
            super().start(initializer, initargs)
            return
        manager: Any = self
        if manager._state.value != _std.State.INITIAL:
            raise ProcessError("this manager was started already")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        host, address = _membership.client().host, manager._address
        if address is None:
            host, address = _server_host()
        heard, said = Pipe(duplex=False)
        arguments = (manager._registry, address, manager._authkey, manager._serializer)
        process = manager._ctx.Process(
            target=type(manager)._run_server, args=(*arguments, said, initializer, initargs)
        )
        process._dsmproc_host = host
        process.name = f"{type(self).__name__}-{process.name}"
        process.start()
        said.close()
        with heard:
            try:
                manager._address = heard.recv()
            except EOFError:
                process.join()
                raise ProcessError(
                    f"the manager's server (pid {process.pid}, exit code {process.exitcode}) "
                    "did not start"
                ) from None
        manager._process = process
        manager._state.value = _std.State.STARTED
        self._ends_with(process)

    def get_server(self) -> Any:
        """A server to be run in this process."""
        manager: Any = self
        if self._dsmproc_ours and manager._address is None:
            here = _membership.client()
            (address,) = [h["address"] for h in here.ask("hosts") if h["id"] == here.host]
            manager._address = (address[0], 0)
        return super().get_server()

    def _ends_with(self, process: Any) -> None:
        """shutdown(), which is also called at the end of this process or of the manager."""
        manager: Any = self
        ending = [process, manager._address, manager._authkey, manager._state, manager._Client]
        if hasattr(manager, "_shutdown_timeout"):
            ending.append(manager._shutdown_timeout)
        manager.shutdown = util.Finalize(
            self,
            type(manager)._finalize_manager,
            args=ending,
            exitpriority=0,
        )


class SyncManager(BaseManager, standard.SyncManager):
    """What Manager() starts."""


class _Segments(_std._SharedMemoryTracker):  # type: ignore[misc]
    """The blocks that a server is to unlink; on a cluster they are distributed ones."""

    def __init__(self, name: str, segment_names: Iterable[str] = ()) -> None:
        super().__init__(name, list(segment_names))

    def destroy_segment(self, segment_name: str) -> None:
        self.segment_names.remove(segment_name)
        with contextlib.suppress(FileNotFoundError):  # its user was faster
            segment = SharedMemory(segment_name)
            segment.close()
            segment.unlink()


class _SharedMemoryServer(_std.SharedMemoryServer):  # type: ignore[misc]
    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        made: Any = self
        made.shared_memory_context = _Segments(
            made.shared_memory_context.shared_memory_context_name
        )


class SharedMemoryManager(BaseManager, standard.SharedMemoryManager):
    """A manager whose SharedMemory and ShareableList every host can use; its end unlinks them."""

    _Server = _SharedMemoryServer

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        if not _membership.active():
            resource_tracker.ensure_running()  # before the server, which is to have the same one
        super().__init__(*arguments, **keywords)

    def SharedMemory(self, size: int) -> Any:
        """A new block of memory."""
        block = SharedMemory(None, create=True, size=size)
        self._track(block)
        return block

    def ShareableList(self, sequence: Any) -> Any:
        """A new list in a new block of memory."""
        made = ShareableList(sequence)
        self._track(made.shm)
        return made

    def _track(self, block: Any) -> None:
        manager: Any = self
        try:
            with manager._Client(manager._address, authkey=manager._authkey) as connection:
                _std.dispatch(connection, None, "track_segment", (block.name,))
        except BaseException:
            block.unlink()
            raise


def _pool(*arguments: Any, **keywords: Any) -> Any:
    return chosen_context().Pool(*arguments, **keywords)


SyncManager.register("Pool", _pool, _std.PoolProxy)


def _server_host() -> tuple[int, tuple[str, int]]:
    """Where a server is to run, and an address at which the others reach what listens there."""
    client = _membership.client()
    if setting("DSMPROC_PLACE") == "remote":
        host = client.ask("place", "remote", None)
        return host["id"], (host["address"][0], 0)
    for host in client.ask("hosts"):
        if client.home is not None and tuple(host["address"]) == tuple(client.home):
            return host["id"], (client.home[0], 0)
    raise ProcessError("the driver's host is not in the cluster any more")


def Manager(*, ctx: Any = None) -> SyncManager:
    """A started SyncManager."""
    manager = SyncManager(ctx=ctx)
    manager.start()
    return manager
