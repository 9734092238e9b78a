"""`make demo`: word count, matrix product and lock races on three local hosts, with figures.

Fails (exit code 1) when a result is wrong or when a host did not take part.
"""

import pathlib
import sys
import time

import lock_races
import matmul
import wordcount

import dsmproc

COLUMNS = ["tasks", "read_faults", "write_faults", "pages_fetched", "messages_sent", "bytes_sent"]


def speeds(pieces: list[str]) -> None:
    """The same programs on one, two and three hosts of one process each."""
    for hosts in (1, 2, 3):
        print(f"{hosts} host{'s' if hosts > 1 else ''}, one process each:")
        with dsmproc.init(local=hosts, slots=1):
            started = time.perf_counter()
            wordcount.count(pieces)
            print(f"  word count {time.perf_counter() - started:.2f} s")
            seconds, _ = matmul.multiply(600)
            print(f"  matmul     {seconds:.2f} s")


def everything(pieces: list[str]) -> bool:
    """All three programs on one cluster of three hosts; did every host take part?"""
    print("three hosts, all programs:")
    with dsmproc.init(local=3, slots=1):
        _, tasks = wordcount.count(pieces)
        _, bands = matmul.multiply(400)
        lock_races.run(operations=2000)
        figures = dsmproc.stats()
        for host, row in figures.items():
            row["tasks"] = tasks.get(host, 0) + bands.get(host, 0)
    print("  host  " + "  ".join(f"{name:>13}" for name in COLUMNS))
    for host, row in sorted(figures.items()):
        print(f"  {host:>4}  " + "  ".join(f"{row[name]:>13}" for name in COLUMNS))
    missing = [(host, name) for host, row in figures.items() for name in COLUMNS if not row[name]]
    for host, name in missing:
        print(f"FAILED: host {host} shows no {name}")
    return len(figures) == 3 and not missing


def main() -> int:
    pieces = wordcount.read_pieces(pathlib.Path(wordcount.__file__).parents[1] / "dsmproc", 1 << 13)
    speeds(pieces)
    return 0 if everything(pieces) else 1


if __name__ == "__main__":
    sys.exit(main())
