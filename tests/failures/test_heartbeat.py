"""A host that is stopped is lost after the bound and does no harm when it goes on; one that is
stopped for less, or is merely busy, is not."""

from __future__ import annotations

import os
import signal
import time

from helpers import ByHand, RunScript, alive, commands_of, eventually, send
from lossbound import SECONDS

WAITERS = """
import os, threading, time
import dsmproc as mp

def hold(box):
    print(f"worker={os.getpid()}", flush=True)
    reader, writer = mp.Pipe(False)
    box.put((reader, writer))
    time.sleep(300)

def wait(name, operation):
    try:
        said = operation()
    except BaseException as error:
        said = f"{type(error).__name__} {error}"
    print(f"{name} {said}\\n", end="", flush=True)

box = mp.Queue()
process = mp.Process(target=hold, args=(box,))
process._dsmproc_host = 1
process.start()
reader, writer = box.get()
waiters = [
    threading.Thread(target=wait, args=("recv", reader.recv)),
    threading.Thread(target=wait, args=("poll", lambda: reader.poll(100) and reader.recv())),
    threading.Thread(target=wait, args=("join", process.join)),
]
"""


def logged_agent(by_hand: ByHand, run_script: RunScript) -> tuple[int, str]:
    """Its pid, and where its lines are."""
    log = os.path.join(run_script.folder, "log")
    agent = by_hand.agent("sh", "-c", f'exec "$@" 2>{log}', "sh")
    by_hand.wait_for(2)
    return agent.pid, log


def text(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def test_a_stopped_host_is_lost_and_ends_when_it_goes_on(
    by_hand: ByHand, run_script: RunScript
) -> None:
    agent, log = logged_agent(by_hand, run_script)
    running = run_script.start(
        WAITERS
        + """
for waiter in waiters:
    waiter.start()
print("waiting", flush=True)
for waiter in waiters:
    waiter.join()
print("hosts", mp.hosts(), flush=True)
lock = mp.Lock()
with lock:
    mp.Process(target=print, args=("goes on",)).start()
""",
        address=by_hand.address,
    )
    worker = running.number("worker")
    running.read_until("waiting")
    send(agent, signal.SIGSTOP)
    began = time.monotonic()
    result = running.wait(30).check()
    assert time.monotonic() - began < SECONDS + 5
    why = f"agent pid {agent}) was lost: its agent shows no sign of life for {SECONDS:g} s"
    told = [line.split()[0] for line in result.lines() if why in line]
    assert sorted(told) == ["join", "poll", "recv"], result.out
    assert "hosts [0]" in result.lines() and "goes on" in result.lines()
    assert alive(worker), "nobody could end it"
    send(agent, signal.SIGCONT)
    eventually(lambda: not alive(worker), what="the end of the lost host's process")
    eventually(lambda: not alive(agent), what="the end of the lost host's agent")
    (line,) = text(log).splitlines()
    assert "host 1 has to leave the cluster: its agent shows no sign of life" in line


def test_a_host_stopped_for_less_than_the_bound_is_not_lost(
    by_hand: ByHand, run_script: RunScript
) -> None:
    agent, log = logged_agent(by_hand, run_script)
    running = run_script.start(
        """
import time
import dsmproc as mp

def count(value, box):
    while not box.poll():
        with value.get_lock():
            value.value += 1

value = mp.Value("q", 0)
ours, theirs = mp.Pipe()
process = mp.Process(target=count, args=(value, theirs))
process._dsmproc_host = 1
process.start()
while value.value < 10:
    with value.get_lock():
        value.value += 0
print("counting", flush=True)
began = time.monotonic()
with value.get_lock():
    seen = value.value
while value.value < seen + 200 or time.monotonic() < began + 3:
    with value.get_lock():
        value.value += 0
ours.send(None)
process.join()
print("exitcode", process.exitcode)
""",
        address=by_hand.address,
    )
    running.read_until("counting")
    send(agent, signal.SIGSTOP)
    time.sleep(SECONDS / 2)  # the interruption itself, not a way to wait for something
    send(agent, signal.SIGCONT)
    assert "exitcode 0" in running.wait(30).check().lines()
    assert alive(agent)
    assert text(log) == ""


def test_a_stopped_master_ends_the_program(run_script: RunScript) -> None:
    running = run_script.start(WAITERS + "print('waiting', flush=True)\nprocess.join()")
    running.read_until("waiting")
    master = commands_of(running.pid)["master"]
    send(master, signal.SIGSTOP)
    result = running.wait(SECONDS + 15)
    assert result.code != 0
    assert f"the master shows no sign of life for {SECONDS:g} s" in result.err


def test_a_stopped_agent_of_the_drivers_host_ends_the_program(run_script: RunScript) -> None:
    running = run_script.start(WAITERS + "print('waiting', flush=True)\nprocess.join()")
    running.read_until("waiting")
    agent = commands_of(running.pid)["agent0"]
    send(agent, signal.SIGSTOP)
    result = running.wait(SECONDS + 10)
    assert result.code != 0
    assert f"agent pid {agent}) was lost: its agent shows no sign of life" in result.err


def test_a_busy_host_is_not_lost(run_script: RunScript) -> None:
    """Interpreters that are held for longer than the bound, while pages and publishes go on."""
    run_script(
        """
        import dsmproc as mp, time

        def hog(name):
            memory = mp.SharedMemory(name)
            memory.buf[:] = b"x" * memory.size
            until = time.monotonic() + 3
            while time.monotonic() < until:
                sum(range(10_000_000))  # one call into C: no other thread of it runs meanwhile
            memory.close()

        memory = mp.SharedMemory(create=True, size=64 << 20)
        hogs = [mp.Process(target=hog, args=(memory.name,)) for _ in range(3)]
        for process in hogs:
            process.start()
        sum(range(200_000_000))
        for process in hogs:
            process.join()
        assert [process.exitcode for process in hogs] == [0, 0, 0]
        assert bytes(memory.buf[:1]) == b"x" and mp.hosts() == [0, 1, 2]
        memory.close()
        memory.unlink()
        """,
    ).check()
