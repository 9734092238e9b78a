"""Cases for Pool, run by test_pool.py over the standard library, one host and three; argv: one.

On three hosts DSMPROC_PLACE=remote keeps all workers away from the driver's host.
"""

import io
import itertools
import multiprocessing.pool
import os
import signal
import sys
import threading
from multiprocessing import connection

import dsmproc as mp

CLUSTER = len(mp.hosts()) > 1
setting = None


def square(x):
    return x * x


def power(x, y=2):
    return x**y


def fail(x):
    raise ValueError(f"no {x}")


def where(_):
    return mp.current_host(), os.getpid()


def set_global(value):
    global setting
    setting = value


def get_global(_):
    return setting


def meet_and_tell(_):
    setting.wait()
    return mp.current_host()


def refuse(reason):
    raise RuntimeError(reason)


class Odd(Exception):
    """An exception that cannot be rebuilt from its arguments."""

    def __init__(self, a, b):
        super().__init__(a)
        self.b = b


def raise_odd(_):
    raise Odd(1, 2)


def unpicklable(_):
    return threading.Lock()


def case_map():
    with mp.Pool(3) as pool:
        squares = [x * x for x in range(50)]
        assert pool.map(square, range(50)) == squares
        assert pool.map(square, range(50), chunksize=7) == squares
        assert pool.map(square, []) == []
        assert pool.map(lambda x: -x, (1, 2)) == [-1, -2] if CLUSTER else True
        assert pool.map_async(square, range(5)).get(30) == squares[:5]


def case_starmap():
    with mp.Pool(2) as pool:
        assert pool.starmap(power, [(2, 3), (3,), (5, 0)]) == [8, 9, 1]
        assert pool.starmap_async(power, [(2, 5)]).get(30) == [32]


def case_apply():
    with mp.Pool(2) as pool:
        assert pool.apply(power, (2,), {"y": 10}) == 1024
        result = pool.apply_async(square, (9,))
        result.wait(30)
        assert result.ready() and result.successful() and result.get() == 81
        with_error = pool.apply_async(fail, (1,))
        with_error.wait(30)
        assert not with_error.successful()


def case_imap():
    with mp.Pool(3) as pool:
        squares = [x * x for x in range(30)]
        assert list(pool.imap(square, range(30))) == squares
        assert list(pool.imap(square, iter(range(30)), chunksize=4)) == squares
        assert sorted(pool.imap_unordered(square, range(30))) == squares
        assert sorted(pool.imap_unordered(square, range(30), chunksize=4)) == squares
        results = pool.imap(fail, range(2))
        for number in range(2):
            try:
                next(results)
            except ValueError as error:
                assert str(error) == f"no {number}"
            else:
                raise AssertionError


def case_imap_is_lazy():
    taken = []

    def numbers():
        for number in itertools.count():
            taken.append(number)
            yield number

    with mp.Pool(2) as pool:
        results = pool.imap(square, numbers())
        assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
        assert len(taken) < 40, len(taken)


def case_iterable_raises():
    def numbers():
        yield 1
        raise OSError("no more numbers")

    with mp.Pool(2) as pool:
        results = pool.imap(square, numbers())
        assert next(results) == 1
        try:
            next(results)
        except OSError as error:
            assert str(error) == "no more numbers"
        else:
            raise AssertionError


def case_callbacks():
    heard, called = [], threading.Event()

    def hear(value):
        heard.append(value)
        called.set()

    with mp.Pool(2) as pool:
        assert pool.apply_async(square, (3,), callback=hear).get(30) == 9
        assert called.wait(30) and heard == [9]
        called.clear()
        result = pool.map_async(fail, [7], callback=hear, error_callback=hear)
        assert called.wait(30) and isinstance(heard[1], ValueError)
        result.wait(30)  # the callback comes before the result is ready
        assert not result.successful()


def case_errors():
    with mp.Pool(2) as pool:
        try:
            pool.map(fail, range(3))
        except ValueError as error:
            assert str(error).startswith("no ")
            assert "in fail" in str(error.__cause__)
        else:
            raise AssertionError
        try:
            pool.apply(unpicklable, (1,))
        except multiprocessing.pool.MaybeEncodingError as error:
            assert "lock" in str(error)
        else:
            raise AssertionError
        assert pool.apply(square, (4,)) == 16  # it goes on
        try:
            pool.map(square, [threading.Lock()])
        except (TypeError, mp.ProcessError) as error:
            assert "lock" in str(error)
        else:
            raise AssertionError


def case_exception_that_cannot_be_rebuilt():
    with mp.Pool(2) as pool:
        try:
            pool.apply_async(raise_odd, (1,)).get(30)
        except mp.TimeoutError:
            raise
        except Exception as error:
            assert "Odd" in str(error) or isinstance(error, Odd), error
        else:
            raise AssertionError
        assert pool.apply(square, (4,)) == 16


def case_initializer():
    with mp.Pool(2, set_global, ("set",)) as pool:
        assert pool.map(get_global, range(8), chunksize=1) == ["set"] * 8


def case_initializer_raises():
    pool = mp.Pool(2, refuse, ("not today",))
    try:
        pool.map(square, range(3))
    except RuntimeError as error:
        assert str(error) == "not today"
    else:
        raise AssertionError
    pool.terminate()
    pool.join()


def case_maxtasksperchild():
    with mp.Pool(2, maxtasksperchild=3) as pool:
        pids = [pid for _, pid in pool.map(where, range(18), chunksize=1)]
        assert all(pids.count(pid) <= 3 for pid in set(pids))
        assert len(set(pids)) >= 6


