"""Litmus programs: every order of their steps and messages, and what was read in each.

A state is the nodes' arenas, the hosts' memory, the connections and how far each thread is. The
search is depth first over copies of whole states; a state that was seen before is left at once.

A file: lines `hosts N`, `pages N` (of 16 bytes, in one region), `most N`, `ahead N`, `keep N` and
`carry N` (see core.h; with the last all pages are bound), `feed N` (none is bound, and homes feed),
`model ec` and `bound L=PAGE ...`, `homes POLICY ...` (first and fixed if not said), `bytes
x=PAGE:OFF ...`, `locks L ...` (made by host 0), `thread HOST: OP; OP; ...`, and the verdict: `never
EXPR`, `sometimes EXPR`, `always EXPR` over the registers at the end of every execution, and `may
EXPR`, which is permitted and need not be seen. `lrc erc: never EXPR` is said of these models only;
a file without `model` is run under each that its verdicts name, or under all.
Operations: `x=1`, `r1=x`, `lock L`, `unlock L`, `acquire S`, `release S` (a semaphore of initial
value 0), `barrier B N`, `send M` (publishes first), `receive M` (observes), `wait M` (for the
message, by other means than the cluster's: nothing is observed), `evict` (the thread's host gives
up all that it can), `die` (the thread's host is lost; what it had sent may still arrive until the
others hear of it, each in its own time), `kill` (its process is), `d=died L` (is the holder of L
told that one died?), `right L` (it says that all is right).
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsmproc._native._core import lib as C

from . import thread as op
from .binding import Core, Violation
from .draw import Params
from .guards import Byte, Lock
from .thread import Thread
from .world import World, crash, end, hear, reap

PAGE = 16
VERDICTS = ("never", "sometimes", "always", "may")
REGION = 1


@dataclass
class Litmus:
    name: str
    hosts: int = 2
    pages: int = 1
    most: int = 1  # pages that a fault brings at most
    ahead: int = 0  # pages that are then asked for ahead
    keep: int = 1 << 20  # bytes of kept diffs above which they are collected (homeless)
    carry: int = 0  # all pages are bound, and diffs of so many bytes go with notices
    feed: int = 0  # notices followed by a fetch after which a home feeds; no page is bound
    model: str = "lrc"
    homes: tuple[str, ...] = ("first", "fixed")
    bound: list[tuple[str, int]] = field(default_factory=list)  # lock, page
    bytes: dict[str, tuple[int, int]] = field(default_factory=dict)
    locks: list[str] = field(default_factory=list)
    threads: list[tuple[int, list[str]]] = field(default_factory=list)
    verdicts: list[tuple[str, str]] = field(default_factory=list)
    models: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # verdicts of some only

    def under(self, model: str) -> list[tuple[str, str]]:
        return self.verdicts + self.models.get(model, [])


def parse(path: Path) -> Litmus:
    return parse_lines(path.stem, path.read_text().splitlines())


def parse_lines(name: str, lines: list[str]) -> Litmus:
    litmus = Litmus(name)
    for line in lines:
        line = line.partition("#")[0].strip()
        word, _, rest = line.partition(" ")
        if word in ("hosts", "pages", "most", "ahead", "carry", "keep", "feed"):
            setattr(litmus, word, int(rest))
        elif word == "model":
            litmus.model = rest
        elif word == "homes":
            litmus.homes = tuple(rest.split())
        elif word == "bound":
            litmus.bound = [(i.split("=")[0], int(i.split("=")[1])) for i in rest.split()]
        elif word == "bytes":
            for item in rest.split():
                name, page, off = re.split("[=:]", item)
                litmus.bytes[name] = int(page), int(off)
        elif word == "locks":
            litmus.locks = rest.split()
        elif word == "thread":
            host, _, text = rest.partition(":")
            litmus.threads.append((int(host), [o.strip() for o in text.split(";")]))
        elif word in VERDICTS:
            litmus.verdicts.append((word, rest))
        elif verdict := re.fullmatch(rf"([a-z ]+): ({'|'.join(VERDICTS)}) (.*)", line):
            for model in verdict[1].split():
                litmus.models.setdefault(model, []).append((verdict[2], verdict[3]))
        elif line:
            raise ValueError(f"{name}: {line}")
    return litmus


class Script:
    """A thread's program as a list, so that it can be copied (a generator cannot)."""

    def __init__(self, world: LitmusWorld, text: list[str]) -> None:
        self.world, self.at = world, 0
        self.steps: list[tuple[str, Any]] = [("", (op.ATTACH, REGION))]
        for item in text:
            self.compile(item)

    def compile(self, item: str) -> None:
        w = self.world
        words = item.split()
        if match := re.fullmatch(r"(\w+)\s*=\s*(\d+)", item):
            self.add((op.WRITE, w.named[match[1]], int(match[2])))
        elif match := re.fullmatch(r"(\w+)\s*=\s*(\w+)", item):
            self.add((op.READ, w.named[match[2]]), match[1])
        elif match := re.fullmatch(r"(\w+)\s*=\s*died (\w+)", item):
            self.add(("died", w.lock_named[match[2]]), match[1])
        elif words[0] == "right":
            self.add((op.CONSISTENT, w.lock_named[words[1]]))
        elif words[0] == "lock":
            self.add((op.LOCK, w.lock_named[words[1]], False))
        elif words[0] == "unlock":
            self.add((op.UNLOCK, w.lock_named[words[1]]))
        elif words[0] in ("acquire", "release"):
            code = C.DSM_CALL_SEM_ACQUIRE if words[0] == "acquire" else C.DSM_CALL_SEM_RELEASE
            permits = int(words[0] == "release")
            self.add((op.CALL, code, w.id_of(words[1]), 0, 0, permits))
        elif words[0] == "barrier":
            self.add((op.CALL, C.DSM_CALL_BAR_WAIT, w.id_of(words[1]), int(words[2]), 0, 0))
        elif words[0] == "send":
            self.add((op.PUBLISH, False))
            self.add(("post", words[1]))
        elif words[0] in ("evict", "die", "kill"):
            self.add((words[0],))
        elif words[0] == "wait":
            self.add(("await", words[1]))
        elif words[0] == "receive":
            self.add(("await", words[1]))
            self.add(None)
        else:
            raise ValueError(item)

    def add(self, operation: Any, register: str = "") -> None:
        self.steps.append((register, operation))

    def send(self, value: Any) -> Any:
        if self.at:
            register = self.steps[self.at - 1][0]
            if register:
                self.world.registers[register] = value
        if self.at == len(self.steps):
            raise StopIteration
        operation = self.steps[self.at][1]
        if operation is None:  # receive: observe the stamp that came
            operation = (op.OBSERVE, value, False)
        self.at += 1
        return operation


