"""python -m tests.failures.matrix: every cell on real parts; writes the table of docs/failures.md.

One cluster a row: its processes are in all states at once (states.py), then the fault comes. That a
process is in its state is seen in /proc: it has said so, and its thread sleeps in the kernel.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable

HERE = os.path.dirname(os.path.abspath(__file__))
for folder in (HERE, os.path.join(os.path.dirname(HERE), "hosts"), os.path.dirname(HERE)):
    sys.path.insert(0, folder)

import document  # noqa: E402
import hostnet  # noqa: E402
from helpers import Running, RunScript, commands_of, eventually, send  # noqa: E402
from hostcluster import HostCluster  # noqa: E402
from states import LATER  # noqa: E402

BOUND = 2.0  # seconds of silence, in the rows where silence is all that tells
LONG = 60.0  # in the others host 1 is stopped for a moment, and must not be lost for it
AFTER = 5.0  # seconds from detection to the last exception
STATES = ("idle", "fault", "publish", "lock", "barrier", "queue", "put", "send", "pool")
FAULTS = ("fault", "fault-read", "fault-written")
LATE = {f"victim-{name}" for name in (*FAULTS, "publish")}
WAITERS = {"barrier", "queue", "put", "send"}
VICTIMS = {f"victim-{name}" for name in ("idle", "lock", *WAITERS)}
EARLY = VICTIMS | {"victim-pool", "owner"} | WAITERS


Perform = Callable[[RunScript], tuple[dict[str, str], str]]


class Row:
    """One run of states.py. `proc` is where its processes' /proc is found."""

    def __init__(self, running: Running, go: str, proc: Callable[[str], str]) -> None:
        self.running, self.go, self.proc = running, go, proc
        self.pids: dict[str, tuple[int, int]] = {}

    def say_until(self, names: set[str], sleeping: bool = True) -> None:
        """They have said where they are, and wait in the kernel now."""
        for name in sorted(names):
            words = self.running.line(f"at {name} ").split()
            self.pids[name] = int(words[2]), int(words[3])
            if sleeping:
                want = "handle_userfault" if name.startswith("victim-fault") else ""
                eventually(lambda name=name, want=want: self._sleeps(name, want), what=name)

    def _sleeps(self, name: str, want: str) -> bool:
        pid, tid = self.pids[name]
        with open(f"{self.proc(name)}/{pid}/task/{tid}/wchan", encoding="ascii") as file:
            where = file.read()
        return where not in ("", "0") and want in where

    def set_up(self) -> None:
        self.running.read_until("ready publish")
        for name in FAULTS:
            self.running.read_until(f"ready {name}\n")
        self.say_until(EARLY)

    def fault_and_publish(self) -> None:
        """With host 1 silent: a read of its page, and a change to its page on the way to it."""
        with open(self.go, "w", encoding="ascii"):
            pass
        self.say_until(LATE)

    def cells(self, began: float, out: str) -> dict[str, str]:
        return {name: cell(name, began, out) for name in STATES}


def cell(name: str, began: float, out: str) -> str:
    found = re.findall(rf"^saw {name} ([\d.]+) (.*)$", out, re.MULTILINE)
    if not found:
        return "**no answer**"
    when, what = found[-1]
    if what == f"returned {LATER}":
        return "waits on"
    seconds = max(float(when) - began, 0)
    error = re.match(r"(\w+Error): ?(.*)", what)
    if error is None:
        return f"{what}, {seconds:.1f} s"
    named = "host 1" in error[2] or "host" in error[2] and "was lost" in error[2]
    return f"{error[1]}{'' if named else ' (names no host)'}, {seconds:.1f} s"


def start_local(runner: RunScript, bound: float) -> Row:
    go = os.path.join(runner.folder, "go")
    with open(os.path.join(HERE, "states.py"), encoding="utf-8") as file:
        text = file.read()
    env = {"DSMPROC_HEARTBEAT": str(bound), "DSMTEST_MATRIX_PATIENCE": str(5 * AFTER)}
    return Row(runner.start(text, args=[go], env=env), go, lambda _: "/proc")


def worker(runner: RunScript) -> tuple[dict[str, str], str]:
    row = start_local(runner, LONG)
    row.set_up()
    agent = commands_of(row.running.pid)["agent1"]
    send(agent, signal.SIGSTOP)
    row.fault_and_publish()
    began = time.monotonic()
    for name in LATE:
        send(row.pids[name][0])
    send(agent, signal.SIGCONT)  # their ends are published, and that goes to host 1
    row.running.read_until("saw fault")
    for name in EARLY & (VICTIMS | {"victim-pool"}):
        send(row.pids[name][0])
    result = row.running.wait(5 * AFTER + 40)
    cells = row.cells(began, result.out)
    cells["queue"] = cell("getter", began, result.out)
    return cells, survivors(result.out)


