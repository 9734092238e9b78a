"""A program that takes nested locks on all hosts, and writes down what each critical section saw.

    dsmproc run --local 3 tests/sync/races.py FOLDER [OPERATIONS] [unbound]

Four counters on two pages and their sequence numbers on a third, each counter with a lock of its
own. Every worker leaves a file of entries (lock, sequence number, value read, value written, host)
in FOLDER, on the disk and not in the memory that is on trial; `racelog` reads them. The locks are
let go in either order, so that critical sections overlap without being nested, too.

Values and numbers are bound to their locks (which entry consistency needs), unless `unbound`.
"""

import array
import itertools
import os
import random
import sys

import dsmproc

WORKERS = 3
ROUNDS = 10
WORD = 8
PAGE = 4096 // WORD
COUNTERS = range(4)
VALUE = [0, 1, PAGE, PAGE + 1]  # neighbours under different locks
NUMBER = [2 * PAGE + counter for counter in COUNTERS]
OPERATIONS = [some for n in (1, 2, 4) for some in itertools.combinations(COUNTERS, n)]


def bind(memory, locks):
    for counter, lock in enumerate(locks):
        for word in (VALUE[counter], NUMBER[counter]):
            lock.bind(memory.buf[word * WORD : (word + 1) * WORD])


def work(number, operations, folder, memory, locks, together, bound):
    if bound:
        bind(memory, locks)
    cells = memory.buf.cast("q")
    draw, log, host = random.Random(number), array.array("q"), dsmproc.current_host()
    for turn in range(operations):
        if turn % (operations // ROUNDS or 1) == 0:
            together.wait()  # or a quick one might be done before the next begins
        counters = draw.choice(OPERATIONS)
        amount = draw.randrange(1, 10)
        for counter in counters:  # always in this order: no deadlock
            locks[counter].acquire()
            read = cells[VALUE[counter]]
            sequence = cells[NUMBER[counter]] = cells[NUMBER[counter]] + 1
            cells[VALUE[counter]] = read + amount
            log.extend((counter, sequence, read, read + amount, host))
        for counter in draw.choice((counters, counters[::-1])):
            locks[counter].release()
    cells.release()
    memory.close()
    with open(os.path.join(folder, f"{number}.log"), "wb") as file:
        log.tofile(file)


def main(folder, operations=300, bound=True):
    memory = dsmproc.SharedMemory(create=True, size=3 * PAGE * WORD)
    locks = [dsmproc.Lock() for _ in COUNTERS]
    together = dsmproc.Barrier(WORKERS)
    args = (operations, folder, memory, locks, together, bound)
    workers = [dsmproc.Process(target=work, args=(n, *args)) for n in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    memory.close()
    memory.unlink()
    codes = [worker.exitcode for worker in workers]
    if any(codes):
        raise SystemExit(f"the workers ended with {codes}")


if __name__ == "__main__":
    main(sys.argv[1], int((sys.argv[2:] or ["300"])[0]), "unbound" not in sys.argv)
