"""Cases for Pool whose workers are killed or stopped, run by test_pool.py; argv: one.

DSMPROC_PLACE=remote keeps all workers away from the driver's host.
"""

import os
import signal
import sys
import tempfile
import threading
import time

import dsmproc as mp

setting = None


def square(x):
    return x * x


def set_global(value):
    global setting
    setting = value


def die_at(x, number=signal.SIGKILL):
    if x == 3:
        os.kill(os.getpid(), number)
    return x


def case_worker_killed():
    with mp.Pool(2) as pool:
        results = [pool.apply_async(die_at, (x,)) for x in range(8)]
        answers = []
        for result in results:
            try:
                answers.append(result.get(30))
            except mp.WorkerLostError as error:
                text = str(error)
                assert error.host in (1, 2) and error.pid and error.exitcode == -signal.SIGKILL
                assert f"host {error.host}" in text and f"pid {error.pid}" in text
                assert "SIGKILL" in text
                answers.append("lost")
        assert answers == [0, 1, 2, "lost", 4, 5, 6, 7], answers
        assert pool.map(square, range(10)) == [x * x for x in range(10)]


def case_worker_killed_in_map():
    with mp.Pool(2) as pool:
        try:
            pool.map(die_at, range(8), chunksize=2)
        except mp.WorkerLostError as error:
            assert "SIGKILL" in str(error)
        else:
            raise AssertionError
        assert pool.map(square, range(4)) == [0, 1, 4, 9]


def stop_at(x):
    if x < 0:
        setting.send(os.getpid())
        os.kill(os.getpid(), signal.SIGSTOP)
    return x


def wait_until_stopped(pid):
    """It says its pid first; SIGCONT would be lost on it before it stands still."""
    state = ""
    while state != "T":
        time.sleep(0.01)
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            state = file.read().rpartition(")")[2].split()[0]


def case_worker_stopped():
    """What it has not started is done by the others."""
    ours, theirs = mp.Pipe()
    numbers = [*range(500), -1, *range(100)]
    with mp.Pool(2, set_global, (theirs,)) as pool:
        results = [pool.apply_async(stop_at, (x,)) for x in numbers]
        pid = ours.recv()
        waiting = results.pop(500)
        assert [result.get(30) for result in results] == [x for x in numbers if x >= 0]
        assert not waiting.ready()
        wait_until_stopped(pid)
        os.kill(pid, signal.SIGCONT)
        assert waiting.get(30) == -1


def here(_):
    time.sleep(0.05)
    return os.getpid()


def case_idle_worker_stopped():
    """What is sent to it, more than its socket holds, comes back, and nothing else is sent there
    before it goes on; then it works like the others."""
    with mp.Pool(2) as pool:
        pids = set()
        while len(pids) < 2:
            pids |= set(pool.map(here, range(4), chunksize=1))
        stopped = min(pids)
        os.kill(stopped, signal.SIGSTOP)
        wait_until_stopped(stopped)
        results = [pool.apply_async(len, (bytes(700_000 + i),)) for i in range(4)]
        assert [result.get(30) for result in results] == [700_000 + i for i in range(4)]
        began = time.monotonic()
        assert pool.map(len, ["ab"] * 2000, chunksize=1) == [2] * 2000
        assert set(pool.map(here, range(40), chunksize=1)) == pids - {stopped}
        assert time.monotonic() - began < 20
        os.kill(stopped, signal.SIGCONT)
        while stopped not in pool.map(here, range(4), chunksize=1):
            pass


def case_terminate_with_a_stopped_worker():
    ours, theirs = mp.Pipe()
    pool = mp.Pool(2, set_global, (theirs,))
    waiting = pool.apply_async(stop_at, (-1,))
    wait_until_stopped(ours.recv())
    pool.terminate()
    pool.join()
    try:
        waiting.get(30)
        raise AssertionError("its worker was ended")
    except mp.WorkerLostError:
        pass


def note(task):
    """Leaves its number in a file; some take long, and some kill their worker."""
    number, deadly = task
    fd = os.open(setting, os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"%d\n" % number)
    os.close(fd)
    if number % 97 == 5:
        threading.Event().wait(0.03)
    if deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def case_no_task_is_run_twice():
    deadly = {150, 151, 400, 777}
    with tempfile.NamedTemporaryFile() as file:
        with mp.Pool(3, set_global, (file.name,)) as pool:
            tasks = [(number, number in deadly) for number in range(1000)]
            results = [pool.apply_async(note, (task,)) for task in tasks]
            lost = set()
            for number, result in enumerate(results):
                try:
                    assert result.get(30) == number
                except mp.WorkerLostError as error:
                    assert "SIGKILL" in str(error)
                    lost.add(number)
        assert lost == deadly, lost
        run = [int(line) for line in file.read().split()]
    assert sorted(run) == list(range(1000))


if __name__ == "__main__":
    globals()[f"case_{sys.argv[1]}"]()
    print("right")