def survivors(out: str) -> str:
    return "yes" if re.search(r"^survivors .* 0$", out, re.MULTILINE) else "**no**"


def agent(runner: RunScript) -> tuple[dict[str, str], str]:
    return lost(runner, LONG, lambda number: send(number))


def stopped(runner: RunScript) -> tuple[dict[str, str], str]:
    return lost(runner, BOUND, lambda number: None)


def lost(
    runner: RunScript, bound: float, fail: Callable[[int], None]
) -> tuple[dict[str, str], str]:
    row = start_local(runner, bound)
    row.set_up()
    number = commands_of(row.running.pid)["agent1"]
    for name in EARLY & (VICTIMS | {"victim-pool", "owner"}):
        send(row.pids[name][0], signal.SIGSTOP)
    send(number, signal.SIGSTOP)
    began = time.monotonic()
    row.fault_and_publish()
    if bound == LONG:
        began = time.monotonic()
    fail(number)
    result = row.running.wait(bound % LONG + 5 * AFTER + 40)
    return row.cells(began, result.out), survivors(result.out)


def master(runner: RunScript) -> tuple[dict[str, str], str]:
    return ending(runner, "master", "the master (pid")


def driver(runner: RunScript) -> tuple[dict[str, str], str]:
    return ending(runner, "driver", "")


def ending(runner: RunScript, who: str, said: str) -> tuple[dict[str, str], str]:
    """The whole program ends, whatever state it is in."""
    row = start_local(runner, LONG)
    row.set_up()
    found = commands_of(row.running.pid)
    send(found["agent1"], signal.SIGSTOP)
    row.fault_and_publish()
    began = time.monotonic()
    send(found[who])
    send(found["agent1"], signal.SIGCONT)  # it was stopped for the states alone
    eventually(lambda: row.running.process.poll() is not None, 5 * AFTER, f"the end after {who}")
    seconds = time.monotonic() - began
    result = row.running.wait()
    why = "with the reason" if said and said in result.err else "by its signal"
    return dict.fromkeys(STATES, f"program ends {why}, {seconds:.1f} s"), "none are meant to"


def cut(_: RunScript) -> tuple[dict[str, str], str]:
    os.environ["DSMPROC_HEARTBEAT"] = str(BOUND)
    cluster = HostCluster(3)
    try:
        cluster.start()
        with open(os.path.join(HERE, "states.py"), encoding="utf-8") as file:
            text = file.read()
        env = {"DSMTEST_MATRIX_PATIENCE": str(BOUND + 5 * AFTER)}
        running = cluster.script(0, text, "/tmp/go", env=env)
        on_two = (*LATE, "queue", "put", "send")

        def proc(name: str) -> str:
            driver = name in ("barrier",)
            return cluster.hosts[0 if driver else 2 if name in on_two else 1].path("/proc")

        row = Row(running, cluster.hosts[0].path("/tmp/go"), proc)
        row.set_up()
        hostnet._ip(cluster.hosts[1], "link set eth0 down")
        began = time.monotonic()
        row.fault_and_publish()
        result = running.wait(BOUND + 5 * AFTER + 40)
        return row.cells(began, result.out), survivors(result.out)
    finally:
        os.environ.pop("DSMPROC_HEARTBEAT")
        cluster.end()


ROWS = {
    "a worker, killed": worker,
    "an agent, killed": agent,
    "the master, killed": master,
    "the driver, killed": driver,
    f"the wire cut (bound {BOUND:g} s)": cut,
    f"a host stopped (bound {BOUND:g} s)": stopped,
}


def leaked(mark: str) -> str:
    from conftest import marked_processes  # under pytest that name is another file's

    deadline = time.monotonic() + AFTER
    while marked_processes(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = marked_processes(mark)
    for pid in left:
        send(pid)
    return f"**{len(left)} processes**" if left else "nothing"


def perform(name: str) -> str:
    os.environ[hostnet.MARK] = mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory() as folder:
        runner = RunScript(folder)
        try:
            cells, others = ROWS[name](runner)
        finally:
            runner.end()
            left = leaked(mark)
    return f"| {name} | " + " | ".join([*(cells[s] for s in STATES), others, left]) + " |"


def main() -> int:
    os.environ["DSMPROC_PLACE"] = "load"
    bad = 0
    for name in ROWS:
        if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
            continue
        try:
            row = perform(name)
        except Exception as error:
            row, bad = f"| {name} | **{type(error).__name__}: {error}** |", 1
            print(row, flush=True)
            continue
        bad |= "**" in row
        document.update("failures", name, row, "failures.md")
        print(row, flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(main())
