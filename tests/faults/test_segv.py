"""Trap f of the design: faults by mprotect and SIGSEGV, a signal that others want too."""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers import Running, RunScript, eventually
from hosts import Child, ChildDied, Hosts

from dsmproc._memory import faults
from dsmproc._memory.client import Client, probe_faults
from dsmproc._memory.faults import log
from dsmproc.errors import ClusterError

PAGE = mmap.PAGESIZE
NR = {"x86_64": (323, 0xC000003E), "aarch64": (282, 0xC00000B7)}


@pytest.fixture(autouse=True)
def by_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSMPROC_FAULTS", "segv")


def crash() -> None:
    """A load that is nobody's."""
    ctypes.string_at(8)


def stderr_of(folder: Path) -> int:
    """From here on this process's errors go to a file there."""
    fd = os.open(folder / "errors", os.O_CREAT | os.O_RDWR | os.O_TRUNC)
    os.dup2(fd, 2)
    return fd


# ---- the signal ------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["before", "after", "never", "disabled"])
def test_a_real_crash_kills_with_one_trace(tmp_path: Path, order: str) -> None:
    """Whoever came first: our faults are served, and one that is not ours is faulthandler's."""

    def body(client: Client, region: int) -> None:
        faulthandler.disable()
        errors = stderr_of(tmp_path)
        if order == "before":
            faulthandler.enable(errors)
        memory = client.attach(region)
        memory[0] = 1
        if order in ("after", "disabled"):
            faulthandler.enable(errors)
        if order == "disabled":
            faulthandler.disable()
        memory[PAGE] = 2
        assert (memory[0], memory[PAGE], memory[2 * PAGE]) == (1, 2, 0)
        os.write(errors, b"served\n")
        crash()

    with Hosts(1, tmp_path) as hosts:
        child = hosts[0].run(body, hosts.region(4))
        with pytest.raises(ChildDied) as died:
            child.result()
        assert died.value.exitcode == -signal.SIGSEGV
        said = (tmp_path / "errors").read_text()
        assert said.startswith("served\n")
        assert said.count("Fatal Python error: Segmentation fault") == (
            1 if order in ("before", "after") else 0
        )
        assert ("in crash" in said) == (order in ("before", "after"))


def test_a_signal_that_was_sent_kills_too(tmp_path: Path) -> None:
    def body(client: Client, region: int) -> None:
        faulthandler.disable()
        client.attach(region)[0] = 1
        os.kill(os.getpid(), signal.SIGSEGV)

    with Hosts(1, tmp_path) as hosts:
        child = hosts[0].run(body, hosts.region(1))
        with pytest.raises(ChildDied) as died:
            child.result()
        assert died.value.exitcode == -signal.SIGSEGV


