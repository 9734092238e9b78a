"""Whatever ends a program says why, on stderr: who was ended, and for what reason."""

from __future__ import annotations

import signal

from helpers import ByHand, RunScript, alive, commands_of, eventually, send

WAITING = """
import os, time
import dsmproc as mp

if __name__ == "__main__":
    memory = mp.Value("i", 1)
    print(f"driver={os.getpid()}", flush=True)
    time.sleep(300)
"""

# A worker that waits for a word; the driver says it when it gets a signal.
INIT = """
import os, signal, time
import dsmproc as mp

def work(pipe):
    print("worker", pipe.recv(), "goes on", flush=True)

if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, lambda *_: ours.send(1))
    mp.init(local=2)
    ours, theirs = mp.Pipe()
    process = mp.Process(target=work, args=(theirs,))
    process.start()
    from dsmproc._membership import state
    if state.local is not None:
        print(f"supervisor={state.local._process.pid}", flush=True)
    print(f"driver={os.getpid()}", flush=True)
    process.join()
"""
IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)

# `dsmproc run --local 2`, in this process, whose parts can be changed first.
RUN = """
import asyncio, os, signal, sys
from dsmproc._launch import supervisor
from dsmproc._launch.local import Plan

def run():
    driver = [sys.executable, "-c", "import dsmproc; dsmproc.hosts()"]
    print("code", asyncio.run(supervisor.supervise(Plan(2), driver)))
"""


def test_a_driver_that_somebody_kills(run_script: RunScript) -> None:
    running = run_script.start(WAITING)
    driver = running.number("driver")
    send(driver)
    result = running.wait(20)
    assert result.code == -signal.SIGKILL
    assert result.err == f"dsmproc: the driver (pid {driver}) was killed by SIGKILL\n"


def test_an_agent_that_somebody_ends(run_script: RunScript) -> None:
    running = run_script.start(WAITING)
    running.number("driver")
    agent = commands_of(running.pid)["agent0"]
    send(agent, signal.SIGTERM)
    result = running.wait(20)
    assert result.code != 0
    assert f"dsmproc[{agent}]: host 0 leaves the cluster: it got SIGTERM" in result.err
    assert "dsmproc: the agent of host 0 has left the cluster" in result.err


def test_an_agent_that_leaves_a_cluster_that_others_started(
    by_hand: ByHand, run_script: RunScript
) -> None:
    """The driver is killed with it (the lifeline)."""
    running = run_script.start(WAITING, address=by_hand.address)
    running.number("driver")
    agent = by_hand.status()["hosts"][0]
    send(agent["pid"], signal.SIGTERM)
    result = running.wait(20)
    assert result.code != 0
    host, port = agent["address"]
    assert f"dsmproc: host 0 (tcp://{host}:{port}) left the cluster\n" in result.err


def test_a_driver_that_goes_on_without_its_cluster(run_script: RunScript) -> None:
    """It has no part of it yet that would end it."""
    running = run_script.start(
        """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(f"driver={os.getpid()}", flush=True)
while True:
    time.sleep(300)
"""
    )
    driver = running.number("driver")
    master = commands_of(running.pid)["master"]
    send(master)
    lines = running.wait(30).err.splitlines()
    goes_on = f"dsmproc: the driver (pid {driver}) goes on without its cluster, and is ended by"
    assert f"dsmproc: the master (pid {master}) was killed by SIGKILL" in lines
    assert [line for line in lines if "goes on" in line] == [
        f"{goes_on} SIGTERM",
        f"{goes_on} SIGKILL",
    ]


def test_a_killed_supervisor(run_script: RunScript) -> None:
    running = run_script.start(WAITING)
    running.number("driver")
    pids = commands_of(running.pid)
    send(running.pid)
    for pid in pids.values():
        eventually(lambda pid=pid: not alive(pid), what="the end of all")
    why = "the master ends, and the cluster with it: its supervisor is gone"
    assert f"dsmproc[{pids['master']}]: {why}" in running.wait(20).err


def test_an_agent_that_does_not_end(run_script: RunScript) -> None:
    result = run_script(
        RUN
        + """
supervisor.END_SECONDS = 0.5
start = supervisor.Supervisor.start

async def start_and_stop_one(self):
    await start(self)
    print("agent", self.children["agent of host 1"].pid)
    os.kill(self.children["agent of host 1"].pid, signal.SIGSTOP)

supervisor.Supervisor.start = start_and_stop_one
run()
""",
        local=None,
    ).check()
    agent = int(result.out.split("agent ")[1].split()[0])
    assert f"the agent of host 1 (pid {agent}) does not end, and is killed" in result.err


def test_an_agent_that_dies_at_the_very_end(run_script: RunScript) -> None:
    result = run_script(
        RUN
        + """
end = supervisor.Supervisor.end

async def kill_one_and_end(self):
    agent = self.children["agent of host 1"].pid
    self.ending = True
    print("agent", agent)
    os.kill(agent, signal.SIGKILL)
    await end(self)

supervisor.Supervisor.end = kill_one_and_end
run()
""",
        local=None,
    ).check()
    agent = int(result.out.split("agent ")[1].split()[0])
    line = f"dsmproc: the agent of host 1 (pid {agent}) was killed by SIGKILL"
    assert line in result.err.splitlines()


def test_a_signal_for_the_supervisor_of_init(run_script: RunScript) -> None:
    """The program loses its cluster by it."""
    running = run_script.start(INIT, local=None)
    supervisor = running.number("supervisor")
    send(supervisor, signal.SIGTERM)
    result = running.wait(20)
    assert f"dsmproc: the supervisor (pid {supervisor}) got SIGTERM" in result.err


def test_signals_that_a_program_ignores_from_its_start(run_script: RunScript) -> None:
    """As with nohup, or in the background of a shell: they end nothing of it."""
    running = run_script.start(INIT, local=None, ignore=IGNORED)
    supervisor = running.number("supervisor")
    for number in IGNORED:
        send(supervisor, number)
    send(running.number("driver"), signal.SIGUSR1)
    running.read_until("worker 1 goes on")
    result = running.wait(20).check()
    assert result.err == ""


def test_signals_that_a_driver_ignores_from_its_start(run_script: RunScript) -> None:
    running = run_script.start(INIT, ignore=IGNORED)
    driver = running.number("driver")
    for number in IGNORED:
        send(running.pid, number)
    send(driver, signal.SIGUSR1)
    running.read_until("worker 1 goes on")
    result = running.wait(20).check()
    assert result.err == ""


def test_a_figure_whose_process_dies(run_script: RunScript) -> None:
    result = run_script(
        """
import os, signal
from dsmproc.bench import _hosts

def die(pipe):
    os.kill(os.getpid(), signal.SIGKILL)

_hosts.answer(*_hosts.on_host(1, die))
"""
    )
    assert "RuntimeError: process " in result.err
    assert " was killed by SIGKILL and sent nothing" in result.err