class LitmusThread(Thread):
    def try_post(self, name: str) -> bool:
        self.world.mails[name] = self.host.out
        for thread in self.world.threads:
            if thread.op and thread.op[0] == "await" and thread.op[1] == name:
                thread.wake()
        self.advance(None)
        return True

    def try_await(self, name: str) -> bool:
        if name in self.world.mails:
            self.advance(self.world.mails[name])
        else:
            self.pause()
        return True

    def try_evict(self) -> bool:
        self.host.feed(C.DSM_EV_EVICT, arg=C.DSM_EVICT_MAX)
        self.advance(None)
        return True

    def try_die(self) -> bool:
        for thread in self.host.threads:
            for waiting in self.host.parked.values():
                if thread in waiting:
                    waiting.remove(thread)
            if not thread.done:
                thread.finish()
        for lock in self.world.lock_named.values():
            lock.died = lock.died or lock.owner in self.host.threads
            lock.perhaps = True
            if lock.owner in self.host.threads:
                lock.give(None)
            lock.asking -= sum(t.op[1] is lock for t in self.host.threads if t.req)
            lock.disturbed = True
        end(self.world, self.host)
        return True

    def try_kill(self) -> bool:
        self.world.requests = (self.number + 1) * 1000 + 500  # the same in every order
        crash(self.world, self.client)
        reap(self.world, self.client)
        return True

    def try_died(self, lock: Lock) -> bool:
        self.advance(int(lock.id in self.host.died))
        return True

    def request(self, kind: int, **event: Any) -> None:
        self.req = (self.number + 1) * 1000 + self.did  # the same in every order
        self.host.requests[self.req] = self.answered
        self.host.feed(kind, req=self.req, client=self.client.number, **event)


