"""buck: bucket sort; each host fills cells of all buckets, and then sorts the buckets it owns.

Pages go from all to all, then their owner alone writes them, then hosts take turns at the ends.
"""

import random
import time

import numpy as np
import team

KEYS = 1_048_576
BUCKETS = 256


def draw(p, n):
    return np.random.default_rng(p + 1).integers(1, 1 << 32, n, "u4")


def deal(cells, keys, numbers) -> dict[int, int]:
    """Append each key to the cell with its number; how many each has got."""
    order = numbers.argsort(kind="stable")
    keys, (which, starts) = keys[order], np.unique(numbers[order], return_index=True)
    counts = {}
    for cell, start, end in zip(which, starts, [*starts[1:], len(keys)], strict=True):
        cells[cell, : end - start] = keys[start:end]
        counts[int(cell)] = int(end - start)
    return counts


def sort_own(team, cells, block) -> list:
    """Gather each bucket in the own block, deal it out by finer ranges, sort the cells in place."""
    sorted_cells = []
    buckets = team.band(BUCKETS)
    for bucket in range(buckets.start, buckets.stop):
        n = 0
        for cell in cells[bucket * team.hosts : (bucket + 1) * team.hosts]:
            end = np.flatnonzero(cell == 0)
            count = int(end[0]) if len(end) else len(cell)
            block[n : n + count] = cell[:count]
            n += count
        counts = deal(cells, block[:n].copy(), block[:n] // np.uint32((1 << 24) // team.hosts))
        for cell, count in counts.items():
            cells[cell, :count].sort()
            sorted_cells.append(cells[cell, :count])
    return sorted_cells


def my_turn(team, count) -> int:
    """Where this host's keys begin: hosts take turns, and spin until it is theirs."""
    while True:
        with team.locks[0]:
            if team.flag[0] == team.p:
                start = int(team.flag[1])
                team.flag[1] += count
                team.flag[0] += 1
                return start
        time.sleep(random.random() / 100)


def write_back(team, mine, words) -> None:
    """The blocks at both ends are shared with the neighbours: those are written under a lock."""
    start = my_turn(team, len(mine))
    end = start + len(mine)
    first, last = min(-(-start // words) * words, end), max(end // words * words, start)
    with team.locks[team.p]:
        team.b[start:first] = mine[: first - start]
    if first < last:
        team.b[first:last] = mine[first - start : last - start]
    with team.locks[team.p + 1]:
        team.b[max(first, last) : end] = mine[max(first, last) - start :]


def work(team, keys) -> None:
    block = team.b[team.band(keys)]
    block[:] = draw(team.p, len(block))
    team.guards(team.locks[0], team.flag[:2])
    if team.p == 0:
        team.flag[:2] = 0
    team.begin()
    own = block.copy()
    deal(team.a, own, (own >> 24).astype(int) * team.hosts + team.p)
    team.barrier()
    cells = sort_own(team, team.a, block)
    team.barrier()
    write_back(team, np.concatenate(cells), team.a.shape[1])
    team.end()
    if team.p == 0:
        every = np.concatenate([draw(p, keys // team.hosts) for p in range(team.hosts)])
        every.sort()
        assert np.array_equal(team.b, every)


def run(hosts=4, keys=KEYS) -> float:
    words = (keys // hosts // BUCKETS // 1024 + 1) * 1024  # of a cell
    shapes = {"a": ((BUCKETS * hosts, words), "u4"), "b": (keys, "u4"), "flag": (1024, "u4")}
    return team.run(work, hosts, shapes, keys, locks=hosts + 1)


if __name__ == "__main__":
    team.main("buck", run)
