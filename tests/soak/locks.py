"""Records that belong to who has their lock, or to whom a condition's table says."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import dsmproc

from .actor import Actor, Place
from .edges import Edge, Managers, bind, consistency, make
from .grammar import WORD, Part, record_name
from .memory import Memory

BINDABLE = ("Lock", "RLock", "Array")


class Locks(Edge):
    """A lock for each record; of one or two at once, let go in either order."""

    name = "lock"

    def __init__(self, part: Part, memory: Memory, managers: Managers) -> None:
        super().__init__(part, memory, managers)
        kind = part.kind
        if consistency() == "ec" and kind == "Manager":
            kind = "Lock"
        self.arrays: list[Any] = []
        self.bound = kind in BINDABLE and (part.bound or consistency() == "ec")
        if kind == "Array":
            self.arrays = [dsmproc.Array("B", record.size + WORD) for record in part.records]
            self.locks = [array.get_lock() for array in self.arrays]
        else:
            kind = "Manager Lock" if kind == "Manager" else kind
            self.locks = [make(kind, managers) for _ in part.records]

    def places(self) -> list[Place]:
        if not self.arrays:
            return super().places()
        views = [memoryview(array.get_obj()).cast("B") for array in self.arrays]
        return [
            Place(record_name(self.part, number), view[WORD:], view[:WORD])
            for number, view in enumerate(views)
        ]

    def prepare(self, found: Sequence[Place]) -> None:
        if self.bound and not self.arrays:
            for place, lock in zip(found, self.locks, strict=True):
                bind(lock, [place])

    def turns(self, actor: Actor, number: int) -> None:
        dice = actor.dice
        for _ in range(self.part.turns):
            numbers = sorted(dice.sample(range(len(self.locks)), dice.choice((1, 1, 2))))
            for at in numbers:  # always in this order: no deadlock
                take(self.locks[at], dice.random())
            if dice.random() < 0.15:
                actor.look(numbers)
            else:
                actor.turn(numbers)
            for at in numbers if dice.random() < 0.5 else reversed(numbers):
                self.locks[at].release()


def take(lock: Any, luck: float) -> None:
    """Mostly by waiting; at times by a bounded wait, or by asking again and again."""
    if luck < 0.8:
        lock.acquire()
    elif luck < 0.9:
        while not lock.acquire(True, 0.02):
            pass
    else:
        while not lock.acquire(False):
            time.sleep(0.001)


class Table(Edge):
    """A table of what is free, under a condition. The records are used inside its lock or outside:
    inside where the model brings no more than what belongs to the lock."""

    name = "condition"

    def __init__(self, part: Part, memory: Memory, managers: Managers) -> None:
        super().__init__(part, memory, managers)
        self.lock = make(part.kind, managers)
        self.condition = dsmproc.Condition(self.lock)
        self.taken = dsmproc.RawArray("B", len(part.records))
        self.inside = consistency() in ("ec", "scc") or part.bound

    def prepare(self, found: Sequence[Place]) -> None:
        if self.inside:
            bind(self.lock, [*found, Place("", memoryview(self.taken).cast("B"), None)])

    def turns(self, actor: Actor, number: int) -> None:
        for _ in range(self.part.turns):
            with self.condition:
                self.condition.wait_for(lambda: 0 in bytes(self.taken))
                free = [at for at, taken in enumerate(bytes(self.taken)) if not taken]
                record = actor.dice.choice(free)
                self.taken[record] = 1
                if self.inside:
                    actor.turn([record])
            if not self.inside:
                actor.turn([record])
            with self.condition:
                self.taken[record] = 0
                self.condition.notify(actor.dice.choice((1, 2)))
