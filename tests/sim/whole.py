"""The litmus programs whose orders are too many for the tests, to their ends.

    python -m tests.sim.whole

The tests explore the first thousands of states of these; `make litmus` explores all.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from pathlib import Path

from .binding import Core
from .explore import LitmusWorld, explore, judge, parse

# model, home policy, program
LONG = {
    ("scc", "first", "L3"),
    ("erc", "first", "L3"),
    ("erc", "first", "L10"),
    ("sc", "first", "L3"),
    ("sc", "first", "R4"),
    ("lrc", "homeless", "L3"),
    ("lrc", "homeless", "L10"),
}


def run(model: str, policy: str, name: str) -> tuple[str, bool]:
    """One line, and whether all is as the file says."""
    litmus = parse(Path(__file__).parent / "litmus" / f"{name}.litmus")
    litmus.model = model
    began = time.monotonic()
    outcome = explore(LitmusWorld(litmus, Core(), policy, hot=0), sys.maxsize)
    wrong = judge(litmus, outcome)
    said = "; ".join(wrong) or "as it should be"
    seconds = time.monotonic() - began
    return f"{name} {model} {policy}: {outcome.states} states, {seconds:.0f} s, {said}", not wrong


def main() -> int:
    with multiprocessing.get_context("spawn").Pool() as pool:
        results = [pool.apply_async(run, one) for one in sorted(LONG)]
        rights = []
        for result in results:
            line, right = result.get()
            print(line, flush=True)
            rights.append(right)
    return int(not all(rights))


if __name__ == "__main__":
    sys.exit(main())
