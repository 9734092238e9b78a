"""Where the guards' bytes lie, and who starts with what: drawn before a world starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .guards import Byte, Gather, Guard, Lock, Pair, Semaphore

if TYPE_CHECKING:
    from .world import World


class Room:
    """All bytes of all regions, handed out so that pages are shared falsely."""

    def __init__(self, world: World) -> None:
        p, self.rng, self.world = world.params, world.rng, world
        self.free = [
            Byte(region + 1, index, off, p.page_size)
            for region, pages in enumerate(p.regions)
            for index in range(pages)
            for off in range(p.page_size)
        ]
        if p.scattered:
            self.rng.shuffle(self.free)

    def fill(self, guard: Any, most: int = 3) -> Any:
        for _ in range(self.rng.randint(1, most)):
            if self.free:
                byte = self.free.pop()
                byte.guard = guard
                guard.bytes.append(byte)
                self.world.bytes.append(byte)
        return guard


def lay_out(world: World) -> None:
    p, rng, threads = world.params, world.rng, world.threads
    room = Room(world)
    serial = iter(range(1, 1000))

    def named(kind: str) -> int:
        """An id whose upper bits name the host that made the object."""
        maker = rng.randrange(p.hosts - p.late)
        return maker << 48 | next(serial) if kind == "lock" else 1 << 40 | next(serial)

    def some(guard_type: Any, name: str, count: int, **more: Any) -> list[Any]:
        made = []
        for i in range(count):
            id = named("lock" if guard_type is Lock else name)
            made.append(room.fill(guard_type(f"{name} {i}", id=id, **more), 4))
        return made

    for t in threads:
        world.private.append(room.fill(Guard(f"bytes of thread {t.number}", owner=t), 2))
    world.locks = some(Lock, "lock", rng.randint(1, p.locks))
    world.travellers = some(Lock, "travelling lock", 1, travels=True)
    world.semaphores = some(Semaphore, "semaphore", 1)
    for i in range(rng.randint(1, 3)):
        baton = Guard(f"baton {i}")
        room.fill(baton)
        first = rng.choice(threads)
        baton.owner, baton.host = first, first.host
        first.owned.append(baton)
    if len(threads) > 1:
        pair = rng.sample(threads, 2)
        guard = room.fill(Guard("pair", owner=pair[0]))
        world.pairs.append(Pair(guard, (pair[0], pair[1]), (1 << 41, 1 << 41 | 1)))
    if len(threads) > 2:
        consumer, *producers = rng.sample(threads, rng.choice([3, min(4, len(threads))]))
        slots = [room.fill(Guard(f"slot {i}", owner=t), 2) for i, t in enumerate(producers)]
        back = [1 << 42 | 1 + i for i in range(len(producers))]
        world.gather = Gather(consumer, producers, slots, 1 << 42, back)
    if p.rounds:
        world.rotating = [room.fill(Guard(f"turn {t.number}"), 2) for t in threads]
    if p.poll and len(threads) > 1:
        flag = room.fill(Guard("flag", owner=threads[0]), 1)
        world.flag = flag.bytes[0] if flag.bytes else None
    if p.wide:
        lay_out_wide(world)
    room.fill(Guard("nobody"), 4)  # these stay zero for ever


def lay_out_wide(world: World) -> None:
    """One more region; each of the first threads has a byte in every page of it."""
    p = world.params
    p.regions.append(p.wide)
    region = len(p.regions)
    for t in world.threads[:3]:
        guard = world.private[t.number]
        row = [Byte(region, index, t.number, p.page_size) for index in range(p.wide)]
        for byte in row:
            byte.guard = guard
        world.wide[t.number] = row
        world.bytes.extend(row)
