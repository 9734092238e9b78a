"""Random race-free programs: what each thread does, turn by turn.

No turn can lock up: locks and semaphores are nested in one order; whatever else is waited for is
tried, or given up after a while (`patient = False`: the world may cancel it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dsmproc._native._core import lib as C

from . import thread as op
from .guards import Byte, Gather, Guard, Lock, Mail, Pair, Semaphore
from .thread import Program, Thread

if TYPE_CHECKING:
    from .world import World

OK = C.DSM_ST_OK


def program(world: World, t: Thread, rounds: int, turns: int) -> Program:
    kinds = list(world.params.turn)
    weights = list(world.params.turn.values())
    for turn in range(rounds + 1):
        for _ in range(t.rng.randint(1, turns)):
            kind = t.rng.choices(kinds, weights)[0]
            yield from TURNS[kind](world, t)
        if rounds and turn < rounds:
            yield from barrier(world, t, turn)
    if world.flag is not None:
        yield from poll(world, t)
    if world.params.unlink and all(other.done for other in t.client.threads if other is not t):
        for region in list(t.client.attached):  # as a process does when it ends
            while t.client.attached.get(region):
                yield (op.DETACH, region)
    if rounds:
        yield from wait(world, t, final=True)
        t.final = True
        for byte in t.rng.sample(world.bytes, len(world.bytes)):
            if (yield from reach(t, byte)):
                yield (op.READ, byte)


# ---- pieces ----------------------------------------------------------------------------------


def reach(t: Thread, byte: Byte) -> Any:
    """Attach the byte's region at its first use; False: it was unlinked before that."""
    client, region = t.client, byte.region
    while region not in client.attached:
        if region in client.gone or region not in t.world.sizes:
            return False
        yield (op.ATTACH, region)
    return True


def use(t: Thread, guard: Guard, most: int = 4) -> Any:
    """Read and write bytes of a guard that this thread owns."""
    for _ in range(t.rng.randint(0, most) if guard.bytes else 0):
        byte = t.rng.choice(guard.bytes)
        if (yield from reach(t, byte)):
            before, back = byte.value, t.rng.random() < t.world.params.returns
            if t.rng.random() < 0.4:
                yield (op.READ, byte)
            if t.rng.random() < 0.6:
                yield (op.WRITE, byte)
                if back:  # a flag is set and cleared, a buffer emptied and refilled
                    for _ in range(t.rng.randint(0, 4)):
                        yield (op.READ, byte)
                    yield (op.WRITE, byte, before)


def repair(t: Thread, lock: Lock) -> Any:
    """What a dead holder left is made right, or left to the next one."""
    if lock.died and t.rng.random() < 0.5:
        yield (op.CONSISTENT, lock)


def publish(t: Thread) -> Any:
    """-> a stamp that covers all this thread did: the reply's, or the host's `out` after it."""
    while (stamp := (yield (op.PUBLISH, t.rng.random() < 0.3))) == -1:
        pass
    return stamp if t.rng.random() < 0.5 else t.host.out


def observe(t: Thread, stamp: int) -> Any:
    while not (yield (op.OBSERVE, stamp, t.rng.random() < 0.3)):
        pass


def send(t: Thread, to: Thread, guards: list[Any]) -> Any:
    stamp = None
    if t.world.sloppy == "silent edge":
        stamp = t.host.out
    elif to.host is not t.host or t.rng.random() < 0.1:
        stamp = yield from publish(t)
    yield (op.SEND, to, Mail(t, t.host.number, stamp, guards))


def call(t: Thread, operation: int, id: int, a: int, b: int = 0, c: int = 0) -> Any:
    return (yield (op.CALL, operation, id, a, b, c))


def impatient(t: Thread, operation: op.Op) -> Any:
    t.patient = False
    result = yield operation
    t.patient = True
    return result


# ---- turns -----------------------------------------------------------------------------------


def lock_turn(world: World, t: Thread) -> Program:
    """One to three locks (and semaphores used as such), nested in their order."""
    held: list[Any] = []
    count = t.rng.choice([1, 1, 2, 3])
    chosen = t.rng.sample(world.locks, min(count, len(world.locks)))
    for lock in sorted(chosen, key=lambda lock: lock.id):
        mode = t.rng.random()
        asked = (op.LOCK, lock, mode < 0.2)
        if mode < 0.8 and not world.params.crash and not world.params.lost:
            status = yield asked
        else:
            status = yield from impatient(t, asked)
        if status != OK:
            break
        held.append(lock)
        yield from repair(t, lock)
        yield from use(t, t.rng.choice(held))
    if held and t.rng.random() < 0.1:
        yield from publish(t)
    while held:
        lock = held.pop() if t.rng.random() < 0.7 else held.pop(0)
        yield from use(t, lock, 1)
        yield (op.UNLOCK, lock)


