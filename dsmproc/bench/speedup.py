"""Word count and matrix product on 1, 2, 4 and 8 local hosts of one slot, beside `Pool` alone.

    python -m dsmproc.bench speedup [--rounds N] [--out docs]

The same work with as many processes of `multiprocessing.Pool` on the same machine, in turns.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import multiprocessing
import multiprocessing.shared_memory
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import dsmproc

from . import _plots, _report
from .protocols import circumstances

HOSTS = (1, 2, 4, 8)
SIDE = 1024  # of the matrices
EXAMPLES = pathlib.Path(dsmproc.__file__).parents[1] / "examples"

Seconds = dict[str, dict[int, list[float]]]  # "program, system" -> hosts -> seconds of each round


def pieces_of_text() -> list[str]:
    """Some 10 MB: the standard library."""
    import sysconfig

    import wordcount  # type: ignore[import-not-found]

    root = pathlib.Path(sysconfig.get_paths()["stdlib"])
    pieces: list[str] = wordcount.read_pieces(root)
    return pieces


def count_words(pool: Any, pieces: list[str]) -> float:
    import wordcount

    total: collections.Counter[str] = collections.Counter()
    started = time.perf_counter()
    for _, words in pool.imap_unordered(wordcount.count_words, pieces):
        total.update(words)
    assert total
    return time.perf_counter() - started


_mine: list[Any] = []


def attach(memory: Callable[..., Any], name: str) -> None:
    import numpy

    shm = memory(name=name)
    _mine[:] = [shm, numpy.ndarray((3, SIDE, SIDE), float, buffer=shm.buf)]


def band(rows: tuple[int, int]) -> None:
    a, b, c = _mine[1]
    c[slice(*rows)] = a[slice(*rows)] @ b


def multiply(module: Any, memory: Callable[..., Any], processes: int) -> float:
    import numpy

    shm = memory(create=True, size=3 * SIDE * SIDE * 8)
    arrays = numpy.ndarray((3, SIDE, SIDE), float, buffer=shm.buf)
    arrays[:2] = numpy.random.default_rng(1).random((2, SIDE, SIDE))
    bands = [(i * SIDE // 16, (i + 1) * SIDE // 16) for i in range(16)]
    with module.Pool(processes, attach, (memory, shm.name)) as pool:
        pool.map(abs, range(processes), chunksize=1)  # they have begun
        started = time.perf_counter()
        pool.map(band, bands, chunksize=1)
        seconds = time.perf_counter() - started
    assert numpy.allclose(arrays[2, ::97], (arrays[0, ::97] @ arrays[1]))
    del arrays
    shm.close()
    shm.unlink()
    return seconds


def once(module: Any, memory: Callable[..., Any], processes: int, pieces: list[str]) -> list[float]:
    with module.Pool(processes) as pool, contextlib.redirect_stdout(io.StringIO()):
        pool.map(abs, range(processes), chunksize=1)
        words = count_words(pool, pieces)
    return [words, multiply(module, memory, processes)]


def measure(rounds: int) -> Seconds:
    pieces = pieces_of_text()
    found: Seconds = collections.defaultdict(lambda: collections.defaultdict(list))
    standard = multiprocessing.get_context("fork")
    for _ in range(rounds):
        for hosts in HOSTS:
            theirs = once(standard, multiprocessing.shared_memory.SharedMemory, hosts, pieces)
            with dsmproc.init(local=hosts, slots=1):
                ours = once(dsmproc, dsmproc.SharedMemory, hosts, pieces)
            for system, figures in (("hosts", ours), ("Pool", theirs)):
                for program, seconds in zip(("word count", "matrix product"), figures, strict=True):
                    found[f"{program}, {system}"][hosts].append(seconds)
    return found


def table(where: str, found: Seconds, rounds: int) -> str:
    heads = " | ".join(str(hosts) for hosts in HOSTS)
    lines = [f"{where}; seconds: medians of {rounds} round(s), the best in brackets.", ""]
    lines += [f"| hosts, or processes of a Pool | {heads} |", "|" + " --- |" * (len(HOSTS) + 1)]
    for name, by_hosts in found.items():
        cells = [f"{statistics.median(t):.2f} ({min(t):.2f})" for t in by_hosts.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m dsmproc.bench speedup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, help="folder of results.md")
    args = parser.parse_args(arguments)
    sys.path.insert(0, str(EXAMPLES))
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # one process, one core: numpy is not imported yet
    where = circumstances().partition("tick off, ")[2]
    found = measure(args.rounds)
    text = table(where, found, args.rounds)
    print(text)
    if args.out:
        (args.out / "pictures").mkdir(exist_ok=True)
        lines: dict[str, list[float | None]] = {
            name: [min(found[name][1]) / min(by_hosts[hosts]) for hosts in HOSTS]
            for name, by_hosts in found.items()
        }
        picture = _plots.curves("Times faster than one (best)", list(HOSTS), lines, "hosts")
        (args.out / "pictures" / "speedup.svg").write_text(picture)
        _report.replace(args.out / "results.md", "speedup", text)
    return 0
