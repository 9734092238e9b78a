"""`make demo`: four programs on one to three local hosts, with figures.

Fails (exit code 1) when a result is wrong or when a host did not take part.
"""

import os
import pathlib
import sys
import time

import lock_races
import mandelbrot
import matmul
import wordcount

import dsmproc

COLUMNS = ["tasks", "read_faults", "write_faults", "pages_fetched", "messages_sent", "bytes_sent"]
MOST_HOSTS = 3
PIECES = 80  # of the standard library: some 20 MB


def speeds(pieces: list[str]) -> None:
    """Two programs that compute, on one, two and three hosts of one process each."""
    alone: dict[str, float] = {}
    for hosts in range(1, MOST_HOSTS + 1):
        print(f"{hosts} host{'s' if hosts > 1 else ''}, one process each:")
        with dsmproc.init(local=hosts, slots=1):
            started = time.perf_counter()
            wordcount.count(pieces)
            taken = {
                "word count": time.perf_counter() - started,
                "mandelbrot": mandelbrot.draw(700)[1],
            }
        for name, seconds in taken.items():
            first = alone.setdefault(name, seconds)
            print(f"  {name} {seconds:6.2f} s, {first / seconds:.1f} times as fast as on one host")
    cores = len(os.sched_getaffinity(0))
    if cores < MOST_HOSTS:
        print(
            f"These hosts share this machine's {cores} core(s): more of them gain nothing here.\n"
            f"With a core for each, {MOST_HOSTS} hosts come to at best "
            + " and ".join(f"{first / MOST_HOSTS:.2f} s ({name})" for name, first in alone.items())
            + "."
        )


def everything(pieces: list[str]) -> bool:
    """All programs on one cluster of three hosts; did every host take part?"""
    print("three hosts, all programs:")
    with dsmproc.init(local=3, slots=1):
        done = [wordcount.count(pieces[::4])[1], matmul.multiply(400)[1], mandelbrot.draw(100)[2]]
        lock_races.run(operations=2000)
        figures = dsmproc.stats()
        for host, row in figures.items():
            row["tasks"] = sum(tasks.get(host, 0) for tasks in done)
    print("  host  " + "  ".join(f"{name:>13}" for name in COLUMNS))
    for host, row in sorted(figures.items()):
        print(f"  {host:>4}  " + "  ".join(f"{row[name]:>13}" for name in COLUMNS))
    missing = [(host, name) for host, row in figures.items() for name in COLUMNS if not row[name]]
    for host, name in missing:
        print(f"FAILED: host {host} shows no {name}")
    return len(figures) == 3 and not missing


def main() -> int:
    pieces = wordcount.read_pieces(pathlib.Path(os.__file__).parent)[:PIECES]
    speeds(pieces)
    return 0 if everything(pieces) else 1


if __name__ == "__main__":
    sys.exit(main())