def travel_turn(world: World, t: Thread) -> Program:
    """A lock taken here and released by another thread, often of another host."""
    lock = t.rng.choice(world.travellers)
    status = yield from impatient(t, (op.LOCK, lock, t.rng.random() < 0.5))
    if status != OK:
        return
    yield from repair(t, lock)
    yield from use(t, lock)
    to = t.rng.choice(world.threads)
    if to is t or to.done:
        yield (op.UNLOCK, lock)
    else:
        yield from send(t, to, [lock])


def mail_turn(world: World, t: Thread) -> Program:
    if not t.mailbox:
        return
    mail = t.mailbox.pop(0)
    if mail.stamp is not None:
        yield from observe(t, mail.stamp)
    for guard in mail.guards:
        guard.give(None)
        guard.give(t)
        yield from use(t, guard)
        if isinstance(guard, Lock):
            yield (op.UNLOCK, guard)
        elif isinstance(guard, Semaphore):
            yield from release(t, guard)
        else:
            t.owned.append(guard)


def baton_turn(world: World, t: Thread) -> Program:
    """Pass on something that this thread owns."""
    to = t.rng.choice(world.threads)
    if not t.owned or to is t or to.done:
        return
    guard = t.owned.pop(t.rng.randrange(len(t.owned)))
    yield from use(t, guard)
    yield from send(t, to, [guard])


def private_turn(world: World, t: Thread) -> Program:
    yield from use(t, world.private[t.number])
    for guard in t.owned:
        yield from use(t, guard, 2)


def release(t: Thread, guard: Semaphore) -> Any:
    guard.give(None)
    status, _ = yield from call(t, C.DSM_CALL_SEM_RELEASE, guard.id, 1, 1, 1)
    assert status in (OK, C.DSM_ST_HOST_LOST), status


def semaphore_turn(world: World, t: Thread) -> Program:
    """A semaphore as a mutex."""
    guard = t.rng.choice(world.semaphores)
    attempt = t.rng.random() < 0.3
    acquire = (op.CALL, C.DSM_CALL_SEM_ACQUIRE, guard.id, 1, 1, int(attempt))
    status, _ = yield from impatient(t, acquire)
    if status == OK:
        guard.give(t)
        yield from use(t, guard)
        yield from release(t, guard)


def take(t: Thread, id: int) -> Any:
    """Acquire a semaphore of initial value 0, without waiting for ever."""
    attempt = t.rng.random() < 0.5
    acquire = (op.CALL, C.DSM_CALL_SEM_ACQUIRE, id, 0, 0, int(attempt))
    status, _ = yield from impatient(t, acquire)
    return status == OK


def pair_turn(world: World, t: Thread) -> Program:
    mine = [pair for pair in world.pairs if t in pair.threads]
    if not mine:
        return
    pair: Pair = t.rng.choice(mine)
    me = pair.threads.index(t)
    if pair.guard.owner is not t:
        if not (yield from take(t, pair.ids[me])):
            return
        pair.guard.give(t)
    yield from use(t, pair.guard)
    pair.guard.give(None)
    yield from call(t, C.DSM_CALL_SEM_RELEASE, pair.ids[1 - me], 0, 0, 1)


def gather_turn(world: World, t: Thread) -> Program:
    gather = world.gather
    if gather is None:
        return
    if t is gather.consumer:
        yield from gather_consumer(t, gather)
    elif t in gather.producers:
        me = gather.producers.index(t)
        slot = gather.slots[me]
        if slot.owner is not t:
            if not (yield from take(t, gather.back[me])):
                return
            slot.give(t)
        yield from use(t, slot)
        slot.give(None)
        yield from call(t, C.DSM_CALL_SEM_RELEASE, gather.id, 0, 0, 1)


def gather_consumer(t: Thread, gather: Gather) -> Program:
    while gather.count < len(gather.producers):
        if not (yield from take(t, gather.id)):
            return
        gather.count += 1
    gather.count = 0
    for slot in gather.slots:
        slot.give(t)
    for slot in gather.slots:
        yield from use(t, slot)
    for slot, id in zip(gather.slots, gather.back, strict=True):
        slot.give(None)
        yield from call(t, C.DSM_CALL_SEM_RELEASE, id, 0, 0, 1)


def publish_turn(world: World, t: Thread) -> Program:
    yield from impatient(t, (op.PUBLISH, t.rng.random() < 0.5))


def observe_turn(world: World, t: Thread) -> Program:
    """As Event.is_set does: whatever the master has."""
    yield from impatient(t, (op.OBSERVE, (1 << 64) - 1, True))


def peek_turn(world: World, t: Thread) -> Program:
    """Read what others may be writing: their pages are given away in the middle of anything."""
    for byte in t.rng.sample(world.bytes, min(3, len(world.bytes))):
        if (yield from reach(t, byte)):
            yield (op.PEEK, byte)


def bind_turn(world: World, t: Thread) -> Program:
    """Pages are bound at any moment; under entry consistency which lock it is was said before."""
    attached = list(t.client.attached)
    if attached:
        region = t.rng.choice(attached)
        first = t.rng.randrange(world.sizes[region])
        yield (op.BIND, region << 32 | first, t.rng.randint(1, world.sizes[region] - first))


