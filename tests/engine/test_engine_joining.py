"""A process joins its host: what else happens in that moment does not end it."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path
from typing import Any

import pytest
from hosts import SECONDS, Host, Hosts

from dsmproc._memory import requests
from dsmproc._memory.client import Client, lib
from dsmproc.errors import HostLostError


class Listening:
    """The library; notes what the engine had answered when the lifeline was armed."""

    def __init__(self) -> None:
        self.answered: list[int] = []
        self.armed: list[tuple[int, list[int]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(lib, name)

    def dsmproc_request_wait(self, fd: int, timeout: int, *answer: Any) -> int:
        result = lib.dsmproc_request_wait(fd, timeout, *answer)
        if result == 0:
            self.answered.append(fd)
        return int(result)

    def dsmproc_lifeline(self, fd: int) -> int:
        self.armed.append((fd, list(self.answered)))
        return int(lib.dsmproc_lifeline(fd))


def test_a_late_wake_up_for_the_greeting_is_not_taken_for_the_end(tmp_path: Path) -> None:
    """It comes before the engine answers on another connection: its thread does one thing after
    the other."""

    def body(client: Client) -> tuple[list[tuple[int, list[int]]], int]:
        listening = requests.lib = Listening()  # in this process alone
        client.publish()
        client.new_id()
        return listening.armed, len(client._connections)

    with Hosts(1, tmp_path) as hosts:
        armed, connections = hosts[0].run(body).result()
    ((fd, answered),) = armed
    assert answered[0] == fd and len(answered) == 2 and answered[1] != fd
    assert connections == 1  # the second one is this thread's


@pytest.mark.parametrize("when", [1, 2])
def test_a_signal_handler_that_joins_in_the_middle_of_joining(tmp_path: Path, when: int) -> None:
    def body(_: Client, host: Host) -> bool:
        connected = 0

        def connect() -> int:
            nonlocal connected
            connected += 1
            if connected == when:
                client.publish()
            return host.connect()

        client = Client(connect)
        return client.new_id() != client.new_id()

    with Hosts(1, tmp_path) as hosts:
        assert hosts[0].run(body, hosts[0]).result()


def test_an_agent_that_is_gone_before_its_end_is_awaited(tmp_path: Path) -> None:
    """Nothing is mapped yet: an exception can be raised, and says more than a signal."""

    class Killing(Listening):
        def dsmproc_lifeline(self, fd: int) -> int:
            os.kill(agent, signal.SIGKILL)
            select.select([fd], [], [], SECONDS)  # until the connection is closed
            return super().dsmproc_lifeline(fd)

    def body(client: Client) -> str:
        requests.lib = Killing()
        with pytest.raises(HostLostError) as error:
            client.publish()
        return str(error.value)

    with Hosts(1, tmp_path) as hosts:
        agent = hosts[0].node.pid
        child = hosts[0].run(body)
        assert child.result() == "the agent of this host is gone"
        hosts[0].node.kill()
