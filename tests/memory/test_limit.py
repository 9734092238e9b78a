"""`--memory`: an array of three times a host's limit, over four hosts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

LIMIT = 8 << 20
SCRIPT = """
import os
import sys

import dsmproc
from dsmproc import Barrier, Process, SharedMemory, current_host

SIZE, HOSTS, LIMIT = 3 * (8 << 20), 4, 8 << 20
QUARTER = SIZE // HOSTS


def resident():
    # what the agent's regions take, read from outside
    agent = os.getppid()
    used = 0
    for fd in os.listdir(f"/proc/{agent}/fd"):
        path = f"/proc/{agent}/fd/{fd}"
        try:
            if "dsmproc-region" in os.readlink(path):
                used += os.stat(path).st_blocks * 512
        except FileNotFoundError:
            pass
    return used


def work(name, place, barrier):
    memory = SharedMemory(name)
    host, most = current_host(), 0
    first = place * QUARTER
    for at in range(first, first + QUARTER, 1 << 20):
        memory.buf[at:at + (1 << 20)] = bytes([place + 1]) * (1 << 20)
        most = max(most, resident())
    barrier.wait()
    total = 0
    for at in range(0, SIZE, 1 << 20):
        total += sum(memory.buf[at:at + (1 << 20)])
        most = max(most, resident())
    print("host", host, "sum", total, "most", most, flush=True)
    barrier.wait()
    memory.close()


if __name__ == "__main__":
    memory = SharedMemory(create=True, size=SIZE)
    barrier = Barrier(HOSTS)
    workers = []
    for host in range(HOSTS):
        worker = Process(target=work, args=(memory.name, host, barrier))
        worker._dsmproc_host = host
        worker.start()
        workers.append(worker)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0, worker.exitcode
    print("evicted", [counters["evictions"] for _, counters in sorted(dsmproc.stats().items())])
    memory.close()
    memory.unlink()
"""


def test_an_array_of_three_times_the_limit(tmp_path: Path) -> None:
    script = tmp_path / "large.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "dsmproc", "run", "--local", "4", "--slots", "1"]
    ran = subprocess.run(
        [*command, "--memory", "8M", str(script)], capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 0, ran.stderr
    said = re.findall(r"host (\d) sum (\d+) most (\d+)", ran.stdout)
    assert sorted(host for host, _, _ in said) == ["0", "1", "2", "3"]
    assert {int(total) for _, total, _ in said} == {(1 + 2 + 3 + 4) * (6 << 20)}
    for host, _, most in said:
        assert int(most) <= LIMIT * 1.1, f"host {host} took {most} bytes"
    (evicted,) = re.findall(r"evicted \[(.*)\]", ran.stdout)
    assert all(int(count) > 0 for count in evicted.split(","))


OVERWRITE = """
import os

from dsmproc import Barrier, Process, SharedMemory

LIMIT, HOSTS = 64 << 20, 4
SIZE, PART = 3 * LIMIT, 1 << 20


def taken():
    # what the agent's regions take, and what twins and diffs and buffers do
    agent = os.getppid()
    with open(f"/proc/{agent}/status") as file:
        used = [int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon")][0]
    for fd in os.listdir(f"/proc/{agent}/fd"):
        path = f"/proc/{agent}/fd/{fd}"
        try:
            if "dsmproc-region" in os.readlink(path):
                used += os.stat(path).st_blocks * 512
        except FileNotFoundError:
            pass
    return used


def work(name, place, barrier):
    memory = SharedMemory(name)
    before = taken()
    for at in range(place * SIZE // HOSTS, (place + 1) * SIZE // HOSTS, PART):
        memory.buf[at:at + PART] = bytes([place + 1]) * PART
    barrier.wait()
    most = 0
    for at in range(0, SIZE if place == 0 else 0, PART):
        memory.buf[at:at + PART] = bytes([9]) * PART
        most = max(most, taken() - before)
    barrier.wait()
    if place == 3:
        parts = (memory.buf[at:at + PART] for at in range(0, SIZE, PART))
        assert all(part == bytes([9]) * PART for part in parts)
    if place == 0:
        print("most", most, flush=True)
    barrier.wait()
    memory.close()


if __name__ == "__main__":
    memory, barrier = SharedMemory(create=True, size=SIZE), Barrier(HOSTS)
    workers = []
    for host in range(HOSTS):
        worker = Process(target=work, args=(memory.name, host, barrier))
        worker._dsmproc_host = host
        worker.start()
        workers.append(worker)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0, worker.exitcode
    memory.close()
    memory.unlink()
"""


def test_who_overwrites_three_times_the_limit_stays_within_it(tmp_path: Path) -> None:
    script = tmp_path / "overwrite.py"
    script.write_text(OVERWRITE)
    command = [sys.executable, "-m", "dsmproc", "run", "--local", "4", "--slots", "1"]
    ran = subprocess.run(
        [*command, "--memory", "64M", str(script)], capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 0, ran.stderr
    (most,) = re.findall(r"most (\d+)", ran.stdout)
    assert int(most) <= (64 << 20) * 1.1, "regions, twins, diffs and all buffers of the agent"


FULL = """
from dsmproc import Process, SharedMemory, Value

SIZE = 12 << 20  # of 8 MiB


def fill(name):
    memory = SharedMemory(name)
    memory.buf[:] = b"x" * SIZE
    return memory


def work(name, other, full):
    memory = fill(name)
    with full.get_lock():
        full.value += 1  # what leaves the host is published
    for what in (lambda: SharedMemory(create=True, size=4096), lambda: SharedMemory(other)):
        try:
            what()
        except MemoryError as error:
            print("refused", error, flush=True)
    full.value += 1
    assert bytes(memory.buf[:2]) == b"xx"


def on(host, function, *arguments):
    process = Process(target=function, args=arguments)
    process._dsmproc_host = host
    process.start()
    process.join()
    assert process.exitcode == 0, process.exitcode


if __name__ == "__main__":
    full = Value("i", 0)
    memory = SharedMemory(create=True, size=SIZE)
    other = SharedMemory(create=True, size=SIZE, name="other")
    on(1, work, memory.name, "other", full)
    assert full.value == 2, "what was there goes on"
    assert bytes(memory.buf[SIZE - 2:]) == b"xx", "nothing is lost"
    SharedMemory(create=True, size=4096).unlink()  # the other hosts have room
    memory.close()
    memory.unlink()
    on(1, fill, "other")
    assert bytes(other.buf[SIZE - 2:]) == b"xx", "there is room again"
    print("done")
    other.unlink()
"""


def test_no_more_memory_on_a_host_that_homes_fill(tmp_path: Path) -> None:
    script = tmp_path / "full.py"
    script.write_text(FULL)
    command = [sys.executable, "-m", "dsmproc", "run", "--local", "3", "--slots", "1"]
    ran = subprocess.run(
        [*command, "--memory", "8M", str(script)], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    sentence = (
        "refused no more shared memory on host 1: pages that live there fill its memory limit of "
        "8388608 bytes"
    )
    assert ran.stdout.splitlines() == [sentence, sentence, "done"]


def test_a_size_that_is_none() -> None:
    command = [sys.executable, "-m", "dsmproc", "run", "--local", "1", "--memory", "lots", "x.py"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert ran.stderr.strip() == (
        "dsmproc: 'lots' is no size of memory: say 500M or 2G, at least 1M"
    )
