"""`dsmproc.stats()` against the network devices of hosts that share nothing."""

from __future__ import annotations

import json

import pytest
from hostcluster import HostCluster
from hostnet import Host

HEAD = """
    import json, os, sys, time
    import dsmproc as mp
    import numpy as np

    def settle(name):
        '''The test reads the devices between these two.'''
        print(json.dumps({name: mp.stats()}), flush=True)
        while not os.path.exists(name):
            time.sleep(0.01)

    def start(function, *arguments):
        processes = []
        for host in mp.hosts():
            process = mp.Process(target=function, args=(host, *arguments))
            process._dsmproc_host = host
            process.start()
            processes.append(process)
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * len(processes)
"""

PAGES = """
    def fill(host, name):
        shm = mp.SharedMemory(name)
        view = np.frombuffer(shm.buf, np.uint8)
        view[host::len(mp.hosts())] += 1
        total = int(view.sum())
        del view
        shm.close()

    def work():
        shm = mp.SharedMemory(create=True, size=2 << 20)
        np.frombuffer(shm.buf, np.uint8)[:] = 1
        for _ in range(3):
            start(fill, shm.name)
        shm.close()
        shm.unlink()
"""
LOCKS = """
    def count(host, lock, barrier, value):
        # In step: a host that is alone for a moment keeps the lock and sends nothing.
        for _ in range(100):
            barrier.wait()
            with lock:
                value.value += 1

    def work():
        value = mp.RawValue("l")
        start(count, mp.Lock(), mp.Barrier(len(mp.hosts())), value)
        assert value.value == 100 * len(mp.hosts())
"""
QUEUES = """
    def serve(host, tasks, answers):
        for _ in range(25):
            answers.put(np.asarray(tasks.get()).sum() + host)

    def work():
        tasks, answers = mp.Queue(), mp.Queue()
        for i in range(25 * len(mp.hosts())):
            tasks.put(np.arange(i * 50))
        start(serve, tasks, answers)
        for i in range(25 * len(mp.hosts())):
            answers.get()
"""
POOL = """
    def square(x):
        return x * x

    def work():
        with mp.Pool(8) as pool:
            assert pool.map(square, range(5000), chunksize=1)[-1] == 4999 ** 2
"""
TAIL = """
    if __name__ == "__main__":
        settle("begin")
        work()
        settle("end")
"""


def _devices(host: Host) -> int:
    return host.sent("eth0") + host.sent("lo")


@pytest.mark.parametrize("what", ["pages", "locks", "queues", "pool"])
def test_bytes_sent_is_what_the_devices_sent(shared_cluster: HostCluster, what: str) -> None:
    work = {"pages": PAGES, "locks": LOCKS, "queues": QUEUES, "pool": POOL}[what]
    running = shared_cluster.script(1, HEAD + work + TAIL)
    said: dict[str, dict[str, dict[str, int]]] = {}
    devices: dict[str, list[int]] = {}
    for name in ("begin", "end"):
        said.update(json.loads(running.line(f'{{"{name}": ')))
        devices[name] = [_devices(host) for host in shared_cluster.hosts]
        shared_cluster.hosts[1].write(f"{shared_cluster.hosts[1].work}/{name}", "")
    running.wait().check()
    for host in shared_cluster.hosts:
        number = host.number
        begin, end = (said[name][str(number)]["bytes_sent"] for name in ("begin", "end"))
        sent = devices["end"][number] - devices["begin"][number]
        assert sent > 10_000, "the devices count"
        assert 0.9 < (end - begin) / sent < 1.1, (
            f"host {number}: {end - begin} counted, {sent} sent"
        )


def test_reset_begins_anew(shared_cluster: HostCluster) -> None:
    """What came before the reset is not told again, for any host."""
    script = """
        import dsmproc as mp

        sender, receiver = mp.Pipe()
        process = mp.Process(target=sender.send, args=(bytes(10 << 20),))
        process._dsmproc_host = 2
        process.start()
        receiver.recv()
        process.join()
        print(mp.stats(reset=True)[2]["bytes_sent"] > 10 << 20, end=" ")
        print(mp.stats()[2]["bytes_sent"] < 1 << 20)
    """
    assert shared_cluster.run(1, script).check().out == "True True\n"
