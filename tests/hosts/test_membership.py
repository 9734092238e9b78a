"""Hosts that come and go while a program runs, and what the commands say about them."""

from __future__ import annotations

import os
import signal
import sys
import textwrap

import hostnet
from helpers import Running
from hostcluster import KEY_FILE, HostCluster

PYTHON = sys.executable

GROWING = """
    import os, time
    import dsmproc as mp

    def keep(given):
        global barrier
        barrier = given

    def where(_):
        barrier.wait(60)  # each worker takes one
        return mp.current_host()

    if __name__ == "__main__":
        print("hosts=", mp.hosts(), flush=True)
        while len(mp.hosts()) < 3:
            time.sleep(0.01)
        queue = mp.Queue()
        process = mp.Process(target=lambda: queue.put(mp.current_host()))
        process._dsmproc_host = 3
        process.start()
        print("process on", queue.get(timeout=30))
        process.join()
        with mp.Pool(6, keep, (mp.Barrier(6),)) as pool:
            print("pool on", sorted(set(pool.map(where, range(6), chunksize=1))))
"""


def test_new_processes_go_to_an_agent_that_joins(made_hosts: HostCluster) -> None:
    made_hosts.start(agents=1)
    running = made_hosts.script(1, GROWING)
    assert running.line("hosts=").endswith("[0, 1]")
    made_hosts.join(3)
    result = running.wait().check()
    assert result.lines()[1:] == ["process on 3", "pool on [0, 1, 3]"], result.err


LEAVING = """
    import os, sys, time
    import dsmproc as mp

    def hold(queue, lock):
        if lock is not None:
            lock.acquire()
        queue.put((mp.current_host(), os.getpid()))
        time.sleep(300)

    def keep(given):
        global barrier
        barrier = given

    def where(_):
        barrier.wait(60)  # each worker takes one
        return mp.current_host()

    def start(host, *arguments):
        process = mp.Process(target=hold, args=arguments)
        process._dsmproc_host = host
        process.start()
        return process

    if __name__ == "__main__":
        queue, lock = mp.Queue(), mp.Lock()
        gone, stays = start(3, queue, lock), start(2, queue, None)
        queue.get(), queue.get()
        print("ready=1", flush=True)
        try:
            gone.join()
        except mp.HostLostError as error:
            print("join:", error, error.host)
        print("exitcode", gone.exitcode, gone.is_alive(), stays.is_alive())
        print("lock", lock.acquire(timeout=20))
        try:
            start(3, queue, None)
        except LookupError as error:
            print("start:", *error.args)
        os.environ["DSMPROC_PLACE"] = "spread"
        with mp.Pool(6, keep, (mp.Barrier(6),)) as pool:
            print("pool on", sorted(set(pool.map(where, range(6), chunksize=1))))
        while 3 in mp.hosts():
            time.sleep(0.01)
        print("hosts", mp.hosts(), sorted(mp.stats()))
        stays.kill()
        stays.join()
"""


def _leave(cluster: HostCluster, number: int) -> Running:
    """SIGTERM for the agent of a host."""
    agent = cluster.agents[number]
    os.kill(hostnet.inner(agent.process), signal.SIGTERM)
    return agent


def test_an_agent_that_leaves_gives_its_processes_up(host_cluster: HostCluster) -> None:
    running = host_cluster.script(1, LEAVING)
    running.number("ready")
    agent = _leave(host_cluster, 3)
    result = running.wait().check()
    lines = result.lines()
    address = host_cluster.hosts[3].address
    assert lines[1].startswith("join: process ") and lines[1].endswith(" 3"), lines
    assert f"given up: host 3 (tcp://{address}:" in lines[1] and "left the cluster" in lines[1]
    assert lines[2:] == [
        "exitcode -9 False True",
        "lock True",
        lines[4],
        "pool on [0, 1, 2]",
        "hosts [0, 1, 2] [0, 1, 2]",
    ], result
    assert lines[4] in (
        "start: host 3 is leaving the cluster",
        "start: host 3 is not in the cluster",
    )
    assert agent.wait().check().out == ""
    assert [host["id"] for host in host_cluster.status()["hosts"]] == [0, 1, 2]


