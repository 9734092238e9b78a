"""Connections that leave a machine have tags, and its people are told what those do not do."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from collections.abc import Iterator

from hostcluster import KEY_FILE, PYTHON, HostCluster
from hostnet import inner

ASK = """
import sys
from dsmproc._net import wire
key = wire.read_key(sys.argv[2])
with wire.connect_tcp(wire.parse_address(sys.argv[1]), "query", key) as wired:
    assert wired.request(("status", None))["hosts"]
    print("tags" if wired.seals else "none")
"""

PIDFD_GETFD = 438  # of the kernel's table, the same on every architecture
WARNING = "is authenticated but not encrypted"


def test_connections_between_hosts_have_tags(host_cluster: HostCluster) -> None:
    for host in host_cluster.hosts[:2]:
        done = host.run(PYTHON, "-c", ASK, host_cluster.address, KEY_FILE).check()
        assert done.out.split() == ["tags"]


def test_the_head_warns_once_that_traffic_is_not_encrypted(host_cluster: HostCluster) -> None:
    host_cluster.run(1, "import dsmproc as mp\nprint(mp.hosts())\n").check()
    head = host_cluster.running[0]
    os.kill(inner(head.process), signal.SIGTERM)
    assert head.wait().err.count(WARNING) == 1
    for agent in host_cluster.agents.values():
        assert WARNING not in agent.wait().err


def _connections(pid: int) -> Iterator[socket.socket]:
    """Own copies of a process's connected TCP sockets."""
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(pid)
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            fd = libc.syscall(PIDFD_GETFD, process, int(name), 0)
            if fd < 0:
                continue  # closed meanwhile
            try:
                sock = socket.socket(fileno=fd)
            except OSError:  # no socket
                os.close(fd)
                continue
            with sock:
                tcp = (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_STREAM)
                if tcp and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    yield sock
    finally:
        os.close(process)


def test_connections_between_hosts_notice_a_lost_machine(host_cluster: HostCluster) -> None:
    """Each has a bound on what is not acknowledged, but for an agent's connection for output,
    on which a terminal may let it wait."""
    host_cluster.run(1, "import dsmproc as mp\nprint(mp.hosts())\n").check()
    for agent in host_cluster.agents.values():
        bounds = [
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            for sock in _connections(inner(agent.process))
        ]
        assert len(bounds) > 2, "to the master and to the other agents"
        assert bounds.count(0) <= 1, bounds
