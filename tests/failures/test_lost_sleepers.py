"""Who notifies wakes those that live: not a process that ended while it slept, however it did.
The driver is on host 0, one that ends on host 1, 2 or 3, those that live on host 4."""

from __future__ import annotations

import pytest
from helpers import RunScript

SCRIPT = """
import os, signal, sys, time
import dsmproc as mp

def start(host, function, *arguments):
    process = mp.Process(target=function, args=arguments)
    process._dsmproc_host = host
    process.start()
    return process

def sleep(one, box):
    box.put((os.getpid(), os.getppid()))
    if isinstance(one, type(mp.Event())):
        assert one.wait()
    else:
        with one:
            assert one.wait()

def sleepers(one, count):
    until = time.monotonic() + 10
    counted = getattr(one, "_cond", one)._sleeping_count
    while counted.get_value() != count:
        assert time.monotonic() < until, f"{counted.get_value()} sleep"
        time.sleep(0.005)

def wake(one):
    if isinstance(one, type(mp.Event())):
        one.set()
        return
    with one:
        one.notify()  # not for the one that is gone, though it slept first
    sleepers(one, 1)
    with one:
        one.notify_all()

def end(way, pid, agent):
    if way == "worker":
        os.kill(pid, signal.SIGKILL)
    else:
        os.kill(agent, signal.SIGKILL if way == "host" else signal.SIGTERM)

for host, way in enumerate(("worker", "host", "leave"), 1):
    one, box = getattr(mp, sys.argv[1])(), mp.Queue()
    start(host, sleep, one, box)
    ending = box.get()
    sleepers(one, 1)
    living = [start(4, sleep, one, box) for _ in range(2)]
    sleepers(one, 3)
    end(way, *ending)
    sleepers(one, 2)
    wake(one)
    for process in living:
        process.join(10)
    sleepers(one, 0)
    print(way, *(process.exitcode for process in living), flush=True)
"""


@pytest.mark.parametrize("kind", ["Event", "Condition"])
def test_those_that_live_are_woken(run_script: RunScript, kind: str) -> None:
    result = run_script(SCRIPT, local=5, args=[kind]).check()
    assert result.lines() == ["worker 0 0", "host 0 0", "leave 0 0"]


AT_ONCE = """
for host, way in enumerate(("worker", "host", "leave"), 1):
    one, box = mp.Event(), mp.Queue()
    start(host, sleep, one, box)
    ending = box.get()
    living = start(4, sleep, one, box)
    sleepers(one, 2)
    end(way, *ending)
    one.set()
    living.join(10)
    print(way, living.exitcode, flush=True)
"""


def test_while_it_is_being_lost(run_script: RunScript) -> None:
    text = SCRIPT[: SCRIPT.index("for host, way")] + AT_ONCE
    result = run_script(text, local=5).check()
    assert result.lines() == ["worker 0", "host 0", "leave 0"]
