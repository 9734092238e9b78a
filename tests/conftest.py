"""What every test is held to: nothing may be left behind.

After each test no process that carries the test's mark in its environment (agents, masters, drivers
and workers all inherit it), no file of ours in the temporary folder or /dev/shm, no network
namespace, no network device and no new descriptor in the test process may exist.

DSMTEST_REQUIRE=uffd,netns,sshd makes a skip whose reason begins with one of these words a failure.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import glob
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from helpers import ByHand, Running, RunScript  # noqa: E402

MARK = "DSMTEST_MARK"
PATIENCE = 5.0  # seconds for what is ending to end

# A shell that started this run in its background has its commands ignore Ctrl-C, and so would the
# programs under test that are interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# libffi may open itself for its first closure, and keeps that descriptor.
_closure = ctypes.CFUNCTYPE(None)(lambda: None)
if sys.version_info >= (3, 14):
    # Of the default start method there: both live as long as this process does.
    resource_tracker.ensure_running()
    forkserver.ensure_running()


def marked_processes(mark: str) -> dict[int, str]:
    """pid -> command line of every process with the mark in its environment, but this one and the
    zygotes of clusters that are older than the test: those end with the cluster."""
    needle = f"{MARK}={mark}".encode()
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/environ", "rb") as file:
                if needle not in file.read().split(b"\0"):
                    continue
            with open(f"/proc/{name}/cmdline", "rb") as file:
                found[int(name)] = file.read().replace(b"\0", b" ").decode(errors="replace")
    return {pid: what for pid, what in found.items() if not _zygote_of_another(pid, found)}


def _zygote_of_another(pid: int, marked: dict[int, str]) -> bool:
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/stat", "rb") as file:
            before, _, after = file.read().rpartition(b")")
        parent = int(after.split()[1])
        return before.endswith(b"(dsmproc-zygote") and parent not in (1, *marked)
    return False


def our_files() -> set[str]:
    patterns = ("/dev/shm/*", "/tmp/dsmproc-*", "/var/run/netns/*", "/var/tmp/dsmproc-*")
    return {path for pattern in patterns for path in glob.glob(pattern)}


def links() -> set[str]:
    """Network devices here. Those of a namespace go with its last process, which bears the mark."""
    return {f"link {name}" for name in os.listdir("/sys/class/net")}


def descriptors() -> dict[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return found


@pytest.fixture(autouse=True)
def nothing_left(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """Fails the test that leaves a process, a file, a namespace or a descriptor behind."""
    mark = uuid.uuid4().hex
    temporary = f"/tmp/dt-{mark[:12]}"
    os.mkdir(temporary, 0o700)
    monkeypatch.setenv(MARK, mark)
    monkeypatch.setenv("TMPDIR", temporary)
    shm_before = {path for path in our_files() if not path.startswith("/tmp")} | links()
    before = descriptors()
    yield
    gc.collect()  # what only a cycle holds is not leaked
    left: dict[str, object] = {}
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        left = _what_is_left(mark, temporary, shm_before, before)
        if not left:
            break
        time.sleep(0.02)
    for pid in marked_processes(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.rmdir(temporary)
    if left:
        pytest.fail(f"left behind: {left}", pytrace=False)


def _what_is_left(
    mark: str, temporary: str, files_before: set[str], before: dict[str, str]
) -> dict[str, object]:
    left: dict[str, object] = {}
    processes = marked_processes(mark)
    if processes:
        left["processes"] = processes
    files = [os.path.join(at, f) for at, ds, fs in os.walk(temporary) for f in [*ds, *fs]]
    if files:
        left["files"] = files
    if "PYTEST_XDIST_WORKER" not in os.environ:  # others may be using theirs just now
        now = {path for path in our_files() if not path.startswith("/tmp")} | links()
        news = now - files_before
        if news:
            left["files and links elsewhere"] = sorted(news)
    new = {  # but the arenas of the standard library's heap, which live as long as the process
        fd: what
        for fd, what in descriptors().items()
        if before.get(fd) != what and not what.startswith(("/proc/", "/dev/shm/pym-"))
    }
    if new:
        left["descriptors"] = new
    return left


@pytest.fixture(autouse=True)
def stacks_on_timeout() -> Iterator[None]:
    """A test that hangs shows where, before pytest-timeout ends the run."""
    faulthandler.dump_traceback_later(100, exit=False)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A skip for a reason that must not be: DSMTEST_REQUIRE."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if not report.skipped or not isinstance(report.longrepr, tuple):
        return
    reason = report.longrepr[2].removeprefix("Skipped: ")
    word = reason.partition(":")[0]
    if word in os.environ.get("DSMTEST_REQUIRE", "").split(","):
        report.outcome = "failed"
        report.longrepr = f"skipped, but DSMTEST_REQUIRE names {word}: {reason}"


@pytest.fixture
def run_script(tmp_path: object, nothing_left: None) -> Iterator[RunScript]:
    """run_script(text, local=3, env=...): the script under `dsmproc run`; see helpers.py."""
    runner = RunScript(str(tmp_path))
    yield runner
    runner.end()


@pytest.fixture
def by_hand(nothing_left: None) -> Iterator[ByHand]:
    """A head with host 0; see helpers.py."""
    cluster = ByHand(os.environ["TMPDIR"])
    yield cluster
    cluster.end()


__all__ = ["Running"]
