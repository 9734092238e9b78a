"""This process's half of the shared memory: one client of its host's engine per membership."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from .. import _membership
from . import edges

if TYPE_CHECKING:
    from .client import Client

_lock = threading.Lock()
_client: Client | None = None
_member: Any = None  # the one that _client belongs to


def client() -> Client:
    """The engine's client of this process; it connects at its first request."""
    if _client is not None and _membership.client() is _member:
        return _client
    return _open()


def opened() -> Client | None:
    """The client, if there is one now: what was mapped or opened through another is of the past."""
    return _client


def _open() -> Client:
    global _client, _member
    from .client import Client

    with _lock:
        membership = _membership.client()
        if _client is None or membership is not _member:
            close()
            _client = Client(lambda: membership.connect_agent("engine-client").detach())
            _member = membership
            edges.attach(_client.publish, _client.observe)
        return _client


def close() -> None:
    """The membership ends: the agent's end must not be ours (the lifeline)."""
    global _client, _member
    ended, _client, _member = _client, None, None
    if ended is not None:
        edges.detach()
        ended.close()


def _forked() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forked)
edges.opened_by(client)
