"""kill -9 of everything, and Ctrl-C: nothing is left (the fixture looks), nobody waits for ever."""

from __future__ import annotations

import glob
import os
import signal

import pytest
from helpers import RunScript, alive, commands_of, eventually, send

SLEEPERS = """
import os, sys, time
import dsmproc as mp

def sleep(number):
    print(f"worker{number}={os.getpid()}", flush=True)
    time.sleep(300)

processes = []
for host in mp.hosts():
    process = mp.Process(target=sleep, args=(host,))
    process._dsmproc_host = host
    process.start()
    processes.append(process)
"""

JOIN = (
    SLEEPERS
    + """
for process in processes:
    try:
        process.join()
        print("ended", process.exitcode, flush=True)
    except mp.HostLostError as error:
        print("lost", error.host, process.exitcode, error, flush=True)
        assert process not in mp.active_children()
"""
)


def test_a_killed_worker(run_script: RunScript) -> None:
    running = run_script.start(JOIN)
    for number in range(3):
        send(running.number(f"worker{number}"), signal.SIGKILL)
    result = running.wait().check()
    assert [line for line in result.lines() if line.startswith("ended")] == ["ended -9"] * 3


def test_a_killed_agent_of_another_host(run_script: RunScript) -> None:
    running = run_script.start(JOIN)
    pids = [running.number(f"worker{number}") for number in range(3)]
    agent = commands_of(running.pid)["agent1"]
    send(agent)
    eventually(lambda: not alive(pids[1]), what="the worker of a dead agent ends")
    for pid in (pids[0], pids[2]):
        assert alive(pid)
        send(pid, signal.SIGTERM)
    result = running.wait().check()
    lost = next(line for line in result.lines() if line.startswith("lost"))
    assert lost.startswith("lost 1 -9 process")
    assert "host 1 (tcp://127.0.0.1:" in lost and f"agent pid {agent}" in lost
    assert f"dsmproc: the agent of host 1 (pid {agent}) was killed by SIGKILL" in result.err


def test_who_joins_a_lost_process_goes_on_when_no_host_hears_the_lost_one(
    run_script: RunScript,
) -> None:
    """A diff of it might still be on its way to the host that stands still here: applied after what
    the joiner writes, it would undo that."""
    running = run_script.start(
        SLEEPERS
        + """
import threading

def join():
    try:
        processes[1].join()
    except mp.HostLostError as error:
        print("lost", error.host, error, flush=True)

joiner = threading.Thread(target=join)
joiner.start()
print("joining", flush=True)
while 1 in mp.hosts():
    time.sleep(0.01)
joiner.join(0.5)
print("still joining", joiner.is_alive(), flush=True)
joiner.join()
for process in (processes[0], processes[2]):
    process.kill()
    process.join()
    print("ended", process.exitcode)
"""
    )
    running.read_until("joining")
    agents = commands_of(running.pid)
    send(agents["agent2"], signal.SIGSTOP)
    send(agents["agent1"], signal.SIGKILL)
    running.read_until("still joining True")
    send(agents["agent2"], signal.SIGCONT)
    lines = running.wait().check().lines()
    assert any(line.startswith("lost 1 process") for line in lines)
    assert lines.count("ended -9") == 2


def test_a_killed_agent_of_the_drivers_host_ends_the_program(run_script: RunScript) -> None:
    running = run_script.start(JOIN)
    running.read_until("worker2=")
    agent = commands_of(running.pid)["agent0"]
    send(agent)
    result = running.wait(20)
    assert result.code != 0
    assert f"the agent of host 0 (pid {agent}) was killed by SIGKILL" in result.err


def test_a_killed_master_ends_the_program(run_script: RunScript) -> None:
    running = run_script.start(JOIN)
    running.read_until("worker2=")
    master = commands_of(running.pid)["master"]
    send(master)
    result = running.wait(20)
    assert result.code != 0
    assert f"the master (pid {master}) was killed by SIGKILL" in result.err


def test_a_killed_driver(run_script: RunScript) -> None:
    running = run_script.start(JOIN)
    running.read_until("worker2=")
    send(commands_of(running.pid)["driver"])
    assert running.wait(20).code == -signal.SIGKILL  # passed on as that signal


def test_a_killed_supervisor(run_script: RunScript) -> None:
    running = run_script.start(JOIN)
    running.read_until("worker2=")
    pids = commands_of(running.pid)
    assert len(pids) == 5
    send(running.pid)
    for name, pid in pids.items():
        eventually(lambda pid=pid: not alive(pid), what=f"the end of the {name}")
    running.wait(20)


def test_a_driver_that_ends_by_a_signal(run_script: RunScript) -> None:
    text = SLEEPERS + "os.kill(os.getpid(), signal.SIGUSR1)"
    result = run_script("import signal\n" + text)
    assert result.code == -signal.SIGUSR1


def test_ctrl_c_reaches_driver_and_workers(run_script: RunScript) -> None:
    running = run_script.start(
        SLEEPERS.replace("    print(f", "    try:\n        print(f").replace(
            "    time.sleep(300)",
            """
        while True:  # a signal between Python's last look and a sleep would wait for its end
            time.sleep(0.1)
    except KeyboardInterrupt:
        print("worker interrupted", number, flush=True)
        """,
        )
        + """
try:
    print("waiting", flush=True)
    while True:
        time.sleep(0.1)
except KeyboardInterrupt:
    for process in processes:
        process.join()
    print("driver interrupted", [process.exitcode for process in processes], flush=True)
    raise
"""
    )
    running.read_until("waiting")
    for number in range(3):
        running.number(f"worker{number}")
    send(running.pid, signal.SIGINT)  # to the supervisor alone: it passes it on
    result = running.wait(20)
    assert result.code == -signal.SIGINT
    assert sorted(line for line in result.lines() if line.startswith("worker inter")) == [
        f"worker interrupted {number}" for number in range(3)
    ]
    assert "driver interrupted [0, 0, 0]" in result.lines()


