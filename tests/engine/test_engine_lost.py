"""When something dies: the agent, a peer, the only copy of a page."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from pathlib import Path

import pytest
from hosts import ChildDied, Hosts
from test_engine_memory import write

from dsmproc._binding import Client
from dsmproc.errors import HostLostError


def stopped(pid: int, thread: str) -> bool:
    with open(f"/proc/{pid}/task/{thread}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0] in "Tt"


def test_the_agent_dies_and_its_clients_end(tmp_path: Path) -> None:
    """Also one whose thread is parked in a kernel copy: only SIGKILL ends that."""

    def faulting(client: Client, region: int, ready: int) -> None:
        memory = client.attach(region)
        client.observe_newest()
        os.write(ready, b"!")
        reader, writer = os.pipe()
        os.kill(agent, signal.SIGSTOP)
        while not all(stopped(agent, thread) for thread in os.listdir(f"/proc/{agent}/task")):
            time.sleep(0.001)
        os.write(ready, b"!")
        os.write(writer, memory[0:4])  # parked: nobody resolves it

    with Hosts(2, tmp_path) as hosts:
        region = hosts.region(1)
        hosts[0].run(write, region, 0, b"page").result()
        agent = hosts[1].node.pid
        reader, writer = os.pipe()
        child = hosts[1].run(faulting, region, writer)
        os.read(reader, 1)
        os.read(reader, 1)
        hosts[1].node.kill()
        with pytest.raises(ChildDied) as died:
            child.result(10)
        assert died.value.exitcode == -signal.SIGKILL
        os.close(reader)
        os.close(writer)


def test_without_a_lifeline_requests_raise(tmp_path: Path) -> None:
    def body(client: Client, ready: int, agent: int) -> bool:
        client.publish()
        client.new_id()
        os.kill(agent, signal.SIGKILL)
        with pytest.raises(HostLostError):
            client.new_id()
        return True

    with Hosts(1, tmp_path) as hosts:
        agent = hosts[0].node.pid
        assert hosts[0].run(body, 0, agent, lifeline=False).result()
        hosts[0].node.kill()


def test_a_lost_peer_is_noticed_and_its_pages_end_who_touches_them(tmp_path: Path) -> None:
    def attach(client: Client, region: int, ready: int, go: int) -> None:
        memory = client.attach(region)
        client.observe_newest()
        os.write(ready, b"!")
        os.read(go, 1)
        assert memory[PAGE] == 0  # never written: still zero
        os.write(ready, b"!")
        faulthandler.disable()
        print(memory[0])  # its only copy is lost: dying is what we want to see

    PAGE = 4096
    with Hosts(2, tmp_path, run=1) as hosts:
        region = hosts.region(2)
        hosts[0].run(write, region, 0, b"page").result()
        ready, go = os.pipe(), os.pipe()
        child = hosts[1].run(attach, region, ready[1], go[0])
        os.read(ready[0], 1)
        hosts[0].node.kill()
        until = time.monotonic() + 10
        for node in (hosts[1].node, hosts.master):
            while not (lost := node.call("notices", "peer_lost")):
                assert time.monotonic() < until
                time.sleep(0.01)
            assert {notice.host for notice in lost} == {0}
            node.call("host_lost", 0)
        os.write(go[1], b"!")
        os.read(ready[0], 1)
        with pytest.raises(ChildDied) as died:
            child.result(10)
        assert died.value.exitcode == -signal.SIGBUS
        (poisoned,) = hosts[1].node.call("notices", "poisoned")
        assert (poisoned.id, poisoned.host, poisoned.pid) == (region << 32, 0, child.pid)
        for fd in (*ready, *go):
            os.close(fd)
