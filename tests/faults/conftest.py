from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

for folder in (os.path.dirname(__file__), os.path.join(os.path.dirname(__file__), "../engine")):
    sys.path.insert(0, folder)

from watched import Page  # noqa: E402


@pytest.fixture(params=["uffd", "uffd-user", "segv"])
def any_mechanism(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DSMPROC_FAULTS", request.param)
    return str(request.param)


@pytest.fixture(params=["uffd", "uffd-user"])
def mechanism(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a userfaultfd does when a remedy is left out."""
    monkeypatch.setenv("DSMPROC_FAULTS", request.param)
    return str(request.param)


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page()
    yield page
    page.close()
