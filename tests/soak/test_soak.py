"""The soak itself: what it would find, and that it leaves nothing behind."""

from __future__ import annotations

import functools
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import alive, commands_of, eventually

from . import (  # noqa: F401
    case,
    configuration,
    grammar,
    known,
    locks,
    losses,
    phases,
    pools,
    stacks,
    tokens,
    users,
)
from .__main__ import cases
from .actor import Actor, Place
from .configuration import Configuration
from .edges import edges
from .history import LAST, Entry, Log, check, load
from .marks import MARK, marked

QUIET = Configuration(hosts=2)
NIL, ONE, TWO = b"\0\0", b"\1\0", b"\2\0"


def entry(turn: int, read: bytes, left: bytes | None) -> Entry:
    return Entry("r", turn, read, left, 0, "w")


RIGHT = [entry(0, NIL, ONE), entry(1, ONE, NIL), entry(2, NIL, TWO), entry(LAST, TWO, None)]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (RIGHT, ""),
        (RIGHT[::-1], ""),
        ([RIGHT[0], *RIGHT[2:]], "turn 2 (w on host 0): nobody had turn 1"),
        ([*RIGHT, entry(1, ONE, TWO)], "turn 1 (w on host 0): w on host 0 had this turn too"),
        (
            [RIGHT[0], entry(1, NIL, TWO), *RIGHT[2:]],
            "1 of 2 bytes are wrong (byte 0: read 0 and not 1)",
        ),
        ([*RIGHT[:3], entry(LAST, NIL, None)], "byte 0: read 0 and not 2"),
        ([*RIGHT, entry(1, NIL, None)], "byte 0: read 0 and not 1"),
        ([*RIGHT, entry(9, TWO, None)], "read turn 9, which nobody had"),
    ],
    ids=["right", "unordered", "gap", "twice", "stale", "last", "reader", "future"],
)
def test_what_the_check_says(entries: list[Entry], said: str) -> None:
    wrong = check(entries, {"r": 2})
    assert len(wrong) == bool(said)
    assert said in "".join(wrong)


def test_an_actor_that_reads_an_older_copy_is_found(tmp_path: Path) -> None:
    part, home, copy = known.KNOWN["known:records"], bytearray(24), bytearray(24)
    log = Log(str(tmp_path), "w")

    def actor(cells: bytearray) -> Actor:
        return Actor(part, [Place("r", memoryview(cells)[8:], memoryview(cells)[:8])], log, "w")

    actor(home).turn([0])
    copy[:] = home
    actor(copy).turn([0])
    actor(copy).look([0])
    log.flush()
    assert load(str(tmp_path))[1] == check(load(str(tmp_path))[0], {"r": 16}) == []
    actor(home).turn([0])  # which is older by now
    log.flush()
    assert len(check(load(str(tmp_path))[0], {"r": 16})) == 1


def test_a_case_is_the_same_each_time_and_records_do_not_overlap() -> None:
    assert set(grammar.EDGES) == set(edges) == set(grammar.TURNS)
    for name in [*known.KNOWN, *(f"3.{number}" for number in range(60))]:
        program = known.program(name)
        assert (program, known.where(name)) == (known.program(name), known.where(name))
        spans = []
        for record in itertools.chain.from_iterable(part.records for part in program.parts):
            spans.append((record.region, record.start, record.start + record.size))
            if record.counter_region >= 0:
                spans.append((record.counter_region, record.counter, record.counter + 8))
        assert all(end <= program.regions[region].size for region, _, end in spans)
        for one, two in itertools.pairwise(sorted(spans)):
            assert one[0] < two[0] or one[2] <= two[1]
    drawn = [configuration.draw(f"3.{number}") for number in range(400)]
    assert {each.model for each in drawn} == set(configuration.MODELS)
    assert {each.home for each in drawn} == set(configuration.HOMES)


@pytest.mark.parametrize("name", random.Random(1).sample(sorted(grammar.EDGES), 2))
def test_a_program_is_right_with_the_standard_library(name: str) -> None:
    outcome = case.run(f"{name}:4.0", QUIET, plain=True)
    assert outcome[:2] == ("right", "")
    assert outcome.turns > 50


@pytest.mark.parametrize("user", ["self", "other"])
def test_a_program_is_right_beside_jitter_and_a_hog(user: str) -> None:
    if user == "other" and (why_not := users.why_not()):
        pytest.skip(why_not)
    where = Configuration(hosts=3, user=user, faults="segv", hogs=1, jitter=True)
    outcome = case.run("known:flags", where)
    assert outcome[:2] == ("right", "")
    assert outcome.moves > 50, "the records hardly left their hosts"


def test_a_program_that_loses_a_host_is_right() -> None:
    outcome = case.run("lost:4.0", Configuration(hosts=3))
    assert outcome[:2] == ("right", "")
    assert outcome.moves > 50


TOLD = "lost: host 2 agent 70\n"
SAID = "dsmproc[9]: host {} (tcp://127.0.0.1:5, agent pid {}) was lost: {}\n"


