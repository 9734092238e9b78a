"""A whole cluster: connections, the master, a scheduler that draws what happens next.

Each connection (source, destination, channel) delivers in order; nothing orders two connections.
"""

from __future__ import annotations

import random
import struct
from collections import deque
from typing import Any

from dsmproc._native._core import lib as C

from .binding import Core, Node, Violation
from .draw import Params
from .guards import Lock, Mail
from .host import ABSENT, HELD, MODELS, WANTED, SimHost
from .layout import lay_out
from .program import program, reach
from .thread import OBSERVE, PUBLISH, UNLOCK, Client, Op, Thread
from .trace import Trace

MASTER = C.DSM_MASTER
HOST_MESSAGES = (C.DSM_FAST, C.DSM_BULK)
NEWEST = (1 << 64) - 1  # OBSERVE: whatever the master has
CHECKER = 900  # client number of the process that reads everything at the end
POLICIES = {
    "first": C.DSM_HOME_FIRST,
    "fixed": C.DSM_HOME_FIXED,
    "barrier": C.DSM_HOME_BARRIER,
    "migrating": C.DSM_HOME_MIGRATING,
    "adaptive": C.DSM_HOME_ADAPTIVE,
    "homeless": C.DSM_HOME_HOMELESS,
    "blocks": C.DSM_HOME_BLOCKS,
}

Channel = tuple[int, int, int]


