"""A party that is killed while it runs a barrier's action breaks the barrier; nobody waits on."""

from __future__ import annotations

from helpers import RunScript

SCRIPT = """
import os, signal, sys, threading
import dsmproc as mp

def die():
    if sys.argv[1] == "worker":
        os.kill(os.getpid(), signal.SIGKILL)
    os.kill(os.getppid(), signal.SIGKILL)  # the agent: the whole host is lost
    signal.pause()

def wait(barrier, last):
    while last and barrier.n_waiting < 2:
        pass
    try:
        barrier.wait()
    except threading.BrokenBarrierError:
        print("broken on host", mp.current_host())

barrier = mp.Barrier(3, die)
processes = []
for host in (1, 2):
    process = mp.Process(target=wait, args=(barrier, host == 2))
    process._dsmproc_host = host
    process.start()
    processes.append(process)
wait(barrier, False)
for process in processes:
    try:
        process.join()
    except mp.HostLostError as error:
        print("lost host", error.host)
print(barrier.broken, [process.exitcode for process in processes])
"""
BROKEN = {"broken on host 0", "broken on host 1"}


def test_the_worker_is_killed(run_script: RunScript) -> None:
    lines = run_script(SCRIPT, args=["worker"]).check().lines()
    assert set(lines) > BROKEN
    assert lines[-1] == "True [0, -9]"


def test_its_host_is_lost(run_script: RunScript) -> None:
    lines = run_script(SCRIPT, args=["host"]).check().lines()
    assert set(lines) > BROKEN and "lost host 2" in lines
    assert lines[-1] == "True [0, -9]"
