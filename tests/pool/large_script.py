"""Cases for Pool with large objects, which go once to each host; run by test_pool.py; argv: one.

DSMPROC_PLACE=remote keeps all workers away from the driver's host.
"""

import functools
import itertools
import os
import signal
import sys

import numpy

import dsmproc as mp

setting = None
met = None  # the turn of this process's last task


def square(x):
    return x * x


def keep_barrier(barrier):
    global setting
    setting = barrier


def meet(turn):
    """All processes of the pool have a task of this turn: a host that is quicker than the other
    could do them all."""
    global met
    if met != turn:
        met = turn
        setting.wait(60)


def length_and_where(data, _):
    meet(0)
    return len(data), mp.current_host(), os.getpid()


def case_a_large_function_crosses_once():
    """Eight workers on two hosts use it; to each host it goes once."""
    size = 4 << 20
    data = os.urandom(size)
    with mp.Pool(8, keep_barrier, (mp.Barrier(8),)) as pool:
        pool.map(square, range(8), chunksize=1)
        mp.stats(reset=True)
        answers = pool.map(functools.partial(length_and_where, data), range(200), chunksize=1)
        sent = sum(counters["bytes_sent"] for counters in mp.stats().values())
    assert {answer[0] for answer in answers} == {size}
    assert len({answer[1] for answer in answers}) == 2
    assert 2 * size < sent < 2.2 * size, sent / size


def shout_and_tell(data, *_):
    """What a task does to its argument is nobody else's."""
    before, data[0] = data[0], data[0] + 1
    meet(before)
    return bytes(data[:1]) != bytes([before]) and int(data.nbytes), before, mp.current_host()


def array(size):
    return numpy.frombuffer(os.urandom(size), dtype="B") // 2


def sent_by(work):
    """What it answers, and the bytes that left hosts meanwhile."""
    mp.stats(reset=True)
    answer = work()
    return answer, sum(counters["bytes_sent"] for counters in mp.stats().values())


def case_a_large_argument_crosses_once():
    """Eight workers on two hosts get it in many tasks; to each host it goes once."""
    size = 4 << 20
    data = array(size)
    with mp.Pool(8, keep_barrier, (mp.Barrier(8),)) as pool:
        pool.map(square, range(8), chunksize=1)
        for turn, (method, items) in enumerate(
            ((pool.map, [data] * 40), (pool.starmap, [(data, i) for i in range(40)]))
        ):
            data[0] = turn
            answers, sent = sent_by(lambda: method(shout_and_tell, items, chunksize=1))  # noqa: B023
            assert {answer[:2] for answer in answers} == {(size, turn)}, set(answers)
            assert len({answer[2] for answer in answers}) == 2
            assert 2 * size < sent < 2.2 * size, sent / size
        text = "x" * size  # no buffer; both in one task are one object still
        answers, sent = sent_by(lambda: pool.map(len_of_both, [(text, text)] * 4 + [text] * 4, 2))
        assert answers == [(size, True)] * 4 + [(size, False)] * 4
        small = numpy.arange(10)
        assert pool.map(list, [small] * 3 + [small]) == [list(range(10))] * 4


def case_a_large_argument_of_calls_crosses_once():
    """Eight calls that are there at once, and an imap; what is written between calls is seen."""
    size = 4 << 20
    data = array(size)
    turns = itertools.count()
    with mp.Pool(8, keep_barrier, (mp.Barrier(8),)) as pool:
        pool.map(square, range(8), chunksize=1)
        for _ in range(2):

            def call():
                calls = [pool.apply_async(shout_and_tell, (data, i)) for i in range(8)]
                calls += [pool.apply_async(shout_and_tell, (), {"data": data}) for _ in range(8)]
                return [call.get() for call in calls]

            def iterate():
                return list(pool.imap(shout_and_tell, (data for _ in range(16))))

            for work, most in ((call, 3), (iterate, 4)):  # the first goes before it is known to be
                data[0] = turn = next(turns)
                answers, sent = sent_by(work)
                assert {answer[:2] for answer in answers} == {(size, turn)}, set(answers)
                assert len({answer[2] for answer in answers}) == 2
                assert 2 * size < sent < (most + 0.2) * size, sent / size
        held = [pool.apply_async(first_of, (data,)) for _ in range(4)]
        data[0] = 77  # each call has what the array was when it was packed, the last one this
        held.append(pool.apply_async(first_of, (data,)))
        assert held[-1].get() == 77
        assert {call.get() for call in held} <= {1, 77}


def first_of(data):
    return int(data[0])


def len_of_both(item):
    return (len(item[0]), item[0] is item[1]) if isinstance(item, tuple) else (len(item), False)


def keep_array(data, barrier):
    global setting
    setting = data
    barrier.wait()


def size_and_first(_):
    setting[0] += 1
    return int(setting.nbytes), int(setting[0]), os.getpid(), mp.current_host()


def case_large_initargs_cross_once():
    size = 4 << 20
    data = array(size)
    data[0] = 0
    pool, sent = sent_by(lambda: mp.Pool(8, keep_array, (data, mp.Barrier(8))))
    with pool:
        answers, more = sent_by(lambda: pool.map(size_and_first, range(64), chunksize=1))
        assert {answer[0] for answer in answers} == {size}
        by_process = {}  # all of them have the array, who answers is whoever is quick
        for _, count, pid, host in answers:
            by_process.setdefault((pid, host), []).append(count)
        for counts in by_process.values():  # nobody else counts in its array
            assert sorted(counts) == list(range(1, len(counts) + 1))
    assert 2 * size < sent + more < 2.3 * size, (sent + more) / size


def case_a_job_with_large_arguments_survives_its_workers():
    """The one that brought it to a host dies; the others have it, or get it."""
    data = array(4 << 20)
    with mp.Pool(4) as pool:
        result = pool.map_async(die_once, [(data, i) for i in range(12)], chunksize=1)
        try:
            result.get(30)
            raise AssertionError("a worker died")
        except mp.WorkerLostError:
            pass
        assert pool.map(len_of_both, [data] * 6) == [(4 << 20, False)] * 6


def die_once(item):
    if item[1] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return len(item[0])


if __name__ == "__main__":
    globals()[f"case_{sys.argv[1]}"]()
    print("right")