class World:
    def __init__(
        self,
        params: Params,
        rng: random.Random,
        core: Core,
        off: int = 0,
        trace: Trace | None = None,
    ) -> None:
        self.params, self.rng, self.core, self.trace = params, rng, core, trace
        self.checked = off == 0  # with a rule off, it is what programs read that must tell
        self.steps = self.requests = self.pids = 0
        self.channels: dict[Channel, deque[bytes]] = {}
        self.active: list[Channel] = []
        self.slow: set[Channel] = set()
        self.runnable: list[Thread] = []
        self.polling: list[Thread] = []
        self.inbox: list[tuple[Thread, Op]] = []
        self.threads: list[Thread] = []
        self.bytes: list[Any] = []
        self.private: list[Any] = []
        self.locks: list[Any] = []
        self.travellers: list[Any] = []
        self.semaphores: list[Any] = []
        self.pairs: list[Any] = []
        self.rotating: list[Any] = []
        self.wide: dict[int, list[Any]] = {}
        self.gather: Any = None
        self.flag: Any = None
        self.barrier_id = 1 << 43
        self.unlinked: set[int] = set()
        self.sizes: dict[int, int] = {}
        self.gone: list[SimHost] = []  # died or left
        self.died = 0  # how many of them died
        self.departing: list[SimHost] = []  # have handed over all that they had
        self.mourners: list[tuple[SimHost, SimHost | None]] = []  # and who is to hear it
        self.bound_to: dict[int, list[int]] = {}  # page -> locks; what the model says must be
        self.sloppy = ""  # swarm.SLOPPY
        self.evicted = self.moved = self.crashed = self.agreed = self.deliveries = 0
        self.master = Node(
            core,
            master=True,
            host=MASTER,
            page_size=params.page_size,
            carry=params.carry,
            model=MODELS[params.model],
            rules_off=off,
        )
        self.hosts = [SimHost(self, core, i, off) for i in range(params.hosts)]

    # ---- before the start ------------------------------------------------------------------

    def populate(self) -> None:
        """Random processes, threads and programs."""
        p = self.params
        for host, layout in zip(self.hosts, p.clients, strict=True):
            for number, threads in enumerate(layout):
                client = self.add_client(host, number)
                for _ in range(threads):
                    self.add_thread(client)
        lay_out(self)
        if p.model == "ec":
            for lock in self.locks + self.travellers:
                for byte in lock.bytes:
                    self.bound_to.setdefault(byte.page, []).append(lock.id)
        late = self.hosts[-1] if p.late else None
        for host in self.hosts:
            if host is not late:
                self.feed_master(C.DSM_EV_HOST_JOINED, host=host.number)
        for number, pages in enumerate(p.regions, 1):
            self.make_region(number, pages)
        for t in self.threads:
            if t.host is not late:
                self.start(t)
        if late:
            late.joined = False

    def add_client(self, host: SimHost, number: int) -> Client:
        self.pids += 1
        client = host.clients[number] = Client(host, number, self.pids)
        return client

    def add_thread(self, client: Client) -> Thread:
        thread = Thread(self, client, len(self.threads))
        client.threads.append(thread)
        client.host.threads.append(thread)
        self.threads.append(thread)
        return thread

    def start(self, thread: Thread) -> None:
        thread.start(program(self, thread, self.params.rounds, self.params.turns))

    def make_region(self, number: int, pages: int) -> None:
        self.sizes[number] = pages
        policy = POLICIES[self.params.policy]
        hosts = self.params.hosts - int(self.params.late)  # those that have joined
        self.feed_master(C.DSM_EV_REGION_MADE, id=number, arg=pages, client=policy, host=hosts)

    # ---- connections -----------------------------------------------------------------------

    def post(self, source: int, to: int, channel: int, message: bytes) -> None:
        if channel not in HOST_MESSAGES or (MASTER in (source, to) and channel != C.DSM_FAST):
            raise Violation(f"{source} sends to {to} on channel {channel}")
        if any(to == host.number for host in self.gone):
            return
        key = (source, to, channel)
        queue = self.channels.get(key)
        if queue is None:
            queue = self.channels[key] = deque()
            if self.rng.random() < self.params.slow:
                self.slow.add(key)
        if not queue:
            self.active.append(key)
        queue.append(message)

    def deliver(self, key: Channel) -> None:
        queue = self.channels[key]
        message = queue.popleft()
        if not queue:
            self.active.remove(key)
        self.deliveries += 1
        source, to, channel = key
        if to == MASTER:
            self.feed_master(C.DSM_EV_MESSAGE, host=source, data=message)
        else:
            self.hosts[to].feed(C.DSM_EV_MESSAGE, host=source, client=channel, data=message)

    def feed_master(self, kind: int, **event: Any) -> None:
        self.steps += 1
        if self.trace is not None:
            self.trace.event(None, kind, event)
        status, actions, raw = self.master.step(kind=kind, **event)
        if status:
            raise Violation(f"master: event {kind} {event} gave status {status}")
        for action in actions:
            if action[0] == C.DSM_ACT_SEND:
                if action[4]:
                    raise Violation("the master sends a payload")
                if self.trace is not None:
                    self.trace.action(None, action)
                self.post(MASTER, action[1], action[3], raw[action[6] : action[6] + action[7]])
            elif action[0] == C.DSM_ACT_CUT:
                inherit(self, self.hosts[action[1]])
            elif action[0] == C.DSM_ACT_OWNER_DIED:
                gone = self.hosts[action[1]]
                if not gone.lost or (gone.leaving and not self.died):
                    raise Violation(f"the master says that lock {action[8]:x} died with a host")
            elif action[0] != C.DSM_ACT_REGION_END or action[8] not in self.unlinked:
                raise Violation(f"the master's action {action} makes no sense")
        broken = self.core.lib.dsm_master_check(self.master.state)
        if broken and self.checked:
            raise Violation(f"dsm_master_check says {broken}")

    # ---- what may happen next --------------------------------------------------------------

    def do_thread(self) -> bool:
        if not self.runnable:
            return False
        self.rng.choice(self.runnable).attempt()
        return True

    def do_net(self) -> bool:
        if not self.active:
            return False
        key = self.rng.choice(self.active)
        if key not in self.slow or self.rng.random() > self.params.slowness:
            self.deliver(key)
        return True

    def do_inbox(self) -> bool:
        if not self.inbox:
            return False
        thread, operation = self.inbox.pop(self.rng.randrange(len(self.inbox)))
        thread.ask(operation)
        return True

    def do_more(self) -> bool:
        waiting = [host for host in self.hosts if host.more]
        if not waiting:
            return False
        host = self.rng.choice(waiting)
        host.more = False
        host.feed(C.DSM_EV_MORE)
        return True

    def do_tick(self) -> bool:
        if all(t.done for t in self.threads):
            return False  # let it come to rest
        host = self.rng.choice(self.hosts)
        if host.joined and not host.lost:
            host.feed(C.DSM_EV_TICK)
        if self.polling:
            self.polling.pop(self.rng.randrange(len(self.polling))).wake()
        return True

    def do_move(self) -> bool:
        """A host gives pages away, for no reason."""
        rng, host = self.rng, self.rng.choice(self.hosts)
        regions = [n for n, r in host.regions.items() if n not in self.unlinked]
        heirs = [h for h in self.hosts if h is not host and h.joined and not h.lost]
        if host.lost or host.leaving or not regions or not heirs or self.moved >= self.params.moves:
            return False
        self.moved += 1
        region = rng.choice(regions)
        first = rng.randrange(self.sizes[region])
        count = min(rng.choice([1, 1, 2, 4]), self.sizes[region] - first)
        heir = rng.choice(heirs).number
        host.feed(C.DSM_EV_HAND, id=region << 32 | first, arg=count, host=heir)
        return True

    def do_evict(self) -> bool:
        if self.evicted >= self.params.evictions:
            return False
        self.evicted += 1
        host = self.rng.choice(self.hosts)
        if host.joined and not host.lost:
            host.feed(C.DSM_EV_EVICT, arg=self.rng.choice([1, 2, 50]))
        return True

    def do_cancel(self) -> bool:
        waiting = [t for t in self.threads if t.req and not t.patient and not t.done]
        if not waiting:
            return False
        thread = self.rng.choice(waiting)
        thread.note("gives up")
        thread.patient = True  # once is enough
        thread.host.feed(C.DSM_EV_CANCEL, req=thread.req)
        return True

    def do_surprise(self) -> bool:
        """A crash, an unlink, a host that joins."""
        p, rng = self.params, self.rng
        late = self.hosts[-1]
        if self.departing:
            end(self, self.departing.pop())
        elif not late.joined:
            late.joined = True
            self.feed_master(C.DSM_EV_HOST_JOINED, host=late.number)
            for thread in late.threads:
                self.start(thread)
        elif p.unlink and not self.unlinked:
            region = rng.choice(list(self.sizes))
            self.unlinked.add(region)
            self.feed_master(C.DSM_EV_REGION_UNLINK, id=region)
        elif self.mourners:
            hear(self, *self.mourners.pop(rng.randrange(len(self.mourners))))
        elif self.died < p.losses and len(self.alive()) > 1:
            die(self, rng.choice(self.alive()))
        elif p.leaves and len(self.staying()) > 1:
            p.leaves -= 1
            leave(self, rng.choice(self.staying()))
        elif self.crashed < p.crashes:
            clients = [c for h in self.hosts for c in h.clients.values() if c.threads]
            clients = [c for c in clients if not all(t.done for t in c.threads)]
            if clients and len(clients) > 1:
                self.crashed += 1
                crash(self, rng.choice(clients))
        return True

    # ---- running ---------------------------------------------------------------------------

    def run(self, limit: int = 60_000) -> None:
        p = self.params
        kinds = [
            (p.w_thread, self.do_thread),
            (p.w_net, self.do_net),
            (p.w_inbox, self.do_inbox),
            (p.w_more, self.do_more),
            (p.w_tick, self.do_tick),
            (p.w_cancel, self.do_cancel),
            (p.w_move, self.do_move),
            (p.w_evict, self.do_evict),
            (p.surprise, self.do_surprise),
        ]
        weights = [w for w, _ in kinds]
        acts = [act for _, act in kinds]
        choices, idle = self.rng.choices, 0
        limit *= 1 + p.rounds // 20
        while True:
            for act in choices(acts, weights, k=64):
                act()
            if self.steps > limit:
                raise Violation(f"still busy after {limit} steps: {self.who_waits()}")
            if self.runnable or self.active or self.inbox or any(h.more for h in self.hosts):
                idle = 0
                continue
            if not self.nudge():
                break
            idle += 1
            if idle > 100:
                raise Violation(f"nothing moves: {self.who_waits()}")
        waiting = [t for t in self.threads if not t.done]
        if waiting:
            raise Violation(f"nothing moves: {self.who_waits()}")

    def nudge(self) -> bool:
        """Nothing moves by itself: time passes."""
        if not self.hosts[-1].joined or self.mourners or self.departing:
            self.do_surprise()
            return True
        if self.polling:
            for host in self.hosts:
                host.feed(C.DSM_EV_TICK)
            for thread in self.polling[:]:
                self.polling.remove(thread)
                thread.wake()
            return True
        return self.do_cancel()

    def who_waits(self) -> str:
        waiting = [
            f"{t.name} in {t.op[0]} {getattr(t.op[1], 'name', t.op[1:])}"
            for t in self.threads
            if not t.done
        ]
        return "; ".join(waiting) or "nobody, but messages go on"

    def finale(self) -> None:
        """Everybody publishes, then observes; then every host reads every byte."""
        self.params.leaves = 0  # those who read have to stay
        for kind, arg in ((C.DSM_EV_PUBLISH, 0), (C.DSM_EV_OBSERVE, NEWEST)):
            before = self.agreed
            for host in self.alive():
                request(self, host, kind, self.agree, arg=arg)
            self.settle()
            if self.agreed != before + len(self.alive()):
                raise Violation(f"the final event {kind} was not answered everywhere")
        for host in self.alive():
            client = self.add_client(host, CHECKER)
            thread = self.add_thread(client)
            thread.final = True
            thread.start(read_all(self, thread))
        self.params.w_tick = 0
        self.run()
        for host in self.alive():
            if host.requests:
                raise Violation(f"host {host.number} never answered {list(host.requests)}")
            summary = self.core.summary
            self.core.lib.dsm_host_summary(host.node.state, summary)
            if summary.waiting:
                raise Violation(f"host {host.number} says that {summary.waiting} requests wait")

    def alive(self) -> list[SimHost]:
        return [host for host in self.hosts if not host.lost]

    def staying(self) -> list[SimHost]:
        return [host for host in self.alive() if not host.leaving]

    def kill(self, client: Client) -> None:
        crash(self, client)

    def agree(self, status: int, arg: int) -> None:
        must_be_ok(status, arg)
        self.agreed += 1

    def settle(self) -> None:
        while self.active or any(h.more for h in self.hosts):
            self.do_net()
            self.do_more()


