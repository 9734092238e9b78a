"""What the master's engine refuses does not end it."""

from __future__ import annotations

import pytest

from dsmproc._memory.client import Engine, Home
from dsmproc.errors import ClusterError


def test_a_region_whose_home_is_not_there_is_refused() -> None:
    master = Engine("master", tick=0)
    try:
        with pytest.raises(ClusterError, match="was to be home"):
            master.region_made(1, 4, Home.FIXED, 2)
        master.host_joined(0)
        master.region_made(1, 4, Home.FIXED, 1)
        with pytest.raises(ClusterError):
            master.region_made(1, 4, Home.FIRST, 1)  # the number is taken
        assert not [notice for notice in master.notices() if notice.kind == "fatal"]
    finally:
        master.stop()
