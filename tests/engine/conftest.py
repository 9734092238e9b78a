from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

sys.path.insert(0, os.path.dirname(__file__))


def children() -> set[str]:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return set(file.read().split())


@pytest.fixture(autouse=True)
def no_children() -> Iterator[None]:
    """A test leaves no process behind that it has forked (those bear no mark of their own)."""
    before = children()
    yield
    assert children() <= before


@pytest.fixture(params=["uffd", "uffd-user", "segv"])
def mechanism(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DSMPROC_FAULTS", request.param)
    return str(request.param)
