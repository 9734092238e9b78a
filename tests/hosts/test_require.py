"""DSMTEST_REQUIRE: a skip that must not be is a failure."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SUITE = """
import pytest

@pytest.mark.skipif(True, reason="netns: not here")
def test_marked():
    assert False

def test_called():
    pytest.skip("uffd: not here")

def test_other():
    pytest.skip("another reason")
"""


@pytest.mark.parametrize(
    ("required", "outcome"),
    [("", "3 skipped"), ("uffd,netns,sshd", "1 failed, 1 skipped, 1 error")],
)
def test_skips(tmp_path: object, required: str, outcome: str) -> None:
    suite = os.path.join(str(tmp_path), "test_suite.py")
    with open(suite, "w", encoding="utf-8") as file:
        file.write(SUITE)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", suite],
        env={**os.environ, "DSMTEST_REQUIRE": required, "PYTHONPATH": TESTS},
        cwd=str(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert outcome in done.stdout.splitlines()[-1], done.stdout
