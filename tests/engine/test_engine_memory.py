"""Pages between hosts: what one writes and publishes, the other observes and reads."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from hosts import Hosts

from dsmproc._memory.client import Client, Home

PAGE = 4096


def write(client: Client, region: int, at: int, data: bytes) -> int:
    memory = client.attach(region)
    memory[at : at + len(data)] = data
    return client.publish()


def read(client: Client, region: int, stamp: int, at: int, size: int) -> bytes:
    memory = client.attach(region)
    client.observe(stamp)
    return bytes(memory[at : at + size])


@pytest.mark.parametrize("policy", Home)
@pytest.mark.parametrize("tcp", [False, True])
def test_a_write_is_seen_elsewhere(tmp_path: Path, mechanism: str, tcp: bool, policy: Home) -> None:
    with Hosts(2, tmp_path, tcp=tcp) as hosts:
        region = hosts.region(8, policy)
        stamp = hosts[0].run(write, region, 5000, b"hello").result()
        assert stamp > 0
        assert hosts[1].run(read, region, stamp, 4999, 7).result() == b"\0hello\0"
        assert hosts[0].run(read, region, stamp, 4999, 7).result() == b"\0hello\0"
        assert hosts.stat("diffs_sent" if policy == Home.FIXED else "pages_fetched") == 1
        hosts.healthy()


def test_fresh_pages_are_zero_and_cost_no_message(tmp_path: Path) -> None:
    def body(client: Client, region: int) -> bytes:
        return bytes(client.attach(region))

    with Hosts(2, tmp_path) as hosts:
        region = hosts.region(16)
        before = hosts.stat("messages_sent")
        assert hosts[1].run(body, region).result() == bytes(16 * PAGE)
        assert hosts.stat("pages_fetched") == 0
        assert hosts.stat("messages_sent") - before <= 3  # attach, detach


def test_published_with_nothing_written_is_free(tmp_path: Path) -> None:
    def body(client: Client, region: int) -> tuple[int, int]:
        memory = client.attach(region)
        first = client.publish()
        memory[0] = 1
        second = client.publish()
        return first, second

    with Hosts(1, tmp_path) as hosts:
        first, second = hosts[0].run(body, hosts.region(1)).result()
        assert first == 0 and second > 0


def array(client: Client, region: int) -> np.ndarray:
    return np.frombuffer(client.attach(region), dtype=np.int64)


def test_numpy_sums_from_three_hosts(tmp_path: Path, mechanism: str) -> None:
    def fill(client: Client, region: int, part: int) -> int:
        numbers = array(client, region)
        share = len(numbers) // 3
        numbers[part * share : (part + 1) * share] = part + 1
        return client.publish()

    def total(client: Client, region: int, stamp: int) -> int:
        numbers = array(client, region)
        client.observe(stamp)
        return int(numbers.sum())

    with Hosts(3, tmp_path, tcp=True) as hosts:
        region = hosts.region(96)
        share = 96 * 512 // 3
        stamps = [hosts[i].run(fill, region, i) for i in range(3)]
        newest = max(stamp.result() for stamp in stamps)
        for i in range(3):
            assert hosts[i].run(total, region, newest).result() == share * 6
        hosts.healthy()


@pytest.mark.parametrize("policy", [Home.FIRST, Home.MIGRATING, Home.HOMELESS])
def test_numbers_with_zeros_in_their_words_travel_without_them(
    tmp_path: Path, mechanism: str, policy: Home
) -> None:
    def add(client: Client, region: int, stamp: int, value: float) -> tuple[int, float, float]:
        numbers = np.frombuffer(client.attach(region), dtype=np.float64)
        client.observe(stamp)
        numbers += value
        return client.publish(), float(numbers.min()), float(numbers.max())

    with Hosts(2, tmp_path, tcp=True) as hosts:
        region, stamp, want = hosts.region(64, policy), 0, 0.0
        costs = []
        for turn, value in enumerate((2.0, 1.0, 1 / 3, -1 / 3)):
            before = hosts.stat("bytes_sent")
            stamp, low, high = hosts[turn % 2].run(add, region, stamp, value).result()
            want += value
            assert low == high == want
            costs.append(hosts.stat("bytes_sent") - before)
        hosts.healthy()
    # What the second writer fetches are twos, 1 byte of 8; what the fourth fetches is all of it.
    assert costs[1] < costs[3] - 30 * PAGE


def test_false_sharing_keeps_every_byte(tmp_path: Path, mechanism: str) -> None:
    """Three hosts write every third byte of the same pages, again and again."""

    def rounds(client: Client, region: int, me: int) -> bool:
        numbers = np.frombuffer(client.attach(region), dtype=np.uint8)
        barrier = 77 << 8 | 1
        for turn in range(1, 9):
            numbers[me::3] = turn * 3 + me
            wait(client, barrier)
            for other in range(3):
                assert (numbers[other::3] == turn * 3 + other).all(), (turn, other)
            wait(client, barrier)
        return True

    with Hosts(3, tmp_path) as hosts:
        region = hosts.region(8)
        children = [hosts[i].run(rounds, region, i) for i in range(3)]
        assert all(child.result() for child in children)
        hosts.healthy()
        assert hosts.stat("diffs_sent") > 0


def wait(client: Client, barrier: int) -> None:
    from dsmproc._memory.client import Call, Status

    status, _ = client.call(Call.BAR_WAIT, barrier, 3, 0)
    assert status == Status.OK


def test_many_threads_and_processes_fault_one_page(tmp_path: Path, mechanism: str) -> None:
    def body(client: Client, region: int, stamp: int, ready: int, go: int) -> list[int]:
        memory = client.attach(region)
        client.observe(stamp)
        seen: list[int] = []
        start = threading.Barrier(8)

        def touch(i: int) -> None:
            start.wait()
            seen.append(memory[100])
            memory[200 + i] = i

        threads = [threading.Thread(target=touch, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os.write(ready, b"!")
        os.read(go, 1)  # what a client has written is announced when it ends
        return [*seen, *memory[200:208]]

    with Hosts(2, tmp_path) as hosts:
        region = hosts.region(1)
        stamp = hosts[0].run(write, region, 100, b"\7").result()
        ready, go = os.pipe(), os.pipe()
        children = [hosts[1].run(body, region, stamp, ready[1], go[0]) for _ in range(3)]
        for _ in children:
            os.read(ready[0], 1)
        assert hosts[1].node.call("stats")["pages_fetched"] == 1
        assert hosts[1].node.call("gauges")["twins"] == 1
        os.write(go[1], b"!!!")
        for child in children:
            assert child.result() == [7] * 8 + list(range(8))
        for fd in (*ready, *go):
            os.close(fd)
        hosts.healthy()


# ---- the kernel copies for us --------------------------------------------------------------------


def copies(client: Client, region: int, stamp: int, folder: str) -> list[str]:
    """Each kernel copy, on remote pages 0.. and on fresh pages 16..: what it did, or its error."""
    memory = client.attach(region)
    client.observe(stamp)
    path = os.path.join(folder, "data")
    with open(path, "wb") as file:
        file.write(b"file" * 1024)
    said = []

    def attempt(name: str, action: object) -> None:
        try:
            said.append(f"{name} {action()}")  # type: ignore[operator]
        except OSError as error:
            said.append(f"{name} {errno.errorcode[error.errno or 0]}")

    def readinto(page: int) -> bytes:
        with open(path, "rb", buffering=0) as file:
            assert file.readinto(memory[page * PAGE : (page + 1) * PAGE]) == PAGE
        return bytes(memory[page * PAGE : page * PAGE + 4])

    def os_write(page: int) -> bytes:
        reader, writer = os.pipe()
        try:
            os.write(writer, memory[page * PAGE : page * PAGE + 4])
            return os.read(reader, 4)
        finally:
            os.close(reader)
            os.close(writer)

    def recv_into(page: int) -> bytes:
        one, two = socket.socketpair()
        with one, two:
            one.sendall(b"sent")
            two.recv_into(memory[page * PAGE : page * PAGE + 4])
        return bytes(memory[page * PAGE : page * PAGE + 4])

    for page in (0, 1, 2, 16, 17, 18):
        action = (readinto, os_write, recv_into)[page % 16]
        attempt(action.__name__, lambda action=action, page=page: action(page))
    return said


def test_kernel_copies_on_fresh_and_remote_pages(tmp_path: Path, mechanism: str) -> None:
    with Hosts(2, tmp_path, run=1) as hosts:
        region = hosts.region(32)
        stamp = hosts[0].run(write, region, 0, b"page" * PAGE).result()
        said = hosts[1].run(copies, region, stamp, str(tmp_path)).result()
        want = ["readinto b'file'", "os_write b'page'", "recv_into b'sent'"]
        assert said == want + [want[0], r"os_write b'\x00\x00\x00\x00'", want[2]]
        hosts.healthy()


# ---- attach, detach, end -------------------------------------------------------------------------


def test_memory_is_detached_when_no_view_lives(tmp_path: Path) -> None:
    def body(client: Client, region: int) -> bool:
        memory = client.attach(region)
        again = client.attach(region)
        again.release()
        client.detach_unused()
        memory[0] = 5
        assert region in client._regions
        memory.release()
        client.detach_unused()
        assert not client._regions
        return client.attach(region)[0] == 5

    with Hosts(1, tmp_path) as hosts:
        assert hosts[0].run(body, hosts.region(1)).result()
        hosts.healthy()


def test_a_region_that_is_not_there(tmp_path: Path) -> None:
    def body(client: Client) -> bool:
        for region in (99, 0, 1 << 40):
            with pytest.raises((FileNotFoundError, Exception)):
                client.attach(region)
        return True

    with Hosts(1, tmp_path) as hosts:
        assert hosts[0].run(body).result()


def test_an_unlinked_region_ends_when_nobody_has_it(tmp_path: Path) -> None:
    import time

    with Hosts(2, tmp_path) as hosts:
        region = hosts.region(4)
        stamp = hosts[0].run(write, region, 0, b"x").result()
        hosts[1].run(read, region, stamp, 0, 1).result()
        hosts.master.call("region_unlink", region)
        until = time.monotonic() + 10
        while not hosts.master.call("notices", "region_end"):
            assert time.monotonic() < until
            time.sleep(0.01)
        while any(host.node.call("gauges")["regions"] for host in hosts.hosts):
            assert time.monotonic() < until
            time.sleep(0.01)
        assert all(host.node.call("gauges")["clients"] == 0 for host in hosts.hosts)
        hosts.healthy()


def test_fork_maps_the_regions_again(tmp_path: Path, mechanism: str) -> None:
    def body(client: Client, region: int, stamp: int) -> tuple[bytes, bytes, int]:
        memory = client.attach(region)
        client.observe(stamp)
        reader, writer = os.pipe()
        if os.fork() == 0:
            try:
                os.write(writer, bytes(memory[PAGE : PAGE + 5]))
                memory[0:5] = b"child"
                os.write(writer, client.publish().to_bytes(8, "little"))
            finally:
                os._exit(0)
        assert os.wait()[1] == 0
        seen = os.read(reader, 5)
        return seen, bytes(memory[0:5]), int.from_bytes(os.read(reader, 8), "little")

    with Hosts(2, tmp_path) as hosts:
        region = hosts.region(4)
        stamp = hosts[0].run(write, region, PAGE, b"first").result()
        seen, child, second = hosts[1].run(body, region, stamp).result()
        assert (seen, child) == (b"first", b"child")
        assert hosts[0].run(read, region, second, 0, 5).result() == b"child"
        hosts.healthy()
