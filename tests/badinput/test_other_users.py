"""Another user of a host, who does not have the key: he is at an address where a part of the
cluster was, or speaks to one that is there. No byte of his is loaded, and nobody waits for him."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from helpers import TIMEOUT, ByHand, Running

from dsmproc._cluster import wire

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root: it becomes another user")
STRANGER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stranger.py")


@contextlib.contextmanager
def stranger(*arguments: str) -> Iterator[Running]:
    command = [sys.executable, STRANGER, *arguments]
    running = Running(
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/")
    )
    try:
        yield running
    finally:
        running.close()


@pytest.fixture
def mark(tmp_path: object) -> Iterator[str]:
    """The file that is there if something of the stranger's was loaded."""
    path = os.path.join(str(tmp_path), "mark")
    yield path
    assert not os.path.exists(path), "code of a stranger ran"


def status(port: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dsmproc", "status", "--address", f"127.0.0.1:{port}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def test_a_handshake_that_is_passed_on_gives_nothing(by_hand: ByHand, mark: str) -> None:
    """He is where a head was, and a head with the same key is somewhere else."""
    other = str(wire.parse_address(by_hand.address)[1])
    with stranger("relay", "0", other, "forge", mark) as relay:
        done = status(relay.number("port"))
        relay.read_until("passed on")
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done
    assert "was not made with the cluster's key" in done.stderr
