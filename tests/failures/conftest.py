from __future__ import annotations

import pytest
from lossbound import SECONDS


@pytest.fixture(autouse=True)
def soon_lost(nothing_left: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSMPROC_HEARTBEAT", str(SECONDS))
