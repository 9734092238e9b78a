from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from helpers import ByHand, RunScript

sys.path.insert(0, os.path.dirname(__file__))

from program import Program  # noqa: E402

from dsmproc._net import wire  # noqa: E402


@pytest.fixture(autouse=True)
def no_heartbeat(nothing_left: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The false members here show no signs of life, and must not be lost for that."""
    monkeypatch.setenv("DSMPROC_HEARTBEAT", "600")


@pytest.fixture
def program(by_hand: ByHand, run_script: RunScript) -> Iterator[Program]:
    """A program on hosts 0 and 1 of `by_hand`; it must have ended well when the test ends."""
    by_hand.agent()
    by_hand.wait_for(2)
    running = Program(by_hand, run_script)
    yield running
    running.close()


@pytest.fixture
def key_file(nothing_left: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A key for commands that get no further than their arguments."""
    path = os.path.join(os.environ["TMPDIR"], "key")
    wire.write_key(path)
    monkeypatch.setenv("DSMPROC_AUTHKEY_FILE", path)
    yield path
    os.unlink(path)