@pytest.mark.parametrize(
    ("code", "text", "how"),
    [
        (0, TOLD + SAID.format(2, 70, "silent"), "right"),
        (0, TOLD, "false loss"),
        (0, TOLD + SAID.format(2, 70, ""), "false loss"),
        (0, TOLD + SAID.format(2, 70, "silent") + SAID.format(1, 71, "silent"), "false loss"),
        (1, TOLD + SAID.format(2, 70, "silent"), "error"),
        (0, SAID.format(2, 70, "silent"), "error"),
    ],
)
def test_how_a_program_that_loses_a_host_ended(code: int, text: str, how: str) -> None:
    assert losses.verdict(code, text)[0] == how


def test_a_record_that_was_begun_anew_has_a_history_of_its_own() -> None:
    first, anew = [entry(0, bytes(56), ONE), entry(1, ONE, TWO)], losses.EPOCH
    good = [*first, entry(anew, bytes(56), NIL), entry(anew + 1, NIL, ONE)]
    assert losses.check(good) == []
    for stale in (entry(anew + 1, TWO, ONE), entry(1, ONE, NIL)):
        assert len(losses.check([*good[:3], stale])) == 1


def test_known_cases_come_first_and_several_times() -> None:
    first = list(itertools.islice(cases(None, 7), known.TIMES * len(known.KNOWN) + 3))
    assert first[:-3] == known.TIMES * list(known.KNOWN)
    assert first[-3:] == ["lost:7.0", "7.0", "7.1"]
    assert list(itertools.islice(cases("queue", 7), 2)) == ["queue:7.0", "queue:7.1"]


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """That of the next run."""
    chosen = uuid.uuid4()
    monkeypatch.setattr(case.uuid, "uuid4", lambda: chosen)
    return chosen.hex


def running(mark: str) -> tuple[threading.Thread, list[Any], dict[str, int]]:
    """A case that runs, its outcome when it has ended, and the pids of its parts."""
    outcomes: list[Any] = []
    thread = threading.Thread(target=lambda: outcomes.append(case.run("known:flags", QUIET)))
    thread.start()

    def parts() -> dict[str, int]:
        return {name: pid for one in marked(mark) for name, pid in commands_of(one).items()}

    eventually(lambda: {"agent1", "driver"} <= set(parts()), 30)
    folder = stacks.read(parts()["driver"], "cmdline").split()[-1]
    eventually(lambda: len(list(Path(folder).glob("*.history"))) == 3, 30, "its workers")
    return thread, outcomes, parts()


def test_a_hang_is_found_and_shows_all_stacks(mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    thread, outcomes, pids = running(mark)
    for pid in marked(mark):
        if pid not in pids.values():  # the workers, and those who would start or end something
            os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(stacks, "GDB", ["false"])  # which takes its time, and is tried below
    monkeypatch.setattr(case, "STILL", 2.0)
    thread.join(100)
    (outcome,) = outcomes
    assert outcome.verdict == "hang"
    assert f"process {pids['driver']}" in outcome.text
    assert "dsmproc agent" in outcome.text
    assert "in join" in outcome.text  # the driver
    assert outcome.text.count("in turns") == 3  # the workers
    assert not marked(mark)


@pytest.mark.parametrize(
    ("code", "text", "how"),
    [
        (0, "a warning\n", "right"),
        (1, "dsmproc.errors.HostLostError: host 1: killed\n", "false loss"),
        (0, "dsmproc: host 2 was lost: silent for 6.0 s\n", "false loss"),
        (1, "the workers ended with [0, 1]\n", "error"),
        (-11, "", "error"),
        (0, "Exception ignored in: ...\nTraceback (most recent call last):\n", "error"),
    ],
)
def test_how_a_program_ended(code: int, text: str, how: str) -> None:
    assert case.verdict(code, text)[0] == how


@pytest.fixture
def sleeper() -> Iterator[tuple[int, str]]:
    mark = uuid.uuid4().hex
    process = subprocess.Popen(["sleep", "60"], env={**os.environ, MARK: mark})
    eventually(lambda: "sleep" in stacks.read(process.pid, "wchan"))
    yield process.pid, mark
    process.kill()
    process.wait()


def test_the_stacks_of_a_process(sleeper: tuple[int, str]) -> None:
    text = stacks.dump(sleeper[1])
    assert f"process {sleeper[0]}: sleep 60\n" in text
    assert f"thread {sleeper[0]} (sleep) waits in " in text and "nanosleep" in text
    assert shutil.which("gdb") is None or "#0 " in text


def in_state(pid: int, wanted: str) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == wanted


def test_jitter_stops_and_continues_what_has_the_mark(sleeper: tuple[int, str]) -> None:
    pid, mark = sleeper
    command = [sys.executable, "-m", "tests.soak.jitter", mark, "1"]
    jitter = subprocess.Popen(command, cwd=case.ROOT, stdin=subprocess.PIPE)
    for wanted in "TSTS":
        eventually(functools.partial(in_state, pid, wanted), what=wanted)
    assert jitter.stdin is not None
    jitter.stdin.close()  # as its starter's end would do
    assert jitter.wait(10) == 0
    assert in_state(pid, "S")
    assert alive(pid)
