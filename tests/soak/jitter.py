"""Stops and continues the processes of a run for 1 to 30 ms each, one after the other, at random.

    python -m tests.soak.jitter MARK SEED

until its standard input is closed. The processes are those with the mark in their environment:
agents, workers, driver, master and supervisor.
"""

from __future__ import annotations

import contextlib
import random
import select
import signal
import sys
import time

from .marks import Handles

LOOK = 0.3  # seconds between looks for new processes
STOPPED = (0.001, 0.03)
BETWEEN = (0.0, 0.02)


def main(mark: str, seed: str) -> None:
    dice, handles, due = random.Random(seed), Handles(mark), 0.0
    with contextlib.closing(handles):
        while not select.select([sys.stdin], [], [], dice.uniform(*BETWEEN))[0]:
            if time.monotonic() >= due:
                handles.look()
                due = time.monotonic() + LOOK
            if not handles.pids():
                continue
            pid = dice.choice(handles.pids())
            if handles.send(pid, signal.SIGSTOP):
                try:
                    time.sleep(dice.uniform(*STOPPED))
                finally:
                    handles.send(pid, signal.SIGCONT)


if __name__ == "__main__":
    main(*sys.argv[1:])
