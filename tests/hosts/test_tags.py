"""Connections that leave a machine have tags, and its people are told what those do not do."""

from __future__ import annotations

import os
import signal

from hostcluster import KEY_FILE, PYTHON, HostCluster
from hostnet import inner

ASK = """
import sys
from dsmproc._cluster import wire
key = wire.read_key(sys.argv[2])
with wire.connect_tcp(wire.parse_address(sys.argv[1]), "query", key) as wired:
    assert wired.request(("status", None))["hosts"]
    print("tags" if wired.seals else "none")
"""

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
