"""Pools: tasks that do nothing, and large arrays as arguments and results."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from typing import Any

import dsmproc

from ._floors import MB, Figure, Sample

ARRAYS = 8
ARRAY = 64 * MB


def nothing(_: int) -> None:
    return None


def _pools() -> tuple[Any, Any]:
    return dsmproc.Pool(2), multiprocessing.get_context("fork").Pool(2)


def pool_map(chunksize: int | None, tasks: int) -> Callable[[int], Iterator[Sample]]:
    def samples(rounds: int) -> Iterator[Sample]:
        ours, theirs = _pools()
        with ours, theirs:
            for pool in (ours, theirs):
                pool.map(nothing, range(50), chunksize=1)
            for _ in range(rounds):
                rates = []
                for pool in (ours, theirs):
                    started = time.perf_counter()
                    pool.map(nothing, range(tasks), chunksize)
                    rates.append(tasks / (time.perf_counter() - started))
                yield rates[0], rates[1]

    return samples


def negate(array: Any) -> Any:
    return -array


def pool_arrays(rounds: int) -> Iterator[Sample]:
    import numpy

    arrays = [numpy.full(ARRAY // 8, float(i + 1)) for i in range(ARRAYS)]
    ours, theirs = _pools()
    with ours, theirs:
        for _ in range(rounds):
            times = []
            for pool in (ours, theirs):
                started = time.perf_counter()
                results = pool.map(negate, arrays, chunksize=1)
                times.append((time.perf_counter() - started) / ARRAYS * 1e3)
                assert [result[-1] for result in results] == [-1.0 - i for i in range(ARRAYS)]
                del results
            yield times[0], times[1]


FIGURES = {
    "pool-map-1": Figure(
        "Pool.map of a no-op, chunksize 1, tasks/s; peer: the standard pool, equal workers",
        pool_map(1, 1000),
        ">= 0.3",
    ),
    "pool-map": Figure(
        "Pool.map of a no-op, default chunksize, tasks/s; peer: the standard pool, equal workers",
        pool_map(None, 20000),
    ),
    "pool-arrays": Figure(
        f"64 MB array as argument and as result, x {ARRAYS}, ms each; peer: the standard pool",
        pool_arrays,
        rounds=1,
    ),
}
