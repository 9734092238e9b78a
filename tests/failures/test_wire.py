"""A wire that is cut for longer than the bound, and mended."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from helpers import eventually
from lossbound import SECONDS

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "hosts"))

import hostnet  # noqa: E402
from hostcluster import HostCluster  # noqa: E402

SCRIPT = """
import os, time
import dsmproc as mp

def write(name, lock):
    memory = mp.SharedMemory(name)
    memory.buf[4096] = 1
    with lock:
        print("ready", flush=True)
    while True:
        memory.buf[0] = 1

if __name__ == "__main__":
    memory, lock = mp.SharedMemory(create=True, size=8192), mp.Lock()
    memory.buf[0] = 2
    process = mp.Process(target=write, args=(memory.name, lock))
    process._dsmproc_host = 1
    process.start()
    try:
        process.join()
    except mp.HostLostError as error:
        print("lost:", error, flush=True)
    with lock:
        memory.buf[0] = 3
    while not os.path.exists("over"):
        with lock:
            assert memory.buf[0] == 3, "who was given up writes no more"
        time.sleep(0.01)
    print("hosts", mp.hosts(), flush=True)
"""


@pytest.fixture
def cluster() -> Iterator[HostCluster]:
    reason = hostnet.why_not()
    if reason is not None:
        pytest.skip(reason)
    cluster = HostCluster(2)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()


def test_a_host_that_was_cut_off_does_no_harm_when_it_is_back(cluster: HostCluster) -> None:
    running = cluster.script(0, SCRIPT)
    running.read_until("ready")
    hostnet._ip(cluster.hosts[1], "link set eth0 down")
    text = running.line("lost: ")
    assert "host 1" in text and f"no sign of life for {SECONDS:g} s" in text, text
    hostnet._ip(cluster.hosts[1], "link set eth0 up")
    eventually(
        lambda: not [line for line in cluster.hosts[1].commands() if "dsmproc" in line],
        timeout=5 * SECONDS,
        what="the end of the agent and of its process",
    )
    cluster.hosts[0].write(f"{cluster.hosts[0].work}/over", "")
    assert "hosts [0]" in running.wait(20).check().lines()
