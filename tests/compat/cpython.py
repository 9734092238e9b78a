"""CPython's own tests of multiprocessing, with dsmproc in its place.

    python -m tests.compat.cpython [--mode cluster|local] [--method fork|spawn|forkserver] [PART…]

On a cluster: three hosts that share no file, pid or address, and every process on another one than
its parent. Local: without a
cluster, with the given start method of the standard library, for which all must pass. A run of all
tests writes this Python's row of the table in docs/compatibility.md. Exit code 1: a test failed for
none of the reasons in cpython_reasons.py.
"""

from __future__ import annotations

import argparse
import collections
import fnmatch
import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import cpython_fetch  # noqa: E402
import cpython_reasons  # noqa: E402
import cpython_run  # noqa: E402
import document  # noqa: E402

PATIENCE = 90.0  # seconds for a test; the longest take 30 on a loaded machine
SKIPPED, PRIVATE, PASSED, UNEXPLAINED = "skipped", "private", "passed", "other"
ELSEWHERE = "elsewhere"  # counted beside "passed": it had children, and on other hosts


def verdict(plan: cpython_run.Plan, outcome: cpython_run.Outcome) -> str:
    """What the test counts as."""
    if outcome.kind == "skipped":
        return SKIPPED
    place = cpython_reasons.place(outcome.test)
    if place.table == "private" and plan.mode == "cluster":
        return PRIVATE
    if outcome.kind == "passed" and not stayed(plan, outcome):
        return PASSED
    if place.table == "elsewhere":
        return place.reason if plan.mode == "cluster" else UNEXPLAINED
    return place.table or UNEXPLAINED


def stayed(plan: cpython_run.Plan, outcome: cpython_run.Outcome) -> bool:
    """It had children, and all of them on the driver's host."""
    return plan.mode == "cluster" and bool(outcome.hosts) and set(outcome.hosts) == {0}


def report(plan: cpython_run.Plan, outcome: cpython_run.Outcome, verdict: str) -> None:
    if verdict not in (PASSED, SKIPPED):
        lines = outcome.text.strip().splitlines() or [""]
        kind = "stayed on the driver's host" if stayed(plan, outcome) else outcome.kind
        print(f"{verdict}: {outcome.test} {kind}: {lines[-1][:160]}", flush=True)


def row(name: str, counted: collections.Counter[str]) -> str:
    """passed, those of them with processes elsewhere, of, and the others by reason. What was
    skipped or is private is not counted."""
    reasons = [*cpython_reasons.REASONS, "better", UNEXPLAINED]
    of = counted[PASSED] + sum(counted[reason] for reason in reasons)
    cells = [counted[PASSED], counted[ELSEWHERE], of, *(counted[reason] for reason in reasons)]
    return f"| {name} | " + " | ".join(map(str, cells)) + " |"


def run(plan: cpython_run.Plan, patterns: list[str], verbose: bool) -> collections.Counter[str]:
    """All tests that match, or all."""
    tests = cpython_run.names(plan)
    if patterns:
        tests = [t for t in tests if any(fnmatch.fnmatch(t, f"*{one}*") for one in patterns)]
    counted: collections.Counter[str] = collections.Counter()
    for outcome in cpython_run.run(plan, tests):
        found = verdict(plan, outcome)
        counted[found] += 1
        if found == PASSED and plan.mode == "cluster" and outcome.hosts:
            counted[ELSEWHERE] += 1
        report(plan, outcome, found)
        if verbose and found != PASSED:
            print(outcome.text)
    return counted


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.compat.cpython")
    parser.add_argument("--mode", choices=("cluster", "local"), default="cluster")
    parser.add_argument("--method", choices=("fork", "spawn", "forkserver"), default="spawn")
    parser.add_argument("--verbose", action="store_true", help="show what failing tests said")
    parser.add_argument(
        "patterns", metavar="PART", nargs="*", help="a part of module.class.method, or a pattern"
    )
    arguments = parser.parse_args()
    # A shell's background job ignores it, and what it starts would; the tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cpython_fetch.main()
    parts = cpython_run.parts()
    if not any(parts.values()):
        return 0
    patterns = arguments.patterns
    with cpython_run.Plan(arguments.mode, arguments.method, PATIENCE) as plan:
        counted = run(plan, patterns, arguments.verbose)
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    suites = " and ".join(name for name, there in parts.items() if there)
    how = "cluster" if plan.mode == "cluster" else f"local, {plan.method}"
    written = row(f"{python}, {how}", counted)
    print(f"{suites}: {dict(counted)}")
    if not patterns:
        document.update("cpython", f"{python}, {how}", written)
    return int(counted[UNEXPLAINED] > 0)


if __name__ == "__main__":
    sys.exit(main())
