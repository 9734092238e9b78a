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
from .guards import Guard, Lock, Mail
from .host import ABSENT, HELD, MODELS, WANTED, SimHost
from .layout import lay_out
from .program import child_program, program, reach
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
        self.parties = 0  # threads from the beginning: all that barriers wait for
        self.ended: list[Client] = []  # killed, or at their ends; their agents have not noticed
        self.still: set[int] = set()  # hosts (or the master) that stand still
        self.parted: set[tuple[int, int]] = set()  # source, destination: nothing arrives any more
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
                client.ends = p.children > 0
                for _ in range(threads):
                    self.add_thread(client)
        self.parties = len(self.threads)
        lay_out(self)
        if p.model == "ec":
            for lock in self.locks + self.travellers:
                for byte in lock.bytes:
                    self.bound_to.setdefault(byte.page, []).append(lock.id)
        for host in self.hosts:
            host.joined = host.number < p.hosts - p.late
            if host.joined:
                self.feed_master(C.DSM_EV_HOST_JOINED, host=host.number)
        for number, pages in enumerate(p.regions, 1):
            if not (p.fresh and number == len(p.regions)):
                self.make_region(number, pages)
        for t in self.threads:
            if t.host.joined:
                self.start(t)

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

    def add_child(self, host: SimHost) -> Thread:
        used = {t.client.number for t in host.threads if t.req} | set(host.clients)
        client = self.add_client(host, min(set(range(len(used) + 1)) - used))
        client.ends = True
        thread = self.add_thread(client)
        self.private.append(Guard(f"bytes of thread {thread.number}", owner=thread))
        return thread

    def start_child(self, thread: Thread, regions: list[int]) -> None:
        thread.start(child_program(thread, [r for r in regions if r not in self.unlinked]))

    def make_region(self, number: int, pages: int) -> None:
        self.sizes[number] = pages
        policy = POLICIES[self.params.policy]
        hosts = next((h.number for h in self.hosts if not h.joined), self.params.hosts)
        self.feed_master(C.DSM_EV_REGION_MADE, id=number, arg=pages, client=policy, host=hosts)

    # ---- connections -----------------------------------------------------------------------

    def post(self, source: int, to: int, channel: int, message: bytes) -> None:
        if channel not in HOST_MESSAGES or (MASTER in (source, to) and channel != C.DSM_FAST):
            raise Violation(f"{source} sends to {to} on channel {channel}")
        if any(to == host.number for host in self.gone) or (source, to) in self.parted:
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
                inherit(self, self.lost(action[1]))
            elif action[0] == C.DSM_ACT_OWNER_DIED:
                gone = self.lost(action[1])
                if not gone.lost or (gone.leaving and not self.died):
                    raise Violation(f"the master says that lock {action[8]:x} died with a host")
            elif action[0] != C.DSM_ACT_REGION_END or action[8] not in self.unlinked:
                raise Violation(f"the master's action {action} makes no sense")
        broken = self.core.lib.dsm_master_check(self.master.state)
        if broken and self.checked:
            raise Violation(f"dsm_master_check says {broken}")

    def drop(self, host: SimHost, peer: int) -> None:
        """It hears that one no more, and that one does not hear it."""
        part(self, host, None if peer == MASTER else self.hosts[peer])

    def lost(self, number: int) -> SimHost:
        """The master says that nobody hears this host any more."""
        gone = self.hosts[number]
        if gone.accused and not gone.lost:
            die(self, gone)
        gone.cut = True
        return gone

    # ---- what may happen next --------------------------------------------------------------

    def do_thread(self) -> bool:
        if not self.runnable:
            return False
        thread = self.rng.choice(self.runnable)
        if not self.stands(thread.host):
            thread.attempt()
        return True

    def do_net(self) -> bool:
        if not self.active:
            return False
        key = self.rng.choice(self.active)
        slow = key in self.slow and self.rng.random() <= self.params.slowness
        if not slow and key[1] not in self.still:
            self.deliver(key)
        return True

    def do_inbox(self) -> bool:
        if not self.inbox:
            return False
        at = self.rng.randrange(len(self.inbox))
        thread, operation = self.inbox[at]
        if not self.stands(thread.host):
            del self.inbox[at]
            thread.ask(operation)
        return True

    def do_more(self) -> bool:
        waiting = [host for host in self.hosts if host.more]
        if not waiting:
            return False
        host = self.rng.choice(waiting)
        if not self.stands(host):
            host.more = False
            host.feed(C.DSM_EV_MORE)
        return True

    def do_tick(self) -> bool:
        if all(t.done for t in self.threads):
            return False  # let it come to rest
        host = self.rng.choice(self.hosts)
        if self.runs(host):
            host.feed(C.DSM_EV_TICK)
        if self.polling:
            self.polling.pop(self.rng.randrange(len(self.polling))).wake()
        return True

    def do_move(self) -> bool:
        """A host gives pages away, for no reason."""
        rng, host = self.rng, self.rng.choice(self.hosts)
        regions = [n for n, r in host.regions.items() if n not in self.unlinked]
        heirs = [h for h in self.hosts if h is not host and h.joined and not h.lost]
        heirs = [h for h in heirs if not h.leaves_without(host)]
        if not self.runs(host) or host.leaving or self.moved >= self.params.moves:
            return False
        if not regions or not heirs:
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
        if self.runs(host):
            tight = int(self.rng.random() < 0.5)
            host.feed(C.DSM_EV_EVICT, arg=self.rng.choice([0, 1, 2, 50]), client=tight)
            if tight and self.rng.random() < 0.5:  # written pages become copies
                request(self, host, C.DSM_EV_PUBLISH, must_be_ok)
        return True

    def do_still(self) -> bool:
        """A host or the master stands still, for long as a rule; or all go on."""
        if self.still:
            self.still.clear()
        else:
            self.still = {self.rng.choice([MASTER, *(host.number for host in self.hosts)])}
        return True

    def stands(self, host: SimHost | None) -> bool:
        return (MASTER if host is None else host.number) in self.still

    def runs(self, host: SimHost) -> bool:
        return host.joined and not host.lost and not self.stands(host)

    def do_cancel(self) -> bool:
        waiting = [t for t in self.threads if t.req and not t.patient and not t.done]
        waiting = [t for t in waiting if not self.stands(t.host)]
        if not waiting:
            return False
        thread = self.rng.choice(waiting)
        thread.note("gives up")
        thread.patient = True  # once is enough
        thread.host.feed(C.DSM_EV_CANCEL, req=thread.req)
        return True

    def do_surprise(self) -> bool:
        """What is not in any program: the first of what is pending, or anything that may happen."""
        if self.rng.random() < 0.5 and self.go_on():
            return True
        acts = [join, unlink, make_fresh, lose, part_with, kill_one]
        self.rng.choice(acts)(self)
        return True

    def go_on(self) -> bool:
        """Something that has begun: an end, or that it is noticed (not where all stands still)."""
        peers = [(gone, peer) for gone, peer in self.mourners if not self.stands(peer)]
        begun: list[tuple[Any, ...]] = [(hear, gone, peer) for gone, peer in peers]
        begun += [(reap, client) for client in self.ended if not self.stands(client.host)]
        begun += [(end, host) for host in self.departing]
        begun += [(die, host) for host in self.alive() if host.accused]
        if not begun:
            return False
        act, *whom = self.rng.choice(begun)
        act(self, *whom)
        return True

    # ---- running ---------------------------------------------------------------------------

    def run(self, limit: int = 200_000) -> None:
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
            (p.w_still, self.do_still),
            (p.surprise, self.do_surprise),
            (0.01, self.go_on),
        ]
        weights = [w for w, _ in kinds]
        acts = [act for _, act in kinds]
        choices, idle = self.rng.choices, 0
        limit *= 1 + p.rounds // 20 + bool(p.wide)
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
        if self.still:
            self.still.clear()
            return True
        if self.go_on() or join(self):
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
        self.still.clear()
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

    def here(self) -> list[SimHost]:
        """Those that may be chosen to be lost."""
        return [host for host in self.alive() if host.joined and not host.accused]

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