POOL = """
    import os, time
    import dsmproc as mp

    def keep(given):
        global queue
        queue = given

    def work(number):
        queue.put((number, mp.current_host()))
        time.sleep(300 if mp.current_host() == 3 else 0.3)  # so that each worker takes one

    if __name__ == "__main__":
        os.environ["DSMPROC_PLACE"] = "spread"
        queue = mp.Queue()
        with mp.Pool(4, keep, (queue,)) as pool:
            taken = None
            while taken is None:
                results = [pool.apply_async(work, (i,)) for i in range(4)]
                hosts = dict(queue.get() for _ in results)
                taken = next((results[i] for i, host in hosts.items() if host == 3), None)
            print("taken=1", flush=True)
            try:
                taken.get(30)
            except mp.WorkerLostError as error:
                print(error, error.host)
            print(pool.map(abs, range(-20, 0), chunksize=1) == list(range(20, 0, -1)))
"""


def test_a_task_on_a_host_that_leaves_fails_with_the_reason(host_cluster: HostCluster) -> None:
    running = host_cluster.script(1, POOL)
    running.number("taken")
    _leave(host_cluster, 3)
    lines = running.wait().check().lines()
    assert "host 3" in lines[1] and "left the cluster" in lines[1] and lines[1].endswith(" 3")
    assert lines[2] == "True"


def test_a_driver_whose_host_leaves_ends_with_a_sentence(host_cluster: HostCluster) -> None:
    script = """
        import os, time
        import dsmproc as mp

        if __name__ == "__main__":
            memory = mp.SharedMemory(create=True, size=8)
            process = mp.Process(target=time.sleep, args=(300,))
            process._dsmproc_host = 2
            process.start()
            print(f"worker={process.pid}", flush=True)
            process.join()
    """
    running = host_cluster.script(1, script)
    running.number("worker")
    _leave(host_cluster, 1)
    assert running.wait(30).code != 0
    status = host_cluster.status()
    assert status["sessions"] == 0
    host_cluster.wait_until_idle()


def test_status_and_doctor_say_who_is_there(made_hosts: HostCluster) -> None:
    made_hosts.start(agents=1)
    address = ["--address", made_hosts.address]
    command = [PYTHON, "-m", "dsmproc"]
    lines = made_hosts.hosts[0].run(*command, "status", *address).check().lines()
    assert [line.split()[-1] for line in lines[1:]] == ["state", "ready", "ready"]
    for number, said in ((1, "2 hosts; this machine is host 1"), (3, "no agent on this machine")):
        result = made_hosts.hosts[number].run(*command, "doctor", *address).check()
        assert said in result.out, result.out


def test_three_commands_from_nothing_to_a_pool_on_two_hosts(made_hosts: HostCluster) -> None:
    """docs/cluster.md, "From nothing to two hosts", without ssh: the key file is copied."""
    first, second = made_hosts.hosts[:2]
    script = """
        import dsmproc as multiprocessing

        def keep(given):
            global barrier
            barrier = given

        def square(x):
            barrier.wait(60)  # each worker takes one
            return x * x, multiprocessing.current_host()

        if __name__ == "__main__":
            with multiprocessing.Pool(4, keep, (multiprocessing.Barrier(4),)) as pool:
                done = pool.map(square, range(100), chunksize=1)
            print(sum(value for value, _ in done), sorted({host for _, host in done}))
    """
    path = first.write(f"{first.work}/script.py", textwrap.dedent(script))
    head = made_hosts.command(0, "head", "--bind", f"{first.address}:7300")
    head.read_until("7300\n")
    with open(first.path(KEY_FILE), encoding="ascii") as file:
        second.write(KEY_FILE, file.read(), 0o600)
    agent = made_hosts.command(1, "agent", "--join", f"{first.address}:7300")
    made_hosts.address = f"{first.address}:7300"
    made_hosts.wait_for(2)
    assert agent.process.poll() is None
    run = [PYTHON, "-m", "dsmproc", "run", "--address", f"{first.address}:7300", path]
    assert first.run(*run).check().out == f"{sum(x * x for x in range(100))} [0, 1]\n"
