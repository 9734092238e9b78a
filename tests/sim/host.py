"""A simulated host: what the engine and the kernel do, done in Python.

It executes the core's actions exactly as core.h says, and refuses those that no real host could
execute (mapping what is not resident, filling under a reader, comparing under a writer).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dsmproc._native._core import lib as C

from .binding import Core, Node, StaleRead, Violation

if TYPE_CHECKING:
    from .thread import Client, Thread
    from .world import World

MODELS = {
    "lrc": C.DSM_LRC,
    "ec": C.DSM_EC,
    "scc": C.DSM_SCC,
    "erc": C.DSM_ERC,
    "sc": C.DSM_SC,
}
RO, RW = 1, 2
GONE = 0xEE  # what a punched page's memory holds: nobody may ever read it
ABSENT, FREE, HELD, WANTED = (
    C.DSM_LOCK_ABSENT,
    C.DSM_LOCK_FREE,
    C.DSM_LOCK_HELD,
    C.DSM_LOCK_HELD_WANTED,
)


class Region:
    """One region's memory at one host: the page cache that all its processes map."""

    def __init__(self, pages: int, size: int) -> None:
        self.pages = pages
        self.cache = bytearray([GONE]) * (pages * size)
        self.resident = bytearray(pages)


class SimHost:
    def __init__(self, world: World, core: Core, number: int, off: int) -> None:
        p = world.params
        self.world, self.number, self.size = world, number, p.page_size
        self.node = Node(
            core,
            master=False,
            host=number,
            page_size=p.page_size,
            run=p.run,
            most=p.most,
            ahead=p.ahead,
            hot=p.hot,
            grants=p.grants,
            carry=p.carry,
            keep=p.keep,
            feed=p.feed,
            model=MODELS[p.model],
            rules_off=off,
        )
        self.core, self.lib, self.buffers = core, core.lib, core.pages(p.page_size)
        self.regions: dict[int, Region] = {}
        self.twins: dict[int, bytes] = {}
        self.diffs: dict[int, bytes] = {}
        self.words: dict[int, tuple[int, int]] = {}  # lock -> state, pid
        self.died: set[int] = set()  # locks of which their holder is told that one died
        self.clients: dict[int, Client] = {}
        self.threads: list[Thread] = []
        self.parked: dict[int, list[Thread]] = {}  # page -> threads that fault on it
        self.requests: dict[int, Callable[[int, int], None]] = {}
        self.seen = self.out = self.busy = 0  # the control segment
        self.shown = (0, 0)  # seen and out as the step that is executed leaves them
        self.replies: list[tuple[Callable[[int, int], None], int, int]] = []  # sent after the step
        self.more = False
        self.results: list[tuple[int, int, int, bytes]] = []
        self.raw = b""  # what the step that is executed put out
        self.later: list[tuple[int, dict[str, int]]] = []  # events that an answer made
        self.counts = [0] * C.DSM_COUNT_KINDS
        self.joined, self.lost, self.leaving = True, False, False
        self.accused = self.cut = False  # taken for dead; heard by nobody any more
        self.told: set[int] = set()  # who is told that it leaves
        self.do: list[Any] = [None] * 32
        for name in dir(C):
            if name.startswith("DSM_ACT_"):
                self.do[getattr(C, name)] = getattr(self, "on_" + name[8:].lower(), None)

    def leaves_without(self, other: SimHost) -> bool:
        """It began to leave before the other one joined, which will not hear of it."""
        return self.leaving and not self.cut and other.number not in self.told

    # ---- one event ------------------------------------------------------------------------

    def feed(self, kind: int, **event: Any) -> None:
        self.step(kind, event)
        while self.results:  # before any other event
            kind, page, arg, diff = self.results.pop(0)
            self.step(kind, {"id": page, "arg": arg, "data": diff})
        while self.replies:
            waiting, status, arg = self.replies.pop(0)
            waiting(status, arg)
        while self.later:
            kind, more = self.later.pop(0)
            self.step(kind, more)
        if not self.world.checked or self.accused:  # what it is told of others may be too new
            return
        broken = self.lib.dsm_host_check(self.node.state)
        if broken:
            raise Violation(f"host {self.number}: dsm_host_check says {broken}")

    def step(self, kind: int, event: dict[str, Any]) -> None:
        world = self.world
        world.steps += 1
        if world.trace is not None:
            world.trace.event(self, kind, event)
        status, actions, raw = self.node.step(kind=kind, **event)
        if status == C.DSM_E_PEER and self.accused:  # others know more than it: it drops them
            world.drop(self, event["host"])
            return
        if status:
            raise Violation(f"host {self.number}: event {kind} {event} gave status {status}")
        summary = self.core.summary
        self.lib.dsm_host_summary(self.node.state, summary)
        seen, out, busy = summary.seen, summary.out, summary.busy
        if busy:
            self.busy = 1
        self.shown = seen, out
        self.execute(actions, raw, event.get("data", b""))
        self.seen, self.out, self.busy = seen, out, busy

    def execute(self, actions: list[tuple[int, ...]], raw: bytes, data: bytes) -> None:
        """Local threads run between any two actions: that is what the order protects against."""
        if self.world.sloppy in ("late twin", "early map"):
            actions = self.disorder(actions)
        at, do = 0, self.do
        self.raw = raw
        trace = self.world.trace
        while at < len(actions):
            action = actions[at]
            self.meanwhile()
            if trace is not None:
                trace.action(self, action)
            if action[0] == C.DSM_ACT_SEND:
                at += self.send(actions, at, raw)
            else:
                do[action[0]](action, data)
            at += 1

    def disorder(self, actions: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        kind = C.DSM_ACT_TWIN if self.world.sloppy == "late twin" else C.DSM_ACT_FILL
        late = [action for action in actions if action[0] == kind]
        return [action for action in actions if action[0] != kind] + late

    def meanwhile(self) -> None:
        """The engine stands still for a moment, or for long."""
        p = self.world.params
        if p.intra and self.world.rng.random() < p.intra:
            for _ in range(self.world.rng.randint(1, p.burst)):
                self.hardware()

    def hardware(self) -> None:
        """Some local thread does what needs no engine."""
        if self.threads:
            thread = self.world.rng.choice(self.threads)
            if thread.ready:
                thread.hardware()

    # ---- messages -------------------------------------------------------------------------

    def send(self, actions: list[tuple[int, ...]], at: int, raw: bytes) -> int:
        _, to, _, channel, payloads, _, off, size, *_ = actions[at]
        parts = [raw[off : off + size]]
        for action in actions[at + 1 : at + 1 + payloads]:
            self.meanwhile()
            page = action[8]
            if action[0] == C.DSM_ACT_PAYLOAD_DIFF:
                if page not in self.diffs:
                    raise Violation(f"host {self.number} sends a diff it has not", page)
                parts.append(self.diffs[page])
            elif action[0] == C.DSM_ACT_PAYLOAD_PAGES:
                parts.append(self.pages(page, action[4]))
            elif action[0] == C.DSM_ACT_PAYLOAD_TWINS:
                for twin in range(page, page + action[4]):
                    parts.append(self.twins.get(twin, bytes(self.size)))
            else:
                raise Violation(f"payload announced, action {action[0]} found")
        self.world.post(self.number, to, channel, b"".join(parts))
        return payloads

    def pages(self, first: int, count: int) -> bytes:
        """Copied word by word, while local threads write."""
        copy = self.content(first, count)
        if not self.world.params.intra or not self.is_writable(first, count):
            return copy
        read = bytearray()
        while len(read) < len(copy):
            self.meanwhile()
            read += self.content(first, count)[len(read) : len(read) + 8]
        return bytes(read)

    def content(self, first: int, count: int = 1) -> bytes:
        region, index = self.regions[first >> 32], first & 0xFFFFFFFF
        if 0 in region.resident[index : index + count]:
            raise Violation(f"host {self.number} reads a page that is not resident", first)
        return bytes(region.cache[index * self.size : (index + count) * self.size])

    def is_writable(self, first: int, count: int = 1) -> bool:
        maps = [client.maps for client in self.clients.values()]
        return any(m.get(page) == RW for m in maps for page in range(first, first + count))

    # ---- memory ---------------------------------------------------------------------------

    def place(self, page: int) -> tuple[Region, int]:
        region, index = self.regions.get(page >> 32), page & 0xFFFFFFFF
        if region is None or index >= region.pages:
            raise Violation(f"host {self.number}: no such page", page)
        return region, index

    def store(self, page: int, data: bytes) -> None:
        region, index = self.place(page)
        region.cache[index * self.size : (index + 1) * self.size] = data

    def wake(self, page: int, client: Client | None) -> None:
        parked = self.parked.get(page)
        if not parked:
            return
        left = [t for t in parked if client is not None and t.client is not client]
        for thread in parked:
            if client is None or thread.client is client:
                thread.wake()
        self.parked[page] = left

    def on_map(self, a: tuple[int, ...], data: bytes) -> None:
        client = self.clients.get(a[2])
        if client is None:
            return
        for page in range(a[8], a[8] + a[4]):
            region, index = self.place(page)
            if not region.resident[index]:
                raise Violation(f"host {self.number} maps a page that is not resident", page)
            if a[5]:
                client.maps[page] = RW
            else:
                client.maps.setdefault(page, RO)  # MAP read-only takes nothing away
            self.wake(page, client)

    def on_protect(self, a: tuple[int, ...], data: bytes) -> None:
        for page in range(a[8], a[8] + a[4]):
            self.place(page)
            for client in self.clients.values():
                if client.maps.get(page) == RW:
                    client.maps[page] = RO

    def on_punch(self, a: tuple[int, ...], data: bytes) -> None:
        for page in range(a[8], a[8] + a[4]):
            region, index = self.place(page)
            region.resident[index] = 0
            self.store(page, bytes([GONE]) * self.size)
            for client in self.clients.values():
                client.maps.pop(page, None)
            self.wake(page, None)

    def on_zero(self, a: tuple[int, ...], data: bytes) -> None:
        for page in range(a[8], a[8] + a[4]):
            region, index = self.place(page)
            if not region.resident[index]:
                region.resident[index] = 1
                self.store(page, bytes(self.size))

    def on_fill(self, a: tuple[int, ...], data: bytes) -> None:
        for i, page in enumerate(range(a[8], a[8] + a[4])):
            region, index = self.place(page)
            if region.resident[index]:
                raise Violation(f"host {self.number} fills a page that is in use", page)
            region.resident[index] = 1
            self.store(page, data[a[6] + i * self.size : a[6] + (i + 1) * self.size])

    def on_merge(self, a: tuple[int, ...], data: bytes) -> None:
        """What was written here and not yet sent stays."""
        page = a[8]
        current, new = self.content(page), bytearray(data[a[6] : a[6] + self.size])
        if a[5]:
            if self.is_writable(page):
                raise Violation(f"host {self.number} merges a page that is being written", page)
            twin = self.twins.pop(page, bytes(self.size))
            for i in range(self.size):
                if current[i] != twin[i]:
                    new[i] = current[i]
        self.store(page, bytes(new))

    def on_apply(self, a: tuple[int, ...], data: bytes) -> None:
        page = a[8]
        region, index = self.place(page)
        if not region.resident[index]:
            raise Violation(f"host {self.number} applies a diff to a hole", page)
        diff = data[a[6] : a[6] + a[7]]
        merged = self.buffers.apply(self.content(page), diff)
        if self.world.sloppy == "merged words":
            self.hardware()
        self.store(page, merged)
        if a[5] and page in self.twins:
            self.twins[page] = self.buffers.apply(self.twins[page], diff)

    def on_apply_kept(self, a: tuple[int, ...], data: bytes) -> None:
        page = a[8]
        if any(page in client.maps for client in self.clients.values()):
            raise Violation(f"host {self.number} brings a page up to date that is in use", page)
        diff = self.raw[a[6] : a[6] + a[7]]
        self.store(page, self.buffers.apply(self.content(page), diff))

    def on_close(self, a: tuple[int, ...], data: bytes) -> None:
        for page in range(a[8], a[8] + a[4]):
            self.content(page)
            for client in self.clients.values():
                client.maps.pop(page, None)
            self.wake(page, None)

    def on_twin(self, a: tuple[int, ...], data: bytes) -> None:
        for page in range(a[8], a[8] + a[4]):
            if self.is_writable(page) and not self.world.sloppy:
                raise Violation(f"host {self.number} keeps a twin of a page being written", page)
            self.twins[page] = self.content(page)

    def on_untwin(self, a: tuple[int, ...], data: bytes) -> None:
        for page in range(a[8], a[8] + max(1, a[4])):
            self.twins.pop(page, None)

    def on_compare(self, a: tuple[int, ...], data: bytes) -> None:
        page = a[8]
        current = self.pages(page, 1)
        if a[5] == C.DSM_COMPARE_LOOK:
            differs = current != self.twins.get(page, bytes(self.size))
            self.results.append((C.DSM_EV_DIFFED, page, int(differs), b""))
            return
        if not a[5] and self.is_writable(page):
            raise Violation(f"host {self.number} compares a page that is being written", page)
        diff, snapshot = self.buffers.encode(current, self.twins.get(page))
        if a[5]:
            self.twins[page] = snapshot
        self.diffs.pop(page, None)
        if diff:
            self.diffs[page] = diff
        self.results.append((C.DSM_EV_DIFFED, page, len(diff), diff))

    def on_undiff(self, a: tuple[int, ...], data: bytes) -> None:
        for page in range(a[8], a[8] + max(1, a[4])):
            self.diffs.pop(page, None)

    def on_poison(self, a: tuple[int, ...], data: bytes) -> None:
        used = any(client.attached.get(a[8] >> 32) for client in self.clients.values())
        if used and not self.world.died:
            raise StaleRead(f"host {self.number} poisons a page, but no host has died", a[8])
        client = self.clients.get(a[2])
        if client is not None:
            client.poisoned.add(a[8])
            client.maps.pop(a[8], None)
            self.wake(a[8], client)

    # ---- the rest -------------------------------------------------------------------------

    def on_word(self, a: tuple[int, ...], data: bytes) -> None:
        lock, flag, client = a[8], a[5], a[2]
        self.seen, self.out = self.shown  # who takes it must not send an older stamp
        state, pid = self.words.get(lock, (ABSENT, 0))
        if flag == C.DSM_WORD_TAKE:
            if state == ABSENT and self.world.params.model not in ("scc", "erc"):
                raise Violation(f"host {self.number}: TAKE of lock {lock:x}, whose word is ABSENT")
            free = state in (FREE, ABSENT)
            self.words[lock] = (ABSENT, 0) if free else (WANTED, pid)
            self.results.append((C.DSM_EV_WORDED, lock, int(free), b""))
        elif flag == C.DSM_WORD_SEIZE:
            held = state in (HELD, WANTED) and a[10] in (0, pid)
            if held:
                self.words[lock] = (ABSENT, 0)
            self.results.append((C.DSM_EV_WORDED, lock, int(held), b""))
        elif flag == C.DSM_WORD_DIED:
            self.died.add(lock)
        elif flag == C.DSM_WORD_CONSISTENT:
            self.died.remove(lock)
        else:
            to = {C.DSM_WORD_ABSENT: ABSENT, C.DSM_WORD_FREE: FREE, C.DSM_WORD_HELD: HELD}
            if state in (HELD, WANTED):
                raise Violation(
                    f"host {self.number}: the word of held lock {lock:x} is overwritten"
                )
            owner = self.clients[client].pid if client in self.clients else 0
            new = to.get(flag, WANTED)
            self.words[lock] = (new, owner if new in (HELD, WANTED) else 0)

    def on_reply(self, a: tuple[int, ...], data: bytes) -> None:
        waiting = self.requests.pop(a[9], None)
        if waiting is None:
            raise Violation(f"host {self.number} answers request {a[9]} twice, or out of nothing")
        self.replies.append((waiting, a[5], a[10]))

    def on_region(self, a: tuple[int, ...], data: bytes) -> None:
        if a[8] in self.regions:
            raise Violation(f"host {self.number} makes region {a[8]} twice")
        self.regions[a[8]] = Region(a[10], self.size)

    def on_region_end(self, a: tuple[int, ...], data: bytes) -> None:
        if any(client.attached.get(a[8]) for client in self.clients.values()):
            raise Violation(f"host {self.number} ends region {a[8]}, which a client has attached")
        del self.regions[a[8]]
        for pages in (self.twins, self.diffs):
            for page in [p for p in pages if p >> 32 == a[8]]:
                del pages[page]

    def on_more(self, a: tuple[int, ...], data: bytes) -> None:
        self.more = True

    def on_count(self, a: tuple[int, ...], data: bytes) -> None:
        self.counts[a[5]] += a[10]