def child_turn(world: World, t: Thread) -> Program:
    """Start a process, as fork and spawn do: here, or on another host. At its end its owned things
    go to whoever joins it."""
    if not world.params.children or not t.owned:
        return
    world.params.children -= 1
    host = t.rng.choice([t.host, t.rng.choice(world.hosts)])
    guard = t.owned.pop(t.rng.randrange(len(t.owned)))
    yield from use(t, guard)
    stamp = None if host is t.host else (yield from publish(t))
    yield (op.START, host, Mail(t, t.host.number, stamp, [guard]))


def child_program(t: Thread, regions: list[int]) -> Program:
    """A forked process maps all that its parent has before it goes on."""
    for region in regions:
        yield (op.ATTACH, region)
    yield from mail_turn(t.world, t)
    yield from program(t.world, t, 0, t.world.params.turns)


def reattach_turn(world: World, t: Thread) -> Program:
    """Detach, if nobody of the process uses the mapping; the next use attaches again."""
    attached = list(t.client.attached)
    if not attached:
        return
    region = t.rng.choice(attached)
    if len(t.client.threads) == 1:
        yield (op.DETACH, region)
    elif t.rng.random() < 0.5:
        yield (op.ATTACH, region)


def sweep_turn(world: World, t: Thread) -> Program:
    """Write many pages, more than one step of a publish looks at."""
    for byte in world.wide.get(t.number, ()):
        if (yield from reach(t, byte)):
            yield (op.WRITE, byte)


def party_turn(world: World, t: Thread) -> Program:
    """A barrier that is also broken and reset: no memory is ordered by it, but all are answered."""
    id, what = world.barrier_id + 2, t.rng.random()
    action = int(world.params.action and not world.params.crash and not world.params.lost)
    if what < 0.7:
        wait = (op.CALL, C.DSM_CALL_BAR_WAIT, id, 2, action, 0)
        status, _ = yield from impatient(t, wait)
        if status == C.DSM_ST_ACTION:
            yield from call(t, C.DSM_CALL_BAR_DONE, id, 2, action)
    else:
        kinds = [C.DSM_CALL_BAR_ABORT, C.DSM_CALL_BAR_RESET, C.DSM_CALL_BAR_STATE]
        status, value = yield from call(t, t.rng.choice(kinds), id, 2, action)
        assert status == OK and value & 0xFFFFFFFF <= 2


TURNS = {
    "lock": lock_turn,
    "private": private_turn,
    "mail": mail_turn,
    "baton": baton_turn,
    "semaphore": semaphore_turn,
    "pair": pair_turn,
    "gather": gather_turn,
    "travel": travel_turn,
    "publish": publish_turn,
    "observe": observe_turn,
    "peek": peek_turn,
    "bind": bind_turn,
    "child": child_turn,
    "reattach": reattach_turn,
    "sweep": sweep_turn,
    "party": party_turn,
}

# ---- barriers and polling --------------------------------------------------------------------


def wait(world: World, t: Thread, final: bool = False) -> Any:
    parties, action = world.parties, int(world.params.action and not final)
    id = world.barrier_id + int(final)
    status, index = yield from call(t, C.DSM_CALL_BAR_WAIT, id, parties, action)
    assert index < parties
    if status == C.DSM_ST_ACTION:
        for guard in world.rotating:  # everybody else waits: all of it is ours
            guard.give(t)
            yield from use(t, guard, 2)
            guard.give(None)
        status, _ = yield from call(t, C.DSM_CALL_BAR_DONE, id, parties, 1)
    assert status == OK, status


def barrier(world: World, t: Thread, turn: int) -> Program:
    """What a thread owns by its turn passes to its neighbour at the barrier."""
    if world.params.bands:
        yield from band(world, t, turn)
        return
    count = world.parties
    mine = world.rotating[(t.number + turn) % count]
    if turn == 0:
        mine.give(t)
    yield from use(t, mine)
    mine.give(None)
    yield from wait(world, t)
    if turn + 1 < world.params.rounds:
        mine = world.rotating[(t.number + turn + 1) % count]
        mine.give(t)
        yield from use(t, mine)


def band(world: World, t: Thread, turn: int) -> Program:
    """In even turns a thread writes its own, in odd ones it reads its neighbour's."""
    reads = turn % 2
    mine = world.rotating[(t.number + reads) % world.parties]
    mine.give(t)
    if reads:
        for byte in mine.bytes:
            if (yield from reach(t, byte)):
                yield (op.READ, byte)
    else:
        yield from use(t, mine, 8)
    mine.give(None)
    yield from wait(world, t)


def poll(world: World, t: Thread) -> Program:
    """A flag that is written and read with no synchronisation: the tick must carry it."""
    assert world.flag is not None
    byte = world.flag
    if t is world.threads[0]:
        if (yield from reach(t, byte)):
            yield (op.WRITE, byte, 1)
    elif t is world.threads[world.parties - 1] and (yield from reach(t, byte)):
        yield (op.POLL, byte, 1)