# ---- what may happen to a world ---------------------------------------------------------------


def join(world: World) -> bool:
    late = [host for host in world.hosts if not host.joined]
    if not late:
        return False
    host = late[0]
    host.joined = True
    world.feed_master(C.DSM_EV_HOST_JOINED, host=host.number)
    for thread in host.threads:
        world.start(thread)
    return True


def unlink(world: World) -> None:
    if world.params.unlink and not world.unlinked:
        region = world.rng.choice(list(world.sizes))
        world.unlinked.add(region)
        world.feed_master(C.DSM_EV_REGION_UNLINK, id=region)


def make_fresh(world: World) -> None:
    regions = world.params.regions
    if len(world.sizes) < len(regions) and not world.died and not world.gone:
        world.make_region(len(regions), regions[-1])


def lose(world: World) -> None:
    """A host dies, or is taken for dead."""
    if world.died >= world.params.losses or len(world.here()) < 2:
        return
    host = world.rng.choice(world.here())
    if world.rng.random() < world.params.zombies:
        accuse(world, host)
    else:
        die(world, host)


def part_with(world: World) -> None:
    staying = [host for host in world.here() if not host.leaving]
    if not world.params.leaves or len(staying) < 2:
        return
    host = world.rng.choice(staying)
    if not any(other.leaves_without(host) for other in world.hosts):  # else it lets that one go
        world.params.leaves -= 1
        leave(world, host)


