"""Four counters on two pages, changed under nested locks by processes on all hosts.

    python examples/lock_races.py [OPERATIONS]                   on this machine
    dsmproc run --local 3 examples/lock_races.py [OPERATIONS]    on three hosts

Counters are added to, emptied, and moved into each other, so their values return to what they were.
Each worker also counts for itself what it has added and taken away. The run fails unless the sum of
that is what the shared counter says. On a cluster it also fails unless two hosts wrote each page
and each lock changed hosts often enough: then it would not have tried anything.
"""

import itertools
import random
import sys

try:
    import dsmproc as multiprocessing
    from dsmproc import SharedMemory, current_host, hosts
except ImportError:  # the same program without dsmproc
    import multiprocessing
    from multiprocessing.shared_memory import SharedMemory

    current_host, hosts = (lambda: 0), (lambda: [0])

WORKERS = 3
ROUNDS = 100
PAGE = 4096 // 8  # a page, in 64-bit words
COUNTERS = range(4)
CELL = [0, 4, PAGE, PAGE + 4]  # two counters on each page, so that locks and pages do not match
VALUE, HOLDER, CHANGES, WRITERS = range(4)  # the words of a counter's cell
# Eleven choices of counters, each under the locks of all of them: one, two, or all four.
SOME = [some for n in (1, 2, 4) for some in itertools.combinations(COUNTERS, n)]


def add(values, amount) -> list[int]:
    return [value + amount for value in values]


def empty(values, amount) -> list[int]:
    return [0 for _ in values]


def move(values, amount) -> list[int]:
    """All of them into the last one."""
    return [0 for _ in values[1:]] + [sum(values)]


def work(number, operations, memory, locks, added, together) -> None:
    """One worker: random operations; what they come to goes into its row of `added`."""
    cells = memory.buf.cast("q")
    draw, mine = random.Random(number), [0] * 4
    me = current_host() + 1  # 0 is nobody
    for turn in range(operations):
        if turn % (operations // ROUNDS or 1) == 0:
            together.wait()  # or a quick one might be done before the next begins
        counters, change = draw.choice(SOME), draw.choice((add, add, empty, move))
        for counter in counters:  # always in this order: no deadlock
            locks[counter].acquire()
        before = [cells[CELL[counter] + VALUE] for counter in counters]
        after = change(before, draw.randrange(1, 10))
        for counter, old, new in zip(counters, before, after, strict=True):
            cell = CELL[counter]
            cells[cell + VALUE] = new
            mine[counter] += new - old
            cells[cell + CHANGES] += cells[cell + HOLDER] not in (0, me)  # who had it before us?
            cells[cell + HOLDER] = me
            cells[cell + WRITERS] |= 1 << me
        for counter in counters:
            locks[counter].release()
    added[number * 4 : number * 4 + 4] = mine
    cells.release()


def check(cells, added, operations) -> list[str]:
    """What is wrong, in sentences."""
    wrong = []
    for counter in COUNTERS:
        value, _, changes, _ = cells[CELL[counter] : CELL[counter] + 4]
        expected = sum(added[counter::4])
        print(f"  counter {counter}: {value}, by the workers {expected}; {changes} host changes")
        if value != expected:
            wrong.append(f"counter {counter} is {value}, but by the workers {expected}")
        if len(hosts()) > 1 and changes < min(100, operations // 10):
            wrong.append(f"lock {counter} changed hosts only {changes} times")
    for page, (one, two) in enumerate([CELL[:2], CELL[2:]]):
        writers = (cells[one + WRITERS] | cells[two + WRITERS]).bit_count()
        if len(hosts()) > 1 and writers < 2:
            wrong.append(f"page {page} was written by {writers} host(s)")
    return wrong


def run(operations: int = 10_000) -> None:
    """All of it; SystemExit says what is wrong."""
    memory = SharedMemory(create=True, size=2 * PAGE * 8)
    locks = [multiprocessing.Lock() for _ in COUNTERS]
    added = multiprocessing.RawArray("q", WORKERS * 4)
    together = multiprocessing.Barrier(WORKERS)
    args = (operations, memory, locks, added, together)
    workers = [multiprocessing.Process(target=work, args=(n, *args)) for n in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with memory.buf.cast("q") as cells:
        wrong = check(cells, added, operations)
    memory.close()
    memory.unlink()
    wrong += [f"a worker ended with {w.exitcode}" for w in workers if w.exitcode != 0]
    if wrong:
        raise SystemExit("lock_races FAILED: " + "; ".join(wrong))
    print(f"  {WORKERS} x {operations} operations: right")


if __name__ == "__main__":
    run(*(int(word) for word in sys.argv[1:] if word.isdigit()))
