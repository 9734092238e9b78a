"""The two verbs of the memory model, as the control plane calls them.

A message that orders two processes carries the stamp that its sender got from `publish`, and its
receiver observes the stamp before it goes on. Outside a cluster there is nothing to order:
`publish` answers None and `observe` returns. In one, the first edge opens this process's half of
the memory (current.py), for the host's other processes may have written what this one passes on.

Messages that were sent one way must be where they are read before something that comes after them
orders another process: before a lock, semaphore or barrier lets others go on, `deliver` waits for
the brokers of the pipes that this process has written to, and at the process's end for those of
queues as well. (A standard queue has no more order than that either.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Protocol

from .. import _membership

Stamp = int | None

_publish: Callable[[], int] | None = None
_observe: Callable[[int], None] | None = None
_opener: Callable[[], Any] | None = None


class Sender(Protocol):
    """A link through which something was sent one way."""

    channel: int

    def delivered(self) -> None: ...


sent: set[Sender] = set()  # into pipes
queued: set[Sender] = set()


def deliver(last: bool = False) -> None:
    """What this process has sent is where it will be read; `last`: what it has put, too."""
    for senders in (sent, queued) if last else (sent,):
        with contextlib.suppress(KeyError):  # another thread was faster
            while senders:
                _deliver(senders, senders.pop())


def deliver_to(readers: set[Any]) -> None:
    """What this process has sent into the pipes that these links read is there."""
    if sent:
        channels = {reader.channel for reader in readers if reader is not None}
        for sender in [one for one in tuple(sent) if one.channel in channels]:
            sent.discard(sender)
            _deliver(sent, sender)


def _deliver(senders: set[Sender], sender: Sender) -> None:
    """It was taken out before, for another thread may send meanwhile."""
    try:
        sender.delivered()
    except BaseException:
        senders.add(sender)
        raise


def forget_senders() -> None:
    """In a forked child: those are its parent's."""
    sent.clear()
    queued.clear()


def opened_by(opener: Callable[[], Any]) -> None:
    """What opens this process's half of the memory, and returns it."""
    global _opener
    _opener = opener


def attach(publish: Callable[[], int], observe: Callable[[int], None]) -> None:
    """From now on the edges of this process are real ones."""
    global _publish, _observe
    _publish, _observe = publish, observe


def detach() -> None:
    """Back to no memory (after shutdown, and in a forked child until it attaches again)."""
    global _publish, _observe
    _publish = _observe = None


def _open() -> bool:
    if _membership.active():
        assert _opener is not None
        _opener()  # calls attach
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
    if _membership.active():
        assert _opener is not None
        _opener().observe_newest()


_membership.on_loss(observe_newest)  # who is told of it may go on with that host's work
