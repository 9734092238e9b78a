"""A lock freed from a dead holder says so, until a holder says that what it guards is right."""

from __future__ import annotations

import re
import signal

import pytest
from helpers import ByHand, RunScript, send

COMMON = """
import os, signal, sys, time
import dsmproc as mp

def start(host, function, *arguments):
    process = mp.Process(target=function, args=arguments)
    process._dsmproc_host = host
    process.start()
    return process

def answer(pipe, function, *arguments):
    pipe.send(function(*arguments))

def ask(host, function, *arguments):
    ours, theirs = mp.Pipe()
    process = start(host, answer, theirs, function, *arguments)
    said = ours.recv()
    process.join()
    return said

def all_kinds():
    return [mp.Lock(), mp.RLock(), mp.Condition(), mp.Value("i", 0), mp.Array("i", 3)]

def hold(locks, pipe=None):
    for lock in locks:
        lock.acquire()
    if pipe is not None:
        pipe.send(mp.current_host())
        signal.pause()

def die(locks, whole_host=False):
    hold(locks)
    if not whole_host:
        os.kill(os.getpid(), signal.SIGKILL)
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()

def look(locks, repair=False):
    seen = set()
    for lock in locks:
        with lock:
            seen.add(mp.owner_died(lock))
            if repair:
                mp.mark_consistent(lock)
                assert not mp.owner_died(lock)
    return seen
"""

KILLED = (
    COMMON
    + """
if __name__ == "__main__":
    locks = all_kinds()
    print("new", look(locks), ask(1, look, locks))
    for where in (1, 0):
        process = start(where, die, locks)
        process.join()
        print("killed", where, process.exitcode)
        print("stays", ask(where, look, locks), ask(2, look, locks), look(locks))
        print("repaired", ask(2, look, locks, True), ask(2, look, locks), look(locks))
    for _ in range(2):
        start(2, die, locks).join()
    print("twice", look(locks, True), ask(1, look, locks))
    print("pids", process.pid, locks[0]._semlock.name)
"""
)


@pytest.mark.parametrize("model", ["lrc", "ec", "scc", "erc", "sc"])
def test_the_holder_is_killed(run_script: RunScript, model: str) -> None:
    result = run_script(KILLED, env={"DSMPROC_CONSISTENCY": model}).check()
    lines = result.lines()
    assert lines[0] == "new {False} {False}"
    for where, at in ((1, 1), (0, 4)):
        assert lines[at : at + 3] == [
            f"killed {where} -9",
            "stays {True} {True} {True}",
            "repaired {True} {False} {False}",
        ], lines
    assert lines[7] == "twice {True} {False}", lines
    _, pid, lock = lines[8].split()
    assert f"host 0: process {pid} died while it held lock {lock}," in result.err
    assert len(re.findall(r"host [012]: process \d+ died while it held lock", result.err)) == 20


LOST = (
    COMMON
    + """
def only_here(results):
    lock = mp.Lock()  # no other host has heard of it when this one is lost
    start(2, heir, lock, results, mp.current_host())
    die([lock], whole_host=True)

def heir(lock, results, of):
    while of in mp.hosts():
        time.sleep(0.01)
    results.put(look([lock]))

def heard(results):
    while True:
        try:
            return results.get()
        except mp.WriterLostError as error:  # it comes before or after what the heir says
            assert error.host == 3

if __name__ == "__main__":
    held, used, untouched, results = all_kinds(), mp.Lock(), mp.Lock(), mp.Queue()
    ask(1, look, [used])
    ask(2, look, [untouched])
    try:
        start(1, die, held, True).join()
    except mp.HostLostError as error:
        print("lost", error.host)
    print("held", look(held), ask(2, look, held, True), look(held))
    print("used", look([used], True), "untouched", look([untouched]))
    start(3, only_here, results)
    print("new to all others", heard(results))
    print("name", held[0]._semlock.name)
"""
)


