"""python -m tests.surface.methods: for each method, the test that runs it across hosts.

Runs the scenarios of tests/places.py in the place "worker" (a process on host 1 makes the objects,
the driver is on host 0, children run on hosts 0 and 2) with a tracer in every process, and writes
the table in docs/generated/methods.md. A method of an object that is shared counts if a child on
another host than the object's called it; one of a handle (a process, a pool, a manager, a listener)
if the process on host 1 called it, whose child was elsewhere. Exit code 1: a method has no test.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
TRACING = os.path.join(HERE, "tracing")
sys.path[:0] = [TESTS, TRACING]

import document  # noqa: E402
import method_trace  # noqa: E402

SCENARIOS = (
    "sync/test_primitives.py",
    "sync/test_barrier.py",
    "messages/test_pipes.py",
    "messages/test_queues.py",
    "messages/test_managers.py",
    "messages/test_sync_manager.py",
    "memory/test_shared_memory.py",
    "memory/test_sharedctypes.py",
    "surface/test_methods.py",
)
MAKER_HOST = 1


def run(folder: str) -> int:
    """The tests, with the tracer; pytest's exit code."""
    paths = [TRACING, *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "DSMTEST_TRACE": folder, "PYTHONPATH": os.pathsep.join(paths)}
    tests = [os.path.join(TESTS, name) for name in SCENARIOS]
    options = ["-q", "-k", "worker", "-p", "method_trace", "-p", "no:cacheprovider"]
    return subprocess.run([sys.executable, "-m", "pytest", *options, *tests], env=env).returncode


def found(folder: str) -> dict[str, str]:
    """Class.method -> the first test that ran it so, and passed."""
    with open(os.path.join(folder, "passed"), encoding="utf-8") as file:
        passed = set(file.read().splitlines())
    by_method: dict[str, str] = {}
    for test, method, role, host in method_trace.read(folder):
        if test not in passed or "worker" not in test:
            continue
        handle = method.partition(".")[0] in method_trace.HANDLES
        handle = handle or method in method_trace.HANDLE_METHODS
        if role == "child" and host != MAKER_HOST or handle and role == "maker":
            by_method.setdefault(method, test)
    return by_method


def show(test: str) -> str:
    """As `folder/file: scenario`."""
    path, _, name = test.partition("::")
    path = path.removeprefix("tests/")
    scenario = name.partition("[")[2].removesuffix("]").rpartition("worker-")[2]
    return f"`{path}`: {scenario or name}"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        code = run(folder)
        tests = found(folder)
    missing = []
    for one in method_trace.CLASSES:
        for method in method_trace.methods(one):
            name = f"{one.name}.{method}"
            if name not in tests:
                missing.append(name)
            row = f"| {name} | {show(tests.get(name, '::—'))} |"
            document.update("methods", name, row, document.METHODS)
    print(f"{len(missing)} without a test: {', '.join(missing)}")
    return int(bool(missing) or code != 0)


if __name__ == "__main__":
    sys.exit(main())
