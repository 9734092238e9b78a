"""Where a scenario runs: one suite for the standard library and for a cluster.

    standard   children are forked here
    driver     a cluster of three hosts; the scenario in this process, its children elsewhere
    worker     the same cluster; the scenario in a process of host 1, so that what it makes is at
               home there, and its children on the other hosts

A scenario is a function of a context; what it asserts, there or in its children, is the test.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import dsmproc
from dsmproc._membership import client

PLACES = ("standard", "driver", "worker")
making = False  # whether this process is the one in which a scenario runs, as a worker
PATIENCE = 30.0  # seconds; nothing here takes that long unless it hangs

Scenario = Callable[[Any], None]


def start(ctx: Any, function: Callable[..., None], *arguments: Any, host: int | None = None) -> Any:
    """A child process; on a cluster on another host than its parent's, or on `host`."""
    process = ctx.Process(target=function, args=arguments)
    if host is not None:
        process._dsmproc_host = host
    process.start()
    return process


def finish(*processes: Any) -> None:
    """All of them end, and well."""
    for process in processes:
        process.join(PATIENCE)
    codes = [process.exitcode for process in processes]
    for process in processes:
        if process.exitcode is None:
            process.kill()
            process.join(PATIENCE)
    assert codes == [0] * len(codes), f"exit codes {codes}"


def run(ctx: Any, function: Callable[..., None], *arguments: Any) -> None:
    finish(start(ctx, function, *arguments))


def _in_worker(scenario: Scenario) -> None:
    global making
    making = True
    assert dsmproc.current_host() == 1
    scenario(dsmproc.get_context())


def perform(place: str, scenario: Scenario) -> None:
    if place == "standard":
        scenario(multiprocessing.get_context("fork"))
    elif place == "driver":
        scenario(dsmproc.get_context())
    else:
        finish(start(dsmproc.get_context(), _in_worker, scenario, host=1))


@contextlib.contextmanager
def local_cluster(hosts: int = 3) -> Iterator[None]:
    """This process is a driver; what it opens lazily is open already, for the leak checks."""
    multiprocessing.get_context("fork").RawArray("B", 1 << 20)  # the standard heap keeps its arenas
    before = os.environ.get("DSMPROC_PLACE")
    os.environ["DSMPROC_PLACE"] = "remote"
    try:
        with dsmproc.init(local=hosts):
            client().hear_of_losses()
            memory = dsmproc.SharedMemory(create=True, size=1)
            dsmproc.RawValue("b")
            dsmproc.Value("b")
            memory.close()
            memory.unlink()
            condition = dsmproc.Condition()
            with condition:
                condition.wait(0)
            for end in dsmproc.Pipe():
                pickle.dumps(end)
                end.close()
            yield
    finally:
        if before is None:
            del os.environ["DSMPROC_PLACE"]
        else:
            os.environ["DSMPROC_PLACE"] = before


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with local_cluster():
        yield


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, cluster: None) -> str:
    return str(request.param)
