"""A picture of the Mandelbrot set in shared memory: each task computes some rows in place.

    python examples/mandelbrot.py [SIZE] [--processes P]                  on this machine
    dsmproc run --local 3 examples/mandelbrot.py [SIZE] [--processes P]   on three hosts

The picture is a `shared_array`: it travels as a handle, and rows that lie on one page are written
on different hosts at the same time.
"""

import argparse
import collections
import sys
import time

import numpy as np

import dsmproc as multiprocessing

STEPS = 100


def escape(point: complex) -> int:
    """Steps until the point leaves the circle of radius 2, at most STEPS."""
    z = 0j
    for step in range(STEPS):
        if abs(z) > 2:
            return step
        z = z * z + point
    return STEPS


def compute_row(picture: np.ndarray, row: int) -> int:
    """Fill one row in place; says on which host."""
    size = len(picture)
    y = 2.4 * row / size - 1.2
    picture[row] = [escape(complex(2.8 * column / size - 2.1, y)) for column in range(size)]
    return multiprocessing.current_host()


def draw(size: int, processes: int | None = None) -> tuple[np.ndarray, float, dict]:
    """The picture, seconds, and rows per host."""
    picture = multiprocessing.shared_array((size, size), np.uint8)
    with multiprocessing.Pool(processes) as pool:
        started = time.perf_counter()
        rows = pool.starmap(compute_row, [(picture, row) for row in range(size)], chunksize=4)
        seconds = time.perf_counter() - started
    return picture, seconds, dict(collections.Counter(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", nargs="?", type=int, default=400)
    parser.add_argument("--processes", type=int)
    args = parser.parse_args()
    picture, seconds, tasks = draw(args.size, args.processes)
    for row in picture[:: max(1, args.size // 24), :: max(1, args.size // 64)]:
        print("  " + "".join(" .:-=+*#%@"[step * 9 // STEPS] for step in row.tolist()))
    print(f"  {args.size} x {args.size} in {seconds:.2f} s; rows per host: {tasks}")
    if picture[args.size // 2, int(args.size * 0.75)] != STEPS:
        sys.exit("mandelbrot: the origin must be in the set")


if __name__ == "__main__":
    main()
