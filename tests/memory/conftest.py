"""Memory, over all three ways in which a system may let us watch it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker

import pytest
from places import PLACES, local_cluster

from dsmproc._memory.client import probe_faults

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "sync"))

# The standard library's shared memory starts its tracker once per process: before the leak checks.
resource_tracker.ensure_running()

ALL = ("uffd", "uffd-user", "segv")
# An ordinary user has no full userfaultfd; who says that there must be one is not believed less.
HAS_ALL = "uffd" in os.environ.get("DSMTEST_REQUIRE", "").split(",")
MECHANISMS = ALL if HAS_ALL else ALL[ALL.index(probe_faults()) :]
# These share a cluster a module; the others start their own again and again, and are run over the
# other mechanisms only by DSMTEST_EVERY_MECHANISM=1 (docs/testing.md).
QUICK = (
    "test_shared_memory.py",
    "test_sharedctypes.py",
    "test_counter.py",
    "test_entry.py",
    "test_kernel_copies.py",
    "test_transfers.py",
)


@pytest.fixture(scope="module", autouse=True, params=MECHANISMS)
def mechanism(request: pytest.FixtureRequest) -> Iterator[str]:
    """Once a module: its tests share a cluster for each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSMPROC_FAULTS", request.param)
        yield str(request.param)


@pytest.fixture(scope="module")
def cluster(mechanism: str) -> Iterator[None]:
    with local_cluster():
        yield


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, cluster: None) -> str:
    return str(request.param)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without those to which the mechanism is nothing, or too little: the standard library's own
    memory."""
    items[:] = [item for item in items if not _needless(item)]


def _needless(item: pytest.Item) -> bool:
    if os.path.dirname(__file__) != os.path.dirname(str(item.path)):
        return False
    params = item.callspec.params if hasattr(item, "callspec") else {}
    if params.get("mechanism") in (None, MECHANISMS[0]):
        return False
    if params.get("place") == "standard":
        return True
    if item.path.name == "test_standard.py":
        return True
    return item.path.name not in QUICK and not os.environ.get("DSMTEST_EVERY_MECHANISM")
