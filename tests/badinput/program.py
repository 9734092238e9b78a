"""A program that runs on two hosts while somebody misbehaves, and shows that it goes on."""

from __future__ import annotations

import socket

from helpers import TIMEOUT, ByHand, RunScript

SCRIPT = """
import socket, sys
import dsmproc as mp

def serve(name, lock, tasks, results):
    memory = mp.SharedMemory(name)
    for number in iter(tasks.get, None):
        with lock:
            assert memory.buf[0] == number % 256, (memory.buf[0], number)
            memory.buf[0] = (number + 1) % 256
        results.put(mp.current_host())
    memory.close()

memory = mp.SharedMemory(create=True, size=1 << 16)
lock, tasks, results = mp.Lock(), mp.Queue(), mp.Queue()
worker = mp.Process(target=serve, args=(memory.name, lock, tasks, results))
worker._dsmproc_host = 1
worker.start()
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as test:
    count = 0
    while test.recv(1):
        tasks.put(count)
        assert results.get() == 1
        count += 1
        with lock:
            assert memory.buf[0] == count % 256
        test.sendall(b"y")
tasks.put(None)
worker.join()
memory.close()
memory.unlink()
print("rounds", count, worker.exitcode)
"""


class Program:
    """Runs SCRIPT on a cluster by hand; each `goes_on()` is one round of it through both hosts."""

    def __init__(self, cluster: ByHand, run_script: RunScript) -> None:
        self._rounds = 0
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            self.running = run_script.start(SCRIPT, address=cluster.address, args=[str(port)])
            listening.settimeout(TIMEOUT)
            self._wire, _ = listening.accept()
        self._wire.settimeout(TIMEOUT)
        self.goes_on()

    def goes_on(self) -> None:
        self._wire.sendall(b"?")
        assert self._wire.recv(1) == b"y", self.running.wait()
        self._rounds += 1

    def end(self) -> None:
        """It ends well."""
        self.goes_on()
        self._wire.close()
        result = self.running.wait().check()
        assert result.lines() == [f"rounds {self._rounds} 0"]

    def close(self) -> None:
        self._wire.close()
