"""Runs tests of CPython's suite in this process, and tells its parent of each (cpython_run.py).

    python cpython_child.py list              prints the ids of all tests, as JSON
    python cpython_child.py run IDS REPORT    runs those whose ids are in the file IDS

Each line written to the file REPORT is JSON: {"begin": id}, or {"end": id, "outcome": …, "text": …,
"hosts": {host: number of children that this process started there}}.
"""

from __future__ import annotations

import collections
import faulthandler
import functools
import importlib
import json
import os
import signal
import sys
import unittest
from collections.abc import Iterator
from multiprocessing import popen_fork
from typing import Any

import dsmproc
import dsmproc.process

PROCESSES = "suite.processes"
FUTURES = "suite.cpython.test_concurrent_futures"
FUTURES_PARTS = ("as_completed", "deadlock", "init", "process_pool", "shutdown", "wait")
EXECUTORS = {"fork": "ProcessPoolFork", "spawn": "ProcessPoolSpawn"}
EXECUTORS["forkserver"] = "ProcessPoolForkserver"


def modules() -> Iterator[Any]:
    """Those that this interpreter has."""
    if importlib.util.find_spec("suite.cpython._test_multiprocessing") is not None:
        yield importlib.import_module(PROCESSES)
    futures = importlib.util.find_spec(FUTURES)
    if futures is None:
        return
    if futures.submodule_search_locations is None:
        yield importlib.import_module(FUTURES)
        return
    for part in FUTURES_PARTS:
        if importlib.util.find_spec(f"{FUTURES}.test_{part}"):
            yield importlib.import_module(f"{FUTURES}.test_{part}")


def tests() -> Iterator[unittest.TestCase]:
    """All of them, in the order of their classes."""
    method = os.environ["DSMTEST_METHOD"]
    threads = not dsmproc.hosts()[1:]  # on a cluster multiprocessing.dummy is the standard one
    for module in modules():
        pools = module.__name__.startswith(FUTURES)
        for name, cls in list(vars(module).items()):
            if not (isinstance(cls, type) and issubclass(cls, unittest.TestCase)):
                continue
            if pools and not name.startswith((EXECUTORS[method], "FailingInitializerResources")):
                continue
            if not threads and name.startswith("WithThreads"):
                continue
            cls.__module__ = module.__name__
            yield from unittest.defaultTestLoader.loadTestsFromTestCase(cls)  # type: ignore[misc]


class Children:
    """Where the processes were started that this process started."""

    def __init__(self) -> None:
        self.counted: collections.Counter[int] = collections.Counter()
        home = dsmproc.current_host()
        for kind, where in (
            (popen_fork.Popen, lambda _: home),  # those of all standard start methods
            (dsmproc.process.ClusterPopen, lambda made: made.host),
        ):
            kind.__init__ = self._counting(kind.__init__, where)  # type: ignore[method-assign]

    def _counting(self, init: Any, where: Any) -> Any:
        @functools.wraps(init)
        def counting(made: Any, *arguments: Any, **keywords: Any) -> None:
            init(made, *arguments, **keywords)
            self.counted[where(made)] += 1

        return counting


class Result(unittest.TestResult):
    """Tells of each test."""

    def __init__(self, report: int, children: Children) -> None:
        super().__init__()
        self._to = report
        self._children = children
        self._of_class: collections.Counter[int] = collections.Counter()
        self._outcome = ("passed", "")
        self._class: type | None = None

    def _tell(self, **line: Any) -> None:
        os.write(self._to, json.dumps(line).encode() + b"\n")

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        if self._class is not type(test):  # what was started since is its setUpClass's
            self._class = type(test)
            self._of_class = self._children.counted.copy()
        self._children.counted.clear()
        self._outcome = ("passed", "")
        self._tell(begin=test.id())

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        outcome, text = self._outcome
        hosts = self._children.counted + self._of_class
        self._children.counted.clear()
        self._tell(end=test.id(), outcome=outcome, text=text, hosts=hosts)

    def _set(self, test: Any, outcome: str, text: str) -> None:
        if isinstance(test, unittest.TestCase):
            if self._outcome[0] == "passed":
                self._outcome = (outcome, text)
        else:  # the setUp or tearDown of a class or module
            self._tell(end=str(test), outcome=outcome, text=text, hosts={})

    def addError(self, test: Any, err: Any) -> None:
        self._set(test, "failed", self._exc_info_to_string(err, test))  # type: ignore[attr-defined]

    addFailure = addError

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self.addError(test, err)

    def addSkip(self, test: Any, reason: str) -> None:
        self._set(test, "skipped", reason)


def run(ids: str, report: str) -> None:
    with open(ids, encoding="utf-8") as file:
        wanted = set(json.load(file))
    children = Children()
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    suites: dict[type, list[unittest.TestCase]] = {}
    for test in tests():
        if test.id() in wanted:
            suites.setdefault(type(test), []).append(test)
    suite = unittest.TestSuite(unittest.TestSuite(found) for found in suites.values())
    to = os.open(report, os.O_WRONLY | os.O_APPEND)
    os.write(to, json.dumps({"pid": os.getpid()}).encode() + b"\n")
    suite.run(Result(to, children))


if __name__ == "__main__":
    if sys.argv[1] == "list":
        print(json.dumps([test.id() for test in tests()]))
    else:
        run(*sys.argv[2:])
