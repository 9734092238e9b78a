"""Records that belong to tasks of a pool, or to processes that live for one turn."""

from __future__ import annotations

import random
from typing import Any

import dsmproc

from .actor import Actor, Place
from .edges import Edge, logged
from .grammar import Part, record_name
from .history import Entry, Log


class Recorder(Log):
    """What a task saw goes back with its result."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.sentences: list[str] = []

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)

    def wrong(self, sentence: str) -> None:
        self.sentences.append(sentence)


def task(part: Part, number: int, turn: int, name: str, content: Any) -> Any:
    """Change a slice of a shared_array in place."""
    recorder = Recorder()
    places = [Place(record_name(part, number), memoryview(content).cast("B"), None)]
    Actor(part, places, recorder, name).turn([0], [turn])
    return recorder.entries, recorder.sentences


def one_argument(arguments: Any) -> Any:
    return task(*arguments)


class Tasks(Edge):
    """A worker that changes records by tasks, round after round, and in between looks at all of
    them, or changes one itself."""

    name = "pool"

    def turns(self, actor: Actor, number: int) -> None:
        dice = actor.dice
        lives, looks = dice.choice((None, None, 5)), dice.choice((0, 0.5, 1))
        with dsmproc.Pool(dice.randint(2, 4), maxtasksperchild=lives) as pool:
            turns = [0] * len(self.part.records)
            for round_ in range(self.part.turns):
                several = dice.sample(range(len(turns)), dice.randint(1, min(12, len(turns))))
                tasks = [self._task(at, turns[at], f"task-{round_}-{at}") for at in several]
                for entries, sentences in self._run(pool, tasks, dice):
                    for entry in entries:
                        actor.log.add(entry)
                    for sentence in sentences:
                        actor.log.wrong(sentence)
                for at in several:
                    turns[at] += 1
                if dice.random() < looks:
                    actor.look(range(len(turns)), turns)
                else:
                    mine = dice.randrange(len(turns))
                    (turns[mine],) = actor.turn([mine], [turns[mine]])
            pool.close()
            pool.join()

    def _task(self, number: int, turn: int, name: str) -> Any:
        record = self.part.records[number]
        array = self.memory.blocks[record.region]
        return self.part, number, turn, name, array[record.start : record.start + record.size]

    def _run(self, pool: Any, tasks: list[Any], dice: random.Random) -> Any:
        if self.part.kind == "apply_async":
            return [result.get() for result in [pool.apply_async(task, each) for each in tasks]]
        if self.part.kind == "starmap":
            return pool.starmap(task, tasks, chunksize=dice.choice((None, 1, 3)))
        size = {"chunksize": dice.choice((1, 3))} if dice.random() < 0.7 else {}
        return list(getattr(pool, self.part.kind)(one_argument, tasks, **size))


class Lives(Edge):
    """A worker that starts processes, each of which changes one record and ends."""

    name = "process"

    def turns(self, actor: Actor, number: int) -> None:
        turns = [0] * len(self.part.records)
        folder = actor.log.folder
        for _ in range(self.part.turns):
            several = actor.dice.sample(range(len(turns)), actor.dice.randint(1, 3))
            children = [self._child(at, turns[at], folder) for at in several]
            for child in children:
                child.start()
            for child in children:
                child.join()
            if any(child.exitcode for child in children):
                raise SystemExit(f"children ended with {[c.exitcode for c in children]}")
            for at in several:
                turns[at] += 1
            mine = several[0]
            (turns[mine],) = actor.turn([mine], [turns[mine]])

    def _child(self, number: int, turn: int, folder: str) -> Any:
        arguments = (number, turn, f"child-{number}-{turn}", folder)
        return dsmproc.Process(target=self.live, args=arguments)

    def live(self, number: int, turn: int, name: str, folder: str) -> None:
        with logged(folder, f"{self.part.seed.replace('/', '-')}-{name}") as log:
            Actor(self.part, self.places(), log, name).turn([number], [turn])
