"""python -m tests.compat.table: run the programs, and write this Python's rows of their table."""

from __future__ import annotations

import importlib.metadata
import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

DISTRIBUTIONS = ("emcee", "gymnasium", "scikit-learn", "scipy", "tqdm")


class Outcomes:
    """A pytest plugin: the worst outcome of each test."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.partition("[")[2].removesuffix("]")
        if report.when == "call" or report.outcome != "passed":
            self.found[name] = report.outcome


def main() -> int:
    outcomes = Outcomes()
    path = os.path.join(HERE, "test_programs.py")
    pytest.main([path, "-q", "-p", "no:cacheprovider", "--timeout=180"], plugins=[outcomes])
    import document

    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for name, outcome in outcomes.found.items():
        version = importlib.metadata.version(name) if name in DISTRIBUTIONS else python
        key = f"{name}, Python {python}"
        document.update("programs", key, f"| {key} | {version} | {outcome} |")
    return int(set(outcomes.found.values()) != {"passed"})


if __name__ == "__main__":
    sys.exit(main())