def kill_one(world: World) -> None:
    """kill -9 of a process."""
    clients = [c for h in world.alive() if h.joined for c in h.clients.values()]
    clients = [c for c in clients if not all(t.done for t in c.threads)]
    if world.crashed < world.params.crashes and len(clients) > 1:
        world.crashed += 1
        crash(world, world.rng.choice(clients))


# ---- a host dies, or leaves -----------------------------------------------------------------


def accuse(world: World, host: SimHost) -> None:
    """It is taken for dead, but goes on: it was silent for too long, or a connection broke. Who has
    not heard of it speaks with it. When all others have been cut off from it, it dies."""
    if world.trace is not None:
        world.trace.line(f"host {host.number} is taken for dead")
    host.accused = True
    world.died += 1
    others = [other for other in world.alive() if other.joined and other is not host]
    if world.rng.random() < 0.5:
        part(world, host, world.rng.choice(others))
    world.mourners += [(host, other) for other in [*others, None]]


def part(world: World, host: SimHost, peer: SimHost | None) -> None:
    """Nothing arrives any more between the two."""
    other = MASTER if peer is None else peer.number
    pairs = {(host.number, other), (other, host.number)}
    if not host.lost:  # else nothing is sent to it, nor by it
        world.parted |= pairs
    for key in [key for key in world.active if key[:2] in pairs]:
        world.active.remove(key)
        world.channels[key].clear()


def die(world: World, host: SimHost) -> None:
    """All of it at once; some of what it had sent may still arrive."""
    world.died += not host.accused
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
        reap(world, client)
    heirs = [0, 0, 0, 0]
    for other in world.alive():
        if other.joined:
            host.told.add(other.number)
            heirs[other.number // 64] |= 1 << other.number % 64
    data = struct.pack("<4Q", *heirs)

    def published(status: int, stamp: int) -> None:
        must_be_ok(status, 0)
        request(world, host, C.DSM_EV_LEAVE, handed_over, data=data)

    def handed_over(status: int, left: int) -> None:
        must_be_ok(status, 0)
        alone = world.params.model == "sc"  # what only it has leaves with it
        world.died += left > 0 or alone  # nobody was there to take them: as if it had died
        for lock in [*world.locks, *world.travellers]:
            lock.perhaps = lock.perhaps or left > 0
        if not host.lost:
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
    world.ended = [client for client in world.ended if client.host is not host]
    world.departing = [other for other in world.departing if other is not host]
    world.mourners = [pair for pair in world.mourners if pair[1] is not host]
    if host.accused:
        return  # the others have heard of it, or will
    others: list[SimHost | None] = [other for other in world.alive() if other.joined]
    world.mourners += [(host, other) for other in [*others, None]]


def hear(world: World, gone: SimHost, peer: SimHost | None) -> None:
    """The peer's connections to it end."""
    number = gone.number
    world.mourners = [pair for pair in world.mourners if pair != (gone, peer)]
    part(world, gone, peer)
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


# ---- a client process ends -------------------------------------------------------------------


def crash(world: World, client: Client) -> None:
    """kill -9: it does nothing more. What it had asked for is still answered until its agent
    notices."""
    if world.trace is not None:
        world.trace.line(f"client {client.number} of host {client.host.number} is killed")
    for lock in [*world.locks, *world.travellers]:
        lock.disturbed = True
    for t in client.threads:
        stop(world, t)
    if client not in world.ended:
        world.ended.append(client)


def reap(world: World, client: Client) -> None:
    """What the agent of its host then does, as core.h asks."""
    host = client.host
    world.ended.remove(client)
    if world.trace is not None:
        world.trace.line(f"client {client.number} of host {host.number} is reaped")
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


def stop(world: World, t: Thread) -> None:
    if t.done:
        return
    t.finish()
    if t in world.polling:
        world.polling.remove(t)
    for parked in t.host.parked.values():
        if t in parked:
            parked.remove(t)


def bury(world: World, t: Thread) -> None:
    stop(world, t)
    world.inbox = [entry for entry in world.inbox if entry[0] is not t]
    if t.req:
        t.host.requests[t.req] = lambda status, arg: after_death(world, t, status)


def after_death(world: World, t: Thread, status: int) -> None:
    t.req = 0
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
        for t in client.threads:
            t.owned.clear()
        for guard in left:
            guard.post()
        heir.mailbox.append(Mail(client.threads[0], client.host.number, stamp, left))

    request(world, client.host, C.DSM_EV_PUBLISH, published)
