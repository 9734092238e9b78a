"""How long shared memory lives: until unlink, else as long as the driver that created it, if it is
tracked, else as long as the cluster. Its name is taken so long."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from places import run

import dsmproc
from dsmproc import _membership as membership

DRIVER = """
import os, sys
import dsmproc
kept = dsmproc.SharedMemory("kept", create=True, size=100, track=False)
gone = dsmproc.SharedMemory("gone", create=True, size=100)
kept.buf[0] = 42
if sys.argv[1] == "worker":
    child = dsmproc.Process(target=dsmproc.SharedMemory, args=("of-a-worker", True, 10))
    child.start()
    child.join()
    dsmproc.SharedMemory("of-a-worker").close()
raw = dsmproc.RawArray("i", 10)
print("made", flush=True)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), 9)
"""


def _exists(name: str) -> bool:
    try:
        memory = dsmproc.SharedMemory(name)
    except FileNotFoundError:
        return False
    memory.close()
    return True


@pytest.mark.parametrize("end", ["exit", "killed", "worker"])
def test_a_driver_ends(cluster: None, tmp_path: Any, end: str) -> None:
    """Another driver of the same cluster: what it tracked ends with it, the rest does not."""
    handle: Any = membership.state.local
    script = tmp_path / "script.py"
    script.write_text(DRIVER)
    environ = {
        **os.environ,
        "DSMPROC_ADDRESS": handle.address,
        "DSMPROC_AUTHKEY_FILE": handle.key_file,
    }
    done = subprocess.run(
        [sys.executable, str(script), end],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "made\n", done.stderr
    assert done.returncode == (-9 if end == "killed" else 0), done.stderr
    until_gone("gone")
    if end == "worker":
        until_gone("of-a-worker")
    kept = dsmproc.SharedMemory("kept")
    assert kept.buf[0] == 42
    kept.close()
    kept.unlink()


def until_gone(name: str) -> None:
    from helpers import eventually

    eventually(lambda: not _exists(name), what=f"{name} is gone")


def _make(name: str) -> None:
    memory = dsmproc.SharedMemory(name, create=True, size=10)
    memory.buf[0] = 5
    memory.close()


def test_a_worker_that_ends_leaves_its_memory(cluster: None) -> None:
    run(dsmproc.get_context(), _make, "left")
    memory = dsmproc.SharedMemory("left")
    assert memory.buf[0] == 5
    memory.close()
    memory.unlink()
