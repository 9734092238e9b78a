"""One who holds records, changes them and says what it saw: a thread of a worker, or a task."""

from __future__ import annotations

import itertools
import random
import struct
import time
from collections.abc import Sequence
from typing import NamedTuple

import dsmproc

from . import operations
from .grammar import WORD, Part, record_name
from .history import LAST, Entry, Log, keep
from .memory import Memory

NUMBER = struct.Struct("=Q")


class Place(NamedTuple):
    """A record as a process sees it."""

    name: str
    content: memoryview
    counter: memoryview | None


def places(part: Part, memory: Memory) -> list[Place]:
    found = []
    for number, record in enumerate(part.records):
        content = memory.view(record.region, record.start, record.size)
        counter = None
        if record.counter_region >= 0:
            counter = memory.view(record.counter_region, record.counter, WORD)
        found.append(Place(record_name(part, number), content, counter))
    return found


class Actor:
    def __init__(self, part: Part, found: Sequence[Place], log: Log, worker: str) -> None:
        self.part, self.places, self.log, self.worker = part, found, log, worker
        self.dice = random.Random(f"{part.seed}/{worker}")
        self.host = dsmproc.current_host()

    def turn(self, numbers: Sequence[int], turns: Sequence[int] | None = None) -> list[int]:
        """Change these records, which are ours now, and those of their numbers that are in memory;
        the numbers of the turns that come next. Who was handed the records knows `turns`."""
        found, turns = self._look(numbers, turns)
        read = [bytes(place.content) for place in found]
        mirrors, seed = [bytearray(content) for content in read], self.dice.random()
        first = self.dice.random() < 0.5
        if first:
            self._count(found, turns)
        fresh = [turn == 0 for turn in turns]
        for cells, rest in (
            ([memoryview(mirror) for mirror in mirrors], lambda: None),
            ([place.content for place in found], self.rest),
        ):
            dice = random.Random(seed)
            for cell in itertools.compress(cells, fresh):
                operations.fill(cell, dice)
            operations.perform(self.part.operations, cells, dice, rest)
        if not first:
            self._count(found, turns)
        for place, turn, content, mirror in zip(found, turns, read, mirrors, strict=True):
            if place.content != mirror:
                self.log.wrong(f"{place.name}, turn {turn} ({self.worker}): lost its own stores")
            self._add(place, turn, content, keep(bytes(mirror)))
        return [turn + 1 for turn in turns]

    def look(self, numbers: Sequence[int], turns: Sequence[int] | None = None) -> None:
        """Read these records, which nobody changes now."""
        found, turns = self._look(numbers, turns)
        for place, turn in zip(found, turns, strict=True):
            self._add(place, turn, bytes(place.content), None)

    def rest(self) -> None:
        """In the middle of an operation."""
        if self.part.rest and self.dice.random() < 0.4:
            time.sleep(self.dice.random() * self.part.rest)

    def _look(
        self, numbers: Sequence[int], turns: Sequence[int] | None
    ) -> tuple[list[Place], list[int]]:
        found, seen = [self.places[number] for number in numbers], []
        for at, place in enumerate(found):
            told = LAST if turns is None else turns[at]
            if place.counter is None:
                seen.append(told)
                continue
            counted = NUMBER.unpack(place.counter)[0]
            if told not in (LAST, counted):
                self.log.wrong(f"{place.name}: {self.worker} reads turn {counted} and not {told}")
                counted = told
            seen.append(counted)
        return found, seen

    def _count(self, found: Sequence[Place], turns: Sequence[int]) -> None:
        for place, turn in zip(found, turns, strict=True):
            if place.counter is not None:
                NUMBER.pack_into(place.counter, 0, turn + 1)

    def _add(self, place: Place, turn: int, read: bytes, left: bytes | None) -> None:
        self.log.add(Entry(place.name, turn, keep(read), left, self.host, self.worker))