@pytest.mark.parametrize("model", ["lrc", "scc", "erc", "sc"])
def test_its_host_is_lost(run_script: RunScript, model: str) -> None:
    result = run_script(LOST, local=4, env={"DSMPROC_CONSISTENCY": model}).check()
    *lines, name = result.lines()
    assert lines == [
        "lost 1",
        "held {True} {True} {False}",
        "used {True} untouched {False}",
        "new to all others {True}",
    ]
    (said,) = re.findall("locks that were at host 1, which is lost, are free: (.*);", result.err)
    assert name.split()[1] in said.split(", "), said
    assert "locks that were at host 3, which is lost, are free: /dsm-3" in result.err


LEAVES = (
    COMMON
    + """
def end_with(lock):
    lock.acquire()  # and not released, as of a process that ends in the middle

if __name__ == "__main__":
    used, held, kept, marked = (mp.Lock() for _ in range(4))
    ask(2, look, [used])
    start(2, die, [marked]).join()
    start(2, end_with, kept).join()
    ours, theirs = mp.Pipe()
    holder = start(2, hold, [held], theirs)
    ours.recv()
    print("ready=1", flush=True)
    try:
        holder.join()
    except mp.HostLostError as error:
        print("given up", error.host)
    print("used", look([used]), ask(1, look, [used]))
    print("held", look([held]), "kept", look([kept]), "marked", look([marked]))
"""
)


def test_a_host_that_leaves_loses_nothing(by_hand: ByHand, run_script: RunScript) -> None:
    """So what was used there is right, but not what a process that ended with its lock had."""
    for _ in range(2):
        by_hand.agent()
    by_hand.wait_for(3)
    running = run_script.start(LEAVES, address=by_hand.address)
    running.number("ready")
    (pid,) = [host["pid"] for host in by_hand.status()["hosts"] if host["id"] == 2]
    send(pid, signal.SIGTERM)
    lines = running.wait().check().lines()
    assert lines[1:] == [
        "given up 2",
        "used {False} {False}",
        "held {True} kept {True} marked {True}",
    ]


@pytest.mark.parametrize("end", ["sys.exit", "os._exit"])
def test_the_end_of_a_program_is_quiet(run_script: RunScript, end: str) -> None:
    """Its daemons are killed, whatever they hold: said only to who wants to know."""
    script = (
        COMMON
        + """
if __name__ == "__main__":
    for host in (0, 1):
        ours, theirs = mp.Pipe()
        process = mp.Process(target=hold, args=([mp.Lock()], theirs), daemon=True)
        process._dsmproc_host = host
        process.start()
        print(ours.recv())
        sys.stdout.flush()
"""
        + f"    {end}(0)\n"
    )
    result = run_script(script).check()
    assert result.lines() == ["0", "1"]
    assert "lock" not in result.err
    if end == "os._exit":
        return  # all ends at once, and nobody waits for words
    result = run_script(script, env={"DSMPROC_LOG": "info"}).check()
    for host in (0, 1):
        assert re.search(rf"host {host}: process \d+ died while it held lock /dsm-", result.err)


ASKED = """
import threading
import dsmproc as mp

def refused(function, lock):
    try:
        function(lock)
    except (RuntimeError, TypeError) as error:
        return f"{type(error).__name__}: {error}"

if __name__ == "__main__":
    for lock in (mp.Semaphore(1), mp.BoundedSemaphore(1), threading.Lock(), threading.Condition()):
        with lock:
            mp.mark_consistent(lock)
            print(mp.owner_died(lock))
    for lock in (mp.Lock(), mp.RLock(), mp.Condition(), mp.Value("i", 0)):
        with lock:
            mp.mark_consistent(lock)
            print(mp.owner_died(lock))
        print(refused(mp.owner_died, lock), refused(mp.mark_consistent, lock))
    print(refused(mp.owner_died, 3))
"""


@pytest.mark.parametrize("local", [None, 2])
def test_what_may_be_asked(run_script: RunScript, local: int | None) -> None:
    lines = run_script(ASKED, local=local).check().lines()
    not_held = "RuntimeError: this process does not hold the lock"
    refused = "None None" if local is None else f"{not_held} {not_held}"
    assert lines[:4] == ["False"] * 4
    assert lines[4:12] == ["False", refused] * 4
    assert lines[12] == "TypeError: a lock is needed, not int"
