"""The two verbs of the memory model, as the control plane calls them.

A message that orders two processes carries the stamp that its sender got from `publish`, and its
receiver observes the stamp before it goes on. Without shared memory there is nothing to order:
`publish` answers None and `observe` returns. Whoever attaches the memory calls `attach`.
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


def publish() -> Stamp:
    """Before a message leaves this process: make this host's changes visible, get their stamp."""
    return None if _publish is None else _publish()


def observe(stamp: Stamp) -> None:
    """After a message arrived: see at least what its sender had published."""
    if stamp is not None and _observe is not None:
        _observe(stamp)
