"""One cluster of hosts that share nothing, for all programs (tests/hosts/hostcluster.py)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "hosts"))

import hostnet  # noqa: E402
from hostcluster import HostCluster  # noqa: E402


@pytest.fixture(scope="module")
def hosts() -> Iterator[HostCluster]:
    reason = hostnet.why_not()
    if reason is not None:
        pytest.skip(reason)
    cluster = HostCluster(4)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()
