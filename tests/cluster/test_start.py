"""How workers come to be and end: the process they are forked from, and what runs at their end."""

from __future__ import annotations

from helpers import RunScript


def test_the_forking_process_may_be_killed(run_script: RunScript) -> None:
    """It takes no worker along, and the next worker has a new one."""
    result = run_script(
        """
        import os, signal
        import dsmproc as mp

        def kill_it(pipe):
            agent = os.getppid()
            with open(f"/proc/{agent}/task/{agent}/children") as file:
                children = {int(pid) for pid in file.read().split()}
            children.discard(os.getpid())
            assert len(children) == 1, children
            os.kill(children.pop(), signal.SIGKILL)
            pipe.send("killed")
            assert pipe.recv() == "go on"
            raise SystemExit(7)

        def answer():
            raise SystemExit(8)

        ours, theirs = mp.Pipe()
        first = mp.Process(target=kill_it, args=(theirs,))
        first._dsmproc_host = 1
        first.start()
        assert ours.recv() == "killed"
        for _ in range(2):
            second = mp.Process(target=answer)
            second._dsmproc_host = 1
            second.start()
            second.join()
            assert second.exitcode == 8
        ours.send("go on")
        first.join()
        print(first.exitcode)
        """
    ).check()
    assert result.lines() == ["7"]


def test_forked_workers_draw_different_numbers(run_script: RunScript) -> None:
    result = run_script(
        """
        import random, numpy, uuid
        import dsmproc as mp

        def draw(queue):
            queue.put((mp.current_host(), random.random(), float(numpy.random.random())))

        queue = mp.SimpleQueue()
        for host in (1, 1, 1, 2):
            process = mp.Process(target=draw, args=(queue,))
            process._dsmproc_host = host
            process.start()
            process.join()
        drawn = [queue.get() for _ in range(4)]
        print(sorted(host for host, _, _ in drawn))
        print(len({a for _, a, _ in drawn}), len({b for _, _, b in drawn}))
        """
    ).check()
    assert result.lines() == ["[1, 1, 1, 2]", "4 4"]


def test_what_a_worker_leaves_behind_is_reaped(run_script: RunScript) -> None:
    result = run_script(
        """
        import os, subprocess, time
        import dsmproc as mp

        def leave(pipe):
            child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
            pipe.send((os.getppid(), child.pid, os.dup(child.stdin.fileno())))
            os._exit(3)  # cat reads its end, ends, and is a child of the agent

        ours, theirs = mp.Pipe()
        process = mp.Process(target=leave, args=(theirs,))
        process._dsmproc_host = 1
        process.start()
        agent, pid, _ = ours.recv()
        process.join()
        assert process.exitcode == 3
        until = time.monotonic() + 30
        while os.path.exists(f"/proc/{pid}"):
            assert time.monotonic() < until
            time.sleep(0.01)
        print("reaped", os.path.exists(f"/proc/{agent}"))
        """
    ).check()
    assert result.lines() == ["reaped True"]


def test_the_end_of_a_child(run_script: RunScript) -> None:
    """atexit and Finalize run in it; its daemonic children on other hosts end with it."""
    result = run_script(
        """
        import atexit, time
        from multiprocessing import util
        import dsmproc as mp

        def last_words(word):
            print(word, "on", mp.current_host(), flush=True)

        def daemon(pipe, ready):
            pipe.send(mp.current_host())
            ready.set()
            time.sleep(60)

        def parent(pipe):
            ready = mp.Event()
            atexit.register(last_words, "atexit")
            util.Finalize(None, last_words, ("finalized",), exitpriority=1)
            process = mp.Process(target=daemon, args=(pipe, ready), daemon=True)
            process._dsmproc_host = 2
            process.start()
            assert mp.active_children() == [process]
            assert ready.wait(30)
            process.join(0.01)
            assert process.is_alive()

        ours, theirs = mp.Pipe()
        process = mp.Process(target=parent, args=(theirs,))
        process._dsmproc_host = 1
        process.start()
        theirs.close()
        assert ours.recv() == 2
        process.join()
        try:
            ours.recv()
        except EOFError:
            print("daemon gone")
        print(process.exitcode)
        """
    ).check()
    lines = result.lines()  # Python 3.13 runs atexit's functions first
    assert sorted(lines[:2]) == ["atexit on 1", "finalized on 1"]
    assert lines[2:] == ["daemon gone", "0"]


def test_logging_in_children(run_script: RunScript) -> None:
    result = run_script(
        """
        import logging
        import dsmproc as mp

        def work():
            assert mp.get_logger().level == logging.INFO
            mp.get_logger().info("from host %d", mp.current_host())

        mp.log_to_stderr(logging.INFO)
        for host in (0, 1, 2):
            process = mp.Process(target=work)
            process._dsmproc_host = host
            process.start()
            process.join()
            assert process.exitcode == 0
        """
    ).check()
    for host in range(3):
        assert f"from host {host}" in result.err


LARGE = """
    import numpy
    import dsmproc as mp

    SIZE = 16 << 20

    def look(data, queue, beside=None):
        said = mp.current_host(), len(data), int(data[0]), beside is data
        if not isinstance(data, bytes):
            data[0] = 99  # is nobody else's
        queue.put(said)
        done.wait()

    class Holder(mp.Process):
        def __init__(self, data, queue):
            super().__init__()
            self.data, self.queue = data, queue

        def run(self):
            look(self.data, self.queue)

    def start(make, *arguments, **keywords):
        mp.stats(reset=True)
        for host in (1, 2, 1, 2):
            processes.append(make(*arguments, **keywords))
            processes[-1]._dsmproc_host = host
            processes[-1].start()
        said = {queue.get() for _ in range(4)}
        sent = sum(counters["bytes_sent"] for counters in mp.stats().values())
        print(sorted(said), round(sent / SIZE), flush=True)

    def finish():
        done.set()
        while processes:
            processes[-1].join()
            assert processes.pop().exitcode == 0

    processes, queue, done = [], mp.Queue(), mp.Event()
    data = numpy.full(SIZE, 7, "u1")
    start(mp.Process, target=look, args=(data, queue))
    start(mp.Process, target=look, args=(data, queue), kwargs={"beside": data})
    start(mp.Process, target=look, args=(bytes(data), queue))
    data[0] = 8
    start(Holder, data, queue)
    finish()
    done.clear()
    start(Holder, data, queue)  # no process has it any more
    finish()
"""


def test_a_large_argument_is_on_each_host_once(run_script: RunScript) -> None:
    def row(first: int, beside: bool, times: int) -> str:
        return f"{[(host, 16 << 20, first, beside) for host in (1, 2)]} {times}"

    assert run_script(LARGE).check().lines() == [
        row(7, False, 2),
        row(7, True, 0),
        row(7, False, 2),
        row(8, False, 2),
        row(8, False, 2),
    ]
