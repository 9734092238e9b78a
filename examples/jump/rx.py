"""rx: radix sort by digits of four bits; each host reads 16 slots, and writes 16 slots.

In every pass a host reads what all hosts have written, and then writes over just that: producers
and consumers change with each pass, on all pages.
"""

import numpy as np
import team

KEYS, PASSES = 2_097_152, 8
BLOCK = 1024  # words of a page


def read_order(p, hosts, odd):
    """The slots that host p reads, in the order of the keys."""
    group = 16 // hosts
    for t in range(group):
        for source in range(hosts):
            yield source * 16 + group * p + t if odd else p * 16 + group * source + t


def write_slot(p, hosts, odd, digit):
    group = 16 // hosts
    return digit // group * 16 + group * p + digit % group if odd else p * 16 + digit


def read_slot(words):
    """The keys of a slot, up to its 0, and not a page more."""
    parts = []
    for at in range(0, len(words), BLOCK):
        block = words[at : at + BLOCK].copy()
        end = np.flatnonzero(block == 0)
        parts.append(block[: end[0]] if len(end) else block)
        if len(end):
            break
    return np.concatenate(parts)


def draw(p, n):
    return np.random.default_rng(p + 1).integers(1, 1 << 32, n, "u4")


def work(team, keys) -> None:
    slots = team.slots
    local = draw(team.p, keys // team.hosts)
    team.begin()
    for turn in range(PASSES):
        odd = turn % 2
        if turn:
            order = read_order(team.p, team.hosts, odd)
            local = np.concatenate([read_slot(slots[slot]) for slot in order])
            team.barrier()
        digits = local >> (4 * turn) & 15
        for digit in range(16):
            some = local[digits == digit]
            slot = slots[write_slot(team.p, team.hosts, odd, digit)]
            slot[: len(some)] = some
            slot[len(some)] = 0
        team.barrier()
    team.end()
    if team.p == 0:
        orders = [read_order(p, team.hosts, 0) for p in range(team.hosts)]
        found = np.concatenate([read_slot(slots[slot]) for order in orders for slot in order])
        every = np.concatenate([draw(p, keys // team.hosts) for p in range(team.hosts)])
        every.sort()
        assert np.array_equal(found, every)


def run(hosts=4, keys=KEYS) -> float:
    """`hosts` divides 16."""
    shapes = {"slots": ((16 * hosts, 2 * keys // (16 * hosts)), "u4")}
    return team.run(work, hosts, shapes, keys)


if __name__ == "__main__":
    team.main("rx", run)