class LitmusWorld(World):
    def __init__(self, litmus: Litmus, core: Core, policy: str, hot: int, off: int = 0) -> None:
        params = Params(policy=policy, hosts=litmus.hosts, page_size=PAGE, hot=hot, regions=[])
        params.most, params.ahead = litmus.most, litmus.ahead
        params.carry, params.bound = litmus.carry, float(litmus.carry > 0)
        params.model, params.keep = litmus.model, litmus.keep
        if litmus.feed:
            params.feed, params.carry, params.bound = litmus.feed, PAGE, 0.0
        params.intra = params.queued = 0.0
        super().__init__(params, random.Random(0), core, off)
        self.registers: dict[str, int] = {}
        self.mails: dict[str, int] = {}
        self.ids: dict[str, int] = {}
        self.named = {n: Byte(REGION, p, o, PAGE) for n, (p, o) in litmus.bytes.items()}
        self.lock_named = {n: Lock(n, id=i + 1) for i, n in enumerate(litmus.locks)}
        self.locks = list(self.lock_named.values())
        for lock, page in litmus.bound:
            self.bound_to.setdefault(REGION << 32 | page, []).append(self.lock_named[lock].id)
        for host in self.hosts:
            self.feed_master(C.DSM_EV_HOST_JOINED, host=host.number)
        self.make_region(REGION, litmus.pages)
        self.settle()
        for number, (at, text) in enumerate(litmus.threads):
            client = self.add_client(self.hosts[at], number)
            thread = LitmusThread(self, client, number)
            client.threads.append(thread)
            client.host.threads.append(thread)
            self.threads.append(thread)
            thread.start(Script(self, text))  # type: ignore[arg-type]

    def id_of(self, name: str) -> int:
        return self.ids.setdefault(name, 1 << 40 | len(self.ids) + 1)

    def choices(self) -> list[Any]:
        """What may happen next. Attaching is not under test: it comes first, in one order."""
        ready = sorted((t for t in self.threads if t.ready), key=lambda t: t.number)
        attaching = [t for t in self.threads if not t.done and t.op[0] == op.ATTACH]
        if attaching:
            return [sorted(self.active)[0]] if self.active else [attaching[0]]
        more = [host for host in self.hosts if host.more and not self.is_held(host, ready)]
        hearing = [("hear", number) for number in range(len(self.mourners))]
        return [*ready, *sorted(self.active), *more, *hearing]

    def is_held(self, host: Any, ready: list[Any]) -> bool:
        """A millisecond is enough for an instruction that faulted to be done (sc)."""
        return self.params.model == "sc" and any(
            t.host is host and t.op[0] in (op.READ, op.WRITE) and t.op[1].page in t.client.maps
            for t in ready
        )

    def take(self, choice: Any) -> None:
        if isinstance(choice, Thread):
            choice.attempt()
        elif isinstance(choice, tuple) and choice[0] == "hear":
            hear(self, *self.mourners.pop(choice[1]))
        elif isinstance(choice, tuple):
            self.deliver(choice)
        else:
            choice.more = False
            choice.feed(C.DSM_EV_MORE)

    # ---- copies --------------------------------------------------------------------------

    def save(self) -> Any:
        hosts = [
            (
                h.node.image(),
                {n: (bytes(r.cache), bytes(r.resident), r) for n, r in h.regions.items()},
                (dict(h.twins), dict(h.diffs), dict(h.words), dict(h.requests), set(h.died)),
                {p: tuple(ts) for p, ts in h.parked.items() if ts},
                (h.seen, h.out, h.busy, h.more),
                [
                    (c, dict(c.maps), dict(c.attached), set(c.opened), set(c.poisoned))
                    for c in h.clients.values()
                ],
            )
            for h in self.hosts
        ]
        threads = [(t.op, t.ready, t.done, t.result, t.req, t.did) for t in self.threads]
        scripts = [t.program.at for t in self.threads]  # type: ignore[union-attr]
        locks = [(k.owner, k.asking, k.changes, k.disturbed, k.died, k.perhaps) for k in self.locks]
        channels = {key: tuple(queue) for key, queue in self.channels.items() if queue}
        rest = (dict(self.registers), dict(self.mails), tuple(self.runnable), tuple(self.active))
        rest += (tuple(self.gone), tuple(self.mourners))
        return self.master.image(), hosts, threads, scripts, locks, channels, rest

    def load(self, saved: Any) -> None:
        master, hosts, threads, scripts, locks, channels, rest = saved
        put(self.master, master)
        for h, (image, regions, pages, parked, control, clients) in zip(
            self.hosts, hosts, strict=True
        ):
            put(h.node, image)
            h.regions = {}
            for n, (cache, resident, region) in regions.items():
                region.cache[:], region.resident[:] = cache, resident
                h.regions[n] = region
            h.twins, h.diffs, h.words, h.requests = (dict(p) for p in pages[:4])
            h.died = set(pages[4])
            h.parked = {p: list(ts) for p, ts in parked.items()}
            h.seen, h.out, h.busy, h.more = control
            h.clients = {client.number: client for client, *_ in clients}
            for client, maps, attached, opened, poisoned in clients:
                client.maps, client.attached = dict(maps), dict(attached)
                client.opened, client.poisoned = set(opened), set(poisoned)
        for t, state, at in zip(self.threads, threads, scripts, strict=True):
            t.op, t.ready, t.done, t.result, t.req, t.did = state
            t.program.at = at  # type: ignore[union-attr]
        for k, state in zip(self.locks, locks, strict=True):
            k.owner, k.asking, k.changes, k.disturbed, k.died, k.perhaps = state
        for key, queue in self.channels.items():
            queue.clear()
            queue.extend(channels.get(key, ()))
        registers, mails, runnable, active, gone, mourners = rest
        self.gone, self.mourners = list(gone), list(mourners)
        for h in self.hosts:
            h.lost = h in gone
        self.registers, self.mails = dict(registers), dict(mails)
        self.runnable, self.active = list(runnable), list(active)

    def key(self, saved: Any) -> int:
        """Equal for states that behave alike."""
        master, hosts, threads, _, _, channels, rest = saved
        parts: list[Any] = [master, tuple(sorted(channels.items()))]
        for image, regions, (twins, diffs, words, _, died), parked, control, clients in hosts:
            parts += [image, control, tuple(sorted(twins.items())), tuple(sorted(diffs.items()))]
            parts += [tuple(sorted(words.items())), tuple(r[:2] for r in regions.values())]
            parts += [tuple(sorted(died)), tuple(c[0].number for c in clients)]
            parts += [tuple(tuple(sorted(c[1].items())) for c in clients)]
            parts += [tuple(sorted((p, tuple(t.number for t in ts)) for p, ts in parked.items()))]
        parts += [tuple(repr(t[1:4]) + str(t[5]) for t in threads)]
        parts += [tuple(sorted(rest[0].items())), tuple(sorted(rest[1].items()))]
        parts += [tuple((h.number, peer and peer.number) for h, peer in rest[5]), len(rest[4])]
        return hash(tuple(parts))


