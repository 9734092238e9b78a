"""A switch that takes its time: `slownet.py DELAY_MS MBIT_PER_S PID ADDRESS ...`.

For kernels without netem. In the network namespace of each process PID it makes a device eth0 with
the address ADDRESS, and passes packets between them: each a number of milliseconds later, and no
more of them to a host than its link carries. Segments are joined as a network card would do it
(virtio's header in front of each packet), so that the kernels' congestion windows are those of an
ordinary network. Ends with its standard input.
"""

from __future__ import annotations

import collections
import ctypes
import fcntl
import os
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 1, 0x1000, 0x4000
CHECKSUMS_AND_SEGMENTS = 1 | 2  # TUN_F_CSUM, TUN_F_TSO4
CLONE_NEWNET = 0x40000000
HEADER = 10  # virtio's
DESTINATION = slice(HEADER + 16, HEADER + 20)  # of an IPv4 packet


def device(pid: str, address: str) -> int:
    """Its descriptor stays with the namespace in which it was made."""
    with open(f"/proc/{pid}/ns/net", encoding="ascii") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"eth0", flags))
    fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", HEADER))
    fcntl.ioctl(fd, TUNSETOFFLOAD, CHECKSUMS_AND_SEGMENTS)
    commands = f"addr add {address}/24 dev eth0\nlink set eth0 txqueuelen 10000 up\n"
    subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)
    return fd


def main(delay: float, rate: float, ports: dict[bytes, int]) -> None:
    """`rate` in bytes a second."""
    waiting: collections.deque[tuple[float, bytes]] = collections.deque()
    lines = {address: collections.deque(waiting) for address in ports}
    free = dict.fromkeys(ports, 0.0)  # when the link to a host has carried what it was given
    while True:
        due = min((line[0][0] for line in lines.values() if line), default=None)
        wait = None if due is None else max(0.0, due - time.monotonic())
        for fd in select.select([0, *ports.values()], [], [], wait)[0]:
            if fd == 0:
                return
            packet = os.read(fd, 1 << 17)
            to = packet[DESTINATION]
            if to in ports:
                now = time.monotonic()
                free[to] = max(free[to], now) + len(packet) / rate
                lines[to].append((free[to] + delay, packet))
        now = time.monotonic()
        for address, line in lines.items():
            while line and line[0][0] <= now:
                os.write(ports[address], line.popleft()[1])


if __name__ == "__main__":
    milliseconds, megabits, *hosts = sys.argv[1:]
    made = {
        bytes(int(part) for part in address.split(".")): device(pid, address)
        for pid, address in zip(hosts[::2], hosts[1::2], strict=True)
    }
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))  # no network waits for a processor
    print("ready", flush=True)
    main(float(milliseconds) / 1000, float(megabits) * 125_000, made)