def test_threads_with_and_without_a_signal_stack(tmp_path: Path) -> None:
    """The main thread faults on faulthandler's alternate stack, the others on their own; each fault
    needs the other host."""

    def write(client: Client, region: int) -> int:
        memory = client.attach(region)
        memory[:] = bytes(range(64)) * (len(memory) // 64)
        return client.publish()

    def read(client: Client, region: int, stamp: int) -> list[int]:
        memory = client.attach(region)
        client.observe(stamp)
        faulthandler.enable()
        seen: list[int] = []

        def thread(first: int) -> None:
            for page in range(first, 64, 4):
                seen.append(memory[page * PAGE + page % 64])

        threads = [threading.Thread(target=thread, args=(i,)) for i in (1, 2, 3)]
        for each in threads:
            each.start()
        thread(0)
        for each in threads:
            each.join()
        return sorted(seen)

    with Hosts(2, tmp_path, run=1) as hosts:
        region = hosts.region(64)
        stamp = hosts[0].run(write, region).result()
        assert hosts[1].run(read, region, stamp).result() == list(range(64))
        hosts.healthy()


# ---- rights that only the process itself can change --------------------------------------------


def test_a_forked_child_has_a_line_of_its_own(tmp_path: Path) -> None:
    """Both write and see what another host writes, while the other lives and after it."""

    def both(client: Client, region: int) -> tuple[int, int]:
        memory = client.attach(region)
        memory[0] = 1
        child = Child(lambda: (memory[0], memory.__setitem__(1, 7), client.publish())[0])
        assert child.result() == 1
        client.observe_newest()
        memory[2] = 3
        client.publish()
        return memory[1], memory[2]

    with Hosts(2, tmp_path) as hosts:
        region = hosts.region(1)
        assert hosts[0].run(both, region).result() == (7, 3)
        assert hosts[1].run(both, region).result() == (7, 3)
        hosts.healthy()


def test_invalidation_of_several_processes_of_one_host(tmp_path: Path) -> None:
    """Each has the page; a notice takes it from all of them at once."""

    def turns(client: Client, region: int, lock: int, rounds: int) -> None:
        memory = client.attach(region)
        mine = client.lock_open(lock)
        for _ in range(rounds):
            client.lock_acquire(mine)
            memory[0] = (memory[0] + 1) % 256
            client.lock_release(mine)

    def value(client: Client, region: int, lock: int) -> int:
        memory = client.attach(region)
        client.lock_acquire(client.lock_open(lock))
        return memory[0]

    with Hosts(2, tmp_path) as hosts:
        region = hosts.region(1)
        lock = hosts[0].run(lambda client: client.new_id()).result()
        hosts[0].run(turns, region, lock, 0).result()
        for child in [hosts[i % 2].run(turns, region, lock, 30) for i in range(6)]:
            child.result()
        assert hosts[1].run(value, region, lock).result() == 180
        hosts.healthy()


def write_first(client: Client, region: int, value: int) -> int:
    memory = client.attach(region)
    client.observe_newest()
    memory[0] = value
    return client.publish()


def read_first(client: Client, region: int) -> int:
    memory = client.attach(region)
    client.observe_newest()
    return memory[0]


def test_a_stopped_process_holds_up_nobody_for_ever(tmp_path: Path) -> None:
    """It has a page that a notice takes away: it is ended with a sentence, and the rest goes on."""

    def hold(client: Client, region: int) -> None:
        memory = client.attach(region)
        assert memory[0] == 1
        os.kill(os.getpid(), signal.SIGSTOP)

    with Hosts(2, tmp_path, beat=0.1) as hosts:
        region = hosts.region(1)
        hosts[0].run(write_first, region, 1).result()
        hosts[1].run(read_first, region).result()
        stopped = hosts[1].run(hold, region)
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
        hosts[0].run(write_first, region, 2).result()
        assert hosts[1].run(read_first, region).result() == 2
        with pytest.raises(ChildDied) as died:
            stopped.result()
        assert died.value.exitcode == -signal.SIGKILL
        (said,) = hosts[1].node.call("notices", "log")
        assert f"process {stopped.pid} is ended" in said.text
        assert not hosts[0].node.call("notices", "peer_lost", "fatal")


def test_more_alternating_pages_than_the_system_has_mappings(tmp_path: Path) -> None:
    """vm.max_map_count: the process gives up what it has, and asks again for what it touches."""

    def body(client: Client, region: int) -> int:
        memory = client.attach(region)
        with open("/proc/sys/vm/max_map_count", encoding="ascii") as file:
            most = int(file.read())
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3
        libc.mmap.argtypes += [ctypes.c_long]
        libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        with open("/proc/self/maps", encoding="ascii") as file:
            free = most - len(file.readlines())
        wide = (free - 60) // 2  # each second page takes two mappings
        start = libc.mmap(None, 2 * wide * PAGE, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        for i in range(wide):
            assert not libc.mprotect(start + 2 * i * PAGE, PAGE, 1)
        for page in range(0, 400, 2):
            memory[page * PAGE] = page % 251
        return sum(memory[page * PAGE] == page % 251 for page in range(0, 400, 2))

    with Hosts(1, tmp_path, run=1) as hosts:
        assert hosts[0].run(body, hosts.region(400)).result() == 200
        hosts.healthy()


def test_a_view_that_lives_keeps_the_region(tmp_path: Path) -> None:
    def body(client: Client, region: int) -> int:
        memory = client.attach(region)
        memory[0] = 5
        client.detach_unused()
        value = memory[0]
        memory.release()
        client.detach_unused()
        assert not client._regions
        return value + client.attach(region)[0]

    with Hosts(1, tmp_path) as hosts:
        assert hosts[0].run(body, hosts.region(1)).result() == 10
        hosts.healthy()


# ---- chosen by itself --------------------------------------------------------------------------


def forbid_userfaultfd() -> None:
    """As Docker's default profile: the system call is refused, and so is its device's ioctl."""
    number, arch = NR[os.uname().machine]
    ioctl = {"x86_64": 16, "aarch64": 29}[os.uname().machine]
    refused = 0x00050000 | 1  # SECCOMP_RET_ERRNO | EPERM
    program = [
        (0x20, 0, 0, 4),  # the architecture
        (0x15, 0, 5, arch),
        (0x20, 0, 0, 0),  # the number
        (0x15, 4, 0, number),
        (0x15, 0, 2, ioctl),
        (0x20, 0, 0, 24),  # its second argument
        (0x15, 1, 0, 0xAA00),  # USERFAULTFD_IOC_NEW
        (0x06, 0, 0, 0x7FFF0000),  # allowed
        (0x06, 0, 0, refused),
    ]
    code = b"".join(struct.pack("HBBI", *one) for one in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    filters = struct.pack("H6xQ", len(program), ctypes.addressof(buffer))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    assert prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    filter_at = ctypes.create_string_buffer(filters, len(filters))
    assert prctl(22, 2, ctypes.addressof(filter_at), 0, 0) == 0, os.strerror(ctypes.get_errno())


def test_it_is_chosen_where_userfaultfd_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory works, and one warning says why it is watched so; a name that is refused says it."""
    monkeypatch.delenv("DSMPROC_FAULTS")
    monkeypatch.setattr(faults, "_ours", False)  # another test may have said it in this process

    def body(client: Client, regions: list[int]) -> tuple[str, list[str], int]:
        forbid_userfaultfd()
        warned: list[str] = []
        monkeypatch.setattr(log, "warning", lambda text, *more: warned.append(text % more))
        with pytest.raises(ClusterError, match="DSMPROC_FAULTS=uffd is refused"):
            probe_faults("uffd")
        for region in regions:
            client.attach(region)[0] = 7
        return probe_faults(), warned, sum(client.attach(region)[0] for region in regions)

    with Hosts(1, tmp_path) as hosts:
        regions = [hosts.region(1), hosts.region(1)]
        chosen, warned, total = hosts[0].run(body, regions).result()
        assert (chosen, total) == ("segv", 14)
        (warning,) = warned
        assert "userfaultfd is refused (Operation not permitted" in warning


# ---- Ctrl-Z ------------------------------------------------------------------------------------


def test_a_process_that_ctrl_z_stops_is_not_ended(tmp_path: Path) -> None:
    """It gives up its pages first; others take them while it stands still, and it goes on with what
    they wrote. A thread of it is in the midst of accesses."""

    def hold(client: Client, region: int) -> tuple[int, int]:
        memory = client.attach(region)
        os.setpgid(0, 0)  # the test is its parent, in the same session: not an orphaned group
        go_on = True

        def touch() -> None:
            while go_on:
                memory[PAGE] = memory[PAGE] % 200 + 1

        thread = threading.Thread(target=touch)
        thread.start()
        seen = memory[0]
        os.kill(os.getpid(), signal.SIGTSTP)
        while memory[0] == seen:
            client.observe_newest()
        go_on = False
        thread.join()
        return seen, memory[0]

    with Hosts(2, tmp_path, beat=0.1) as hosts:
        region = hosts.region(2)
        hosts[0].run(write_first, region, 1).result()
        stopped = hosts[1].run(hold, region)
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
        for value in (2, 3):
            hosts[0].run(write_first, region, value).result()
            assert hosts[1].run(read_first, region).result() == value  # of the same host: it hides
        os.kill(stopped.pid, signal.SIGCONT)
        assert stopped.result() == (1, 3)
        assert not hosts[1].node.call("notices", "log")
        hosts.healthy()


def test_ctrl_z_at_a_terminal(run_script: RunScript) -> None:
    """The driver's host needs its pages while it stands still for longer than patience lasts."""
    script = """
        import os, time
        import dsmproc

        def work(memory, lock, number):
            for _ in range(60):
                with lock:
                    memory.buf[0] += 1
                time.sleep(.05)
            print(f"done{number}=1", flush=True)

        if __name__ == "__main__":
            memory, lock = dsmproc.SharedMemory(create=True, size=1), dsmproc.Lock()
            workers = []
            for number in range(2):
                worker = dsmproc.Process(target=work, args=(memory, lock, number))
                worker._dsmproc_host = number
                worker.start()
                workers.append(worker)
            print(f"driver={os.getpid()}", flush=True)
            while any(worker.exitcode is None for worker in workers):
                assert 0 <= memory.buf[0] <= 120
            print("sum", memory.buf[0], [worker.exitcode for worker in workers])
            memory.close()
            memory.unlink()
        """
    command = [sys.executable, "-m", "dsmproc", "run", "--local", "2"]
    process = subprocess.Popen(  # a job of ours: the system stops no group that nobody continues
        [*command, run_script.write("job.py", script)],
        stdout=subprocess.PIPE,
        preexec_fn=os.setpgrp,
    )
    running = Running(process)
    try:
        driver = running.number("driver")
        os.kill(driver, signal.SIGTSTP)
        stat = Path(f"/proc/{driver}/stat")
        eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
        assert running.number("done0") == running.number("done1") == 1
        os.kill(driver, signal.SIGCONT)
        assert "sum 120 [0, 0]" in running.read_until("sum 120 [0, 0]")
        assert process.wait(30) == 0
    finally:
        running.close()
