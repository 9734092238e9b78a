"""Everything at once, for seconds: threads, processes, hosts, ticks, false sharing, deaths."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hosts import ChildDied, Hosts

from dsmproc._memory.client import Client

LOCKS = [(i % 3) << 48 | i for i in range(1, 5)]


def hammer(client: Client, region: int, seed: int, rounds: int) -> list[int]:
    """Four counters on two pages, each under its lock, from two threads; how often each was
    incremented."""
    numbers = np.frombuffer(client.attach(region), dtype=np.int64)
    locks = [client.lock_open(lock) for lock in LOCKS]
    done = [0] * 4

    def thread(mine: random.Random) -> None:
        for _ in range(rounds):
            first, second = sorted(mine.sample(range(4), 2))
            if not client.lock_acquire(locks[first], timeout=20):
                raise TimeoutError(first)
            numbers[first * 200] += 1
            if mine.random() < 0.3 and client.lock_acquire(locks[second], False):
                numbers[second * 200] += 1
                client.lock_release(locks[second])
                with tally:
                    done[second] += 1
            client.lock_release(locks[first])
            with tally:
                done[first] += 1

    tally = threading.Lock()
    threads = [threading.Thread(target=thread, args=(random.Random(seed + i),)) for i in (0, 1)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return done


def totals(client: Client, region: int) -> list[int]:
    numbers = np.frombuffer(client.attach(region), dtype=np.int64)
    found = []
    for i, lock_id in enumerate(LOCKS):
        lock = client.lock_open(lock_id)
        assert client.lock_acquire(lock, timeout=20)
        found.append(int(numbers[i * 200]))
        client.lock_release(lock)
    return found


def test_counters_under_nested_locks(tmp_path: Path, mechanism: str) -> None:
    with Hosts(3, tmp_path, tcp=True, tick=0.01, hot=1) as hosts:
        region = hosts.region(2)
        children = [hosts[i % 3].run(hammer, region, i * 100, 800) for i in range(6)]
        done = [child.result(60) for child in children]
        want = [sum(column) for column in zip(*done, strict=True)]
        for host in hosts.hosts:
            assert host.run(totals, region).result() == want
        hosts.healthy()
        assert hosts.stat("lock_remote") > 10


def test_clients_that_are_killed_harm_nobody(tmp_path: Path) -> None:
    """Processes killed at random moments, holding locks, in faults, in requests; the others'
    bytes stay right, and every lock can still be taken."""

    def write(client: Client, region: int, me: int, rounds: int) -> bool:
        memory = np.frombuffer(client.attach(region), dtype=np.uint8)
        lock = client.lock_open(LOCKS[me % 4])
        for turn in range(rounds):
            assert client.lock_acquire(lock, timeout=20)
            mine = memory[me::64]
            assert (mine == turn % 250).all(), (me, turn, mine)
            mine[:] = (turn + 1) % 250
            client.lock_release(lock)
        return True

    with Hosts(3, tmp_path, tick=0.02) as hosts:
        region = hosts.region(4)
        chance = random.Random(7)
        honest = [hosts[i].run(write, region, i, 120) for i in range(3)]
        for i in range(30):
            at = i % 3
            victim = hosts[at].run(write, region, 3 + i, 10**9)
            time.sleep(chance.random() * 0.15)
            os.kill(victim.pid, signal.SIGKILL)
            with pytest.raises(ChildDied):
                victim.result()
            hosts[at].node.call("client_died", victim.pid, True)
        assert all(child.result(60) for child in honest)
        for i in range(3):
            assert len(hosts[i].run(totals, region).result()) == 4
        hosts.healthy()
        assert hosts.stat("lock_remote") > 10
