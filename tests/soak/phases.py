"""Records that go round among the workers from barrier to barrier."""

from __future__ import annotations

import dsmproc

from .actor import Actor
from .edges import Edge, Managers
from .grammar import Part
from .memory import Memory


class Phases(Edge):
    """In a phase each record has one worker that changes it; then all may read it."""

    name = "barrier"

    def __init__(self, part: Part, memory: Memory, managers: Managers) -> None:
        super().__init__(part, memory, managers)
        self.barrier = dsmproc.Barrier(part.workers)

    def turns(self, actor: Actor, number: int) -> None:
        workers, everything = self.part.workers, range(len(self.part.records))
        for phase in range(self.part.turns):
            for record in everything[(number + phase) % workers :: workers]:
                actor.turn([record], [phase])
            self.barrier.wait()
            if phase % 2:  # in the others a record goes on at once
                several = actor.dice.sample(everything, min(5, len(everything)))
                actor.look(several, [phase + 1] * len(several))
                self.barrier.wait()
