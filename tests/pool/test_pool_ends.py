"""A pool whose hosts, or whose cluster, are lost: who waits is told, and nothing else is said."""

from __future__ import annotations

import signal

from helpers import RunScript, commands_of, send

BEGIN = """
import os, signal
import dsmproc as mp

def die(_):
    os.kill(os.getpid(), signal.SIGKILL)

def sleep(_):
    print("asleep", flush=True)
    signal.pause()

def outcome(result):
    try:
        return result.get(30)
    except mp.ProcessError as error:
        return type(error).__name__ + ": " + str(error)

pool = mp.Pool(2)
start = pool._handler._start_member
"""


def test_the_cluster_ends_when_a_worker_is_to_be_replaced(run_script: RunScript) -> None:
    result = run_script(
        BEGIN
        + """
def gone(number):
    raise mp.ClusterError("the cluster has ended")

pool._handler._start_member = gone
results = [pool.apply_async(sleep, (1,)), pool.apply_async(die, (1,))]
print([outcome(result) for result in results])
try:
    pool.apply_async(abs, (1,))
except mp.ClusterError as error:
    print(error)
"""
    ).check()
    assert "'ClusterError: the cluster has ended', 'WorkerLostError: a pool worker" in result.out
    assert "the cluster has ended" in result.lines()  # a worker's "asleep" may come behind it
    assert result.err == ""


def test_a_host_is_lost_when_a_worker_is_started_there(run_script: RunScript) -> None:
    result = run_script(
        BEGIN
        + """
lost = [1, 2]

def once_lost(number):
    if lost:
        raise mp.HostLostError("host 1 was lost", lost.pop())
    return start(number)

pool._handler._start_member = once_lost
print(outcome(pool.apply_async(die, (1,))))
print(pool.map(abs, range(-4, 0)))
"""
    ).check()
    assert result.lines()[-1] == "[4, 3, 2, 1]"
    assert result.err == ""


def test_a_worker_that_is_to_be_terminated_is_lost(run_script: RunScript) -> None:
    """Its handle raises; those who wait are told nevertheless."""
    result = run_script(
        BEGIN
        + """
def lost():
    raise mp.HostLostError("host 1 was lost", 1)

results = [pool.apply_async(sleep, (1,)) for _ in range(2)]
process = pool._pool[0]
terminate, process.terminate = process.terminate, lost
terminate()
pool.terminate()
print([outcome(result) for result in results])
"""
    ).check()
    assert result.out.count("WorkerLostError") == 2
    assert result.err == ""


def test_what_a_lost_worker_said_counts_though_its_end_is_seen_first(run_script: RunScript) -> None:
    """In one look at all descriptors: its process's end, then an answer and the end of its desk."""
    result = run_script(
        BEGIN
        + """
import threading, time

def answer_and_die(x):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return x

class Together:
    # Shows what is said only together with the end of who says it, and behind that.
    def __init__(self, selector):
        self.selector = selector

    def __getattr__(self, name):
        return getattr(self.selector, name)

    def select(self, timeout):
        until = time.monotonic() + (60 if timeout is None else timeout)
        while time.monotonic() < until:
            events = self.selector.select(0.01)
            count = [key.data for key, _ in events].count
            shown = [event for event in events if event[0].data is None or count(event[0].data) > 1]
            if shown:
                return sorted(shown, key=lambda event: event[0].fileobj is event[0].data)
        return []

pool.map(abs, range(2))
selector = pool._handler._selector
pool._handler._selector = Together(selector)
popen = type(pool._pool[0]._popen)
popen.lost, lost = property(lambda self: True), popen.lost
print(outcome(pool.apply_async(answer_and_die, (5,))))
popen.lost = lost
pool._handler._selector = selector
print(pool.map(abs, range(-4, 0)))
"""
    ).check()
    assert result.lines() == ["5", "[4, 3, 2, 1]"]
    assert result.err == ""


def test_a_killed_master(run_script: RunScript) -> None:
    running = run_script.start(BEGIN + "pool.map(sleep, range(100))")
    running.read_until("asleep")
    master = commands_of(running.pid)["master"]
    send(master, signal.SIGKILL)
    result = running.wait(20)
    assert result.code != 0
    assert f"the master (pid {master}) was killed by SIGKILL" in result.err
    assert "handler failed" not in result.err and "Exception in thread" not in result.err
