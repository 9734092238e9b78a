"""A thread of a client process: what it does without the engine, and what it asks of it.

A thread has one pending operation, a tuple that its program yielded. `attempt` executes it: memory
accesses go to the page cache if the client's mapping allows (else the thread faults and parks, as
in hardware), locks by compare-and-swap on the word (else a request), and so on.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from dsmproc._native._core import lib as C

from .binding import Violation
from .guards import Lock, Mail
from .host import FREE, HELD, RW, WANTED

if TYPE_CHECKING:
    from .host import SimHost
    from .world import World

# Operations: (kind, ...) as named after each.
READ, WRITE = "read", "write"  # byte
POLL = "poll"  # byte, value: a racy read, until it has the value
PEEK = "peek"  # byte: a racy read
ATTACH, DETACH = "attach", "detach"  # region
BIND = "bind"  # page, count
PUBLISH, OBSERVE = "publish", "observe"  # direct? | stamp, direct?
LOCK, UNLOCK = "lock", "unlock"  # lock, try? | lock
CONSISTENT = "consistent"  # lock: what it guards is right again
CALL = "call"  # op, id, a, b, c
SEND = "send"  # thread, mail: no answer is waited for
START = "start"  # host, mail: a process that has what is in the mail

Op = tuple[Any, ...]
Program = Generator[Op, Any, None]


class Client:
    """A process: its mappings and its attachments."""

    def __init__(self, host: SimHost, number: int, pid: int) -> None:
        self.host, self.number, self.pid = host, number, pid
        self.maps: dict[int, int] = {}  # page -> RO or RW
        self.attached: dict[int, int] = {}  # region -> how often
        self.gone: set[int] = set()  # regions that were unlinked before we came
        self.opened: set[int] = set()
        self.poisoned: set[int] = set()
        self.threads: list[Thread] = []
        self.ends = False  # with its threads


class Thread:
    def __init__(self, world: World, client: Client, number: int) -> None:
        self.world, self.client, self.host = world, client, client.host
        self.number = number
        self.name = f"thread {number} (host {client.host.number}, client {client.number})"
        self.rng = world.rng
        self.mailbox: list[Mail] = []
        self.owned: list[Any] = []  # guards that came by message or barrier
        self.program: Program | None = None
        self.op: Op = ()
        self.ready = False  # has an operation to attempt, and nothing to wait for
        self.done = self.final = False  # final: only reads from now on, and so do all others
        self.result: Any = None
        self.req = 0  # the request it waits for
        self.patient = True
        self.did = 0
        self.alone = -1  # lock.changes when it asked for a lock that nobody held or wanted

    # ---- life ------------------------------------------------------------------------------

    def start(self, program: Program) -> None:
        self.program = program
        self.advance(None)
        if not self.done:
            self.ready = True
            self.world.runnable.append(self)

    def advance(self, value: Any) -> None:
        assert self.program is not None
        self.did += 1
        try:
            self.op = self.program.send(value)
        except StopIteration:
            self.finish()

    def finish(self) -> None:
        self.done = True
        if self.ready:
            self.pause()
        if self.client.ends and all(t.done for t in self.client.threads):
            self.world.ended.append(self.client)

    def pause(self) -> None:
        self.ready = False
        self.world.runnable.remove(self)

    def wake(self) -> None:
        if self.done or self.ready:
            return
        self.ready = True
        self.world.runnable.append(self)

    def attempt(self) -> None:
        if (
            self.result is None
            and self.op[0] in (READ, WRITE, PEEK)
            and self.op[1].page in self.client.poisoned
        ):
            self.world.kill(self.client)  # SIGBUS
        elif not self.hardware():
            self.pause()
            self.enqueue()

    def enqueue(self) -> None:
        """Ask the engine: at once, or some time later, after other things."""
        op = self.op
        if op[0] in (READ, WRITE, POLL, PEEK):
            self.host.parked.setdefault(op[1].page, []).append(self)
        if self.rng.random() < self.world.params.queued:
            self.world.inbox.append((self, op))
        else:
            self.ask(op)

    # ---- without the engine ------------------------------------------------------------------

    def hardware(self) -> bool:
        """Do the pending operation if it needs no engine, or go on to the next one."""
        if self.result is not None:
            result, self.result = self.result, None
            self.advance(result)
            return True
        act = getattr(self, "try_" + self.op[0], None)
        return act is not None and bool(act(*self.op[1:]))

    def note(self, *words: Any, page: int | None = None) -> None:
        if self.world.trace is not None:
            self.world.trace.note(self, words, page)

    def try_peek(self, byte: Any) -> bool:
        return self.try_read(byte, owns=False)

    def try_read(self, byte: Any, owns: bool = True) -> bool:
        if not self.client.maps.get(byte.page):
            return False
        value = self.host.regions[byte.region].cache[byte.at]
        if self.world.trace is not None:
            self.note("reads", value, "at byte", byte.off, page=byte.page)
        if byte.guard is not None:  # without a guard (litmus) the reader judges for itself
            if owns and byte.guard.owner is not self and not self.final:
                raise AssertionError(f"{self.name} reads a byte of {byte.guard.name}")
            byte.check(self, value, owns)
        self.advance(value)
        return True

    def try_write(self, byte: Any, value: int | None = None) -> bool:
        if self.client.maps.get(byte.page) != RW:
            return False
        if byte.guard is not None and byte.guard.owner is not self:
            raise AssertionError(f"{self.name} writes a byte of {byte.guard.name}")
        value = byte.wrote(self, value)
        self.host.regions[byte.region].cache[byte.at] = value
        if self.world.trace is not None:
            self.note("writes", value, "at byte", byte.off, page=byte.page)
        self.advance(None)
        return True

    def try_poll(self, byte: Any, value: int) -> bool:
        if not self.client.maps.get(byte.page):
            return False
        if self.host.regions[byte.region].cache[byte.at] == value:
            self.note("sees", value, "at byte", byte.off, page=byte.page)
            self.advance(None)
        else:
            self.pause()
            self.world.polling.append(self)
        return True

    def try_publish(self, direct: bool) -> bool:
        if direct or self.host.busy:
            return False
        self.note("publishes: nothing to do, out is", self.host.out)
        self.advance(self.host.out)
        return True

    def try_observe(self, stamp: int, direct: bool) -> bool:
        if direct or stamp > self.host.seen:
            return False
        self.note("observes", stamp, ": seen already")
        self.advance(True)
        return True

    def try_lock(self, lock: Lock, attempt: bool) -> bool:
        if lock.id not in self.client.opened or self.host.words[lock.id][0] != FREE:
            return False
        self.host.words[lock.id] = (HELD, self.client.pid)
        self.note("takes", lock.name)
        lock.taken(self)
        self.advance(C.DSM_ST_OK)
        return True

    def try_unlock(self, lock: Lock) -> bool:
        if lock.id not in self.client.opened or self.host.words[lock.id][0] != HELD:
            return False
        self.host.words[lock.id] = (FREE, 0)
        self.note("frees", lock.name)
        lock.give(None)
        self.advance(C.DSM_ST_OK)
        return True

    def try_send(self, to: Thread, mail: Mail) -> bool:
        self.note("sends mail to", to.name)
        for guard in mail.guards:
            guard.post()
            if mail.stamp is not None:
                for byte in guard.bytes:
                    byte.announced()
        to.mailbox.append(mail)
        self.advance(None)
        return True

    def try_start(self, host: SimHost, mail: Mail) -> bool:
        if self.world.runs(host) and not host.leaving:
            forked = host is self.host
            to = self.world.add_child(host)
            self.try_send(to, mail)
            self.world.start_child(to, list(self.client.attached) if forked else [])
        else:
            self.mailbox.append(mail)
            self.advance(None)
        return True

    # ---- with the engine ---------------------------------------------------------------------

    def ask(self, op: Op) -> None:
        self.note("asks", op[0])
        getattr(self, "ask_" + op[0])(*op[1:])

    def request(self, kind: int, **event: Any) -> None:
        self.world.requests += 1
        self.req = self.world.requests
        self.host.requests[self.req] = self.answered
        self.host.feed(kind, req=self.req, client=self.client.number, **event)

    def answered(self, status: int, arg: int) -> None:
        """The request has its answer: what it means for the operation that asked."""
        self.req = 0
        self.note("is answered", status, arg)
        getattr(self, "got_" + self.op[0])(status, arg)
        self.wake()

    def ask_read(self, byte: Any) -> None:
        self.host.feed(C.DSM_EV_READ_FAULT, client=self.client.number, id=byte.page)

    def ask_peek(self, byte: Any) -> None:
        self.ask_read(byte)

    def ask_poll(self, byte: Any, value: int) -> None:
        self.host.feed(C.DSM_EV_READ_FAULT, client=self.client.number, id=byte.page)

    def ask_write(self, byte: Any, value: int | None = None) -> None:
        self.host.feed(C.DSM_EV_WRITE_FAULT, client=self.client.number, id=byte.page)

    def ask_publish(self, direct: bool) -> None:
        self.request(C.DSM_EV_PUBLISH)

    def got_publish(self, status: int, arg: int) -> None:
        self.result = arg if status == C.DSM_ST_OK else -1

    def ask_observe(self, stamp: int, direct: bool) -> None:
        self.request(C.DSM_EV_OBSERVE, arg=stamp)

    def got_observe(self, status: int, arg: int) -> None:
        self.result = status == C.DSM_ST_OK

    def ask_attach(self, region: int) -> None:
        self.request(C.DSM_EV_ATTACH, id=region)

    def got_attach(self, status: int, arg: int) -> None:
        region = self.op[1]
        if status == C.DSM_ST_OK:
            if arg != self.world.sizes[region]:
                raise Violation(f"attach of region {region} says {arg} pages")
            self.client.attached[region] = self.client.attached.get(region, 0) + 1
            self.bind(region)
        elif status == C.DSM_ST_NO_REGION:
            if region not in self.world.unlinked:
                raise Violation(f"attach of region {region}: not found, but nobody unlinked it")
            self.client.gone.add(region)
        self.result = status

    def bind(self, region: int) -> None:
        """Some pages are bound: now, or in the middle of their life by another thread."""
        p, bound = self.world.params, self.world.bound_to
        for index in range(self.world.sizes[region] if p.bound or bound else 0):
            page = region << 32 | index
            locks = bound.get(page) or ([0] if p.bound and self.rng.random() < p.bound else [])
            for lock in locks:
                self.host.later.append((C.DSM_EV_BIND, {"id": page, "client": 1, "arg": lock}))

    def ask_bind(self, page: int, count: int) -> None:
        large = int(self.rng.random() < 0.1)
        if page >> 32 in self.client.attached:
            self.host.feed(C.DSM_EV_BIND, id=page, client=min(count, C.DSM_BIND_MAX), req=large)
        self.result = True
        self.wake()

    def ask_detach(self, region: int) -> None:
        attached, maps = self.client.attached, self.client.maps
        attached[region] -= 1
        if not attached[region]:
            del attached[region]
            for page in [p for p in maps if p >> 32 == region]:
                del maps[page]
        self.result = True
        self.wake()
        self.host.feed(C.DSM_EV_DETACH, client=self.client.number, id=region)

    def open_lock(self, lock: Lock) -> None:
        if lock.id not in self.client.opened:
            self.host.feed(C.DSM_EV_LOCK_OPEN, id=lock.id)
            self.client.opened.add(lock.id)

    def ask_lock(self, lock: Lock, attempt: bool) -> None:
        self.open_lock(lock)
        lock.asking += 1
        lock.changes += 1
        self.alone = lock.changes if lock.asking == 1 and lock.owner is None else -1
        self.request(C.DSM_EV_LOCK, id=lock.id, arg=int(attempt))

    def got_lock(self, status: int, arg: int) -> None:
        lock = self.op[1]
        lock.asking -= 1
        alone = self.alone == lock.changes and not lock.disturbed
        lock.changes += 1
        if status == C.DSM_ST_OK:
            state, pid = self.host.words[lock.id]
            if state not in (HELD, WANTED) or pid != self.client.pid:
                raise Violation(f"{lock.name} granted to {self.name}, but its word says {state}")
            lock.taken(self)
        elif status == C.DSM_ST_CANCELLED:
            lock.disturbed = True
        elif status == C.DSM_ST_BUSY and alone:
            raise Violation(f"{self.name} was told that {lock.name} is held, but it was free")
        self.result = status

    def ask_unlock(self, lock: Lock) -> None:
        self.open_lock(lock)
        lock.give(None)
        lock.asking += 1  # until it is answered, others may find the lock held
        self.request(C.DSM_EV_UNLOCK, id=lock.id)

    def got_unlock(self, status: int, arg: int) -> None:
        self.op[1].asking -= 1
        self.op[1].changes += 1
        if status != C.DSM_ST_OK and not self.world.gone:
            raise Violation(f"{self.name} released {self.op[1].name} and was told {status}")
        self.result = status

    def ask_consistent(self, lock: Lock) -> None:
        self.request(C.DSM_EV_CONSISTENT, id=lock.id)

    def got_consistent(self, status: int, arg: int) -> None:
        if status != C.DSM_ST_OK or self.op[1].id in self.host.died:
            raise Violation(f"{self.name} repaired what {self.op[1].name} guards: {status}")
        self.op[1].died = False
        self.result = status

    def ask_call(self, op: int, id: int, a: int, b: int, c: int) -> None:
        self.request(C.DSM_EV_CALL, id=id, arg=op, data=struct.pack("<3Q", a, b, c))

    def got_call(self, status: int, arg: int) -> None:
        self.result = (status, arg)