@pytest.mark.parametrize("until", ["", "host-0-*", "host-0-*/agent", "host-1-*/agent"])
def test_ctrl_c_at_the_start_ends_it_without_a_word(run_script: RunScript, until: str) -> None:
    """The cluster does not come up before, for its last agent is stopped; the others may be there,
    have joined, or be about to read what goes away."""
    running = run_script.start("print('here')")
    found = eventually(lambda: (f := commands_of(running.pid)) and "agent2" in f and f)
    send(found["agent2"], signal.SIGSTOP)
    pattern = os.path.join(os.environ["TMPDIR"], "dsmproc-*", until)
    eventually(lambda: glob.glob(pattern), what=until)
    os.killpg(running.pid, signal.SIGINT)
    result = running.wait(20)
    assert (result.code, result.out, result.err) == (130, "", "")


def test_ctrl_c_at_a_terminal_interrupts_the_driver_once(run_script: RunScript) -> None:
    running = run_script.start(
        """
import os, time
import dsmproc as mp
count = 0
mp.hosts()
while True:
    try:
        if count == 0:
            print("waiting", flush=True)
        while count == 0:
            time.sleep(0.1)
        time.sleep(1.5)
        print("interrupts", count, flush=True)
        os._exit(0)
    except KeyboardInterrupt:
        count += 1
""",
        terminal=True,
    )
    running.read_until("waiting")
    running.type(b"\x03")
    assert "interrupts 1\n" in running.wait(20).out


def test_sigterm_is_passed_on(run_script: RunScript) -> None:
    running = run_script.start(JOIN)
    running.read_until("worker2=")
    send(running.pid, signal.SIGTERM)
    assert running.wait(20).code == -signal.SIGTERM


def test_a_plain_script_with_init_killed(run_script: RunScript) -> None:
    running = run_script.start("import dsmproc\ndsmproc.init(local=2)\n" + JOIN, local=None)
    pids = [running.number(f"worker{number}") for number in range(2)]
    send(running.pid)
    for pid in pids:
        eventually(lambda pid=pid: not alive(pid), what="the end of the workers")
    running.wait(20)


def test_children_of_a_killed_worker_end_with_the_cluster(run_script: RunScript) -> None:
    result = run_script(
        """
        import os, signal, time
        import multiprocessing
        import dsmproc as mp

        def nap():
            time.sleep(300)

        def work():
            multiprocessing.get_context("fork").Process(target=nap, daemon=True).start()
            os.kill(os.getpid(), signal.SIGKILL)

        process = mp.Process(target=work)
        process.start()
        process.join()
        print(process.exitcode)
        """
    ).check()
    assert result.lines() == ["-9"]


def test_a_driver_that_leaves_workers_behind(run_script: RunScript) -> None:
    running = run_script.start(SLEEPERS + "os._exit(3)")
    assert running.wait(20).code == 3


def test_no_output_is_lost_at_the_end(run_script: RunScript) -> None:
    result = run_script(
        """
        import os, sys
        import dsmproc as mp

        def talk(number):
            for line in range(20000):
                print(number, line)
            sys.stdout.write("unfinished")
            sys.stderr.write("to stderr\\n")
            sys.stdout.flush()
            os._exit(0)

        processes = [mp.Process(target=talk, args=(i,)) for i in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        """,
        env={"PYTHONUNBUFFERED": ""},  # which writes a line in pieces
    ).check()
    text = result.out.replace("unfinished", "")  # it may stand before another one's line
    for number in range(3):
        lines = [line for line in text.splitlines() if line.startswith(f"{number} ")]
        assert len(lines) == 20000
    assert result.out.count("unfinished") == 3
    assert result.err == "to stderr\n" * 3


def test_a_reader_that_stops_reading_stops_the_workers(run_script: RunScript) -> None:
    """Back pressure: megabytes nobody reads are not collected in agents or master."""
    running = run_script.start(
        """
        import os, sys, time
        import dsmproc as mp

        def talk():
            print(f"worker={os.getpid()}", flush=True)
            for _ in range(8000):
                os.write(1, b"x" * 9999 + b"\\n")
            print("done")

        process = mp.Process(target=talk)
        process._dsmproc_host = 1
        process.start()
        process.join()
        """
    )
    worker = running.number("worker")
    commands = commands_of(running.pid)

    def written() -> int:
        with open(f"/proc/{worker}/io", encoding="ascii") as file:
            return int(next(line for line in file if line.startswith("wchar")).split()[1])

    history = [-1]

    def stopped() -> bool:
        """No progress over ten looks, which are 10 ms apart."""
        history.append(written())
        return len(history) > 10 and len(set(history[-10:])) == 1 and history[-1] > 100_000

    eventually(stopped, what="the worker waits for its reader")
    assert written() < 32 << 20, "all was taken though nobody reads"
    for name in ("agent1", "master"):
        with open(f"/proc/{commands[name]}/status", encoding="ascii") as file:
            size = int(next(line for line in file if line.startswith("VmRSS")).split()[1])
        assert size < 200 << 10, f"the {name} holds {size} kB"
    result = running.wait()
    assert result.out.count("x") == 8000 * 9999
    assert "done" in result.out