def put(node: Any, image: bytes) -> None:
    node.core.ffi.memmove(node.arena, image, len(image))


@dataclass
class Outcome:
    states: int = 0
    whole: bool = True
    ends: int = 0
    transitions: int = 0
    results: dict[tuple[tuple[str, int], ...], list[int]] = field(default_factory=dict)


def explore(world: LitmusWorld, cap: int, part: bool = False) -> Outcome:
    """All ends that can be reached; the path to the first of each kind, as a list of choices.
    `part`: the first `cap` states are enough."""
    outcome, seen = Outcome(), set()
    stack: list[tuple[Any, Any, list[int]]] = [(world.save(), None, [])]
    while stack:
        saved, turn, path = stack.pop()
        world.load(saved)
        if turn is not None:
            world.take(world.choices()[turn])
            outcome.transitions += 1
            saved = world.save()
        key = world.key(saved)
        if key in seen:
            continue
        seen.add(key)
        if len(seen) > cap and part:
            outcome.whole = False
            break
        if len(seen) > cap:
            raise AssertionError(f"more than {cap} states")
        options = len(world.choices())
        for i in range(options):
            stack.append((saved, i, [*path, i]))
        if not options:
            if not all(t.done for t in world.threads):
                raise Violation(f"nothing moves: {world.who_waits()}; path {path}")
            outcome.ends += 1
            outcome.results.setdefault(tuple(sorted(world.registers.items())), path)
    outcome.states = len(seen)
    return outcome


def judge(litmus: Litmus, outcome: Outcome) -> list[str]:
    """What is wrong, if anything."""
    wrong = []
    for verdict, text in litmus.under(litmus.model):
        code = compile(text, litmus.name, "eval")
        true = {r: bool(eval(code, {}, dict(r))) for r in outcome.results}
        hits = [r for r, t in true.items() if t]
        if verdict == "never" and hits:
            wrong.append(f"{text} was seen: {hits[0]}, path {outcome.results[hits[0]]}")
        if verdict == "sometimes" and not hits and outcome.whole:
            wrong.append(f"{text} was never seen")
        if verdict == "always" and len(hits) != len(true):
            odd = next(r for r, t in true.items() if not t)
            wrong.append(f"{text} did not hold: {odd}, path {outcome.results[odd]}")
    return wrong
