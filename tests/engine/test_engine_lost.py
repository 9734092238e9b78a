"""When something dies: the agent, a peer, the only copy of a page."""

from __future__ import annotations

import errno
import faulthandler
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hosts import Child, ChildDied, Host, Hosts
from test_engine_memory import write

from dsmproc._memory.client import Client, Home
from dsmproc.errors import HostLostError

PAGE = 4096


def stopped(pid: int, thread: str) -> bool:
    with open(f"/proc/{pid}/task/{thread}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0] in "Tt"


def lose(hosts: Hosts) -> None:
    """Host 0 of two dies, and all know it."""
    hosts[0].node.kill()
    until = time.monotonic() + 10
    for node in (hosts[1].node, hosts.master):
        while not (lost := node.call("notices", "peer_lost")):
            assert time.monotonic() < until
            time.sleep(0.01)
        assert {notice.host for notice in lost} == {0}
        node.call("host_lost", 0)


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

    with Hosts(2, tmp_path, run=1) as hosts:
        region = hosts.region(2)
        hosts[0].run(write, region, 0, b"page").result()
        ready, go = os.pipe(), os.pipe()
        child = hosts[1].run(attach, region, ready[1], go[0])
        os.read(ready[0], 1)
        lose(hosts)
        os.write(go[1], b"!")
        os.read(ready[0], 1)
        with pytest.raises(ChildDied) as died:
            child.result(10)
        assert died.value.exitcode == -signal.SIGBUS
        (poisoned,) = hosts[1].node.call("notices", "poisoned")
        assert (poisoned.id, poisoned.host, poisoned.pid) == (region << 32, 0, child.pid)
        for fd in (*ready, *go):
            os.close(fd)


class Puppet:
    """A client that does one thing after another with the pages of a region, as it is told."""

    def __init__(self, host: Host, region: int) -> None:
        orders, self._orders = os.pipe()
        self._done, done = os.pipe()
        self.child = host.run(self._obey, region, orders, done)
        os.close(orders)
        os.close(done)

    def _obey(self, client: Client, region: int, orders: int, done: int) -> None:
        faulthandler.disable()  # dying is what we want to see
        memory = client.attach(region)
        pages = range(0, len(memory), PAGE)

        def write() -> None:
            for at in pages:
                memory[at] += 1

        def in_calls() -> None:
            reader, writer = os.pipe()
            with open("/dev/zero", "rb", buffering=0) as zeros:
                for call in (
                    lambda: os.write(writer, memory[:1]),
                    lambda: os.readv(zeros.fileno(), [memory[:1]]),
                ):
                    with pytest.raises(OSError) as said:
                        call()
                    assert said.value.errno == errno.EFAULT
            os.close(reader)
            os.close(writer)

        def fork() -> None:
            assert Child(lambda: memory[0]).wait() == -signal.SIGBUS

        def many() -> None:
            touching = [threading.Thread(target=memory.__getitem__, args=(at,)) for at in pages]
            for each in touching:
                each.start()
            for each in touching:
                each.join()

        verbs: dict[bytes, Callable[[], object]] = {
            b"r": lambda: sum(memory[at] for at in pages),
            b"w": write,
            b"p": client.publish,
            b"o": client.observe_newest,
            b"c": in_calls,
            b"f": fork,
            b"m": many,
            b"n": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0)),
        }
        while order := os.read(orders, 1):
            verbs[order]()
            os.write(done, b"!")

    def do(self, orders: str) -> None:
        for order in orders:
            os.write(self._orders, order.encode())
            if not os.read(self._done, 1):
                self.child.result()

    def dies_of(self, order: str) -> int:
        os.write(self._orders, order.encode())
        with pytest.raises(ChildDied) as died:
            self.child.result(10)
        return died.value.exitcode

    def end(self) -> None:
        self.child.kill()
        os.close(self._orders)
        os.close(self._done)


@pytest.mark.parametrize("policy", [Home.FIRST, Home.ADAPTIVE, Home.HOMELESS])
def test_a_lost_page_ends_whoever_touches_it(tmp_path: Path, mechanism: str, policy: Home) -> None:
    """Whatever they had of it before: nothing, a copy to read, one to write, or only the mark that
    its protection in another process left in theirs."""
    with Hosts(2, tmp_path) as hosts:
        region = hosts.region(3, policy)
        owner = Puppet(hosts[0], region)
        owner.do("wp")
        never, reader, writer = (Puppet(hosts[1], region) for _ in range(3))
        reader.do("or")
        writer.do("wp")  # which protects the page, in all processes
        owner.do("owp")
        reader.do("or")
        writer.do("w")  # not published when the page is taken away
        owner.do("wp")
        reader.do("o")
        late = Puppet(hosts[1], region)
        late.do("o")
        owner.end()
        lose(hosts)
        for way, puppet in zip("rwmr", (never, reader, writer, late), strict=True):
            puppet.do("cf")
            assert puppet.dies_of(way) == -signal.SIGBUS
        said = hosts[1].node.call("notices", "poisoned")
        assert {notice.host for notice in said} == {0}
        assert {notice.id >> 32 for notice in said} == {region}
        assert {never.child.pid, reader.child.pid, writer.child.pid, late.child.pid} <= {
            notice.pid for notice in said
        }
        assert not hosts[1].node.call("notices", "fatal", "log")
        for puppet in (never, reader, writer, late):
            puppet.end()


def test_a_process_that_a_lost_page_cannot_be_kept_from_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Under segv, a poisoned page is an empty file: who has no descriptor left ends at once."""
    monkeypatch.setenv("DSMPROC_FAULTS", "segv")
    with Hosts(2, tmp_path) as hosts:
        region = hosts.region(1)
        owner, toucher = (Puppet(host, region) for host in hosts)
        owner.do("wp")
        owner.end()
        lose(hosts)
        toucher.do("on")
        assert toucher.dies_of("r") == -signal.SIGKILL
        assert "a lost page cannot be kept from it" in capfd.readouterr().err
        toucher.end()
