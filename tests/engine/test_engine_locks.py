"""Locks across hosts, by way of the control segment and of the master."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hosts import ChildDied, Hosts

from dsmproc._memory.client import Call, Client, Status

LOCK = 1  # made at host 0


def count(client: Client, region: int, lock_id: int, times: int) -> int:
    numbers = np.frombuffer(client.attach(region), dtype=np.int64)
    lock = client.lock_open(lock_id)
    for _ in range(times):
        assert client.lock_acquire(lock)
        numbers[3] += 1
        client.lock_release(lock)
    assert client.lock_acquire(lock)
    value = int(numbers[3])
    client.lock_release(lock)
    return value


def test_a_counter_of_three_hosts(tmp_path: Path, mechanism: str) -> None:
    with Hosts(3, tmp_path, tcp=True) as hosts:
        region = hosts.region(1)
        children = [hosts[i % 3].run(count, region, LOCK, 300) for i in range(6)]
        values = [child.result() for child in children]
        assert max(values) == 6 * 300
        assert hosts[2].run(count, region, LOCK, 0).result() == 6 * 300
        assert hosts.stat("lock_remote") >= 2
        hosts.healthy()


def test_a_lock_kept_at_its_host_sends_nothing(tmp_path: Path) -> None:
    def body(client: Client) -> float:
        lock = client.lock_open(LOCK)
        begin = time.perf_counter()
        for _ in range(100_000):
            client.lock_acquire(lock)
            client.lock_release(lock)
        return (time.perf_counter() - begin) / 100_000

    with Hosts(2, tmp_path) as hosts:
        assert hosts[0].run(body).result() < 50e-6
        assert hosts.stat("messages_sent") == 0
        assert hosts.stat("lock_local") == 100_000


def hold(client: Client, lock_id: int, ready: int) -> None:
    assert client.lock_acquire(client.lock_open(lock_id))
    os.write(ready, b"!")
    time.sleep(60)


def take(client: Client, lock_id: int, block: bool = True, timeout: float | None = None) -> bool:
    return client.lock_acquire(client.lock_open(lock_id), block, timeout)


@pytest.mark.parametrize("where", [0, 1])
def test_kill_9_of_the_holder_frees_the_lock(tmp_path: Path, where: int) -> None:
    with Hosts(2, tmp_path) as hosts:
        reader, writer = os.pipe()
        holder = hosts[where].run(hold, LOCK, writer)
        assert os.read(reader, 1) == b"!"
        assert hosts[1 - where].run(take, LOCK, False).result() is False
        waiting = hosts[1 - where].run(take, LOCK)
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        hosts[where].node.call("client_died", holder.pid, True)
        assert waiting.result() is True
        os.close(reader)
        os.close(writer)
        hosts.healthy()


def test_who_released_it_for_the_dead_holder_lets_others_have_it(tmp_path: Path) -> None:
    """The agent hears of the death when the lock is another's: that one keeps it, and is told of no
    death, for somebody has released it in order."""

    def hand_on(client: Client) -> bool:
        lock = client.lock_open(LOCK)
        client.lock_release(lock)
        assert client.lock_acquire(lock, False)
        return client.lock_owner_died(lock)

    with Hosts(2, tmp_path) as hosts:
        reader, writer = os.pipe()
        holder = hosts[1].run(hold, LOCK, writer)
        assert os.read(reader, 1) == b"!"
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert hosts[1].run(hand_on).result() is False
        hosts[1].node.call("client_died", holder.pid, True)
        for host in (1, 0):
            assert hosts[host].run(take, LOCK, False).result() is False
        assert hosts[1].run(hand_on).result() is False
        os.close(reader)
        os.close(writer)
        hosts.healthy()


def test_a_normal_exit_leaves_it_held_and_anybody_may_release(tmp_path: Path) -> None:
    def give(client: Client) -> bool:
        lock = client.lock_open(LOCK)
        client.lock_release(lock)
        with pytest.raises(ValueError):
            client.lock_release(lock)
        return True

    with Hosts(2, tmp_path) as hosts:
        taker = hosts[1].run(take, LOCK)
        assert taker.result()
        hosts[1].node.call("client_died", taker.pid, False)
        for host in (0, 1):
            assert hosts[host].run(take, LOCK, False).result() is False
            begin = time.monotonic()
            assert hosts[host].run(take, LOCK, True, 0.2).result() is False
            assert 0.2 <= time.monotonic() - begin < 5
        assert hosts[0].run(give).result()
        assert hosts[1].run(take, LOCK, False).result() is True
        hosts.healthy()


@pytest.mark.parametrize("where", [0, 1])
def test_ctrl_c_ends_an_acquire(tmp_path: Path, where: int) -> None:
    def interrupted(client: Client, ready: int) -> float:
        lock = client.lock_open(LOCK)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        os.write(ready, b"!")
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            client.lock_acquire(lock)
        took = time.monotonic() - begin
        assert client.publish() == client.out()  # the connection still works
        return took

    def give(client: Client) -> None:
        client.lock_release(client.lock_open(LOCK))

    with Hosts(2, tmp_path) as hosts:
        assert hosts[0].run(take, LOCK).result()
        reader, writer = os.pipe()
        assert hosts[where].run(interrupted, writer).result() < 2
        hosts[0].run(give).result()
        assert hosts[1].run(take, LOCK, False).result() is True
        os.close(reader)
        os.close(writer)
        hosts.healthy()


def test_a_waiter_that_is_killed_gets_nothing(tmp_path: Path) -> None:
    def wait(client: Client, ready: int) -> None:
        lock = client.lock_open(LOCK)
        os.write(ready, b"!")
        client.lock_acquire(lock)
        time.sleep(60)

    def give(client: Client) -> None:
        client.lock_release(client.lock_open(LOCK))

    with Hosts(2, tmp_path) as hosts:
        assert hosts[0].run(take, LOCK).result()
        reader, writer = os.pipe()
        waiters = [hosts[i % 2].run(wait, writer) for i in range(4)]
        for _ in waiters:
            os.read(reader, 1)
        for i, waiter in enumerate(waiters):
            os.kill(waiter.pid, signal.SIGKILL)
            with pytest.raises(ChildDied):
                waiter.result()
            hosts[i % 2].node.call("client_died", waiter.pid, True)
        hosts[0].run(give).result()
        assert hosts[1].run(take, LOCK).result() is True
        os.close(reader)
        os.close(writer)
        hosts.healthy()


def test_a_killed_waiter_of_a_semaphore_takes_no_permit(tmp_path: Path) -> None:
    semaphore = 0x5E

    def acquire(client: Client, ready: int) -> None:
        client.open()
        os.write(ready, b"!")
        client.call(Call.SEM_ACQUIRE, semaphore, 0)
        time.sleep(60)

    def release(client: Client) -> None:
        assert client.call(Call.SEM_RELEASE, semaphore, 0, 0, 1)[0] == Status.OK

    def attempt(client: Client) -> tuple[Status, Status]:
        first = client.call(Call.SEM_ACQUIRE, semaphore, timeout=10)[0]
        return first, client.call(Call.SEM_ACQUIRE, semaphore, block=False)[0]

    with Hosts(2, tmp_path) as hosts:
        reader, writer = os.pipe()
        waiter = hosts[1].run(acquire, writer)
        os.read(reader, 1)
        os.kill(waiter.pid, signal.SIGKILL)
        waiter.wait()
        hosts[0].run(release).result()
        assert hosts[0].run(attempt).result() == (Status.OK, Status.BUSY)
        os.close(reader)
        os.close(writer)
        hosts.healthy()


def test_ids_are_unique(tmp_path: Path) -> None:
    def ids(client: Client) -> list[int]:
        return [client.new_id() for _ in range(50)] + [client.host]

    with Hosts(2, tmp_path) as hosts:
        a, b = (hosts[i].run(ids).result() for i in (0, 1))
        assert (a.pop(), b.pop()) == (0, 1)
        assert len({*a, *b}) == 100
