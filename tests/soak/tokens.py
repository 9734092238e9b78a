"""Records that belong to who was handed their number."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import dsmproc

from .actor import NUMBER, Actor, Place
from .edges import Edge, Managers, bind, consistency, make
from .grammar import Part
from .memory import Memory


class Numbers(Edge):
    """The numbers lie in a queue. There are more of them than workers, so a second one is got."""

    name = "queue"

    def __init__(self, part: Part, memory: Memory, managers: Managers) -> None:
        super().__init__(part, memory, managers)
        self.queue = make("Manager Queue" if part.kind == "Manager" else part.kind, managers)
        for record in range(len(part.records)):
            self.queue.put((record, 0))

    def turns(self, actor: Actor, number: int) -> None:
        for _ in range(self.part.turns):
            tokens = [self.queue.get()]
            if actor.dice.random() < 0.3:
                tokens.append(self.queue.get())
            records = [record for record, _ in tokens]
            turns = actor.turn(records, [turn for _, turn in tokens])
            for token in zip(records, turns, strict=True):
                self.queue.put(token)
            for _ in tokens:
                if hasattr(self.queue, "task_done"):
                    self.queue.task_done()

    def finish(self) -> None:
        for _ in self.part.records:
            self.queue.get()


class Ring(Edge):
    """The numbers go round in pipes from worker to worker."""

    name = "ring"

    def __init__(self, part: Part, memory: Memory, managers: Managers) -> None:
        super().__init__(part, memory, managers)
        self.pipes = [dsmproc.Pipe(duplex=False) for _ in range(part.workers)]
        for record in range(len(part.records)):
            self.pipes[0][1].send((record, 0))

    def turns(self, actor: Actor, number: int) -> None:
        source = self.pipes[number][0]
        sink = self.pipes[(number + 1) % self.part.workers][1]
        for _ in range(self.part.turns):
            if actor.dice.random() < 0.1:
                while not source.poll(0.01):
                    time.sleep(0)
            record, turn = source.recv()
            (turn,) = actor.turn([record], [turn])
            sink.send((record, turn))

    def finish(self) -> None:
        for ends in self.pipes:
            for end in ends:
                end.close()


class Baton(Edge):
    """All records belong to the worker whose event is set."""

    name = "event"

    def __init__(self, part: Part, memory: Memory, managers: Managers) -> None:
        super().__init__(part, memory, managers)
        self.events = [dsmproc.Event() for _ in range(part.workers)]
        self.events[0].set()

    def turns(self, actor: Actor, number: int) -> None:
        mine, next_one = self.events[number], self.events[(number + 1) % self.part.workers]
        for _ in range(self.part.turns):
            mine.wait()
            mine.clear()
            many = actor.dice.randint(1, min(4, len(self.part.records)))
            numbers = actor.dice.sample(range(len(self.part.records)), many)
            actor.look(numbers[1:])
            actor.turn(numbers[:2])
            next_one.set()


class Slots(Edge):
    """The records are the slots of a bounded buffer: semaphores count the full and the empty ones,
    and who has the lock of an end uses the slot that is next there.

    A permit may be older than the last use of the slot that it leads to. Then a colleague's permit
    orders that use before the colleague, and the lock the colleague before us: enough where a lock
    brings everything. Elsewhere both ends have one lock, to which the slots are bound."""

    name = "buffer"

    def __init__(self, part: Part, memory: Memory, managers: Managers) -> None:
        super().__init__(part, memory, managers)
        slots = len(part.records)
        self.empty, self.full = dsmproc.Semaphore(slots), dsmproc.Semaphore(0)
        self.weak = consistency() in ("ec", "scc")
        first = dsmproc.Lock()
        self.locks = [first, first if self.weak else dsmproc.Lock()]
        self.next = [dsmproc.RawArray("B", NUMBER.size) for _ in self.locks]

    def prepare(self, found: Sequence[Place]) -> None:
        for lock, number in zip(self.locks, self.next, strict=True):
            bind(
                lock, [Place("", memoryview(number).cast("B"), None), *(found if self.weak else ())]
            )

    def turns(self, actor: Actor, number: int) -> None:
        """Fill and empty, one after the other: so nobody waits for ever."""
        for _ in range(self.part.turns):
            self._pass(actor, 0, self.empty, self.full)
            self._pass(actor, 1, self.full, self.empty)

    def _pass(self, actor: Actor, end: int, before: Any, after: Any) -> None:
        before.acquire()
        with self.locks[end]:
            count = NUMBER.unpack(self.next[end])[0]
            NUMBER.pack_into(self.next[end], 0, count + 1)
            slots = len(self.part.records)
            actor.turn([count % slots], [count // slots * 2 + end])
        after.release()
