"""Every edge of the memory model orders plain memory, with driver, writer, reader and the page's
home on four different hosts. The script says how; docs/memory-model.md lists the edges."""

from __future__ import annotations

import pathlib

import pytest
from helpers import RunScript

SCRIPT = pathlib.Path(__file__).with_name("edges_script.py").read_text(encoding="utf-8")
EDGES = [
    "lock", "rlock", "try_lock", "semaphore", "get_value", "condition", "event", "is_set",
    "barrier", "queue", "queue_empty", "simple_queue", "task_done", "pipe", "pipe_bytes",
    "standard_pipe", "standard_poll", "standard_writer", "standard_reader", "standard_queue",
    "client", "accepted",
    "start", "exit", "_exit", "kill", "lost", "exitcode", "sentinel", "pool_task", "pool_result",
    "manager",
]  # fmt: skip


@pytest.mark.parametrize("edge", EDGES)
def test_edge_orders_plain_memory(run_script: RunScript, edge: str) -> None:
    # Without the tick: nothing but the edge itself may bring the news.
    result = run_script(SCRIPT, local=4, args=[edge], env={"DSMPROC_TICK": "0"}).check()
    assert "right" in result.lines()


def test_all_edges_are_tested() -> None:
    listed = SCRIPT.split("EDGES = {")[1].split("\n}")[0]
    assert sorted(EDGES) == sorted(
        line.split('"')[1] for line in listed.splitlines() if '": ' in line
    )
