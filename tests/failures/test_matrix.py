"""The cheaper rows of the matrix (matrix.py): every waiter is answered in time, and told why."""

from __future__ import annotations

import re

import matrix
import pytest
from helpers import RunScript

HOST_LOST = ("idle", "barrier", "queue", "put", "send", "pool")


@pytest.mark.parametrize("row", [matrix.agent, matrix.stopped])
def test_a_host_is_lost_in_every_state(run_script: RunScript, row: matrix.Perform) -> None:
    cells, others = row(run_script)
    assert others == "yes", cells
    bound = matrix.BOUND if row is matrix.stopped else 0
    for state, what in cells.items():
        assert float(re.findall(r"([\d.]+) s$", what)[0]) < bound + 5 * matrix.AFTER, (state, what)
    for state in HOST_LOST:
        assert "Error, " in cells[state], cells  # and it names the host, else the cell says so
    assert "exitcode -7, " in cells["fault"] and "returned, " in cells["lock"]


def test_a_killed_driver_ends_the_program(run_script: RunScript) -> None:
    cells, _ = matrix.driver(run_script)
    assert all("by its signal" in what for what in cells.values())


def test_a_killed_worker_names_its_host(run_script: RunScript) -> None:
    cells, others = matrix.worker(run_script)
    assert others == "yes", cells
    assert cells["barrier"].startswith("BrokenBarrierError, "), cells
    assert cells["pool"].startswith("WorkerLostError, "), cells
    assert cells["put"] == "waits on" and cells["send"].startswith("EOFError"), cells
    assert all("exitcode -9, " in cells[state] for state in ("idle", "fault", "publish")), cells
