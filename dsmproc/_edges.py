"""The two verbs of the memory model, as the control plane calls them.

A message that orders two processes carries the stamp that its sender got from `publish`, and its
receiver observes the stamp before it goes on. Outside a cluster there is nothing to order:
`publish` answers None and `observe` returns. In one, the first edge opens this process's half of
the memory (_memory.py), for the host's other processes may have written what this one passes on.
"""

from __future__ import annotations

from collections.abc import Callable

Stamp = int | None

_publish: Callable[[], int] | None = None
_observe: Callable[[int], None] | None = None


def attach(publish: Callable[[], int], observe: Callable[[int], None]) -> None:
    """From now on the edges of this process are real ones."""
    global _publish, _observe
    _publish, _observe = publish, observe


def detach() -> None:
    """Back to no memory (after shutdown, and in a forked child until it attaches again)."""
    global _publish, _observe
    _publish = _observe = None


def _open() -> bool:
    from . import _memory, cluster

    if cluster.active():
        _memory.client()  # calls attach
    return _publish is not None


def publish() -> Stamp:
    """Before a message leaves this process: make this host's changes visible, get their stamp."""
    if _publish is None and not _open():
        return None
    assert _publish is not None
    return _publish()


def observe(stamp: Stamp) -> None:
    """After a message arrived: see at least what its sender had published."""
    if stamp is not None and (_observe is not None or _open()):
        assert _observe is not None
        _observe(stamp)


def observe_newest() -> None:
    """After a message without a stamp: see all that was published anywhere before."""
    from . import _memory, cluster

    if cluster.active():
        _memory.client().observe_newest()
