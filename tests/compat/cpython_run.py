"""Runs CPython's tests in processes of their own, one for each class, and says how each ended.

On a cluster the process is a driver on host 0 of three that share no file, pid or address
(tests/hosts/hostnet.py). The tests are there alone; the others get them from the driver.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "hosts")]

import cpython_fetch  # noqa: E402
import cpython_reasons  # noqa: E402
import hostnet  # noqa: E402
from hostcluster import HostCluster  # noqa: E402

CHILD = "cpython_child.py"
MARK = "DSMTEST_MARK"
HOSTS = 3
START = 60.0  # seconds until the first test begins
HOPELESS = 15.0  # for one of which it is known that it fails; it may wait for who cannot come
END = 30.0  # and from the last one's end to the process's


@dataclasses.dataclass
class Outcome:
    test: str  # module.class.method
    kind: str  # passed, failed, skipped, hung, died, or stayed: all children on the driver's host
    text: str
    hosts: dict[int, int]  # children of each host
    seconds: float


@dataclasses.dataclass
class Plan:
    """How the tests are run."""

    mode: str  # cluster or local
    method: str
    patience: float  # seconds for a test
    _cluster: HostCluster | None = None

    def __enter__(self) -> Plan:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def folder(self) -> tuple[str, str]:
        """A new folder where the tests run: its name there, and from here."""
        if self.mode == "local":
            folder = tempfile.mkdtemp(prefix="dsm-cpython-")
            return folder, folder
        host = self._driver()
        folder = f"{host.work}/{uuid.uuid4().hex}"
        os.mkdir(host.path(folder))
        for name in (CHILD, "suite"):
            here, there = os.path.join(HERE, name), host.path(f"{folder}/{name}")
            if os.path.isdir(here):
                shutil.copytree(here, there)
            else:
                shutil.copy(here, there)
        return folder, host.path(folder)

    def start(
        self, folder: str, output: Any, mark: str, *arguments: str
    ) -> subprocess.Popen[bytes]:
        """The child in a session of its own, with a folder from above for its files."""
        env = {"DSMTEST_METHOD": self.method, MARK: mark, "TMPDIR": folder}
        if self.mode == "cluster":
            host, cluster = self._driver(), self._cluster
            assert cluster is not None
            env |= {"DSMPROC_METHODS": "cluster", "DSMPROC_PLACE": "remote"}
            run = [sys.executable, "-m", "dsmproc", "run", "--address", cluster.address]
            command = [*run, f"{folder}/{CHILD}", *arguments]
            return host.popen(*command, cwd=folder, env=env, output=output)
        ours = {name: value for name, value in os.environ.items() if "DSMPROC" not in name}
        paths = [HERE, *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.Popen(
            [sys.executable, os.path.join(HERE, CHILD), *arguments],
            env={**ours, **env, "PYTHONPATH": os.pathsep.join(paths)},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def _driver(self) -> hostnet.Host:
        if self._cluster is None:
            self._cluster = HostCluster(HOSTS)
            self._cluster.start()
        return self._cluster.hosts[0]

    def end(self) -> None:
        """The cluster; another one is made when it is needed."""
        if self._cluster is not None:
            self._cluster.end()
            self._cluster = None


def parts() -> dict[str, bool]:
    """The parts of the suite, and whether this interpreter has them."""
    names = cpython_fetch.NAMES
    return {name: importlib.util.find_spec(f"suite.cpython.{name}") is not None for name in names}


def names(plan: Plan) -> list[str]:
    """The ids of all tests that this interpreter has."""
    folder, here = plan.folder()
    with open(os.path.join(here, "output"), "w+b") as output:
        process = plan.start(folder, output, uuid.uuid4().hex, "list")
        if process.wait(START):
            raise RuntimeError(f"no list of tests: {process.returncode}")
        output.seek(0)
        found: list[str] = json.loads(output.read().splitlines()[-1])
    shutil.rmtree(here)
    return found


def run(plan: Plan, tests: list[str]) -> Iterator[Outcome]:
    """Each class in a process of its own; after a test that hangs or dies, the rest in another."""
    classes: dict[str, list[str]] = {}
    for test in tests:
        classes.setdefault(test.rpartition(".")[0], []).append(test)
    for left in classes.values():
        while left:
            with _Batch(plan, left) as batch:
                for outcome in batch.outcomes():
                    if outcome.test in left:
                        left.remove(outcome.test)
                    yield outcome
            if left:
                plan.end()  # whatever it has left behind


class _Batch:
    """One process that runs tests."""

    def __init__(self, plan: Plan, tests: list[str]) -> None:
        self._plan = plan
        self._tests = list(tests)
        self._mark = uuid.uuid4().hex
        folder, self._folder = plan.folder()
        self._report = os.path.join(self._folder, "report")
        self._output = os.path.join(self._folder, "output")
        with open(os.path.join(self._folder, "ids"), "w", encoding="utf-8") as file:
            json.dump(self._tests, file)
        open(self._report, "wb").close()
        with open(self._output, "wb") as output:
            ids, report = f"{folder}/ids", f"{folder}/report"
            self._process = plan.start(folder, output, self._mark, "run", ids, report)

    def __enter__(self) -> _Batch:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def outcomes(self) -> Iterator[Outcome]:
        """Of every test that was run, and of the one that the process did not outlive."""
        running, since, driver = None, time.monotonic(), 0
        limit = START
        told = set()
        with open(self._report, encoding="utf-8") as report:
            while True:
                line = report.readline()
                if not line:
                    if self._process.poll() is not None and not (line := report.readline()):
                        break
                    if not line:
                        if time.monotonic() - since > limit:
                            yield self._hung(running, driver, limit)
                            return
                        time.sleep(0.02)
                        continue
                said = json.loads(line)
                driver = said.get("pid", driver)
                now = time.monotonic()
                if "begin" in said:
                    running, limit = said["begin"], self._plan.patience
                    hopeless = cpython_reasons.place(running).table == "elsewhere"
                    if hopeless and self._plan.mode == "cluster":
                        limit = HOPELESS
                elif "end" in said:
                    running, limit = None, max(END, self._plan.patience)
                    if said["end"] in self._tests:
                        told.add(said["end"])
                        yield _outcome(said, now - since)
                    else:  # a class's setUp or tearDown: the fault is all its tests'
                        yield from self._whole(said, told)
                since = now
        for test in self._tests:
            if test == running or running is None and test not in told:
                yield self._ended(test, "died")

    def _whole(self, said: dict[str, Any], told: set[str]) -> Iterator[Outcome]:
        left = [test for test in self._tests if test not in told] or self._tests[-1:]
        told.update(left)
        for test in left:
            yield _outcome({**said, "end": test, "text": f"{said['end']}: {said['text']}"}, 0.0)

    def _hung(self, test: str | None, driver: int, seconds: float) -> Outcome:
        for pid in _marked(self._mark):  # whoever has asked for it says where it stands
            if driver in (pid, _inner(pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGUSR2)
        time.sleep(0.5)
        return self._ended(test or self._tests[-1], "hung" if test else "hung after it", seconds)

    def _ended(self, test: str, kind: str, seconds: float = 0.0) -> Outcome:
        with open(self._output, encoding="utf-8", errors="replace") as file:
            return Outcome(test, kind.partition(" ")[0], file.read()[-6000:], {}, seconds)

    def _kill(self) -> None:
        """The process and all that carries its mark."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10.0
        while (left := _marked(self._mark)) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.poll()
            time.sleep(0.05)


def _outcome(said: dict[str, Any], seconds: float) -> Outcome:
    hosts = {int(host): count for host, count in said["hosts"].items()}
    return Outcome(said["end"], said["outcome"], said["text"], hosts, seconds)


def _inner(pid: int) -> int:
    """What a process is called in its own namespace."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    return 0


def _marked(mark: str) -> list[int]:
    needle = f"{MARK}={mark}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                if needle in file.read().split(b"\0"):
                    found.append(int(name))
    return found
