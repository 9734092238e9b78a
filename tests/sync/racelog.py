"""The log of `races`, checked offline; and the command that runs it over everything there is:

    python -m tests.sync.racelog [OPERATIONS]

Every consistency model with every home policy over every fault mechanism of this machine.
A sum at the end would only say that something was lost: the log names the first bad access.
"""

from __future__ import annotations

import array
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dsmproc._memory.client import probe_faults
from dsmproc._settings import CHOICES
from dsmproc.errors import ClusterError

MODELS = CHOICES["DSMPROC_CONSISTENCY"]
HOMES = sorted(CHOICES["DSMPROC_HOME"])
PROGRAM = Path(__file__).with_name("races.py")
TIMEOUT = 100


class Entry(NamedTuple):
    """One critical section: the lock's sequence number there, the value read and that written."""

    lock: int
    number: int
    read: int
    written: int
    host: int = 0


class Outcome(NamedTuple):
    """What a run left: how often a lock went to another host says whether it tried anything."""

    sections: int
    moves: int
    wrong: list[str]


def load(folder: str) -> list[Entry]:
    entries = []
    for path in sorted(Path(folder).glob("*.log")):
        words = array.array("q", path.read_bytes())
        entries += [Entry(*words[at : at + 5]) for at in range(0, len(words), 5)]
    return entries


def moves(entries: Iterable[Entry]) -> int:
    """How often a lock was taken on another host than before."""
    pairs = itertools.pairwise(sorted(entries))
    return sum(one.lock == two.lock and one.host != two.host for one, two in pairs)


def check(entries: Iterable[Entry]) -> list[str]:
    """The first thing that is wrong at each lock, in a sentence: its critical sections are numbered
    without a gap, and each reads what the one before has written."""
    locks: defaultdict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        locks[entry.lock].append(entry)
    return [wrong for lock in sorted(locks) for wrong in _first_wrong(sorted(locks[lock]))]


def _first_wrong(entries: list[Entry]) -> list[str]:
    value = 0
    for number, entry in enumerate(entries, 1):
        where = f"lock {entry.lock}, section {entry.number}"
        if entry.number < number:
            return [f"{where}: two sections have this number, so one read a stale number"]
        if entry.number > number:
            return [f"{where}: there is no section {number}"]
        if entry.read != value:
            return [f"{where}: read {entry.read} and not {value}, which was written just before"]
        value = entry.written
    return []


def mechanisms() -> list[str]:
    """The fault mechanisms that this machine permits."""
    found = []
    for name in CHOICES["DSMPROC_FAULTS"]:
        try:
            probe_faults(name)
        except ClusterError:
            continue
        found.append(name)
    return found


def goes_together(model: str, home: str) -> bool:
    return home != "homeless" or model in ("lrc", "erc")


def run(
    model: str, home: str, faults: str, operations: int = 300, more: Iterable[str] = ()
) -> Outcome:
    """One run on three hosts."""
    settings = {"DSMPROC_CONSISTENCY": model, "DSMPROC_HOME": home, "DSMPROC_FAULTS": faults}
    settings["DSMPROC_PLACE"] = "spread"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "dsmproc", "run", "--local", "3", str(PROGRAM)]
        done = subprocess.run(
            [*command, folder, str(operations), *more],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        entries = load(folder)
    wrong = check(entries)
    if done.returncode != 0:
        wrong.insert(0, f"exit code {done.returncode}: {done.stdout}{done.stderr}")
    return Outcome(len(entries), moves(entries), wrong)


def main() -> int:
    operations, bad = int((sys.argv[1:] or ["2000"])[0]), 0
    print("model      home       faults     sections  moves  time     what is wrong")
    for what in itertools.product(MODELS, HOMES, mechanisms()):
        if not goes_together(*what[:2]):
            continue
        began = time.monotonic()
        sections, moved, wrong = run(*what, operations)
        said = "; ".join(wrong) or "right"
        seconds = time.monotonic() - began
        row = "  ".join(f"{word:9}" for word in what)
        print(f"{row}  {sections:6}  {moved:6}  {seconds:5.1f} s  {said}", flush=True)
        bad |= bool(wrong)
    return bad


if __name__ == "__main__":
    sys.exit(main())
