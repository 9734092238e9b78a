"""Fixtures: hosts that share nothing (hostnet.py), and clusters over them (hostcluster.py)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import hostnet  # noqa: E402
from hostcluster import HostCluster  # noqa: E402


@pytest.fixture
def network(nothing_left: None) -> Iterator[hostnet.Network]:
    """Three hosts, and nothing on them."""
    _need_namespaces()
    made = hostnet.Network(3)
    yield made
    made.end()


@pytest.fixture
def made_hosts(nothing_left: None) -> Iterator[HostCluster]:
    """Four hosts and no cluster yet."""
    _need_namespaces()
    cluster = HostCluster(4)
    yield cluster
    cluster.end()


@pytest.fixture
def host_cluster(made_hosts: HostCluster) -> HostCluster:
    """Four hosts that are a cluster: the head on host 0."""
    made_hosts.start()
    return made_hosts


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[HostCluster]:
    """The same, for all tests of a file that leave it as it was."""
    _need_namespaces()
    cluster = HostCluster(4)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()


def _need_namespaces() -> None:
    reason = hostnet.why_not()
    if reason is not None:
        pytest.skip(reason)
