"""Managers of a cluster: the standard ones, served by a process on their maker's host.

Proxies work on every host: the server listens on the address by which its host is reached, and asks
for the processes' authkey. Every message of a manager's connections is an edge of the memory model.
As its wire is the standard one, it carries no stamp: the sender publishes, and the receiver
observes the newest that there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from multiprocessing import connection, managers, util
from multiprocessing.managers import BaseProxy, Namespace, Token
from typing import Any

from . import _memory, cluster

__all__ = ["BaseManager", "BaseProxy", "Manager", "Namespace", "SyncManager", "Token"]


class _Ordered:
    """A standard Connection whose messages order memory."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def send(self, message: Any) -> None:
        _memory.client().publish()
        self._inner.send(message)

    def recv(self) -> Any:
        message = self._inner.recv()
        _memory.client().observe_newest()
        return message

    def __enter__(self) -> _Ordered:
        return self

    def __exit__(self, *_: object) -> None:
        self._inner.close()


class _OrderedListener(connection.Listener):
    def accept(self) -> Any:
        return _Ordered(super().accept())


def _ordered_client(*args: Any, **keywords: Any) -> Any:
    return _Ordered(connection.Client(*args, **keywords))


class _Serializer(str):
    """The name by which proxies find the two above; unpickling it imports this module."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _serializer, ()


def _serializer() -> str:
    return SERIALIZER


SERIALIZER = _Serializer("dsmproc")
managers.listener_client[SERIALIZER] = (_OrderedListener, _ordered_client)  # type: ignore[attr-defined]


def _own_address() -> str:
    """Where other hosts reach this one."""
    joined = cluster.client()
    for host in joined.ask("hosts"):
        if host["id"] == joined.host:
            return str(host["address"][0])
    raise cluster.ClusterError(f"host {joined.host} is not in the cluster any more")


class BaseManager(managers.BaseManager):
    """As multiprocessing.managers.BaseManager, reachable from every host."""

    def __init__(
        self,
        address: Any = None,
        authkey: bytes | None = None,
        serializer: str = SERIALIZER,
        ctx: Any = None,
        **keywords: Any,
    ) -> None:
        if ctx is None:
            from .context import chosen_context

            ctx = chosen_context()
        if cluster.active() and address is None:
            address = (_own_address(), 0)
        if not cluster.active() and serializer == SERIALIZER:
            serializer = "pickle"
        super().__init__(address, authkey, serializer, ctx, **keywords)

    def start(
        self, initializer: Callable[..., object] | None = None, initargs: Iterable[Any] = ()
    ) -> None:
        """Start the server process, on this host, and wait until it listens."""
        if not cluster.active():
            super().start(initializer, initargs)
            return
        if self._state.value != managers.State.INITIAL:  # type: ignore[attr-defined]
            raise managers.ProcessError("Already started server")  # type: ignore[attr-defined]
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        reader, writer = self._ctx.Pipe(duplex=False)  # type: ignore[attr-defined]
        self._process = self._server_process(writer, initializer, initargs)
        self._process.start()
        writer.close()
        self._address = reader.recv()
        reader.close()
        self._state.value = managers.State.STARTED  # type: ignore[attr-defined]
        arguments = [self._process, self._address, self._authkey, self._state, self._Client]  # type: ignore[attr-defined]
        if hasattr(self, "_shutdown_timeout"):  # since Python 3.11
            arguments.append(self._shutdown_timeout)
        finalize = type(self)._finalize_manager  # type: ignore[attr-defined]
        self.shutdown = util.Finalize(self, finalize, args=arguments, exitpriority=0)  # type: ignore[assignment]

    def _server_process(self, writer: Any, initializer: Any, initargs: Iterable[Any]) -> Any:
        serve = type(self)._run_server  # type: ignore[attr-defined]
        arguments = (self._registry, self._address, self._authkey, self._serializer, writer)  # type: ignore[attr-defined]
        process = self._ctx.Process(target=serve, args=(*arguments, initializer, initargs))  # type: ignore[attr-defined]
        ident = ":".join(str(i) for i in process._identity)
        process.name = f"{type(self).__name__}-{ident}"
        process._dsmproc_host = cluster.current_host()
        return process


class SyncManager(BaseManager, managers.SyncManager):
    """As multiprocessing.managers.SyncManager, reachable from every host."""


def Manager(ctx: Any = None) -> SyncManager:
    """A started SyncManager on this host."""
    manager = SyncManager(ctx=ctx)
    manager.start()
    return manager
