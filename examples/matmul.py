"""C = A B with numpy blocks in shared memory: each task multiplies one band of rows.

    python examples/matmul.py [N] [--processes P]                  on this machine
    dsmproc run --local 3 examples/matmul.py [N] [--processes P]   on three hosts

Nothing is sent but the names of the three arrays: their pages come over when they are touched.
"""

import argparse
import collections
import time

import numpy as np

import dsmproc as multiprocessing

arrays: dict[str, np.ndarray] = {}  # what this worker has attached
memories = []  # keeps the mappings alive as long as the arrays


def attach(names: dict[str, str], n: int) -> None:
    """Pool initializer: map the three matrices by name."""
    for key, name in names.items():
        memory = multiprocessing.SharedMemory(name=name, track=False)
        memories.append(memory)
        arrays[key] = np.ndarray((n, n), np.float64, buffer=memory.buf)


def multiply_band(band: tuple[int, int]) -> int:
    """Compute rows [first, end) of C in place; says on which host."""
    first, end = band
    arrays["C"][first:end] = arrays["A"][first:end] @ arrays["B"]
    return multiprocessing.current_host()


def multiply(n: int, processes: int | None = None, bands: int = 12) -> tuple[float, dict]:
    """Multiply two random n x n matrices and check the product; seconds, and bands per host."""
    shared = {key: multiprocessing.SharedMemory(create=True, size=n * n * 8) for key in "ABC"}
    views = {key: np.ndarray((n, n), np.float64, buffer=shm.buf) for key, shm in shared.items()}
    random = np.random.default_rng(1)
    views["A"][:] = random.random((n, n))
    views["B"][:] = random.random((n, n))
    edges = [n * i // bands for i in range(bands + 1)]
    names = {key: shm.name for key, shm in shared.items()}
    with multiprocessing.Pool(processes, attach, (names, n)) as pool:
        started = time.perf_counter()
        hosts = pool.map(multiply_band, list(zip(edges, edges[1:], strict=False)), chunksize=1)
        seconds = time.perf_counter() - started
    right = np.allclose(views["C"], views["A"] @ views["B"])
    views.clear()
    for shm in shared.values():
        shm.close()
        shm.unlink()
    if not right:
        raise SystemExit("matmul: the product is WRONG")
    return seconds, dict(collections.Counter(hosts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n", nargs="?", type=int, default=600)
    parser.add_argument("--processes", type=int)
    args = parser.parse_args()
    seconds, tasks = multiply(args.n, args.processes)
    print(f"  {args.n} x {args.n}: right, {seconds:.2f} s; bands per host: {tasks}")


if __name__ == "__main__":
    main()