def read_all(world: World, thread: Thread) -> Any:
    for byte in world.rng.sample(world.bytes, len(world.bytes)):
        if (yield from reach(thread, byte)):
            yield ("read", byte)


# ---- a host dies, or leaves -----------------------------------------------------------------


def die(world: World, host: SimHost) -> None:
    """All of it at once; some of what it had sent may still arrive."""
    world.died += 1
    for t in host.threads:
        if t.req and t.op[0] in ("lock", UNLOCK):
            t.op[1].asking -= 1
        bury(world, t)
    for lock in [*world.locks, *world.travellers]:
        lock.died = lock.died or is_held_by(lock, host, [c.pid for c in host.clients.values()])
        lock.perhaps = True
    for guard in [*world.locks, *world.travellers, *world.semaphores]:
        if guard.owner in host.threads:
            guard.give(None)
    for byte in world.bytes:
        byte.died(host)
    end(world, host)


def leave(world: World, host: SimHost) -> None:
    """Its processes are given up, what they wrote is announced, its pages go to the others."""
    host.leaving = True
    for client in list(host.clients.values()):
        crash(world, client)
    heirs = [0, 0, 0, 0]
    for other in world.alive():
        if other.joined:
            heirs[other.number // 64] |= 1 << other.number % 64
    data = struct.pack("<4Q", *heirs)

    def published(status: int, stamp: int) -> None:
        must_be_ok(status, 0)
        request(world, host, C.DSM_EV_LEAVE, handed_over, data=data)

    def handed_over(status: int, left: int) -> None:
        must_be_ok(status, 0)
        if left:  # nobody was there to take them: as if it had died
            world.died += 1
            for lock in [*world.locks, *world.travellers]:
                lock.perhaps = True
        world.departing.append(host)

    request(world, host, C.DSM_EV_PUBLISH, published)


def end(world: World, host: SimHost) -> None:
    if world.trace is not None:
        world.trace.line(f"host {host.number} is gone")
    host.lost, host.more = True, False
    world.gone.append(host)
    for lock in [*world.locks, *world.travellers]:
        lock.disturbed = True
    for key in [key for key in world.active if key[1] == host.number]:
        world.active.remove(key)
        world.channels[key].clear()
    host.clients.clear()
    host.requests.clear()
    world.mourners = [pair for pair in world.mourners if pair[1] is not host]
    others: list[SimHost | None] = [other for other in world.alive() if other.joined]
    world.mourners += [(host, other) for other in [*others, None]]


def hear(world: World, gone: SimHost, peer: SimHost | None) -> None:
    """The peer's connections to it end."""
    number = gone.number
    to = MASTER if peer is None else peer.number
    for key in [key for key in world.active if key[:2] == (number, to)]:
        world.active.remove(key)
        world.channels[key].clear()
    if peer is None:
        world.feed_master(C.DSM_EV_HOST_LOST, host=number)
    else:
        peer.feed(C.DSM_EV_HOST_LOST, host=number)


def inherit(world: World, gone: SimHost) -> None:
    """Who joins a process of the lost host is told so now, and may go on with its work."""
    heirs = [t for t in world.threads if not t.done and not t.final]
    if gone.leaving or not heirs or not world.private:
        return  # a host that leaves has ended its processes before; litmus threads own nothing
    left: list[Any] = [g for t in gone.threads for g in (*t.owned, world.private[t.number])]
    for guard in left:
        guard.post()
    world.rng.choice(heirs).mailbox.append(Mail(gone.threads[0], gone.number, NEWEST, left))


# ---- a client process dies -------------------------------------------------------------------


def crash(world: World, client: Client) -> None:
    """kill -9: what the agent of its host then does, as core.h asks."""
    host = client.host
    if world.trace is not None:
        world.trace.line(f"client {client.number} of host {host.number} is killed")
    for t in client.threads:
        bury(world, t)
    for t in client.threads:
        if t.req and t.op[0] != UNLOCK:  # a release that is on its way is not taken back
            host.feed(C.DSM_EV_CANCEL, req=t.req)
    for lock in [*world.locks, *world.travellers]:
        lock.disturbed = True
        if lock.owner in client.threads:
            lock.give(None)
            host.feed(C.DSM_EV_LOCK_OPEN, id=lock.id)
            # What another process has taken, and this one was to release, has no dead holder.
            held = is_held_by(lock, host, [client.pid])
            lock.died = lock.died or held
            pid = client.pid if held else 0
            request(world, host, C.DSM_EV_UNLOCK, must_be_ok, id=lock.id, arg=pid)
    for region, count in list(client.attached.items()):
        for _ in range(count):
            host.feed(C.DSM_EV_DETACH, client=client.number, id=region)
    client.attached.clear()
    host.feed(C.DSM_EV_CLIENT_GONE, client=client.number)
    del host.clients[client.number]
    exit_edge(world, client)


def is_held_by(lock: Lock, host: SimHost, pids: list[int]) -> bool:
    state, pid = host.words.get(lock.id, (ABSENT, 0))
    return state in (HELD, WANTED) and pid in pids


def bury(world: World, t: Thread) -> None:
    if t.done:
        return
    t.finish()
    world.inbox = [entry for entry in world.inbox if entry[0] is not t]
    if t in world.polling:
        world.polling.remove(t)
    for parked in t.host.parked.values():
        if t in parked:
            parked.remove(t)
    if t.req:
        t.host.requests[t.req] = lambda status, arg: after_death(world, t, status)


def after_death(world: World, t: Thread, status: int) -> None:
    if t.op[0] == "lock":
        t.op[1].asking -= 1
        if status == C.DSM_ST_OK:  # before it was cancelled: what was granted goes back
            world.requests += 1
            t.host.requests[world.requests] = must_be_ok
            release = {"id": t.op[1].id, "req": world.requests}
            t.host.later.append((C.DSM_EV_UNLOCK, release))
    elif t.op[0] == UNLOCK:
        t.op[1].asking -= 1
        must_be_ok(status, 0)
    elif t.op[0] in (PUBLISH, OBSERVE) and status not in (C.DSM_ST_OK, C.DSM_ST_CANCELLED):
        raise Violation(f"{t.name} was answered {status} after its death")


def must_be_ok(status: int, arg: int) -> None:
    if status != C.DSM_ST_OK:
        raise Violation(f"the agent's own request was answered {status}")


def request(world: World, host: SimHost, kind: int, then: Any, **event: Any) -> None:
    world.requests += 1
    host.requests[world.requests] = then
    host.feed(kind, req=world.requests, **event)


def exit_edge(world: World, client: Client) -> None:
    """The agent publishes after reaping; whoever joins the dead process may go on with its work."""
    alive = [t for t in world.threads if not t.done]
    left: list[Any] = [g for t in client.threads for g in t.owned]
    left += [g for g in world.semaphores if g.owner in client.threads]
    if not alive or not left:
        return
    heir = world.rng.choice(alive)

    def published(status: int, stamp: int) -> None:
        must_be_ok(status, 0)
        for guard in left:
            guard.post()
        heir.mailbox.append(Mail(client.threads[0], client.host.number, stamp, left))

    request(world, client.host, C.DSM_EV_PUBLISH, published)
