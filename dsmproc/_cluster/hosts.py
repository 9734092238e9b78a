"""The cluster's hosts, as the master knows them, and which of them the next process goes to."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from typing import Any

from .._memory.engine import MAX_HOSTS
from .._net import heartbeat
from .._net.listener import Peer
from .._net.wire import format_address
from ..errors import ClusterError

log = logging.getLogger("dsmproc")

PENDING_SECONDS = 10.0  # a placement that was not used by then counts no more


@dataclasses.dataclass
class Host:
    """An agent as the master knows it."""

    id: int
    address: tuple[str, int]
    slots: int
    pid: int
    name: str  # of its machine
    limit: int  # bytes that its pages may take
    machine: str
    memory: int  # bytes of its machine
    socket: str
    control: Peer
    output: Peer | None = None
    ready: bool = False
    engine: bool = False  # its engine is connected to ours
    leaving: bool = False  # nothing new is placed there
    goodbye: bool = False  # it has left: its end is no loss
    sent: int = 0  # the last output of it that went to a console
    started: int = 0
    pids: set[int] = dataclasses.field(default_factory=set)
    pulse: heartbeat.Pulse = dataclasses.field(default_factory=heartbeat.Pulse)
    pending: list[float] = dataclasses.field(default_factory=list)
    began: float = dataclasses.field(default_factory=time.monotonic)
    used = 0  # bytes that its pages took when it was last asked,
    bytes_sent = 0  # and bytes that it had sent
    told: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)  # since it was asked

    def figures(self, used: int, sent: int) -> None:
        self.used, self.bytes_sent = used, sent
        self.told.set()

    def load(self) -> float:
        """Processes per slot, placements on their way included."""
        now = time.monotonic()
        self.pending = [until for until in self.pending if until > now]
        return (len(self.pids) + len(self.pending)) / self.slots

    def public(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "address": self.address,
            "slots": self.slots,
            "pid": self.pid,
            "machine": self.machine,
            "socket": self.socket,
            "processes": len(self.pids),
            "ready": self.ready and not self.leaving,
            "state": "leaving" if self.leaving else "ready" if self.ready else "joining",
        }

    def status(self) -> dict[str, Any]:
        """For people: what `public` says, and how the host is."""
        return {
            **self.public(),
            "name": self.name,
            "age": time.monotonic() - self.began,
            "memory": self.used,
            "memory_limit": self.limit,
            "bytes_sent": self.bytes_sent,
        }


class Hosts(dict[int, Host]):
    """The members, by their numbers. The first `reserved` numbers are for agents that wish for
    them."""

    def __init__(self, reserved: int) -> None:
        self._next = reserved
        self._used: set[int] = set()

    def admit(self, peer: Peer, offer: dict[str, Any]) -> Host:
        wish = offer.pop("wish", None)
        number = self._next if wish is None else wish
        while number in self._used:  # ids are not used twice
            number += 1
        if number >= MAX_HOSTS:
            raise ClusterError(
                f"the cluster is full: it numbers at most {MAX_HOSTS} hosts in its life"
            )
        self._used.add(number)
        if wish is None:
            self._next = number + 1
        host = Host(id=number, control=peer, **offer)
        log.info("host %d joined: %s", number, format_address(host.address))
        self[number] = host
        return host

    def public(self, number: int) -> dict[str, Any] | None:
        host = self.get(number)
        return None if host is None else host.public()

    def all_public(self) -> list[dict[str, Any]]:
        return [self[number].public() for number in sorted(self)]

    def place(self, caller: Host, policy: str, wanted: int | None) -> dict[str, Any]:
        """The host for the next process of a client on the host `caller`."""
        ready = [host for host in self.values() if host.ready and not host.leaving]
        if wanted is not None:
            ready = [host for host in ready if host.id == wanted]
        elif policy == "local" and not caller.leaving:
            ready = [caller]
        elif policy == "remote":
            ready = [host for host in ready if host is not caller] or ready
        if not ready and wanted is None:
            raise LookupError("all hosts of the cluster are leaving it")
        if not ready:
            how = "leaving" if wanted in self else "not in"
            raise LookupError(f"host {wanted} is {how} the cluster")
        if policy == "spread":
            chosen = min(ready, key=lambda host: (host.started, host.id))
        else:
            chosen = min(ready, key=lambda host: (host.load(), host.id))
        chosen.pending.append(time.monotonic() + PENDING_SECONDS)
        chosen.started += 1
        return chosen.public()

    def claim(self, host: Host, pid: int) -> bool:
        """A new process at `host`: False if another live process of the cluster has its pid."""
        if any(pid in other.pids for other in self.values()):
            return False
        if host.pending:
            host.pending.pop(0)
        host.pids.add(pid)
        return True

    def fixed_homes(self) -> int:
        """Fixed homes are dealt out to the hosts 0, 1, ... as far as they are all there."""
        count = 0
        while count in self and self[count].public()["ready"]:
            count += 1
        return count

    def memory(self) -> int:
        """Bytes that all hosts have together; several of them may be on one machine."""
        machines = {host.machine: host.memory for host in self.values()}
        return sum(machines.values())
