"""The example, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

EXAMPLE = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "lock_races.py")


@pytest.mark.parametrize("command", [[], ["-m", "dsmproc", "run", "--local", "3"]])
def test_lock_races(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command, EXAMPLE, "3000"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 x 3000 operations: right" in done.stdout