def case_close_and_join():
    pool = mp.Pool(2)
    result = pool.map_async(square, range(20), chunksize=1)
    try:
        pool.join()
    except ValueError as error:
        assert "still running" in str(error)
    else:
        raise AssertionError
    pool.close()
    try:
        pool.apply(square, (1,))
    except ValueError as error:
        assert "not running" in str(error)
    else:
        raise AssertionError
    pool.join()
    assert result.get(0) == [x * x for x in range(20)]


def case_close_before_the_last_answers():
    """The pool is closed, and then all workers answer at the same moment."""
    go = mp.Event()
    pool = mp.Pool(2, set_global, (go,))
    result = pool.map_async(wait_for_setting, range(2), chunksize=1)
    handler = pool._handler
    while sum(bool(member.given) for member in handler._members) < 2:
        assert pool._state == "RUN"
    with handler._lock:
        handler.poke()  # it waits for the lock
        go.set()
        for member in handler._members:
            assert connection.wait([member], 30)
        handler._closing = True
        pool._state = "CLOSE"
    pool.join()
    assert result.get(0) == [True, True]


def wait_for_setting(_):
    return setting.wait(30)


def case_terminate():
    pool = mp.Pool(2)
    waiting = pool.apply_async(signal.pause)
    pool.terminate()
    pool.join()
    try:
        waiting.get(30)
    except mp.WorkerLostError as error:
        assert "terminated" in str(error)
    else:
        raise AssertionError


def case_places():
    with mp.Pool(4, set_global, (mp.Barrier(4),)) as pool:  # so every worker takes a task
        hosts = pool.map(meet_and_tell, range(4), chunksize=1)
    assert sorted(hosts) == [1, 1, 2, 2], hosts


def case_used_by_others():
    """Libraries look at these."""
    with mp.Pool(3) as pool:
        assert isinstance(pool, multiprocessing.pool.Pool)
        assert pool._processes == 3 and len(pool._pool) == 3
        assert all(process.is_alive() for process in pool._pool)
        assert "Pool" in repr(pool) and "RUN" in repr(pool)


def case_nested():
    def inner(x):
        with mp.Pool(2) as pool:
            return sum(pool.map(square, range(x)))

    class Free(mp.Process):
        """Not daemonic, so it may have children."""

    def run(pipe):
        pipe.send(inner(4))

    ours, theirs = mp.Pipe()
    process = Free(target=run, args=(theirs,))
    process.start()
    assert ours.recv() == 14
    process.join()


def meet_if_negative(x):
    if x < 0:
        setting.wait(30)
    return x


def case_tasks_that_wait_for_each_other():
    """They come behind many short ones, with which they would share a frame."""
    numbers = [*range(500), -1, -2, -3]
    with mp.Pool(3, set_global, (mp.Barrier(3),)) as pool:
        for _ in range(2):
            assert pool.map(meet_if_negative, numbers, chunksize=1) == numbers
        results = [pool.apply_async(meet_if_negative, (x,)) for x in numbers]
        assert [result.get(30) for result in results] == numbers


def case_batches_fail_alone():
    """One bad task among many that travel together."""
    with mp.Pool(2) as pool:
        assert pool.map(square, range(300), chunksize=1) == [x * x for x in range(300)]
        results = [pool.apply_async(square, (x,)) for x in range(50)]
        bad = pool.apply_async(square, (threading.Lock(),))
        late = pool.apply_async(unpicklable, (1,))
        results += [pool.apply_async(square, (x,)) for x in range(50)]
        assert [result.get(30) for result in results] == [x * x for x in range(50)] * 2
        for result in (bad, late):
            try:
                result.get(30)
            except (TypeError, multiprocessing.pool.MaybeEncodingError) as error:
                assert "lock" in str(error)
            else:
                raise AssertionError


def inner_pool(x):
    with mp.Pool(2) as pool:
        return sum(pool.map(square, range(x), chunksize=1)), mp.current_host()


def case_pool_in_a_pool():
    with mp.Pool(2) as pool:
        answers = pool.map(inner_pool, [3, 4, 5], chunksize=1)
    assert [answer for answer, _ in answers] == [5, 14, 30]
    assert all(host != 0 for _, host in answers)


def case_buffersize():
    def numbers(taken):
        for number in range(1000):
            taken.append(number)
            yield number

    with mp.Pool(2) as pool:
        for imap in (pool.imap, pool.imap_unordered):
            for chunksize, buffersize in ((1, 3), (4, 9), (1, 100)):
                taken = []
                results = imap(square, numbers(taken), chunksize, buffersize=buffersize)
                for read in range(1, 301):
                    next(results)
                    # a chunk counts as read when its first item is
                    assert len(taken) <= read + buffersize + chunksize, (len(taken), read)
        try:
            pool.imap(square, numbers([]), 4, buffersize=3)
        except ValueError as error:
            assert "chunk" in str(error)
        else:
            raise AssertionError


class Terminal(io.StringIO):
    def isatty(self):
        return True


def case_progress():
    with mp.Pool(2) as pool:
        before, sys.stderr = sys.stderr, Terminal()
        try:
            assert pool.map(square, range(40), progress=True) == [x * x for x in range(40)]
            assert pool.map(square, [], progress=True) == []
            shown = sys.stderr.getvalue()
            sys.stderr = io.StringIO()
            assert pool.map(square, range(40), progress=True) == [x * x for x in range(40)]
            assert sys.stderr.getvalue() == ""
        finally:
            sys.stderr = before
    assert "40/40" in shown and shown.endswith("\n"), shown


if __name__ == "__main__":
    globals()[f"case_{sys.argv[1]}"]()
    print("right")
