"""What a program sees of a network with latency: `latency.py [--delay 2] [--rate 1000]`, as root.

Two hosts that share nothing, with a slow switch between them (slownet.py). Prints, in turn, what
TCP carries there and how fast one host reads what is at home on the other: where a row of faults
asks for too little ahead, only the second one falls with the delay.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]

from hostcluster import HostCluster  # noqa: E402
from hostnet import Host  # noqa: E402

SCRIPT = """
import socket, sys, time
import dsmproc
from dsmproc.bench._floors import MB, PAGE
from dsmproc.bench._hosts import on_host, remote_memory

size, rounds = int(sys.argv[1]) * MB, int(sys.argv[2])

def send(pipe, address):
    with socket.create_connection(address) as sock:
        sock.sendall(bytes(size))

for _ in range(rounds):
    with socket.create_server((sys.argv[3], 0)) as listening:
        process, _ = on_host(1, send, listening.getsockname())
        sock, _ = listening.accept()
        started, got = time.perf_counter(), 0
        while got < size:
            got += len(sock.recv(1 << 20))
        tcp = size / (time.perf_counter() - started) / 1e6
        sock.close()
        process.join()
    with remote_memory(size) as shm:
        started = time.perf_counter()
        for at in range(0, size, PAGE):
            shm.buf[at]
        print(f"{tcp:.0f} {size / (time.perf_counter() - started) / 1e6:.0f}", flush=True)
"""


@contextlib.contextmanager
def slow_network(hosts: list[Host], delay: float, rate: float) -> Iterator[None]:
    """In the place of their own."""
    ends = []
    for host in hosts:
        enter = ["nsenter", "-t", str(host.pid), "-n"]
        subprocess.run([*enter, "ip", "link", "del", "eth0"], check=True)
        ends += [str(host.pid), host.address]
    switch = os.path.join(os.path.dirname(os.path.abspath(__file__)), "slownet.py")
    process = subprocess.Popen(
        [sys.executable, switch, str(delay), str(rate), *ends],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--delay", type=float, default=2.0, help="milliseconds, one way")
    parser.add_argument("--rate", type=float, default=1000.0, help="of a link, in Mbit/s")
    parser.add_argument("--size", type=int, default=64, help="MB")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    cluster = HostCluster(2)
    try:
        with slow_network(cluster.hosts, args.delay, args.rate):
            cluster.start()
            words = [str(args.size), str(args.rounds), cluster.hosts[0].address]
            done = cluster.run(0, SCRIPT, *words, timeout=500).check()
            print("TCP, scan (MB/s)")
            print(done.out, end="")
    finally:
        cluster.end()


if __name__ == "__main__":
    main()
