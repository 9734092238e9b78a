"""What each holder of a record read and left, written to files, and checked when all is over.

The oracle is one for all edges: the turns of a record are numbered without a gap, and each reads,
byte for byte, what the one before it has left.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

WHOLE = 1024  # bytes; of longer records only a digest is kept
FLUSH = 16  # entries
LAST = -1  # the number of a turn: that after all others


class Entry(NamedTuple):
    record: str  # where it is, for people
    turn: int
    read: bytes
    left: bytes | None  # None: it only looked
    host: int
    worker: str


class Log:
    """The entries of one worker, on the disk and not in the memory that is on trial."""

    def __init__(self, folder: str, worker: str) -> None:
        self.folder = folder
        self._path = os.path.join(folder, f"{worker}.history")
        self._entries: list[Entry] = []
        self._wrong: list[str] = []

    def add(self, entry: Entry) -> None:
        self._entries.append(entry)
        if len(self._entries) >= FLUSH:
            self.flush()

    def wrong(self, sentence: str) -> None:
        self._wrong.append(sentence)

    def flush(self) -> None:
        with open(self._path, "ab") as file:
            pickle.dump((self._entries, self._wrong), file)
        self._entries, self._wrong = [], []


def keep(content: bytes) -> bytes:
    return content if len(content) <= WHOLE else hashlib.blake2b(content, digest_size=16).digest()


def load(folder: str) -> tuple[list[Entry], list[str]]:
    """All entries, and what the workers themselves found wrong."""
    entries, wrong = [], []
    for path in sorted(Path(folder).glob("*.history")):
        with open(path, "rb") as file:
            while file.peek(1):
                try:
                    more, sentences = pickle.load(file)
                except (EOFError, pickle.UnpicklingError):
                    break  # its worker was killed while it wrote
                entries += more
                wrong += sentences
    return entries, wrong


def check(entries: Iterable[Entry], sizes: Mapping[str, int]) -> list[str]:
    """The first thing that is wrong with each record, in a sentence."""
    records: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        records[entry.record].append(entry)
    wrong = []
    for name, found in sorted(records.items()):
        sentence = _first_wrong(found, keep(bytes(sizes[name])))
        wrong += [f"{name}, {sentence}"] if sentence else []
    return wrong


def _first_wrong(entries: list[Entry], content: bytes) -> str:
    writers = sorted((e for e in entries if e.left is not None), key=lambda entry: entry.turn)
    who = "nobody"
    contents = [(content, who)]
    for number, entry in enumerate(writers):
        where = f"turn {entry.turn} ({entry.worker} on host {entry.host})"
        if entry.turn < number:
            return f"{where}: {who} had this turn too: one of them read a stale number"
        if entry.turn > number:
            return f"{where}: nobody had turn {number}"
        if entry.read != content:
            return f"{where}: {_difference(entry.read, content)}, which {who} has left"
        assert entry.left is not None
        content, who = entry.left, f"{entry.worker} on host {entry.host}"
        contents.append((content, who))
    for entry in entries:
        if entry.left is None and entry.turn >= len(contents):
            return f"{entry.worker} on host {entry.host} read turn {entry.turn}, which nobody had"
        content, who = contents[entry.turn]
        if entry.left is None and entry.read != content:
            where = f"after turn {entry.turn}: {entry.worker} on host {entry.host}"
            return f"{where} {_difference(entry.read, content)}, which {who} has left"
    return ""


def _difference(read: bytes, right: bytes) -> str:
    places = [at for at, (one, two) in enumerate(zip(read, right, strict=False)) if one != two]
    if len(read) != len(right) or (len(right) == 16 and len(places) > 8):
        return f"read {read.hex()} and not {right.hex()}"
    shown = ", ".join(f"byte {at}: read {read[at]} and not {right[at]}" for at in places[:4])
    return f"{len(places)} of {len(right)} bytes are wrong ({shown})"


def moves(entries: Iterable[Entry]) -> int:
    """How often a record came to another host."""
    last: dict[str, int] = {}
    count = 0
    for entry in sorted(entries, key=lambda entry: (entry.record, entry.turn)):
        count += last.get(entry.record, entry.host) != entry.host
        last[entry.record] = entry.host
    return count
